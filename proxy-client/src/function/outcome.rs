//! What came of a call, as data, and back.
//!
//! A function that fails returns an `Err`, as serde writes it; on the wire that is an outcome of its own, which other
//! languages know as an exception. So serde is asked whether what it writes, or is to read, is a `Result`: nothing else tells,
//! as a generic function cannot ask what a type is.

use std::fmt;

use holdfast_proto::{Datum, PoolOutcome, PoolRaised};
use prost::Message;
use serde::de::{DeserializeOwned, Visitor};
use serde::ser::{Impossible, Serialize, Serializer};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::codec::{CodecError, from_datum, to_datum};
use crate::error::{Error, Raised, Result};

/// As serde calls it.
const RESULT: &str = "Result";

/// What came of one call: a fifth of the size of a [`PoolOutcome`], of which there may be very many.
#[doc(hidden)]
#[derive(Debug)]
pub enum Came {
    Returned(Datum),
    Raised(Box<PoolRaised>),
}

impl From<Came> for PoolOutcome {
    fn from(came: Came) -> Self {
        match came {
            Came::Returned(datum) => Self { returned: Some(datum), ..Self::default() },
            Came::Raised(raised) => Self { raised: Some(*raised), ..Self::default() },
        }
    }
}

/// What came of a call that returned this.
#[inline]
pub(crate) fn returned<T: Serialize>(value: &T) -> Result<Came, CodecError> {
    match value.serialize(AskWriter) {
        Ok(Written::Ok(datum)) => Ok(Came::Returned(datum)),
        Ok(Written::Err(datum)) => Ok(Came::Raised(Box::new(raised(datum)))),
        Err(NoResult(Some(error))) => Err(error),
        Err(NoResult(None)) => to_datum(value).map(Came::Returned),
    }
}

/// An error of the function's own, which has a message if it is a text.
fn raised(value: Datum) -> PoolRaised {
    let message = match &value {
        Datum::Text(text) => text.to_string(),
        other => other.brief().to_string(),
    };
    PoolRaised { r#type: "Err".to_owned(), message, trace: String::new(), value: Some(value) }
}

/// What a call returned, or how it failed.
///
/// As a `Result`, an error of the function itself is that error. Otherwise it is [`Error::Raised`].
pub(crate) fn read<T: DeserializeOwned>(outcome: PoolOutcome) -> Result<T> {
    let PoolOutcome { returned, encoded, raised, lost, cancelled, too_large, .. } = outcome;
    if let Some(lost) = lost {
        return Err(Error::WorkerLost(Box::new(lost.into())));
    }
    if cancelled {
        return Err(Error::Cancelled);
    }
    if too_large {
        return Err(Error::ResultTooLarge);
    }
    let as_result = |variant: &str, datum| from_datum(Datum::Map(Box::new([(Datum::Text(variant.into()), datum)])));
    if let Some(raised) = raised {
        let typed = raised.value.clone().filter(|_| is_result::<T>());
        return match typed.map(|value| as_result("Err", value)) {
            Some(Ok(value)) => Ok(value),
            // An error of another type than the one that is asked for, as other languages have them.
            _ => Err(Error::Raised(Box::new(Raised::from(raised)))),
        };
    }
    let datum = match encoded {
        Some(encoded) => Datum::decode(encoded).map_err(|error| CodecError::Invalid(error.to_string().into()))?,
        None => returned.unwrap_or_default(),
    };
    Ok(if is_result::<T>() { as_result("Ok", datum)? } else { from_datum(datum)? })
}

/// Whether the type is a `Result`.
pub(crate) fn is_result<T: DeserializeOwned>() -> bool {
    let mut is_result = false;
    // It never reads anything.
    let _ = T::deserialize(AskReader { is_result: &mut is_result });
    is_result
}

/// A `Result` as it was written.
enum Written {
    Ok(Datum),
    Err(Datum),
}

/// It is no `Result`, or what is in it is no datum.
#[derive(Debug)]
struct NoResult(Option<CodecError>);

impl fmt::Display for NoResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a Result")
    }
}

impl std::error::Error for NoResult {}

impl serde::ser::Error for NoResult {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl serde::de::Error for NoResult {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

/// Writes a `Result`, and says of everything else at once that it is none.
struct AskWriter;

macro_rules! none_of {
    ($($method:ident($($argument:ty),*) -> $Ok:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$Ok, NoResult> {
            Err(NoResult(None))
        }
    )*};
}

impl Serializer for AskWriter {
    type Ok = Written;
    type Error = NoResult;
    type SerializeSeq = Impossible<Written, NoResult>;
    type SerializeTuple = Impossible<Written, NoResult>;
    type SerializeTupleStruct = Impossible<Written, NoResult>;
    type SerializeTupleVariant = Impossible<Written, NoResult>;
    type SerializeMap = Impossible<Written, NoResult>;
    type SerializeStruct = Impossible<Written, NoResult>;
    type SerializeStructVariant = Impossible<Written, NoResult>;

    none_of! {
        serialize_bool(bool) -> Written;
        serialize_i8(i8) -> Written;
        serialize_i16(i16) -> Written;
        serialize_i32(i32) -> Written;
        serialize_i64(i64) -> Written;
        serialize_i128(i128) -> Written;
        serialize_u8(u8) -> Written;
        serialize_u16(u16) -> Written;
        serialize_u32(u32) -> Written;
        serialize_u64(u64) -> Written;
        serialize_u128(u128) -> Written;
        serialize_f32(f32) -> Written;
        serialize_f64(f64) -> Written;
        serialize_char(char) -> Written;
        serialize_str(&str) -> Written;
        serialize_bytes(&[u8]) -> Written;
        serialize_none() -> Written;
        serialize_unit() -> Written;
        serialize_unit_struct(&'static str) -> Written;
        serialize_unit_variant(&'static str, u32, &'static str) -> Written;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Written, NoResult> {
        Err(NoResult(None))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<Written, NoResult> {
        Err(NoResult(None))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Written, NoResult> {
        let written = match (name, variant) {
            (RESULT, "Ok") => Written::Ok,
            (RESULT, "Err") => Written::Err,
            _ => return Err(NoResult(None)),
        };
        to_datum(value).map(written).map_err(|error| NoResult(Some(error)))
    }
}

/// Notes whether a `Result` is asked for, and reads nothing.
struct AskReader<'a> {
    is_result: &'a mut bool,
}

impl<'de> Deserializer<'de> for AskReader<'_> {
    type Error = NoResult;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoResult> {
        Err(NoResult(None))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NoResult> {
        *self.is_result = name == RESULT;
        Err(NoResult(None))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
