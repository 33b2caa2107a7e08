//! The laws that every kind in the catalogue keeps. Nothing here knows a kind: a new one is tested by being listed.

use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_objects::catalog::{AnyObject, AnyOp, AnyReply, KINDS, Kind, arbitrary_spec};
use holdfast_objects::testing::{Promise, Source};
use holdfast_objects::{Answer, Creation, Ended, Room, SessionId, Turn};
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

/// An object, and the inputs so far.
struct World {
    object: AnyObject,
    index: u64,
}

impl World {
    /// A new object.
    fn new(subject: &Subject, seed: u64) -> Self {
        let object = AnyObject::create(subject.number, &subject.spec, &mut creation(seed), &mut |_| Ok(()));
        Self { object: object.expect("an arbitrary spec is not refused where there is room"), index: 0 }
    }

    /// The same object again, from its state and with other hashes.
    fn restored(&self, seed: u64) -> Self {
        let object = AnyObject::restore(self.object.kind(), &self.object.state(), &mut creation(seed));
        Self { object: object.expect("what an object says of itself is restored"), index: self.index }
    }

    fn turn(&mut self, room: u64) -> Turn {
        self.index += 1;
        let session = SESSIONS[self.index as usize % SESSIONS.len()];
        Turn { index: self.index, session, page_bytes: 60, room: Room::new(room, "object_bytes") }
    }

    fn apply(&mut self, op: &AnyOp) -> Answer<AnyReply> {
        let mut turn = self.turn(AMPLE);
        self.object.apply(op.clone(), &mut turn)
    }

    fn apply_all(&mut self, ops: &[AnyOp]) -> Vec<String> {
        ops.iter().map(|op| shown(&self.apply(op))).collect()
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
            let mut turn = world.turn(AMPLE);
            let answer = world.object.apply(op.clone(), &mut turn);
            if matches!(answer, Answer::Refused(_)) || op.promise() == Promise::Reads {
                prop_assert_eq!(world.seen(), before, "{:?} got {:?}", op, answer);
                prop_assert_eq!(turn.room.left(), AMPLE, "{:?} got {:?}", op, answer);
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
            let mut turn = world.turn(AMPLE);
            let _ = world.object.apply(op.clone(), &mut turn);
            let after = world.object.bytes();
            prop_assert_eq!(before + AMPLE - turn.room.left(), after, "{:?}", op);
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
                let mut turn = cramped.turn(less);
                match cramped.object.apply(op.clone(), &mut turn) {
                    Answer::Refused(refusal) => prop_assert_eq!(refusal.why(), Reason::Quota, "{:?}", op),
                    Answer::Done(reply) => prop_assert!(false, "{:?} got {:?} without room", op, reply),
                }
                prop_assert_eq!((cramped.seen(), turn.room.left()), (before, less));
            }
            let mut turn = world.turn(growth);
            prop_assert_eq!(shown(&world.object.apply(op.clone(), &mut turn)), answer, "{:?}", op);
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
            let mut turn = world.turn(0);
            let answer = world.object.apply(op.clone(), &mut turn);
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
            let mut turn = world.turn(0);
            world.object.leave(session, how, &mut turn);
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
fn vacant_equals_fresh() {
    law(|kind, past, future| {
        // Vacant is what the default spec makes. It makes nothing where it does not say enough.
        match AnyObject::create(kind.number, &[], &mut creation(1), &mut |_| Ok(())) {
            Ok(object) => prop_assert!(object.is_vacant() && object.elements().unwrap_or_default() == 0),
            Err(refusal) => prop_assert_eq!(refusal.why(), Reason::Malformed),
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
                    Answer::Done(reply) => prop_assert!(false, "{:?}", reply),
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
            if let Answer::Done(reply) = world.apply(op) {
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
