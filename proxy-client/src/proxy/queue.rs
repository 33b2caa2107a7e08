//! Shared queues.

mod dead_letter;
mod delivery;
mod options;

use std::marker::PhantomData;
use std::time::Duration;

use holdfast_proto::{
    Datum, QueueClearRequest, QueueGetRequest, QueueJoinRequest, QueuePutRequest, QueueShutdownRequest,
    QueueSizeRequest, QueueSizeResponse, QueueTaskDoneRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::dead_letter::{DeadLetter, DeadLetters};
pub use self::delivery::{Delivers, Delivery, Done, GiveUp, Nack, OnDone, OnReceipt, Receipt, Settle};
pub(super) use self::delivery::{ask_delivery, check_delivery};
pub use self::options::QueueOptions;
use super::holding::patience_ms;
use super::reference::proxy;
use super::remote::{Chunked, Grant, Holds, Remote};
use super::{Mode, Output};
use crate::codec::to_datum;
use crate::error::Result;

/// A shared queue: Python's `Queue`, `LifoQueue`, `PriorityQueue` and `JoinableQueue` in a manager, which loses nothing that
/// was taken by somebody who died.
///
/// Clones are proxies to the same queue. Each method is one call, applied atomically, unless it says otherwise; see the
/// [crate] for what holds for every call. Who waits is served first come first served.
///
/// `D` says when an item is no longer the queue's, which is said when the queue is made ([`QueueOptions`]):
///
/// - [`OnReceipt`]: [`get`](Self::get) gives the item itself, which is the queue's until this process has it. The next call
///   of the session tells the manager, and so does its end; a process that is killed before that gives the item back.
/// - [`OnDone`]: `get` gives a [`Delivery`], and the item is the queue's until that is [`done`](Delivery::done). However a
///   process fails before, the item goes back to its place, and is given to somebody else.
///
/// Opening a queue by a name or a token checks `D`; a proxy that is read from data is what the program says, as with items.
///
/// An item that comes back is marked as redelivered: somebody may have seen it. An async `get` that is dropped loses
/// nothing: what it was given is put back, as if it had never been out.
///
/// Where nobody waits longer than they would, a call is refused: [`Error::is_empty`](crate::Error::is_empty),
/// [`is_full`](crate::Error::is_full), [`is_shut_down`](crate::Error::is_shut_down) are Python's `Empty`, `Full` and
/// `ShutDown`.
pub struct Queue<T, D, M: Mode> {
    remote: Remote<M>,
    _items: Holds<(T, D)>,
}

proxy!(Queue<T, D> in queue);

impl<T, D, M: Mode> Queue<T, D, M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote, _items: PhantomData }
    }

    /// How many items can be taken. Others may put and take before this answer is read.
    pub fn qsize(&self) -> Output<M, QueueSizeRequest, u64> {
        self.remote.once(Ok(QueueSizeRequest {}), |response, _| Ok(response.size))
    }

    /// Whether no item can be taken: Python's `empty()`.
    pub fn is_empty(&self) -> Output<M, QueueSizeRequest, bool> {
        self.remote.once(Ok(QueueSizeRequest {}), |response, _| Ok(response.empty))
    }

    /// Whether who puts must wait: Python's `full()`.
    pub fn is_full(&self) -> Output<M, QueueSizeRequest, bool> {
        self.remote.once(Ok(QueueSizeRequest {}), |response, _| Ok(response.full))
    }

    /// How much there is of everything.
    pub fn state(&self) -> Output<M, QueueSizeRequest, QueueState> {
        self.remote.once(Ok(QueueSizeRequest {}), |response, _| Ok(response.into()))
    }

    /// Waits until everything that was put in is done: Python's `join()`.
    pub fn join(&self) -> Output<M, QueueJoinRequest, ()> {
        self.remote.wait(None, Ok(QueueJoinRequest { patience_ms: None }), |_, _| Ok(()))
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Whether everything is done.
    pub fn join_within(&self, patience: Duration) -> Output<M, QueueJoinRequest, bool> {
        let request = QueueJoinRequest { patience_ms: patience_ms(Some(patience)) };
        self.remote.wait(Some(patience), Ok(request), |response, _| Ok(response.joined))
    }

    /// Lets nothing more in, for ever: Python's `shutdown(immediate)`. Returns how many items were taken out.
    ///
    /// Who waits to put is refused, and who waits to get. What is there can still be taken, unless it ends at once: then
    /// everything is taken out and counts as done, and so does what comes back later.
    pub fn shutdown(&self, immediate: bool) -> Output<M, QueueShutdownRequest, u64> {
        self.remote.once(Ok(QueueShutdownRequest { immediate }), |response, _| Ok(response.removed))
    }

    /// Takes everything out that nobody has, which then counts as done, and returns how many items that were.
    pub fn clear(&self) -> Output<M, QueueClearRequest, u64> {
        self.remote.once(Ok(QueueClearRequest {}), |response, _| Ok(response.removed))
    }
}

