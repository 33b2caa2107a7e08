//! Shared latches.

use std::time::Duration;

use holdfast_proto::{LatchCountDownRequest, LatchCountRequest, LatchSpec, LatchWaitRequest};

use super::holding::patience_ms;
use super::reference::proxy;
use super::remote::Remote;
use super::{Mode, Output};

/// A shared latch: Java's `CountDownLatch`, which opens when its count has come down to 0, and stays open. Python has none.
///
/// See the [crate] for what holds for every call.
pub struct Latch<M: Mode> {
    remote: Remote<M>,
}

proxy!(Latch<> in latch);

impl<M: Mode> Latch<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// Takes `n` from the count, or all that is left; at 0 everybody who waits goes on. Returns what is left.
    ///
    /// Refused with [`Reason::OutOfRange`](crate::Reason::OutOfRange) for 0.
    pub fn count_down(&self, n: u64) -> Output<M, LatchCountDownRequest, u64> {
        let request = LatchCountDownRequest { n: Some(signed(n)) };
        self.remote.once(Ok(request), |response, _| Ok(response.count))
    }

    /// What is left of the count.
    pub fn count(&self) -> Output<M, LatchCountRequest, u64> {
        self.remote.once(Ok(LatchCountRequest {}), |response, _| Ok(response.count))
    }

    /// Waits until the count is 0, as long as it takes, and not at all if it is.
    ///
    /// An async call that is dropped is withdrawn. Refused with [`Reason::Quota`](crate::Reason::Quota) if too many wait.
    pub fn wait(&self) -> Output<M, LatchWaitRequest, ()> {
        self.remote.wait(None, Ok(LatchWaitRequest { patience_ms: None }), |_, _| Ok(()))
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Says whether the latch is open.
    pub fn wait_within(&self, patience: Duration) -> Output<M, LatchWaitRequest, bool> {
        let request = LatchWaitRequest { patience_ms: patience_ms(Some(patience)) };
        self.remote.wait(Some(patience), Ok(request), |response, _| Ok(response.opened))
    }
}

/// How a latch is made.
pub(super) fn spec(count: u64) -> LatchSpec {
    LatchSpec { count: signed(count) }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
