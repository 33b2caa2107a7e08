//! A shared lock for many readers or one writer: kind `rwlock`.

mod state;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::rwlock::{Op, Reply, Spec};
use holdfast_proto::{
    Abandoned, Reason, Refusal, RwlockAcquireReadResponse, RwlockAcquireWriteResponse, RwlockDescribeResponse,
    RwlockDowngradeRequest, RwlockDowngradeResponse, RwlockReleaseReadRequest, RwlockReleaseReadResponse,
    RwlockReleaseWriteRequest, RwlockReleaseWriteResponse, RwlockResetResponse,
};

use crate::holding::{self, Fate, Policy};
use crate::mutant::{Mutant, mutant};
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

pub use state::{ReaderState, State, WaiterState, WriterState};

/// A lock that many hold for reading, or one for writing.
///
/// - Whoever writes is alone: there is at most one writer, and no reader beside it.
/// - Who came first is served first: nobody waits who could have it, and nobody has it who came after one that waits.
///   So readers that wait next to each other get it together, and neither readers nor writers wait for ever while each who
///   has it gives it back.
/// - Nobody has it, or waits, while it is broken.
/// - The fence of a grant is that of the turn in which it was granted. Readers that were granted it together share one.
/// - After a writer was lost, readers are told so until a writer is.
#[derive(Debug)]
pub struct Rwlock {
    spec: Spec,
    policy: Policy,
    writer: Option<Writer>,
    readers: Readers,
    waiting: WaitQueue<Mode>,
    /// The writer that was lost, until another is told.
    abandoned: Option<Abandoned>,
    /// The writer that broke it.
    broken: Option<Abandoned>,
}

/// How many grants for reading a session can have before it is refused another.
const READS_MAX: usize = 10_000;

/// What it is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

#[derive(Clone, Debug)]
struct Writer {
    /// `None` once it has ended.
    session: Option<SessionId>,
    fence: u64,
    /// The call by which it was taken.
    call: u64,
    /// What it was told when it was granted.
    told: Option<Abandoned>,
}

/// The grants for reading.
#[derive(Debug, Default)]
struct Readers {
    /// Those of each session that has one.
    by_session: BTreeMap<SessionId, Reads>,
    len: usize,
}

/// The grants for reading of one session.
///
/// Those that were made together have one fence, so a release cannot say which of them it gives back. It is noted, as long
/// as another of them is not given back: if nobody has the answer to that call, it is the other one that is to be taken back.
#[derive(Debug, Default)]
struct Reads {
    /// In the order in which they were granted.
    grants: Vec<Grant>,
    given_back: Vec<Grant>,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    /// The call by which it was taken.
    call: u64,
    fence: u64,
}

