//! A pool as messages, and back.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use holdfast_proto::pool::Spec;
use holdfast_proto::{PoolArguments, PoolOutcome, Reason, Refusal};

use super::collectors::Collectors;
use super::functions::check_name;
use super::job::Job;
use super::line::Place;
use super::outcome::{Outcome, Piece};
use super::task::{Arguments, Owner, Task, shape};
use super::workers::{Had, Worker};
use super::{Phase, Pool, Submission, Taker};
use crate::wait_queue::WaitQueue;
use crate::{CallId, CallState, Client, Creation, Object as _, SessionId};

/// All there is to know about a [`Pool`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// The jobs, by number.
    #[prost(message, repeated, tag = "2")]
    pub jobs: Vec<JobState>,
    /// The tasks that are not done, by number.
    #[prost(message, repeated, tag = "3")]
    pub tasks: Vec<TaskState>,
    /// What came of others, in the order in which it came.
    #[prost(message, repeated, tag = "4")]
    pub pieces: Vec<PieceState>,
    /// The workers, by number.
    #[prost(message, repeated, tag = "5")]
    pub workers: Vec<WorkerState>,
    /// Who waits to take tasks, in their order.
    #[prost(message, repeated, tag = "6")]
    pub takers: Vec<TakerState>,
    /// Who waits to submit some, in their order.
    #[prost(message, repeated, tag = "7")]
    pub submitters: Vec<SubmissionState>,
    /// Who waits to collect outcomes, in their order.
    #[prost(message, repeated, tag = "8")]
    pub collectors: Vec<CollectorState>,
    /// Who waits until nothing is left to do, in their order.
    #[prost(message, repeated, tag = "9")]
    pub drainers: Vec<CallState>,
    /// Who waits for the outcome of one task, in their order.
    #[prost(message, repeated, tag = "10")]
    pub runs: Vec<CallState>,
    /// Who was given outcomes and may not have them yet.
    #[prost(message, repeated, tag = "11")]
    pub given: Vec<GivenState>,
    /// 1 if it was closed, 2 if it was terminated.
    #[prost(uint32, tag = "12")]
    pub phase: u32,
    /// Why it was terminated.
    #[prost(string, tag = "13")]
    pub reason: String,
    /// How many jobs there ever were.
    #[prost(uint64, tag = "14")]
    pub begun: u64,
    /// How many tasks.
    #[prost(uint64, tag = "15")]
    pub entered: u64,
    /// How many workers.
    #[prost(uint64, tag = "16")]
    pub joined: u64,
    /// How many parts of outcomes.
    #[prost(uint64, tag = "17")]
    pub came: u64,
    /// How many tasks were done.
    #[prost(uint64, tag = "18")]
    pub finished: u64,
    /// How often a worker was lost with a task.
    #[prost(uint64, tag = "19")]
    pub lost: u64,
}

/// A job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobState {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Whose it is; empty if it is kept.
    #[prost(bytes = "vec", tag = "2")]
    pub session: Vec<u8>,
    /// How many tasks it ever had.
    #[prost(uint64, tag = "3")]
    pub tasks: u64,
}

/// A task that is not done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TaskState {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The name of its function.
    #[prost(string, tag = "2")]
    pub function: String,
    /// How its arguments are to be understood.
    #[prost(int32, tag = "3")]
    pub shape: i32,
    /// What it is called with.
    #[prost(message, optional, tag = "4")]
    pub arguments: Option<PoolArguments>,
    /// How many workers were lost with it.
    #[prost(uint32, tag = "5")]
    pub attempts: u32,
    /// How many may be.
    #[prost(uint32, tag = "6")]
    pub tries: u32,
    /// The number of its job, if it has one.
    #[prost(uint64, tag = "7")]
    pub job: u64,
    /// Its index there.
    #[prost(uint64, tag = "8")]
    pub index: u64,
    /// Otherwise the call that waits for it.
    #[prost(message, optional, tag = "9")]
    pub run: Option<CallState>,
    /// The number of the worker that has it; 0 if it waits for one.
    #[prost(uint64, tag = "10")]
    pub worker: u64,
    /// The number of the call with which the worker took it, unless it has the answer.
    #[prost(uint64, optional, tag = "11")]
    pub call: Option<u64>,
    /// The parts of its outcome that were handed in.
    #[prost(message, repeated, tag = "12")]
    pub parts: Vec<PoolOutcome>,
}

