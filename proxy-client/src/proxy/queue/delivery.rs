//! What `get` gives, and what is said of it afterwards.

use std::fmt;
use std::ops::{Deref, DerefMut};

use holdfast_proto::datum::Target;
use holdfast_proto::ops::Request;
use holdfast_proto::{
    QueueDelivery, QueueItem, QueueNackRequest, QueueSizeRequest, QueueSizeResponse, QueueTaskDoneRequest, Reason,
    Refusal,
};
use serde::de::DeserializeOwned;

use super::Queue;
use crate::codec::from_datum;
use crate::error::{Error, Result};
use crate::fence::Fence;
use crate::proxy::remote::Remote;
use crate::proxy::{Exchange, Mode};
use crate::session::{Asking, Heard, Step};

/// When an item is no longer the queue's, and so what `get` gives.
pub trait Delivers: Sized + Send + Sync + 'static {
    /// What `get` gives.
    type Taken<T, M: Mode>;

    #[doc(hidden)]
    const DELIVERY: QueueDelivery;

    #[doc(hidden)]
    fn take<T: DeserializeOwned, M: Mode>(
        remote: &Remote<M>,
        item: QueueItem,
        fence: Fence,
    ) -> Result<Self::Taken<T, M>>;

    #[doc(hidden)]
    fn take_all<T: DeserializeOwned, M: Mode>(
        remote: &Remote<M>,
        items: Vec<QueueItem>,
        fence: Fence,
    ) -> Result<Vec<Self::Taken<T, M>>>;
}

/// An item is the queue's until its receiver has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReceipt {}

/// An item is the queue's until its receiver says that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDone {}

impl Delivers for OnReceipt {
    type Taken<T, M: Mode> = T;

    const DELIVERY: QueueDelivery = QueueDelivery::OnReceipt;

    fn take<T: DeserializeOwned, M: Mode>(_: &Remote<M>, item: QueueItem, _: Fence) -> Result<T> {
        Ok(from_datum(item.item.unwrap_or_default())?)
    }

    fn take_all<T: DeserializeOwned, M: Mode>(
        remote: &Remote<M>,
        items: Vec<QueueItem>,
        fence: Fence,
    ) -> Result<Vec<T>> {
        items.into_iter().map(|item| Self::take(remote, item, fence)).collect()
    }
}

impl Delivers for OnDone {
    type Taken<T, M: Mode> = Delivery<T, M>;

    const DELIVERY: QueueDelivery = QueueDelivery::OnDone;

    fn take<T: DeserializeOwned, M: Mode>(remote: &Remote<M>, item: QueueItem, fence: Fence) -> Result<Delivery<T, M>> {
        Delivery::read(Receipt::new(remote.clone(), item.delivery), item, fence)
    }

    fn take_all<T: DeserializeOwned, M: Mode>(
        remote: &Remote<M>,
        items: Vec<QueueItem>,
        fence: Fence,
    ) -> Result<Vec<Delivery<T, M>>> {
        // If one of them cannot be read, those after it are given back too.
        let receipt = |item: QueueItem| (Receipt::new(remote.clone(), item.delivery), item);
        let received: Vec<_> = items.into_iter().map(receipt).collect();
        received.into_iter().map(|(receipt, item)| Delivery::read(receipt, item, fence)).collect()
    }
}

/// Asks a queue when its items are no longer its own.
pub(crate) fn ask_delivery<M: Mode>(queue: &Remote<M>, asking: Asking<'_>) -> Result<()> {
    queue.ask(asking, &QueueSizeRequest {})
}

/// Checks that this is as it is to be read. Refused: `WRONG_TYPE`.
pub(crate) fn check_delivery<D: Delivers, M: Mode>(queue: &Remote<M>, heard: Heard) -> Result<()> {
    let (size, _) = queue.decode::<QueueSizeResponse>(heard)?;
    match (size.delivery(), D::DELIVERY) {
        (QueueDelivery::OnDone, QueueDelivery::OnReceipt) => {
            Err(unfit("are to be said to be done: open it as a WorkQueue"))
        }
        (QueueDelivery::OnReceipt, QueueDelivery::OnDone) => {
            Err(unfit("are their receiver's when it has them: open it as a Queue"))
        }
        _ => Ok(()),
    }
}

#[cold]
fn unfit(how: &str) -> Error {
    Refusal::new(Reason::WrongType, format!("this is a queue whose items {how}")).into()
}