impl Object for Rwlock {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, _: &mut Creation) -> Result<Self, Refusal> {
        let policy = Policy::read(spec.on_loss, spec.on_close)?;
        Ok(Self {
            spec,
            policy,
            writer: None,
            readers: Readers::default(),
            waiting: WaitQueue::default(),
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
            Op::AcquireRead(request) => self.acquire(Mode::Read, request.patience_ms, turn).into(),
            Op::AcquireWrite(request) => self.acquire(Mode::Write, request.patience_ms, turn).into(),
            Op::ReleaseRead(request) => self.release_read(&request, turn).map(Reply::ReleaseRead).into(),
            Op::ReleaseWrite(request) => self.release_write(&request, turn).map(Reply::ReleaseWrite).into(),
            Op::Downgrade(request) => self.downgrade(&request, turn).map(Reply::Downgrade).into(),
            Op::Describe(_) => Answer::Done(Reply::Describe(self.describe(turn.call.session))),
            Op::Reset(_) => self.reset(turn).map(Reply::Reset).into(),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let Some(mode) = self.waiting.remove(call) else { return false };
        turn.end_in_vain(call, why, mode.in_vain());
        // It may have stood between readers and others that wait.
        self.hand_on(turn);
        true
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        let has_written = |writer: &&mut Writer| writer.session == Some(call.session) && writer.call == call.number;
        if let Some(writer) = self.writer.as_mut().filter(has_written) {
            // What it was told, nobody has heard.
            self.abandoned = writer.told.take();
            self.writer = None;
        } else {
            self.readers.remove(call.session, |reads| reads.take_back(call.number));
        }
        self.hand_on(turn);
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.waiting.remove_session(session);
        self.readers.remove_session(session);
        if let Some(writer) = self.writer.as_mut().filter(|writer| writer.session == Some(session)) {
            match self.policy.fate(how) {
                Fate::Release => self.writer = None,
                Fate::Abandon => {
                    self.abandoned = Some(holding::abandoned(writer.fence, turn));
                    self.writer = None;
                }
                Fate::Keep => writer.session = None,
                Fate::Break => {
                    let by = holding::abandoned(writer.fence, turn);
                    self.break_down(by, turn);
                }
            }
        }
        self.hand_on(turn);
    }

    fn involves(&self, session: SessionId) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.session == Some(session))
            || self.readers.of(session) > 0
            || self.waiting.involves(session)
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.waiting.iter().for_each(|(call, _)| visit(call));
    }

    fn admits(&self, spec: &Spec) -> Result<(), Refusal> {
        if *spec == self.spec {
            return Ok(());
        }
        let shown = |spec: &Spec| format!("{}, {}", spec.on_loss().as_str_name(), spec.on_close().as_str_name());
        let problem = format!("this lock is {}, not {}: open it as it is", shown(&self.spec), shown(spec));
        Err(Refusal::new(Reason::OtherSpec, problem))
    }

    fn is_vacant(&self) -> bool {
        self.spec == Spec::default()
            && self.writer.is_none()
            && self.readers.len == 0
            && self.abandoned.is_none()
            && self.broken.is_none()
            && self.waiting.is_empty()
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn visit_references(&self, _: &mut dyn FnMut(&Reference)) {}

    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {
        assert!(self.writer.is_none() || self.readers.len == 0, "somebody reads while another writes");
        if let Some((_, first)) = self.waiting.first() {
            assert!(!self.can_have(*first), "a call waits that could have it");
        }
        assert!(self.writer.is_none() || self.abandoned.is_none(), "the writer was not told");
        if self.broken.is_some() {
            let is_unused = self.writer.is_none() && self.readers.len == 0 && self.waiting.is_empty();
            assert!(is_unused, "it is broken and somebody has it or waits");
        }
        let grants = || self.readers.by_session.values().map(|reads| &reads.grants);
        assert_eq!(grants().map(Vec::len).sum::<usize>(), self.readers.len);
        assert!(grants().all(|grants| !grants.is_empty() && grants.is_sorted_by_key(|grant| grant.fence)));
        for Reads { grants, given_back } in self.readers.by_session.values() {
            let fences: Vec<u64> = grants.iter().map(|grant| grant.fence).collect();
            assert!(
                given_back.iter().all(|grant| fences.contains(&grant.fence)),
                "none is left that it may have meant"
            );
        }
    }
}

impl Rwlock {
    fn acquire(&mut self, mode: Mode, patience_ms: Option<i64>, turn: &Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(patience_ms)?;
        if let Some(by) = &self.broken {
            return Err(holding::broken(by));
        }
        if mode == Mode::Read && self.readers.of(turn.call.session) >= READS_MAX {
            let problem = format!("the session reads {READS_MAX} times already, which is the most: release some");
            return Err(Refusal::new(Reason::Quota, problem));
        }
        let passes = mode == Mode::Read && mutant(Mutant::ReaderPassesWriter);
        if (self.waiting.is_empty() || passes) && self.can_have(mode) {
            return Ok(Answer::Done(self.grant(turn.call, mode, turn.fence)));
        }
        let Some(patience) = patience else { return Ok(Answer::Done(mode.in_vain())) };
        turn.may_wait(self.waiting.len())?;
        self.waiting.push(turn.call, mode);
        Ok(Answer::Wait(patience))
    }

