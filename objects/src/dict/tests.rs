use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use holdfast_proto::dict_compare_and_set_request::Expected;
use holdfast_proto::{DictClearRequest, DictLenRequest, DictPopItemRequest};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::testing::{Source, Tested as _, naively_equal};
use crate::{CallId, Room, SessionId};

fn creation() -> Creation {
    Creation { seed: 7, room: Room::new(u64::MAX, "object_bytes") }
}

fn dict() -> Dict {
    Dict::create(Spec {}, &mut creation()).unwrap()
}

fn turn(index: u64, room: u64) -> Turn {
    Turn::new(index, CallId { session: SessionId([1; 16]), number: index }, 1 << 16, Room::new(room, "object_bytes"))
}

// The ops, briefly.

fn key(key: impl Into<Datum>) -> Option<Datum> {
    Some(key.into())
}

fn get(k: impl Into<Datum>) -> Op {
    Op::Get(DictGetRequest { key: key(k) })
}

fn set(k: impl Into<Datum>, value: impl Into<Datum>) -> Op {
    Op::Set(DictSetRequest { key: key(k), value: Some(value.into()) })
}

fn delete(k: impl Into<Datum>) -> Op {
    Op::Delete(DictDeleteRequest { key: key(k) })
}

fn contains(k: impl Into<Datum>) -> Op {
    Op::Contains(DictContainsRequest { key: key(k) })
}

fn len() -> Op {
    Op::Len(DictLenRequest {})
}

fn pop(k: impl Into<Datum>, default: Option<i64>) -> Op {
    Op::Pop(DictPopRequest { key: key(k), default: default.map(Datum::from) })
}

fn pop_item() -> Op {
    Op::PopItem(DictPopItemRequest {})
}

fn set_default(k: impl Into<Datum>, default: i64) -> Op {
    Op::SetDefault(DictSetDefaultRequest { key: key(k), default: Some(default.into()) })
}

fn update(entries: &[(&str, i64)]) -> Op {
    let entry = |(k, value): &(&str, i64)| Entry { key: key(*k), value: Some((*value).into()) };
    Op::Update(DictUpdateRequest { entries: entries.iter().map(entry).collect() })
}

fn get_many(keys: &[&str], bytes: u32) -> Op {
    Op::GetMany(DictGetManyRequest { keys: keys.iter().map(|key| Datum::from(*key)).collect(), bytes })
}

fn scan(cursor: u64, what: ScanWhat, bytes: u32) -> Op {
    Op::Scan(DictScanRequest { cursor, what: what as i32, bytes })
}

fn clear() -> Op {
    Op::Clear(DictClearRequest {})
}

fn add(k: impl Into<Datum>, delta: impl Into<Datum>) -> Op {
    Op::Add(DictAddRequest { key: key(k), delta: Some(delta.into()) })
}

fn swap(k: &str, expected: Expected, new: Option<i64>) -> Op {
    Op::CompareAndSet(DictCompareAndSetRequest { key: key(k), expected: Some(expected), new: new.map(Datum::from) })
}

fn is(value: impl Into<Datum>) -> Expected {
    Expected::Value(value.into())
}

// The answers, briefly.

fn show(datum: Option<&Datum>) -> String {
    datum.map_or("-".to_owned(), |datum| format!("{}", datum.brief()))
}

