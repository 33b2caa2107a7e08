//! A shared lock: kind `lock`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::lock::{Op, Reply, Spec};
use holdfast_proto::{
    Abandoned, LockAcquireRequest, LockAcquireResponse, LockDescribeResponse, LockReleaseRequest, LockReleaseResponse,
    LockResetResponse, Reason, Refusal,
};

use crate::holding::{self, Fate, Policy};
use crate::turn::withdrawn;
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

/// A lock, which at most one session holds.
///
/// - Nobody waits while it is free, or while it is broken.
/// - It goes to who has waited longest. Who asks while somebody waits is behind, also if it has just released it.
/// - It is held by a session, and if it is reentrant by an actor in it; by nobody, whose session has ended, if it is kept.
/// - The fence of a grant is that of the turn in which it was granted, so each is above those before.
/// - Who is granted it after its holder was lost is told so, once.
#[derive(Debug)]
pub struct Lock {
    spec: Spec,
    policy: Policy,
    holder: Option<Holder>,
    waiting: WaitQueue<u64>,
    /// Who was lost, until somebody is told.
    abandoned: Option<Abandoned>,
    /// Who broke it.
    broken: Option<Abandoned>,
}

/// How often a reentrant lock can be taken by one who has it.
const DEPTH_MAX: usize = 10_000;

#[derive(Clone, Debug)]
struct Holder {
    /// `None` once it has ended.
    session: Option<SessionId>,
    actor: u64,
    fence: u64,
    /// The calls by which it was taken and that have not been matched by a release: one, or more for a reentrant lock.
    calls: Vec<u64>,
    /// What it was told when it was granted.
    told: Option<Abandoned>,
}

/// All there is to know about a [`Lock`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// Who has it.
    #[prost(message, optional, tag = "2")]
    pub holder: Option<HolderState>,
    /// Who waits for it, in their order.
    #[prost(message, repeated, tag = "3")]
    pub waiting: Vec<WaiterState>,
    /// Who was lost, until somebody is told.
    #[prost(message, optional, tag = "4")]
    pub abandoned: Option<Abandoned>,
    /// Who broke it.
    #[prost(message, optional, tag = "5")]
    pub broken: Option<Abandoned>,
}

/// Who has a lock.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HolderState {
    /// Its session; empty once that has ended.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// The actor in it.
    #[prost(uint64, tag = "2")]
    pub actor: u64,
    /// The fence of the grant.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    /// The calls by which it was taken.
    #[prost(uint64, repeated, tag = "4")]
    pub calls: Vec<u64>,
    /// What it was told when it was granted.
    #[prost(message, optional, tag = "5")]
    pub told: Option<Abandoned>,
}

/// A call that waits for a lock.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WaiterState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The actor that waits.
    #[prost(uint64, tag = "3")]
    pub actor: u64,
}

