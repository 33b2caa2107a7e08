//! A shared lock and its conditions: kind `lock`.

mod condition;
mod state;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::lock::{Op, Reply, Spec};
use holdfast_proto::{
    Abandoned, LockAcquireRequest, LockAcquireResponse, LockDescribeResponse, LockReleaseRequest, LockReleaseResponse,
    LockResetResponse, Reason, Refusal,
};

use crate::holding::{self, Fate, Policy};
use crate::mutant::{Mutant, mutant};
use crate::turn::withdrawn;
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};
use condition::{Conditions, returned};

pub use state::{ConditionState, HolderState, State, UnreadState, WaiterState};

/// A lock, which at most one session holds.
///
/// - Nobody waits while it is free, or while it is broken.
/// - It goes to who has waited longest. Who asks while somebody waits is behind, also if it has just released it.
/// - It is held by a session, and if it is reentrant by an actor in it; by nobody, whose session has ended, if it is kept.
/// - The fence of a grant is that of the turn in which it was granted, so each is above those before.
/// - Who is granted it after its holder was lost is told so, once.
/// - A call waits in one place: for the lock, or on one of its conditions. Nobody waits on a condition while it is broken.
/// - A notify moves one that waits on the condition to those that wait for the lock, where it stays whatever its patience
///   is, and is consumed when that one's caller has the answer. Whatever ends it before passes the notify to the next that
///   waits on the condition. So each notify wakes one that lives, or none waited on the condition when it was passed on.
#[derive(Debug)]
pub struct Lock {
    spec: Spec,
    policy: Policy,
    holder: Option<Holder>,
    waiting: WaitQueue<Waiter>,
    conditions: Conditions,
    /// The calls that returned after a notify, and whose callers may not know it yet, each with the condition.
    unread: BTreeMap<CallId, Arc<str>>,
    /// Who was lost, until somebody is told.
    abandoned: Option<Abandoned>,
    /// Who broke it.
    broken: Option<Abandoned>,
}

/// How often a reentrant lock can be taken by one who has it.
const DEPTH_MAX: usize = 10_000;

/// So many calls that were matched by a release are known. A call whose answer nobody has is one of the last that its actor made.
const MATCHED_MAX: usize = 100;

#[derive(Clone, Debug)]
struct Holder {
    /// `None` once it has ended.
    session: Option<SessionId>,
    actor: u64,
    fence: u64,
    /// The calls by which it was taken and that have not been matched by a release: one, or more for a reentrant lock.
    calls: Vec<u64>,
    /// The last calls that were matched by a release while others were not. Which of them was meant no release says: if nobody
    /// has the answer to one of these, another is to be taken back in its place.
    matched: Vec<u64>,
    /// What it was told when it was granted.
    told: Option<Abandoned>,
}

/// A call that waits for the lock.
#[derive(Clone, Debug)]
struct Waiter {
    actor: u64,
    claim: Claim,
}

