//! A shared sequence.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Bound, RangeBounds};

use holdfast_proto::list_get_slice_request::Part;
use holdfast_proto::{
    Datum, ListAddRequest, ListAppendRequest, ListClearRequest, ListCompareAndSetRequest, ListContainsRequest,
    ListCountRequest, ListDeleteRequest, ListDeleteSliceRequest, ListEnd, ListExtendRequest, ListGetRequest,
    ListGetSliceRequest, ListGetSliceResponse, ListIndexRequest, ListInsertRequest, ListLenRequest, ListPopRequest,
    ListRemoveRequest, ListRepeatRequest, ListReverseRequest, ListSetRequest, ListSetSliceRequest, ListSlice,
    ListSortRequest, ListSwapRequest, ListTakeRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reference::proxy;
use super::remote::{Chunked, Holds, Remote};
use super::{Exchange, Mode, Output};
use crate::codec::{from_datum, to_datum};
use crate::error::{Error, Result};
use crate::session::{Asking, Heard, Step};

/// How often a slice of several pages is read again from its start because it was changed between two of them.
const ATTEMPTS: u32 = 64;

/// A shared sequence: Python's manager list, with the compound updates that it lacks.
///
/// Clones are proxies to the same list. Each method is one call, applied atomically, unless it says otherwise; see the
/// [crate] for what holds for every call.
///
/// - Indexes count from 0, or from the end where they are negative: -1 is the last. One that leads nowhere is refused
///   with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange), as Python's `IndexError`.
/// - Slices are ranges of indexes, with Python's meaning: a bound beyond an end means that end, and nothing is refused.
///   `1..`, `..-1`, `-3..` and `..` are Python's `[1:]`, `[:-1]`, `[-3:]` and `[:]`.
/// - Elements compare as in Python: 1, 1.0 and true are equal; NaN equals nothing.
/// - Adding at the end and taking from either end takes the manager constant time. Inserting and removing elsewhere
///   moves the elements on the shorter side; searching looks at all of them.
pub struct List<T, M: Mode> {
    remote: Remote<M>,
    _elements: Holds<T>,
}

proxy!(List<T> in list);

impl<T, M: Mode> List<T, M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote, _elements: PhantomData }
    }

    /// How many elements there are.
    pub fn len(&self) -> Output<M, ListLenRequest, u64> {
        self.remote.once(Ok(ListLenRequest {}), |response, _| Ok(response.len))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> Output<M, ListLenRequest, bool> {
        self.remote.once(Ok(ListLenRequest {}), |response, _| Ok(response.len == 0))
    }

    /// Removes everything, and returns how many elements there were.
    pub fn clear(&self) -> Output<M, ListClearRequest, u64> {
        self.remote.once(Ok(ListClearRequest {}), |response, _| Ok(response.removed))
    }

    /// Removes the element at an index: Python's `del l[index]`.
    ///
    /// Refused with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange).
    pub fn delete(&self, index: i64) -> Output<M, ListDeleteRequest, ()> {
        self.remote.once(Ok(ListDeleteRequest { index }), |_, _| Ok(()))
    }

    /// Removes a slice, and returns how many elements it had: Python's `del l[start:stop]`.
    pub fn delete_slice(&self, range: impl RangeBounds<i64>) -> Output<M, ListDeleteSliceRequest, u64> {
        self.delete_slice_step(range, 1)
    }

    /// Removes every `step`-th element of a slice, and returns how many that were: Python's `del l[start:stop:step]`.
    /// See [`get_slice_step`](Self::get_slice_step) for what the range means.
    ///
    /// Refused with [`Reason::Malformed`](crate::Reason::Malformed) if the step is 0.
    pub fn delete_slice_step(&self, range: impl RangeBounds<i64>, step: i64) -> Output<M, ListDeleteSliceRequest, u64> {
        let request = ListDeleteSliceRequest { slice: Some(slice(&range, step)) };
        self.remote.once(Ok(request), |response, _| Ok(response.removed))
    }

    /// Exchanges two elements.
    ///
    /// Refused with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange).
    pub fn swap(&self, first: i64, second: i64) -> Output<M, ListSwapRequest, ()> {
        self.remote.once(Ok(ListSwapRequest { first, second }), |_, _| Ok(()))
    }

    /// Turns the order around: Python's `l.reverse()`.
    pub fn reverse(&self) -> Output<M, ListReverseRequest, ()> {
        self.remote.once(Ok(ListReverseRequest {}), |_, _| Ok(()))
    }

    /// Sorts, the smallest first: Python's `l.sort()`. What is equal keeps its order.
    ///
    /// Numbers are ordered by their exact value, whatever their types, texts by code point, bytes by byte, and lists
    /// and tuples, each among themselves, by the first elements that differ. Refused with
    /// [`Reason::WrongType`](crate::Reason::WrongType), and nothing is moved, if any two elements have no order: they
    /// are of different types, of another type, or NaN.
    ///
    /// The list is kept from others while it is sorted: 0.2 s for a million integers, 1 s for a million texts, and more
    /// for lists and tuples (measured on two busy cores).
    pub fn sort(&self) -> Output<M, ListSortRequest, ()> {
        self.remote.once(Ok(ListSortRequest { reverse: false }), |_, _| Ok(()))
    }

    /// Sorts, the largest first: Python's `l.sort(reverse=True)`. What is equal keeps its order. Otherwise as
    /// [`sort`](Self::sort).
    pub fn sort_reversed(&self) -> Output<M, ListSortRequest, ()> {
        self.remote.once(Ok(ListSortRequest { reverse: true }), |_, _| Ok(()))
    }

    /// Puts the whole content there `count` times: Python's `l *= count`. 0 or less removes everything.
    ///
    /// Refused with [`Reason::Quota`](crate::Reason::Quota) if there is no room, or if one call would add more than 64
    /// MiB, as the limits count.
    pub fn repeat(&self, count: i64) -> Output<M, ListRepeatRequest, ()> {
        self.remote.once(Ok(ListRepeatRequest { count }), |_, _| Ok(()))
    }
}

