use alloc::string::String;
use alloc::vec::Vec;
use std::collections::BTreeMap;

use super::*;
use crate::catalog::AnyReply;
use crate::testing::model::{Model, compare, refused};
use holdfast_proto::{LockNotifyRequest, LockNotifyResponse, LockWaitRequest, LockWaitResponse};

/// A lock with its conditions, as lists.
#[derive(Debug)]
struct Plain {
    spec: Spec,
    held: Option<Held>,
    /// Who waits for the lock, in their order.
    line: Vec<InLine>,
    /// Who waits on a condition, in their order, whichever it is.
    asleep: Vec<Asleep>,
    /// The notifies that were answered, until their callers are known to have the answer.
    unread: Vec<(CallId, String)>,
    abandoned: Option<Abandoned>,
    broken: bool,
}

#[derive(Clone, Debug)]
struct Held {
    session: Option<SessionId>,
    actor: u64,
    fence: u64,
    calls: Vec<u64>,
    /// Those that a release struck out of them.
    struck: Vec<u64>,
    told: Option<Abandoned>,
}

#[derive(Clone, Debug)]
struct Asleep {
    call: CallId,
    actor: u64,
    depth: usize,
    condition: String,
}

#[derive(Clone, Debug)]
enum InLine {
    Acquires(CallId, u64),
    Returns(Asleep, bool),
}

impl InLine {
    fn call(&self) -> CallId {
        match self {
            Self::Acquires(call, _) => *call,
            Self::Returns(asleep, _) => asleep.call,
        }
    }
}

impl Plain {
    /// The lock as it is for whom may use it: released by the holder, or who may in its place.
    fn usable(&self, session: SessionId, actor: u64, fence: Option<u64>) -> Result<&Held, Reason> {
        let without = if fence.is_some() { Reason::StaleFence } else { Reason::NotHeld };
        let held = self.held.as_ref().ok_or(without)?;
        if fence.is_some_and(|fence| fence != held.fence) {
            return Err(Reason::StaleFence);
        }
        let may = if self.spec.reentrant && held.session.is_some() {
            held.session == Some(session) && held.actor == actor
        } else {
            let is_kept_and_known = held.session.is_none() && fence.is_some();
            self.spec.released_by_anyone || held.session == Some(session) || is_kept_and_known
        };
        if may { Ok(held) } else { Err(Reason::NotHeld) }
    }

    fn acquire(&mut self, request: &LockAcquireRequest, turn: &Turn) -> Answer<Reply> {
        let CallId { session, number } = turn.call;
        let done = |acquired, fence, abandoned| {
            Answer::Done(Reply::Acquire(LockAcquireResponse { acquired, fence, abandoned }))
        };
        if request.patience_ms.is_some_and(|ms| ms < 0) {
            return refused(Reason::OutOfRange);
        }
        if self.broken {
            return refused(Reason::Broken);
        }
        let Some(held) = &mut self.held else {
            let told = self.abandoned.take();
            self.held = Some(Held {
                session: Some(session),
                actor: request.actor,
                fence: turn.fence,
                calls: vec![number],
                struck: vec![],
                told: told.clone(),
            });
            return done(true, turn.fence, told);
        };
        if self.spec.reentrant && held.session == Some(session) && held.actor == request.actor {
            held.calls.push(number);
            return done(true, held.fence, None);
        }
        if request.patience_ms == Some(0) {
            return done(false, 0, None);
        }
        self.line.push(InLine::Acquires(turn.call, request.actor));
        Answer::Wait(patience(request.patience_ms))
    }

    fn release(&mut self, request: &LockReleaseRequest, turn: &mut Turn) -> Answer<Reply> {
        if let Err(why) = self.usable(turn.call.session, request.actor, request.fence) {
            return refused(why);
        }
        let held = self.held.as_mut().unwrap();
        held.struck.extend(held.calls.pop());
        if held.session.is_none() {
            held.calls.clear();
        }
        let depth = held.calls.len() as u32;
        if depth == 0 {
            self.held = None;
        }
        self.settle(turn);
        Answer::Done(Reply::Release(LockReleaseResponse { depth }))
    }

    fn wait(&mut self, request: LockWaitRequest, turn: &mut Turn) -> Answer<Reply> {
        if request.patience_ms.is_some_and(|ms| ms < 0) {
            return refused(Reason::OutOfRange);
        }
        if request.condition.len() > 256 {
            return refused(Reason::InvalidName);
        }
        let depth = match self.usable(turn.call.session, request.actor, request.fence) {
            Err(why) => return refused(why),
            Ok(held) if held.session.is_none() => 1,
            Ok(held) => held.calls.len(),
        };
        let LockWaitRequest { condition, patience_ms, actor, .. } = request;
        let asleep = Asleep { call: turn.call, actor, depth, condition };
        self.held = None;
        if patience_ms == Some(0) {
            self.line.push(InLine::Returns(asleep, false));
        } else {
            self.asleep.push(asleep);
        }
        self.settle(turn);
        // Who would be woken in the turn of its own call is answered by it.
        match turn.woken.iter().position(|woken| woken.call == turn.call) {
            Some(at) => match turn.woken.remove(at).answer {
                Answer::Done(AnyReply::Lock(reply)) => Answer::Done(reply),
                other => panic!("{other:?}"),
            },
            None => Answer::Wait(patience(patience_ms.filter(|ms| *ms != 0))),
        }
    }

