//! Shared locks for many readers or one writer.

use std::fmt;
use std::time::Duration;

use holdfast_proto::{
    RwlockAcquireReadRequest, RwlockAcquireWriteRequest, RwlockDescribeRequest, RwlockDescribeResponse,
    RwlockDowngradeRequest, RwlockReleaseReadRequest, RwlockReleaseWriteRequest, RwlockResetRequest, RwlockSpec,
};

use super::holding::{Abandoned, Holding, patience_ms};
use super::reference::proxy;
use super::remote::{Ending, Grant, Guard, Remote};
use super::{Mode, Output};
use crate::fence::Fence;

/// A shared lock that many may hold to read, or one to write, and which survives the death of its holders. Python has none.
///
/// It is fair to both: readers that wait next to each other get it together, nobody overtakes a writer that waits, and a writer
/// overtakes nobody. So who reads and asks to read again waits behind a writer that came between, and that writer waits for the
/// first guard: read once, and pass on that it is read. See the [crate] for what holds for every call.
///
/// It is no thread's: two threads of one process exclude each other as two processes do.
pub struct RwLock<M: Mode> {
    remote: Remote<M>,
}

proxy!(RwLock<> in rwlock);

impl<M: Mode> RwLock<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// Takes the lock to read, and waits as long as it takes where somebody writes, or waits to. It is released when the guard is
    /// dropped.
    ///
    /// An async call that is dropped gives up: it is withdrawn, and if the lock was granted meanwhile it is given back. Refused
    /// with [`Reason::Broken`](crate::Reason::Broken), and with [`Reason::Quota`](crate::Reason::Quota) if too many wait.
    pub fn read(&self) -> M::Output<Read<M>> {
        self.remote.grant(None, Ok(RwlockAcquireReadRequest { patience_ms: None }), |remote, response, _| {
            Ok(RwLockReadGuard::new(remote, response.fence, response.abandoned))
        })
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn read_within(&self, patience: Duration) -> M::Output<TryRead<M>> {
        let request = RwlockAcquireReadRequest { patience_ms: patience_ms(Some(patience)) };
        self.remote.grant(Some(patience), Ok(request), |remote, response, _| {
            Ok(response.acquired.then(|| RwLockReadGuard::new(remote, response.fence, response.abandoned)))
        })
    }

    /// Takes the lock to write, and waits as long as it takes where anybody has it. Otherwise as [`read`](Self::read).
    pub fn write(&self) -> M::Output<Write<M>> {
        self.remote.grant(None, Ok(RwlockAcquireWriteRequest { patience_ms: None }), |remote, response, _| {
            Ok(RwLockWriteGuard::new(remote, response.fence, response.abandoned))
        })
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn write_within(&self, patience: Duration) -> M::Output<TryWrite<M>> {
        let request = RwlockAcquireWriteRequest { patience_ms: patience_ms(Some(patience)) };
        self.remote.grant(Some(patience), Ok(request), |remote, response, _| {
            Ok(response.acquired.then(|| RwLockWriteGuard::new(remote, response.fence, response.abandoned)))
        })
    }

    /// Releases what a writer was granted with this fence, and that it [kept](RwLockWriteGuard::keep): this process, or one that
    /// has ended.
    ///
    /// Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) if it is not yours to release, and with
    /// [`Reason::StaleFence`](crate::Reason::StaleFence) if it has passed on since.
    pub fn release_write(&self, fence: Fence) -> Output<M, RwlockReleaseWriteRequest, ()> {
        self.remote.once(Ok(RwlockReleaseWriteRequest { fence: Some(fence.get()) }), |_, _| Ok(()))
    }

    /// Who has it, and how many wait.
    pub fn state(&self) -> Output<M, RwlockDescribeRequest, RwLockState> {
        self.remote.once(Ok(RwlockDescribeRequest {}), |response, _| Ok(response.into()))
    }

    /// Makes a lock that is [broken](super::OnLoss::Break) usable again, and frees one whose writer [kept](super::OnLoss::Keep)
    /// it. Says whether there was something to do.
    ///
    /// Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) if a process that lives has it.
    pub fn reset(&self) -> Output<M, RwlockResetRequest, bool> {
        self.remote.once(Ok(RwlockResetRequest {}), |response, _| Ok(response.was_reset))
    }
}

/// The taking of a lock to read.
pub type Read<M> = Grant<M, RwlockAcquireReadRequest, RwLockReadGuard<M>>;

/// The taking of a lock to read, within a time.
pub type TryRead<M> = Grant<M, RwlockAcquireReadRequest, Option<RwLockReadGuard<M>>>;

/// The taking of a lock to write.
pub type Write<M> = Grant<M, RwlockAcquireWriteRequest, RwLockWriteGuard<M>>;

/// The taking of a lock to write, within a time.
pub type TryWrite<M> = Grant<M, RwlockAcquireWriteRequest, Option<RwLockWriteGuard<M>>>;

/// Holds a lock to read until it is dropped.
///
/// What is dropped is released without waiting for the manager; [`release`](Self::release) waits.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockReadGuard<M: Mode> {
    remote: Remote<M>,
    fence: Fence,
    is_armed: bool,
    abandoned: Option<Box<Abandoned>>,
}

