//! A shared sequence: kind `list`.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use core::mem;

use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::list::{Op, Reply, Spec};
use holdfast_proto::{
    Datum, ListAddRequest, ListAddResponse, ListAppendRequest, ListAppendResponse, ListClearResponse,
    ListCompareAndSetRequest, ListCompareAndSetResponse, ListContainsRequest, ListContainsResponse, ListCountRequest,
    ListCountResponse, ListCursor, ListDeleteRequest, ListDeleteResponse, ListDeleteSliceRequest,
    ListDeleteSliceResponse, ListEnd, ListExtendRequest, ListExtendResponse, ListGetRequest, ListGetResponse,
    ListGetSliceRequest, ListGetSliceResponse, ListIndexRequest, ListIndexResponse, ListInsertRequest,
    ListInsertResponse, ListLenResponse, ListPopRequest, ListPopResponse, ListRemoveRequest, ListRemoveResponse,
    ListRepeatRequest, ListRepeatResponse, ListReverseResponse, ListSetRequest, ListSetResponse, ListSetSliceRequest,
    ListSetSliceResponse, ListSlice, ListSortRequest, ListSortResponse, ListSwapRequest, ListSwapResponse,
    ListTakeRequest, ListTakeResponse, Reason, Refusal, list_get_slice_request,
};

use crate::key::Equality;
use crate::order::{Order, Rank, compare_plain, rank};
use crate::page::Page;
use crate::slice::Slice;
use crate::{Answer, Creation, Object, Turn, door, number};

/// How many elements there may be.
const MAX_LEN: usize = u32::MAX as usize;

/// By how much one repetition may grow, so that it does not keep others from the object for long: it is the one op
/// whose work is not bounded by the size of its request or of what is there.
const REPEAT_BYTES: u64 = 64 << 20;

/// Python's list.
///
/// - An element costs what its data costs, and nothing more.
/// - Both ends are cheap: adding there and taking from there needs constant time, amortized (growing and shrinking move
///   all elements). An index is found at once. Inserting and removing elsewhere moves what is on the shorter side.
/// - The work of some ops grows with the list: searching looks at every element (1.5 ms for a million integers),
///   inserting and removing in the middle move half of them (0.5 ms for a million), and sorting takes 0.2 s for a
///   million integers, 1 s for as many texts (measured on two busy cores).
/// - A slice that does not fit a page is read with a cursor, and what was read is of one moment: the list has an
///   *edition*, the index of the last call that changed it otherwise than at its end or by taking from its front, and
///   within an edition an element keeps its *ordinal*: its index plus the number of those taken from the front. A
///   cursor of another edition, or whose elements were taken meanwhile, leads to nothing, and its owner is told.
/// - No op blocks, and no session holds anything of it.
#[derive(Debug)]
pub struct List {
    equality: Equality,
    elements: VecDeque<Datum>,
    bytes: u64,
    edition: u64,
    /// How many were taken from the front in this edition.
    taken: u64,
}

/// All there is to know about a [`List`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub elements: Vec<Datum>,
    /// The index of the last call that changed it otherwise than at its end or by taking from its front.
    #[prost(uint64, tag = "2")]
    pub edition: u64,
    /// How many elements were taken from the front since.
    #[prost(uint64, tag = "3")]
    pub taken: u64,
}

impl Object for List {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(_: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        let equality = Equality::new(creation.seed);
        Ok(Self { equality, elements: VecDeque::new(), bytes: 0, edition: 0, taken: 0 })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let State { elements, edition, taken } = state;
        if elements.len() > MAX_LEN || taken > i64::MAX as u64 {
            return Err(Refusal::new(Reason::Malformed, "the saved state is not that of a list: it was damaged"));
        }
        let equality = Equality::new(creation.seed);
        let elements = values("elements", elements, &equality)?;
        let bytes = bytes_of(&elements);
        creation.room.grow(bytes)?;
        Ok(Self { equality, elements: elements.into(), bytes, edition, taken })
    }

