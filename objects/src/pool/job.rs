//! The jobs of a pool.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use holdfast_proto::{PoolProgressResponse, Reason, Refusal};

use super::line::Line;
use super::slab::{NOWHERE, Slab};
use crate::SessionId;

/// What a job counts until it is forgotten.
pub(super) const JOB_BYTES: u64 = 64;

/// Tasks of which one wants to know what came.
///
/// Each task that it ever had is not done, or has an outcome in `pieces`, or its outcome was given to a call.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    /// Whose it is and with whom it ends; nobody's if it is kept.
    pub(super) session: Option<SessionId>,
    /// How many tasks it ever had.
    pub(super) tasks: u64,
    /// Those that are not done.
    pub(super) open: Open,
    /// How many of these a worker has.
    pub(super) running: u32,
    /// How many have an outcome of which the last part was given to nobody.
    pub(super) uncollected: u64,
    /// What can be collected, in the order in which it came.
    pub(super) pieces: Line,
}

/// The tasks of a job that are not done, by index.
///
/// What is removed leaves a gap, and there are never more gaps than tasks, but for a few.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// With where the task is, which is nowhere if it is done.
    entries: Vec<(u64, u32)>,
    len: u32,
}

/// All jobs: by number, by whose they are, and by where they are.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    slab: Slab<Job>,
    by_number: BTreeMap<u64, u32>,
    by_session: BTreeMap<SessionId, BTreeSet<u64>>,
}

impl Job {
    pub(super) fn new(number: u64, session: Option<SessionId>) -> Self {
        Self { number, session, tasks: 0, open: Open::default(), running: 0, uncollected: 0, pieces: Line::default() }
    }

    /// How many tasks have an outcome that nobody collected, or none yet.
    pub(super) fn left(&self) -> u64 {
        u64::from(self.open.len) + self.uncollected
    }

    /// Whether there is nothing to collect, and will not be unless tasks are added.
    pub(super) fn is_collected(&self) -> bool {
        self.open.len == 0 && self.pieces.is_empty()
    }

    pub(super) fn progress(&self) -> PoolProgressResponse {
        let (open, running) = (u64::from(self.open.len), u64::from(self.running));
        PoolProgressResponse {
            tasks: self.tasks,
            waiting: open - running,
            running,
            done: self.tasks - open,
            collected: self.tasks - self.left(),
        }
    }
}

impl Open {
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        if self.entries.is_empty() {
            self.entries.reserve_exact(more);
        } else {
            self.entries.reserve(more);
        }
    }

    /// Puts one in whose index is above all before.
    pub(super) fn push(&mut self, index: u64, task: u32) {
        self.entries.push((index, task));
        self.len += 1;
    }

    /// Where the task with this index is, if it is not done.
    pub(super) fn get(&self, index: u64) -> Option<u32> {
        let at = self.entries.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.entries[at].1).filter(|task| *task != NOWHERE)
    }

    /// The largest index.
    pub(super) fn last(&self) -> Option<u64> {
        self.entries.last().map(|(index, _)| *index)
    }

    pub(super) fn remove(&mut self, index: u64) {
        const FEW: usize = 32;
        let Ok(at) = self.entries.binary_search_by_key(&index, |(index, _)| *index) else { return };
        if core::mem::replace(&mut self.entries[at].1, NOWHERE) == NOWHERE {
            return;
        }
        self.len -= 1;
        if self.len == 0 {
            self.entries = Vec::new();
        } else if self.entries.len() > FEW && self.entries.len() / 2 > self.len as usize {
            self.entries.retain(|(_, task)| *task != NOWHERE);
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Where they are, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(_, task)| *task).filter(|task| *task != NOWHERE)
    }
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Takes one in, and tells where it is.
    pub(super) fn insert(&mut self, job: Job) -> u32 {
        let number = job.number;
        if let Some(session) = job.session {
            self.by_session.entry(session).or_default().insert(number);
        }
        let at = self.slab.insert(job);
        self.by_number.insert(number, at);
        at
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, number: u64) -> Option<Job> {
        let job = self.slab.remove(self.by_number.remove(&number)?)?;
        if let Some(session) = job.session
            && let Some(jobs) = self.by_session.get_mut(&session)
        {
            jobs.remove(&number);
            if jobs.is_empty() {
                self.by_session.remove(&session);
            }
        }
        Some(job)
    }

    /// Where the job with this number is. Refused: `NO_JOB`.
    pub(super) fn find(&self, number: u64) -> Result<u32, Refusal> {
        self.by_number.get(&number).copied().ok_or_else(|| no_job(number))
    }

    pub(super) fn get(&self, at: u32) -> Option<&Job> {
        self.slab.get(at)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Job> {
        self.slab.get_mut(at)
    }

    /// The job with this number.
    pub(super) fn by_number(&self, number: u64) -> Option<&Job> {
        self.slab.get(*self.by_number.get(&number)?)
    }

    /// The job with this number.
    pub(super) fn by_number_mut(&mut self, number: u64) -> Option<&mut Job> {
        self.slab.get_mut(*self.by_number.get(&number)?)
    }

    /// The numbers of those that end with this session.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<u64> {
        self.by_session.get(&session).map(|jobs| jobs.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether a job ends with this session.
    pub(super) fn involves(&self, session: SessionId) -> bool {
        self.by_session.contains_key(&session)
    }

    /// All, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.by_number.values().filter_map(|at| self.slab.get(*at))
    }
}

#[cold]
pub(super) fn no_job(number: u64) -> Refusal {
    let problem = format!(
        "the pool has no job {number}: it was forgotten, or the session that began it has ended. To outlive that, submit it with `keep`"
    );
    Refusal::new(Reason::NoJob, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_tasks_are_found_by_index_and_take_no_more_room_than_there_are() {
        let mut open = Open::default();
        open.reserve(1000);
        (0..1000).for_each(|index| open.push(index, index as u32 + 7));
        for index in (0..1000).filter(|index| index % 10 != 3) {
            open.remove(index);
            open.remove(index);
            assert_eq!(open.get(index), None);
        }
        assert_eq!((open.len(), open.get(503), open.get(1003)), (100, Some(510), None));
        assert!(open.entries.len() <= 232 && open.entries.capacity() <= 464, "{}", open.entries.capacity());
        assert!(open.iter().eq((0..100).map(|ten| ten * 10 + 10)));
        (0..1000).for_each(|index| open.remove(index));
        assert_eq!((open.len(), open.entries.capacity()), (0, 0));
    }
}
