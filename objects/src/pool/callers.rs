//! What callers ask of a pool.

use alloc::format;
use alloc::vec::Vec;

use holdfast_proto::pool::Reply;
use holdfast_proto::{
    PoolCancelRequest, PoolCancelResponse, PoolCollectRequest, PoolCollectResponse, PoolCollected, PoolForgetRequest,
    PoolForgetResponse, PoolProgressRequest, PoolProgressResponse, PoolRunRequest, PoolSubmitRequest,
    PoolSubmitResponse, Reason, Refusal,
};

use super::functions::check_name;
use super::job::{JOB_BYTES, Job, no_job};
use super::line::Place;
use super::task::{Arguments, Owner, shape};
use super::{Due, Pool, Submission, bytes_of, timed_out};
use crate::page::Page;
use crate::{Answer, CallId, Patience, SessionId, Turn};

use alloc::boxed::Box;
use alloc::collections::BTreeSet;

/// Submitting.
impl Pool {
    pub(super) fn submit(&mut self, request: PoolSubmitRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let PoolSubmitRequest { job, function, shape: number, tasks, tries, keep, patience_ms } = request;
        let patience = Patience::read(patience_ms)?;
        let (shape, tries) = (shape(number)?, self.tries(tries));
        check_name(&function)?;
        let tasks = tasks.into_iter().map(|arguments| Arguments::read(arguments, &self.equality));
        let tasks = tasks.collect::<Result<Vec<_>, Refusal>>()?;
        self.is_open()?;
        let job = (job > 0).then(|| self.jobs.find(job).map(|_| job)).transpose()?;
        self.is_served(&function)?;
        self.could_fit(tasks.len())?;
        let fits = tasks.is_empty() || (self.submitters.is_empty() && self.fits(tasks.len()));
        let patience = if fits { None } else { Some(patience.ok_or_else(|| self.full())?) };
        if !fits {
            turn.may_wait(self.calls_waiting())?;
        }
        let of_job = if job.is_none() { JOB_BYTES } else { 0 };
        let of_name = if tasks.is_empty() { 0 } else { self.functions.growth(&function) };
        self.grow(of_job + of_name + bytes_of(&tasks), turn)?;
        if tasks.is_empty() {
            let job = self.begin(job, keep, turn.call.session);
            return Ok(Answer::Done(Reply::Submit(self.next_of(job))));
        }
        let submission = Submission { job, function: self.functions.hold(&function), shape, tries, keep, tasks };
        if let Some(patience) = patience {
            self.submitters.push(turn.call, submission);
            return Ok(Answer::Wait(patience));
        }
        let session = turn.call.session;
        let mut due = Due::new(turn);
        let response = self.admit(submission, session, &mut due);
        self.settle(due);
        Ok(Answer::Done(Reply::Submit(response)))
    }

    /// Lets the tasks of a submission in, whose function is held for it.
    pub(super) fn admit(
        &mut self,
        mut submission: Submission,
        session: SessionId,
        due: &mut Due<'_>,
    ) -> PoolSubmitResponse {
        let job = self.begin(submission.job, submission.keep, session);
        let response = self.next_of(job);
        let tasks = core::mem::take(&mut submission.tasks);
        if let Some(job) = self.jobs.get_mut(job) {
            job.tasks += tasks.len() as u64;
            job.open.reserve(tasks.len());
        }
        for (arguments, index) in tasks.into_iter().zip(response.first..) {
            self.functions.hold_again(submission.function);
            let task = self.enter(&submission, arguments, Owner::Job { job, index });
            if let Some(job) = self.jobs.get_mut(job) {
                job.open.push(index, task);
            }
        }
        self.functions.release(submission.function);
        due.function(submission.function);
        response
    }

    /// Where the job is that this is about, which is begun if it is none that is there.
    fn begin(&mut self, job: Option<u64>, keep: bool, session: SessionId) -> u32 {
        if let Some(at) = job.and_then(|job| self.jobs.find(job).ok()) {
            return at;
        }
        self.begun += 1;
        self.jobs.insert(Job::new(self.begun, (!keep).then_some(session)))
    }

    /// What is answered to who adds tasks to this job.
    fn next_of(&self, job: u32) -> PoolSubmitResponse {
        let response = |job: &Job| PoolSubmitResponse { job: job.number, first: job.tasks };
        self.jobs.get(job).map(response).unwrap_or_default()
    }