fn show_answer(answer: Answer<Reply>) -> String {
    let reply = match answer {
        Answer::Done(reply) => reply,
        Answer::Refused(refusal) => return format!("{:?}", refusal.why()),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    };
    match reply {
        Reply::Get(found) => format!("{} v{}", show(found.value.as_ref()), found.version),
        Reply::Set(_) | Reply::Delete(_) | Reply::Update(_) => "ok".to_owned(),
        Reply::Contains(answer) => format!("{}", answer.contains),
        Reply::Len(answer) => format!("{}", answer.len),
        Reply::Pop(answer) => show(answer.value.as_ref()),
        Reply::PopItem(answer) => format!("{}: {}", show(answer.key.as_ref()), show(answer.value.as_ref())),
        Reply::SetDefault(answer) => {
            format!("{}{}", show(answer.value.as_ref()), if answer.inserted { " new" } else { "" })
        }
        Reply::GetMany(answer) => {
            answer.lookups.iter().map(|lookup| show(lookup.value.as_ref())).collect::<Vec<_>>().join(" ")
        }
        Reply::Scan(page) => {
            let entry = |entry: &Entry| format!("{}:{} ", show(entry.key.as_ref()), show(entry.value.as_ref()));
            format!("{}next {}", page.entries.iter().map(entry).collect::<String>(), page.cursor)
        }
        Reply::Clear(answer) => format!("{} removed", answer.removed),
        Reply::Add(answer) => show(answer.value.as_ref()),
        Reply::CompareAndSet(answer) => {
            let done = if answer.swapped { "swapped" } else { "kept" };
            format!("{done} {} v{}", show(answer.value.as_ref()), answer.version)
        }
    }
}

/// Runs a scenario on a new dict; the first line has index 1.
fn check(scenario: Vec<(Op, &str)>) {
    let mut dict = dict();
    for (line, (op, expected)) in scenario.into_iter().enumerate() {
        let shown = format!("line {}: {op:?}", line + 1);
        let answer = dict.apply(op, &mut turn(line as u64 + 1, 1 << 30));
        assert_eq!(show_answer(answer), expected, "{shown}");
    }
}

#[test]
fn single_keys() {
    check(vec![
        (get("a"), "- v0"),
        (set("a", 1), "ok"),
        (get("a"), "1 v2"),
        (set("a", "x"), "ok"),
        (get("a"), "\"x\" v4"),
        (contains("a"), "true"),
        (contains("b"), "false"),
        (delete("b"), "MissingKey"),
        (delete("a"), "ok"),
        (delete("a"), "MissingKey"),
        (len(), "0"),
    ]);
}

#[test]
fn keys_compare_as_in_python_and_keep_their_first_form() {
    check(vec![
        (set(1, "int"), "ok"),
        (set(1.0, "float"), "ok"),
        (set(true, "bool"), "ok"),
        (set("1", "text"), "ok"),
        (scan(0, ScanWhat::Items, 0), "1:\"bool\" \"1\":\"text\" next 0"),
        (get(f64::NAN), "NanKey"),
        (set(Datum::Tuple([f64::NAN.into()].into()), 1), "NanKey"),
        (set("nan", f64::NAN), "ok"),
        (get("nan"), "NaN v8"),
    ]);
}

#[test]
fn pops() {
    check(vec![
        (pop_item(), "Empty"),
        (update(&[("a", 1), ("b", 2), ("c", 3)]), "ok"),
        (set("a", 9), "ok"),
        (pop_item(), "\"c\": 3"),
        (pop("a", Some(0)), "9"),
        (pop("a", Some(0)), "0"),
        (pop("a", None), "MissingKey"),
        (pop_item(), "\"b\": 2"),
        (pop_item(), "Empty"),
    ]);
}

#[test]
fn compound_writes() {
    check(vec![
        (set_default("a", 1), "1 new"),
        (set_default("a", 2), "1"),
        (update(&[("b", 2), ("a", 3), ("b", 4)]), "ok"),
        (scan(0, ScanWhat::Items, 0), "\"a\":3 \"b\":4 next 0"),
        (get_many(&["b", "x", "a", "b"], 0), "4 - 3 4"),
        (get("b"), "4 v3"),
        (clear(), "2 removed"),
        (clear(), "0 removed"),
        (get_many(&[], 0), ""),
    ]);
}