impl Object for Lock {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, _: &mut Creation) -> Result<Self, Refusal> {
        let policy = Policy::read(spec.on_loss, spec.on_close)?;
        if spec.reentrant && spec.released_by_anyone {
            let problem = "a reentrant lock is released by the actor that has it: leave out released_by_anyone";
            return Err(Refusal::new(Reason::Malformed, problem));
        }
        Ok(Self { spec, policy, holder: None, waiting: WaitQueue::default(), abandoned: None, broken: None })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let State { spec, holder, waiting, abandoned, broken } = state;
        let mut lock = Self::create(spec, creation)?;
        lock.holder = holder.map(Holder::restore).transpose()?;
        let waiting = waiting.into_iter().map(|waiter| {
            let session = SessionId::read(&waiter.session)?;
            Ok((CallId { session, number: waiter.number }, waiter.actor))
        });
        lock.waiting = waiting.collect::<Result<_, Refusal>>()?;
        (lock.abandoned, lock.broken) = (abandoned, broken);
        Ok(lock)
    }

    fn state(&self) -> State {
        let waiter = |(call, actor): (CallId, &u64)| WaiterState {
            session: call.session.0.into(),
            number: call.number,
            actor: *actor,
        };
        State {
            spec: self.spec.clone(),
            holder: self.holder.as_ref().map(Holder::state),
            waiting: self.waiting.iter().map(waiter).collect(),
            abandoned: self.abandoned.clone(),
            broken: self.broken.clone(),
        }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Acquire(request) => self.acquire(&request, turn).into(),
            Op::Release(request) => self.release(&request, turn).map(Reply::Release).into(),
            Op::Describe(_) => Answer::Done(Reply::Describe(self.describe(turn.call.session))),
            Op::Reset(_) => self.reset(turn).map(Reply::Reset).into(),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let waited = self.waiting.remove(call).is_some();
        if waited {
            match why {
                Withdrawal::Patience => turn.wake(call, Reply::Acquire(LockAcquireResponse::default())),
                Withdrawal::Cancelled => turn.refuse(call, withdrawn()),
            }
        }
        waited
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        if let Some(holder) = self.holder.as_mut().filter(|holder| holder.session == Some(call.session))
            && let Some(at) = holder.calls.iter().position(|number| *number == call.number)
        {
            holder.calls.remove(at);
            if holder.calls.is_empty() {
                // What it was told, nobody has heard.
                self.abandoned = holder.told.take();
                self.hand_on(turn);
            }
        }
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.waiting.remove_session(session);
        let Some(holder) = self.holder.as_mut().filter(|holder| holder.session == Some(session)) else { return };
        match self.policy.fate(how) {
            Fate::Release => self.hand_on(turn),
            Fate::Abandon => {
                self.abandoned = Some(holding::abandoned(holder.fence, turn));
                self.hand_on(turn);
            }
            Fate::Keep => holder.session = None,
            Fate::Break => {
                let by = holding::abandoned(holder.fence, turn);
                self.holder = None;
                while let Some((call, _)) = self.waiting.pop() {
                    turn.refuse(call, holding::broken(&by));
                }
                self.broken = Some(by);
            }
        }
    }

    fn involves(&self, session: SessionId) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.session == Some(session)) || self.waiting.involves(session)
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.waiting.iter().for_each(|(call, _)| visit(call));
    }

    fn admits(&self, spec: &Spec) -> Result<(), Refusal> {
        if *spec == self.spec {
            return Ok(());
        }
        Err(Refusal::new(Reason::OtherSpec, format!("this lock is {}, not {}", shown(&self.spec), shown(spec))))
    }

    fn is_vacant(&self) -> bool {
        self.spec == Spec::default()
            && self.holder.is_none()
            && self.abandoned.is_none()
            && self.broken.is_none()
            && self.waiting.is_empty()
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn visit_references(&self, _: &mut dyn FnMut(&Reference)) {}
}

impl Lock {
    fn acquire(&mut self, request: &LockAcquireRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        if let Some(by) = &self.broken {
            return Err(holding::broken(by));
        }
        let Some(holder) = &mut self.holder else {
            return Ok(Answer::Done(Reply::Acquire(self.grant(turn.call, request.actor, turn.fence))));
        };
        if self.spec.reentrant && holder.is(turn.call.session, request.actor) {
            holder.take_again(turn.call.number)?;
            let response = LockAcquireResponse { acquired: true, fence: holder.fence, abandoned: None };
            return Ok(Answer::Done(Reply::Acquire(response)));
        }
        let Some(patience) = patience else {
            return Ok(Answer::Done(Reply::Acquire(LockAcquireResponse::default())));
        };
        turn.may_wait(self.waiting.len())?;
        self.waiting.push(turn.call, request.actor);
        Ok(Answer::Wait(patience))
    }

    fn release(&mut self, request: &LockReleaseRequest, turn: &mut Turn) -> Result<LockReleaseResponse, Refusal> {
        let spec = &self.spec;
        let holder = self.holder.as_mut().ok_or_else(|| not_held(request.fence))?;
        if let Some(fence) = request.fence.filter(|fence| *fence != holder.fence) {
            return Err(stale(fence, holder.fence));
        }
        let is_theirs = match holder.session {
            Some(session) if spec.reentrant => session == turn.call.session && holder.actor == request.actor,
            Some(session) => spec.released_by_anyone || session == turn.call.session,
            // Its holder is gone. Who knows its fence was told by it.
            None => spec.released_by_anyone || request.fence.is_some(),
        };
        if !is_theirs {
            return Err(not_yours(spec.reentrant));
        }
        if holder.session.is_some() {
            holder.calls.pop();
        } else {
            holder.calls.clear();
        }
        let depth = holder.depth();
        if depth == 0 {
            self.hand_on(turn);
        }
        Ok(LockReleaseResponse { depth })
    }

