use alloc::vec;

use super::*;
use crate::testing::model::{Model, compare, refused as refused_with};
use crate::{Room, Woken};
use holdfast_proto::{BarrierAbortRequest, BarrierDescribeRequest, BarrierResetRequest};

/// A barrier and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    barrier: Barrier,
    index: u64,
}

fn session(name: char) -> SessionId {
    SessionId([name as u8; 16])
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: session(name), number }
}

fn creation() -> Creation {
    Creation { seed: 1, room: Room::new(0, "object_bytes") }
}

impl World {
    fn of(parties: i64) -> Self {
        Self { barrier: Barrier::create(Spec { parties, patience_ms: None }, &mut creation()).unwrap(), index: 0 }
    }

    fn input<R>(&mut self, call: CallId, input: impl FnOnce(&mut Barrier, &mut Turn) -> R) -> (R, Vec<Woken>) {
        self.index += 1;
        let mut turn = Turn::new(self.index, call, 1000, Room::new(0, "object_bytes"));
        let answer = input(&mut self.barrier, &mut turn);
        self.barrier.check_invariants();
        (answer, turn.woken)
    }

    fn wait(&mut self, call: CallId, patience_ms: Option<i64>) -> (Answer<Reply>, Vec<Woken>) {
        self.input(call, |barrier, turn| barrier.apply(Op::Wait(BarrierWaitRequest { patience_ms }), turn))
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal) -> (bool, Vec<Woken>) {
        self.input(call, |barrier, turn| barrier.withdraw(call, why, turn))
    }

    fn leave(&mut self, name: char, how: Ended) -> Vec<Woken> {
        self.input(call(name, 0), |barrier, turn| barrier.leave(session(name), how, turn)).1
    }

    fn reset(&mut self) -> (bool, Vec<Woken>) {
        match self.input(call('r', 0), |barrier, turn| barrier.apply(Op::Reset(BarrierResetRequest {}), turn)) {
            (Answer::Done(Reply::Reset(response)), woken) => (response.was_reset, woken),
            other => panic!("{other:?}"),
        }
    }

    fn abort(&mut self) -> Vec<Woken> {
        self.input(call('x', 0), |barrier, turn| barrier.apply(Op::Abort(BarrierAbortRequest {}), turn)).1
    }

    fn describe(&mut self) -> BarrierDescribeResponse {
        match self.input(call('x', 0), |barrier, turn| barrier.apply(Op::Describe(BarrierDescribeRequest {}), turn)).0 {
            Answer::Done(Reply::Describe(about)) => about,
            other => panic!("{other:?}"),
        }
    }
}

const WAITS: (Answer<Reply>, Vec<Woken>) = (Answer::Wait(Patience::Endless), vec![]);

fn through(index: u64, generation: u64) -> Reply {
    Reply::Wait(BarrierWaitResponse { index, generation })
}

fn woken(call: CallId, reply: Reply) -> Woken {
    Woken { call, answer: Answer::Done(reply.into()) }
}

/// Who was refused, and why.
fn refused(woken: &[Woken]) -> Vec<(CallId, Reason)> {
    let reason = |woken: &Woken| match &woken.answer {
        Answer::Refused(refusal) => (woken.call, refusal.why()),
        other => panic!("{other:?}"),
    };
    woken.iter().map(reason).collect()
}

fn is_broken(answer: &Answer<Reply>) -> bool {
    matches!(answer, Answer::Refused(refusal) if refusal.why() == Reason::Broken)
}

#[test]
fn all_go_on_together_each_with_an_index_of_its_own() {
    let mut world = World::of(3);
    for generation in 0..2 {
        assert_eq!(world.wait(call('a', 10 * generation + 1), None), WAITS);
        assert_eq!(world.wait(call('b', 10 * generation + 1), None), WAITS);
        let about = world.describe();
        assert_eq!((about.parties, about.n_waiting, about.broken, about.generation), (3, 2, false, generation));
        let first = woken(call('a', 10 * generation + 1), through(0, generation));
        let second = woken(call('b', 10 * generation + 1), through(1, generation));
        let last = world.wait(call('a', 10 * generation + 2), Some(0));
        assert_eq!(last, (Answer::Done(through(2, generation)), vec![first, second]));
    }
    assert_eq!(world.describe().generation, 2);
}

#[test]
fn one_alone_never_waits() {
    let mut world = World::of(1);
    assert_eq!(world.wait(call('a', 1), Some(0)), (Answer::Done(through(0, 0)), vec![]));
    assert_eq!(world.wait(call('a', 2), None), (Answer::Done(through(0, 1)), vec![]));
}

