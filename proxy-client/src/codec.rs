//! Any serde type as a [`Datum`], and back.
//!
//! | Rust                                   | Datum                                                     |
//! |----------------------------------------|-----------------------------------------------------------|
//! | `bool`                                 | boolean                                                   |
//! | integers                               | integer; big integer where 64 bits with sign do not do    |
//! | `f32`, `f64`                           | float                                                     |
//! | `char`, `str`                          | text                                                      |
//! | bytes (`serde_bytes`, `CString`)       | bytes                                                     |
//! | `()`, unit structs, `None`             | null                                                      |
//! | `Some(x)`                              | as `x`; see below                                         |
//! | sequences (`Vec`, `HashSet`, ...)      | list                                                      |
//! | tuples, arrays, tuple structs          | tuple                                                     |
//! | newtype structs                        | as what is in them                                        |
//! | maps                                   | map                                                       |
//! | structs                                | map with the names of the fields as keys, in their order  |
//! | unit variants                          | text: the name                                            |
//! | other variants                         | map of one entry: the name, and the payload as above      |
//! | proxies                                | reference                                                 |
//!
//! **Nested options.** A datum is *hollow* when it is null, or a set whose one member is hollow. `Some(x)` is written
//! as `x`, unless that is hollow: then it is the set of `x`. So `None` is null, `Some(None)` and `Some(())` are
//! `{null}`, `Some(Some(None))` is `{{null}}`, and all are told apart, also where serde does not know the type it reads
//! yet (untagged enums, flattened fields). It costs other types nothing, as serde knows no sets and nothing else is
//! written as one. The price is one value of other languages: the set of nothing but null, read as an option or a type
//! that takes anything, is taken for `Some(None)`.
//!
//! **What is read.** Every datum above as what it was written from. More than that, because not all data is Rust's: a
//! list, tuple or set as any sequence; bytes as a sequence of numbers; an integer as any integer type that holds it and
//! as a float that equals it. Never the other way: a float is no integer, a boolean no number, bytes no text.
//!
//! Both sides tell serde that the format is readable by humans: addresses, UUIDs and the like are then text to every
//! language. It is also what serde assumes inside untagged enums and flattened fields, whatever the format.
//!
//! **What serde itself cannot do**, in any format: integers of more than 64 bits inside untagged or internally tagged
//! enums and flattened fields; keys other than scalars among flattened fields; structs ahead of tuples of the same
//! length among the variants of an untagged enum, as it reads structs from sequences too.

use std::fmt;

use holdfast_proto::Datum;
use holdfast_proto::datum::DEPTH;
use serde::Serialize;
use serde::de::{DeserializeOwned, Expected, Unexpected};

mod de;
pub(crate) mod passing;
mod ser;
#[cfg(test)]
mod tests;

/// The most characters of a text that an error quotes.
const QUOTED: usize = 64;

/// The datum of a value.
#[inline]
pub(crate) fn to_datum<T: Serialize + ?Sized>(value: &T) -> Result<Datum, CodecError> {
    value.serialize(ser::Serializer::new())
}

/// The value that a datum was made of, or that reads as if it was.
#[inline]
pub(crate) fn from_datum<T: DeserializeOwned>(datum: Datum) -> Result<T, CodecError> {
    let value = T::deserialize(de::Deserializer::new(datum));
    passing::clear();
    value
}

/// A value that is no datum, or a datum that is not of the type it is read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The datum is of another type than the one it is read as, or out of its range.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// What the type asks for.
        expected: Box<str>,
        /// What is there.
        found: Box<str>,
    },
    /// The value is nested too deeply.
    #[error("nested deeper than {} levels", DEPTH)]
    TooDeep,
    /// What the type itself says against the value.
    #[error("{0}")]
    Invalid(Box<str>),
}

impl CodecError {
    #[cold]
    fn mismatch(expected: &dyn fmt::Display, found: impl Into<Box<str>>) -> Self {
        Self::Mismatch { expected: expected.to_string().into(), found: found.into() }
    }
}

impl serde::ser::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Invalid(message.to_string().into())
    }
}

impl serde::de::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Invalid(message.to_string().into())
    }

    #[cold]
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(&expected, describe(found))
    }

    #[cold]
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(&expected, describe(found))
    }

    #[cold]
    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Self::mismatch(&expected, format!("{found} of them"))
    }
}

/// How many sets are around null, if nothing else is there.
fn hollow(datum: &Datum) -> Option<usize> {
    let (mut datum, mut sets) = (datum, 0);
    loop {
        match datum {
            Datum::Null => return Some(sets),
            Datum::Set(members) => match &**members {
                [member] => (datum, sets) = (member, sets + 1),
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// What serde found, in the words of this codec.
fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Unsigned(value) => format!("the integer {value}"),
        Unexpected::Signed(value) => format!("the integer {value}"),
        Unexpected::Float(value) => format!("the float {value:?}"),
        Unexpected::Char(value) => format!("the text {:?}", value.to_string()),
        Unexpected::Str(value) => match value.char_indices().nth(QUOTED) {
            Some((end, _)) => format!("the text {:?}... ({} bytes)", &value[..end], value.len()),
            None => format!("the text {value:?}"),
        },
        Unexpected::Bytes(value) => format!("{} bytes", value.len()),
        Unexpected::Unit => "null".into(),
        Unexpected::Option => "an option".into(),
        Unexpected::NewtypeStruct => "a reference to an object".into(),
        Unexpected::Seq => "a sequence".into(),
        Unexpected::Map => "a map".into(),
        Unexpected::Enum => "an enum".into(),
        Unexpected::UnitVariant => "a variant without a payload".into(),
        Unexpected::NewtypeVariant => "a variant with a payload".into(),
        Unexpected::TupleVariant => "a variant with a tuple".into(),
        Unexpected::StructVariant => "a variant with fields".into(),
        Unexpected::Other(value) => value.into(),
    }
}
