use alloc::borrow::ToOwned;
use alloc::{format, vec};

use holdfast_proto::{ArrayDescribeRequest, ArraySlice};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::CallId;
use crate::SessionId;
use crate::testing::{Source, Tested as _};

fn creation(room: u64) -> Creation {
    Creation { seed: 7, room: Room::new(room, "object_bytes") }
}

fn make(typecode: &str, contents: array_spec::Contents, room: u64) -> Result<Array, Refusal> {
    Array::create(Spec { typecode: typecode.into(), contents: Some(contents) }, &mut creation(room))
}

fn zeros_of(typecode: &str, length: u64) -> Array {
    make(typecode, array_spec::Contents::Length(length), u64::MAX).unwrap()
}

fn turn(page_bytes: u32) -> Turn {
    Turn::new(1, CallId { session: SessionId([1; 16]), number: 1 }, page_bytes, Room::new(0, "object_bytes"))
}

// The ops, briefly.

fn get(index: i64) -> Op {
    Op::Get(ArrayGetRequest { index })
}

fn set(index: i64, value: impl Into<Datum>) -> Op {
    Op::Set(ArraySetRequest { index, value: Some(value.into()) })
}

fn fill(value: impl Into<Datum>) -> Op {
    Op::Fill(ArrayFillRequest { value: Some(value.into()) })
}

fn add(index: i64, delta: impl Into<Datum>) -> Op {
    Op::Add(ArrayAddRequest { index, delta: Some(delta.into()) })
}

fn swap(index: i64, expected: impl Into<Datum>, new: impl Into<Datum>) -> Op {
    Op::CompareAndSet(ArrayCompareAndSetRequest { index, expected: Some(expected.into()), new: Some(new.into()) })
}

fn slice(start: i64, stop: i64, step: i64) -> Option<ArraySlice> {
    Some(ArraySlice { start: Some(start), stop: Some(stop), step: Some(step) })
}

fn get_slice(slice: Option<ArraySlice>, skip: u64, bytes: u32) -> Op {
    Op::GetSlice(ArrayGetSliceRequest { slice, skip, bytes })
}

fn set_slice(slice: Option<ArraySlice>, integers: &[i64], skip: u64, left: u64) -> Op {
    let elements = Some(ArrayElements { integers: integers.into(), ..ArrayElements::default() }.into());
    Op::SetSlice(ArraySetSliceRequest { slice, elements, skip, left })
}

fn all() -> Op {
    get_slice(None, 0, 0)
}

// The answers, briefly.

fn show(datum: Option<&Datum>) -> String {
    datum.map_or("-".to_owned(), |datum| format!("{}", datum.brief()))
}

fn show_elements(elements: &ArrayElements) -> String {
    let ArrayElements { integers, naturals, floats, characters } = elements;
    match (integers.len(), naturals.len(), floats.len()) {
        (1.., 0, 0) => format!("{integers:?}"),
        (0, 1.., 0) => format!("{naturals:?}"),
        (0, 0, 1..) => format!("{floats:?}"),
        _ => format!("{characters:?}"),
    }
}

fn show_answer(answer: Answer<Reply>) -> String {
    let reply = match answer {
        Answer::Done(reply) => reply,
        Answer::Refused(refusal) => return format!("{:?}", refusal.why()),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    };
    match reply {
        Reply::Describe(answer) => format!("{} {}", answer.typecode, answer.len),
        Reply::Get(answer) => show(answer.value.as_ref()),
        Reply::Set(_) | Reply::SetSlice(_) | Reply::Fill(_) => "ok".to_owned(),
        Reply::GetSlice(page) => format!("{} {} left", show_elements(&page.elements.unwrap()), page.left),
        Reply::Add(answer) => show(answer.value.as_ref()),
        Reply::CompareAndSet(answer) => {
            format!("{} {}", if answer.swapped { "swapped" } else { "kept" }, show(answer.value.as_ref()))
        }
    }
}

/// Runs a scenario on an array of so many zeros.
fn check(typecode: &str, length: u64, scenario: Vec<(Op, &str)>) {
    let mut array = zeros_of(typecode, length);
    for (line, (op, expected)) in scenario.into_iter().enumerate() {
        let shown = format!("line {}: {op:?}", line + 1);
        assert_eq!(show_answer(array.apply(op, &mut turn(1 << 16))), expected, "{shown}");
    }
}

