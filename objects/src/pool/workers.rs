//! The workers of a pool, and what they ask of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use holdfast_proto::pool::Reply;
use holdfast_proto::{
    PoolDone, PoolFinishRequest, PoolFinishResponse, PoolJoinRequest, PoolJoinResponse, PoolLeaveRequest,
    PoolLeaveResponse, PoolTakeRequest, PoolTakeResponse, PoolTask, PoolWorker, PoolWorkersRequest,
    PoolWorkersResponse, Reason, Refusal,
};

use super::functions::{NAME_BYTES, check_name};
use super::outcome::Outcome;
use super::task::{Owner, TASK_BYTES};
use super::{Due, Pool, Taker, no_more};
use crate::mutant::{Mutant, mutant};
use crate::page::Page;
use crate::{Answer, CallId, Client, Ended, Patience, SessionId, Turn};

/// What a worker counts beside its name and host, and what each function that it serves.
const WORKER_BYTES: u64 = 64;
const SERVED_BYTES: u64 = 32;

/// Who does tasks.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) session: SessionId,
    /// Who it says that it is.
    pub(super) who: Client,
    /// Where the functions are that it serves, in its order.
    pub(super) functions: Vec<u32>,
    /// The tasks that it has, by number.
    pub(super) has: BTreeMap<u64, Had>,
    /// How many tasks it has finished.
    pub(super) finished: u64,
}

/// A task that a worker has.
#[derive(Debug)]
pub(super) struct Had {
    /// Where it is.
    pub(super) task: u32,
    /// The number of the call with which it was taken, until it is known that its caller has the answer.
    pub(super) call: Option<u64>,
    /// The parts of its outcome that were handed in.
    pub(super) parts: Vec<Outcome>,
}

/// What is handed in.
struct Done {
    task: u64,
    outcome: Outcome,
    more: bool,
}

impl Worker {
    /// What it counts.
    pub(super) fn bytes(&self) -> u64 {
        bytes_of(&self.who, self.functions.len())
    }
}

fn bytes_of(who: &Client, functions: usize) -> u64 {
    WORKER_BYTES + (who.name.len() + who.host.len()) as u64 + SERVED_BYTES * functions as u64
}

/// Coming and going.
impl Pool {
    pub(super) fn join(&mut self, request: PoolJoinRequest, turn: &mut Turn) -> Result<PoolJoinResponse, Refusal> {
        let PoolJoinRequest { functions, name, pid, host } = request;
        let malformed = |problem| Err(Refusal::new(Reason::Malformed, problem));
        if name.len() > NAME_BYTES || host.len() > NAME_BYTES {
            return malformed(format!("the name and the host of a worker have at most {NAME_BYTES} bytes each"));
        }
        if functions.is_empty() {
            return malformed("a worker serves at least one function: register one before it joins".into());
        }
        functions.iter().try_for_each(|function| check_name(function))?;
        let mut distinct = BTreeSet::new();
        if let Some(twice) = functions.iter().find(|function| !distinct.insert(&***function)) {
            return malformed(format!("the worker names the function {twice:?} twice: each function has its own name"));
        }
        if self.is_over() {
            return Err(self.shut_down());
        }
        let who = Client { name, pid, host };
        let names: u64 = functions.iter().map(|function| self.functions.growth(function)).sum();
        self.grow(bytes_of(&who, functions.len()) + names, turn)?;
        self.joined += 1;
        self.enter_worker(self.joined, turn.call.session, who, &functions);
        Ok(PoolJoinResponse { worker: self.joined })
    }

    /// Takes a worker in.
    pub(super) fn enter_worker<T: AsRef<str>>(
        &mut self,
        number: u64,
        session: SessionId,
        who: Client,
        functions: &[T],
    ) {
        let functions: Vec<u32> = functions.iter().map(|function| self.functions.hold(function.as_ref())).collect();
        for (function, at) in functions.iter().zip(0..) {
            if let Some(function) = self.functions.get_mut(*function) {
                function.servers.insert(number, at);
            }
        }
        self.workers.insert(number, Worker { session, who, functions, has: BTreeMap::new(), finished: 0 });
        self.workers_of.insert((session, number));
    }

