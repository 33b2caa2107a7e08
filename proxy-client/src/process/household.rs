//! The children of this process, and the one thread that waits for all of them.
//!
//! - A child is here from its start until the thread has reaped it, whether somebody has a handle to it or not. So none stays a
//!   zombie.
//! - It is known by its pidfd alone, which cannot come to mean another process: so it is waited for, and so it is signalled.
//! - Nobody else of this library waits for it. Where another part of the program does (`waitpid(-1)`), or where `SIGCHLD` is
//!   ignored, the status is lost to us: it has ended then, and nobody knows how.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use tokio::sync::Notify;

use super::error::{GRACE, ProcessError};
use crate::child;
use crate::owner::Owner;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else has taken the status.
    Unknown,
}

impl Exit {
    /// As Python's `exitcode`: the code, or the signal with a minus.
    pub(crate) fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(-signal),
            Self::Unknown => None,
        }
    }
}

/// Is told how a process ended: on the thread that waits for all of them, so it must not wait for anything itself.
pub(crate) type Notice = Box<dyn FnOnce(Exit) + Send>;

/// A process that was started here.
pub(crate) struct Started {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) is_daemon: bool,
    process: OwnedFd,
    owner: Owner,
    state: Mutex<State>,
    /// Those who wait for its end: threads, and tasks.
    ended: Condvar,
    told: Notify,
}

struct State {
    exit: Option<Exit>,
    /// What is to be kept, and who is to be told, until it has ended.
    until_end: Option<UntilEnd>,
}

/// What lasts until a process has ended.
#[derive(Default)]
pub(crate) struct UntilEnd {
    /// A manager that this process started, and that the other has proxies from.
    pub(super) manager: Option<Arc<child::Child>>,
    /// Is told then.
    pub(super) notice: Option<Notice>,
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, .. } = self;
        f.debug_struct("Started").field("name", name).field("pid", pid).finish_non_exhaustive()
    }
}

impl Started {
    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let mut state = self.state.lock();
        // The thread that reaps it may not have come to it yet.
        while state.exit.is_none() && self.is_at_its_end() {
            self.ended.wait(&mut state);
        }
        state.exit
    }

    /// Whether it can be reaped.
    fn is_at_its_end(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.owner.is_elsewhere() && poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&now)) == Ok(1)
    }

    /// Waits for its end, until then at most. Says how it ended, if it has.
    pub(crate) fn join(&self, until: Option<Instant>) -> Option<Exit> {
        let mut state = self.state.lock();
        while state.exit.is_none() {
            match until {
                None => self.ended.wait(&mut state),
                Some(until) => {
                    if self.ended.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
            }
        }
        state.exit
    }

    /// Waits for its end.
    pub(crate) async fn joined(&self) -> Exit {
        loop {
            let told = self.told.notified();
            if let Some(exit) = self.state.lock().exit {
                return exit;
            }
            told.await;
        }
    }

    /// Sends it a signal, if it has not ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        match pidfd_send_signal(&self.process, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(ProcessError::Signal { name: self.name.clone(), cause: errno.to_string() }),
        }
    }

    /// Only the process that started it can ask for that.
    pub(super) fn check_owner(&self, what: &'static str) -> Result<(), ProcessError> {
        if self.owner.is_elsewhere() {
            return Err(ProcessError::OfAnotherProcess { name: self.name.clone(), what });
        }
        Ok(())
    }

    /// It was reaped.
    fn end(&self, exit: Exit) {
        let until_end = {
            let mut state = self.state.lock();
            state.exit = Some(exit);
            state.until_end.take()
        };
        self.ended.notify_all();
        self.told.notify_waiters();
        let Some(UntilEnd { manager, notice }) = until_end else { return };
        drop(manager);
        // If it panics, which the hook tells, all others are waited for all the same.
        let _ = notice.map(|notice| catch_unwind(AssertUnwindSafe(|| notice(exit))));
    }
}

/// The children of one process.
struct Household {
    owner: Owner,
    /// Their pidfds, by their numbers here.
    epoll: OwnedFd,
    children: Mutex<Children>,
}

#[derive(Default)]
struct Children {
    last: u64,
    by_number: HashMap<u64, Arc<Started>>,
}