impl<T, M: Mode> Queue<T, OnReceipt, M> {
    /// Says that an item that was taken is done, whoever took it: Python's `task_done()`. Returns how many are yet
    /// unfinished.
    ///
    /// Refused with [`Reason::OverRelease`](crate::Reason::OverRelease) if all are: Python's `ValueError`.
    pub fn task_done(&self) -> Output<M, QueueTaskDoneRequest, u64> {
        self.remote.once(Ok(QueueTaskDoneRequest::default()), |response, _| Ok(response.unfinished))
    }
}

/// Putting in. Refused, and nothing is put in, with [`Reason::ShutDown`](crate::Reason::ShutDown), and in a queue with
/// priorities with [`Reason::WrongType`](crate::Reason::WrongType) and [`Reason::NanKey`](crate::Reason::NanKey) if an item
/// has no order with those that are there.
impl<T: Serialize + DeserializeOwned, D, M: Mode> Queue<T, D, M> {
    /// Puts an item in, and waits for room as long as it takes.
    ///
    /// An async call that is dropped gives up: the item is put in or not, but never later.
    pub fn put(&self, item: &T) -> Output<M, QueuePutRequest, ()> {
        self.put_as(item, Ok(None), None)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Refused with
    /// [`Reason::Full`](crate::Reason::Full) if there was no room.
    pub fn put_within(&self, item: &T, patience: Duration) -> Output<M, QueuePutRequest, ()> {
        self.put_as(item, Ok(None), Some(patience))
    }

    /// Puts an item in if there is room. Refused with [`Reason::Full`](crate::Reason::Full) if there is none.
    pub fn put_nowait(&self, item: &T) -> Output<M, QueuePutRequest, ()> {
        self.put_within(item, Duration::ZERO)
    }

    /// Puts an item in, ordered by a priority instead of by itself: the smallest is taken first.
    ///
    /// Refused with [`Reason::Malformed`](crate::Reason::Malformed) if the queue was not made with
    /// [priorities](QueueOptions::priority).
    pub fn put_with_priority<P: Serialize + ?Sized>(&self, item: &T, priority: &P) -> Output<M, QueuePutRequest, ()> {
        self.put_as(item, to_datum(priority).map(Some).map_err(Into::into), None)
    }

    /// The same, but waits no longer than `patience`, as [`put_within`](Self::put_within).
    pub fn put_with_priority_within<P: Serialize + ?Sized>(
        &self,
        item: &T,
        priority: &P,
        patience: Duration,
    ) -> Output<M, QueuePutRequest, ()> {
        self.put_as(item, to_datum(priority).map(Some).map_err(Into::into), Some(patience))
    }

    fn put_as(
        &self,
        item: &T,
        priority: Result<Option<Datum>>,
        patience: Option<Duration>,
    ) -> Output<M, QueuePutRequest, ()> {
        let request = || {
            let items = vec![to_datum(item)?];
            Ok(QueuePutRequest { items, patience_ms: patience_ms(patience), priority: priority? })
        };
        self.remote.wait(patience, request(), |_, _| Ok(()))
    }

    /// Puts many items in, in order, and waits until there is room for all of them as long as it takes.
    ///
    /// Up to about 256 KiB are one call, and all of them are put in or none; more are sent in several calls, each of them
    /// so. What others put in meanwhile then comes between, and if one call fails, what was sent before it stays. Refused
    /// with [`Reason::OutOfRange`](crate::Reason::OutOfRange) if one call has more items than fit an empty queue.
    pub fn put_many(&self, items: impl IntoIterator<Item = T>) -> M::Output<PutMany<M>> {
        self.put_all(items, None)
    }

    /// The same, but none of its calls waits longer than `patience`; zero is not at all. Refused with
    /// [`Reason::Full`](crate::Reason::Full) if there was no room for all items of a call.
    pub fn put_many_within(&self, items: impl IntoIterator<Item = T>, patience: Duration) -> M::Output<PutMany<M>> {
        self.put_all(items, Some(patience))
    }

    fn put_all(&self, items: impl IntoIterator<Item = T>, patience: Option<Duration>) -> M::Output<PutMany<M>> {
        let items: Result<Vec<Datum>> = items.into_iter().map(|item| Ok(to_datum(&item)?)).collect();
        let patience_ms = patience_ms(patience);
        let make = move |items| QueuePutRequest { items, patience_ms, priority: None };
        self.remote.chunked_wait(patience, items, make, (), |(), _| {})
    }
}

/// Taking out. Refused with [`Reason::ShutDown`](crate::Reason::ShutDown) once nothing is there and nothing will be put in.
///
/// An item that is not a `T` is [`Error::Codec`](crate::Error::Codec), and so is all that was taken with it: where items are
/// done on receipt they are gone, and where they are done by saying so they are given back.
impl<T: Serialize + DeserializeOwned, D: Delivers, M: Mode> Queue<T, D, M> {
    /// Takes an item out, and waits for one as long as it takes.
    pub fn get(&self) -> M::Output<Get<T, D, M>> {
        self.take_one(None)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Refused with
    /// [`Reason::Empty`](crate::Reason::Empty) if nothing came.
    pub fn get_within(&self, patience: Duration) -> M::Output<Get<T, D, M>> {
        self.take_one(Some(patience))
    }

    /// Takes an item out if one is there. Refused with [`Reason::Empty`](crate::Reason::Empty) if there is none.
    pub fn get_nowait(&self) -> M::Output<Get<T, D, M>> {
        self.get_within(Duration::ZERO)
    }

    /// Takes up to `max` items out, at least one, and waits for the first as long as it takes; it does not wait for more.
    ///
    /// There are fewer if there are no more, or if they fill a page (256 KiB, unless the manager was told otherwise).
    pub fn get_many(&self, max: u64) -> M::Output<GetItems<T, D, M>> {
        self.take_many(max, None)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Refused with
    /// [`Reason::Empty`](crate::Reason::Empty) if nothing came.
    pub fn get_many_within(&self, max: u64, patience: Duration) -> M::Output<GetItems<T, D, M>> {
        self.take_many(max, Some(patience))
    }

    fn take_one(&self, patience: Option<Duration>) -> M::Output<Get<T, D, M>> {
        let request = QueueGetRequest { max: 1, patience_ms: patience_ms(patience) };
        self.remote.grant(patience, Ok(request), |remote, response, _| {
            // A manager that does not send what it must sends nothing, which is of no type.
            let item = response.items.into_iter().next().unwrap_or_default();
            D::take(&remote, item, response.fence.into())
        })
    }

    fn take_many(&self, max: u64, patience: Option<Duration>) -> M::Output<GetItems<T, D, M>> {
        let request = QueueGetRequest { max, patience_ms: patience_ms(patience) };
        self.remote.grant(patience, Ok(request), |remote, response, _| {
            D::take_all(&remote, response.items, response.fence.into())
        })
    }
}

/// The taking of an item.
pub type Get<T, D, M> = Grant<M, QueueGetRequest, <D as Delivers>::Taken<T, M>>;

/// The taking of items.
pub type GetItems<T, D, M> = Grant<M, QueueGetRequest, Vec<<D as Delivers>::Taken<T, M>>>;

/// The putting in of many items.
pub type PutMany<M> = Chunked<Datum, QueuePutRequest, (), M>;

/// How much there is of everything in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueState {
    /// How many items can be taken.
    pub size: u64,
    /// Whether who puts must wait.
    pub is_full: bool,
    /// How many were put in and are not done: what [`join`](Queue::join) waits for.
    pub unfinished: u64,
    /// How many calls wait to take something.
    pub getters: u64,
    /// How many calls wait to put something.
    pub putters: u64,
    /// How many calls wait for all to be done.
    pub joiners: u64,
    /// How many items were given out and are still the queue's: not received, or not done.
    pub delivered: u64,
    /// How many dead letters there are.
    pub dead_letters: u64,
    /// Whether it was shut down.
    pub is_shut_down: bool,
}

impl From<QueueSizeResponse> for QueueState {
    fn from(response: QueueSizeResponse) -> Self {
        let QueueSizeResponse { size, full, unfinished, getters, putters, joiners, .. } = response;
        let QueueSizeResponse { delivered, dead_letters, shut_down, .. } = response;
        let (is_full, is_shut_down) = (full, shut_down);
        Self { size, is_full, unfinished, getters, putters, joiners, delivered, dead_letters, is_shut_down }
    }
}
