//! Work where many wait for one thing: events, barriers, and calls that only wait.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holdfast::{Event, Manager};

use super::client;
use crate::args::WorkerArgs;
use crate::contender::PROCESSES;
use crate::contender::waiting::WAITERS;
use crate::load::{Load, Timer};
use crate::reading::now_ns;
use crate::worker;

/// Lets calls of several sessions wait for an event, which another session sets: how long it takes until the last of them
/// is answered. That they come to wait does not count.
pub(super) async fn event_set(args: &WorkerArgs) -> Result<()> {
    let crowd = Crowd::gather(args, args.sessions, WAITERS).await?;
    worker::measure(args.calls, async |calls| {
        let mut spent = Duration::ZERO;
        for _ in 0..calls {
            spent += crowd.meet().await?;
        }
        Ok(Load::apart(calls, spent))
    })
    .await
}

/// Sessions whose calls wait for an event, and another that sets it.
pub(super) struct Crowd {
    events: Vec<Event>,
    setter: Event,
    calls_of_each: u64,
    _managers: Vec<Manager>,
}

impl Crowd {
    pub(super) async fn gather(args: &WorkerArgs, sessions: u64, waiters: u64) -> Result<Self> {
        let (mut managers, mut events) = (Vec::new(), Vec::new());
        for _ in 0..=sessions {
            let manager = client::connect(&args.place).await?;
            events.push(manager.event("event").await?);
            managers.push(manager);
        }
        let setter = events.pop().context("one more than sessions")?;
        Ok(Self { events, setter, calls_of_each: waiters / sessions, _managers: managers })
    }

    /// Lets all wait once. How long it took from the setting of the event until the last call was answered.
    pub(super) async fn meet(&self) -> Result<Duration> {
        self.setter.clear().await?;
        let each = 0..self.calls_of_each;
        let waits: Vec<_> = self.events.iter().flat_map(|event| each.clone().map(|_| event.wait().send())).collect();
        // What a session asks for is done in this order: once this is answered, its calls wait.
        for event in &self.events {
            if event.is_set().await? {
                bail!("the event is set before anybody has set it");
            }
        }
        let begin = Instant::now();
        self.setter.set().await?;
        for wait in waits {
            wait.await?;
        }
        Ok(begin.elapsed())
    }
}

/// One of the parties of a barrier. A round is counted by the one that came first.
pub(super) fn barrier(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let barrier = manager.barrier("barrier", PROCESSES as u64)?;
    worker::measure_blocking(args.calls, |rounds| {
        let mut timer = Timer::start_untimed();
        for _ in 0..rounds {
            if barrier.wait()?.index == 0 {
                timer.tick();
            }
        }
        Ok(timer.stop())
    })
}

/// Holds calls that wait for a lock, which another session has.
pub(super) async fn lock_waits(args: &WorkerArgs) -> Result<()> {
    let start_ns = now_ns();
    let (holder, waiter) = (client::connect(&args.place).await?, client::connect(&args.place).await?);
    let held = holder.lock("held lock").await?.acquire().await?;
    let lock = waiter.lock("held lock").await?;
    let waits: Vec<_> = (0..args.calls).map(|_| lock.acquire().send()).collect();
    let waiting = lock.state().await?.waiting;
    if waiting != args.calls {
        bail!("{waiting} calls wait instead of {}", args.calls);
    }
    worker::ready_async().await?;
    worker::report(&Load::whole(args.calls, start_ns))?;
    drop((waits, held));
    Ok(())
}

/// Holds calls that wait for an event, which nobody sets.
pub(super) async fn event_waits(args: &WorkerArgs) -> Result<()> {
    let start_ns = now_ns();
    let manager = client::connect(&args.place).await?;
    let event = manager.event("event").await?;
    let waits: Vec<_> = (0..args.calls).map(|_| event.wait().send()).collect();
    // What a session asks for is done in this order: once this is answered, its calls wait.
    if event.is_set().await? {
        bail!("the event is set, although nobody has set it");
    }
    worker::ready_async().await?;
    worker::report(&Load::whole(args.calls, start_ns))?;
    drop(waits);
    Ok(())
}
