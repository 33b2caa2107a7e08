//! Shared locks.

mod condition;
mod hold;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::{
    LockAcquireRequest, LockAcquireResponse, LockDescribeRequest, LockDescribeResponse, LockReleaseRequest,
    LockResetRequest, LockSpec, LockWaitResponse, Reason, Refusal,
};

use super::holding::{Abandoned, Holding, patience_ms};
use super::reference::proxy;
use super::remote::{Ending, Grant, Guard, Remote};
use super::{Mode, Output};
use crate::error::Result;
use crate::fence::Fence;
use crate::session::{Asking, Heard};
use hold::Hold;

pub use condition::{Condition, Waiting};

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
        let finish = |remote, response, request: &LockAcquireRequest| Ok(LockGuard::alone(remote, response, request));
        self.remote.grant(None, request::<M>(None), finish)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn acquire_within(&self, patience: Duration) -> M::Output<TryAcquire<M>> {
        self.remote.grant(Some(patience), request::<M>(Some(patience)), |remote, response, request| {
            Ok(response.acquired.then(|| LockGuard::alone(remote, response, request)))
        })
    }

    /// Releases the lock in the place of whoever holds it with this fence: if the lock was made so that
    /// [anyone](Holding::released_by_anyone) may, or its holder has ended and it was kept.
    ///
    /// Refused with [`Reason::NotHeld`] if it is not yours to release, and with
    /// [`Reason::StaleFence`] if it has passed on since.
    pub fn release(&self, fence: Fence) -> Output<M, LockReleaseRequest, ()> {
        let request = LockReleaseRequest { fence: Some(fence.get()), actor: M::actor() };
        self.remote.once(Ok(request), |_, _| Ok(()))
    }

    /// A condition of this lock: Python's `Condition(lock)`. All that have the same name, in whatever process, are the same one.
    ///
    /// Nothing is asked of the manager. A name of more than 256 bytes is refused with
    /// [`Reason::InvalidName`] when the condition is used.
    #[must_use]
    pub fn condition(&self, name: &str) -> Condition<M> {
        Condition::new(self.remote.clone(), name)
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
    /// Refused with [`Reason::NotHeld`] if a process that lives holds it.
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
        acquire(&self.remote)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn acquire_within(&self, patience: Duration) -> M::Output<TryAcquire<M>> {
        acquire_within(&self.remote, patience)
    }

    /// A condition of this lock, as [`Lock::condition`]. A wait gives the lock back wholly, and gets it back as often as it was
    /// taken; all guards of this thread or task hold it again then.
    #[must_use]
    pub fn condition(&self, name: &str) -> Condition<M> {
        Condition::new(self.remote.clone(), name)
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

/// Takes a lock that may be reentrant.
fn acquire<M: Mode>(remote: &Remote<M>) -> M::Output<Acquire<M>> {
    let finish = |remote, response, request: &LockAcquireRequest| Ok(LockGuard::shared(remote, response, request));
    remote.grant(None, request::<M>(None), finish)
}

fn acquire_within<M: Mode>(remote: &Remote<M>, patience: Duration) -> M::Output<TryAcquire<M>> {
    remote.grant(Some(patience), request::<M>(Some(patience)), |remote, response, request| {
        Ok(response.acquired.then(|| LockGuard::shared(remote, response, request)))
    })
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
    remote: Remote<M>,
    hold: Arc<Hold>,
    actor: u64,
    /// Whether what it holds is given back when it is dropped.
    is_armed: bool,
    abandoned: Option<Box<Abandoned>>,
}

impl<M: Mode> LockGuard<M> {
    /// One whose lock is not taken again while this holds it.
    fn alone(remote: Remote<M>, response: LockAcquireResponse, request: &LockAcquireRequest) -> Self {
        let hold = Hold::alone(response.fence);
        Self::new(remote, hold, response, request)
    }

    /// One of those that hold it, if this actor had it already.
    fn shared(remote: Remote<M>, response: LockAcquireResponse, request: &LockAcquireRequest) -> Self {
        let hold = Hold::shared(response.fence, (remote.place(), request.actor));
        Self::new(remote, hold, response, request)
    }

    fn new(remote: Remote<M>, hold: Arc<Hold>, response: LockAcquireResponse, request: &LockAcquireRequest) -> Self {
        let abandoned = response.abandoned.map(|abandoned| Box::new(abandoned.into()));
        Self { remote, hold, actor: request.actor, is_armed: true, abandoned }
    }

    /// What this grant is known by. Show it to what the lock protects: see [`Fence`]. A wait on a condition changes it.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.hold.fence()
    }

    /// Whether it holds the lock, as far as this process knows: not any more after a [wait](Condition::wait) that did not get it
    /// back, because its future was dropped, or the lock broke.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// Who held the lock before and was lost, if somebody was: what it protects may be half changed. After a wait on a
    /// condition, who did so meanwhile.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Abandoned> {
        self.abandoned.as_deref()
    }

    /// Releases the lock, and waits until that is done. An async call that is dropped before it was polled leaves that to the
    /// guard, which is dropped with it.
    ///
    /// Refused with [`Reason::StaleFence`] or [`Reason::NotHeld`] if it was
    /// not held any more.
    pub fn release(self) -> M::Output<Ending<M, Self, LockReleaseRequest, ()>> {
        let request = self.check().map(|()| self.request());
        self.remote.clone().end(self, request)
    }

    /// Leaves the lock held, for somebody who is told its fence, or until this process ends.
    pub fn keep(mut self) -> Fence {
        self.is_armed = false;
        self.fence()
    }

    fn request(&self) -> LockReleaseRequest {
        LockReleaseRequest { fence: Some(self.fence().get()), actor: self.actor }
    }

    /// Refused: `NOT_HELD`.
    fn check(&self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        let problem = "this guard holds nothing: a wait on a condition gave its lock back, and was dropped or refused before \
                       it had it again; acquire the lock again";
        Err(Refusal::new(Reason::NotHeld, problem).into())
    }

    /// A wait on a condition has the lock again.
    fn renew(&mut self, response: LockWaitResponse) {
        self.hold.renew(response.fence);
        self.abandoned = response.abandoned.map(|abandoned| Box::new(abandoned.into()));
    }
}