    fn notify(&mut self, request: &LockNotifyRequest, turn: &Turn) -> Answer<Reply> {
        let Ok(n) = u64::try_from(request.n.unwrap_or(1)) else { return refused(Reason::OutOfRange) };
        if request.condition.len() > 256 {
            return refused(Reason::InvalidName);
        }
        if let Err(why) = self.usable(turn.call.session, request.actor, request.fence) {
            return refused(why);
        }
        let n = if request.all { u64::MAX } else { n };
        let before = self.asleep.len();
        (0..n).take_while(|_| self.rouse(&request.condition)).count();
        let notified = (before - self.asleep.len()) as u64;
        Answer::Done(Reply::Notify(LockNotifyResponse { notified }))
    }

    /// A notify for the first who waits on this condition.
    fn rouse(&mut self, condition: &str) -> bool {
        let Some(at) = self.asleep.iter().position(|asleep| asleep.condition == condition) else { return false };
        let asleep = self.asleep.remove(at);
        self.line.push(InLine::Returns(asleep, true));
        true
    }

    /// If nobody has it, the first in line gets it.
    fn settle(&mut self, turn: &mut Turn) {
        if self.held.is_some() || self.line.is_empty() {
            return;
        }
        let first = self.line.remove(0);
        let (call, abandoned) = (first.call(), self.abandoned.take());
        let (actor, depth) = match &first {
            InLine::Acquires(_, actor) => (*actor, 1),
            InLine::Returns(asleep, _) => (asleep.actor, asleep.depth),
        };
        let calls = vec![call.number; depth];
        let (fence, told) = (turn.fence, abandoned.clone());
        self.held = Some(Held { session: Some(call.session), actor, fence, calls, struck: vec![], told });
        match first {
            InLine::Acquires(..) => {
                turn.wake(call, Reply::Acquire(LockAcquireResponse { acquired: true, fence, abandoned }));
            }
            InLine::Returns(_, false) => {
                turn.wake(call, Reply::Wait(LockWaitResponse { notified: false, fence, abandoned }));
            }
            InLine::Returns(asleep, true) => {
                self.unread.push((call, asleep.condition));
                turn.deliver(call, Reply::Wait(LockWaitResponse { notified: true, fence, abandoned }));
            }
        }
    }

    fn refuse_all(&mut self, turn: &mut Turn) {
        let line = self.line.drain(..).map(|waiter| waiter.call());
        for call in line.chain(self.asleep.drain(..).map(|asleep| asleep.call)) {
            turn.refuse(call, Refusal::new(Reason::Broken, ""));
        }
    }
}

fn patience(ms: Option<i64>) -> Patience {
    ms.map_or(Patience::Endless, |ms| Patience::For(core::time::Duration::from_millis(ms as u64)))
}

impl Model<Lock> for Plain {
    fn new(spec: Spec) -> Self {
        let (line, asleep, unread) = Default::default();
        Self { spec, held: None, line, asleep, unread, abandoned: None, broken: false }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Acquire(request) => self.acquire(&request, turn),
            Op::Release(request) => self.release(&request, turn),
            Op::Wait(request) => self.wait(request, turn),
            Op::Notify(request) => self.notify(&request, turn),
            Op::Describe(_) => {
                let held = self.held.as_ref();
                Answer::Done(Reply::Describe(LockDescribeResponse {
                    locked: held.is_some(),
                    fence: held.map_or(0, |held| held.fence),
                    depth: held.map_or(0, |held| held.calls.len() as u32),
                    yours: held.is_some_and(|held| held.session == Some(turn.call.session)),
                    waiting: self.line.len() as u64,
                    broken_by: self.broken.then(|| self.abandoned_by_break()),
                    kept: held.is_some_and(|held| held.session.is_none()),
                    waiting_on_conditions: self.asleep.len() as u64,
                    reentrant: self.spec.reentrant,
                }))
            }
            Op::Reset(_) => {
                if self.held.as_ref().is_some_and(|held| held.session.is_some()) {
                    return refused(Reason::NotHeld);
                }
                let was_reset = self.held.take().is_some() || self.broken;
                if self.broken {
                    (self.broken, self.abandoned) = (false, None);
                }
                self.settle(turn);
                Answer::Done(Reply::Reset(LockResetResponse { was_reset }))
            }
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) {
        let in_line = self.line.iter().position(|waiter| waiter.call() == call);
        let asleep = self.asleep.iter().position(|asleep| asleep.call == call);
        match (in_line, asleep, why) {
            (None, None, _) | (Some(_), Some(_), _) => assert!(in_line.is_none(), "in two places"),
            (None, Some(at), Withdrawal::Patience) => {
                let asleep = self.asleep.remove(at);
                self.line.push(InLine::Returns(asleep, false));
            }
            (None, Some(at), Withdrawal::Cancelled) => {
                self.asleep.remove(at);
                turn.refuse(call, withdrawn());
            }
            (Some(at), None, Withdrawal::Cancelled) => {
                turn.refuse(call, withdrawn());
                if let InLine::Returns(asleep, true) = self.line.remove(at) {
                    self.rouse(&asleep.condition);
                }
            }
            (Some(at), None, Withdrawal::Patience) => {
                if let InLine::Acquires(..) = self.line[at] {
                    self.line.remove(at);
                    turn.wake(call, Reply::Acquire(LockAcquireResponse::default()));
                }
            }
        }
        self.settle(turn);
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        if let Some(held) = &mut self.held
            && held.session == Some(call.session)
        {
            held.calls.retain(|number| *number != call.number);
            while let Some(at) = held.struck.iter().position(|number| *number == call.number) {
                held.struck.remove(at);
                let last = held.calls.pop().filter(|last| *last != call.number);
                held.struck.extend(last);
            }
            if held.calls.is_empty() {
                self.abandoned = self.held.take().unwrap().told;
            }
        }
        let unread = self.unread.iter().position(|(unread, _)| *unread == call);
        if let Some((_, condition)) = unread.map(|at| self.unread.remove(at)) {
            self.rouse(&condition);
        }
        self.settle(turn);
    }

