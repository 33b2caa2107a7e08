//! What requests and responses are written with: `build.rs` puts it together for each from the `.proto` file.

use prost::Message;
use prost::encoding::encoded_len_varint;

use crate::Datum;
use crate::fields::{LENGTH_DELIMITED, VARINT, key};
use crate::frame::Out;

/// A field that is 0 is not written.
#[inline(always)]
pub(crate) fn number_len(bits: u64) -> usize {
    if bits == 0 { 0 } else { 1 + encoded_len_varint(bits) }
}

#[inline(always)]
pub(crate) fn put_number(tag: u32, bits: u64, out: &mut impl Out) {
    if bits != 0 {
        out.byte(key(tag, VARINT));
        put_varint(bits, out);
    }
}

#[inline(always)]
pub(crate) fn datum_len(datum: &Option<Datum>) -> usize {
    datum.as_ref().map_or(0, |datum| length_delimited(datum.encoded_len()))
}

#[inline(always)]
pub(crate) fn put_datum(tag: u32, datum: &Option<Datum>, out: &mut impl Out) {
    if let Some(datum) = datum {
        put_one(tag, datum, out);
    }
}

#[inline(always)]
fn put_one(tag: u32, datum: &Datum, out: &mut impl Out) {
    out.byte(key(tag, LENGTH_DELIMITED));
    put_varint(datum.encoded_len() as u64, out);
    datum.put(out);
}

#[inline(always)]
pub(crate) fn data_len(data: &[Datum]) -> usize {
    data.iter().map(|datum| length_delimited(datum.encoded_len())).sum()
}

#[inline(always)]
pub(crate) fn put_data(tag: u32, data: &[Datum], out: &mut impl Out) {
    for datum in data {
        put_one(tag, datum, out);
    }
}

/// A field of its own presence is written also if it is 0.
#[inline(always)]
pub(crate) fn optional_len(bits: Option<u64>) -> usize {
    bits.map_or(0, |bits| 1 + encoded_len_varint(bits))
}

#[inline(always)]
pub(crate) fn put_optional(tag: u32, bits: Option<u64>, out: &mut impl Out) {
    if let Some(bits) = bits {
        out.byte(key(tag, VARINT));
        put_varint(bits, out);
    }
}

/// A text, or bytes.
#[inline(always)]
pub(crate) fn blob_len(blob: &impl AsRef<[u8]>) -> usize {
    let len = blob.as_ref().len();
    if len == 0 { 0 } else { length_delimited(len) }
}

#[inline(always)]
pub(crate) fn put_blob(tag: u32, blob: &impl AsRef<[u8]>, out: &mut impl Out) {
    let bytes = blob.as_ref();
    if !bytes.is_empty() {
        out.byte(key(tag, LENGTH_DELIMITED));
        put_varint(bytes.len() as u64, out);
        out.slice(bytes);
    }
}

/// A field whose content has so many bytes.
#[inline(always)]
fn length_delimited(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

#[inline(always)]
fn put_varint(bits: u64, out: &mut impl Out) {
    if bits < 0x80 {
        out.byte(bits as u8);
    } else {
        out.varint(bits);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use proptest::prelude::*;

    use crate::each_message;
    use crate::fields::tests::any_message;
    use crate::ops::{Readable, VisitMessages, Written};

    /// Writes what was read of a message, as every request and response.
    struct AsProst<'a> {
        message: &'a [u8],
        wrong: Option<String>,
        written: usize,
    }

    impl VisitMessages for AsProst<'_> {
        fn message<M: Readable + Written + core::fmt::Debug>(&mut self, name: &str) {
            let Ok(message) = M::decode(self.message) else { return };
            let prost = message.encode_to_vec();
            let mut own = Vec::new();
            message.put(&mut own);
            // And into what has just the room.
            let mut slice = vec![0; message.written_len()];
            message.put(&mut &mut slice[..]);
            self.written += usize::from(!prost.is_empty());
            if own != prost || slice != prost {
                self.wrong = Some(format!("{name}: {own:02x?} instead of {prost:02x?}, from {message:?}"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn messages_are_written_as_prost_does(message in any_message()) {
            let mut visit = AsProst { message: &message, wrong: None, written: 0 };
            each_message(&mut visit);
            prop_assert_eq!(visit.wrong, None);
        }
    }

    #[test]
    fn the_test_above_sees_messages() {
        // A datum, a number, a number: what an answer to `CompareAndSet` may hold, and others of it.
        let mut visit = AsProst { message: &[0x12, 2, 0x18, 2, 0x08, 1, 0x18, 0xac, 2], wrong: None, written: 0 };
        each_message(&mut visit);
        assert!(visit.written > 3 && visit.wrong.is_none());
    }
}
