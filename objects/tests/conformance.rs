//! The laws that every kind in the catalogue keeps. Nothing here knows a kind: a new one is tested by being listed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_objects::catalog::{AnyObject, AnyOp, AnyReply, KINDS, Kind, arbitrary_spec};
use holdfast_objects::testing::{Promise, Source};
use holdfast_objects::{Answer, CallId, Creation, Ended, Room, SessionId, Turn, Withdrawal, Woken};
use holdfast_proto::Reason;
use holdfast_proto::ops::Response as _;
use proptest::prelude::*;

const AMPLE: u64 = u64::MAX / 2;
const SESSIONS: [SessionId; 2] = [SessionId(*b"the first client"), SessionId(*b"the second one..")];

/// A kind, and how the objects of one trial are made.
struct Subject {
    kind: Kind,
    spec: Vec<u8>,
}

impl Subject {
    fn new(kind: &Kind, seed: u64) -> Self {
        Self { kind: *kind, spec: arbitrary_spec(kind.number, &mut Source::new(seed)) }
    }
}

impl std::ops::Deref for Subject {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        &self.kind
    }
}

/// An object, the inputs so far, and the calls that wait.
struct World {
    object: AnyObject,
    index: u64,
    waiting: BTreeSet<CallId>,
}

/// What can change an object. Calls are named by how many inputs ago they were made.
#[derive(Clone, Debug)]
enum Input {
    Call(AnyOp),
    Withdraw(u64, Withdrawal),
    Undo(u64),
    Acknowledge(u64),
    Leave(SessionId, Ended),
}

impl Input {
    fn arbitrary(kind: &Kind, seed: u64) -> Self {
        let mut source = Source::new(seed);
        let back = 1 + source.below(8);
        match source.below(24) {
            0 => Self::Withdraw(back, Withdrawal::Patience),
            1 => Self::Withdraw(back, Withdrawal::Cancelled),
            2 => Self::Undo(back),
            3 | 4 => Self::Acknowledge(back),
            5 => {
                let session = SESSIONS[source.below(2) as usize];
                Self::Leave(session, if source.below(2) == 0 { Ended::Closed } else { Ended::Lost })
            }
            _ => Self::Call(AnyOp::arbitrary(kind.number, &mut source)),
        }
    }
}

impl World {
    /// A new object.
    fn new(subject: &Subject, seed: u64) -> Self {
        let object = AnyObject::create(subject.number, &subject.spec, &mut creation(seed), &mut |_| Ok(()));
        Self {
            object: object.expect("an arbitrary spec is not refused where there is room"),
            index: 0,
            waiting: BTreeSet::new(),
        }
    }

    /// The same object again, from its state and with other hashes.
    fn restored(&self, seed: u64) -> Self {
        let object = AnyObject::restore(self.object.kind(), &self.object.state(), &mut creation(seed));
        let object = object.expect("what an object says of itself is restored");
        Self { object, index: self.index, waiting: self.waiting.clone() }
    }

    fn turn(&mut self, room: u64) -> Turn {
        self.index += 1;
        let session = SESSIONS[self.index as usize % SESSIONS.len()];
        Turn::new(self.index, CallId { session, number: self.index }, 60, Room::new(room, "object_bytes"))
    }

    fn apply(&mut self, op: &AnyOp) -> Answer<AnyReply> {
        self.apply_within(op, AMPLE).0
    }

    /// The answer, and how much of the room is left.
    fn apply_within(&mut self, op: &AnyOp, room: u64) -> (Answer<AnyReply>, u64) {
        let mut turn = self.turn(room);
        let answer = self.object.apply(op.clone(), &mut turn);
        self.note(turn.call, &shown(&answer), &turn.woken, &Input::Call(op.clone()));
        (answer, turn.room.left())
    }

    fn apply_all(&mut self, ops: &[AnyOp]) -> Vec<String> {
        ops.iter().map(|op| self.input(&Input::Call(op.clone()))).collect()
    }

