//! Rounds: every contender once per round, in turn, so that noise hits all alike.

use std::time::Duration;

use anyhow::Result;

use crate::contender::Contender;
use crate::interrupt;
use crate::reading::Reading;
use crate::servers::Servers;
use crate::unavailable::Unavailable;
use crate::works::placement;

/// What one contender did in all rounds.
pub(crate) struct Measured {
    pub(crate) contender: Contender,
    pub(crate) pinned: bool,
    pub(crate) readings: Vec<Reading>,
    pub(crate) missing: Option<Missing>,
}

/// Why a contender has no figures.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) why: String,
    /// It is not there, which is no failure.
    pub(crate) unavailable: bool,
}

impl Missing {
    /// The reason in `error`; an interrupt is no reason but the end of the run.
    pub(crate) fn from_error(error: anyhow::Error) -> Result<Self> {
        if error.is::<interrupt::Interrupted>() {
            return Err(error);
        }
        Ok(Self { why: format!("{error:#}"), unavailable: error.is::<Unavailable>() })
    }
}

/// How long and how often.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) measurement: Duration,
    pub(crate) pinned: bool,
}

/// Measures the contenders in interleaved rounds, after one that warms up and sizes the others.
pub(crate) fn interleave(servers: &mut Servers<'_>, contenders: &[Contender], plan: Plan) -> Result<Vec<Measured>> {
    let mut all: Vec<(Measured, u64)> = contenders
        .iter()
        .map(|&contender| {
            let measured = Measured { contender, pinned: plan.pinned, readings: Vec::new(), missing: None };
            (measured, contender.first_calls())
        })
        .collect();
    for round in 0..=plan.rounds {
        for (measured, calls) in all.iter_mut().filter(|(measured, _)| measured.missing.is_none()) {
            let contender = measured.contender;
            match servers.run(contender, *calls) {
                Ok(reading) => {
                    progress(round, plan, contender, &reading);
                    if round > 0 {
                        measured.readings.push(reading);
                    } else if contender.is_sized() {
                        *calls = sized(&reading, plan.measurement, contender.least_calls());
                    }
                }
                Err(error) => {
                    let missing = Missing::from_error(error)?;
                    eprintln!("{contender}: {}", missing.why);
                    measured.readings.clear();
                    measured.missing = Some(missing);
                }
            }
        }
    }
    Ok(all.into_iter().map(|(measured, _)| measured).collect())
}

fn sized(reading: &Reading, measurement: Duration, least: u64) -> u64 {
    let calls = reading.per_second() * measurement.as_secs_f64();
    (calls as u64).clamp(least, 50_000_000)
}

fn progress(round: u32, plan: Plan, contender: Contender, reading: &Reading) {
    let round = if round == 0 { "warm-up".to_owned() } else { format!("round {round}/{}", plan.rounds) };
    eprintln!(
        "{:<8} {round:<11} {:<38} {:>9.2} us/call {:>11.0} calls/s",
        placement(plan.pinned),
        contender.to_string(),
        reading.us_per_call(),
        reading.per_second(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_sized_by_the_warm_up() {
        let reading = Reading { calls: 5_000, seconds: 0.1, p50_us: None, p99_us: None };
        assert_eq!(sized(&reading, Duration::from_millis(700), 256), 35_000);
        assert_eq!(sized(&reading, Duration::from_millis(1), 256), 256);
    }
}
