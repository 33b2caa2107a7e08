use alloc::sync::Arc;
use alloc::vec;

use super::*;
use crate::{Client, Room, Woken};
use holdfast_proto::{LockDescribeRequest, LockResetRequest, OnClose, OnLoss};

mod conditions;
mod model;

/// A lock and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    lock: Lock,
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
        Self { lock: Lock::create(spec, &mut creation).unwrap(), index: 0 }
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

    fn acquire(&mut self, call: CallId, patience_ms: Option<i64>) -> Answer<Reply> {
        let (answer, woken) = self.apply(call, Op::Acquire(LockAcquireRequest { patience_ms, actor: 0 }));
        assert_eq!(woken, []);
        answer
    }

    fn release(&mut self, call: CallId, fence: Option<u64>) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call, Op::Release(LockReleaseRequest { fence, actor: 0 }))
    }

    fn leave(&mut self, name: char, how: Ended) -> Vec<Woken> {
        let mut turn = self.turn(call(name, 0));
        self.lock.leave(session(name), how, &mut turn);
        self.lock.check_invariants();
        turn.woken
    }

    fn undo(&mut self, call: CallId) -> Vec<Woken> {
        let mut turn = self.turn(call);
        self.lock.undo(call, &mut turn);
        self.lock.check_invariants();
        turn.woken
    }

    fn acknowledge(&mut self, call: CallId) {
        let mut turn = self.turn(call);
        self.lock.acknowledge(call, &mut turn);
        assert_eq!(turn.woken, []);
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal) -> (bool, Vec<Woken>) {
        let mut turn = self.turn(call);
        let waited = self.lock.withdraw(call, why, &mut turn);
        self.lock.check_invariants();
        (waited, turn.woken)
    }
}

fn granted(fence: u64) -> Reply {
    Reply::Acquire(LockAcquireResponse { acquired: true, fence, abandoned: None })
}

fn woken(call: CallId, reply: Reply) -> Vec<Woken> {
    vec![Woken { call, answer: Answer::Done(reply.into()) }]
}

fn why<R: core::fmt::Debug>(answer: Answer<R>) -> Reason {
    match answer {
        Answer::Refused(refusal) => refusal.why(),
        other => panic!("{other:?}"),
    }
}

const RELEASED: Answer<Reply> = Answer::Done(Reply::Release(LockReleaseResponse { depth: 0 }));

#[test]
fn it_goes_to_who_has_waited_longest_with_rising_fences() {
    let mut world = World::new(Spec::default());
    assert_eq!(world.acquire(call('a', 1), None), Answer::Done(granted(1)));
    assert_eq!(world.acquire(call('b', 1), None), Answer::Wait(Patience::Endless));
    assert_eq!(world.acquire(call('c', 1), Some(9)), Answer::Wait(Patience::For(core::time::Duration::from_millis(9))));
    assert_eq!(world.acquire(call('d', 1), Some(0)), Answer::Done(Reply::Acquire(LockAcquireResponse::default())));
    assert_eq!(world.release(call('a', 2), None), (RELEASED, woken(call('b', 1), granted(5))));
    assert_eq!(world.acquire(call('a', 3), None), Answer::Wait(Patience::Endless), "behind those who wait");
    assert_eq!(world.release(call('b', 2), Some(5)), (RELEASED, woken(call('c', 1), granted(7))));
    assert_eq!(world.release(call('c', 2), Some(7)), (RELEASED, woken(call('a', 3), granted(8))));
}

#[test]
fn a_withdrawn_call_is_answered_once_and_a_late_withdrawal_finds_nothing() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    let _ = world.acquire(call('b', 1), None);
    let _ = world.acquire(call('b', 2), None);
    let in_vain = Reply::Acquire(LockAcquireResponse::default());
    assert_eq!(world.withdraw(call('b', 1), Withdrawal::Patience), (true, woken(call('b', 1), in_vain)));
    let (waited, refused) = world.withdraw(call('b', 2), Withdrawal::Cancelled);
    assert!(
        waited
            && matches!(&refused[..], [Woken { answer: Answer::Refused(why), .. }] if why.why() == Reason::Withdrawn)
    );
    assert_eq!(world.withdraw(call('b', 2), Withdrawal::Patience), (false, vec![]));
    assert_eq!(world.withdraw(call('a', 1), Withdrawal::Cancelled), (false, vec![]), "too late: it holds it");
    assert_eq!(world.release(call('a', 2), None), (RELEASED, vec![]));
}

