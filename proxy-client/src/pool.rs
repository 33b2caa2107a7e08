//! Pools of workers: Python's `multiprocessing.Pool` and `concurrent.futures`, whose workers may be any processes, anywhere.
//!
//! | | |
//! |---|---|
//! | [`Pool`] | `apply`, `map`, `imap` and the others |
//! | [`AsyncResult`] | a result that is waited for later, with its [`Callbacks`] |
//! | [`Executor`], [`as_completed`], [`wait`] | the same in the manner of `concurrent.futures` |
//! | [`Worker`] | who does the tasks |
//!
//! What is called is a function that is [registered](macro@crate::function), or one of another program or language by its name
//! ([`Named`](crate::Named)).

mod apply;
mod board;
mod callbacks;
mod cell;
mod completion;
mod executor;
mod exits;
mod imap;
mod job;
mod joining;
mod kept;
mod local;
mod map;
mod options;
mod patience;
mod result;
mod results;
mod state;
mod tasks;
mod why;
mod worker;

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::iter;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use holdfast_proto::{
    PoolCloseRequest, PoolDescribeRequest, PoolForgetRequest, PoolProgressRequest, PoolShape, PoolTerminateRequest,
    PoolWorkersRequest, Reason, Refusal, pool,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::apply::Apply;
pub use self::callbacks::Callbacks;
pub use self::completion::{AsCompleted, DoneAndNotDone, ReturnWhen, wait, wait_blocking};
pub use self::executor::Executor;
pub use self::imap::Imap;
pub use self::kept::{Collect, Keep};
pub use self::map::Map;
pub use self::options::PoolOptions;
pub use self::result::{AsyncResult, Progress, Submission};
pub use self::state::{JobProgress, PoolState, WorkerState, Workers};
pub use self::worker::{Worker, WorkerEnd, WorkerOptions};

use self::board::Board;
use self::exits::Exits;
use self::joining::Joining;
use self::local::Local;
use self::patience::Patience;
use self::result::{read_all, read_one};
use self::tasks::{Chunk, Plan, Tasks};
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::function::Function;
use crate::proxy::Describe;
use crate::proxy::remote::{Remote, Tokens};
use crate::proxy::{Mode, Output, Proxy, Reference, reference};
use crate::session::tasks::Async;
use crate::session::threads::Blocking;

/// A pool: callers leave tasks in it, workers take them. None is lost with whoever did it.
///
/// [`Pool::new`] has workers of its own, processes of this program, as Python's; a pool of a manager
/// ([`Manager::pool`](crate::Manager::pool)) is done by whoever [works](Self::worker) for it, on any machine and in any language. Clones
/// are handles of the same pool; as data it can be stored and passed on like every proxy. When the last clone of a handle that has
/// local workers is dropped, the pool is terminated and they end.
///
/// **Death.** A worker that is killed during a task: the task is tried again by another, before those that came later, up to
/// [`tries`](PoolOptions::tries) times in all, and fails with [`Error::WorkerLost`] then. With one try it is
/// done at most once. Local workers are replaced at once. A caller that is killed: its tasks are dropped, unless they are
/// [kept](Self::map_kept). Other than in Python no call ever waits for a worker that is gone.
///
/// **Errors** of a call are those of the function: its own `Err` where the function returns a `Result` (the call then gives
/// `Result<Result<T, E>>`), or [`Error::Raised`] with the worker's message and backtrace. What is submitted to a pool
/// that was closed is refused with [`Reason::ShutDown`], what names a function that none of its workers serves
/// with [`Reason::NotRegistered`].
///
/// **Time.** Calls wait for results as long as it takes, unless the handle has a [patience](Self::patience).
pub struct Pool<M: Mode> {
    remote: Remote<M>,
    call: CallOptions,
    /// What is known of how the pool was made; `None` where it must be asked.
    max_waiting: Option<u64>,
    board: Arc<Board<M>>,
    exits: Exits,
    local: Option<Arc<Local<M>>>,
}

/// What a handle says of its calls.
#[derive(Clone, Copy, Debug, Default)]
struct CallOptions {
    /// 0 is as the pool was made.
    tries: u32,
    patience: Option<Duration>,
    chunk: Option<usize>,
}

impl<M: Mode> Clone for Pool<M> {
    fn clone(&self) -> Self {
        let Self { remote, call, max_waiting, board, exits, local } = self;
        Self {
            remote: remote.clone(),
            call: *call,
            max_waiting: *max_waiting,
            board: board.clone(),
            exits: exits.clone(),
            local: local.clone(),
        }
    }
}

impl<M: Mode> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("remote", &self.remote).field("call", &self.call).finish_non_exhaustive()
    }
}

