//! Calls, cut into the tasks that a pool is given.

use std::borrow::Cow;

use holdfast_proto::datum::HasReferences;
use holdfast_proto::{Datum, PoolArguments, PoolDescribeResponse, PoolRunRequest, PoolShape, PoolSubmitRequest};
use prost::Message;
use serde::Serialize;

use crate::codec::to_datum;
use crate::error::{Error, Result};
use crate::function::write;
use crate::proxy::holding::patience_ms;
use crate::proxy::remote::CHUNK_BYTES;

use super::patience::Patience;

/// A task is not cut larger than this, so that many fit a request, whatever the calls are.
const TASK_BYTES: u64 = CHUNK_BYTES as u64;

/// A request is sent when it has so many bytes, so that workers begin while the caller cuts what follows.
const REQUEST_BYTES: usize = 64 << 10;

/// How many tasks one request has at most.
const TASKS: usize = 4096;

/// A task for each worker and three more, as CPython cuts them: who is done early takes from what is left.
const SHARES: usize = 4;

/// Data as the arguments of a task: encoded, unless it leads to other objects, which the manager must see.
pub(super) fn arguments(datum: Datum) -> PoolArguments {
    let mut refers = false;
    datum.visit_references(&mut |_| refers = true);
    if refers {
        PoolArguments { datum: Some(datum), encoded: None }
    } else {
        PoolArguments { datum: None, encoded: Some(datum.encode_to_vec().into()) }
    }
}

/// What one waiting call asks for.
pub(super) fn run<A: Serialize>(
    function: Result<Cow<'static, str>>,
    of: &A,
    tries: u32,
    patience: Option<std::time::Duration>,
) -> Result<PoolRunRequest> {
    Ok(PoolRunRequest {
        function: function?.into_owned(),
        shape: PoolShape::Call.into(),
        arguments: Some(Box::new(arguments(write(of)?))),
        tries,
        patience_ms: patience_ms(patience),
    })
}

/// How many calls are one task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunk {
    /// As many as was said.
    Of(usize),
    /// A quarter of an even share of so many calls, rounded up, once it is known how many workers there are.
    ShareOf(usize),
}

impl Chunk {
    /// The share of so many workers.
    pub(super) fn shared_by(self, workers: u64) -> Self {
        match self {
            Self::ShareOf(calls) => {
                let workers = usize::try_from(workers).unwrap_or(usize::MAX).max(1);
                Self::Of(calls.div_ceil(workers.saturating_mul(SHARES)).max(1))
            }
            known => known,
        }
    }
}

/// Calls of one function that are yet to be submitted, cut into tasks as they are asked for.
///
/// What could not be written is told once, after all that comes before it; nothing follows it.
pub(super) struct Tasks<I> {
    function: Cow<'static, str>,
    shape: PoolShape,
    tries: u32,
    items: Option<I>,
    /// What could not be written, after all that comes before it was submitted.
    failed: Option<Box<Error>>,
    plan: Plan,
}

/// How tasks are cut and sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) chunk: Chunk,
    /// How many tasks fit an empty pool, if that is known; 0 is without a limit.
    pub(super) max_waiting: Option<u64>,
}

impl Plan {
    /// Whether the pool must be asked about itself before anything is cut.
    pub(super) fn is_open(self) -> bool {
        self.max_waiting.is_none() || matches!(self.chunk, Chunk::ShareOf(_))
    }

    fn settled(self, pool: &PoolDescribeResponse) -> Self {
        Self { chunk: self.chunk.shared_by(pool.workers), max_waiting: Some(pool.max_waiting) }
    }
}

impl<I> Tasks<I> {
    pub(super) fn new(function: Cow<'static, str>, shape: PoolShape, tries: u32, plan: Plan, items: I) -> Self {
        Self { function, shape, tries, items: Some(items), failed: None, plan }
    }

    /// Whether the pool must be asked about itself before anything is cut.
    pub(super) fn is_open(&self) -> bool {
        self.plan.is_open()
    }

    /// This is what the pool says.
    pub(super) fn settle(&mut self, pool: &PoolDescribeResponse) {
        self.plan = self.plan.settled(pool);
    }

    /// Whether nothing is left to submit.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_none() && self.failed.is_none()
    }

    /// What begins a job, or adds nothing to it.
    pub(super) fn beginning(&self, job: u64, keep: bool) -> PoolSubmitRequest {
        PoolSubmitRequest {
            job,
            function: self.function.clone().into_owned(),
            shape: self.shape.into(),
            tasks: Vec::new(),
            tries: self.tries,
            keep,
            patience_ms: None,
        }
    }
}

impl<I: Iterator<Item: Serialize>> Tasks<I> {
    /// The next task, and how many calls it is.
    fn cut(&mut self) -> Result<Option<(PoolArguments, usize)>> {
        let Some(items) = &mut self.items else { return Ok(None) };
        if let PoolShape::Call = self.shape {
            let Some(item) = items.next() else {
                self.items = None;
                return Ok(None);
            };
            return Ok(Some((arguments(write(&item)?), 1)));
        }
        let Chunk::Of(calls) = self.plan.chunk else { unreachable!("it is known before anything is cut") };
        let (mut elements, mut bytes) = (Vec::new(), 0);
        while elements.len() < calls && bytes < TASK_BYTES {
            let Some(item) = items.next() else {
                self.items = None;
                break;
            };
            let element = if let PoolShape::Starmap = self.shape { write(&item)? } else { to_datum(&item)? };
            bytes += element.bytes();
            elements.push(element);
        }
        let count = elements.len();
        Ok((count > 0).then(|| (arguments(Datum::List(elements.into())), count)))
    }

    /// The next tasks for a job, at most so many, and of how many calls each is. None are left if there are none.
    pub(super) fn request(
        &mut self,
        job: u64,
        max: usize,
        patience: Patience,
    ) -> Result<(PoolSubmitRequest, Vec<u32>)> {
        if let Some(error) = self.failed.take() {
            return Err(*error);
        }
        let fit = match self.plan.max_waiting {
            None | Some(0) => usize::MAX,
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let (mut tasks, mut calls, mut bytes) = (Vec::new(), Vec::new(), 0);
        while tasks.len() < max.min(TASKS).min(fit) && bytes < REQUEST_BYTES {
            let (task, count) = match self.cut() {
                Ok(Some(cut)) => cut,
                Ok(None) => break,
                Err(error) => {
                    (self.items, self.failed) = (None, Some(Box::new(error)));
                    break;
                }
            };
            bytes += task.encoded_len();
            tasks.push(task);
            calls.push(u32::try_from(count).unwrap_or(u32::MAX));
        }
        let request = PoolSubmitRequest { tasks, patience_ms: patience.left_ms(), ..self.beginning(job, false) };
        Ok((request, calls))
    }
}
