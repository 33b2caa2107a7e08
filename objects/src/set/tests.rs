use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use holdfast_proto::{SetClearRequest, SetLenRequest, SetPopRequest};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::testing::{Source, Tested as _, naively_equal};
use crate::{CallId, Room, SessionId};

fn set() -> Set {
    Set::create(Spec {}, &mut Creation { seed: 7, room: Room::new(u64::MAX, "object_bytes") }).unwrap()
}

fn turn(index: u64, room: u64) -> Turn {
    Turn::new(index, CallId { session: SessionId([1; 16]), number: index }, 1 << 16, Room::new(room, "object_bytes"))
}

// The ops, briefly.

fn data<D: Into<Datum> + Copy>(members: &[D]) -> Vec<Datum> {
    members.iter().map(|member| (*member).into()).collect()
}

fn add(member: impl Into<Datum>) -> Op {
    Op::Add(SetAddRequest { member: Some(member.into()) })
}

fn discard(member: impl Into<Datum>) -> Op {
    Op::Discard(SetDiscardRequest { member: Some(member.into()) })
}

fn remove(member: impl Into<Datum>) -> Op {
    Op::Remove(SetRemoveRequest { member: Some(member.into()) })
}

fn contains(member: impl Into<Datum>) -> Op {
    Op::Contains(SetContainsRequest { member: Some(member.into()) })
}

fn pop() -> Op {
    Op::Pop(SetPopRequest {})
}

fn len() -> Op {
    Op::Len(SetLenRequest {})
}

fn scan(cursor: u64, bytes: u32) -> Op {
    Op::Scan(SetScanRequest { cursor, bytes })
}

fn add_many<D: Into<Datum> + Copy>(members: &[D]) -> Op {
    Op::AddMany(SetAddManyRequest { members: data(members) })
}

fn remove_many<D: Into<Datum> + Copy>(members: &[D]) -> Op {
    Op::RemoveMany(SetRemoveManyRequest { members: data(members) })
}

fn contains_many<D: Into<Datum> + Copy>(members: &[D]) -> Op {
    Op::ContainsMany(SetContainsManyRequest { members: data(members) })
}

fn keep_only<D: Into<Datum> + Copy>(members: &[D]) -> Op {
    Op::KeepOnly(SetKeepOnlyRequest { members: data(members) })
}

fn toggle<D: Into<Datum> + Copy>(members: &[D]) -> Op {
    Op::Toggle(SetToggleRequest { members: data(members) })
}

fn compare<D: Into<Datum> + Copy>(members: &[D]) -> Op {
    Op::Compare(SetCompareRequest { members: data(members) })
}

fn combine<D: Into<Datum> + Copy>(operation: SetOperation, members: &[D], cursor: u64, bytes: u32) -> Op {
    Op::Combine(SetCombineRequest { operation: operation.into(), members: data(members), cursor, bytes })
}

// The answers, briefly.

fn show(members: &[Datum]) -> String {
    members.iter().map(|member| format!("{} ", member.brief())).collect()
}

fn show_answer(answer: Answer<Reply>) -> String {
    let reply = match answer {
        Answer::Done(reply) => reply,
        Answer::Refused(refusal) => return format!("{:?}", refusal.why()),
        Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
    };
    match reply {
        Reply::Add(answer) => if answer.added { "new" } else { "known" }.to_owned(),
        Reply::Discard(answer) => if answer.removed { "gone" } else { "unknown" }.to_owned(),
        Reply::Remove(_) => "ok".to_owned(),
        Reply::Pop(answer) => show(answer.member.as_slice()),
        Reply::Contains(answer) => format!("{}", answer.contains),
        Reply::Len(answer) => format!("{}", answer.len),
        Reply::Clear(answer) => format!("-{}", answer.removed),
        Reply::Scan(page) => format!("{}next {}", show(&page.members), page.cursor),
        Reply::AddMany(answer) => format!("+{}", answer.added),
        Reply::RemoveMany(answer) => format!("-{}", answer.removed),
        Reply::ContainsMany(answer) => format!("{:?}", answer.contains),
        Reply::KeepOnly(answer) => format!("-{}", answer.removed),
        Reply::Toggle(answer) => format!("+{} -{}", answer.added, answer.removed),
        Reply::Compare(answer) => format!("{} of {} and {}", answer.common, answer.len, answer.other),
        Reply::Combine(page) => format!("{}{:?} next {}", show(&page.members), page.others, page.cursor),
    }
}

