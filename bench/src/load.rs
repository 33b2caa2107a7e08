//! Ways to put load on something that can be called, with the clock around them. They know no server: Holdfast, the
//! echo and the `redis` crate are all driven by these.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use tokio::task::JoinSet;

use crate::reading::{Lap, Recorder, now_ns};

/// Calls that were made, when, and how long single ones took.
pub(crate) struct Load {
    calls: u64,
    start_ns: u64,
    end_ns: u64,
    single: Option<Recorder>,
}

impl Load {
    /// One piece of work that was timed as a whole.
    pub(crate) fn whole(calls: u64, start_ns: u64) -> Self {
        Self { calls, start_ns, end_ns: now_ns(), single: None }
    }

    /// Calls that took so long together, with others between them that do not count.
    pub(crate) fn apart(calls: u64, spent: Duration) -> Self {
        let end_ns = now_ns();
        let start_ns = end_ns.saturating_sub(spent.as_nanos() as u64);
        Self { calls, start_ns, end_ns, single: None }
    }

    /// The part in it of one who helped: what was done is counted by another, who also timed it.
    pub(crate) fn of_helper(self) -> Self {
        Self { calls: 0, single: None, ..self }
    }

    /// What the harness is told.
    pub(crate) fn lap(&self) -> Lap {
        let quantile = |q| self.single.as_ref().and_then(|single| single.quantile_us(q));
        Lap {
            calls: self.calls,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
        }
    }
}

/// How many calls come before the measured ones.
pub(crate) fn warm_up(calls: u64) -> u64 {
    (calls / 10).clamp(1, 100_000)
}

/// The clock of calls that follow each other.
pub(crate) struct Timer {
    load: Load,
    last: Instant,
}

impl Timer {
    /// The first call begins now.
    pub(crate) fn start() -> Result<Self> {
        let untimed = Self::start_untimed();
        Ok(Self { load: Load { single: Some(Recorder::new()?), ..untimed.load }, ..untimed })
    }

    /// The same, but single calls are not timed.
    pub(crate) fn start_untimed() -> Self {
        Self { load: Load { calls: 0, start_ns: now_ns(), end_ns: 0, single: None }, last: Instant::now() }
    }

    /// A call ended, and the next begins.
    pub(crate) fn tick(&mut self) {
        self.load.calls += 1;
        if let Some(single) = &mut self.load.single {
            self.last = single.note(self.last);
        }
    }

    /// All calls have ended.
    pub(crate) fn stop(self) -> Load {
        Load { end_ns: now_ns(), ..self.load }
    }
}

/// Calls on this thread, one after the other.
pub(crate) fn blocking<T, E: Into<Error>>(calls: u64, mut call: impl FnMut() -> Result<T, E>) -> Result<Load> {
    let mut timer = Timer::start()?;
    for _ in 0..calls {
        call().map_err(Into::into)?;
        timer.tick();
    }
    Ok(timer.stop())
}

/// How often a light client calls.
const PACE: Duration = Duration::from_millis(1);

/// Calls on this thread, one each millisecond. A call that could not begin when it was due, since the one before was not
/// answered, is timed from when it was due: who only counts answered calls hardly sees a server that stood still.
pub(crate) fn paced<T, E: Into<Error>>(calls: u64, mut call: impl FnMut() -> Result<T, E>) -> Result<Load> {
    let mut timer = Timer::start()?;
    let mut due = timer.last;
    for _ in 0..calls {
        due += PACE;
        let early = due.saturating_duration_since(Instant::now());
        // What this thread oversleeps is not the server's.
        timer.last = if early.is_zero() {
            due
        } else {
            thread::sleep(early);
            Instant::now()
        };
        call().map_err(Into::into)?;
        timer.tick();
    }
    Ok(timer.stop())
}

/// Asynchronous calls, one after the other.
pub(crate) async fn one_at_a_time<T, E: Into<Error>>(
    calls: u64,
    mut call: impl AsyncFnMut() -> Result<T, E>,
) -> Result<Load> {
    let mut timer = Timer::start()?;
    for _ in 0..calls {
        call().await.map_err(Into::into)?;
        timer.tick();
    }
    Ok(timer.stop())
}

