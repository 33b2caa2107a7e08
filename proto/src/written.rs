//! What responses are written with: `build.rs` puts it together for each from the `.proto` file.

use bytes::BufMut;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::Datum;
use crate::fields::{LENGTH_DELIMITED, VARINT, key};
#[cfg(test)]
use crate::ops::Written;

/// A field that is 0 is not written.
#[inline(always)]
pub(crate) fn number_len(bits: impl Into<u64>) -> usize {
    let bits = bits.into();
    if bits == 0 { 0 } else { 1 + encoded_len_varint(bits) }
}

#[inline(always)]
pub(crate) fn put_number(tag: u32, bits: impl Into<u64>, out: &mut impl BufMut) {
    let bits = bits.into();
    if bits != 0 {
        out.put_u8(key(tag, VARINT));
        put_varint(bits, out);
    }
}

#[inline(always)]
pub(crate) fn datum_len(datum: &Option<Datum>) -> usize {
    let len = |datum: &Datum| {
        let len = datum.encoded_len();
        1 + encoded_len_varint(len as u64) + len
    };
    datum.as_ref().map_or(0, len)
}

#[inline(always)]
pub(crate) fn put_datum(tag: u32, datum: &Option<Datum>, out: &mut impl BufMut) {
    if let Some(datum) = datum {
        out.put_u8(key(tag, LENGTH_DELIMITED));
        put_varint(datum.encoded_len() as u64, out);
        datum.encode_raw(out);
    }
}

#[inline(always)]
fn put_varint(bits: u64, out: &mut impl BufMut) {
    if bits < 0x80 {
        out.put_u8(bits as u8);
    } else {
        encode_varint(bits, out);
    }
}

/// Something to do with every response message of every kind.
#[cfg(test)]
pub(crate) trait VisitResponses {
    fn response<R: Written + Message + Default + core::fmt::Debug>(&mut self, name: &str);
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;
    use crate::each_response;
    use crate::fields::tests::any_message;

    /// Writes what was read of a message, as every response.
    struct AsProst<'a> {
        message: &'a [u8],
        wrong: Option<String>,
        written: usize,
    }

    impl VisitResponses for AsProst<'_> {
        fn response<R: Written + Message + Default + core::fmt::Debug>(&mut self, name: &str) {
            let Ok(response) = R::decode(self.message) else { return };
            let prost = response.encode_to_vec();
            let mut own = Vec::new();
            response.put(&mut own);
            // And into what has just the room.
            let mut slice = vec![0; response.written_len()];
            response.put(&mut &mut slice[..]);
            self.written += usize::from(!prost.is_empty());
            if own != prost || slice != prost {
                self.wrong = Some(format!("{name}: {own:02x?} instead of {prost:02x?}, from {response:?}"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn responses_are_written_as_prost_does(message in any_message()) {
            let mut visit = AsProst { message: &message, wrong: None, written: 0 };
            each_response(&mut visit);
            prop_assert_eq!(visit.wrong, None);
        }
    }

    #[test]
    fn the_test_above_sees_responses() {
        // A datum, a number, a number: what an answer to `CompareAndSet` may hold, and others of it.
        let mut visit = AsProst { message: &[0x12, 2, 0x18, 2, 0x08, 1, 0x18, 0xac, 2], wrong: None, written: 0 };
        each_response(&mut visit);
        assert!(visit.written > 3 && visit.wrong.is_none());
    }
}