/// An outcome, or a part of one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PieceState {
    /// Its place among all that came.
    #[prost(uint64, tag = "1")]
    pub order: u64,
    /// The number of its job.
    #[prost(uint64, tag = "2")]
    pub job: u64,
    /// The index of its task there.
    #[prost(uint64, tag = "3")]
    pub index: u64,
    /// What it is.
    #[prost(message, optional, tag = "4")]
    pub outcome: Option<PoolOutcome>,
    /// Whether a further part follows.
    #[prost(bool, tag = "5")]
    pub more: bool,
}

/// A worker.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerState {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Its session.
    #[prost(bytes = "vec", tag = "2")]
    pub session: Vec<u8>,
    /// The names of its functions.
    #[prost(string, repeated, tag = "3")]
    pub functions: Vec<String>,
    /// What it is called.
    #[prost(string, tag = "4")]
    pub name: String,
    /// The id of its process.
    #[prost(uint32, tag = "5")]
    pub pid: u32,
    /// Its host.
    #[prost(string, tag = "6")]
    pub host: String,
    /// How many tasks it has finished.
    #[prost(uint64, tag = "7")]
    pub finished: u64,
}

/// A call that waits to take tasks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TakerState {
    /// Which call.
    #[prost(message, required, tag = "1")]
    pub call: CallState,
    /// The number of its worker.
    #[prost(uint64, tag = "2")]
    pub worker: u64,
    /// How many tasks it would like at most.
    #[prost(uint64, tag = "3")]
    pub max: u64,
}

/// A call that waits to submit tasks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubmissionState {
    /// Which call.
    #[prost(message, required, tag = "1")]
    pub call: CallState,
    /// The number of the job; 0 if it begins one.
    #[prost(uint64, tag = "2")]
    pub job: u64,
    /// The name of the function.
    #[prost(string, tag = "3")]
    pub function: String,
    /// How the arguments are to be understood.
    #[prost(int32, tag = "4")]
    pub shape: i32,
    /// How many workers may be lost with each task.
    #[prost(uint32, tag = "5")]
    pub tries: u32,
    /// Whether the job is kept.
    #[prost(bool, tag = "6")]
    pub keep: bool,
    /// What the tasks are called with.
    #[prost(message, repeated, tag = "7")]
    pub tasks: Vec<PoolArguments>,
}

/// A call that waits to collect outcomes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectorState {
    /// Which call.
    #[prost(message, required, tag = "1")]
    pub call: CallState,
    /// The number of the job.
    #[prost(uint64, tag = "2")]
    pub job: u64,
    /// How many it would like at most.
    #[prost(uint64, tag = "3")]
    pub max: u64,
}

/// A call that was given outcomes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GivenState {
    /// Which call.
    #[prost(message, required, tag = "1")]
    pub call: CallState,
    /// The places of what it was given among all that came.
    #[prost(uint64, repeated, tag = "2")]
    pub orders: Vec<u64>,
}

