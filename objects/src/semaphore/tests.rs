use alloc::sync::Arc;
use alloc::vec;

use super::*;
use crate::testing::model::{Model, compare, refused};
use crate::turn::withdrawn;
use crate::{Client, Room, Woken};
use holdfast_proto::{SemaphoreDescribeRequest, SemaphoreResetRequest};

/// A semaphore and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    semaphore: Semaphore,
    index: u64,
}

fn session(name: char) -> SessionId {
    SessionId([name as u8; 16])
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: session(name), number }
}

fn create(spec: Spec) -> Result<Semaphore, Refusal> {
    Semaphore::create(spec, &mut Creation { seed: 1, room: Room::new(0, "object_bytes") })
}

impl World {
    fn new(spec: Spec) -> Self {
        Self { semaphore: create(spec).unwrap(), index: 0 }
    }

    fn of(value: i64) -> Self {
        Self::new(Spec { value: Some(value), ..Spec::default() })
    }

    fn unowned(value: i64, bounded: bool) -> Self {
        Self::new(Spec { value: Some(value), bounded, unowned: true, ..Spec::default() })
    }

    fn input<R>(&mut self, call: CallId, input: impl FnOnce(&mut Semaphore, &mut Turn) -> R) -> (R, Vec<Woken>) {
        self.index += 1;
        let mut turn = Turn::new(self.index, call, 1000, Room::new(0, "object_bytes"));
        turn.client = Some(Arc::new(Client { name: "worker".into(), pid: 7, host: "here".into() }));
        let answer = input(&mut self.semaphore, &mut turn);
        self.semaphore.check_invariants();
        (answer, turn.woken)
    }

    fn apply(&mut self, call: CallId, op: Op) -> (Answer<Reply>, Vec<Woken>) {
        self.input(call, |semaphore, turn| semaphore.apply(op, turn))
    }

    fn acquire(&mut self, call: CallId, permits: i64) -> Answer<Reply> {
        let (answer, woken) = self.apply(call, Op::Acquire(SemaphoreAcquireRequest { patience_ms: None, permits }));
        assert_eq!(woken, []);
        answer
    }

    fn try_acquire(&mut self, call: CallId, permits: i64) -> Answer<Reply> {
        self.apply(call, Op::Acquire(SemaphoreAcquireRequest { patience_ms: Some(0), permits })).0
    }

    fn release(&mut self, call: CallId, permits: i64, fence: Option<u64>) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call, Op::Release(SemaphoreReleaseRequest { permits, fence }))
    }

    fn leave(&mut self, name: char, how: Ended) -> Vec<Woken> {
        self.input(call(name, 0), |semaphore, turn| semaphore.leave(session(name), how, turn)).1
    }

    fn undo(&mut self, call: CallId) -> Vec<Woken> {
        self.input(call, |semaphore, turn| semaphore.undo(call, turn)).1
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal) -> (bool, Vec<Woken>) {
        self.input(call, |semaphore, turn| semaphore.withdraw(call, why, turn))
    }

    fn describe(&mut self, name: char) -> SemaphoreDescribeResponse {
        match self.apply(call(name, 0), Op::Describe(SemaphoreDescribeRequest {})) {
            (Answer::Done(Reply::Describe(about)), woken) if woken.is_empty() => about,
            other => panic!("{other:?}"),
        }
    }

    fn reset(&mut self, name: char) -> (bool, Vec<Woken>) {
        match self.apply(call(name, 0), Op::Reset(SemaphoreResetRequest {})) {
            (Answer::Done(Reply::Reset(response)), woken) => (response.was_reset, woken),
            other => panic!("{other:?}"),
        }
    }
}

fn granted(fence: u64) -> Reply {
    Reply::Acquire(SemaphoreAcquireResponse { acquired: true, fence, abandoned: None, unowned: false })
}

/// Permits that belong to nobody.
fn granted_to_nobody(fence: u64) -> Reply {
    Reply::Acquire(SemaphoreAcquireResponse { acquired: true, fence, abandoned: None, unowned: true })
}

fn in_vain() -> Reply {
    Reply::Acquire(SemaphoreAcquireResponse::default())
}

fn woken(call: CallId, reply: Reply) -> Woken {
    Woken { call, answer: Answer::Done(reply.into()) }
}

