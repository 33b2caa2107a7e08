//! Shared locks.

use std::fmt;
use std::time::Duration;

use holdfast_proto::{
    LockAcquireRequest, LockAcquireResponse, LockDescribeRequest, LockDescribeResponse, LockReleaseRequest,
    LockResetRequest, LockSpec,
};

use super::holding::{Abandoned, Holding, patience_ms};
use super::reference::proxy;
use super::remote::{Grant, Remote};
use super::{Mode, Output};
use crate::error::Result;
use crate::fence::Fence;

/// A shared lock: Python's `multiprocessing.Lock`, which survives the death of its holder.
///
/// One process holds it at a time; who has waited longest gets it next. If its holder is killed it passes on at once, and
/// the next one learns it from [`LockGuard::abandoned`]. See the [crate] for what holds for every call.
///
/// It is no thread's: two threads of one process exclude each other as two processes do.
pub struct Lock<M: Mode> {
    remote: Remote<M>,
}

proxy!(Lock<> in lock);

/// A shared lock that its holder may take again: Python's `multiprocessing.RLock`.
///
/// It is held by a thread of a process, or by a task of an async one, and is free when that has given it back as often as
/// it has taken it. Otherwise as [`Lock`].
pub struct RLock<M: Mode> {
    remote: Remote<M>,
}

proxy!(RLock<> in lock);

impl<M: Mode> Lock<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// Takes the lock, and waits for it as long as it takes. It is released when the guard is dropped.
    ///
    /// An async call that is dropped gives up: it is withdrawn, and if the lock was granted meanwhile it is given back.
    pub fn acquire(&self) -> M::Output<Acquire<M>> {
        let finish = |remote, response, request: &LockAcquireRequest| Ok(LockGuard::new(remote, response, request));
        self.remote.grant(None, request::<M>(None), finish)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn acquire_within(&self, patience: Duration) -> M::Output<TryAcquire<M>> {
        self.remote.grant(Some(patience), request::<M>(Some(patience)), |remote, response, request| {
            Ok(response.acquired.then(|| LockGuard::new(remote, response, request)))
        })
    }

    /// Releases the lock in the place of whoever holds it with this fence: if the lock was made so that
    /// [anyone](Holding::released_by_anyone) may, or its holder has ended and it was kept.
    ///
    /// Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) if it is not yours to release, and with
    /// [`Reason::StaleFence`](crate::Reason::StaleFence) if it has passed on since.
    pub fn release(&self, fence: Fence) -> Output<M, LockReleaseRequest, ()> {
        let request = LockReleaseRequest { fence: Some(fence.get()), actor: M::actor() };
        self.remote.once(Ok(request), |_, _| Ok(()))
    }

    /// Whether somebody holds it.
    pub fn is_locked(&self) -> Output<M, LockDescribeRequest, bool> {
        self.remote.once(Ok(LockDescribeRequest {}), |response, _| Ok(response.locked))
    }

    /// Who holds it, how often, and how many wait.
    pub fn state(&self) -> Output<M, LockDescribeRequest, LockState> {
        self.remote.once(Ok(LockDescribeRequest {}), |response, _| Ok(response.into()))
    }

    /// Makes a lock that is [broken](super::OnLoss::Break) usable again, and frees one that was [kept](super::OnLoss::Keep).
    /// Says whether there was something to do.
    ///
    /// Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) if a process that lives holds it.
    pub fn reset(&self) -> Output<M, LockResetRequest, bool> {
        self.remote.once(Ok(LockResetRequest {}), |response, _| Ok(response.was_reset))
    }
}

impl<M: Mode> RLock<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// The calls are the same; what they mean was said when the lock was made.
    fn lock(&self) -> Lock<M> {
        Lock::of(self.remote.clone())
    }

    /// Takes the lock, at once if this thread or task has it, and waits for it as long as it takes otherwise. It is released
    /// when as many guards are dropped as were made.
    pub fn acquire(&self) -> M::Output<Acquire<M>> {
        self.lock().acquire()
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn acquire_within(&self, patience: Duration) -> M::Output<TryAcquire<M>> {
        self.lock().acquire_within(patience)
    }

    /// Whether somebody holds it.
    pub fn is_locked(&self) -> Output<M, LockDescribeRequest, bool> {
        self.lock().is_locked()
    }

    /// Who holds it, how often, and how many wait.
    pub fn state(&self) -> Output<M, LockDescribeRequest, LockState> {
        self.lock().state()
    }

    /// As [`Lock::reset`].
    pub fn reset(&self) -> Output<M, LockResetRequest, bool> {
        self.lock().reset()
    }
}

