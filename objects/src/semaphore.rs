//! A shared semaphore: kind `semaphore`.

mod grants;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::semaphore::{Op, Reply, Spec};
use holdfast_proto::{
    Abandoned, OnClose, OnLoss, Reason, Refusal, SemaphoreAcquireRequest, SemaphoreAcquireResponse,
    SemaphoreDescribeResponse, SemaphoreGrant, SemaphoreReleaseRequest, SemaphoreReleaseResponse,
    SemaphoreResetResponse,
};

use self::grants::{Grant, GrantId, Grants, of, with};
use crate::holding::{self, Fate, Policy};
use crate::mutant::{Mutant, mutant};
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, CallState, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

/// A semaphore: permits, which sessions take and give back.
///
/// - Nobody waits while there are permits enough for who has waited longest, or while it is broken.
/// - Permits go to who has waited longest, all that it asked for at once. Who asks while somebody waits is behind, also if there
///   are enough for it.
/// - Permits that belong to sessions are neither made nor lost: those that are free, held, and kept are as many as at first.
/// - Of those that belong to nobody there are never more than at first if it is bounded.
/// - The fence of a grant is that of the turn in which it was granted.
/// - Of each session that was lost while it had permits, one who is granted some is told, once.
#[derive(Debug)]
pub struct Semaphore {
    spec: Spec,
    policy: Policy,
    /// How many permits there were at first.
    initial: u64,
    free: u64,
    /// Who has the others. Empty where they belong to nobody.
    grants: Grants,
    /// What calls were granted that may not have their answer yet, where permits belong to nobody. Elsewhere the grants tell.
    unacknowledged: BTreeMap<CallId, u64>,
    /// How many permits each waits for.
    waiting: WaitQueue<u64>,
    /// Who was lost, until somebody is told. No more than there ever were grants at once: each grant tells of one.
    abandoned: VecDeque<Abandoned>,
    /// Who broke it.
    broken: Option<Abandoned>,
}

/// The most permits.
const PERMITS_MAX: u64 = i64::MAX as u64;

/// The most grants that a description lists.
const LISTED_MAX: usize = 100;

/// All there is to know about a [`Semaphore`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// How many permits are free.
    #[prost(uint64, tag = "2")]
    pub free: u64,
    /// Who has the others.
    #[prost(message, repeated, tag = "3")]
    pub grants: Vec<GrantState>,
    /// What was granted to calls that may not have their answer yet, where permits belong to nobody.
    #[prost(message, repeated, tag = "4")]
    pub unacknowledged: Vec<PermitsState>,
    /// Who waits, in their order.
    #[prost(message, repeated, tag = "5")]
    pub waiting: Vec<PermitsState>,
    /// Who was lost, until somebody is told.
    #[prost(message, repeated, tag = "6")]
    pub abandoned: Vec<Abandoned>,
    /// Who broke it.
    #[prost(message, optional, tag = "7")]
    pub broken: Option<Abandoned>,
}

/// What is left of a grant.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GrantState {
    /// The call that was granted it. Not set where its session has ended.
    #[prost(message, optional, tag = "1")]
    pub call: Option<CallState>,
    /// The fence of the grant.
    #[prost(uint64, tag = "2")]
    pub fence: u64,
    /// How many permits.
    #[prost(uint64, tag = "3")]
    pub permits: u64,
    /// What the call was told.
    #[prost(message, optional, tag = "4")]
    pub told: Option<Abandoned>,
    /// How many more were given back, while something is left with this fence.
    #[prost(uint64, tag = "5")]
    pub given_back: u64,
}

/// A call, and the permits that it waits for or was granted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PermitsState {
    /// Which call.
    #[prost(message, required, tag = "1")]
    pub call: CallState,
    /// How many permits.
    #[prost(uint64, tag = "2")]
    pub permits: u64,
}

