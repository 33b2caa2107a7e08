//! The hash map that keeps the order in which keys were put in.

use alloc::vec::Vec;

use hashbrown::HashTable;
use holdfast_proto::Datum;

use crate::Turn;
use crate::key::{Equality, Key};

/// A hash map in the order of insertion, whose order can be read a page at a time while it changes.
///
/// - `entries` holds every entry in order of its ordinal; `table` finds its position by the hash of its key. No hash is
///   stored: an entry takes 32 bytes beside what its key leads to, and 5 for each of the 1.1 to 2.3 places that the table
///   has for it. Where keys lead to nothing, `()`, the map is a set.
/// - Ordinals rise from 1, and none is given twice as long as there is an entry. An overwritten entry keeps its ordinal;
///   one that was removed and put in again gets a new one. So who reads on from an ordinal sees each entry that was
///   there all along exactly once.
/// - A removed entry leaves a tombstone, an entry whose key is unset, so that positions stand. There is none at the end
///   of `entries` and none before `head`, and there are never more tombstones than entries.
/// - An empty map is as new: it has no entries, no tombstones, and its next ordinal is 1.
///
/// Reading and changing one entry takes constant time, amortized: growing, compacting and shrinking go through all.
#[derive(Debug)]
pub(crate) struct OrderedMap<V> {
    equality: Equality,
    table: HashTable<u32>,
    entries: Vec<Entry<V>>,
    head: usize,
    next_ordinal: u64,
}

/// A key and what it leads to.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub(crate) key: Datum,
    pub(crate) held: V,
    /// The place of the entry in the order of all.
    pub(crate) ordinal: u64,
}

impl<V> Entry<V> {
    fn is_tombstone(&self) -> bool {
        matches!(self.key, Datum::Unset)
    }
}

/// Where a key is or would be, until the map changes.
#[derive(Debug)]
pub(crate) enum Place {
    Taken(Taken),
    Free(Free),
}

/// The place of an entry.
#[derive(Debug)]
pub(crate) struct Taken {
    hash: u64,
    at: u32,
}

/// The place for a key that has no entry.
#[derive(Debug)]
pub(crate) struct Free {
    hash: u64,
}

/// In a map with room for no more entries than this, memory is not worth giving back.
const SMALL: usize = 32;

/// Why entries do not make a map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The ordinals do not rise from 1 to below the next one.
    Ordinals,
    /// A key is there twice.
    Keys,
}

impl<V: Default> OrderedMap<V> {
    pub(crate) fn new(equality: Equality) -> Self {
        Self { equality, table: HashTable::new(), entries: Vec::new(), head: 0, next_ordinal: 1 }
    }

