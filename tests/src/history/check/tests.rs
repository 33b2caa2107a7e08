//! A checker that refuses nothing is no checker: a sound history is accepted, and each way to spoil it is found.

use holdfast_proto::{Datum, DictAddRequest, DictGetRequest, LockAcquireRequest, LockReleaseRequest, dict, lock};
use prost::Message as _;

use super::*;
use crate::history::log::{Begin, End};
use holdfast_manager::history::WokenCall;

const ONE: SessionId = SessionId([1; 16]);
const OTHER: SessionId = SessionId([2; 16]);
const DICT: Id = [10; 16];
const LOCK: Id = [11; 16];

/// A manager and its clients, as far as they write things down.
#[derive(Clone, Default)]
struct History {
    records: Vec<Record>,
    log: Vec<Entry>,
    index: u64,
    time: u64,
}

struct World {
    history: History,
    objects: HashMap<Id, AnyObject>,
}

impl World {
    fn new() -> Self {
        let mut world = Self { history: History::default(), objects: HashMap::new() };
        for (id, kind) in [(DICT, dict::KIND), (LOCK, lock::KIND)] {
            let made = Made { kind, spec: Vec::new(), page_bytes: 1000 };
            world.objects.insert(id, Model::new(&made).unwrap().object);
            let input = Some(Input::Made(made));
            world.history.records.push(Record { object: id.into(), input, ..Record::default() });
        }
        world
    }

    fn log(&mut self, call: CallId, what: What) {
        self.history.time += 10;
        let (at, session) = (self.history.time, call.session.0.into());
        self.history.log.push(Entry { at, session, number: call.number, what: Some(what) });
    }

    /// A call that is made and applied.
    fn call(&mut self, session: SessionId, number: u64, object: Id, op: AnyOp, fence: u64) -> CallId {
        let call = CallId { session, number };
        let mut request = Vec::new();
        op.encode(&mut request);
        let waits = crate::history::ops::may_wait(&op);
        let begin = Begin { object: object.into(), op: op.number(), request: request.clone(), fence, waits };
        self.log(call, What::Begin(begin));
        let input = Input::Call(CallInput { op: op.number(), request, fence });
        self.input(call, object, input, |object, turn| Some(object.apply(op, turn)));
        call
    }

    fn input(
        &mut self,
        call: CallId,
        object: Id,
        input: Input,
        apply: impl FnOnce(&mut AnyObject, &mut Turn) -> Option<Answer<holdfast_objects::catalog::AnyReply>>,
    ) {
        self.history.index += 1;
        let mut turn = Turn::new(self.history.index, call, 1000, Room::new(1 << 20, "object_bytes"));
        let answer = apply(self.objects.get_mut(&object).unwrap(), &mut turn);
        let woken = turn.woken.iter().map(|woken| WokenCall {
            session: woken.call.session.0.into(),
            number: woken.call.number,
            answer: (&woken.answer).into(),
        });
        let record = Record {
            object: object.into(),
            index: turn.index,
            fence: turn.fence,
            session: call.session.0.into(),
            number: call.number,
            woken: woken.collect(),
            input: Some(input),
            answer: answer.as_ref().map(Given::from),
        };
        self.history.records.push(record);
    }

    /// The client has the answer to a call, which is in one of the last records.
    fn seen(&mut self, call: CallId) {
        let of_call = |record: &Record| record.session == call.session.0 && record.number == call.number;
        let found = self.history.records.iter().rev().find_map(|record| {
            let woken =
                record.woken.iter().find(|woken| woken.session == call.session.0 && woken.number == call.number);
            let given = woken.map(|woken| &woken.answer).or(record.answer.as_ref().filter(|_| of_call(record)))?;
            Some((record.index, given.clone()))
        });
        let (index, given) = found.unwrap();
        let how = if given.sort() == Sort::Refused { How::Refused } else { How::Answered };
        let reason = if given.sort() == Sort::Refused { given.detail as i32 } else { 0 };
        let index = if given.sort() == Sort::Refused { 0 } else { index };
        let acknowledge = given.sort() == Sort::Delivered;
        self.log(call, What::End(End { how: how.into(), index, body: given.body, acknowledge, reason }));
    }

    fn leave(&mut self, session: SessionId) {
        for object in [DICT, LOCK] {
            let call = CallId { session, number: 0 };
            self.input(call, object, Input::Leave(Left { closed: true, ..Left::default() }), |object, turn| {
                object.leave(session, Ended::Closed, turn);
                None
            });
        }
    }
}

