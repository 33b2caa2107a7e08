//! What belongs to calls, found by their numbers.

use std::collections::HashMap;
use std::mem;

use foldhash::fast::FixedState;

/// So many places there are at first.
const PLACES_MIN: usize = 8;

/// And so many at most: as many as a manager lets calls be in flight, unless it is told otherwise.
const PLACES_MAX: usize = 4096;

/// Things by the numbers of their calls, which rise.
///
/// Nearly all calls are answered soon after they were made: a thing has the place that the low bits of its number name, and
/// is found there without hashing. One that is still there when a later number needs the place makes room for it, and is
/// kept in a hash map from then on; so what stays for long costs no more than itself.
#[derive(Debug)]
pub(super) struct ByNumber<T> {
    /// A power of two of them.
    places: Vec<Option<(u64, T)>>,
    /// Of those, taken.
    taken: usize,
    /// Those that made room.
    older: HashMap<u64, T, FixedState>,
}

impl<T> ByNumber<T> {
    pub(super) fn new() -> Self {
        Self { places: empty(PLACES_MIN), taken: 0, older: HashMap::default() }
    }

    #[inline]
    fn at(&self, number: u64) -> usize {
        number as usize & (self.places.len() - 1)
    }

    #[inline]
    fn is_recent(&self, number: u64) -> bool {
        matches!(&self.places[self.at(number)], Some((other, _)) if *other == number)
    }

    /// Puts a thing in under a number that is larger than all before.
    #[inline]
    pub(super) fn insert(&mut self, number: u64, thing: T) {
        if self.places[self.at(number)].is_some() {
            self.make_room(number);
        }
        let at = self.at(number);
        self.places[at] = Some((number, thing));
        self.taken += 1;
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let at = self.at(number);
        if self.is_recent(number) {
            self.places[at].as_mut().map(|(_, thing)| thing)
        } else {
            self.older.get_mut(&number)
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let at = self.at(number);
        if self.is_recent(number) {
            self.taken -= 1;
            self.places[at].take().map(|(_, thing)| thing)
        } else {
            self.older.remove(&number)
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0 && self.older.is_empty()
    }

    /// All of them, in any order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten().map(|(_, thing)| thing).chain(self.older.values())
    }

    /// All of them with their numbers, in any order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&u64, &mut T)> {
        let recent = self.places.iter_mut().flatten().map(|(number, thing)| (&*number, thing));
        recent.chain(self.older.iter_mut())
    }

    /// All of them, in any order.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten().map(|(_, thing)| thing).chain(self.older.values_mut())
    }

    /// Frees the place of this number: by more places where many are taken, else at the cost of the one that has it.
    #[cold]
    fn make_room(&mut self, number: u64) {
        while self.taken > self.places.len() / 2 && self.places.len() < PLACES_MAX {
            let wider = empty(2 * self.places.len());
            for (number, thing) in mem::replace(&mut self.places, wider).into_iter().flatten() {
                // Numbers that differ in few bits differ in more of them, too.
                let at = self.at(number);
                self.places[at] = Some((number, thing));
            }
        }
        let at = self.at(number);
        if let Some((older, thing)) = self.places[at].take() {
            self.taken -= 1;
            self.older.insert(older, thing);
        }
    }
}

fn empty<T>(places: usize) -> Vec<Option<T>> {
    (0..places).map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts in `count` numbers, of which each is taken out again `stay` numbers later, except those that `lasts` names.
    fn run(count: u64, stay: u64, lasts: impl Fn(u64) -> bool) -> ByNumber<u64> {
        let mut things = ByNumber::new();
        for number in 1..=count {
            things.insert(number, number * 10);
            if let Some(old) = number.checked_sub(stay).filter(|old| *old > 0 && !lasts(*old)) {
                assert_eq!(things.get_mut(old).copied(), Some(old * 10));
                assert_eq!(things.remove(old), Some(old * 10));
                assert_eq!(things.remove(old), None, "taken out once");
            }
        }
        things
    }

    fn sorted(things: &ByNumber<u64>) -> Vec<u64> {
        let mut all: Vec<u64> = things.values().copied().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_stays_is_found_whatever_comes_after_it() {
        let mut things = run(10_000, 3, |number| number % 1000 == 1);
        let stay: Vec<u64> =
            (0..10).map(|thousands| thousands * 10_000 + 10).chain([99_980, 99_990, 100_000]).collect();
        assert_eq!(sorted(&things), stay);
        for value in things.values_mut() {
            *value += 1;
        }
        assert_eq!(things.remove(1), Some(11));
        assert_eq!(things.get_mut(9001).copied(), Some(90_011));
        assert_eq!(things.get_mut(2), None);
        assert_eq!(things.places.len(), PLACES_MIN, "few that stay for long take no more places");
    }

    #[test]
    fn many_at_once_have_a_place_each() {
        let things = run(2000, 256, |_| false);
        assert_eq!(things.values().count(), 256);
        assert!(things.older.is_empty() && things.places.len() == 512, "{}", things.places.len());
    }

    #[test]
    fn more_than_there_are_places() {
        let things = run(20_000, 10_000, |_| false);
        assert_eq!(sorted(&things), (10_001..=20_000).map(|number| number * 10).collect::<Vec<_>>());
        assert_eq!(things.places.len(), PLACES_MAX);
    }
}