#[test]
fn addition() {
    check(vec![
        (add("n", 5), "5"),
        (add("n", -7), "-2"),
        (add("n", 0.5), "-1.5"),
        (get("n"), "-1.5 v3"),
        (add("f", 0.5), "0.5"),
        (set("max", i64::MAX), "ok"),
        (add("max", 1), "Overflow"),
        (set("t", "text"), "ok"),
        (add("t", 1), "WrongType"),
        (set("b", true), "ok"),
        (add("b", 1), "WrongType"),
        (add("n", true), "WrongType"),
        (add("new", "x"), "WrongType"),
        (len(), "5"),
    ]);
}

#[test]
fn compare_and_set_by_value_and_version() {
    check(vec![
        (swap("a", is(1), Some(2)), "kept - v0"),
        (swap("a", Expected::Version(0), Some(1)), "swapped 1 v2"),
        (swap("a", Expected::Version(0), Some(3)), "kept 1 v2"),
        (swap("a", is(1.0), Some(2)), "swapped 2 v4"),
        (swap("a", is(1), Some(9)), "kept 2 v4"),
        (swap("a", Expected::Version(4), None), "swapped - v0"),
        (swap("a", Expected::Version(0), None), "swapped - v0"),
        (set("nan", f64::NAN), "ok"),
        (swap("nan", is(f64::NAN), None), "kept NaN v8"),
        (swap("nan", Expected::Version(8), None), "swapped - v0"),
        (len(), "0"),
    ]);
}

#[test]
fn pages() {
    let five = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)];
    check(vec![
        (update(&five), "ok"),
        (scan(0, ScanWhat::Keys, 1), "\"a\":- next 2"),
        (delete("b"), "ok"),
        (scan(2, ScanWhat::Values, 12), "-:3 -:4 next 5"),
        (set("d", 9), "ok"),
        (set("b", 8), "ok"),
        (scan(5, ScanWhat::Items, 0), "\"e\":5 \"b\":8 next 0"),
        (scan(99, ScanWhat::Items, 0), "next 0"),
        (get_many(&["a", "c", "d"], 1), "1"),
        (get_many(&["c", "d"], 1), "3"),
        (Op::Scan(DictScanRequest { cursor: 0, what: 3, bytes: 0 }), "Malformed"),
    ]);
}

#[test]
fn a_page_is_never_larger_than_the_managers() {
    let mut dict = dict();
    let entries: Vec<_> = (0..1000).map(|n| Entry { key: key(n), value: key("v") }).collect();
    let _ = dict.apply(Op::Update(DictUpdateRequest { entries }), &mut turn(1, 1 << 30));
    let mut small = turn(2, 0);
    small.page_bytes = 200;
    for asked in [0, 200, 100_000] {
        let Answer::Done(Reply::Scan(page)) = dict.apply(scan(0, ScanWhat::Items, asked), &mut small) else {
            panic!("a scan is refused");
        };
        assert!((200..220).contains(&DictScanResponse { cursor: 0, ..page }.encoded_len()));
    }
}