impl<T: Serialize + DeserializeOwned, M: Mode> List<T, M> {
    /// The element at an index: Python's `l[index]`.
    ///
    /// Refused with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange).
    pub fn get(&self, index: i64) -> Output<M, ListGetRequest, T> {
        self.remote.once(Ok(ListGetRequest { index }), |response, _| some(response.value))
    }

    /// Replaces the element at an index: Python's `l[index] = value`.
    ///
    /// Refused with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange).
    pub fn set(&self, index: i64, value: &T) -> Output<M, ListSetRequest, ()> {
        self.remote.once(datum(value).map(|value| ListSetRequest { index, value }), |_, _| Ok(()))
    }

    /// Puts an element in front of the one at an index: Python's `l.insert(index, value)`. An index beyond either end
    /// means that end.
    pub fn insert(&self, index: i64, value: &T) -> Output<M, ListInsertRequest, ()> {
        self.remote.once(datum(value).map(|value| ListInsertRequest { index, value }), |_, _| Ok(()))
    }

    /// Puts an element at the end: Python's `l.append(value)`.
    pub fn append(&self, value: &T) -> Output<M, ListAppendRequest, ()> {
        self.remote.once(datum(value).map(|value| ListAppendRequest { value }), |_, _| Ok(()))
    }

    /// Puts many elements at the end, in order: Python's `l.extend(values)`, or `l += values`.
    ///
    /// Up to about 256 KiB are one call, applied as a whole or not at all; more are sent in several calls, each of them
    /// so. What others append meanwhile then comes between. To add more as a whole, replace the slice behind the end:
    /// `set_slice(i64::MAX.., values)`.
    pub fn extend(&self, values: impl IntoIterator<Item = T>) -> M::Output<Extend<M>> {
        self.remote.chunked(data(values), |values| ListExtendRequest { values }, (), |(), _| {})
    }

    /// Removes the last element and returns it: Python's `l.pop()`.
    ///
    /// Refused with [`Reason::Empty`](crate::Reason::Empty) if there is none.
    pub fn pop(&self) -> Output<M, ListPopRequest, T> {
        self.remote.once(Ok(ListPopRequest { index: None }), |response, _| some(response.value))
    }

    /// Removes the element at an index and returns it: Python's `l.pop(index)`.
    ///
    /// Refused with [`Reason::Empty`](crate::Reason::Empty) if there is no element at all, and with
    /// [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange) if there is none at the index.
    pub fn pop_at(&self, index: i64) -> Output<M, ListPopRequest, T> {
        self.remote.once(Ok(ListPopRequest { index: Some(index) }), |response, _| some(response.value))
    }

