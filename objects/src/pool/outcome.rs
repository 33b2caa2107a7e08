//! What came of tasks.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use holdfast_proto::datum::{HasReferences as _, Reference};
use holdfast_proto::{Datum, PoolDone, PoolOutcome, PoolRaised, PoolWorkerLost, Reason, Refusal};

use super::line::{Place, Stands};
use super::task::{ENCODED_BYTES, TASK_BYTES};
use crate::key::Equality;
use crate::{Client, door};

/// What came of a task, or a part of that.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Returned(Datum),
    Encoded(Bytes),
    /// It raised an error, or was several calls of which some did.
    Failed(Box<PoolOutcome>),
    /// The last of so many workers was lost with it.
    Lost {
        by: Arc<Client>,
        tries: u32,
    },
    Cancelled,
    TooLarge,
}

/// An outcome in its job, whole or one of its parts.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its place among all that came in this pool.
    pub(super) order: u64,
    /// The number of the job, which may be forgotten by now.
    pub(super) job: u64,
    /// The index of the task in it.
    pub(super) index: u64,
    pub(super) outcome: Outcome,
    /// In the line of its job, or given to a call that may not have its answer yet.
    pub(super) place: Place<()>,
    /// Whether it is not the last part.
    pub(super) more: bool,
}

impl Outcome {
    /// What a worker says. Refused: `MALFORMED`, `NAN_KEY`.
    pub(super) fn read(done: PoolDone, equality: &Equality) -> Result<Self, Refusal> {
        match done {
            PoolDone { outcome: None, more: false, too_large: true, .. } => Ok(Self::TooLarge),
            PoolDone { outcome: Some(outcome), too_large: false, .. } => Self::of_message(outcome, equality),
            _ => Err(malformed("what came of a task is one outcome, or that it was too large")),
        }
    }

    fn of_message(outcome: PoolOutcome, equality: &Equality) -> Result<Self, Refusal> {
        if outcome.cancelled || outcome.too_large || outcome.lost.is_some() {
            return Err(malformed(
                "a worker does not say that a task was lost or cancelled, and only beside the outcome \
                 that it was too large",
            ));
        }
        match outcome {
            PoolOutcome { returned: Some(datum), encoded: None, raised: None, outcomes, .. } if outcomes.is_empty() => {
                door::value("returned", Some(datum), equality).map(Self::Returned)
            }
            PoolOutcome { returned: None, encoded: Some(encoded), raised: None, outcomes, .. }
                if outcomes.is_empty() =>
            {
                Ok(Self::Encoded(encoded))
            }
            outcome => Self::failed(outcome, equality),
        }
    }

    /// One with errors in it.
    fn failed(mut outcome: PoolOutcome, equality: &Equality) -> Result<Self, Refusal> {
        match &mut outcome {
            PoolOutcome { returned: None, encoded: None, raised: Some(raised), outcomes, .. }
                if outcomes.is_empty() =>
            {
                raised.value = door::optional("value", raised.value.take(), equality)?;
            }
            PoolOutcome { returned: None, encoded: None, raised: None, outcomes, .. } if !outcomes.is_empty() => {
                for part in outcomes {
                    match Self::of_message(core::mem::take(part), equality)? {
                        Self::Failed(failed) if !failed.outcomes.is_empty() => {
                            return Err(malformed("the outcome of one of several calls is that of one call"));
                        }
                        checked => *part = checked.message(),
                    }
                }
            }
            _ => return Err(malformed("an outcome is exactly one of returned, encoded, raised and outcomes")),
        }
        Ok(Self::Failed(Box::new(outcome)))
    }

    pub(super) fn message(&self) -> PoolOutcome {
        match self {
            Self::Returned(datum) => PoolOutcome { returned: Some(datum.copy()), ..PoolOutcome::default() },
            Self::Encoded(encoded) => PoolOutcome { encoded: Some(encoded.clone()), ..PoolOutcome::default() },
            Self::Failed(failed) => (**failed).clone(),
            Self::Lost { by, tries } => {
                let Client { name, pid, host } = &**by;
                let lost = PoolWorkerLost { name: name.clone(), pid: *pid, host: host.clone(), tries: *tries };
                PoolOutcome { lost: Some(lost), ..PoolOutcome::default() }
            }
            Self::Cancelled => PoolOutcome { cancelled: true, ..PoolOutcome::default() },
            Self::TooLarge => PoolOutcome { too_large: true, ..PoolOutcome::default() },
        }
    }

    /// The one that is this message. Refused: `MALFORMED`.
    pub(super) fn restore(outcome: Option<PoolOutcome>, equality: &Equality) -> Result<Self, Refusal> {
        let outcome = outcome.ok_or_else(|| Refusal::missing("outcome"))?;
        match outcome {
            PoolOutcome { cancelled: true, .. } => Ok(Self::Cancelled),
            PoolOutcome { too_large: true, .. } => Ok(Self::TooLarge),
            PoolOutcome { lost: Some(PoolWorkerLost { name, pid, host, tries }), .. } => {
                Ok(Self::Lost { by: Arc::new(Client { name, pid, host }), tries })
            }
            outcome => Self::of_message(outcome, equality),
        }
    }

    /// What it counts.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Returned(datum) => datum.bytes(),
            Self::Encoded(encoded) => ENCODED_BYTES + encoded.len() as u64,
            Self::Failed(failed) => bytes_of(failed),
            Self::Lost { .. } | Self::Cancelled | Self::TooLarge => 0,
        }
    }

    pub(super) fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        match self {
            Self::Returned(datum) => datum.visit_references(visit),
            Self::Failed(failed) => failed.visit_references(visit),
            Self::Encoded(_) | Self::Lost { .. } | Self::Cancelled | Self::TooLarge => {}
        }
    }
}

/// What the message of an outcome counts, which has no more than two levels.
fn bytes_of(outcome: &PoolOutcome) -> u64 {
    let raised = |raised: &PoolRaised| {
        let texts = raised.r#type.len() + raised.message.len() + raised.trace.len();
        ENCODED_BYTES + texts as u64 + raised.value.as_ref().map_or(0, Datum::bytes)
    };
    outcome.returned.as_ref().map_or(0, Datum::bytes)
        + outcome.encoded.as_ref().map_or(0, |encoded| ENCODED_BYTES + encoded.len() as u64)
        + outcome.raised.as_ref().map_or(0, raised)
        + outcome.outcomes.iter().map(bytes_of).sum::<u64>()
}

impl Piece {
    /// What it counts: the last part is the task's own.
    pub(super) fn bytes(&self) -> u64 {
        self.outcome.bytes() + if self.more { 0 } else { TASK_BYTES }
    }
}

impl Stands for Piece {
    type Holder = ();

    fn order(&self) -> u64 {
        self.order
    }

    fn place(&mut self) -> &mut Place<()> {
        &mut self.place
    }
}

fn malformed(problem: &str) -> Refusal {
    Refusal::new(Reason::Malformed, problem)
}
