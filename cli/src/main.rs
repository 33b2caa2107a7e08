//! The holdfast command.

mod args;
mod exit;
mod serve;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => serve::serve(args).into(),
    }
}
