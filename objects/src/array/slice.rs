//! Which elements a slice names: Python's rules (`PySlice_AdjustIndices` of CPython's C API).

use alloc::format;

use holdfast_proto::{ArraySlice, Reason, Refusal};

/// A slice of something that has a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    start: i128,
    step: i128,
    /// How many elements it has.
    pub(super) len: u64,
}

impl Slice {
    /// The slice of `len` elements that `asked` names; all of them if it names none. Refused: `MALFORMED` for a step of 0.
    pub(super) fn new(asked: Option<&ArraySlice>, len: usize) -> Result<Self, Refusal> {
        let asked = asked.copied().unwrap_or_default();
        let (step, len) = (i128::from(asked.step.unwrap_or(1)), len as i128);
        if step == 0 {
            return Err(Refusal::new(
                Reason::Malformed,
                "the step of a slice is 0: set it to another number, or leave it out",
            ));
        }
        let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
        let within = |index: i64| {
            let index = i128::from(index);
            (if index < 0 { index + len } else { index }).clamp(least, most)
        };
        let (first, last) = if step > 0 { (least, most) } else { (most, least) };
        let start = asked.start.map_or(first, within);
        let stop = asked.stop.map_or(last, within);
        let distance = if step > 0 { stop - start } else { start - stop };
        let count = if distance > 0 { (distance - 1) / step.abs() + 1 } else { 0 };
        // At most as many as there are elements.
        Ok(Self { start, step, len: count as u64 })
    }

    /// How many elements are left after `skip`. Refused: `MALFORMED` if it has not so many.
    pub(super) fn after(&self, skip: u64) -> Result<u64, Refusal> {
        self.len.checked_sub(skip).ok_or_else(|| {
            let message =
                format!("{skip} elements are to be left out of a slice that has {}: leave out fewer", self.len);
            Refusal::new(Reason::Malformed, message)
        })
    }

    /// Where its elements are, from one to before another one of them.
    pub(super) fn positions(self, from: u64, to: u64) -> impl Iterator<Item = usize> {
        (from..to.min(self.len)).map(move |at| (self.start + i128::from(at) * self.step) as usize)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn positions(start: Option<i64>, stop: Option<i64>, step: Option<i64>, len: usize) -> Vec<usize> {
        let slice = Slice::new(Some(&ArraySlice { start, stop, step }), len).unwrap();
        let positions: Vec<usize> = slice.positions(0, u64::MAX).collect();
        assert_eq!(positions.len() as u64, slice.len);
        positions
    }

    #[test]
    fn slices_are_those_of_python() {
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
        assert_eq!(Slice::new(None, 3).unwrap().len, 3);
        assert_eq!(Slice::new(None, 3).unwrap().positions(1, 2).collect::<Vec<_>>(), [1]);
        assert_eq!(Slice::new(None, 3).unwrap().after(4).unwrap_err().why(), Reason::Malformed);
        let zero = ArraySlice { start: None, stop: None, step: Some(0) };
        assert_eq!(Slice::new(Some(&zero), 3).unwrap_err().why(), Reason::Malformed);
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