    /// Removes up to `count` elements from the front and returns them, the first one first.
    ///
    /// There are fewer if the list has fewer, or if they fill a page (256 KiB, unless the manager was told otherwise).
    pub fn take_front(&self, count: u64) -> Output<M, ListTakeRequest, Vec<T>> {
        self.take(count, ListEnd::Front)
    }

    /// Removes up to `count` elements from the end and returns them, the last one first, as so many times
    /// [`pop`](Self::pop) would. There are fewer as with [`take_front`](Self::take_front).
    pub fn take_back(&self, count: u64) -> Output<M, ListTakeRequest, Vec<T>> {
        self.take(count, ListEnd::Back)
    }

    fn take(&self, count: u64, end: ListEnd) -> Output<M, ListTakeRequest, Vec<T>> {
        let request = ListTakeRequest { count, end: end.into() };
        self.remote
            .once(Ok(request), |response, _| response.values.into_iter().map(|value| Ok(from_datum(value)?)).collect())
    }

    /// Removes the first element that is equal to a value: Python's `l.remove(value)`.
    ///
    /// Refused with [`Reason::MissingValue`](crate::Reason::MissingValue) if there is none.
    pub fn remove<Q: Serialize + ?Sized>(&self, value: &Q) -> Output<M, ListRemoveRequest, ()>
    where
        T: Borrow<Q>,
    {
        self.remote.once(datum(value).map(|value| ListRemoveRequest { value }), |_, _| Ok(()))
    }

    /// The index of the first element that is equal to a value: Python's `l.index(value)`.
    ///
    /// Refused with [`Reason::MissingValue`](crate::Reason::MissingValue) if there is none.
    pub fn index<Q: Serialize + ?Sized>(&self, value: &Q) -> Output<M, ListIndexRequest, u64>
    where
        T: Borrow<Q>,
    {
        self.index_within(value, ..)
    }

    /// The index of the first element within a slice that is equal to a value: Python's `l.index(value, start, stop)`.
    /// It is counted from the start of the list.
    ///
    /// Refused with [`Reason::MissingValue`](crate::Reason::MissingValue) if there is none.
    pub fn index_within<Q: Serialize + ?Sized>(
        &self,
        value: &Q,
        range: impl RangeBounds<i64>,
    ) -> Output<M, ListIndexRequest, u64>
    where
        T: Borrow<Q>,
    {
        let ListSlice { start, stop, .. } = slice(&range, 1);
        let request = datum(value).map(|value| ListIndexRequest { value, start, stop });
        self.remote.once(request, |response, _| Ok(response.index))
    }

    /// How many elements are equal to a value: Python's `l.count(value)`.
    pub fn count<Q: Serialize + ?Sized>(&self, value: &Q) -> Output<M, ListCountRequest, u64>
    where
        T: Borrow<Q>,
    {
        self.remote.once(datum(value).map(|value| ListCountRequest { value }), |response, _| Ok(response.count))
    }

    /// Whether an element is equal to a value: Python's `value in l`.
    pub fn contains<Q: Serialize + ?Sized>(&self, value: &Q) -> Output<M, ListContainsRequest, bool>
    where
        T: Borrow<Q>,
    {
        self.remote.once(datum(value).map(|value| ListContainsRequest { value }), |response, _| Ok(response.contains))
    }

    /// Adds to the number at an index and returns the sum. A float on either side makes the sum a float.
    ///
    /// Refused with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange), with
    /// [`Reason::WrongType`](crate::Reason::WrongType) if there is something else than a number, and with
    /// [`Reason::Overflow`](crate::Reason::Overflow) if the sum does not fit 64 bits, or is not finite.
    pub fn add(&self, index: i64, delta: T) -> Output<M, ListAddRequest, T> {
        let request = datum(&delta).map(|delta| ListAddRequest { index, delta });
        self.remote.once(request, |response, _| some(response.value))
    }

    /// Replaces the element at an index if it is equal to `expected`, and returns whether it was.
    ///
    /// Refused with [`Reason::IndexOutOfRange`](crate::Reason::IndexOutOfRange).
    pub fn compare_and_set(&self, index: i64, expected: &T, new: &T) -> Output<M, ListCompareAndSetRequest, bool> {
        let request = || Ok(ListCompareAndSetRequest { index, expected: datum(expected)?, new: datum(new)? });
        self.remote.once(request(), |response, _| Ok(response.swapped))
    }