/// The message with which an op on an array of three zeros is refused.
fn message(typecode: &str, op: Op) -> String {
    match zeros_of(typecode, 3).apply(op, &mut turn(0)) {
        Answer::Refused(refusal) => refusal.message,
        Answer::Done(reply) => panic!("{reply:?}"),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    }
}

#[test]
fn elements_by_index() {
    check(
        "i",
        3,
        vec![
            (Op::Describe(ArrayDescribeRequest {}), "i 3"),
            (get(0), "0"),
            (set(-1, 7), "ok"),
            (get(2), "7"),
            (set(-3, -7), "ok"),
            (all(), "[-7, 0, 7] 0 left"),
            (get(3), "IndexOutOfRange"),
            (get(-4), "IndexOutOfRange"),
            (set(i64::MIN, 1), "IndexOutOfRange"),
            (set(i64::MAX, 1), "IndexOutOfRange"),
            (fill(9), "ok"),
            (all(), "[9, 9, 9] 0 left"),
        ],
    );
    check("d", 0, vec![(get(0), "IndexOutOfRange"), (fill(1), "ok"), (all(), "\"\" 0 left")]);
    assert_eq!(message("i", get(3)), "the index 3 is outside the array: use one from -3 to 2");
}

#[test]
fn every_typecode_takes_its_range_and_no_more() {
    let two_to_64 = Datum::BigInteger([1, 0, 0, 0, 0, 0, 0, 0, 0].into());
    let most_of_64 = Datum::BigInteger([0, 255, 255, 255, 255, 255, 255, 255, 255].into());
    let signed = [("b", 8), ("h", 16), ("i", 32), ("l", 64), ("q", 64)];
    for (typecode, bits) in signed {
        let (least, most) = ((i64::MIN >> (64 - bits)), (i64::MAX >> (64 - bits)));
        check(
            typecode,
            1,
            vec![(set(0, least), "ok"), (get(0), &format!("{least}")), (set(0, most), "ok"), (add(0, 1), "Overflow")],
        );
        if bits < 64 {
            check(typecode, 1, vec![(set(0, least - 1), "Overflow"), (set(0, most + 1), "Overflow"), (get(0), "0")]);
        }
        check(typecode, 1, vec![(set(0, most_of_64.clone()), "Overflow")]);
    }
    for (typecode, bits) in [("B", 8), ("H", 16), ("I", 32)] {
        let most = (1i64 << bits) - 1;
        check(
            typecode,
            1,
            vec![
                (set(0, most), "ok"),
                (add(0, 1), "Overflow"),
                (get(0), &format!("{most}")),
                (add(0, -most), "0"),
                (add(0, -1), "Overflow"),
                (set(0, -1), "Overflow"),
                (set(0, most + 1), "Overflow"),
            ],
        );
    }
    for typecode in ["L", "Q"] {
        let mut array = zeros_of(typecode, 1);
        assert_eq!(show_answer(array.apply(set(0, most_of_64.clone()), &mut turn(0))), "ok");
        let Answer::Done(Reply::Get(found)) = array.apply(get(0), &mut turn(0)) else { panic!() };
        assert_eq!(found.value, Some(most_of_64.clone()));
        assert_eq!(show_answer(array.apply(add(0, i64::MIN), &mut turn(0))), format!("{}", i64::MAX));
        assert_eq!(show_answer(array.apply(set(0, two_to_64.clone()), &mut turn(0))), "Overflow");
        assert_eq!(show_answer(array.apply(set(0, -1), &mut turn(0))), "Overflow");
    }
    let huge = Datum::BigInteger([1; 40].into());
    check("q", 1, vec![(set(0, huge), "Overflow")]);
    assert_eq!(
        message("b", set(0, 128)),
        "128 does not fit: an array with the typecode b holds integers from -128 to 127"
    );
}

