//! Work for pools of local workers, with a manager of their own.

use std::thread;
use std::time::Duration;

use ::holdfast::blocking::{Executor, Pool};
use anyhow::{Result, bail};

use super::client;
use crate::args::WorkerArgs;
use crate::contender::pooling::{MANY_WORKERS, MAP, WORKERS};
use crate::load::{self, Load, Timer};
use crate::reading::now_ns;
use crate::worker;

#[::holdfast::function]
fn square(x: i64) -> i64 {
    x * x
}

/// A pool whose workers are all there.
fn pool(workers: usize) -> Result<Pool> {
    let pool = Pool::new(workers)?;
    while pool.state()?.workers < workers as u64 {
        thread::sleep(Duration::from_micros(200));
    }
    Ok(pool)
}

pub(super) fn map(args: &WorkerArgs) -> Result<()> {
    let pool = pool(WORKERS)?;
    pool.map(square, 0..1000)?;
    worker::ready()?;
    let maps = (args.calls / MAP).max(1);
    let start_ns = now_ns();
    for _ in 0..maps {
        let squares = pool.map(square, 0..MAP as i64)?;
        if squares.last() != Some(&((MAP - 1) * (MAP - 1)).cast_signed()) {
            bail!("the squares are none");
        }
    }
    worker::report(&Load::whole(maps * MAP, start_ns))
}

pub(super) fn apply(args: &WorkerArgs) -> Result<()> {
    let pool = pool(WORKERS)?;
    worker::measure_blocking(args.calls, |calls| load::blocking(calls, || pool.apply(square, (7,))))
}

pub(super) fn unordered(args: &WorkerArgs) -> Result<()> {
    let pool = pool(WORKERS)?;
    let warm_up = pool.imap_unordered(square, 0..1000).count();
    worker::ready()?;
    let mut timer = Timer::start_untimed();
    for result in pool.imap_unordered(square, 0..args.calls.cast_signed()) {
        result?;
        timer.tick();
    }
    if warm_up != 1000 {
        bail!("there were {warm_up} results of 1000 calls");
    }
    worker::report(&timer.stop())
}

pub(super) fn executor(args: &WorkerArgs) -> Result<()> {
    let executor = Executor::from(pool(WORKERS)?);
    worker::measure_blocking(args.calls, |calls| load::blocking(calls, || executor.submit(square, (7,))?.get()))
}

/// From nothing to a pool all of whose workers have joined.
pub(super) fn ready(args: &WorkerArgs) -> Result<()> {
    worker::ready()?;
    let start_ns = now_ns();
    let pool = pool(MANY_WORKERS)?;
    let load = Load::whole(args.calls, start_ns);
    drop(pool);
    worker::report(&load)
}

/// Leaves tasks in a pool that no worker joins, each a call of its own.
pub(super) fn waiting_tasks(args: &WorkerArgs) -> Result<()> {
    let start_ns = now_ns();
    let pool = client::connect_blocking(&args.place)?.pool("waiting tasks")?;
    pool.chunk_size(1).map_kept(square, 0..args.calls.cast_signed())?;
    let waiting = pool.state()?.waiting;
    if waiting != args.calls {
        bail!("{waiting} tasks wait instead of {}", args.calls);
    }
    worker::ready()?;
    worker::report(&Load::whole(args.calls, start_ns))
}
