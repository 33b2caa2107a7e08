//! A shared pool of work: kind `pool`.

mod callers;
mod collectors;
mod functions;
mod job;
mod line;
mod outcome;
mod slab;
mod state;
mod task;
mod workers;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::pool::{Op, Reply, Spec};
use holdfast_proto::{
    PoolCloseResponse, PoolDescribeResponse, PoolDrainRequest, PoolDrainResponse, PoolRunResponse, PoolShape,
    PoolTakeResponse, PoolTerminateRequest, PoolTerminateResponse, Reason, Refusal,
};

use self::collectors::Collectors;
use self::functions::Functions;
use self::job::Jobs;
use self::line::Place;
use self::outcome::{Outcome, Piece};
use self::slab::Slab;
pub use self::state::{
    CollectorState, GivenState, JobState, PieceState, State, SubmissionState, TakerState, TaskState, WorkerState,
};
use self::task::{Arguments, Owner, TASK_BYTES, Task};
use self::workers::{Had, Worker};
use crate::key::Equality;
use crate::mutant::{Mutant, mutant};
use crate::turn::withdrawn;
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal};

/// How often a task is given to a worker if nobody says how often.
const TRIES: u32 = 3;

/// How many bytes are kept of why a pool was terminated.
const REASON_BYTES: usize = 1024;

/// Python's pools, whose work is not lost with who does it.
///
/// - A task is at one place: it waits with the call that brings it, waits in the line of its function, or a worker has it.
///   What came of it is stored once, in its job, or was answered to its caller and is gone.
/// - Its number is its place among all that were entered, and it comes back to where that stands.
/// - Nobody waits to take while a task waits that he serves, nor once there will be none; nobody waits to collect while his
///   job has something or has nothing more to come; nobody waits to submit while the first of them has room; nobody waits
///   for nothing to be left while nothing is.
/// - Who waits is served in the order in which they came, in the turn that makes it possible.
/// - A worker has what it was given until it says what came of it, gives it back, or is gone, or until nobody wants to know
///   what comes of it. Then the task has been tried once more only if somebody may have begun it.
/// - An outcome that was given to a call is kept until its caller has it, or comes back to its job.
/// - A session that ended has no worker, job or call here, unless the job is kept.
#[derive(Debug)]
pub struct Pool {
    spec: Spec,
    equality: Equality,
    functions: Functions,
    tasks: Slab<Task>,
    /// How many tasks wait for a worker, and how many a worker has.
    waiting: u64,
    running: u64,
    jobs: Jobs,
    pieces: Slab<Piece>,
    /// How many tasks have an outcome that was not collected.
    uncollected: u64,
    workers: BTreeMap<u64, Worker>,
    workers_of: BTreeSet<(SessionId, u64)>,
    takers: WaitQueue<Taker>,
    submitters: WaitQueue<Submission>,
    /// The calls that wait for the outcome of one task, and where that is.
    runs: WaitQueue<u32>,
    collectors: Collectors,
    drainers: WaitQueue<()>,
    /// Which calls were given tasks, of which nobody knows yet whether their caller has them: worker and task.
    unreceived: BTreeSet<(CallId, u64, u64)>,
    /// Which calls were given outcomes, until it is known that their caller has them.
    given: BTreeMap<CallId, Vec<u32>>,
    phase: Phase,
    /// Why it was terminated.
    reason: String,
    bytes: u64,
    /// How many jobs there ever were, tasks, workers, and pieces of outcomes.
    begun: u64,
    entered: u64,
    joined: u64,
    came: u64,
    /// How many tasks were ever done, and how often a worker was lost with one.
    finished: u64,
    lost: u64,
}

/// How far it is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing more comes in.
    Closed,
    /// Nor is anything done.
    Terminated,
}

/// A call that waits to take tasks.
#[derive(Clone, Copy, Debug)]
struct Taker {
    worker: u64,
    max: u64,
}

/// What a call brings that waits to submit.
#[derive(Debug)]
struct Submission {
    /// The number of the job; without one it begins one.
    job: Option<u64>,
    /// Where its function is, which it holds.
    function: u32,
    shape: PoolShape,
    tries: u32,
    keep: bool,
    tasks: Vec<Arguments>,
}

