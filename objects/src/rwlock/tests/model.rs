use std::collections::BTreeMap;

use super::*;
use crate::catalog::AnyReply;
use crate::testing::model::{Model, compare, refused};
use crate::turn::withdrawn;

/// A lock for readers and writers, as lists.
#[derive(Debug)]
struct Plain {
    spec: Spec,
    /// All who have it, in the order in which they were granted it.
    held: Vec<Held>,
    /// Reads that were given back, while others of their session with their fence were not.
    given_back: Vec<Held>,
    /// All who wait, in their order.
    line: Vec<(CallId, Mode)>,
    abandoned: Option<Abandoned>,
    broken_by: Option<Abandoned>,
}

#[derive(Clone, Debug)]
struct Held {
    mode: Mode,
    session: Option<SessionId>,
    call: u64,
    fence: u64,
    told: Option<Abandoned>,
}

impl Plain {
    fn writer(&self) -> Option<&Held> {
        self.held.iter().find(|held| held.mode == Mode::Write)
    }

    fn fits(&self, mode: Mode) -> bool {
        self.held.is_empty() || (mode == Mode::Read && self.held.iter().all(|held| held.mode == Mode::Read))
    }

    fn acquire(&mut self, mode: Mode, patience_ms: Option<i64>, turn: &mut Turn) -> Answer<Reply> {
        if patience_ms.is_some_and(|ms| ms < 0) {
            return refused(Reason::OutOfRange);
        }
        if self.broken_by.is_some() {
            return refused(Reason::Broken);
        }
        // Everybody stands in line, if only for a moment.
        self.line.push((turn.call, mode));
        self.serve(turn);
        if self.line.last() != Some(&(turn.call, mode)) {
            assert_eq!(turn.woken.len(), 1, "nobody waited who could have it");
            return match turn.woken.remove(0).answer {
                Answer::Done(AnyReply::Rwlock(reply)) => Answer::Done(reply),
                other => panic!("{other:?}"),
            };
        }
        match patience_ms {
            Some(0) => {
                self.line.pop();
                Answer::Done(in_vain(mode))
            }
            Some(ms) => Answer::Wait(Patience::For(core::time::Duration::from_millis(ms as u64))),
            None => Answer::Wait(Patience::Endless),
        }
    }

    fn serve(&mut self, turn: &mut Turn) {
        while let Some(&(call, mode)) = self.line.first().filter(|(_, mode)| self.fits(*mode)) {
            self.line.remove(0);
            let (acquired, fence, abandoned) = (true, turn.fence, self.abandoned.clone());
            let told = if mode == Mode::Write { self.abandoned.take() } else { None };
            self.held.push(Held { mode, session: Some(call.session), call: call.number, fence, told });
            turn.wake(
                call,
                match mode {
                    Mode::Read => Reply::AcquireRead(RwlockAcquireReadResponse { acquired, fence, abandoned }),
                    Mode::Write => Reply::AcquireWrite(RwlockAcquireWriteResponse { acquired, fence, abandoned }),
                },
            );
        }
    }

    fn release_read(&mut self, fence: Option<u64>, turn: &mut Turn) -> Answer<Reply> {
        let session = turn.call.session;
        let is_theirs = |held: &Held| held.mode == Mode::Read && held.session == Some(session);
        let found = self.held.iter().rposition(|held| is_theirs(held) && fence.is_none_or(|fence| fence == held.fence));
        let Some(at) = found else {
            return refused(if fence.is_some() { Reason::StaleFence } else { Reason::NotHeld });
        };
        let given_back = self.held.remove(at);
        self.given_back.push(given_back);
        self.forget();
        self.serve(turn);
        let left = self.held.iter().filter(|held| is_theirs(held)).count();
        Answer::Done(Reply::ReleaseRead(RwlockReleaseReadResponse { left: left as u64 }))
    }

    fn forget(&mut self) {
        let held = &self.held;
        self.given_back.retain(|one| held.iter().any(|other| (other.session, other.fence) == (one.session, one.fence)));
    }

    fn take_writer(&mut self, session: SessionId, fence: Option<u64>) -> Result<(), Reason> {
        let Some(writer) = self.writer() else {
            return Err(if fence.is_some() { Reason::StaleFence } else { Reason::NotHeld });
        };
        match (writer.session, fence) {
            (_, Some(fence)) if fence != writer.fence => Err(Reason::StaleFence),
            (Some(writing), _) if writing != session => Err(Reason::NotHeld),
            (None, None) => Err(Reason::NotHeld),
            _ => {
                self.held.clear();
                Ok(())
            }
        }
    }
}

fn in_vain(mode: Mode) -> Reply {
    match mode {
        Mode::Read => Reply::AcquireRead(RwlockAcquireReadResponse::default()),
        Mode::Write => Reply::AcquireWrite(RwlockAcquireWriteResponse::default()),
    }
}

