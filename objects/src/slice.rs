//! Slices: which elements Python's `start:stop:step` means.

use core::ops::Range;

use holdfast_proto::{ListSlice, Reason, Refusal};

/// A slice of a list of a certain length: every index that it names exists.
///
/// `range(len)[start:stop:step]` of Python, told by its first index, its length and its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The first index. Where the slice is empty: where it would begin, at most the length of the list.
    pub(crate) start: usize,
    /// From one index to the next. Not 0.
    pub(crate) step: i64,
    /// How many there are.
    pub(crate) count: usize,
}

impl Slice {
    /// What the slice of a request means for a list with `len` elements: the algorithm of CPython's
    /// `PySlice_AdjustIndices`. Refused: `MALFORMED` if the step is 0.
    pub(crate) fn new(slice: ListSlice, len: usize) -> Result<Self, Refusal> {
        // The largest step does what this one does, and can be negated.
        let step = slice.step.unwrap_or(1).max(-i64::MAX);
        if step == 0 {
            return Err(zero_step());
        }
        let len = len as i64;
        // Backwards, an index beyond an end means the last one on this side of it, and -1 stands before the first.
        let (least, most) = if step < 0 { (-1, len - 1) } else { (0, len) };
        let clamped = |index: i64| if index < 0 { (index + len).max(least) } else { index.min(most) };
        let (front, back) = if step < 0 { (most, least) } else { (least, most) };
        let start = slice.start.map_or(front, clamped);
        let stop = slice.stop.map_or(back, clamped);
        let (distance, stride) = if step < 0 { (start - stop, -step) } else { (stop - start, step) };
        let count = if distance > 0 { (distance - 1) / stride + 1 } else { 0 };
        Ok(Self { start: start.max(0) as usize, step, count: count as usize })
    }

    /// Its indexes, in its order.
    pub(crate) fn indexes(self) -> impl Iterator<Item = usize> {
        self.indexes_of(0..self.count)
    }

    /// The indexes of some of its elements, which are counted from 0.
    pub(crate) fn indexes_of(self, nths: Range<usize>) -> impl Iterator<Item = usize> {
        nths.map(move |nth| self.index_of(nth))
    }

    /// The same elements from the front to the back: the range of indexes within which every `stride`-th belongs to it.
    pub(crate) fn ascending(self) -> (Range<usize>, usize) {
        let Some(last) = self.count.checked_sub(1) else { return (self.start..self.start, 1) };
        let (first, last) = (self.start, self.index_of(last));
        // A slice of one element may have a step that is larger than any list.
        let stride = usize::try_from(self.step.unsigned_abs()).unwrap_or(usize::MAX);
        (first.min(last)..first.max(last) + 1, stride)
    }

    /// The index of its `nth` element, counted from 0.
    pub(crate) fn index_of(self, nth: usize) -> usize {
        // `nth` is less than `count`, so this is an index of the list.
        (self.start as i64 + nth as i64 * self.step) as usize
    }
}

