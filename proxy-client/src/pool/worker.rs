//! Who does the tasks of a pool.

mod batch;
mod serving;

use std::fmt;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::ops::Request;
use holdfast_proto::{
    PoolDone, PoolFinishRequest, PoolFinishResponse, PoolJoinRequest, PoolJoinResponse, PoolLeaveRequest,
    PoolTakeRequest, PoolTakeResponse, Reason,
};
use prost::Message;

use self::batch::Batch;
use self::serving::Serving;
use super::Pool;
use crate::error::{Error, Result};
use crate::function::{self, Function};
use crate::proxy::remote::{CHUNK_BYTES, Remote, Single};
use crate::session::tasks::Async;
use crate::session::threads::Blocking;
use crate::session::{Mode, SessionLike};

/// A batch is about as many tasks as are done in this time.
const BATCH_TIME: Duration = Duration::from_millis(1);

/// And no more than these.
const BATCH_MOST: u64 = 64;

/// How a worker works.
#[derive(Clone, Debug, Default)]
pub struct WorkerOptions {
    name: Option<String>,
    functions: Vec<Result<String>>,
    max_tasks: u64,
}

impl WorkerOptions {
    /// One that serves all functions that are registered in this program, until its pool is closed and done.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it is called, for people. At first the name of the session.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Serves this function, and only those that are named here.
    #[must_use]
    pub fn serves<A, F: Function<A>>(mut self, function: F) -> Self {
        self.functions.push(function.registered_name().map(Into::into));
        self
    }

    /// Ends after so many tasks; 0, as at first, is without a limit. Python's `maxtasksperchild`.
    #[must_use]
    pub fn max_tasks(self, tasks: u64) -> Self {
        Self { max_tasks: tasks, ..self }
    }
}

/// Why a worker ended of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEnd {
    /// Its pool was closed and all is done, or it was terminated.
    ShutDown,
    /// It has done as many tasks as it was to do.
    MaxTasks,
}

/// A worker of a pool, which has not begun: see [`Pool::worker`].
///
/// It runs one task at a time, and asks for the next ones when it hands in what came of the last. While tasks are short, it takes up to
/// 64 at once, about as many as it does in a millisecond; when one of those takes longer than two, the others go back to the pool, so
/// that nobody waits behind it. A panic is caught, and goes back to the caller with its message, its place and a backtrace.
#[must_use = "it works when it is run"]
pub struct Worker<M: Mode> {
    remote: Remote<M>,
    options: WorkerOptions,
    place: M::Place,
}

impl<M: Mode> fmt::Debug for Worker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Worker<Blocking> {
    /// Works on the calling thread, until the pool is closed and done or terminated, or as many tasks are done as it was to do.
    ///
    /// An error is one of the session: the manager is gone, or the connection. What the worker had is then given to another.
    pub fn run(self) -> Result<WorkerEnd> {
        self.work()
    }
}

impl Worker<Async> {
    /// Works on a thread of its own, on which functions may block, until the pool is closed and done or terminated, or as many tasks
    /// are done as it was to do. Dropped, the worker goes on by itself until then, or until the runtime ends.
    ///
    /// An error is one of the session: the manager is gone, or the connection. What the worker had is then given to another.
    pub async fn run(self) -> Result<WorkerEnd> {
        let worked = tokio::task::spawn_blocking(move || self.work()).await;
        worked.unwrap_or_else(|error| Err(Error::Thread { cause: error.to_string().into() }))
    }
}

impl<M: Mode> Worker<M> {
    pub(super) fn of(pool: &Pool<M>, options: WorkerOptions) -> Self {
        Self::at(pool, options, M::place())
    }

    pub(super) fn at(pool: &Pool<M>, options: WorkerOptions, place: M::Place) -> Self {
        Self { remote: pool.remote.clone(), options, place }
    }

    /// Makes one call, on a thread that may block.
    fn call<R: Request, T>(&self, request: R, finish: fn(R::Response, u64) -> Result<T>) -> Result<T> {
        let call = Single::new(&self.remote, Ok(request), finish);
        M::block(&self.place, self.remote.session(), None, call)
    }

    /// All that a worker does. The thread may block.
    pub(super) fn work(self) -> Result<WorkerEnd> {
        let functions = match self.options.functions.is_empty() {
            true => function::all().map(|registered| registered.name().to_owned()).collect(),
            false => self.options.functions.iter().cloned().collect::<Result<Vec<_>>>()?,
        };
        let peer = self.remote.session().peer().0;
        let serving = Serving::new(&functions, peer.frame_bytes)?;
        let name = self.options.name.clone().unwrap_or_else(|| peer.name.clone());
        let join = PoolJoinRequest { functions, name, pid: process::id(), host: peer.host.clone() };
        let worker = match self.call::<_, u64>(join, |response: PoolJoinResponse, _| Ok(response.worker)) {
            Ok(worker) => worker,
            Err(error) if error.reason() == Some(Reason::ShutDown) => return Ok(WorkerEnd::ShutDown),
            Err(error) => return Err(error),
        };
        let batch = Arc::new(Batch::default());
        let ended = thread::scope(|scope| {
            let watch = || batch.watch(|done, untouched| self.hand_in(worker, done, untouched));
            thread::Builder::new()
                .name("holdfast-watch".to_owned())
                .spawn_scoped(scope, watch)
                .map_err(|error| Error::Thread { cause: error.to_string().into() })?;
            let ended = self.serve(worker, &serving, &batch);
            batch.end();
            ended
        })?;
        if ended == WorkerEnd::MaxTasks {
            self.call::<_, ()>(PoolLeaveRequest { worker }, |_, _| Ok(()))?;
        }
        Ok(ended)
    }

