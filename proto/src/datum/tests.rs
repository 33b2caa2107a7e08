use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};

use bytes::Buf;
use proptest::prelude::*;
use prost::Message;

use super::{CODEC_BYTES, DEPTH, Datum, Invalid, Named, OpaqueDatum, Reference};

/// What prost makes of `datum.proto`.
mod twin {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Datum {
        #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
        pub(super) kind: Option<Kind>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Kind {
        #[prost(int32, tag = "1")]
        Null(i32),
        #[prost(bool, tag = "2")]
        Boolean(bool),
        #[prost(sint64, tag = "3")]
        Integer(i64),
        #[prost(bytes = "vec", tag = "4")]
        BigInteger(Vec<u8>),
        #[prost(double, tag = "5")]
        Float(f64),
        #[prost(string, tag = "6")]
        Text(String),
        #[prost(bytes = "vec", tag = "7")]
        Bytes(Vec<u8>),
        #[prost(message, tag = "8")]
        List(Sequence),
        #[prost(message, tag = "9")]
        Tuple(Sequence),
        #[prost(message, tag = "10")]
        Set(Sequence),
        #[prost(message, tag = "11")]
        Map(Map),
        #[prost(message, tag = "12")]
        Opaque(Opaque),
        #[prost(message, tag = "13")]
        Reference(crate::Reference),
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Sequence {
        #[prost(message, repeated, tag = "1")]
        pub(super) elements: Vec<Datum>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Map {
        #[prost(message, repeated, tag = "1")]
        pub(super) entries: Vec<Entry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Entry {
        #[prost(message, optional, tag = "1")]
        pub(super) key: Option<Datum>,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<Datum>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Opaque {
        #[prost(string, tag = "1")]
        pub(super) codec: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) data: Vec<u8>,
    }

    impl From<&super::Datum> for Datum {
        fn from(datum: &super::Datum) -> Self {
            use super::Datum as D;
            let sequence = |elements: &[D]| Sequence { elements: elements.iter().map(Self::from).collect() };
            let part = |datum: &D| (*datum != D::Unset).then(|| Self::from(datum));
            let kind = match datum {
                D::Unset => return Self { kind: None },
                D::Null => Kind::Null(0),
                D::Boolean(boolean) => Kind::Boolean(*boolean),
                D::Integer(integer) => Kind::Integer(*integer),
                D::BigInteger(bytes) => Kind::BigInteger(bytes.to_vec()),
                D::Float(float) => Kind::Float(*float),
                D::Text(text) => Kind::Text(text.to_string()),
                D::Bytes(bytes) => Kind::Bytes(bytes.to_vec()),
                D::List(elements) => Kind::List(sequence(elements)),
                D::Tuple(elements) => Kind::Tuple(sequence(elements)),
                D::Set(elements) => Kind::Set(sequence(elements)),
                D::Map(entries) => Kind::Map(Map {
                    entries: entries.iter().map(|(key, value)| Entry { key: part(key), value: part(value) }).collect(),
                }),
                D::Reference(reference) => {
                    let object = reference.object();
                    let object = if object == [0; 16] { Vec::new() } else { object.into() };
                    Kind::Reference(crate::Reference { handle: reference.handle(), kind: reference.kind(), object })
                }
                D::Opaque(opaque) => {
                    Kind::Opaque(Opaque { codec: opaque.codec.to_string(), data: opaque.data.to_vec() })
                }
            };
            Self { kind: Some(kind) }
        }
    }
}

pub(crate) fn any_datum() -> impl Strategy<Value = Datum> {
    let leaf = prop_oneof![
        Just(Datum::Unset),
        Just(Datum::Null),
        any::<bool>().prop_map(Datum::Boolean),
        any::<i64>().prop_map(Datum::Integer),
        (-70i64..70).prop_map(Datum::Integer),
        any::<f64>().prop_filter("a NaN equals nothing", |float| !float.is_nan()).prop_map(Datum::Float),
        "\\PC{0,40}".prop_map(|text| Datum::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Datum::Bytes(bytes.into())),
        prop::collection::vec(any::<u8>(), 9..20).prop_map(|bytes| Datum::BigInteger(bytes.into())),
        ("[a-z]{0,30}", prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(codec, data)| {
            Datum::Opaque(Box::new(OpaqueDatum { codec: codec.into(), data: data.into() }))
        }),
        (0u32..300, 0u32..9, any::<bool>(), any::<[u8; 16]>()).prop_map(|(handle, kind, known, object)| {
            let object = if known { object } else { [0; 16] };
            Datum::Reference(Reference::new(Arc::new(Named { handle, kind, object })))
        }),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|elements| Datum::List(elements.into())),
            prop::collection::vec(inner.clone(), 0..6).prop_map(|elements| Datum::Tuple(elements.into())),
            prop::collection::vec(inner.clone(), 0..6).prop_map(|elements| Datum::Set(elements.into())),
            prop::collection::vec((inner.clone(), inner), 0..6).prop_map(|entries| Datum::Map(entries.into())),
        ]
    })
}

/// `levels` containers inside each other, encoded, around a null.
fn nested(levels: u32, container: fn(Datum) -> Datum) -> Vec<u8> {
    (0..levels).fold(Datum::Null, |inner, _| container(inner)).encode_to_vec()
}

fn list_of(inner: Datum) -> Datum {
    Datum::List([inner].into())
}

fn map_of(inner: Datum) -> Datum {
    Datum::Map([(Datum::Null, inner)].into())
}

proptest! {
    #[test]
    fn reads_and_writes_what_prost_does(datum in any_datum()) {
        let twin = twin::Datum::from(&datum);
        let encoded = twin.encode_to_vec();
        prop_assert_eq!(datum.encoded_len(), encoded.len());
        prop_assert_eq!(&datum.encode_to_vec(), &encoded);
        prop_assert_eq!(&Datum::decode(&*encoded).unwrap(), &datum);
        prop_assert_eq!(twin::Datum::decode(&*datum.encode_to_vec()).unwrap(), twin);
    }

    #[test]
    fn reads_what_lies_in_pieces(datum in any_datum(), at in any::<prop::sample::Index>()) {
        let encoded = datum.encode_to_vec();
        let (head, tail) = encoded.split_at(at.index(encoded.len() + 1));
        prop_assert_eq!(Datum::decode(head.chain(tail)).unwrap(), datum);
    }

    #[test]
    fn takes_and_refuses_the_bytes_that_prost_does(
        datum in any_datum(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = datum.encode_to_vec();
        for (at, byte) in changes.iter().filter(|_| !datum.encode_to_vec().is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)]] {
            let read = Datum::decode(bytes);
            prop_assert_eq!(read.is_ok(), twin::Datum::decode(bytes).is_ok());
            if let Ok(read) = read {
                prop_assert_eq!(Datum::decode(&*read.encode_to_vec()).unwrap().encode_to_vec(), read.encode_to_vec());
                let _ = (read.check(), read.bytes(), read.brief().to_string());
            }
        }
    }

