use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use holdfast_proto::ValueGetRequest;
use holdfast_proto::value_compare_and_set_request::Expected;
use proptest::prelude::*;

use super::*;
use crate::testing::{Source, Tested as _};
use crate::{CallId, Room, SessionId};

fn value(initial: Option<Datum>) -> Result<Value, Refusal> {
    Value::create(Spec { initial }, &mut Creation { seed: 7, room: Room::new(1000, "object_bytes") })
}

fn turn(index: u64, room: u64) -> Turn {
    Turn::new(index, CallId { session: SessionId([1; 16]), number: index }, 1 << 16, Room::new(room, "object_bytes"))
}

// The ops and answers, briefly.

fn get() -> Op {
    Op::Get(ValueGetRequest {})
}

fn set(value: impl Into<Datum>) -> Op {
    Op::Set(ValueSetRequest { value: Some(value.into()) })
}

fn add(delta: impl Into<Datum>) -> Op {
    Op::Add(ValueAddRequest { delta: Some(delta.into()) })
}

fn swap(expected: Expected, new: impl Into<Datum>) -> Op {
    Op::CompareAndSet(ValueCompareAndSetRequest { expected: Some(expected), new: Some(new.into()) })
}

fn is(value: impl Into<Datum>) -> Expected {
    Expected::Value(value.into())
}

fn show(datum: Option<&Datum>) -> String {
    datum.map_or("-".to_owned(), |datum| format!("{}", datum.brief()))
}

fn show_answer(answer: Answer<Reply>) -> String {
    match answer {
        Answer::Refused(refusal) => format!("{:?}", refusal.why()),
        Answer::Done(Reply::Get(found)) => format!("{} v{}", show(found.value.as_ref()), found.version),
        Answer::Done(Reply::Set(_)) => "ok".to_owned(),
        Answer::Done(Reply::Add(answer)) => show(answer.value.as_ref()),
        Answer::Done(Reply::CompareAndSet(answer)) => {
            let done = if answer.swapped { "swapped" } else { "kept" };
            format!("{done} {} v{}", show(answer.value.as_ref()), answer.version)
        }
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    }
}

/// Runs a scenario on a cell; the first line has index 1.
fn check(initial: Option<Datum>, scenario: Vec<(Op, &str)>) {
    let mut value = value(initial).unwrap();
    for (line, (op, expected)) in scenario.into_iter().enumerate() {
        let shown = format!("line {}: {op:?}", line + 1);
        let answer = value.apply(op, &mut turn(line as u64 + 1, 1 << 30));
        assert_eq!(show_answer(answer), expected, "{shown}");
    }
}

#[test]
fn a_cell_is_read_and_written() {
    check(None, vec![(get(), "null v0"), (set("x"), "ok"), (get(), "\"x\" v2"), (set(f64::NAN), "ok")]);
    check(Some(5.into()), vec![(get(), "5 v0"), (add(2), "7"), (get(), "7 v2")]);
}

#[test]
fn addition() {
    check(
        Some(1.into()),
        vec![
            (add(2), "3"),
            (add(0.5), "3.5"),
            (add(1), "4.5"),
            (add("x"), "WrongType"),
            (set(i64::MAX), "ok"),
            (add(1), "Overflow"),
            (get(), format!("{} v5", i64::MAX).leak()),
            (set(true), "ok"),
            (add(1), "WrongType"),
            (set(f64::MAX), "ok"),
            (add(f64::MAX), "Overflow"),
        ],
    );
    check(None, vec![(add(1), "WrongType")]);
}

#[test]
fn compare_and_set_by_value_and_version() {
    check(
        None,
        vec![
            (swap(Expected::Version(0), 1), "swapped 1 v1"),
            (swap(Expected::Version(0), 2), "kept 1 v1"),
            (swap(is(true), "x"), "swapped \"x\" v3"),
            (swap(is(1), 2), "kept \"x\" v3"),
            (swap(Expected::Version(3), f64::NAN), "swapped NaN v5"),
            (swap(is(f64::NAN), 1), "kept NaN v5"),
        ],
    );
}