impl Pool<Blocking> {
    /// A pool of so many local workers, with a manager of its own: `multiprocessing.Pool(n)`.
    ///
    /// Workers are processes of this program, so its `main` begins with `let _family = holdfast::init();`. They are daemons: they end
    /// with this process, however that ends. This returns when they are started, not when they are ready. None are refused with
    /// [`Reason::OutOfRange`]: Python's `ValueError`.
    pub fn new(workers: usize) -> Result<Self> {
        Self::with(PoolOptions::of(workers)?)
    }

    /// The same, made as the options say.
    pub fn with(options: PoolOptions) -> Result<Self> {
        Self::on(&crate::blocking::Manager::start()?, options)
    }

    /// A pool without a name in this manager, with local workers.
    pub fn on(manager: &crate::blocking::Manager, options: PoolOptions) -> Result<Self> {
        manager.new_pool_with(&options)?.made_with(&options).staffed(options)
    }

    /// The same pool, for which this process starts local workers as the options say: Python's way to work for a pool of many machines.
    /// Of the options, `tries` and `max_waiting` are not looked at.
    pub fn staffed(self, options: PoolOptions) -> Result<Self> {
        let local = Local::start(&self, options, Blocking::place())?;
        Ok(Self { local, ..self })
    }
}

impl Pool<Async> {
    /// A pool of so many local workers, with a manager of its own: `multiprocessing.Pool(n)`.
    ///
    /// Workers are processes of this program, so its `main` begins with `let _family = holdfast::init();`. They are daemons: they end
    /// with this process, however that ends. This returns when they are started, not when they are ready. None are refused with
    /// [`Reason::OutOfRange`]: Python's `ValueError`.
    pub async fn new(workers: usize) -> Result<Self> {
        Self::with(PoolOptions::of(workers)?).await
    }

    /// The same, made as the options say.
    pub async fn with(options: PoolOptions) -> Result<Self> {
        Self::on(&crate::Manager::start().await?, options).await
    }

    /// A pool without a name in this manager, with local workers.
    pub async fn on(manager: &crate::Manager, options: PoolOptions) -> Result<Self> {
        manager.new_pool_with(&options).await?.made_with(&options).staffed(options).await
    }

    /// The same pool, for which this process starts local workers as the options say: Python's way to work for a pool of many machines.
    /// Of the options, `tries` and `max_waiting` are not looked at.
    pub async fn staffed(self, options: PoolOptions) -> Result<Self> {
        let (pool, place) = (self.clone(), Async::place());
        let started = tokio::task::spawn_blocking(move || Local::start(&pool, options, place)).await;
        let failed = |error: tokio::task::JoinError| crate::Error::Thread { cause: error.to_string().into() };
        Ok(Self { local: started.map_err(failed)??, ..self })
    }
}

impl Pool<Blocking> {
    /// Waits until all that was submitted is done, and the local workers have ended: Python's `join`. No longer than the handle's
    /// patience.
    ///
    /// The pool must be closed or terminated, or this is [`Error::PoolIsOpen`].
    pub fn join(&self) -> Result<()> {
        let patience = Patience::of(self.call.patience);
        let (session, time) = (self.remote.session(), self.remote.time_of_wait(self.call.patience));
        Blocking::run(session, time, Joining::new(&self.remote, patience))?;
        let Some(local) = &self.local else { return Ok(()) };
        let has_ended = result::block(patience.left(), || result::with_waker(|waker| local.has_ended(waker)));
        if has_ended { Ok(()) } else { Err(still_there()) }
    }
}