impl Model<Rwlock> for Plain {
    fn new(spec: Spec) -> Self {
        Self { spec, held: vec![], given_back: vec![], line: vec![], abandoned: None, broken_by: None }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        let session = turn.call.session;
        match op {
            Op::AcquireRead(request) => self.acquire(Mode::Read, request.patience_ms, turn),
            Op::AcquireWrite(request) => self.acquire(Mode::Write, request.patience_ms, turn),
            Op::ReleaseRead(request) => self.release_read(request.fence, turn),
            Op::ReleaseWrite(request) => match self.take_writer(session, request.fence) {
                Err(why) => refused(why),
                Ok(()) => {
                    self.serve(turn);
                    Answer::Done(Reply::ReleaseWrite(RwlockReleaseWriteResponse {}))
                }
            },
            Op::Downgrade(request) => match self.take_writer(session, request.fence) {
                Err(why) => refused(why),
                Ok(()) => {
                    let (call, fence) = (turn.call.number, turn.fence);
                    self.held.push(Held { mode: Mode::Read, session: Some(session), call, fence, told: None });
                    self.serve(turn);
                    Answer::Done(Reply::Downgrade(RwlockDowngradeResponse { fence }))
                }
            },
            Op::Describe(_) => {
                let writer = self.writer();
                let readers = || self.held.iter().filter(|held| held.mode == Mode::Read);
                Answer::Done(Reply::Describe(RwlockDescribeResponse {
                    writing: writer.is_some(),
                    fence: writer.map_or(0, |writer| writer.fence),
                    yours: writer.is_some_and(|writer| writer.session == Some(session)),
                    reading: readers().count() as u64,
                    yours_reading: readers().filter(|held| held.session == Some(session)).count() as u64,
                    waiting: self.line.len() as u64,
                    broken_by: self.broken_by.clone(),
                    kept: writer.is_some_and(|writer| writer.session.is_none()),
                }))
            }
            Op::Reset(_) => {
                if self.held.iter().any(|held| held.session.is_some()) {
                    return refused(Reason::NotHeld);
                }
                let was_reset = !self.held.is_empty() || self.broken_by.is_some();
                self.held.clear();
                self.broken_by = None;
                self.serve(turn);
                Answer::Done(Reply::Reset(RwlockResetResponse { was_reset }))
            }
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) {
        let Some(at) = self.line.iter().position(|(waiting, _)| *waiting == call) else { return };
        let (_, mode) = self.line.remove(at);
        match why {
            Withdrawal::Patience => turn.wake(call, in_vain(mode)),
            Withdrawal::Cancelled => turn.refuse(call, withdrawn()),
        }
        self.serve(turn);
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        let granted = |held: &Held| held.session == Some(call.session) && held.call == call.number;
        let mut at = self.held.iter().position(granted);
        if let Some(given_back) = self.given_back.iter().position(granted) {
            let Held { session, fence, .. } = self.given_back.remove(given_back);
            at = self.held.iter().rposition(|held| (held.session, held.fence) == (session, fence));
            self.given_back.push(self.held[at.expect("it is forgotten when no other is left")].clone());
        }
        if let Some(at) = at {
            let held = self.held.remove(at);
            if held.mode == Mode::Write {
                self.abandoned = held.told;
            }
        }
        self.forget();
        self.serve(turn);
    }

    fn acknowledge(&mut self, _: CallId) {}

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.line.retain(|(call, _)| call.session != session);
        let (theirs, others): (Vec<Held>, Vec<Held>) =
            self.held.drain(..).partition(|held| held.session == Some(session));
        self.held = others;
        self.forget();
        for writer in theirs.into_iter().filter(|held| held.mode == Mode::Write) {
            let lost = Abandoned { fence: writer.fence, name: "worker".into(), pid: 7, host: "here".into() };
            match (how, self.spec.on_loss(), self.spec.on_close()) {
                (Ended::Closed, _, OnClose::Release) => {}
                (Ended::Closed, _, OnClose::Keep) | (Ended::Lost, OnLoss::Keep, _) => {
                    self.held.push(Held { session: None, ..writer });
                }
                (Ended::Lost, OnLoss::Release, _) => self.abandoned = Some(lost),
                (Ended::Lost, OnLoss::Break, _) => {
                    self.broken_by = Some(lost);
                    self.line.drain(..).for_each(|(call, _)| turn.refuse(call, Refusal::new(Reason::Broken, "")));
                }
            }
        }
        self.serve(turn);
    }

    fn with_good_fence(&self, mut op: Op) -> Op {
        let writing = self.writer().map(|writer| writer.fence);
        match &mut op {
            Op::ReleaseRead(request) => request.fence = self.held.first().map(|held| held.fence),
            Op::ReleaseWrite(request) => request.fence = writing,
            Op::Downgrade(request) => request.fence = writing,
            Op::AcquireRead(_) | Op::AcquireWrite(_) | Op::Describe(_) | Op::Reset(_) => {}
        }
        op
    }
}

#[test]
fn it_does_what_the_model_does() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    compare::<Rwlock, Plain>(600, 300, &mut |woken| {
        let what = match &woken.answer {
            Answer::Done(AnyReply::Rwlock(Reply::AcquireRead(response))) if response.acquired => "reads",
            Answer::Done(AnyReply::Rwlock(Reply::AcquireWrite(response))) if response.acquired => "writes",
            Answer::Done(_) => "waited in vain",
            Answer::Refused(refusal) if refusal.why() == Reason::Broken => "broken",
            Answer::Refused(refusal) if refusal.why() == Reason::Withdrawn => "withdrawn",
            other => panic!("{other:?}"),
        };
        *seen.entry(what).or_default() += 1;
    });
    assert!(seen.len() == 5 && seen.values().all(|times| *times > 100), "{seen:?}");
}