    /// Any input, and all that comes of it: the answer, and those to calls that waited.
    fn input(&mut self, input: &Input) -> String {
        let mut turn = self.turn(AMPLE);
        let call = |back: &u64| {
            let index = self.index.saturating_sub(*back).max(1);
            CallId { session: SESSIONS[index as usize % SESSIONS.len()], number: index }
        };
        let answer = match input {
            Input::Call(op) => shown(&self.object.apply(op.clone(), &mut turn)),
            Input::Withdraw(back, why) => {
                let (call, waits) = (call(back), self.waiting.contains(&call(back)));
                assert_eq!(self.object.withdraw(call, *why, &mut turn), waits, "{call:?}");
                // Whose patience is over may have to go on waiting. Who wants no answer may not.
                let is_its_refusal = |woken: &Woken| {
                    woken.call == call
                        && matches!(&woken.answer, Answer::Refused(refusal) if refusal.why() == Reason::Withdrawn)
                };
                let refused = turn.woken.iter().any(is_its_refusal);
                assert_eq!(refused, waits && *why == Withdrawal::Cancelled, "{call:?} at {input:?}");
                waits.to_string()
            }
            Input::Undo(back) => format!("{:?}", self.object.undo(call(back), &mut turn)),
            Input::Acknowledge(back) => format!("{:?}", self.object.acknowledge(call(back), &mut turn)),
            Input::Leave(session, how) => format!("{:?}", self.object.leave(*session, *how, &mut turn)),
        };
        self.note(turn.call, &answer, &turn.woken, input);
        format!("{answer} {:?}", turn.woken)
    }

    /// Keeps the books of who waits, and holds the object to them.
    fn note(&mut self, call: CallId, answer: &str, woken: &[Woken], input: &Input) {
        self.object.check_invariants();
        for woken in woken {
            assert!(!matches!(woken.answer, Answer::Wait(_)), "{woken:?} is no answer");
            assert!(self.waiting.remove(&woken.call), "{woken:?} did not wait, at {input:?}");
        }
        match input {
            Input::Call(_) if answer.starts_with("Wait") => assert!(self.waiting.insert(call)),
            Input::Leave(session, _) => self.waiting.retain(|call| call.session != *session),
            _ => {}
        }
        let mut shown = BTreeSet::new();
        self.object.visit_waiting(&mut |call| assert!(shown.insert(call), "{call:?} waits twice"));
        assert_eq!(shown, self.waiting, "after {input:?}");
        for session in SESSIONS {
            let waits = self.waiting.iter().any(|call| call.session == session);
            assert!(!waits || self.object.involves(session), "after {input:?}");
        }
    }

    /// All that can be seen of the object, as bytes: data with a NaN equals nothing, not even itself.
    fn seen(&self) -> (Vec<u8>, u64, Option<u64>, bool) {
        (self.object.state(), self.object.bytes(), self.object.elements(), self.object.is_vacant())
    }
}

fn creation(seed: u64) -> Creation {
    Creation { seed, room: Room::new(AMPLE, "object_bytes") }
}

fn shown(answer: &Answer<AnyReply>) -> String {
    format!("{answer:?}")
}

fn ops(kind: &Kind, seeds: &[u64]) -> Vec<AnyOp> {
    seeds.iter().map(|seed| AnyOp::arbitrary(kind.number, &mut Source::new(*seed))).collect()
}

/// A law: for every kind, an arbitrary past, and an arbitrary future.
fn law(law: impl Fn(&Subject, &[AnyOp], &[AnyOp]) -> Result<(), TestCaseError>) {
    let seeds = || prop::collection::vec(any::<u64>(), 0..60);
    for kind in KINDS {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(128)
        });
        let ran = runner.run(&(any::<u64>(), seeds(), seeds()), |(spec, past, future)| {
            law(&Subject::new(kind, spec), &ops(kind, &past), &ops(kind, &future))
        });
        ran.unwrap_or_else(|failure| panic!("{}: {failure}", kind.name));
    }
}

#[test]
fn the_same_inputs_give_the_same_answers_and_state_whatever_the_hashes_are() {
    law(|kind, past, _| {
        let (mut one, mut other) = (World::new(kind, 1), World::new(kind, 2));
        prop_assert_eq!(one.apply_all(past), other.apply_all(past));
        prop_assert_eq!(one.seen(), other.seen());
        Ok(())
    });
}

#[test]
fn what_is_refused_and_what_only_reads_changes_nothing() {
    law(|kind, past, future| {
        let mut world = World::new(kind, 1);
        world.apply_all(past);
        for op in future {
            let before = world.seen();
            let (answer, left) = world.apply_within(op, AMPLE);
            if matches!(answer, Answer::Refused(_)) || op.promise() == Promise::Reads {
                prop_assert_eq!(world.seen(), before, "{:?} got {:?}", op, answer);
                prop_assert_eq!(left, AMPLE, "{:?} got {:?}", op, answer);
            }
        }
        Ok(())
    });
}

