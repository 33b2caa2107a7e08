//! A shared event: kind `event`.

use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::event::{Op, Reply, Spec};
use holdfast_proto::{
    EventClearResponse, EventIsSetResponse, EventSetResponse, EventWaitRequest, EventWaitResponse, Reason, Refusal,
};

use crate::mutant::{Mutant, mutant};
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, CallState, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

/// Something that has happened or not, for which others wait.
///
/// - Nobody waits for what has happened.
/// - Who waits when it happens goes on, also if it is cleared before it is told: it is answered in the turn in which it happens.
#[derive(Debug, Default)]
pub struct Event {
    set: bool,
    waiting: WaitQueue<()>,
}

/// All there is to know about an [`Event`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// Whether it has happened.
    #[prost(bool, tag = "1")]
    pub set: bool,
    /// Who waits for it, in their order.
    #[prost(message, repeated, tag = "2")]
    pub waiting: Vec<CallState>,
}

impl Object for Event {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(_: Spec, _: &mut Creation) -> Result<Self, Refusal> {
        Ok(Self::default())
    }

    fn restore(state: State, _: &mut Creation) -> Result<Self, Refusal> {
        let State { set, waiting } = state;
        if set && !waiting.is_empty() {
            return Err(Refusal::new(Reason::Malformed, "nobody waits for an event that has happened"));
        }
        Ok(Self { set, waiting: WaitQueue::read(&waiting)? })
    }

    fn state(&self) -> State {
        State { set: self.set, waiting: self.waiting.saved() }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Set(_) => {
                self.set(turn);
                Answer::Done(Reply::Set(EventSetResponse {}))
            }
            Op::Clear(_) => {
                self.set = false;
                Answer::Done(Reply::Clear(EventClearResponse {}))
            }
            Op::IsSet(_) => Answer::Done(Reply::IsSet(EventIsSetResponse { set: self.set })),
            Op::Wait(request) => self.wait(&request, turn).into(),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let waited = self.waiting.remove(call).is_some();
        if waited {
            turn.end_in_vain(call, why, reply(false));
        }
        waited
    }

    fn leave(&mut self, session: SessionId, _: Ended, _: &mut Turn) {
        self.waiting.remove_session(session);
    }

    fn involves(&self, session: SessionId) -> bool {
        self.waiting.involves(session)
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.waiting.iter().for_each(|(call, ())| visit(call));
    }

    fn is_vacant(&self) -> bool {
        !self.set && self.waiting.is_empty()
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn visit_references(&self, _: &mut dyn FnMut(&Reference)) {}

    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {
        assert!(!self.set || self.waiting.is_empty(), "somebody waits for what has happened: {self:?}");
    }
}

impl Event {
    fn set(&mut self, turn: &mut Turn) {
        self.set = true;
        if mutant(Mutant::ClearSwallowsSet) {
            return;
        }
        while let Some((call, ())) = self.waiting.pop() {
            turn.wake(call, reply(true));
        }
    }

    fn wait(&mut self, request: &EventWaitRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        match patience {
            Some(patience) if !self.set => {
                turn.may_wait(self.waiting.len())?;
                self.waiting.push(turn.call, ());
                Ok(Answer::Wait(patience))
            }
            _ => Ok(Answer::Done(reply(self.set))),
        }
    }
}

fn reply(set: bool) -> Reply {
    Reply::Wait(EventWaitResponse { set })
}

#[cfg(test)]
mod tests;
