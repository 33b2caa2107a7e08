//! Results that are waited for later.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use holdfast_proto::{PoolCancelRequest, PoolSubmitResponse, Reason, Refusal};
use holdfast_proto::{PoolDescribeRequest, PoolDescribeResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::board::{Board, Submitting};
use super::callbacks::Callbacks;
use super::cell::{Cell, Finished};
use super::patience::Patience;
use super::results;
use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::proxy::remote::{Remote, Single};
use crate::session::tasks::Async;
use crate::session::threads::Blocking;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// Reads a result of what came of its tasks.
pub(super) type Read<T> = fn(&Finished) -> Result<T>;

/// The result of one call.
pub(super) fn read_one<R: DeserializeOwned>(finished: &Finished) -> Result<R> {
    let outcomes = finished.as_ref().map_err(Clone::clone)?;
    results::one(outcomes.first().cloned().unwrap_or_default())
}

/// The results of many calls.
pub(super) fn read_all<R: DeserializeOwned>(finished: &Finished) -> Result<Vec<R>> {
    let outcomes = finished.as_ref().map_err(Clone::clone)?;
    let mut all = Vec::new();
    for parts in outcomes {
        all.append(&mut results::all(parts.clone())?);
    }
    Ok(all)
}

/// A result that is not waited for yet: Python's `AsyncResult`, and the `Future` of `concurrent.futures`.
///
/// Clones stand for the same result, and it can be asked for as often as one likes. Where it is dropped the call is done all
/// the same, and its callbacks run; [`cancel`](Self::cancel) it if it is not wanted. Dropping, closing or terminating the pool ends
/// what is not done: nobody ever waits for a worker, or a manager, that is gone.
pub struct AsyncResult<T, M: Mode> {
    cell: Arc<Cell>,
    board: Arc<Board<M>>,
    remote: Remote<M>,
    read: Read<T>,
}

impl<T, M: Mode> Clone for AsyncResult<T, M> {
    fn clone(&self) -> Self {
        let Self { cell, board, remote, read } = self;
        Self { cell: cell.clone(), board: board.clone(), remote: remote.clone(), read: *read }
    }
}

impl<T, M: Mode> fmt::Debug for AsyncResult<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("is_ready", &self.ready()).finish_non_exhaustive()
    }
}

/// How far a call is that is many tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many of its tasks are done.
    pub done: usize,
    /// How many tasks it is: 1, or for a map as many as it was cut into.
    pub tasks: usize,
}

impl<T, M: Mode> AsyncResult<T, M> {
    /// Whether the call is done, however it ended. Asks nothing of the manager.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.cell.finished().is_some()
    }

    /// The same: `done()` of `concurrent.futures`.
    #[must_use]
    pub fn done(&self) -> bool {
        self.ready()
    }

    /// Whether the call is done and has a result; `None` if it is not done, where Python raises `ValueError`.
    #[must_use]
    pub fn successful(&self) -> Option<bool> {
        self.cell.finished().map(|finished| (self.read)(&finished).is_ok())
    }

    /// Whether the call was cancelled, or its pool terminated, before it was done.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.cell.finished().is_some_and(|finished| matches!((self.read)(&finished), Err(Error::Cancelled)))
    }

    /// How far it is. Asks nothing of the manager.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (done, tasks) = self.cell.progress();
        Progress { done, tasks }
    }

    /// Cancels what no worker has begun: the result is [`Error::Cancelled`] then. Returns how many tasks that was; none if all are done
    /// or under way, which go on.
    pub fn cancel(&self) -> M::Output<Single<M, PoolCancelRequest, u64>> {
        let (job, mut indexes) = (self.board.job().unwrap_or_default(), self.cell.indexes());
        if indexes.is_empty() {
            // None would be all of the job; this one is no task.
            indexes.push(u64::MAX);
        }
        self.remote.once(Ok(PoolCancelRequest { job, indexes }), |response, _| Ok(response.cancelled))
    }

    /// Calls this when the call is done, with this result: at once, on the calling thread, if it is done already. As
    /// [`Callbacks`], but run after those, and after whoever waits was woken.
    pub fn add_done_callback(&self, callback: impl FnOnce(Self) + Send + 'static)
    where
        T: 'static,
    {
        let this = self.clone();
        self.cell.then(Box::new(move |_| callback(this)));
    }

    /// What came of it, if it is done.
    pub(super) fn look(&self) -> Option<Result<T>> {
        self.cell.finished().map(|finished| self.of(&finished))
    }

    fn of(&self, finished: &Finished) -> Result<T> {
        (self.read)(finished).map_err(|error| self.board.exits.explain(error))
    }

    pub(super) fn poll(&self, waker: &Waker) -> bool {
        self.cell.poll(waker).is_some()
    }

    pub(super) fn forget(&self, waker: &Waker) {
        self.cell.forget(waker);
    }

    fn late(patience: Duration) -> Error {
        let problem = format!("no result within {patience:?}: the task goes on, so ask again, or cancel it");
        Error::Refused(Refusal::new(Reason::TimedOut, problem))
    }
}

impl<T> AsyncResult<T, Blocking> {
    /// The result; waits for it as long as it takes.
    ///
    /// An error of the call is this error: what the function returned where `T` is a `Result`, [`Error::Raised`] for a panic or what
    /// another language raised, [`Error::WorkerLost`], [`Error::Cancelled`].
    pub fn get(&self) -> Result<T> {
        self.wait();
        self.look().unwrap_or(Err(Error::Cancelled))
    }