fn why<R: core::fmt::Debug>(answer: Answer<R>) -> Reason {
    match answer {
        Answer::Refused(refusal) => refusal.why(),
        other => panic!("{other:?}"),
    }
}

const RELEASED: Answer<Reply> = Answer::Done(Reply::Release(SemaphoreReleaseResponse {}));
const WAITS: Answer<Reply> = Answer::Wait(Patience::Endless);

#[test]
fn a_large_request_is_not_overtaken_and_gets_all_or_nothing() {
    let mut world = World::of(3);
    assert_eq!(world.acquire(call('a', 1), 2), Answer::Done(granted(1)));
    assert_eq!(world.acquire(call('b', 1), 2), WAITS);
    assert_eq!(world.acquire(call('c', 1), 0), WAITS, "one is free, but it is behind");
    assert_eq!(world.try_acquire(call('d', 1), 1), Answer::Done(in_vain()));
    assert_eq!(world.describe('b').value, 1, "none of the two is taken for who waits for both");
    let (answer, served) = world.release(call('a', 2), 0, None);
    assert_eq!((answer, served), (RELEASED, vec![woken(call('b', 1), granted(6))]));
    let (answer, served) = world.release(call('a', 3), 1, None);
    assert_eq!((answer, served), (RELEASED, vec![woken(call('c', 1), granted(7))]));
}

#[test]
fn one_release_serves_all_that_it_can() {
    let mut world = World::of(3);
    let _ = world.acquire(call('a', 1), 3);
    for (name, permits) in [('b', 1), ('b', 1), ('c', 2), ('d', 1)] {
        let number = world.index;
        assert_eq!(world.acquire(call(name, number), permits), WAITS);
    }
    let (answer, served) = world.release(call('a', 2), 3, Some(1));
    let both = vec![woken(call('b', 1), granted(6)), woken(call('b', 2), granted(6))];
    assert_eq!((answer, served), (RELEASED, both));
    let (answer, served) = world.release(call('b', 9), 0, Some(6));
    let both = vec![woken(call('c', 3), granted(7)), woken(call('d', 4), granted(7))];
    assert_eq!((answer, served), (RELEASED, both), "without a number: all with this fence");
}

#[test]
fn when_the_first_leaves_those_behind_it_are_served() {
    let mut world = World::of(3);
    let _ = world.acquire(call('a', 1), 2);
    let _ = world.acquire(call('b', 1), 3);
    let _ = world.acquire(call('c', 1), 1);
    let (waited, answered) = world.withdraw(call('b', 1), Withdrawal::Patience);
    assert!(waited);
    assert_eq!(answered, [woken(call('b', 1), in_vain()), woken(call('c', 1), granted(4))]);
    assert_eq!(world.withdraw(call('b', 1), Withdrawal::Patience), (false, vec![]));
    let _ = world.acquire(call('d', 1), 3);
    let _ = world.release(call('c', 2), 1, None);
    let _ = world.acquire(call('c', 3), 1);
    assert_eq!(world.leave('d', Ended::Lost), [woken(call('c', 3), granted(9))]);
    let _ = world.acquire(call('d', 1), 3);
    let (waited, refused) = world.withdraw(call('d', 1), Withdrawal::Cancelled);
    assert!(
        waited && matches!(&refused[..], [Woken { answer: Answer::Refused(no), .. }] if no.why() == Reason::Withdrawn)
    );
}

#[test]
fn nobody_releases_what_it_has_not() {
    let mut world = World::of(3);
    let _ = world.acquire(call('a', 1), 2);
    assert_eq!(why(world.release(call('b', 1), 1, None).0), Reason::NotHeld);
    assert_eq!(why(world.release(call('a', 2), 3, None).0), Reason::NotHeld);
    assert_eq!(why(world.release(call('a', 3), 3, Some(1)).0), Reason::NotHeld);
    assert_eq!(why(world.release(call('a', 4), 1, Some(2)).0), Reason::StaleFence);
    assert_eq!(why(world.release(call('b', 2), 1, Some(1)).0), Reason::StaleFence);
    assert_eq!(world.describe('a').held_by_you, 2);
    assert_eq!(world.release(call('a', 5), 1, Some(1)).0, RELEASED);
    assert_eq!(world.release(call('a', 6), 0, Some(1)).0, RELEASED);
    assert_eq!(why(world.release(call('a', 7), 0, Some(1)).0), Reason::StaleFence);
    assert_eq!(why(world.release(call('a', 8), 0, None).0), Reason::NotHeld);
}