    fn state(&self) -> State {
        State { elements: self.elements.iter().cloned().collect(), edition: self.edition, taken: self.taken }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Get(request) => self.get(request).map(Reply::Get),
            Op::Set(request) => self.set(request, turn).map(Reply::Set),
            Op::Delete(request) => self.delete(request, turn).map(Reply::Delete),
            Op::Insert(request) => self.insert(request, turn).map(Reply::Insert),
            Op::Append(request) => self.append(request, turn).map(Reply::Append),
            Op::Extend(request) => self.extend(request, turn).map(Reply::Extend),
            Op::Pop(request) => self.pop(request, turn).map(Reply::Pop),
            Op::Take(request) => self.take(request, turn).map(Reply::Take),
            Op::Remove(request) => self.remove(request, turn).map(Reply::Remove),
            Op::Index(request) => self.index(request).map(Reply::Index),
            Op::Count(request) => self.count(request).map(Reply::Count),
            Op::Contains(request) => self.contains(request).map(Reply::Contains),
            Op::Len(_) => Ok(Reply::Len(ListLenResponse { len: self.elements.len() as u64 })),
            Op::Reverse(_) => Ok(Reply::Reverse(self.reverse(turn))),
            Op::Sort(request) => self.sort(request, turn).map(Reply::Sort),
            Op::Clear(_) => Ok(Reply::Clear(ListClearResponse { removed: self.clear(turn) })),
            Op::Repeat(request) => self.repeat(request, turn).map(Reply::Repeat),
            Op::GetSlice(request) => self.get_slice(request, turn).map(Reply::GetSlice),
            Op::SetSlice(request) => self.set_slice(request, turn).map(Reply::SetSlice),
            Op::DeleteSlice(request) => self.delete_slice(request, turn).map(Reply::DeleteSlice),
            Op::Add(request) => self.add(request, turn).map(Reply::Add),
            Op::CompareAndSet(request) => self.compare_and_set(request, turn).map(Reply::CompareAndSet),
            Op::Swap(request) => self.swap(request, turn).map(Reply::Swap),
        }
        .into()
    }

    fn is_vacant(&self) -> bool {
        self.elements.is_empty() && self.edition == 0 && self.taken == 0
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn elements(&self) -> Option<u64> {
        Some(self.elements.len() as u64)
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        for element in &self.elements {
            element.visit_references(visit);
        }
    }
}

/// What writes one element.
impl List {
    fn set(&mut self, request: ListSetRequest, turn: &mut Turn) -> Result<ListSetResponse, Refusal> {
        let value = self.value("value", request.value)?;
        let at = self.at(request.index)?;
        self.overwrite(at, value, turn)?;
        Ok(ListSetResponse {})
    }

    fn delete(&mut self, request: ListDeleteRequest, turn: &mut Turn) -> Result<ListDeleteResponse, Refusal> {
        let at = self.at(request.index)?;
        self.remove_at(at, turn);
        Ok(ListDeleteResponse {})
    }

    fn insert(&mut self, request: ListInsertRequest, turn: &mut Turn) -> Result<ListInsertResponse, Refusal> {
        let value = self.value("value", request.value)?;
        let from_here = ListSlice { start: Some(request.index), stop: None, step: None };
        let at = Slice::new(from_here, self.elements.len())?.start;
        self.grow(1, value.bytes(), turn)?;
        if at < self.elements.len() {
            self.edit(turn);
        }
        self.elements.insert(at, value);
        Ok(ListInsertResponse {})
    }

    fn append(&mut self, request: ListAppendRequest, turn: &mut Turn) -> Result<ListAppendResponse, Refusal> {
        let value = self.value("value", request.value)?;
        self.grow(1, value.bytes(), turn)?;
        self.elements.push_back(value);
        Ok(ListAppendResponse {})
    }

    fn pop(&mut self, request: ListPopRequest, turn: &mut Turn) -> Result<ListPopResponse, Refusal> {
        if self.elements.is_empty() {
            return Err(Refusal::new(Reason::Empty, "the list is empty: there is no element to take"));
        }
        let at = self.at(request.index.unwrap_or(-1))?;
        Ok(ListPopResponse { value: Some(self.remove_at(at, turn)) })
    }

    fn remove(&mut self, request: ListRemoveRequest, turn: &mut Turn) -> Result<ListRemoveResponse, Refusal> {
        let value = self.value("value", request.value)?;
        let at = self.find(&value, Slice::new(ListSlice::default(), self.elements.len())?)?;
        self.remove_at(at, turn);
        Ok(ListRemoveResponse {})
    }

