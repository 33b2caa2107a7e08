//! The items that can be taken, in their order.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use alloc::{boxed::Box, format};
use core::cmp::Ordering;
use core::mem;
use core::ops::Bound;

use holdfast_proto::{QueueOrder, Reason, Refusal};

use super::item::Item;
use crate::key::Equality;
use crate::mutant::{Mutant, mutant};
use crate::order::Order;

/// The items that can be taken.
///
/// - Putting one in, taking the next and putting one back to its place takes logarithmic time at most, in whatever order
///   they come back: a session that was lost may give back many.
/// - Where there are no priorities what was never taken costs no more than its item, in a line.
#[derive(Debug)]
pub(super) enum Store {
    /// The smallest sequence number comes first.
    Fifo(Line),
    /// The largest does.
    Lifo(Line),
    /// The smallest key does, and of equal ones the smallest sequence number.
    Priority { seed: u64, items: BTreeSet<Placed> },
}

/// Items by their sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// With rising numbers: all that never came back, and more.
    fresh: VecDeque<Item>,
    /// What came back and belongs somewhere in between.
    returned: BTreeMap<u64, Item>,
}

/// An item in the order of priorities.
///
/// Keys have an order among each other when they are put in. What comes back beside keys with which it has none stands
/// where its type does: see [`Order`], which is total, so nothing is ever lost in it.
#[derive(Debug)]
pub(super) struct Placed {
    item: Item,
    seed: u64,
}

impl Store {
    pub(super) fn new(order: QueueOrder, seed: u64) -> Self {
        match order {
            QueueOrder::Fifo => Self::Fifo(Line::default()),
            QueueOrder::Lifo => Self::Lifo(Line::default()),
            QueueOrder::Priority => Self::Priority { seed, items: BTreeSet::new() },
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Fifo(line) | Self::Lifo(line) => line.fresh.len() + line.returned.len(),
            Self::Priority { items, .. } => items.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether these could stand beside each other here. Refused: `WRONG_TYPE`.
    pub(super) fn check(&self, items: &[Item]) -> Result<(), Refusal> {
        let Self::Priority { seed, .. } = self else { return Ok(()) };
        let equality = Equality::new(*seed);
        // Data without any order has none with itself.
        for item in items {
            check_pair(item, item, &equality)?;
        }
        let mut sorted: Vec<&Item> = items.iter().collect();
        sorted.sort_by(|a, b| Order::new(&equality).compare(a.key(), b.key()));
        // What is between two that have an order has one with both: so it is enough to ask those side by side.
        sorted.windows(2).try_for_each(|pair| check_pair(pair[0], pair[1], &equality))
    }

    /// Puts new ones in, whose sequence numbers rise above all others. They were [checked](Self::check).
    /// Refused, and then none is in: `WRONG_TYPE`, and as `room` does, which is asked last.
    pub(super) fn put(&mut self, new: Vec<Item>, room: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
        match self {
            Self::Fifo(line) | Self::Lifo(line) => {
                room()?;
                line.fresh.extend(new);
            }
            Self::Priority { seed, items } => {
                let seed = *seed;
                let new: Vec<Placed> = new.into_iter().map(|item| Placed { item, seed }).collect();
                let equality = Equality::new(seed);
                for new in &new {
                    let before = items.range((Bound::Unbounded, Bound::Excluded(new))).next_back();
                    let after = items.range((Bound::Excluded(new), Bound::Unbounded)).next();
                    for neighbour in before.into_iter().chain(after) {
                        check_pair(&new.item, &neighbour.item, &equality)?;
                    }
                }
                room()?;
                items.extend(new);
            }
        }
        Ok(())
    }

    /// Puts one that was taken back to its place.
    pub(super) fn put_back(&mut self, item: Item) {
        match self {
            Self::Fifo(line) | Self::Lifo(line) => line.put_back(item),
            Self::Priority { seed, items } => {
                items.insert(Placed { item, seed: *seed });
            }
        }
    }

    /// Takes the next one out.
    pub(super) fn pop(&mut self) -> Option<Item> {
        match self {
            Self::Fifo(line) => line.pop_first(),
            Self::Lifo(line) => line.pop_last(),
            Self::Priority { items, .. } => items.pop_first().map(|placed| placed.item),
        }
    }

    /// Takes all out.
    pub(super) fn take(&mut self) -> Self {
        match self {
            Self::Fifo(line) => Self::Fifo(mem::take(line)),
            Self::Lifo(line) => Self::Lifo(mem::take(line)),
            Self::Priority { seed, items } => Self::Priority { seed: *seed, items: mem::take(items) },
        }
    }

    /// All, in no order that means anything.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = &Item> + '_> {
        match self {
            Self::Fifo(line) | Self::Lifo(line) => Box::new(line.fresh.iter().chain(line.returned.values())),
            Self::Priority { items, .. } => Box::new(items.iter().map(|placed| &placed.item)),
        }
    }
}

impl Line {
    fn put_back(&mut self, item: Item) {
        let ends = self.fresh.front().zip(self.fresh.back()).map(|(first, last)| (first.sequence, last.sequence));
        match ends {
            _ if mutant(Mutant::RequeueAtTheTail) => self.fresh.push_back(item),
            Some((first, _)) if item.sequence < first => self.fresh.push_front(item),
            Some((_, last)) if item.sequence < last => {
                self.returned.insert(item.sequence, item);
            }
            _ => self.fresh.push_back(item),
        }
    }

    fn pop_first(&mut self) -> Option<Item> {
        let fresh = self.fresh.front().map(|item| item.sequence);
        match self.returned.first_entry() {
            Some(returned) if fresh.is_none_or(|fresh| *returned.key() < fresh) => Some(returned.remove()),
            _ => self.fresh.pop_front(),
        }
    }

    fn pop_last(&mut self) -> Option<Item> {
        let fresh = self.fresh.back().map(|item| item.sequence);
        match self.returned.last_entry() {
            Some(returned) if fresh.is_none_or(|fresh| *returned.key() > fresh) => Some(returned.remove()),
            _ => self.fresh.pop_back(),
        }
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        let equality = Equality::new(self.seed);
        let by_key = Order::new(&equality).compare(self.item.key(), other.item.key());
        by_key.then(self.item.sequence.cmp(&other.item.sequence))
    }
}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Placed {}

fn check_pair(a: &Item, b: &Item, equality: &Equality) -> Result<(), Refusal> {
    let mut order = Order::new(equality);
    order.compare(a.key(), b.key());
    if !order.has_gap() {
        return Ok(());
    }
    let problem = format!(
        "there is no order between {} and {}: put in what can be compared, or say a priority that can",
        a.key().brief(),
        b.key().brief()
    );
    Err(Refusal::new(Reason::WrongType, problem))
}