#[test]
fn a_release_without_a_fence_takes_the_oldest_first() {
    let mut world = World::of(5);
    let _ = world.acquire(call('a', 1), 2);
    let _ = world.acquire(call('a', 2), 2);
    assert_eq!(world.release(call('a', 3), 3, None).0, RELEASED);
    let left = SemaphoreGrant { fence: 2, permits: 1, yours: true, kept: false };
    let about = world.describe('a');
    assert_eq!((about.value, about.held_by_you, about.grants, about.holders), (4, 1, 1, vec![left]));
}

#[test]
fn permits_come_back_at_the_end_of_a_session_and_the_next_is_told_of_a_loss() {
    let mut world = World::of(2);
    let _ = world.acquire(call('a', 1), 1);
    let _ = world.acquire(call('a', 2), 1);
    let _ = world.acquire(call('b', 1), 1);
    let _ = world.acquire(call('c', 1), 1);
    let _ = world.acquire(call('d', 1), 1);
    let abandoned = |fence| Some(Abandoned { fence, name: "worker".into(), pid: 7, host: "here".into() });
    let told = |fence, lost| {
        let abandoned = abandoned(lost);
        Reply::Acquire(SemaphoreAcquireResponse { acquired: true, fence, abandoned, unowned: false })
    };
    let served = world.leave('a', Ended::Lost);
    assert_eq!(served, [woken(call('b', 1), told(6, 2)), woken(call('c', 1), granted(6))], "once");
    assert!(!world.semaphore.involves(session('a')) && world.semaphore.involves(session('b')));
    assert_eq!(world.undo(call('b', 1)), [woken(call('d', 1), told(7, 2))], "b never heard of it");
    assert_eq!(world.leave('c', Ended::Closed), [], "closed is not lost");
    assert_eq!(world.acquire(call('e', 1), 1), Answer::Done(granted(9)));
}

#[test]
fn each_loss_is_told_in_its_order() {
    let mut world = World::of(2);
    let _ = world.acquire(call('a', 1), 1);
    let _ = world.acquire(call('b', 1), 1);
    let _ = world.leave('a', Ended::Lost);
    let _ = world.leave('b', Ended::Lost);
    let mut told = |name| match world.acquire(call(name, 1), 1) {
        Answer::Done(Reply::Acquire(response)) => response.abandoned.map(|lost| lost.fence),
        other => panic!("{other:?}"),
    };
    assert_eq!(told('c'), Some(1));
    assert_eq!(told('d'), Some(2));
    assert_eq!(world.undo(call('c', 1)), []);
    assert!(matches!(
        world.acquire(call('e', 1), 1),
        Answer::Done(Reply::Acquire(response)) if response.abandoned.as_ref().is_some_and(|lost| lost.fence == 1)
    ));
}

#[test]
fn a_grant_that_nobody_has_is_taken_back_as_far_as_it_is_there() {
    let mut world = World::of(3);
    let _ = world.acquire(call('a', 1), 3);
    let _ = world.acquire(call('b', 1), 2);
    assert_eq!(world.undo(call('a', 7)), [], "it is not by that call that it has them");
    assert_eq!(world.release(call('a', 2), 1, None), (RELEASED, vec![]));
    assert_eq!(world.undo(call('a', 1)), [woken(call('b', 1), granted(5))]);
    assert_eq!(world.undo(call('a', 1)), [], "nothing is left");
    assert_eq!(world.describe('a').value, 1);
}

#[test]
fn of_grants_that_were_made_together_the_one_is_undone_that_nobody_has_whichever_was_given_back() {
    for unheard in [1, 2] {
        let mut world = World::of(4);
        let _ = world.acquire(call('w', 1), 4);
        for number in [1, 2] {
            assert_eq!(world.acquire(call('a', number), 2), WAITS);
        }
        let _ = world.release(call('w', 2), 4, Some(1));
        // Its fence is that of both, so which of them it gives back, it cannot say.
        assert_eq!(world.release(call('a', 3), 2, Some(4)), (RELEASED, vec![]));
        let restored =
            Semaphore::restore(world.semaphore.state(), &mut Creation { seed: 1, room: Room::new(0, "object_bytes") });
        assert_eq!(restored.unwrap().state(), world.semaphore.state());
        let _ = world.undo(call('a', unheard));
        let about = world.describe('a');
        assert_eq!((about.value, about.held_by_you), (4, 0), "call {unheard} was not taken back");
        let _ = world.undo(call('a', 3 - unheard));
        assert_eq!(world.describe('a').value, 4, "nothing is left to be taken back");
    }
}

