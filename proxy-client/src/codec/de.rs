//! From data to values.

use std::vec;

use compact_str::CompactString;
use holdfast_proto::Datum;
use holdfast_proto::datum::DEPTH;
use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::passing::{self, Lent};
use super::{CodecError, hollow};

/// A datum to be read.
pub(super) struct Deserializer {
    datum: Datum,
    /// How many `Some`s have been read around it. A type may ask for ever more of them (`struct S(Option<Box<S>>)`),
    /// and none of them takes anything off the datum.
    somes: u32,
}

impl Deserializer {
    #[inline]
    pub(super) fn new(datum: Datum) -> Self {
        Self { datum, somes: 0 }
    }
}

/// An integer that may be too wide for 64 bits.
enum Wide {
    Signed(i128),
    /// Too wide for 128 bits with sign.
    Unsigned(u128),
    /// Too wide for any type of Rust.
    Huge,
}

/// Reads two's complement, big-endian.
fn wide(bytes: &[u8]) -> Wide {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let sign = if negative { 0xff } else { 0x00 };
    let (above, low) = bytes.split_at(bytes.len().saturating_sub(16));
    if above.iter().any(|byte| *byte != sign) {
        return Wide::Huge;
    }
    let mut all = [sign; 16];
    all[16 - low.len()..].copy_from_slice(low);
    match (negative, i128::from_be_bytes(all)) {
        (true, value @ ..0) | (false, value @ 0..) => Wide::Signed(value),
        (true, _) => Wide::Huge,
        (false, _) => Wide::Unsigned(u128::from_be_bytes(all)),
    }
}

impl Wide {
    /// The value as `T`, when it is in its range.
    fn narrow<T: TryFrom<i128> + TryFrom<u128>>(&self) -> Option<T> {
        match *self {
            Self::Signed(value) => T::try_from(value).ok(),
            Self::Unsigned(value) => T::try_from(value).ok(),
            Self::Huge => None,
        }
    }

    /// The value as a float with so many bits of mantissa, when it is exactly that.
    fn float(&self, mantissa: u32) -> Option<f64> {
        let exact = |magnitude: u128| {
            u128::BITS.saturating_sub(magnitude.leading_zeros() + magnitude.trailing_zeros()) <= mantissa
        };
        match *self {
            Self::Signed(value) => exact(value.unsigned_abs()).then_some(value as f64),
            Self::Unsigned(value) => exact(value).then_some(value as f64),
            Self::Huge => None,
        }
    }

    #[cold]
    fn describe(&self) -> String {
        match self {
            Self::Signed(value) => format!("the integer {value}"),
            Self::Unsigned(value) => format!("the integer {value}"),
            Self::Huge => "an integer of more than 128 bits".into(),
        }
    }
}

/// What came of reading a number: the number, or the datum, which is none.
enum Number {
    Float(f64),
    Other(Datum),
}

/// Reads a float, or an integer that is exactly one with so many bits of mantissa.
#[inline]
fn number(datum: Datum, mantissa: u32, expected: &dyn Expected) -> Result<Number, CodecError> {
    let integer = match datum {
        Datum::Float(value) => return Ok(Number::Float(value)),
        Datum::Integer(value) => Wide::Signed(value.into()),
        Datum::BigInteger(bytes) => wide(&bytes),
        other => return Ok(Number::Other(other)),
    };
    match integer.float(mantissa) {
        Some(value) => Ok(Number::Float(value)),
        None => Err(CodecError::mismatch(&expected, format!("{}, which no such float equals", integer.describe()))),
    }
}

fn sequence<'de, V: Visitor<'de>>(elements: Box<[Datum]>, visitor: V) -> Result<V::Value, CodecError> {
    let found = elements.len();
    let mut access = Elements { rest: elements.into_vec().into_iter() };
    let value = visitor.visit_seq(&mut access)?;
    all_read("elements", found, access.rest.len())?;
    Ok(value)
}

fn map<'de, V: Visitor<'de>>(entries: Box<[(Datum, Datum)]>, visitor: V) -> Result<V::Value, CodecError> {
    let found = entries.len();
    let mut access = Entries { rest: entries.into_vec().into_iter(), value: None };
    let value = visitor.visit_map(&mut access)?;
    all_read("entries", found, access.rest.len())?;
    Ok(value)
}

