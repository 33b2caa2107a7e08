//! A shared array.

use std::marker::PhantomData;

use bytes::Bytes;
use holdfast_proto::{
    ArrayAddRequest, ArrayCompareAndSetRequest, ArrayDescribeRequest, ArrayDescribeResponse, ArrayFillRequest,
    ArrayGetRequest, ArrayGetSliceRequest, ArrayGetSliceResponse, ArraySetRequest, ArraySetSliceRequest,
    ArraySetSliceResponse, ArraySlice, ArraySpec, Reason, Refusal, array_spec,
};
use prost::Message;

use super::dict::{datum, some};
use super::reference::proxy;
use super::remote::{Holds, Paged, Remote};
use super::{Exchange, Mode, Output};
use crate::error::Result;
use crate::session::{Asking, Heard, Step};

mod element;
mod slice;

pub use element::{Element, Number};
pub use slice::Slice;

/// How many elements a bulk write sends at once, so that no call keeps others from the object for long.
const CHUNK: usize = 32 << 10;

/// A shared array of elements of one type, whose length is fixed: Python's manager Array, with the updates that it lacks.
///
/// Clones are proxies to the same array. Each method is one call, applied atomically, unless it says otherwise; see the
/// [crate] for what holds for every call. A negative index counts from the end.
pub struct Array<T, M: Mode> {
    remote: Remote<M>,
    _elements: Holds<T>,
}

proxy!(Array<T> in array);

/// What came of a compare-and-set of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementSwap<T> {
    /// Whether the element was what was expected, so that it was replaced.
    pub swapped: bool,
    /// What the element is now.
    pub value: T,
}

impl<T, M: Mode> Array<T, M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote, _elements: PhantomData }
    }

    /// How many elements there are. That never changes.
    pub fn len(&self) -> Output<M, ArrayDescribeRequest, u64> {
        self.remote.once(Ok(ArrayDescribeRequest {}), |response, _| Ok(response.len))
    }

    /// Whether there are none. That never changes.
    pub fn is_empty(&self) -> Output<M, ArrayDescribeRequest, bool> {
        self.remote.once(Ok(ArrayDescribeRequest {}), |response, _| Ok(response.len == 0))
    }

    /// What the elements are: one of Python's typecodes, which stand in the documentation of the protocol.
    pub fn typecode(&self) -> Output<M, ArrayDescribeRequest, String> {
        self.remote.once(Ok(ArrayDescribeRequest {}), |response, _| Ok(response.typecode))
    }
}

impl<T: Element, M: Mode> Array<T, M> {
    /// One element: Python's `a[index]`.
    ///
    /// Refused with [`Reason::IndexOutOfRange`] if there is none.
    pub fn get(&self, index: i64) -> Output<M, ArrayGetRequest, T> {
        self.remote.once(Ok(ArrayGetRequest { index }), |response, _| some(response.value))
    }

    /// Replaces one element: Python's `a[index] = value`.
    ///
    /// Refused with [`Reason::IndexOutOfRange`] if there is none.
    pub fn set(&self, index: i64, value: T) -> Output<M, ArraySetRequest, ()> {
        self.remote.once(datum(&value).map(|value| ArraySetRequest { index, value }), |_, _| Ok(()))
    }

    /// Some elements: Python's `a[start:stop:step]`.
    ///
    /// What does not fit one answer of 256 KiB is asked for in several, each of them of one moment.
    pub fn get_slice(&self, slice: impl Into<Slice>) -> M::Output<Paged<ArrayGetSliceRequest, T, Vec<T>, M>> {
        let request = ArrayGetSliceRequest { slice: Some(slice.into().wire()), skip: 0, bytes: 0 };
        let take = |request: &mut ArrayGetSliceRequest, page: ArrayGetSliceResponse, read: &mut Vec<T>| {
            let elements = T::elements(page.elements.unwrap_or_default()).ok_or_else(|| unfit::<T>("others"))?;
            request.skip += elements.len() as u64;
            // A page of nothing before many others would be asked for for ever.
            let goes_on = page.left > 0 && !elements.is_empty();
            read.extend(elements);
            Ok(goes_on)
        };
        self.remote.paged(Ok(request), take, Ok)
    }

    /// All elements. Read as [`get_slice`](Self::get_slice) does.
    pub fn copy(&self) -> M::Output<Paged<ArrayGetSliceRequest, T, Vec<T>, M>> {
        self.get_slice(..)
    }

