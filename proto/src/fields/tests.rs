use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use prost::Message;

use super::*;
use crate::ops::{VisitMessages, Written};
use crate::{DictAddRequest, DictCompareAndSetRequest, OpenRequest, each_message};

/// Holds the readers of all messages to prost, on one message.
struct AsProst<'a> {
    message: &'a [u8],
    result: TestCaseResult,
}

impl AsProst<'_> {
    fn check(message: &[u8]) -> TestCaseResult {
        let mut visit = AsProst { message, result: Ok(()) };
        each_message(&mut visit);
        visit.result
    }
}

impl VisitMessages for AsProst<'_> {
    fn message<R: Readable + Written + core::fmt::Debug>(&mut self, name: &str) {
        // As text, in which a NaN equals itself.
        let text = |read: Result<R, prost::DecodeError>| match read {
            Ok(read) => format!("{read:?}"),
            Err(error) => format!("{error}"),
        };
        let prost = text(R::decode(self.message));
        let own = R::read(self.message).map(|read| text(Ok(read)));
        let both = text(read(self.message, |request| request).map_err(|unreadable| match unreadable {
            Unreadable::Malformed(error) => error,
            Unreadable::Unknown => panic!("every request has an op"),
        }));
        if own.as_ref().is_some_and(|own| *own != prost) || both != prost {
            let problem = format!("{name}: {own:?} and {both} instead of {prost}, from {:02x?}", self.message);
            self.result = Err(TestCaseError::fail(problem));
        }
    }
}

fn varint(mut value: u64, padding: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    // Longer than it need be.
    for _ in 0..padding {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
    }
    bytes
}

fn any_varint() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![0u64..300, any::<u64>(), any::<u32>().prop_map(u64::from)];
    (value, prop_oneof![9 => Just(0usize), 1 => 0usize..11]).prop_map(|(value, padding)| varint(value, padding))
}

fn delimited(content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(content.len() as u64, 0);
    bytes.extend(content);
    bytes
}

/// The content of a field and its wire type: what requests hold, and what they should not.
fn any_content() -> impl Strategy<Value = (u32, Vec<u8>)> {
    prop_oneof![
        4 => any_varint().prop_map(|varint| (VARINT, varint)),
        8 => crate::datum::tests::any_datum().prop_map(|datum| (LENGTH_DELIMITED, delimited(&datum.encode_to_vec()))),
        4 => "\\PC{0,140}".prop_map(|text| (LENGTH_DELIMITED, delimited(&Datum::from(&*text).encode_to_vec()))),
        2 => "\\PC{0,20}".prop_map(|text| (LENGTH_DELIMITED, delimited(text.as_bytes()))),
        // A datum of a number, in all its lengths.
        4 => any_varint().prop_map(|varint| (LENGTH_DELIMITED, delimited(&[&[0x18][..], &varint].concat()))),
        2 => prop::collection::vec(any::<u8>(), 0..20).prop_map(|noise| (LENGTH_DELIMITED, delimited(&noise))),
        1 => any::<[u8; 8]>().prop_map(|bytes| (FIXED64, bytes.to_vec())),
        1 => any::<[u8; 4]>().prop_map(|bytes| (FIXED32, bytes.to_vec())),
        1 => (0u32..8, prop::collection::vec(any::<u8>(), 0..4)),
    ]
}