impl Pool<Async> {
    /// Waits until all that was submitted is done, and the local workers have ended: Python's `join`. No longer than the handle's
    /// patience.
    ///
    /// The pool must be closed or terminated, or this is [`Error::PoolIsOpen`].
    pub async fn join(&self) -> Result<()> {
        let patience = Patience::of(self.call.patience);
        let (session, time) = (self.remote.session(), self.remote.time_of_wait(self.call.patience));
        Async::run(session, time, Joining::new(&self.remote, patience)).await?;
        let Some(local) = &self.local else { return Ok(()) };
        let ended = poll_fn(|cx| if local.has_ended(cx.waker()) { Poll::Ready(()) } else { Poll::Pending });
        match patience.left() {
            Some(left) => tokio::time::timeout(left, ended).await.map_err(|_| still_there()),
            None => {
                ended.await;
                Ok(())
            }
        }
    }
}

/// The local workers have not ended in time.
fn still_there() -> Error {
    Error::Refused(Refusal::new(Reason::TimedOut, "all is done, and workers have not ended yet: join again".to_owned()))
}

/// How calls are made.
impl<M: Mode> Pool<M> {
    pub(crate) fn of(remote: Remote<M>) -> Self {
        let exits = Exits::default();
        let board = Board::new(&remote, exits.clone());
        Self { remote, call: CallOptions::default(), max_waiting: None, board, exits, local: None }
    }

    /// The same pool, whose calls wait no longer than this for all that they wait for: refused with
    /// [`Reason::TimedOut`] then ([`Error::is_timed_out`]), and what they had submitted is
    /// dropped; or with [`Reason::Full`] if they waited for room.
    #[must_use]
    pub fn patience(&self, patience: Duration) -> Self {
        let call = CallOptions { patience: Some(patience), ..self.call };
        Self { call, ..self.clone() }
    }

    /// The same pool, for whose calls a task is given to a worker so often at most: see [`PoolOptions::tries`].
    #[must_use]
    pub fn tries(&self, tries: u32) -> Self {
        let call = CallOptions { tries, ..self.call };
        Self { call, ..self.clone() }
    }

    /// The same pool, whose maps make a task of so many calls: Python's `chunksize`. At least 1.
    ///
    /// Without it a map makes a quarter of an even share of its calls a task, rounded up, as CPython does, and [`imap`](Self::imap) each
    /// call. A task is cut at about 256 KiB in any case.
    #[must_use]
    pub fn chunk_size(&self, calls: usize) -> Self {
        let call = CallOptions { chunk: Some(calls.max(1)), ..self.call };
        Self { call, ..self.clone() }
    }

    fn tasks<I: Iterator>(
        &self,
        function: Result<Cow<'static, str>>,
        shape: PoolShape,
        chunk: Chunk,
        items: I,
    ) -> Result<Tasks<I>> {
        let plan = Plan { chunk, max_waiting: self.max_waiting };
        Ok(Tasks::new(function?, shape, self.call.tries, plan, items))
    }

    fn many<T>(
        &self,
        function: Result<Cow<'static, str>>,
        shape: PoolShape,
        items: impl IntoIterator<Item = T>,
    ) -> (usize, Result<Tasks<std::vec::IntoIter<T>>>) {
        let items: Vec<T> = items.into_iter().collect();
        let calls = items.len();
        let chunk = match (self.call.chunk, &self.local) {
            (Some(chunk), _) => Chunk::Of(chunk),
            (None, Some(local)) => Chunk::ShareOf(calls).shared_by(local.workers()),
            (None, None) => Chunk::ShareOf(calls),
        };
        (calls, self.tasks(function, shape, chunk, items.into_iter()))
    }

    fn run_map<I: Iterator<Item: Serialize>, R: DeserializeOwned>(
        &self,
        (calls, tasks): (usize, Result<Tasks<I>>),
    ) -> M::Output<Map<I, R, M>> {
        let map = Map::new(&self.remote, &self.exits, tasks, calls, Patience::of(self.call.patience));
        M::run(self.remote.session(), self.remote.time_of_wait(self.call.patience), map)
    }