    fn add(&mut self, request: ListAddRequest, turn: &mut Turn) -> Result<ListAddResponse, Refusal> {
        let delta = self.value("delta", request.delta)?;
        let at = self.at(request.index)?;
        let place = format_args!("the element at the index {}", request.index);
        let sum = number::add(&self.elements[at], &delta, &place)?;
        self.overwrite(at, sum.clone(), turn)?;
        Ok(ListAddResponse { value: Some(sum) })
    }

    fn compare_and_set(
        &mut self,
        request: ListCompareAndSetRequest,
        turn: &mut Turn,
    ) -> Result<ListCompareAndSetResponse, Refusal> {
        let expected = self.value("expected", request.expected)?;
        let new = self.value("new", request.new)?;
        let at = self.at(request.index)?;
        let swapped = self.equality.same(&self.elements[at], &expected);
        if swapped {
            self.overwrite(at, new, turn)?;
        }
        Ok(ListCompareAndSetResponse { swapped })
    }

    fn swap(&mut self, request: ListSwapRequest, turn: &mut Turn) -> Result<ListSwapResponse, Refusal> {
        let (first, second) = (self.at(request.first)?, self.at(request.second)?);
        self.edit(turn);
        self.elements.swap(first, second);
        Ok(ListSwapResponse {})
    }
}

/// What writes many.
impl List {
    fn extend(&mut self, request: ListExtendRequest, turn: &mut Turn) -> Result<ListExtendResponse, Refusal> {
        let values = values("values", request.values, &self.equality)?;
        self.grow(values.len(), bytes_of(&values), turn)?;
        self.elements.extend(values);
        Ok(ListExtendResponse {})
    }

    fn take(&mut self, request: ListTakeRequest, turn: &mut Turn) -> Result<ListTakeResponse, Refusal> {
        let end = ListEnd::try_from(request.end).map_err(|_| unknown_end(request.end))?;
        let mut page = Page::new(0, turn.page_bytes);
        let mut values = Vec::new();
        while (values.len() as u64) < request.count && !page.is_full() {
            let taken = match end {
                ListEnd::Front => self.elements.pop_front(),
                ListEnd::Back => self.elements.pop_back(),
            };
            let Some(value) = taken else { break };
            page.count(&value);
            values.push(value);
        }
        match end {
            ListEnd::Front => self.taken += values.len() as u64,
            ListEnd::Back if values.is_empty() => {}
            ListEnd::Back => self.edit(turn),
        }
        self.shrink(bytes_of(&values), turn);
        Ok(ListTakeResponse { values })
    }

    fn reverse(&mut self, turn: &Turn) -> ListReverseResponse {
        if self.elements.len() > 1 {
            self.edit(turn);
            self.elements.make_contiguous().reverse();
        }
        ListReverseResponse {}
    }

    fn sort(&mut self, request: ListSortRequest, turn: &Turn) -> Result<ListSortResponse, Refusal> {
        let Some(first) = self.elements.front().filter(|_| self.elements.len() > 1) else {
            return Ok(ListSortResponse {});
        };
        let type_of_all = rank(first);
        if let Some(other) = self.elements.iter().find(|element| rank(element) != type_of_all) {
            return Err(unordered(first, other));
        }
        match type_of_all {
            Rank::Number | Rank::Text | Rank::Bytes => self.sort_plain(request.reverse),
            Rank::List | Rank::Tuple => self.sort_nested(request.reverse)?,
            Rank::NotANumber | Rank::Unordered => return Err(unordered(first, &self.elements[1])),
        }
        self.edit(turn);
        Ok(ListSortResponse {})
    }

    fn clear(&mut self, turn: &mut Turn) -> u64 {
        let removed = self.elements.len() as u64;
        if removed > 0 {
            self.edit(turn);
            turn.let_go(self.bytes, mem::take(&mut self.elements));
            self.shrink(self.bytes, turn);
        }
        removed
    }

