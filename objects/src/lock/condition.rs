//! The conditions of a lock.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;

use holdfast_proto::{
    LockNotifyRequest, LockNotifyResponse, LockWaitRequest, LockWaitResponse, Reason, Refusal, lock::Reply,
};

use super::{Claim, Lock, Waiter};
use crate::mutant::{Mutant, mutant};
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, Patience, SessionId, Turn};

/// The longest name of a condition, in bytes.
const NAME_BYTES: usize = 256;

/// Those who wait on the conditions of one lock, and were not notified yet.
///
/// - A condition is here while somebody waits on it.
/// - A call waits on one condition at most, which is found by the call.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    waiting: BTreeMap<Arc<str>, WaitQueue<Sleeper>>,
    by_call: BTreeMap<CallId, Arc<str>>,
}

/// A call that waits on a condition, and what it is to have when it returns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeper {
    /// The actor that waits.
    pub(super) actor: u64,
    /// How often it had the lock.
    pub(super) depth: u32,
}

impl Conditions {
    /// How many wait, on all of them.
    pub(super) fn len(&self) -> usize {
        self.by_call.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// Lets a call wait on a condition, behind all others. It must not be waiting on any.
    pub(super) fn push(&mut self, name: &str, call: CallId, sleeper: Sleeper) {
        let name = self.waiting.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        self.waiting.entry(Arc::clone(&name)).or_default().push(call, sleeper);
        let before = self.by_call.insert(call, name);
        debug_assert!(before.is_none(), "{call:?} waits already");
    }

    /// Takes the call out that has waited on this condition longest.
    pub(super) fn pop(&mut self, name: &str) -> Option<(CallId, Sleeper)> {
        let (call, _) = self.waiting.get(name)?.first()?;
        self.remove(call).map(|sleeper| (call, sleeper))
    }

    /// Takes a call out, whatever it waits on.
    pub(super) fn remove(&mut self, call: CallId) -> Option<Sleeper> {
        let name = self.by_call.remove(&call)?;
        let queue = self.waiting.get_mut(&name)?;
        let sleeper = queue.remove(call);
        if queue.is_empty() {
            self.waiting.remove(&name);
        }
        sleeper
    }

    /// Takes all calls of a session out.
    pub(super) fn remove_session(&mut self, session: SessionId) {
        while let Some((&call, _)) = self.by_call.range(session.calls()).next() {
            self.remove(call);
        }
    }

    pub(super) fn involves(&self, session: SessionId) -> bool {
        self.by_call.range(session.calls()).next().is_some()
    }

    /// Whether this call waits on one.
    pub(super) fn contains(&self, call: CallId) -> bool {
        self.by_call.contains_key(&call)
    }

    /// The conditions by name, each with those who wait on it in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &WaitQueue<Sleeper>)> {
        self.waiting.iter().map(|(name, queue)| (&**name, queue))
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn check_invariants(&self) {
        let mut calls = 0;
        for (name, queue) in &self.waiting {
            assert!(!queue.is_empty(), "the condition {name:?} is there, and nobody waits on it");
            calls += queue.len();
            for (call, _) in queue.iter() {
                assert_eq!(self.by_call.get(&call), Some(name), "what {call:?} waits on");
            }
        }
        assert_eq!(calls, self.by_call.len(), "who waits on a condition is found by the call");
    }
}

/// Refused: `INVALID_NAME`.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() <= NAME_BYTES {
        return Ok(());
    }
    let problem = format!(
        "the name of a condition has {} bytes and must have at most {NAME_BYTES}: use a shorter one",
        name.len()
    );
    Err(Refusal::new(Reason::InvalidName, problem))
}

impl Lock {
    pub(super) fn wait(&mut self, request: &LockWaitRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        check_name(&request.condition)?;
        let actor = request.actor;
        let depth = self.held_by(turn.call.session, request.fence, actor)?.releases_left();
        let depth = if mutant(Mutant::DepthLostOverWait) { 1 } else { depth };
        if patience.is_none() && self.waiting.is_empty() {
            let grant = self.grant(turn.call, actor, depth, turn.fence);
            return Ok(Answer::Done(returned(false, grant.fence, grant.abandoned)));
        }
        // Those of which nobody knows whether they have returned are kept as long as those who wait.
        turn.may_wait(self.waiters() + self.unread.len())?;
        match patience {
            Some(_) => self.conditions.push(&request.condition, turn.call, Sleeper { actor, depth }),
            None => self.return_later(turn.call, Sleeper { actor, depth }, None),
        }
        self.holder = None;
        self.hand_on(turn);
        Ok(Answer::Wait(patience.unwrap_or(Patience::Endless)))
    }

    pub(super) fn notify(&mut self, request: &LockNotifyRequest, turn: &Turn) -> Result<LockNotifyResponse, Refusal> {
        let n = u64::try_from(request.n.unwrap_or(1)).map_err(|_| {
            let problem = "n is negative: say how many are to be notified, or leave it out for one";
            Refusal::new(Reason::OutOfRange, problem)
        })?;
        check_name(&request.condition)?;
        self.held_by(turn.call.session, request.fence, request.actor)?;
        let n = if request.all { u64::MAX } else { n };
        let condition: Arc<str> = request.condition.as_str().into();
        let mut notified = 0;
        while notified < n && self.notify_one(&condition) {
            notified += 1;
        }
        Ok(LockNotifyResponse { notified })
    }

    /// Lets the call return that has waited on this condition longest. Tells whether there was one.
    ///
    /// Where the lock is free it is to be handed on afterwards.
    pub(super) fn notify_one(&mut self, condition: &Arc<str>) -> bool {
        let Some((call, sleeper)) = self.conditions.pop(condition) else { return false };
        self.return_later(call, sleeper, Some(Arc::clone(condition)));
        true
    }

    /// A call does not wait on a condition any more, but for the lock.
    pub(super) fn return_later(&mut self, call: CallId, sleeper: Sleeper, notified_on: Option<Arc<str>>) {
        let Sleeper { actor, depth } = sleeper;
        self.waiting.push(call, Waiter { actor, claim: Claim::Return { depth, notified_on } });
    }
}

/// The answer to a `Wait` that has the lock again.
pub(super) fn returned(notified: bool, fence: u64, abandoned: Option<holdfast_proto::Abandoned>) -> Reply {
    Reply::Wait(LockWaitResponse { notified, fence, abandoned })
}