impl Object for Semaphore {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, _: &mut Creation) -> Result<Self, Refusal> {
        let initial = u64::try_from(spec.value.unwrap_or(1)).map_err(|_| {
            Refusal::new(
                Reason::OutOfRange,
                "value is negative: say how many permits there are at first, or 0 for none",
            )
        })?;
        let policy = Policy::read(spec.on_loss, spec.on_close)?;
        if spec.unowned && policy != Policy::default() {
            let problem = "permits of an unowned semaphore belong to no session: leave out on_loss and on_close";
            return Err(Refusal::new(Reason::Malformed, problem));
        }
        Ok(Self {
            spec,
            policy,
            initial,
            free: initial,
            grants: Grants::default(),
            unacknowledged: BTreeMap::new(),
            waiting: WaitQueue::default(),
            abandoned: VecDeque::new(),
            broken: None,
        })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        let State { spec, free, grants, unacknowledged, waiting, abandoned, broken } = state;
        let mut semaphore = Self::create(spec, creation)?;
        semaphore.free = free;
        for grant in grants {
            let given_back = grant.given_back;
            let (id, grant) = grant.read()?;
            if given_back == 0 {
                semaphore.grants.add(id, grant);
            } else {
                semaphore.grants.note_given_back(id, given_back, grant.told);
            }
        }
        let of_call = |permits: PermitsState| Ok((permits.call.read()?, permits.permits));
        semaphore.unacknowledged = unacknowledged.into_iter().map(of_call).collect::<Result<_, Refusal>>()?;
        semaphore.waiting = waiting.into_iter().map(of_call).collect::<Result<_, Refusal>>()?;
        (semaphore.abandoned, semaphore.broken) = (abandoned.into(), broken);
        semaphore.sound().map_err(|problem| Refusal::new(Reason::Malformed, problem))?;
        Ok(semaphore)
    }

    fn state(&self) -> State {
        let of_call = |(call, permits): (CallId, &u64)| PermitsState { call: call.into(), permits: *permits };
        State {
            spec: self.spec,
            free: self.free,
            grants: self.saved_grants(),
            unacknowledged: self.unacknowledged.iter().map(|(call, permits)| of_call((*call, permits))).collect(),
            waiting: self.waiting.iter().map(of_call).collect(),
            abandoned: self.abandoned.iter().cloned().collect(),
            broken: self.broken.clone(),
        }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Acquire(request) => self.acquire(&request, turn).into(),
            Op::Release(request) => self.release(&request, turn).map(Reply::Release).into(),
            Op::Describe(_) => Answer::Done(Reply::Describe(self.describe(turn.call.session))),
            Op::Reset(_) => Answer::Done(Reply::Reset(self.reset(turn))),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let waited = self.waiting.remove(call).is_some();
        if waited {
            turn.end_in_vain(call, why, Reply::Acquire(SemaphoreAcquireResponse::default()));
            // Those behind it may need less.
            self.serve(turn);
        }
        waited
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        if let Some(grant) = self.grants.take_call(call) {
            self.free += grant.permits;
            // What it was told, nobody has heard.
            if let Some(told) = grant.told {
                self.abandoned.push_front(told);
            }
        } else if let Some(permits) = self.unacknowledged.remove(&call) {
            // Somebody else may have given them back already: they belong to nobody.
            self.free = (self.free + permits).min(self.most());
        }
        self.serve(turn);
    }

    fn acknowledge(&mut self, call: CallId, _: &mut Turn) {
        self.unacknowledged.remove(&call);
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.waiting.remove_session(session);
        let unacknowledged: Vec<CallId> = self.unacknowledged.range(session.calls()).map(|(call, _)| *call).collect();
        for call in unacknowledged {
            self.unacknowledged.remove(&call);
        }
        let fate = self.policy.fate(how);
        if fate == Fate::Keep {
            self.grants.keep(session);
        } else if let Some((permits, fence)) = self.grants.take_session(session) {
            self.free += permits + u64::from(mutant(Mutant::SemaphoreOffByOne));
            match fate {
                Fate::Release | Fate::Keep => {}
                Fate::Abandon => self.abandoned.push_back(holding::abandoned(fence, turn)),
                Fate::Break => self.break_by(holding::abandoned(fence, turn), turn),
            }
        }
        self.serve(turn);
    }

    fn involves(&self, session: SessionId) -> bool {
        self.grants.has(session)
            || self.waiting.involves(session)
            || self.unacknowledged.range(session.calls()).next().is_some()
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.waiting.iter().for_each(|(call, _)| visit(call));
    }

    fn admits(&self, spec: &Spec) -> Result<(), Refusal> {
        let full = |spec: &Spec| Spec { value: Some(spec.value.unwrap_or(1)), ..*spec };
        if full(spec) == full(&self.spec) {
            return Ok(());
        }
        Err(Refusal::new(Reason::OtherSpec, format!("this semaphore has {}, not {}", shown(&self.spec), shown(spec))))
    }

    fn is_vacant(&self) -> bool {
        self.admits(&Spec::default()).is_ok()
            && self.free == self.initial
            && self.grants.len() == 0
            && self.waiting.is_empty()
            && self.abandoned.is_empty()
            && self.broken.is_none()
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

impl Semaphore {
    fn acquire(&mut self, request: &SemaphoreAcquireRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        let permits = number(request.permits)?.max(1);
        if permits > self.most() {
            return Err(self.too_many(permits));
        }
        if let Some(by) = &self.broken {
            return Err(holding::broken(by));
        }
        self.grants.may_grow(self.unacknowledged.len())?;
        if self.waiting.is_empty() && permits <= self.free {
            let response = Reply::Acquire(self.grant(turn.call, permits, turn.fence));
            return Ok(if self.spec.unowned { Answer::Delivered(response) } else { Answer::Done(response) });
        }
        let Some(patience) = patience else {
            return Ok(Answer::Done(Reply::Acquire(SemaphoreAcquireResponse::default())));
        };
        turn.may_wait(self.waiting.len())?;
        self.waiting.push(turn.call, permits);
        Ok(Answer::Wait(patience))
    }

    fn release(
        &mut self,
        request: &SemaphoreReleaseRequest,
        turn: &mut Turn,
    ) -> Result<SemaphoreReleaseResponse, Refusal> {
        let permits = number(request.permits)?;
        if self.spec.unowned {
            self.release_of_nobody(permits.max(1), request.fence)?;
        } else {
            self.release_of_session(turn.call.session, permits, request.fence)?;
        }
        self.serve(turn);
        Ok(SemaphoreReleaseResponse {})
    }

    fn release_of_nobody(&mut self, permits: u64, fence: Option<u64>) -> Result<(), Refusal> {
        if fence.is_some() {
            let problem = "permits of an unowned semaphore belong to no grant: release them without a fence";
            return Err(Refusal::new(Reason::Malformed, problem));
        }
        let free = self.free + permits;
        if self.spec.bounded && free > self.initial {
            let problem = format!(
                "{} of {} permits are free already, and {permits} more would be too many: release what was acquired, once",
                self.free, self.initial
            );
            return Err(Refusal::new(Reason::OverRelease, problem));
        }
        if free > PERMITS_MAX {
            let problem =
                format!("{} permits are free, and {permits} more do not fit 64 bits: release fewer", self.free);
            return Err(Refusal::new(Reason::Overflow, problem));
        }
        self.free = free;
        Ok(())
    }

    fn release_of_session(&mut self, session: SessionId, permits: u64, fence: Option<u64>) -> Result<(), Refusal> {
        let (which, held) = match fence {
            None => (of(Some(session)), self.grants.permits(of(Some(session)))),
            Some(fence) => {
                // Where its session is gone: who knows its fence was told by it.
                let both = [with(Some(session), fence), with(None, fence)].map(|which| {
                    let held = self.grants.permits(which.clone());
                    (which, held)
                });
                both.into_iter().find(|(_, held)| *held > 0).ok_or_else(|| stale(fence))?
            }
        };
        let permits = match (permits, fence) {
            (0, Some(_)) => held,
            (permits, _) => permits.max(1),
        };
        if permits > held {
            return Err(not_held(permits, held, fence));
        }
        self.grants.take(which, permits);
        self.free += permits;
        Ok(())
    }

    fn describe(&self, session: SessionId) -> SemaphoreDescribeResponse {
        let shown = |(id, grant): (&GrantId, &Grant)| SemaphoreGrant {
            fence: id.fence,
            permits: grant.permits,
            yours: id.session == Some(session),
            kept: id.session.is_none(),
        };
        SemaphoreDescribeResponse {
            value: self.free,
            waiting: self.waiting.len() as u64,
            held_by_you: self.grants.permits(of(Some(session))),
            grants: self.grants.len() as u64,
            holders: self.grants.iter().take(LISTED_MAX).map(shown).collect(),
            broken_by: self.broken.clone(),
        }
    }

    fn reset(&mut self, turn: &mut Turn) -> SemaphoreResetResponse {
        let was_broken = self.broken.take().is_some();
        let kept = self.grants.permits(of(None));
        self.grants.take(of(None), kept);
        self.free += kept;
        self.serve(turn);
        SemaphoreResetResponse { was_reset: was_broken || kept > 0 }
    }

    /// The most permits that there ever are, free or not.
    fn most(&self) -> u64 {
        if self.spec.unowned && !self.spec.bounded { PERMITS_MAX } else { self.initial }
    }

    /// Permits may have become free, or who waited longest has left: whoever can be granted now what it waits for is.
    fn serve(&mut self, turn: &mut Turn) {
        while let Some((_, permits)) = self.waiting.first()
            && *permits <= self.free
        {
            let (call, permits) = self.waiting.pop().expect("there is a first");
            let response = Reply::Acquire(self.grant(call, permits, turn.fence));
            if self.spec.unowned {
                turn.deliver(call, response);
            } else {
                turn.wake(call, response);
            }
        }
    }

    /// What is left of grants, and then what was given back of some.
    fn saved_grants(&self) -> Vec<GrantState> {
        let left = self.grants.iter().map(|(id, grant)| GrantState::new(id, grant));
        let given_back = self.grants.given_back().map(|(id, grant)| GrantState {
            permits: 0,
            given_back: grant.permits,
            ..GrantState::new(id, grant)
        });
        left.chain(given_back).collect()
    }

    fn grant(&mut self, call: CallId, permits: u64, fence: u64) -> SemaphoreAcquireResponse {
        self.free -= permits;
        let told = self.abandoned.pop_front();
        let abandoned = told.clone();
        if self.spec.unowned {
            self.unacknowledged.insert(call, permits);
        } else {
            let id = GrantId { session: Some(call.session), fence, number: call.number };
            self.grants.add(id, Grant { permits, told });
        }
        SemaphoreAcquireResponse { acquired: true, fence, abandoned, unowned: self.spec.unowned }
    }

    fn break_by(&mut self, by: Abandoned, turn: &mut Turn) {
        while let Some((call, _)) = self.waiting.pop() {
            turn.refuse(call, holding::broken(&by));
        }
        // Who was first is to be looked after first.
        self.broken.get_or_insert(by);
    }

    fn too_many(&self, permits: u64) -> Refusal {
        let initial = self.initial;
        let hint =
            if initial == 0 { ", which has none: make it unowned, if it is to be a signal" } else { ": ask for fewer" };
        Refusal::new(
            Reason::OutOfRange,
            format!("{permits} permits are more than the {initial} of this semaphore{hint}"),
        )
    }

    /// What is wrong with it, if what its type promises is not so.
    fn sound(&self) -> Result<(), &'static str> {
        let all = self.grants.iter().try_fold(self.free, |sum, (_, grant)| sum.checked_add(grant.permits));
        let is_owned = !self.spec.unowned;
        let rules = [
            (self.free <= self.most(), "a semaphore has more permits than there are"),
            (
                !is_owned || all == Some(self.initial),
                "of a semaphore's permits, as many are free and held as there were at first",
            ),
            (is_owned || self.grants.len() == 0, "permits of an unowned semaphore belong to nobody"),
            (is_owned || self.abandoned.is_empty() && self.broken.is_none(), "an unowned semaphore loses no holder"),
            (!is_owned || self.unacknowledged.is_empty(), "permits of sessions are in their grants"),
            (self.grants.iter().all(|(_, grant)| grant.permits > 0), "no grant of a semaphore is without permits"),
            (self.grants.is_tidy(), "what was given back is known while something is left with its fence"),
            (self.waiting.iter().all(|(_, permits)| (1..=self.most()).contains(permits)), "nobody waits in vain"),
            (self.waiting.first().is_none_or(|(_, first)| *first > self.free), "nobody waits for what is free"),
            (self.broken.is_none() || self.waiting.is_empty(), "nobody waits for a broken semaphore"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, problem)| Err(problem))
    }
}

