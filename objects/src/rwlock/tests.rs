use alloc::sync::Arc;
use alloc::vec;

use super::*;
use crate::{Client, Room, Waiters, Woken};
use holdfast_proto::{
    OnClose, OnLoss, RwlockAcquireReadRequest, RwlockAcquireWriteRequest, RwlockDescribeRequest, RwlockResetRequest,
};

mod model;

/// A lock and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    lock: Rwlock,
    index: u64,
}

fn session(name: char) -> SessionId {
    SessionId([name as u8; 16])
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: session(name), number }
}

impl World {
    fn new(spec: Spec) -> Self {
        let mut creation = Creation { seed: 1, room: Room::new(0, "object_bytes") };
        Self { lock: Rwlock::create(spec, &mut creation).unwrap(), index: 0 }
    }

    fn turn(&mut self, call: CallId) -> Turn {
        self.index += 1;
        let mut turn = Turn::new(self.index, call, 1000, Room::new(0, "object_bytes"));
        turn.client = Some(Arc::new(Client { name: "worker".into(), pid: 7, host: "here".into() }));
        turn
    }

    fn apply(&mut self, call: CallId, op: Op) -> (Answer<Reply>, Vec<Woken>) {
        let mut turn = self.turn(call);
        let answer = self.lock.apply(op, &mut turn);
        self.lock.check_invariants();
        (answer, turn.woken)
    }

    fn read(&mut self, call: CallId, patience_ms: Option<i64>) -> Answer<Reply> {
        let (answer, woken) = self.apply(call, Op::AcquireRead(RwlockAcquireReadRequest { patience_ms }));
        assert_eq!(woken, []);
        answer
    }

    fn write(&mut self, call: CallId, patience_ms: Option<i64>) -> Answer<Reply> {
        let (answer, woken) = self.apply(call, Op::AcquireWrite(RwlockAcquireWriteRequest { patience_ms }));
        assert_eq!(woken, []);
        answer
    }

    fn release_read(&mut self, name: char, fence: Option<u64>) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call(name, 99), Op::ReleaseRead(RwlockReleaseReadRequest { fence }))
    }

    fn release_write(&mut self, name: char, fence: Option<u64>) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call(name, 99), Op::ReleaseWrite(RwlockReleaseWriteRequest { fence }))
    }

    fn downgrade(&mut self, call: CallId, fence: Option<u64>) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call, Op::Downgrade(RwlockDowngradeRequest { fence }))
    }

    fn reset(&mut self) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call('r', 99), Op::Reset(RwlockResetRequest {}))
    }

    fn other(&mut self, call: CallId, input: impl FnOnce(&mut Rwlock, &mut Turn)) -> Vec<Woken> {
        let mut turn = self.turn(call);
        input(&mut self.lock, &mut turn);
        self.lock.check_invariants();
        turn.woken
    }

    fn leave(&mut self, name: char, how: Ended) -> Vec<Woken> {
        self.other(call(name, 0), |lock, turn| lock.leave(session(name), how, turn))
    }

    fn undo(&mut self, call: CallId) -> Vec<Woken> {
        self.other(call, |lock, turn| lock.undo(call, turn))
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal) -> Vec<Woken> {
        self.other(call, |lock, turn| assert!(lock.withdraw(call, why, turn)))
    }
}

fn reads(fence: u64) -> Reply {
    Reply::AcquireRead(RwlockAcquireReadResponse { acquired: true, fence, abandoned: None })
}

fn writes(fence: u64) -> Reply {
    Reply::AcquireWrite(RwlockAcquireWriteResponse { acquired: true, fence, abandoned: None })
}

fn woken<const N: usize>(calls: [(CallId, Reply); N]) -> Vec<Woken> {
    calls.map(|(call, reply)| Woken { call, answer: Answer::Done(reply.into()) }).into()
}

fn left(left: u64) -> Answer<Reply> {
    Answer::Done(Reply::ReleaseRead(RwlockReleaseReadResponse { left }))
}

fn was_reset(was_reset: bool) -> Answer<Reply> {
    Answer::Done(Reply::Reset(RwlockResetResponse { was_reset }))
}

fn why<R: core::fmt::Debug>(answer: Answer<R>) -> Reason {
    match answer {
        Answer::Refused(refusal) => refusal.why(),
        other => panic!("{other:?}"),
    }
}

