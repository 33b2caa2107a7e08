//! The few pieces of the protobuf encoding that the hand-written frames need.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use bytes::BytesMut;

pub(super) const VARINT: u32 = 0;
const FIXED64: u32 = 1;
pub(super) const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// The longest varint.
const VARINT_MAX: usize = 10;

/// What is wrong with bytes that cannot be read.
pub(super) type Wrong = &'static str;

const TRUNCATED: Wrong = "it ends in the middle of a field";

/// The key of a field: one byte, since the numbers of the frames' fields are small.
pub(super) const fn key(tag: u32, wire_type: u32) -> u8 {
    assert!(tag > 0 && tag < 16, "a key of one byte");
    (tag << 3 | wire_type) as u8
}

pub(super) const fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and one byte for 0.
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// A field that is 0 is not written, as in every proto3 encoder.
pub(super) const fn varint_field_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

/// The length of a field of `len` bytes, without them.
pub(super) const fn bytes_header_len(len: usize) -> usize {
    1 + varint_len(len as u64)
}

/// The fields in front of the one part of a frame whose length varies, put together where the compiler sees their bounds
/// and copied at once.
pub(super) struct Head {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Head {
    /// The prefix, four fields with a varint, and three lengths; and a short message after them.
    const MAX: usize = 5 + 7 * (1 + VARINT_MAX) + Self::SHORT;

    /// A message of so many bytes always fits behind what else there may be.
    const SHORT: usize = 64;

    pub(super) fn new() -> Self {
        Self { bytes: [0; Self::MAX], len: 0 }
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    pub(super) fn big_endian(&mut self, number: u32) {
        for byte in number.to_be_bytes() {
            self.byte(byte);
        }
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline]
    pub(super) fn varint_field(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.byte(key(tag, VARINT));
            self.varint(value);
        }
    }

    #[inline]
    pub(super) fn bytes_header(&mut self, tag: u32, len: usize) {
        self.byte(key(tag, LENGTH_DELIMITED));
        self.varint(len as u64);
    }

    /// Where a short message of this length is written behind what is there. `None` if it is not short.
    #[inline]
    pub(super) fn rest(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > Self::SHORT {
            return None;
        }
        let begin = self.len;
        self.len += len;
        Some(&mut self.bytes[begin..self.len])
    }

    #[inline]
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.bytes[..self.len]);
    }
}

/// Reads the fields of a message that are expected in this order. `None` where another one comes.
pub(super) struct Plain<'a> {
    rest: &'a [u8],
}

impl<'a> Plain<'a> {
    #[inline]
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn is_next(&mut self, expected: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == expected => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A field that is 0 is not written.
    #[inline]
    pub(super) fn varint(&mut self, tag: u32) -> Option<u64> {
        if self.is_next(key(tag, VARINT)) { self.number() } else { Some(0) }
    }

    #[inline]
    pub(super) fn bytes(&mut self, tag: u32) -> Option<&'a [u8]> {
        if !self.is_next(key(tag, LENGTH_DELIMITED)) {
            return None;
        }
        let len = usize::try_from(self.number()?).ok()?;
        let (field, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(field)
    }

    /// A varint of up to nine bytes, which all that count something have.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        while let [byte, rest @ ..] = self.rest
            && shift < 63
        {
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
        None
    }
}

/// Reads the fields of a message, one after the other.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The key of the next field, or `None` at the end.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Option<u64>, Wrong> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Wrong> {
        match *self.rest {
            // Nearly all varints in a frame have one byte.
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(first.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(VARINT_MAX).enumerate() {
            // The bits of the tenth byte that do not fit are cut off, as in every decoder.
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < VARINT_MAX { TRUNCATED } else { "a varint is longer than ten bytes" })
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Wrong> {
        let len = self.varint()?;
        self.take(len)
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&'a [u8], Wrong> {
        let len = usize::try_from(len).map_err(|_| TRUNCATED)?;
        let (field, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(field)
    }

    /// Passes over a field that is not known, as a newer peer may send it. A known field of another wire type than its own
    /// must not be taken for one: `known` is the largest number that is known.
    #[cold]
    pub(super) fn skip(&mut self, key: u64, known: u32) -> Result<(), Wrong> {
        let tag = u32::try_from(key >> 3).map_err(|_| "a field number is too large")?;
        if tag == 0 {
            return Err("a field has the number 0");
        }
        if tag <= known {
            return Err("a field has the wrong wire type");
        }
        match key as u32 & 7 {
            VARINT => self.varint().map(drop),
            LENGTH_DELIMITED => self.bytes().map(drop),
            FIXED64 => self.take(8).map(drop),
            FIXED32 => self.take(4).map(drop),
            _ => Err("a field has a wire type that is not in use"),
        }
    }
}