    fn repeat(&mut self, request: ListRepeatRequest, turn: &mut Turn) -> Result<ListRepeatResponse, Refusal> {
        let Ok(more) = u64::try_from(request.count.saturating_sub(1)) else {
            self.clear(turn);
            return Ok(ListRepeatResponse {});
        };
        let once = self.elements.len();
        let bytes = self.bytes.saturating_mul(more);
        if bytes > REPEAT_BYTES {
            return Err(too_much_at_once(bytes));
        }
        // An element has at least 24 bytes, so that many fit a usize. Of an empty list nothing is repeated.
        let elements = once * if once == 0 { 0 } else { more as usize };
        self.grow(elements, bytes, turn)?;
        let content: Vec<Datum> = self.elements.iter().cloned().collect();
        self.elements.extend(content.iter().cycle().take(elements).cloned());
        Ok(ListRepeatResponse {})
    }

    fn set_slice(&mut self, request: ListSetSliceRequest, turn: &mut Turn) -> Result<ListSetSliceResponse, Refusal> {
        let values = values("values", request.values, &self.equality)?;
        let len = self.elements.len();
        let slice = Slice::new(request.slice.unwrap_or_default(), len)?;
        if slice.step != 1 && slice.count != values.len() {
            return Err(wrong_length(&slice, values.len()));
        }
        check_len(len - slice.count, values.len())?;
        let (old, new) = (self.bytes_of(slice), bytes_of(&values));
        turn.room.replace(old, new)?;
        self.bytes = self.bytes - old + new;
        if slice.start < len {
            self.edit(turn);
        }
        if slice.step == 1 {
            self.splice(slice, values);
        } else {
            for (at, value) in slice.indexes().zip(values) {
                self.elements[at] = value;
            }
        }
        Ok(ListSetSliceResponse {})
    }

    fn delete_slice(
        &mut self,
        request: ListDeleteSliceRequest,
        turn: &mut Turn,
    ) -> Result<ListDeleteSliceResponse, Refusal> {
        let slice = Slice::new(request.slice.unwrap_or_default(), self.elements.len())?;
        let removed = slice.count as u64;
        let bytes = self.bytes_of(slice);
        let (range, stride) = slice.ascending();
        match (range.start, stride) {
            _ if range.is_empty() => {}
            (0, 1) => self.taken += removed,
            _ => self.edit(turn),
        }
        if stride == 1 {
            self.elements.drain(range);
        } else {
            let mut at = 0..self.elements.len();
            self.elements.retain(|_| {
                let at = at.next().unwrap_or_default();
                !(range.contains(&at) && (at - range.start).is_multiple_of(stride))
            });
        }
        self.shrink(bytes, turn);
        Ok(ListDeleteSliceResponse { removed })
    }
}

/// What reads.
impl List {
    fn get(&self, request: ListGetRequest) -> Result<ListGetResponse, Refusal> {
        let at = self.at(request.index)?;
        Ok(ListGetResponse { value: Some(self.elements[at].clone()) })
    }

    fn index(&self, request: ListIndexRequest) -> Result<ListIndexResponse, Refusal> {
        let value = self.value("value", request.value)?;
        let part = ListSlice { start: request.start, stop: request.stop, step: None };
        let at = self.find(&value, Slice::new(part, self.elements.len())?)?;
        Ok(ListIndexResponse { index: at as u64 })
    }

    fn count(&self, request: ListCountRequest) -> Result<ListCountResponse, Refusal> {
        let value = self.value("value", request.value)?;
        let count = self.elements.iter().filter(|element| self.equality.same(element, &value)).count();
        Ok(ListCountResponse { count: count as u64 })
    }

    fn contains(&self, request: ListContainsRequest) -> Result<ListContainsResponse, Refusal> {
        let value = self.value("value", request.value)?;
        Ok(ListContainsResponse { contains: self.elements.iter().any(|element| self.equality.same(element, &value)) })
    }

    fn get_slice(&self, request: ListGetSliceRequest, turn: &Turn) -> Result<ListGetSliceResponse, Refusal> {
        use list_get_slice_request::Part;
        let slice = match request.part {
            Some(Part::Cursor(cursor)) => match self.rest(&cursor) {
                Some(slice) => slice,
                None => return Ok(ListGetSliceResponse { changed: true, ..Default::default() }),
            },
            Some(Part::Slice(slice)) => Slice::new(slice, self.elements.len())?,
            None => Slice::new(ListSlice::default(), self.elements.len())?,
        };
        let mut page = Page::new(request.bytes, turn.page_bytes);
        let values = if slice.step == 1 {
            page.fill(self.elements.range(slice.ascending().0))
        } else {
            page.fill(slice.indexes().map(|at| &self.elements[at]))
        };
        let cursor = (values.len() < slice.count).then(|| ListCursor {
            edition: self.edition,
            ordinal: self.taken + slice.index_of(values.len()) as u64,
            count: (slice.count - values.len()) as u64,
            step: slice.step,
        });
        Ok(ListGetSliceResponse { values, cursor, changed: false })
    }