    fn acknowledge(&mut self, call: CallId) {
        self.unread.retain(|(unread, _)| *unread != call);
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        let theirs = |call: CallId| call.session == session;
        self.unread.sort_unstable();
        let mut notifies: Vec<String> = Vec::new();
        for (call, condition) in core::mem::take(&mut self.unread) {
            if theirs(call) { notifies.push(condition) } else { self.unread.push((call, condition)) }
        }
        for waiter in core::mem::take(&mut self.line) {
            match waiter {
                InLine::Returns(asleep, true) if theirs(asleep.call) => notifies.push(asleep.condition),
                waiter if theirs(waiter.call()) => {}
                waiter => self.line.push(waiter),
            }
        }
        self.asleep.retain(|asleep| !theirs(asleep.call));
        if let Some(held) = self.held.clone().filter(|held| held.session == Some(session)) {
            let lost = Abandoned { fence: held.fence, name: "worker".into(), pid: 7, host: "here".into() };
            match (how, self.spec.on_loss(), self.spec.on_close()) {
                (Ended::Closed, _, OnClose::Release) => self.held = None,
                (Ended::Closed, _, OnClose::Keep) | (Ended::Lost, OnLoss::Keep, _) => {
                    self.held = Some(Held { session: None, ..held });
                }
                (Ended::Lost, OnLoss::Release, _) => (self.held, self.abandoned) = (None, Some(lost)),
                (Ended::Lost, OnLoss::Break, _) => {
                    (self.held, self.broken, self.abandoned) = (None, true, Some(lost));
                    self.refuse_all(turn);
                }
            }
        }
        notifies.iter().for_each(|condition| _ = self.rouse(condition));
        self.settle(turn);
    }

    fn with_good_fence(&self, mut op: Op) -> Op {
        let good = self.held.as_ref().map(|held| held.fence);
        match &mut op {
            Op::Release(request) => request.fence = good,
            Op::Wait(request) => request.fence = good,
            Op::Notify(request) => request.fence = good,
            Op::Acquire(_) | Op::Describe(_) | Op::Reset(_) => {}
        }
        op
    }
}

impl Plain {
    /// While it is broken, `abandoned` is who broke it.
    fn abandoned_by_break(&self) -> Abandoned {
        self.abandoned.clone().expect("somebody broke it")
    }
}

#[test]
fn it_does_what_the_model_does() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    compare::<Lock, Plain>(600, 300, &mut |woken| {
        let what = match &woken.answer {
            Answer::Delivered(AnyReply::Lock(Reply::Wait(_))) => "returned after a notify",
            Answer::Done(AnyReply::Lock(Reply::Wait(_))) => "returned in vain",
            Answer::Done(AnyReply::Lock(Reply::Acquire(response))) if response.acquired => "acquired",
            Answer::Done(AnyReply::Lock(Reply::Acquire(_))) => "did not acquire",
            Answer::Refused(refusal) if refusal.why() == Reason::Broken => "broken",
            Answer::Refused(refusal) if refusal.why() == Reason::Withdrawn => "withdrawn",
            other => panic!("{other:?}"),
        };
        *seen.entry(what).or_default() += 1;
    });
    assert!(seen.len() == 6 && seen.values().all(|times| *times > 100), "{seen:?}");
}
