//! A shared barrier: kind `barrier`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use holdfast_proto::barrier::{Op, Reply, Spec};
use holdfast_proto::datum::Reference;
use holdfast_proto::{
    BarrierAbortResponse, BarrierDescribeResponse, BarrierResetResponse, BarrierWaitRequest, BarrierWaitResponse,
    BreakCause, Reason, Refusal,
};

use crate::mutant::{Mutant, mutant};
use crate::turn::withdrawn;
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, CallState, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

/// A place where a number of parties wait for each other.
///
/// - Fewer wait than there are parties: the last one to come waits for nobody, and lets all go on in its turn.
/// - Nobody waits while it is broken.
/// - When a party that waits leaves, in whatever way, all that wait with it are refused: no party goes on without the others.
/// - The generation rises when all have come, and with a reset that changes something; it never falls.
#[derive(Debug)]
pub struct Barrier {
    spec: Spec,
    parties: u64,
    generation: u64,
    /// In the order in which they came, which is that of the indexes that they get.
    waiting: WaitQueue<()>,
    /// `None` while it is whole.
    cause: BreakCause,
}

/// All there is to know about a [`Barrier`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// How many generations there were before this one.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// Who waits, in their order.
    #[prost(message, repeated, tag = "3")]
    pub waiting: Vec<CallState>,
    /// What broke it.
    #[prost(enumeration = "BreakCause", tag = "4")]
    pub cause: i32,
}

impl Object for Barrier {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, _: &mut Creation) -> Result<Self, Refusal> {
        let parties = u64::try_from(spec.parties).ok().filter(|parties| *parties > 0).ok_or_else(|| {
            Refusal::new(Reason::OutOfRange, "parties is below 1: say how many are to wait for each other")
        })?;
        Patience::read(spec.patience_ms)?;
        Ok(Self { spec, parties, generation: 0, waiting: WaitQueue::default(), cause: BreakCause::None })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let malformed = |problem| Refusal::new(Reason::Malformed, problem);
        let State { spec, generation, waiting, cause } = state;
        let cause = BreakCause::try_from(cause).map_err(|_| malformed("nothing that is known broke this barrier"))?;
        let waiting = WaitQueue::read(&waiting)?;
        let barrier = Self { generation, waiting, cause, ..Self::create(spec, creation)? };
        barrier.sound().map_err(malformed)?;
        Ok(barrier)
    }

    fn state(&self) -> State {
        State { spec: self.spec, generation: self.generation, waiting: self.waiting.saved(), cause: self.cause.into() }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Wait(request) => self.wait(&request, turn).into(),
            Op::Abort(_) => {
                self.break_since(BreakCause::Abort, turn);
                Answer::Done(Reply::Abort(BarrierAbortResponse {}))
            }
            Op::Reset(_) => Answer::Done(Reply::Reset(self.reset(turn))),
            Op::Describe(_) => Answer::Done(Reply::Describe(self.describe())),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let waited = self.waiting.remove(call).is_some();
        if waited {
            let (cause, refusal) = match why {
                Withdrawal::Patience => (BreakCause::Patience, broken(BreakCause::Patience)),
                Withdrawal::Cancelled => (BreakCause::Withdrawal, withdrawn()),
            };
            turn.refuse(call, refusal);
            self.break_since(cause, turn);
        }
        waited
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        if mutant(Mutant::BarrierCountsTheDead) {
            return;
        }
        if !self.waiting.remove_session(session).is_empty() {
            let cause = match how {
                Ended::Lost => BreakCause::Loss,
                Ended::Closed => BreakCause::Close,
            };
            self.break_since(cause, turn);
        }
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
        Err(Refusal::new(
            Reason::OtherSpec,
            format!("this barrier is for {}, not for {}", shown(&self.spec), shown(spec)),
        ))
    }

    fn is_vacant(&self) -> bool {
        // There is none of the default spec.
        false
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

impl Barrier {
    fn wait(&mut self, request: &BarrierWaitRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms.or(self.spec.patience_ms))?;
        if self.cause != BreakCause::None {
            return Err(broken(self.cause));
        }
        let index = self.waiting.len() as u64;
        if index + 1 == self.parties {
            return Ok(Answer::Done(self.open(turn)));
        }
        turn.may_wait(self.waiting.len())?;
        self.waiting.push(turn.call, ());
        // As in Python, who has no patience comes all the same, and breaks the barrier when it gives up, which is at once.
        Ok(Answer::Wait(patience.unwrap_or(Patience::For(Duration::ZERO))))
    }

    /// The last party has come: all go on. Its reply.
    fn open(&mut self, turn: &mut Turn) -> Reply {
        let generation = self.generation;
        self.generation += 1;
        let mut index = 0;
        while let Some((call, ())) = self.waiting.pop() {
            turn.wake(call, Reply::Wait(BarrierWaitResponse { index, generation }));
            index += 1;
        }
        Reply::Wait(BarrierWaitResponse { index, generation })
    }

    /// What broke it first is what it stays broken since.
    fn break_since(&mut self, cause: BreakCause, turn: &mut Turn) {
        if self.cause == BreakCause::None {
            self.cause = cause;
            self.refuse_all(&broken(cause), turn);
        }
    }

    fn refuse_all(&mut self, refusal: &Refusal, turn: &mut Turn) {
        while let Some((call, ())) = self.waiting.pop() {
            turn.refuse(call, refusal.clone());
        }
    }

    fn reset(&mut self, turn: &mut Turn) -> BarrierResetResponse {
        let was_reset = self.cause != BreakCause::None || !self.waiting.is_empty();
        if was_reset {
            let problem = "the barrier was reset while the call waited: it is whole again, wait anew if the others do";
            self.refuse_all(&Refusal::new(Reason::Broken, problem), turn);
            self.cause = BreakCause::None;
            self.generation += 1;
        }
        BarrierResetResponse { was_reset }
    }

    fn describe(&self) -> BarrierDescribeResponse {
        BarrierDescribeResponse {
            parties: self.parties,
            n_waiting: self.waiting.len() as u64,
            broken: self.cause != BreakCause::None,
            generation: self.generation,
            cause: self.cause.into(),
        }
    }

    /// What is wrong with it, if what its type promises is not so.
    fn sound(&self) -> Result<(), &'static str> {
        if self.waiting.len() as u64 >= self.parties {
            return Err("fewer wait at a barrier than there are parties");
        }
        if self.cause != BreakCause::None && !self.waiting.is_empty() {
            return Err("nobody waits at a broken barrier");
        }
        Ok(())
    }
}

fn broken(cause: BreakCause) -> Refusal {
    let since = match cause {
        BreakCause::None | BreakCause::Abort => "somebody aborted it",
        BreakCause::Patience => "a party waited for as long as it was willing to",
        BreakCause::Withdrawal => "a party withdrew its call",
        BreakCause::Loss => "the session of a party that waited was lost",
        BreakCause::Close => "a party that waited closed its session",
    };
    Refusal::new(Reason::Broken, format!("the barrier is broken since {since}: see to the parties, then reset it"))
}

fn shown(spec: &Spec) -> String {
    let patience = spec.patience_ms.map_or("endless".to_string(), |ms| format!("{ms} ms"));
    format!("{} parties with a patience of {patience}", spec.parties)
}

#[cfg(test)]
mod tests;
