use alloc::vec;

use super::*;
use crate::Room;
use crate::testing::model::{Model, compare, refused};
use crate::turn::withdrawn;
use holdfast_proto::LatchCountRequest;

/// A latch and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    latch: Latch,
    index: u64,
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: SessionId([name as u8; 16]), number }
}

fn turn(index: u64, call: CallId) -> Turn {
    Turn::new(index, call, 1000, Room::new(0, "object_bytes"))
}

fn creation() -> Creation {
    Creation { seed: 1, room: Room::new(0, "object_bytes") }
}

impl World {
    fn from(count: i64) -> Self {
        Self { latch: Latch::create(Spec { count }, &mut creation()).unwrap(), index: 0 }
    }

    /// The answer, and the calls that are answered with it.
    fn apply(&mut self, call: CallId, op: Op) -> (Answer<Reply>, Vec<CallId>) {
        self.index += 1;
        let mut turn = turn(self.index, call);
        let answer = self.latch.apply(op, &mut turn);
        self.latch.check_invariants();
        assert!(turn.woken.iter().all(|woken| woken.answer == Answer::Done(reply(true).into())), "{:?}", turn.woken);
        (answer, turn.woken.into_iter().map(|woken| woken.call).collect())
    }

    fn wait(&mut self, call: CallId, patience_ms: Option<i64>) -> Answer<Reply> {
        let (answer, woken) = self.apply(call, Op::Wait(LatchWaitRequest { patience_ms }));
        assert_eq!(woken, []);
        answer
    }

    /// What is left, and who goes on; or why not.
    fn count_down(&mut self, n: Option<i64>) -> Result<(u64, Vec<CallId>), Reason> {
        match self.apply(call('d', 0), Op::CountDown(LatchCountDownRequest { n })) {
            (Answer::Done(Reply::CountDown(response)), woken) => Ok((response.count, woken)),
            (Answer::Refused(refusal), _) => Err(refusal.why()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn all_go_on_when_the_count_has_come_down_and_nobody_waits_after() {
    let mut world = World::from(3);
    assert_eq!(world.wait(call('a', 1), None), Answer::Wait(Patience::Endless));
    assert_eq!(world.wait(call('b', 1), Some(0)), Answer::Done(reply(false)));
    assert_eq!(world.count_down(None), Ok((2, vec![])));
    assert_eq!(world.wait(call('b', 2), Some(5)), Answer::Wait(Patience::For(core::time::Duration::from_millis(5))));
    assert_eq!(world.count_down(Some(2)), Ok((0, vec![call('a', 1), call('b', 2)])));
    assert_eq!(world.wait(call('c', 1), None), Answer::Done(reply(true)));
    assert_eq!(world.count_down(None), Ok((0, vec![])), "never below zero");
}

#[test]
fn more_than_is_left_is_all_that_is_left() {
    let mut world = World::from(3);
    let _ = world.wait(call('a', 1), None);
    assert_eq!(world.count_down(Some(i64::MAX)), Ok((0, vec![call('a', 1)])));
    let count = world.apply(call('a', 2), Op::Count(LatchCountRequest {})).0;
    assert_eq!(count, Answer::Done(Reply::Count(LatchCountResponse { count: 0 })));
}

#[test]
fn a_latch_of_nothing_is_open() {
    let mut world = World::from(0);
    assert_eq!(world.wait(call('a', 1), None), Answer::Done(reply(true)));
}

#[test]
fn who_waited_in_vain_is_told_so_and_who_left_is_not_woken() {
    let mut world = World::from(1);
    for call in [call('a', 1), call('b', 1), call('c', 1), call('d', 1)] {
        let _ = world.wait(call, None);
    }
    let mut turn = turn(9, call('a', 1));
    assert!(world.latch.withdraw(call('a', 1), Withdrawal::Patience, &mut turn));
    assert!(world.latch.withdraw(call('b', 1), Withdrawal::Cancelled, &mut turn));
    assert!(!world.latch.withdraw(call('a', 1), Withdrawal::Cancelled, &mut turn), "it was answered");
    assert_eq!(turn.woken[0].answer, Answer::Done(reply(false).into()));
    assert!(matches!(&turn.woken[1].answer, Answer::Refused(no) if no.why() == Reason::Withdrawn));
    world.latch.leave(call('c', 1).session, Ended::Lost, &mut turn);
    assert!(!world.latch.involves(call('c', 1).session) && world.latch.involves(call('d', 1).session));
    assert_eq!(turn.woken.len(), 2);
    assert_eq!(world.count_down(None), Ok((0, vec![call('d', 1)])));
}

#[test]
fn bad_numbers_specs_and_states_and_too_many_waiters_are_refused() {
    let mut world = World::from(5);
    for n in [0, -1, i64::MIN] {
        assert_eq!(world.count_down(Some(n)), Err(Reason::OutOfRange));
    }
    assert!(matches!(world.wait(call('a', 1), Some(-1)), Answer::Refused(no) if no.why() == Reason::OutOfRange));
    let mut turn = turn(9, call('a', 1));
    turn.waiters.of_object = 0;
    let answer = world.latch.apply(Op::Wait(LatchWaitRequest::default()), &mut turn);
    assert!(matches!(answer, Answer::Refused(no) if no.why() == Reason::Quota));
    assert_eq!(Latch::create(Spec { count: -1 }, &mut creation()).unwrap_err().why(), Reason::OutOfRange);
    assert_eq!(world.latch.admits(&Spec { count: 5 }), Ok(()));
    assert_eq!(world.latch.admits(&Spec { count: 4 }).unwrap_err().why(), Reason::OtherSpec);
    for (count, waiting) in [(6, vec![]), (0, vec![call('a', 1).into()])] {
        let wrong = State { count, waiting, ..world.latch.state() };
        assert_eq!(Latch::restore(wrong, &mut creation()).unwrap_err().why(), Reason::Malformed);
    }
}

/// A latch as a list of who waits.
#[derive(Debug)]
struct Plain {
    left: i64,
    waiting: Vec<CallId>,
}

impl Model<Latch> for Plain {
    fn new(spec: Spec) -> Self {
        Self { left: spec.count, waiting: vec![] }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::CountDown(request) => {
                let n = request.n.unwrap_or(1);
                if n < 1 {
                    return refused(Reason::OutOfRange);
                }
                self.left = (self.left - n).max(0);
                if self.left == 0 {
                    self.waiting.drain(..).for_each(|waiting| turn.wake(waiting, reply(true)));
                }
                Answer::Done(Reply::CountDown(LatchCountDownResponse { count: self.left as u64 }))
            }
            Op::Count(_) => Answer::Done(Reply::Count(LatchCountResponse { count: self.left as u64 })),
            Op::Wait(request) => match request.patience_ms {
                Some(..0) => refused(Reason::OutOfRange),
                _ if self.left == 0 => Answer::Done(reply(true)),
                Some(0) => Answer::Done(reply(false)),
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
    compare::<Latch, Plain>(400, 300, &mut |_| answered += 1);
    assert!(answered > 1000, "only {answered} calls were answered after they had waited");
}
