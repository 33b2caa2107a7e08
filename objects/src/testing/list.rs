//! Arbitrary ops on lists.

use alloc::vec::Vec;

use holdfast_proto::list::Op;
use holdfast_proto::list_get_slice_request::Part;
use holdfast_proto::{
    Datum, ListAddRequest, ListAppendRequest, ListClearRequest, ListCompareAndSetRequest, ListContainsRequest,
    ListCountRequest, ListCursor, ListDeleteRequest, ListDeleteSliceRequest, ListExtendRequest, ListGetRequest,
    ListGetSliceRequest, ListIndexRequest, ListInsertRequest, ListLenRequest, ListPopRequest, ListRemoveRequest,
    ListRepeatRequest, ListReverseRequest, ListSetRequest, ListSetSliceRequest, ListSlice, ListSortRequest,
    ListSwapRequest, ListTakeRequest,
};

use super::{Promise, Source, Tested};
use crate::list::List;

impl Tested for List {
    fn arbitrary_op(source: &mut Source) -> Op {
        let index = source.index();
        match source.below(40) {
            0 | 1 => Op::Get(ListGetRequest { index }),
            2 | 3 => Op::Set(ListSetRequest { index, value: source.element() }),
            4 => Op::Delete(ListDeleteRequest { index }),
            5..8 => Op::Insert(ListInsertRequest { index, value: source.element() }),
            8..12 => Op::Append(ListAppendRequest { value: source.element() }),
            12..15 => Op::Extend(ListExtendRequest { values: source.some_elements() }),
            15 | 16 => Op::Pop(ListPopRequest { index: source.perhaps(index) }),
            17 => Op::Take(ListTakeRequest { count: source.below(4), end: source.below(3) as i32 }),
            18 => Op::Remove(ListRemoveRequest { value: source.element() }),
            19 => {
                let (value, start, stop) = (source.element(), source.index(), source.index());
                Op::Index(ListIndexRequest { value, start: source.perhaps(start), stop: source.perhaps(stop) })
            }
            20 => Op::Count(ListCountRequest { value: source.element() }),
            21 => Op::Contains(ListContainsRequest { value: source.element() }),
            22 => Op::Len(ListLenRequest {}),
            23 => Op::Reverse(ListReverseRequest {}),
            24 | 25 => Op::Sort(ListSortRequest { reverse: source.below(2) == 0 }),
            26 if source.below(3) == 0 => Op::Clear(ListClearRequest {}),
            26 | 27 => Op::Repeat(ListRepeatRequest { count: source.repetitions() }),
            28..31 => Op::GetSlice(ListGetSliceRequest { part: source.part(), bytes: source.below(60) as u32 }),
            31..34 => Op::SetSlice(ListSetSliceRequest { slice: source.slice(), values: source.some_elements() }),
            34 => Op::DeleteSlice(ListDeleteSliceRequest { slice: source.slice() }),
            35 | 36 => Op::Add(ListAddRequest { index, delta: Some(source.number()) }),
            37 | 38 => {
                let (expected, new) = (source.element(), source.element());
                Op::CompareAndSet(ListCompareAndSetRequest { index, expected, new })
            }
            _ => Op::Swap(ListSwapRequest { first: index, second: source.index() }),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Get(_) | Op::Index(_) | Op::Count(_) | Op::Contains(_) | Op::Len(_) | Op::GetSlice(_) => Promise::Reads,
            Op::Delete(_) | Op::Pop(_) | Op::Take(_) | Op::Remove(_) | Op::Clear(_) | Op::DeleteSlice(_) => {
                Promise::Frees
            }
            Op::Repeat(request) if request.count <= 1 => Promise::Frees,
            Op::SetSlice(request) if request.values.is_empty() => Promise::Frees,
            Op::Reverse(_) | Op::Sort(_) | Op::Swap(_) => Promise::Frees,
            Op::Set(_)
            | Op::Insert(_)
            | Op::Append(_)
            | Op::Extend(_)
            | Op::Repeat(_)
            | Op::SetSlice(_)
            | Op::Add(_)
            | Op::CompareAndSet(_) => Promise::Writes,
        }
    }
}

impl Source {
    /// An index that is often one of a short list; seldom far from any.
    fn index(&mut self) -> i64 {
        match self.below(12) {
            0 => [i64::MIN, i64::MAX, i64::MIN + 1, i64::MAX - 1][self.below(4) as usize],
            _ => self.below(14) as i64 - 6,
        }
    }

    fn perhaps(&mut self, index: i64) -> Option<i64> {
        (self.below(3) != 0).then_some(index)
    }

    /// An element that is often equal to others, or has an order with them.
    fn element(&mut self) -> Option<Datum> {
        match self.below(4) {
            0 => self.value(),
            1 => self.key(),
            _ => self.often().then(|| self.number()),
        }
    }

    /// Of one type where a list is to be sorted.
    fn some_elements(&mut self) -> Vec<Datum> {
        let kind = self.below(4);
        let element = |source: &mut Self| match kind {
            0 => source.element().unwrap_or_default(),
            1 => Datum::List([source.number(), source.number()].into()),
            2 => Datum::from(["a", "b", "é", "z", "\u{10000}"][source.below(5) as usize]),
            _ => source.number(),
        };
        (0..self.below(6)).map(|_| element(self)).collect()
    }

    fn repetitions(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => 0,
            2 => i64::MAX,
            _ => self.below(3) as i64,
        }
    }

    fn slice(&mut self) -> Option<ListSlice> {
        let (start, stop) = (self.index(), self.index());
        let step = match self.below(8) {
            0 => self.index(),
            1 => -1,
            2 => -2,
            3 => 2,
            _ => 1,
        };
        let slice = ListSlice { start: self.perhaps(start), stop: self.perhaps(stop), step: self.perhaps(step) };
        self.often().then_some(slice)
    }

    fn part(&mut self) -> Option<Part> {
        if self.below(2) == 0 {
            return self.slice().map(Part::Slice);
        }
        let cursor = ListCursor {
            edition: self.below(8),
            ordinal: if self.often() { self.below(8) } else { self.choice() },
            count: if self.often() { self.below(8) } else { self.choice() },
            step: self.index(),
        };
        Some(Part::Cursor(cursor))
    }
}
