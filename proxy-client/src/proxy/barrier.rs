//! Shared barriers.

use std::time::Duration;

use holdfast_proto::{
    BarrierAbortRequest, BarrierDescribeRequest, BarrierDescribeResponse, BarrierResetRequest, BarrierSpec,
    BarrierWaitRequest, BarrierWaitResponse, BreakCause as Wire,
};

use super::holding::patience_ms;
use super::reference::proxy;
use super::remote::Remote;
use super::{Mode, Output};
use crate::error::Result;

/// A shared barrier: Python's `multiprocessing.Barrier`, without an action, at which parties wait for each other.
///
/// All of them go on together, or it is broken for all of them: when one that waits loses patience, gives up or dies, or when
/// somebody aborts it. It stays broken until it is reset. See the [crate] for what holds for every call.
pub struct Barrier<M: Mode> {
    remote: Remote<M>,
}

proxy!(Barrier<> in barrier);

impl<M: Mode> Barrier<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// Comes to the barrier, and waits for the other parties: as long as the barrier was made for, or as long as it takes.
    ///
    /// An async call that is dropped is withdrawn, which breaks the barrier. Refused with
    /// [`Reason::Broken`](crate::Reason::Broken), as Python's `BrokenBarrierError`, if it is broken or breaks meanwhile; and with
    /// [`Reason::Quota`](crate::Reason::Quota) if too many wait, which breaks nothing.
    pub fn wait(&self) -> Output<M, BarrierWaitRequest, Arrival> {
        self.remote.wait(None, Ok(BarrierWaitRequest { patience_ms: None }), arrival)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Where the others do not come in time, this breaks the
    /// barrier, and is refused as the others are.
    pub fn wait_within(&self, patience: Duration) -> Output<M, BarrierWaitRequest, Arrival> {
        let request = BarrierWaitRequest { patience_ms: patience_ms(Some(patience)) };
        self.remote.wait(Some(patience), Ok(request), arrival)
    }

    /// Breaks the barrier: who waits and who comes is refused with [`Reason::Broken`](crate::Reason::Broken).
    pub fn abort(&self) -> Output<M, BarrierAbortRequest, ()> {
        self.remote.once(Ok(BarrierAbortRequest {}), |_, _| Ok(()))
    }

    /// Makes the barrier as it was at first; who waits is refused with [`Reason::Broken`](crate::Reason::Broken). Says whether
    /// there was something to do.
    pub fn reset(&self) -> Output<M, BarrierResetRequest, bool> {
        self.remote.once(Ok(BarrierResetRequest {}), |response, _| Ok(response.was_reset))
    }

    /// How many go on together. That never changes.
    pub fn parties(&self) -> Output<M, BarrierDescribeRequest, u64> {
        self.remote.once(Ok(BarrierDescribeRequest {}), |response, _| Ok(response.parties))
    }

    /// How many wait: Python's `n_waiting`.
    pub fn n_waiting(&self) -> Output<M, BarrierDescribeRequest, u64> {
        self.remote.once(Ok(BarrierDescribeRequest {}), |response, _| Ok(response.n_waiting))
    }

    /// Whether it is broken: Python's `broken`.
    pub fn is_broken(&self) -> Output<M, BarrierDescribeRequest, bool> {
        self.remote.once(Ok(BarrierDescribeRequest {}), |response, _| Ok(response.broken))
    }

    /// All of that, and what broke it.
    pub fn state(&self) -> Output<M, BarrierDescribeRequest, BarrierState> {
        self.remote.once(Ok(BarrierDescribeRequest {}), |response, _| Ok(response.into()))
    }
}

fn arrival(response: BarrierWaitResponse, _: u64) -> Result<Arrival> {
    let BarrierWaitResponse { index, generation } = response;
    Ok(Arrival { index, generation })
}

/// All parties came to a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// How many had come before this one: each party has another, from 0 to one below their number. What Python's `wait` returns.
    pub index: u64,
    /// Which time it was that parties came together; the same for all of them.
    pub generation: u64,
}

impl Arrival {
    /// Whether this is the one party that has the index 0, and may do what one alone is to do.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.index == 0
    }
}

/// What there is to know about a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierState {
    /// How many go on together.
    pub parties: u64,
    /// How many wait.
    pub n_waiting: u64,
    /// Which generation who comes now belongs to.
    pub generation: u64,
    /// What broke it, if it is broken.
    pub broken_by: Option<BreakCause>,
}

/// What broke a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakCause {
    /// Somebody aborted it.
    Abort,
    /// A party had waited as long as it would.
    Patience,
    /// A party gave up.
    Withdrawal,
    /// A party that waited was killed, or vanished.
    Loss,
    /// A party that waited said goodbye.
    Close,
    /// Something that this library does not know.
    Other,
}

impl From<BarrierDescribeResponse> for BarrierState {
    fn from(response: BarrierDescribeResponse) -> Self {
        let cause = match response.cause() {
            Wire::Abort => BreakCause::Abort,
            Wire::Patience => BreakCause::Patience,
            Wire::Withdrawal => BreakCause::Withdrawal,
            Wire::Loss => BreakCause::Loss,
            Wire::Close => BreakCause::Close,
            Wire::None => BreakCause::Other,
        };
        let BarrierDescribeResponse { parties, n_waiting, broken, generation, .. } = response;
        Self { parties, n_waiting, generation, broken_by: broken.then_some(cause) }
    }
}

/// How a barrier is made.
pub(super) fn spec(parties: u64, patience: Option<Duration>) -> BarrierSpec {
    BarrierSpec { parties: i64::try_from(parties).unwrap_or(i64::MAX), patience_ms: patience_ms(patience) }
}
