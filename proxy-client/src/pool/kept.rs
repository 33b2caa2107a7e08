//! Jobs that outlive their caller.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use holdfast_proto::{
    PoolCollectRequest, PoolCollectResponse, PoolDescribeRequest, PoolDescribeResponse, PoolForgetRequest,
    PoolSubmitResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exits::Exits;
use super::job::Job;
use super::patience::Patience;
use super::results::{Assembly, all};
use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::proxy::remote::Remote;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// The submitting of a job that is kept.
///
/// It is forgotten if its caller gives up before all of it is submitted.
pub struct Keep<I, M: Mode> {
    remote: Remote<M>,
    job: Job<M>,
    tasks: Result<Tasks<I>, Box<Error>>,
    patience: Patience,
    next: Next,
}

enum Next {
    /// Asks how many workers there are.
    Size,
    Begin,
    Submit,
}

impl<I, M: Mode> Keep<I, M> {
    pub(super) fn new(remote: &Remote<M>, tasks: Result<Tasks<I>>, patience: Patience) -> Self {
        let next = match &tasks {
            Ok(tasks) if tasks.is_open() => Next::Size,
            _ => Next::Begin,
        };
        Self { remote: remote.clone(), job: Job::new(remote), tasks: tasks.map_err(Box::new), patience, next }
    }
}

impl<I, M: Mode> Unpin for Keep<I, M> {}

impl<I, M: Mode> fmt::Debug for Keep<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}

impl<I: Iterator<Item: Serialize>, M: Mode> Exchange for Keep<I, M> {
    type Value = u64;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        match self.next {
            Next::Size => self.remote.ask(asking, &PoolDescribeRequest {}),
            Next::Begin => self.job.ask(asking, &tasks.beginning(0, true)),
            Next::Submit => {
                let job = self.job.number().unwrap_or_default();
                let (request, _) = tasks.request(job, usize::MAX, self.patience)?;
                self.remote.ask(asking, &request)
            }
        }
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<u64>> {
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        match self.next {
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
                    return Ok(Step::Done(self.job.keep()));
                }
            }
        }
        Ok(Step::Again)
    }
}

/// The collecting of a job that was kept, by whoever knows its number.
pub struct Collect<R, M: Mode> {
    remote: Remote<M>,
    exits: Exits,
    job: u64,
    patience: Patience,
    assembly: Assembly,
    results: BTreeMap<u64, Result<Vec<R>>>,
    returns: PhantomData<fn() -> R>,
}

impl<R, M: Mode> Collect<R, M> {
    pub(super) fn new(remote: &Remote<M>, exits: &Exits, job: u64, patience: Patience) -> Self {
        let (assembly, results) = (Assembly::default(), BTreeMap::new());
        Self { remote: remote.clone(), exits: exits.clone(), job, patience, assembly, results, returns: PhantomData }
    }
}

impl<R, M: Mode> Unpin for Collect<R, M> {}

impl<R, M: Mode> fmt::Debug for Collect<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collect").field("job", &self.job).finish_non_exhaustive()
    }
}

impl<R: DeserializeOwned, M: Mode> Exchange for Collect<R, M> {
    type Value = Vec<R>;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let request = PoolCollectRequest { job: self.job, max: 0, patience_ms: self.patience.left_ms() };
        self.remote.ask(asking, &request)
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Vec<R>>> {
        let (response, _) = self.remote.decode::<PoolCollectResponse>(heard)?;
        for part in response.outcomes {
            if let Some((index, parts)) = self.assembly.add(part) {
                self.results.insert(index, all(parts));
            }
        }
        if response.left > 0 {
            return Ok(Step::Again);
        }
        self.remote.cast(&PoolForgetRequest { job: self.job });
        let mut results = Vec::new();
        for known in std::mem::take(&mut self.results).into_values() {
            results.append(&mut known.map_err(|error| self.exits.explain(error))?);
        }
        Ok(Step::Done(results))
    }
}
