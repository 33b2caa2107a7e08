use super::*;
use crate::Waiters;
use holdfast_proto::{LockNotifyRequest, LockNotifyResponse, LockWaitRequest, LockWaitResponse};

impl World {
    fn wait_with(&mut self, call: CallId, request: LockWaitRequest) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call, Op::Wait(request))
    }

    /// Takes the lock, if it must, and waits on the condition "" as long as it takes. Nobody else wants the lock.
    fn wait(&mut self, name: char, number: u64) {
        let _ = self.acquire(call(name, 100 + number), None);
        let (answer, woken) = self.wait_with(call(name, number), LockWaitRequest::default());
        assert_eq!((answer, woken), (Answer::Wait(Patience::Endless), vec![]));
    }

    fn notify(&mut self, caller: CallId, n: i64) -> Answer<Reply> {
        let request = LockNotifyRequest { n: Some(n), ..Default::default() };
        let (answer, woken) = self.apply(caller, Op::Notify(request));
        assert_eq!(woken, [], "the lock is still held");
        answer
    }

    /// Two wait on a condition, 'n' notifies one and has the lock.
    fn one_notified_of_two(spec: Spec) -> Self {
        let mut world = World::new(spec);
        world.wait('a', 1);
        world.wait('b', 1);
        let _ = world.acquire(call('n', 1), None);
        assert_eq!(world.notify(call('n', 2), 1), notified(1));
        world
    }

    /// As before, and 'a' was granted the lock and told that it was notified.
    fn one_answered_of_two() -> Self {
        let mut world = Self::one_notified_of_two(Spec::default());
        assert_eq!(world.release(call('n', 3), None), (RELEASED, returned(call('a', 1), true, 7)));
        world
    }

    fn is_notified(&self, call: CallId) -> bool {
        matches!(self.lock.waiting.get(call), Some(Waiter { claim: Claim::Return { notified_on: Some(_), .. }, .. }))
    }
}

fn on(condition: &str) -> LockWaitRequest {
    LockWaitRequest { condition: condition.into(), ..Default::default() }
}

fn within(patience_ms: i64) -> LockWaitRequest {
    LockWaitRequest { patience_ms: Some(patience_ms), ..Default::default() }
}

fn notified(notified: u64) -> Answer<Reply> {
    Answer::Done(Reply::Notify(LockNotifyResponse { notified }))
}

/// A `Wait` is answered: delivered if it was notified, as somebody must hear of it.
fn returned(call: CallId, notified: bool, fence: u64) -> Vec<Woken> {
    let reply = Reply::Wait(LockWaitResponse { notified, fence, abandoned: None }).into();
    vec![Woken { call, answer: if notified { Answer::Delivered(reply) } else { Answer::Done(reply) } }]
}

fn is_refused(woken: &[Woken], reason: Reason) -> bool {
    !woken.is_empty()
        && woken.iter().all(|woken| matches!(&woken.answer, Answer::Refused(refusal) if refusal.why() == reason))
}

#[test]
fn who_waits_gives_the_lock_to_the_next_and_has_it_again_after_a_notify() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    let _ = world.acquire(call('b', 1), None);
    let (answer, handed_on) = world.wait_with(call('a', 2), within(50));
    assert_eq!(answer, Answer::Wait(Patience::For(core::time::Duration::from_millis(50))));
    assert_eq!(handed_on, woken(call('b', 1), granted(3)));
    assert_eq!(why(world.release(call('a', 3), None).0), Reason::NotHeld, "it does not have the lock while it waits");
    let _ = world.acquire(call('c', 1), None);
    assert_eq!(world.notify(call('b', 2), 1), notified(1));
    assert_eq!(
        world.release(call('b', 3), None),
        (RELEASED, woken(call('c', 1), granted(7))),
        "c came before the notify"
    );
    assert_eq!(world.release(call('c', 2), None), (RELEASED, returned(call('a', 2), true, 8)));
    assert_eq!(world.release(call('a', 4), Some(8)), (RELEASED, vec![]));
}