    /// The elements of a slice: Python's `l[start:stop]`.
    ///
    /// They are those of one moment. What fits a page (256 KiB, unless the manager was told otherwise) is one call.
    /// More is read in several, and if the list is changed between them so that the rest is not what it was, the slice
    /// is read again from its start; [`Error::Changing`] if that is so time and again. What is put at the end
    /// meanwhile, and what is taken from the front behind the reader, is of no matter.
    pub fn get_slice(&self, range: impl RangeBounds<i64>) -> M::Output<GetSlice<T, Vec<T>, M>> {
        self.get_slice_step(range, 1)
    }

    /// Every `step`-th element of a slice: Python's `l[start:stop:step]`, read as with [`get_slice`](Self::get_slice).
    ///
    /// The range goes from its start to its end in the direction of the step: `(.., -1)` is the whole list backwards,
    /// and `(5..2, -1)` are the elements at 5, 4 and 3. Refused with [`Reason::Malformed`](crate::Reason::Malformed) if
    /// the step is 0.
    pub fn get_slice_step(&self, range: impl RangeBounds<i64>, step: i64) -> M::Output<GetSlice<T, Vec<T>, M>> {
        self.read(slice(&range, step), |elements| elements)
    }

    /// Replaces a slice by any number of elements: Python's `l[start:stop] = values`. An empty slice is a place to
    /// insert them.
    ///
    /// It is one call, also where it is large: refused with [`Reason::ValueTooLarge`](crate::Reason::ValueTooLarge) if
    /// the values do not fit one request.
    pub fn set_slice(
        &self,
        range: impl RangeBounds<i64>,
        values: impl IntoIterator<Item = T>,
    ) -> Output<M, ListSetSliceRequest, ()> {
        self.set_slice_step(range, 1, values)
    }

    /// Replaces every `step`-th element of a slice: Python's `l[start:stop:step] = values`. See
    /// [`get_slice_step`](Self::get_slice_step) for what the range means, and [`set_slice`](Self::set_slice) for the
    /// size.
    ///
    /// Refused with [`Reason::Malformed`](crate::Reason::Malformed) if the step is 0, or is not 1 and there are not as
    /// many values as elements: Python's `ValueError`.
    pub fn set_slice_step(
        &self,
        range: impl RangeBounds<i64>,
        step: i64,
        values: impl IntoIterator<Item = T>,
    ) -> Output<M, ListSetSliceRequest, ()> {
        let slice = slice(&range, step);
        let request = data(values).map(|values| ListSetSliceRequest { slice: Some(slice), values });
        self.remote.once(request, |_, _| Ok(()))
    }

    /// All elements, in order, as they were at one moment: see [`get_slice`](Self::get_slice).
    pub fn to_vec(&self) -> M::Output<GetSlice<T, Vec<T>, M>> {
        self.get_slice(..)
    }

    /// A plain copy, for example a `VecDeque<T>`: Python's `l.copy()`, which is no proxy either. It is of one moment:
    /// see [`get_slice`](Self::get_slice).
    pub fn copy<C: FromIterator<T>>(&self) -> M::Output<GetSlice<T, C, M>> {
        self.read(slice(&(..), 1), C::from_iter)
    }

    fn read<C>(&self, slice: ListSlice, collect: fn(Vec<T>) -> C) -> M::Output<GetSlice<T, C, M>> {
        let part = Part::Slice(slice);
        self.remote.run(GetSlice { remote: self.remote.clone(), slice, part, attempts: 1, read: Vec::new(), collect })
    }
}

fn datum<T: Serialize + ?Sized>(value: &T) -> Result<Option<Datum>> {
    Ok(Some(to_datum(value)?))
}

fn data<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<Vec<Datum>> {
    values.into_iter().map(|value| Ok(to_datum(&value)?)).collect()
}

/// A manager that does not send what it must sends nothing, which is of no type.
fn some<T: DeserializeOwned>(value: Option<Datum>) -> Result<T> {
    Ok(from_datum(value.unwrap_or_default())?)
}

