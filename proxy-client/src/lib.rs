//! Shared dicts, counters and more for any processes, through one manager.
//!
//! A manager process holds the objects; every process that connects gets typed proxies, whose calls are applied one at a
//! time, each of them atomically. It is `multiprocessing.Manager` for Rust programs.
//!
//! ```no_run
//! # async fn example() -> holdfast::Result<()> {
//! use holdfast::Manager;
//!
//! // A manager that somebody runs with `holdfast serve`; `Manager::start()` gives this program one of its own.
//! let manager = Manager::connect_default().await?;
//! let hits = manager.dict::<String, i64>("hits").await?;
//! hits.add("/index.html", 1).await?;
//! assert!(hits.get("/index.html").await?.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! The same without a runtime, on the calling thread alone, is in [`blocking`]:
//!
//! ```no_run
//! # fn example() -> holdfast::Result<()> {
//! let manager = holdfast::blocking::Manager::connect_default()?;
//! let hits = manager.dict::<String, i64>("hits")?;
//! let total = hits.add("/index.html", 1)?;
//! # let _ = total;
//! # Ok(())
//! # }
//! ```
//!
//! # What holds for every call
//!
//! - **Atomic.** A call is applied as a whole, alone with its object. What must read and write as one has a call of its own:
//!   [`add`](proxy::Dict::add), [`compare_and_set`](proxy::Dict::compare_and_set).
//! - **Bounded in time.** Connecting takes at most [`Options::connect_timeout`], a call at most
//!   [`Options::call_timeout`]. Nothing waits for ever unless it is asked to.
//! - **Bound to its session.** When a session is over, every proxy of it says so with [`Error::Ended`]. The [`Manager`] opens
//!   a new one by itself when it is asked for an object again, within [`Options::reconnect_timeout`].
//! - **Typed.** Keys and values are any serde type. A refusal is an [`Error::Refused`] with a [`Reason`]; it changed nothing.
//! - **Owned by nobody for ever.** An object with a name lives until it is deleted. One without lives while some process has
//!   a proxy to it, or a token for it waits; a process that is killed gives back what it had.

#[cfg(test)]
extern crate self as holdfast;

pub mod blocking;
mod child;
mod codec;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod fence;
mod function;
mod options;
mod owner;
pub mod pipe;
pub mod pool;
mod process;
pub mod proxy;
mod session;
mod token;

pub use codec::CodecError;
pub use error::{ConnectError, Error, Raised, Result, WorkerLost};
pub use fence::Fence;
pub use function::{Arguments, Function, Named};
/// Registers a function, so that other processes can be asked to run it.
///
/// It stays the function that it is. What it takes and returns is what serde can write and read, proxies among them; it has a
/// name of its own, which is the identifier unless another one is said, and by which programs in other languages know it.
///
/// ```
/// #[holdfast::function]
/// fn square(x: i64) -> i64 {
///     x * x
/// }
///
/// #[holdfast::function(name = "text.count")]
/// fn count(text: String, of: char) -> Result<usize, String> {
///     if text.is_empty() { Err("the text is empty".to_owned()) } else { Ok(text.matches(of).count()) }
/// }
/// # assert_eq!(square(3), 9);
/// # assert_eq!(count("abca".to_owned(), 'a'), Ok(2));
/// ```
pub use holdfast_macros::function;
pub use holdfast_proto::place::{Address, InvalidAddress};
pub use holdfast_proto::scram::Authkey;
pub use holdfast_proto::{Reason, Refusal};
pub use holdfast_stream::BusyPoll;
pub use options::Options;
pub use pipe::PipeError;
pub use pool::{Callbacks, PoolOptions, ReturnWhen, WorkerOptions};
pub use process::{CurrentProcess, Family, ProcessError, current_process, init};
pub use proxy::{
    Abandoned, Arrival, BarrierState, BreakCause, DeadLetter, Description, Holding, Kind, Limit, Listed, LockState,
    OnClose, OnLoss, QueueOptions, QueueState, RwLockState, SemaphoreHolder, SemaphoreState, Status, UnknownKind,
};
pub use session::tasks::{Call, ManagerCall};
pub use token::Token;

/// A connection to a manager, for async programs: see [`proxy::Manager`].
pub type Manager = proxy::Manager<session::tasks::Async>;

/// A process that runs one function, for async programs: see [`proxy::Process`].
pub type Process = proxy::Process<session::tasks::Async>;

/// The process that started this one, for async programs: see [`proxy::ParentProcess`].
pub type ParentProcess = proxy::ParentProcess<session::tasks::Async>;

/// The process that started this one: Python's `multiprocessing.parent_process()`. `None` if no [`Process`] is this.
#[must_use]
pub fn parent_process() -> Option<ParentProcess> {
    process::parent_process()
}

/// The children of this process that have not ended, in the order in which they were started: Python's
/// `multiprocessing.active_children()`. Also those whose handle was dropped, and the workers of its pools.
#[must_use]
pub fn active_children() -> Vec<Process> {
    process::active_children()
}

