use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::cmp::Ordering;

use holdfast_proto::list_get_slice_request::Part;
use holdfast_proto::{ListClearRequest, ListLenRequest, ListReverseRequest};
use proptest::prelude::*;

use super::*;
use crate::testing::{Source, Tested as _, naively_equal};
use crate::{CallId, Room, SessionId};

fn creation() -> Creation {
    Creation { seed: 7, room: Room::new(u64::MAX, "object_bytes") }
}

fn list() -> List {
    List::create(Spec {}, &mut creation()).unwrap()
}

fn turn(index: u64, room: u64) -> Turn {
    Turn::new(index, CallId { session: SessionId([1; 16]), number: index }, 1 << 16, Room::new(room, "object_bytes"))
}

// The ops, briefly.

fn some(value: impl Into<Datum>) -> Option<Datum> {
    Some(value.into())
}

fn data<T: Clone + Into<Datum>>(values: &[T]) -> Vec<Datum> {
    values.iter().cloned().map(Into::into).collect()
}

fn get(index: i64) -> Op {
    Op::Get(ListGetRequest { index })
}

fn set(index: i64, value: impl Into<Datum>) -> Op {
    Op::Set(ListSetRequest { index, value: some(value) })
}

fn delete(index: i64) -> Op {
    Op::Delete(ListDeleteRequest { index })
}

fn insert(index: i64, value: impl Into<Datum>) -> Op {
    Op::Insert(ListInsertRequest { index, value: some(value) })
}

fn append(value: impl Into<Datum>) -> Op {
    Op::Append(ListAppendRequest { value: some(value) })
}

fn extend<T: Clone + Into<Datum>>(values: &[T]) -> Op {
    Op::Extend(ListExtendRequest { values: data(values) })
}

fn pop(index: Option<i64>) -> Op {
    Op::Pop(ListPopRequest { index })
}

fn take(count: u64, end: ListEnd) -> Op {
    Op::Take(ListTakeRequest { count, end: end as i32 })
}

fn remove(value: impl Into<Datum>) -> Op {
    Op::Remove(ListRemoveRequest { value: some(value) })
}

fn index(value: impl Into<Datum>, start: Option<i64>, stop: Option<i64>) -> Op {
    Op::Index(ListIndexRequest { value: some(value), start, stop })
}

fn count(value: impl Into<Datum>) -> Op {
    Op::Count(ListCountRequest { value: some(value) })
}

fn contains(value: impl Into<Datum>) -> Op {
    Op::Contains(ListContainsRequest { value: some(value) })
}

fn reverse() -> Op {
    Op::Reverse(ListReverseRequest {})
}

fn sort(reverse: bool) -> Op {
    Op::Sort(ListSortRequest { reverse })
}

fn clear() -> Op {
    Op::Clear(ListClearRequest {})
}

fn repeat(count: i64) -> Op {
    Op::Repeat(ListRepeatRequest { count })
}

type Bound = Option<i64>;

fn slice((start, stop, step): (Bound, Bound, Bound)) -> ListSlice {
    ListSlice { start, stop, step }
}

fn get_slice(bounds: (Bound, Bound, Bound)) -> Op {
    page(slice(bounds), 0)
}

fn page(slice: ListSlice, bytes: u32) -> Op {
    Op::GetSlice(ListGetSliceRequest { part: Some(Part::Slice(slice)), bytes })
}

fn next_page(cursor: ListCursor, bytes: u32) -> Op {
    Op::GetSlice(ListGetSliceRequest { part: Some(Part::Cursor(cursor)), bytes })
}

fn set_slice<T: Clone + Into<Datum>>(bounds: (Bound, Bound, Bound), values: &[T]) -> Op {
    Op::SetSlice(ListSetSliceRequest { slice: Some(slice(bounds)), values: data(values) })
}

fn delete_slice(bounds: (Bound, Bound, Bound)) -> Op {
    Op::DeleteSlice(ListDeleteSliceRequest { slice: Some(slice(bounds)) })
}

fn add(index: i64, delta: impl Into<Datum>) -> Op {
    Op::Add(ListAddRequest { index, delta: some(delta) })
}

fn compare_and_set(index: i64, expected: impl Into<Datum>, new: impl Into<Datum>) -> Op {
    Op::CompareAndSet(ListCompareAndSetRequest { index, expected: some(expected), new: some(new) })
}

fn swap(first: i64, second: i64) -> Op {
    Op::Swap(ListSwapRequest { first, second })
}

fn all() -> Op {
    get_slice((None, None, None))
}

// The answers, briefly.

fn show(datum: Option<&Datum>) -> String {
    datum.map_or("-".to_string(), |datum| format!("{}", datum.brief()))
}

fn show_all(data: &[Datum]) -> String {
    data.iter().map(|datum| show(Some(datum))).collect::<Vec<_>>().join(" ")
}