#[test]
fn what_is_missing_or_not_valid_is_malformed() {
    let unset = || Some(Datum::Unset);
    let twice = Datum::Set([1.into(), 1.0.into()].into());
    let malformed = [
        (Op::Get(DictGetRequest { key: None }), "key"),
        (Op::Get(DictGetRequest { key: unset() }), "key"),
        (Op::Set(DictSetRequest { key: key(1), value: None }), "value"),
        (Op::Set(DictSetRequest { key: key(1), value: unset() }), "value"),
        (Op::Set(DictSetRequest { key: key(1), value: Some(twice) }), "twice"),
        (Op::Delete(DictDeleteRequest { key: None }), "key"),
        (Op::Contains(DictContainsRequest { key: None }), "key"),
        (Op::Pop(DictPopRequest { key: None, default: None }), "key"),
        (Op::Pop(DictPopRequest { key: key(1), default: unset() }), "default"),
        (Op::SetDefault(DictSetDefaultRequest { key: key(1), default: None }), "default"),
        (Op::Update(DictUpdateRequest { entries: vec![Entry { key: None, value: key(1) }] }), "key"),
        (Op::Update(DictUpdateRequest { entries: vec![Entry { key: key(1), value: None }] }), "value"),
        (Op::GetMany(DictGetManyRequest { keys: vec![Datum::Unset], bytes: 0 }), "keys"),
        (Op::Add(DictAddRequest { key: key(1), delta: None }), "delta"),
        (Op::CompareAndSet(DictCompareAndSetRequest { key: key(1), expected: None, new: key(1) }), "expects"),
        (
            Op::CompareAndSet(DictCompareAndSetRequest { key: key(1), expected: Some(is(Datum::Unset)), new: key(1) }),
            "value",
        ),
        (Op::CompareAndSet(DictCompareAndSetRequest { key: key(1), expected: Some(is(1)), new: unset() }), "new"),
    ];
    for (op, named) in malformed {
        let shown = format!("{op:?}");
        let Answer::Refused(refusal) = dict().apply(op, &mut turn(1, 1 << 30)) else { panic!("{shown}") };
        assert_eq!(refusal.why(), Reason::Malformed, "{shown}");
        assert!(refusal.message.contains(named), "{shown}: {refusal}");
    }
}

#[test]
fn messages_show_long_keys_abbreviated() {
    let Answer::Refused(refusal) = dict().apply(delete(&*"k".repeat(1000)), &mut turn(1, 0)) else { panic!() };
    assert_eq!(refusal.message, format!("the dict has no key {:?}... (1000 bytes)", "k".repeat(64)));
}

#[test]
fn an_entry_costs_its_key_its_value_and_24_bytes() {
    let mut dict = dict();
    let mut room = turn(1, 100);
    let _ = dict.apply(set("a", 1), &mut room);
    assert_eq!((dict.bytes(), room.room.left()), (72, 28));
    let Answer::Refused(refusal) = dict.apply(set("b", 1), &mut room) else { panic!() };
    assert_eq!(refusal.why(), Reason::Quota);
    assert!(refusal.message.contains("object_bytes") && refusal.message.contains("72 bytes"), "{refusal}");
    assert_eq!(show_answer(dict.apply(set("a", &*"x".repeat(28)), &mut room)), "ok");
    assert_eq!((dict.bytes(), room.room.left()), (100, 0));
    assert_eq!(show_answer(dict.apply(set("a", &*"x".repeat(29)), &mut room)), "Quota");
    assert_eq!(show_answer(dict.apply(delete("a"), &mut room)), "ok");
    assert_eq!((dict.bytes(), room.room.left()), (0, 100));
}

#[test]
fn an_update_needs_the_room_that_it_grows_by() {
    let mut dict = dict();
    let _ = dict.apply(update(&[("a", 1), ("b", 2)]), &mut turn(1, 144));
    let before = dict.state();
    // One new entry, which comes twice: 72 bytes.
    let grown = || update(&[("a", 5), ("c", 1), ("c", 2)]);
    assert_eq!(show_answer(dict.apply(grown(), &mut turn(2, 71))), "Quota");
    assert_eq!(dict.state(), before);
    assert_eq!(show_answer(dict.apply(grown(), &mut turn(3, 72))), "ok");
    assert_eq!(dict.bytes(), 216);
}

/// A dict, plainly: entries in order as (key, value, version, ordinal), and every rule told without a hash.
#[derive(Default)]
struct Model {
    entries: Vec<(Datum, Datum, u64, u64)>,
    last_ordinal: u64,
}

type Modelled = Result<Reply, Reason>;

impl Model {
    fn find(&self, key: &Datum) -> Option<usize> {
        self.entries.iter().position(|entry| naively_equal(&entry.0, key))
    }

    fn put(&mut self, key: Datum, value: Datum, index: u64) {
        match self.find(&key) {
            Some(at) => (self.entries[at].1, self.entries[at].2) = (value, index),
            None => {
                self.last_ordinal += 1;
                self.entries.push((key, value, index, self.last_ordinal));
            }
        }
    }

