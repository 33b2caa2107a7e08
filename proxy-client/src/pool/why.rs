//! Why tasks were cancelled.

use holdfast_proto::{PoolDescribeResponse, Reason, Refusal};

use crate::error::Error;

/// The question that is asked of a pool after a task was cancelled: somebody cancelled it, or the pool was terminated, and there
/// may be more to say about that, such as that no worker could be started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Why;

impl Why {
    /// Whether an error leaves that open.
    pub(super) fn is_wanted(error: &Error) -> bool {
        matches!(error, Error::Cancelled)
    }

    /// The error that a cancelled task comes to.
    pub(super) fn of(self, pool: &PoolDescribeResponse) -> Error {
        if pool.reason.is_empty() {
            return Error::Cancelled;
        }
        Error::Refused(Refusal::new(Reason::ShutDown, format!("the pool was terminated: {}", pool.reason)))
    }
}