/// What became possible in a turn, to be seen to at its end.
struct Due<'a> {
    turn: &'a mut Turn,
    /// Functions for which a task waits that did not.
    functions: Vec<u32>,
    /// The numbers of jobs that have an outcome more, or nothing more to come.
    jobs: Vec<u64>,
    /// Those of jobs that were forgotten.
    forgotten: BTreeSet<u64>,
}

impl<'a> Due<'a> {
    fn new(turn: &'a mut Turn) -> Self {
        Self { turn, functions: Vec::new(), jobs: Vec::new(), forgotten: BTreeSet::new() }
    }

    fn function(&mut self, function: u32) {
        if self.functions.last() != Some(&function) {
            self.functions.push(function);
        }
    }

    fn job(&mut self, job: u64) {
        if self.jobs.last() != Some(&job) {
            self.jobs.push(job);
        }
    }
}

impl Object for Pool {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(spec: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        Ok(Self {
            spec: normal(&spec),
            equality: Equality::new(creation.seed),
            functions: Functions::default(),
            tasks: Slab::default(),
            waiting: 0,
            running: 0,
            jobs: Jobs::default(),
            pieces: Slab::default(),
            uncollected: 0,
            workers: BTreeMap::new(),
            workers_of: BTreeSet::new(),
            takers: WaitQueue::default(),
            submitters: WaitQueue::default(),
            runs: WaitQueue::default(),
            collectors: Collectors::default(),
            drainers: WaitQueue::default(),
            unreceived: BTreeSet::new(),
            given: BTreeMap::new(),
            phase: Phase::Open,
            reason: String::new(),
            bytes: 0,
            begun: 0,
            entered: 0,
            joined: 0,
            came: 0,
            finished: 0,
            lost: 0,
        })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        state::restore(state, creation)
    }

    fn state(&self) -> State {
        state::of(self)
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Submit(request) => self.submit(request, turn).into(),
            Op::Run(request) => self.run(request, turn).into(),
            Op::Collect(request) => self.collect(&request, turn).into(),
            Op::Cancel(request) => self.cancel(&request, turn).map(Reply::Cancel).into(),
            Op::Forget(request) => Answer::Done(Reply::Forget(self.forget(&request, turn))),
            Op::Progress(request) => self.progress(&request).map(Reply::Progress).into(),
            Op::Join(request) => self.join(request, turn).map(Reply::Join).into(),
            Op::Take(request) => self.take(request, turn).into(),
            Op::Finish(request) => self.finish(request, turn).map(Reply::Finish).into(),
            Op::Leave(request) => self.leave_pool(&request, turn).map(Reply::Leave).into(),
            Op::Close(_) => Answer::Done(Reply::Close(self.close(turn))),
            Op::Terminate(request) => Answer::Done(Reply::Terminate(self.terminate(request, turn))),
            Op::Drain(request) => self.drain(&request, turn).into(),
            Op::Describe(_) => Answer::Done(Reply::Describe(self.describe())),
            Op::Workers(request) => Answer::Done(Reply::Workers(self.list_workers(&request, turn))),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let in_vain = if self.takers.remove(call).is_some() {
            Ok(Reply::Take(PoolTakeResponse::default()))
        } else if let Some(submission) = self.submitters.remove(call) {
            self.drop_submission(submission, turn);
            Err(self.full())
        } else if let Some(task) = self.runs.remove(call) {
            self.discard(task, turn);
            Err(timed_out())
        } else if self.collectors.remove(call).is_some() || self.drainers.remove(call).is_some() {
            Err(timed_out())
        } else {
            return false;
        };
        match (why, in_vain) {
            (Withdrawal::Patience, Ok(reply)) => turn.wake(call, reply),
            (Withdrawal::Patience, Err(refusal)) => turn.refuse(call, refusal),
            (Withdrawal::Cancelled, _) => turn.refuse(call, withdrawn()),
        }
        self.settle(Due::new(turn));
        true
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        let mut due = Due::new(turn);
        for (worker, task) in self.unreceived_by(call) {
            self.take_back(worker, task, &mut due);
        }
        self.bring_back(call, &mut due);
        self.settle(due);
    }