#[test]
fn a_grant_that_nobody_has_is_taken_back() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    let _ = world.acquire(call('b', 1), None);
    assert_eq!(world.undo(call('a', 7)), [], "it is not by that call that it holds it");
    assert_eq!(world.undo(call('a', 1)), woken(call('b', 1), granted(4)));
    assert_eq!(world.undo(call('a', 1)), [], "it has passed on");
    assert_eq!(why(world.release(call('a', 2), None).0), Reason::NotHeld);
}

#[test]
fn the_next_holder_is_told_who_was_lost_once() {
    let mut world = World::new(Spec::default());
    let abandoned = Some(Abandoned { fence: 1, name: "worker".into(), pid: 7, host: "here".into() });
    let _ = world.acquire(call('a', 1), None);
    assert_eq!(world.leave('a', Ended::Lost), []);
    let told = Reply::Acquire(LockAcquireResponse { acquired: true, fence: 3, abandoned: abandoned.clone() });
    assert_eq!(world.acquire(call('b', 1), None), Answer::Done(told));
    assert_eq!(world.undo(call('b', 1)), [], "nobody heard of it");
    let told = Reply::Acquire(LockAcquireResponse { acquired: true, fence: 5, abandoned });
    assert_eq!(world.acquire(call('c', 1), None), Answer::Done(told));
    let _ = world.release(call('c', 2), None);
    assert_eq!(world.acquire(call('d', 1), None), Answer::Done(granted(7)));
    let _ = world.acquire(call('e', 1), None);
    assert_eq!(world.leave('d', Ended::Closed), woken(call('e', 1), granted(9)), "closed is not lost");
}

#[test]
fn a_dead_waiter_is_passed_over() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    let _ = world.acquire(call('b', 1), None);
    let _ = world.acquire(call('c', 1), None);
    assert_eq!(world.leave('b', Ended::Lost), []);
    assert!(!world.lock.involves(session('b')) && world.lock.involves(session('c')));
    assert_eq!(world.release(call('a', 2), None), (RELEASED, woken(call('c', 1), granted(5))));
}

#[test]
fn a_broken_lock_refuses_everybody_until_it_is_reset() {
    let mut world = World::new(Spec { on_loss: OnLoss::Break.into(), ..Spec::default() });
    let _ = world.acquire(call('a', 1), None);
    let _ = world.acquire(call('b', 1), None);
    let refused = world.leave('a', Ended::Lost);
    assert!(matches!(&refused[..], [Woken { answer: Answer::Refused(why), .. }] if why.why() == Reason::Broken));
    assert_eq!(why(world.acquire(call('b', 2), Some(0))), Reason::Broken);
    let reset = |was_reset| Answer::Done(Reply::Reset(LockResetResponse { was_reset }));
    assert_eq!(world.apply(call('b', 3), Op::Reset(LockResetRequest {})), (reset(true), vec![]));
    assert_eq!(world.apply(call('b', 4), Op::Reset(LockResetRequest {})), (reset(false), vec![]));
    assert_eq!(world.acquire(call('b', 5), None), Answer::Done(granted(7)));
    assert_eq!(why(world.apply(call('a', 9), Op::Reset(LockResetRequest {})).0), Reason::NotHeld);
}

#[test]
fn what_is_kept_is_released_with_its_fence_or_by_a_reset() {
    let spec = Spec { on_loss: OnLoss::Keep.into(), on_close: OnClose::Keep.into(), ..Spec::default() };
    for how in [Ended::Closed, Ended::Lost] {
        let mut world = World::new(spec);
        let _ = world.acquire(call('a', 1), None);
        let _ = world.acquire(call('b', 1), None);
        assert_eq!(world.leave('a', how), []);
        assert_eq!(why(world.release(call('b', 2), None).0), Reason::NotHeld);
        assert_eq!(why(world.release(call('b', 3), Some(2)).0), Reason::StaleFence);
        assert_eq!(world.release(call('b', 4), Some(1)), (RELEASED, woken(call('b', 1), granted(6))));
        assert_eq!(world.leave('b', how), []);
        let (answer, _) = world.apply(call('c', 1), Op::Describe(LockDescribeRequest {}));
        assert!(
            matches!(answer, Answer::Done(Reply::Describe(about)) if about.locked && about.kept && about.fence == 6)
        );
        let (answer, woken) = world.apply(call('c', 2), Op::Reset(LockResetRequest {}));
        assert_eq!((answer, woken), (Answer::Done(Reply::Reset(LockResetResponse { was_reset: true })), vec![]));
    }
}

