//! What can be told about a pool.

use holdfast_proto::{PoolDescribeResponse, PoolProgressResponse, PoolWorker, PoolWorkersRequest};

use crate::proxy::remote::Paged;

/// How much there is of everything in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// How many tasks wait for a worker.
    pub waiting: u64,
    /// How many a worker has.
    pub running: u64,
    /// How many have an outcome that was not collected.
    pub uncollected: u64,
    /// How many were ever done, by a worker or in another way.
    pub finished: u64,
    /// How often a worker was lost with a task.
    pub lost: u64,
    /// How many jobs there are.
    pub jobs: u64,
    /// How many workers there are, and how many of them wait for something to do.
    pub workers: u64,
    /// How many of the workers wait for something to do.
    pub idle: u64,
    /// Whether it was closed, or terminated.
    pub is_closed: bool,
    /// Whether it was terminated.
    pub is_terminated: bool,
    /// Why it was terminated, as who did it said; empty if nothing was said.
    pub reason: String,
    /// How often a task is given to a worker at most, where its caller does not say.
    pub tries: u32,
}

impl From<PoolDescribeResponse> for PoolState {
    fn from(response: PoolDescribeResponse) -> Self {
        let PoolDescribeResponse { waiting, running, uncollected, finished, lost, jobs, workers, idle, .. } = response;
        let PoolDescribeResponse { closed, terminated, reason, tries, .. } = response;
        let is_closed = closed || terminated;
        let is_terminated = terminated;
        Self {
            waiting,
            running,
            uncollected,
            finished,
            lost,
            jobs,
            workers,
            idle,
            is_closed,
            is_terminated,
            reason,
            tries,
        }
    }
}

/// How far a job is that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobProgress {
    /// How many tasks it ever had.
    pub tasks: u64,
    /// How many wait for a worker.
    pub waiting: u64,
    /// How many a worker has.
    pub running: u64,
    /// How many have an outcome.
    pub done: u64,
    /// How many of these were collected.
    pub collected: u64,
}

impl From<PoolProgressResponse> for JobProgress {
    fn from(response: PoolProgressResponse) -> Self {
        let PoolProgressResponse { tasks, waiting, running, done, collected } = response;
        Self { tasks, waiting, running, done, collected }
    }
}

/// A worker, as the pool knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerState {
    /// Its number, which no other worker of the pool has.
    pub worker: u64,
    /// What it is called.
    pub name: String,
    /// Its process id, as it said; 0 if it is not known.
    pub pid: u32,
    /// Its host, as it said; empty if it is not known.
    pub host: String,
    /// The functions that it serves.
    pub functions: Vec<String>,
    /// How many tasks it has.
    pub running: u64,
    /// How many tasks it has finished.
    pub finished: u64,
}

impl From<PoolWorker> for WorkerState {
    fn from(worker: PoolWorker) -> Self {
        let PoolWorker { worker, name, pid, host, functions, running, finished } = worker;
        Self { worker, name, pid, host, functions, running, finished }
    }
}

/// The reading of all workers of a pool.
pub type Workers<M> = Paged<PoolWorkersRequest, WorkerState, Vec<WorkerState>, M>;