#[test]
fn a_reentrant_lock_is_released_wholly_and_held_as_often_as_before() {
    let mut world = World::new(Spec { reentrant: true, ..Spec::default() });
    for number in 1..=3 {
        let _ = world.acquire(call('a', number), None);
    }
    let _ = world.acquire(call('b', 1), None);
    let (_, handed_on) = world.wait_with(call('a', 4), on(""));
    assert_eq!(handed_on, woken(call('b', 1), granted(5)));
    let _ = world.notify(call('b', 2), 1);
    assert_eq!(world.release(call('b', 3), None).1, returned(call('a', 4), true, 7));
    for depth in [2, 1, 0] {
        let left = Answer::Done(Reply::Release(LockReleaseResponse { depth }));
        assert_eq!(world.release(call('a', 5), None), (left, vec![]));
    }
    assert_eq!(why(world.release(call('a', 6), None).0), Reason::NotHeld);
}

#[test]
fn the_undoing_of_a_return_gives_the_lock_back_wholly() {
    let mut world = World::new(Spec { reentrant: true, ..Spec::default() });
    let _ = (world.acquire(call('a', 1), None), world.acquire(call('a', 2), None));
    let (answer, _) = world.wait_with(call('a', 3), within(0));
    assert_eq!(answer, Answer::Done(Reply::Wait(LockWaitResponse { notified: false, fence: 3, abandoned: None })));
    let _ = world.acquire(call('b', 1), None);
    assert_eq!(world.undo(call('a', 3)), woken(call('b', 1), granted(5)));
}

#[test]
fn whose_patience_is_over_returns_with_the_lock_however_long_that_takes() {
    let mut world = World::new(Spec::default());
    world.wait('a', 1);
    assert_eq!(world.withdraw(call('a', 1), Withdrawal::Patience), (true, returned(call('a', 1), false, 3)));
    assert_eq!(world.wait_with(call('a', 2), on("")).0, Answer::Wait(Patience::Endless));
    let _ = world.acquire(call('b', 1), None);
    let _ = world.acquire(call('c', 1), None);
    assert_eq!(world.withdraw(call('a', 2), Withdrawal::Patience), (true, vec![]), "b has the lock");
    assert_eq!(world.notify(call('b', 2), 1), notified(0), "it does not wait on the condition any more");
    assert_eq!(world.withdraw(call('a', 2), Withdrawal::Patience), (true, vec![]), "it has to wait for the lock");
    assert_eq!(world.release(call('b', 3), None).1, woken(call('c', 1), granted(10)));
    assert_eq!(world.release(call('c', 2), None).1, returned(call('a', 2), false, 11));
    assert_eq!(world.withdraw(call('a', 2), Withdrawal::Patience), (false, vec![]));
}

#[test]
fn a_notify_that_came_first_holds_although_patience_ends_before_the_lock_is_free() {
    let mut world = World::one_notified_of_two(Spec::default());
    assert_eq!(world.withdraw(call('a', 1), Withdrawal::Patience), (true, vec![]));
    assert_eq!(world.release(call('n', 3), None).1, returned(call('a', 1), true, 8));
}

#[test]
fn who_is_not_willing_to_wait_lets_those_go_first_who_wait_for_the_lock() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    let (answer, handed_on) = world.wait_with(call('a', 2), within(0));
    assert_eq!(answer, Answer::Done(Reply::Wait(LockWaitResponse { notified: false, fence: 2, abandoned: None })));
    assert_eq!(handed_on, []);
    let _ = world.acquire(call('b', 1), None);
    let (answer, handed_on) = world.wait_with(call('a', 3), within(0));
    assert_eq!((answer, handed_on), (Answer::Wait(Patience::Endless), woken(call('b', 1), granted(4))));
    assert_eq!(world.notify(call('b', 2), 9), notified(0));
    assert_eq!(world.release(call('b', 3), None).1, returned(call('a', 3), false, 6));
}

#[test]
fn a_withdrawn_wait_does_not_have_the_lock() {
    let mut world = World::new(Spec::default());
    world.wait('a', 1);
    let (waited, refused) = world.withdraw(call('a', 1), Withdrawal::Cancelled);
    assert!(waited && is_refused(&refused, Reason::Withdrawn), "{refused:?}");
    assert!(!world.lock.involves(session('a')) && world.lock.is_vacant());
    assert_eq!(world.acquire(call('b', 1), Some(0)), Answer::Done(granted(4)));
}