    pub(super) fn leave_pool(
        &mut self,
        request: &PoolLeaveRequest,
        turn: &mut Turn,
    ) -> Result<PoolLeaveResponse, Refusal> {
        let number = request.worker;
        let worker = self.held(number, turn.call.session)?;
        let tasks: Vec<u64> = worker.has.keys().copied().collect();
        let its = self.takers.iter().filter(|(_, taker)| taker.worker == number);
        let calls: Vec<CallId> = its.map(|(call, _)| call).collect();
        for call in calls {
            self.takers.remove(call);
            turn.refuse(call, not_held(number));
        }
        let mut due = Due::new(turn);
        for task in tasks {
            self.take_back(number, task, &mut due);
        }
        self.remove_worker(number, due.turn);
        self.settle(due);
        Ok(PoolLeaveResponse {})
    }

    /// Takes a worker out that has no task.
    fn remove_worker(&mut self, number: u64, turn: &mut Turn) {
        let Some(worker) = self.workers.remove(&number) else { return };
        self.workers_of.remove(&(worker.session, number));
        self.free(worker.bytes(), turn);
        for function in worker.functions {
            if let Some(function) = self.functions.get_mut(function) {
                function.servers.remove(&number);
            }
            let name = self.functions.release(function);
            self.free(name, turn);
        }
    }

    /// The numbers of the workers of this session.
    pub(super) fn workers_of(&self, session: SessionId) -> Vec<u64> {
        self.workers_of.range((session, 0)..=(session, u64::MAX)).map(|(_, worker)| *worker).collect()
    }

    /// The session of a worker has ended.
    pub(super) fn bury(&mut self, number: u64, how: Ended, due: &mut Due<'_>) {
        let Some(worker) = self.workers.get(&number) else { return };
        let has: Vec<(u64, bool)> = worker.has.iter().map(|(task, had)| (*task, had.call.is_some())).collect();
        let who = due.turn.client.clone().unwrap_or_default();
        for (task, is_unreceived) in has {
            if how == Ended::Closed && is_unreceived {
                self.take_back(number, task, due);
            } else {
                self.lose(number, task, &who, due);
            }
        }
        self.remove_worker(number, due.turn);
    }

    /// A worker was lost with a task.
    fn lose(&mut self, worker: u64, number: u64, who: &Arc<Client>, due: &mut Due<'_>) {
        let Some(had) = self.detach(worker, number) else { return };
        let Some(task) = self.tasks.get_mut(had.task) else { return };
        self.lost += 1;
        task.attempts += 1;
        let tries = task.attempts;
        if tries < task.tries && !mutant(Mutant::LostTaskIsNotTriedAgain) {
            return self.put_back(had, due);
        }
        self.drop_parts(&had.parts, due.turn);
        self.fail(had.task, Outcome::Lost { by: who.clone(), tries }, due);
    }

    /// A worker of this session. Refused: `NOT_HELD`.
    fn held(&self, number: u64, session: SessionId) -> Result<&Worker, Refusal> {
        self.workers.get(&number).filter(|worker| worker.session == session).ok_or_else(|| not_held(number))
    }

    pub(super) fn list_workers(&self, request: &PoolWorkersRequest, turn: &Turn) -> PoolWorkersResponse {
        let mut page = Page::new(request.bytes, turn.page_bytes);
        let mut workers = Vec::new();
        for (number, worker) in self.workers.range(request.cursor..) {
            if !workers.is_empty() && page.is_full() {
                return PoolWorkersResponse { workers, cursor: *number };
            }
            let shown = PoolWorker {
                worker: *number,
                name: worker.who.name.clone(),
                pid: worker.who.pid,
                host: worker.who.host.clone(),
                functions: worker.functions.iter().map(|function| self.functions.name(*function).into()).collect(),
                running: worker.has.len() as u64,
                finished: worker.finished,
            };
            page.count(&shown);
            workers.push(shown);
        }
        PoolWorkersResponse { workers, cursor: 0 }
    }
}