    fn acknowledge(&mut self, call: CallId, turn: &mut Turn) {
        for (worker, task) in self.unreceived_by(call) {
            self.receive(worker, task);
        }
        for piece in self.given.remove(&call).unwrap_or_default() {
            self.drop_piece(piece, turn);
        }
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.takers.remove_session(session);
        self.collectors.remove_session(session);
        self.drainers.remove_session(session);
        for (_, submission) in self.submitters.remove_session(session) {
            self.drop_submission(submission, turn);
        }
        for (_, task) in self.runs.remove_session(session) {
            self.discard(task, turn);
        }
        let mut due = Due::new(turn);
        for job in self.jobs.of_session(session) {
            self.forget_job(job, &mut due);
        }
        let given: Vec<CallId> = self.given.range(session.calls()).map(|(call, _)| *call).collect();
        for call in given {
            self.bring_back(call, &mut due);
        }
        for worker in self.workers_of(session) {
            self.bury(worker, how, &mut due);
        }
        self.settle(due);
    }

    fn involves(&self, session: SessionId) -> bool {
        self.takers.involves(session)
            || self.submitters.involves(session)
            || self.runs.involves(session)
            || self.collectors.involves(session)
            || self.drainers.involves(session)
            || self.jobs.involves(session)
            || self.given.range(session.calls()).next().is_some()
            || self.workers_of.range((session, 0)..=(session, u64::MAX)).next().is_some()
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.takers.iter().for_each(|(call, _)| visit(call));
        self.submitters.iter().for_each(|(call, _)| visit(call));
        self.runs.iter().for_each(|(call, _)| visit(call));
        self.collectors.iter().for_each(|(call, _)| visit(call));
        self.drainers.iter().for_each(|(call, ())| visit(call));
    }

    fn admits(&self, spec: &Spec) -> Result<(), Refusal> {
        let asked = normal(spec);
        if asked == self.spec {
            return Ok(());
        }
        let shown = |spec: &Spec| format!("tries {}, max_waiting {}", spec.tries, spec.max_waiting);
        let problem = format!("this pool is {}, not {}", shown(&self.spec), shown(&asked));
        Err(Refusal::new(Reason::OtherSpec, problem))
    }

    fn is_vacant(&self) -> bool {
        self.spec == normal(&Spec::default())
            && self.phase == Phase::Open
            && [self.begun, self.entered, self.joined] == [0; 3]
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn elements(&self) -> Option<u64> {
        Some(self.waiting + self.running)
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        self.tasks.iter().for_each(|(_, task)| task.arguments.visit_references(visit));
        self.pieces.iter().for_each(|(_, piece)| piece.outcome.visit_references(visit));
        let parts = self.workers.values().flat_map(|worker| worker.has.values()).flat_map(|had| &had.parts);
        parts.for_each(|part| part.visit_references(visit));
        let brought = self.submitters.iter().flat_map(|(_, submission)| &submission.tasks);
        brought.for_each(|arguments| arguments.visit_references(visit));
    }

    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {
        self.check();
    }
}

/// What concerns the whole pool.
impl Pool {
    fn close(&mut self, turn: &mut Turn) -> PoolCloseResponse {
        self.phase = self.phase.max(Phase::Closed);
        self.refuse_submitters(turn);
        self.settle(Due::new(turn));
        PoolCloseResponse {}
    }

    fn terminate(&mut self, request: PoolTerminateRequest, turn: &mut Turn) -> PoolTerminateResponse {
        if self.phase != Phase::Terminated {
            self.phase = Phase::Terminated;
            self.reason = shortened(request.reason);
        }
        self.refuse_submitters(turn);
        let mut tasks: Vec<(u64, u32)> = self.tasks.iter().map(|(at, task)| (task.number, at)).collect();
        tasks.sort_unstable();
        let mut due = Due::new(turn);
        for (_, task) in &tasks {
            self.cancel_task(*task, &mut due);
        }
        self.settle(due);
        PoolTerminateResponse { cancelled: tasks.len() as u64 }
    }

    fn refuse_submitters(&mut self, turn: &mut Turn) {
        while let Some((call, submission)) = self.submitters.pop() {
            self.drop_submission(submission, turn);
            turn.refuse(call, self.shut_down());
        }
    }

    fn drain(&mut self, request: &PoolDrainRequest, turn: &Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        if self.is_drained() {
            return Ok(Answer::Done(Reply::Drain(PoolDrainResponse {})));
        }
        let patience = patience.ok_or_else(timed_out)?;
        turn.may_wait(self.calls_waiting())?;
        self.drainers.push(turn.call, ());
        Ok(Answer::Wait(patience))
    }