/// Runs a scenario on a new set; the first line has index 1.
fn check(scenario: Vec<(Op, &str)>) {
    let mut set = set();
    for (line, (op, expected)) in scenario.into_iter().enumerate() {
        let shown = format!("line {}: {op:?}", line + 1);
        let answer = set.apply(op, &mut turn(line as u64 + 1, 1 << 30));
        assert_eq!(show_answer(answer), expected, "{shown}");
    }
}

#[test]
fn single_members() {
    check(vec![
        (pop(), "Empty"),
        (add("a"), "new"),
        (add("a"), "known"),
        (add("b"), "new"),
        (contains("a"), "true"),
        (contains("c"), "false"),
        (len(), "2"),
        (discard("c"), "unknown"),
        (remove("c"), "MissingKey"),
        (discard("a"), "gone"),
        (remove("a"), "MissingKey"),
        (remove("b"), "ok"),
        (len(), "0"),
        (add_many(&["x", "y", "z"]), "+3"),
        (pop(), "\"z\" "),
        (Op::Clear(SetClearRequest {}), "-2"),
    ]);
}

#[test]
fn members_compare_as_in_python_and_keep_their_first_form() {
    check(vec![
        (add(1), "new"),
        (add(1.0), "known"),
        (add(true), "known"),
        (add("1"), "new"),
        (scan(0, 0), "1 \"1\" next 0"),
        (add(f64::NAN), "NanKey"),
        (contains(f64::NAN), "NanKey"),
        (add(Datum::Tuple([f64::NAN.into()].into())), "NanKey"),
        (add_many(&[2.0, f64::NAN]), "NanKey"),
        (combine(SetOperation::Union, &[f64::NAN], 0, 0), "NanKey"),
        (combine(SetOperation::Intersection, &[1.0], 0, 0), "1 [] next 0"),
        (compare(&[1.0, 2.0]), "1 of 2 and 2"),
        (discard(1.0), "gone"),
        (len(), "1"),
    ]);
}

#[test]
fn many_members() {
    check(vec![
        (add_many(&[1, 2, 3, 2, 1]), "+3"),
        (add_many(&[3, 4]), "+1"),
        (contains_many(&[4, 9, 4, 1]), "[true, false, true, true]"),
        (remove_many(&[2, 2, 9]), "-1"),
        (toggle(&[1, 5, 5, 1, 6]), "+2 -1"),
        (scan(0, 0), "3 4 5 6 next 0"),
        (keep_only(&[6, 9, 4, 4]), "-2"),
        (scan(0, 0), "4 6 next 0"),
        (toggle(&[4, 6]), "+0 -2"),
        (len(), "0"),
        (keep_only(&[1]), "-0"),
        (add_many::<i64>(&[]), "+0"),
    ]);
}

#[test]
fn comparisons_say_all_that_python_asks() {
    check(vec![
        (compare::<i64>(&[]), "0 of 0 and 0"),
        (add_many(&[1, 2, 3]), "+3"),
        (compare(&[3, 2, 1, 1]), "3 of 3 and 3"),
        (compare(&[3, 2, 1, 4]), "3 of 3 and 4"),
        (compare(&[3, 2]), "2 of 3 and 2"),
        (compare(&[7, 8]), "0 of 3 and 2"),
    ]);
}

#[test]
fn combinations() {
    use SetOperation::{Difference, Intersection, SymmetricDifference, Union};
    check(vec![
        (add_many(&[1, 2, 3, 4]), "+4"),
        (combine(Union, &[3, 9, 9, 2], 0, 0), "1 4 [0, 1, 3] next 0"),
        (combine(Intersection, &[9, 3, 2, 3], 0, 0), "2 3 [] next 0"),
        (combine(Difference, &[9, 3, 2, 3], 0, 0), "1 4 [] next 0"),
        (combine(SymmetricDifference, &[9, 3, 9, 8], 0, 0), "1 2 4 [0, 3] next 0"),
        (combine::<i64>(Union, &[], 0, 0), "1 2 3 4 [] next 0"),
        (combine::<i64>(Intersection, &[], 0, 0), "[] next 0"),
        // A page at a time; the data of the other set come with the last.
        (combine(Union, &[2, 9], 0, 1), "1 [] next 3"),
        (combine(Union, &[2, 9], 3, 1), "3 [] next 4"),
        (combine(Union, &[2, 9], 4, 1), "4 [0, 1] next 0"),
        (combine(Intersection, &[4, 2, 9], 0, 1), "2 [] next 4"),
        (combine(Intersection, &[4, 2, 9], 4, 1), "4 [] next 0"),
        (combine(Intersection, &[4, 2, 9], 5, 1), "[] next 0"),
        (Op::Combine(SetCombineRequest { operation: 4, members: vec![], cursor: 0, bytes: 0 }), "Malformed"),
    ]);
}

