//! Work on pipes.

use ::holdfast::blocking::{Connection, Pipe, Process};
use anyhow::Result;

use crate::args::WorkerArgs;
use crate::{load, worker};

#[::holdfast::function]
fn echo(mut numbers: Connection<i64, i64>) -> Result<(), String> {
    loop {
        match numbers.recv() {
            Ok(number) => numbers.send(&number).map_err(|error| error.to_string())?,
            Err(error) if error.is_end_of_file() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// A number goes to another process and back.
pub(super) fn there_and_back(args: &WorkerArgs) -> Result<()> {
    let (mut ours, theirs) = Pipe::new()?;
    let mut other = Process::new(echo, (theirs,));
    other.start()?;
    worker::measure_blocking(args.calls, |calls| {
        load::blocking(calls, || {
            ours.send(&1)?;
            ours.recv()
        })
    })?;
    drop(ours);
    Ok(other.join()?)
}
