//! Where the results of asynchronous calls of one pool handle come in.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;

use holdfast_proto::{
    PoolCollectRequest, PoolCollectResponse, PoolCollected, PoolDescribeRequest, PoolDescribeResponse,
    PoolForgetRequest,
};
use parking_lot::Mutex;

use super::cell::Cell;
use super::exits::Exits;
use super::results::{Assembly, Parts, is_cancelled};
use super::why::Why;
use crate::error::{Error, Result};
use crate::proxy::remote::Remote;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// One job for all asynchronous calls of a handle, and one collector that takes its outcomes and hands them to their cells.
///
/// - A task that was submitted has a place here, from when its index is known, until its outcome has come: then its cell has it.
/// - An outcome may come before its index is known to who submitted it. It is kept as long as anybody submits, and let go
///   afterwards: then whoever submitted the task has given up.
/// - The collector runs exactly while there are places. It is started with the first, and ends with the last.
pub(super) struct Board<M: Mode> {
    remote: Remote<M>,
    pub(super) exits: Exits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    job: Option<u64>,
    is_collecting: bool,
    /// How many calls are submitting tasks.
    submitting: usize,
    places: HashMap<u64, (Arc<Cell>, usize)>,
    early: HashMap<u64, Parts>,
}

/// Somebody submits tasks.
pub(super) struct Submitting<M: Mode>(pub(super) Arc<Board<M>>);

impl<M: Mode> fmt::Debug for Board<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl<M: Mode> Board<M> {
    pub(super) fn new(remote: &Remote<M>, exits: Exits) -> Arc<Self> {
        Arc::new(Self { remote: remote.clone(), exits, state: Mutex::default() })
    }

    /// The job, if it was begun.
    pub(super) fn job(&self) -> Option<u64> {
        self.state.lock().job
    }

    /// A job was begun for this. If there is one already, since two began it at once, this one is forgotten.
    pub(super) fn begun(&self, job: u64) {
        let mut state = self.state.lock();
        if *state.job.get_or_insert(job) != job {
            drop(state);
            self.remote.cast(&PoolForgetRequest { job });
        }
    }

    pub(super) fn submitting(self: &Arc<Self>) -> Submitting<M> {
        self.state.lock().submitting += 1;
        Submitting(self.clone())
    }

    /// Tasks were submitted, whose indexes begin here.
    pub(super) fn submitted(self: &Arc<Self>, cell: &Arc<Cell>, first: u64, tasks: usize) {
        let place = cell.expect(first, tasks);
        let mut came = Vec::new();
        let starts = {
            let mut state = self.state.lock();
            for (index, place) in (first..).zip(place..place + tasks) {
                match state.early.remove(&index) {
                    Some(parts) => came.push((place, parts)),
                    None => _ = state.places.insert(index, (cell.clone(), place)),
                }
            }
            let starts = !state.places.is_empty() && !state.is_collecting;
            state.is_collecting |= starts;
            starts
        };
        came.into_iter().for_each(|(place, parts)| cell.put(place, parts));
        if starts {
            let collector = Collector { board: self.clone(), assembly: Assembly::default(), stopped: Vec::new() };
            let board = self.clone();
            M::detach(self.remote.session(), collector, move |error| board.fail(&error));
        }
    }

    /// Everything that is yet to come fails with this.
    pub(super) fn fail(&self, error: &Error) {
        let places = {
            let mut state = self.state.lock();
            state.is_collecting = false;
            mem::take(&mut state.places)
        };
        places.into_values().for_each(|(cell, _)| cell.finish(Err(error.clone())));
    }

    /// An outcome came.
    fn put(&self, index: u64, parts: Parts) {
        let mut state = self.state.lock();
        match state.places.remove(&index) {
            Some((cell, place)) => {
                drop(state);
                cell.put(place, parts);
            }
            None if state.submitting > 0 => _ = state.early.insert(index, parts),
            None => {}
        }
    }

    /// Whether the collector has nothing to do; it ends then.
    fn is_done(&self) -> bool {
        let mut state = self.state.lock();
        state.is_collecting = !state.places.is_empty();
        !state.is_collecting
    }
}

impl<M: Mode> Drop for Board<M> {
    fn drop(&mut self) {
        if let Some(job) = self.state.get_mut().job {
            self.remote.cast(&PoolForgetRequest { job });
        }
    }
}

impl<M: Mode> Drop for Submitting<M> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.submitting -= 1;
        if state.submitting == 0 {
            state.early = HashMap::new();
        }
    }
}

/// Takes the outcomes of a board's job while there are places for them.
struct Collector<M: Mode> {
    board: Arc<Board<M>>,
    assembly: Assembly,
    /// Outcomes of tasks that were cancelled, until it is known why.
    stopped: Vec<(u64, Parts)>,
}

impl<M: Mode> Unpin for Collector<M> {}

impl<M: Mode> Collector<M> {
    fn hand_out(&mut self, outcomes: Vec<PoolCollected>) {
        for part in outcomes {
            match self.assembly.add(part) {
                Some((index, parts)) if is_cancelled(&parts) => self.stopped.push((index, parts)),
                Some((index, parts)) => self.board.put(index, parts),
                None => {}
            }
        }
    }

    /// It is known why tasks were cancelled.
    fn stop(&mut self, pool: &PoolDescribeResponse) {
        let error = Why.of(pool);
        for (index, parts) in mem::take(&mut self.stopped) {
            let cell = match &error {
                Error::Cancelled => None,
                _ => self.board.state.lock().places.get(&index).map(|(cell, _)| cell.clone()),
            };
            if let Some(cell) = cell {
                cell.finish(Err(error.clone()));
            }
            self.board.put(index, parts);
        }
    }
}

impl<M: Mode> Exchange for Collector<M> {
    type Value = ();

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        if !self.stopped.is_empty() {
            return self.board.remote.ask(asking, &PoolDescribeRequest {});
        }
        let job = self.board.job().unwrap_or_default();
        self.board.remote.ask(asking, &PoolCollectRequest { job, max: 0, patience_ms: None })
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<()>> {
        if self.stopped.is_empty() {
            let (response, _) = self.board.remote.decode::<PoolCollectResponse>(heard)?;
            if response.outcomes.is_empty() && response.left == 0 {
                // Somebody else took them, who was told the number of the job; nobody may wait for them for ever.
                self.board.fail(&Error::Cancelled);
            }
            self.hand_out(response.outcomes);
        } else {
            let (response, _) = self.board.remote.decode::<PoolDescribeResponse>(heard)?;
            self.stop(&response);
        }
        Ok(if self.stopped.is_empty() && self.board.is_done() { Step::Done(()) } else { Step::Again })
    }
}