#[test]
fn those_who_waited_longest_are_notified_and_no_more_than_are_asked_for() {
    let mut world = World::new(Spec::default());
    for name in ['a', 'b', 'c', 'd'] {
        world.wait(name, 1);
    }
    let _ = world.acquire(call('e', 1), None);
    let (answer, _) = world.wait_with(call('e', 2), on("another"));
    assert_eq!(answer, Answer::Wait(Patience::Endless));
    let _ = world.acquire(call('n', 1), None);
    let (described, _) = world.apply(call('n', 2), Op::Describe(LockDescribeRequest {}));
    assert!(
        matches!(&described, Answer::Done(Reply::Describe(about)) if about.waiting_on_conditions == 5 && about.waiting == 0)
    );
    assert_eq!(world.notify(call('n', 3), 0), notified(0));
    let without_n = Op::Notify(LockNotifyRequest::default());
    assert_eq!(world.apply(call('n', 4), without_n), (notified(1), vec![]));
    assert!(world.is_notified(call('a', 1)) && !world.is_notified(call('b', 1)));
    assert_eq!(world.notify(call('n', 5), 2), notified(2));
    assert!(world.is_notified(call('c', 1)) && !world.is_notified(call('d', 1)));
    let all = |condition: &str| {
        Op::Notify(LockNotifyRequest { condition: condition.into(), n: Some(0), all: true, ..Default::default() })
    };
    assert_eq!(world.apply(call('n', 6), all("nobody's")), (notified(0), vec![]));
    assert_eq!(world.apply(call('n', 7), all("")), (notified(1), vec![]));
    assert_eq!(world.notify(call('n', 8), 9), notified(0));
    assert_eq!(world.apply(call('n', 9), all("another")), (notified(1), vec![]));
    assert!(world.lock.conditions.iter().next().is_none(), "a condition is gone when nobody waits on it");
    for (name, next) in [('n', 'a'), ('a', 'b'), ('b', 'c'), ('c', 'd')] {
        let (_, woken) = world.release(call(name, 20), None);
        assert!(matches!(&woken[..], [woken] if woken.call == call(next, 1)), "{woken:?}");
    }
}

#[test]
fn a_notify_passes_on_from_one_that_died_before_it_had_the_lock() {
    let mut world = World::one_notified_of_two(Spec::default());
    assert_eq!(world.leave('a', Ended::Lost), []);
    assert!(world.is_notified(call('b', 1)));
    assert_eq!(world.release(call('n', 3), None).1, returned(call('b', 1), true, 8));
}

#[test]
fn a_notify_passes_on_from_one_that_was_withdrawn_before_it_had_the_lock() {
    let mut world = World::one_notified_of_two(Spec::default());
    let (waited, refused) = world.withdraw(call('a', 1), Withdrawal::Cancelled);
    assert!(waited && is_refused(&refused, Reason::Withdrawn));
    assert!(world.is_notified(call('b', 1)));
}

#[test]
fn a_notify_passes_on_from_one_that_had_the_lock_and_never_heard_of_it() {
    let mut undone = World::one_answered_of_two();
    assert_eq!(undone.undo(call('a', 1)), returned(call('b', 1), true, 8));
    for how in [Ended::Lost, Ended::Closed] {
        let mut left = World::one_answered_of_two();
        let woken = left.leave('a', how);
        assert!(matches!(&woken[..], [Woken { call: at, answer: Answer::Delivered(_) }] if *at == call('b', 1)));
    }
}

#[test]
fn a_notify_passes_on_although_the_lock_was_given_back_before_the_answer_was_known_to_be_read() {
    let mut world = World::one_answered_of_two();
    assert_eq!(world.release(call('a', 2), None), (RELEASED, vec![]));
    assert!(world.lock.involves(session('a')) && !world.lock.is_vacant());
    assert_eq!(world.leave('a', Ended::Lost), returned(call('b', 1), true, 9));
}

