//! The data that users store, decoded into as little memory as it takes.
//!
//! Nothing here knows Python's equality (1 == 1.0 == true): what a datum means as a key is the business of the objects.

mod blob;
mod brief;
mod reference;
mod short;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use alloc::boxed::Box;
use core::mem;

use compact_str::CompactString;

pub use blob::Blob;
pub use brief::Brief;
pub use reference::{HasReferences, Named, Reference, Target};

/// How many containers may stand inside each other, the outermost counted.
pub const DEPTH: u32 = 32;

/// How many bytes the name of an opaque datum's codec may have.
pub const CODEC_BYTES: usize = 64;

/// What every datum costs, wherever it stands: its own 24 bytes.
pub const DATUM_BYTES: u64 = 24;

/// One piece of user data: a key, a value, an element. The message `Datum` of `datum.proto`, without a message's weight.
///
/// - 24 bytes, also inside an [`Option`]; texts of up to 24 bytes and all numbers of up to 64 bits live inside it.
/// - `==` compares what was written, not what it means: 1 and 1.0 differ, and so do sets in another order.
/// - What was decoded need not be valid: ask [`check`](Self::check) where data comes in.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Datum {
    /// What a message without any field decodes to. Not data: never stored, never sent.
    #[default]
    Unset,
    /// Nothing: Python's None.
    Null,
    /// A truth value.
    Boolean(bool),
    /// An integer of up to 64 bits with sign.
    Integer(i64),
    /// A double. May be NaN.
    Float(f64),
    /// A larger integer: two's complement, big-endian, as few bytes as it takes, more than eight.
    BigInteger(Box<[u8]>),
    /// Text.
    Text(CompactString),
    /// Bytes.
    Bytes(Blob),
    /// A sequence that its owner thinks of as changeable.
    List(Box<[Datum]>),
    /// A sequence of fixed length.
    Tuple(Box<[Datum]>),
    /// Distinct members, in the order in which they were put in.
    Set(Box<[Datum]>),
    /// Pairs with distinct keys, in the order in which they were put in.
    Map(Box<[(Datum, Datum)]>),
    /// What only one language understands.
    Opaque(Box<OpaqueDatum>),
    /// Another object.
    Reference(Reference),
}

/// Bytes with the name of what can read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpaqueDatum {
    /// The name of the encoding, for example "pickle".
    pub codec: CompactString,
    /// The encoded value, never interpreted.
    pub data: Blob,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Datum>() == 24 && size_of::<Option<Datum>>() == 24);

/// Why data cannot be taken as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Somewhere in it is a datum of no kind.
    #[error("a datum has none of its fields set, or one that only a newer manager knows: set exactly one")]
    Unset,
    /// Somewhere in it is a big integer that has another, shorter form.
    #[error(
        "a big integer is not in its shortest form, or fits 64 bits: send what fits as integer, the rest without padding"
    )]
    BigInteger,
    /// Too many containers inside each other.
    #[error("the data is nested more than {DEPTH} levels deep")]
    TooDeep,
    /// Somewhere in it is an opaque datum whose codec has too long a name.
    #[error("the name of a codec has {0} bytes and may have {CODEC_BYTES}")]
    Codec(usize),
}

