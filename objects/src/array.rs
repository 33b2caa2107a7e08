//! A shared array of typed elements: kind `array`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use holdfast_proto::array::{Op, Reply, Spec};
use holdfast_proto::datum::Reference;
use holdfast_proto::{
    ArrayAddRequest, ArrayAddResponse, ArrayCompareAndSetRequest, ArrayCompareAndSetResponse, ArrayDescribeResponse,
    ArrayElements, ArrayFillRequest, ArrayFillResponse, ArrayGetRequest, ArrayGetResponse, ArrayGetSliceRequest,
    ArrayGetSliceResponse, ArraySetRequest, ArraySetResponse, ArraySetSliceRequest, ArraySetSliceResponse, ArraySlice,
    Datum, ListSlice, Reason, Refusal, array_spec,
};

use self::element::{Element, Misfit, Scalar};
use crate::page::Page;
use crate::slice::Slice;
use crate::{Answer, Creation, Object, Room, Turn};

mod element;

/// Python's array: its elements are of one type and stored as such, and its length never changes.
///
/// - It costs what its elements take: their number times the size of their type.
/// - No op blocks, and no session holds anything of it.
pub struct Array {
    typecode: &'static str,
    stored: Elements,
}

/// All there is to know about an [`Array`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// What its elements are.
    #[prost(string, tag = "1")]
    pub typecode: String,
    /// In order.
    #[prost(message, required, tag = "2")]
    pub elements: ArrayElements,
}

/// The elements, as they are stored.
enum Elements {
    I8(Box<[i8]>),
    U8(Box<[u8]>),
    I16(Box<[i16]>),
    U16(Box<[u16]>),
    I32(Box<[i32]>),
    U32(Box<[u32]>),
    I64(Box<[i64]>),
    U64(Box<[u64]>),
    F32(Box<[f32]>),
    F64(Box<[f64]>),
    Char(Box<[char]>),
}

/// Does the same whatever the elements are.
macro_rules! each {
    ($stored:expr, $each:ident => $done:expr) => {
        match $stored {
            Elements::I8($each) => $done,
            Elements::U8($each) => $done,
            Elements::I16($each) => $done,
            Elements::U16($each) => $done,
            Elements::I32($each) => $done,
            Elements::U32($each) => $done,
            Elements::I64($each) => $done,
            Elements::U64($each) => $done,
            Elements::F32($each) => $done,
            Elements::F64($each) => $done,
            Elements::Char($each) => $done,
        }
    };
}

/// Every typecode, and how elements of it are made.
const TYPECODES: [(&str, Make); 14] = [
    ("b", |contents, room| contents.make(room).map(Elements::I8)),
    ("B", |contents, room| contents.make(room).map(Elements::U8)),
    ("u", |contents, room| contents.make(room).map(Elements::Char)),
    ("w", |contents, room| contents.make(room).map(Elements::Char)),
    ("h", |contents, room| contents.make(room).map(Elements::I16)),
    ("H", |contents, room| contents.make(room).map(Elements::U16)),
    ("i", |contents, room| contents.make(room).map(Elements::I32)),
    ("I", |contents, room| contents.make(room).map(Elements::U32)),
    ("l", |contents, room| contents.make(room).map(Elements::I64)),
    ("L", |contents, room| contents.make(room).map(Elements::U64)),
    ("q", |contents, room| contents.make(room).map(Elements::I64)),
    ("Q", |contents, room| contents.make(room).map(Elements::U64)),
    ("f", |contents, room| contents.make(room).map(Elements::F32)),
    ("d", |contents, room| contents.make(room).map(Elements::F64)),
];

/// Makes elements, if they are of the right type and there is room for them.
type Make = fn(&Contents, &mut Room) -> Result<Elements, Flaw>;

/// The elements with which an array begins.
enum Contents {
    Zeros(u64),
    These(ArrayElements),
}

