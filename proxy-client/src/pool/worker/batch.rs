//! The tasks that a worker has taken at once.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use holdfast_proto::{PoolDone, PoolTask};
use parking_lot::{Condvar, Mutex};
use prost::Message;

use crate::error::Result;

/// When one task of several takes longer than this, the others go back.
const TOO_LONG: Duration = Duration::from_millis(2);

/// While there have been batches within so many looks, the watch looks again by itself; afterwards it sleeps until there is one.
const LOOKS: u32 = 64;

/// What a worker is to do and what it has done, between two calls that take tasks; and the watch over it.
///
/// A task is in one place: to do, under way, or done. The worker moves it from one to the next; the watch takes all that are to do and
/// all that are done, and never the one that is under way.
#[derive(Default)]
pub(super) struct Batch {
    state: Mutex<State>,
    /// There is something to watch, or it is over.
    more: Condvar,
}

#[derive(Default)]
struct State {
    to_do: VecDeque<PoolTask>,
    done: Vec<PoolDone>,
    done_bytes: usize,
    /// How many tasks were begun since ever; it tells whether the same one is under way still.
    begun: u64,
    is_watched: bool,
    is_over: bool,
}

impl Batch {
    /// These are to do.
    pub(super) fn begin(&self, tasks: Vec<PoolTask>) {
        let mut state = self.state.lock();
        state.to_do.extend(tasks);
        if state.to_do.len() > 1 && !state.is_watched {
            self.more.notify_one();
        }
    }

    /// The next to do, which is under way then.
    pub(super) fn next(&self) -> Option<PoolTask> {
        let mut state = self.state.lock();
        let task = state.to_do.pop_front()?;
        state.begun += 1;
        Some(task)
    }

    /// The one that was under way is done. How many bytes are to be handed in by now.
    pub(super) fn done(&self, outcomes: Vec<PoolDone>) -> usize {
        let mut state = self.state.lock();
        state.done_bytes += outcomes.iter().map(Message::encoded_len).sum::<usize>();
        state.done.extend(outcomes);
        state.done_bytes
    }

    /// What is to be handed in.
    pub(super) fn take_done(&self) -> Vec<PoolDone> {
        let mut state = self.state.lock();
        state.done_bytes = 0;
        mem::take(&mut state.done)
    }

    /// The watch ends.
    pub(super) fn end(&self) {
        self.state.lock().is_over = true;
        self.more.notify_one();
    }

    /// Watches until it is over: when a task takes too long, those behind it are given back, and those before it handed in.
    pub(super) fn watch(&self, hand_in: impl Fn(Vec<PoolDone>, Vec<u64>) -> Result<()>) {
        let mut state = self.state.lock();
        let (mut seen, mut idle) = (state.begun, 0);
        while !state.is_over {
            state.is_watched = idle < LOOKS;
            if state.is_watched {
                self.more.wait_for(&mut state, TOO_LONG);
            } else {
                self.more.wait(&mut state);
                idle = 0;
            }
            let is_same = state.begun == seen;
            seen = state.begun;
            if state.to_do.is_empty() {
                idle += 1;
                continue;
            }
            idle = 0;
            if is_same && !state.is_over {
                let untouched = state.to_do.drain(..).map(|task| task.task).collect();
                state.done_bytes = 0;
                let done = mem::take(&mut state.done);
                drop(state);
                // If the session is over, the worker itself finds out.
                let _ = hand_in(done, untouched);
                state = self.state.lock();
            }
        }
    }
}