#[test]
fn a_loss_that_nobody_heard_of_is_told_again_whichever_grant_was_given_back() {
    let mut world = World::of(2);
    let _ = world.acquire(call('l', 1), 2);
    for number in [1, 2] {
        let _ = world.acquire(call('a', number), 1);
    }
    // Call 1 is told of it, and is the one whose permit is taken for that of call 2.
    let _ = world.leave('l', Ended::Lost);
    let _ = world.release(call('a', 3), 1, Some(4));
    let _ = world.undo(call('a', 1));
    assert!(matches!(
        world.acquire(call('b', 1), 1),
        Answer::Done(Reply::Acquire(response)) if response.abandoned.is_some()
    ));
}

#[test]
fn a_broken_semaphore_refuses_everybody_until_it_is_reset() {
    let mut world = World::new(Spec { value: Some(2), on_loss: OnLoss::Break.into(), ..Spec::default() });
    let _ = world.acquire(call('a', 1), 1);
    let _ = world.acquire(call('b', 1), 1);
    let _ = world.acquire(call('c', 1), 1);
    let refused = world.leave('a', Ended::Lost);
    assert!(matches!(&refused[..], [Woken { answer: Answer::Refused(no), .. }] if no.why() == Reason::Broken));
    assert_eq!(why(world.try_acquire(call('c', 2), 1)), Reason::Broken);
    assert_eq!(world.release(call('b', 2), 1, Some(2)).0, RELEASED, "who has some can give them back");
    assert_eq!(world.describe('b').broken_by.map(|lost| lost.fence), Some(1));
    assert_eq!(world.reset('c'), (true, vec![]));
    assert_eq!(world.reset('c'), (false, vec![]));
    assert_eq!(world.acquire(call('c', 3), 2), Answer::Done(granted(world.index)));
}

#[test]
fn what_is_kept_stays_taken_until_a_reset_or_a_release_with_its_fence() {
    let keep = Spec { value: Some(3), on_loss: OnLoss::Keep.into(), on_close: OnClose::Keep.into(), ..Spec::default() };
    for how in [Ended::Closed, Ended::Lost] {
        let mut world = World::new(keep);
        let _ = world.acquire(call('a', 1), 2);
        let _ = world.acquire(call('b', 1), 1);
        let _ = world.acquire(call('c', 1), 2);
        assert_eq!(world.leave('a', how), []);
        assert!(!world.semaphore.involves(session('a')));
        let kept = SemaphoreGrant { fence: 1, permits: 2, yours: false, kept: true };
        assert_eq!(world.describe('b').holders[0], kept);
        assert_eq!(why(world.release(call('c', 2), 1, None).0), Reason::NotHeld);
        assert_eq!(world.release(call('c', 3), 1, Some(1)), (RELEASED, vec![]));
        assert_eq!(world.reset('c'), (true, vec![woken(call('c', 1), granted(8))]));
        assert_eq!(world.describe('b').held_by_you, 1, "who goes on keeps what it has");
    }
}

#[test]
fn unowned_permits_are_released_by_anybody_and_stay_taken_when_a_session_ends() {
    let mut world = World::unowned(0, false);
    assert_eq!(world.acquire(call('a', 1), 2), WAITS);
    let delivered = |call, fence| Woken { call, answer: Answer::Delivered(granted_to_nobody(fence).into()) };
    assert_eq!(world.release(call('b', 1), 3, None), (RELEASED, vec![delivered(call('a', 1), 2)]));
    assert_eq!(world.acquire(call('a', 2), 1), Answer::Delivered(granted_to_nobody(3)));
    assert_eq!(world.leave('a', Ended::Lost), []);
    assert_eq!((world.describe('a').value, world.semaphore.involves(session('a'))), (0, false));
    assert_eq!(why(world.release(call('b', 2), 1, Some(3)).0), Reason::Malformed);
    assert_eq!(world.release(call('b', 3), i64::MAX, None).0, RELEASED, "above the initial value");
    assert_eq!(why(world.release(call('b', 4), 1, None).0), Reason::Overflow);
}

