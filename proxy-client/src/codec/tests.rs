use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, Wrapping};
use std::ops::{Bound, Range, RangeInclusive};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use holdfast_proto::datum::OpaqueDatum;
use serde::{Deserialize, Serialize};

use super::*;
use Datum::{Boolean, Float, Integer, Null};

/// Writes a value and reads it back; gives the datum.
#[track_caller]
fn round<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) -> Datum {
    let datum = to_datum(&value).unwrap();
    datum.check().unwrap();
    assert_eq!(from_datum::<T>(datum.clone()).unwrap(), value, "through {datum:?}");
    datum
}

/// Also checks how it is written.
#[track_caller]
fn round_as<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, expected: Datum) {
    assert_eq!(round(value), expected);
}

#[track_caller]
fn refused<T: DeserializeOwned + Debug>(datum: Datum) -> String {
    from_datum::<T>(datum).unwrap_err().to_string()
}

fn text(text: &str) -> Datum {
    Datum::Text(text.into())
}

fn list(elements: impl IntoIterator<Item = Datum>) -> Datum {
    Datum::List(elements.into_iter().collect())
}

fn tuple(elements: impl IntoIterator<Item = Datum>) -> Datum {
    Datum::Tuple(elements.into_iter().collect())
}

fn set(elements: impl IntoIterator<Item = Datum>) -> Datum {
    Datum::Set(elements.into_iter().collect())
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Datum)>) -> Datum {
    Datum::Map(entries.into_iter().map(|(key, value)| (text(key), value)).collect())
}

fn big(bytes: &[u8]) -> Datum {
    Datum::BigInteger(bytes.into())
}

