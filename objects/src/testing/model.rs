//! Machines that let calls wait, held to plain models with long sequences of all inputs.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;

use holdfast_proto::Refusal;
use holdfast_proto::ops::Op;

use super::{Source, Tested};
use crate::{Answer, CallId, Client, Creation, Ended, Object, Room, SessionId, Turn, Withdrawal, Woken};

type Reply<O> = <<O as Object>::Op as Op>::Reply;

/// What a kind must do, told as plainly as possible; slow. The methods are those of [`Object`]. Messages of refusals do not
/// matter.
pub(crate) trait Model<O: Object>: Debug {
    fn new(spec: O::Spec) -> Self;
    fn apply(&mut self, op: O::Op, turn: &mut Turn) -> Answer<Reply<O>>;
    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn);
    fn undo(&mut self, call: CallId, turn: &mut Turn);
    fn acknowledge(&mut self, call: CallId);
    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn);
    /// The op that names a fence which is good, if it can name one.
    fn with_good_fence(&self, op: O::Op) -> O::Op;
}

/// What can change an object.
#[derive(Debug)]
enum Input<O> {
    Call(O),
    Withdraw(CallId, Withdrawal),
    Undo(CallId),
    Acknowledge(CallId),
    Leave(SessionId, Ended),
}

/// Gives object and model the same inputs, of three sessions, and compares all that comes of them. Shows `seen` each
/// answer to a call that waited, so that a test can tell whether it has met what it is about.
pub(crate) fn compare<O: Tested, M: Model<O>>(runs: u64, inputs: usize, seen: &mut dyn FnMut(&Woken))
where
    O::Spec: Clone,
{
    for seed in 0..runs {
        let mut source = Source::new(seed);
        let spec = O::arbitrary_spec(&mut source);
        let mut creation = Creation { seed, room: Room::new(1 << 40, "object_bytes") };
        let mut object = O::create(spec.clone(), &mut creation).expect("an arbitrary spec is one that is taken");
        let mut model = M::new(spec);
        let mut world = World::default();
        for at in 0..inputs {
            let input = world.input::<O, M>(&model, &mut source);
            let (mut real, mut modelled) = (world.turn(&input), world.turn(&input));
            let shown = format!("seed {seed}, input {at}: {input:?}, model {model:?}");
            let answers = match input {
                Input::Call(op) => {
                    (comparable(object.apply(op.clone(), &mut real)), comparable(model.apply(op, &mut modelled)))
                }
                other => {
                    no_call(&mut object, &mut model, &other, &mut real, &mut modelled);
                    Default::default()
                }
            };
            object.check_invariants();
            assert_eq!(answers.0, answers.1, "{shown}");
            assert_eq!(comparable_woken(&real.woken), comparable_woken(&modelled.woken), "{shown}");
            real.woken.iter().for_each(&mut *seen);
            world.answered.extend(real.woken.iter().map(|woken| woken.call));
            world.waiting.clear();
            object.visit_waiting(&mut |call| world.waiting.push(call));
        }
    }
}

fn no_call<O: Object, M: Model<O>>(
    object: &mut O,
    model: &mut M,
    input: &Input<O::Op>,
    real: &mut Turn,
    modelled: &mut Turn,
) {
    match *input {
        Input::Withdraw(call, why) => {
            object.withdraw(call, why, real);
            model.withdraw(call, why, modelled);
        }
        Input::Undo(call) => {
            object.undo(call, real);
            model.undo(call, modelled);
        }
        Input::Acknowledge(call) => {
            object.acknowledge(call, real);
            model.acknowledge(call);
        }
        Input::Leave(session, how) => {
            object.leave(session, how, real);
            model.leave(session, how, modelled);
        }
        Input::Call(_) => unreachable!("it is a call"),
    }
}

/// The inputs so far, and which calls they can be about.
#[derive(Default)]
struct World {
    index: u64,
    calls: Vec<CallId>,
    waiting: Vec<CallId>,
    /// Those that waited and were answered.
    answered: Vec<CallId>,
}

impl World {
    fn input<O: Tested, M: Model<O>>(&mut self, model: &M, source: &mut Source) -> Input<O::Op> {
        self.index += 1;
        let session = SessionId([b'a' + source.below(3) as u8; 16]);
        match source.below(40) {
            0..2 => Input::Withdraw(self.some_call(source), Withdrawal::Patience),
            2..4 => Input::Withdraw(self.some_call(source), Withdrawal::Cancelled),
            4..6 => Input::Undo(self.some_call(source)),
            6..10 => Input::Acknowledge(self.some_call(source)),
            10 => Input::Leave(session, if source.below(2) == 0 { Ended::Closed } else { Ended::Lost }),
            _ => {
                self.calls.push(CallId { session, number: self.index });
                let op = O::arbitrary_op(source);
                Input::Call(if source.below(3) == 0 { model.with_good_fence(op) } else { op })
            }
        }
    }

    /// One that waits, or one of the last ones that were made or answered after they waited.
    fn some_call(&self, source: &mut Source) -> CallId {
        let last = |calls: &[CallId], n: usize| calls[calls.len().saturating_sub(n)..].to_vec();
        let among = match source.below(3) {
            0 => self.waiting.clone(),
            1 => last(&self.answered, 3),
            _ => last(&self.calls, 12),
        };
        let none = CallId { session: SessionId([b'a'; 16]), number: 0 };
        if among.is_empty() { none } else { among[source.below(among.len() as u64) as usize] }
    }

    fn turn<O>(&self, input: &Input<O>) -> Turn {
        let call = match *input {
            Input::Call(_) => *self.calls.last().expect("it was noted"),
            Input::Withdraw(call, _) | Input::Undo(call) | Input::Acknowledge(call) => call,
            Input::Leave(session, _) => CallId { session, number: 0 },
        };
        let mut turn = Turn::new(self.index, call, 1000, Room::new(1 << 40, "object_bytes"));
        turn.client = Some(Arc::new(Client { name: "worker".into(), pid: 7, host: "here".into() }));
        turn
    }
}

/// What is compared of an answer: of a refusal the reason.
fn comparable<R: Debug>(answer: Answer<R>) -> String {
    match answer {
        Answer::Refused(refusal) => format!("Refused({:?})", refusal.why()),
        other => format!("{other:?}"),
    }
}

/// In no order: those who are answered in one turn are answered at the same time.
fn comparable_woken(woken: &[Woken]) -> Vec<(CallId, String)> {
    let mut shown: Vec<(CallId, String)> =
        woken.iter().map(|woken| (woken.call, comparable(woken.answer.clone()))).collect();
    shown.sort_unstable();
    shown
}

/// A refusal of a model.
pub(crate) fn refused<R>(why: holdfast_proto::Reason) -> Answer<R> {
    Answer::Refused(Refusal::new(why, "refused by the model"))
}