    fn serve(&self, worker: u64, serving: &Serving, batch: &Batch) -> Result<WorkerEnd> {
        let mut pace = Pace::default();
        let mut left = self.options.max_tasks;
        loop {
            if self.options.max_tasks > 0 && left == 0 {
                self.hand_in(worker, batch.take_done(), Vec::new())?;
                return Ok(WorkerEnd::MaxTasks);
            }
            let most = if self.options.max_tasks > 0 { pace.batch().min(left) } else { pace.batch() };
            let request = PoolTakeRequest { worker, max: most, patience_ms: None, done: batch.take_done() };
            let response = self.take(request)?;
            if response.shut_down && response.tasks.is_empty() {
                return Ok(WorkerEnd::ShutDown);
            }
            batch.begin(response.tasks);
            let begin = Instant::now();
            let mut done = 0;
            while let Some(task) = batch.next() {
                let outcomes = serving.run(task);
                done += 1;
                left = left.saturating_sub(1);
                let bytes = batch.done(outcomes);
                if bytes > CHUNK_BYTES {
                    self.hand_in(worker, batch.take_done(), Vec::new())?;
                }
            }
            pace.learn(begin.elapsed(), done);
        }
    }

    /// Hands in and takes.
    fn take(&self, request: PoolTakeRequest) -> Result<PoolTakeResponse> {
        // If they are refused for want of room, which is rare, they are handed in one by one.
        let kept = request.clone();
        match self.call::<_, PoolTakeResponse>(request, |response, _| Ok(response)) {
            Err(error) if error.reason() == Some(Reason::Quota) && !kept.done.is_empty() => {
                self.hand_in(kept.worker, kept.done, Vec::new())?;
                let request = PoolTakeRequest { done: Vec::new(), ..kept };
                self.call(request, |response, _| Ok(response))
            }
            taken => taken,
        }
    }

    /// Hands in what came of tasks, in requests that are not too large, and gives back those that were not begun.
    fn hand_in(&self, worker: u64, done: Vec<PoolDone>, untouched: Vec<u64>) -> Result<()> {
        let finish = |done, untouched| {
            let request = PoolFinishRequest { worker, done, untouched };
            self.call::<_, ()>(request, |_: PoolFinishResponse, _| Ok(()))
        };
        let (mut some, mut bytes) = (Vec::new(), 0);
        let mut requests = Vec::new();
        for outcome in done {
            bytes += outcome.encoded_len();
            some.push(outcome);
            if bytes > CHUNK_BYTES {
                requests.push(std::mem::take(&mut some));
                bytes = 0;
            }
        }
        requests.push(some);
        let last = requests.len() - 1;
        for (place, done) in requests.into_iter().enumerate() {
            let untouched = if place == last { untouched.clone() } else { Vec::new() };
            if done.is_empty() && untouched.is_empty() {
                continue;
            }
            match finish(done.clone(), untouched.clone()) {
                Err(error) if error.reason() == Some(Reason::Quota) => {
                    for outcome in done {
                        let task = outcome.task;
                        match finish(vec![outcome], Vec::new()) {
                            Err(error) if error.reason() == Some(Reason::Quota) => {
                                finish(vec![too_large(task)], Vec::new())?;
                            }
                            handed_in => handed_in?,
                        }
                    }
                    finish(Vec::new(), untouched)?;
                }
                handed_in => handed_in?,
            }
        }
        Ok(())
    }
}

/// What is said of a task whose outcome nobody can take.
fn too_large(task: u64) -> PoolDone {
    PoolDone { task, outcome: None, more: false, too_large: true }
}

/// How long tasks have lately taken.
#[derive(Debug, Default)]
struct Pace {
    /// In nanoseconds; 0 if nothing is known.
    mean: u64,
}

impl Pace {
    /// How many tasks are to be taken at once.
    fn batch(&self) -> u64 {
        match self.mean {
            0 => 1,
            mean => (BATCH_TIME.as_nanos() as u64 / mean).clamp(1, BATCH_MOST),
        }
    }

    /// So many tasks took so long. What was long is known at once, what was short by and by.
    fn learn(&mut self, time: Duration, tasks: u64) {
        let Some(each) = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).checked_div(tasks) else { return };
        let each = each.max(1);
        self.mean = if each > self.mean { each } else { self.mean - (self.mean - each) / 2 };
    }
}