    #[test]
    fn takes_and_refuses_the_noise_that_prost_does(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(Datum::decode(&*bytes).is_ok(), twin::Datum::decode(&*bytes).is_ok());
    }

    #[test]
    fn every_brief_is_brief(datum in any_datum()) {
        let brief = datum.brief().to_string();
        prop_assert!(brief.chars().count() < 500 && !brief.contains(char::is_control), "{}", brief);
    }
}

#[test]
fn the_last_field_wins() {
    let fields = [list_of(Datum::Null), Datum::from(7), Datum::from("seven"), list_of(Datum::from(8))];
    let mut message = Vec::new();
    for field in fields {
        field.encode(&mut message).unwrap();
        message.extend([0xa2, 0x06, 0x01, b'?']); // field 100: unknown
        assert_eq!(Datum::decode(&*message).unwrap(), field);
    }
}

#[test]
fn a_message_of_unknown_fields_is_unset() {
    assert_eq!(Datum::decode(&[][..]).unwrap(), Datum::Unset);
    assert_eq!(Datum::decode(&[0x70, 0x01][..]).unwrap(), Datum::Unset);
}

#[test]
fn refuses_what_is_no_datum() {
    let refused = [
        (&[0x32, 0x02, 0xc3, 0x28][..], "UTF-8"),
        (&[0x32, 0x05, b'a'], "longer"),
        (&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "longer"),
        (&[0x1a, 0x00], "wire type"),
        (&[0x30, 0x00], "wire type"),
        (&[0x29, 0x00], "cut off"),
        (&[0x18], "varint"),
        (&[0x42, 0x05, 0x0a, 0x00], ""),
    ];
    for (bytes, why) in refused {
        let error = Datum::decode(bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{bytes:?}: {error}");
    }
}

#[test]
fn nesting_ends_at_the_limit() {
    for container in [list_of, map_of] {
        let deepest = Datum::decode(&*nested(DEPTH, container)).unwrap();
        assert_eq!(deepest.check(), Ok(()));
        assert_eq!(container(deepest).check(), Err(Invalid::TooDeep));
        for levels in [DEPTH + 1, 1000] {
            let error = Datum::decode(&*nested(levels, container)).unwrap_err().to_string();
            assert!(error.contains("more than 32 levels"), "{error}");
        }
    }
}

#[test]
fn check_finds_what_is_not_valid_at_any_depth() {
    let big = |bytes: &[u8]| Datum::BigInteger(bytes.into());
    let opaque = |codec: String| Datum::Opaque(Box::new(OpaqueDatum { codec: codec.into(), data: [].into() }));
    let shortest: [&[u8]; 4] = [
        &[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0],
        &[0x01, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for valid in
        shortest.map(big).into_iter().chain([opaque("c".repeat(CODEC_BYTES)), Datum::Null, Datum::from(f64::NAN)])
    {
        assert_eq!(map_of(list_of(valid)).check(), Ok(()));
    }
    let invalid = [
        (Datum::Unset, Invalid::Unset),
        (big(&[]), Invalid::BigInteger),
        (big(&[0x01; 8]), Invalid::BigInteger),
        (big(&[0x00, 0x7f, 0, 0, 0, 0, 0, 0, 0]), Invalid::BigInteger),
        (big(&[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Invalid::BigInteger),
        (opaque("c".repeat(CODEC_BYTES + 1)), Invalid::Codec(CODEC_BYTES + 1)),
    ];
    for (datum, why) in invalid {
        for place in [
            datum.clone(),
            list_of(datum.clone()),
            map_of(list_of(datum.clone())),
            Datum::Map([(datum, Datum::Null)].into()),
        ] {
            assert_eq!(place.check(), Err(why), "{place:?}");
        }
    }
}

#[test]
fn bytes_counts_by_the_rule() {
    let text = |len: usize| Datum::from(&*"t".repeat(len));
    let costs = [
        (Datum::Null, 24),
        (Datum::from(i64::MAX), 24),
        (text(24), 24),
        (text(25), 49),
        (Datum::Bytes([0; 10].into()), 34),
        (list_of(text(30)), 24 + 54),
        (map_of(Datum::from(1.5)), 72),
        (Datum::Opaque(Box::new(OpaqueDatum { codec: "pickle".into(), data: [0; 4].into() })), 58),
    ];
    for (datum, bytes) in costs {
        assert_eq!(datum.bytes(), bytes, "{datum:?}");
    }
}

#[test]
fn briefs() {
    let briefs = [
        (Datum::from("a\n"), "\"a\\n\"".to_string()),
        (Datum::from(&*"ü".repeat(65)), format!("{:?}... (130 bytes)", "ü".repeat(64))),
        (Datum::from(2.0), "2.0".to_string()),
        (Datum::from(-3), "-3".to_string()),
        (list_of(Datum::Null), "a list of 1".to_string()),
        (Datum::Bytes(vec![0xab; 2].into()), "bytes abab".to_string()),
    ];
    for (datum, brief) in briefs {
        assert_eq!(datum.brief().to_string(), brief);
    }
}
