//! `Datum` as protobuf, written and read by hand: a number or a short text is decoded millions of times a second, and goes
//! from the bytes of the frame straight to where it stays.
//!
//! The encoding is that of `datum.proto`, to the byte; `tests.rs` holds it to a twin that prost derives. One thing is
//! decided otherwise than protobuf merges: of two fields the later wins also where both are the same container, whose
//! elements other decoders would join. No encoder writes such a message, and joining would take quadratic time for one
//! that means harm.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, BufMut};
use compact_str::CompactString;
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encoded_len_varint, merge_loop, skip_field,
};
use prost::{DecodeError, Message};

use super::{Blob, DEPTH, Datum, Named, OpaqueDatum, Reference};
use crate::fields::{Fields, LENGTH_DELIMITED, key};
use crate::frame::Out;

const NULL: u32 = 1;
const BOOLEAN: u32 = 2;
pub(super) const INTEGER: u32 = 3;
const BIG_INTEGER: u32 = 4;
const FLOAT: u32 = 5;
pub(super) const TEXT: u32 = 6;
const BYTES: u32 = 7;
const LIST: u32 = 8;
const TUPLE: u32 = 9;
const SET: u32 = 10;
const MAP: u32 = 11;
const OPAQUE: u32 = 12;
const REFERENCE: u32 = 13;

/// `Sequence.elements` and `Map.entries`.
const MEMBERS: u32 = 1;
const MEMBER_KEY: u8 = key(MEMBERS, LENGTH_DELIMITED);
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;
const OPAQUE_CODEC: u32 = 1;
const OPAQUE_DATA: u32 = 2;
const REFERENCE_HANDLE: u32 = 1;
const REFERENCE_KIND: u32 = 2;
const REFERENCE_OBJECT: u32 = 3;

impl Message for Datum {
    #[inline]
    fn encode_raw(&self, out: &mut impl BufMut) {
        self.put(out);
    }

    #[inline]
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        merge_field(self, (tag, wire_type), buf, &context, DEPTH)
    }

    /// Asked for several times on the way of one datum into its frame, and hardly more than a look where it is inlined.
    #[inline(always)]
    fn encoded_len(&self) -> usize {
        match self {
            Self::Integer(integer) => 1 + encoded_len_varint(zigzag(*integer)),
            Self::Text(text) => field_len(text.len()),
            _ => other_len(self),
        }
    }

    fn clear(&mut self) {
        *self = Self::Unset;
    }
}

impl Datum {
    /// Appends the message.
    #[inline]
    pub(crate) fn put(&self, out: &mut impl Out) {
        match self {
            Self::Integer(integer) => put_varint(INTEGER, zigzag(*integer), out),
            Self::Text(text) => put_bytes(TEXT, text.as_bytes(), out),
            _ => put_other(self, out),
        }
    }
}

/// The length of what is neither an integer nor a text.
fn other_len(datum: &Datum) -> usize {
    match datum {
        Datum::Unset => 0,
        Datum::Null | Datum::Boolean(_) => 2,
        Datum::Float(_) => 9,
        Datum::BigInteger(bytes) => field_len(bytes.len()),
        Datum::Bytes(bytes) => field_len(bytes.len()),
        Datum::List(elements) | Datum::Tuple(elements) | Datum::Set(elements) => field_len(elements_len(elements)),
        Datum::Map(entries) => field_len(entries_len(entries)),
        Datum::Opaque(opaque) => field_len(opaque_len(opaque)),
        Datum::Reference(reference) => field_len(reference_len(reference)),
        Datum::Integer(_) | Datum::Text(_) => datum.encoded_len(),
    }
}

/// Writes what is neither an integer nor a text.
fn put_other(datum: &Datum, out: &mut impl Out) {
    match datum {
        Datum::Unset => {}
        Datum::Null => put_varint(NULL, 0, out),
        Datum::Boolean(boolean) => put_varint(BOOLEAN, u64::from(*boolean), out),
        Datum::BigInteger(bytes) => put_bytes(BIG_INTEGER, bytes, out),
        Datum::Float(float) => {
            put_key(FLOAT, WireType::SixtyFourBit, out);
            out.slice(&float.to_le_bytes());
        }
        Datum::Bytes(bytes) => put_blob(BYTES, bytes, out),
        Datum::List(elements) => put_elements(LIST, elements, out),
        Datum::Tuple(elements) => put_elements(TUPLE, elements, out),
        Datum::Set(elements) => put_elements(SET, elements, out),
        Datum::Map(entries) => put_entries(entries, out),
        Datum::Opaque(opaque) => put_opaque(opaque, out),
        Datum::Reference(reference) => put_reference(reference, out),
        Datum::Integer(_) | Datum::Text(_) => datum.put(out),
    }
}

