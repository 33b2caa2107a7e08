//! Who has permits of a semaphore.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use holdfast_proto::{Abandoned, Reason, Refusal};

use crate::{CallId, SessionId};

/// Who has permits, by the grants with which they came. What has been given back of a grant is not in it any more.
///
/// - No grant is without permits.
/// - Those of a session are in the order of their fences: the oldest first.
/// - Grants of a session that were made together have one fence, so a release cannot say of which of them it is. What it took
///   of which is noted, as long as something is left with that fence: if nobody has the answer to a call, what is left of the
///   others is to be taken back for what was taken of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    left: BTreeMap<GrantId, Grant>,
    given_back: BTreeMap<GrantId, Grant>,
}

/// Which grant. Its order is that of [`Grants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GrantId {
    /// `None` once it has ended, and its permits are kept.
    pub(super) session: Option<SessionId>,
    /// Not enough to tell grants apart: one turn may grant several.
    pub(super) fence: u64,
    /// The number of the call that was granted it. 0 where no session has it.
    pub(super) number: u64,
}

/// What is left of a grant.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) permits: u64,
    /// What its call was told.
    pub(super) told: Option<Abandoned>,
}

/// The most grants that there can be when one more is asked for.
const GRANTS_MAX: usize = 100_000;

impl Grants {
    /// Whether there may be another grant, beside so many of nobody that were not acknowledged. Refused: `QUOTA`.
    pub(super) fn may_grow(&self, unacknowledged: usize) -> Result<(), Refusal> {
        if unacknowledged >= GRANTS_MAX {
            let problem = format!(
                "{GRANTS_MAX} grants of this semaphore were not acknowledged, which is the most: whoever acquires on a session's \
                 stream is to acknowledge the answers"
            );
            return Err(Refusal::new(Reason::Quota, problem));
        }
        if self.left.len() < GRANTS_MAX {
            return Ok(());
        }
        let problem = format!(
            "{GRANTS_MAX} grants of this semaphore are held or kept, which is the most: release some, reset what is kept, or \
             take more permits with one call"
        );
        Err(Refusal::new(Reason::Quota, problem))
    }

    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GrantId, &Grant)> {
        self.left.iter()
    }

    /// What was given back of grants, while something is left with their fence.
    pub(super) fn given_back(&self) -> impl Iterator<Item = (&GrantId, &Grant)> {
        self.given_back.iter()
    }

    /// Whether something is left with the fence of all that was given back.
    pub(super) fn is_tidy(&self) -> bool {
        self.given_back.keys().all(|id| id.session.is_some() && self.permits(with(id.session, id.fence)) > 0)
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.left.range(of(Some(session))).next().is_some()
    }

    /// Adds a grant. Those of no session are one for each fence.
    pub(super) fn add(&mut self, id: GrantId, grant: Grant) {
        let added = self.left.entry(id).or_insert(Grant { permits: 0, told: None });
        added.permits = added.permits.saturating_add(grant.permits);
        added.told = grant.told;
    }

    /// Notes what was given back of a grant.
    pub(super) fn note_given_back(&mut self, id: GrantId, permits: u64, told: Option<Abandoned>) {
        let noted = self.given_back.entry(id).or_insert(Grant { permits: 0, told: None });
        noted.permits += permits;
        noted.told = noted.told.take().or(told);
    }

    /// How many permits there are in these grants.
    pub(super) fn permits(&self, which: RangeInclusive<GrantId>) -> u64 {
        self.left.range(which).map(|(_, grant)| grant.permits).sum()
    }

    /// Takes permits, which must be there, out of these grants: out of the first ones first.
    pub(super) fn take(&mut self, which: RangeInclusive<GrantId>, permits: u64) {
        let mut missing = permits;
        while missing > 0 {
            let (id, grant) = self.left.range_mut(which.clone()).next().expect("as many are there as are taken");
            let (id, taken) = (*id, missing.min(grant.permits));
            grant.permits -= taken;
            missing -= taken;
            let told = if grant.permits == 0 { self.left.remove(&id).and_then(|grant| grant.told) } else { None };
            if id.session.is_some() {
                self.note_given_back(id, taken, told);
                self.tidy(id);
            }
        }
    }

    /// Forgets what was given back with the fence of this grant, if nothing is left with it.
    fn tidy(&mut self, GrantId { session, fence, .. }: GrantId) {
        if self.left.range(with(session, fence)).next().is_none() {
            while let Some((&id, _)) = self.given_back.range(with(session, fence)).next() {
                self.given_back.remove(&id);
            }
        }
    }

    /// Takes out what this call was granted, whose answer nobody has.
    pub(super) fn take_call(&mut self, call: CallId) -> Option<Grant> {
        let found = |grants: &BTreeMap<GrantId, Grant>| {
            grants.range(of(Some(call.session))).map(|(id, _)| *id).find(|id| id.number == call.number)
        };
        let id = found(&self.left).or_else(|| found(&self.given_back))?;
        let mut all = self.left.remove(&id).unwrap_or(Grant { permits: 0, told: None });
        if let Some(Grant { permits, told }) = self.given_back.remove(&id) {
            // It was others whose caller gave back permits, and had those that are left.
            let others = with(id.session, id.fence);
            let permits = permits.min(self.permits(others.clone()));
            self.take(others, permits);
            (all.permits, all.told) = (all.permits + permits, all.told.or(told));
        }
        self.tidy(id);
        Some(all)
    }

    /// Takes out all that a session has: how many permits, and their last fence. `None` if it has none.
    pub(super) fn take_session(&mut self, session: SessionId) -> Option<(u64, u64)> {
        let which = of(Some(session));
        let (last, _) = self.left.range(which.clone()).next_back()?;
        let (fence, permits) = (last.fence, self.permits(which.clone()));
        self.take(which, permits);
        Some((permits, fence))
    }

    /// What a session has is kept, and nobody has it.
    pub(super) fn keep(&mut self, session: SessionId) {
        let ids: Vec<GrantId> = self.left.range(of(Some(session))).map(|(id, _)| *id).collect();
        for id in ids {
            let grant = self.left.remove(&id).expect("it was just seen");
            self.tidy(id);
            self.add(GrantId { session: None, fence: id.fence, number: 0 }, Grant { told: None, ..grant });
        }
    }
}

/// The grants of a session, or those that are kept.
pub(super) fn of(session: Option<SessionId>) -> RangeInclusive<GrantId> {
    GrantId { session, fence: 0, number: 0 }..=GrantId { session, fence: u64::MAX, number: u64::MAX }
}

/// Those of them with a fence.
pub(super) fn with(session: Option<SessionId>, fence: u64) -> RangeInclusive<GrantId> {
    GrantId { session, fence, number: 0 }..=GrantId { session, fence, number: u64::MAX }
}
