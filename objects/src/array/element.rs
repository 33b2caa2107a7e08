//! What an element of an array can be.

use alloc::boxed::Box;
use core::fmt::Debug;

use holdfast_proto::{ArrayElements, Datum};

/// One value, before it is known to be an element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Integer(i128),
    Float(f64),
    Character(char),
}

/// Why a value is no element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is of another type.
    Type,
    /// It is a number that does not fit.
    Range,
}

impl Scalar {
    /// The value of a datum.
    pub(super) fn of(datum: &Datum) -> Result<Self, Misfit> {
        match datum {
            Datum::Integer(integer) => Ok(Self::Integer(i128::from(*integer))),
            Datum::BigInteger(bytes) => integer(bytes).map(Self::Integer).ok_or(Misfit::Range),
            Datum::Float(float) => Ok(Self::Float(*float)),
            Datum::Text(text) => {
                let mut characters = text.chars();
                let first = characters.next().ok_or(Misfit::Type)?;
                if characters.next().is_none() { Ok(Self::Character(first)) } else { Err(Misfit::Type) }
            }
            _ => Err(Misfit::Type),
        }
    }

    /// The values of a message, which must have one kind of them only.
    pub(super) fn all(elements: &ArrayElements) -> Option<Box<dyn Iterator<Item = Self> + '_>> {
        let ArrayElements { integers, naturals, floats, characters } = elements;
        match (integers.is_empty(), naturals.is_empty(), floats.is_empty(), characters.is_empty()) {
            (_, true, true, true) => Some(Box::new(integers.iter().map(|integer| Self::Integer(i128::from(*integer))))),
            (true, false, true, true) => {
                Some(Box::new(naturals.iter().map(|natural| Self::Integer(i128::from(*natural)))))
            }
            (true, true, false, true) => Some(Box::new(floats.iter().map(|float| Self::Float(*float)))),
            (true, true, true, false) => Some(Box::new(characters.chars().map(Self::Character))),
            _ => None,
        }
    }

    /// The datum of the value.
    pub(super) fn datum(self) -> Datum {
        match self {
            Self::Integer(integer) => match i64::try_from(integer) {
                Ok(integer) => Datum::Integer(integer),
                // Elements have at most 64 bits, so what is larger is positive and takes nine bytes.
                Err(_) => Datum::BigInteger(integer.to_be_bytes()[7..].into()),
            },
            Self::Float(float) => Datum::Float(float),
            Self::Character(character) => Datum::from(&*character.encode_utf8(&mut [0; 4])),
        }
    }
}

/// Two's complement, big-endian, if it has at most 128 bits.
fn integer(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first >> 7 == 1);
    let start = if negative { -1 } else { 0 };
    (bytes.len() <= 16).then(|| bytes.iter().fold(start, |sum, byte| (sum << 8) | i128::from(*byte)))
}

/// An element as it is stored.
pub(super) trait Element: Copy + Default + PartialEq + Debug {
    /// What elements of this type can be, for messages.
    const HOLDS: &'static str;
    /// The most bytes that one takes in a message.
    const WIRE_BYTES: usize;

    /// The element with a value.
    fn new(value: Scalar) -> Result<Self, Misfit>;

    /// The value of an element.
    fn value(self) -> Scalar;

    /// The sum of an element and a value.
    fn plus(self, delta: Scalar) -> Result<Self, Misfit>;

    /// Elements as a message.
    fn message(stored: impl Iterator<Item = Self>) -> ArrayElements;
}