    /// The elements that a cursor stands for, if each of them is still there and none has changed.
    fn rest(&self, cursor: &ListCursor) -> Option<Slice> {
        let start = usize::try_from(cursor.ordinal.checked_sub(self.taken)?).ok()?;
        let count = usize::try_from(cursor.count).ok()?;
        // A cursor comes from a client, which may have made it up: no number in it is too large to look at.
        let last = i128::from(cursor.step) * (i128::from(cursor.count) - 1) + start as i128;
        let is_here = |index: i128| (0..self.elements.len() as i128).contains(&index);
        let is_whole = count > 0 && cursor.step != 0 && is_here(start as i128) && is_here(last);
        (self.edition == cursor.edition && is_whole).then_some(Slice { start, step: cursor.step, count })
    }
}

/// What the ops are made of. What takes room asks for it first and changes nothing if there is none.
impl List {
    #[inline]
    fn value(&self, field: &str, value: Option<Datum>) -> Result<Datum, Refusal> {
        door::value(field, value, &self.equality)
    }

    /// Where an index leads.
    fn at(&self, index: i64) -> Result<usize, Refusal> {
        let len = self.elements.len();
        let at = if index < 0 { index + len as i64 } else { index };
        usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(|| out_of_range(index, len))
    }

    fn find(&self, value: &Datum, part: Slice) -> Result<usize, Refusal> {
        let mut elements = self.elements.range(part.ascending().0);
        let nth = elements.position(|element| self.equality.same(element, value));
        nth.map(|nth| part.start + nth).ok_or_else(|| missing_value(value))
    }

    fn bytes_of(&self, slice: Slice) -> u64 {
        slice.indexes().map(|at| self.elements[at].bytes()).sum()
    }

    fn overwrite(&mut self, at: usize, value: Datum, turn: &mut Turn) -> Result<(), Refusal> {
        let (old, new) = (self.elements[at].bytes(), value.bytes());
        turn.room.replace(old, new)?;
        self.bytes = self.bytes - old + new;
        self.edit(turn);
        self.elements[at] = value;
        Ok(())
    }

    fn remove_at(&mut self, at: usize, turn: &mut Turn) -> Datum {
        if at == 0 {
            self.taken += 1;
        } else {
            self.edit(turn);
        }
        let element = self.elements.remove(at).expect("the index was looked up");
        self.shrink(element.bytes(), turn);
        element
    }

    /// Puts `values` where a slice of step 1 is.
    fn splice(&mut self, slice: Slice, values: Vec<Datum>) {
        let end = slice.start + slice.count;
        let replaced = slice.start + slice.count.min(values.len());
        let mut values = values.into_iter();
        for (element, value) in self.elements.range_mut(slice.start..replaced).zip(values.by_ref()) {
            *element = value;
        }
        self.elements.drain(replaced..end);
        // What is on the shorter side makes way for the rest.
        if replaced < self.elements.len() / 2 {
            let front: Vec<Datum> = self.elements.drain(..replaced).collect();
            for value in front.into_iter().chain(values).rev() {
                self.elements.push_front(value);
            }
        } else {
            let mut back = self.elements.split_off(replaced);
            self.elements.extend(values);
            self.elements.append(&mut back);
        }
    }

