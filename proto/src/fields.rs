//! The fields of a protobuf message that lies in one piece, read one after the other: what frames and requests are read
//! with, at millions a second.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use alloc::string::String;
use alloc::vec::Vec;

use ::bytes::Bytes;
use prost::encoding::{BytesAdapter, DecodeContext, WireType, bytes, message, string};

use crate::Datum;
use crate::ops::{Readable, Unreadable};

pub(crate) const VARINT: u32 = 0;
const FIXED64: u32 = 1;
pub(crate) const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// The longest varint.
const VARINT_MAX: usize = 10;

/// What is wrong with bytes that cannot be read.
pub(crate) type Wrong = &'static str;

const TRUNCATED: Wrong = "it ends in the middle of a field";

/// The key of a field: one byte, since the numbers of our fields are small.
pub(crate) const fn key(tag: u32, wire_type: u32) -> u8 {
    assert!(tag > 0 && tag < 16, "a key of one byte");
    (tag << 3 | wire_type) as u8
}

/// Reads the fields of a message, one after the other.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over the key of the next field, if it is this one.
    #[inline(always)]
    pub(crate) fn passes(&mut self, key: u8) -> bool {
        match self.rest {
            [next, rest @ ..] if *next == key => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The key of the next field, or `None` at the end.
    #[inline(always)]
    pub(crate) fn key(&mut self) -> Result<Option<u64>, Wrong> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    /// A varint of up to 64 bits. Nearly all in a frame have one byte, but for the numbers that rise from call to call.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Wrong> {
        let bits = |byte: u8, at: u32| u64::from(byte & 0x7f) << (7 * at);
        let (value, rest) = match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => (a.into(), rest),
            [a, b, ref rest @ ..] if b < 0x80 => (bits(a, 0) | bits(b, 1), rest),
            [a, b, c, ref rest @ ..] if c < 0x80 => (bits(a, 0) | bits(b, 1) | bits(c, 2), rest),
            _ => return self.long_varint(),
        };
        self.rest = rest;
        Ok(value)
    }

    fn long_varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(VARINT_MAX).enumerate() {
            if at == VARINT_MAX - 1 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < VARINT_MAX { TRUNCATED } else { "a varint is longer than 64 bits" })
    }

    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Wrong> {
        let len = self.varint()?;
        self.take(len)
    }

    /// The content of a length-delimited field that ends with its message.
    #[inline(always)]
    pub(crate) fn last_bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.varint().ok()?;
        (len == self.rest.len() as u64).then_some(self.rest)
    }

    #[inline(always)]
    fn take(&mut self, len: u64) -> Result<&'a [u8], Wrong> {
        let len = usize::try_from(len).map_err(|_| TRUNCATED)?;
        let (field, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(field)
    }

    /// Passes over a field that is not known, as a newer peer may send it. A known field of another wire type than its own
    /// must not be taken for one: `known` is the largest number that is known.
    #[cold]
    pub(crate) fn skip(&mut self, key: u64, known: u32) -> Result<(), Wrong> {
        let key = u32::try_from(key).map_err(|_| "a field number is too large")?;
        let tag = key >> 3;
        if tag == 0 {
            return Err("a field has the number 0");
        }
        if tag <= known {
            return Err("a field has the wrong wire type");
        }
        match key & 7 {
            VARINT => self.varint().map(drop),
            LENGTH_DELIMITED => self.bytes().map(drop),
            FIXED64 => self.take(8).map(drop),
            FIXED32 => self.take(4).map(drop),
            _ => Err("a field has a wire type that is not in use"),
        }
    }
}

/// Reads a request into its op.
#[inline(always)]
pub(crate) fn read<R: Readable, O>(request: &[u8], op: impl FnOnce(R) -> O) -> Result<O, Unreadable> {
    Ok(op(R::read_any(request)?))
}

/// Reads a request into its op, where long bytes may share the buffer in which it lies.
#[inline]
pub(crate) fn read_in<R: Readable, O>(
    request: &[u8],
    buffer: &Bytes,
    op: impl FnOnce(R) -> O,
) -> Result<O, Unreadable> {
    Ok(op(R::read_in(request, buffer)?))
}

/// What the fields of a message are read with, by their keys. A field that is not next is absent; a field that cannot be
/// read makes a `None`, which leaves the whole message to prost. What can be told at a glance is read here, and what cannot
/// by the part of prost that reads it anyway.
impl Fields<'_> {
    /// The bits of a number, a truth value or an enum.
    #[inline(always)]
    pub(crate) fn number(&mut self, key: u8) -> Option<Option<u64>> {
        if let [next, bits @ 0..0x80, rest @ ..] = self.rest
            && *next == key
        {
            self.rest = rest;
            return Some(Some((*bits).into()));
        }
        if self.passes(key) { self.varint().ok().map(Some) } else { Some(None) }
    }

    #[inline(always)]
    pub(crate) fn datum(&mut self, key: u8) -> Option<Option<Datum>> {
        if let [next, len @ 0..0x80, rest @ ..] = self.rest
            && *next == key
            && let Some((content, rest)) = rest.split_at_checked(usize::from(*len))
            && let Some(datum) = Datum::read_short(content)
        {
            self.rest = rest;
            return Some(Some(datum));
        }
        if self.passes(key) { self.any_datum().map(Some) } else { Some(None) }
    }

    #[inline(never)]
    fn any_datum(&mut self) -> Option<Datum> {
        let mut datum = Datum::Unset;
        message::merge(WireType::LengthDelimited, &mut datum, &mut self.rest, DecodeContext::default()).ok()?;
        Some(datum)
    }

    /// A repeated field.
    pub(crate) fn data(&mut self, key: u8) -> Option<Vec<Datum>> {
        let mut data = Vec::new();
        while let Some(datum) = self.datum(key)? {
            data.push(datum);
        }
        Some(data)
    }

    pub(crate) fn text(&mut self, key: u8) -> Option<String> {
        let mut text = String::new();
        if self.passes(key) {
            string::merge(WireType::LengthDelimited, &mut text, &mut self.rest, DecodeContext::default()).ok()?;
        }
        Some(text)
    }

    /// Bytes.
    pub(crate) fn blob<B: BytesAdapter>(&mut self, key: u8) -> Option<B> {
        let mut blob = B::default();
        if self.passes(key) {
            bytes::merge(WireType::LengthDelimited, &mut blob, &mut self.rest, DecodeContext::default()).ok()?;
        }
        Some(blob)
    }
}

#[cfg(test)]
pub(crate) mod tests;
