//! Pools beside a model that is obviously right: all tasks in one vector, and every question asked of all of them.

use alloc::string::String;

use super::*;
use crate::page::Page;
use crate::testing::model::{Model, compare, refused};
use holdfast_proto::{
    PoolCollectResponse, PoolCollected, PoolJoinResponse, PoolLeaveResponse, PoolWorker, PoolWorkersResponse,
};

#[derive(Debug)]
struct Plain {
    tries: u32,
    max_waiting: u64,
    tasks: Vec<PlainTask>,
    outcomes: Vec<PlainOutcome>,
    /// Number, session, tasks.
    jobs: Vec<(u64, Option<SessionId>, u64)>,
    workers: Vec<PlainWorker>,
    calls: Vec<(CallId, Waits)>,
    phase: Phase,
    begun: u64,
    entered: u64,
    joined: u64,
    came: u64,
    finished: u64,
    lost: u64,
    reason: String,
}

#[derive(Clone, Debug)]
struct PlainTask {
    number: u64,
    function: String,
    shape: i32,
    arguments: PoolArguments,
    tries: u32,
    attempts: u32,
    /// Job and index, or the call that waits.
    owner: Result<(u64, u64), CallId>,
    /// With which worker, and with which call it was taken unless that was received.
    with: Option<(u64, Option<u64>)>,
    parts: Vec<PoolOutcome>,
}

#[derive(Clone, Debug)]
struct PlainOutcome {
    order: u64,
    job: u64,
    shown: PoolCollected,
    given: Option<CallId>,
}

#[derive(Clone, Debug)]
struct PlainWorker {
    session: SessionId,
    shown: PoolWorker,
}

#[derive(Clone, Debug)]
enum Waits {
    Take(u64, u64),
    Submit(PoolSubmitRequest),
    Run,
    Collect(u64, u64),
    Drain,
}

type Checked<T> = Result<T, Reason>;

fn patience(ms: Option<i64>) -> Checked<Option<Patience>> {
    Patience::read(ms).map_err(|_| Reason::OutOfRange)
}

fn valid_arguments(arguments: &PoolArguments) -> Checked<()> {
    let equality = Equality::new(1);
    Arguments::read(arguments.clone(), &equality).map(|_| ()).map_err(|refusal| refusal.why())
}

fn name_and_shape(name: &str, shape: i32) -> Checked<()> {
    if name.is_empty() || !(0..3).contains(&shape) { Err(Reason::Malformed) } else { Ok(()) }
}

impl Plain {
    fn waiting(&self) -> u64 {
        self.tasks.iter().filter(|task| task.with.is_none()).count() as u64
    }

    fn is_over(&self) -> bool {
        self.phase != Phase::Open && self.tasks.is_empty()
    }

    fn fits(&self, tasks: usize) -> bool {
        self.max_waiting == 0 || self.waiting() + tasks as u64 <= self.max_waiting
    }

    fn submitters(&self) -> usize {
        self.calls.iter().filter(|(_, waits)| matches!(waits, Waits::Submit(_))).count()
    }

    fn can_enter(&self, function: &str) -> Checked<()> {
        let serves = |worker: &PlainWorker| worker.shown.functions.iter().any(|name| name == function);
        if self.workers.is_empty() || self.workers.iter().any(serves) { Ok(()) } else { Err(Reason::NotRegistered) }
    }

    fn job(&mut self, number: u64) -> Checked<&mut (u64, Option<SessionId>, u64)> {
        self.jobs.iter_mut().find(|job| job.0 == number).ok_or(Reason::NoJob)
    }

    fn submit(&mut self, request: PoolSubmitRequest, turn: &mut Turn) -> Checked<Answer<Reply>> {
        let patience = patience(request.patience_ms)?;
        name_and_shape(&request.function, request.shape)?;
        request.tasks.iter().try_for_each(valid_arguments)?;
        if self.phase != Phase::Open {
            return Err(Reason::ShutDown);
        }
        if request.job > 0 {
            self.job(request.job)?;
        }
        self.can_enter(&request.function)?;
        let count = request.tasks.len();
        if self.max_waiting > 0 && count as u64 > self.max_waiting {
            return Err(Reason::OutOfRange);
        }
        if count == 0 || (self.submitters() == 0 && self.fits(count)) {
            return Ok(Answer::Done(self.admit(request, turn.call.session)));
        }
        let patience = patience.ok_or(Reason::Full)?;
        self.calls.push((turn.call, Waits::Submit(request)));
        Ok(Answer::Wait(patience))
    }