macro_rules! integers {
    ($($Int:ident in $field:ident as $Wire:ident, $wire_bytes:literal, $holds:literal;)+) => {$(
        impl Element for $Int {
            const HOLDS: &'static str = $holds;
            const WIRE_BYTES: usize = $wire_bytes;

            fn new(value: Scalar) -> Result<Self, Misfit> {
                match value {
                    Scalar::Integer(integer) => Self::try_from(integer).map_err(|_| Misfit::Range),
                    Scalar::Float(_) | Scalar::Character(_) => Err(Misfit::Type),
                }
            }

            fn value(self) -> Scalar {
                Scalar::Integer(i128::from(self))
            }

            fn plus(self, delta: Scalar) -> Result<Self, Misfit> {
                match delta {
                    Scalar::Integer(delta) => {
                        let sum = i128::from(self).checked_add(delta).ok_or(Misfit::Range)?;
                        Self::new(Scalar::Integer(sum))
                    }
                    Scalar::Float(_) | Scalar::Character(_) => Err(Misfit::Type),
                }
            }

            fn message(stored: impl Iterator<Item = Self>) -> ArrayElements {
                ArrayElements { $field: stored.map($Wire::from).collect(), ..ArrayElements::default() }
            }
        }
    )+};
}

integers! {
    i8 in integers as i64, 2, "integers from -128 to 127";
    u8 in naturals as u64, 2, "integers from 0 to 255";
    i16 in integers as i64, 3, "integers from -32768 to 32767";
    u16 in naturals as u64, 3, "integers from 0 to 65535";
    i32 in integers as i64, 5, "integers from -2147483648 to 2147483647";
    u32 in naturals as u64, 5, "integers from 0 to 4294967295";
    i64 in integers as i64, 10, "integers from -9223372036854775808 to 9223372036854775807";
    u64 in naturals as u64, 10, "integers from 0 to 18446744073709551615";
}

impl Element for f64 {
    const HOLDS: &'static str = "floats";
    const WIRE_BYTES: usize = 8;

    fn new(value: Scalar) -> Result<Self, Misfit> {
        match value {
            Scalar::Integer(integer) => Ok(integer as Self),
            Scalar::Float(float) => Ok(float),
            Scalar::Character(_) => Err(Misfit::Type),
        }
    }

    fn value(self) -> Scalar {
        Scalar::Float(self)
    }

    fn plus(self, delta: Scalar) -> Result<Self, Misfit> {
        let delta = Self::new(delta)?;
        let sum = self + delta;
        if sum.is_infinite() && self.is_finite() && delta.is_finite() { Err(Misfit::Range) } else { Ok(sum) }
    }

    fn message(stored: impl Iterator<Item = Self>) -> ArrayElements {
        ArrayElements { floats: stored.collect(), ..ArrayElements::default() }
    }
}

impl Element for f32 {
    const HOLDS: &'static str = "floats of 32 bits, up to 3.4028235e38";
    const WIRE_BYTES: usize = 8;

    fn new(value: Scalar) -> Result<Self, Misfit> {
        let exact = f64::new(value)?;
        let rounded = exact as Self;
        if rounded.is_infinite() && exact.is_finite() { Err(Misfit::Range) } else { Ok(rounded) }
    }

    fn value(self) -> Scalar {
        Scalar::Float(f64::from(self))
    }

    fn plus(self, delta: Scalar) -> Result<Self, Misfit> {
        Self::new(Scalar::Float(f64::from(self).plus(delta)?))
    }

    fn message(stored: impl Iterator<Item = Self>) -> ArrayElements {
        ArrayElements { floats: stored.map(f64::from).collect(), ..ArrayElements::default() }
    }
}

impl Element for char {
    const HOLDS: &'static str = "characters: texts of exactly one";
    const WIRE_BYTES: usize = 4;

    fn new(value: Scalar) -> Result<Self, Misfit> {
        match value {
            Scalar::Character(character) => Ok(character),
            Scalar::Integer(_) | Scalar::Float(_) => Err(Misfit::Type),
        }
    }

    fn value(self) -> Scalar {
        Scalar::Character(self)
    }

    fn plus(self, _: Scalar) -> Result<Self, Misfit> {
        Err(Misfit::Type)
    }

    fn message(stored: impl Iterator<Item = Self>) -> ArrayElements {
        ArrayElements { characters: stored.collect(), ..ArrayElements::default() }
    }
}