/// Bytes as bytes, as `serde_bytes` does it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Raw, E> {
                Ok(Raw(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(i32),
    Optional(Option<()>),
    Tuple(i32, String),
    None0(),
    Struct { a: i32, b: Vec<u8> },
    Point(Point),
    Empty {},
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Boolean(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Addr(IpAddr),
    Text(String),
    // Serde reads structs from sequences too: what is one comes first.
    Pair(u8, Option<Option<u8>>),
    Point(Point),
    Shape(Shape),
    Nested { nested: Option<Option<Option<u8>>>, marker: Option<()> },
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Point(Point),
    Struct { a: Option<Option<i64>>, addr: SocketAddr, bytes: Raw, shape: Shape, keys: HashMap<i32, char> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
enum Adjacent {
    Unit,
    Newtype(Option<Option<i32>>),
    Tuple(i32, f32),
    Struct { a: i8 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u64,
    #[serde(flatten)]
    point: Point,
    #[serde(flatten)]
    shape: Shape,
    #[serde(flatten)]
    maybe: Option<Meta>,
    #[serde(flatten)]
    rest: BTreeMap<String, Option<Option<bool>>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meta {
    addr: IpAddr,
    after: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FlatNumbers {
    id: u64,
    #[serde(flatten)]
    rest: BTreeMap<i64, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Attributes {
    some_long_name_that_is_longer_than_a_short_string: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<u8>,
    #[serde(skip)]
    skipped: u8,
    #[serde(alias = "other")]
    aliased: Option<String>,
}

#[test]
fn booleans_and_integers() {
    round_as(true, Boolean(true));
    round_as(false, Boolean(false));
    round_as(0u8, Integer(0));
    round_as(i8::MIN, Integer(-128));
    round(i8::MAX);
    round_as(u8::MAX, Integer(255));
    round(i16::MIN);
    round(i16::MAX);
    round(u16::MAX);
    round(i32::MIN);
    round(i32::MAX);
    round(u32::MAX);
    round_as(i64::MIN, Integer(i64::MIN));
    round_as(i64::MAX, Integer(i64::MAX));
    round(isize::MIN);
    round(usize::MAX);
    round_as(i64::MAX as u64, Integer(i64::MAX));
    round_as(i64::MAX as u64 + 1, big(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0]));
    round_as(u64::MAX, big(&[0, 255, 255, 255, 255, 255, 255, 255, 255]));
    round_as(-1i128, Integer(-1));
    round_as(i128::from(i64::MAX) + 1, big(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0]));
    round_as(i128::from(i64::MIN) - 1, big(&[255, 0x7f, 255, 255, 255, 255, 255, 255, 255]));
    round_as(i128::MIN, big(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    round_as(i128::MAX as u128 + 1, big(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    round_as(5u128, Integer(5));
    assert!(matches!(round(u128::MAX), Datum::BigInteger(bytes) if bytes.len() == 17 && bytes[0] == 0));
    round(i128::MAX);
    for shift in 0..128 {
        for value in [1u128 << shift, (1u128 << shift) - 1, u128::MAX >> shift] {
            round(value);
            round(value as i128);
            round((value as i128).wrapping_neg());
            round(value as u64);
            round(value as i64);
        }
    }
    round(NonZeroU8::MAX);
    round(Wrapping(-7i16));
}

#[test]
fn floats() {
    for value in [0.0, -0.0, 1.5, f64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::INFINITY, f64::NEG_INFINITY] {
        let Float(stored) = round(value) else { panic!("no float") };
        assert_eq!(stored.to_bits(), value.to_bits());
    }
    for value in [0.1f32, f32::MIN, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), f32::INFINITY] {
        round_as(value, Float(f64::from(value)));
    }
    assert!(from_datum::<f64>(to_datum(&f64::NAN).unwrap()).unwrap().is_nan());
    assert!(from_datum::<f32>(to_datum(&f32::NAN).unwrap()).unwrap().is_nan());
    round(Meters(2.5));
}

#[test]
fn texts_and_bytes() {
    for len in [0, 1, 22, 23, 24, 25, 1000] {
        let value = "x".repeat(len);
        round_as(value.clone(), text(&value));
        round(value.clone().into_boxed_str());
        round(std::borrow::Cow::<'static, str>::Owned(value));
    }
    round_as("grüße, 世界 🦀".to_string(), text("grüße, 世界 🦀"));
    assert_eq!(to_datum("abc").unwrap(), text("abc"));
    for value in ['a', '\0', 'ß', '世', '🦀', char::MAX] {
        round_as(value, text(&value.to_string()));
    }
    round_as(Raw(vec![0, 255]), Datum::Bytes([0, 255].into()));
    round(Raw(vec![]));
    round(CString::new("abc").unwrap());
    round_as(vec![0u8, 255], list([Integer(0), Integer(255)]));
    round(vec![1u8, 2].into_boxed_slice());
    round_as([1u8, 2], tuple([Integer(1), Integer(2)]));
    let bytes = Datum::Bytes([1, 2].into());
    assert_eq!(from_datum::<Vec<u8>>(bytes.clone()).unwrap(), [1, 2]);
    assert_eq!(from_datum::<Box<[u8]>>(bytes.clone()).unwrap()[..], [1, 2]);
    assert_eq!(from_datum::<[u8; 2]>(bytes.clone()).unwrap(), [1, 2]);
    assert_eq!(from_datum::<Vec<i64>>(bytes).unwrap(), [1, 2]);
}

#[test]
fn options() {
    round_as(None::<i32>, Null);
    round_as(Some(5), Integer(5));
    round_as((), Null);
    round_as(None::<()>, Null);
    round_as(Some(()), set([Null]));
    round_as(Some(Unit), set([Null]));
    round(Some(PhantomData::<u8>));
    round_as(Some(Some(())), set([set([Null])]));
    type Three = Option<Option<Option<i32>>>;
    round_as(None as Three, Null);
    round_as(Some(None) as Three, set([Null]));
    round_as(Some(Some(None)) as Three, set([set([Null])]));
    round_as(Some(Some(Some(5))) as Three, Integer(5));
    round_as(Some((None::<i32>,)), tuple([Null]));
    round(Some((Some(1),)));
    round(None::<(Option<i32>,)>);
    round(Some(((None::<i32>,),)));
    round(Some((Some(None::<i32>),)));
    round(vec![None, Some(None), Some(Some(vec![None, Some(())]))]);
    round(Some(vec![None::<u8>]));
    round(Some(HashSet::from([None::<u8>])));
    round(Some(BTreeSet::from([Some(None::<u8>), None])));
    round(HashMap::from([(None, Some(None)), (Some(None), None), (Some(Some(1)), Some(Some('c')))]));
    round(Some(Shape::Unit));
    round(Some(Some(Shape::Optional(None))));
    round(Some(Untagged::Nothing));
    round(Some(Some(Untagged::Nothing)));
    round(Some(Box::new(None::<Box<u8>>)));
    round(Some(serde_json::Value::Null));
    round(None::<serde_json::Value>);
    // Sets of others are sets: only one that holds nothing but null is not what it seems, and only in an option.
    assert_eq!(from_datum::<Option<Vec<i32>>>(set([Integer(1)])).unwrap(), Some(vec![1]));
    assert_eq!(from_datum::<Option<Vec<Option<i32>>>>(set([Null, Integer(1)])).unwrap(), Some(vec![None, Some(1)]));
    assert_eq!(from_datum::<HashSet<Option<i32>>>(set([Null])).unwrap(), HashSet::from([None]));
    assert_eq!(from_datum::<Option<Vec<i32>>>(set([])).unwrap(), Some(vec![]));
}

#[test]
fn containers() {
    round_as(vec![1, 2], list([Integer(1), Integer(2)]));
    round_as((1, "a".to_string(), 2.5), tuple([Integer(1), text("a"), Float(2.5)]));
    round_as((1,), tuple([Integer(1)]));
    round_as([0u8; 0], tuple([]));
    round_as(Pair(1, "a".into()), tuple([Integer(1), text("a")]));
    round_as(Point { x: 1, y: None }, map([("x", Integer(1)), ("y", Null)]));
    round_as(Unit, Null);
    round_as(Empty {}, map([]));
    round(HashSet::from([1, 2, 3]));
    round(BTreeSet::from(["a".to_string(), "b".to_string()]));
    round(VecDeque::from([1, 2]));
    round(LinkedList::from([1, 2]));
    round(vec![(); 3]);
    round(HashMap::from([((1, "a".to_string()), vec![1.5]), ((2, String::new()), vec![])]));
    round(BTreeMap::from([(Point { x: 1, y: Some(2) }, Unit), (Point { x: 1, y: None }, Unit)]));
    round(HashMap::from([(vec![Shape::Unit, Shape::Newtype(1)], 'a'), (vec![], 'b')]));
    round(HashMap::from([(u128::MAX, true), (0, false)]));
    round(BTreeMap::from([(BTreeMap::from([(1, 2)]), 3)]));
    round_as(BTreeMap::from([(1, 'a')]), Datum::Map([(Integer(1), text("a"))].into()));
    round(vec![vec![vec![Some(BTreeMap::from([(Some(1), vec![(Pair(1, "x".repeat(30)), Meters(0.5))])])); 3]; 5]; 7]);
    round((0..10_000).map(|i| (i, i.to_string())).collect::<HashMap<i32, String>>());
    round((0..200_000).collect::<Vec<u32>>());
    round(Attributes { aliased: Some("a".into()), ..Attributes::default() });
    assert_eq!(from_datum::<Attributes>(map([("other", text("b"))])).unwrap().aliased.as_deref(), Some("b"));
}

#[test]
fn types_of_the_standard_library() {
    round_as(Duration::new(1, 2), map([("secs", Integer(1)), ("nanos", Integer(2))]));
    round(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    round_as(IpAddr::V4(Ipv4Addr::LOCALHOST), text("127.0.0.1"));
    round_as(IpAddr::V6(Ipv6Addr::LOCALHOST), text("::1"));
    round("[::1]:80".parse::<SocketAddr>().unwrap());
    round_as(PathBuf::from("/a/b"), text("/a/b"));
    round(OsString::from("abc"));
    round(Range { start: 1, end: 2 });
    round(RangeInclusive::new(1u64, u64::MAX));
    round(vec![Bound::Included(1), Bound::Excluded(2), Bound::Unbounded]);
    round_as(Ok::<i32, String>(1), map([("Ok", Integer(1))]));
    round(Err::<(), _>("no".to_string()));
    round(Box::new(std::cell::Cell::new(1)));
    round(std::cmp::Reverse(1));
}

#[test]
fn enums() {
    round_as(Shape::Unit, text("Unit"));
    round_as(Shape::Newtype(1), map([("Newtype", Integer(1))]));
    round_as(Shape::Optional(None), map([("Optional", Null)]));
    round_as(Shape::Optional(Some(())), map([("Optional", set([Null]))]));
    round_as(Shape::Tuple(1, "a".into()), map([("Tuple", tuple([Integer(1), text("a")]))]));
    round_as(Shape::None0(), map([("None0", tuple([]))]));
    round_as(
        Shape::Struct { a: 1, b: vec![2] },
        map([("Struct", map([("a", Integer(1)), ("b", list([Integer(2)]))]))]),
    );
    round(Shape::Point(Point { x: 1, y: None }));
    round_as(Shape::Empty {}, map([("Empty", map([]))]));
    assert_eq!(from_datum::<Shape>(map([("Unit", Null)])).unwrap(), Shape::Unit);
}

fn shapes() -> Vec<Shape> {
    vec![
        Shape::Unit,
        Shape::Newtype(-1),
        Shape::Optional(None),
        Shape::Optional(Some(())),
        Shape::Tuple(1, "a".repeat(50)),
        Shape::None0(),
        Shape::Struct { a: 1, b: vec![1, 2] },
        Shape::Point(Point { x: 1, y: None }),
        Shape::Empty {},
    ]
}

#[test]
fn enums_without_tags() {
    round_as(Untagged::Nothing, Null);
    round_as(Untagged::Unsigned(u64::MAX), big(&[0, 255, 255, 255, 255, 255, 255, 255, 255]));
    round_as(Untagged::Signed(-1), Integer(-1));
    round(Untagged::Boolean(true));
    round(Untagged::Float(1.0));
    round(Untagged::Addr(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    round(Untagged::Text("a".repeat(30)));
    round(Untagged::Point(Point { x: 1, y: None }));
    for nested in [None, Some(None), Some(Some(None)), Some(Some(Some(1)))] {
        for marker in [None, Some(())] {
            round(Untagged::Nested { nested, marker });
        }
    }
    for value in [None, Some(None), Some(Some(1))] {
        round(Untagged::Pair(1, value));
    }
    for shape in shapes() {
        // A unit variant is a text, and that is the first to match.
        if shape != Shape::Unit {
            round(Untagged::Shape(shape));
        }
    }
}

#[test]
fn enums_with_tags_inside() {
    round_as(Internal::Unit, map([("type", text("Unit"))]));
    round_as(
        Internal::Point(Point { x: 1, y: Some(2) }),
        map([("type", text("Point")), ("x", Integer(1)), ("y", Integer(2))]),
    );
    for shape in shapes() {
        for a in [None, Some(None), Some(Some(-1))] {
            round(Internal::Struct {
                a,
                addr: "[::1]:80".parse().unwrap(),
                bytes: Raw(vec![1, 2]),
                shape: shape.clone(),
                keys: HashMap::from([(1, 'a'), (-1, 'b')]),
            });
        }
    }
    // The tag may come last.
    let datum = map([("y", Null), ("x", Integer(1)), ("type", text("Point"))]);
    assert_eq!(from_datum::<Internal>(datum).unwrap(), Internal::Point(Point { x: 1, y: None }));

    round_as(Adjacent::Unit, map([("type", text("Unit"))]));
    for value in [None, Some(None), Some(Some(1))] {
        round(Adjacent::Newtype(value));
    }
    round(Adjacent::Tuple(1, 0.1));
    round(Adjacent::Struct { a: 1 });
    let datum = map([("content", map([("a", Integer(1))])), ("type", text("Struct"))]);
    assert_eq!(from_datum::<Adjacent>(datum).unwrap(), Adjacent::Struct { a: 1 });
}

#[test]
fn flattened_fields() {
    for shape in shapes() {
        for maybe in [None, Some(Meta { addr: IpAddr::V6(Ipv6Addr::LOCALHOST), after: Duration::from_millis(1500) })] {
            // The map would take the fields of `Meta` for its own as well.
            let rest: BTreeMap<_, _> = match maybe {
                None => [("p", None), ("q", Some(None)), ("r", Some(Some(true)))]
                    .map(|(key, value)| (key.to_string(), value))
                    .into(),
                Some(_) => BTreeMap::new(),
            };
            round(Flat { id: u64::MAX, point: Point { x: 1, y: Some(2) }, shape: shape.clone(), maybe, rest });
        }
    }
    round(FlatNumbers { id: 1, rest: BTreeMap::from([(0, "a".into()), (-1, "b".into()), (i64::MAX, "c".into())]) });
}

#[test]
fn json() {
    let value = serde_json::json!({
        "null": null, "true": true, "int": -5, "max": u64::MAX, "float": 1.5, "one": 1.0, "text": "abc",
        "list": [1, [2, [], {}], null], "map": {"a": {"b": [null]}},
    });
    round(value.clone());
    round(Some(value.clone()));
    round(vec![value]);
    assert_eq!(from_datum::<serde_json::Value>(tuple([Integer(1), Null])).unwrap(), serde_json::json!([1, null]));
}

#[test]
fn numbers_of_other_languages() {
    assert_eq!(from_datum::<f64>(Integer(1)).unwrap(), 1.0);
    assert_eq!(from_datum::<f64>(Integer(0)).unwrap(), 0.0);
    assert_eq!(from_datum::<f64>(Integer(-(1 << 53))).unwrap(), -9007199254740992.0);
    assert_eq!(from_datum::<f64>(Integer(i64::MIN)).unwrap(), i64::MIN as f64);
    assert_eq!(from_datum::<f64>(to_datum(&u64::MAX).unwrap()).ok(), None);
    assert_eq!(from_datum::<f64>(to_datum(&(1u128 << 127)).unwrap()).unwrap(), 2f64.powi(127));
    assert_eq!(from_datum::<f32>(Integer(1 << 24)).unwrap(), 16777216.0);
    assert_eq!(from_datum::<f32>(Float(0.1)).unwrap(), 0.1);
    assert_eq!(
        refused::<f64>(Integer((1 << 53) + 1)),
        "expected f64, found the integer 9007199254740993, which no such float equals"
    );
    assert_eq!(
        refused::<f64>(Integer(i64::MAX)),
        "expected f64, found the integer 9223372036854775807, which no such float equals"
    );
    assert!(from_datum::<f64>(to_datum(&i128::MAX).unwrap()).is_err());
    assert!(from_datum::<f64>(to_datum(&u128::MAX).unwrap()).is_err());
    assert!(from_datum::<f32>(Integer((1 << 24) + 1)).is_err());
    assert_eq!(refused::<f32>(Float(1e300)), "expected f32, found the float 1e300");
    assert_eq!(refused::<i64>(Float(1.0)), "expected i64, found the float 1.0");
    // Written with more bytes than it takes.
    assert_eq!(from_datum::<i8>(big(&[255; 40])).unwrap(), -1);
    assert_eq!(from_datum::<u8>(big(&[])).unwrap(), 0);
    assert_eq!(from_datum::<serde_json::Value>(big(&[0; 9])).unwrap(), serde_json::json!(0));
}

#[test]
fn out_of_range() {
    assert_eq!(refused::<i8>(Integer(128)), "expected i8, found the integer 128");
    assert_eq!(refused::<u8>(Integer(-1)), "expected u8, found the integer -1");
    assert_eq!(refused::<u64>(Integer(-1)), "expected u64, found the integer -1");
    assert_eq!(refused::<u128>(Integer(-1)), "expected u128, found the integer -1");
    assert_eq!(refused::<i64>(to_datum(&u64::MAX).unwrap()), "expected i64, found the integer 18446744073709551615");
    assert_eq!(
        refused::<i128>(to_datum(&u128::MAX).unwrap()),
        format!("expected i128, found the integer {}", u128::MAX)
    );
    assert_eq!(
        refused::<u128>(to_datum(&i128::MIN).unwrap()),
        format!("expected u128, found the integer {}", i128::MIN)
    );
    let huge = "found an integer of more than 128 bits";
    assert_eq!(refused::<u128>(big(&[1; 17])), format!("expected u128, {huge}"));
    assert_eq!(refused::<u128>(big(&[128; 17])), format!("expected u128, {huge}"));
    assert_eq!(
        refused::<i128>(big(&[255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        format!("expected i128, {huge}")
    );
    assert_eq!(refused::<f64>(big(&[1; 17])), format!("expected f64, {huge}, which no such float equals"));
    assert_eq!(refused::<String>(big(&[1; 17])), format!("expected a string, {huge}"));
    assert!(from_datum::<NonZeroU8>(Integer(0)).is_err());
}

#[test]
fn mismatches_name_both_types() {
    assert_eq!(refused::<i64>(text("abc")), "expected i64, found the text \"abc\"");
    assert_eq!(
        refused::<i64>(text(&"ü".repeat(100))),
        format!("expected i64, found the text \"{}\"... (200 bytes)", "ü".repeat(64))
    );
    assert_eq!(refused::<i64>(Boolean(true)), "expected i64, found the boolean true");
    assert_eq!(refused::<bool>(Integer(1)), "expected a boolean, found the integer 1");
    assert_eq!(refused::<f64>(Boolean(true)), "expected f64, found the boolean true");
    assert_eq!(refused::<i64>(Null), "expected i64, found null");
    assert_eq!(refused::<()>(Integer(1)), "expected unit, found the integer 1");
    assert_eq!(refused::<String>(Integer(1)), "expected a string, found the integer 1");
    assert_eq!(refused::<String>(Datum::Bytes([65].into())), "expected a string, found 1 bytes");
    assert_eq!(refused::<char>(text("ab")), "expected a character, found the text \"ab\"");
    assert_eq!(refused::<Raw>(text("ab")), "expected bytes, found the text \"ab\"");
    assert_eq!(refused::<Vec<u8>>(map([])), "expected a sequence, found a map");
    assert_eq!(refused::<HashMap<u8, u8>>(list([])), "expected a map, found a sequence");
    assert_eq!(refused::<Point>(Integer(1)), "expected struct Point, found the integer 1");
    assert_eq!(refused::<Point>(map([("y", Integer(1))])), "missing field `x`");
    assert!(refused::<Point>(Datum::Map([(Integer(0), Integer(1))].into())).contains("found the integer 0"));
    assert_eq!(refused::<(u8, u8)>(tuple([1, 2, 3].map(Integer))), "expected 2 elements, found 3 elements");
    assert_eq!(refused::<(u8, u8)>(tuple([Integer(1)])), "expected a tuple of size 2, found 1 of them");
    assert_eq!(refused::<[u8; 1]>(Datum::Bytes([1, 2].into())), "expected 1 bytes, found 2 bytes");
    assert_eq!(refused::<Unit>(text("Unit")), "expected unit struct Unit, found the text \"Unit\"");
    assert_eq!(refused::<i32>(Datum::Unset), "expected i32, found a datum with nothing set");
    assert_eq!(refused::<Option<u8>>(Datum::Unset), "expected u8, found a datum with nothing set");
    let opaque = OpaqueDatum { codec: "pickle".into(), data: [1].into() };
    assert_eq!(
        refused::<serde_json::Value>(Datum::Opaque(opaque.into())),
        "expected any valid JSON value, found 1 bytes of \"pickle\""
    );
    assert_eq!(refused::<Shape>(Integer(1)), "expected enum Shape, found the integer 1");
    assert_eq!(refused::<Shape>(map([])), "expected enum Shape, found a map of 0 entries");
    assert_eq!(
        refused::<Shape>(Datum::Map([(Null, Null)].into())),
        "expected enum Shape, found a map without a text as key"
    );
    assert_eq!(
        refused::<Shape>(text("Newtype")),
        "expected a variant with a payload, found a variant without a payload"
    );
    assert_eq!(
        refused::<Shape>(map([("Unit", Integer(1))])),
        "expected a variant without a payload, found a variant with a payload"
    );
    assert!(refused::<Shape>(text("Nope")).starts_with("unknown variant `Nope`, expected one of `Unit`"));
}

#[test]
fn depth() {
    fn nest(levels: usize) -> serde_json::Value {
        (0..levels).fold(serde_json::Value::Bool(true), |value, _| vec![value].into())
    }
    round(nest(32));
    assert_eq!(to_datum(&nest(33)), Err(CodecError::TooDeep));
    assert_eq!(CodecError::TooDeep.to_string(), "nested deeper than 32 levels");

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Tuple(Box<Tree>, u8),
        Some(Box<Tree>),
        Struct { inner: Box<Tree> },
    }
    fn grow(levels: usize, wrap: fn(Box<Tree>) -> Tree) -> Tree {
        (0..levels).fold(Tree::Leaf, |tree, _| wrap(Box::new(tree)))
    }
    round(grow(32, Tree::Some));
    assert_eq!(to_datum(&grow(33, Tree::Some)), Err(CodecError::TooDeep));
    round(grow(16, |inner| Tree::Tuple(inner, 1)));
    assert_eq!(to_datum(&grow(17, |inner| Tree::Tuple(inner, 1))), Err(CodecError::TooDeep));
    round(grow(16, |inner| Tree::Struct { inner }));
    assert_eq!(to_datum(&grow(17, |inner| Tree::Struct { inner })), Err(CodecError::TooDeep));

    // Nothing but options: what is in them is not what bounds them.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Somes(Option<Box<Somes>>);
    fn somes(levels: usize) -> Somes {
        (0..levels).fold(Somes(None), |inner, _| Somes(Some(Box::new(inner))))
    }
    round(somes(32));
    assert_eq!(to_datum(&somes(33)), Err(CodecError::TooDeep));
    assert_eq!(from_datum::<Somes>(Integer(5)), Err(CodecError::TooDeep));
    // And in a list the sets that stand for them count.
    round(vec![somes(31)]);
    assert_eq!(to_datum(&vec![somes(32)]), Err(CodecError::TooDeep));
}

/// A source of values: the same for the same seed (splitmix64).
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn many<T>(&mut self, most: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(3) > 0).then(|| make(self))
    }

    /// Often at an edge.
    fn wide(&mut self) -> u128 {
        let all = u128::from(self.next()) << 64 | u128::from(self.next());
        match self.below(4) {
            0 => (1 << self.below(128)) - u128::from(self.below(2) as u8),
            1 => !(all >> self.below(128)),
            _ => all >> self.below(128),
        }
    }

    fn text(&mut self) -> String {
        let len = [0, 1, 5, 23, 24, 25, 100][self.below(7) as usize];
        (0..len).map(|_| char::from_u32(self.below(0x11_0000) as u32).unwrap_or('é')).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Anything {
    Unit,
    Nothing(()),
    Boolean(bool),
    Small(i8, u16),
    Signed(i64),
    Unsigned(u64),
    Wide { signed: i128, unsigned: u128 },
    Bits(u32),
    Char(char),
    Text(String),
    Options(Option<Option<Option<Box<Anything>>>>),
    Marker(Option<Option<()>>),
    One((Option<Box<Anything>>,)),
    List(Vec<Anything>),
    Set(BTreeSet<Option<Anything>>),
    Map(BTreeMap<Anything, Option<Anything>>),
    Struct { a: Box<Anything>, b: Option<(Box<Anything>,)>, c: [u8; 3] },
    Tagged(Tagged),
    Loose(Loose),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "tag")]
enum Tagged {
    A { a: Option<Option<u8>>, more: Vec<Option<Tagged>> },
    B { text: String, unit: Option<()>, unit2: () },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
    Fields { options: Vec<Option<Option<Loose>>> },
    Pair(u8, Option<Box<Loose>>),
}

impl Anything {
    fn new(source: &mut Source, depth: u32) -> Self {
        let inner = |source: &mut Source| Self::new(source, depth.saturating_sub(1));
        match source.below(if depth == 0 { 10 } else { 19 }) {
            0 => Self::Unit,
            1 => Self::Nothing(()),
            2 => Self::Boolean(source.below(2) == 0),
            3 => Self::Small(source.next() as i8, source.next() as u16),
            4 => Self::Signed(source.wide() as i64),
            5 => Self::Unsigned(source.wide() as u64),
            6 => Self::Wide { signed: source.wide() as i128, unsigned: source.wide() },
            7 => Self::Bits(source.next() as u32),
            8 => Self::Char(source.text().chars().next().unwrap_or('a')),
            9 => Self::Text(source.text()),
            10 => Self::Options(source.maybe(|s| s.maybe(|s| s.maybe(|s| inner(s).into())))),
            11 => Self::Marker(source.maybe(|s| s.maybe(|_| ()))),
            12 => Self::One((source.maybe(|s| inner(s).into()),)),
            13 => Self::List(source.many(4, inner)),
            14 => Self::Set(source.many(4, |s| s.maybe(inner)).into_iter().collect()),
            15 => Self::Map(source.many(4, |s| (inner(s), s.maybe(inner))).into_iter().collect()),
            16 => Self::Struct {
                a: inner(source).into(),
                b: source.maybe(|s| (inner(s).into(),)),
                c: [0; 3].map(|_: u8| source.next() as u8),
            },
            17 => Self::Tagged(Tagged::new(source, depth)),
            _ => Self::Loose(Loose::new(source, depth)),
        }
    }
}

impl Tagged {
    fn new(source: &mut Source, depth: u32) -> Self {
        match source.below(2) {
            0 if depth > 0 => Self::A {
                a: source.maybe(|s| s.maybe(|s| s.next() as u8)),
                more: source.many(3, |s| s.maybe(|s| Self::new(s, depth - 1))),
            },
            _ => Self::B { text: source.text(), unit: source.maybe(|_| ()), unit2: () },
        }
    }
}

impl Loose {
    fn new(source: &mut Source, depth: u32) -> Self {
        match source.below(if depth == 0 { 2 } else { 4 }) {
            0 => Self::Number(source.next() as i64),
            1 => Self::Text(source.text()),
            2 => Self::Fields { options: source.many(3, |s| s.maybe(|s| s.maybe(|s| Self::new(s, depth - 1)))) },
            _ => Self::Pair(source.next() as u8, source.maybe(|s| Self::new(s, depth - 1).into())),
        }
    }
}

#[test]
fn anything() {
    for seed in 0..5_000 {
        round(Anything::new(&mut Source(seed), (seed % 7) as u32));
    }
}