fn add() -> AnyOp {
    let key = Some(Datum::Integer(1));
    AnyOp::Dict(dict::Op::Add(DictAddRequest { key, delta: Some(Datum::Integer(1)) }))
}

fn acquire() -> AnyOp {
    AnyOp::Lock(lock::Op::Acquire(LockAcquireRequest::default()))
}

fn release() -> AnyOp {
    AnyOp::Lock(lock::Op::Release(LockReleaseRequest::default()))
}

/// What two sessions do with a dict and a lock. The lock passes from one to the other.
fn sound() -> History {
    let mut world = World::new();
    let first = world.call(ONE, 1, LOCK, acquire(), 0);
    world.seen(first);
    let waits = world.call(OTHER, 1, LOCK, acquire(), 0);
    for number in 2..6 {
        let call = world.call(ONE, number, DICT, add(), 0);
        world.seen(call);
    }
    let released = world.call(ONE, 6, LOCK, release(), 0);
    world.seen(released);
    world.seen(waits);
    let fenced =
        world.call(OTHER, 2, DICT, AnyOp::Dict(dict::Op::Get(DictGetRequest { key: Some(Datum::Integer(1)) })), 7);
    world.seen(fenced);
    let given_up = world.call(ONE, 7, LOCK, acquire(), 0);
    world.log(given_up, What::End(End { how: How::GivenUp.into(), ..End::default() }));
    let withdraw = Input::Withdraw(Withdrawn { patience: false, waited: true });
    world.input(given_up, LOCK, withdraw, |object, turn| {
        assert!(object.withdraw(given_up, Withdrawal::Cancelled, turn));
        None
    });
    let last = world.call(ONE, 8, DICT, add(), 0);
    world.seen(last);
    world.leave(ONE);
    world.leave(OTHER);
    world.history
}

/// Why a history is refused that was spoilt.
fn refused(spoil: impl FnOnce(&mut History)) -> String {
    let mut history = sound();
    spoil(&mut history);
    check(&history.records, &[history.log]).expect_err("it was spoilt").what
}

fn ends(history: &mut History) -> Vec<&mut End> {
    let ends = history.log.iter_mut().filter_map(|entry| match &mut entry.what {
        Some(What::End(end)) => Some(end),
        _ => None,
    });
    ends.collect()
}

/// The record of a call.
fn record(history: &History, session: SessionId, number: u64) -> usize {
    let is_it = |record: &Record| {
        record.session == session.0 && record.number == number && matches!(record.input, Some(Input::Call(_)))
    };
    history.records.iter().position(is_it).unwrap()
}

#[test]
fn a_sound_history_is_accepted() {
    let history = sound();
    let checked = check(&history.records, &[history.log]).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((checked.calls, checked.answered, checked.inputs, checked.objects), (10, 9, 17, 2));
}

#[test]
fn swapped_results_are_refused() {
    let why = refused(|history| {
        let mut ends = ends(history);
        let (one, other) = (ends[1].body.clone(), ends[2].body.clone());
        (ends[1].body, ends[2].body) = (other, one);
    });
    assert!(why.contains("the client saw"), "{why}");
}

#[test]
fn a_wrong_index_is_refused() {
    let why = refused(|history| ends(history)[1].index += 1);
    assert!(why.contains("the client saw"), "{why}");
}

#[test]
fn an_answer_that_the_model_does_not_give_is_refused() {
    let why = refused(|history| {
        let at = record(history, ONE, 3);
        history.records[at].answer.as_mut().unwrap().body.push(0);
    });
    assert!(why.contains("the model answers"), "{why}");
}

#[test]
fn a_call_that_is_applied_twice_is_refused() {
    let why = refused(|history| {
        let at = record(history, ONE, 5);
        let twice = history.records[at].clone();
        history.records.insert(at + 1, Record { index: 100, ..twice });
    });
    assert!(why.contains("was applied after 5"), "{why}");
}

#[test]
fn a_call_that_was_seen_and_not_applied_is_refused() {
    let why = refused(|history| {
        // The last one, so that no answer depends on it.
        let at = record(history, ONE, 8);
        history.records.remove(at);
        history.records[at..].iter_mut().for_each(|record| record.index -= 1);
        history.records[at..].iter_mut().for_each(|record| record.fence -= 1);
    });
    assert!(why.contains("the manager has no answer to it"), "{why}");
}

#[test]
fn an_input_that_is_missing_is_refused() {
    let why = refused(|history| {
        let at = record(history, OTHER, 2);
        history.records.remove(at);
    });
    assert!(why.contains("indexes"), "{why}");
}

