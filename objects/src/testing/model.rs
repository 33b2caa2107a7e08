//! Long stories in which a kind that waits is held to a plain model of it, answer by answer.

#![expect(clippy::disallowed_macros, reason = "the story is told to the one who looks for what went wrong in it")]

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;

use holdfast_proto::Reason;
use std::println;

use super::{Source, Tested};
use crate::catalog::AnyReply;
use crate::{Answer, CallId, Client, Creation, Ended, Object, Room, SessionId, Turn, Withdrawal};

/// One input, with all that a model is told of it.
#[derive(Clone, Debug)]
pub(crate) enum Input<Op> {
    /// This call asks this.
    Call(CallId, Op),
    /// This call is not to wait any longer.
    Withdraw(CallId, Withdrawal),
    /// Nobody has the answer to this call.
    Undo(CallId),
    /// The answer to this call has come.
    Acknowledge(CallId),
    /// This session ends.
    Leave(SessionId, Ended),
}

/// What becomes of a call: it is answered, or refused.
pub(crate) type Outcome<Reply> = (CallId, Result<Reply, Reason>);

/// The reply to an op of this kind.
pub(crate) type ReplyOf<O> = <<O as Object>::Op as holdfast_proto::ops::Op>::Reply;

/// What a kind does, in the plainest words: however slow, but so that anybody can see that it is right.
pub(crate) trait Model: Debug {
    /// The kind.
    type Object: Tested;

    /// As made by this spec.
    fn new(spec: &<Self::Object as Object>::Spec) -> Self;

    /// Makes an arbitrary op mean what there is: one with an arbitrary fence would seldom meet a grant.
    fn aim(&self, op: &mut <Self::Object as Object>::Op) {
        let _ = op;
    }

    /// One input: which calls are answered now, and how. That of the input first, then those that waited, in their order.
    fn input(&mut self, input: Input<<Self::Object as Object>::Op>, fence: u64) -> Vec<Outcome<ReplyOf<Self::Object>>>;

    /// The calls that wait.
    fn waiting(&self) -> Vec<CallId>;

    /// Whether the session has something, or waits.
    fn involves(&self, session: SessionId) -> bool;
}

/// The sessions of all stories.
pub(crate) fn sessions() -> [SessionId; 4] {
    [1, 2, 3, 4].map(|name| SessionId([name; 16]))
}

/// Who is at the other end of a session.
pub(crate) fn client(session: SessionId) -> Client {
    Client { name: format!("worker {}", session.0[0]), pid: session.0[0].into(), host: "here".into() }
}

/// Tells many stories of a kind, each of many inputs, and holds each answer to the model's.
pub(crate) fn holds<M: Model>()
where
    M::Object: Object<Op: Clone>,
    AnyReply: From<ReplyOf<M::Object>>,
{
    let mut waited = 0;
    for seed in 0..400 {
        // Shown where the story fails.
        println!("seed {seed}");
        waited += story::<M>(&mut Source::new(seed));
    }
    assert!(waited > 1000, "only {waited} calls waited and were answered");
}

/// How many calls were answered after they had waited.
fn story<M: Model>(source: &mut Source) -> usize
where
    M::Object: Object<Op: Clone>,
    AnyReply: From<ReplyOf<M::Object>>,
{
    let spec = M::Object::arbitrary_spec(source);
    let mut model = M::new(&spec);
    println!("{model:?}");
    let mut object = M::Object::create(spec, &mut creation()).expect("an arbitrary spec is not refused");
    let (mut calls, mut waited) = (Vec::new(), 0);
    for index in 1..=300 {
        let waiting = model.waiting();
        let mut input = arbitrary::<M>(source, index, &mut calls, &waiting);
        if let Input::Call(_, op) = &mut input {
            model.aim(op);
        }
        println!("{index}: {input:?}");
        let (outcomes, told) = apply(&mut object, input.clone(), index);
        let wanted: Vec<Outcome<AnyReply>> = model
            .input(input.clone(), index)
            .into_iter()
            .map(|(call, answer)| (call, answer.map(Into::into)))
            .collect();
        assert_eq!(outcomes, wanted, "the object did the one, the model the other");
        waited += outcomes.iter().filter(|(call, _)| waiting.contains(call)).count();
        if let Input::Withdraw(call, _) = input {
            assert_eq!(told, Some(waiting.contains(&call)), "whether it waited");
        }
        object.check_invariants();
        let mut shown = Vec::new();
        object.visit_waiting(&mut |call| shown.push(call));
        assert_eq!(shown, model.waiting());
        for session in sessions() {
            assert_eq!(object.involves(session), model.involves(session), "{session:?}");
        }
        if source.below(20) == 0 {
            object = M::Object::restore(object.state(), &mut creation()).expect("its own state");
        }
    }
    waited
}

fn creation() -> Creation {
    Creation { seed: 1, room: Room::new(0, "object_bytes") }
}

fn arbitrary<M: Model>(
    source: &mut Source,
    index: u64,
    calls: &mut Vec<CallId>,
    waiting: &[CallId],
) -> Input<<M::Object as Object>::Op> {
    let session = sessions()[source.below(4) as usize];
    // Mostly one that waits, if there is one, or else one of the last, or one of another life.
    let known = match source.below(3) {
        0 if !waiting.is_empty() => waiting[source.below(waiting.len() as u64) as usize],
        _ => calls.iter().rev().nth(source.below(8) as usize).copied().unwrap_or(CallId { session, number: 0 }),
    };
    match source.below(40) {
        0..4 => Input::Withdraw(known, Withdrawal::Patience),
        4 => Input::Withdraw(known, Withdrawal::Cancelled),
        5..8 => Input::Undo(known),
        8..12 => Input::Acknowledge(known),
        12 => Input::Leave(session, Ended::Closed),
        13 => Input::Leave(session, Ended::Lost),
        _ => {
            let call = CallId { session, number: index };
            calls.push(call);
            Input::Call(call, M::Object::arbitrary_op(source))
        }
    }
}

/// All answers of one input, and what the object said of a withdrawal.
fn apply<O: Object>(object: &mut O, input: Input<O::Op>, index: u64) -> (Vec<Outcome<AnyReply>>, Option<bool>)
where
    AnyReply: From<ReplyOf<O>>,
{
    let call = match &input {
        Input::Call(call, _) | Input::Withdraw(call, _) | Input::Undo(call) | Input::Acknowledge(call) => *call,
        Input::Leave(session, _) => CallId { session: *session, number: 0 },
    };
    let mut turn = Turn::new(index, call, 1000, Room::new(0, "object_bytes"));
    turn.client = Some(Arc::new(client(call.session)));
    let (mut answered, mut told) = (Vec::new(), None);
    match input {
        Input::Call(_, op) => answered.push((call, object.apply(op, &mut turn).map(AnyReply::from))),
        Input::Withdraw(call, why) => told = Some(object.withdraw(call, why, &mut turn)),
        Input::Undo(call) => object.undo(call, &mut turn),
        Input::Acknowledge(call) => object.acknowledge(call, &mut turn),
        Input::Leave(session, how) => object.leave(session, how, &mut turn),
    }
    answered.extend(turn.woken.into_iter().map(|woken| (woken.call, woken.answer)));
    let outcome = |(call, answer)| match answer {
        Answer::Done(reply) | Answer::Delivered(reply) => Some((call, Ok(reply))),
        Answer::Refused(refusal) => Some((call, Err(refusal.why()))),
        Answer::Wait(_) => None,
    };
    (answered.into_iter().filter_map(outcome).collect(), told)
}
