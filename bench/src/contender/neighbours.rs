//! Who takes part in the works that ask what one client feels of another.

use std::fmt;

/// Calls that the busy neighbour keeps in flight.
pub(crate) const CALLS: usize = 1_024;
/// Bytes of the values that it sets and gets otherwise.
pub(crate) const VALUE: usize = 64 << 20;
/// Calls that wait for the event that it sets otherwise.
pub(crate) const WAITERS: u64 = 10_000;

/// One side of a comparison: a client that makes a call each millisecond, beside a busy one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Neighbour {
    Holdfast(Busy),
    Redis(Busy),
}

/// What the busy client does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Busy {
    /// Nothing: there is none.
    Absent,
    /// Many calls in flight.
    Calls,
    /// Large values set and got.
    Values,
    /// An event set for which very many calls wait, of so many sessions.
    Event(u64),
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, busy) = match self {
            Self::Holdfast(busy) => ("Holdfast", busy),
            Self::Redis(busy) => ("redis crate", busy),
        };
        match busy {
            Busy::Absent => write!(f, "{peer} get, alone"),
            Busy::Calls => write!(f, "{peer} get beside {CALLS} in flight"),
            Busy::Values => write!(f, "{peer} get beside {} MiB values", VALUE >> 20),
            Busy::Event(sessions) => write!(f, "{peer} get beside {WAITERS} waiters of {sessions} sessions"),
        }
    }
}
