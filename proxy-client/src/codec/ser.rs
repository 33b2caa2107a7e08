//! From values to data.

use std::fmt::{Display, Write};

use compact_str::CompactString;
use holdfast_proto::Datum;
use holdfast_proto::datum::DEPTH;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};

use super::{CodecError, hollow, passing};

/// No more places than this are set aside on the word of a type alone.
const MAX_RESERVED: usize = 1 << 16;

/// The place of a value to be written.
#[derive(Clone, Copy)]
pub(super) struct Serializer {
    /// How many containers are around it.
    depth: u32,
    /// How many `Some`s are around it, inside the innermost of those.
    somes: u32,
}

impl Serializer {
    #[inline]
    pub(super) fn new() -> Self {
        Self { depth: 0, somes: 0 }
    }

    /// The place inside a container that is at this place.
    #[inline]
    fn inside(self) -> Result<Self, CodecError> {
        if self.depth < DEPTH { Ok(Self { depth: self.depth + 1, somes: 0 }) } else { Err(CodecError::TooDeep) }
    }

    fn elements(self, sort: Sort, len: Option<usize>) -> Result<Elements, CodecError> {
        Ok(Elements { sort, place: self.inside()?, elements: reserve(len.unwrap_or(0)) })
    }

    fn entries(self, variant: Option<&'static str>, len: Option<usize>) -> Result<Entries, CodecError> {
        Ok(Entries { variant, place: self.inside()?, key: None, entries: reserve(len.unwrap_or(0)) })
    }
}

fn reserve<T>(len: usize) -> Vec<T> {
    Vec::with_capacity(len.min(MAX_RESERVED))
}

/// The name of a field or a variant: never allocated.
#[inline]
fn name(name: &'static str) -> Datum {
    Datum::Text(CompactString::const_new(name))
}

/// A variant with a payload.
fn tagged(variant: &'static str, payload: Datum) -> Datum {
    Datum::Map(Box::new([(name(variant), payload)]))
}

/// An integer too wide for 64 bits with sign: its bytes, without the leading ones that repeat the sign.
#[cold]
fn big(bytes: &[u8]) -> Datum {
    let redundant = bytes
        .windows(2)
        .take_while(|pair| {
            matches!(pair, [0x00, next] if *next < 0x80) || matches!(pair, [0xff, next] if *next >= 0x80)
        })
        .count();
    Datum::BigInteger(bytes[redundant..].into())
}

macro_rules! integers {
    ($($method:ident($type:ty);)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<Datum, CodecError> {
            Ok(Datum::Integer(i64::from(value)))
        }
    )*};
}