    fn submit<I: Iterator<Item: Serialize>, T: 'static>(
        &self,
        tasks: Result<Tasks<I>>,
        read: result::Read<T>,
        callbacks: Callbacks<T>,
    ) -> M::Output<Submission<I, T, M>> {
        let patience = Patience::of(self.call.patience);
        let submission = Submission::new(&self.remote, &self.board, tasks, patience, read, callbacks);
        M::run(self.remote.session(), self.remote.time_of_wait(self.call.patience), submission)
    }
}

/// Calls that wait for their results.
impl<M: Mode> Pool<M> {
    /// Has a worker call the function with these arguments, a tuple, and waits for what it returns: Python's `apply`.
    ///
    /// An async call that is dropped has its task dropped: it is not begun, or what it returns is let go.
    pub fn apply<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: A,
    ) -> M::Output<Apply<F::Output, M>> {
        let CallOptions { tries, patience, .. } = self.call;
        let request = tasks::run(function.registered_name(), &arguments, tries, patience);
        M::run(
            self.remote.session(),
            self.remote.time_of_wait(patience),
            Apply::new(&self.remote, &self.exits, request),
        )
    }

    /// Calls the function with each element, and gives the results in their order: Python's `map`.
    ///
    /// If calls fail, this is the error of the first of them in their order, as soon as all before it are known; what is left is dropped.
    pub fn map<T: Serialize, F: Function<(T,), Output: DeserializeOwned>>(
        &self,
        function: F,
        elements: impl IntoIterator<Item = T>,
    ) -> M::Output<Map<std::vec::IntoIter<T>, F::Output, M>> {
        self.run_map(self.many(function.registered_name(), PoolShape::Map, elements))
    }

    /// The same where each element is a tuple of arguments: Python's `starmap`.
    pub fn starmap<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: impl IntoIterator<Item = A>,
    ) -> M::Output<Map<std::vec::IntoIter<A>, F::Output, M>> {
        self.run_map(self.many(function.registered_name(), PoolShape::Starmap, arguments))
    }

    /// Calls the function with each element, and gives the results one after the other, in their order: Python's `imap`.
    ///
    /// Nothing is asked before the first is taken. See [`Imap`] for how far ahead elements are taken.
    pub fn imap<T: Serialize, F: Function<(T,), Output: DeserializeOwned>, I: IntoIterator<Item = T>>(
        &self,
        function: F,
        elements: I,
    ) -> Imap<I::IntoIter, F::Output, M> {
        self.imap_as(function.registered_name(), elements, true)
    }

    /// The same, in the order in which the results come: Python's `imap_unordered`.
    pub fn imap_unordered<T: Serialize, F: Function<(T,), Output: DeserializeOwned>, I: IntoIterator<Item = T>>(
        &self,
        function: F,
        elements: I,
    ) -> Imap<I::IntoIter, F::Output, M> {
        self.imap_as(function.registered_name(), elements, false)
    }

    fn imap_as<I: IntoIterator, R>(
        &self,
        function: Result<Cow<'static, str>>,
        elements: I,
        in_order: bool,
    ) -> Imap<I::IntoIter, R, M> {
        let chunk = Chunk::Of(self.call.chunk.unwrap_or(1));
        let tasks = self.tasks(function, PoolShape::Map, chunk, elements.into_iter());
        Imap::new(&self.remote, &self.exits, tasks, in_order)
    }
}

/// The submitting of many calls, of elements `T`, whose results are waited for later.
pub type Submitted<T, R, M> = Submission<std::vec::IntoIter<T>, Vec<R>, M>;