impl<M: Mode> Guard for LockGuard<M> {
    fn disarm(&mut self) {
        self.is_armed = false;
    }
}

impl<M: Mode> Drop for LockGuard<M> {
    fn drop(&mut self) {
        if self.is_armed && self.is_held() {
            self.remote.cast(&self.request());
        }
    }
}

impl<M: Mode> fmt::Debug for LockGuard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard").field("fence", &self.fence()).finish_non_exhaustive()
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
    /// How many wait on its conditions, and were not notified yet.
    pub waiting_on_conditions: u64,
    /// Whether it was made reentrant.
    pub is_reentrant: bool,
    /// Who broke it, if it is broken.
    pub broken_by: Option<Abandoned>,
}

impl From<LockDescribeResponse> for LockState {
    fn from(response: LockDescribeResponse) -> Self {
        let LockDescribeResponse { locked, fence, depth, yours, waiting, broken_by, kept, .. } = response;
        let (held, broken_by) = (locked.then(|| fence.into()), broken_by.map(Abandoned::from));
        let LockDescribeResponse { waiting_on_conditions, reentrant: is_reentrant, .. } = response;
        Self { held, depth, is_ours: yours, is_kept: kept, waiting, waiting_on_conditions, is_reentrant, broken_by }
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

/// Asks what a lock that was opened is like.
pub(super) fn ask_reentrant<M: Mode>(lock: &Remote<M>, asking: Asking<'_>) -> Result<()> {
    lock.ask(asking, &LockDescribeRequest {})
}

/// Checks that a lock is reentrant, or that it is not. Refused: `OTHER_SPEC`.
pub(super) fn check_reentrant<const REENTRANT: bool, M: Mode>(lock: &Remote<M>, heard: Heard) -> Result<()> {
    let (LockDescribeResponse { reentrant, .. }, _) = lock.decode(heard)?;
    let problem = match (REENTRANT, reentrant) {
        (true, false) => "the lock was not made reentrant: open it with lock_from_token",
        (false, true) => "the lock was made reentrant: open it with rlock_from_token",
        _ => return Ok(()),
    };
    Err(Refusal::new(Reason::OtherSpec, problem).into())
}
