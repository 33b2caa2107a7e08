//! The same library for programs without a runtime: every call returns its result.
//!
//! A call drives its own I/O on the calling thread: it writes the frame, reads the socket until its reply has come, and
//! returns; there is no background thread to hand over to. Threads may share a manager and its proxies: of those that wait,
//! one reads for all.

use crate::process;
use crate::session::threads;

pub use crate::proxy::{Description, Kind, Limit, Listed, Status, UnknownKind};

/// A connection to a manager: see [`proxy::Manager`](crate::proxy::Manager).
pub type Manager = crate::proxy::Manager<threads::Blocking>;

/// A process that runs one function: see [`proxy::Process`](crate::proxy::Process).
pub type Process = crate::proxy::Process<threads::Blocking>;

/// The process that started this one: see [`proxy::ParentProcess`](crate::proxy::ParentProcess).
pub type ParentProcess = crate::proxy::ParentProcess<threads::Blocking>;

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

/// A shared mapping: see [`proxy::Dict`](crate::proxy::Dict).
pub type Dict<K, V> = crate::proxy::Dict<K, V, threads::Blocking>;

/// A shared sequence: see [`proxy::List`](crate::proxy::List).
pub type List<T> = crate::proxy::List<T, threads::Blocking>;

/// A shared array: see [`proxy::Array`](crate::proxy::Array).
pub type Array<T> = crate::proxy::Array<T, threads::Blocking>;

/// A shared object with attributes: see [`proxy::Namespace`](crate::proxy::Namespace).
pub type Namespace = crate::proxy::Namespace<threads::Blocking>;

/// A shared set: see [`proxy::Set`](crate::proxy::Set).
pub type Set<T> = crate::proxy::Set<T, threads::Blocking>;

/// A shared cell: see [`proxy::Value`](crate::proxy::Value).
pub type Value<T> = crate::proxy::Value<T, threads::Blocking>;

/// A shared object of any kind: see [`proxy::Reference`](crate::proxy::Reference).
pub type Reference = crate::proxy::Reference<threads::Blocking>;

/// A shared lock: see [`proxy::Lock`](crate::proxy::Lock).
pub type Lock = crate::proxy::Lock<threads::Blocking>;

/// A shared lock that its holder may take again: see [`proxy::RLock`](crate::proxy::RLock).
pub type RLock = crate::proxy::RLock<threads::Blocking>;

/// Holds a shared lock until it is dropped: see [`proxy::LockGuard`](crate::proxy::LockGuard).
pub type LockGuard = crate::proxy::LockGuard<threads::Blocking>;

/// A shared queue whose items are their receiver's when it has them: see [`proxy::Queue`](crate::proxy::Queue).
pub type Queue<T> = crate::proxy::Queue<T, crate::proxy::OnReceipt, threads::Blocking>;

/// A shared queue whose items are its own until their receiver says that they are done: see [`proxy::Queue`](crate::proxy::Queue).
pub type WorkQueue<T> = crate::proxy::Queue<T, crate::proxy::OnDone, threads::Blocking>;

/// An item of a [`WorkQueue`] that was given out: see [`proxy::Delivery`](crate::proxy::Delivery).
pub type Delivery<T> = crate::proxy::Delivery<T, threads::Blocking>;

/// What is to be said of a [`Delivery`]: see [`proxy::Receipt`](crate::proxy::Receipt).
pub type Receipt = crate::proxy::Receipt<threads::Blocking>;

/// A shared condition: see [`proxy::Condition`](crate::proxy::Condition).
pub type Condition = crate::proxy::Condition<threads::Blocking>;

/// A shared lock for many readers or one writer: see [`proxy::RwLock`](crate::proxy::RwLock).
pub type RwLock = crate::proxy::RwLock<threads::Blocking>;

/// Holds a shared lock to read until it is dropped: see [`proxy::RwLockReadGuard`](crate::proxy::RwLockReadGuard).
pub type RwLockReadGuard = crate::proxy::RwLockReadGuard<threads::Blocking>;

/// Holds a shared lock to write until it is dropped: see [`proxy::RwLockWriteGuard`](crate::proxy::RwLockWriteGuard).
pub type RwLockWriteGuard = crate::proxy::RwLockWriteGuard<threads::Blocking>;

/// A shared semaphore: see [`proxy::Semaphore`](crate::proxy::Semaphore).
pub type Semaphore = crate::proxy::Semaphore<threads::Blocking>;

/// Holds permits of a shared semaphore until it is dropped: see [`proxy::Permits`](crate::proxy::Permits).
pub type Permits = crate::proxy::Permits<threads::Blocking>;

/// A shared event: see [`proxy::Event`](crate::proxy::Event).
pub type Event = crate::proxy::Event<threads::Blocking>;

/// A shared barrier: see [`proxy::Barrier`](crate::proxy::Barrier).
pub type Barrier = crate::proxy::Barrier<threads::Blocking>;

/// A shared latch: see [`proxy::Latch`](crate::proxy::Latch).
pub type Latch = crate::proxy::Latch<threads::Blocking>;

/// A pool of workers: see [`pool::Pool`](crate::pool::Pool).
pub type Pool = crate::pool::Pool<threads::Blocking>;

/// A result of a [`Pool`] that is waited for later: see [`pool::AsyncResult`](crate::pool::AsyncResult).
pub type AsyncResult<T> = crate::pool::AsyncResult<T, threads::Blocking>;

/// A pool in the manner of `concurrent.futures`: see [`pool::Executor`](crate::pool::Executor).
pub type Executor = crate::pool::Executor<threads::Blocking>;

/// Who does the tasks of a [`Pool`]: see [`pool::Worker`](crate::pool::Worker).
pub type Worker = crate::pool::Worker<threads::Blocking>;

pub use crate::pool::as_completed;
pub use crate::pool::wait_blocking as wait;

/// Makes pipes: see [`pipe::Pipe`](crate::pipe::Pipe).
pub type Pipe = crate::pipe::Pipe<threads::Blocking>;

/// The end of a pipe that both sends and receives: see [`pipe::Connection`](crate::pipe::Connection).
pub type Connection<S, R> = crate::pipe::Connection<S, R, threads::Blocking>;

/// The end of a pipe that sends: see [`pipe::Sender`](crate::pipe::Sender).
pub type Sender<T> = crate::pipe::Sender<T, threads::Blocking>;

/// The end of a pipe that receives: see [`pipe::Receiver`](crate::pipe::Receiver).
pub type Receiver<T> = crate::pipe::Receiver<T, threads::Blocking>;
