//! The calls that wait for outcomes.

use alloc::collections::BTreeMap;

use crate::wait_queue::WaitQueue;
use crate::{CallId, SessionId};

/// The calls that wait for outcomes of a job, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Collectors {
    calls: WaitQueue<Collector>,
    /// Of each job, in their order.
    by_job: BTreeMap<(u64, u64), CallId>,
    /// How many ever waited.
    came: u64,
}

/// A call that waits for outcomes of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collector {
    /// The number of the job.
    pub(super) job: u64,
    /// How many outcomes it would like at most.
    pub(super) max: u64,
    place: u64,
}

impl Collectors {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn push(&mut self, call: CallId, job: u64, max: u64) {
        self.came += 1;
        self.calls.push(call, Collector { job, max, place: self.came });
        self.by_job.insert((job, self.came), call);
    }

    /// The first that waits for this job.
    pub(super) fn first(&self, job: u64) -> Option<CallId> {
        self.by_job.range((job, 0)..=(job, u64::MAX)).next().map(|(_, call)| *call)
    }

    pub(super) fn remove(&mut self, call: CallId) -> Option<Collector> {
        let collector = self.calls.remove(call)?;
        self.by_job.remove(&(collector.job, collector.place));
        Some(collector)
    }

    pub(super) fn remove_session(&mut self, session: SessionId) {
        for (_, collector) in self.calls.remove_session(session) {
            self.by_job.remove(&(collector.job, collector.place));
        }
    }

    pub(super) fn involves(&self, session: SessionId) -> bool {
        self.calls.involves(session)
    }

    /// All, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CallId, &Collector)> {
        self.calls.iter()
    }
}