fn show_answer(answer: Answer<Reply>) -> String {
    let reply = match answer {
        Answer::Done(reply) => reply,
        Answer::Refused(refusal) => return format!("{:?}", refusal.why()),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    };
    match reply {
        Reply::Get(answer) => show(answer.value.as_ref()),
        Reply::Pop(answer) => show(answer.value.as_ref()),
        Reply::Add(answer) => show(answer.value.as_ref()),
        Reply::Take(answer) => show_all(&answer.values),
        Reply::Index(answer) => format!("at {}", answer.index),
        Reply::Count(answer) => format!("{} times", answer.count),
        Reply::Contains(answer) => format!("{}", answer.contains),
        Reply::Len(answer) => format!("{}", answer.len),
        Reply::Clear(answer) => format!("{} removed", answer.removed),
        Reply::DeleteSlice(answer) => format!("{} removed", answer.removed),
        Reply::CompareAndSet(answer) => format!("{}", answer.swapped),
        Reply::GetSlice(ListGetSliceResponse { changed: true, .. }) => "changed".to_string(),
        Reply::GetSlice(page) => {
            format!("{}{}", show_all(&page.values), if page.cursor.is_some() { " and more" } else { "" })
        }
        Reply::Set(_)
        | Reply::Delete(_)
        | Reply::Insert(_)
        | Reply::Append(_)
        | Reply::Extend(_)
        | Reply::Remove(_)
        | Reply::Reverse(_)
        | Reply::Sort(_)
        | Reply::Repeat(_)
        | Reply::SetSlice(_)
        | Reply::Swap(_) => "ok".to_string(),
    }
}

/// Runs a scenario on a new list; the first line has index 1.
fn check(scenario: Vec<(Op, &str)>) {
    let mut list = list();
    for (line, (op, expected)) in scenario.into_iter().enumerate() {
        let shown = format!("line {}: {op:?}", line + 1);
        let answer = list.apply(op, &mut turn(line as u64 + 1, 1 << 30));
        assert_eq!(show_answer(answer), expected, "{shown}");
    }
}

fn refused(list: &mut List, op: Op) -> Refusal {
    let shown = format!("{op:?}");
    match list.apply(op, &mut turn(99, 1 << 30)) {
        Answer::Refused(refusal) => refusal,
        Answer::Done(reply) => panic!("{shown} got {reply:?}"),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    }
}

/// A list with these elements.
fn list_of<T: Clone + Into<Datum>>(values: &[T]) -> List {
    let mut list = list();
    assert_eq!(show_answer(list.apply(extend(values), &mut turn(1, 1 << 40))), "ok");
    list
}

const NONE: Bound = None;

#[test]
fn single_elements() {
    check(vec![
        (get(0), "IndexOutOfRange"),
        (append("a"), "ok"),
        (append("b"), "ok"),
        (get(0), "\"a\""),
        (get(-1), "\"b\""),
        (get(-2), "\"a\""),
        (get(2), "IndexOutOfRange"),
        (get(-3), "IndexOutOfRange"),
        (get(i64::MIN), "IndexOutOfRange"),
        (get(i64::MAX), "IndexOutOfRange"),
        (set(-1, 2), "ok"),
        (set(2, 0), "IndexOutOfRange"),
        (all(), "\"a\" 2"),
        (delete(-2), "ok"),
        (delete(1), "IndexOutOfRange"),
        (all(), "2"),
        (Op::Len(ListLenRequest {}), "1"),
        (clear(), "1 removed"),
        (clear(), "0 removed"),
        (delete(0), "IndexOutOfRange"),
    ]);
}

#[test]
fn insertion_stops_at_the_ends() {
    check(vec![
        (insert(5, "a"), "ok"),
        (insert(i64::MIN, "b"), "ok"),
        (insert(-1, "c"), "ok"),
        (insert(1, "d"), "ok"),
        (insert(i64::MAX, "e"), "ok"),
        (insert(-9, "f"), "ok"),
        (all(), "\"f\" \"b\" \"d\" \"c\" \"a\" \"e\""),
    ]);
}

#[test]
fn pops() {
    check(vec![
        (pop(None), "Empty"),
        (pop(Some(0)), "Empty"),
        (extend(&[1, 2, 3, 4]), "ok"),
        (pop(None), "4"),
        (pop(Some(0)), "1"),
        (pop(Some(-2)), "2"),
        (pop(Some(1)), "IndexOutOfRange"),
        (pop(Some(-1)), "3"),
        (pop(Some(5)), "Empty"),
    ]);
}

#[test]
fn takes() {
    check(vec![
        (take(3, ListEnd::Front), ""),
        (extend(&[1, 2, 3, 4, 5]), "ok"),
        (take(2, ListEnd::Front), "1 2"),
        (take(2, ListEnd::Back), "5 4"),
        (take(0, ListEnd::Front), ""),
        (take(u64::MAX, ListEnd::Back), "3"),
        (Op::Take(ListTakeRequest { count: 1, end: 2 }), "Malformed"),
        (all(), ""),
    ]);
}

#[test]
fn what_is_taken_fits_a_page() {
    let mut list = list_of(&[1; 100]);
    let mut small = turn(2, 0);
    small.page_bytes = 20;
    // An element takes two bytes, and two to say that it is one.
    assert_eq!(show_answer(list.apply(take(100, ListEnd::Front), &mut small)), "1 1 1 1 1");
    assert_eq!(list.elements.len(), 95);
}

#[test]
fn values_compare_as_in_python() {
    check(vec![
        (extend(&[Datum::from(0), true.into(), 1.0.into(), "1".into(), f64::NAN.into(), 1.into()]), "ok"),
        (index(1, None, None), "at 1"),
        (index(1, Some(2), None), "at 2"),
        (index(1, Some(-1), None), "at 5"),
        (index(1, Some(-99), Some(99)), "at 1"),
        (index(1, None, Some(1)), "MissingValue"),
        (index(1, Some(3), Some(-1)), "MissingValue"),
        (index(1, Some(5), Some(2)), "MissingValue"),
        (count(1), "3 times"),
        (count(false), "1 times"),
        (count(f64::NAN), "0 times"),
        (contains("1"), "true"),
        (contains("2"), "false"),
        (contains(f64::NAN), "false"),
        (remove(1), "ok"),
        (remove(f64::NAN), "MissingValue"),
        (remove(1), "ok"),
        (remove(1), "ok"),
        (remove(1), "MissingValue"),
        (all(), "0 \"1\" NaN"),
    ]);
}

