//! A shared latch: kind `latch`.

use alloc::format;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::latch::{Op, Reply, Spec};
use holdfast_proto::{
    LatchCountDownRequest, LatchCountDownResponse, LatchCountResponse, LatchWaitRequest, LatchWaitResponse, Reason,
    Refusal,
};

use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, CallState, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

/// A count that only goes down, and for whose end others wait.
///
/// - The count never rises, and is never more than at first.
/// - Nobody waits once it is 0.
#[derive(Debug)]
pub struct Latch {
    spec: Spec,
    count: u64,
    waiting: WaitQueue<()>,
}

/// All there is to know about a [`Latch`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// What is left.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// Who waits, in their order.
    #[prost(message, repeated, tag = "3")]
    pub waiting: Vec<CallState>,
}

impl Object for Latch {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, _: &mut Creation) -> Result<Self, Refusal> {
        let count = u64::try_from(spec.count).map_err(|_| {
            Refusal::new(Reason::OutOfRange, "count is negative: say what to count down from, or 0 for an open latch")
        })?;
        Ok(Self { spec, count, waiting: WaitQueue::default() })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let State { spec, count, waiting } = state;
        let latch = Self { count, waiting: WaitQueue::read(&waiting)?, ..Self::create(spec, creation)? };
        latch.sound().map_err(|problem| Refusal::new(Reason::Malformed, problem))?;
        Ok(latch)
    }

    fn state(&self) -> State {
        State { spec: self.spec, count: self.count, waiting: self.waiting.saved() }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::CountDown(request) => self.count_down(&request, turn).map(Reply::CountDown).into(),
            Op::Wait(request) => self.wait(&request, turn).into(),
            Op::Count(_) => Answer::Done(Reply::Count(LatchCountResponse { count: self.count })),
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

    fn admits(&self, spec: &Spec) -> Result<(), Refusal> {
        if *spec == self.spec {
            return Ok(());
        }
        let problem = format!("this latch counts down from {}, not from {}", self.spec.count, spec.count);
        Err(Refusal::new(Reason::OtherSpec, problem))
    }

    fn is_vacant(&self) -> bool {
        self.spec == Spec::default()
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn visit_references(&self, _: &mut dyn FnMut(&Reference)) {}

    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {
        assert_eq!(self.sound(), Ok(()), "{self:?}");
    }
}

impl Latch {
    fn count_down(
        &mut self,
        request: &LatchCountDownRequest,
        turn: &mut Turn,
    ) -> Result<LatchCountDownResponse, Refusal> {
        let n = u64::try_from(request.n.unwrap_or(1)).ok().filter(|n| *n > 0).ok_or_else(|| {
            Refusal::new(
                Reason::OutOfRange,
                "n is below 1, and a latch counts down only: leave it out to count down by 1",
            )
        })?;
        self.count = self.count.saturating_sub(n);
        if self.count == 0 {
            while let Some((call, ())) = self.waiting.pop() {
                turn.wake(call, reply(true));
            }
        }
        Ok(LatchCountDownResponse { count: self.count })
    }

    fn wait(&mut self, request: &LatchWaitRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        match patience {
            Some(patience) if self.count > 0 => {
                turn.may_wait(self.waiting.len())?;
                self.waiting.push(turn.call, ());
                Ok(Answer::Wait(patience))
            }
            _ => Ok(Answer::Done(reply(self.count == 0))),
        }
    }

    /// What is wrong with it, if what its type promises is not so.
    fn sound(&self) -> Result<(), &'static str> {
        if u64::try_from(self.spec.count).is_ok_and(|count| self.count > count) {
            return Err("the count of a latch is never more than at first");
        }
        if self.count == 0 && !self.waiting.is_empty() {
            return Err("nobody waits for an open latch");
        }
        Ok(())
    }
}

fn reply(opened: bool) -> Reply {
    Reply::Wait(LatchWaitResponse { opened })
}

#[cfg(test)]
mod tests;