    pub(super) fn run(&mut self, request: PoolRunRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let PoolRunRequest { function, shape: number, arguments, tries, patience_ms } = request;
        let patience = Patience::read(patience_ms)?.ok_or_else(impatient)?;
        let (shape, tries) = (shape(number)?, self.tries(tries));
        check_name(&function)?;
        let arguments = arguments.ok_or_else(|| Refusal::missing("arguments"))?;
        let tasks = [Arguments::read(*arguments, &self.equality)?];
        self.is_open()?;
        self.is_served(&function)?;
        if !self.submitters.is_empty() || !self.fits(1) {
            return Err(self.full());
        }
        turn.may_wait(self.calls_waiting())?;
        self.grow(self.functions.growth(&function) + bytes_of(&tasks), turn)?;
        let [arguments] = tasks;
        let function = self.functions.hold(&function);
        let submission = Submission { job: None, function, shape, tries, keep: false, tasks: Vec::new() };
        let task = self.enter(&submission, arguments, Owner::Run(Box::new(turn.call)));
        self.runs.push(turn.call, task);
        let mut due = Due::new(turn);
        due.function(function);
        self.settle(due);
        Ok(Answer::Wait(patience))
    }

    /// How often a task is given to a worker of which its caller says so.
    fn tries(&self, asked: u32) -> u32 {
        if asked == 0 { self.spec.tries } else { asked }
    }

    /// Refused, if there are workers, and none serves it: `NOT_REGISTERED`.
    fn is_served(&self, function: &str) -> Result<(), Refusal> {
        if self.workers.is_empty() { Ok(()) } else { self.functions.check_served(function) }
    }

    /// Whether an empty pool has room for so many. Refused: `OUT_OF_RANGE`.
    fn could_fit(&self, tasks: usize) -> Result<(), Refusal> {
        let most = self.spec.max_waiting;
        if most == 0 || tasks as u64 <= most {
            return Ok(());
        }
        let problem = format!("{tasks} tasks do not fit a pool in which {most} may wait, ever: submit fewer at a time");
        Err(Refusal::new(Reason::OutOfRange, problem))
    }

    pub(super) fn grow(&mut self, bytes: u64, turn: &mut Turn) -> Result<(), Refusal> {
        turn.room.grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Refuses who waits to add to jobs that were forgotten.
    pub(super) fn refuse_submitters_to(&mut self, forgotten: &BTreeSet<u64>, turn: &mut Turn) {
        if forgotten.is_empty() {
            return;
        }
        let to_them = |job: Option<u64>| job.filter(|job| forgotten.contains(job));
        let calls: Vec<(CallId, u64)> =
            self.submitters.iter().filter_map(|(call, brings)| Some((call, to_them(brings.job)?))).collect();
        for (call, job) in calls {
            if let Some(submission) = self.submitters.remove(call) {
                self.drop_submission(submission, turn);
                turn.refuse(call, no_job(job));
            }
        }
    }
}

/// What comes of it.
impl Pool {
    pub(super) fn collect(&mut self, request: &PoolCollectRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        let job = self.jobs.find(request.job)?;
        if let Some(job) = self.jobs.get(job) {
            if !job.pieces.is_empty() {
                let response = self.give_outcomes(turn.call, request.job, request.max, turn);
                return Ok(Answer::Delivered(Reply::Collect(response)));
            }
            if job.is_collected() {
                return Ok(Answer::Done(Reply::Collect(PoolCollectResponse::default())));
            }
        }
        let patience = patience.ok_or_else(timed_out)?;
        turn.may_wait(self.calls_waiting())?;
        self.collectors.push(turn.call, request.job, request.max);
        Ok(Answer::Wait(patience))
    }

    /// Serves those who wait for outcomes of this job.
    pub(super) fn serve_collectors(&mut self, number: u64, turn: &mut Turn) {
        while let Some(call) = self.collectors.first(number) {
            let Some(job) = self.jobs.by_number(number) else { return };
            let (has_some, is_collected) = (!job.pieces.is_empty(), job.is_collected());
            if !has_some && !is_collected {
                return;
            }
            let Some(collector) = self.collectors.remove(call) else { return };
            if has_some {
                let response = self.give_outcomes(call, number, collector.max, turn);
                turn.deliver(call, Reply::Collect(response));
            } else {
                turn.wake(call, Reply::Collect(PoolCollectResponse::default()));
            }
        }
    }