#[test]
fn slices_are_read() {
    check(vec![
        (extend(&[0, 1, 2, 3, 4, 5]), "ok"),
        (get_slice((Some(1), Some(3), NONE)), "1 2"),
        (get_slice((Some(-2), NONE, NONE)), "4 5"),
        (get_slice((NONE, Some(-4), NONE)), "0 1"),
        (get_slice((NONE, NONE, Some(-1))), "5 4 3 2 1 0"),
        (get_slice((Some(4), Some(1), Some(-2))), "4 2"),
        (get_slice((Some(1), NONE, Some(3))), "1 4"),
        (get_slice((Some(3), Some(1), NONE)), ""),
        (get_slice((Some(-99), Some(99), NONE)), "0 1 2 3 4 5"),
        (get_slice((NONE, NONE, Some(0))), "Malformed"),
        (Op::GetSlice(ListGetSliceRequest { part: None, bytes: 0 }), "0 1 2 3 4 5"),
    ]);
}

#[test]
fn slices_are_replaced() {
    check(vec![
        (set_slice((NONE, NONE, NONE), &[0, 1, 2, 3]), "ok"),
        (set_slice((Some(1), Some(3), NONE), &[7, 8, 9]), "ok"),
        (all(), "0 7 8 9 3"),
        (set_slice((Some(1), Some(4), NONE), &[5]), "ok"),
        (all(), "0 5 3"),
        (set_slice((Some(2), Some(0), NONE), &["in"]), "ok"),
        (all(), "0 5 \"in\" 3"),
        (set_slice((Some(99), NONE, NONE), &[6, 7]), "ok"),
        (set_slice((NONE, NONE, Some(2)), &["x", "y", "z"]), "ok"),
        (all(), "\"x\" 5 \"y\" 3 \"z\" 7"),
        (set_slice((NONE, NONE, Some(-3)), &[1, 2]), "ok"),
        (all(), "\"x\" 5 2 3 \"z\" 1"),
        (set_slice((NONE, NONE, Some(2)), &[1, 2]), "Malformed"),
        (set_slice((NONE, NONE, Some(-1)), &[1]), "Malformed"),
        (set_slice((Some(3), Some(3), Some(2)), &[1]), "Malformed"),
        (set_slice::<i64>((Some(3), Some(3), Some(2)), &[]), "ok"),
        (set_slice((NONE, NONE, Some(0)), &[1]), "Malformed"),
        (all(), "\"x\" 5 2 3 \"z\" 1"),
        (set_slice::<i64>((Some(1), Some(-1), NONE), &[]), "ok"),
        (all(), "\"x\" 1"),
        (Op::SetSlice(ListSetSliceRequest { slice: None, values: data(&[4]) }), "ok"),
        (all(), "4"),
    ]);
}

#[test]
fn slices_are_removed() {
    check(vec![
        (extend(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), "ok"),
        (delete_slice((Some(1), Some(3), NONE)), "2 removed"),
        (all(), "0 3 4 5 6 7 8 9"),
        (delete_slice((NONE, NONE, Some(3))), "3 removed"),
        (all(), "3 4 6 7 9"),
        (delete_slice((Some(3), NONE, Some(-2))), "2 removed"),
        (all(), "3 6 9"),
        (delete_slice((Some(2), Some(1), NONE)), "0 removed"),
        (delete_slice((NONE, NONE, Some(0))), "Malformed"),
        (delete_slice((Some(1), NONE, Some(i64::MAX))), "1 removed"),
        (delete_slice((NONE, NONE, Some(-1))), "2 removed"),
        (extend(&[1]), "ok"),
        (Op::DeleteSlice(ListDeleteSliceRequest { slice: None }), "1 removed"),
        (all(), ""),
    ]);
}

#[test]
fn addition() {
    check(vec![
        (extend(&[Datum::from(5), 0.5.into(), "t".into(), true.into(), i64::MAX.into()]), "ok"),
        (add(0, -7), "-2"),
        (add(1, 1), "1.5"),
        (add(0, 0.5), "-1.5"),
        (add(2, 1), "WrongType"),
        (add(3, 1), "WrongType"),
        (add(0, true), "WrongType"),
        (add(-1, 1), "Overflow"),
        (add(9, 1), "IndexOutOfRange"),
        (all(), "-1.5 1.5 \"t\" true 9223372036854775807"),
    ]);
}

#[test]
fn compound_writes() {
    check(vec![
        (extend(&[1, 2, 3]), "ok"),
        (compare_and_set(0, 1.0, "x"), "true"),
        (compare_and_set(0, 1, "y"), "false"),
        (compare_and_set(-4, 1, "y"), "IndexOutOfRange"),
        (set(1, f64::NAN), "ok"),
        (compare_and_set(1, f64::NAN, 2), "false"),
        (swap(0, -1), "ok"),
        (swap(1, 1), "ok"),
        (swap(0, 3), "IndexOutOfRange"),
        (all(), "3 NaN \"x\""),
        (reverse(), "ok"),
        (all(), "\"x\" NaN 3"),
        (repeat(1), "ok"),
        (repeat(2), "ok"),
        (all(), "\"x\" NaN 3 \"x\" NaN 3"),
        (repeat(-5), "ok"),
        (all(), ""),
        (repeat(i64::MAX), "ok"),
        (all(), ""),
        (append(1), "ok"),
        (repeat(0), "ok"),
        (all(), ""),
    ]);
}