/// A range as a slice. A range can leave out its start and include its end, where a slice does the opposite: the
/// neighbour takes its place, and what is beyond an end must not be taken for an index that counts from the other.
fn slice(range: &impl RangeBounds<i64>, step: i64) -> ListSlice {
    let (forward, last) = if step < 0 { (-1, 0) } else { (1, -1) };
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(start) if *start == last => Some(if step < 0 { i64::MIN } else { i64::MAX }),
        Bound::Excluded(start) => Some(start.saturating_add(forward)),
        Bound::Unbounded => None,
    };
    let stop = match range.end_bound() {
        Bound::Included(stop) if *stop == last => None,
        Bound::Included(stop) => Some(stop.saturating_add(forward)),
        Bound::Excluded(stop) => Some(*stop),
        Bound::Unbounded => None,
    };
    ListSlice { start, stop, step: (step != 1).then_some(step) }
}

/// The appending of many values.
pub type Extend<M> = Chunked<Datum, ListExtendRequest, (), M>;

/// The reading of a slice.
pub struct GetSlice<T, C, M: Mode> {
    remote: Remote<M>,
    slice: ListSlice,
    part: Part,
    attempts: u32,
    read: Vec<T>,
    collect: fn(Vec<T>) -> C,
}

impl<T, C, M: Mode> Unpin for GetSlice<T, C, M> {}

impl<T, C, M: Mode> fmt::Debug for GetSlice<T, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetSlice").field("part", &self.part).field("read", &self.read.len()).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned, C, M: Mode> Exchange for GetSlice<T, C, M> {
    type Value = C;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.remote.ask(asking, &ListGetSliceRequest { part: Some(self.part), bytes: 0 })
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<C>> {
        let (response, _) = self.remote.decode::<ListGetSliceResponse>(heard)?;
        // A page without elements that is not the last would be asked for ever.
        if response.changed || response.values.is_empty() && response.cursor.is_some() {
            return self.begin_again();
        }
        self.read.reserve(response.values.len());
        for value in response.values {
            self.read.push(from_datum(value)?);
        }
        if let Some(cursor) = response.cursor {
            self.part = Part::Cursor(cursor);
            return Ok(Step::Again);
        }
        Ok(Step::Done((self.collect)(mem::take(&mut self.read))))
    }
}

impl<T, C, M: Mode> GetSlice<T, C, M> {
    fn begin_again(&mut self) -> Result<Step<C>> {
        if self.attempts == ATTEMPTS {
            return Err(Error::Changing { attempts: ATTEMPTS });
        }
        self.attempts += 1;
        self.read.clear();
        self.part = Part::Slice(self.slice);
        Ok(Step::Again)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_proto::ListCursor;

    use prost::Message;

    use super::*;
    use crate::error::Error;
    use crate::session::renewal::{Attempt, Renewable, Renewal};
    use crate::session::{Body, PeerInfo, Reply, SessionLike};

    /// Exchanges that a test runs itself, with answers that it makes up.
    #[derive(Clone, Copy, Debug)]
    struct ByHand;

    #[derive(Clone)]
    struct Nobody;

    impl Mode for ByHand {
        type Session = Nobody;
        type Output<E: Exchange> = E;
        type Renewing<E: Renewable<Self>> = E;
        type Attempt = Nobody;
        type Place = ();

        const IS_ASYNC: bool = false;

        fn actor() -> u64 {
            0
        }

        fn place() {}

        fn block<E: Exchange>(
            (): &(),
            _: &Arc<Nobody>,
            _: Option<std::time::Duration>,
            _: E,
        ) -> crate::error::Result<E::Value> {
            unreachable!("a list does not work")
        }

        fn detach<E: Exchange<Value = ()> + Send + 'static>(
            _: &Arc<Nobody>,
            _: E,
            _: impl FnOnce(Error) + Send + 'static,
        ) {
        }

        fn run<E: Exchange>(_: &Arc<Nobody>, _: Option<std::time::Duration>, exchange: E) -> E {
            exchange
        }

        fn run_renewing<E: Renewable<Self>>(
            _: &Arc<Renewal<Self>>,
            _: Arc<Nobody>,
            _: Option<std::time::Duration>,
            made: E,
        ) -> E {
            made
        }
    }

    impl Attempt for Nobody {
        fn is_given_up(&self) -> bool {
            true
        }
    }

    impl SessionLike for Nobody {
        fn close_handle(&self, _: u32) {}

        fn cast<R: holdfast_proto::ops::Request>(&self, _: u32, _: &R) {}

        fn peer(&self) -> PeerInfo {
            unreachable!("a list does not ask who is there")
        }