    fn remove(&mut self, at: usize) -> (Datum, Datum) {
        let (key, value, ..) = self.entries.remove(at);
        if self.entries.is_empty() {
            self.last_ordinal = 0;
        }
        (key, value)
    }

    fn apply(&mut self, op: Op, index: u64, page_bytes: u32) -> Modelled {
        Ok(match op {
            Op::Get(request) => Reply::Get(match self.find(&good_key(request.key)?) {
                Some(at) => DictGetResponse { value: Some(self.entries[at].1.clone()), version: self.entries[at].2 },
                None => DictGetResponse { value: None, version: 0 },
            }),
            Op::Set(request) => {
                self.put(good_key(request.key)?, good(request.value)?, index);
                Reply::Set(DictSetResponse {})
            }
            Op::Delete(request) => {
                let at = self.find(&good_key(request.key)?).ok_or(Reason::MissingKey)?;
                self.remove(at);
                Reply::Delete(DictDeleteResponse {})
            }
            Op::Contains(request) => {
                Reply::Contains(DictContainsResponse { contains: self.find(&good_key(request.key)?).is_some() })
            }
            Op::Len(_) => Reply::Len(DictLenResponse { len: self.entries.len() as u64 }),
            Op::Pop(request) => {
                let (key, default) = (good_key(request.key)?, request.default.map(|d| good(Some(d))).transpose()?);
                let value = match self.find(&key) {
                    Some(at) => self.remove(at).1,
                    None => default.ok_or(Reason::MissingKey)?,
                };
                Reply::Pop(DictPopResponse { value: Some(value) })
            }
            Op::PopItem(_) => {
                let (key, value) = self.remove(self.entries.len().checked_sub(1).ok_or(Reason::Empty)?);
                Reply::PopItem(DictPopItemResponse { key: Some(key), value: Some(value) })
            }
            Op::SetDefault(request) => {
                let (key, default) = (good_key(request.key)?, good(request.default)?);
                let inserted = self.find(&key).is_none();
                if inserted {
                    self.put(key.clone(), default, index);
                }
                let value = self.find(&key).map(|at| self.entries[at].1.clone());
                Reply::SetDefault(DictSetDefaultResponse { value, inserted })
            }
            Op::Update(request) => {
                let good = |entry: Entry| Ok((good_key(entry.key)?, good(entry.value)?));
                let entries: Result<Vec<_>, Reason> = request.entries.into_iter().map(good).collect();
                entries?.into_iter().for_each(|(key, value)| self.put(key, value, index));
                Reply::Update(DictUpdateResponse {})
            }
            Op::Clear(_) => {
                let removed = self.entries.len() as u64;
                *self = Self::default();
                Reply::Clear(DictClearResponse { removed })
            }
            Op::GetMany(request) => Reply::GetMany(self.get_many(request, page_bytes)?),
            Op::Scan(request) => Reply::Scan(self.scan(&request, page_bytes)?),
            Op::Add(request) => self.add(request, index)?,
            Op::CompareAndSet(request) => self.compare_and_set(request, index)?,
        })
    }

    fn get_many(&self, request: DictGetManyRequest, page_bytes: u32) -> Result<DictGetManyResponse, Reason> {
        let keys: Result<Vec<_>, Reason> = request.keys.into_iter().map(|key| good_key(Some(key))).collect();
        let mut response = DictGetManyResponse::default();
        let limit = if request.bytes == 0 { page_bytes } else { request.bytes.min(page_bytes) } as usize;
        for key in keys? {
            response.lookups.push(Lookup { value: self.find(&key).map(|at| self.entries[at].1.clone()) });
            if response.encoded_len() >= limit {
                break;
            }
        }
        Ok(response)
    }

