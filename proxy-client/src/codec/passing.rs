//! How references get past serde, which knows nothing of them.
//!
//! A proxy writes itself as a newtype struct of the name [`NAME`]; this codec knows the name, and takes the reference from
//! where the proxy put it meanwhile. It reads a reference as a newtype struct around bytes that say where the reference
//! was put. So a reference passes through whatever serde type is around it, and other formats refuse it.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use holdfast_proto::datum::Reference;
use serde::Deserializer;
use serde::de::Visitor;
use serde::ser::{Error as _, Serialize, Serializer};

use super::CodecError;

/// The name of the newtype struct that stands for a reference.
pub(super) const NAME: &str = "$holdfast::Reference";

/// What begins the bytes that stand for a reference that was read: no UTF-8, so that nobody takes it for a text.
const MARK: &[u8] = b"\xff$holdfast::Reference ";

thread_local! {
    /// The reference that is being written.
    static WRITTEN: RefCell<Option<Reference>> = const { RefCell::new(None) };
    /// References that were read and not taken yet. Serde may keep their bytes for a while before it makes a proxy of them
    /// (untagged enums), but not beyond the reading of one datum.
    static READ: RefCell<Vec<Option<Reference>>> = const { RefCell::new(Vec::new()) };
}

/// Writes a reference.
pub(crate) fn serialize<S: Serializer>(reference: Reference, serializer: S) -> Result<S::Ok, S::Error> {
    WRITTEN.set(Some(reference));
    let result = serializer.serialize_newtype_struct(NAME, &Elsewhere);
    WRITTEN.set(None);
    result
}

/// The reference that is being written.
pub(super) fn written() -> Option<Reference> {
    WRITTEN.take()
}

/// What other formats find in a reference.
struct Elsewhere;

impl Serialize for Elsewhere {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("a proxy can only be stored in an object of its manager: elsewhere, use a token of it"))
    }
}

/// Reads a reference that `make` can make something of; `expected` is what that is.
pub(crate) fn deserialize<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    make: impl FnOnce(Reference) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_newtype_struct(NAME, Taking { expected, make, _made: PhantomData })
}

struct Taking<T, F> {
    expected: &'static str,
    make: F,
    _made: PhantomData<T>,
}

impl<'de, T, F: FnOnce(Reference) -> Result<T, String>> Visitor<'de> for Taking<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a reference to a {}", self.expected)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        let place = bytes.strip_prefix(MARK).and_then(|place| Some(usize::from_ne_bytes(place.try_into().ok()?)));
        let reference = place.and_then(|place| READ.with_borrow_mut(|read| read.get_mut(place)?.take()));
        let reference = reference.ok_or_else(|| E::invalid_type(serde::de::Unexpected::Bytes(bytes), &self))?;
        (self.make)(reference).map_err(E::custom)
    }
}

/// A reference, as a newtype struct has it in it.
pub(super) struct Lent(Reference);

impl Lent {
    pub(super) fn new(reference: Reference) -> Self {
        Self(reference)
    }
}

impl<'de> Deserializer<'de> for Lent {
    type Error = CodecError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        let place = READ.with_borrow_mut(|read| {
            read.push(Some(self.0));
            read.len() - 1
        });
        visitor.visit_bytes(&[MARK, &place.to_ne_bytes()].concat())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_unit()
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        Err(CodecError::mismatch(&(&visitor as &dyn serde::de::Expected), "a reference to an object"))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CodecError> {
        // A newtype struct around a proxy, which is one itself.
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq tuple tuple_struct map
        struct enum identifier
    }
}

/// Lets go of what was read and not taken.
#[inline]
pub(super) fn clear() {
    READ.with_borrow_mut(|read| {
        if !read.is_empty() {
            clear_read(read);
        }
    });
}

#[cold]
fn clear_read(read: &mut Vec<Option<Reference>>) {
    read.clear();
}