#[test]
fn whoever_gives_up_breaks_it_for_all_until_it_is_reset() {
    type GiveUp = fn(&mut World) -> Vec<Woken>;
    let ways: [(GiveUp, Option<Reason>, BreakCause); 5] = [
        (|world| world.withdraw(call('b', 1), Withdrawal::Patience).1, Some(Reason::Broken), BreakCause::Patience),
        (
            |world| world.withdraw(call('b', 1), Withdrawal::Cancelled).1,
            Some(Reason::Withdrawn),
            BreakCause::Withdrawal,
        ),
        (|world| world.leave('b', Ended::Lost), None, BreakCause::Loss),
        (|world| world.leave('b', Ended::Closed), None, BreakCause::Close),
        (World::abort, None, BreakCause::Abort),
    ];
    for (give_up, answer, cause) in ways {
        let mut world = World::of(4);
        let _ = world.wait(call('a', 1), None);
        if cause != BreakCause::Abort {
            let _ = world.wait(call('b', 1), None);
        }
        let _ = world.wait(call('c', 1), None);
        let mut wanted: Vec<_> = answer.map(|reason| (call('b', 1), reason)).into_iter().collect();
        wanted.extend([(call('a', 1), Reason::Broken), (call('c', 1), Reason::Broken)]);
        assert_eq!(refused(&give_up(&mut world)), wanted, "{cause:?}");
        let about = world.describe();
        assert_eq!((about.broken, about.cause(), about.n_waiting), (true, cause, 0));
        assert!(is_broken(&world.wait(call('d', 1), None).0), "{cause:?}");
        assert!(is_broken(&world.wait(call('d', 2), Some(0)).0), "{cause:?}");
        assert_eq!(world.abort(), [], "it is broken already");
        assert_eq!(world.describe().cause(), cause, "by what broke it first");
        assert_eq!(world.reset(), (true, vec![]));
        let about = world.describe();
        assert_eq!((about.broken, about.cause(), about.generation), (false, BreakCause::None, 1));
        assert_eq!(world.wait(call('a', 2), None), WAITS);
    }
}

#[test]
fn nothing_breaks_what_has_gone_through() {
    let mut world = World::of(2);
    let _ = world.wait(call('a', 1), None);
    let _ = world.wait(call('b', 1), None);
    assert_eq!(world.withdraw(call('a', 1), Withdrawal::Patience), (false, vec![]));
    assert_eq!(world.withdraw(call('b', 1), Withdrawal::Cancelled), (false, vec![]));
    assert_eq!(world.leave('a', Ended::Lost), []);
    let ((), undone) = world.input(call('b', 1), |barrier, turn| barrier.undo(call('b', 1), turn));
    assert_eq!(undone, []);
    assert!(!world.describe().broken);
}

#[test]
fn who_does_not_wait_here_breaks_nothing_by_leaving() {
    let mut world = World::of(3);
    let _ = world.wait(call('a', 1), None);
    assert_eq!(world.leave('b', Ended::Lost), []);
    assert_eq!(world.withdraw(call('a', 7), Withdrawal::Cancelled), (false, vec![]));
    assert!(!world.describe().broken);
    assert!(world.barrier.involves(session('a')) && !world.barrier.involves(session('b')));
}

#[test]
fn a_reset_refuses_those_who_wait_and_leaves_it_whole() {
    let mut world = World::of(2);
    assert_eq!(world.reset(), (false, vec![]), "it is as at first");
    assert_eq!(world.describe().generation, 0);
    let _ = world.wait(call('a', 1), None);
    let (was_reset, woken) = world.reset();
    assert_eq!((was_reset, refused(&woken)), (true, vec![(call('a', 1), Reason::Broken)]));
    let about = world.describe();
    assert_eq!((about.broken, about.n_waiting, about.generation), (false, 0, 1));
    let _ = world.wait(call('a', 2), None);
    assert_eq!(world.wait(call('b', 1), None).0, Answer::Done(through(1, 1)));
}

#[test]
fn who_has_no_patience_comes_and_breaks_it_when_it_gives_up() {
    let mut world = World::of(3);
    let _ = world.wait(call('a', 1), None);
    let (answer, _) = world.wait(call('b', 1), Some(0));
    assert_eq!(answer, Answer::Wait(Patience::For(Duration::ZERO)));
    let (waited, woken) = world.withdraw(call('b', 1), Withdrawal::Patience);
    assert!(waited);
    assert_eq!(refused(&woken), [(call('b', 1), Reason::Broken), (call('a', 1), Reason::Broken)]);
}

#[test]
fn the_patience_of_the_spec_is_that_of_those_who_say_none() {
    let spec = Spec { parties: 3, patience_ms: Some(70) };
    let mut world = World { barrier: Barrier::create(spec, &mut creation()).unwrap(), index: 0 };
    let of = |ms| Answer::Wait(Patience::For(Duration::from_millis(ms)));
    assert_eq!(world.wait(call('a', 1), None).0, of(70));
    assert_eq!(world.wait(call('a', 2), Some(5)).0, of(5));
}

#[test]
fn too_many_waiters_are_refused_and_break_nothing() {
    let mut world = World::of(4);
    let _ = world.wait(call('a', 1), None);
    let (answer, woken) = world.input(call('b', 1), |barrier, turn| {
        turn.waiters.of_object = 1;
        barrier.apply(Op::Wait(BarrierWaitRequest::default()), turn)
    });
    assert!(matches!(answer, Answer::Refused(no) if no.why() == Reason::Quota));
    assert_eq!((woken, world.describe().n_waiting), (vec![], 1));
}

