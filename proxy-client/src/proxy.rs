//! The proxies, written once for both ways to make calls.
//!
//! Every type here has a parameter `M`, the [`Mode`]: use the aliases in the crate's root for async programs, where a call
//! is a [`Call`](crate::Call), a future of its result, and those in [`blocking`](crate::blocking) for programs without a
//! runtime, where a call returns its result.

#[cfg(feature = "testing")]
pub mod anything;
mod array;
mod barrier;
mod dict;
mod event;
pub(crate) mod holding;
mod latch;
mod list;
mod listing;
mod lock;
pub(crate) mod manager;
mod namespace;
pub(crate) mod parcel;
mod question;
mod queue;
pub(crate) mod reference;
pub(crate) mod remote;
mod rwlock;
mod semaphore;
mod set;
mod value;

pub use array::{Array, Element, ElementSwap, Number, SetSlice, Slice};
pub use barrier::{Arrival, Barrier, BarrierState, BreakCause};
pub use dict::{Dict, Expected, GetMany, Scan, Swap, Update};
pub use event::Event;
pub use holding::{Abandoned, Holding, OnClose, OnLoss};
pub use latch::Latch;
pub use list::{Extend, GetSlice, List};
pub use listing::{Describe, Description, Kind, Listed, Names, UnknownKind};
pub use lock::{Acquire, Condition, Lock, LockGuard, LockState, RLock, TryAcquire, Waiting};
pub use manager::{Limit, Manager, Open, Status};
pub use namespace::Namespace;
pub use question::Question;
pub use queue::{
    DeadLetter, DeadLetters, Delivers, Delivery, Done, Get, GetItems, GiveUp, Nack, OnDone, OnReceipt, PutMany, Queue,
    QueueOptions, QueueState, Receipt, Settle,
};
pub use reference::{Proxy, Reference};
pub use remote::{Chunked, Ending, Grant, Paged, Single, Tokens};
pub use rwlock::{Read, RwLock, RwLockReadGuard, RwLockState, RwLockWriteGuard, TryRead, TryWrite, Write};
pub use semaphore::{AcquirePermits, Permits, Semaphore, SemaphoreHolder, SemaphoreState, TryAcquirePermits};
pub use set::{Set, SetComparison};
pub use value::Value;

pub use crate::process::{ParentProcess, Process};
pub use crate::session::renewal::Renewable;
pub use crate::session::tasks::Async;
pub use crate::session::threads::Blocking;
pub use crate::session::{Exchange, Mode};

/// What a call of one request gives: in the async library a future of `Result<T>`, in the blocking one `Result<T>` itself.
pub type Output<M, R, T> = <M as Mode>::Output<Single<M, R, T>>;