#[test]
fn other_types_are_refused() {
    for other in [Datum::Null, true.into(), 1.5.into(), "1".into(), Datum::Bytes([1].into()), Datum::List([].into())] {
        check("i", 1, vec![(set(0, other.clone()), "WrongType"), (fill(other.clone()), "WrongType")]);
        check("i", 1, vec![(add(0, other.clone()), "WrongType"), (swap(0, 0, other), "WrongType"), (get(0), "0")]);
    }
    for other in [Datum::Null, true.into(), "1".into()] {
        check("d", 1, vec![(set(0, other.clone()), "WrongType"), (add(0, other), "WrongType")]);
    }
    for other in [Datum::from(""), "ab".into(), 97.into(), 1.5.into()] {
        check("w", 1, vec![(set(0, other.clone()), "WrongType"), (add(0, other), "WrongType")]);
    }
    assert_eq!(
        message("i", set(0, "x")),
        "\"x\" (a text) is no element: an array with the typecode i holds integers from -2147483648 to 2147483647"
    );
    assert!(message("w", add(0, 1)).contains("cannot be added"));
}

#[test]
fn floats() {
    check(
        "d",
        1,
        vec![(set(0, 0.1), "ok"), (add(0, 1), "1.1"), (set(0, f64::MAX), "ok"), (add(0, f64::MAX), "Overflow")],
    );
    check("d", 1, vec![(set(0, f64::INFINITY), "ok"), (add(0, 1), "inf"), (set(0, f64::NAN), "ok"), (get(0), "NaN")]);
    let rounded = format!("{}", Datum::Float(f64::from(0.1f32)).brief());
    check(
        "f",
        1,
        vec![(set(0, 0.1), "ok"), (get(0), &rounded), (swap(0, 0.1, 0.5), "swapped 0.5"), (add(0, 1), "1.5")],
    );
    check("f", 1, vec![(set(0, 1e39), "Overflow"), (set(0, 3e38), "ok"), (add(0, 3e38), "Overflow")]);
    check("f", 1, vec![(set(0, f64::INFINITY), "ok"), (get(0), "inf")]);
}

#[test]
fn characters() {
    for typecode in ["u", "w"] {
        check(
            typecode,
            3,
            vec![
                (fill("a"), "ok"),
                (set(1, "€"), "ok"),
                (get(1), "\"€\""),
                (all(), "\"a€a\" 0 left"),
                (swap(0, "a", "b"), "swapped \"b\""),
            ],
        );
    }
}

#[test]
fn compare_and_set() {
    check(
        "d",
        1,
        vec![
            (swap(0, 0, 1), "swapped 1.0"),
            (swap(0, 0, 2), "kept 1.0"),
            (swap(0, -0.0, 2), "kept 1.0"),
            (swap(0, 1.0, f64::NAN), "swapped NaN"),
            (swap(0, f64::NAN, 1), "kept NaN"),
            (swap(1, 0, 1), "IndexOutOfRange"),
        ],
    );
    check("b", 1, vec![(swap(0, 300, 1), "Overflow"), (swap(0, "x", 1), "WrongType"), (swap(0, 0, 300), "Overflow")]);
}

#[test]
fn slices_and_pages() {
    check(
        "b",
        6,
        vec![
            (set_slice(None, &[1, 2, 3, 4, 5, 6], 0, 0), "ok"),
            (get_slice(slice(1, 5, 2), 0, 0), "[2, 4] 0 left"),
            (get_slice(slice(-1, -99, -2), 0, 0), "[6, 4, 2] 0 left"),
            (get_slice(slice(-1, -99, -2), 1, 2), "[4] 1 left"),
            (get_slice(slice(-1, -99, -2), 2, 2), "[2] 0 left"),
            (get_slice(slice(-1, -99, -2), 3, 2), "\"\" 0 left"),
            (get_slice(slice(-1, -99, -2), 4, 2), "Malformed"),
            (get_slice(slice(0, 6, 0), 0, 0), "Malformed"),
            (set_slice(slice(0, 6, 2), &[7, 8, 9], 0, 0), "ok"),
            (all(), "[7, 2, 8, 4, 9, 6] 0 left"),
            (set_slice(slice(0, 6, 2), &[1, 1], 0, 0), "Malformed"),
            (set_slice(slice(0, 6, 2), &[1, 1, 1, 1], 0, 0), "Malformed"),
            (set_slice(slice(0, 6, 2), &[1], 1, 1), "ok"),
            (set_slice(slice(0, 6, 2), &[1], 1, 2), "Malformed"),
            (set_slice(slice(0, 6, 2), &[1], u64::MAX, 2), "Malformed"),
            (set_slice(slice(0, 6, 2), &[1], 1, u64::MAX), "Malformed"),
            (set_slice(None, &[1, 1, 1, 1, 1, 300], 0, 0), "Overflow"),
            (set_slice(slice(3, 1, 1), &[], 0, 0), "ok"),
            (all(), "[7, 2, 1, 4, 9, 6] 0 left"),
        ],
    );
    let several = ArrayElements { integers: vec![1], floats: vec![1.0], ..ArrayElements::default() };
    let set = |elements| Op::SetSlice(ArraySetSliceRequest { slice: None, elements, skip: 0, left: 0 });
    check("d", 2, vec![(set(Some(several.into())), "Malformed"), (set(None), "Malformed")]);
    assert_eq!(
        message("b", set_slice(None, &[1], 0, 0)),
        "the slice has 3 elements and 1 are given, after 0 and before 0: give as many, since an array keeps its length"
    );
}