fn zigzag(integer: i64) -> u64 {
    ((integer << 1) ^ (integer >> 63)) as u64
}

pub(super) fn unzigzag(varint: u64) -> i64 {
    (varint >> 1) as i64 ^ -((varint & 1) as i64)
}

// Writing. Every tag is less than 16, so every key has one byte.

/// The length of a length-delimited field with this content.
fn field_len(content: usize) -> usize {
    1 + encoded_len_varint(content as u64) + content
}

fn put_key(tag: u32, wire_type: WireType, out: &mut impl Out) {
    out.byte((tag << 3) as u8 | wire_type as u8);
}

fn put_varint(tag: u32, varint: u64, out: &mut impl Out) {
    put_key(tag, WireType::Varint, out);
    out.varint(varint);
}

fn put_header(tag: u32, content: usize, out: &mut impl Out) {
    put_key(tag, WireType::LengthDelimited, out);
    out.varint(content as u64);
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut impl Out) {
    put_header(tag, bytes.len(), out);
    out.slice(bytes);
}

fn put_blob(tag: u32, blob: &Blob, out: &mut impl Out) {
    put_header(tag, blob.len(), out);
    match blob.shared() {
        Some(bytes) => out.put_shared(bytes),
        None => out.slice(blob),
    }
}

fn put_datum(tag: u32, datum: &Datum, out: &mut impl Out) {
    put_header(tag, datum.encoded_len(), out);
    datum.put(out);
}

fn elements_len(elements: &[Datum]) -> usize {
    elements.iter().map(|element| field_len(element.encoded_len())).sum()
}

fn put_elements(tag: u32, elements: &[Datum], out: &mut impl Out) {
    put_header(tag, elements_len(elements), out);
    for element in elements {
        put_datum(MEMBERS, element, out);
    }
}

/// The length of the message `Entry`.
fn entry_len((key, value): &(Datum, Datum)) -> usize {
    let part = |datum: &Datum| if matches!(datum, Datum::Unset) { 0 } else { field_len(datum.encoded_len()) };
    part(key) + part(value)
}

fn entries_len(entries: &[(Datum, Datum)]) -> usize {
    entries.iter().map(|entry| field_len(entry_len(entry))).sum()
}

fn put_entries(entries: &[(Datum, Datum)], out: &mut impl Out) {
    put_header(MAP, entries_len(entries), out);
    for entry in entries {
        put_header(MEMBERS, entry_len(entry), out);
        for (tag, datum) in [(ENTRY_KEY, &entry.0), (ENTRY_VALUE, &entry.1)] {
            if !matches!(datum, Datum::Unset) {
                put_datum(tag, datum, out);
            }
        }
    }
}

/// The length of the message `Opaque`; what is empty is not written.
fn opaque_len(opaque: &OpaqueDatum) -> usize {
    let part = |len: usize| if len == 0 { 0 } else { field_len(len) };
    part(opaque.codec.len()) + part(opaque.data.len())
}

fn put_opaque(opaque: &OpaqueDatum, out: &mut impl Out) {
    put_header(OPAQUE, opaque_len(opaque), out);
    if !opaque.codec.is_empty() {
        put_bytes(OPAQUE_CODEC, opaque.codec.as_bytes(), out);
    }
    if !opaque.data.is_empty() {
        put_blob(OPAQUE_DATA, &opaque.data, out);
    }
}

/// The length of the message `Reference`; what is not known is not written.
fn reference_len(reference: &Reference) -> usize {
    let varint = |number: u32| if number == 0 { 0 } else { 1 + encoded_len_varint(number.into()) };
    let object = if reference.object() == [0; 16] { 0 } else { field_len(16) };
    varint(reference.handle()) + varint(reference.kind()) + object
}

fn put_reference(reference: &Reference, out: &mut impl Out) {
    put_header(REFERENCE, reference_len(reference), out);
    for (tag, number) in [(REFERENCE_HANDLE, reference.handle()), (REFERENCE_KIND, reference.kind())] {
        if number != 0 {
            put_varint(tag, number.into(), out);
        }
    }
    let object = reference.object();
    if object != [0; 16] {
        put_bytes(REFERENCE_OBJECT, &object, out);
    }
}

// Reading. Nesting is counted here and not in prost's context, which counts messages: a map takes three of them.

