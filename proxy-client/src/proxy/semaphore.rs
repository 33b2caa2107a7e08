//! Shared semaphores.

use std::fmt;
use std::time::Duration;

use holdfast_proto::{
    SemaphoreAcquireRequest, SemaphoreAcquireResponse, SemaphoreDescribeRequest, SemaphoreDescribeResponse,
    SemaphoreReleaseRequest, SemaphoreResetRequest, SemaphoreSpec,
};

use super::holding::{Abandoned, Holding, patience_ms};
use super::reference::proxy;
use super::remote::{Ending, Grant, Guard, Remote};
use super::{Mode, Output};
use crate::error::Result;
use crate::fence::Fence;

/// A shared semaphore: Python's `multiprocessing.Semaphore` and `BoundedSemaphore`, whose permits survive the death of those who
/// took them.
///
/// Permits go to who has waited longest, all that it asked for at once or none; who asks for many is not overtaken by those who
/// ask for few. They belong to the process that took them, and come back when it ends, unless the semaphore was made with
/// [`Holding::multiprocessing`]: then they belong to nobody, as in Python, and only a release brings them back.
/// See the [crate] for what holds for every call.
pub struct Semaphore<M: Mode> {
    remote: Remote<M>,
}

proxy!(Semaphore<> in semaphore);

impl<M: Mode> Semaphore<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// Takes one permit, and waits for it as long as it takes. It is released when what this returns is dropped.
    ///
    /// An async call that is dropped gives up: it is withdrawn, and a permit that was granted meanwhile is given back. Refused
    /// with [`Reason::Broken`](crate::Reason::Broken), and with [`Reason::Quota`](crate::Reason::Quota) if too many wait or hold.
    pub fn acquire(&self) -> M::Output<AcquirePermits<M>> {
        self.acquire_many(1)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn acquire_within(&self, patience: Duration) -> M::Output<TryAcquirePermits<M>> {
        self.acquire_many_within(1, patience)
    }

    /// Takes `n` permits together; 0 are 1. Otherwise as [`acquire`](Self::acquire).
    ///
    /// Refused with [`Reason::OutOfRange`](crate::Reason::OutOfRange) if there never are so many.
    pub fn acquire_many(&self, n: u64) -> M::Output<AcquirePermits<M>> {
        self.remote
            .grant(None, request(n, None), |remote, response, request| Ok(Permits::new(remote, response, request)))
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if they could not be had together.
    pub fn acquire_many_within(&self, n: u64, patience: Duration) -> M::Output<TryAcquirePermits<M>> {
        self.remote.grant(Some(patience), request(n, Some(patience)), |remote, response, request| {
            Ok(response.acquired.then(|| Permits::new(remote, response, request)))
        })
    }

    /// Gives `n` permits back that this process has [kept](Permits::keep), those of its oldest grants first; 0 are 1. Where
    /// permits belong to nobody, anybody may do this: Python's `release(n)`.
    ///
    /// Refused, and nothing given back, with [`Reason::NotHeld`](crate::Reason::NotHeld) if this process has not so many; with
    /// [`Reason::OverRelease`](crate::Reason::OverRelease) if there would be more than there were at first, and the semaphore is
    /// bounded; and with [`Reason::Overflow`](crate::Reason::Overflow) at 2⁶³.
    pub fn release(&self, n: u64) -> Output<M, SemaphoreReleaseRequest, ()> {
        let request = SemaphoreReleaseRequest { permits: permits(n), fence: None };
        self.remote.once(Ok(request), |_, _| Ok(()))
    }

    /// Gives back all that is left of the grant with this fence, whose holder is this process, or has ended and left them kept.
    ///
    /// Refused with [`Reason::StaleFence`](crate::Reason::StaleFence) if there is nothing left of it, and with
    /// [`Reason::Malformed`](crate::Reason::Malformed) if permits belong to nobody.
    pub fn release_grant(&self, fence: Fence) -> Output<M, SemaphoreReleaseRequest, ()> {
        let request = SemaphoreReleaseRequest { permits: 0, fence: Some(fence.get()) };
        self.remote.once(Ok(request), |_, _| Ok(()))
    }

    /// How many permits are free: Python's `get_value`.
    pub fn value(&self) -> Output<M, SemaphoreDescribeRequest, u64> {
        self.remote.once(Ok(SemaphoreDescribeRequest {}), |response, _| Ok(response.value))
    }

    /// How many permits are free, who has the others, and how many wait.
    pub fn state(&self) -> Output<M, SemaphoreDescribeRequest, SemaphoreState> {
        self.remote.once(Ok(SemaphoreDescribeRequest {}), |response, _| Ok(response.into()))
    }

    /// Makes a semaphore that is [broken](super::OnLoss::Break) usable again, and gives back what ended processes
    /// [kept](super::OnLoss::Keep). Says whether there was something to do. Those who live keep what they have.
    pub fn reset(&self) -> Output<M, SemaphoreResetRequest, bool> {
        self.remote.once(Ok(SemaphoreResetRequest {}), |response, _| Ok(response.was_reset))
    }
}

/// The taking of permits.
pub type AcquirePermits<M> = Grant<M, SemaphoreAcquireRequest, Permits<M>>;

/// The taking of permits within a time.
pub type TryAcquirePermits<M> = Grant<M, SemaphoreAcquireRequest, Option<Permits<M>>>;

/// Holds permits of a semaphore until it is dropped.
///
/// What is dropped is released without waiting for the manager; [`release`](Self::release) waits.
#[must_use = "the permits are released when this is dropped"]
pub struct Permits<M: Mode> {
    remote: Remote<M>,
    fence: Fence,
    /// 0 once it has given them up.
    permits: u64,
    /// They belong to nobody, so that they are released without a fence.
    is_unowned: bool,
    abandoned: Option<Box<Abandoned>>,
}

impl<M: Mode> Permits<M> {
    fn new(remote: Remote<M>, response: SemaphoreAcquireResponse, request: &SemaphoreAcquireRequest) -> Self {
        let SemaphoreAcquireResponse { fence, abandoned, unowned, .. } = response;
        let abandoned = abandoned.map(|abandoned| Box::new(abandoned.into()));
        let permits = u64::try_from(request.permits).unwrap_or_default().max(1);
        Self { remote, fence: fence.into(), permits, is_unowned: unowned, abandoned }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.permits
    }

    /// What this grant is known by. Show it to what the permits are for: see [`Fence`]. Grants that were made at once, when
    /// somebody gave many permits back, have the same.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Who had permits and was lost, if somebody was and nobody was told yet: what they were for may be half done.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Abandoned> {
        self.abandoned.as_deref()
    }

    /// Takes `n` of these permits out, as a guard of their own, to be released apart; `None`, and nothing changed, unless that
    /// leaves some to either. Asks nothing of the manager.
    pub fn split_off(&mut self, n: u64) -> Option<Self> {
        if n == 0 || n >= self.permits {
            return None;
        }
        self.permits -= n;
        let (remote, fence, is_unowned) = (self.remote.clone(), self.fence, self.is_unowned);
        Some(Self { remote, fence, permits: n, is_unowned, abandoned: None })
    }

    /// Releases the permits, and waits until that is done. An async call that is dropped before it was polled leaves that to the
    /// guard, which is dropped with it.
    ///
    /// Refused with [`Reason::StaleFence`](crate::Reason::StaleFence) or [`Reason::NotHeld`](crate::Reason::NotHeld) if they were
    /// not held any more; where permits belong to nobody, as [`Semaphore::release`].
    pub fn release(self) -> M::Output<Ending<M, Self, SemaphoreReleaseRequest, ()>> {
        let request = self.request();
        self.remote.clone().end(self, Ok(request))
    }

    /// Leaves the permits taken, until [`Semaphore::release`] or [`Semaphore::release_grant`], or, unless they belong to nobody,
    /// until this process ends.
    pub fn keep(mut self) -> Fence {
        self.permits = 0;
        self.fence
    }

    fn request(&self) -> SemaphoreReleaseRequest {
        let fence = (!self.is_unowned).then_some(self.fence.get());
        SemaphoreReleaseRequest { permits: permits(self.permits), fence }
    }
}