    fn scan(&self, request: &DictScanRequest, page_bytes: u32) -> Result<DictScanResponse, Reason> {
        let what = ScanWhat::try_from(request.what).map_err(|_| Reason::Malformed)?;
        let limit = if request.bytes == 0 { page_bytes } else { request.bytes.min(page_bytes) } as usize;
        let mut response = DictScanResponse::default();
        for (key, value, _, ordinal) in self.entries.iter().filter(|entry| entry.3 >= request.cursor) {
            if !response.entries.is_empty() && response.encoded_len() >= limit {
                response.cursor = *ordinal;
                break;
            }
            response.entries.push(Entry {
                key: (what != ScanWhat::Values).then(|| key.clone()),
                value: (what != ScanWhat::Keys).then(|| value.clone()),
            });
        }
        Ok(response)
    }

    fn add(&mut self, request: DictAddRequest, index: u64) -> Modelled {
        let (key, delta) = (good_key(request.key)?, good(request.delta)?);
        let number = self.find(&key).map_or(Datum::Integer(0), |at| self.entries[at].1.clone());
        let float = |datum: &Datum| match datum {
            Datum::Integer(integer) => Ok(*integer as f64),
            Datum::Float(float) => Ok(*float),
            _ => Err(Reason::WrongType),
        };
        let sum = match (&number, &delta) {
            (Datum::Integer(a), Datum::Integer(b)) => {
                let sum = i128::from(*a) + i128::from(*b);
                Datum::Integer(i64::try_from(sum).map_err(|_| Reason::Overflow)?)
            }
            (a, b) => match (float(a)?, float(b)?) {
                (a, b) if a.is_finite() && b.is_finite() && !(a + b).is_finite() => return Err(Reason::Overflow),
                (a, b) => Datum::Float(a + b),
            },
        };
        self.put(key, sum.clone(), index);
        Ok(Reply::Add(DictAddResponse { value: Some(sum) }))
    }

    fn compare_and_set(&mut self, request: DictCompareAndSetRequest, index: u64) -> Modelled {
        let key = good_key(request.key)?;
        let at = self.find(&key);
        let swapped = match request.expected.ok_or(Reason::Malformed)? {
            Expected::Value(value) => {
                let value = good(Some(value))?;
                at.is_some_and(|at| equal(&self.entries[at].1, &value))
            }
            Expected::Version(version) => at.map_or(0, |at| self.entries[at].2) == version,
        };
        match (request.new.map(|new| good(Some(new))).transpose()?, at) {
            (Some(new), _) if swapped => self.put(key.clone(), new, index),
            (None, Some(at)) if swapped => drop(self.remove(at)),
            _ => {}
        }
        let entry = self.find(&key).map(|at| &self.entries[at]);
        let (value, version) = entry.map_or((None, 0), |entry| (Some(entry.1.clone()), entry.2));
        Ok(Reply::CompareAndSet(DictCompareAndSetResponse { swapped, value, version }))
    }
}

fn equal(a: &Datum, b: &Datum) -> bool {
    !has_nan(a) && !has_nan(b) && naively_equal(a, b)
}

fn has_nan(datum: &Datum) -> bool {
    match datum {
        Datum::Float(float) => float.is_nan(),
        Datum::List(elements) | Datum::Tuple(elements) | Datum::Set(elements) => elements.iter().any(has_nan),
        Datum::Map(entries) => entries.iter().any(|(key, value)| has_nan(key) || has_nan(value)),
        _ => false,
    }
}

fn good_key(datum: Option<Datum>) -> Result<Datum, Reason> {
    let datum = good(datum)?;
    if has_nan(&datum) { Err(Reason::NanKey) } else { Ok(datum) }
}

fn good(datum: Option<Datum>) -> Result<Datum, Reason> {
    let datum = datum.ok_or(Reason::Malformed)?;
    if datum.check().is_ok() && is_distinct(&datum) { Ok(datum) } else { Err(Reason::Malformed) }
}