    /// The same, but waits no longer than `patience`: [`Error::is_timed_out`] then. The call goes on.
    pub fn get_within(&self, patience: Duration) -> Result<T> {
        self.wait_within(patience);
        self.look().unwrap_or_else(|| Err(Self::late(patience)))
    }

    /// Waits until the call is done, however it ends.
    pub fn wait(&self) {
        block(None, || self.poll_here());
    }

    /// The same, but no longer than `patience`. Whether it is done.
    pub fn wait_within(&self, patience: Duration) -> bool {
        block(Some(patience), || self.poll_here())
    }

    fn poll_here(&self) -> bool {
        with_waker(|waker| self.poll(waker))
    }
}

impl<T> AsyncResult<T, Async> {
    /// The result; waits for it as long as it takes.
    ///
    /// An error of the call is this error: what the function returned where `T` is a `Result`, [`Error::Raised`] for a panic or what
    /// another language raised, [`Error::WorkerLost`], [`Error::Cancelled`].
    pub async fn get(&self) -> Result<T> {
        self.wait().await;
        self.look().unwrap_or(Err(Error::Cancelled))
    }

    /// The same, but waits no longer than `patience`: [`Error::is_timed_out`] then. The call goes on.
    pub async fn get_within(&self, patience: Duration) -> Result<T> {
        self.wait_within(patience).await;
        self.look().unwrap_or_else(|| Err(Self::late(patience)))
    }

    /// Waits until the call is done, however it ends.
    pub async fn wait(&self) {
        poll_fn(|cx| if self.poll(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The same, but no longer than `patience`. Whether it is done.
    pub async fn wait_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.wait()).await.is_ok() || self.ready()
    }
}

/// Wakes a thread from `park`.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs this with the waker of the calling thread.
pub(super) fn with_waker<T>(run: impl FnOnce(&Waker) -> T) -> T {
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    WAKER.with(run)
}

/// Blocks the calling thread until `look` finds what it looks for, for which it leaves the thread's waker; or until it is late. Whether
/// it was found.
pub(super) fn block(patience: Option<Duration>, mut look: impl FnMut() -> bool) -> bool {
    let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
    loop {
        if look() {
            return true;
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return false,
            Some(left) => thread::park_timeout(left),
            None => thread::park(),
        }
    }
}

/// The submitting of a call whose result is waited for later.
pub struct Submission<I, T, M: Mode> {
    remote: Remote<M>,
    submitting: Submitting<M>,
    tasks: Result<Tasks<I>, Box<Error>>,
    cell: Arc<Cell>,
    patience: Patience,
    read: Read<T>,
    next: Next,
    /// Tasks of the last request.
    sent: usize,
}

enum Next {
    /// Asks how many workers there are.
    Size,
    Begin,
    Submit,
}

impl<I, T: 'static, M: Mode> Submission<I, T, M> {
    pub(super) fn new(
        remote: &Remote<M>,
        board: &Arc<Board<M>>,
        tasks: Result<Tasks<I>>,
        patience: Patience,
        read: Read<T>,
        callbacks: Callbacks<T>,
    ) -> Self {
        let next = match &tasks {
            Ok(tasks) if tasks.is_open() => Next::Size,
            _ if board.job().is_none() => Next::Begin,
            _ => Next::Submit,
        };
        let cell = Cell::new(callbacks.reading(read, board.exits.clone()));
        let (remote, tasks, submitting) = (remote.clone(), tasks.map_err(Box::new), board.submitting());
        Self { remote, submitting, tasks, cell, patience, read, next, sent: 0 }
    }
}

impl<I, T, M: Mode> Unpin for Submission<I, T, M> {}

impl<I, T, M: Mode> fmt::Debug for Submission<I, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").finish_non_exhaustive()
    }
}

impl<I: Iterator<Item: Serialize>, T: 'static, M: Mode> Exchange for Submission<I, T, M> {
    type Value = AsyncResult<T, M>;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let board = &self.submitting.0;
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        match self.next {
            Next::Size => self.remote.ask(asking, &PoolDescribeRequest {}),
            Next::Begin => self.remote.ask(asking, &tasks.beginning(0, false)),
            Next::Submit => {
                let (request, calls) = tasks.request(board.job().unwrap_or_default(), usize::MAX, self.patience)?;
                self.sent = calls.len();
                self.remote.ask(asking, &request)
            }
        }
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<AsyncResult<T, M>>> {
        let board = &self.submitting.0;
        let tasks = self.tasks.as_mut().map_err(|error| (**error).clone())?;
        match self.next {
            Next::Size => {
                let (response, _) = self.remote.decode::<PoolDescribeResponse>(heard)?;
                tasks.settle(&response);
                self.next = if board.job().is_none() { Next::Begin } else { Next::Submit };
            }
            Next::Begin => {
                let (response, _) = self.remote.decode::<PoolSubmitResponse>(heard)?;
                board.begun(response.job);
                self.next = Next::Submit;
            }
            Next::Submit => {
                let (response, _) = self.remote.decode::<PoolSubmitResponse>(heard)?;
                board.submitted(&self.cell, response.first, self.sent);
                if tasks.is_empty() {
                    self.cell.seal();
                    let Self { cell, remote, read, .. } = self;
                    let (cell, board) = (cell.clone(), board.clone());
                    return Ok(Step::Done(AsyncResult { cell, board, remote: remote.clone(), read: *read }));
                }
            }
        }
        Ok(Step::Again)
    }
}