/// Taking.
impl Pool {
    pub(super) fn take(&mut self, request: PoolTakeRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let PoolTakeRequest { worker, max, patience_ms, done } = request;
        let patience = Patience::read(patience_ms)?;
        self.held(worker, turn.call.session)?;
        let done = self.read_done(done)?;
        let (before, after, ended) = self.weigh(worker, &done, &[]);
        let will_be_over = self.phase != super::Phase::Open && self.waiting == 0 && self.running == ended;
        if patience.is_some() && self.oldest_for(worker).is_none() && !will_be_over {
            turn.may_wait(self.calls_waiting())?;
        }
        turn.room.replace(before, after)?;
        self.bytes = self.bytes - before + after;
        let mut due = Due::new(turn);
        self.hand_in(worker, done, &mut due);
        self.settle(due);
        if self.is_over() {
            return Ok(Answer::Done(Reply::Take(no_more())));
        }
        if self.oldest_for(worker).is_some() {
            let response = self.give(turn.call, worker, max, turn);
            self.settle(Due::new(turn));
            return Ok(Answer::Delivered(Reply::Take(response)));
        }
        let Some(patience) = patience else { return Ok(Answer::Done(Reply::Take(PoolTakeResponse::default()))) };
        self.takers.push(turn.call, Taker { worker, max });
        Ok(Answer::Wait(patience))
    }

    /// Gives a call of a worker what it asked for: at least one task, if there is one that it serves.
    pub(super) fn give(&mut self, call: CallId, worker: u64, max: u64, turn: &Turn) -> PoolTakeResponse {
        let share = self.waiting.div_ceil(self.workers.len().max(1) as u64);
        let max = max.max(1).min(share);
        let mut page = Page::new(0, turn.page_bytes);
        let mut tasks = Vec::new();
        let mut goes_alone = false;
        while let Some((function, until)) = self.oldest_for(worker) {
            while let Some(at) = self.first_of(function) {
                let Some(task) = self.tasks.get(at).filter(|task| task.number < until) else { break };
                goes_alone |= task.goes_alone();
                let is_enough = goes_alone || tasks.len() as u64 >= max || page.is_full();
                if is_enough && !tasks.is_empty() {
                    return PoolTakeResponse { tasks, fence: turn.fence, shut_down: false };
                }
                let given = self.give_one(call, worker, at);
                page.count(&given);
                tasks.push(given);
            }
        }
        PoolTakeResponse { tasks, fence: turn.fence, shut_down: false }
    }

    /// Gives a task that waits to a worker which serves its function.
    fn give_one(&mut self, call: CallId, worker: u64, at: u32) -> PoolTask {
        let Some(task) = self.tasks.get(at) else { return PoolTask::default() };
        let (number, held) = (task.number, task.function);
        let mut given = PoolTask {
            task: number,
            function: 0,
            shape: task.shape.into(),
            arguments: Some(task.arguments.message()),
            attempt: task.attempts + 1,
        };
        if let Owner::Job { job, .. } = task.owner
            && let Some(job) = self.jobs.get_mut(job)
        {
            job.running += 1;
        }
        if let Some(function) = self.functions.get_mut(held) {
            given.function = function.servers.get(&worker).copied().unwrap_or_default();
            function.line.remove(at, worker, &mut self.tasks);
        }
        self.waiting -= 1;
        self.running += 1;
        self.unreceived.insert((call, worker, number));
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.has.insert(number, Had { task: at, call: Some(call.number), parts: Vec::new() });
        }
        given
    }

    /// The function that this worker serves and whose first task is the oldest, and the number of the oldest task of its
    /// others.
    pub(super) fn oldest_for(&self, worker: u64) -> Option<(u32, u64)> {
        let (mut oldest, mut next) = (None, u64::MAX);
        for function in &self.workers.get(&worker)?.functions {
            let Some(task) = self.first_of(*function).and_then(|at| self.tasks.get(at)) else { continue };
            match oldest {
                Some((_, number)) if number < task.number => next = next.min(task.number),
                _ => {
                    next = next.min(oldest.map_or(u64::MAX, |(_, number)| number));
                    oldest = Some((*function, task.number));
                }
            }
        }
        oldest.map(|(function, _)| (function, next))
    }

    /// Where the first task is that waits for this function.
    fn first_of(&self, function: u32) -> Option<u32> {
        self.functions.get(function)?.line.first(&self.tasks)
    }

    /// The tasks that this call was given, unless it is known that its caller has them: worker and task.
    pub(super) fn unreceived_by(&self, call: CallId) -> Vec<(u64, u64)> {
        let of_call = self.unreceived.range((call, 0, 0)..=(call, u64::MAX, u64::MAX));
        of_call.map(|(_, worker, task)| (*worker, *task)).collect()
    }

    /// A worker surely has the answer with which it was given a task.
    pub(super) fn receive(&mut self, number: u64, task: u64) {
        if let Some(worker) = self.workers.get_mut(&number)
            && let Some(call) = worker.has.get_mut(&task).and_then(|had| had.call.take())
        {
            self.unreceived.remove(&(CallId { session: worker.session, number: call }, number, task));
        }
    }
}

