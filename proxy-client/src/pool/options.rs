//! How a pool is made.

use std::borrow::Cow;
use std::fmt;
use std::thread;

use holdfast_proto::{Datum, PoolSpec, Reason, Refusal};
use serde::Serialize;

use crate::error::Result;
use crate::function::{Function, write};

/// How a pool is made, and its local workers.
///
/// ```
/// use holdfast::PoolOptions;
///
/// #[holdfast::function]
/// fn warm_up(verbosity: u32) {}
///
/// let options = PoolOptions::new().workers(4).initializer(warm_up, (2,)).max_tasks_per_child(100).tries(1);
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct PoolOptions {
    pub(super) workers: usize,
    pub(super) initializer: Option<Result<(Cow<'static, str>, Datum)>>,
    pub(super) max_tasks: u64,
    pub(super) tries: u32,
    pub(super) max_waiting: u64,
}

impl PoolOptions {
    /// As many local workers as the process may use CPUs; a task is given to up to three workers if those before are lost; and nobody
    /// waits to submit.
    #[must_use]
    pub fn new() -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        Self { workers, initializer: None, max_tasks: 0, tries: 0, max_waiting: 0 }
    }

    /// So many local workers, and at least one.
    pub(crate) fn of(workers: usize) -> Result<Self> {
        if workers == 0 {
            let problem = "a pool of no workers does nothing: say how many, or PoolOptions::workers(0) where others join from elsewhere";
            return Err(Refusal::new(Reason::OutOfRange, problem).into());
        }
        Ok(Self::new().workers(workers))
    }

    /// How many local workers there are. With none, workers must [join](super::Pool::worker) from elsewhere.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// What each local worker runs before it takes tasks: Python's `initializer` and `initargs`. If it fails or panics, the pool is
    /// terminated, and all its calls fail with what it said; Python starts worker after worker then, for ever.
    #[must_use]
    pub fn initializer<A: Serialize, F: Function<A>>(self, function: F, arguments: A) -> Self {
        let initializer = function.registered_name().and_then(|name| Ok((name, write(&arguments)?)));
        Self { initializer: Some(initializer), ..self }
    }

    /// After how many tasks a local worker is replaced by a new one; 0, as at first, is never: Python's `maxtasksperchild`.
    #[must_use]
    pub fn max_tasks_per_child(self, tasks: u64) -> Self {
        Self { max_tasks: tasks, ..self }
    }

    /// How often a task is given to a worker, if those that had it are lost, before it has come to
    /// [`WorkerLost`](crate::Error::WorkerLost): 1 is at most once; more is at least once, up to that limit. 3 at first.
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// How many tasks may wait for a worker before who submits must wait; 0, as at first, is without a limit.
    #[must_use]
    pub fn max_waiting(self, tasks: u64) -> Self {
        Self { max_waiting: tasks, ..self }
    }

    pub(crate) fn spec(&self) -> PoolSpec {
        PoolSpec { tries: self.tries, max_waiting: self.max_waiting }
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, max_tasks, tries, max_waiting, .. } = self;
        f.debug_struct("PoolOptions")
            .field("workers", workers)
            .field("max_tasks_per_child", max_tasks)
            .field("tries", tries)
            .field("max_waiting", max_waiting)
            .finish_non_exhaustive()
    }
}
