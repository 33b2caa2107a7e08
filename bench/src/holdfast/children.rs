//! Processes that are started and joined, one after the other.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast::blocking::Process;

use crate::args::WorkerArgs;
use crate::{load, worker};

#[holdfast::function]
fn nothing() {}

/// `Process::new`, `start`, `join`.
pub(super) fn started(args: &WorkerArgs) -> Result<()> {
    let start = || {
        let mut process = Process::new(nothing, ());
        process.start()?;
        process.join()?;
        let code = process.exit_code()?;
        ensure!(code == Some(0), "the process ended with {code:?}");
        Ok(())
    };
    worker::measure_blocking(args.calls, |calls| load::blocking(calls, start))
}

/// The same program, told on its command line to do nothing, and waited for.
pub(super) fn bare(args: &WorkerArgs) -> Result<()> {
    let program = std::env::current_exe().context("looking for this program")?;
    let start = || {
        let status = Command::new(&program).arg("nothing").status().context("starting this program")?;
        ensure!(status.success(), "the process ended with {status}");
        Ok(())
    };
    worker::measure_blocking(args.calls, |calls| load::blocking(calls, start))
}