/// What a call that waits for the lock came for.
#[derive(Clone, Debug)]
enum Claim {
    /// To acquire it.
    Acquire,
    /// To have it again after it waited on a condition.
    Return {
        /// As often as it had it before.
        depth: u32,
        /// Set if it was notified: on which condition.
        notified_on: Option<Arc<str>>,
    },
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
        Ok(Self {
            spec,
            policy,
            holder: None,
            waiting: WaitQueue::default(),
            conditions: Conditions::default(),
            unread: BTreeMap::new(),
            abandoned: None,
            broken: None,
        })
    }

    fn restore(mut state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let mut lock = Self::create(core::mem::take(&mut state.spec), creation)?;
        lock.load(state)?;
        Ok(lock)
    }

    fn state(&self) -> State {
        self.saved()
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Acquire(request) => self.acquire(&request, turn).into(),
            Op::Release(request) => self.release(&request, turn).map(Reply::Release).into(),
            Op::Describe(_) => Answer::Done(Reply::Describe(self.describe(turn.call.session))),
            Op::Reset(_) => self.reset(turn).map(Reply::Reset).into(),
            Op::Wait(request) => self.wait(&request, turn).into(),
            Op::Notify(request) => self.notify(&request, turn).map(Reply::Notify).into(),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let waits = self.waiting.get(call).is_some() || self.conditions.contains(call);
        match why {
            _ if !waits => {}
            Withdrawal::Patience => self.lose_patience(call, turn),
            Withdrawal::Cancelled => {
                turn.refuse(call, withdrawn());
                self.give_up(call);
                self.hand_on(turn);
            }
        }
        waits
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        if let Some(condition) = self.unread.remove(&call) {
            self.notify_one(&condition);
        }
        if let Some(holder) = self.holder.as_mut().filter(|holder| holder.session == Some(call.session)) {
            holder.take_back(call.number);
            if holder.calls.is_empty() {
                // What it was told, nobody has heard.
                self.abandoned = holder.told.take();
                self.holder = None;
            }
        }
        self.hand_on(turn);
    }

    fn acknowledge(&mut self, call: CallId, _: &mut Turn) {
        self.unread.remove(&call);
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        let unheard = self.remove_waiters(session);
        if let Some(holder) = self.holder.as_mut().filter(|holder| holder.session == Some(session)) {
            match self.policy.fate(how) {
                Fate::Release => self.holder = None,
                Fate::Abandon => {
                    self.abandoned = Some(holding::abandoned(holder.fence, turn));
                    self.holder = None;
                }
                Fate::Keep => holder.session = None,
                Fate::Break => {
                    let by = holding::abandoned(holder.fence, turn);
                    self.break_down(by, turn);
                }
            }
        }
        for condition in unheard {
            self.notify_one(&condition);
        }
        self.hand_on(turn);
    }

    fn involves(&self, session: SessionId) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.session == Some(session))
            || self.waiting.involves(session)
            || self.conditions.involves(session)
            || self.unread.range(session.calls()).next().is_some()
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.waiting.iter().for_each(|(call, _)| visit(call));
        self.conditions.iter().flat_map(|(_, queue)| queue.iter()).for_each(|(call, _)| visit(call));
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
            && self.conditions.is_empty()
            && self.unread.is_empty()
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn visit_references(&self, _: &mut dyn FnMut(&Reference)) {}

    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {
        self.conditions.check_invariants();
        assert!(self.holder.is_some() || self.waiting.is_empty(), "calls wait for a lock that is free");
        assert!(self.holder.is_none() || self.abandoned.is_none(), "it was granted, and its holder not told");
        if self.broken.is_some() {
            assert!(self.holder.is_none() && self.conditions.is_empty(), "a broken lock is held or waited on");
        }
        for (call, _) in self.waiting.iter() {
            assert!(!self.conditions.contains(call), "{call:?} waits for the lock and on a condition");
            assert!(!self.unread.contains_key(&call), "{call:?} waits and was answered");
        }
        assert!(self.unread.keys().all(|call| !self.conditions.contains(*call)), "one waits that was answered");
        if let Some(holder) = &self.holder {
            assert!(!holder.calls.is_empty() && (self.spec.reentrant || holder.calls.len() == 1), "{holder:?}");
        }
    }
}

impl Lock {
    fn acquire(&mut self, request: &LockAcquireRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        if let Some(by) = &self.broken {
            return Err(holding::broken(by));
        }
        let Some(holder) = &mut self.holder else {
            return Ok(Answer::Done(Reply::Acquire(self.grant(turn.call, request.actor, 1, turn.fence))));
        };
        if self.spec.reentrant && holder.is(turn.call.session, request.actor) {
            holder.take_again(turn.call.number)?;
            let response = LockAcquireResponse { acquired: true, fence: holder.fence, abandoned: None };
            return Ok(Answer::Done(Reply::Acquire(response)));
        }
        let Some(patience) = patience else {
            return Ok(Answer::Done(Reply::Acquire(LockAcquireResponse::default())));
        };
        turn.may_wait(self.waiters())?;
        self.waiting.push(turn.call, Waiter { actor: request.actor, claim: Claim::Acquire });
        Ok(Answer::Wait(patience))
    }