#[test]
fn a_notify_is_consumed_once_its_answer_was_read() {
    let mut world = World::one_answered_of_two();
    world.acknowledge(call('a', 1));
    assert_eq!(world.release(call('a', 2), None), (RELEASED, vec![]));
    assert!(!world.lock.involves(session('a')));
    assert_eq!((world.leave('a', Ended::Lost), world.undo(call('a', 1))), (vec![], vec![]));
    assert!(!world.is_notified(call('b', 1)) && world.lock.conditions.contains(call('b', 1)));
}

#[test]
fn who_does_not_have_the_lock_neither_waits_nor_notifies() {
    let mut world = World::new(Spec::default());
    let wait = |fence| Op::Wait(LockWaitRequest { fence, ..Default::default() });
    let notify = |fence| Op::Notify(LockNotifyRequest { fence, ..Default::default() });
    for op in [wait, notify] {
        assert_eq!(why(world.apply(call('a', 1), op(None)).0), Reason::NotHeld, "nobody has it");
        assert_eq!(why(world.apply(call('a', 1), op(Some(1))).0), Reason::StaleFence);
    }
    let Answer::Done(Reply::Acquire(LockAcquireResponse { fence, .. })) = world.acquire(call('b', 1), None) else {
        panic!("it is free")
    };
    for op in [wait, notify] {
        assert_eq!(why(world.apply(call('a', 2), op(None)).0), Reason::NotHeld);
        assert_eq!(why(world.apply(call('b', 2), op(Some(fence - 1))).0), Reason::StaleFence);
    }
    assert_eq!(world.apply(call('b', 3), notify(Some(fence))).0, notified(0));
    assert_eq!(world.apply(call('b', 4), wait(Some(fence))).0, Answer::Wait(Patience::Endless));
    let mut reentrant = World::new(Spec { reentrant: true, ..Spec::default() });
    let _ = reentrant.acquire(call('a', 1), None);
    let another_actor = LockWaitRequest { actor: 1, ..Default::default() };
    assert_eq!(why(reentrant.wait_with(call('a', 2), another_actor).0), Reason::NotHeld);
}

#[test]
fn numbers_and_names_that_are_none_are_refused() {
    let mut world = World::new(Spec::default());
    let _ = world.acquire(call('a', 1), None);
    let (longest, too_long) = ("n".repeat(256), "n".repeat(257));
    assert_eq!(why(world.wait_with(call('a', 2), within(-1)).0), Reason::OutOfRange);
    assert_eq!(why(world.wait_with(call('a', 2), on(&too_long)).0), Reason::InvalidName);
    assert_eq!(why(world.notify(call('a', 2), -1)), Reason::OutOfRange);
    let notify = |condition: &str| Op::Notify(LockNotifyRequest { condition: condition.into(), ..Default::default() });
    assert_eq!(why(world.apply(call('a', 2), notify(&too_long)).0), Reason::InvalidName);
    assert_eq!(world.apply(call('a', 2), notify(&longest)).0, notified(0));
    assert_eq!(world.wait_with(call('a', 3), on(&longest)).0, Answer::Wait(Patience::Endless));
}

#[test]
fn who_waits_on_a_condition_of_a_lock_that_breaks_is_refused() {
    let mut world = World::one_notified_of_two(Spec { on_loss: OnLoss::Break.into(), ..Spec::default() });
    let refused = world.leave('n', Ended::Lost);
    let mut calls: Vec<CallId> = refused.iter().map(|woken| woken.call).collect();
    calls.sort_unstable();
    assert_eq!(calls, [call('a', 1), call('b', 1)], "the one that was notified, and the one that was not");
    assert!(is_refused(&refused, Reason::Broken));
    assert!(!world.lock.involves(session('a')) && !world.lock.involves(session('b')));
}

#[test]
fn who_returns_is_told_of_one_that_was_lost_meanwhile() {
    let mut world = World::one_notified_of_two(Spec::default());
    let woken = world.leave('n', Ended::Lost);
    let lost = Abandoned { fence: 5, name: "worker".into(), pid: 7, host: "here".into() };
    let told = Reply::Wait(LockWaitResponse { notified: true, fence: 7, abandoned: Some(lost) });
    assert_eq!(woken, vec![Woken { call: call('a', 1), answer: Answer::Delivered(told.into()) }]);
}

