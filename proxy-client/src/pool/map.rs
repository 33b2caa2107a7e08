//! Many calls, waited for together.

use std::fmt;
use std::marker::PhantomData;

use holdfast_proto::{
    PoolCollectRequest, PoolCollectResponse, PoolDescribeRequest, PoolDescribeResponse, PoolSubmitResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exits::Exits;
use super::job::Job;
use super::patience::Patience;
use super::results::{Assembly, Parts, all, counted};
use super::tasks::Tasks;
use super::why::Why;
use crate::error::{Error, Result};
use crate::proxy::remote::Remote;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// Many calls, of which the results are given together, in the order of the calls.
///
/// Tasks are submitted as long as there are any, then outcomes are collected. The first error in the order of the calls ends it,
/// as soon as all that come before it are known; whatever ends it, the job is forgotten.
pub struct Map<I, R, M: Mode> {
    remote: Remote<M>,
    exits: Exits,
    job: Job<M>,
    tasks: Result<Tasks<I>, Box<Error>>,
    patience: Patience,
    calls: usize,
    next: Next,
    assembly: Assembly,
    /// What came of each task, by its index.
    results: Vec<Option<Result<Vec<R>>>>,
    /// The first of them that is not known.
    unknown: usize,
    returns: PhantomData<fn() -> R>,
}

/// The next call.
enum Next {
    /// Asks how many workers there are.
    Size,
    Begin,
    Submit,
    Collect,
    /// Asks why tasks were cancelled.
    Why(Why),
}

impl<I, R, M: Mode> Map<I, R, M> {
    pub(super) fn new(
        remote: &Remote<M>,
        exits: &Exits,
        tasks: Result<Tasks<I>>,
        calls: usize,
        patience: Patience,
    ) -> Self {
        let next = match &tasks {
            Ok(tasks) if tasks.is_open() => Next::Size,
            _ => Next::Begin,
        };
        Self {
            remote: remote.clone(),
            exits: exits.clone(),
            job: Job::new(remote),
            tasks: tasks.map_err(Box::new),
            patience,
            calls,
            next,
            assembly: Assembly::default(),
            results: Vec::new(),
            unknown: 0,
            returns: PhantomData,
        }
    }
}

impl<I, R, M: Mode> Unpin for Map<I, R, M> {}

impl<I, R, M: Mode> fmt::Debug for Map<I, R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("tasks", &self.results.len()).finish_non_exhaustive()
    }
}

impl<I, R: DeserializeOwned, M: Mode> Map<I, R, M> {
    fn note(&mut self, index: u64, parts: Parts) {
        let place = usize::try_from(index).ok().and_then(|index| self.results.get_mut(index));
        if let Some(place) = place {
            *place = Some(all(parts));
        }
    }

    /// What is known by now: all results, the first error, or not enough.
    fn look(&mut self) -> Result<Option<Vec<R>>> {
        while let Some(Some(known)) = self.results.get_mut(self.unknown) {
            if let Err(error) = known {
                return Err(self.exits.explain(error.clone()));
            }
            self.unknown += 1;
        }
        if self.unknown < self.results.len() {
            return Ok(None);
        }
        let mut results = Vec::with_capacity(self.calls);
        for known in self.results.drain(..).flatten() {
            results.append(&mut known?);
        }
        counted(results, self.calls).map(Some)
    }
}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned, M: Mode> Exchange for Map<I, R, M> {
    type Value = Vec<R>;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        match self.next {
            Next::Size | Next::Why(_) => self.remote.ask(asking, &PoolDescribeRequest {}),
            Next::Begin => self.job.ask(asking, &tasks.beginning(0, false)),
            Next::Submit => {
                let job = self.job.number().unwrap_or_default();
                let (request, _) = tasks.request(job, usize::MAX, self.patience)?;
                self.results.resize_with(self.results.len() + request.tasks.len(), || None);
                self.remote.ask(asking, &request)
            }
            Next::Collect => {
                let job = self.job.number().unwrap_or_default();
                let request = PoolCollectRequest { job, max: 0, patience_ms: self.patience.left_ms() };
                self.remote.ask(asking, &request)
            }
        }
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Vec<R>>> {
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        match &self.next {
            Next::Size => {
                let (response, _) = self.remote.decode::<PoolDescribeResponse>(heard)?;
                tasks.settle(&response);
                self.next = Next::Begin;
            }
            Next::Begin => {
                self.job.hear(heard)?;
                self.next = Next::Submit;
            }
            Next::Submit => {
                self.remote.decode::<PoolSubmitResponse>(heard)?;
                if tasks.is_empty() {
                    if self.results.is_empty() {
                        return Ok(Step::Done(Vec::new()));
                    }
                    self.next = Next::Collect;
                }
            }
            Next::Collect => {
                let (response, _) = self.remote.decode::<PoolCollectResponse>(heard)?;
                for part in response.outcomes {
                    if let Some((index, parts)) = self.assembly.add(part) {
                        self.note(index, parts);
                    }
                }
                match self.look() {
                    Ok(None) => {}
                    Ok(Some(results)) => return Ok(Step::Done(results)),
                    Err(error) if Why::is_wanted(&error) => self.next = Next::Why(Why),
                    Err(error) => return Err(error),
                }
            }
            Next::Why(why) => {
                let (response, _) = self.remote.decode::<PoolDescribeResponse>(heard)?;
                return Err(why.of(&response));
            }
        }
        Ok(Step::Again)
    }
}