/// Why elements are not taken: the refusal, or what is wrong with one of them.
enum Flaw {
    Refused(Refusal),
    Misfit { misfit: Misfit, value: Datum, holds: &'static str },
}

impl From<Refusal> for Flaw {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Object for Array {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        let contents = match spec.contents {
            Some(array_spec::Contents::Length(length)) => Contents::Zeros(length),
            Some(array_spec::Contents::Initial(elements)) => Contents::These(elements),
            None => return Err(no_contents()),
        };
        Self::new(&spec.typecode, &contents, &mut creation.room)
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        Self::new(&state.typecode, &Contents::These(state.elements), &mut creation.room)
    }

    fn state(&self) -> State {
        let elements = each!(&self.stored, stored => Element::message(stored.iter().copied()));
        State { typecode: self.typecode.to_string(), elements }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Describe(_) => Ok(Reply::Describe(self.describe())),
            Op::Get(request) => self.get(&request).map(Reply::Get),
            Op::Set(request) => self.set(request).map(Reply::Set),
            Op::GetSlice(request) => self.get_slice(&request, turn).map(Reply::GetSlice),
            Op::SetSlice(request) => self.set_slice(&request).map(Reply::SetSlice),
            Op::Fill(request) => self.fill(request).map(Reply::Fill),
            Op::Add(request) => self.add(request).map(Reply::Add),
            Op::CompareAndSet(request) => self.compare_and_set(request).map(Reply::CompareAndSet),
        }
        .into()
    }

    /// Never: no array is made with the default spec, which names no typecode.
    fn is_vacant(&self) -> bool {
        false
    }

    fn bytes(&self) -> u64 {
        each!(&self.stored, stored => size_of_val::<[_]>(stored) as u64)
    }

    fn elements(&self) -> Option<u64> {
        Some(each!(&self.stored, stored => stored.len() as u64))
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        // Elements are numbers and characters.
        let _ = visit;
    }
}

impl Array {
    fn new(typecode: &str, contents: &Contents, room: &mut Room) -> Result<Self, Refusal> {
        let known = TYPECODES.iter().find(|(known, _)| *known == typecode);
        let (typecode, make) = *known.ok_or_else(|| unknown_typecode(typecode))?;
        let stored = make(contents, room).map_err(|flaw| refusal(typecode, flaw))?;
        Ok(Self { typecode, stored })
    }

    fn len(&self) -> usize {
        each!(&self.stored, stored => stored.len())
    }

    fn describe(&self) -> ArrayDescribeResponse {
        ArrayDescribeResponse { typecode: self.typecode.to_string(), len: self.len() as u64 }
    }

    fn get(&self, request: &ArrayGetRequest) -> Result<ArrayGetResponse, Refusal> {
        let at = self.position(request.index)?;
        Ok(ArrayGetResponse { value: Some(each!(&self.stored, stored => stored[at].value().datum())) })
    }

    fn set(&mut self, request: ArraySetRequest) -> Result<ArraySetResponse, Refusal> {
        let value = present("value", request.value)?;
        let at = self.position(request.index)?;
        let flawed = |flaw| refusal(self.typecode, flaw);
        each!(&mut self.stored, stored => stored[at] = element(&value).map_err(flawed)?);
        Ok(ArraySetResponse {})
    }

    /// The slice that a request names; all elements if it names none. Refused: `MALFORMED` for a step of 0.
    fn slice(&self, asked: Option<ArraySlice>) -> Result<Slice, Refusal> {
        let ArraySlice { start, stop, step } = asked.unwrap_or_default();
        Slice::new(ListSlice { start, stop, step }, self.len())
    }

    fn get_slice(&self, request: &ArrayGetSliceRequest, turn: &Turn) -> Result<ArrayGetSliceResponse, Refusal> {
        let slice = self.slice(request.slice)?;
        let count = slice.count as u64;
        let left = count.checked_sub(request.skip).ok_or_else(|| left_out(request.skip, count))?;
        let page = Page::new(request.bytes, turn.page_bytes);
        let (count, elements) = each!(&self.stored, stored => {
            let count = left.min(page.items(wire_bytes(stored)));
            let positions = slice.indexes_of(request.skip as usize..(request.skip + count) as usize);
            (count, Element::message(positions.map(|at| stored[at])))
        });
        Ok(ArrayGetSliceResponse { elements: Some(elements), left: left - count })
    }

