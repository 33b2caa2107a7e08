//! Waiting for several results: `as_completed` and `wait` of `concurrent.futures`.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::result::{AsyncResult, block, with_waker};
use crate::session::Mode;
use crate::session::tasks::Async;
use crate::session::threads::Blocking;

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnWhen {
    /// When one is done, however it ended.
    FirstCompleted,
    /// When one has failed, or all are done.
    FirstException,
    /// When all are done.
    AllCompleted,
}

/// Which results are there, and which are not.
#[derive(Debug)]
pub struct DoneAndNotDone<T, M: Mode> {
    /// Those that are done, however they ended, in the order in which they were given.
    pub done: Vec<AsyncResult<T, M>>,
    /// The others.
    pub not_done: Vec<AsyncResult<T, M>>,
}

impl ReturnWhen {
    fn is_over<T, M: Mode>(self, results: &[AsyncResult<T, M>], waker: &Waker) -> bool {
        let mut done = 0;
        let mut failed = false;
        for result in results {
            if result.poll(waker) {
                done += 1;
                failed |= self == Self::FirstException && result.successful() == Some(false);
            }
        }
        let all = done == results.len();
        match self {
            Self::FirstCompleted => done > 0 || all,
            Self::FirstException => failed || all,
            Self::AllCompleted => all,
        }
    }
}

fn split<T, M: Mode>(results: Vec<AsyncResult<T, M>>, waker: Option<&Waker>) -> DoneAndNotDone<T, M> {
    if let Some(waker) = waker {
        results.iter().for_each(|result| result.forget(waker));
    }
    let (done, not_done) = results.into_iter().partition(AsyncResult::ready);
    DoneAndNotDone { done, not_done }
}

/// Waits until some or all of these are done, or for `patience` at most: `concurrent.futures.wait`, for programs without a runtime.
pub fn wait_blocking<T>(
    results: impl IntoIterator<Item = AsyncResult<T, Blocking>>,
    patience: Option<Duration>,
    when: ReturnWhen,
) -> DoneAndNotDone<T, Blocking> {
    let results: Vec<_> = results.into_iter().collect();
    block(patience, || with_waker(|waker| when.is_over(&results, waker)));
    with_waker(|waker| split(results, Some(waker)))
}

/// Waits until some or all of these are done, or for `patience` at most: `concurrent.futures.wait`, for async programs.
pub async fn wait<T>(
    results: impl IntoIterator<Item = AsyncResult<T, Async>>,
    patience: Option<Duration>,
    when: ReturnWhen,
) -> DoneAndNotDone<T, Async> {
    let results: Vec<_> = results.into_iter().collect();
    let over = poll_fn(|cx| if when.is_over(&results, cx.waker()) { Poll::Ready(()) } else { Poll::Pending });
    match patience {
        // Who is late sees what is done by then.
        Some(patience) => _ = tokio::time::timeout(patience, over).await,
        None => over.await,
    }
    split(results, None)
}

/// Results as they are done: `concurrent.futures.as_completed`.
///
/// In the blocking library it is an [`Iterator`]; in the async one ask for the `next`. It ends when all were given, or when its time is
/// over, where Python raises `TimeoutError`: those that are left are [`not_done`](Self::not_done).
pub struct AsCompleted<T, M: Mode> {
    waiting: VecDeque<AsyncResult<T, M>>,
    deadline: Option<Instant>,
}

impl<T, M: Mode> AsCompleted<T, M> {
    pub(super) fn new(results: impl IntoIterator<Item = AsyncResult<T, M>>, patience: Option<Duration>) -> Self {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        Self { waiting: results.into_iter().collect(), deadline }
    }

    /// Those that were not given, since they are not done yet.
    pub fn not_done(&self) -> impl Iterator<Item = &AsyncResult<T, M>> {
        self.waiting.iter()
    }

    /// One that is done.
    fn find(&mut self, waker: &Waker) -> Option<AsyncResult<T, M>> {
        let place = self.waiting.iter().position(|result| result.poll(waker))?;
        self.waiting.remove(place)
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

impl<T> Iterator for AsCompleted<T, Blocking> {
    type Item = AsyncResult<T, Blocking>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.is_empty() {
            return None;
        }
        let (left, mut found) = (self.left(), None);
        block(left, || {
            found = with_waker(|waker| self.find(waker));
            found.is_some()
        });
        found
    }
}

impl<T> AsCompleted<T, Async> {
    /// The next one that is done; `None` if all were given, or time is over. One that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<AsyncResult<T, Async>> {
        if self.waiting.is_empty() {
            return None;
        }
        let left = self.left();
        let next = poll_fn(|cx| self.find(cx.waker()).map_or(Poll::Pending, Poll::Ready));
        match left {
            Some(left) => tokio::time::timeout(left, next).await.ok(),
            None => Some(next.await),
        }
    }
}

impl<T, M: Mode> fmt::Debug for AsCompleted<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