#[cold]
fn zero_step() -> Refusal {
    Refusal::new(
        Reason::Malformed,
        "the step of a slice is 0, which leads nowhere: use 1, or a negative step to go back",
    )
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn slice(start: Option<i64>, stop: Option<i64>, step: Option<i64>) -> ListSlice {
        ListSlice { start, stop, step }
    }

    /// What CPython says: one line for each case, `len start stop step: index index ...`, as `cases.py` prints it.
    const CASES: &str = include_str!("slice/cases.txt");

    #[test]
    fn slices_mean_what_python_says() {
        let mut cases = 0;
        for line in CASES.lines().filter(|line| !line.starts_with('#')) {
            let (case, indexes) = line.split_once(':').unwrap();
            let bound = |text: &str| if text == "-" { None } else { Some(text.parse().unwrap()) };
            let [len, start, stop, step] = case.split(' ').map(bound).collect::<Vec<_>>()[..] else { panic!("{line}") };
            let indexes: Vec<usize> = indexes.split_whitespace().map(|index| index.parse().unwrap()).collect();
            let resolved = Slice::new(slice(start, stop, step), len.unwrap() as usize).unwrap();
            assert_eq!(resolved.indexes().collect::<Vec<_>>(), indexes, "{line}");
            let (range, stride) = resolved.ascending();
            let mut ascending = indexes;
            ascending.sort_unstable();
            assert_eq!(range.step_by(stride).collect::<Vec<_>>(), ascending, "{line}");
            cases += 1;
        }
        assert!(cases > 1000, "{cases} cases");
    }

    #[test]
    fn an_empty_slice_is_where_it_begins() {
        let start = |start, stop, step| {
            let resolved = Slice::new(slice(start, stop, step), 5).unwrap();
            assert_eq!(resolved.count, 0);
            resolved.start
        };
        assert_eq!(start(Some(3), Some(1), None), 3);
        assert_eq!(start(Some(9), None, None), 5);
        assert_eq!(start(Some(-9), Some(-9), None), 0);
        assert_eq!(start(Some(-9), None, Some(-1)), 0);
    }

    #[test]
    fn a_step_of_0_is_malformed() {
        assert_eq!(Slice::new(slice(None, None, Some(0)), 5).unwrap_err().why(), Reason::Malformed);
    }

    fn positions(start: Option<i64>, stop: Option<i64>, step: Option<i64>, len: usize) -> Vec<usize> {
        let slice = Slice::new(ListSlice { start, stop, step }, len).unwrap();
        let positions: Vec<usize> = slice.indexes().collect();
        assert_eq!(positions.len(), slice.count);
        positions
    }

    #[test]
    fn slices_at_the_ends_of_their_types_are_those_of_python() {
        // list(range(5))[start:stop:step], as CPython 3.11 answers.
        type Bound = Option<i64>;
        let cases: [(Bound, Bound, Bound, &[usize]); 16] = [
            (None, None, None, &[0, 1, 2, 3, 4]),
            (Some(1), Some(3), None, &[1, 2]),
            (Some(-2), None, None, &[3, 4]),
            (None, Some(-2), None, &[0, 1, 2]),
            (Some(-99), Some(99), None, &[0, 1, 2, 3, 4]),
            (Some(3), Some(1), None, &[]),
            (Some(9), None, None, &[]),
            (None, None, Some(2), &[0, 2, 4]),
            (Some(1), None, Some(2), &[1, 3]),
            (None, None, Some(-1), &[4, 3, 2, 1, 0]),
            (Some(3), Some(0), Some(-2), &[3, 1]),
            (Some(-1), Some(-99), Some(-3), &[4, 1]),
            (Some(99), Some(2), Some(-1), &[4, 3]),
            (Some(-99), None, Some(-1), &[]),
            (None, None, Some(i64::MAX), &[0]),
            (None, None, Some(i64::MIN), &[4]),
        ];
        for (start, stop, step, expected) in cases {
            assert_eq!(positions(start, stop, step, 5), expected, "{start:?}:{stop:?}:{step:?}");
            assert_eq!(positions(start, stop, step, 0), [0; 0]);
        }
        let whole = || Slice::new(ListSlice::default(), 3).unwrap();
        assert_eq!(whole().count, 3);
        assert_eq!(whole().indexes_of(1..2).collect::<Vec<_>>(), [1]);
        let zero = ListSlice { start: None, stop: None, step: Some(0) };
        assert_eq!(Slice::new(zero, 3).unwrap_err().why(), Reason::Malformed);
    }

    proptest! {
        /// The rule told step by step: walk from the start until the stop is reached or passed.
        #[test]
        fn slices_are_walks(
            start in prop::option::of(-12i64..12),
            stop in prop::option::of(-12i64..12),
            step in prop_oneof![-5i64..=-1, 1i64..=5],
            len in 0usize..9,
        ) {
            let wrap = |index: i64| if index < 0 { index + len as i64 } else { index };
            let mut at = start.map_or(if step > 0 { 0 } else { len as i64 - 1 }, wrap);
            at = if step > 0 { at.max(0) } else { at.min(len as i64 - 1) };
            let stop_at = stop.map_or(if step > 0 { len as i64 } else { -1 }, |stop| wrap(stop).max(-1));
            let mut walked = Vec::new();
            while (0..len as i64).contains(&at) && if step > 0 { at < stop_at } else { at > stop_at } {
                walked.push(at as usize);
                at += step;
            }
            prop_assert_eq!(positions(start, stop, Some(step), len), walked);
        }
    }
}
