//! Who takes part in the works on polling before sleeping: the same work, with the manager and its clients told to poll, or not
//! to.

use std::fmt;

use super::{CONNECTIONS, IN_FLIGHT, PROCESSES};

/// What manager and clients are told about polling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Polling {
    Auto,
    Off,
    /// Each time, for 50 µs.
    Forced,
}

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Task {
    /// One blocking client, one call at a time.
    Blocking,
    /// One async client, one call at a time.
    Async,
    /// Two processes take turns at a lock.
    HandOver,
    /// Many processes, each one blocking call at a time.
    Processes,
    /// Many connections of one process, each one call at a time.
    Connections,
    /// Many calls in flight on one connection.
    InFlight,
}

impl Polling {
    /// The value of `HOLDFAST_BUSY_POLL`.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Forced => "50",
        }
    }
}

impl Task {
    /// Calls of the first, unmeasured round, from whose speed the others are sized.
    pub(crate) fn first_calls(self) -> u64 {
        match self {
            Self::Blocking | Self::Async | Self::HandOver | Self::Processes => 5_000,
            Self::Connections => 20_000,
            Self::InFlight => 300_000,
        }
    }
}

impl fmt::Display for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::Forced => "forced",
        })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocking => f.write_str("blocking"),
            Self::Async => f.write_str("async"),
            Self::HandOver => f.write_str("2 on one lock"),
            Self::Processes => write!(f, "{PROCESSES} processes"),
            Self::Connections => write!(f, "{CONNECTIONS} connections"),
            Self::InFlight => write!(f, "{IN_FLIGHT} in flight"),
        }
    }
}