#[test]
fn what_is_missing_is_malformed() {
    let missing = [
        Op::Set(ArraySetRequest { index: 0, value: None }),
        set(0, Datum::Unset),
        Op::Fill(ArrayFillRequest { value: None }),
        Op::Add(ArrayAddRequest { index: 0, delta: None }),
        Op::CompareAndSet(ArrayCompareAndSetRequest { index: 0, expected: None, new: Some(1.into()) }),
        Op::CompareAndSet(ArrayCompareAndSetRequest { index: 0, expected: Some(1.into()), new: None }),
    ];
    check("i", 1, missing.into_iter().map(|op| (op, "Malformed")).collect());
}

#[test]
fn a_spec_is_looked_at_before_anything_is_made() {
    use array_spec::Contents::{Initial, Length};
    let why =
        |typecode: &str, contents, room| make(typecode, contents, room).map(drop).map_err(|refusal| refusal.why());
    let these = |integers: &[i64]| Initial(ArrayElements { integers: integers.into(), ..ArrayElements::default() });
    for typecode in ["", "x", "ii", "I "] {
        assert_eq!(why(typecode, Length(1), 100), Err(Reason::Malformed), "{typecode:?}");
    }
    let nothing = Array::create(Spec { typecode: "i".into(), contents: None }, &mut creation(100));
    assert_eq!(nothing.unwrap_err().why(), Reason::Malformed);
    assert_eq!(why("b", these(&[1, 300]), 100), Err(Reason::Overflow));
    assert_eq!(why("w", these(&[1]), 100), Err(Reason::WrongType));
    // Each element costs the size of its type.
    for (typecode, bytes) in [("b", 1), ("H", 2), ("i", 4), ("Q", 8), ("f", 4), ("d", 8), ("w", 4)] {
        assert_eq!(zeros_of(typecode, 10).bytes(), 10 * bytes);
        assert_eq!(why(typecode, Length(10), 10 * bytes - 1), Err(Reason::Quota));
        assert_eq!(why(typecode, Length(10), 10 * bytes), Ok(()));
    }
    assert_eq!(why("i", these(&[1, 2]), 7), Err(Reason::Quota));
    assert_eq!(why("i", these(&[1, 2]), 8), Ok(()));
    // However large it is, and whatever the limit.
    for length in [1 << 40, 1 << 60, u64::MAX] {
        assert_eq!(why("d", Length(length), 1 << 30), Err(Reason::Quota));
    }
    for length in [1 << 60, u64::MAX] {
        assert_eq!(why("d", Length(length), u64::MAX), Err(Reason::Quota), "there is no such memory");
    }
}

#[test]
fn a_page_is_never_larger_than_the_managers() {
    for (typecode, value) in
        [("q", Datum::from(i64::MIN)), ("d", 1.0.into()), ("b", (-128).into()), ("w", "\u{10ffff}".into())]
    {
        let mut array = zeros_of(typecode, 1000);
        let _ = array.apply(fill(value), &mut turn(0));
        for asked in [0, 200, 100_000] {
            let Answer::Done(Reply::GetSlice(page)) = array.apply(get_slice(None, 0, asked), &mut turn(200)) else {
                panic!("a slice is refused");
            };
            let len = page.elements.unwrap().encoded_len();
            assert!((190..=204).contains(&len), "{typecode}: {len}");
        }
    }
}