pub(crate) fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![12 => 1u32..5, 2 => 5u32..20, 1 => 0u32..3000];
    let field = (tag, prop_oneof![20 => Just(0usize), 1 => 1usize..4], any_content());
    prop::collection::vec(field, 0..6).prop_map(|fields| {
        let mut message = Vec::new();
        for (tag, padding, (wire_type, content)) in fields {
            message.extend(varint((tag << 3 | wire_type).into(), padding));
            message.extend(content);
        }
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn messages_are_read_as_prost_does(message in any_message()) {
        AsProst::check(&message)?;
    }

    #[test]
    fn messages_that_are_cut_or_damaged_are_read_as_prost_does(
        message in any_message(),
        cut in any::<prop::sample::Index>(),
        damage in any::<(prop::sample::Index, u8)>(),
    ) {
        AsProst::check(&message[..cut.index(message.len() + 1)])?;
        let mut message = message;
        if !message.is_empty() {
            let at = damage.0.index(message.len());
            message[at] = damage.1;
        }
        AsProst::check(&message)?;
    }

    #[test]
    fn a_varint_is_read_as_prost_does(bytes in prop_oneof![any_varint(), prop::collection::vec(any::<u8>(), 0..12)]) {
        let mut fields = Fields::new(&bytes);
        let mut rest = &bytes[..];
        let prost = prost::encoding::decode_varint(&mut rest).ok();
        prop_assert_eq!(fields.varint().ok(), prost);
        if prost.is_some() {
            prop_assert_eq!(fields.rest, rest);
        }
    }
}

#[test]
fn what_encoders_write_is_read_without_prost() {
    let key = Some(Datum::from("counter"));
    for delta in [0, 1, -1, 63, -65, 1 << 20, i64::MIN, i64::MAX] {
        let add = DictAddRequest { key: key.clone(), delta: Some(Datum::from(delta)) };
        assert_eq!(DictAddRequest::read(&add.encode_to_vec()), Some(add));
    }
    let expected = |expected| DictCompareAndSetRequest { key: key.clone(), expected, new: Some(Datum::Null) };
    use crate::dict_compare_and_set_request::Expected;
    for request in [expected(Some(Expected::Value(Datum::from(1.5)))), expected(Some(Expected::Version(1 << 40)))] {
        assert_eq!(DictCompareAndSetRequest::read(&request.encode_to_vec()), Some(request));
    }
    let open = OpenRequest { name: String::from("hits"), kind: 2, spec: b"\x08\x01"[..].into(), mode: 1 };
    assert_eq!(OpenRequest::read(&open.encode_to_vec()), Some(open));
}

#[test]
fn texts_of_all_lengths_are_read_without_prost() {
    for (characters, character) in (0..40).flat_map(|len| ["a", "\u{0}", "ü", "€", "😀"].map(|c| (len, c))) {
        let text = format!("{}{}", character.repeat(characters), &"xyz"[..characters % 4]);
        let get = DictAddRequest { key: Some(Datum::from(&*text)), delta: None };
        assert_eq!(DictAddRequest::read(&get.encode_to_vec()), Some(get));
        let bytes = text.as_bytes();
        for cut in 0..bytes.len().min(100) {
            let datum = [&[0x32, cut as u8], &bytes[..cut]].concat();
            let read = Datum::read_short(&datum);
            assert_eq!(read, str::from_utf8(&bytes[..cut]).ok().map(Datum::from), "{cut} bytes of {text:?}");
        }
    }
}

#[test]
fn what_is_unusual_is_left_to_prost() {
    let unusual = [
        &[0x9a, 0x06, 0x00][..],            // an unknown field
        &[0x8a, 0x00, 0x00],                // a key that is longer than it need be
        &[0x0b, 0x0c],                      // a group
        &[0x08, 0x01],                      // a key as varint
        &[0x0a, 0x05, 0x18],                // a key longer than its request
        &[0x0a, 0x03, 0x32, 1, 0xc3],       // a text that ends within a character
        &[0x0a, 0x04, 0x32, 2, 0xc3, 0x28], // a text that is not UTF-8
        &[0x0a, 0x0c, 0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], // a varint of 11 bytes
        &[0x0a, 0x0b, 0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], // one of more than 64 bits
    ];
    for bytes in unusual {
        assert_eq!(DictAddRequest::read(bytes), None, "{bytes:02x?}");
        AsProst::check(bytes).unwrap();
    }
}

#[test]
fn fields_that_come_twice_are_merged_as_prost_does() {
    let datum = |datum: Datum| delimited(&datum.encode_to_vec());
    let data = [Datum::Unset, Datum::from(7), Datum::from("seven"), Datum::List([Datum::Null].into())];
    for first in &data {
        for second in &data {
            for keys in [[0x0a, 0x0a], [0x0a, 0x12], [0x12, 0x12], [0x12, 0x18]] {
                let message = [&[keys[0]], &*datum(first.clone()), &[keys[1]], &*datum(second.clone())].concat();
                AsProst::check(&message).unwrap();
            }
        }
    }
}

#[test]
fn a_long_datum_is_not_taken_for_a_short_one() {
    // 6524 bytes of unknown fields, whose length has the bytes of a short datum's and whose beginning is text.
    let mut content = vec![0xfa, 0x01, 0x00];
    for _ in 0..362 {
        content.extend([0x6a, 0x10]);
        content.extend([b'a'; 0x10]);
    }
    content.extend([0x6a, 0x03, b'a', b'a', b'a']);
    assert_eq!(varint(content.len() as u64, 0), [0xfc, 0x32]);
    let message = [&[0x0a], &*delimited(&content)].concat();
    AsProst::check(&message).unwrap();
    // Cut where the short one would end.
    AsProst::check(&message[..2 + 0xfc]).unwrap();
}
