//! What is in a queue.

use alloc::boxed::Box;

use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::{Datum, Reason, Refusal};

use crate::door;
use crate::key::Equality;

/// What an item counts beside its data.
const ITEM_BYTES: u64 = 24;

/// An item of a queue, wherever in it it is.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) datum: Datum,
    /// By what it is ordered, if not by itself.
    pub(super) priority: Option<Box<Datum>>,
    /// Its place among all that were put in; 0 until it is.
    pub(super) sequence: u64,
    /// How many of its deliveries came back.
    pub(super) attempts: u32,
    /// Whether it was given out and came back.
    pub(super) returned: bool,
}

/// All there is to know about an item.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ItemState {
    /// What was put in.
    #[prost(message, optional, tag = "1")]
    pub item: Option<Datum>,
    /// By what it is ordered, if not by itself.
    #[prost(message, optional, tag = "2")]
    pub priority: Option<Datum>,
    /// Its place among all that were put in; 0 until it is.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    /// How many of its deliveries came back.
    #[prost(uint32, tag = "4")]
    pub attempts: u32,
    /// Whether it was given out and came back.
    #[prost(bool, tag = "5")]
    pub returned: bool,
}

impl Item {
    pub(super) fn new(datum: Datum, priority: Option<Box<Datum>>) -> Self {
        Self { datum, priority, sequence: 0, attempts: 0, returned: false }
    }

    /// By what it is ordered, in a queue with priorities.
    pub(super) fn key(&self) -> &Datum {
        self.priority.as_deref().unwrap_or(&self.datum)
    }

    /// What it counts.
    pub(super) fn bytes(&self) -> u64 {
        ITEM_BYTES + self.datum.bytes() + self.priority.as_deref().map_or(0, Datum::bytes)
    }

    pub(super) fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        self.datum.visit_references(visit);
        if let Some(priority) = self.priority.as_deref() {
            priority.visit_references(visit);
        }
    }

    pub(super) fn state(&self) -> ItemState {
        ItemState {
            item: Some(self.datum.clone()),
            priority: self.priority.as_deref().cloned(),
            sequence: self.sequence,
            attempts: self.attempts,
            returned: self.returned,
        }
    }

    /// The item that had this state, which was put in before the one with the number `next`. Refused: `MALFORMED`.
    pub(super) fn restore(state: Option<ItemState>, next: u64, equality: &Equality) -> Result<Self, Refusal> {
        let ItemState { item, priority, sequence, attempts, returned } =
            state.ok_or_else(|| Refusal::missing("item"))?;
        if sequence >= next {
            return Err(damaged());
        }
        let datum = door::value("item", item, equality)?;
        let priority = door::optional("priority", priority, equality)?.map(Box::new);
        Ok(Self { datum, priority, sequence, attempts, returned })
    }
}

/// What all of them count.
pub(super) fn bytes_of(items: &[Item]) -> u64 {
    items.iter().map(Item::bytes).sum()
}

pub(super) fn damaged() -> Refusal {
    Refusal::new(Reason::Malformed, "the saved state is not that of a queue: it was damaged")
}