    /// The map with these entries, whose keys must be fit to be keys.
    pub(crate) fn restore(equality: Equality, entries: Vec<Entry<V>>, next_ordinal: u64) -> Result<Self, Flaw> {
        let mut map = Self { equality, table: HashTable::new(), entries, head: 0, next_ordinal };
        let mut least = 1;
        for entry in &map.entries {
            if entry.ordinal < least {
                return Err(Flaw::Ordinals);
            }
            least = entry.ordinal + 1;
        }
        if next_ordinal < least || map.entries.is_empty() && next_ordinal != 1 {
            return Err(Flaw::Ordinals);
        }
        map.reindex(map.entries.len());
        let found_elsewhere =
            |(at, entry): (usize, &Entry<V>)| map.find(map.equality.hash(&entry.key), &entry.key) != Some(position(at));
        if map.entries.iter().enumerate().any(found_elsewhere) { Err(Flaw::Keys) } else { Ok(map) }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether there are positions for so many further entries.
    pub(crate) fn has_place_for(&self, further: usize) -> bool {
        self.entries.len() + further <= u32::MAX as usize
    }

    /// Where `key` is or would be.
    #[inline]
    pub(crate) fn place(&self, key: &Key) -> Place {
        let hash = self.equality.hash(key.datum());
        match self.find(hash, key.datum()) {
            Some(at) => Place::Taken(Taken { hash, at }),
            None => Place::Free(Free { hash }),
        }
    }

    /// The entry of `key`.
    #[inline]
    pub(crate) fn get(&self, key: &Key) -> Option<&Entry<V>> {
        let at = self.find(self.equality.hash(key.datum()), key.datum())?;
        Some(&self.entries[at as usize])
    }

    /// The entry that was put in last.
    pub(crate) fn last(&self) -> Option<(Taken, &Entry<V>)> {
        let at = self.entries.len().checked_sub(1)?;
        let entry = &self.entries[at];
        Some((Taken { hash: self.equality.hash(&entry.key), at: position(at) }, entry))
    }

    /// The entry with this ordinal.
    pub(crate) fn at(&self, ordinal: u64) -> Option<&Entry<V>> {
        self.position_of(ordinal).map(|at| &self.entries[at])
    }

    /// The place of the entry with this ordinal.
    pub(crate) fn place_at(&self, ordinal: u64) -> Option<Taken> {
        let at = self.position_of(ordinal)?;
        Some(Taken { hash: self.equality.hash(&self.entries[at].key), at: position(at) })
    }

    #[inline]
    pub(crate) fn entry(&self, place: &Taken) -> &Entry<V> {
        &self.entries[place.at as usize]
    }

    /// Lets an entry lead to something else, and returns what it led to. Its key stays as it was written first, as in Python.
    #[inline]
    pub(crate) fn overwrite(&mut self, place: &Taken, held: V) -> V {
        core::mem::replace(&mut self.entries[place.at as usize].held, held)
    }

    /// Puts an entry in. The map must [have place](Self::has_place_for) for it.
    pub(crate) fn append(&mut self, place: &Free, key: Key, held: V) {
        if self.table.len() == self.table.capacity() {
            // Twice what is there, or as much again where removed keys used up the table.
            self.reindex((2 * self.len()).max(4));
        }
        let at = position(self.entries.len());
        self.entries.push(Entry { key: key.into_datum(), held, ordinal: self.next_ordinal });
        self.next_ordinal += 1;
        let (equality, entries) = (&self.equality, &self.entries);
        self.table.insert_unique(place.hash, at, |&at| equality.hash(&entries[at as usize].key));
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, place: &Taken) -> Entry<V> {
        if let Ok(found) = self.table.find_entry(place.hash, |&at| at == place.at) {
            found.remove();
        }
        let entry = &mut self.entries[place.at as usize];
        let tombstone = Entry { key: Datum::Unset, held: V::default(), ordinal: entry.ordinal };
        let removed = core::mem::replace(entry, tombstone);
        self.tidy();
        removed
    }

    /// Takes everything out of an object that has so many bytes of user data, and none from then on. How many entries there were.
    pub(crate) fn clear(&mut self, bytes: &mut u64, turn: &mut Turn) -> u64
    where
        V: Send + 'static,
    {
        let (removed, bytes) = (self.take(), core::mem::take(bytes));
        turn.room.shrink(bytes);
        let len = removed.len() as u64;
        turn.let_go(bytes, removed);
        len
    }

    fn take(&mut self) -> Self {
        let empty = Self::new(self.equality.clone());
        core::mem::replace(self, empty)
    }

    /// Takes everything out but the entries with these ordinals, which rise.
    pub(crate) fn keep_only(&mut self, ordinals: &[u64]) {
        let mut kept = ordinals.iter().copied().peekable();
        self.entries.retain(|entry| {
            while kept.next_if(|ordinal| *ordinal < entry.ordinal).is_some() {}
            kept.peek() == Some(&entry.ordinal) && !entry.is_tombstone()
        });
        if self.entries.is_empty() {
            *self = Self::new(self.equality.clone());
            return;
        }
        self.head = 0;
        self.entries.shrink_to((2 * self.entries.len()).max(SMALL / 2));
        self.table = HashTable::new();
        self.reindex(2 * self.entries.len());
    }

    /// The entries in order, from the first whose ordinal is at least `ordinal`.
    pub(crate) fn iter_from(&self, ordinal: u64) -> impl Iterator<Item = &Entry<V>> {
        let tail = &self.entries[self.head..];
        let start = tail.partition_point(|entry| entry.ordinal < ordinal);
        tail[start..].iter().filter(|entry| !entry.is_tombstone())
    }

    /// The entries in order, to keep.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = Entry<V>> {
        self.entries.into_iter().filter(|entry| !entry.is_tombstone())
    }

    /// The ordinal that the next new entry gets.
    pub(crate) fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    #[inline]
    fn find(&self, hash: u64, key: &Datum) -> Option<u32> {
        self.table.find(hash, |&at| self.equality.same(&self.entries[at as usize].key, key)).copied()
    }

    fn position_of(&self, ordinal: u64) -> Option<usize> {
        let at = self.entries.binary_search_by_key(&ordinal, |entry| entry.ordinal).ok()?;
        (!self.entries[at].is_tombstone()).then_some(at)
    }

