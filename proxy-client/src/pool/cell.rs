//! A result that somebody waits for.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use super::results::Parts;
use crate::error::Error;

/// What came of tasks: the outcome of each, in their order, or why there is none.
pub(super) type Finished = Result<Vec<Parts>, Error>;

/// What is run when a result is there.
pub(super) type Callback = Box<dyn FnOnce(&Finished) + Send>;

/// The outcomes of the tasks of one call, from when they are submitted until somebody has looked at them.
///
/// It is finished once. Callbacks run first, then it is seen to be finished, then those that were added afterwards run.
#[derive(Default)]
pub(super) struct Cell {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The indexes of the tasks in their job, in their order.
    indexes: Vec<Range<u64>>,
    /// For each of them what came of it.
    outcomes: Vec<Option<Parts>>,
    missing: usize,
    /// Whether all tasks are submitted.
    is_whole: bool,
    before: Option<Callback>,
    after: Vec<Callback>,
    finished: Option<Arc<Finished>>,
    wakers: Vec<Waker>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("is_finished", &self.finished().is_some()).finish_non_exhaustive()
    }
}

impl Cell {
    pub(super) fn new(before: Option<Callback>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { before, ..State::default() }) })
    }

    /// So many tasks more, whose indexes begin here. Gives the place of the first among those of this.
    pub(super) fn expect(&self, first: u64, tasks: usize) -> usize {
        let mut state = self.state.lock();
        state.indexes.push(first..first + tasks as u64);
        let place = state.outcomes.len();
        state.outcomes.resize_with(place + tasks, || None);
        state.missing += tasks;
        place
    }

    /// There are no more tasks than these.
    pub(super) fn seal(&self) {
        self.state.lock().is_whole = true;
        self.finish_if_whole();
    }

    /// What came of the task in this place.
    pub(super) fn put(&self, place: usize, parts: Parts) {
        {
            let mut state = self.state.lock();
            if let Some(outcome @ None) = state.outcomes.get_mut(place) {
                *outcome = Some(parts);
                state.missing -= 1;
            }
        }
        self.finish_if_whole();
    }

    fn finish_if_whole(&self) {
        let mut state = self.state.lock();
        if !state.is_whole || state.missing > 0 || state.finished.is_some() {
            return;
        }
        let outcomes = std::mem::take(&mut state.outcomes).into_iter().flatten().collect();
        drop(state);
        self.finish(Ok(outcomes));
    }

    /// This is what came of it, unless something did before.
    pub(super) fn finish(&self, finished: Finished) {
        let before = {
            let mut state = self.state.lock();
            if state.finished.is_some() {
                return;
            }
            state.before.take()
        };
        if let Some(before) = before {
            run(before, &finished);
        }
        let finished = Arc::new(finished);
        let (after, wakers) = {
            let mut state = self.state.lock();
            if state.finished.is_some() {
                return;
            }
            state.finished = Some(finished.clone());
            (std::mem::take(&mut state.after), std::mem::take(&mut state.wakers))
        };
        wakers.into_iter().for_each(Waker::wake);
        after.into_iter().for_each(|after| run(after, &finished));
    }

    /// Runs this when there is a result, or now if there is one.
    pub(super) fn then(&self, after: Callback) {
        let finished = {
            let mut state = self.state.lock();
            match &state.finished {
                Some(finished) => finished.clone(),
                None => return state.after.push(after),
            }
        };
        run(after, &finished);
    }

    /// What came of it, if anything has.
    pub(super) fn finished(&self) -> Option<Arc<Finished>> {
        self.state.lock().finished.clone()
    }

    /// The same; if nothing has, the waker is woken when something does.
    pub(super) fn poll(&self, waker: &Waker) -> Option<Arc<Finished>> {
        let mut state = self.state.lock();
        if state.finished.is_none() && !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        state.finished.clone()
    }

    /// This waker need not be woken any more.
    pub(super) fn forget(&self, waker: &Waker) {
        self.state.lock().wakers.retain(|known| !known.will_wake(waker));
    }

    /// How many of its tasks are done, of how many.
    pub(super) fn progress(&self) -> (usize, usize) {
        let state = self.state.lock();
        let tasks = state.indexes.iter().map(|range| usize::try_from(range.end - range.start).unwrap_or(0)).sum();
        (tasks - state.missing, tasks)
    }

    /// The indexes of its tasks in their job.
    pub(super) fn indexes(&self) -> Vec<u64> {
        self.state.lock().indexes.iter().cloned().flatten().collect()
    }
}

/// Whoever writes a callback that panics must not end the results of all others.
fn run(callback: Callback, finished: &Finished) {
    if catch_unwind(AssertUnwindSafe(|| callback(finished))).is_err() {
        eprintln!("holdfast: a callback of a pool panicked, and nothing else is changed by that: see above");
    }
}