/// An item that was given out, and that is the queue's until it is [`done`](Self::done).
///
/// Dropped without a word it is given back, as by [`nack`](Self::nack) but without waiting for the manager: also where a
/// worker panics, or returns early with `?`. If the process is killed, the manager gives it back.
///
/// It dereferences to the item.
#[must_use = "the item is given back when its delivery is dropped"]
pub struct Delivery<T, M: Mode> {
    item: T,
    receipt: Receipt<M>,
    attempts: u32,
    is_redelivered: bool,
    fence: Fence,
}

impl<T, M: Mode> Delivery<T, M> {
    fn read(receipt: Receipt<M>, item: QueueItem, fence: Fence) -> Result<Self>
    where
        T: DeserializeOwned,
    {
        let QueueItem { item, attempt, redelivered, .. } = item;
        let item = from_datum(item.unwrap_or_default())?;
        Ok(Self { item, receipt, attempts: attempt, is_redelivered: redelivered, fence })
    }

    /// How often the item was delivered, this time included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether it was given out before and came back: somebody may have seen it, and done a part of it.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.is_redelivered
    }

    /// What this grant is known by. Show it to what the work changes: see [`Fence`].
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// The item, and apart from it what is to be said when it is done.
    pub fn into_parts(self) -> (T, Receipt<M>) {
        (self.item, self.receipt)
    }

    /// As [`Receipt::done`].
    pub fn done(self) -> M::Output<Done<M>> {
        self.receipt.done()
    }

    /// As [`Receipt::nack`].
    pub fn nack(self) -> M::Output<Nack<M>> {
        self.receipt.nack()
    }

    /// As [`Receipt::give_up`].
    pub fn give_up(self) -> M::Output<GiveUp<M>> {
        self.receipt.give_up()
    }
}

impl<T, M: Mode> Deref for Delivery<T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T, M: Mode> DerefMut for Delivery<T, M> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: fmt::Debug, M: Mode> fmt::Debug for Delivery<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, receipt, attempts, is_redelivered, fence } = self;
        f.debug_struct("Delivery")
            .field("item", item)
            .field("number", &receipt.number)
            .field("attempts", attempts)
            .field("is_redelivered", is_redelivered)
            .field("fence", fence)
            .finish()
    }
}

impl<T, M: Mode> From<Delivery<T, M>> for Receipt<M> {
    fn from(delivery: Delivery<T, M>) -> Self {
        delivery.receipt
    }
}

/// What is to be said of a [`Delivery`], without its item. Dropped without a word it gives the item back.
#[must_use = "the item is given back when its receipt is dropped"]
pub struct Receipt<M: Mode> {
    remote: Remote<M>,
    number: u64,
    /// Whether this process was given the item, and does not know yet that it is settled.
    is_ours: bool,
}

impl<M: Mode> Receipt<M> {
    pub(super) fn new(remote: Remote<M>, number: u64) -> Self {
        Self { remote, number, is_ours: true }
    }

    /// Says that the item is done: it is no longer the queue's. Returns how many are yet unfinished.
    ///
    /// Refused with [`Reason::NotHeld`] if it has gone back. An async call that is dropped before it
    /// was polled has said nothing, and the item is given back.
    pub fn done(self) -> M::Output<Done<M>> {
        settle_done(self.remote.clone(), vec![self])
    }

    /// Gives the item back undone, at its place, to be delivered again. Returns how many items were put to the dead letters
    /// instead, since they were delivered too often: 0 or 1.
    ///
    /// Refused with [`Reason::NotHeld`] if it has gone back already.
    pub fn nack(self) -> M::Output<Nack<M>> {
        settle_nack(self.remote.clone(), vec![self])
    }

    /// Puts the item to the dead letters: it is not to be delivered again.
    ///
    /// Refused as [`nack`](Self::nack).
    pub fn give_up(self) -> M::Output<GiveUp<M>> {
        settle_give_up(self.remote.clone(), vec![self])
    }

    /// Leaves the item delivered, and returns the number of its delivery: for somebody who makes a receipt of it
    /// ([`Queue::receipt`]), or until this process ends.
    pub fn keep(mut self) -> u64 {
        self.is_ours = false;
        self.number
    }
}

impl<M: Mode> Drop for Receipt<M> {
    fn drop(&mut self) {
        if self.is_ours {
            self.remote.cast(&QueueNackRequest { deliveries: vec![self.number], give_up: false });
        }
    }
}

impl<M: Mode> fmt::Debug for Receipt<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Many deliveries at once. They are settled together, or refused together with
/// [`Reason::NotHeld`] if one of them is not this session's, or of another queue.
impl<T, M: Mode> Queue<T, OnDone, M> {
    /// Says that these are done: see [`Receipt::done`]. Returns how many are yet unfinished.
    pub fn task_done(&self, deliveries: impl IntoIterator<Item: Into<Receipt<M>>>) -> M::Output<Done<M>> {
        settle_done(self.remote.clone(), all(deliveries))
    }

