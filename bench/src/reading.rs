//! What one measurement gave, from the clock in the worker to the harness.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The line a worker prints when its work is done. Times are of the machine-wide monotonic clock, so that the lines of
/// several processes can be put together.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Lap {
    pub(crate) calls: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    #[serde(default)]
    pub(crate) p50_us: Option<f64>,
    #[serde(default)]
    pub(crate) p99_us: Option<f64>,
}

/// One measurement of one contender.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Reading {
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

impl Reading {
    /// What workers that ran side by side did together: from the first start to the last end. Percentiles are kept
    /// only where one worker timed single calls, since those of several cannot be merged.
    pub(crate) fn of(laps: &[Lap]) -> Result<Self> {
        let start = laps.iter().map(|lap| lap.start_ns).min().context("no worker reported")?;
        let end = laps.iter().map(|lap| lap.end_ns).max().context("no worker reported")?;
        let mut timed = laps.iter().filter(|lap| lap.p50_us.is_some());
        let alone = timed.next().filter(|_| timed.next().is_none());
        Ok(Self {
            calls: laps.iter().map(|lap| lap.calls).sum(),
            seconds: Duration::from_nanos(end.saturating_sub(start).max(1)).as_secs_f64(),
            p50_us: alone.and_then(|lap| lap.p50_us),
            p99_us: alone.and_then(|lap| lap.p99_us),
        })
    }

    /// Time per call in microseconds.
    pub(crate) fn us_per_call(&self) -> f64 {
        self.seconds * 1e6 / self.calls.max(1) as f64
    }

    /// Calls per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }
}

/// The machine-wide monotonic clock in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Times single calls.
#[derive(Clone)]
pub(crate) struct Recorder(Histogram<u64>);

impl Recorder {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).context("making a histogram")?))
    }

    /// Notes a call that took from `start` until now, and returns now: the start of the next call.
    pub(crate) fn note(&mut self, start: Instant) -> Instant {
        let now = Instant::now();
        self.0.saturating_record((now - start).as_nanos() as u64);
        now
    }

    /// Adds what another recorder saw.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("merging histograms")
    }

    /// The `q`-quantile in microseconds.
    pub(crate) fn quantile_us(&self, q: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(q) as f64 / 1000.0)
    }
}

/// The middle of the values, or the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn workers_side_by_side_count_from_first_start_to_last_end() {
        let lap = |start_ns, end_ns| Lap { calls: 10, start_ns, end_ns, p50_us: Some(1.0), p99_us: None };
        let reading = Reading::of(&[lap(1_000, 2_000), lap(1_500, 3_000)]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reading.calls, 20);
        assert!((reading.seconds - 2e-6).abs() < 1e-12);
        assert_eq!(reading.p50_us, None);
        let helped = [lap(1_000, 2_000), Lap { p50_us: None, ..lap(1_000, 2_000) }];
        let reading = Reading::of(&helped).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(reading.p50_us, Some(1.0));
    }
}