    fn describe(&self, session: SessionId) -> LockDescribeResponse {
        let holder = self.holder.as_ref();
        LockDescribeResponse {
            locked: holder.is_some(),
            fence: holder.map_or(0, |holder| holder.fence),
            depth: holder.map_or(0, Holder::depth),
            yours: holder.is_some_and(|holder| holder.session == Some(session)),
            waiting: self.waiting.len() as u64,
            broken_by: self.broken.clone(),
            kept: holder.is_some_and(|holder| holder.session.is_none()),
        }
    }

    fn reset(&mut self, turn: &mut Turn) -> Result<LockResetResponse, Refusal> {
        let is_kept = match &self.holder {
            Some(Holder { session: Some(_), .. }) => {
                let problem = "a session that goes on holds the lock: its holder releases it, or its end does";
                return Err(Refusal::new(Reason::NotHeld, problem));
            }
            Some(_) => true,
            None => false,
        };
        let was_broken = self.broken.take().is_some();
        if is_kept {
            self.hand_on(turn);
        }
        Ok(LockResetResponse { was_reset: is_kept || was_broken })
    }

    /// Nobody has it any more: it goes to who has waited longest.
    fn hand_on(&mut self, turn: &mut Turn) {
        self.holder = None;
        if let Some((call, actor)) = self.waiting.pop() {
            let response = self.grant(call, actor, turn.fence);
            turn.wake(call, Reply::Acquire(response));
        }
    }

    fn grant(&mut self, call: CallId, actor: u64, fence: u64) -> LockAcquireResponse {
        let told = self.abandoned.take();
        let abandoned = told.clone();
        self.holder = Some(Holder { session: Some(call.session), actor, fence, calls: [call.number].into(), told });
        LockAcquireResponse { acquired: true, fence, abandoned }
    }
}

impl Holder {
    fn is(&self, session: SessionId, actor: u64) -> bool {
        self.session == Some(session) && self.actor == actor
    }

    fn depth(&self) -> u32 {
        u32::try_from(self.calls.len()).expect("there is a limit on it")
    }

    fn take_again(&mut self, call: u64) -> Result<(), Refusal> {
        if self.calls.len() >= DEPTH_MAX {
            let problem = format!("the lock was taken {DEPTH_MAX} times by its holder, which is the most: release it");
            return Err(Refusal::new(Reason::Quota, problem));
        }
        self.calls.push(call);
        Ok(())
    }

    fn restore(state: HolderState) -> Result<Self, Refusal> {
        let HolderState { session, actor, fence, calls, told } = state;
        let session = if session.is_empty() { None } else { Some(SessionId::read(&session)?) };
        if calls.is_empty() || calls.len() > DEPTH_MAX {
            return Err(Refusal::new(Reason::Malformed, "a lock that is held was taken a number of times"));
        }
        Ok(Self { session, actor, fence, calls, told })
    }

    fn state(&self) -> HolderState {
        HolderState {
            session: self.session.map(|session| session.0.into()).unwrap_or_default(),
            actor: self.actor,
            fence: self.fence,
            calls: self.calls.clone(),
            told: self.told.clone(),
        }
    }
}

fn shown(spec: &Spec) -> String {
    let kind = if spec.reentrant { "reentrant" } else { "not reentrant" };
    let by = if spec.released_by_anyone { "anyone" } else { "its holder" };
    let (on_loss, on_close) = (spec.on_loss().as_str_name(), spec.on_close().as_str_name());
    format!("{kind}, released by {by}, {on_loss}, {on_close}")
}

fn not_held(fence: Option<u64>) -> Refusal {
    match fence {
        Some(fence) => {
            let problem = format!("nobody has the lock, and its fence {fence} is over: it was released, or taken away");
            Refusal::new(Reason::StaleFence, problem)
        }
        None => Refusal::new(Reason::NotHeld, "nobody has the lock: acquire it before it is released"),
    }
}

fn stale(fence: u64, current: u64) -> Refusal {
    let problem = format!("the lock is held with the fence {current}, and not with {fence} any more: it has passed on");
    Refusal::new(Reason::StaleFence, problem)
}

fn not_yours(reentrant: bool) -> Refusal {
    let whom = if reentrant { "another session, or another actor of this one, has" } else { "another session has" };
    Refusal::new(Reason::NotHeld, format!("{whom} the lock, and releases it"))
}

#[cfg(test)]
mod tests;