    fn describe(&self) -> PoolDescribeResponse {
        let idle: BTreeSet<u64> = self.takers.iter().map(|(_, taker)| taker.worker).collect();
        PoolDescribeResponse {
            waiting: self.waiting,
            running: self.running,
            uncollected: self.uncollected,
            finished: self.finished,
            lost: self.lost,
            jobs: self.jobs.len() as u64,
            workers: self.workers.len() as u64,
            idle: idle.len() as u64,
            closed: self.phase != Phase::Open,
            terminated: self.phase == Phase::Terminated,
            tries: self.spec.tries,
            reason: self.reason.clone(),
            max_waiting: self.spec.max_waiting,
            joined: self.joined,
        }
    }
}

/// What becomes of a task.
impl Pool {
    /// Lets a task in, and tells where it is. Its function is held for it already.
    fn enter(&mut self, submission: &Submission, arguments: Arguments, owner: Owner) -> u32 {
        self.entered += 1;
        let task = self.tasks.insert(Task {
            number: self.entered,
            arguments,
            owner,
            place: Place::With(0),
            function: submission.function,
            attempts: 0,
            tries: submission.tries,
            shape: submission.shape,
        });
        self.line_up(task);
        task
    }

    /// Puts a task in the line of its function.
    fn line_up(&mut self, task: u32) {
        let function = self.tasks.get(task).and_then(|task| self.functions.get_mut(task.function));
        if let Some(function) = function {
            function.line.put(task, &mut self.tasks);
            self.waiting += 1;
        }
    }

    /// Takes a task from where it is, which is then nowhere, and what was handed in of it.
    fn pull_out(&mut self, at: u32) -> Vec<Outcome> {
        let Some(task) = self.tasks.get(at) else { return Vec::new() };
        if let Place::With(worker) = task.place {
            return self.detach(worker, task.number).map(|had| had.parts).unwrap_or_default();
        }
        if let Some(function) = self.functions.get_mut(task.function) {
            function.line.remove(at, 0, &mut self.tasks);
            self.waiting -= 1;
        }
        Vec::new()
    }

    /// A worker does not have a task any more.
    fn detach(&mut self, worker: u64, number: u64) -> Option<Had> {
        let owner = self.workers.get_mut(&worker)?;
        let had = owner.has.remove(&number)?;
        if let Some(call) = had.call {
            self.unreceived.remove(&(CallId { session: owner.session, number: call }, worker, number));
        }
        self.running -= 1;
        if let Some(Task { owner: Owner::Job { job, .. }, .. }) = self.tasks.get(had.task)
            && let Some(job) = self.jobs.get_mut(*job)
        {
            job.running -= 1;
        }
        Some(had)
    }

    /// A task goes back from a worker to its line.
    fn put_back(&mut self, had: Had, due: &mut Due<'_>) {
        self.drop_parts(&had.parts, due.turn);
        self.line_up(had.task);
        if let Some(task) = self.tasks.get(had.task) {
            due.function(task.function);
        }
    }

    /// A worker gives back a task that was surely not begun.
    fn take_back(&mut self, worker: u64, number: u64, due: &mut Due<'_>) {
        if let Some(had) = self.detach(worker, number) {
            self.put_back(had, due);
        }
    }

    /// Nobody wants to know any more what comes of a task.
    fn discard(&mut self, at: u32, turn: &mut Turn) {
        let parts = self.pull_out(at);
        self.drop_parts(&parts, turn);
        if let Some(task) = self.tasks.remove(at) {
            let name = self.functions.release(task.function);
            self.free(task.bytes() + name, turn);
        }
    }

    /// A task comes to nothing: to its having been cancelled, or who waits for it is told that the pool is terminated.
    fn cancel_task(&mut self, at: u32, due: &mut Due<'_>) {
        match self.tasks.get(at).map(|task| &task.owner) {
            Some(Owner::Run(call)) => {
                let call = **call;
                self.discard(at, due.turn);
                self.runs.remove(call);
                self.finished += 1;
                due.turn.refuse(call, self.shut_down());
            }
            Some(Owner::Job { .. }) => {
                let parts = self.pull_out(at);
                self.drop_parts(&parts, due.turn);
                self.fail(at, Outcome::Cancelled, due);
            }
            None => {}
        }
    }