impl GrantState {
    fn new(id: &GrantId, grant: &Grant) -> Self {
        let call = id.session.map(|session| CallId { session, number: id.number }.into());
        Self { call, fence: id.fence, permits: grant.permits, told: grant.told.clone(), given_back: 0 }
    }

    fn read(self) -> Result<(GrantId, Grant), Refusal> {
        let Self { call, fence, permits, told, .. } = self;
        let call = call.map(|call| call.read()).transpose()?;
        let id = GrantId { session: call.map(|call| call.session), fence, number: call.map_or(0, |call| call.number) };
        Ok((id, Grant { permits, told }))
    }
}

/// A number of permits. Refused: `OUT_OF_RANGE`.
fn number(permits: i64) -> Result<u64, Refusal> {
    u64::try_from(permits)
        .map_err(|_| Refusal::new(Reason::OutOfRange, "permits is negative: say how many, or leave it out"))
}

fn shown(spec: &Spec) -> String {
    let bounded = if spec.bounded { "bounded" } else { "not bounded" };
    let whose = if spec.unowned { "unowned" } else { "owned by sessions" };
    let (on_loss, on_close): (OnLoss, OnClose) = (spec.on_loss(), spec.on_close());
    let value = spec.value.unwrap_or(1);
    format!("the value {value} at first, {bounded}, {whose}, {}, {}", on_loss.as_str_name(), on_close.as_str_name())
}

fn stale(fence: u64) -> Refusal {
    let problem =
        format!("this session has no permits of the grant with the fence {fence}: they were released, or taken away");
    Refusal::new(Reason::StaleFence, problem)
}

fn not_held(permits: u64, held: u64, fence: Option<u64>) -> Refusal {
    let of_grant = fence.map_or(String::new(), |fence| format!(" of the grant with the fence {fence}"));
    let hint =
        "acquire before you release, or make the semaphore unowned, if others are to release what a session acquires";
    let problem = format!("this session has {held} permits{of_grant}, and cannot release {permits}: {hint}");
    Refusal::new(Reason::NotHeld, problem)
}

#[cfg(test)]
mod tests;