#[test]
fn an_unowned_grant_is_undone_until_it_is_acknowledged() {
    let mut world = World::unowned(2, true);
    let _ = world.acquire(call('a', 1), 1);
    let _ = world.acquire(call('a', 2), 1);
    let _ = world.acquire(call('b', 1), 1);
    let _ = world.input(call('a', 1), |semaphore, turn| semaphore.acknowledge(call('a', 1), turn));
    assert_eq!(world.undo(call('a', 1)), [], "its caller has it");
    let delivered = Woken { call: call('b', 1), answer: Answer::Delivered(granted_to_nobody(6).into()) };
    assert_eq!(world.undo(call('a', 2)), [delivered]);
    assert_eq!(world.release(call('c', 1), 2, None).0, RELEASED);
    assert_eq!(why(world.release(call('c', 2), 1, None).0), Reason::OverRelease);
    assert_eq!(world.undo(call('b', 1)), []);
    assert_eq!(world.describe('a').value, 2, "never more than at first");
}

#[test]
fn bad_numbers_and_specs_are_refused() {
    let mut world = World::of(2);
    for permits in [-1, 3, i64::MAX] {
        assert_eq!(why(world.acquire(call('a', 1), permits)), Reason::OutOfRange);
    }
    assert_eq!(why(world.release(call('a', 2), -1, None).0), Reason::OutOfRange);
    let negative = Op::Acquire(SemaphoreAcquireRequest { patience_ms: Some(-1), permits: 1 });
    assert_eq!(why(world.apply(call('a', 3), negative).0), Reason::OutOfRange);
    assert_eq!(why(World::unowned(2, true).acquire(call('a', 1), 3)), Reason::OutOfRange);
    assert_eq!(World::unowned(2, false).acquire(call('a', 1), 3), WAITS);
    let negative = Spec { value: Some(-1), ..Spec::default() };
    assert_eq!(create(negative).unwrap_err().why(), Reason::OutOfRange);
    for spec in [
        Spec { on_loss: 9, ..Spec::default() },
        Spec { on_close: -1, ..Spec::default() },
        Spec { unowned: true, on_loss: OnLoss::Keep.into(), ..Spec::default() },
        Spec { unowned: true, on_close: OnClose::Keep.into(), ..Spec::default() },
    ] {
        assert_eq!(create(spec).unwrap_err().why(), Reason::Malformed);
    }
}

#[test]
fn who_opens_it_says_the_same() {
    let semaphore = create(Spec::default()).unwrap();
    assert_eq!(semaphore.admits(&Spec { value: Some(1), ..Spec::default() }), Ok(()), "1 is what is meant without it");
    for other in [
        Spec { value: Some(2), ..Spec::default() },
        Spec { bounded: true, ..Spec::default() },
        Spec { unowned: true, ..Spec::default() },
        Spec { on_loss: OnLoss::Break.into(), ..Spec::default() },
        Spec { on_close: OnClose::Keep.into(), ..Spec::default() },
    ] {
        assert_eq!(semaphore.admits(&other).unwrap_err().why(), Reason::OtherSpec);
    }
}

#[test]
fn there_is_a_limit_on_waiters_and_on_grants() {
    let mut world = World::of(1);
    let _ = world.acquire(call('a', 1), 1);
    let (answer, _) = world.input(call('b', 1), |semaphore, turn| {
        turn.waiters.of_object = 0;
        semaphore.apply(Op::Acquire(SemaphoreAcquireRequest::default()), turn)
    });
    assert_eq!(why(answer), Reason::Quota);

    let mut semaphore = create(Spec { value: Some(i64::MAX), ..Spec::default() }).unwrap();
    let mut acquire = |number| {
        let mut turn = Turn::new(number, call('a', number), 1000, Room::new(0, "object_bytes"));
        semaphore.apply(Op::Acquire(SemaphoreAcquireRequest::default()), &mut turn)
    };
    for number in 1..=100_000 {
        assert_eq!(acquire(number), Answer::Done(granted(number)));
    }
    assert_eq!(why(acquire(100_001)), Reason::Quota);
}

