//! The holdfast command.

mod args;
mod config_file;
mod exit;
mod serve;
mod settings;
mod verbs;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;

fn main() -> ExitCode {
    let exit = match Args::parse().command {
        Command::Serve(args) => serve::serve(args),
        Command::List { prefix, kind, manager, json } => verbs::list(&prefix, kind, manager, json),
        Command::Status { manager, json } => verbs::status(manager, json),
        Command::Delete { name, manager } => verbs::delete(&name, manager),
    };
    exit.into()
}