    fn release(&mut self, request: &LockReleaseRequest, turn: &mut Turn) -> Result<LockReleaseResponse, Refusal> {
        let holder = self.held_by(turn.call.session, request.fence, request.actor)?;
        let depth = holder.releases_left() - 1;
        holder.give_back(depth as usize);
        if depth == 0 {
            self.holder = None;
            self.hand_on(turn);
        }
        Ok(LockReleaseResponse { depth })
    }

    /// Who has it, if the caller may give it back. Refused: `NOT_HELD`, `STALE_FENCE`.
    fn held_by(&mut self, session: SessionId, fence: Option<u64>, actor: u64) -> Result<&mut Holder, Refusal> {
        let spec = &self.spec;
        let holder = self.holder.as_mut().ok_or_else(|| not_held(fence))?;
        if let Some(fence) = fence.filter(|fence| *fence != holder.fence) {
            return Err(stale(fence, holder.fence));
        }
        let is_theirs = match holder.session {
            Some(_) if spec.reentrant => holder.is(session, actor),
            Some(held_by) => spec.released_by_anyone || held_by == session,
            // Its holder is gone. Who knows its fence was told by it.
            None => spec.released_by_anyone || fence.is_some(),
        };
        if is_theirs { Ok(holder) } else { Err(not_yours(spec.reentrant)) }
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
            waiting_on_conditions: self.conditions.len() as u64,
            reentrant: self.spec.reentrant,
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
            self.holder = None;
            self.hand_on(turn);
        }
        Ok(LockResetResponse { was_reset: is_kept || was_broken })
    }

    /// How many calls wait, for it and on its conditions.
    fn waiters(&self) -> usize {
        self.waiting.len() + self.conditions.len()
    }

    /// A call has waited for as long as it was willing to. One that must have the lock before it is answered goes on waiting.
    fn lose_patience(&mut self, call: CallId, turn: &mut Turn) {
        if let Some(sleeper) = self.conditions.remove(call) {
            self.return_later(call, sleeper, None);
            self.hand_on(turn);
        } else if let Some(Waiter { claim: Claim::Acquire, .. }) = self.waiting.get(call) {
            self.waiting.remove(call);
            turn.wake(call, Reply::Acquire(LockAcquireResponse::default()));
        }
    }

    /// A call does not wait any more, and is not answered that it was notified.
    fn give_up(&mut self, call: CallId) {
        self.conditions.remove(call);
        if let Some(condition) = self.waiting.remove(call).and_then(|waiter| waiter.notified_on()) {
            self.notify_one(&condition);
        }
    }

    /// The calls of a session do not wait any more. Returns the notifies of which it has not heard.
    fn remove_waiters(&mut self, session: SessionId) -> Vec<Arc<str>> {
        if !mutant(Mutant::NotifyEatenByTheDead) {
            self.conditions.remove_session(session);
        }
        let mut unheard = Vec::new();
        while let Some((&call, _)) = self.unread.range(session.calls()).next() {
            unheard.extend(self.unread.remove(&call));
        }
        if mutant(Mutant::GrantToTheDead) {
            return unheard;
        }
        let gone = self.waiting.remove_session(session);
        unheard.extend(gone.into_iter().filter_map(|(_, waiter)| waiter.notified_on()));
        unheard
    }

    /// Nobody has it any more, and nobody can.
    fn break_down(&mut self, by: Abandoned, turn: &mut Turn) {
        self.holder = None;
        while let Some((call, _)) = self.waiting.pop() {
            turn.refuse(call, holding::broken(&by));
        }
        for (call, _) in core::mem::take(&mut self.conditions).iter().flat_map(|(_, queue)| queue.iter()) {
            turn.refuse(call, holding::broken(&by));
        }
        self.broken = Some(by);
    }

    /// If nobody has it, it goes to who has waited longest.
    fn hand_on(&mut self, turn: &mut Turn) {
        if self.holder.is_some() {
            return;
        }
        let Some((call, Waiter { actor, claim })) = self.waiting.pop() else { return };
        match claim {
            Claim::Acquire => {
                let response = self.grant(call, actor, 1, turn.fence);
                turn.wake(call, Reply::Acquire(response));
            }
            Claim::Return { depth, notified_on } => {
                let LockAcquireResponse { fence, abandoned, .. } = self.grant(call, actor, depth, turn.fence);
                let reply = returned(notified_on.is_some(), fence, abandoned);
                match notified_on {
                    Some(condition) => {
                        self.unread.insert(call, condition);
                        turn.deliver(call, reply);
                    }
                    None => turn.wake(call, reply),
                }
            }
        }
    }

    /// Gives it to a call, as if taken by it so often.
    fn grant(&mut self, call: CallId, actor: u64, depth: u32, fence: u64) -> LockAcquireResponse {
        let told = self.abandoned.take();
        let abandoned = told.clone();
        let calls = alloc::vec![call.number; depth as usize];
        self.holder = Some(Holder { session: Some(call.session), actor, fence, calls, matched: Vec::new(), told });
        LockAcquireResponse { acquired: true, fence, abandoned }
    }
}