#[test]
fn of_a_lock_that_was_taken_again_the_call_is_undone_that_nobody_has_whichever_was_released() {
    for unheard in [[1, 2], [1, 3], [2, 3], [3, 2]] {
        let mut world = World::new(Spec { reentrant: true, ..Spec::default() });
        for number in [1, 2, 3] {
            assert_eq!(world.acquire(call('a', number), None), Answer::Done(granted(1)));
        }
        // Which of the three it is about it does not say.
        assert_eq!(world.release(call('a', 4), Some(1)).1, vec![]);
        assert_eq!(world.acquire(call('b', 1), None), Answer::Wait(Patience::Endless));
        assert_eq!(world.undo(call('a', unheard[0])), vec![]);
        assert_eq!(world.undo(call('a', unheard[0])), vec![], "once");
        assert_eq!(world.undo(call('a', unheard[1])), woken(call('b', 1), granted(8)), "{unheard:?}");
    }
}

#[test]
fn who_takes_a_lock_again_and_again_costs_no_more_and_more() {
    let mut world = World::new(Spec { reentrant: true, ..Spec::default() });
    let _ = world.acquire(call('a', 1), None);
    for number in 2..1000 {
        let _ = world.acquire(call('a', number), None);
        let _ = world.release(call('a', 5000 + number), Some(1));
    }
    assert!(prost::Message::encoded_len(&world.lock.state()) < 1000);
    assert_eq!(world.release(call('a', 9999), Some(1)).0, RELEASED);
}

#[test]
fn a_reentrant_lock_is_given_back_as_often_as_it_was_taken() {
    let mut world = World::new(Spec { reentrant: true, ..Spec::default() });
    let acquire = |actor| Op::Acquire(LockAcquireRequest { patience_ms: None, actor });
    let release = |actor| Op::Release(LockReleaseRequest { fence: None, actor });
    assert_eq!(world.apply(call('a', 1), acquire(5)).0, Answer::Done(granted(1)));
    assert_eq!(world.apply(call('a', 2), acquire(5)).0, Answer::Done(granted(1)), "the same fence");
    assert_eq!(world.apply(call('a', 3), acquire(6)).0, Answer::Wait(Patience::Endless), "another actor");
    assert_eq!(why(world.apply(call('a', 4), release(6)).0), Reason::NotHeld);
    let left = Answer::Done(Reply::Release(LockReleaseResponse { depth: 1 }));
    assert_eq!(world.apply(call('a', 5), release(5)), (left, vec![]));
    assert_eq!(world.apply(call('a', 6), release(5)), (RELEASED, woken(call('a', 3), granted(6))));
}

#[test]
fn who_may_release_it_is_said_by_the_spec() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    assert_eq!(why(world.release(call('b', 1), None).0), Reason::NotHeld);
    assert_eq!(why(world.release(call('b', 2), Some(1)).0), Reason::NotHeld);
    assert_eq!(why(world.release(call('a', 2), Some(9)).0), Reason::StaleFence);
    let _ = world.release(call('a', 3), Some(1));
    assert_eq!(why(world.release(call('a', 4), None).0), Reason::NotHeld);
    assert_eq!(why(world.release(call('a', 5), Some(1)).0), Reason::StaleFence);
    let mut world = World::new(Spec { released_by_anyone: true, ..Spec::default() });
    let _ = world.acquire(call('a', 1), None);
    assert_eq!(world.release(call('b', 1), None), (RELEASED, vec![]));
}

#[test]
fn bad_numbers_and_specs_are_refused() {
    let mut world = World::new(Spec::default());
    assert_eq!(why(world.acquire(call('a', 1), Some(-1))), Reason::OutOfRange);
    assert_eq!(world.lock.admits(&Spec { reentrant: true, ..Spec::default() }).unwrap_err().why(), Reason::OtherSpec);
    let mut creation = Creation { seed: 1, room: Room::new(0, "object_bytes") };
    for spec in [
        Spec { on_loss: 9, ..Spec::default() },
        Spec { on_close: -1, ..Spec::default() },
        Spec { reentrant: true, released_by_anyone: true, ..Spec::default() },
    ] {
        assert_eq!(Lock::create(spec, &mut creation).unwrap_err().why(), Reason::Malformed);
    }
}