#[inline]
fn all_read(what: &str, found: usize, unread: usize) -> Result<(), CodecError> {
    if unread == 0 {
        return Ok(());
    }
    Err(CodecError::mismatch(&format_args!("{} {what}", found - unread), format!("{found} {what}")))
}

macro_rules! integers {
    ($($method:ident, $visit:ident($type:ty);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
            match self.datum {
                Datum::Integer(value) => match <$type>::try_from(value).ok() {
                    Some(value) => visitor.$visit(value),
                    None => Err(CodecError::invalid_value(Unexpected::Signed(value), &visitor)),
                },
                Datum::BigInteger(bytes) => {
                    let value = wide(&bytes);
                    match value.narrow::<$type>() {
                        Some(value) => visitor.$visit(value),
                        None => Err(CodecError::mismatch(&(&visitor as &dyn Expected), value.describe())),
                    }
                }
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> serde::Deserializer<'de> for Deserializer {
    type Error = CodecError;

    integers! {
        deserialize_i8, visit_i8(i8);
        deserialize_i16, visit_i16(i16);
        deserialize_i32, visit_i32(i32);
        deserialize_i64, visit_i64(i64);
        deserialize_i128, visit_i128(i128);
        deserialize_u8, visit_u8(u8);
        deserialize_u16, visit_u16(u16);
        deserialize_u32, visit_u32(u32);
        deserialize_u64, visit_u64(u64);
        deserialize_u128, visit_u128(u128);
    }

    // What has no hint here says by itself what it is; if that is not what the visitor wants, the visitor refuses it.
    serde::forward_to_deserialize_any! { bool char bytes byte_buf unit unit_struct map struct }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.datum {
            Datum::Unset => Err(CodecError::invalid_type(Unexpected::Other("a datum with nothing set"), &visitor)),
            Datum::Null => visitor.visit_unit(),
            Datum::Boolean(value) => visitor.visit_bool(value),
            Datum::Integer(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Datum::BigInteger(bytes) => match wide(&bytes) {
                Wide::Signed(value) => match (u64::try_from(value), i64::try_from(value)) {
                    (Ok(value), _) => visitor.visit_u64(value),
                    (_, Ok(value)) => visitor.visit_i64(value),
                    _ => visitor.visit_i128(value),
                },
                Wide::Unsigned(value) => visitor.visit_u128(value),
                Wide::Huge => Err(CodecError::invalid_type(Unexpected::Other(&Wide::Huge.describe()), &visitor)),
            },
            Datum::Float(value) => visitor.visit_f64(value),
            Datum::Text(text) if text.is_heap_allocated() => visitor.visit_string(text.into_string()),
            Datum::Text(text) => visitor.visit_str(&text),
            Datum::Bytes(bytes) => visitor.visit_byte_buf(bytes.into_vec()),
            // Where serde keeps what it reads for later, it must know a `Some` from a sequence.
            Datum::Set(ref members) if matches!(&**members, [member] if hollow(member).is_some()) => {
                self.deserialize_option(visitor)
            }
            Datum::List(elements) | Datum::Tuple(elements) | Datum::Set(elements) => sequence(elements, visitor),
            Datum::Map(entries) => map(entries, visitor),
            Datum::Reference(reference) => visitor.visit_newtype_struct(Lent::new(reference)),
            Datum::Opaque(_) => {
                Err(CodecError::invalid_type(Unexpected::Other(&self.datum.brief().to_string()), &visitor))
            }
        }
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match number(self.datum, f32::MANTISSA_DIGITS, &visitor)? {
            Number::Float(value) if value.is_finite() && (value as f32).is_infinite() => {
                Err(CodecError::invalid_value(Unexpected::Float(value), &visitor))
            }
            Number::Float(value) => visitor.visit_f32(value as f32),
            Number::Other(datum) => Self::new(datum).deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match number(self.datum, f64::MANTISSA_DIGITS, &visitor)? {
            Number::Float(value) => visitor.visit_f64(value),
            Number::Other(datum) => Self::new(datum).deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.datum {
            // The visitor of `String` would take them, if they happen to be UTF-8.
            Datum::Bytes(bytes) => Err(CodecError::invalid_type(Unexpected::Bytes(&bytes), &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        if matches!(self.datum, Datum::Null) {
            return visitor.visit_none();
        }
        if self.somes == DEPTH {
            return Err(CodecError::TooDeep);
        }
        let datum = match self.datum {
            Datum::Set(members) if matches!(&*members, [member] if hollow(member).is_some()) => {
                match <Box<[Datum; 1]>>::try_from(members) {
                    Ok(member) => {
                        let [member] = *member;
                        member
                    }
                    Err(members) => Datum::Set(members),
                }
            }
            datum => datum,
        };
        visitor.visit_some(Self { datum, somes: self.somes + 1 })
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        // A proxy wants a reference and nothing else; any other newtype struct is what is in it.
        if name == passing::NAME { self.deserialize_any(visitor) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.datum {
            Datum::List(elements) | Datum::Tuple(elements) | Datum::Set(elements) => sequence(elements, visitor),
            Datum::Bytes(bytes) => {
                let found = bytes.len();
                let mut access = SeqDeserializer::new(bytes.into_vec().into_iter());
                let value = visitor.visit_seq(&mut access)?;
                all_read("bytes", found, access.size_hint().unwrap_or(0))?;
                Ok(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        match self.datum {
            Datum::Text(name) => visitor.visit_enum(Variant { name, payload: None }),
            Datum::Map(entries) => match <Box<[(Datum, Datum); 1]>>::try_from(entries).map(|entry| *entry) {
                Ok([(Datum::Text(name), payload)]) => visitor.visit_enum(Variant { name, payload: Some(payload) }),
                Ok(_) => Err(CodecError::invalid_type(Unexpected::Other("a map without a text as key"), &visitor)),
                Err(entries) => {
                    let found = format!("a map of {} entries", entries.len());
                    Err(CodecError::invalid_type(Unexpected::Other(&found), &visitor))
                }
            },
            _ => self.deserialize_any(visitor),
        }
    }

    /// The name of a field.
    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.datum {
            // Where fields have names an unsigned integer would be taken for the index of one.
            Datum::Integer(value) => visitor.visit_i64(value),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_unit()
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        true
    }
}

/// A sequence that is being read.
struct Elements {
    rest: vec::IntoIter<Datum>,
}

impl<'de> SeqAccess<'de> for Elements {
    type Error = CodecError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, CodecError> {
        match self.rest.next() {
            Some(datum) => seed.deserialize(Deserializer::new(datum)).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A map that is being read.
struct Entries {
    rest: vec::IntoIter<(Datum, Datum)>,
    /// The value of the key that was read last.
    value: Option<Datum>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = CodecError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, CodecError> {
        match self.rest.next() {
            Some((key, value)) => {
                self.value = Some(value);
                seed.deserialize(Deserializer::new(key)).map(Some)
            }
            None => Ok(None),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, CodecError> {
        match self.value.take() {
            Some(value) => seed.deserialize(Deserializer::new(value)),
            None => Err(CodecError::custom("a map's value was asked for before its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A variant that is being read.
struct Variant {
    name: CompactString,
    payload: Option<Datum>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = CodecError;
    type Variant = Payload;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Payload), CodecError> {
        let name: StrDeserializer<'_, CodecError> = self.name.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, Payload { payload: self.payload }))
    }
}

/// What a variant holds.
struct Payload {
    payload: Option<Datum>,
}

impl Payload {
    fn some(self, expected: &dyn Expected) -> Result<Deserializer, CodecError> {
        match self.payload {
            Some(payload) => Ok(Deserializer::new(payload)),
            None => Err(CodecError::invalid_type(Unexpected::UnitVariant, expected)),
        }
    }
}

impl<'de> VariantAccess<'de> for Payload {
    type Error = CodecError;

    fn unit_variant(self) -> Result<(), CodecError> {
        match self.payload {
            None | Some(Datum::Null) => Ok(()),
            Some(_) => Err(CodecError::invalid_type(Unexpected::NewtypeVariant, &"a variant without a payload")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, CodecError> {
        seed.deserialize(self.some(&"a variant with a payload")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, CodecError> {
        serde::Deserializer::deserialize_tuple(self.some(&visitor)?, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        serde::Deserializer::deserialize_struct(self.some(&visitor)?, "", fields, visitor)
    }
}