#[test]
fn a_grant_that_is_lost_is_refused() {
    let why = refused(|history| {
        let at = record(history, ONE, 6);
        history.records[at].woken.clear();
    });
    assert!(why.contains("lets 1 calls go on that waited, and the manager 0"), "{why}");
}

#[test]
fn a_grant_to_somebody_else_is_refused() {
    let why = refused(|history| {
        let at = record(history, ONE, 6);
        history.records[at].woken[0].number = 9;
    });
    assert!(why.contains("which waited, is answered"), "{why}");
}

#[test]
fn a_call_before_its_time_is_refused() {
    // The call 3 has a lower index than the call 4, and the client says that it began when 4 had ended.
    let why = refused(|history| {
        let late = history.log.iter().map(|entry| entry.at).max().unwrap() + 10;
        for entry in history.log.iter_mut().filter(|entry| entry.session == ONE.0 && entry.number == 3) {
            entry.at += late;
        }
    });
    assert!(why.contains("began after one had ended"), "{why}");
}

#[test]
fn what_nobody_asked_is_refused() {
    let why = refused(|history| history.log.retain(|entry| entry.number != 5));
    assert!(why.contains("nobody made the call"), "{why}");
    let why = refused(|history| {
        for entry in &mut history.log {
            if let (5, Some(What::Begin(begin))) = (entry.number, &mut entry.what) {
                begin.request.clear();
            }
        }
    });
    assert!(why.contains("something else than the client asked"), "{why}");
}

#[test]
fn a_fence_that_is_let_in_too_late_is_refused() {
    let why = refused(|history| {
        for (number, fence) in [(3, 6), (4, 5)] {
            let at = record(history, ONE, number);
            if let Some(Input::Call(call)) = &mut history.records[at].input {
                call.fence = fence;
            }
            for entry in history.log.iter_mut().filter(|entry| entry.number == number && entry.session == ONE.0) {
                if let Some(What::Begin(begin)) = &mut entry.what {
                    begin.fence = fence;
                }
            }
        }
    });
    assert!(why.contains("with the fence 5 was let in after one with 6"), "{why}");
}

#[test]
fn what_a_session_leaves_behind_is_refused() {
    let why = refused(|history| {
        let is_lock = |record: &Record| record.object == LOCK && record.session == OTHER.0 && record.number == 0;
        let at = history.records.iter().position(is_lock).unwrap();
        history.records.remove(at);
    });
    assert!(why.contains("was not told"), "{why}");
}

#[test]
fn a_call_after_the_end_of_its_session_is_refused() {
    let why = refused(|history| {
        let left = history.records.iter().position(|record| record.session == ONE.0 && record.number == 0).unwrap();
        let last = record(history, ONE, 8);
        let mut moved = history.records.remove(last);
        moved.index = 100;
        history.records.insert(left, moved);
    });
    assert!(why.contains("after its session had ended"), "{why}");
}

#[test]
fn what_was_given_up_and_not_taken_back_is_refused() {
    let why = refused(|history| {
        // The call is not given up but in vain, as far as the manager knows, until its session ends.
        let is_withdrawn = |record: &Record| matches!(record.input, Some(Input::Withdraw(_)));
        let at = history.records.iter().position(is_withdrawn).unwrap();
        let gone = history.records.remove(at).index;
        history.records[at..].iter_mut().for_each(|record| record.index -= 1);
        history.records[at..].iter_mut().for_each(|record| record.fence -= 1);
        ends(history).into_iter().filter(|end| end.index > gone).for_each(|end| end.index -= 1);
    });
    assert!(why.contains("was not taken back"), "{why}");
}

#[test]
fn laws_are_told_apart_from_the_machines() {
    let (one, other) = (CallId { session: ONE, number: 1 }, CallId { session: OTHER, number: 1 });
    let granted = |fence| {
        let response = holdfast_proto::LockAcquireResponse { acquired: true, fence, abandoned: None };
        Given { sort: Sort::Done.into(), body: response.encode_to_vec(), detail: 0 }
    };
    let released = Given { sort: Sort::Done.into(), ..Given::default() };
    let mut laws = Laws::default();
    laws.answered(one, &acquire(), &granted(5), 5).unwrap();
    let why = laws.answered(other, &acquire(), &granted(6), 6).unwrap_err();
    assert!(why.contains("granted while"), "{why}");
    laws.answered(one, &release(), &released, 7).unwrap();
    let why = laws.answered(other, &acquire(), &granted(5), 8).unwrap_err();
    assert!(why.contains("with the fence 5 after one with 5"), "{why}");
}