    fn release_read(
        &mut self,
        request: &RwlockReleaseReadRequest,
        turn: &mut Turn,
    ) -> Result<RwlockReleaseReadResponse, Refusal> {
        let session = turn.call.session;
        let released = self.readers.remove(session, |reads| reads.give_back(request.fence));
        if !released {
            return Err(match request.fence {
                Some(fence) => {
                    let problem =
                        format!("the session does not read with the fence {fence}: that was released, or never its");
                    Refusal::new(Reason::StaleFence, problem)
                }
                None => Refusal::new(Reason::NotHeld, "the session does not read: acquire it before it is released"),
            });
        }
        self.hand_on(turn);
        Ok(RwlockReleaseReadResponse { left: self.readers.of(session) as u64 })
    }

    fn release_write(
        &mut self,
        request: &RwlockReleaseWriteRequest,
        turn: &mut Turn,
    ) -> Result<RwlockReleaseWriteResponse, Refusal> {
        self.check_writer(turn.call.session, request.fence)?;
        self.writer = None;
        self.hand_on(turn);
        Ok(RwlockReleaseWriteResponse {})
    }

    fn downgrade(
        &mut self,
        request: &RwlockDowngradeRequest,
        turn: &mut Turn,
    ) -> Result<RwlockDowngradeResponse, Refusal> {
        self.check_writer(turn.call.session, request.fence)?;
        self.writer = None;
        self.readers.push(turn.call, turn.fence);
        self.hand_on(turn);
        Ok(RwlockDowngradeResponse { fence: turn.fence })
    }

    /// Whether the caller may give the grant for writing back. Refused: `NOT_HELD`, `STALE_FENCE`.
    fn check_writer(&self, session: SessionId, fence: Option<u64>) -> Result<(), Refusal> {
        let Some(writer) = &self.writer else {
            return Err(match fence {
                Some(fence) => {
                    let problem =
                        format!("nobody writes, and the fence {fence} is over: it was released, or taken away");
                    Refusal::new(Reason::StaleFence, problem)
                }
                None => Refusal::new(Reason::NotHeld, "nobody writes: acquire it for writing first"),
            });
        };
        if let Some(fence) = fence.filter(|fence| *fence != writer.fence) {
            let current = writer.fence;
            let problem =
                format!("it is written with the fence {current}, not with {fence} any more: it has passed on");
            return Err(Refusal::new(Reason::StaleFence, problem));
        }
        let is_theirs = match writer.session {
            Some(writing) => writing == session,
            // The writer is gone. Who knows its fence was told by it.
            None => fence.is_some(),
        };
        if is_theirs {
            return Ok(());
        }
        let problem = match writer.session {
            Some(_) => "another session writes: only that one gives it back",
            None => "the session that wrote has ended and keeps it: name its fence, or reset the lock",
        };
        Err(Refusal::new(Reason::NotHeld, problem))
    }

    fn describe(&self, session: SessionId) -> RwlockDescribeResponse {
        let writer = self.writer.as_ref();
        RwlockDescribeResponse {
            writing: writer.is_some(),
            fence: writer.map_or(0, |writer| writer.fence),
            yours: writer.is_some_and(|writer| writer.session == Some(session)),
            reading: self.readers.len as u64,
            yours_reading: self.readers.of(session) as u64,
            waiting: self.waiting.len() as u64,
            broken_by: self.broken.clone(),
            kept: writer.is_some_and(|writer| writer.session.is_none()),
        }
    }

    fn reset(&mut self, turn: &mut Turn) -> Result<RwlockResetResponse, Refusal> {
        let is_written = self.writer.as_ref().is_some_and(|writer| writer.session.is_some());
        if is_written || self.readers.len > 0 {
            let problem = "a session that goes on reads or writes: it gives it back, or its end does";
            return Err(Refusal::new(Reason::NotHeld, problem));
        }
        let was_kept = self.writer.take().is_some();
        let was_broken = self.broken.take().is_some();
        self.hand_on(turn);
        Ok(RwlockResetResponse { was_reset: was_kept || was_broken })
    }