/// That of this process, or of the one of which it is a fork.
static HOUSEHOLD: Mutex<Option<Arc<Household>>> = Mutex::new(None);

impl Household {
    /// That of this process, with its thread.
    fn of_this_process() -> io::Result<Arc<Self>> {
        let mut household = HOUSEHOLD.lock();
        if let Some(household) = household.as_ref().filter(|household| !household.owner.is_elsewhere()) {
            return Ok(household.clone());
        }
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let new = Arc::new(Self { owner: Owner::this(), epoll, children: Mutex::default() });
        let waiting = new.clone();
        thread::Builder::new().name("holdfast-children".to_owned()).spawn(move || waiting.reap())?;
        Ok(household.insert(new).clone())
    }

    /// Waits for all of them, as long as this process lives.
    fn reap(&self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            // It is waited for one that is there, with memory that is there: nothing but an interruption can go wrong.
            let _ = retry_on_intr(|| epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None));
            for event in &events {
                let child = self.children.lock().by_number.remove(&event.data.u64());
                if let Some(child) = child {
                    let _ = epoll::delete(&self.epoll, &child.process);
                    child.end(status(&child.process));
                }
            }
        }
    }

    fn adopt(&self, child: &Arc<Started>) -> io::Result<()> {
        let mut children = self.children.lock();
        children.last += 1;
        let number = children.last;
        epoll::add(&self.epoll, &child.process, EventData::new_u64(number), EventFlags::IN)?;
        children.by_number.insert(number, child.clone());
        Ok(())
    }
}

/// Reaps a process that has ended.
fn status(process: &OwnedFd) -> Exit {
    use std::os::fd::AsFd;
    match retry_on_intr(|| waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        },
        Ok(None) | Err(_) => Exit::Unknown,
    }
}

/// Takes a process in that was started. If that cannot be done it is ended.
pub(super) fn take_in(
    name: String,
    is_daemon: bool,
    mut process: process::Child,
    until_end: UntilEnd,
) -> io::Result<Arc<Started>> {
    let adopt = |id: u32| {
        let household = Household::of_this_process()?;
        let pid = Pid::from_raw(i32::try_from(id).unwrap_or_default()).ok_or(Errno::SRCH)?;
        let started = Arc::new(Started {
            name,
            pid: id,
            is_daemon,
            process: pidfd_open(pid, PidfdFlags::empty())?,
            owner: Owner::this(),
            state: Mutex::new(State { exit: None, until_end: Some(until_end) }),
            ended: Condvar::new(),
            told: Notify::new(),
        });
        household.adopt(&started)?;
        Ok(started)
    };
    let id = process.id();
    adopt(id).inspect_err(|_: &io::Error| {
        let _ = process.kill();
        let _ = process.wait();
    })
}

/// Those that have not ended, in the order in which they were started.
pub(super) fn active() -> Vec<Arc<Started>> {
    let household = HOUSEHOLD.lock().clone().filter(|household| !household.owner.is_elsewhere());
    let Some(household) = household else { return Vec::new() };
    let mut children: Vec<_> =
        household.children.lock().by_number.iter().map(|(number, child)| (*number, child.clone())).collect();
    children.sort_unstable_by_key(|(number, _)| *number);
    children.into_iter().map(|(_, child)| child).filter(|child| !child.is_at_its_end()).collect()
}

/// What Python does when a program ends: daemons are told to end, and killed if they do not within the grace; then the others are
/// waited for.
pub(super) fn dissolve() {
    loop {
        let children = active();
        if children.is_empty() {
            break;
        }
        end(&children);
    }
}

fn end(children: &[Arc<Started>]) {
    let daemons = || children.iter().filter(|child| child.is_daemon);
    for daemon in daemons() {
        // One that cannot be told so is killed below.
        let _ = daemon.signal(Signal::TERM);
    }
    let until = Instant::now() + GRACE;
    for daemon in daemons() {
        if daemon.join(Some(until)).is_none() {
            let _ = daemon.signal(Signal::KILL);
        }
    }
    for child in children {
        child.join(None);
    }
}

/// How long a deadline is away.
pub(super) fn within(time: Duration) -> Option<Instant> {
    Instant::now().checked_add(time)
}
