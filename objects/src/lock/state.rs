//! The saved state of a lock.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use holdfast_proto::lock::Spec;
use holdfast_proto::{Abandoned, Reason, Refusal};

use super::condition::{Conditions, Sleeper, check_name};
use super::{Claim, DEPTH_MAX, Holder, Lock, MATCHED_MAX, Waiter};
use crate::wait_queue::WaitQueue;
use crate::{CallId, SessionId};

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
    /// Who waits on its conditions, those of one condition in their order.
    #[prost(message, repeated, tag = "6")]
    pub conditions: Vec<ConditionState>,
    /// The calls that returned after a notify, and whose callers may not know it yet.
    #[prost(message, repeated, tag = "7")]
    pub unread: Vec<UnreadState>,
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
    /// The last calls that were matched by a release.
    #[prost(uint64, repeated, tag = "6")]
    pub matched: Vec<u64>,
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
    /// For one that returns from a condition: how often it had the lock. 0 for one that came for the lock itself.
    #[prost(uint32, tag = "4")]
    pub depth: u32,
    /// For one that was notified: on which condition.
    #[prost(string, optional, tag = "5")]
    pub notified_on: Option<String>,
}

/// A condition that somebody waits on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConditionState {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Who waits on it.
    #[prost(message, repeated, tag = "2")]
    pub waiting: Vec<WaiterState>,
}

/// A call that returned after a notify.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnreadState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// The condition that it was notified on.
    #[prost(string, tag = "3")]
    pub condition: String,
}

impl Lock {
    /// The whole state.
    pub(super) fn saved(&self) -> State {
        let condition = |(name, queue): (&str, &WaitQueue<Sleeper>)| ConditionState {
            name: name.into(),
            waiting: queue.iter().map(|(call, sleeper)| waiter_state(call, sleeper.actor, sleeper.depth)).collect(),
        };
        let unread = |(call, condition): (&CallId, &Arc<str>)| UnreadState {
            session: call.session.0.into(),
            number: call.number,
            condition: String::from(&**condition),
        };
        State {
            spec: self.spec,
            holder: self.holder.as_ref().map(Holder::state),
            waiting: self.waiting.iter().map(|(call, waiter)| waiter.state(call)).collect(),
            abandoned: self.abandoned.clone(),
            broken: self.broken.clone(),
            conditions: self.conditions.iter().map(condition).collect(),
            unread: self.unread.iter().map(unread).collect(),
        }
    }

    /// Makes a new lock one with this state. Refused: `MALFORMED`.
    pub(super) fn load(&mut self, state: State) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        self.holder = state.holder.map(Holder::restore).transpose()?;
        for waiter in state.waiting {
            let (call, waiter) = (once(&mut seen, &waiter.session, waiter.number)?, Waiter::restore(waiter)?);
            self.waiting.push(call, waiter);
        }
        self.conditions = restore_conditions(state.conditions, &mut seen)?;
        self.unread = restore_unread(state.unread, &mut seen)?;
        (self.abandoned, self.broken) = (state.abandoned, state.broken);
        Ok(())
    }
}

fn restore_conditions(states: Vec<ConditionState>, seen: &mut BTreeSet<CallId>) -> Result<Conditions, Refusal> {
    let mut conditions = Conditions::default();
    for state in states {
        check_name(&state.name)?;
        for waiter in state.waiting {
            let call = once(seen, &waiter.session, waiter.number)?;
            check_depth(u64::from(waiter.depth))?;
            conditions.push(&state.name, call, Sleeper { actor: waiter.actor, depth: waiter.depth });
        }
    }
    Ok(conditions)
}

fn restore_unread(
    states: Vec<UnreadState>,
    seen: &mut BTreeSet<CallId>,
) -> Result<BTreeMap<CallId, Arc<str>>, Refusal> {
    let read = |state: UnreadState| {
        let call = once(seen, &state.session, state.number)?;
        check_name(&state.condition)?;
        Ok((call, state.condition.into()))
    };
    states.into_iter().map(read).collect()
}

impl Holder {
    fn restore(state: HolderState) -> Result<Self, Refusal> {
        let HolderState { session, actor, fence, calls, told, matched } = state;
        let session = if session.is_empty() { None } else { Some(SessionId::read(&session)?) };
        check_depth(calls.len() as u64)?;
        if matched.len() > MATCHED_MAX {
            return Err(Refusal::new(Reason::Malformed, "a lock that is held knows the last calls that were matched"));
        }
        Ok(Self { session, actor, fence, calls, matched, told })
    }

    fn state(&self) -> HolderState {
        HolderState {
            session: self.session.map(|session| session.0.into()).unwrap_or_default(),
            actor: self.actor,
            fence: self.fence,
            calls: self.calls.clone(),
            matched: self.matched.clone(),
            told: self.told.clone(),
        }
    }
}

impl Waiter {
    fn restore(state: WaiterState) -> Result<Self, Refusal> {
        let claim = match (state.depth, state.notified_on) {
            (0, None) => Claim::Acquire,
            (depth, notified_on) => {
                check_depth(u64::from(depth))?;
                check_name(notified_on.as_deref().unwrap_or_default())?;
                Claim::Return { depth, notified_on: notified_on.map(Arc::from) }
            }
        };
        Ok(Self { actor: state.actor, claim })
    }

    fn state(&self, call: CallId) -> WaiterState {
        match &self.claim {
            Claim::Acquire => waiter_state(call, self.actor, 0),
            Claim::Return { depth, notified_on } => {
                let notified_on = notified_on.as_deref().map(String::from);
                WaiterState { notified_on, ..waiter_state(call, self.actor, *depth) }
            }
        }
    }
}

fn waiter_state(call: CallId, actor: u64, depth: u32) -> WaiterState {
    WaiterState { session: call.session.0.into(), number: call.number, actor, depth, notified_on: None }
}

/// A call that is in one place of the state at most. Refused: `MALFORMED`.
fn once(seen: &mut BTreeSet<CallId>, session: &[u8], number: u64) -> Result<CallId, Refusal> {
    let call = CallId { session: SessionId::read(session)?, number };
    if seen.insert(call) {
        return Ok(call);
    }
    Err(Refusal::new(Reason::Malformed, "the saved state of the lock has a call twice: it was damaged"))
}

/// Refused: `MALFORMED`.
fn check_depth(depth: u64) -> Result<(), Refusal> {
    if (1..=DEPTH_MAX as u64).contains(&depth) {
        return Ok(());
    }
    Err(Refusal::new(Reason::Malformed, "a lock that is held was taken a number of times"))
}
