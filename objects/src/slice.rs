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
        (0..self.count).map(move |nth| self.index_of(nth))
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
}