/// What an element of a typecode can be, told by numbers alone.
fn model_element(typecode: &str, value: &Datum) -> Result<Datum, Reason> {
    let integer = match value {
        Datum::Integer(integer) => Some(i128::from(*integer)),
        Datum::BigInteger(bytes) => {
            let start = if bytes[0] > 127 { -1i128 } else { 0 };
            Some(bytes.iter().fold(start, |sum, byte| sum * 256 + i128::from(*byte)))
        }
        _ => None,
    };
    let (least, most) = match typecode {
        "b" => (-128, 127),
        "B" => (0, 255),
        "h" => (-32768, 32767),
        "H" => (0, 65535),
        "i" => (-(1i128 << 31), (1 << 31) - 1),
        "I" => (0, (1 << 32) - 1),
        "l" | "q" => (-(1i128 << 63), (1 << 63) - 1),
        "L" | "Q" => (0, (1 << 64) - 1),
        "d" | "f" => {
            let float = match value {
                Datum::Float(float) => *float,
                _ => integer.ok_or(Reason::WrongType)? as f64,
            };
            let stored = if typecode == "f" { f64::from(float as f32) } else { float };
            return if stored.is_finite() == float.is_finite() { Ok(stored.into()) } else { Err(Reason::Overflow) };
        }
        _ => {
            return match value {
                Datum::Text(text) if text.chars().count() == 1 => Ok(value.clone()),
                _ => Err(Reason::WrongType),
            };
        }
    };
    let integer = integer.ok_or(Reason::WrongType)?;
    if !(least..=most).contains(&integer) {
        return Err(Reason::Overflow);
    }
    Ok(i64::try_from(integer).map_or_else(|_| value.clone(), Datum::Integer))
}

/// The sum of two elements, told by numbers alone.
fn model_sum(typecode: &str, element: &Datum, delta: &Datum) -> Result<Datum, Reason> {
    if "uw".contains(typecode) {
        return Err(Reason::WrongType);
    }
    if "fd".contains(typecode) {
        let float = |datum: &Datum| match datum {
            Datum::Float(float) => *float,
            other => panic!("{other:?}"),
        };
        let (element, delta) = (float(element), float(&model_element("d", delta)?));
        let sum = model_element(typecode, &Datum::Float(element + delta))?;
        let overflows = float(&sum).is_infinite() && element.is_finite() && delta.is_finite();
        return if overflows { Err(Reason::Overflow) } else { Ok(sum) };
    }
    let value = |datum: &Datum| match datum {
        Datum::Integer(integer) => Ok(i128::from(*integer)),
        // Those that are made for tests are positive and have nine bytes.
        Datum::BigInteger(bytes) => Ok(bytes.iter().fold(0, |sum, byte| sum * 256 + i128::from(*byte))),
        _ => Err(Reason::WrongType),
    };
    let sum = value(element)? + value(delta)?;
    let bytes = sum.to_be_bytes()[7..].into();
    model_element(typecode, &i64::try_from(sum).map_or(Datum::BigInteger(bytes), Datum::Integer))
}

proptest! {
    /// An array as a `Vec` of data.
    #[test]
    fn does_what_the_model_does(spec in any::<u64>(), ops in prop::collection::vec(any::<u64>(), 1..200)) {
        let spec = Array::arbitrary_spec(&mut Source::new(spec));
        let typecode = spec.typecode.clone();
        let mut array = Array::create(spec, &mut creation(u64::MAX)).unwrap();
        let zero = if "uw".contains(&*typecode) { "\0".into() } else { model_element(&typecode, &0.into()).unwrap() };
        let mut model: Vec<Datum> = vec![zero; array.len()];
        for seed in ops {
            let op = Array::arbitrary_op(&mut Source::new(seed));
            let context = format!("{typecode}: {op:?}");
            let answer = array.apply(op.clone(), &mut turn(20));
            let expected = model_apply(&typecode, &mut model, op);
            prop_assert_eq!(comparable(answer), expected, "{}", context);
            let stored: Vec<Datum> = (0..model.len() as i64).map(|index| value_of(&mut array, index)).collect();
            prop_assert_eq!(format!("{:?}", stored), format!("{:?}", model), "{}", context);
        }
    }
}

fn value_of(array: &mut Array, index: i64) -> Datum {
    match array.apply(get(index), &mut turn(0)) {
        Answer::Done(Reply::Get(found)) => found.value.unwrap(),
        answer => panic!("{answer:?}"),
    }
}