    /// Replaces some elements: Python's `a[start:stop:step] = values`.
    ///
    /// Up to 32,768 elements are one call, applied as a whole or not at all; more are sent in several calls, each of them so.
    /// Refused with [`Reason::Malformed`], before anything is changed, if there are not as many values as the slice has
    /// elements.
    pub fn set_slice(&self, slice: impl Into<Slice>, values: &[T]) -> M::Output<SetSlice<T, M>> {
        let values = values.to_vec();
        self.remote.run(SetSlice { remote: self.remote.clone(), slice: slice.into().wire(), values, sent: 0 })
    }

    /// Replaces every element by one value.
    pub fn fill(&self, value: T) -> Output<M, ArrayFillRequest, ()> {
        self.remote.once(datum(&value).map(|value| ArrayFillRequest { value }), |_, _| Ok(()))
    }

    /// Replaces an element if it is what is expected. Says whether it was, and what it is now. NaN is never what is expected.
    ///
    /// Refused with [`Reason::IndexOutOfRange`] if there is no such element.
    pub fn compare_and_set(
        &self,
        index: i64,
        expected: T,
        new: T,
    ) -> Output<M, ArrayCompareAndSetRequest, ElementSwap<T>> {
        let request = || Ok(ArrayCompareAndSetRequest { index, expected: datum(&expected)?, new: datum(&new)? });
        self.remote
            .once(request(), |response, _| Ok(ElementSwap { swapped: response.swapped, value: some(response.value)? }))
    }
}

impl<T: Number, M: Mode> Array<T, M> {
    /// Adds to an element and returns the sum.
    ///
    /// Refused with [`Reason::IndexOutOfRange`] if there is no such element, and with [`Reason::Overflow`] if the sum does not
    /// fit, or is not finite.
    pub fn add(&self, index: i64, delta: T::Delta) -> Output<M, ArrayAddRequest, T> {
        self.remote
            .once(datum(&delta).map(|delta| ArrayAddRequest { index, delta }), |response, _| some(response.value))
    }
}

/// The spec of an array of zeros.
pub(super) fn spec_of_length<T: Element>(length: u64) -> Bytes {
    spec::<T>(array_spec::Contents::Length(length))
}

/// The spec of an array that begins with these elements.
pub(super) fn spec_of_elements<T: Element>(initial: &[T]) -> Bytes {
    spec::<T>(array_spec::Contents::Initial(T::message(initial)))
}

fn spec<T: Element>(contents: array_spec::Contents) -> Bytes {
    ArraySpec { typecode: T::TYPECODES[0].to_owned(), contents: Some(contents) }.encode_to_vec().into()
}

/// Asks what an array that was opened is like.
pub(super) fn ask_typecode<M: Mode>(array: &Remote<M>, asking: Asking<'_>) -> Result<()> {
    array.ask(asking, &ArrayDescribeRequest {})
}

/// Checks that its elements are of the type that they are to be read as. Refused: `WRONG_TYPE`.
pub(super) fn check_typecode<T: Element, M: Mode>(array: &Remote<M>, heard: Heard) -> Result<()> {
    let (ArrayDescribeResponse { typecode, .. }, _) = array.decode(heard)?;
    if T::TYPECODES.contains(&&*typecode) { Ok(()) } else { Err(unfit::<T>(&typecode).into()) }
}

#[cold]
fn unfit<T: Element>(typecode: &str) -> Refusal {
    let message = format!(
        "the array has elements of the typecode {typecode}, and those of the type {} have {}: open it with the type that \
         it was made with",
        T::NAME,
        T::TYPECODES.join(" or ")
    );
    Refusal::new(Reason::WrongType, message)
}

/// The writing of many elements.
#[derive(Debug)]
pub struct SetSlice<T, M: Mode> {
    remote: Remote<M>,
    slice: ArraySlice,
    values: Vec<T>,
    sent: usize,
}

impl<T, M: Mode> Unpin for SetSlice<T, M> {}

impl<T: Element, M: Mode> Exchange for SetSlice<T, M> {
    type Value = ();

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let rest = &self.values[self.sent..];
        let chunk = &rest[..rest.len().min(CHUNK)];
        let request = ArraySetSliceRequest {
            slice: Some(self.slice),
            elements: Some(T::message(chunk).into()),
            skip: self.sent as u64,
            left: (rest.len() - chunk.len()) as u64,
        };
        self.sent += chunk.len();
        self.remote.ask(asking, &request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<()>> {
        let (ArraySetSliceResponse {}, _) = self.remote.decode(heard)?;
        Ok(if self.sent == self.values.len() { Step::Done(()) } else { Step::Again })
    }
}