#[test]
fn those_who_wait_on_conditions_count_among_those_who_wait() {
    let mut world = World::new(Spec::default());
    world.wait('a', 1);
    let _ = world.acquire(call('b', 1), None);
    let mut limited = |call, op| {
        let mut turn = world.turn(call);
        turn.waiters = Waiters { of_object: 1, reached: None };
        let answer = world.lock.apply(op, &mut turn);
        (answer, turn.woken)
    };
    let acquire = Op::Acquire(LockAcquireRequest { patience_ms: None, actor: 0 });
    assert_eq!(why(limited(call('c', 1), acquire).0), Reason::Quota);
    assert_eq!(why(limited(call('b', 2), Op::Wait(on("another"))).0), Reason::Quota);
    let no_wait = limited(call('b', 3), Op::Wait(within(0))).0;
    assert!(matches!(no_wait, Answer::Done(Reply::Wait(_))), "it has the lock still, and need not wait: {no_wait:?}");
    assert_eq!(world.release(call('b', 4), None), (RELEASED, vec![]));
}

#[test]
fn what_is_kept_is_waited_with_by_who_knows_its_fence() {
    let spec = Spec { reentrant: true, on_loss: OnLoss::Keep.into(), ..Spec::default() };
    let mut world = World::new(spec);
    let _ = (world.acquire(call('a', 1), None), world.acquire(call('a', 2), None));
    let _ = world.leave('a', Ended::Lost);
    assert_eq!(why(world.wait_with(call('b', 1), on("")).0), Reason::NotHeld);
    let (answer, _) = world.wait_with(call('b', 2), LockWaitRequest { fence: Some(1), ..Default::default() });
    assert_eq!(answer, Answer::Wait(Patience::Endless));
    assert_eq!(world.withdraw(call('b', 2), Withdrawal::Patience).1, returned(call('b', 2), false, 6));
    assert_eq!(world.release(call('b', 3), None), (RELEASED, vec![]), "it has it once");
}

#[test]
fn a_saved_state_in_which_a_call_is_twice_or_was_nowhere_is_refused() {
    let mut world = World::one_answered_of_two();
    let _ = world.acquire(call('c', 1), None);
    let good = world.lock.state();
    let restored = |change: &dyn Fn(&mut State)| {
        let mut state = good.clone();
        change(&mut state);
        let mut creation = Creation { seed: 1, room: Room::new(0, "object_bytes") };
        Lock::restore(state, &mut creation).map(|lock| lock.state())
    };
    assert_eq!(restored(&|_| ()).unwrap(), good);
    let damages: [&dyn Fn(&mut State); 6] = [
        &|state| state.waiting.push(state.conditions[0].waiting[0].clone()),
        &|state| state.waiting.push(state.waiting[0].clone()),
        &|state| state.conditions[0].waiting[0].depth = 0,
        &|state| state.waiting[0].depth = DEPTH_MAX as u32 + 1,
        &|state| state.unread.push(state.unread[0].clone()),
        &|state| state.holder.as_mut().unwrap().calls.clear(),
    ];
    for (at, damage) in damages.iter().enumerate() {
        assert_eq!(restored(damage).unwrap_err().why(), Reason::Malformed, "damage {at}");
    }
    assert_eq!(restored(&|state| state.conditions[0].name = "n".repeat(257)).unwrap_err().why(), Reason::InvalidName);
}

#[test]
fn who_returned_and_does_not_acknowledge_it_counts_as_one_that_waits() {
    let mut world = World::one_answered_of_two();
    let wait = |world: &mut World| {
        let mut turn = world.turn(call('a', 9));
        turn.waiters.of_object = 2;
        world.lock.apply(Op::Wait(LockWaitRequest::default()), &mut turn)
    };
    assert_eq!(why(wait(&mut world)), Reason::Quota, "'b' waits, and 'a' may not know that it returned");
    world.acknowledge(call('a', 1));
    assert_eq!(wait(&mut world), Answer::Wait(Patience::Endless));
}