    /// Counts what is about to be added.
    fn grow(&mut self, elements: usize, bytes: u64, turn: &mut Turn) -> Result<(), Refusal> {
        check_len(self.elements.len(), elements)?;
        turn.room.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Counts what was removed, and gives back the memory that it had.
    fn shrink(&mut self, bytes: u64, turn: &mut Turn) {
        const KEPT: usize = 64;
        turn.room.shrink(bytes);
        self.bytes -= bytes;
        if self.elements.capacity() > KEPT.max(4 * self.elements.len()) {
            self.elements.shrink_to(2 * self.elements.len());
        }
    }

    /// Begins a new edition: elements change otherwise than at the end or by being taken from the front.
    fn edit(&mut self, turn: &Turn) {
        self.edition = turn.index;
        self.taken = 0;
    }

    /// Sorts elements each of which has an order with each other.
    fn sort_plain(&mut self, reverse: bool) {
        let compare = |a: &Datum, b: &Datum| compare_plain(a, b).expect("numbers, texts or bytes, and no NaN");
        let elements = self.elements.make_contiguous();
        if reverse {
            elements.sort_by(|a, b| compare(b, a));
        } else {
            elements.sort_by(compare);
        }
    }

    /// Sorts elements of which that is not known: their indexes first, since a refusal changes nothing.
    fn sort_nested(&mut self, reverse: bool) -> Result<(), Refusal> {
        let elements = self.elements.make_contiguous();
        let mut order = Order::new(&self.equality);
        let mut sorted: Vec<(&[Datum], u32)> = elements.iter().map(members).zip(0..).collect();
        sorted
            .sort_by(|(a, _), (b, _)| if reverse { order.compare_members(b, a) } else { order.compare_members(a, b) });
        if order.has_gap() {
            return Err(unordered_elements());
        }
        let sorted: Vec<u32> = sorted.into_iter().map(|(_, at)| at).collect();
        self.elements = sorted.into_iter().map(|at| mem::take(&mut elements[at as usize])).collect();
        Ok(())
    }
}

/// The data in the request's repeated field `field`.
fn values(field: &str, data: Vec<Datum>, equality: &Equality) -> Result<Vec<Datum>, Refusal> {
    data.into_iter().map(|datum| door::value(field, Some(datum), equality)).collect()
}

fn bytes_of(values: &[Datum]) -> u64 {
    values.iter().map(Datum::bytes).sum()
}

/// What is in a list or tuple.
fn members(datum: &Datum) -> &[Datum] {
    match datum {
        Datum::List(members) | Datum::Tuple(members) => members,
        _ => &[],
    }
}

fn check_len(len: usize, more: usize) -> Result<(), Refusal> {
    if len.checked_add(more).is_some_and(|sum| sum <= MAX_LEN) { Ok(()) } else { Err(full()) }
}

#[cold]
fn full() -> Refusal {
    let message = "a list can have about four billion elements and this one has: delete some, or use several lists";
    Refusal::new(Reason::Quota, message)
}

#[cold]
fn too_much_at_once(bytes: u64) -> Refusal {
    let message = format!(
        "to repeat the list so often needs {bytes} more bytes and one call may add {REPEAT_BYTES}: repeat it in several \
         steps, or extend it"
    );
    Refusal::new(Reason::Quota, message)
}

#[cold]
fn out_of_range(index: i64, len: usize) -> Refusal {
    let message = match len {
        0 => format!("the list is empty: it has no index {index}"),
        _ => format!("the list has no index {index}: it has {len} elements, so use -{len} to {}", len - 1),
    };
    Refusal::new(Reason::IndexOutOfRange, message)
}

#[cold]
fn missing_value(value: &Datum) -> Refusal {
    let message = format!("no element of the list, or of the part to look at, is equal to {}", value.brief());
    Refusal::new(Reason::MissingValue, message)
}

#[cold]
fn wrong_length(slice: &Slice, values: usize) -> Refusal {
    let message = format!(
        "a slice with the step {} has {} elements and there are {values} values: only a slice with the step 1 can be \
         replaced by more or fewer",
        slice.step, slice.count
    );
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn unknown_end(end: i32) -> Refusal {
    let message = format!("the field \"end\" of the request is {end}: set it to 0 (front) or 1 (back)");
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn unordered(a: &Datum, b: &Datum) -> Refusal {
    let message = format!(
        "the list holds {} ({}) and {} ({}), which have no order: only numbers without NaN, texts, bytes, lists or tuples \
         can be sorted, each among themselves",
        a.type_name(),
        a.brief(),
        b.type_name(),
        b.brief()
    );
    Refusal::new(Reason::WrongType, message)
}

#[cold]
fn unordered_elements() -> Refusal {
    let message = "two of the lists or tuples differ first in elements that have no order: only numbers without NaN, texts, \
                   bytes, lists or tuples can be sorted, each among themselves";
    Refusal::new(Reason::WrongType, message)
}

#[cfg(test)]
mod tests;
