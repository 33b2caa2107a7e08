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
#[derive(Clone, Debug, Default)]
pub(super) struct Grants(BTreeMap<GrantId, Grant>);

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
    /// Whether there may be another grant. Refused: `QUOTA`.
    pub(super) fn may_grow(&self) -> Result<(), Refusal> {
        if self.0.len() < GRANTS_MAX {
            return Ok(());
        }
        let problem = format!(
            "{GRANTS_MAX} grants of this semaphore are held or kept, which is the most: release some, reset what is kept, or \
             take more permits with one call"
        );
        Err(Refusal::new(Reason::Quota, problem))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GrantId, &Grant)> {
        self.0.iter()
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.0.range(of(Some(session))).next().is_some()
    }

    /// Adds a grant. Those of no session are one for each fence.
    pub(super) fn add(&mut self, id: GrantId, grant: Grant) {
        let added = self.0.entry(id).or_insert(Grant { permits: 0, told: None });
        added.permits = added.permits.saturating_add(grant.permits);
        added.told = grant.told;
    }

    /// How many permits there are in these grants.
    pub(super) fn permits(&self, which: RangeInclusive<GrantId>) -> u64 {
        self.0.range(which).map(|(_, grant)| grant.permits).sum()
    }

    /// Takes permits, which must be there, out of these grants: out of the first ones first.
    pub(super) fn take(&mut self, which: RangeInclusive<GrantId>, permits: u64) {
        let mut missing = permits;
        while missing > 0 {
            let (id, grant) = self.0.range_mut(which.clone()).next().expect("as many are there as are taken");
            let taken = missing.min(grant.permits);
            grant.permits -= taken;
            missing -= taken;
            if grant.permits == 0 {
                let id = *id;
                self.0.remove(&id);
            }
        }
    }

    /// Takes out what is left of what this call was granted.
    pub(super) fn take_call(&mut self, call: CallId) -> Option<Grant> {
        let mut of_session = self.0.range(of(Some(call.session)));
        let (id, _) = of_session.find(|(id, _)| id.number == call.number)?;
        let id = *id;
        self.0.remove(&id)
    }

    /// Takes out all that a session has: how many permits, and their last fence. `None` if it has none.
    pub(super) fn take_session(&mut self, session: SessionId) -> Option<(u64, u64)> {
        let which = of(Some(session));
        let (last, _) = self.0.range(which.clone()).next_back()?;
        let (fence, permits) = (last.fence, self.permits(which.clone()));
        self.take(which, permits);
        Some((permits, fence))
    }

    /// What a session has is kept, and nobody has it.
    pub(super) fn keep(&mut self, session: SessionId) {
        let ids: Vec<GrantId> = self.0.range(of(Some(session))).map(|(id, _)| *id).collect();
        for id in ids {
            let grant = self.0.remove(&id).expect("it was just seen");
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
