//! How a queue is made.

use std::marker::PhantomData;

use holdfast_proto::{QueueOrder, QueueSpec};

use super::delivery::{Delivers, OnDone, OnReceipt};
use crate::proxy::OnClose;

/// How a queue is made. Who opens it later must say the same.
///
/// ```
/// use holdfast::QueueOptions;
///
/// let as_in_python = QueueOptions::fifo().maxsize(100);
/// let jobs = QueueOptions::priority().on_done().max_deliveries(3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions<D = OnReceipt> {
    spec: QueueSpec,
    _delivers: PhantomData<D>,
}

impl QueueOptions {
    /// What was put in first is taken first: Python's `Queue` and `JoinableQueue`. There is no limit to how many items may be
    /// there, and an item is no longer the queue's when its receiver has it.
    #[must_use]
    pub fn fifo() -> Self {
        Self::of(QueueOrder::Fifo)
    }

    /// What was put in last is taken first: Python's `LifoQueue`. Otherwise as [`fifo`](Self::fifo).
    #[must_use]
    pub fn lifo() -> Self {
        Self::of(QueueOrder::Lifo)
    }

    /// The smallest is taken first, and of equal ones what was put in first: Python's `PriorityQueue`. Items are ordered by
    /// themselves, as [`List::sort`](crate::List::sort) orders them, or by the priority that they are put in with. Otherwise
    /// as [`fifo`](Self::fifo).
    #[must_use]
    pub fn priority() -> Self {
        Self::of(QueueOrder::Priority)
    }

    fn of(order: QueueOrder) -> Self {
        Self { spec: QueueSpec { order: order.into(), ..QueueSpec::default() }, _delivers: PhantomData }
    }

    /// An item is the queue's until its receiver says that it is done.
    #[must_use]
    pub fn on_done(self) -> QueueOptions<OnDone> {
        QueueOptions { spec: self.spec, _delivers: PhantomData }
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self::fifo()
    }
}

impl<D> QueueOptions<D> {
    /// How many items may be there before who puts must wait; 0 is without a limit. Those that were taken do not count.
    #[must_use]
    pub fn maxsize(self, maxsize: u64) -> Self {
        let maxsize = i64::try_from(maxsize).unwrap_or(i64::MAX);
        Self { spec: QueueSpec { maxsize, ..self.spec }, ..self }
    }
}

impl QueueOptions<OnDone> {
    /// How often an item is delivered before it is put to the [dead letters](super::Queue::dead_letters); 0, as at first, is
    /// without a limit.
    #[must_use]
    pub fn max_deliveries(self, max_deliveries: u32) -> Self {
        Self { spec: QueueSpec { max_deliveries, ..self.spec }, ..self }
    }

    /// What becomes of items that are not done when the process that took them says goodbye: they go back, or stay delivered,
    /// to nobody, until somebody settles them by their numbers ([`receipt`](super::Queue::receipt)). When it is killed they
    /// go back.
    #[must_use]
    pub fn on_close(self, on_close: OnClose) -> Self {
        Self { spec: QueueSpec { on_close: on_close.into(), ..self.spec }, ..self }
    }
}

impl<D: Delivers> From<QueueOptions<D>> for QueueSpec {
    fn from(options: QueueOptions<D>) -> Self {
        Self { delivery: D::DELIVERY.into(), ..options.spec }
    }
}