    fn set_slice(&mut self, request: &ArraySetSliceRequest) -> Result<ArraySetSliceResponse, Refusal> {
        let slice = self.slice(request.slice)?;
        let elements = request.elements.as_ref().ok_or_else(|| Refusal::missing("elements"))?;
        let flawed = |flaw| refusal(self.typecode, flaw);
        each!(&mut self.stored, stored => {
            let new = convert(elements).map_err(flawed)?;
            let end = request.skip.checked_add(new.len() as u64);
            if end.and_then(|end| end.checked_add(request.left)) != Some(slice.count as u64) {
                return Err(wrong_length(request, new.len(), slice.count));
            }
            for (at, value) in slice.indexes_of(request.skip as usize..slice.count).zip(new) {
                stored[at] = value;
            }
        });
        Ok(ArraySetSliceResponse {})
    }

    fn fill(&mut self, request: ArrayFillRequest) -> Result<ArrayFillResponse, Refusal> {
        let value = present("value", request.value)?;
        let flawed = |flaw| refusal(self.typecode, flaw);
        each!(&mut self.stored, stored => stored.fill(element(&value).map_err(flawed)?));
        Ok(ArrayFillResponse {})
    }

    fn add(&mut self, request: ArrayAddRequest) -> Result<ArrayAddResponse, Refusal> {
        let delta = present("delta", request.delta)?;
        let at = self.position(request.index)?;
        let typecode = self.typecode;
        let value = each!(&mut self.stored, stored => {
            let sum = Scalar::of(&delta).and_then(|delta| stored[at].plus(delta));
            let sum = sum.map_err(|misfit| no_sum(typecode, &stored[at].value().datum(), &delta, misfit))?;
            stored[at] = sum;
            sum.value().datum()
        });
        Ok(ArrayAddResponse { value: Some(value) })
    }

    fn compare_and_set(&mut self, request: ArrayCompareAndSetRequest) -> Result<ArrayCompareAndSetResponse, Refusal> {
        let expected = present("expected", request.expected)?;
        let new = present("new", request.new)?;
        let at = self.position(request.index)?;
        let swap = each!(&mut self.stored, stored => swap(&mut stored[at], &expected, &new));
        let (swapped, value) = swap.map_err(|flaw| refusal(self.typecode, flaw))?;
        Ok(ArrayCompareAndSetResponse { swapped, value: Some(value) })
    }

    /// Where the element with an index is.
    fn position(&self, index: i64) -> Result<usize, Refusal> {
        let len = self.len();
        let position = if index < 0 { i128::from(index) + len as i128 } else { i128::from(index) };
        usize::try_from(position).ok().filter(|at| *at < len).ok_or_else(|| no_element(index, len))
    }
}

impl Contents {
    /// Asks for the room first, and only then for memory.
    fn make<T: Element>(&self, room: &mut Room) -> Result<Box<[T]>, Flaw> {
        match self {
            Self::Zeros(length) => {
                room.grow(length.saturating_mul(size_of::<T>() as u64))?;
                zeros(*length).ok_or_else(|| no_memory(*length).into())
            }
            Self::These(elements) => {
                let stored = convert(elements)?;
                room.grow((stored.len() as u64).saturating_mul(size_of::<T>() as u64))?;
                Ok(stored.into())
            }
        }
    }
}

/// So many zeros, if there is memory for them.
fn zeros<T: Element>(length: u64) -> Option<Box<[T]>> {
    let length = usize::try_from(length).ok()?;
    // Only asked for and given back: `vec!` gets zeros from the system without writing them, but ends the process where
    // there is no memory.
    Vec::<T>::new().try_reserve_exact(length).ok()?;
    Some(alloc::vec![T::default(); length].into())
}

/// The data in the request's field `field`.
fn present(field: &str, value: Option<Datum>) -> Result<Datum, Refusal> {
    match value {
        None | Some(Datum::Unset) => Err(Refusal::missing(field)),
        Some(value) => Ok(value),
    }
}