/// Calls whose results are waited for later. These wait only until their tasks are submitted.
impl<M: Mode> Pool<M> {
    /// Has a worker call the function with these arguments, a tuple: Python's `apply_async`.
    pub fn apply_async<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: A,
    ) -> M::Output<Submission<iter::Once<A>, F::Output, M>>
    where
        F::Output: 'static,
    {
        self.apply_async_with(function, arguments, Callbacks::new())
    }

    /// The same, and what is called with the result.
    pub fn apply_async_with<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: A,
        callbacks: Callbacks<F::Output>,
    ) -> M::Output<Submission<iter::Once<A>, F::Output, M>>
    where
        F::Output: 'static,
    {
        let plan = Plan { chunk: Chunk::Of(1), max_waiting: Some(0) };
        let tasks = function.registered_name();
        let tasks = tasks.map(|name| Tasks::new(name, PoolShape::Call, self.call.tries, plan, iter::once(arguments)));
        self.submit(tasks, read_one, callbacks)
    }

    /// Calls the function with each element: Python's `map_async`.
    pub fn map_async<T: Serialize, F: Function<(T,), Output: DeserializeOwned>>(
        &self,
        function: F,
        elements: impl IntoIterator<Item = T>,
    ) -> M::Output<Submitted<T, F::Output, M>>
    where
        F::Output: 'static,
    {
        self.map_async_with(function, elements, Callbacks::new())
    }

    /// The same, and what is called with the results.
    pub fn map_async_with<T: Serialize, F: Function<(T,), Output: DeserializeOwned>>(
        &self,
        function: F,
        elements: impl IntoIterator<Item = T>,
        callbacks: Callbacks<Vec<F::Output>>,
    ) -> M::Output<Submitted<T, F::Output, M>>
    where
        F::Output: 'static,
    {
        let (_, tasks) = self.many(function.registered_name(), PoolShape::Map, elements);
        self.submit(tasks, read_all, callbacks)
    }

    /// Calls the function with each tuple of arguments: Python's `starmap_async`.
    pub fn starmap_async<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: impl IntoIterator<Item = A>,
    ) -> M::Output<Submitted<A, F::Output, M>>
    where
        F::Output: 'static,
    {
        self.starmap_async_with(function, arguments, Callbacks::new())
    }

    /// The same, and what is called with the results.
    pub fn starmap_async_with<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: impl IntoIterator<Item = A>,
        callbacks: Callbacks<Vec<F::Output>>,
    ) -> M::Output<Submitted<A, F::Output, M>>
    where
        F::Output: 'static,
    {
        let (_, tasks) = self.many(function.registered_name(), PoolShape::Starmap, arguments);
        self.submit(tasks, read_all, callbacks)
    }
}

/// Jobs that outlive their caller.
impl<M: Mode> Pool<M> {
    /// Has the function called with each element, also if this process ends: the results are kept in the pool until somebody
    /// [collects](Self::collect) them who knows the number that this gives.
    pub fn map_kept<T: Serialize, F: Function<(T,)>>(
        &self,
        function: F,
        elements: impl IntoIterator<Item = T>,
    ) -> M::Output<Keep<std::vec::IntoIter<T>, M>> {
        let (_, tasks) = self.many(function.registered_name(), PoolShape::Map, elements);
        let keep = Keep::new(&self.remote, tasks, Patience::of(self.call.patience));
        M::run(self.remote.session(), self.remote.time_of_wait(self.call.patience), keep)
    }

    /// Waits for the results of a job that was [kept](Self::map_kept), by whomever, and gives them in their order; the job is forgotten then.
    ///
    /// One at a time: what somebody took who gave up, or died, half way is gone. Refused with [`Reason::NoJob`] if
    /// there is none of that number.
    pub fn collect<R: DeserializeOwned>(&self, job: u64) -> M::Output<Collect<R, M>> {
        let collect = Collect::new(&self.remote, &self.exits, job, Patience::of(self.call.patience));
        M::run(self.remote.session(), self.remote.time_of_wait(self.call.patience), collect)
    }

    /// How far a kept job is. Refused with [`Reason::NoJob`] if there is none of that number.
    pub fn progress(&self, job: u64) -> Output<M, PoolProgressRequest, JobProgress> {
        self.remote.once(Ok(PoolProgressRequest { job }), |response, _| Ok(response.into()))
    }

    /// Ends a kept job: what no worker has is not begun any more, and what was not collected is let go. Whether there was one.
    pub fn forget(&self, job: u64) -> Output<M, PoolForgetRequest, bool> {
        self.remote.once(Ok(PoolForgetRequest { job }), |response, _| Ok(response.forgotten))
    }
}