const WAITS: Answer<Reply> = Answer::Wait(Patience::Endless);
const RELEASED: Answer<Reply> = Answer::Done(Reply::ReleaseWrite(RwlockReleaseWriteResponse {}));

#[test]
fn many_read_and_one_writes() {
    let mut world = World::new(Spec::default());
    assert_eq!(world.read(call('a', 1), None), Answer::Done(reads(1)));
    assert_eq!(world.read(call('b', 1), Some(0)), Answer::Done(reads(2)));
    let in_vain = RwlockAcquireWriteResponse::default();
    assert_eq!(world.write(call('c', 1), Some(0)), Answer::Done(Reply::AcquireWrite(in_vain)));
    assert_eq!(world.write(call('c', 2), None), WAITS);
    assert_eq!(world.release_read('a', None), (left(0), vec![]));
    assert_eq!(world.release_read('b', Some(2)), (left(0), woken([(call('c', 2), writes(6))])));
    let in_vain = RwlockAcquireReadResponse::default();
    assert_eq!(world.read(call('a', 2), Some(0)), Answer::Done(Reply::AcquireRead(in_vain)));
    assert_eq!(world.write(call('a', 3), Some(5)), Answer::Wait(Patience::For(core::time::Duration::from_millis(5))));
    assert_eq!(world.release_write('c', Some(6)), (RELEASED, woken([(call('a', 3), writes(9))])));
    assert_eq!(world.release_write('a', None), (RELEASED, vec![]));
    assert!(world.lock.is_vacant());
}

#[test]
fn nobody_overtakes_a_writer_and_a_writer_overtakes_nobody() {
    let mut world = World::new(Spec::default());
    let _ = world.write(call('a', 1), None);
    for name in ['b', 'c'] {
        assert_eq!(world.read(call(name, 1), None), WAITS);
    }
    assert_eq!(world.write(call('d', 1), None), WAITS);
    for name in ['e', 'f'] {
        assert_eq!(world.read(call(name, 1), None), WAITS);
    }
    let run = woken([(call('b', 1), reads(7)), (call('c', 1), reads(7))]);
    assert_eq!(world.release_write('a', None), (RELEASED, run), "those who stand together, with one fence");
    assert_eq!(world.read(call('g', 1), None), WAITS, "others read, and a writer came before");
    assert_eq!(world.read(call('b', 2), None), WAITS, "so does who reads already");
    let _ = world.release_read('b', None);
    assert_eq!(world.release_read('c', None).1, woken([(call('d', 1), writes(11))]));
    let run = [call('e', 1), call('f', 1), call('g', 1), call('b', 2)].map(|call| (call, reads(12)));
    assert_eq!(world.release_write('d', None).1, woken(run));
}

#[test]
fn readers_behind_a_writer_read_when_it_gives_up() {
    // How the writer ends, and how many answers it gets itself.
    let end = |world: &mut World, ending| match ending {
        "patience" => (world.withdraw(call('w', 1), Withdrawal::Patience), 1),
        "cancelled" => (world.withdraw(call('w', 1), Withdrawal::Cancelled), 1),
        _ => (world.leave('w', Ended::Lost), 0),
    };
    for ending in ["patience", "cancelled", "lost"] {
        let mut world = World::new(Spec::default());
        let _ = world.read(call('a', 1), None);
        let _ = world.write(call('w', 1), None);
        let _ = (world.read(call('b', 1), None), world.write(call('x', 1), None), world.read(call('c', 1), None));
        let (answers, its_own) = end(&mut world, ending);
        assert_eq!(answers[its_own..], woken([(call('b', 1), reads(6))]), "{ending}");
        assert_eq!(world.withdraw(call('x', 1), Withdrawal::Cancelled)[1..], woken([(call('c', 1), reads(7))]));
    }
}

#[test]
fn a_session_has_as_many_grants_for_reading_as_it_asked_for() {
    let mut world = World::new(Spec::default());
    for number in 1..=3 {
        assert_eq!(world.read(call('a', number), None), Answer::Done(reads(number)));
    }
    assert_eq!(why(world.release_read('b', None).0), Reason::NotHeld);
    assert_eq!(why(world.release_read('b', Some(1)).0), Reason::StaleFence, "that of another session");
    assert_eq!(world.release_read('a', Some(1)).0, left(2));
    assert_eq!(why(world.release_read('a', Some(1)).0), Reason::StaleFence);
    assert_eq!(world.release_read('a', None).0, left(1));
    assert_eq!(world.release_read('a', Some(2)).0, left(0), "the last one was given back, not this");
    assert_eq!(why(world.release_read('a', None).0), Reason::NotHeld);
}