    /// Restores the invariants after an entry was made a tombstone, and gives memory back.
    fn tidy(&mut self) {
        while self.entries.last().is_some_and(Entry::is_tombstone) {
            self.entries.pop();
        }
        let len = self.len();
        if len == 0 {
            self.head = 0;
            self.next_ordinal = 1;
        }
        while self.entries.get(self.head).is_some_and(Entry::is_tombstone) {
            self.head += 1;
        }
        let crowded = self.entries.len() - len > len;
        if crowded {
            self.entries.retain(|entry| !entry.is_tombstone());
            self.head = 0;
        }
        let roomy = self.entries.capacity() > SMALL && self.entries.capacity() / 4 > self.entries.len();
        if roomy {
            self.entries.shrink_to((2 * self.entries.len()).max(SMALL / 2));
        }
        if crowded || roomy {
            self.reindex(2 * len);
        }
    }

    /// Makes the table anew. In the order of the entries, which reads them from memory one after the other; a table that
    /// grows by itself would read them in the order of their hashes.
    fn reindex(&mut self, capacity: usize) {
        let mut table = HashTable::with_capacity(capacity.max(self.table.len()));
        for (at, entry) in self.entries.iter().enumerate().skip(self.head).filter(|(_, entry)| !entry.is_tombstone()) {
            let rehash = |&at: &u32| self.equality.hash(&self.entries[at as usize].key);
            table.insert_unique(self.equality.hash(&entry.key), position(at), rehash);
        }
        self.table = table;
    }
}

