//! Which process this is.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::proxy::{Async, Blocking, Mode};

/// What this process was told of itself when it began; nothing if it is no child.
static BEGUN: OnceLock<Begun> = OnceLock::new();

/// How many processes were made here.
static CHILDREN: AtomicU32 = AtomicU32::new(0);

/// The name of a process that no other started.
const MAIN: &str = "MainProcess";

/// What a child is told of itself.
pub(super) struct Begun {
    pub(super) name: String,
    /// Which child of which child it is.
    pub(super) path: Vec<u32>,
    pub(super) is_daemon: bool,
    pub(super) parent: Parent,
}

pub(super) struct Parent {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) process: OwnedFd,
}

/// This process was told so.
pub(super) fn begin(begun: Begun) {
    // A process is begun once.
    let _ = BEGUN.set(begun);
}

pub(super) fn begun() -> Option<&'static Begun> {
    BEGUN.get()
}

/// The path of the next process that is made here.
pub(super) fn next_path() -> Vec<u32> {
    let mut path = begun().map(|begun| begun.path.clone()).unwrap_or_default();
    path.push(CHILDREN.fetch_add(1, Ordering::Relaxed) + 1);
    path
}

/// What this process was called when it was started, if this library did that.
pub(crate) fn given_name() -> Option<&'static str> {
    begun().map(|begun| &*begun.name)
}

/// The process that calls this: Python's `multiprocessing.current_process()`.
#[must_use]
pub fn current_process() -> CurrentProcess {
    CurrentProcess { pid: process::id() }
}

/// The process that this is.
#[derive(Clone, Copy, Debug)]
pub struct CurrentProcess {
    pid: u32,
}

impl CurrentProcess {
    /// Its name: the one that it was started with, or `MainProcess` if no [`Process`](crate::Process) is it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        begun().map_or(MAIN, |begun| &begun.name)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it ends with its parent.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        begun().is_some_and(|begun| begun.is_daemon)
    }
}

/// The process that started this one: Python's `multiprocessing.parent_process()`. `None` if no [`Process`](crate::Process) is this.
#[must_use]
pub(crate) fn parent_process<M: Mode>() -> Option<ParentProcess<M>> {
    begun().map(|begun| ParentProcess { parent: &begun.parent, _mode: PhantomData })
}

/// The process that started this one.
pub struct ParentProcess<M: Mode> {
    parent: &'static Parent,
    _mode: PhantomData<M>,
}

impl<M: Mode> fmt::Debug for ParentProcess<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parent { name, pid, .. } = self.parent;
        f.debug_struct("ParentProcess").field("name", name).field("pid", pid).finish()
    }
}

impl<M: Mode> ParentProcess<M> {
    /// Its name, as it was when this process was started.
    #[must_use]
    pub fn name(&self) -> &'static str {
        &self.parent.name
    }

    /// Its process id. Another process may have it when this one has ended; the other methods are never deceived by that.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.parent.pid
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !has_ended_by(&self.parent.process, Some(Instant::now()))
    }
}

impl ParentProcess<Blocking> {
    /// Waits until it has ended.
    pub fn join(&self) {
        has_ended_by(&self.parent.process, None);
    }

    /// Waits until it has ended, for so long at most. Says whether it has.
    #[must_use]
    pub fn join_within(&self, time: Duration) -> bool {
        has_ended_by(&self.parent.process, Instant::now().checked_add(time))
    }
}

impl ParentProcess<Async> {
    /// Waits until it has ended. Must be called within a tokio runtime; dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// What the system says where it has no file descriptor left for this.
    pub async fn join(&self) -> io::Result<()> {
        let process = self.parent.process.try_clone()?;
        #[expect(
            deprecated,
            reason = "it takes anything for the owner of a file descriptor, which is unsound; an OwnedFd is one, and what replaces \
                      it is unsafe to call"
        )]
        let watched = AsyncFd::with_interest(process, Interest::READABLE)?;
        watched.readable().await?.retain_ready();
        Ok(())
    }

    /// Waits until it has ended, for so long at most. Says whether it has.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub async fn join_within(&self, time: Duration) -> io::Result<bool> {
        tokio::time::timeout(time, self.join()).await.map_or(Ok(false), |joined| joined.map(|()| true))
    }
}

/// Waits until a process has ended, until then at most. Says whether it has.
fn has_ended_by(process: &OwnedFd, until: Option<Instant>) -> bool {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A time that is too long for the system is as good as none.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let ready = poll(&mut [PollFd::new(process, PollFlags::IN)], timeout.as_ref());
        if ready == Ok(1) {
            return true;
        }
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
    }
}