/// An answer as data, in one list.
fn comparable(answer: Answer<Reply>) -> Result<String, Reason> {
    let reply = match answer {
        Answer::Done(reply) => reply,
        Answer::Refused(refusal) => return Err(refusal.why()),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    };
    let values: Vec<Datum> = match reply {
        Reply::Describe(answer) => vec![(&*answer.typecode).into(), (answer.len as i64).into()],
        Reply::Get(answer) => answer.value.into_iter().collect(),
        Reply::Set(_) | Reply::SetSlice(_) | Reply::Fill(_) => vec![],
        Reply::GetSlice(page) => {
            let elements = page.elements.unwrap();
            let values = Scalar::all(&elements).unwrap().map(Scalar::datum);
            values.chain([(page.left as i64).into()]).collect()
        }
        Reply::Add(answer) => answer.value.into_iter().collect(),
        Reply::CompareAndSet(answer) => vec![answer.swapped.into(), answer.value.unwrap()],
    };
    Ok(format!("{values:?}"))
}

fn model_apply(typecode: &str, model: &mut [Datum], op: Op) -> Result<String, Reason> {
    let len = model.len() as i64;
    let at = |index: i64| {
        let at = if index < 0 { index + len } else { index };
        if (0..len).contains(&at) { Ok(at as usize) } else { Err(Reason::IndexOutOfRange) }
    };
    let present = |value: Option<Datum>| match value {
        None | Some(Datum::Unset) => Err(Reason::Malformed),
        Some(value) => Ok(value),
    };
    let slice = |slice: &Option<ArraySlice>| -> Result<Vec<usize>, Reason> {
        let ArraySlice { start, stop, step } = slice.unwrap_or_default();
        let slice = Slice::new(ListSlice { start, stop, step }, len as usize).map_err(|refusal| refusal.why())?;
        Ok(slice.indexes().collect())
    };
    let values: Vec<Datum> = match op {
        Op::Describe(_) => vec![typecode.into(), len.into()],
        Op::Get(request) => vec![model[at(request.index)?].clone()],
        Op::Set(request) => {
            let value = present(request.value)?;
            let at = at(request.index)?;
            model[at] = model_element(typecode, &value)?;
            vec![]
        }
        Op::GetSlice(request) => {
            let slice = slice(&request.slice)?;
            let rest = slice.get(request.skip as usize..).ok_or(Reason::Malformed)?;
            let each = match typecode {
                "b" | "B" => 2,
                "h" | "H" => 3,
                "i" | "I" => 5,
                "f" | "d" => 8,
                "u" | "w" => 4,
                _ => 10,
            };
            let bytes = if request.bytes == 0 { 20 } else { request.bytes.min(20) };
            let count = rest.len().min((bytes / each).max(1) as usize);
            let left = (rest.len() - count) as i64;
            rest[..count].iter().map(|at| model[*at].clone()).chain([left.into()]).collect()
        }
        Op::SetSlice(request) => {
            let slice = slice(&request.slice)?;
            let elements = request.elements.ok_or(Reason::Malformed)?;
            let values = Scalar::all(&elements).ok_or(Reason::Malformed)?.map(Scalar::datum);
            let values = values.map(|value| model_element(typecode, &value)).collect::<Result<Vec<_>, _>>()?;
            if request.skip + values.len() as u64 + request.left != slice.len() as u64 {
                return Err(Reason::Malformed);
            }
            for (at, value) in slice.into_iter().skip(request.skip as usize).zip(values) {
                model[at] = value;
            }
            vec![]
        }
        Op::Fill(request) => {
            model.fill(model_element(typecode, &present(request.value)?)?);
            vec![]
        }
        Op::Add(request) => {
            let delta = present(request.delta)?;
            let at = at(request.index)?;
            model[at] = model_sum(typecode, &model[at], &delta)?;
            vec![model[at].clone()]
        }
        Op::CompareAndSet(request) => {
            let (expected, new) = (present(request.expected)?, present(request.new)?);
            let at = at(request.index)?;
            let (expected, new) = (model_element(typecode, &expected)?, model_element(typecode, &new)?);
            let swapped = model[at] == expected;
            if swapped {
                model[at] = new;
            }
            vec![swapped.into(), model[at].clone()]
        }
    };
    Ok(format!("{values:?}"))
}