    /// Gives a call outcomes of a job, as far as they are there and a page holds them: at least one.
    fn give_outcomes(&mut self, call: CallId, number: u64, max: u64, turn: &Turn) -> PoolCollectResponse {
        let Some(job) = self.jobs.by_number_mut(number) else { return PoolCollectResponse::default() };
        let mut page = Page::new(0, turn.page_bytes);
        let (mut outcomes, mut given) = (Vec::new(), Vec::new());
        let max = if max == 0 { u64::MAX } else { max };
        while let Some(at) = job.pieces.first(&self.pieces) {
            job.pieces.remove(at, (), &mut self.pieces);
            let Some(piece) = self.pieces.get(at) else { break };
            if !piece.more {
                job.uncollected -= 1;
                self.uncollected -= 1;
            }
            let outcome = Some(piece.outcome.message());
            let collected = PoolCollected { index: piece.index, outcome, more: piece.more };
            page.count(&collected);
            outcomes.push(collected);
            given.push(at);
            if page.is_full() || outcomes.len() as u64 >= max {
                break;
            }
        }
        self.given.insert(call, given);
        PoolCollectResponse { outcomes, left: job.left() }
    }

    /// What this call was given and its caller does not have comes back to its job, if that is there.
    pub(super) fn bring_back(&mut self, call: CallId, due: &mut Due<'_>) {
        for at in self.given.remove(&call).unwrap_or_default() {
            let Some(piece) = self.pieces.get(at) else { continue };
            let (number, last) = (piece.job, u64::from(!piece.more));
            let Some(job) = self.jobs.by_number_mut(number) else {
                self.drop_piece(at, due.turn);
                continue;
            };
            job.pieces.put(at, &mut self.pieces);
            job.uncollected += last;
            self.uncollected += last;
            due.job(number);
        }
    }

    pub(super) fn cancel(
        &mut self,
        request: &PoolCancelRequest,
        turn: &mut Turn,
    ) -> Result<PoolCancelResponse, Refusal> {
        let at = self.jobs.find(request.job)?;
        let tasks: Vec<u32> = match self.jobs.get(at) {
            Some(job) if request.indexes.is_empty() => job.open.iter().collect(),
            Some(job) => request.indexes.iter().filter_map(|index| job.open.get(*index)).collect(),
            None => Vec::new(),
        };
        let mut due = Due::new(turn);
        let mut cancelled = 0;
        for task in tasks {
            let waits = self.tasks.get(task).is_some_and(|task| !matches!(task.place, Place::With(_)));
            if waits {
                self.cancel_task(task, &mut due);
                cancelled += 1;
            }
        }
        self.settle(due);
        Ok(PoolCancelResponse { cancelled })
    }

    pub(super) fn forget(&mut self, request: &PoolForgetRequest, turn: &mut Turn) -> PoolForgetResponse {
        let mut due = Due::new(turn);
        let forgotten = self.forget_job(request.job, &mut due);
        self.settle(due);
        PoolForgetResponse { forgotten }
    }

    /// Ends a job. Tells whether there was one.
    pub(super) fn forget_job(&mut self, number: u64, due: &mut Due<'_>) -> bool {
        let Some(mut job) = self.jobs.remove(number) else { return false };
        due.forgotten.insert(number);
        for task in job.open.iter() {
            self.discard(task, due.turn);
        }
        while let Some(piece) = job.pieces.first(&self.pieces) {
            job.pieces.remove(piece, (), &mut self.pieces);
            self.drop_piece(piece, due.turn);
        }
        self.uncollected -= job.uncollected;
        self.free(JOB_BYTES, due.turn);
        while let Some(call) = self.collectors.first(number) {
            self.collectors.remove(call);
            due.turn.refuse(call, no_job(number));
        }
        true
    }

    pub(super) fn progress(&self, request: &PoolProgressRequest) -> Result<PoolProgressResponse, Refusal> {
        self.jobs.by_number(request.job).map(Job::progress).ok_or_else(|| no_job(request.job))
    }
}

#[cold]
fn impatient() -> Refusal {
    let problem = "patience_ms is 0, and no outcome is there at once: submit the task instead, or wait for it";
    Refusal::new(Reason::Malformed, problem)
}
