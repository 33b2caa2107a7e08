//! What was given out and is still the queue's.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::item::Item;
use crate::{CallId, SessionId};

/// Where an item is that was given out: with whom, which is nobody once its session is closed and it was to stay, and by
/// the number of its delivery.
pub(super) type Place = (Option<SessionId>, u64);

/// What was given out and is still the queue's.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    by_place: BTreeMap<Place, Delivery>,
    /// Those of which nobody knows yet whether their caller has them.
    unreceived: BTreeSet<(CallId, u64)>,
}

/// An item that was given out.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The number of the call that it answered, until it is known that its caller has the answer.
    pub(super) call: Option<u64>,
    pub(super) item: Item,
}

impl Deliveries {
    pub(super) fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Notes one. Tells whether it was not there.
    pub(super) fn insert(&mut self, place: Place, delivery: Delivery) -> bool {
        if let (Some(session), Some(number)) = (place.0, delivery.call) {
            self.unreceived.insert((CallId { session, number }, place.1));
        }
        self.by_place.insert(place, delivery).is_none()
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        self.by_place.contains_key(&place)
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, place: Place) -> Option<Delivery> {
        let delivery = self.by_place.remove(&place)?;
        if let (Some(session), Some(number)) = (place.0, delivery.call) {
            self.unreceived.remove(&(CallId { session, number }, place.1));
        }
        Some(delivery)
    }

    /// What this call was given, unless it is known that its caller has it.
    pub(super) fn unreceived(&self, call: CallId) -> Vec<Place> {
        let of_call = self.unreceived.range((call, 0)..=(call, u64::MAX));
        of_call.map(|(call, delivery)| (Some(call.session), *delivery)).collect()
    }

    /// The caller of this call has what it was given.
    pub(super) fn receive(&mut self, call: CallId) {
        for place in self.unreceived(call) {
            self.unreceived.remove(&(call, place.1));
            if let Some(delivery) = self.by_place.get_mut(&place) {
                delivery.call = None;
            }
        }
    }

    /// All that this session has, by number.
    pub(super) fn of_session(&self, session: SessionId) -> impl Iterator<Item = Place> {
        self.by_place.range((Some(session), 0)..=(Some(session), u64::MAX)).map(|(place, _)| *place)
    }

    /// All, in an order that depends on nothing else.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Delivery)> {
        self.by_place.iter().map(|(place, delivery)| (*place, delivery))
    }
}
