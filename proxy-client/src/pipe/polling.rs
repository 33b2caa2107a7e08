//! When the socket of an end is looked at before who receives goes to sleep.

use holdfast_stream::Look;

use super::end::{End, Filled};
use crate::options::busy_poll_of_environment;
use crate::session::busy_poll::{Policies, Site};

/// An end waits for nothing else but messages without leaving the CPU.
pub(super) const RECEIVING: Option<Site> = Some(Site { handle: 0, op: "Pipe.Recv" });

/// What is learnt of the waits of one end.
pub(super) fn policies() -> Policies {
    // Who connects to a manager is told of a text that says nothing.
    Policies::new(busy_poll_of_environment().unwrap_or_default())
}

/// Reads what has come.
pub(super) fn look(end: &mut End) -> Look {
    match end.fill() {
        Ok(Filled::Nothing) => Look::Nothing,
        // An error is met again by who wanted something.
        Ok(Filled::Some | Filled::End) | Err(_) => Look::Found,
    }
}