#[test]
fn there_is_a_limit_on_grants_of_nobody_that_are_not_acknowledged() {
    let mut world = World::unowned(1, true);
    let mut acquire = |number| {
        let answer = world.acquire(call('a', number), 1);
        let _ = world.release(call('b', number), 1, None);
        answer
    };
    for number in 1..=100_000 {
        assert!(matches!(acquire(number), Answer::Delivered(_)), "{number}");
    }
    assert_eq!(why(acquire(100_001)), Reason::Quota);
    let _ = world.input(call('a', 5), |semaphore, turn| semaphore.acknowledge(call('a', 5), turn));
    assert!(matches!(world.acquire(call('c', 1), 1), Answer::Delivered(_)), "one more is known to be received");
}

#[test]
fn a_state_in_which_permits_are_made_or_lost_is_malformed() {
    let mut world = World::of(3);
    let _ = world.acquire(call('a', 1), 2);
    let sound = world.semaphore.state();
    let restore = |state| Semaphore::restore(state, &mut Creation { seed: 1, room: Room::new(0, "object_bytes") });
    assert!(restore(sound.clone()).is_ok());
    let mut wrong = vec![sound; 4];
    wrong[0].free = 2;
    wrong[1].grants[0].permits = u64::MAX;
    wrong[2].waiting = vec![PermitsState { call: call('b', 1).into(), permits: 1 }];
    wrong[3].unacknowledged = vec![PermitsState { call: call('b', 1).into(), permits: 1 }];
    for state in wrong {
        assert_eq!(restore(state).unwrap_err().why(), Reason::Malformed);
    }
}

/// A semaphore as somebody would keep it with pencil and paper: a line for each permit that is taken.
#[derive(Debug)]
struct Plain {
    spec: Spec,
    initial: usize,
    free: usize,
    /// Whose each permit is, oldest first: the fence, and the call that took it. Kept ones have no call.
    taken: Vec<(u64, Option<CallId>)>,
    /// Lines that were struck out, while others of the session with the fence are not.
    struck: Vec<(u64, CallId)>,
    told: Vec<(CallId, Abandoned)>,
    unacknowledged: Vec<(CallId, usize)>,
    queue: Vec<(CallId, usize)>,
    lost: Vec<Abandoned>,
    broken: Option<Abandoned>,
}

impl Plain {
    /// Whether the call is in the queue now, and how long it waits there; or what else comes of it.
    fn acquire(&mut self, call: CallId, request: &SemaphoreAcquireRequest) -> Answer<Reply> {
        let permits = if request.permits == 0 { 1 } else { request.permits };
        let limited = !self.spec.unowned || self.spec.bounded;
        if request.patience_ms.is_some_and(|ms| ms < 0) || permits < 0 || limited && permits as usize > self.initial {
            return refused(Reason::OutOfRange);
        }
        if self.broken.is_some() {
            return refused(Reason::Broken);
        }
        if request.patience_ms == Some(0) && (!self.queue.is_empty() || permits as usize > self.free) {
            return Answer::Done(in_vain());
        }
        self.queue.push((call, permits as usize));
        let willing = |ms: i64| Patience::For(core::time::Duration::from_millis(ms as u64));
        Answer::Wait(request.patience_ms.map_or(Patience::Endless, willing))
    }

    fn release(&mut self, call: CallId, request: &SemaphoreReleaseRequest) -> Result<Reply, Reason> {
        if request.permits < 0 {
            return Err(Reason::OutOfRange);
        }
        let asked = (request.permits > 0).then_some(request.permits as usize);
        if self.spec.unowned {
            let permits = asked.unwrap_or(1);
            if request.fence.is_some() {
                return Err(Reason::Malformed);
            }
            if self.spec.bounded && self.free + permits > self.initial {
                return Err(Reason::OverRelease);
            }
            self.free += permits;
            return Ok(Reply::Release(SemaphoreReleaseResponse {}));
        }
        let lines = |of: Option<SessionId>| -> Vec<usize> {
            let is_meant = |(fence, by): &(u64, Option<CallId>)| {
                by.map(|by| by.session) == of && request.fence.is_none_or(|meant| meant == *fence)
            };
            (0..self.taken.len()).filter(|at| is_meant(&self.taken[*at])).collect()
        };
        let mut lines_meant = lines(Some(call.session));
        if request.fence.is_some() && lines_meant.is_empty() {
            lines_meant = lines(None);
            if lines_meant.is_empty() {
                return Err(Reason::StaleFence);
            }
        }
        let permits = asked.unwrap_or(if request.fence.is_some() { lines_meant.len() } else { 1 });
        if permits > lines_meant.len() {
            return Err(Reason::NotHeld);
        }
        for at in lines_meant[..permits].iter().rev() {
            let (fence, by) = self.taken.remove(*at);
            self.struck.extend(by.map(|by| (fence, by)));
            self.free += 1;
        }
        self.forget();
        Ok(Reply::Release(SemaphoreReleaseResponse {}))
    }