#[test]
fn what_is_missing_or_not_valid_is_malformed() {
    let unset = vec![Datum::Unset];
    let malformed = vec![
        Op::Add(SetAddRequest { member: None }),
        add(Datum::Unset),
        add(Datum::Set([1.into(), 1.0.into()].into())),
        Op::Discard(SetDiscardRequest { member: None }),
        Op::Remove(SetRemoveRequest { member: None }),
        Op::Contains(SetContainsRequest { member: None }),
        Op::AddMany(SetAddManyRequest { members: unset.clone() }),
        Op::RemoveMany(SetRemoveManyRequest { members: unset.clone() }),
        Op::ContainsMany(SetContainsManyRequest { members: unset.clone() }),
        Op::KeepOnly(SetKeepOnlyRequest { members: unset.clone() }),
        Op::Toggle(SetToggleRequest { members: unset.clone() }),
        Op::Compare(SetCompareRequest { members: unset.clone() }),
        Op::Combine(SetCombineRequest { operation: 0, members: unset, cursor: 0, bytes: 0 }),
    ];
    check(malformed.into_iter().map(|op| (op, "Malformed")).collect());
}

#[test]
fn refusals_name_the_member() {
    let Answer::Refused(refusal) = set().apply(remove("a"), &mut turn(1, 0)) else { panic!() };
    assert_eq!(refusal.message, "the set has no member \"a\": discard it if it need not be there");
}

