use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use holdfast_proto::namespace_compare_and_set_request::Expected;
use proptest::prelude::*;

use super::*;
use crate::key::Equality;
use crate::testing::{Source, Tested as _};
use crate::{CallId, Room, SessionId, door, number};

fn creation() -> Creation {
    Creation { seed: 7, room: Room::new(u64::MAX, "object_bytes") }
}

fn namespace() -> Namespace {
    Namespace::create(Spec {}, &mut creation()).unwrap()
}

fn turn(index: u64, room: u64) -> Turn {
    Turn::new(index, CallId { session: SessionId([1; 16]), number: index }, 1 << 16, Room::new(room, "object_bytes"))
}

// The ops and answers, briefly.

fn get(name: &str) -> Op {
    Op::Get(NamespaceGetRequest { name: name.into() })
}

fn set(name: &str, value: impl Into<Datum>) -> Op {
    Op::Set(NamespaceSetRequest { name: name.into(), value: Some(value.into()) })
}

fn delete(name: &str) -> Op {
    Op::Delete(NamespaceDeleteRequest { name: name.into() })
}

fn contains(name: &str) -> Op {
    Op::Contains(NamespaceContainsRequest { name: name.into() })
}

fn scan(cursor: u64, names_only: bool, bytes: u32) -> Op {
    Op::Scan(NamespaceScanRequest { cursor, names_only, bytes })
}

fn set_many(attributes: &[(&str, i64)]) -> Op {
    let attribute = |(name, value): &(&str, i64)| Attribute { name: (*name).into(), value: Some((*value).into()) };
    Op::SetMany(NamespaceSetManyRequest { attributes: attributes.iter().map(attribute).collect() })
}

fn add(name: &str, delta: impl Into<Datum>) -> Op {
    Op::Add(NamespaceAddRequest { name: name.into(), delta: Some(delta.into()) })
}

fn swap(name: &str, expected: Expected, new: Option<i64>) -> Op {
    let (expected, new) = (Some(expected), new.map(Datum::from));
    Op::CompareAndSet(NamespaceCompareAndSetRequest { name: name.into(), expected, new })
}

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
        Reply::Set(_) | Reply::Delete(_) | Reply::SetMany(_) => "ok".to_owned(),
        Reply::Contains(answer) => format!("{}", answer.contains),
        Reply::Scan(page) => {
            let attribute = |found: &Attribute| format!("{}={} ", found.name, show(found.value.as_ref()));
            format!("{}next {}", page.attributes.iter().map(attribute).collect::<String>(), page.cursor)
        }
        Reply::Add(answer) => show(answer.value.as_ref()),
        Reply::CompareAndSet(answer) => {
            let done = if answer.swapped { "swapped" } else { "kept" };
            format!("{done} {} v{}", show(answer.value.as_ref()), answer.version)
        }
    }
}

/// Runs a scenario on a new namespace; the first line has index 1.
fn check(scenario: Vec<(Op, &str)>) {
    let mut namespace = namespace();
    for (line, (op, expected)) in scenario.into_iter().enumerate() {
        let shown = format!("line {}: {op:?}", line + 1);
        let answer = namespace.apply(op, &mut turn(line as u64 + 1, 1 << 30));
        assert_eq!(show_answer(answer), expected, "{shown}");
    }
}

#[test]
fn attributes_are_read_and_written() {
    check(vec![
        (get("x"), "MissingAttribute"),
        (contains("x"), "false"),
        (delete("x"), "MissingAttribute"),
        (set("x", 1), "ok"),
        (get("x"), "1 v4"),
        (set("x", "text"), "ok"),
        (get("x"), "\"text\" v6"),
        (contains("x"), "true"),
        (set_many(&[("b", 1), ("a", 2), ("b", 3)]), "ok"),
        (scan(0, false, 0), "x=\"text\" b=3 a=2 next 0"),
        (scan(0, true, 1), "x=- next 2"),
        (scan(2, true, 0), "b=- a=- next 0"),
        (delete("x"), "ok"),
        (delete("x"), "MissingAttribute"),
    ]);
}