pub(super) fn of(pool: &Pool) -> State {
    let mut tasks: Vec<TaskState> = pool.tasks.iter().map(|(_, task)| task_state(pool, task)).collect();
    tasks.sort_unstable_by_key(|task| task.number);
    let mut pieces: Vec<PieceState> = pool.pieces.iter().map(|(_, piece)| piece_state(piece)).collect();
    pieces.sort_unstable_by_key(|piece| piece.order);
    let job = |job: &Job| JobState {
        number: job.number,
        session: job.session.map(|session| session.0.into()).unwrap_or_default(),
        tasks: job.tasks,
    };
    let order = |at: &u32| pool.pieces.get(*at).map_or(0, |piece| piece.order);
    let given = |(call, pieces): (&CallId, &Vec<u32>)| GivenState {
        call: (*call).into(),
        orders: pieces.iter().map(order).collect(),
    };
    let taker =
        |(call, taker): (CallId, &Taker)| TakerState { call: call.into(), worker: taker.worker, max: taker.max };
    let submission = |(call, submission): (CallId, &Submission)| SubmissionState {
        call: call.into(),
        job: submission.job.unwrap_or_default(),
        function: pool.functions.name(submission.function).into(),
        shape: submission.shape.into(),
        tries: submission.tries,
        keep: submission.keep,
        tasks: submission.tasks.iter().map(Arguments::message).collect(),
    };
    let collectors = pool.collectors.iter();
    let collectors = collectors.map(|(call, collector)| CollectorState {
        call: call.into(),
        job: collector.job,
        max: collector.max,
    });
    State {
        spec: pool.spec,
        jobs: pool.jobs.iter().map(job).collect(),
        tasks,
        pieces,
        workers: pool.workers.iter().map(|(number, worker)| worker_state(pool, *number, worker)).collect(),
        takers: pool.takers.iter().map(taker).collect(),
        submitters: pool.submitters.iter().map(submission).collect(),
        collectors: collectors.collect(),
        drainers: pool.drainers.saved(),
        runs: pool.runs.iter().map(|(call, _)| call.into()).collect(),
        given: pool.given.iter().map(given).collect(),
        phase: pool.phase as u32,
        reason: pool.reason.clone(),
        begun: pool.begun,
        entered: pool.entered,
        joined: pool.joined,
        came: pool.came,
        finished: pool.finished,
        lost: pool.lost,
    }
}

fn task_state(pool: &Pool, task: &Task) -> TaskState {
    let (job, index, run) = match &task.owner {
        Owner::Job { job, index } => (pool.jobs.get(*job).map_or(0, |job| job.number), *index, None),
        Owner::Run(call) => (0, 0, Some((**call).into())),
    };
    let worker = if let Place::With(worker) = task.place { worker } else { 0 };
    let had = pool.workers.get(&worker).and_then(|worker| worker.has.get(&task.number));
    TaskState {
        number: task.number,
        function: pool.functions.name(task.function).into(),
        shape: task.shape.into(),
        arguments: Some(task.arguments.message()),
        attempts: task.attempts,
        tries: task.tries,
        job,
        index,
        run,
        worker,
        call: had.and_then(|had| had.call),
        parts: had.map(|had| had.parts.iter().map(Outcome::message).collect()).unwrap_or_default(),
    }
}

fn piece_state(piece: &Piece) -> PieceState {
    let Piece { order, job, index, more, .. } = *piece;
    PieceState { order, job, index, outcome: Some(piece.outcome.message()), more }
}

fn worker_state(pool: &Pool, number: u64, worker: &Worker) -> WorkerState {
    let Client { name, pid, host } = worker.who.clone();
    WorkerState {
        number,
        session: worker.session.0.into(),
        functions: worker.functions.iter().map(|function| pool.functions.name(*function).into()).collect(),
        name,
        pid,
        host,
        finished: worker.finished,
    }
}

