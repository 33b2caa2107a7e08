//! The few pieces of the protobuf encoding that the hand-written frames need.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use bytes::BytesMut;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::Broken;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

pub(super) fn varint_len(value: u64) -> usize {
    encoded_len_varint(value)
}

pub(super) fn key_len(tag: u32) -> usize {
    debug_assert!(tag < 16, "keys of one byte");
    let _ = tag;
    1
}

/// A field that is 0 is not written, as in every proto3 encoder.
pub(super) fn varint_field_len(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + varint_len(value) }
}

pub(super) fn put_varint_field(out: &mut BytesMut, tag: u32, value: u64) {
    if value != 0 {
        encode_varint(u64::from(tag << 3 | VARINT), out);
        encode_varint(value, out);
    }
}

pub(super) fn put_bytes_header(out: &mut BytesMut, tag: u32, len: usize) {
    encode_varint(u64::from(tag << 3 | LENGTH_DELIMITED), out);
    encode_varint(len as u64, out);
}

/// What a field holds, before its type is known.
pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A fixed-width number: no frame has one, so its value is of no interest.
    Fixed,
}

/// The fields of one message, in the order in which they were written.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        // Nearly all varints in a frame have one byte.
        if let [first, rest @ ..] = self.rest
            && *first < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        Ok(prost::encoding::decode_varint(&mut self.rest)?)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Broken> {
        match usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len)) {
            Some((field, rest)) => {
                self.rest = rest;
                Ok(field)
            }
            None => Err(Broken::malformed("a field is longer than its message")),
        }
    }

    fn field(&mut self) -> Result<(u32, Field<'a>), Broken> {
        let key = u32::try_from(self.varint()?).map_err(|_| Broken::malformed("a field number is too large"))?;
        let tag = key >> 3;
        if tag == 0 {
            return Err(Broken::malformed("field number 0"));
        }
        let field = match key & 7 {
            VARINT => Field::Varint(self.varint()?),
            LENGTH_DELIMITED => {
                let len = self.varint()?;
                Field::Bytes(self.take(len)?)
            }
            FIXED64 => self.take(8).map(|_| Field::Fixed)?,
            FIXED32 => self.take(4).map(|_| Field::Fixed)?,
            _ => return Err(Broken::malformed("a wire type that no field has")),
        };
        Ok((tag, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