fn is_distinct(datum: &Datum) -> bool {
    let differ = |data: &[&Datum]| {
        let differs = |(at, a): (usize, &&Datum)| !has_nan(a) && data[..at].iter().all(|b| !naively_equal(a, b));
        data.iter().enumerate().all(differs)
    };
    match datum {
        Datum::List(elements) | Datum::Tuple(elements) => elements.iter().all(is_distinct),
        Datum::Set(members) => members.iter().all(is_distinct) && differ(&members.iter().collect::<Vec<_>>()),
        Datum::Map(entries) => {
            entries.iter().all(|(key, value)| is_distinct(key) && is_distinct(value))
                && differ(&entries.iter().map(|(key, _)| key).collect::<Vec<_>>())
        }
        _ => true,
    }
}

/// What can be compared: NaN has no equal, but its encoding does. Which of two flaws is found first is not promised.
fn comparable(answer: Modelled) -> Result<String, Reason> {
    answer.map(|reply| format!("{reply:?}")).map_err(|why| if why == Reason::NanKey { Reason::Malformed } else { why })
}

proptest! {
    #[test]
    fn does_what_the_model_does(ops in prop::collection::vec(any::<u64>(), 1..300)) {
        let (mut dict, mut model) = (dict(), Model::default());
        for (index, seed) in (1..).zip(ops) {
            let op = Dict::arbitrary_op(&mut Source::new(seed));
            let context = format!("{op:?}");
            let mut turn = turn(index, u64::MAX / 2);
            turn.page_bytes = 50;
            let answer = match dict.apply(op.clone(), &mut turn) {
                Answer::Done(reply) => Ok(reply),
                Answer::Refused(refusal) => Err(refusal.why()),
                Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
            };
            prop_assert_eq!(comparable(answer), comparable(model.apply(op, index, 50)), "{}", context);
        }
        let state = dict.state();
        let entries = state.entries.into_iter().map(|e| (e.key, e.value, e.version, e.ordinal));
        prop_assert_eq!(format!("{:?}", entries.collect::<Vec<_>>()), format!("{:?}", model.entries));
        prop_assert_eq!(state.next_ordinal, model.last_ordinal + 1);
    }

    /// Between any two pages anything may happen; an entry that is there all along is on exactly one page.
    #[test]
    fn pages_show_what_stays_exactly_once(
        before in prop::collection::vec(any::<u64>(), 0..60),
        between in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..4), 0..40),
        bytes in 1u32..30,
    ) {
        let mut dict = dict();
        let mut index = 0;
        let mut change = |dict: &mut Dict, seeds: &[u64]| {
            for seed in seeds {
                index += 1;
                let _ = dict.apply(Dict::arbitrary_op(&mut Source::new(*seed)), &mut turn(index, u64::MAX / 2));
            }
        };
        let there = |dict: &Dict| -> Vec<(Datum, u64)> {
            dict.state().entries.into_iter().map(|entry| (entry.key, entry.ordinal)).collect()
        };
        change(&mut dict, &before);
        let mut stays = there(&dict);
        let mut seen: Vec<Datum> = Vec::new();
        let mut cursor = 0;
        for seeds in between.iter().map(Vec::as_slice).chain(core::iter::repeat_n(&[][..], 1000)) {
            let answer = dict.apply(scan(cursor, ScanWhat::Keys, bytes), &mut turn(1000, 0));
            let Answer::Done(Reply::Scan(page)) = answer else { panic!("{answer:?}") };
            seen.extend(page.entries.into_iter().filter_map(|entry| entry.key));
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
            // An entry that is removed and put in again between two pages did not stay: look after each op.
            for seed in seeds {
                change(&mut dict, &[*seed]);
                let now = there(&dict);
                stays.retain(|entry| now.contains(entry));
            }
        }
        prop_assert_eq!(cursor, 0, "the pages do not end");
        for (key, _) in stays {
            prop_assert_eq!(seen.iter().filter(|seen| naively_equal(seen, &key)).count(), 1, "{:?}", key);
        }
    }
}
