//! Work on locks.

use std::process;

use anyhow::{Context, Result};

use super::client;
use crate::args::WorkerArgs;
use crate::contender::PROCESSES;
use crate::contender::waiting::Release;
use crate::register::Register;
use crate::{load, register, worker};

/// A lock that nobody else wants.
const FREE: &str = "free lock";

pub(super) async fn asynchronous(args: &WorkerArgs, release: Release) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let lock = manager.lock(FREE).await?;
    worker::measure(args.calls, async |calls| match release {
        Release::Waited => load::one_at_a_time(calls, async || lock.acquire().await?.release().await).await,
        Release::Dropped => load::one_at_a_time(calls, async || lock.acquire().await.map(drop)).await,
    })
    .await
}

pub(super) fn blocking(args: &WorkerArgs, release: Release) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let lock = manager.lock(FREE)?;
    worker::measure_blocking(args.calls, |calls| match release {
        Release::Waited => load::blocking(calls, || lock.acquire()?.release()),
        Release::Dropped => load::blocking(calls, || lock.acquire().map(drop)),
    })
}

/// One of many processes that take the same lock, for as long as it takes to write that down.
pub(super) fn contend(args: &WorkerArgs) -> Result<()> {
    let path = args.register.as_deref().context("who contends needs --register")?;
    let register = Register::open(path, process::id(), args.calls)?;
    let manager = client::connect_blocking(&args.place)?;
    let lock = manager.lock("contended lock")?;
    for _ in 0..load::warm_up(args.calls / PROCESSES as u64) {
        drop(lock.acquire()?);
    }
    worker::ready()?;
    worker::report(&register::contend(|| {
        let _held = lock.acquire()?;
        Ok(register.sign()?)
    })?)
}