/// The taking of a lock.
pub type Acquire<M> = Grant<M, LockAcquireRequest, LockGuard<M>>;

/// The taking of a lock within a time.
pub type TryAcquire<M> = Grant<M, LockAcquireRequest, Option<LockGuard<M>>>;

/// Holds a lock until it is dropped.
///
/// What is dropped is released without waiting for the manager; [`release`](Self::release) waits, and says whether the lock
/// was still held.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<M: Mode> {
    /// `None` once it is released.
    remote: Option<Remote<M>>,
    fence: Fence,
    actor: u64,
    abandoned: Option<Box<Abandoned>>,
}

impl<M: Mode> LockGuard<M> {
    fn new(remote: Remote<M>, response: LockAcquireResponse, request: &LockAcquireRequest) -> Self {
        let LockAcquireResponse { fence, abandoned, .. } = response;
        let abandoned = abandoned.map(|abandoned| Box::new(abandoned.into()));
        Self { remote: Some(remote), fence: Fence::new(fence), actor: request.actor, abandoned }
    }

    /// What this grant is known by. Show it to what the lock protects: see [`Fence`].
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Who held the lock before and was lost, if somebody was: what it protects may be half changed.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Abandoned> {
        self.abandoned.as_deref()
    }

    /// Releases the lock, and waits until that is done.
    ///
    /// Refused with [`Reason::StaleFence`](crate::Reason::StaleFence) or [`Reason::NotHeld`](crate::Reason::NotHeld) if it was
    /// not held any more.
    pub fn release(mut self) -> Output<M, LockReleaseRequest, ()> {
        let remote = self.remote.take().expect("a guard is released once");
        remote.once(Ok(self.request()), |_, _| Ok(()))
    }

    /// Leaves the lock held, for somebody who is told its fence, or until this process ends.
    pub fn keep(mut self) -> Fence {
        self.remote = None;
        self.fence
    }

    fn request(&self) -> LockReleaseRequest {
        LockReleaseRequest { fence: Some(self.fence.get()), actor: self.actor }
    }
}

impl<M: Mode> Drop for LockGuard<M> {
    fn drop(&mut self) {
        if let Some(remote) = self.remote.take() {
            remote.cast(&self.request());
        }
    }
}

impl<M: Mode> fmt::Debug for LockGuard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// What there is to know about a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockState {
    /// The fence of who holds it, if somebody does.
    pub held: Option<Fence>,
    /// How often it was taken by its holder.
    pub depth: u32,
    /// Whether its holder is this process.
    pub is_ours: bool,
    /// Whether its holder has ended, and it was kept.
    pub is_kept: bool,
    /// How many wait for it.
    pub waiting: u64,
    /// Who broke it, if it is broken.
    pub broken_by: Option<Abandoned>,
}

impl From<LockDescribeResponse> for LockState {
    fn from(response: LockDescribeResponse) -> Self {
        let LockDescribeResponse { locked, fence, depth, yours, waiting, broken_by, kept, .. } = response;
        let (held, broken_by) = (locked.then(|| fence.into()), broken_by.map(Abandoned::from));
        Self { held, depth, is_ours: yours, is_kept: kept, waiting, broken_by }
    }
}

fn request<M: Mode>(patience: Option<Duration>) -> Result<LockAcquireRequest> {
    Ok(LockAcquireRequest { patience_ms: patience_ms(patience), actor: M::actor() })
}

/// How a lock is made.
pub(super) fn spec(reentrant: bool, holding: Holding) -> LockSpec {
    LockSpec {
        reentrant,
        on_loss: holding.on_loss.into(),
        on_close: holding.on_close.into(),
        released_by_anyone: holding.released_by_anyone && !reentrant,
    }
}
