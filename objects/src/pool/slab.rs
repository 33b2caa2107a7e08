//! Many things of one type, each found by a small number.

use alloc::vec::Vec;

/// Stands where a number would, and leads nowhere.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Many things of one type, each found by a number of 32 bits, in as little memory as they take.
///
/// - A number leads to the same thing from its insertion to its removal, and may then lead to another.
/// - No answer may depend on the numbers: what is restored has others.
/// - The memory is given back when nothing is left.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Entry<T>>,
    /// The first place that is free, if one is.
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Entry<T> {
    /// With the next place that is free.
    Free(u32),
    Taken(T),
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: NOWHERE, len: 0 }
    }
}

impl<T> Slab<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes one in, and tells its number.
    pub(super) fn insert(&mut self, what: T) -> u32 {
        self.len += 1;
        let free = self.free;
        if let Some(place) = self.places.get_mut(free as usize)
            && let Entry::Free(next) = *place
        {
            self.free = next;
            *place = Entry::Taken(what);
            return free;
        }
        let number = u32::try_from(self.places.len()).ok().filter(|number| *number != NOWHERE);
        self.places.push(Entry::Taken(what));
        number.expect("no memory holds four billion of them")
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let place = self.places.get_mut(number as usize).filter(|place| matches!(place, Entry::Taken(_)))?;
        let taken = core::mem::replace(place, Entry::Free(self.free));
        self.free = number;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
        match taken {
            Entry::Taken(what) => Some(what),
            Entry::Free(_) => None,
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        match self.places.get(number as usize) {
            Some(Entry::Taken(what)) => Some(what),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        match self.places.get_mut(number as usize) {
            Some(Entry::Taken(what)) => Some(what),
            _ => None,
        }
    }

    /// All, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().zip(0..).filter_map(|(place, number)| match place {
            Entry::Taken(what) => Some((number, what)),
            Entry::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_is_in_is_found_by_its_number_until_it_is_taken_out() {
        let mut slab = Slab::default();
        let numbers = ["a", "b", "c"].map(|what| slab.insert(what));
        assert_eq!(slab.remove(numbers[1]), Some("b"));
        assert_eq!((slab.remove(numbers[1]), slab.get(numbers[1]), slab.len()), (None, None, 2));
        let again = slab.insert("d");
        assert_eq!(again, numbers[1], "places are taken again");
        assert_eq!(slab.insert("e"), 3);
        assert_eq!(slab.iter().map(|(_, what)| *what).collect::<Vec<_>>(), vec!["a", "d", "c", "e"]);
        for number in 0..4 {
            assert!(slab.get_mut(number).is_some() && slab.remove(number).is_some());
        }
        assert_eq!((slab.len(), slab.places.capacity()), (0, 0), "an empty one keeps no memory");
        assert_eq!((slab.insert("f"), slab.get(NOWHERE)), (0, None));
    }
}