pub(super) fn restore(mut state: State, creation: &mut Creation) -> Result<Pool, Refusal> {
    let mut pool = Pool::create(state.spec, creation)?;
    let State { phase, begun, entered, joined, came, finished, lost, .. } = state;
    if [begun, entered, joined, came, finished, lost].into_iter().any(|count| count > i64::MAX as u64) {
        return Err(damaged());
    }
    (pool.begun, pool.entered, pool.joined) = (begun, entered, joined);
    (pool.came, pool.finished, pool.lost) = (came, finished, lost);
    pool.phase = match phase {
        0 => Phase::Open,
        1 => Phase::Closed,
        2 => Phase::Terminated,
        _ => return Err(damaged()),
    };
    pool.reason = super::shortened(core::mem::take(&mut state.reason));
    restore_workers(&mut pool, core::mem::take(&mut state.workers))?;
    for JobState { number, session, tasks } in core::mem::take(&mut state.jobs) {
        let session = if session.is_empty() { None } else { Some(SessionId::read(&session)?) };
        if !(1..=begun).contains(&number) || tasks > entered || pool.jobs.find(number).is_ok() {
            return Err(damaged());
        }
        pool.jobs.insert(Job { tasks, ..Job::new(number, session) });
    }
    restore_tasks(&mut pool, core::mem::take(&mut state.tasks), &state.runs)?;
    restore_pieces(&mut pool, core::mem::take(&mut state.pieces), core::mem::take(&mut state.given))?;
    if pool.jobs.iter().any(|job| job.left() > job.tasks) {
        return Err(damaged());
    }
    restore_waiting(&mut pool, state)?;
    pool.bytes = pool.counted();
    creation.room.grow(pool.bytes)?;
    Ok(pool)
}

fn restore_workers(pool: &mut Pool, workers: Vec<WorkerState>) -> Result<(), Refusal> {
    for WorkerState { number, session, functions, name, pid, host, finished } in workers {
        let distinct: BTreeSet<&String> = functions.iter().collect();
        if !(1..=pool.joined).contains(&number)
            || pool.workers.contains_key(&number)
            || distinct.len() != functions.len()
            || finished > pool.finished
        {
            return Err(damaged());
        }
        functions.iter().try_for_each(|function| check_name(function))?;
        pool.enter_worker(number, SessionId::read(&session)?, Client { name, pid, host }, &functions);
        if let Some(worker) = pool.workers.get_mut(&number) {
            worker.finished = finished;
        }
    }
    Ok(())
}

fn restore_tasks(pool: &mut Pool, tasks: Vec<TaskState>, runs: &[CallState]) -> Result<(), Refusal> {
    if !tasks.is_sorted_by(|a, b| a.number < b.number) {
        return Err(damaged());
    }
    let mut waits: BTreeMap<CallId, u32> = BTreeMap::new();
    for state in tasks {
        let (run, worker, call) = (state.run.clone(), state.worker, state.call);
        let parts = state.parts.iter().map(|part| Outcome::restore(Some(part.clone()), &pool.equality));
        let parts = parts.collect::<Result<Vec<_>, Refusal>>()?;
        let task = restore_task(pool, state)?;
        let (number, function) = (task.number, task.function);
        let owner = if let Owner::Job { job, index } = task.owner { Some((job, index)) } else { None };
        let at = pool.tasks.insert(task);
        if let Some(job) = owner.and_then(|(job, _)| pool.jobs.get_mut(job)) {
            job.open.push(owner.map_or(0, |(_, index)| index), at);
            job.running += u32::from(worker > 0);
        }
        if let Some(call) = run
            && waits.insert(call.read()?, at).is_some()
        {
            return Err(damaged());
        }
        if worker == 0 {
            if call.is_some() || !parts.is_empty() {
                return Err(damaged());
            }
            pool.line_up(at);
            continue;
        }
        let Some(has) = pool.workers.get_mut(&worker) else { return Err(damaged()) };
        if !has.functions.contains(&function) {
            return Err(damaged());
        }
        has.has.insert(number, Had { task: at, call, parts });
        if let Some(call) = call {
            pool.unreceived.insert((CallId { session: has.session, number: call }, worker, number));
        }
        pool.running += 1;
    }
    let runs = runs.iter().map(|call| {
        let call = call.read()?;
        Ok((call, waits.remove(&call).ok_or_else(damaged)?))
    });
    pool.runs = runs.collect::<Result<_, Refusal>>()?;
    if waits.is_empty() { Ok(()) } else { Err(damaged()) }
}