#[test]
fn an_object_shows_the_references_of_its_state() {
    let shown = AtomicUsize::new(0);
    law(|kind, past, _| {
        let mut world = World::new(kind, 1);
        world.apply_all(past);
        let mut found = Vec::new();
        world.object.visit_references(&mut |reference| found.push(format!("{reference:?}")));
        let state = world.object.shown_state();
        let mut wanted: Vec<String> =
            state.split("Reference(").skip(1).map(|from| from[..=from.find(" }").unwrap() + 1].to_owned()).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        shown.fetch_add(found.len(), Ordering::Relaxed);
        prop_assert_eq!(found, wanted);
        Ok(())
    });
    assert!(shown.into_inner() > 0, "no object ever held a reference");
}

#[test]
fn a_restored_object_is_the_same() {
    law(|kind, past, future| {
        let mut world = World::new(kind, 1);
        world.apply_all(past);
        let mut restored = world.restored(2);
        prop_assert_eq!(restored.seen(), world.seen());
        prop_assert_eq!(restored.apply_all(future), world.apply_all(future));
        prop_assert_eq!(restored.seen(), world.seen());
        Ok(())
    });
}

#[test]
fn bytes_are_those_of_a_recount_and_change_by_what_the_room_is_told() {
    law(|kind, past, _| {
        let mut world = World::new(kind, 1);
        for op in past {
            let before = world.object.bytes();
            let (_, left) = world.apply_within(op, AMPLE);
            let after = world.object.bytes();
            prop_assert_eq!(before + AMPLE - left, after, "{:?}", op);
            // To restore is to count anew.
            prop_assert_eq!(after, world.restored(1).object.bytes(), "{:?}", op);
        }
        Ok(())
    });
}

#[test]
fn an_op_needs_exactly_the_room_that_it_grows_by() {
    law(|kind, past, future| {
        let mut world = World::new(kind, 1);
        world.apply_all(past);
        for op in future {
            let mut ample = world.restored(1);
            let answer = shown(&ample.apply(op));
            let growth = ample.object.bytes().saturating_sub(world.object.bytes());
            if let Some(less) = growth.checked_sub(1) {
                prop_assert_eq!(op.promise(), Promise::Writes, "{:?} grows", op);
                let before = world.seen();
                let mut cramped = world.restored(1);
                let (answer, left) = cramped.apply_within(op, less);
                match answer {
                    Answer::Refused(refusal) => prop_assert_eq!(refusal.why(), Reason::Quota, "{:?}", op),
                    other => prop_assert!(false, "{:?} got {:?} without room", op, other),
                }
                prop_assert_eq!((cramped.seen(), left), (before, less));
            }
            prop_assert_eq!(shown(&world.apply_within(op, growth).0), answer, "{:?}", op);
        }
        Ok(())
    });
}

#[test]
fn what_frees_never_grows_and_is_never_refused_for_a_limit() {
    law(|kind, past, future| {
        let mut world = World::new(kind, 1);
        world.apply_all(past);
        for op in future.iter().filter(|op| op.promise() == Promise::Frees) {
            let before = world.object.bytes();
            let (answer, _) = world.apply_within(op, 0);
            prop_assert!(world.object.bytes() <= before);
            prop_assert!(!matches!(&answer, Answer::Refused(refusal) if refusal.why() == Reason::Quota), "{:?}", op);
        }
        Ok(())
    });
}

#[test]
fn a_session_that_left_leaves_nothing_behind() {
    law(|kind, past, future| {
        let mut world = World::new(kind, 1);
        world.apply_all(past);
        for (session, how) in SESSIONS.into_iter().zip([Ended::Closed, Ended::Lost]) {
            world.input(&Input::Leave(session, how));
            prop_assert!(!world.object.involves(session));
            prop_assert!(!world.object.state().windows(16).any(|bytes| bytes == session.0));
            // Sessions that were never here are told too, and the same session may be told twice.
            let before = world.seen();
            for stranger in [session, SessionId(*b"another's client")] {
                let mut turn = world.turn(0);
                world.object.leave(stranger, how, &mut turn);
                prop_assert_eq!(world.seen(), before.clone());
            }
        }
        prop_assert_eq!(world.restored(2).apply_all(future), world.apply_all(future));
        Ok(())
    });
}