    /// Something came of a task that is with nobody and that counts nothing itself.
    fn fail(&mut self, at: u32, outcome: Outcome, due: &mut Due<'_>) {
        if let Some(task) = self.tasks.get(at) {
            let freed = match task.owner {
                Owner::Job { .. } => task.arguments.bytes(),
                Owner::Run(_) => task.bytes(),
            };
            self.free(freed, due.turn);
        }
        self.end(at, Vec::new(), outcome, due);
    }

    /// Something came of a task that is with nobody. Its bytes were counted already.
    fn end(&mut self, at: u32, parts: Vec<Outcome>, outcome: Outcome, due: &mut Due<'_>) {
        let Some(task) = self.tasks.remove(at) else { return };
        let name = self.functions.release(task.function);
        self.free(name, due.turn);
        self.finished += 1;
        match task.owner {
            Owner::Run(call) => {
                self.runs.remove(*call);
                let outcomes = parts.iter().chain([&outcome]).map(Outcome::message).collect();
                due.turn.wake(*call, Reply::Run(PoolRunResponse { outcomes }));
            }
            Owner::Job { job, index } => {
                let Some(job) = self.jobs.get_mut(job) else { return };
                job.open.remove(index);
                let last = parts.len();
                let again = mutant(Mutant::OutcomeStoredTwice).then(|| outcome.clone());
                for (outcome, at) in parts.into_iter().chain([outcome]).chain(again).zip(0..) {
                    self.came += 1;
                    let (order, place, more) = (self.came, Place::With(()), at < last);
                    let piece = Piece { order, job: job.number, index, outcome, place, more };
                    let piece = self.pieces.insert(piece);
                    job.pieces.put(piece, &mut self.pieces);
                }
                job.uncollected += 1;
                self.uncollected += 1;
                due.job(job.number);
            }
        }
    }
}

/// What all of these are made of.
impl Pool {
    /// Serves those who wait, as long as one of them can be.
    fn settle(&mut self, mut due: Due<'_>) {
        self.refuse_submitters_to(&due.forgotten, due.turn);
        loop {
            let functions: BTreeSet<u32> = core::mem::take(&mut due.functions).into_iter().collect();
            self.serve_takers(&functions, due.turn);
            for job in core::mem::take(&mut due.jobs) {
                self.serve_collectors(job, due.turn);
            }
            let next_fits = self.submitters.first().is_some_and(|(_, submission)| self.fits(submission.tasks.len()));
            let Some((call, submission)) = next_fits.then(|| self.submitters.pop()).flatten() else { break };
            let response = self.admit(submission, call.session, &mut due);
            due.turn.wake(call, Reply::Submit(response));
        }
        if self.is_drained() {
            while let Some((call, ())) = self.drainers.pop() {
                due.turn.wake(call, Reply::Drain(PoolDrainResponse {}));
            }
        }
        if self.is_over() {
            while let Some((call, _)) = self.takers.pop() {
                due.turn.wake(call, Reply::Take(no_more()));
            }
        }
    }

    /// Gives the tasks of these functions to those who wait for one.
    fn serve_takers(&mut self, functions: &BTreeSet<u32>, turn: &mut Turn) {
        let waits = |pool: &Self, function: u32| pool.functions.get(function).is_some_and(|it| !it.line.is_empty());
        loop {
            let waiting: Vec<u32> = functions.iter().copied().filter(|function| waits(self, *function)).collect();
            let serves = |taker: &Taker| waiting.iter().any(|it| self.functions.serves(*it, taker.worker));
            let first = self.takers.iter().find(|(_, taker)| serves(taker)).map(|(call, taker)| (call, *taker));
            let Some((call, Taker { worker, max })) = first else { return };
            self.takers.remove(call);
            let response = self.give(call, worker, max, turn);
            turn.deliver(call, Reply::Take(response));
        }
    }

    fn is_drained(&self) -> bool {
        self.waiting == 0 && self.running == 0
    }

    /// Whether there will never be anything to do.
    fn is_over(&self) -> bool {
        self.phase != Phase::Open && self.is_drained()
    }

    fn is_open(&self) -> Result<(), Refusal> {
        if self.phase == Phase::Open { Ok(()) } else { Err(self.shut_down()) }
    }

    /// Whether there is room for so many more tasks that wait.
    fn fits(&self, tasks: usize) -> bool {
        let most = self.spec.max_waiting;
        most == 0 || self.waiting.saturating_add(tasks as u64) <= most
    }