        fn ending(&self) -> Option<Error> {
            None
        }

        fn is_elsewhere(&self) -> bool {
            false
        }

        fn followed_by(&self, _: [u8; 16]) {}
    }

    fn reading() -> GetSlice<i64, Vec<i64>, ByHand> {
        List::<i64, ByHand>::of(Remote::manager(Arc::new(Nobody), None, None)).get_slice(1..)
    }

    /// Gives an answer to the reader. `None` if it asks again.
    fn hear(reading: &mut GetSlice<i64, Vec<i64>, ByHand>, answer: &ListGetSliceResponse) -> Option<Result<Vec<i64>>> {
        let buffer = bytes::Bytes::from(answer.encode_to_vec());
        let reply =
            Reply { index: 1, body: Body::keep(&buffer, &buffer), delivered: Box::default(), acknowledge: false };
        match reading.hear(Heard(reply)) {
            Ok(Step::Again) => None,
            Ok(Step::Done(read)) => Some(Ok(read)),
            Err(error) => Some(Err(error)),
        }
    }

    fn page(values: &[i64], cursor: Option<ListCursor>) -> ListGetSliceResponse {
        let values = values.iter().copied().map(Datum::Integer).collect();
        ListGetSliceResponse { values, cursor, changed: false }
    }

    const MORE: ListCursor = ListCursor { edition: 1, ordinal: 2, count: 3, step: 1 };

    #[test]
    fn a_changed_list_is_read_again_from_the_start_of_the_slice() {
        let changed = ListGetSliceResponse { changed: true, ..Default::default() };
        let mut reading = reading();
        let start = reading.part;
        assert!(hear(&mut reading, &page(&[1, 2], Some(MORE))).is_none());
        assert_eq!(reading.part, Part::Cursor(MORE));
        assert!(hear(&mut reading, &changed).is_none());
        assert_eq!(reading.part, start);
        assert!(hear(&mut reading, &page(&[3], Some(MORE))).is_none());
        assert_eq!(hear(&mut reading, &page(&[4], None)).unwrap().unwrap(), [3, 4]);
    }

    #[test]
    fn a_list_that_changes_all_the_time_is_given_up() {
        let changed = ListGetSliceResponse { changed: true, ..Default::default() };
        // A page of nothing that is not the last one is no progress either.
        for answer in [changed, page(&[], Some(MORE))] {
            let mut reading = reading();
            for _ in 1..ATTEMPTS {
                assert!(hear(&mut reading, &page(&[1], Some(MORE))).is_none());
                assert!(hear(&mut reading, &answer).is_none());
            }
            let given_up = hear(&mut reading, &answer).unwrap();
            assert!(matches!(&given_up, Err(Error::Changing { attempts: ATTEMPTS })), "{given_up:?}");
        }
    }

    #[test]
    fn ranges_are_slices() {
        let bounds = |range: (Bound<i64>, Bound<i64>), step| {
            let ListSlice { start, stop, .. } = slice(&range, step);
            (start, stop)
        };
        let (at, after) = (Bound::Included, Bound::Excluded);
        let open = Bound::Unbounded;
        for (range, step, expected) in [
            ((open, open), 1, (None, None)),
            ((at(1), after(-1)), 1, (Some(1), Some(-1))),
            ((at(1), at(3)), 1, (Some(1), Some(4))),
            ((at(1), at(-2)), 1, (Some(1), Some(-1))),
            ((at(1), at(-1)), 1, (Some(1), None)),
            ((at(1), at(i64::MAX)), 1, (Some(1), Some(i64::MAX))),
            ((after(0), open), 1, (Some(1), None)),
            ((after(-1), open), 1, (Some(i64::MAX), None)),
            ((at(5), after(2)), -1, (Some(5), Some(2))),
            ((at(5), at(2)), -2, (Some(5), Some(1))),
            ((at(5), at(0)), -1, (Some(5), None)),
            ((at(-1), at(i64::MIN)), -1, (Some(-1), Some(i64::MIN))),
            ((after(5), open), -1, (Some(4), None)),
            ((after(0), open), -1, (Some(i64::MIN), None)),
        ] {
            assert_eq!(bounds(range, step), expected, "{range:?} by {step}");
        }
        assert_eq!((slice(&(..), 1).step, slice(&(..), -2).step, slice(&(..), 0).step), (None, Some(-2), Some(0)));
    }
}