impl serde::Serializer for Serializer {
    type Ok = Datum;
    type Error = CodecError;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    integers! {
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<Datum, CodecError> {
        Ok(Datum::Boolean(value))
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<Datum, CodecError> {
        match i64::try_from(value) {
            Ok(value) => Ok(Datum::Integer(value)),
            Err(_) => Ok(big(&i128::from(value).to_be_bytes())),
        }
    }

    #[inline]
    fn serialize_i128(self, value: i128) -> Result<Datum, CodecError> {
        match i64::try_from(value) {
            Ok(value) => Ok(Datum::Integer(value)),
            Err(_) => Ok(big(&value.to_be_bytes())),
        }
    }

    #[inline]
    fn serialize_u128(self, value: u128) -> Result<Datum, CodecError> {
        match i64::try_from(value) {
            Ok(value) => Ok(Datum::Integer(value)),
            Err(_) => {
                // One byte more, for the sign.
                let mut bytes = [0; 17];
                bytes[1..].copy_from_slice(&value.to_be_bytes());
                Ok(big(&bytes))
            }
        }
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<Datum, CodecError> {
        Ok(Datum::Float(f64::from(value)))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<Datum, CodecError> {
        Ok(Datum::Float(value))
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<Datum, CodecError> {
        Ok(Datum::Text(CompactString::new(value.encode_utf8(&mut [0; 4]))))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<Datum, CodecError> {
        Ok(Datum::Text(CompactString::new(value)))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Datum, CodecError> {
        Ok(Datum::Bytes(value.into()))
    }

    #[inline]
    fn serialize_none(self) -> Result<Datum, CodecError> {
        Ok(Datum::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Datum, CodecError> {
        if self.somes == DEPTH {
            return Err(CodecError::TooDeep);
        }
        let datum = value.serialize(Self { somes: self.somes + 1, ..self })?;
        match hollow(&datum) {
            None => Ok(datum),
            Some(sets) if self.depth as usize + sets < DEPTH as usize => Ok(Datum::Set(Box::new([datum]))),
            Some(_) => Err(CodecError::TooDeep),
        }
    }

    #[inline]
    fn serialize_unit(self) -> Result<Datum, CodecError> {
        Ok(Datum::Null)
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<Datum, CodecError> {
        Ok(Datum::Null)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Datum, CodecError> {
        Ok(name(variant))
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Datum, CodecError> {
        if name == passing::NAME
            && let Some(reference) = passing::written()
        {
            return Ok(Datum::Reference(reference));
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Datum, CodecError> {
        Ok(tagged(variant, value.serialize(self.inside()?)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Elements, CodecError> {
        self.elements(Sort::List, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Elements, CodecError> {
        self.elements(Sort::Tuple, Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Elements, CodecError> {
        self.elements(Sort::Tuple, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements, CodecError> {
        self.inside()?.elements(Sort::Variant(variant), Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries, CodecError> {
        self.entries(None, len)
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Entries, CodecError> {
        self.entries(None, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Entries, CodecError> {
        self.inside()?.entries(Some(variant), Some(len))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Datum, CodecError> {
        let mut text = CompactString::default();
        match write!(text, "{value}") {
            Ok(()) => Ok(Datum::Text(text)),
            Err(_) => Err(CodecError::Invalid("the value refused to be written as text".into())),
        }
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        true
    }
}

/// What a sequence becomes.
enum Sort {
    List,
    Tuple,
    /// A tuple, as the payload of a variant.
    Variant(&'static str),
}

/// A sequence that is being written.
pub(super) struct Elements {
    sort: Sort,
    place: Serializer,
    elements: Vec<Datum>,
}

impl Elements {
    #[inline]
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.elements.push(value.serialize(self.place)?);
        Ok(())
    }

    fn finish(self) -> Datum {
        let elements = self.elements.into_boxed_slice();
        match self.sort {
            Sort::List => Datum::List(elements),
            Sort::Tuple => Datum::Tuple(elements),
            Sort::Variant(variant) => tagged(variant, Datum::Tuple(elements)),
        }
    }
}

impl SerializeSeq for Elements {
    type Ok = Datum;
    type Error = CodecError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.push(value)
    }

    fn end(self) -> Result<Datum, CodecError> {
        Ok(self.finish())
    }
}

impl SerializeTuple for Elements {
    type Ok = Datum;
    type Error = CodecError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.push(value)
    }

    fn end(self) -> Result<Datum, CodecError> {
        Ok(self.finish())
    }
}

impl SerializeTupleStruct for Elements {
    type Ok = Datum;
    type Error = CodecError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.push(value)
    }

    fn end(self) -> Result<Datum, CodecError> {
        Ok(self.finish())
    }
}

impl SerializeTupleVariant for Elements {
    type Ok = Datum;
    type Error = CodecError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        self.push(value)
    }

    fn end(self) -> Result<Datum, CodecError> {
        Ok(self.finish())
    }
}

/// A map or struct that is being written.
pub(super) struct Entries {
    /// The variant whose payload it is.
    variant: Option<&'static str>,
    place: Serializer,
    /// A key that waits for its value.
    key: Option<Datum>,
    entries: Vec<(Datum, Datum)>,
}

impl Entries {
    #[inline]
    fn push<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), CodecError> {
        self.entries.push((name(key), value.serialize(self.place)?));
        Ok(())
    }

    fn finish(self) -> Datum {
        let map = Datum::Map(self.entries.into_boxed_slice());
        match self.variant {
            None => map,
            Some(variant) => tagged(variant, map),
        }
    }
}

impl SerializeMap for Entries {
    type Ok = Datum;
    type Error = CodecError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CodecError> {
        self.key = Some(key.serialize(self.place)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CodecError> {
        let Some(key) = self.key.take() else {
            return Err(CodecError::Invalid("a map's value came before its key".into()));
        };
        self.entries.push((key, value.serialize(self.place)?));
        Ok(())
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), CodecError> {
        self.entries.push((key.serialize(self.place)?, value.serialize(self.place)?));
        Ok(())
    }

    fn end(self) -> Result<Datum, CodecError> {
        match self.key {
            None => Ok(self.finish()),
            Some(_) => Err(CodecError::Invalid("a map's last key has no value".into())),
        }
    }
}

impl SerializeStruct for Entries {
    type Ok = Datum;
    type Error = CodecError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), CodecError> {
        self.push(key, value)
    }

    fn end(self) -> Result<Datum, CodecError> {
        Ok(self.finish())
    }
}

impl SerializeStructVariant for Entries {
    type Ok = Datum;
    type Error = CodecError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), CodecError> {
        self.push(key, value)
    }

    fn end(self) -> Result<Datum, CodecError> {
        Ok(self.finish())
    }
}
