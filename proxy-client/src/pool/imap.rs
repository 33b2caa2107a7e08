//! Many calls, of which the results are taken one after the other.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::{
    PoolCollectRequest, PoolCollectResponse, PoolDescribeRequest, PoolDescribeResponse, PoolProgressRequest,
    PoolProgressResponse, PoolSubmitRequest, PoolSubmitResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exits::Exits;
use super::job::Job;
use super::patience::Patience;
use super::results::{Assembly, Parts, each, is_cancelled};
use super::tasks::Tasks;
use super::why::Why;
use crate::error::{Error, Result};
use crate::proxy::remote::Remote;
use crate::session::tasks::Async;
use crate::session::threads::Blocking;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// As many tasks are submitted ahead of the results that were taken, at first and at most: in between twice as many as were taken, so that
/// a few results of a slow input need few elements of it.
const AHEAD_FIRST: u64 = 16;
const AHEAD_MOST: u64 = 2048;

/// The results of many calls, one after the other, while others are still done: in their order, or as they come.
///
/// In the blocking library it is an [`Iterator`]; in the async one ask for the [`next`](Imap::next). An error of one call is given
/// in its place, and those after it follow; an error of the pool or the session is the last that is given.
///
/// Elements of the input are taken, and submitted, only so far ahead of the results that are taken: at first 16 tasks, then twice as
/// many as were taken, at most 2048. So an endless input is no endless work, other than in Python. When this is dropped, what no worker has yet is not
/// begun any more.
pub struct Imap<I, R, M: Mode> {
    remote: Remote<M>,
    exits: Exits,
    job: Job<M>,
    tasks: Result<Tasks<I>, Box<Error>>,
    in_order: bool,
    /// Tasks that were submitted; of how many calls each is whose outcome is not known yet.
    submitted: u64,
    calls: HashMap<u64, u32>,
    /// What is being submitted, until it is known to be: the caller may give up between.
    sending: Option<Sending>,
    assembly: Assembly,
    /// Outcomes that came before their turn.
    early: HashMap<u64, Parts>,
    /// The index of the task whose turn it is.
    turn: u64,
    /// Results that can be taken.
    ready: VecDeque<Result<R>>,
    /// Tasks whose results were put there.
    taken: u64,
    next: Next,
    deadline: Patience,
    returns: PhantomData<fn() -> R>,
}

struct Sending {
    request: PoolSubmitRequest,
    calls: Vec<u32>,
}

/// The next call.
#[derive(Clone, Copy)]
enum Next {
    /// Asks how many workers there are.
    Size,
    Begin,
    /// Submits, or collects.
    Work,
    Submit,
    Collect,
    /// Asks how many tasks were submitted, after somebody gave up who had submitted some.
    Progress,
    /// Asks why tasks were cancelled, whose results are there.
    Why,
    /// Nothing follows.
    Over,
}

/// The filling of an [`Imap`] with results.
struct Fill<'a, I, R, M: Mode>(&'a mut Imap<I, R, M>);

impl<I, R, M: Mode> Imap<I, R, M> {
    pub(super) fn new(remote: &Remote<M>, exits: &Exits, tasks: Result<Tasks<I>>, in_order: bool) -> Self {
        let next = match &tasks {
            Ok(tasks) if tasks.is_open() => Next::Size,
            _ => Next::Begin,
        };
        Self {
            remote: remote.clone(),
            exits: exits.clone(),
            job: Job::new(remote),
            tasks: tasks.map_err(Box::new),
            in_order,
            submitted: 0,
            calls: HashMap::new(),
            sending: None,
            assembly: Assembly::default(),
            early: HashMap::new(),
            turn: 0,
            ready: VecDeque::new(),
            taken: 0,
            next,
            deadline: Patience::endless(),
            returns: PhantomData,
        }
    }
}