/// Asynchronous calls, `width` of them in flight, from one task: each reply is followed by the next call.
///
/// Single calls are not timed: at millions of calls a second the clock would be a good part of the figure.
pub(crate) async fn in_flight<F, T, E>(width: usize, calls: u64, mut call: impl FnMut() -> F) -> Result<Load>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Error>,
{
    let start_ns = now_ns();
    let mut begun = calls.min(width as u64);
    let mut done = 0;
    // Each place is boxed once and used for one call after the other.
    let mut places: Vec<Pin<Box<Option<F>>>> = (0..begun).map(|_| Box::pin(Some(call()))).collect();
    poll_fn(|context| {
        for place in &mut places {
            while let Some(running) = place.as_mut().as_pin_mut() {
                let Poll::Ready(reply) = running.poll(context) else { break };
                if let Err(error) = reply {
                    return Poll::Ready(Err(error.into()));
                }
                done += 1;
                let next = (begun < calls).then(&mut call);
                begun += u64::from(next.is_some());
                place.set(next);
            }
        }
        if done == calls { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(Load { calls, start_ns, end_ns: now_ns(), single: None })
}

/// Calls from one task, of which `width` are in flight: the oldest is waited for, and another one is sent.
///
/// `call` sends the call at once, and gives the future of its reply.
pub(crate) async fn pipelined<F, T, E>(width: usize, calls: u64, mut call: impl FnMut() -> F) -> Result<Load>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Error>,
{
    let start_ns = now_ns();
    let mut running: VecDeque<F> = VecDeque::with_capacity(width);
    for _ in 0..calls {
        if running.len() == width
            && let Some(oldest) = running.pop_front()
        {
            oldest.await.map_err(Into::into)?;
        }
        running.push_back(call());
    }
    for reply in running {
        reply.await.map_err(Into::into)?;
    }
    Ok(Load { calls, start_ns, end_ns: now_ns(), single: None })
}

/// Lets loads run side by side, each in its own task, and puts them together.
pub(crate) async fn side_by_side<F>(loads: impl IntoIterator<Item = F>) -> Result<Load>
where
    F: Future<Output = Result<Load>> + Send + 'static,
{
    let mut tasks: JoinSet<Result<Load>> = loads.into_iter().collect();
    let mut all: Option<Load> = None;
    while let Some(load) = tasks.join_next().await {
        let load = load.context("a task of the load")??;
        all = Some(match all {
            None => load,
            Some(so_far) => together(so_far, &load)?,
        });
    }
    all.context("no load")
}

fn together(mut all: Load, one: &Load) -> Result<Load> {
    all.calls += one.calls;
    all.start_ns = all.start_ns.min(one.start_ns);
    all.end_ns = all.end_ns.max(one.end_ns);
    if let (Some(single), Some(more)) = (&mut all.single, &one.single) {
        single.merge(more)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn in_flight_keeps_the_window_full_and_makes_exactly_the_calls_asked_for() -> Result<()> {
        let (running, most, made) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let load = in_flight(8, 100, || async {
            made.set(made.get() + 1);
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            tokio::task::yield_now().await;
            running.set(running.get() - 1);
            Ok::<_, Error>(())
        })
        .await?;
        assert_eq!((load.calls, made.get(), most.get()), (100, 100, 8));
        Ok(())
    }

    #[tokio::test]
    async fn pipelined_sends_before_it_waits_and_never_more_than_the_window() -> Result<()> {
        let (sent, waited, most) = (Cell::new(0_u64), Cell::new(0_u64), Cell::new(0));
        let load = pipelined(8, 100, || {
            sent.set(sent.get() + 1);
            most.set(most.get().max(sent.get() - waited.get()));
            async {
                waited.set(waited.get() + 1);
                Ok::<_, Error>(())
            }
        })
        .await?;
        assert_eq!((load.calls, sent.get(), waited.get(), most.get()), (100, 100, 100, 8));
        Ok(())
    }

    #[tokio::test]
    async fn fewer_calls_than_the_window_is_wide() -> Result<()> {
        let load = in_flight(8, 3, || async { Ok::<_, Error>(()) }).await?;
        assert_eq!(load.calls, 3);
        Ok(())
    }

    #[tokio::test]
    async fn an_error_ends_the_load() {
        assert!(in_flight(2, 9, || async { Err::<(), _>(Error::msg("no")) }).await.is_err());
        assert!(pipelined(2, 9, || async { Err::<(), _>(Error::msg("no")) }).await.is_err());
        assert!(blocking(9, || Err::<(), _>(Error::msg("no"))).is_err());
    }
}