#[test]
fn a_grant_that_nobody_has_is_taken_back() {
    let mut world = World::new(Spec::default());
    let _ = (world.read(call('a', 1), None), world.read(call('a', 2), None));
    assert_eq!(world.write(call('b', 1), None), WAITS);
    assert_eq!((world.undo(call('a', 7)), world.undo(call('a', 1))), (vec![], vec![]));
    assert_eq!(world.undo(call('a', 2)), woken([(call('b', 1), writes(6))]));
    let _ = (world.read(call('a', 3), None), world.read(call('c', 1), None));
    assert_eq!(world.undo(call('b', 1)), woken([(call('a', 3), reads(9)), (call('c', 1), reads(9))]));
    assert_eq!(world.undo(call('b', 1)), [], "it has passed on");
}

#[test]
fn who_writes_becomes_a_reader_and_nobody_writes_between() {
    let mut world = World::new(Spec::default());
    assert_eq!(why(world.downgrade(call('a', 1), None).0), Reason::NotHeld);
    let _ = world.write(call('a', 1), None);
    let _ = (world.read(call('b', 1), None), world.write(call('c', 1), None), world.read(call('d', 1), None));
    assert_eq!(why(world.downgrade(call('b', 2), None).0), Reason::NotHeld);
    assert_eq!(why(world.downgrade(call('a', 2), Some(9)).0), Reason::StaleFence);
    let reading = Answer::Done(Reply::Downgrade(RwlockDowngradeResponse { fence: 8 }));
    assert_eq!(world.downgrade(call('a', 3), Some(2)), (reading, woken([(call('b', 1), reads(8))])));
    assert_eq!(why(world.release_write('a', None).0), Reason::NotHeld);
    assert_eq!(world.release_read('b', None), (left(0), vec![]));
    assert_eq!(world.undo(call('a', 1)), [], "that grant is over");
    assert_eq!(world.undo(call('a', 3)), woken([(call('c', 1), writes(12))]));
}

fn lost(fence: u64) -> Option<Abandoned> {
    Some(Abandoned { fence, name: "worker".into(), pid: 7, host: "here".into() })
}

#[test]
fn readers_are_told_of_a_lost_writer_until_a_writer_is() {
    let mut world = World::new(Spec::default());
    let told_reader = |fence| {
        Answer::Done(Reply::AcquireRead(RwlockAcquireReadResponse { acquired: true, fence, abandoned: lost(1) }))
    };
    let told_writer = |fence| {
        Answer::Done(Reply::AcquireWrite(RwlockAcquireWriteResponse { acquired: true, fence, abandoned: lost(1) }))
    };
    let _ = world.write(call('a', 1), None);
    assert_eq!(world.leave('a', Ended::Lost), []);
    assert_eq!(world.read(call('b', 1), None), told_reader(3));
    assert_eq!(world.read(call('c', 1), None), told_reader(4));
    assert_eq!((world.leave('b', Ended::Closed), world.leave('c', Ended::Lost)), (vec![], vec![]));
    assert_eq!(world.write(call('d', 1), None), told_writer(7));
    assert_eq!(world.undo(call('d', 1)), [], "nobody heard of it");
    assert_eq!(world.write(call('e', 1), None), told_writer(9));
    let _ = world.read(call('f', 1), None);
    assert_eq!(world.release_write('e', None).1, woken([(call('f', 1), reads(11))]));
}

#[test]
fn what_a_reader_has_is_given_back_however_its_session_ends() {
    for (on_loss, on_close) in
        [(OnLoss::Release, OnClose::Release), (OnLoss::Keep, OnClose::Keep), (OnLoss::Break, OnClose::Keep)]
    {
        for how in [Ended::Closed, Ended::Lost] {
            let mut world = World::new(Spec { on_loss: on_loss.into(), on_close: on_close.into() });
            let _ = (world.read(call('a', 1), None), world.read(call('a', 2), None));
            assert_eq!((world.write(call('b', 1), None), world.read(call('a', 3), None)), (WAITS, WAITS));
            assert_eq!(world.leave('a', how), woken([(call('b', 1), writes(5))]), "{on_loss:?} {how:?}");
            assert!(!world.lock.involves(session('a')));
            assert_eq!(world.release_write('b', None), (RELEASED, vec![]), "it does not wait any more");
        }
    }
}