    /// Gives these back undone: see [`Receipt::nack`]. Returns how many of them were put to the dead letters.
    pub fn nack(&self, deliveries: impl IntoIterator<Item: Into<Receipt<M>>>) -> M::Output<Nack<M>> {
        settle_nack(self.remote.clone(), all(deliveries))
    }

    /// Puts these to the dead letters: see [`Receipt::give_up`].
    pub fn give_up(&self, deliveries: impl IntoIterator<Item: Into<Receipt<M>>>) -> M::Output<GiveUp<M>> {
        settle_give_up(self.remote.clone(), all(deliveries))
    }

    /// The receipt of a delivery that was [kept](Receipt::keep), by its number. Dropped without a word this one says nothing:
    /// the delivery may be somebody else's.
    pub fn receipt(&self, number: u64) -> Receipt<M> {
        Receipt { remote: self.remote.clone(), number, is_ours: false }
    }
}

fn all<M: Mode>(deliveries: impl IntoIterator<Item: Into<Receipt<M>>>) -> Vec<Receipt<M>> {
    deliveries.into_iter().map(Into::into).collect()
}

fn settle<M: Mode, R: Request, T>(
    remote: Remote<M>,
    receipts: Vec<Receipt<M>>,
    make: fn(Vec<u64>) -> R,
    settled: fn(R::Response) -> T,
    none: fn(QueueSizeResponse) -> T,
) -> M::Output<Settle<M, R, T>> {
    let exchange = Settle { remote: remote.clone(), receipts, make, settled, none };
    remote.run(exchange)
}

fn settle_done<M: Mode>(remote: Remote<M>, receipts: Vec<Receipt<M>>) -> M::Output<Done<M>> {
    let make = |deliveries| QueueTaskDoneRequest { deliveries };
    settle(remote, receipts, make, |response| response.unfinished, |size| size.unfinished)
}

fn settle_nack<M: Mode>(remote: Remote<M>, receipts: Vec<Receipt<M>>) -> M::Output<Nack<M>> {
    let make = |deliveries| QueueNackRequest { deliveries, give_up: false };
    settle(remote, receipts, make, |response| response.dead, |_| 0)
}

fn settle_give_up<M: Mode>(remote: Remote<M>, receipts: Vec<Receipt<M>>) -> M::Output<GiveUp<M>> {
    let make = |deliveries| QueueNackRequest { deliveries, give_up: true };
    settle(remote, receipts, make, |_| (), |_| ())
}

/// The settling of deliveries.
pub struct Settle<M: Mode, R: Request, T> {
    remote: Remote<M>,
    /// They are ours until the answer is known. What is given back after it was settled is refused, and changes nothing; so
    /// if the call is not made, refused or never answered, the items go back and are not left with a session that forgot them.
    receipts: Vec<Receipt<M>>,
    make: fn(Vec<u64>) -> R,
    settled: fn(R::Response) -> T,
    /// Without numbers a call would settle what it was not told of, so the size is asked for instead.
    none: fn(QueueSizeResponse) -> T,
}

/// Saying that deliveries are done.
pub type Done<M> = Settle<M, QueueTaskDoneRequest, u64>;

/// Giving deliveries back.
pub type Nack<M> = Settle<M, QueueNackRequest, u64>;

/// Putting deliveries to the dead letters.
pub type GiveUp<M> = Settle<M, QueueNackRequest, ()>;

impl<M: Mode, R: Request, T> Unpin for Settle<M, R, T> {}

impl<M: Mode, R: Request, T> fmt::Debug for Settle<M, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).field("receipts", &self.receipts).finish_non_exhaustive()
    }
}

impl<M: Mode, R: Request, T> Exchange for Settle<M, R, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        if self.receipts.is_empty() {
            return self.remote.ask(asking, &QueueSizeRequest {});
        }
        let queue = self.remote.target().object();
        if let Some(other) = self.receipts.iter().find(|receipt| receipt.remote.target().object() != queue) {
            // Its number may be that of a delivery of this queue.
            let problem = format!("delivery {} is of another queue: settle it there", other.number);
            return Err(Refusal::new(Reason::NotHeld, problem).into());
        }
        let deliveries = self.receipts.iter().map(|receipt| receipt.number).collect();
        self.remote.ask(asking, &(self.make)(deliveries))
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        if self.receipts.is_empty() {
            return Ok(Step::Done((self.none)(self.remote.decode(heard)?.0)));
        }
        let (response, _) = self.remote.decode::<R::Response>(heard)?;
        self.receipts.iter_mut().for_each(|receipt| receipt.is_ours = false);
        Ok(Step::Done((self.settled)(response)))
    }
}