    fn forget(&mut self) {
        let taken = &self.taken;
        let like = |(fence, by): (u64, CallId)| {
            move |line: &(u64, Option<CallId>)| {
                line.0 == fence && line.1.is_some_and(|other| other.session == by.session)
            }
        };
        self.struck.retain(|line| taken.iter().any(like(*line)));
        self.told.retain(|(call, _)| {
            taken.iter().any(|(_, by)| *by == Some(*call)) || self.struck.iter().any(|(_, by)| by == call)
        });
    }

    fn take_back(&mut self, call: CallId) {
        let before = self.taken.len();
        self.taken.retain(|(_, by)| *by != Some(call));
        let mut found = self.taken.len() < before;
        while let Some(at) = self.struck.iter().position(|(_, by)| *by == call) {
            found = true;
            let (fence, _) = self.struck.remove(at);
            let others =
                |line: &(u64, Option<CallId>)| line.0 == fence && line.1.is_some_and(|by| by.session == call.session);
            if let Some(other) = self.taken.iter().position(others) {
                let (fence, by) = self.taken.remove(other);
                self.struck.extend(by.map(|by| (fence, by)));
            }
        }
        if found {
            self.free += before - self.taken.len();
            if let Some(at) = self.told.iter().position(|(told, _)| *told == call) {
                self.lost.insert(0, self.told.remove(at).1);
            }
        }
        self.forget();
        if let Some(at) = self.unacknowledged.iter().position(|(granted, _)| *granted == call) {
            self.free += self.unacknowledged.remove(at).1;
            if self.spec.bounded {
                self.free = self.free.min(self.initial);
            }
        }
    }

    fn give_up(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.queue.retain(|(call, _)| call.session != session);
        self.unacknowledged.retain(|(call, _)| call.session != session);
        let is_theirs = |by: &Option<CallId>| by.is_some_and(|by| by.session == session);
        let keeps = match how {
            Ended::Closed => self.spec.on_close() == OnClose::Keep,
            Ended::Lost => self.spec.on_loss() == OnLoss::Keep,
        };
        let last = self.taken.iter().filter(|(_, by)| is_theirs(by)).map(|(fence, _)| *fence).max();
        let Some(fence) = last else { return };
        if keeps {
            self.taken.iter_mut().filter(|(_, by)| is_theirs(by)).for_each(|(_, by)| *by = None);
            self.forget();
            return;
        }
        let before = self.taken.len();
        self.taken.retain(|(_, by)| !is_theirs(by));
        self.forget();
        self.free += before - self.taken.len();
        if how == Ended::Closed {
            return;
        }
        let by = Abandoned { fence, name: "worker".into(), pid: 7, host: "here".into() };
        if self.spec.on_loss() == OnLoss::Release {
            self.lost.push(by);
            return;
        }
        self.broken = self.broken.take().or(Some(by));
        for (call, _) in self.queue.drain(..) {
            turn.refuse(call, Refusal::new(Reason::Broken, ""));
        }
    }

    fn describe(&self, session: SessionId) -> Reply {
        let mut holders: Vec<(Option<CallId>, SemaphoreGrant)> = Vec::new();
        for (fence, by) in &self.taken {
            match holders.iter_mut().find(|(known, grant)| known == by && grant.fence == *fence) {
                Some((_, grant)) => grant.permits += 1,
                None => {
                    let yours = by.is_some_and(|by| by.session == session);
                    let grant = SemaphoreGrant { fence: *fence, permits: 1, yours, kept: by.is_none() };
                    holders.push((*by, grant));
                }
            }
        }
        holders.sort_by_key(|(by, grant)| (by.map(|by| by.session), grant.fence, by.map(|by| by.number)));
        Reply::Describe(SemaphoreDescribeResponse {
            value: self.free as u64,
            waiting: self.queue.len() as u64,
            held_by_you: holders.iter().filter(|(_, grant)| grant.yours).map(|(_, grant)| grant.permits).sum(),
            grants: holders.len() as u64,
            holders: holders.into_iter().map(|(_, grant)| grant).collect(),
            broken_by: self.broken.clone(),
        })
    }

