//! How workers ended that this process had started.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::Error;

/// So many of them are remembered.
const REMEMBERED: usize = 1024;

/// The manager sees the end of a process when its sockets are closed, which is a moment before its parent does.
const SEEN_WITHIN: Duration = Duration::from_millis(200);

/// The exit codes of local workers, by process id, the last ones of those that ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Exits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Known {
    alive: Vec<u32>,
    ended: VecDeque<(u32, Option<i32>)>,
}

impl Exits {
    /// A process was started.
    pub(super) fn started(&self, pid: u32) {
        self.0.known.lock().alive.push(pid);
    }

    /// It has ended; `None` if nobody knows how.
    pub(super) fn ended(&self, pid: u32, code: Option<i32>) {
        let mut known = self.0.known.lock();
        known.alive.retain(|alive| *alive != pid);
        if known.ended.len() == REMEMBERED {
            known.ended.pop_front();
        }
        known.ended.push_back((pid, code));
        self.0.more.notify_all();
    }

    /// The same error, which says how the worker ended if it was one of these.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Error::WorkerLost(mut lost) = error else { return error };
        let deadline = Instant::now() + SEEN_WITHIN;
        let mut known = self.0.known.lock();
        while known.alive.contains(&lost.pid) {
            if self.0.more.wait_until(&mut known, deadline).timed_out() {
                break;
            }
        }
        lost.exit_code = known.ended.iter().rev().find(|(pid, _)| *pid == lost.pid).and_then(|(_, code)| *code);
        Error::WorkerLost(lost)
    }
}