    fn calls_waiting(&self) -> usize {
        self.takers.len() + self.submitters.len() + self.runs.len() + self.collectors.len() + self.drainers.len()
    }

    fn drop_submission(&mut self, submission: Submission, turn: &mut Turn) {
        let job = if submission.job.is_none() { job::JOB_BYTES } else { 0 };
        let name = self.functions.release(submission.function);
        self.free(job + name + bytes_of(&submission.tasks), turn);
    }

    fn drop_parts(&mut self, parts: &[Outcome], turn: &mut Turn) {
        self.free(parts.iter().map(Outcome::bytes).sum(), turn);
    }

    fn drop_piece(&mut self, at: u32, turn: &mut Turn) {
        if let Some(piece) = self.pieces.remove(at) {
            self.free(piece.bytes(), turn);
        }
    }

    fn free(&mut self, bytes: u64, turn: &mut Turn) {
        self.bytes -= bytes;
        turn.room.shrink(bytes);
    }

    /// What all of it counts, added up.
    fn counted(&self) -> u64 {
        let brought = self.submitters.iter().map(|(_, submission)| {
            bytes_of(&submission.tasks) + if submission.job.is_none() { job::JOB_BYTES } else { 0 }
        });
        let parts = self.workers.values().flat_map(|worker| worker.has.values()).flat_map(|had| &had.parts);
        brought.sum::<u64>()
            + self.tasks.iter().map(|(_, task)| task.bytes()).sum::<u64>()
            + self.pieces.iter().map(|(_, piece)| piece.bytes()).sum::<u64>()
            + parts.map(Outcome::bytes).sum::<u64>()
            + self.workers.values().map(Worker::bytes).sum::<u64>()
            + self.functions.iter().map(|(_, function)| function.name.len() as u64).sum::<u64>()
            + self.jobs.len() as u64 * job::JOB_BYTES
    }

    #[cold]
    fn shut_down(&self) -> Refusal {
        let problem = match (self.phase, &*self.reason) {
            (Phase::Terminated, "") => "the pool was terminated: what was not done is cancelled. Make another".into(),
            (Phase::Terminated, why) => {
                format!("the pool was terminated ({why}): what was not done is cancelled. Make another")
            }
            _ => "the pool was closed: it takes no more tasks, and has no more for workers. Make another".into(),
        };
        Refusal::new(Reason::ShutDown, problem)
    }