impl<M: Mode> Guard for Permits<M> {
    fn disarm(&mut self) {
        self.permits = 0;
    }
}

impl<M: Mode> Drop for Permits<M> {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.remote.cast(&self.request());
        }
    }
}

impl<M: Mode> fmt::Debug for Permits<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").field("count", &self.permits).field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// What there is to know about a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreState {
    /// How many permits are free.
    pub value: u64,
    /// How many calls wait.
    pub waiting: u64,
    /// How many permits this process has. Those that belong to nobody are not counted.
    pub held_here: u64,
    /// How many grants there are of which something is left.
    pub grants: u64,
    /// These grants, or the first 100 of them.
    pub holders: Vec<SemaphoreHolder>,
    /// Who broke it, if it is broken.
    pub broken_by: Option<Abandoned>,
}

/// What is left of a grant of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreHolder {
    /// What it is known by.
    pub fence: Fence,
    /// How many of its permits were not given back.
    pub permits: u64,
    /// Whether this process has them.
    pub is_ours: bool,
    /// Whether the process that had them has ended, and they were kept.
    pub is_kept: bool,
}

impl From<SemaphoreDescribeResponse> for SemaphoreState {
    fn from(response: SemaphoreDescribeResponse) -> Self {
        let SemaphoreDescribeResponse { value, waiting, held_by_you, grants, holders, broken_by } = response;
        let holders = holders.into_iter().map(SemaphoreHolder::from).collect();
        let broken_by = broken_by.map(Abandoned::from);
        Self { value, waiting, held_here: held_by_you, grants, holders, broken_by }
    }
}

impl From<holdfast_proto::SemaphoreGrant> for SemaphoreHolder {
    fn from(grant: holdfast_proto::SemaphoreGrant) -> Self {
        let holdfast_proto::SemaphoreGrant { fence, permits, yours, kept } = grant;
        Self { fence: fence.into(), permits, is_ours: yours, is_kept: kept }
    }
}

fn request(n: u64, patience: Option<Duration>) -> Result<SemaphoreAcquireRequest> {
    Ok(SemaphoreAcquireRequest { patience_ms: patience_ms(patience), permits: permits(n) })
}

/// A number of permits as it stands in requests. There are never more.
fn permits(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// How a semaphore is made.
pub(super) fn spec(value: u64, bounded: bool, holding: Holding) -> SemaphoreSpec {
    let unowned = holding.released_by_anyone;
    // What belongs to nobody stays taken whoever ends.
    let on_close = if unowned { 0 } else { holding.on_close.into() };
    SemaphoreSpec { value: Some(permits(value)), bounded, on_loss: holding.on_loss.into(), on_close, unowned }
}
