//! Things in a line by rising numbers, linked through the slab that has them.

use alloc::collections::BTreeMap;

use super::slab::{NOWHERE, Slab};

/// Where a thing stands that can be in a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<H> {
    /// In line, between these two.
    Linked { before: u32, after: u32 },
    /// In line, among those that came back between others.
    Beside,
    /// In no line, but with somebody.
    With(H),
}

/// What can be in a [`Line`].
pub(super) trait Stands {
    /// With whom it can be while it is in no line.
    type Holder;

    /// By what it is ordered.
    fn order(&self) -> u64;
    /// Where it stands.
    fn place(&mut self) -> &mut Place<Self::Holder>;
}

/// Things in a line, by their numbers.
///
/// - What is put in behind or before all others, which is nearly always so, is linked to its neighbours and costs no memory
///   beside its own. What comes back between others is in an ordered map beside it.
/// - Anything leaves, from wherever it is, in logarithmic time at most.
/// - All that is in a line is in the one slab with which its methods are called, and knows its place.
#[derive(Debug)]
pub(super) struct Line {
    first: u32,
    last: u32,
    linked: u32,
    beside: BTreeMap<u64, u32>,
}

impl Default for Line {
    fn default() -> Self {
        Self { first: NOWHERE, last: NOWHERE, linked: 0, beside: BTreeMap::new() }
    }
}

impl Line {
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        self.linked as usize + self.beside.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.linked == 0 && self.beside.is_empty()
    }

    /// Puts in what is in no line, where its number belongs.
    pub(super) fn put<T: Stands>(&mut self, number: u32, slab: &mut Slab<T>) {
        let order_of = |number: u32| slab.get(number).map(T::order);
        let (Some(order), first, last) = (order_of(number), order_of(self.first), order_of(self.last)) else { return };
        let (before, after) = if last.is_none_or(|last| last < order) {
            (self.last, NOWHERE)
        } else if first.is_none_or(|first| order < first) {
            (NOWHERE, self.first)
        } else {
            self.beside.insert(order, number);
            set_place(slab, number, Place::Beside);
            return;
        };
        relink(slab, before, |_, next| *next = number);
        relink(slab, after, |previous, _| *previous = number);
        if before == NOWHERE {
            self.first = number;
        }
        if after == NOWHERE {
            self.last = number;
        }
        self.linked += 1;
        set_place(slab, number, Place::Linked { before, after });
    }

    /// The one with the smallest number.
    pub(super) fn first<T: Stands>(&self, slab: &Slab<T>) -> Option<u32> {
        let linked = slab.get(self.first).map(T::order);
        match self.beside.first_key_value() {
            Some((order, number)) if linked.is_none_or(|linked| *order < linked) => Some(*number),
            _ => linked.map(|_| self.first),
        }
    }

    /// Takes one out that is in this line, which is now with somebody.
    pub(super) fn remove<T: Stands>(&mut self, number: u32, to: T::Holder, slab: &mut Slab<T>) {
        let Some(what) = slab.get_mut(number) else { return };
        let order = what.order();
        match *what.place() {
            Place::Linked { before, after } => {
                relink(slab, before, |_, next| *next = after);
                relink(slab, after, |previous, _| *previous = before);
                if self.first == number {
                    self.first = after;
                }
                if self.last == number {
                    self.last = before;
                }
                self.linked -= 1;
            }
            Place::Beside => {
                self.beside.remove(&order);
            }
            Place::With(_) => return,
        }
        set_place(slab, number, Place::With(to));
    }
}

fn set_place<T: Stands>(slab: &mut Slab<T>, number: u32, place: Place<T::Holder>) {
    if let Some(what) = slab.get_mut(number) {
        *what.place() = place;
    }
}

/// Changes the neighbours of what is linked.
fn relink<T: Stands>(slab: &mut Slab<T>, number: u32, change: impl FnOnce(&mut u32, &mut u32)) {
    if let Some(what) = slab.get_mut(number)
        && let Place::Linked { before, after } = what.place()
    {
        change(before, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Source;
    use alloc::collections::BTreeSet;

    #[derive(Debug)]
    struct Thing {
        order: u64,
        place: Place<()>,
    }

    impl Stands for Thing {
        type Holder = ();

        fn order(&self) -> u64 {
            self.order
        }

        fn place(&mut self) -> &mut Place<()> {
            &mut self.place
        }
    }

    #[test]
    fn a_line_is_in_order_whatever_comes_back_and_leaves() {
        let (mut beside, mut out_of_the_middle) = (0, 0);
        for seed in 0..200 {
            let mut source = Source::new(seed);
            let (mut slab, mut line) = (Slab::default(), Line::default());
            let (mut inside, mut outside) = (BTreeSet::new(), alloc::vec::Vec::new());
            for order in 0..60 {
                if source.below(3) > 0 {
                    let number = slab.insert(Thing { order, place: Place::With(()) });
                    line.put(number, &mut slab);
                    inside.insert((order, number));
                }
                if let Some(&(order, number)) = inside.iter().nth(source.below(8) as usize) {
                    out_of_the_middle += u32::from(line.first(&slab) != Some(number));
                    line.remove(number, (), &mut slab);
                    inside.remove(&(order, number));
                    outside.push((order, number));
                }
                if source.below(2) == 0 && !outside.is_empty() {
                    let (order, number) = outside.swap_remove(source.below(outside.len() as u64) as usize);
                    line.put(number, &mut slab);
                    inside.insert((order, number));
                }
                beside += line.beside.len();
                assert_eq!((line.len(), line.is_empty()), (inside.len(), inside.is_empty()));
                assert_eq!(line.first(&slab), inside.first().map(|(_, number)| *number));
            }
            for (_, number) in inside {
                assert_eq!(line.first(&slab), Some(number));
                line.remove(number, (), &mut slab);
            }
            assert!(line.is_empty() && line.first == NOWHERE && line.last == NOWHERE);
        }
        assert!(beside > 100 && out_of_the_middle > 100);
    }
}