/// Handing in.
impl Pool {
    pub(super) fn finish(
        &mut self,
        request: PoolFinishRequest,
        turn: &mut Turn,
    ) -> Result<PoolFinishResponse, Refusal> {
        let PoolFinishRequest { worker, done, untouched } = request;
        self.held(worker, turn.call.session)?;
        let done = self.read_done(done)?;
        let (before, after, _) = self.weigh(worker, &done, &untouched);
        turn.room.replace(before, after)?;
        self.bytes = self.bytes - before + after;
        let mut due = Due::new(turn);
        let mut accepted = self.hand_in(worker, done, &mut due);
        for task in untouched {
            // Its parts were weighed.
            if let Some(had) = self.detach(worker, task) {
                self.put_back(Had { parts: Vec::new(), ..had }, &mut due);
                accepted += 1;
            }
        }
        self.settle(due);
        Ok(PoolFinishResponse { accepted })
    }

    fn read_done(&self, done: Vec<PoolDone>) -> Result<Vec<Done>, Refusal> {
        let read = |done: PoolDone| {
            let (task, more) = (done.task, done.more);
            Ok(Done { task, outcome: Outcome::read(done, &self.equality)?, more })
        };
        done.into_iter().map(read).collect()
    }

    /// What is to be handed in and given back counts so much before, and so much after, and so many tasks are done by it.
    fn weigh(&self, number: u64, done: &[Done], untouched: &[u64]) -> (u64, u64, u64) {
        let Some(worker) = self.workers.get(&number) else { return (0, 0, 0) };
        let (mut before, mut after) = (0, 0);
        let mut ended: BTreeSet<u64> = BTreeSet::new();
        let mut parts: BTreeMap<u64, u64> = BTreeMap::new();
        let parts_of = |had: &Had| had.parts.iter().map(Outcome::bytes).sum::<u64>();
        for Done { task: number, outcome, more } in done {
            let Some(had) = worker.has.get(number).filter(|_| !ended.contains(number)) else { continue };
            if *more {
                *parts.entry(*number).or_default() += outcome.bytes();
                continue;
            }
            ended.insert(*number);
            let Some(task) = self.tasks.get(had.task) else { continue };
            before += task.bytes();
            match task.owner {
                Owner::Job { .. } => after += TASK_BYTES + outcome.bytes(),
                Owner::Run(_) => {
                    before += parts_of(had);
                    parts.remove(number);
                }
            }
        }
        let count = ended.len() as u64;
        for number in untouched {
            if let Some(had) = worker.has.get(number)
                && ended.insert(*number)
            {
                before += parts_of(had);
                parts.remove(number);
            }
        }
        (before, after + parts.values().sum::<u64>(), count)
    }

    /// Stores what came of tasks that this worker has, as it was weighed. Tells of how many it was.
    fn hand_in(&mut self, number: u64, done: Vec<Done>, due: &mut Due<'_>) -> u64 {
        let mut accepted = 0;
        for Done { task, outcome, more } in done {
            self.receive(number, task);
            let Some(worker) = self.workers.get_mut(&number) else { break };
            let Some(had) = worker.has.get_mut(&task) else { continue };
            accepted += 1;
            if more {
                had.parts.push(outcome);
                continue;
            }
            worker.finished += 1;
            if let Some(had) = self.detach(number, task) {
                self.end(had.task, had.parts, outcome, due);
            }
        }
        accepted
    }
}

#[cold]
fn not_held(number: u64) -> Refusal {
    let problem =
        format!("the session has no worker {number} in this pool: it left, or is another session's. Join first");
    Refusal::new(Reason::NotHeld, problem)
}
