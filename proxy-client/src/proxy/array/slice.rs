//! Which elements of an array are meant.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use holdfast_proto::ArraySlice;

/// Some elements of an array: Python's `a[start:stop:step]`.
///
/// Made of a range of indexes: `2..5`, `..=3`, `-2..`, `..`; or by [`new`](Self::new). A negative index counts from the end,
/// and what is outside the array is left out.
///
/// ```
/// use holdfast::proxy::Slice;
///
/// let every_second = Slice::from(..).step_by(2);
/// let backwards = Slice::from(..).step_by(-1);
/// # let _ = (every_second, backwards);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice(ArraySlice);

impl Slice {
    /// From one index to before another: the same as `start..stop`, which linters take for empty where it is `1..-1`.
    #[must_use]
    pub fn new(start: i64, stop: i64) -> Self {
        Self::of(Some(start), Some(stop))
    }

    /// The same, with another step from one element to the next; backwards if it is negative, in which case the slice runs
    /// from its first bound down to its second, as in Python.
    ///
    /// A step of 0 is refused by the manager, with [`Reason::Malformed`](crate::Reason::Malformed).
    #[must_use]
    pub fn step_by(self, step: i64) -> Self {
        Self(ArraySlice { step: Some(step), ..self.0 })
    }

    pub(super) fn wire(self) -> ArraySlice {
        self.0
    }

    fn of(start: Option<i64>, stop: Option<i64>) -> Self {
        Self(ArraySlice { start, stop, step: None })
    }
}

/// What comes after the last one; nothing does after the last of all, which is also called -1.
fn after(last: i64) -> Option<i64> {
    if last == -1 { None } else { last.checked_add(1) }
}

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Self {
        Self::of(None, None)
    }
}

impl From<Range<i64>> for Slice {
    fn from(range: Range<i64>) -> Self {
        Self::new(range.start, range.end)
    }
}

impl From<RangeFrom<i64>> for Slice {
    fn from(range: RangeFrom<i64>) -> Self {
        Self::of(Some(range.start), None)
    }
}

impl From<RangeTo<i64>> for Slice {
    fn from(range: RangeTo<i64>) -> Self {
        Self::of(None, Some(range.end))
    }
}

impl From<RangeInclusive<i64>> for Slice {
    fn from(range: RangeInclusive<i64>) -> Self {
        Self::of(Some(*range.start()), after(*range.end()))
    }
}

impl From<RangeToInclusive<i64>> for Slice {
    fn from(range: RangeToInclusive<i64>) -> Self {
        Self::of(None, after(range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_slices() {
        let parts = |slice: Slice| (slice.0.start, slice.0.stop, slice.0.step);
        assert_eq!(parts((..).into()), (None, None, None));
        assert_eq!(parts(Slice::new(1, -1)), (Some(1), Some(-1), None));
        assert_eq!(parts((-3..).into()), (Some(-3), None, None));
        assert_eq!(parts((..4).into()), (None, Some(4), None));
        assert_eq!(parts((1..=4).into()), (Some(1), Some(5), None));
        assert_eq!(parts((1..4).into()), (Some(1), Some(4), None));
        assert_eq!(parts((-2..=-1).into()), (Some(-2), None, None));
        assert_eq!(parts((..=i64::MAX).into()), (None, None, None));
        assert_eq!(parts(Slice::from(..).step_by(-2)), (None, None, Some(-2)));
    }
}
