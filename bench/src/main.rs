//! Side-by-side benchmarks of Holdfast and its peers: the same work against each, in one run, as ratios.
//!
//! `compare` is the harness. It never does the work itself: every server and every client is a process of its own,
//! most of them this same binary under a hidden subcommand, started through [`pin`] so that it stays on its CPU and
//! cannot outlive the harness.

mod args;
mod child;
mod compare;
mod contender;
mod holdfast;
mod idle;
mod instructions;
mod interrupt;
mod load;
mod memory;
mod peers;
mod pin;
mod reading;
mod register;
mod report;
mod rounds;
mod servers;
mod setting;
mod unavailable;
mod worker;
mod works;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::peers::{echo, etcd, redis};

fn main() -> ExitCode {
    // The workers of pools are this program too.
    let _family = ::holdfast::init();
    match run(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast-bench: {error:#}");
            ExitCode::from(if error.is::<interrupt::Interrupted>() { 130 } else { 1 })
        }
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Compare(compare) => return compare::run(compare),
        Command::Instructions(args) => return instructions::run(args),
        Command::Child(child) => return Err(pin::become_program(child)),
        Command::Worker(worker) => holdfast::work(worker)?,
        Command::Counted(counted) => holdfast::counted::work(counted)?,
        Command::EchoServer(server) => echo::serve(&server.socket)?,
        Command::EchoClient(client) => echo::call(client)?,
        Command::RedisClient(client) => redis::call(client)?,
        Command::EtcdClient(client) => etcd::call(client)?,
        Command::Nothing => {}
    }
    Ok(ExitCode::SUCCESS)
}