#[test]
fn who_waits_is_answered_once_whatever_else_happens() {
    let waited = AtomicUsize::new(0);
    for kind in KINDS {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(256)
        });
        let seeds = || prop::collection::vec(any::<u64>(), 0..60);
        let ran = runner.run(&(any::<u64>(), seeds(), seeds()), |(spec, past, future)| {
            let inputs = |seeds: &[u64]| seeds.iter().map(|seed| Input::arbitrary(kind, *seed)).collect::<Vec<_>>();
            let mut world = World::new(&Subject::new(kind, spec), 1);
            // The books that the world keeps are the law.
            for input in inputs(&past) {
                let before = world.object.bytes();
                world.input(&input);
                prop_assert!(matches!(input, Input::Call(_)) || world.object.bytes() <= before, "{:?} grows", input);
                waited.fetch_add(world.waiting.len(), Ordering::Relaxed);
            }
            let mut restored = world.restored(2);
            for input in inputs(&future) {
                prop_assert_eq!(restored.input(&input), world.input(&input), "{:?}", input);
                prop_assert_eq!(restored.seen(), world.seen());
            }
            Ok(())
        });
        ran.unwrap_or_else(|failure| panic!("{}: {failure}", kind.name));
    }
    assert!(waited.into_inner() > 0, "nobody ever waited");
}

#[test]
fn vacant_equals_fresh() {
    law(|kind, past, future| {
        // Vacant is what the default spec makes. It makes nothing where it does not say enough.
        match AnyObject::create(kind.number, &[], &mut creation(1), &mut |_| Ok(())) {
            Ok(object) => prop_assert!(object.is_vacant() && object.elements().unwrap_or_default() == 0),
            Err(refusal) => {
                prop_assert!(matches!(refusal.why(), Reason::Malformed | Reason::OutOfRange), "{}", refusal);
            }
        }
        let mut world = World::new(kind, 1);
        for op in past {
            let _ = world.apply(op);
            if world.object.is_vacant() {
                let mut fresh = World::new(kind, 2);
                prop_assert_eq!(world.seen(), fresh.seen());
                fresh.index = world.index;
                prop_assert_eq!(world.restored(1).apply_all(future), fresh.apply_all(future));
            }
        }
        Ok(())
    });
}

#[test]
fn an_op_of_another_kind_is_refused() {
    law(|kind, past, _| {
        for other in KINDS.iter().filter(|other| other.number != kind.number) {
            let mut world = World::new(&Subject::new(other, 1), 1);
            let before = world.seen();
            for op in past {
                match world.apply(op) {
                    Answer::Refused(refusal) => {
                        prop_assert_eq!(refusal.why(), Reason::WrongKind);
                        prop_assert!(refusal.message.contains(kind.name) && refusal.message.contains(other.name));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(world.seen(), before);
        }
        Ok(())
    });
}

#[test]
fn every_op_is_listed_read_as_it_was_written_and_made_for_tests() {
    for kind in KINDS {
        let mut made: Vec<u32> = Vec::new();
        for seed in 0..2000 {
            let op = AnyOp::arbitrary(kind.number, &mut Source::new(seed));
            let mut request = Vec::new();
            op.encode(&mut request);
            let read = AnyOp::decode(op.kind(), op.number(), &request).unwrap();
            assert_eq!(format!("{read:?}"), format!("{op:?}"));
            made.push(op.number());
        }
        made.sort_unstable();
        made.dedup();
        let listed: Vec<u32> = (kind.ops)().iter().map(|(number, _)| *number).collect();
        assert_eq!(made, listed, "{}: every op is listed, and arbitrary_op makes each", kind.name);
        let unknown = AnyOp::decode(kind.number, u32::MAX, &[]).unwrap_err();
        assert_eq!(unknown.why(), Reason::UnknownOp);
    }
}

#[test]
fn replies_have_the_length_that_they_say() {
    law(|kind, past, _| {
        let mut world = World::new(kind, 1);
        for op in past {
            if let Answer::Done(reply) | Answer::Delivered(reply) = world.apply(op) {
                let mut encoded = bytes::BytesMut::new();
                reply.encode(&mut encoded);
                prop_assert_eq!(encoded.len(), reply.encoded_len());
            }
        }
        Ok(())
    });
}

proptest! {
    #[test]
    fn no_request_spec_or_state_panics(op in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..80)) {
        for kind in KINDS {
            let mut world = World::new(&Subject::new(kind, 1), 1);
            let (number, _) = op.get((kind.ops)());
            if let Ok(op) = AnyOp::decode(kind.number, *number, &noise) {
                let _ = world.apply(&op);
            }
            let _ = AnyObject::create(kind.number, &noise, &mut creation(1), &mut |_| Ok(()));
            if let Ok(object) = AnyObject::restore(kind.number, &noise, &mut creation(1)) {
                let state = object.state();
                let again = AnyObject::restore(kind.number, &state, &mut creation(1)).unwrap();
                prop_assert_eq!(again.state(), state);
            }
        }
    }
}