#[test]
fn a_member_costs_its_data_and_16_bytes() {
    let mut set = set();
    let mut room = turn(1, 100);
    let _ = set.apply(add("a"), &mut room);
    assert_eq!((set.bytes(), room.room.left()), (40, 60));
    assert_eq!(show_answer(set.apply(add(&*"x".repeat(30)), &mut room)), "Quota");
    assert_eq!(show_answer(set.apply(add_many(&["b", "c"]), &mut room)), "Quota");
    // One out and one in need no room.
    let mut none = turn(2, 0);
    assert_eq!(show_answer(set.apply(toggle(&["a", "b"]), &mut none)), "+1 -1");
    assert_eq!(show_answer(set.apply(toggle(&["b", "c", "d"]), &mut none)), "Quota");
    assert_eq!(show_answer(set.apply(scan(0, 0), &mut none)), "\"b\" next 0");
    assert_eq!(show_answer(set.apply(keep_only(&["c"]), &mut none)), "-1");
    assert_eq!((set.bytes(), none.room.left()), (0, 40));
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_member_takes_half_of_what_an_entry_of_a_dict_takes() {
    assert_eq!(size_of::<Entry>(), 32);
}

/// A set, plainly: members in order with their ordinals, and every rule told without a hash.
#[derive(Default)]
struct Model {
    members: Vec<(Datum, u64)>,
    last_ordinal: u64,
}

fn good(member: Option<Datum>) -> Result<Datum, Reason> {
    let equality = Equality::new(1);
    door::key("", member, &equality).map(Key::into_datum).map_err(|refusal| refusal.why())
}

fn good_all(members: Vec<Datum>) -> Result<Vec<Datum>, Reason> {
    members.into_iter().map(|member| good(Some(member))).collect()
}

fn is_in(member: &Datum, members: &[Datum]) -> bool {
    members.iter().any(|other| naively_equal(other, member))
}

/// The positions at which something comes first.
fn firsts(members: &[Datum]) -> Vec<usize> {
    (0..members.len()).filter(|at| !is_in(&members[*at], &members[..*at])).collect()
}

impl Model {
    fn find(&self, member: &Datum) -> Option<usize> {
        self.members.iter().position(|(other, _)| naively_equal(other, member))
    }

    fn add(&mut self, member: Datum) -> bool {
        let is_new = self.find(&member).is_none();
        if is_new {
            self.last_ordinal += 1;
            self.members.push((member, self.last_ordinal));
        }
        is_new
    }

    fn retain(&mut self, keeps: impl Fn(&Datum) -> bool) -> u64 {
        let before = self.members.len();
        self.members.retain(|(member, _)| keeps(member));
        if self.members.is_empty() {
            self.last_ordinal = 0;
        }
        (before - self.members.len()) as u64
    }

    fn apply(&mut self, op: Op, page_bytes: u32) -> Result<Reply, Reason> {
        let limit = |bytes: u32| if bytes == 0 { page_bytes } else { bytes.min(page_bytes) } as usize;
        Ok(match op {
            Op::Add(request) => Reply::Add(SetAddResponse { added: self.add(good(request.member)?) }),
            Op::Discard(request) => {
                let member = good(request.member)?;
                Reply::Discard(SetDiscardResponse { removed: self.retain(|other| !naively_equal(other, &member)) == 1 })
            }
            Op::Remove(request) => {
                let member = good(request.member)?;
                match self.retain(|other| !naively_equal(other, &member)) {
                    0 => return Err(Reason::MissingKey),
                    _ => Reply::Remove(SetRemoveResponse {}),
                }
            }
            Op::Pop(_) => {
                let (last, _) = self.members.last().cloned().ok_or(Reason::Empty)?;
                self.retain(|other| !naively_equal(other, &last));
                Reply::Pop(SetPopResponse { member: Some(last) })
            }
            Op::Contains(request) => {
                Reply::Contains(SetContainsResponse { contains: self.find(&good(request.member)?).is_some() })
            }
            Op::Len(_) => Reply::Len(SetLenResponse { len: self.members.len() as u64 }),
            Op::Clear(_) => Reply::Clear(SetClearResponse { removed: self.retain(|_| false) }),
            Op::Scan(request) => {
                let (members, cursor) = self.page(request.cursor, limit(request.bytes), |_| true);
                Reply::Scan(SetScanResponse { members, cursor })
            }
            Op::AddMany(request) => {
                let members = good_all(request.members)?;
                let added = members.into_iter().filter(|member| self.add(member.clone())).count() as u64;
                Reply::AddMany(SetAddManyResponse { added })
            }
            Op::RemoveMany(request) => {
                let members = good_all(request.members)?;
                Reply::RemoveMany(SetRemoveManyResponse { removed: self.retain(|member| !is_in(member, &members)) })
            }
            Op::ContainsMany(request) => {
                let contains = good_all(request.members)?.iter().map(|member| self.find(member).is_some()).collect();
                Reply::ContainsMany(SetContainsManyResponse { contains })
            }
            Op::KeepOnly(request) => {
                let members = good_all(request.members)?;
                Reply::KeepOnly(SetKeepOnlyResponse { removed: self.retain(|member| is_in(member, &members)) })
            }
            Op::Toggle(request) => {
                let members = good_all(request.members)?;
                let first = firsts(&members).into_iter().map(|at| members[at].clone());
                let (common, new): (Vec<_>, Vec<_>) = first.partition(|member| self.find(member).is_some());
                let removed = self.retain(|member| !is_in(member, &common));
                let added = new.into_iter().filter(|member| self.add(member.clone())).count() as u64;
                Reply::Toggle(SetToggleResponse { added, removed })
            }
            Op::Compare(request) => {
                let members = good_all(request.members)?;
                let common = self.members.iter().filter(|(member, _)| is_in(member, &members)).count() as u64;
                let other = firsts(&members).len() as u64;
                Reply::Compare(SetCompareResponse { len: self.members.len() as u64, other, common })
            }
            Op::Combine(request) => Reply::Combine(self.combine(request, limit)?),
        })
    }

    fn combine(&self, request: SetCombineRequest, limit: impl Fn(u32) -> usize) -> Result<SetCombineResponse, Reason> {
        let operation = SetOperation::try_from(request.operation).map_err(|_| Reason::Malformed)?;
        let others = good_all(request.members)?;
        let wants_common = operation == SetOperation::Intersection;
        let (members, cursor) =
            self.page(request.cursor, limit(request.bytes), |member| is_in(member, &others) == wants_common);
        let mut first = firsts(&others);
        match operation {
            SetOperation::Union => {}
            SetOperation::SymmetricDifference => first.retain(|at| self.find(&others[*at]).is_none()),
            SetOperation::Intersection | SetOperation::Difference => first.clear(),
        }
        if cursor != 0 {
            first.clear();
        }
        let mut first: Vec<u32> = first.into_iter().map(|at| at as u32).collect();
        first.sort_unstable();
        Ok(SetCombineResponse { members, cursor, others: first })
    }

    fn page(&self, cursor: u64, limit: usize, belongs: impl Fn(&Datum) -> bool) -> (Vec<Datum>, u64) {
        let mut page = SetScanResponse::default();
        let belongs = |(member, ordinal): &&(Datum, u64)| *ordinal >= cursor && belongs(member);
        for (member, ordinal) in self.members.iter().filter(belongs) {
            if !page.members.is_empty() && page.encoded_len() >= limit {
                return (page.members, *ordinal);
            }
            page.members.push(member.clone());
        }
        (page.members, 0)
    }
}

/// Which of two flaws is found first is not promised.
fn comparable(answer: Result<Reply, Reason>) -> Result<String, Reason> {
    answer.map(|reply| format!("{reply:?}")).map_err(|why| if why == Reason::NanKey { Reason::Malformed } else { why })
}

proptest! {
    #[test]
    fn does_what_the_model_does(ops in prop::collection::vec(any::<u64>(), 1..300)) {
        let (mut set, mut model) = (set(), Model::default());
        for (index, seed) in (1..).zip(ops) {
            let op = Set::arbitrary_op(&mut Source::new(seed));
            let context = format!("{op:?}");
            let mut turn = turn(index, u64::MAX / 2);
            turn.page_bytes = 20;
            let answer = match set.apply(op.clone(), &mut turn) {
                Answer::Done(reply) => Ok(reply),
                Answer::Refused(refusal) => Err(refusal.why()),
                Answer::Delivered(_) | Answer::Wait(_) => panic!("no op of this kind waits"),
            };
            prop_assert_eq!(comparable(answer), comparable(model.apply(op, 20)), "{}", context);
        }
        let state = set.state();
        let members = state.members.into_iter().map(|member| (member.member, member.ordinal));
        prop_assert_eq!(format!("{:?}", members.collect::<Vec<_>>()), format!("{:?}", model.members));
        prop_assert_eq!(state.next_ordinal, model.last_ordinal + 1);
    }

    /// Whatever the size of a page is, the pages together are the result.
    #[test]
    fn pages_add_up(
        members in prop::collection::btree_set(0i64..40, 0..30),
        others in prop::collection::vec(0i64..40, 0..30),
        bytes in 1u32..30,
    ) {
        use alloc::collections::BTreeSet;
        let mut set = set();
        let _ = set.apply(add_many(&members.iter().copied().collect::<Vec<_>>()), &mut turn(1, u64::MAX / 2));
        let other: BTreeSet<i64> = others.iter().copied().collect();
        let expected: [(SetOperation, BTreeSet<i64>); 4] = [
            (SetOperation::Union, &members | &other),
            (SetOperation::Intersection, &members & &other),
            (SetOperation::Difference, &members - &other),
            (SetOperation::SymmetricDifference, &members ^ &other),
        ];
        for (operation, expected) in expected {
            let (mut found, mut cursor) = (Vec::new(), 0);
            for _ in 0..=members.len() {
                let answer = set.apply(combine(operation, &others, cursor, bytes), &mut turn(2, 0));
                let Answer::Done(Reply::Combine(page)) = answer else { panic!("{answer:?}") };
                found.extend(page.members);
                found.extend(page.others.iter().map(|at| Datum::Integer(others[*at as usize])));
                cursor = page.cursor;
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(cursor, 0, "the pages do not end");
            prop_assert_eq!(found.len(), expected.len(), "each once: {:?}", found);
            prop_assert!(expected.iter().all(|member| is_in(&Datum::Integer(*member), &found)), "{:?}", found);
        }
    }
}
