//! Processes of the library itself: a child that runs not a function of the program but an entry of this crate.

use std::sync::Arc;

use bytes::Bytes;
use rustix::process::Signal;

use super::access::Access;
use super::boot::{EntryTask, Task};
use super::error::ProcessError;
use super::household::{Exit, Started, UntilEnd};
use super::start::{Plan, next, start};

/// What a worker process runs, by a name that no other entry has: `inventory::submit!` registers it.
pub(crate) struct Entry {
    name: &'static str,
    run: fn(Bytes) -> i32,
}

inventory::collect!(Entry);

impl Entry {
    /// `run` gets the message that the worker was started with; what it returns is the exit code. It runs outside of any runtime.
    pub(crate) const fn new(name: &'static str, run: fn(Bytes) -> i32) -> Self {
        Self { name, run }
    }

    pub(super) fn find(name: &str) -> Option<fn(Bytes) -> i32> {
        inventory::iter::<Entry>.into_iter().find(|entry| entry.name == name).map(|entry| entry.run)
    }
}

/// A process that was started to be a worker. It is a daemon: it ends with this process, however that ends.
///
/// Dropping this does nothing to it.
#[derive(Clone, Debug)]
pub(crate) struct Worker(Arc<Started>);

impl Worker {
    /// Starts a worker that runs the entry with the message.
    ///
    /// Its name is `prefix` and its number among the children of this process. `manager` is where its `connect_default` leads, and
    /// whose authkey it has. `on_exit` is told once how it ended, on the thread that waits for all children, so it must not wait for
    /// anything itself. Waits for nothing that the child does; blocks for as long as the system takes to start a process.
    pub(crate) fn start(
        prefix: &str,
        entry: &'static str,
        message: Bytes,
        manager: Option<Access>,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<Self, ProcessError> {
        let (path, name) = next(prefix);
        let task = Task::Entry(EntryTask { name: entry.to_owned(), message });
        let until_end = UntilEnd { manager: None, notice: Some(Box::new(on_exit)) };
        let plan = Plan { name, path, is_daemon: true, task, given: Vec::new(), manager, until_end };
        start(plan).map(Self)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Ends it: `SIGKILL`.
    pub(crate) fn kill(&self) -> Result<(), ProcessError> {
        self.0.signal(Signal::KILL)
    }
}