#[test]
fn a_broken_one_refuses_everybody_until_it_is_reset() {
    let mut world = World::new(Spec { on_loss: OnLoss::Break.into(), ..Spec::default() });
    let _ = world.write(call('a', 1), None);
    let _ = (world.read(call('b', 1), None), world.write(call('c', 1), None));
    let refused = world.leave('a', Ended::Lost);
    let is_broken = |woken: &Woken| matches!(&woken.answer, Answer::Refused(why) if why.why() == Reason::Broken);
    assert!(refused.len() == 2 && refused.iter().all(is_broken), "{refused:?}");
    assert_eq!(why(world.read(call('b', 2), None)), Reason::Broken);
    assert_eq!(why(world.write(call('b', 3), Some(0))), Reason::Broken);
    assert_eq!(world.reset(), (was_reset(true), vec![]));
    assert_eq!(world.reset(), (was_reset(false), vec![]));
    assert_eq!(world.read(call('b', 4), None), Answer::Done(reads(9)));
    assert_eq!(why(world.reset().0), Reason::NotHeld, "somebody reads");
}

#[test]
fn what_a_writer_keeps_is_released_with_its_fence_or_by_a_reset() {
    let spec = Spec { on_loss: OnLoss::Keep.into(), on_close: OnClose::Keep.into() };
    for how in [Ended::Closed, Ended::Lost] {
        let mut world = World::new(spec);
        let _ = world.write(call('a', 1), None);
        assert_eq!(world.read(call('b', 1), None), WAITS);
        assert_eq!(why(world.reset().0), Reason::NotHeld);
        assert_eq!(world.leave('a', how), []);
        assert_eq!(why(world.release_write('b', None).0), Reason::NotHeld);
        assert_eq!(why(world.release_write('b', Some(2)).0), Reason::StaleFence);
        let (described, _) = world.apply(call('b', 2), Op::Describe(RwlockDescribeRequest {}));
        assert!(matches!(described, Answer::Done(Reply::Describe(about)) if about.kept && about.fence == 1));
        assert_eq!(world.release_write('b', Some(1)), (RELEASED, woken([(call('b', 1), reads(8))])));
        let _ = world.leave('b', how);
        let _ = (world.write(call('c', 1), None), world.leave('c', how), world.write(call('d', 1), None));
        assert_eq!(world.reset(), (was_reset(true), woken([(call('d', 1), writes(13))])));
    }
}

#[test]
fn it_tells_who_has_it_and_who_waits() {
    let mut world = World::new(Spec::default());
    let describe = |world: &mut World, name| world.apply(call(name, 50), Op::Describe(RwlockDescribeRequest {})).0;
    let _ = (world.read(call('a', 1), None), world.read(call('a', 2), None), world.read(call('b', 1), None));
    let _ = (world.write(call('c', 1), None), world.read(call('d', 1), None));
    let about = RwlockDescribeResponse { reading: 3, yours_reading: 2, waiting: 2, ..Default::default() };
    assert_eq!(describe(&mut world, 'a'), Answer::Done(Reply::Describe(about)));
    let _ = (world.leave('a', Ended::Lost), world.leave('b', Ended::Lost));
    let about = RwlockDescribeResponse { writing: true, fence: 8, yours: true, waiting: 1, ..Default::default() };
    assert_eq!(describe(&mut world, 'c'), Answer::Done(Reply::Describe(about)));
}

#[test]
fn there_are_limits_on_those_who_wait_and_on_the_grants_of_a_session() {
    let mut world = World::new(Spec::default());
    let most = READS_MAX as u64;
    let read = Op::AcquireRead(RwlockAcquireReadRequest { patience_ms: None });
    for number in 1..=most {
        let mut turn = world.turn(call('a', number));
        assert_eq!(world.lock.apply(read.clone(), &mut turn), Answer::Done(reads(number)));
    }
    assert_eq!(why(world.read(call('a', most + 1), None)), Reason::Quota);
    assert_eq!(world.read(call('b', 1), None), Answer::Done(reads(most + 2)), "another session may");
    assert_eq!(world.write(call('c', 1), None), WAITS);
    for (limit, is_reached) in [(1, true), (2, false)] {
        let mut turn = world.turn(call('d', limit as u64));
        turn.waiters = Waiters { of_object: limit, reached: None };
        let answer = world.lock.apply(read.clone(), &mut turn);
        assert_eq!(matches!(&answer, Answer::Refused(refusal) if refusal.why() == Reason::Quota), is_reached);
    }
}