/// The element with a value.
fn element<T: Element>(value: &Datum) -> Result<T, Flaw> {
    let cell = Scalar::of(value).and_then(T::new);
    cell.map_err(|misfit| Flaw::Misfit { misfit, value: value.clone(), holds: T::HOLDS })
}

/// Replaces an element if it is what is expected, and says whether it was, and what it is now.
fn swap<T: Element>(stored: &mut T, expected: &Datum, new: &Datum) -> Result<(bool, Datum), Flaw> {
    let (expected, new) = (element::<T>(expected)?, element(new)?);
    let swapped = *stored == expected;
    if swapped {
        *stored = new;
    }
    Ok((swapped, stored.value().datum()))
}

/// The elements of a message.
fn convert<T: Element>(elements: &ArrayElements) -> Result<Vec<T>, Flaw> {
    let misfit = |misfit, value: Scalar| Flaw::Misfit { misfit, value: value.datum(), holds: T::HOLDS };
    let values = Scalar::all(elements).ok_or_else(several_types)?;
    values.map(|value| T::new(value).map_err(|why| misfit(why, value))).collect()
}

fn wire_bytes<T: Element>(_: &[T]) -> usize {
    T::WIRE_BYTES
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("typecode", &self.typecode).field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cold]
fn refusal(typecode: &str, flaw: Flaw) -> Refusal {
    match flaw {
        Flaw::Refused(refusal) => refusal,
        Flaw::Misfit { misfit: Misfit::Type, value, holds } => Refusal::new(
            Reason::WrongType,
            format!("{} is no element: an array with the typecode {typecode} holds {holds}", described(&value)),
        ),
        Flaw::Misfit { misfit: Misfit::Range, value, holds } => Refusal::new(
            Reason::Overflow,
            format!("{} does not fit: an array with the typecode {typecode} holds {holds}", value.brief()),
        ),
    }
}

fn described(value: &Datum) -> String {
    format!("{} ({})", value.brief(), value.type_name())
}

#[cold]
fn no_sum(typecode: &str, element: &Datum, delta: &Datum, misfit: Misfit) -> Refusal {
    match misfit {
        Misfit::Range => {
            let message = format!(
                "{} + {}: the sum does not fit an array with the typecode {typecode}, the element stays",
                element.brief(),
                delta.brief()
            );
            Refusal::new(Reason::Overflow, message)
        }
        Misfit::Type => {
            let message = format!(
                "{} cannot be added to an element of an array with the typecode {typecode}: add integers to integers, and \
                 integers or floats to floats",
                described(delta)
            );
            Refusal::new(Reason::WrongType, message)
        }
    }
}

#[cold]
fn no_element(index: i64, len: usize) -> Refusal {
    let message = match len {
        0 => format!("the index {index} is outside the array, which has no elements"),
        _ => format!("the index {index} is outside the array: use one from -{len} to {}", len - 1),
    };
    Refusal::new(Reason::IndexOutOfRange, message)
}

#[cold]
fn left_out(skip: u64, len: u64) -> Refusal {
    let message = format!("{skip} elements are to be left out of a slice that has {len}: leave out fewer");
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn wrong_length(request: &ArraySetSliceRequest, given: usize, len: usize) -> Refusal {
    let message = format!(
        "the slice has {len} elements and {given} are given, after {} and before {}: give as many, since an array keeps \
         its length",
        request.skip, request.left
    );
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn several_types() -> Refusal {
    let message = "the elements are of several types: set one of the fields \"integers\", \"naturals\", \"floats\" and \
                   \"characters\"";
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn no_contents() -> Refusal {
    let message = "the spec says nothing of the elements: set its field \"length\" or \"initial\"";
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn unknown_typecode(typecode: &str) -> Refusal {
    let message = format!(
        "there is no typecode {}: use one of b B h H i I l L q Q for integers, f d for floats, u w for characters",
        Datum::from(typecode).brief()
    );
    Refusal::new(Reason::Malformed, message)
}

#[cold]
fn no_memory(length: u64) -> Refusal {
    let message = format!("the manager's machine has no memory for {length} elements: make the array smaller");
    Refusal::new(Reason::Quota, message)
}

#[cfg(test)]
mod tests;