/// A task that is in no line yet, and of which its job does not know.
fn restore_task(pool: &mut Pool, state: TaskState) -> Result<Task, Refusal> {
    let TaskState { number, function, shape: like, arguments, attempts, tries, job, index, run, worker, .. } = state;
    check_name(&function)?;
    let arguments = Arguments::read(arguments.ok_or_else(|| Refusal::missing("arguments"))?, &pool.equality)?;
    let owner = match run {
        Some(call) if job == 0 => Owner::Run(Box::new(call.read()?)),
        None => {
            let at = pool.jobs.find(job)?;
            let last = pool.jobs.get(at).and_then(|job| job.open.last());
            let tasks = pool.jobs.get(at).map_or(0, |job| job.tasks);
            if index >= tasks || last.is_some_and(|last| index <= last) {
                return Err(damaged());
            }
            Owner::Job { job: at, index }
        }
        Some(_) => return Err(damaged()),
    };
    if !(1..=pool.entered).contains(&number) || attempts >= tries {
        return Err(damaged());
    }
    let (shape, function) = (shape(like)?, pool.functions.hold(&function));
    Ok(Task { number, arguments, owner, place: Place::With(worker), function, attempts, tries, shape })
}

fn restore_pieces(pool: &mut Pool, pieces: Vec<PieceState>, given: Vec<GivenState>) -> Result<(), Refusal> {
    if !pieces.is_sorted_by(|a, b| a.order < b.order) {
        return Err(damaged());
    }
    let mut to: BTreeMap<u64, Option<u32>> = BTreeMap::new();
    for order in given.iter().flat_map(|given| &given.orders) {
        if to.insert(*order, None).is_some() {
            return Err(damaged());
        }
    }
    for PieceState { order, job: number, index, outcome, more } in pieces {
        let outcome = Outcome::restore(outcome, &pool.equality)?;
        if !(1..=pool.came).contains(&order) {
            return Err(damaged());
        }
        let at = pool.pieces.insert(Piece { order, job: number, index, outcome, place: Place::With(()), more });
        if let Some(given) = to.get_mut(&order) {
            *given = Some(at);
            continue;
        }
        let job = pool.jobs.by_number_mut(number).ok_or_else(damaged)?;
        job.pieces.put(at, &mut pool.pieces);
        job.uncollected += u64::from(!more);
        pool.uncollected += u64::from(!more);
    }
    for GivenState { call, orders } in given {
        let pieces = orders.iter().map(|order| to.get(order).copied().flatten().ok_or_else(damaged));
        let pieces = pieces.collect::<Result<Vec<_>, Refusal>>()?;
        if pieces.is_empty() || pool.given.insert(call.read()?, pieces).is_some() {
            return Err(damaged());
        }
    }
    Ok(())
}

fn restore_waiting(pool: &mut Pool, state: State) -> Result<(), Refusal> {
    let takers = state.takers.into_iter().map(|taker| {
        let call = taker.call.read()?;
        let worker = pool.workers.get(&taker.worker).filter(|worker| worker.session == call.session);
        worker.ok_or_else(damaged)?;
        Ok((call, Taker { worker: taker.worker, max: taker.max }))
    });
    pool.takers = takers.collect::<Result<_, Refusal>>()?;
    for SubmissionState { call, job, function, shape: like, tries, keep, tasks } in state.submitters {
        check_name(&function)?;
        let tasks = tasks.into_iter().map(|arguments| Arguments::read(arguments, &pool.equality));
        let tasks = tasks.collect::<Result<Vec<_>, Refusal>>()?;
        let job = (job > 0).then(|| pool.jobs.find(job).map(|_| job)).transpose()?;
        let (shape, call) = (shape(like)?, call.read()?);
        let function = pool.functions.hold(&function);
        pool.submitters.push(call, Submission { job, function, shape, tries, keep, tasks });
    }
    let mut collectors = Collectors::default();
    for CollectorState { call, job, max } in state.collectors {
        pool.jobs.find(job)?;
        collectors.push(call.read()?, job, max);
    }
    pool.collectors = collectors;
    pool.drainers = WaitQueue::read(&state.drainers)?;
    Ok(())
}

fn damaged() -> Refusal {
    Refusal::new(Reason::Malformed, "the saved state is not that of a pool: it was damaged")
}
