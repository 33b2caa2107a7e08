//! The few pieces of the protobuf encoding that the hand-written frames need to be written.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use bytes::BytesMut;

use crate::fields::{LENGTH_DELIMITED, VARINT, key};

/// The longest varint.
const VARINT_MAX: usize = 10;

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