impl<I, R, M: Mode> fmt::Debug for Imap<I, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("submitted", &self.submitted).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned> Iterator for Imap<I, R, Blocking> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        self.take(None)
    }
}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned> Imap<I, R, Blocking> {
    /// The next result, as the iterator gives it, but waits no longer than `patience`: [`Error::is_timed_out`] then, and the result
    /// is given by a later call. Python's `next(timeout)`.
    pub fn next_within(&mut self, patience: Duration) -> Option<Result<R>> {
        self.take(Some(patience))
    }

    fn take(&mut self, patience: Option<Duration>) -> Option<Result<R>> {
        while self.ready.is_empty() && !self.is_over() {
            let (session, time) = self.begin(patience);
            if let Err(error) = Blocking::run(&session, time, Fill(self)) {
                return Some(Err(self.failed(error)));
            }
        }
        self.ready.pop_front()
    }
}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned> Imap<I, R, Async> {
    /// The next result; `None` if there are no more. Waits for it as long as it takes.
    ///
    /// One that is dropped loses nothing: what it would have given is given by the next one.
    pub async fn next(&mut self) -> Option<Result<R>> {
        self.take(None).await
    }

    /// The same, but waits no longer than `patience`: [`Error::is_timed_out`] then, and the result is given by a later call.
    /// Python's `next(timeout)`.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Result<R>> {
        self.take(Some(patience)).await
    }

    async fn take(&mut self, patience: Option<Duration>) -> Option<Result<R>> {
        while self.ready.is_empty() && !self.is_over() {
            let (session, time) = self.begin(patience);
            if let Err(error) = Async::run(&session, time, Fill(self)).await {
                return Some(Err(self.failed(error)));
            }
        }
        self.ready.pop_front()
    }
}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned, M: Mode> Imap<I, R, M> {
    /// Whether nothing more will come.
    fn is_over(&self) -> bool {
        let is_done = || {
            let nothing_left = self.tasks.as_ref().is_ok_and(Tasks::is_empty);
            nothing_left && self.sending.is_none() && self.taken == self.submitted
        };
        matches!(self.next, Next::Over) || matches!(self.next, Next::Work) && is_done()
    }

    fn begin(&mut self, patience: Option<Duration>) -> (Arc<M::Session>, Option<Duration>) {
        self.deadline = Patience::of(patience);
        self.next = match self.next {
            // Whoever asked for it has given up: it may have been applied or not.
            Next::Submit => Next::Progress,
            // What it would have given is given again.
            Next::Collect => Next::Work,
            next => next,
        };
        (self.remote.session().clone(), self.remote.time_of_wait(patience))
    }

    /// An error that is told; nothing follows it, unless it is only late.
    fn failed(&mut self, error: Error) -> Error {
        match &error {
            Error::Refused(_) if error.is_timed_out() || error.is_full() => self.next = Next::Work,
            Error::Timeout { .. } => {}
            _ => self.next = Next::Over,
        }
        error
    }

    /// Puts an outcome where it can be taken in its turn.
    fn note(&mut self, index: u64, parts: Parts) {
        if !self.in_order {
            return self.give(index, parts);
        }
        self.early.insert(index, parts);
        while let Some(parts) = self.early.remove(&self.turn) {
            self.give(self.turn, parts);
            self.turn += 1;
        }
    }

    fn give(&mut self, index: u64, parts: Parts) {
        let calls = self.calls.remove(&index).unwrap_or(1);
        self.taken += 1;
        if is_cancelled(&parts) {
            self.next = Next::Why;
        }
        let exits = &self.exits;
        self.ready.extend(each(parts, calls).into_iter().map(|result| result.map_err(|error| exits.explain(error))));
    }

    /// What was being submitted is.
    fn sent(&mut self) {
        let Some(sending) = self.sending.take() else { return };
        for calls in sending.calls {
            self.calls.insert(self.submitted, calls);
            self.submitted += 1;
        }
    }

    /// Submits if there is room, or else collects.
    fn work(&mut self, asking: Asking<'_>) -> Result<()> {
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        let job = self.job.number().unwrap_or_default();
        let (ahead, most) = (self.submitted - self.taken, (2 * self.taken).clamp(AHEAD_FIRST, AHEAD_MOST));
        // None until half of them are taken, or few requests would become many.
        if self.sending.is_none() && !tasks.is_empty() && 2 * ahead <= most {
            let room = usize::try_from(most - ahead).unwrap_or(usize::MAX);
            let (request, calls) = tasks.request(job, room, self.deadline)?;
            // If nothing is left to submit, and nothing comes, that is still to be said once.
            if !calls.is_empty() || ahead == 0 {
                self.sending = Some(Sending { request, calls });
            }
        }
        if let Some(Sending { request, .. }) = &mut self.sending {
            request.patience_ms = self.deadline.left_ms();
            self.next = Next::Submit;
            return self.remote.ask(asking, request);
        }
        self.next = Next::Collect;
        self.remote.ask(asking, &PoolCollectRequest { job, max: 0, patience_ms: self.deadline.left_ms() })
    }
}

impl<I, R, M: Mode> Unpin for Fill<'_, I, R, M> {}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned, M: Mode> Exchange for Fill<'_, I, R, M> {
    type Value = ();

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let Self(imap) = self;
        match imap.next {
            Next::Size | Next::Why | Next::Over => imap.remote.ask(asking, &PoolDescribeRequest {}),
            Next::Begin => {
                let tasks = imap.tasks.as_ref().map_err(|error| (**error).clone())?;
                imap.job.ask(asking, &tasks.beginning(0, false))
            }
            Next::Progress => {
                let job = imap.job.number().unwrap_or_default();
                imap.remote.ask(asking, &PoolProgressRequest { job })
            }
            Next::Work | Next::Submit | Next::Collect => imap.work(asking),
        }
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<()>> {
        let Self(imap) = self;
        match imap.next {
            Next::Size => {
                let (response, _) = imap.remote.decode::<PoolDescribeResponse>(heard)?;
                if let Ok(tasks) = &mut imap.tasks {
                    tasks.settle(&response);
                }
                imap.next = Next::Begin;
            }
            Next::Begin => {
                imap.job.hear(heard)?;
                imap.next = Next::Work;
            }
            Next::Submit => {
                imap.remote.decode::<PoolSubmitResponse>(heard)?;
                imap.sent();
                imap.next = Next::Work;
            }
            Next::Progress => {
                let (response, _) = imap.remote.decode::<PoolProgressResponse>(heard)?;
                if response.tasks > imap.submitted {
                    imap.sent();
                }
                imap.next = Next::Work;
            }
            Next::Why => {
                let (response, _) = imap.remote.decode::<PoolDescribeResponse>(heard)?;
                let cancelled = |result: &&mut Result<R>| matches!(result, Err(error) if Why::is_wanted(error));
                imap.ready.iter_mut().filter(cancelled).for_each(|result| *result = Err(Why.of(&response)));
                imap.next = Next::Work;
            }
            Next::Work | Next::Collect | Next::Over => {
                let (response, _) = imap.remote.decode::<PoolCollectResponse>(heard)?;
                imap.next = Next::Work;
                for part in response.outcomes {
                    if let Some((index, parts)) = imap.assembly.add(part) {
                        imap.note(index, parts);
                    }
                }
            }
        }
        let is_settled = !matches!(imap.next, Next::Why) && (!imap.ready.is_empty() || imap.is_over());
        Ok(if is_settled { Step::Done(()) } else { Step::Again })
    }
}