    /// Nobody has it any more, and nobody can.
    fn break_down(&mut self, by: Abandoned, turn: &mut Turn) {
        self.writer = None;
        while let Some((call, _)) = self.waiting.pop() {
            turn.refuse(call, holding::broken(&by));
        }
        self.broken = Some(by);
    }

    /// Whether it can be had for this beside those who have it.
    fn can_have(&self, mode: Mode) -> bool {
        self.writer.is_none() && (mode == Mode::Read || self.readers.len == 0)
    }

    /// It goes to those who have waited longest, as far as they can have it together.
    fn hand_on(&mut self, turn: &mut Turn) {
        while let Some((call, &mode)) = self.waiting.first() {
            if !self.can_have(mode) {
                break;
            }
            self.waiting.pop();
            let reply = self.grant(call, mode, turn.fence);
            turn.wake(call, reply);
        }
    }

    fn grant(&mut self, call: CallId, mode: Mode, fence: u64) -> Reply {
        let abandoned = self.abandoned.clone();
        match mode {
            Mode::Read => {
                self.readers.push(call, fence);
                Reply::AcquireRead(RwlockAcquireReadResponse { acquired: true, fence, abandoned })
            }
            Mode::Write => {
                let told = self.abandoned.take();
                self.writer = Some(Writer { session: Some(call.session), fence, call: call.number, told });
                Reply::AcquireWrite(RwlockAcquireWriteResponse { acquired: true, fence, abandoned })
            }
        }
    }
}

impl Mode {
    /// The answer to who waited in vain.
    fn in_vain(self) -> Reply {
        match self {
            Self::Read => Reply::AcquireRead(RwlockAcquireReadResponse::default()),
            Self::Write => Reply::AcquireWrite(RwlockAcquireWriteResponse::default()),
        }
    }
}

impl Readers {
    /// How many grants a session has.
    fn of(&self, session: SessionId) -> usize {
        self.by_session.get(&session).map_or(0, |reads| reads.grants.len())
    }

    fn push(&mut self, call: CallId, fence: u64) {
        self.by_session.entry(call.session).or_default().grants.push(Grant { call: call.number, fence });
        self.len += 1;
    }

    /// Takes one grant of a session in this way, which tells whether there was one.
    fn remove(&mut self, session: SessionId, take: impl FnOnce(&mut Reads) -> bool) -> bool {
        let Some(reads) = self.by_session.get_mut(&session) else { return false };
        let taken = take(reads);
        self.len -= usize::from(taken);
        if reads.grants.is_empty() {
            self.by_session.remove(&session);
        }
        taken
    }

    fn remove_session(&mut self, session: SessionId) {
        self.len -= self.by_session.remove(&session).map_or(0, |reads| reads.grants.len());
    }
}

impl Reads {
    /// Gives back the newest, of those with this fence.
    fn give_back(&mut self, fence: Option<u64>) -> bool {
        let Some(at) = self.grants.iter().rposition(|grant| fence.is_none_or(|fence| fence == grant.fence)) else {
            return false;
        };
        let grant = self.grants.remove(at);
        self.given_back.push(grant);
        self.tidy(grant.fence);
        true
    }

    /// Nobody has the answer to this call: takes back what it was granted, or, if that was given back in the place of another
    /// with the same fence, that one.
    fn take_back(&mut self, call: u64) -> bool {
        if let Some(at) = self.grants.iter().position(|grant| grant.call == call) {
            let grant = self.grants.remove(at);
            self.tidy(grant.fence);
            return true;
        }
        let Some(at) = self.given_back.iter().position(|grant| grant.call == call) else { return false };
        let Grant { fence, .. } = self.given_back.remove(at);
        self.give_back(Some(fence))
    }

    /// Forgets what was given back with this fence, if nothing is left that was meant instead.
    fn tidy(&mut self, fence: u64) {
        if !self.grants.iter().any(|grant| grant.fence == fence) {
            self.given_back.retain(|grant| grant.fence != fence);
        }
    }
}

#[cfg(test)]
mod tests;