impl<M: Mode> RwLockReadGuard<M> {
    fn new(remote: Remote<M>, fence: u64, abandoned: Option<holdfast_proto::Abandoned>) -> Self {
        let abandoned = abandoned.map(|abandoned| Box::new(abandoned.into()));
        Self { remote, fence: fence.into(), is_armed: true, abandoned }
    }

    /// What this grant is known by: see [`Fence`]. Readers that were let in together have the same.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// The last writer, if it was lost and no writer was told yet: what is read may be half changed.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Abandoned> {
        self.abandoned.as_deref()
    }

    /// Releases the lock, and waits until that is done.
    ///
    /// Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) or [`Reason::StaleFence`](crate::Reason::StaleFence) if it was
    /// not held any more.
    pub fn release(self) -> M::Output<Ending<M, Self, RwlockReleaseReadRequest, ()>> {
        let request = self.request();
        self.remote.clone().end(self, Ok(request))
    }

    fn request(&self) -> RwlockReleaseReadRequest {
        RwlockReleaseReadRequest { fence: Some(self.fence.get()) }
    }
}

impl<M: Mode> Guard for RwLockReadGuard<M> {
    fn disarm(&mut self) {
        self.is_armed = false;
    }
}

impl<M: Mode> Drop for RwLockReadGuard<M> {
    fn drop(&mut self) {
        if self.is_armed {
            self.remote.cast(&self.request());
        }
    }
}

impl<M: Mode> fmt::Debug for RwLockReadGuard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockReadGuard").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// Holds a lock to write until it is dropped.
///
/// What is dropped is released without waiting for the manager; [`release`](Self::release) waits.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RwLockWriteGuard<M: Mode> {
    remote: Remote<M>,
    fence: Fence,
    is_armed: bool,
    abandoned: Option<Box<Abandoned>>,
}

impl<M: Mode> RwLockWriteGuard<M> {
    fn new(remote: Remote<M>, fence: u64, abandoned: Option<holdfast_proto::Abandoned>) -> Self {
        let abandoned = abandoned.map(|abandoned| Box::new(abandoned.into()));
        Self { remote, fence: fence.into(), is_armed: true, abandoned }
    }

    /// What this grant is known by. Show it to what the lock protects: see [`Fence`].
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// The last writer, if it was lost and no writer was told yet: what the lock protects may be half changed.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Abandoned> {
        self.abandoned.as_deref()
    }

    /// Goes on as a reader, so that nobody writes between; readers that waited next read too.
    ///
    /// An async call that is dropped gives the lock back. Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) or
    /// [`Reason::StaleFence`](crate::Reason::StaleFence) if it was not held any more. There is no way from reader to writer:
    /// two who tried would wait for each other.
    pub fn downgrade(self) -> M::Output<Ending<M, Self, RwlockDowngradeRequest, RwLockReadGuard<M>>> {
        let request = RwlockDowngradeRequest { fence: Some(self.fence.get()) };
        self.remote
            .clone()
            .exchange(self, Ok(request), |remote, response| RwLockReadGuard::new(remote.clone(), response.fence, None))
    }

    /// Releases the lock, and waits until that is done.
    ///
    /// Refused with [`Reason::NotHeld`](crate::Reason::NotHeld) or [`Reason::StaleFence`](crate::Reason::StaleFence) if it was
    /// not held any more.
    pub fn release(self) -> M::Output<Ending<M, Self, RwlockReleaseWriteRequest, ()>> {
        let request = self.request();
        self.remote.clone().end(self, Ok(request))
    }

    /// Leaves the lock held, until [`release_write`](RwLock::release_write) with its fence, or until this process ends.
    pub fn keep(mut self) -> Fence {
        self.is_armed = false;
        self.fence
    }

    fn request(&self) -> RwlockReleaseWriteRequest {
        RwlockReleaseWriteRequest { fence: Some(self.fence.get()) }
    }
}

impl<M: Mode> Guard for RwLockWriteGuard<M> {
    fn disarm(&mut self) {
        self.is_armed = false;
    }
}

impl<M: Mode> Drop for RwLockWriteGuard<M> {
    fn drop(&mut self) {
        if self.is_armed {
            self.remote.cast(&self.request());
        }
    }
}

impl<M: Mode> fmt::Debug for RwLockWriteGuard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockWriteGuard").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// What there is to know about a lock for many readers or one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RwLockState {
    /// The fence of who writes, if somebody does.
    pub writing: Option<Fence>,
    /// Whether that is this process.
    pub is_ours: bool,
    /// Whether the writer has ended, and the lock was kept.
    pub is_kept: bool,
    /// How many read.
    pub reading: u64,
    /// How many of them are of this process.
    pub reading_here: u64,
    /// How many wait, to read or to write.
    pub waiting: u64,
    /// Who broke it, if it is broken.
    pub broken_by: Option<Abandoned>,
}

impl From<RwlockDescribeResponse> for RwLockState {
    fn from(response: RwlockDescribeResponse) -> Self {
        let RwlockDescribeResponse { writing, fence, yours, reading, yours_reading, waiting, broken_by, kept } =
            response;
        let (writing, broken_by) = (writing.then(|| fence.into()), broken_by.map(Abandoned::from));
        Self { writing, is_ours: yours, is_kept: kept, reading, reading_here: yours_reading, waiting, broken_by }
    }
}

/// How a lock is made.
pub(super) fn spec(holding: Holding) -> RwlockSpec {
    RwlockSpec { on_loss: holding.on_loss.into(), on_close: holding.on_close.into() }
}