    fn admit(&mut self, request: PoolSubmitRequest, session: SessionId) -> Reply {
        let mut number = request.job;
        if number == 0 {
            self.begun += 1;
            number = self.begun;
            self.jobs.push((number, (!request.keep).then_some(session), 0));
        }
        let first = self.job(number).unwrap().2;
        for (arguments, index) in request.tasks.into_iter().zip(first..) {
            self.job(number).unwrap().2 += 1;
            self.enter(&request.function, request.shape, request.tries, arguments, Ok((number, index)));
        }
        Reply::Submit(PoolSubmitResponse { job: number, first })
    }

    fn enter(
        &mut self,
        function: &str,
        shape: i32,
        tries: u32,
        arguments: PoolArguments,
        owner: Result<(u64, u64), CallId>,
    ) {
        self.entered += 1;
        let tries = if tries == 0 { self.tries } else { tries };
        let (number, function) = (self.entered, function.into());
        let (with, parts) = (None, vec![]);
        self.tasks.push(PlainTask { number, function, shape, arguments, tries, attempts: 0, owner, with, parts });
    }

    fn run(&mut self, request: PoolRunRequest, turn: &mut Turn) -> Checked<Answer<Reply>> {
        let patience = patience(request.patience_ms)?.ok_or(Reason::Malformed)?;
        name_and_shape(&request.function, request.shape)?;
        let arguments = request.arguments.ok_or(Reason::Malformed)?;
        valid_arguments(&arguments)?;
        if self.phase != Phase::Open {
            return Err(Reason::ShutDown);
        }
        self.can_enter(&request.function)?;
        if self.submitters() > 0 || !self.fits(1) {
            return Err(Reason::Full);
        }
        self.enter(&request.function, request.shape, request.tries, *arguments, Err(turn.call));
        self.calls.push((turn.call, Waits::Run));
        Ok(Answer::Wait(patience))
    }

    fn left(&self, job: u64) -> u64 {
        let open = self.tasks.iter().filter(|task| task.owner.is_ok_and(|(of, _)| of == job)).count();
        let ungiven = |outcome: &&PlainOutcome| outcome.job == job && outcome.given.is_none() && !outcome.shown.more;
        (open + self.outcomes.iter().filter(ungiven).count()) as u64
    }

    fn collect(&mut self, request: &PoolCollectRequest, turn: &mut Turn) -> Checked<Answer<Reply>> {
        let patience = patience(request.patience_ms)?;
        self.job(request.job)?;
        if let Some(reply) = self.outcomes_for(turn.call, request.job, request.max, turn) {
            return Ok(Answer::Delivered(reply));
        }
        if self.left(request.job) == 0 {
            return Ok(Answer::Done(Reply::Collect(PoolCollectResponse::default())));
        }
        let patience = patience.ok_or(Reason::TimedOut)?;
        self.calls.push((turn.call, Waits::Collect(request.job, request.max)));
        Ok(Answer::Wait(patience))
    }