    #[cold]
    fn full(&self) -> Refusal {
        let problem = format!(
            "the pool has no room: {} of {} tasks wait for a worker, and {} calls wait to submit some. Wait for longer, or start more workers",
            self.waiting,
            self.spec.max_waiting,
            self.submitters.len()
        );
        Refusal::new(Reason::Full, problem)
    }
}

/// What these tasks count.
fn bytes_of(tasks: &[Arguments]) -> u64 {
    tasks.iter().map(|arguments| TASK_BYTES + arguments.bytes()).sum()
}

/// The spec that says what this one means.
fn normal(spec: &Spec) -> Spec {
    let tries = if spec.tries == 0 { TRIES } else { spec.tries };
    Spec { tries, ..*spec }
}

/// As much of a text as is kept.
fn shortened(mut text: String) -> String {
    let end = (0..=REASON_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// What a worker is told who will have nothing more to do.
fn no_more() -> PoolTakeResponse {
    PoolTakeResponse { shut_down: true, ..PoolTakeResponse::default() }
}

#[cold]
fn timed_out() -> Refusal {
    Refusal::new(
        Reason::TimedOut,
        "nothing came for as long as the call would wait: wait for longer, or start more workers",
    )
}

/// What stands in the description of the type, and that the books are right.
#[cfg(any(test, feature = "testing"))]
impl Pool {
    fn check(&self) {
        self.check_tasks();
        self.check_jobs();
        for (call, taker) in self.takers.iter() {
            let worker = self.workers.get(&taker.worker).expect("who waits to take has joined");
            assert_eq!(worker.session, call.session);
            assert!(self.oldest_for(taker.worker).is_none(), "somebody waits for a task that is there");
        }
        assert!(!self.is_over() || self.takers.is_empty(), "somebody waits for what never comes");
        assert!(!self.is_drained() || self.drainers.is_empty(), "somebody waits for what is done");
        let first = self.submitters.first();
        assert!(first.is_none_or(|(_, submission)| !self.fits(submission.tasks.len())), "somebody waits beside room");
        assert!(self.phase == Phase::Open || self.submitters.is_empty());
        assert!(self.phase != Phase::Terminated || self.is_drained());
        for (_, collector) in self.collectors.iter() {
            let job = self.jobs.by_number(collector.job).expect("who collects has a job");
            assert!(job.pieces.is_empty() && !job.is_collected(), "somebody waits for what is there, or never comes");
        }
        for (_, submission) in self.submitters.iter() {
            assert!(submission.job.is_none_or(|job| self.jobs.by_number(job).is_some()));
        }
        self.check_bytes();
    }

    fn check_tasks(&self) {
        let lines: usize = self.functions.iter().map(|(_, function)| function.line.len()).sum();
        let has: usize = self.workers.values().map(|worker| worker.has.len()).sum();
        assert_eq!((lines as u64, has as u64, self.tasks.len()), (self.waiting, self.running, lines + has));
        for (number, worker) in &self.workers {
            assert!(self.workers_of.contains(&(worker.session, *number)));
            for (at, function) in worker.functions.iter().zip(0..) {
                assert_eq!(self.functions.get(*at).and_then(|served| served.servers.get(number)), Some(&function));
            }
            for (task, had) in &worker.has {
                let found = self.tasks.get(had.task).expect("it is there");
                assert_eq!((found.number, found.place), (*task, Place::With(*number)));
                if let Some(call) = had.call {
                    let call = CallId { session: worker.session, number: call };
                    assert!(self.unreceived.contains(&(call, *number, *task)));
                }
            }
        }
        let unreceived = self.workers.values().flat_map(|worker| worker.has.values()).filter(|had| had.call.is_some());
        assert_eq!(self.unreceived.len(), unreceived.count());
        assert_eq!(self.workers_of.len(), self.workers.len());
        assert!(self.tasks.iter().all(|(_, task)| task.attempts < task.tries && task.number <= self.entered));
        let runs = self.tasks.iter().filter(|(_, task)| matches!(task.owner, Owner::Run(_))).count();
        assert_eq!(runs, self.runs.len());
        for (call, task) in self.runs.iter() {
            let owner = self.tasks.get(*task).map(|task| &task.owner);
            assert!(matches!(owner, Some(Owner::Run(owner)) if **owner == call), "{call:?} waits for its own task");
        }
    }

    fn check_jobs(&self) {
        let (mut open, mut uncollected, mut lined) = (0, 0, 0);
        for job in self.jobs.iter() {
            open += job.open.len() as usize;
            uncollected += job.uncollected;
            lined += job.pieces.len();
            let mut running = 0;
            for at in job.open.iter() {
                let task = self.tasks.get(at).expect("it is not done");
                let Owner::Job { job: owner, index } = task.owner else { panic!("{task:?} is of a job") };
                assert_eq!(self.jobs.get(owner).map(|job| job.number), Some(job.number));
                assert_eq!(job.open.get(index), Some(at));
                running += u32::from(matches!(task.place, Place::With(_)));
            }
            assert_eq!(job.running, running);
            assert!(job.left() <= job.tasks && job.number <= self.begun);
        }
        assert_eq!(open + self.runs.len(), self.tasks.len());
        assert_eq!(uncollected, self.uncollected);
        let given: usize = self.given.values().map(Vec::len).sum();
        assert_eq!(self.pieces.len(), lined + given);
        let last = self.pieces.iter().filter(|(_, piece)| !piece.more && !matches!(piece.place, Place::With(())));
        assert_eq!(last.count() as u64, uncollected);
        let orders: BTreeSet<u64> = self.pieces.iter().map(|(_, piece)| piece.order).collect();
        assert!(orders.len() == self.pieces.len() && orders.last().is_none_or(|last| *last <= self.came));
    }

    fn check_bytes(&self) {
        let mut users = self.tasks.len() as u64 + self.submitters.len() as u64;
        users += self.workers.values().map(|worker| worker.functions.len() as u64).sum::<u64>();
        assert_eq!(self.functions.iter().map(|(_, function)| function.users).sum::<u64>(), users);
        assert!(self.functions.iter().all(|(_, function)| function.users > 0));
        assert_eq!(self.bytes, self.counted());
    }
}

#[cfg(test)]
mod tests;
