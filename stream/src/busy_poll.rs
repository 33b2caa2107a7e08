//! When to look at sockets for a while before going to sleep, and for how long.

mod policy;

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

pub use policy::{Next, Policy, Polled, allowed_cpus};

/// The environment variable that says how to poll, for the manager and for clients: `auto`, `off`, or microseconds.
pub const BUSY_POLL_VARIABLE: &str = "HOLDFAST_BUSY_POLL";

/// No time is longer: a task that polls lets no other run.
const LONGEST: Duration = Duration::from_millis(1);

/// Whether to poll sockets for a while before going to sleep: what a user may say of it.
///
/// As a text it is `auto`, `off`, or a number of microseconds from 1 to 1000; 0 is `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusyPoll {
    /// Where it has lately paid, for 50 µs at most.
    #[default]
    Auto,
    /// Never.
    Off,
    /// For so long each time, whether it pays or not; more than 1 ms counts as 1 ms. Not where the process may use one CPU
    /// only: nobody could answer meanwhile.
    For(Duration),
}

impl From<Duration> for BusyPoll {
    /// For so long each time; never, if that is zero.
    fn from(time: Duration) -> Self {
        if time.is_zero() { Self::Off } else { Self::For(time.min(LONGEST)) }
    }
}

impl fmt::Display for BusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::For(time) => write!(f, "{}", time.as_micros()),
        }
    }
}

/// A text says nothing about polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBusyPoll;

impl fmt::Display for NotBusyPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is auto, off, or a number of microseconds from 1 to {}", LONGEST.as_micros())
    }
}

impl Error for NotBusyPoll {}

impl FromStr for BusyPoll {
    type Err = NotBusyPoll;

    fn from_str(text: &str) -> Result<Self, NotBusyPoll> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            number => match number.parse().map(Duration::from_micros) {
                Ok(time) if time <= LONGEST => Ok(time.into()),
                _ => Err(NotBusyPoll),
            },
        }
    }
}

/// What a look at the socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is something.
    Found,
    /// There is nothing yet.
    Nothing,
    /// It is not for this caller to wait any more.
    Stop,
}

/// One time of polling, from the first look to the last.
///
/// Whoever polls looks, asks [`looked`](Self::looked), and if that has no answer offers its CPU to others with
/// [`give_way`](Self::give_way) before the next look. The other end may wait for this very CPU, since the system likes to wake
/// those who are spoken to where the speaker runs.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    begin: Instant,
    budget: Duration,
    /// For how long others had the CPU, at the most.
    taken: Duration,
}

impl Spell {
    /// Begins now.
    #[must_use]
    pub fn new(budget: Duration, now: Instant) -> Self {
        Self { begin: now, budget, taken: Duration::ZERO }
    }

    /// What came of polling, if the last look was the last.
    #[must_use]
    pub fn looked(&self, look: Look, now: Instant) -> Option<Polled> {
        let time = now.saturating_duration_since(self.begin);
        let taken = self.taken.max(time.saturating_sub(self.budget));
        let (is_taken, long) = (taken > policy::TAKEN, taken > policy::SLICE);
        match look {
            Look::Found if is_taken => Some(Polled::Taken { found: true, long }),
            Look::Found => Some(Polled::InTime),
            Look::Nothing if is_taken => Some(Polled::Taken { found: false, long }),
            Look::Nothing if time > self.budget => Some(Polled::Nothing),
            Look::Nothing => None,
            Look::Stop => Some(Polled::Interrupted),
        }
    }

    /// Lets others run who wait for this CPU. `now` is the clock; what it says last is given back.
    pub fn give_way(&mut self, before: Instant, now: impl FnOnce() -> Instant) -> Instant {
        thread::yield_now();
        let after = now();
        self.taken = self.taken.max(after.saturating_duration_since(before));
        after
    }
}

/// Looks until something is found or the time is over. `now` is the clock.
pub fn poll(budget: Duration, mut now: impl FnMut() -> Instant, mut look: impl FnMut() -> Look) -> Polled {
    let mut spell = Spell::new(budget, now());
    loop {
        let looked = look();
        let time = now();
        if let Some(polled) = spell.looked(looked, time) {
            return polled;
        }
        spell.give_way(time, &mut now);
    }
}

#[cfg(test)]
mod tests;