#[test]
fn bad_numbers_specs_and_states_are_refused() {
    let mut world = World::new(Spec::default());
    assert_eq!(why(world.read(call('a', 1), Some(-1))), Reason::OutOfRange);
    assert_eq!(why(world.write(call('a', 1), Some(-1))), Reason::OutOfRange);
    let other = Spec { on_loss: OnLoss::Keep.into(), ..Spec::default() };
    assert_eq!(world.lock.admits(&other).unwrap_err().why(), Reason::OtherSpec);
    let mut creation = Creation { seed: 1, room: Room::new(0, "object_bytes") };
    for spec in [Spec { on_loss: 9, ..Spec::default() }, Spec { on_close: -1, ..Spec::default() }] {
        assert_eq!(Rwlock::create(spec, &mut creation).unwrap_err().why(), Reason::Malformed);
    }
    let _ = (world.read(call('a', 1), None), world.write(call('b', 1), None));
    let good = world.lock.state();
    let damages: [&dyn Fn(&mut State); 3] = [
        &|state| state.readers.push(state.readers[0].clone()),
        &|state| state.waiting.push(state.waiting[0].clone()),
        &|state| state.waiting[0].session.clear(),
    ];
    for damage in damages {
        let mut state = good.clone();
        damage(&mut state);
        assert_eq!(Rwlock::restore(state, &mut creation).unwrap_err().why(), Reason::Malformed);
    }
}

#[test]
fn of_reads_that_were_granted_together_the_one_is_undone_that_nobody_has_whichever_was_given_back() {
    for unheard in [1, 2] {
        let mut world = World::new(Spec::default());
        let _ = world.write(call('w', 1), None);
        for number in [1, 2] {
            let _ = world.read(call('a', number), None);
        }
        let _ = world.release_write('w', Some(1));
        // Its fence is that of both, so which of them it gives back, it cannot say.
        assert_eq!(world.release_read('a', Some(4)), (left(1), vec![]));
        let _ = world.write(call('w', 2), None);
        assert_eq!(
            world.undo(call('a', unheard)),
            woken([(call('w', 2), writes(7))]),
            "call {unheard} was not taken back"
        );
        assert_eq!(world.undo(call('a', 3 - unheard)), vec![], "nothing is left to be taken back");
    }
}

#[test]
fn of_three_reads_that_were_granted_together_two_are_undone_after_the_third_was_given_back() {
    for kept in [1, 2, 3] {
        let mut world = World::new(Spec::default());
        let _ = world.write(call('w', 1), None);
        for number in [1, 2, 3] {
            let _ = world.read(call('a', number), None);
        }
        let _ = world.release_write('w', Some(1));
        let _ = world.write(call('w', 2), None);
        let _ = world.release_read('a', Some(5));
        let mut served = vec![];
        for unheard in [1, 2, 3].into_iter().filter(|number| *number != kept) {
            assert_eq!(served, []);
            served = world.undo(call('a', unheard));
        }
        assert_eq!(served, woken([(call('w', 2), writes(9))]), "call {kept} was given back");
    }
}

#[test]
fn what_was_given_back_in_the_place_of_another_is_saved() {
    let mut world = World::new(Spec::default());
    let _ = world.write(call('w', 1), None);
    for number in [1, 2] {
        let _ = world.read(call('a', number), None);
    }
    let _ = world.release_write('w', Some(1));
    let _ = world.release_read('a', Some(4));
    let state = world.lock.state();
    let restore = |state| Rwlock::restore(state, &mut Creation { seed: 1, room: Room::new(0, "object_bytes") });
    let mut restored = World { lock: restore(state.clone()).unwrap(), index: world.index };
    assert_eq!(restored.lock.state(), state);
    let _ = restored.undo(call('a', 2));
    assert_eq!(restored.write(call('w', 2), Some(0)), Answer::Done(writes(7)));

    let mut damaged = state;
    damaged.readers.remove(0);
    assert_eq!(why(Answer::<Reply>::Refused(restore(damaged).unwrap_err())), Reason::Malformed);
}