#[test]
fn compound_updates() {
    check(vec![
        (add("n", 1), "MissingAttribute"),
        (set("n", 5), "ok"),
        (add("n", -7), "-2"),
        (add("n", 0.5), "-1.5"),
        (add("n", "x"), "WrongType"),
        (set("n", i64::MAX), "ok"),
        (add("n", 1), "Overflow"),
        (swap("n", Expected::Version(6), Some(1)), "swapped 1 v8"),
        (swap("n", Expected::Value(2.into()), Some(9)), "kept 1 v8"),
        (swap("n", Expected::Value(1.0.into()), None), "swapped - v0"),
        (swap("n", Expected::Version(0), Some(3)), "swapped 3 v11"),
    ]);
}

#[test]
fn names_have_1_to_256_bytes() {
    let longest = "n".repeat(256);
    check(vec![(set(&longest, 1), "ok"), (get(&longest), "1 v1"), (add(&longest, 1), "2")]);
    for name in [String::new(), "n".repeat(257), "ü".repeat(129)] {
        let refused = vec![
            get(&name),
            set(&name, 1),
            delete(&name),
            contains(&name),
            add(&name, 1),
            set_many(&[("good", 1), (&name, 1)]),
            swap(&name, Expected::Version(0), Some(1)),
        ];
        check(refused.into_iter().map(|op| (op, "InvalidName")).chain([(contains("good"), "false")]).collect());
    }
}

#[test]
fn what_is_missing_or_not_valid_is_malformed() {
    let name = || "n".to_owned();
    let attributes = vec![Attribute { name: name(), value: None }];
    let malformed = vec![
        Op::Set(NamespaceSetRequest { name: name(), value: None }),
        set("n", Datum::Unset),
        Op::SetMany(NamespaceSetManyRequest { attributes }),
        Op::CompareAndSet(NamespaceCompareAndSetRequest { name: name(), expected: None, new: None }),
    ];
    check(malformed.into_iter().map(|op| (op, "Malformed")).collect());
    check(vec![(set("n", 1), "ok"), (Op::Add(NamespaceAddRequest { name: name(), delta: None }), "Malformed")]);
}

#[test]
fn refusals_name_the_attribute() {
    let Answer::Refused(refusal) = namespace().apply(get("colour"), &mut turn(1, 0)) else { panic!() };
    assert_eq!(refusal.message, "the namespace has no attribute \"colour\": set it first");
}

#[test]
fn an_attribute_costs_its_name_its_value_and_24_bytes() {
    let mut namespace = namespace();
    assert_eq!(show_answer(namespace.apply(set("a", 1), &mut turn(1, 71))), "Quota");
    assert_eq!(show_answer(namespace.apply(set("a", 1), &mut turn(2, 72))), "ok");
    assert_eq!(namespace.bytes(), 72);
    assert_eq!(show_answer(namespace.apply(set(&"n".repeat(100), 1), &mut turn(3, 172))), "ok");
    assert_eq!(namespace.bytes(), 244);
}

#[test]
fn only_names_are_restored() {
    let entry = |key: Datum| dicts::EntryState { key, value: 1.into(), version: 1, ordinal: 1 };
    let restored = |key: Datum| {
        let state = dicts::State { entries: vec![entry(key)], next_ordinal: 2 };
        Namespace::restore(state, &mut creation()).map(drop).map_err(|refusal| refusal.why())
    };
    assert_eq!(restored("n".into()), Ok(()));
    assert_eq!(restored(1.into()), Err(Reason::Malformed));
    assert_eq!(restored("".into()), Err(Reason::InvalidName));
}

/// A namespace, plainly: names in order with values and versions.
#[derive(Default)]
struct Model {
    attributes: Vec<(String, Datum, u64)>,
}

impl Model {
    fn find(&self, name: &str) -> Result<Option<usize>, Reason> {
        if name.is_empty() || name.len() > 256 {
            return Err(Reason::InvalidName);
        }
        Ok(self.attributes.iter().position(|(other, ..)| other == name))
    }

    fn put(&mut self, name: &str, value: Datum, index: u64) -> Result<(), Reason> {
        match self.find(name)? {
            Some(at) => (self.attributes[at].1, self.attributes[at].2) = (value, index),
            None => self.attributes.push((name.into(), value, index)),
        }
        Ok(())
    }

    fn there(&self, name: &str) -> Result<usize, Reason> {
        self.find(name)?.ok_or(Reason::MissingAttribute)
    }