/// A shared mapping, for async programs: see [`proxy::Dict`].
pub type Dict<K, V> = proxy::Dict<K, V, session::tasks::Async>;

/// A shared sequence, for async programs: see [`proxy::List`].
pub type List<T> = proxy::List<T, session::tasks::Async>;

/// A shared array, for async programs: see [`proxy::Array`].
pub type Array<T> = proxy::Array<T, session::tasks::Async>;

/// A shared object with attributes, for async programs: see [`proxy::Namespace`].
pub type Namespace = proxy::Namespace<session::tasks::Async>;

/// A shared set, for async programs: see [`proxy::Set`].
pub type Set<T> = proxy::Set<T, session::tasks::Async>;

/// A shared cell, for async programs: see [`proxy::Value`].
pub type Value<T> = proxy::Value<T, session::tasks::Async>;

/// A shared object of any kind, for async programs: see [`proxy::Reference`].
pub type Reference = proxy::Reference<session::tasks::Async>;

/// A shared lock, for async programs: see [`proxy::Lock`].
pub type Lock = proxy::Lock<session::tasks::Async>;

/// A shared lock that its holder may take again, for async programs: see [`proxy::RLock`].
pub type RLock = proxy::RLock<session::tasks::Async>;

/// Holds a shared lock until it is dropped, for async programs: see [`proxy::LockGuard`].
pub type LockGuard = proxy::LockGuard<session::tasks::Async>;

/// A shared queue whose items are their receiver's when it has them, for async programs: see [`proxy::Queue`].
pub type Queue<T> = proxy::Queue<T, proxy::OnReceipt, session::tasks::Async>;

/// A shared queue whose items are its own until their receiver says that they are done, for async programs: see [`proxy::Queue`].
pub type WorkQueue<T> = proxy::Queue<T, proxy::OnDone, session::tasks::Async>;

/// An item of a [`WorkQueue`] that was given out, for async programs: see [`proxy::Delivery`].
pub type Delivery<T> = proxy::Delivery<T, session::tasks::Async>;

/// What is to be said of a [`Delivery`], for async programs: see [`proxy::Receipt`].
pub type Receipt = proxy::Receipt<session::tasks::Async>;

/// A shared condition, for async programs: see [`proxy::Condition`].
pub type Condition = proxy::Condition<session::tasks::Async>;

/// A shared lock for many readers or one writer, for async programs: see [`proxy::RwLock`].
pub type RwLock = proxy::RwLock<session::tasks::Async>;

/// Holds a shared lock to read until it is dropped, for async programs: see [`proxy::RwLockReadGuard`].
pub type RwLockReadGuard = proxy::RwLockReadGuard<session::tasks::Async>;

/// Holds a shared lock to write until it is dropped, for async programs: see [`proxy::RwLockWriteGuard`].
pub type RwLockWriteGuard = proxy::RwLockWriteGuard<session::tasks::Async>;

/// A shared semaphore, for async programs: see [`proxy::Semaphore`].
pub type Semaphore = proxy::Semaphore<session::tasks::Async>;

/// Holds permits of a shared semaphore until it is dropped, for async programs: see [`proxy::Permits`].
pub type Permits = proxy::Permits<session::tasks::Async>;

/// A shared event, for async programs: see [`proxy::Event`].
pub type Event = proxy::Event<session::tasks::Async>;

/// A shared barrier, for async programs: see [`proxy::Barrier`].
pub type Barrier = proxy::Barrier<session::tasks::Async>;

/// A shared latch, for async programs: see [`proxy::Latch`].
pub type Latch = proxy::Latch<session::tasks::Async>;

/// A pool of workers, for async programs: see [`pool::Pool`].
pub type Pool = pool::Pool<session::tasks::Async>;

/// A result of a [`Pool`] that is waited for later, for async programs: see [`pool::AsyncResult`].
pub type AsyncResult<T> = pool::AsyncResult<T, session::tasks::Async>;

/// A pool in the manner of `concurrent.futures`, for async programs: see [`pool::Executor`].
pub type Executor = pool::Executor<session::tasks::Async>;

/// Who does the tasks of a [`Pool`], for async programs: see [`pool::Worker`].
pub type Worker = pool::Worker<session::tasks::Async>;

pub use pool::{as_completed, wait};

/// Makes pipes, for async programs: see [`pipe::Pipe`].
pub type Pipe = pipe::Pipe<session::tasks::Async>;

/// The end of a pipe that both sends and receives, for async programs: see [`pipe::Connection`].
pub type Connection<S, R> = pipe::Connection<S, R, session::tasks::Async>;

/// The end of a pipe that sends, for async programs: see [`pipe::Sender`].
pub type Sender<T> = pipe::Sender<T, session::tasks::Async>;

/// The end of a pipe that receives, for async programs: see [`pipe::Receiver`].
pub type Receiver<T> = pipe::Receiver<T, session::tasks::Async>;

/// What `#[holdfast::function]` writes. Not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    pub use crate::function::{Callable, Item, Registered};
}