/// Reads one field into `datum`, which may hold `depth` more containers inside each other.
#[inline(always)]
fn merge_field<B: Buf>(
    datum: &mut Datum,
    (tag, wire_type): (u32, WireType),
    buf: &mut B,
    context: &DecodeContext,
    depth: u32,
) -> Result<(), DecodeError> {
    let read = match tag {
        INTEGER => Datum::Integer(unzigzag(varint(wire_type, buf)?)),
        TEXT => Datum::Text(text(wire_type, buf)?),
        NULL => varint(wire_type, buf).map(|_| Datum::Null)?,
        BOOLEAN => Datum::Boolean(varint(wire_type, buf)? != 0),
        FLOAT => Datum::Float(float(wire_type, buf)?),
        BYTES => Datum::Bytes(blob(wire_type, buf)?),
        BIG_INTEGER => Datum::BigInteger(bytes(wire_type, buf)?),
        LIST => Datum::List(elements(wire_type, buf, context, depth)?),
        TUPLE => Datum::Tuple(elements(wire_type, buf, context, depth)?),
        SET => Datum::Set(elements(wire_type, buf, context, depth)?),
        MAP => Datum::Map(entries(wire_type, buf, context, depth)?),
        OPAQUE => Datum::Opaque(Box::new(opaque(wire_type, buf, context)?)),
        REFERENCE => Datum::Reference(reference(wire_type, buf, context)?),
        _ => return skip_field(wire_type, tag, buf, context.clone()),
    };
    let was = mem::replace(datum, read);
    if matches!(was, Datum::Unset) {
        // Nearly always: to forget nothing takes less time than to drop it.
        mem::forget(was);
    }
    Ok(())
}

#[inline(always)]
fn varint(wire_type: WireType, buf: &mut impl Buf) -> Result<u64, DecodeError> {
    check_wire_type(WireType::Varint, wire_type)?;
    decode_varint(buf)
}

fn float(wire_type: WireType, buf: &mut impl Buf) -> Result<f64, DecodeError> {
    check_wire_type(WireType::SixtyFourBit, wire_type)?;
    buf.try_get_f64_le().map_err(|_| unreadable("a float is cut off"))
}

#[inline(always)]
fn text(wire_type: WireType, buf: &mut impl Buf) -> Result<CompactString, DecodeError> {
    delimited(wire_type, buf, |text| CompactString::from_utf8(text))?
        .map_err(|_| unreadable("a text is not UTF-8: send it as bytes"))
}

fn bytes(wire_type: WireType, buf: &mut impl Buf) -> Result<Box<[u8]>, DecodeError> {
    delimited(wire_type, buf, |bytes| Box::from(bytes))
}

/// Long ones are taken from `buf`, which may share them.
fn blob(wire_type: WireType, buf: &mut impl Buf) -> Result<Blob, DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let len = usize::try_from(decode_varint(buf)?).unwrap_or(usize::MAX);
    if len > buf.remaining() {
        return Err(longer());
    }
    Ok(match buf.chunk().get(..len) {
        Some(short) if len < Blob::SHARED => {
            let blob = short.into();
            buf.advance(len);
            blob
        }
        _ => buf.copy_to_bytes(len).into(),
    })
}

/// Hands the content of a length-delimited field to `read`; without a copy if it lies in one piece.
#[inline(always)]
fn delimited<B: Buf, T>(wire_type: WireType, buf: &mut B, read: impl FnOnce(&[u8]) -> T) -> Result<T, DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let len = usize::try_from(decode_varint(buf)?).unwrap_or(usize::MAX);
    if let Some(content) = buf.chunk().get(..len) {
        let read = read(content);
        buf.advance(len);
        Ok(read)
    } else if len <= buf.remaining() {
        Ok(read(&buf.copy_to_bytes(len)))
    } else {
        Err(longer())
    }
}

fn deeper(depth: u32) -> Result<u32, DecodeError> {
    depth.checked_sub(1).ok_or_else(|| unreadable(alloc::format!("the data is nested more than {DEPTH} levels deep")))
}

/// A datum inside another.
fn merge_nested<B: Buf>(
    datum: &mut Datum,
    wire_type: WireType,
    buf: &mut B,
    context: &DecodeContext,
    depth: u32,
) -> Result<(), DecodeError> {
    delimited(wire_type, buf, |message| merge_message(datum, message, context, depth))?
}

/// Reads a whole message into `datum`.
#[inline]
fn merge_message(
    datum: &mut Datum,
    mut message: &[u8],
    context: &DecodeContext,
    depth: u32,
) -> Result<(), DecodeError> {
    if let Some(short) = Datum::read_short(message) {
        *datum = short;
        return Ok(());
    }
    while !message.is_empty() {
        merge_field(datum, decode_key(&mut message)?, &mut message, context, depth)?;
    }
    Ok(())
}