impl Datum {
    /// What this datum costs, as the limits count: 24 bytes for itself, and what does not fit into these.
    ///
    /// That is the length of a text of more than 24 bytes, of bytes and of a big integer; the cost of all elements,
    /// members, keys and values; and for an opaque datum 24 bytes, its codec and its data. The rule is part of what users
    /// see and does not depend on the machine. Constant time for all but containers.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> u64 {
        if self.is_scalar() { DATUM_BYTES } else { self.bytes_with_content() }
    }

    /// Null, a truth value or a number of up to 64 bits, which stand side by side in the enum to be told at once: what has nothing outside of its 24 bytes, and is always valid.
    #[inline]
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        matches!(self, Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Float(_))
    }

    /// A clone, made at once of what is nearly always cloned.
    #[inline]
    #[must_use]
    pub fn copy(&self) -> Self {
        match self {
            Self::Integer(integer) => Self::Integer(*integer),
            other => other.clone(),
        }
    }

    /// Drops it. Most data has nothing to free, and to forget it takes less time than to find that out.
    #[inline]
    pub fn discard(self) {
        match self {
            Self::Text(text) => drop(text),
            other if other.is_scalar() => mem::forget(other),
            other => drop(other),
        }
    }

    fn bytes_with_content(&self) -> u64 {
        match self {
            Self::Unset | Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Float(_) | Self::Reference(_) => {
                DATUM_BYTES
            }
            Self::Text(text) if text.len() as u64 <= DATUM_BYTES => DATUM_BYTES,
            Self::Text(text) => DATUM_BYTES + text.len() as u64,
            Self::BigInteger(bytes) => DATUM_BYTES + bytes.len() as u64,
            Self::Bytes(bytes) => DATUM_BYTES + bytes.len() as u64,
            Self::List(elements) | Self::Tuple(elements) | Self::Set(elements) => {
                DATUM_BYTES + elements.iter().map(Self::bytes).sum::<u64>()
            }
            Self::Map(entries) => {
                DATUM_BYTES + entries.iter().map(|(key, value)| key.bytes() + value.bytes()).sum::<u64>()
            }
            Self::Opaque(opaque) => 2 * DATUM_BYTES + (opaque.codec.len() + opaque.data.len()) as u64,
        }
    }

    /// Whether this is data in its one valid form, at every depth. Constant time for all but containers.
    ///
    /// Whether members and keys are distinct is not looked at: that needs equality, which the objects define.
    #[inline]
    pub fn check(&self) -> Result<(), Invalid> {
        self.check_within(DEPTH)
    }

    #[inline]
    fn check_within(&self, depth: u32) -> Result<(), Invalid> {
        match self {
            Self::Null
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Reference(_) => Ok(()),
            Self::Unset => Err(Invalid::Unset),
            Self::BigInteger(bytes) => is_shortest(bytes).then_some(()).ok_or(Invalid::BigInteger),
            Self::Opaque(opaque) if opaque.codec.len() > CODEC_BYTES => Err(Invalid::Codec(opaque.codec.len())),
            Self::Opaque(_) => Ok(()),
            Self::List(_) | Self::Tuple(_) | Self::Set(_) | Self::Map(_) => self.check_members(depth),
        }
    }

    fn check_members(&self, depth: u32) -> Result<(), Invalid> {
        let depth = depth.checked_sub(1).ok_or(Invalid::TooDeep)?;
        match self {
            Self::List(elements) | Self::Tuple(elements) | Self::Set(elements) => {
                elements.iter().try_for_each(|element| element.check_within(depth))
            }
            Self::Map(entries) => entries.iter().try_for_each(|(key, value)| {
                key.check_within(depth)?;
                value.check_within(depth)
            }),
            _ => Ok(()),
        }
    }

    /// What kind of data this is, for messages: "an integer", "a text".
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Unset => "nothing",
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::BigInteger(_) => "a big integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Set(_) => "a set",
            Self::Map(_) => "a map",
            Self::Opaque(_) => "an opaque datum",
            Self::Reference(_) => "a reference to an object",
        }
    }

    /// This datum for a message to a person: on one line and short, however large it is.
    #[must_use]
    pub fn brief(&self) -> Brief<'_> {
        Brief::new(self)
    }
}

/// Two's complement, big-endian, more than 64 bits, and no byte that only repeats the sign.
fn is_shortest(bytes: &[u8]) -> bool {
    match bytes {
        [first, second, ..] if bytes.len() > 8 => !matches!((first, second >> 7), (0x00, 0) | (0xff, 1)),
        _ => false,
    }
}

impl From<i64> for Datum {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<f64> for Datum {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<bool> for Datum {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