#[test]
fn bad_numbers_specs_and_states_are_refused() {
    let mut world = World::of(2);
    assert!(matches!(world.wait(call('a', 1), Some(-1)).0, Answer::Refused(no) if no.why() == Reason::OutOfRange));
    assert!(!world.describe().broken);
    for spec in [Spec::default(), Spec { parties: -1, patience_ms: None }, Spec { parties: 2, patience_ms: Some(-1) }] {
        assert_eq!(Barrier::create(spec, &mut creation()).unwrap_err().why(), Reason::OutOfRange);
    }
    assert_eq!(world.barrier.admits(&Spec { parties: 2, patience_ms: None }), Ok(()));
    for spec in [Spec { parties: 3, patience_ms: None }, Spec { parties: 2, patience_ms: Some(1) }] {
        assert_eq!(world.barrier.admits(&spec).unwrap_err().why(), Reason::OtherSpec);
    }
    let state = world.barrier.state();
    let waiting = vec![call('a', 1).into()];
    for wrong in [
        State { cause: 99, ..state.clone() },
        State { cause: BreakCause::Abort.into(), waiting: waiting.clone(), ..state.clone() },
        State { waiting: vec![call('a', 1).into(), call('a', 2).into()], spec: state.spec, generation: 0, cause: 0 },
    ] {
        assert_eq!(Barrier::restore(wrong, &mut creation()).unwrap_err().why(), Reason::Malformed);
    }
    assert!(Barrier::restore(State { waiting, ..state }, &mut creation()).is_ok());
}

/// A barrier as a list of who waits.
#[derive(Debug)]
struct Plain {
    parties: usize,
    patience_ms: Option<i64>,
    generation: u64,
    waiting: Vec<CallId>,
    cause: BreakCause,
}

impl Plain {
    fn break_since(&mut self, cause: BreakCause, turn: &mut Turn) {
        if self.cause == BreakCause::None {
            self.cause = cause;
        }
        for waiting in self.waiting.drain(..) {
            turn.refuse(waiting, Refusal::new(Reason::Broken, ""));
        }
    }

    fn wait(&mut self, patience_ms: Option<i64>, turn: &mut Turn) -> Answer<Reply> {
        if patience_ms.is_some_and(|ms| ms < 0) {
            return refused_with(Reason::OutOfRange);
        }
        if self.cause != BreakCause::None {
            return refused_with(Reason::Broken);
        }
        if self.waiting.len() + 1 < self.parties {
            self.waiting.push(turn.call);
            return Answer::Wait(
                patience_ms.map_or(Patience::Endless, |ms| Patience::For(Duration::from_millis(ms as u64))),
            );
        }
        for (at, party) in self.waiting.drain(..).enumerate() {
            turn.wake(party, through(at as u64, self.generation));
        }
        self.generation += 1;
        Answer::Done(through(self.parties as u64 - 1, self.generation - 1))
    }
}

impl Model<Barrier> for Plain {
    fn new(spec: Spec) -> Self {
        Self {
            parties: spec.parties as usize,
            patience_ms: spec.patience_ms,
            generation: 0,
            waiting: vec![],
            cause: BreakCause::None,
        }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Wait(request) => self.wait(request.patience_ms.or(self.patience_ms), turn),
            Op::Abort(_) => {
                self.break_since(BreakCause::Abort, turn);
                Answer::Done(Reply::Abort(BarrierAbortResponse {}))
            }
            Op::Reset(_) => {
                let was_reset = self.cause != BreakCause::None || !self.waiting.is_empty();
                self.break_since(BreakCause::Abort, turn);
                self.cause = BreakCause::None;
                self.generation += u64::from(was_reset);
                Answer::Done(Reply::Reset(BarrierResetResponse { was_reset }))
            }
            Op::Describe(_) => Answer::Done(Reply::Describe(BarrierDescribeResponse {
                parties: self.parties as u64,
                n_waiting: self.waiting.len() as u64,
                broken: self.cause != BreakCause::None,
                generation: self.generation,
                cause: self.cause.into(),
            })),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) {
        if let Some(at) = self.waiting.iter().position(|waiting| *waiting == call) {
            self.waiting.remove(at);
            let (cause, reason) = match why {
                Withdrawal::Patience => (BreakCause::Patience, Reason::Broken),
                Withdrawal::Cancelled => (BreakCause::Withdrawal, Reason::Withdrawn),
            };
            turn.refuse(call, Refusal::new(reason, ""));
            self.break_since(cause, turn);
        }
    }

    fn undo(&mut self, _: CallId, _: &mut Turn) {}

    fn acknowledge(&mut self, _: CallId) {}

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.session != session);
        if self.waiting.len() < before {
            let cause = if how == Ended::Lost { BreakCause::Loss } else { BreakCause::Close };
            self.break_since(cause, turn);
        }
    }

    fn with_good_fence(&self, op: Op) -> Op {
        op
    }
}

#[test]
fn it_does_what_the_model_does() {
    let mut answered = 0;
    compare::<Barrier, Plain>(400, 300, &mut |_| answered += 1);
    assert!(answered > 1000, "only {answered} calls were answered after they had waited");
}