/// The message `Sequence`, all of which is looked at in one piece: lists are what much data comes in.
fn elements<B: Buf>(
    wire_type: WireType,
    buf: &mut B,
    context: &DecodeContext,
    depth: u32,
) -> Result<Box<[Datum]>, DecodeError> {
    let depth = deeper(depth)?;
    delimited(wire_type, buf, |sequence| {
        // As many as there are at most of those that are not empty, and of memory no more than the message takes.
        let mut elements = Vec::with_capacity(sequence.len() / mem::size_of::<Datum>());
        let mut fields = Fields::new(sequence);
        while !fields.is_empty() {
            if fields.passes(MEMBER_KEY) {
                let mut element = Datum::Unset;
                merge_message(&mut element, fields.bytes().map_err(unreadable)?, context, depth)?;
                elements.push(element);
                continue;
            }
            let key = fields.key().map_err(unreadable)?.unwrap_or_default();
            fields.skip(key, MEMBERS).map_err(unreadable)?;
        }
        Ok(elements.into_boxed_slice())
    })?
}

/// The message `Map`.
fn entries<B: Buf>(
    wire_type: WireType,
    buf: &mut B,
    context: &DecodeContext,
    depth: u32,
) -> Result<Box<[(Datum, Datum)]>, DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let depth = deeper(depth)?;
    let mut entries = Vec::new();
    merge_loop(&mut entries, buf, context.clone(), |entries, buf, context| match decode_key(buf)? {
        (MEMBERS, wire_type) => {
            entries.push(entry(wire_type, buf, &context, depth)?);
            Ok(())
        }
        (tag, wire_type) => skip_field(wire_type, tag, buf, context),
    })?;
    Ok(entries.into_boxed_slice())
}

/// The message `Entry`.
fn entry<B: Buf>(
    wire_type: WireType,
    buf: &mut B,
    context: &DecodeContext,
    depth: u32,
) -> Result<(Datum, Datum), DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let mut entry = (Datum::Unset, Datum::Unset);
    merge_loop(&mut entry, buf, context.clone(), |(key, value), buf, context| match decode_key(buf)? {
        (ENTRY_KEY, wire_type) => merge_nested(key, wire_type, buf, &context, depth),
        (ENTRY_VALUE, wire_type) => merge_nested(value, wire_type, buf, &context, depth),
        (tag, wire_type) => skip_field(wire_type, tag, buf, context),
    })?;
    Ok(entry)
}

/// The message `Opaque`.
fn opaque<B: Buf>(wire_type: WireType, buf: &mut B, context: &DecodeContext) -> Result<OpaqueDatum, DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let mut opaque = OpaqueDatum::default();
    merge_loop(&mut opaque, buf, context.clone(), |opaque, buf, context| {
        match decode_key(buf)? {
            (OPAQUE_CODEC, wire_type) => opaque.codec = text(wire_type, buf)?,
            (OPAQUE_DATA, wire_type) => opaque.data = blob(wire_type, buf)?,
            (tag, wire_type) => skip_field(wire_type, tag, buf, context)?,
        }
        Ok(())
    })?;
    Ok(opaque)
}

/// The message `Reference`. An id of another length than a UUID's is none.
fn reference<B: Buf>(wire_type: WireType, buf: &mut B, context: &DecodeContext) -> Result<Reference, DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let mut named = Named::default();
    merge_loop(&mut named, buf, context.clone(), |named, buf, context| {
        match decode_key(buf)? {
            // A varint of a uint32 field is cut to 32 bits, as everywhere in protobuf.
            (REFERENCE_HANDLE, wire_type) => named.handle = varint(wire_type, buf)? as u32,
            (REFERENCE_KIND, wire_type) => named.kind = varint(wire_type, buf)? as u32,
            (REFERENCE_OBJECT, wire_type) => {
                named.object = delimited(wire_type, buf, |id| id.try_into().unwrap_or_default())?;
            }
            (tag, wire_type) => skip_field(wire_type, tag, buf, context)?,
        }
        Ok(())
    })?;
    Ok(Reference::new(Arc::new(named)))
}

#[cold]
fn longer() -> DecodeError {
    unreadable("a field is longer than its message")
}

#[cold]
fn unreadable(why: impl Into<Cow<'static, str>>) -> DecodeError {
    #[expect(deprecated, reason = "prost has no other way for a Message written by hand to say what is wrong")]
    DecodeError::new(why)
}