    /// All but scans, whose pages are those of the dict.
    fn apply(&mut self, op: Op, index: u64) -> Result<Reply, Reason> {
        Ok(match op {
            Op::Get(request) => {
                let (_, value, version) = self.attributes[self.there(&request.name)?].clone();
                Reply::Get(NamespaceGetResponse { value: Some(value), version })
            }
            Op::Set(request) => {
                self.find(&request.name)?;
                self.put(&request.name, good(request.value)?, index)?;
                Reply::Set(NamespaceSetResponse {})
            }
            Op::Delete(request) => {
                self.attributes.remove(self.there(&request.name)?);
                Reply::Delete(NamespaceDeleteResponse {})
            }
            Op::Contains(request) => {
                Reply::Contains(NamespaceContainsResponse { contains: self.find(&request.name)?.is_some() })
            }
            Op::Scan(_) => Reply::Scan(NamespaceScanResponse::default()),
            Op::SetMany(request) => {
                for attribute in &request.attributes {
                    self.find(&attribute.name)?;
                }
                for attribute in &request.attributes {
                    good(attribute.value.clone())?;
                }
                for Attribute { name, value } in request.attributes {
                    self.put(&name, good(value)?, index)?;
                }
                Reply::SetMany(NamespaceSetManyResponse {})
            }
            Op::Add(request) => {
                let at = self.there(&request.name)?;
                let sum = number::add(&self.attributes[at].1, &good(request.delta)?, &"it");
                let sum = sum.map_err(|refusal| refusal.why())?;
                self.put(&request.name, sum.clone(), index)?;
                Reply::Add(NamespaceAddResponse { value: Some(sum) })
            }
            Op::CompareAndSet(request) => {
                let at = self.find(&request.name)?;
                let swapped = match request.expected.ok_or(Reason::Malformed)? {
                    Expected::Value(value) => {
                        let value = good(Some(value))?;
                        at.is_some_and(|at| Equality::new(1).same(&self.attributes[at].1, &value))
                    }
                    Expected::Version(version) => at.map_or(0, |at| self.attributes[at].2) == version,
                };
                let new = request.new.map(|new| good(Some(new))).transpose()?;
                match (new, at) {
                    (Some(new), _) if swapped => self.put(&request.name, new, index)?,
                    (None, Some(at)) if swapped => drop(self.attributes.remove(at)),
                    _ => {}
                }
                let now = self.find(&request.name)?.map(|at| self.attributes[at].clone());
                let (value, version) = now.map_or((None, 0), |(_, value, version)| (Some(value), version));
                Reply::CompareAndSet(NamespaceCompareAndSetResponse { swapped, value, version })
            }
        })
    }
}

fn good(datum: Option<Datum>) -> Result<Datum, Reason> {
    door::value("", datum, &Equality::new(1)).map_err(|refusal| refusal.why())
}

proptest! {
    #[test]
    fn does_what_the_model_does(ops in prop::collection::vec(any::<u64>(), 1..200)) {
        let (mut namespace, mut model) = (namespace(), Model::default());
        for (index, seed) in (1..).zip(ops) {
            let op = Namespace::arbitrary_op(&mut Source::new(seed));
            let context = format!("{op:?}");
            let answer = match namespace.apply(op.clone(), &mut turn(index, u64::MAX / 2)) {
                Answer::Done(Reply::Scan(_)) => Ok(Reply::Scan(NamespaceScanResponse::default())),
                Answer::Done(reply) => Ok(reply),
                Answer::Refused(refusal) => Err(refusal.why()),
                Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
            };
            let expected = model.apply(op, index);
            prop_assert_eq!(format!("{:?}", answer), format!("{:?}", expected), "{}", context);
        }
        let (mut found, mut cursor) = (Vec::new(), 0);
        loop {
            let answer = namespace.apply(scan(cursor, false, 30), &mut turn(1000, 0));
            let Answer::Done(Reply::Scan(page)) = answer else { panic!("{answer:?}") };
            found.extend(page.attributes.into_iter().map(|found| (found.name, found.value)));
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
        }
        let expected: Vec<_> = model.attributes.into_iter().map(|(name, value, _)| (name, Some(value))).collect();
        prop_assert_eq!(format!("{:?}", found), format!("{:?}", expected));
    }
}