/// Positions have 32 bits.
fn position(at: usize) -> u32 {
    u32::try_from(at).expect("whoever appends asks has_place_for first")
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::Source;

    fn key(number: u64) -> Key {
        // Half of the keys have a twin that is equal.
        let datum = if number % 4 == 1 { Datum::Float((number / 2) as f64) } else { Datum::Integer(number as i64 / 2) };
        Key::new(datum).unwrap()
    }

    /// What an `OrderedMap` does, plainly: (number of the key, value, version, ordinal).
    #[derive(Default)]
    struct Model {
        entries: Vec<(u64, u64, u64, u64)>,
        last_ordinal: u64,
    }

    impl Model {
        fn set(&mut self, key: u64, value: u64, version: u64) {
            match self.entries.iter_mut().find(|entry| entry.0 == key) {
                Some(entry) => (entry.1, entry.2) = (value, version),
                None => {
                    self.last_ordinal += 1;
                    self.entries.push((key, value, version, self.last_ordinal));
                }
            }
        }

        fn remove(&mut self, at: usize) -> (u64, u64, u64, u64) {
            let removed = self.entries.remove(at);
            if self.entries.is_empty() {
                self.last_ordinal = 0;
            }
            removed
        }
    }

    /// A number, and when it was written.
    type Map = OrderedMap<(u64, u64)>;

    fn shown(entry: &Entry<(u64, u64)>) -> (u64, u64, u64, u64) {
        let number = |datum: &Datum| match datum {
            Datum::Integer(integer) => *integer as u64,
            Datum::Float(float) => *float as u64,
            other => panic!("{other:?}"),
        };
        (number(&entry.key), entry.held.0, entry.held.1, entry.ordinal)
    }

    fn set(map: &mut Map, number: u64, value: u64, version: u64) {
        match map.place(&key(number)) {
            Place::Taken(place) => drop(map.overwrite(&place, (value, version))),
            Place::Free(place) => map.append(&place, key(number), (value, version)),
        }
    }

    fn remove(map: &mut Map, number: u64) -> Option<Entry<(u64, u64)>> {
        match map.place(&key(number)) {
            Place::Taken(place) => Some(map.remove(&place)),
            Place::Free(_) => None,
        }
    }

    fn assert_invariants(map: &Map) {
        let tombstones = map.entries.iter().filter(|entry| entry.is_tombstone()).count();
        assert_eq!(map.entries.len(), map.len() + tombstones);
        assert!(tombstones <= map.len());
        assert!(!map.entries.last().is_some_and(Entry::is_tombstone));
        assert!(!map.entries.get(map.head).is_some_and(Entry::is_tombstone));
        assert!(map.entries[..map.head].iter().all(Entry::is_tombstone));
        assert!(map.entries.is_sorted_by(|a, b| a.ordinal < b.ordinal));
        assert!(map.entries.last().is_none_or(|entry| entry.ordinal < map.next_ordinal));
        assert!(!map.is_empty() || map.next_ordinal == 1);
        for (at, entry) in map.entries.iter().enumerate().filter(|(_, entry)| !entry.is_tombstone()) {
            assert_eq!(map.find(map.equality.hash(&entry.key), &entry.key), Some(at as u32));
        }
    }

    /// Thousands of ops: mostly growing, then mostly shrinking, over a few or over many keys.
    fn random_ops(seed: u64, keys: u64, ops: u64) {
        let mut source = Source::new(seed);
        let mut map = Map::new(Equality::new(seed));
        let mut model = Model::default();
        for version in 1..=ops {
            let growing = (version * 4 / ops).is_multiple_of(2);
            let number = source.below(2 * keys);
            match source.below(10) {
                choice if choice < if growing { 7 } else { 3 } => {
                    set(&mut map, number, version, version);
                    model.set(number / 2, version, version);
                }
                9 => {
                    let popped = map.last().map(|(place, _)| place).map(|place| map.remove(&place));
                    let expected = model.entries.len().checked_sub(1).map(|at| model.remove(at));
                    assert_eq!(popped.as_ref().map(shown), expected);
                }
                8 if source.below(500) == 0 => {
                    assert_eq!(map.take().len(), model.entries.len());
                    model = Model::default();
                }
                8 if source.below(200) == 0 => {
                    let keeps: Vec<u64> =
                        model.entries.iter().map(|entry| entry.3).filter(|_| source.below(3) > 0).collect();
                    map.keep_only(&keeps);
                    model.entries.retain(|entry| keeps.contains(&entry.3));
                    if model.entries.is_empty() {
                        model = Model::default();
                    }
                }
                _ => {
                    let at = model.entries.iter().position(|entry| entry.0 == number / 2);
                    let expected = at.map(|at| model.remove(at));
                    assert_eq!(remove(&mut map, number).as_ref().map(shown), expected);
                }
            }
            assert_eq!(map.get(&key(number)).map(shown), model.entries.iter().find(|e| e.0 == number / 2).copied());
            assert_eq!(map.len(), model.entries.len());
            if version % 64 == 0 {
                assert_invariants(&map);
                assert!(map.iter_from(0).map(shown).eq(model.entries.iter().copied()));
                let from = source.below(model.last_ordinal + 2);
                assert!(map.iter_from(from).map(shown).eq(model.entries.iter().copied().filter(|e| e.3 >= from)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn does_what_the_model_does(seed in any::<u64>(), keys in prop::sample::select(vec![1u64, 5, 300])) {
            random_ops(seed, keys, 4000);
        }
    }

    #[test]
    fn gives_memory_back() {
        let mut map = Map::new(Equality::new(1));
        for number in 0..20_000 {
            set(&mut map, 2 * number, 0, 1);
        }
        let (entries, table) = (map.entries.capacity(), map.table.capacity());
        for number in 100..20_000 {
            remove(&mut map, 2 * number);
        }
        assert!(map.entries.capacity() < entries / 50 && map.table.capacity() < table / 50, "{map:?}");
        assert_invariants(&map);
    }

    #[test]
    fn a_queue_of_entries_stays_small() {
        let mut map = Map::new(Equality::new(1));
        for number in 0..100_000 {
            set(&mut map, 2 * number, 0, 1);
            if number >= 10 {
                assert_eq!(map.iter_from(0).next().map(|entry| shown(entry).0), Some(number - 10));
                remove(&mut map, 2 * (number - 10));
            }
        }
        assert_eq!(map.next_ordinal(), 100_001);
        assert!(map.entries.capacity() <= 64 && map.table.capacity() <= 64, "{map:?}");
    }

    #[test]
    fn restores_only_what_is_a_map() {
        let entry = |number: i64, ordinal: u64| Entry { key: Datum::Integer(number), held: (0, 1), ordinal };
        let restored = |entries: Vec<Entry<(u64, u64)>>, next: u64| {
            Map::restore(Equality::new(1), entries, next).map(|map| assert_invariants(&map))
        };
        assert_eq!(restored(vec![entry(1, 3), entry(2, 7)], 9), Ok(()));
        assert_eq!(restored(vec![], 1), Ok(()));
        let flawed = [
            (vec![entry(1, 0)], 9, Flaw::Ordinals),
            (vec![entry(1, 7), entry(2, 7)], 9, Flaw::Ordinals),
            (vec![entry(1, 3), entry(2, 7)], 7, Flaw::Ordinals),
            (vec![], 0, Flaw::Ordinals),
            (vec![], 2, Flaw::Ordinals),
            (vec![entry(1, 3), entry(1, 7)], 9, Flaw::Keys),
        ];
        for (entries, next, flaw) in flawed {
            let context = format!("{entries:?}");
            assert_eq!(restored(entries, next), Err(flaw), "{context}");
        }
    }
}