#[test]
fn a_repetition_is_bounded() {
    let mut list = list_of(&[1]);
    let most = i64::try_from(REPEAT_BYTES / 24).unwrap() + 1;
    for count in [most + 1, i64::MAX] {
        let refusal = refused(&mut list, repeat(count));
        assert_eq!(refusal.why(), Reason::Quota);
        assert!(refusal.message.contains("67108864"), "{refusal}");
    }
    assert_eq!(list.elements.len(), 1);
    // Room is asked for before anything is copied.
    assert_eq!(show_answer(list.apply(repeat(10), &mut turn(2, 215))), "Quota");
    assert_eq!(show_answer(list.apply(repeat(10), &mut turn(3, 216))), "ok");
    assert_eq!((list.elements.len(), list.bytes), (10, 240));
}

#[test]
fn sorts_what_has_an_order() {
    check(vec![
        (sort(false), "ok"),
        (extend(&[Datum::from(3), 1.5.into(), true.into(), 0.into(), (-0.0).into(), f64::INFINITY.into()]), "ok"),
        (sort(false), "ok"),
        (all(), "0 -0.0 true 1.5 3 inf"),
        (sort(true), "ok"),
        (all(), "inf 3 1.5 true 0 -0.0"),
        (append("a"), "ok"),
        (sort(false), "WrongType"),
        (all(), "inf 3 1.5 true 0 -0.0 \"a\""),
        (set_slice((NONE, NONE, NONE), &["b", "", "ä", "a", "B"]), "ok"),
        (sort(false), "ok"),
        (all(), "\"\" \"B\" \"a\" \"b\" \"ä\""),
        (set_slice((NONE, NONE, NONE), &[1.0, f64::NAN]), "ok"),
        (sort(false), "WrongType"),
        (set_slice((NONE, NONE, NONE), &[f64::NAN, f64::NAN]), "ok"),
        (sort(false), "WrongType"),
        (set_slice((NONE, NONE, NONE), &[Datum::Null, Datum::Null]), "ok"),
        (sort(false), "WrongType"),
        (set_slice((NONE, NONE, NONE), &[Datum::Null]), "ok"),
        (sort(false), "ok"),
    ]);
}

#[test]
fn sorts_lists_by_their_elements() {
    let l = |elements: &[Datum]| Datum::List(elements.into());
    let null = || Datum::Null;
    let sorted = |elements: &[Datum]| {
        let mut list = list_of(elements);
        let answer = show_answer(list.apply(sort(false), &mut turn(2, 0)));
        (answer, list.elements.into_iter().collect::<Vec<_>>())
    };
    // What is equal is passed over, whether it has an order or not.
    let ordered = [l(&[]), l(&[null()]), l(&[null(), 1.into()]), l(&[null(), 2.into(), "x".into()])];
    let mut mixed = ordered.clone();
    mixed.reverse();
    assert_eq!(sorted(&mixed), ("ok".to_string(), ordered.to_vec()));
    for (a, b) in [
        (l(&[1.into(), "x".into()]), l(&[1.into(), 2.into()])),
        (l(&[null()]), l(&[1.into()])),
        (l(&[f64::NAN.into()]), l(&[f64::NAN.into()])),
        (l(&[l(&[])]), l(&[Datum::Tuple([].into())])),
        (l(&[]), Datum::Tuple([].into())),
    ] {
        let before = [a.clone(), l(&[9.into()]), b];
        let (answer, after) = sorted(&before);
        assert_eq!((answer.as_str(), format!("{after:?}")), ("WrongType", format!("{:?}", before.to_vec())), "{a:?}");
    }
}

#[test]
fn a_sort_is_stable_both_ways() {
    for reverse in [false, true] {
        // Equal by their first element; which is which shows in the type of the second, 1, 1.0 or true.
        let forms = [Datum::from(1), 1.0.into(), true.into()];
        let elements = (0..300).map(|n| Datum::Tuple([Datum::from(n % 7), forms[n as usize % 3].clone()].into()));
        let elements: Vec<Datum> = elements.collect();
        let mut list = list_of(&elements);
        assert_eq!(show_answer(list.apply(sort(reverse), &mut turn(2, 0))), "ok");
        let order: Vec<i64> = if reverse { (0..7).rev().collect() } else { (0..7).collect() };
        let first = |element: &Datum| match element {
            Datum::Tuple(pair) => pair[0].clone(),
            _ => panic!("{element:?}"),
        };
        let expected = order.iter().flat_map(|n| elements.iter().filter(move |e| first(e) == Datum::from(*n)));
        assert!(list.elements.iter().eq(expected), "reverse {reverse}");
    }
}

