//! The calls that wait for something, first come first served.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use holdfast_proto::Refusal;

use crate::{CallId, CallState, SessionId};

/// Calls that wait, in the order in which they came: the one wait queue of all kinds.
///
/// - A call is in it at most once, and its place is behind those that came before it and before those that came later.
/// - Any call is found, and leaves, in logarithmic time; so does each of those of one session.
/// - What a kind must know of a call to answer it is in `T`.
#[derive(Clone, Debug)]
pub(crate) struct WaitQueue<T> {
    by_place: BTreeMap<u64, (CallId, T)>,
    places: BTreeMap<CallId, u64>,
    next_place: u64,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self { by_place: BTreeMap::new(), places: BTreeMap::new(), next_place: 0 }
    }
}

impl<T> WaitQueue<T> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_place.len()
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_place.is_empty()
    }

    /// Lets a call wait behind all others. It must not be waiting here.
    pub(crate) fn push(&mut self, call: CallId, what: T) {
        let place = self.next_place;
        self.next_place += 1;
        let before = self.places.insert(call, place);
        debug_assert!(before.is_none(), "{call:?} waits already");
        self.by_place.insert(place, (call, what));
    }

    /// The call that came first.
    pub(crate) fn first(&self) -> Option<(CallId, &T)> {
        self.by_place.first_key_value().map(|(_, (call, what))| (*call, what))
    }

    /// Takes the call that came first out.
    pub(crate) fn pop(&mut self) -> Option<(CallId, T)> {
        let (_, (call, what)) = self.by_place.pop_first()?;
        self.places.remove(&call);
        Some((call, what))
    }

    /// What is known of a call that waits.
    pub(crate) fn get(&self, call: CallId) -> Option<&T> {
        self.places.get(&call).and_then(|place| self.by_place.get(place)).map(|(_, what)| what)
    }

    /// Takes a call out, wherever it is.
    pub(crate) fn remove(&mut self, call: CallId) -> Option<T> {
        let place = self.places.remove(&call)?;
        self.by_place.remove(&place).map(|(_, what)| what)
    }

    /// Takes all calls of a session out, in their order.
    pub(crate) fn remove_session(&mut self, session: SessionId) -> Vec<(CallId, T)> {
        let mut removed: Vec<(u64, CallId)> =
            self.places.range(session.calls()).map(|(call, place)| (*place, *call)).collect();
        removed.sort_unstable();
        removed.into_iter().filter_map(|(_, call)| self.remove(call).map(|what| (call, what))).collect()
    }

    /// Whether a call of this session waits.
    pub(crate) fn involves(&self, session: SessionId) -> bool {
        self.places.range(session.calls()).next().is_some()
    }

    /// All that wait, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CallId, &T)> {
        self.by_place.values().map(|(call, what)| (*call, what))
    }
}

/// A queue of calls of which nothing more needs to be known.
impl WaitQueue<()> {
    /// As it stands in a saved state. Refused: `MALFORMED`.
    pub(crate) fn read(calls: &[CallState]) -> Result<Self, Refusal> {
        calls.iter().map(|call| Ok((call.read()?, ()))).collect()
    }

    /// As it is saved.
    pub(crate) fn saved(&self) -> Vec<CallState> {
        self.iter().map(|(call, ())| call.into()).collect()
    }
}

impl<T> FromIterator<(CallId, T)> for WaitQueue<T> {
    fn from_iter<I: IntoIterator<Item = (CallId, T)>>(calls: I) -> Self {
        let mut queue = Self::default();
        for (call, what) in calls {
            queue.push(call, what);
        }
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(session: u8, number: u64) -> CallId {
        CallId { session: SessionId([session; 16]), number }
    }

    fn queue() -> WaitQueue<&'static str> {
        [(call(2, 1), "a"), (call(1, 1), "b"), (call(2, 2), "c"), (call(1, 2), "d")].into_iter().collect()
    }

    fn order(queue: &WaitQueue<&'static str>) -> Vec<&'static str> {
        queue.iter().map(|(_, what)| *what).collect()
    }

    #[test]
    fn first_come_first_served_whoever_leaves() {
        let mut queue = queue();
        assert_eq!(queue.remove(call(1, 1)), Some("b"));
        assert_eq!(queue.remove(call(1, 1)), None);
        queue.push(call(1, 1), "again, at the end");
        assert_eq!(order(&queue), ["a", "c", "d", "again, at the end"]);
        assert_eq!(queue.pop(), Some((call(2, 1), "a")));
        assert_eq!(queue.first(), Some((call(2, 2), &"c")));
        assert_eq!((queue.len(), queue.is_empty(), queue.get(call(1, 2))), (3, false, Some(&"d")));
    }

    #[test]
    fn a_session_leaves_with_all_its_calls_in_their_order() {
        let mut queue = queue();
        assert!(queue.involves(SessionId([2; 16])) && !queue.involves(SessionId([3; 16])));
        assert_eq!(queue.remove_session(SessionId([2; 16])), [(call(2, 1), "a"), (call(2, 2), "c")]);
        assert!(!queue.involves(SessionId([2; 16])));
        assert_eq!(order(&queue), ["b", "d"]);
        assert_eq!(queue.remove_session(SessionId([3; 16])), []);
    }
}
