//! How the harness and a worker process talk: the worker says `ready` once connected and warm, waits for `go`, works,
//! and prints its lap. Waiting for `go` lets many workers start together, and keeps the making of connections out of
//! the figures.

use std::io::{BufRead, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::{Child, Launch};
use crate::load::{self, Load};
use crate::reading::{Lap, Reading};

/// How long a worker may take to connect and warm up.
const READY: Duration = Duration::from_secs(60);
/// How long a worker may take for its work, which is sized to about a second.
const WORK: Duration = Duration::from_secs(120);

/// In the worker: tell the harness, and wait for its word.
pub(crate) fn ready() -> Result<()> {
    say("ready")?;
    let mut word = String::new();
    std::io::stdin().lock().read_line(&mut word).context("waiting for the harness")?;
    if word.trim() != "go" {
        bail!("the harness is gone");
    }
    Ok(())
}

/// In an async worker: the same, without holding up its other tasks.
pub(crate) async fn ready_async() -> Result<()> {
    tokio::task::spawn_blocking(ready).await.context("waiting for the harness")?
}

/// In the worker: the result.
pub(crate) fn report(load: &Load) -> Result<()> {
    say(&serde_json::to_string(&load.lap())?)
}

/// In an async worker: calls that come before the measured ones, the harness's word, and the calls that are measured.
pub(crate) async fn measure(calls: u64, mut work: impl AsyncFnMut(u64) -> Result<Load>) -> Result<()> {
    work(load::warm_up(calls)).await?;
    ready_async().await?;
    report(&work(calls).await?)
}

/// In the worker: the same, without a runtime.
pub(crate) fn measure_blocking(calls: u64, mut work: impl FnMut(u64) -> Result<Load>) -> Result<()> {
    work(load::warm_up(calls))?;
    ready()?;
    report(&work(calls)?)
}

/// In a server that this binary is: ready to be connected to.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("telling the harness")
}

/// In the harness: starts workers on `cpu`, or on any, and lets them work side by side.
pub(crate) fn side_by_side(launches: impl IntoIterator<Item = Launch>, cpu: Option<usize>) -> Result<Reading> {
    let workers: Result<Vec<Child>> = launches.into_iter().map(|launch| Child::start(launch, cpu)).collect();
    run(workers?)
}

/// In the harness: lets workers start together, and puts together what they did.
pub(crate) fn run(mut workers: Vec<Child>) -> Result<Reading> {
    await_ready(&mut workers)?;
    run_ready(workers)
}

/// In the harness: the same for workers that are known to be ready.
pub(crate) fn run_ready(mut workers: Vec<Child>) -> Result<Reading> {
    for worker in &mut workers {
        worker.say("go")?;
    }
    let mut laps = Vec::with_capacity(workers.len());
    for worker in &mut workers {
        let line = worker.line(WORK)?;
        let lap: Lap = serde_json::from_str(&line).with_context(|| format!("a worker said {line:?}"))?;
        laps.push(lap);
    }
    for worker in workers {
        worker.finish(Duration::from_secs(20))?;
    }
    Reading::of(&laps)
}

/// In the harness: does something while a process is busy that never ends by itself.
pub(crate) fn beside<T>(mut busy: Option<Child>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if let Some(busy) = &mut busy {
        await_ready(std::slice::from_mut(busy))?;
        busy.say("go")?;
    }
    let done = work()?;
    if let Some(busy) = &mut busy
        && !busy.is_running()
    {
        return Err(busy.failure("ended before it was told to"));
    }
    Ok(done)
}

/// In the harness: waits until every worker is ready.
pub(crate) fn await_ready(workers: &mut [Child]) -> Result<()> {
    for worker in workers {
        let word = worker.line(READY)?;
        if word != "ready" {
            bail!("a worker said {word:?} instead of `ready`");
        }
    }
    Ok(())
}