    fn reset(&mut self) -> Reply {
        let before = self.taken.len();
        self.taken.retain(|(_, by)| by.is_some());
        let kept = before - self.taken.len();
        self.free += kept;
        Reply::Reset(SemaphoreResetResponse { was_reset: self.broken.take().is_some() || kept > 0 })
    }

    /// Who is first goes on as long as there is enough for it. The answer to the call of this turn is returned.
    fn serve(&mut self, turn: &mut Turn) -> Option<Answer<Reply>> {
        let mut answer = None;
        while !self.queue.is_empty() && self.queue[0].1 <= self.free {
            let (call, permits) = self.queue.remove(0);
            self.free -= permits;
            let abandoned = if self.lost.is_empty() { None } else { Some(self.lost.remove(0)) };
            self.told.extend(abandoned.clone().map(|lost| (call, lost)));
            let (fence, unowned) = (turn.fence, self.spec.unowned);
            let granted = SemaphoreAcquireResponse { acquired: true, fence, abandoned, unowned };
            let granted = Reply::Acquire(granted);
            if self.spec.unowned {
                self.unacknowledged.push((call, permits));
            } else {
                self.taken.extend((0..permits).map(|_| (turn.fence, Some(call))));
                // Within one fence they are in the order of their numbers.
                self.taken.sort_by_key(|(fence, by)| (*fence, by.map(|by| by.number)));
            }
            match (call == turn.call, self.spec.unowned) {
                (true, true) => answer = Some(Answer::Delivered(granted)),
                (true, false) => answer = Some(Answer::Done(granted)),
                (false, true) => turn.deliver(call, granted),
                (false, false) => turn.wake(call, granted),
            }
        }
        answer
    }
}

impl Model<Semaphore> for Plain {
    fn new(spec: Spec) -> Self {
        let initial = spec.value.unwrap_or(1) as usize;
        Self {
            spec,
            initial,
            free: initial,
            taken: vec![],
            struck: vec![],
            told: vec![],
            unacknowledged: vec![],
            queue: vec![],
            lost: vec![],
            broken: None,
        }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        let answer = match op {
            Op::Acquire(request) => self.acquire(turn.call, &request),
            Op::Release(request) => self.release(turn.call, &request).map_or_else(refused, Answer::Done),
            Op::Describe(_) => Answer::Done(self.describe(turn.call.session)),
            Op::Reset(_) => Answer::Done(self.reset()),
        };
        self.serve(turn).unwrap_or(answer)
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) {
        if let Some(at) = self.queue.iter().position(|(waiting, _)| *waiting == call) {
            self.queue.remove(at);
            match why {
                Withdrawal::Patience => turn.wake(call, in_vain()),
                Withdrawal::Cancelled => turn.refuse(call, withdrawn()),
            }
        }
        self.serve(turn);
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        self.take_back(call);
        // The turn has the number of the call that is undone, and that is not answered now.
        let answered = self.serve(turn);
        if let Some(Answer::Delivered(reply)) = answered {
            turn.deliver(call, reply);
        } else if let Some(Answer::Done(reply)) = answered {
            turn.wake(call, reply);
        }
    }

    fn acknowledge(&mut self, call: CallId) {
        self.unacknowledged.retain(|(granted, _)| *granted != call);
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.give_up(session, how, turn);
        self.serve(turn);
    }

    fn with_good_fence(&self, mut op: Op) -> Op {
        if let Op::Release(request) = &mut op
            && !self.taken.is_empty()
        {
            // Any of those that there are.
            request.fence = Some(self.taken[self.free % self.taken.len()].0);
        }
        op
    }
}

#[test]
fn it_does_what_the_model_does() {
    let mut answered = 0;
    compare::<Semaphore, Plain>(400, 300, &mut |_| answered += 1);
    assert!(answered > 1000, "only {answered} calls were answered after they had waited");
}
