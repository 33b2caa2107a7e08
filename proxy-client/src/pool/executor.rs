//! Pools in the manner of `concurrent.futures`.

use std::fmt;
use std::iter;

use holdfast_proto::PoolCancelRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::result::Submission;
use super::{Imap, Pool, PoolOptions};
use crate::error::Result;
use crate::function::Function;
use crate::session::Mode;
use crate::session::tasks::Async;
use crate::session::threads::Blocking;

/// A pool in the manner of Python's `concurrent.futures.ProcessPoolExecutor`.
///
/// Its results are [`AsyncResult`](super::AsyncResult)s, which have what Python's `Future` has but for `running()`: that a worker has
/// begun is known to the manager alone, which [`Pool::state`] asks. When the last clone is dropped without a
/// [`shutdown`](Self::shutdown), what is not done is cancelled.
pub struct Executor<M: Mode> {
    pool: Pool<M>,
}

impl<M: Mode> Clone for Executor<M> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone() }
    }
}

impl<M: Mode> fmt::Debug for Executor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("pool", &self.pool).finish()
    }
}

impl<M: Mode> From<Pool<M>> for Executor<M> {
    /// Over a pool that there is.
    fn from(pool: Pool<M>) -> Self {
        Self { pool }
    }
}

impl Executor<Blocking> {
    /// With so many local workers, as [`Pool::new`].
    pub fn new(workers: usize) -> Result<Self> {
        Ok(Pool::<Blocking>::new(workers)?.into())
    }

    /// The same, made as the options say.
    pub fn with(options: PoolOptions) -> Result<Self> {
        Ok(Pool::<Blocking>::with(options)?.into())
    }

    /// Takes nothing more. With `cancel_futures`, what no worker has begun is cancelled; with `wait`, this returns when all the rest is
    /// done and the workers have ended.
    pub fn shutdown(&self, wait: bool, cancel_futures: bool) -> Result<()> {
        self.pool.close()?;
        if let Some(cancel) = self.cancelling(cancel_futures) {
            self.pool.remote.once(Ok(cancel), |_, _| Ok(()))?;
        }
        if wait { self.pool.join() } else { Ok(()) }
    }
}

impl Executor<Async> {
    /// With so many local workers, as [`Pool::new`].
    pub async fn new(workers: usize) -> Result<Self> {
        Ok(Pool::<Async>::new(workers).await?.into())
    }

    /// The same, made as the options say.
    pub async fn with(options: PoolOptions) -> Result<Self> {
        Ok(Pool::<Async>::with(options).await?.into())
    }

    /// Takes nothing more. With `cancel_futures`, what no worker has begun is cancelled; with `wait`, this returns when all the rest is
    /// done and the workers have ended.
    pub async fn shutdown(&self, wait: bool, cancel_futures: bool) -> Result<()> {
        self.pool.close().await?;
        if let Some(cancel) = self.cancelling(cancel_futures) {
            self.pool.remote.once(Ok(cancel), |_, _| Ok(())).await?;
        }
        if wait { self.pool.join().await } else { Ok(()) }
    }
}

impl<M: Mode> Executor<M> {
    /// Has a worker call the function with these arguments, a tuple.
    pub fn submit<A: Serialize, F: Function<A, Output: DeserializeOwned>>(
        &self,
        function: F,
        arguments: A,
    ) -> M::Output<Submission<iter::Once<A>, F::Output, M>>
    where
        F::Output: 'static,
    {
        self.pool.apply_async(function, arguments)
    }

    /// Calls the function with each element, and gives the results one after the other, in their order.
    ///
    /// Other than Python's it takes elements only so far ahead as [`Imap`] says. A time is said for each result, with
    /// [`next_within`](Imap::next_within).
    pub fn map<T: Serialize, F: Function<(T,), Output: DeserializeOwned>, I: IntoIterator<Item = T>>(
        &self,
        function: F,
        elements: I,
    ) -> Imap<I::IntoIter, F::Output, M> {
        self.pool.imap(function, elements)
    }

    /// The pool that this is over.
    #[must_use]
    pub fn pool(&self) -> &Pool<M> {
        &self.pool
    }

    /// What cancels all that was submitted here and no worker has begun.
    fn cancelling(&self, cancel_futures: bool) -> Option<PoolCancelRequest> {
        let job = self.pool.board.job().filter(|_| cancel_futures)?;
        Some(PoolCancelRequest { job, indexes: Vec::new() })
    }
}