/// The pool itself.
impl<M: Mode> Pool<M> {
    /// Lets no more tasks in, for ever: Python's `close`. What was submitted is done; then the workers end.
    pub fn close(&self) -> Output<M, PoolCloseRequest, ()> {
        self.remote.once(Ok(PoolCloseRequest {}), |_, _| Ok(()))
    }

    /// Closes the pool and cancels all that is not done, at once: Python's `terminate`. Local workers are killed, whatever they do;
    /// others end when they have done what they do, which is let go. Returns how many tasks were cancelled.
    pub fn terminate(&self) -> Output<M, PoolTerminateRequest, u64> {
        if let Some(local) = &self.local {
            local.end();
        }
        self.remote.once(Ok(PoolTerminateRequest::default()), |response, _| Ok(response.cancelled))
    }

    /// How much there is of everything.
    pub fn state(&self) -> Output<M, PoolDescribeRequest, PoolState> {
        self.remote.once(Ok(PoolDescribeRequest {}), |response, _| Ok(response.into()))
    }

    /// All workers, in the order in which they joined. They are read page by page while others go on.
    pub fn workers(&self) -> M::Output<Workers<M>> {
        self.remote.paged(
            Ok(PoolWorkersRequest { cursor: 0, bytes: 0 }),
            |request, response, workers| {
                workers.extend(response.workers.into_iter().map(WorkerState::from));
                request.cursor = response.cursor;
                Ok(response.cursor != 0)
            },
            Ok,
        )
    }

    /// A worker for this pool, in this process: it works when it is [run](Worker::run).
    pub fn worker(&self) -> Worker<M> {
        self.worker_with(WorkerOptions::new())
    }

    /// The same, which works as the options say.
    pub fn worker_with(&self, options: WorkerOptions) -> Worker<M> {
        Worker::of(self, options)
    }

    /// A [`Token`](crate::Token) with which another process can open this pool, `uses` times, within `lifetime` (at most a day).
    pub fn token(&self, uses: u32, lifetime: Duration) -> M::Output<Tokens<M>> {
        self.remote.share(pool::KIND, uses, lifetime)
    }

    /// What the manager knows about this pool: its name, its size, how many refer to it, its age.
    pub fn describe(&self) -> M::Output<Describe<M>> {
        self.remote.describe()
    }

    /// This pool, without its type.
    #[must_use]
    pub fn reference(&self) -> Reference<M> {
        Reference::of(self.remote.clone())
    }

    /// The same pool, with another time for each call that does not wait for others; `None` for as long as it takes.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { remote: self.remote.with_timeout(timeout), ..self.clone() }
    }

    /// The same pool, for one who was granted this fence: its calls are refused with
    /// [`Reason::StaleFence`] once the pool has seen a higher one.
    #[must_use]
    pub fn fenced(&self, fence: Fence) -> Self {
        Self { remote: self.remote.fenced(fence), ..self.clone() }
    }

    /// One that was made without saying how.
    pub(crate) fn of_default(remote: Remote<M>) -> Self {
        Self { max_waiting: Some(0), ..Self::of(remote) }
    }

    /// One that was made as these say.
    pub(crate) fn made_with(self, options: &PoolOptions) -> Self {
        Self { max_waiting: Some(options.max_waiting), ..self }
    }
}

/// Results as they are done, those that are done already first, for `patience` at most in all: `concurrent.futures.as_completed`.
pub fn as_completed<T, M: Mode>(
    results: impl IntoIterator<Item = AsyncResult<T, M>>,
    patience: Option<Duration>,
) -> AsCompleted<T, M> {
    AsCompleted::new(results, patience)
}

impl<M: Mode> Proxy<M> for Pool<M> {
    const KIND: u32 = pool::KIND;
    const NAME: &'static str = pool::NAME;

    fn of(remote: Remote<M>) -> Self {
        Self::of(remote)
    }
}

impl<M: Mode> Serialize for Pool<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        reference::serialize(&self.remote, serializer)
    }
}

impl<'de, M: Mode> Deserialize<'de> for Pool<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        reference::deserialize(deserializer)
    }
}