impl Waiter {
    /// If it was notified: on which condition.
    fn notified_on(self) -> Option<Arc<str>> {
        match self.claim {
            Claim::Acquire => None,
            Claim::Return { notified_on, .. } => notified_on,
        }
    }
}

impl Holder {
    fn is(&self, session: SessionId, actor: u64) -> bool {
        self.session == Some(session) && self.actor == actor
    }

    fn depth(&self) -> u32 {
        u32::try_from(self.calls.len()).expect("there is a limit on it")
    }

    /// How often it is to be given back until it is free. Once, if its session has ended: nobody is left who counts.
    fn releases_left(&self) -> u32 {
        if self.session.is_some() { self.depth() } else { 1 }
    }

    /// The newest calls are matched by a release, but for so many.
    fn give_back(&mut self, left: usize) {
        self.matched.extend(self.calls.drain(left..));
        let too_many = self.matched.len().saturating_sub(MATCHED_MAX);
        self.matched.drain(..too_many);
    }

    /// Nobody has the answer to this call. One that returned from a condition took it as often as it had it before.
    fn take_back(&mut self, call: u64) {
        self.calls.retain(|number| *number != call);
        let before = self.matched.len();
        self.matched.retain(|number| *number != call);
        // Others were given back, and their calls are not matched yet.
        self.give_back(self.calls.len().saturating_sub(before - self.matched.len()));
    }

    fn take_again(&mut self, call: u64) -> Result<(), Refusal> {
        if self.calls.len() >= DEPTH_MAX {
            let problem = format!("the lock was taken {DEPTH_MAX} times by its holder, which is the most: release it");
            return Err(Refusal::new(Reason::Quota, problem));
        }
        self.calls.push(call);
        Ok(())
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
        None => Refusal::new(
            Reason::NotHeld,
            "nobody has the lock: acquire it before it is released, waited with or notified on",
        ),
    }
}

fn stale(fence: u64, current: u64) -> Refusal {
    let problem = format!("the lock is held with the fence {current}, and not with {fence} any more: it has passed on");
    Refusal::new(Reason::StaleFence, problem)
}

fn not_yours(reentrant: bool) -> Refusal {
    let whom = if reentrant { "another session, or another actor of this one, has" } else { "another session has" };
    Refusal::new(Reason::NotHeld, format!("{whom} the lock: only who has it releases it, waits with it or notifies"))
}

#[cfg(test)]
mod tests;