#[test]
fn pages() {
    let mut list = list_of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let mut index = 1;
    let mut apply = |op: Op| {
        index += 1;
        match list.apply(op, &mut turn(index, 1 << 20)) {
            Answer::Done(Reply::GetSlice(page)) => {
                let shown = show_answer(Answer::Done(Reply::GetSlice(page.clone())));
                (shown, page.cursor)
            }
            answer => (show_answer(answer), None),
        }
    };
    let (first, cursor) = apply(page(slice((Some(2), Some(-1), NONE)), 12));
    assert_eq!(first, "2 3 4 and more");
    // What is put at the end, and what is taken before the cursor, is of no matter to who reads on.
    for op in [append(10), take(2, ListEnd::Front), pop(Some(0)), delete(0), insert(99, 11), extend(&[12]), repeat(2)] {
        apply(op);
    }
    for op in [set_slice((Some(99), NONE, NONE), &[13]), take(0, ListEnd::Back), delete_slice((Some(3), Some(3), NONE))]
    {
        apply(op);
    }
    let (second, next) = apply(next_page(cursor.unwrap(), 12));
    assert_eq!(second, "5 6 7 and more");
    assert_eq!(apply(next_page(next.unwrap(), 12)), ("8".to_string(), None));
    // A page may be read again, as long as its elements are there.
    assert_eq!(apply(delete_slice((NONE, Some(2), NONE))).0, "2 removed");
    assert_eq!(apply(next_page(cursor.unwrap(), 12)).0, "changed");
    let cursor = next.unwrap();
    let edits = [
        set(-1, 0),
        pop(None),
        take(1, ListEnd::Back),
        insert(0, 1),
        delete(1),
        delete_slice((NONE, NONE, Some(5))),
        set_slice((NONE, NONE, Some(5)), &[1, 2]),
        swap(0, 1),
        reverse(),
        sort(false),
        clear(),
    ];
    for edit in edits {
        apply(set_slice((NONE, NONE, NONE), &[0, 1, 2, 3, 4, 5]));
        let (_, fresh) = apply(page(slice((NONE, NONE, Some(2))), 1));
        assert_eq!(apply(next_page(fresh.unwrap(), 12)).0, "2 4");
        let shown = format!("{edit:?}");
        apply(edit);
        assert_eq!(apply(next_page(fresh.unwrap(), 12)).0, "changed", "{shown}");
    }
    assert_eq!(apply(next_page(cursor, 12)).0, "changed");
}