#[test]
fn what_is_missing_or_not_valid_is_malformed() {
    let malformed = [
        Op::Set(ValueSetRequest { value: None }),
        set(Datum::Unset),
        Op::Add(ValueAddRequest { delta: None }),
        Op::CompareAndSet(ValueCompareAndSetRequest { expected: Some(is(1)), new: None }),
        Op::CompareAndSet(ValueCompareAndSetRequest { expected: None, new: Some(1.into()) }),
        swap(is(Datum::Unset), 1),
    ];
    check(None, malformed.into_iter().map(|op| (op, "Malformed")).collect());
    assert_eq!(value(Some(Datum::Unset)).unwrap_err().why(), Reason::Malformed);
}

#[test]
fn a_cell_costs_what_is_in_it() {
    let mut value = value(None).unwrap();
    assert_eq!(value.bytes(), 24);
    let long = "x".repeat(100);
    assert_eq!(show_answer(value.apply(set(&*long), &mut turn(1, 99))), "Quota");
    assert_eq!(show_answer(value.apply(set(&*long), &mut turn(2, 100))), "ok");
    assert_eq!(value.bytes(), 124);
    assert_eq!(show_answer(value.apply(set(1), &mut turn(3, 0))), "ok");
    assert_eq!(value.bytes(), 24);
    let cramped = Value::create(Spec::default(), &mut Creation { seed: 1, room: Room::new(23, "total_bytes") });
    assert_eq!(cramped.unwrap_err().why(), Reason::Quota);
}

proptest! {
    /// The cell as a pair of variables.
    #[test]
    fn does_what_the_model_does(ops in prop::collection::vec(any::<u64>(), 1..100)) {
        let mut cell = value(Some(0.into())).unwrap();
        let (mut content, mut version) = (Datum::Integer(0), 0);
        for (index, seed) in (1..).zip(ops) {
            let op = Value::arbitrary_op(&mut Source::new(seed));
            let before = (format!("{content:?}"), version);
            match cell.apply(op.clone(), &mut turn(index, u64::MAX / 2)) {
                Answer::Refused(refusal) => {
                    prop_assert!(!matches!(op, Op::Get(_)) && refusal.why() != Reason::Quota, "{}", refusal);
                }
                Answer::Done(Reply::Get(_)) => prop_assert!(matches!(op, Op::Get(_))),
                Answer::Done(Reply::Set(_)) => {
                    let Op::Set(request) = op else { panic!("{op:?}") };
                    (content, version) = (request.value.unwrap(), index);
                }
                Answer::Done(Reply::Add(reply)) => {
                    let Op::Add(request) = op else { panic!("{op:?}") };
                    content = number::add(&content, &request.delta.unwrap(), &"model").unwrap();
                    version = index;
                    prop_assert_eq!(format!("{:?}", reply.value), format!("{:?}", Some(&content)));
                }
                Answer::Done(Reply::CompareAndSet(reply)) => {
                    let Op::CompareAndSet(request) = op else { panic!("{op:?}") };
                    let is_met = match request.expected.unwrap() {
                        Expected::Value(expected) => Equality::new(1).same(&content, &expected),
                        Expected::Version(expected) => version == expected,
                    };
                    prop_assert_eq!(reply.swapped, is_met);
                    if is_met {
                        (content, version) = (request.new.unwrap(), index);
                    }
                    prop_assert_eq!((format!("{:?}", reply.value.unwrap()), reply.version), (format!("{content:?}"), version));
                }
                Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
            }
            let found = cell.get();
            prop_assert_eq!((format!("{:?}", found.value.unwrap()), found.version), (format!("{content:?}"), version));
            let was_read = (format!("{content:?}"), version) == before;
            prop_assert!(was_read || version == index);
        }
    }
}
