use alloc::vec;

use super::*;
use crate::Room;
use crate::testing::model::{Model, compare, refused};
use crate::turn::withdrawn;
use holdfast_proto::{EventClearRequest, EventIsSetRequest, EventSetRequest};

/// An event and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
#[derive(Default)]
struct World {
    event: Event,
    index: u64,
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: SessionId([name as u8; 16]), number }
}

fn turn(index: u64, call: CallId) -> Turn {
    Turn::new(index, call, 1000, Room::new(0, "object_bytes"))
}

impl World {
    /// The answer, and the calls that are answered with it.
    fn apply(&mut self, call: CallId, op: Op) -> (Answer<Reply>, Vec<CallId>) {
        self.index += 1;
        let mut turn = turn(self.index, call);
        let answer = self.event.apply(op, &mut turn);
        self.event.check_invariants();
        assert!(turn.woken.iter().all(|woken| woken.answer == Answer::Done(reply(true).into())), "{:?}", turn.woken);
        (answer, turn.woken.into_iter().map(|woken| woken.call).collect())
    }

    fn wait(&mut self, call: CallId, patience_ms: Option<i64>) -> Answer<Reply> {
        let (answer, woken) = self.apply(call, Op::Wait(EventWaitRequest { patience_ms }));
        assert_eq!(woken, []);
        answer
    }

    fn set(&mut self) -> Vec<CallId> {
        self.apply(call('s', 0), Op::Set(EventSetRequest {})).1
    }

    fn clear(&mut self) {
        let _ = self.apply(call('s', 0), Op::Clear(EventClearRequest {}));
    }

    fn is_set(&mut self) -> bool {
        match self.apply(call('s', 0), Op::IsSet(EventIsSetRequest {})).0 {
            Answer::Done(Reply::IsSet(response)) => response.set,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_waits_goes_on_when_it_happens_also_if_it_is_cleared_at_once() {
    let mut world = World::default();
    assert_eq!(world.wait(call('a', 1), None), Answer::Wait(Patience::Endless));
    assert_eq!(world.wait(call('b', 1), Some(5)), Answer::Wait(Patience::For(core::time::Duration::from_millis(5))));
    assert_eq!(world.wait(call('b', 2), Some(0)), Answer::Done(reply(false)));
    assert_eq!(world.set(), [call('a', 1), call('b', 1)]);
    world.clear();
    assert!(!world.event.involves(call('a', 1).session));
    assert_eq!(world.wait(call('a', 2), None), Answer::Wait(Patience::Endless), "that was before");
}

#[test]
fn nobody_waits_for_what_has_happened_until_it_is_cleared() {
    let mut world = World::default();
    assert!(!world.is_set());
    assert_eq!(world.set(), []);
    assert_eq!(world.set(), [], "twice is as good as once");
    assert!(world.is_set());
    assert_eq!(world.wait(call('a', 1), None), Answer::Done(reply(true)));
    world.clear();
    world.clear();
    assert!(!world.is_set());
    assert_eq!(world.wait(call('a', 2), Some(0)), Answer::Done(reply(false)));
}

#[test]
fn one_set_lets_a_hundred_thousand_go_on() {
    let mut world = World::default();
    let calls: Vec<CallId> = (1..=100_000).map(|number| call('a', number)).collect();
    for call in &calls {
        let answer = world.event.apply(Op::Wait(EventWaitRequest::default()), &mut turn(call.number, *call));
        assert_eq!(answer, Answer::Wait(Patience::Endless));
    }
    assert_eq!(world.set(), calls);
}

#[test]
fn who_waited_in_vain_is_told_so_and_who_left_is_not_woken() {
    let mut world = World::default();
    for call in [call('a', 1), call('b', 1), call('c', 1), call('d', 1)] {
        let _ = world.wait(call, None);
    }
    let mut turn = turn(9, call('a', 1));
    assert!(world.event.withdraw(call('a', 1), Withdrawal::Patience, &mut turn));
    assert!(world.event.withdraw(call('b', 1), Withdrawal::Cancelled, &mut turn));
    assert!(!world.event.withdraw(call('a', 1), Withdrawal::Cancelled, &mut turn), "it was answered");
    assert_eq!(turn.woken[0].answer, Answer::Done(reply(false).into()));
    assert!(matches!(&turn.woken[1].answer, Answer::Refused(no) if no.why() == Reason::Withdrawn));
    world.event.leave(call('c', 1).session, Ended::Lost, &mut turn);
    assert_eq!(turn.woken.len(), 2);
    assert_eq!(world.set(), [call('d', 1)]);
}

#[test]
fn bad_numbers_too_many_waiters_and_bad_states_are_refused() {
    let mut world = World::default();
    assert!(matches!(world.wait(call('a', 1), Some(-1)), Answer::Refused(no) if no.why() == Reason::OutOfRange));
    let mut turn = turn(9, call('a', 1));
    turn.waiters.of_object = 0;
    let answer = world.event.apply(Op::Wait(EventWaitRequest::default()), &mut turn);
    assert!(matches!(answer, Answer::Refused(no) if no.why() == Reason::Quota));
    let wrong = State { set: true, waiting: vec![call('a', 1).into()] };
    let refused = Event::restore(wrong, &mut Creation { seed: 1, room: Room::new(0, "object_bytes") });
    assert_eq!(refused.unwrap_err().why(), Reason::Malformed);
}

/// An event as a list of who waits.
#[derive(Debug)]
struct Plain {
    set: bool,
    waiting: Vec<CallId>,
}

impl Model<Event> for Plain {
    fn new(_: Spec) -> Self {
        Self { set: false, waiting: vec![] }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Set(_) => {
                self.set = true;
                self.waiting.drain(..).for_each(|waiting| turn.wake(waiting, reply(true)));
                Answer::Done(Reply::Set(EventSetResponse {}))
            }
            Op::Clear(_) => {
                self.set = false;
                Answer::Done(Reply::Clear(EventClearResponse {}))
            }
            Op::IsSet(_) => Answer::Done(Reply::IsSet(EventIsSetResponse { set: self.set })),
            Op::Wait(request) => match request.patience_ms {
                Some(..0) => refused(Reason::OutOfRange),
                patience if self.set || patience == Some(0) => Answer::Done(reply(self.set)),
                patience => {
                    self.waiting.push(turn.call);
                    Answer::Wait(willing(patience))
                }
            },
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) {
        if let Some(at) = self.waiting.iter().position(|waiting| *waiting == call) {
            self.waiting.remove(at);
            match why {
                Withdrawal::Patience => turn.wake(call, reply(false)),
                Withdrawal::Cancelled => turn.refuse(call, withdrawn()),
            }
        }
    }

    fn undo(&mut self, _: CallId, _: &mut Turn) {}

    fn acknowledge(&mut self, _: CallId) {}

    fn leave(&mut self, session: SessionId, _: Ended, _: &mut Turn) {
        self.waiting.retain(|waiting| waiting.session != session);
    }

    fn with_good_fence(&self, op: Op) -> Op {
        op
    }
}

fn willing(patience_ms: Option<i64>) -> Patience {
    patience_ms.map_or(Patience::Endless, |ms| Patience::For(core::time::Duration::from_millis(ms as u64)))
}

#[test]
fn it_does_what_the_model_does() {
    let mut answered = 0;
    compare::<Event, Plain>(400, 300, &mut |_| answered += 1);
    assert!(answered > 1000, "only {answered} calls were answered after they had waited");
}