#[test]
fn a_cursor_that_was_made_up_leads_to_nothing() {
    let mut list = list_of(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(show_answer(list.apply(take(1, ListEnd::Front), &mut turn(2, 0))), "0");
    let cursor = |ordinal, count, step| next_page(ListCursor { edition: 0, ordinal, count, step }, 0);
    for (op, expected) in [
        (cursor(1, 5, 1), "1 2 3 4 5"),
        (cursor(5, 3, -2), "5 3 1"),
        (cursor(5, 1, i64::MIN), "5"),
        (cursor(0, 1, 1), "changed"),
        (cursor(1, 6, 1), "changed"),
        (cursor(5, 4, -2), "changed"),
        (cursor(1, 0, 1), "changed"),
        (cursor(1, 2, 0), "changed"),
        (cursor(u64::MAX, u64::MAX, i64::MAX), "changed"),
        (cursor(1, u64::MAX, i64::MIN), "changed"),
        (next_page(ListCursor { edition: 1, ordinal: 1, count: 1, step: 1 }, 0), "changed"),
    ] {
        let shown = format!("{op:?}");
        assert_eq!(show_answer(list.apply(op, &mut turn(3, 0))), expected, "{shown}");
    }
}

#[test]
fn what_is_missing_or_not_valid_is_malformed() {
    let unset = || Some(Datum::Unset);
    let twice = Datum::Set([1.into(), 1.0.into()].into());
    let malformed = [
        (Op::Set(ListSetRequest { index: 0, value: None }), "value"),
        (Op::Insert(ListInsertRequest { index: 0, value: unset() }), "value"),
        (Op::Append(ListAppendRequest { value: Some(twice) }), "twice"),
        (Op::Extend(ListExtendRequest { values: vec![1.into(), Datum::Unset] }), "values"),
        (Op::Remove(ListRemoveRequest { value: None }), "value"),
        (Op::Index(ListIndexRequest { value: None, start: None, stop: None }), "value"),
        (Op::Count(ListCountRequest { value: unset() }), "value"),
        (Op::Contains(ListContainsRequest { value: None }), "value"),
        (Op::SetSlice(ListSetSliceRequest { slice: None, values: vec![Datum::Unset] }), "values"),
        (Op::Add(ListAddRequest { index: 0, delta: None }), "delta"),
        (Op::CompareAndSet(ListCompareAndSetRequest { index: 0, expected: None, new: some(1) }), "expected"),
        (Op::CompareAndSet(ListCompareAndSetRequest { index: 0, expected: some(1), new: None }), "new"),
    ];
    for (op, named) in malformed {
        let shown = format!("{op:?}");
        let refusal = refused(&mut list_of(&[1]), op);
        assert_eq!(refusal.why(), Reason::Malformed, "{shown}");
        assert!(refusal.message.contains(named), "{shown}: {refusal}");
    }
}

#[test]
fn messages_say_what_to_do() {
    let message = |op| refused(&mut list_of(&[1, 2, 3]), op).message;
    assert_eq!(message(get(3)), "the list has no index 3: it has 3 elements, so use -3 to 2");
    assert_eq!(refused(&mut list(), get(3)).message, "the list is empty: it has no index 3");
    assert_eq!(message(remove("x")), "no element of the list, or of the part to look at, is equal to \"x\"");
    assert_eq!(
        message(set_slice((NONE, NONE, Some(2)), &[1])),
        "a slice with the step 2 has 2 elements and there are 1 values: only a slice with the step 1 can be replaced by \
         more or fewer"
    );
    assert!(
        refused(&mut list_of(&[Datum::Null, 1.into()]), sort(false)).message.contains("null (null) and an integer")
    );
}

#[test]
fn an_element_costs_what_its_data_costs() {
    let mut list = list();
    let mut room = turn(1, 100);
    assert_eq!(show_answer(list.apply(append(1), &mut room)), "ok");
    assert_eq!((list.bytes(), room.room.left()), (24, 76));
    assert_eq!(show_answer(list.apply(insert(0, &*"x".repeat(53)), &mut room)), "Quota");
    assert_eq!(show_answer(list.apply(insert(0, &*"x".repeat(52)), &mut room)), "ok");
    assert_eq!((list.bytes(), room.room.left()), (100, 0));
    assert_eq!(show_answer(list.apply(append(1), &mut room)), "Quota");
    assert_eq!(show_answer(list.apply(set_slice((NONE, NONE, NONE), &[1, 2, 3, 4, 5]), &mut room)), "Quota");
    assert_eq!(show_answer(list.apply(set_slice((NONE, NONE, NONE), &[1, 2, 3, 4]), &mut room)), "ok");
    assert_eq!((list.bytes(), room.room.left()), (96, 4));
    assert_eq!(show_answer(list.apply(clear(), &mut room)), "4 removed");
    assert_eq!((list.bytes(), room.room.left()), (0, 100));
}

#[test]
fn there_are_only_so_many_elements() {
    assert_eq!(check_len(MAX_LEN - 1, 1), Ok(()));
    for (len, more) in [(MAX_LEN, 1), (1, usize::MAX)] {
        let refusal = check_len(len, more).unwrap_err();
        assert_eq!(refusal.why(), Reason::Quota);
        assert!(refusal.message.contains("several lists"), "{refusal}");
    }
}

#[test]
fn gives_memory_back() {
    let mut list = list_of(&[1; 100_000]);
    for _ in 0..99_990 {
        let _ = list.apply(pop(Some(0)), &mut turn(2, 0));
    }
    assert!(list.elements.capacity() <= 64, "{}", list.elements.capacity());
    let mut queue = self::list();
    for n in 0..100_000 {
        let _ = queue.apply(append(n), &mut turn(2, 100));
        let _ = queue.apply(pop(Some(0)), &mut turn(2, 100));
    }
    assert!(queue.elements.capacity() <= 64, "{}", queue.elements.capacity());
    let mut cleared = list_of(&[1; 100_000]);
    let _ = cleared.apply(clear(), &mut turn(2, 0));
    assert!(cleared.elements.capacity() <= 64, "{}", cleared.elements.capacity());
}

/// Python's list, plainly.
#[derive(Default)]
struct Model(Vec<Datum>);

type Modelled = Result<Reply, Reason>;

impl Model {
    fn at(&self, index: i64) -> Result<usize, Reason> {
        let index = i128::from(index);
        let from_front = if index < 0 { index + self.0.len() as i128 } else { index };
        (0..self.0.len()).find(|at| *at as i128 == from_front).ok_or(Reason::IndexOutOfRange)
    }

    fn find(&self, value: Option<Datum>) -> Result<Vec<usize>, Reason> {
        let value = good(value)?;
        Ok((0..self.0.len()).filter(|at| equal(&self.0[*at], &value)).collect())
    }

    /// Where a bound of a slice lies between the elements, going forward.
    fn bound(&self, index: i64) -> usize {
        let index = i128::from(index);
        let from_front = if index < 0 { index + self.0.len() as i128 } else { index };
        from_front.clamp(0, self.0.len() as i128) as usize
    }

    /// The indexes of a slice, one step at a time.
    fn slice(&self, slice: ListSlice) -> Result<Vec<usize>, Reason> {
        let len = self.0.len() as i128;
        let step = i128::from(slice.step.unwrap_or(1));
        let from_front = |index: i64| if index < 0 { i128::from(index) + len } else { i128::from(index) };
        let (start, stop) = match step {
            0 => return Err(Reason::Malformed),
            1.. => (slice.start.map_or(0, from_front).max(0), slice.stop.map_or(len, from_front)),
            _ => (slice.start.map_or(len - 1, from_front).min(len - 1), slice.stop.map_or(-1, from_front)),
        };
        let mut indexes = Vec::new();
        let mut index = start;
        while (0..len).contains(&index) && if step > 0 { index < stop } else { index > stop } {
            indexes.push(index as usize);
            index += step;
        }
        Ok(indexes)
    }

    fn write(&mut self, op: Op) -> Modelled {
        Ok(match op {
            Op::Set(request) => {
                let (at, value) = (self.at(request.index), good(request.value)?);
                self.0[at?] = value;
                Reply::Set(ListSetResponse {})
            }
            Op::Delete(request) => {
                self.0.remove(self.at(request.index)?);
                Reply::Delete(ListDeleteResponse {})
            }
            Op::Insert(request) => {
                self.0.insert(self.bound(request.index), good(request.value)?);
                Reply::Insert(ListInsertResponse {})
            }
            Op::Append(request) => {
                self.0.push(good(request.value)?);
                Reply::Append(ListAppendResponse {})
            }
            Op::Extend(request) => {
                self.0.extend(all_good(request.values)?);
                Reply::Extend(ListExtendResponse {})
            }
            Op::Pop(request) => {
                let at = if self.0.is_empty() { Err(Reason::Empty) } else { self.at(request.index.unwrap_or(-1)) };
                Reply::Pop(ListPopResponse { value: Some(self.0.remove(at?)) })
            }
            Op::Remove(request) => {
                let at = *self.find(request.value)?.first().ok_or(Reason::MissingValue)?;
                self.0.remove(at);
                Reply::Remove(ListRemoveResponse {})
            }
            Op::Add(request) => {
                let delta = good(request.delta)?;
                let at = self.at(request.index)?;
                let sum = number::add(&self.0[at], &delta, &"it").map_err(|refusal| refusal.why())?;
                self.0[at] = sum.clone();
                Reply::Add(ListAddResponse { value: Some(sum) })
            }
            Op::CompareAndSet(request) => {
                let (expected, new) = (good(request.expected)?, good(request.new)?);
                let at = self.at(request.index)?;
                let swapped = equal(&self.0[at], &expected);
                if swapped {
                    self.0[at] = new;
                }
                Reply::CompareAndSet(ListCompareAndSetResponse { swapped })
            }
            Op::Swap(request) => {
                let (first, second) = (self.at(request.first)?, self.at(request.second)?);
                self.0.swap(first, second);
                Reply::Swap(ListSwapResponse {})
            }
            op => return self.write_many(op),
        })
    }

    fn write_many(&mut self, op: Op) -> Modelled {
        Ok(match op {
            Op::Take(request) => {
                if request.end > 1 {
                    return Err(Reason::Malformed);
                }
                let mut values = Vec::new();
                while (values.len() as u64) < request.count && !self.0.is_empty() {
                    values.push(if request.end == 0 { self.0.remove(0) } else { self.0.remove(self.0.len() - 1) });
                }
                Reply::Take(ListTakeResponse { values })
            }
            Op::Reverse(_) => {
                self.0.reverse();
                Reply::Reverse(ListReverseResponse {})
            }
            Op::Sort(request) => {
                self.sort(request.reverse)?;
                Reply::Sort(ListSortResponse {})
            }
            Op::Clear(_) => Reply::Clear(ListClearResponse { removed: self.0.drain(..).count() as u64 }),
            Op::Repeat(request) => {
                if request.count > 10 && !self.0.is_empty() {
                    return Err(Reason::Quota);
                }
                let times = request.count.clamp(0, 10) as usize;
                self.0 = core::iter::repeat_n(self.0.clone(), times).flatten().collect();
                Reply::Repeat(ListRepeatResponse {})
            }
            Op::SetSlice(request) => {
                let values = all_good(request.values)?;
                let slice = request.slice.unwrap_or_default();
                let indexes = self.slice(slice)?;
                if slice.step.unwrap_or(1) == 1 {
                    let start = slice.start.map_or(0, |start| self.bound(start));
                    self.0.splice(start..start + indexes.len(), values);
                } else if indexes.len() == values.len() {
                    for (at, value) in indexes.into_iter().zip(values) {
                        self.0[at] = value;
                    }
                } else {
                    return Err(Reason::Malformed);
                }
                Reply::SetSlice(ListSetSliceResponse {})
            }
            Op::DeleteSlice(request) => {
                let mut indexes = self.slice(request.slice.unwrap_or_default())?;
                let removed = indexes.len() as u64;
                indexes.sort_unstable();
                for at in indexes.into_iter().rev() {
                    self.0.remove(at);
                }
                Reply::DeleteSlice(ListDeleteSliceResponse { removed })
            }
            op => return self.read(op),
        })
    }

    fn read(&self, op: Op) -> Modelled {
        Ok(match op {
            Op::Get(request) => Reply::Get(ListGetResponse { value: Some(self.0[self.at(request.index)?].clone()) }),
            Op::Index(request) => {
                let (start, stop) = (request.start.unwrap_or(0), request.stop.unwrap_or(i64::MAX));
                let part = self.bound(start)..self.bound(stop);
                let at = self.find(request.value)?.into_iter().find(|at| part.contains(at));
                Reply::Index(ListIndexResponse { index: at.ok_or(Reason::MissingValue)? as u64 })
            }
            Op::Count(request) => Reply::Count(ListCountResponse { count: self.find(request.value)?.len() as u64 }),
            Op::Contains(request) => {
                Reply::Contains(ListContainsResponse { contains: !self.find(request.value)?.is_empty() })
            }
            Op::Len(_) => Reply::Len(ListLenResponse { len: self.0.len() as u64 }),
            Op::GetSlice(request) => {
                let slice = match request.part {
                    Some(Part::Slice(slice)) => slice,
                    None => ListSlice::default(),
                    Some(Part::Cursor(_)) => panic!("cursors are tested on their own"),
                };
                let values = self.slice(slice)?.into_iter().map(|at| self.0[at].clone()).collect();
                Reply::GetSlice(ListGetSliceResponse { values, cursor: None, changed: false })
            }
            op => panic!("not modelled: {op:?}"),
        })
    }

    /// By insertion; and every two must have an order.
    fn sort(&mut self, reverse: bool) -> Result<(), Reason> {
        for (at, a) in self.0.iter().enumerate() {
            self.0[..at].iter().try_for_each(|b| naive_order(a, b).map(drop).ok_or(Reason::WrongType))?;
        }
        let mut sorted: Vec<Datum> = Vec::new();
        for element in self.0.drain(..) {
            let after = |other: &Datum| match naive_order(other, &element).expect("checked") {
                Ordering::Equal => false,
                ordering => (ordering == Ordering::Greater) != reverse,
            };
            let at = sorted.iter().position(after).unwrap_or(sorted.len());
            sorted.insert(at, element);
        }
        self.0 = sorted;
        Ok(())
    }
}

/// Python's order, told plainly; for numbers as tests make them: with a fraction of at most a half, below 2^100 or the
/// largest float.
fn naive_order(a: &Datum, b: &Datum) -> Option<Ordering> {
    let number = |datum: &Datum| match datum {
        Datum::Boolean(boolean) => Some(i128::from(*boolean) * 2),
        Datum::Integer(integer) => Some(i128::from(*integer) * 2),
        Datum::BigInteger(bytes) => Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | i128::from(*byte)) * 2),
        Datum::Float(float) if !float.is_nan() => Some((float * 2.0) as i128),
        _ => None,
    };
    match (a, b) {
        (Datum::Text(a), Datum::Text(b)) => Some(a.chars().cmp(b.chars())),
        (Datum::Bytes(a), Datum::Bytes(b)) => Some(a.cmp(b)),
        (Datum::List(a), Datum::List(b)) | (Datum::Tuple(a), Datum::Tuple(b)) => {
            match a.iter().zip(b).find(|(a, b)| !equal(a, b)) {
                Some((a, b)) => naive_order(a, b),
                None => Some(a.len().cmp(&b.len())),
            }
        }
        _ => Some(number(a)?.cmp(&number(b)?)),
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

/// What may be an element. What makes data valid is tested where that is decided.
fn good(datum: Option<Datum>) -> Result<Datum, Reason> {
    door::value("it", datum, &Equality::new(1)).map_err(|refusal| refusal.why())
}

fn all_good(data: Vec<Datum>) -> Result<Vec<Datum>, Reason> {
    data.into_iter().map(|datum| good(Some(datum))).collect()
}

/// What can be compared: NaN has no equal, but its encoding does. Which of two flaws is found first is not promised.
fn comparable(answer: Modelled) -> Result<String, Reason> {
    answer.map(|reply| format!("{reply:?}")).map_err(|why| match why {
        Reason::NanKey | Reason::IndexOutOfRange => Reason::Malformed,
        why => why,
    })
}

fn is_cursor(op: &Op) -> bool {
    matches!(op, Op::GetSlice(ListGetSliceRequest { part: Some(Part::Cursor(_)), .. }))
}

proptest! {
    #[test]
    fn does_what_the_model_does(ops in prop::collection::vec(any::<u64>(), 1..200)) {
        let (mut list, mut model) = (list(), Model::default());
        for (index, seed) in (1..).zip(ops) {
            let mut op = List::arbitrary_op(&mut Source::new(seed));
            if let Op::GetSlice(request) = &mut op {
                request.bytes = 0;
            }
            if is_cursor(&op) || model.0.len() > 200 && matches!(op, Op::Repeat(_)) {
                continue;
            }
            let context = format!("{op:?}");
            let answer = match list.apply(op.clone(), &mut turn(index, u64::MAX / 2)) {
                Answer::Done(reply) => Ok(reply),
                Answer::Refused(refusal) => Err(refusal.why()),
                Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
            };
            prop_assert_eq!(comparable(answer), comparable(model.write(op)), "{}", context);
            prop_assert_eq!(format!("{:?}", list.state().elements), format!("{:?}", model.0), "{}", context);
        }
    }

    /// Between any two pages anything may happen: what is read on is of the moment of the first page, or the reader is
    /// told that there is no more of it.
    #[test]
    fn pages_are_of_one_moment(
        before in prop::collection::vec(any::<u64>(), 0..60),
        between in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..2), 0..20),
        of in any::<u64>(),
        bytes in 1u32..30,
    ) {
        let mut list = list();
        let mut index = 1;
        let mut change = |list: &mut List, seeds: &[u64], is_only_at_the_ends: bool| {
            for seed in seeds {
                index += 1;
                let mut source = Source::new(*seed);
                let op = match source.below(3) {
                    _ if !is_only_at_the_ends => List::arbitrary_op(&mut source),
                    0 => take(1, ListEnd::Front),
                    1 => append(1),
                    _ => List::arbitrary_op(&mut source),
                };
                if list.elements.len() < 200 || !matches!(op, Op::Repeat(_)) {
                    let _ = list.apply(op, &mut turn(index, u64::MAX / 2));
                }
            }
        };
        change(&mut list, &before, false);
        let bounds = Source::new(of).below(20) as i64 - 10;
        let steps = [1, 1, 2, -1, -3];
        let slice = slice((Some(bounds), None, Some(steps[of as usize % steps.len()])));
        let then = Model(list.state().elements);
        let expected: Vec<Datum> = then.slice(slice).unwrap().into_iter().map(|at| then.0[at].clone()).collect();
        let mut seen: Vec<Datum> = Vec::new();
        let mut op = page(slice, bytes);
        for seeds in between.iter().map(Vec::as_slice).chain(core::iter::repeat(&[][..])) {
            let Answer::Done(Reply::GetSlice(page)) = list.apply(op, &mut turn(1 << 40, 0)) else { panic!() };
            if page.changed {
                prop_assert!(page.values.is_empty() && page.cursor.is_none());
                return Ok(());
            }
            seen.extend(page.values);
            let Some(cursor) = page.cursor else { break };
            op = next_page(cursor, bytes);
            change(&mut list, seeds, true);
        }
        prop_assert_eq!(format!("{seen:?}"), format!("{expected:?}"));
    }
}