    fn outcomes_for(&mut self, call: CallId, job: u64, max: u64, turn: &Turn) -> Option<Reply> {
        let mut page = Page::new(0, turn.page_bytes);
        let mut outcomes = vec![];
        self.outcomes.sort_by_key(|outcome| outcome.order);
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.job == job && outcome.given.is_none()) {
            if page.is_full() || (max > 0 && outcomes.len() as u64 == max) {
                break;
            }
            outcome.given = Some(call);
            page.count(&outcome.shown);
            outcomes.push(outcome.shown.clone());
        }
        let left = self.left(job);
        (!outcomes.is_empty()).then_some(Reply::Collect(PoolCollectResponse { outcomes, left }))
    }

    /// What came of a task that is in the list no more.
    fn ended(&mut self, task: PlainTask, outcome: PoolOutcome, turn: &mut Turn) {
        self.finished += 1;
        let mut outcomes = task.parts;
        outcomes.push(outcome);
        match task.owner {
            Err(call) => {
                self.calls.retain(|(waiting, _)| *waiting != call);
                turn.wake(call, Reply::Run(PoolRunResponse { outcomes }));
            }
            Ok((job, index)) => {
                let last = outcomes.len() - 1;
                for (outcome, at) in outcomes.into_iter().zip(0..) {
                    self.came += 1;
                    let shown = PoolCollected { index, outcome: Some(outcome), more: at < last };
                    self.outcomes.push(PlainOutcome { order: self.came, job, shown, given: None });
                }
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<PlainTask> {
        let at = self.tasks.iter().position(|task| task.number == number)?;
        Some(self.tasks.remove(at))
    }

    fn cancel_one(&mut self, number: u64, turn: &mut Turn) {
        let Some(mut task) = self.remove(number) else { return };
        task.parts.clear();
        match task.owner {
            Err(call) => {
                self.finished += 1;
                self.calls.retain(|(waiting, _)| *waiting != call);
                turn.refuse(call, Refusal::new(Reason::ShutDown, ""));
            }
            Ok(_) => self.ended(task, PoolOutcome { cancelled: true, ..PoolOutcome::default() }, turn),
        }
    }

    fn cancel(&mut self, request: &PoolCancelRequest, turn: &mut Turn) -> Checked<Reply> {
        self.job(request.job)?;
        self.tasks.sort_by_key(|task| task.number);
        let mut cancelled = 0;
        let of_job = |task: &PlainTask, index: Option<u64>| {
            task.with.is_none()
                && task.owner.is_ok_and(|(job, at)| job == request.job && index.is_none_or(|index| index == at))
        };
        let wanted: Vec<Option<u64>> = if request.indexes.is_empty() {
            vec![None; self.tasks.len()]
        } else {
            request.indexes.iter().copied().map(Some).collect()
        };
        for index in wanted {
            if let Some(number) = self.tasks.iter().find(|task| of_job(task, index)).map(|task| task.number) {
                self.cancel_one(number, turn);
                cancelled += 1;
            }
        }
        Ok(Reply::Cancel(PoolCancelResponse { cancelled }))
    }

    fn forget(&mut self, job: u64, turn: &mut Turn) -> bool {
        let there = self.jobs.iter().any(|known| known.0 == job);
        self.jobs.retain(|known| known.0 != job);
        self.tasks.retain(|task| !task.owner.is_ok_and(|(of, _)| of == job));
        self.outcomes.retain(|outcome| outcome.job != job || outcome.given.is_some());
        self.calls.retain(|(call, waits)| {
            let about = match waits {
                Waits::Collect(of, _) => *of == job,
                Waits::Submit(request) => there && request.job == job,
                _ => false,
            };
            if about {
                turn.refuse(*call, Refusal::new(Reason::NoJob, ""));
            }
            !about
        });
        there
    }

    fn progress(&mut self, number: u64) -> Checked<Reply> {
        let tasks = self.job(number)?.2;
        let open = self.tasks.iter().filter(|task| task.owner.is_ok_and(|(job, _)| job == number));
        let (running, waiting): (Vec<&PlainTask>, Vec<&PlainTask>) = open.partition(|task| task.with.is_some());
        let (running, waiting) = (running.len() as u64, waiting.len() as u64);
        let (done, collected) = (tasks - running - waiting, tasks - self.left(number));
        Ok(Reply::Progress(PoolProgressResponse { tasks, waiting, running, done, collected }))
    }

    fn join(&mut self, request: PoolJoinRequest, turn: &Turn) -> Checked<Reply> {
        let mut names = request.functions.clone();
        names.sort();
        names.dedup();
        if names.is_empty() || names.len() < request.functions.len() || names.iter().any(String::is_empty) {
            return Err(Reason::Malformed);
        }
        if self.is_over() {
            return Err(Reason::ShutDown);
        }
        self.joined += 1;
        let PoolJoinRequest { functions, name, pid, host } = request;
        let shown = PoolWorker { worker: self.joined, name, pid, host, functions, running: 0, finished: 0 };
        self.workers.push(PlainWorker { session: turn.call.session, shown });
        Ok(Reply::Join(PoolJoinResponse { worker: self.joined }))
    }

    fn held(&self, worker: u64, session: SessionId) -> Checked<()> {
        let held = self.workers.iter().any(|held| held.session == session && held.shown.worker == worker);
        if held { Ok(()) } else { Err(Reason::NotHeld) }
    }

    fn check_done(done: &[PoolDone]) -> Checked<()> {
        let read = |done: &PoolDone| Outcome::read(done.clone(), &Equality::new(1)).map(|_| ());
        done.iter().try_for_each(read).map_err(|refusal| refusal.why())
    }

    fn hand_in(&mut self, worker: u64, done: Vec<PoolDone>, turn: &mut Turn) -> u64 {
        let mut accepted = 0;
        for done in done {
            let its = |task: &&mut PlainTask| task.number == done.task && task.with.is_some_and(|(by, _)| by == worker);
            let Some(task) = self.tasks.iter_mut().find(its) else { continue };
            accepted += 1;
            task.with = Some((worker, None));
            let too_large = PoolOutcome { too_large: true, ..PoolOutcome::default() };
            let outcome = done.outcome.unwrap_or(too_large);
            if done.more {
                task.parts.push(outcome);
                continue;
            }
            let task = self.remove(done.task).unwrap();
            self.workers.iter_mut().find(|known| known.shown.worker == worker).unwrap().shown.finished += 1;
            self.ended(task, outcome, turn);
        }
        accepted
    }

    fn take(&mut self, request: PoolTakeRequest, turn: &mut Turn) -> Checked<Answer<Reply>> {
        let patience = patience(request.patience_ms)?;
        self.held(request.worker, turn.call.session)?;
        Self::check_done(&request.done)?;
        self.hand_in(request.worker, request.done, turn);
        if self.is_over() {
            return Ok(Answer::Done(Reply::Take(no_more())));
        }
        if let Some(reply) = self.tasks_for(turn.call, request.worker, request.max, turn) {
            return Ok(Answer::Delivered(reply));
        }
        let Some(patience) = patience else { return Ok(Answer::Done(Reply::Take(PoolTakeResponse::default()))) };
        self.calls.push((turn.call, Waits::Take(request.worker, request.max)));
        Ok(Answer::Wait(patience))
    }

    fn tasks_for(&mut self, call: CallId, worker: u64, max: u64, turn: &Turn) -> Option<Reply> {
        let functions = &self.workers.iter().find(|known| known.shown.worker == worker).unwrap().shown.functions;
        let share = self.waiting().div_ceil(self.workers.len() as u64);
        let mut page = Page::new(0, turn.page_bytes);
        let mut tasks = vec![];
        self.tasks.sort_by_key(|task| task.number);
        for task in self.tasks.iter_mut().filter(|task| task.with.is_none()) {
            let Some(function) = functions.iter().position(|name| *name == task.function) else { continue };
            let alone = task.tries == 1 || task.attempts > 0;
            let is_enough = tasks.len() as u64 >= max.max(1).min(share) || page.is_full();
            if !tasks.is_empty() && (alone || is_enough) {
                break;
            }
            task.with = Some((worker, Some(call.number)));
            let given = PoolTask {
                task: task.number,
                function: function as u32,
                shape: task.shape,
                arguments: Some(task.arguments.clone()),
                attempt: task.attempts + 1,
            };
            page.count(&given);
            tasks.push(given);
            if alone {
                break;
            }
        }
        let response = PoolTakeResponse { tasks, fence: turn.fence, shut_down: false };
        (!response.tasks.is_empty()).then_some(Reply::Take(response))
    }

    fn finish(&mut self, request: PoolFinishRequest, turn: &mut Turn) -> Checked<Reply> {
        self.held(request.worker, turn.call.session)?;
        Self::check_done(&request.done)?;
        let mut accepted = self.hand_in(request.worker, request.done, turn);
        for number in request.untouched {
            let mut its = self.tasks.iter_mut().filter(|task| task.with.is_some_and(|(by, _)| by == request.worker));
            if let Some(task) = its.find(|task| task.number == number) {
                (task.with, task.parts) = (None, vec![]);
                accepted += 1;
            }
        }
        Ok(Reply::Finish(PoolFinishResponse { accepted }))
    }

    fn leave_pool(&mut self, worker: u64, turn: &mut Turn) -> Checked<Reply> {
        self.held(worker, turn.call.session)?;
        for task in self.tasks.iter_mut().filter(|task| task.with.is_some_and(|(by, _)| by == worker)) {
            (task.with, task.parts) = (None, vec![]);
        }
        self.workers.retain(|known| known.shown.worker != worker);
        self.calls.retain(|(call, waits)| {
            let its = matches!(waits, Waits::Take(by, _) if *by == worker);
            if its {
                turn.refuse(*call, Refusal::new(Reason::NotHeld, ""));
            }
            !its
        });
        Ok(Reply::Leave(PoolLeaveResponse {}))
    }

    fn shut_down(&mut self, phase: Phase, turn: &mut Turn) -> u64 {
        self.phase = self.phase.max(phase);
        self.calls.retain(|(call, waits)| {
            let submits = matches!(waits, Waits::Submit(_));
            if submits {
                turn.refuse(*call, Refusal::new(Reason::ShutDown, ""));
            }
            !submits
        });
        if phase != Phase::Terminated {
            return 0;
        }
        self.tasks.sort_by_key(|task| task.number);
        let numbers: Vec<u64> = self.tasks.iter().map(|task| task.number).collect();
        numbers.iter().for_each(|number| self.cancel_one(*number, turn));
        numbers.len() as u64
    }

    fn describe(&self) -> Reply {
        let mut idle: Vec<u64> = vec![];
        for (_, waits) in &self.calls {
            if let Waits::Take(worker, _) = waits
                && !idle.contains(worker)
            {
                idle.push(*worker);
            }
        }
        Reply::Describe(PoolDescribeResponse {
            waiting: self.waiting(),
            running: self.tasks.len() as u64 - self.waiting(),
            uncollected: self.outcomes.iter().filter(|outcome| outcome.given.is_none() && !outcome.shown.more).count()
                as u64,
            finished: self.finished,
            lost: self.lost,
            jobs: self.jobs.len() as u64,
            workers: self.workers.len() as u64,
            idle: idle.len() as u64,
            closed: self.phase != Phase::Open,
            terminated: self.phase == Phase::Terminated,
            tries: self.tries,
            reason: self.reason.clone(),
            max_waiting: self.max_waiting,
            joined: self.joined,
        })
    }

    fn list(&self, request: &holdfast_proto::PoolWorkersRequest, turn: &Turn) -> Reply {
        let mut page = Page::new(request.bytes, turn.page_bytes);
        let mut workers = vec![];
        for worker in self.workers.iter().filter(|worker| worker.shown.worker >= request.cursor) {
            if !workers.is_empty() && page.is_full() {
                return Reply::Workers(PoolWorkersResponse { workers, cursor: worker.shown.worker });
            }
            let has = |task: &&PlainTask| task.with.is_some_and(|(by, _)| by == worker.shown.worker);
            let running = self.tasks.iter().filter(has).count() as u64;
            let shown = PoolWorker { running, ..worker.shown.clone() };
            page.count(&shown);
            workers.push(shown);
        }
        Reply::Workers(PoolWorkersResponse { workers, cursor: 0 })
    }

    /// Answers everybody who can be, tasks first.
    fn serve(&mut self, turn: &mut Turn) {
        loop {
            for (call, waits) in self.calls.clone() {
                let reply = match waits {
                    Waits::Take(worker, max) => self.tasks_for(call, worker, max, turn),
                    Waits::Collect(job, max) => self.outcomes_for(call, job, max, turn),
                    _ => None,
                };
                if let Some(reply) = reply {
                    self.calls.retain(|(waiting, _)| *waiting != call);
                    turn.deliver(call, reply);
                }
            }
            let submits = |(_, waits): &(CallId, Waits)| matches!(waits, Waits::Submit(_));
            let first = self.calls.iter().position(submits);
            let fits =
                |at: &usize| matches!(&self.calls[*at].1, Waits::Submit(request) if self.fits(request.tasks.len()));
            let Some(first) = first.filter(fits) else { break };
            let (call, waits) = self.calls.remove(first);
            let Waits::Submit(request) = waits else { unreachable!("it submits") };
            let reply = self.admit(request, call.session);
            turn.wake(call, reply);
        }
        for (call, waits) in self.calls.clone() {
            let reply = match waits {
                Waits::Take(..) if self.is_over() => Reply::Take(no_more()),
                Waits::Drain if self.tasks.is_empty() => Reply::Drain(PoolDrainResponse {}),
                Waits::Collect(job, _) if self.left(job) == 0 => Reply::Collect(PoolCollectResponse::default()),
                _ => continue,
            };
            self.calls.retain(|(waiting, _)| *waiting != call);
            turn.wake(call, reply);
        }
    }

    fn bring_back(&mut self, call: impl Fn(CallId) -> bool) {
        for outcome in self.outcomes.iter_mut().filter(|outcome| outcome.given.is_some_and(&call)) {
            outcome.given = None;
        }
        let jobs: Vec<u64> = self.jobs.iter().map(|job| job.0).collect();
        self.outcomes.retain(|outcome| outcome.given.is_some() || jobs.contains(&outcome.job));
    }
}

impl Model<Pool> for Plain {
    fn new(spec: Spec) -> Self {
        Self {
            tries: if spec.tries == 0 { 3 } else { spec.tries },
            max_waiting: spec.max_waiting,
            tasks: vec![],
            outcomes: vec![],
            jobs: vec![],
            workers: vec![],
            calls: vec![],
            phase: Phase::Open,
            begun: 0,
            entered: 0,
            joined: 0,
            came: 0,
            finished: 0,
            lost: 0,
            reason: String::new(),
        }
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        let done = |reply: Checked<Reply>| reply.map(Answer::Done);
        let answer = match op {
            Op::Submit(request) => self.submit(request, turn),
            Op::Run(request) => self.run(request, turn),
            Op::Collect(request) => self.collect(&request, turn),
            Op::Cancel(request) => done(self.cancel(&request, turn)),
            Op::Forget(request) => {
                let forgotten = self.forget(request.job, turn);
                done(Ok(Reply::Forget(PoolForgetResponse { forgotten })))
            }
            Op::Progress(request) => done(self.progress(request.job)),
            Op::Join(request) => done(self.join(request, turn)),
            Op::Take(request) => self.take(request, turn),
            Op::Finish(request) => done(self.finish(request, turn)),
            Op::Leave(request) => done(self.leave_pool(request.worker, turn)),
            Op::Close(_) => {
                self.shut_down(Phase::Closed, turn);
                done(Ok(Reply::Close(PoolCloseResponse {})))
            }
            Op::Terminate(request) => {
                if self.phase != Phase::Terminated {
                    self.reason.clone_from(&request.reason);
                }
                let cancelled = self.shut_down(Phase::Terminated, turn);
                done(Ok(Reply::Terminate(PoolTerminateResponse { cancelled })))
            }
            Op::Drain(request) => match patience(request.patience_ms) {
                Ok(_) if self.tasks.is_empty() => done(Ok(Reply::Drain(PoolDrainResponse {}))),
                Ok(Some(patience)) => {
                    self.calls.push((turn.call, Waits::Drain));
                    Ok(Answer::Wait(patience))
                }
                Ok(None) => Err(Reason::TimedOut),
                Err(why) => Err(why),
            },
            Op::Describe(_) => done(Ok(self.describe())),
            Op::Workers(request) => done(Ok(self.list(&request, turn))),
        };
        // Who called is not answered twice.
        let (own, call) = (turn.woken.len(), turn.call);
        self.serve(turn);
        let answered = turn.woken[own..].iter().position(|woken| woken.call == call);
        assert!(answered.is_none() || matches!(answer, Ok(Answer::Wait(_))));
        answer.unwrap_or_else(refused)
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) {
        if let Some(at) = self.calls.iter().position(|(waiting, _)| *waiting == call) {
            let (_, waits) = self.calls.remove(at);
            self.tasks.retain(|task| task.owner != Err(call));
            let refusal = match (why, &waits) {
                (Withdrawal::Cancelled, _) => withdrawn(),
                (_, Waits::Submit(_)) => Refusal::new(Reason::Full, ""),
                _ => Refusal::new(Reason::TimedOut, ""),
            };
            if matches!(waits, Waits::Take(..)) && why == Withdrawal::Patience {
                turn.wake(call, Reply::Take(PoolTakeResponse::default()));
            } else {
                turn.refuse(call, refusal);
            }
        }
        self.serve(turn);
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        let workers = self.workers.clone();
        let of = |by: u64| workers.iter().find(|worker| worker.shown.worker == by).map(|worker| worker.session);
        for task in &mut self.tasks {
            if task.with.is_some_and(|(by, taken)| of(by) == Some(call.session) && taken == Some(call.number)) {
                (task.with, task.parts) = (None, vec![]);
            }
        }
        self.bring_back(|given| given == call);
        self.serve(turn);
    }

    fn acknowledge(&mut self, call: CallId) {
        let workers = self.workers.clone();
        let of = |by: u64| workers.iter().find(|worker| worker.shown.worker == by).map(|worker| worker.session);
        for task in &mut self.tasks {
            if let Some((by, taken)) = &mut task.with
                && of(*by) == Some(call.session)
                && *taken == Some(call.number)
            {
                *taken = None;
            }
        }
        self.outcomes.retain(|outcome| outcome.given != Some(call));
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.calls.retain(|(call, _)| call.session != session);
        self.tasks.retain(|task| !task.owner.is_err_and(|call| call.session == session));
        let jobs: Vec<u64> = self.jobs.iter().filter(|job| job.1 == Some(session)).map(|job| job.0).collect();
        for job in jobs {
            self.forget(job, turn);
        }
        self.bring_back(|given| given.session == session);
        let (gone, stay): (Vec<_>, Vec<_>) = self.workers.drain(..).partition(|worker| worker.session == session);
        self.workers = stay;
        for worker in gone {
            self.bury(worker.shown.worker, how, turn);
        }
        self.serve(turn);
    }

    /// Names what there is: the newest job, the oldest worker, and tasks that it has.
    fn with_good_fence(&self, mut op: Op) -> Op {
        let job = self.jobs.last().map_or(0, |job| job.0);
        let worker = self.workers.first().map_or(0, |worker| worker.shown.worker);
        let has: Vec<u64> = self
            .tasks
            .iter()
            .filter(|task| task.with.is_some_and(|(by, _)| by == worker))
            .map(|task| task.number)
            .collect();
        let name = |done: &mut Vec<PoolDone>| {
            done.iter_mut().zip(has.iter().chain(has.first())).for_each(|(done, task)| done.task = *task);
        };
        match &mut op {
            Op::Submit(request) if request.job > 0 => request.job = job,
            Op::Collect(request) => request.job = job,
            Op::Cancel(request) => request.job = job,
            Op::Progress(request) => request.job = job,
            Op::Take(request) => {
                request.worker = worker;
                name(&mut request.done);
            }
            Op::Finish(request) => {
                request.worker = worker;
                name(&mut request.done);
                request.untouched.iter_mut().zip(has.iter().rev()).for_each(|(number, task)| *number = *task);
            }
            _ => {}
        }
        op
    }
}

impl Plain {
    fn bury(&mut self, worker: u64, how: Ended, turn: &mut Turn) {
        self.tasks.sort_by_key(|task| task.number);
        for mut task in self.tasks.clone() {
            let Some((_, taken)) = task.with.filter(|(by, _)| *by == worker) else { continue };
            self.remove(task.number);
            (task.with, task.parts) = (None, vec![]);
            if how == Ended::Closed && taken.is_some() {
                self.tasks.push(task);
                continue;
            }
            self.lost += 1;
            task.attempts += 1;
            if task.attempts < task.tries {
                self.tasks.push(task);
                continue;
            }
            let Client { name, pid, host } = turn.client.as_deref().cloned().unwrap();
            let lost = Some(PoolWorkerLost { name, pid, host, tries: task.attempts });
            self.ended(task, PoolOutcome { lost, ..PoolOutcome::default() }, turn);
        }
    }
}

#[test]
fn a_pool_does_what_a_plain_model_does() {
    let (mut seen, mut lost) = ([0; 6], 0);
    compare::<Pool, Plain>(400, 250, &mut |woken| {
        let at = match &woken.answer {
            Answer::Delivered(crate::catalog::AnyReply::Pool(Reply::Take(_))) => 0,
            Answer::Delivered(crate::catalog::AnyReply::Pool(Reply::Collect(_))) => 1,
            Answer::Done(crate::catalog::AnyReply::Pool(Reply::Run(_))) => 2,
            Answer::Done(crate::catalog::AnyReply::Pool(Reply::Submit(_))) => 3,
            Answer::Done(crate::catalog::AnyReply::Pool(Reply::Drain(_))) => 4,
            _ => 5,
        };
        seen[at] += 1;
        lost += usize::from(alloc::format!("{:?}", woken.answer).contains("lost: Some"));
    });
    assert!(seen.iter().all(|times| *times > 30) && lost > 5, "{seen:?} {lost}");
}
