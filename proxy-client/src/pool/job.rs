//! A job of one caller.

use holdfast_proto::{PoolForgetRequest, PoolSubmitRequest, PoolSubmitResponse};

use crate::error::Result;
use crate::proxy::remote::Remote;
use crate::session::{Asking, Heard, Mode};

/// A job that is forgotten when this is dropped: what no worker has is not begun any more, and what was not collected is let go.
///
/// It is begun by a call without tasks. One whose answer nobody hears, since its caller has given up, is an empty job, which goes
/// with the session; it never has tasks of which nobody knows.
pub(super) struct Job<M: Mode> {
    remote: Remote<M>,
    number: Option<u64>,
}

impl<M: Mode> Job<M> {
    /// One that is yet to be begun.
    pub(super) fn new(remote: &Remote<M>) -> Self {
        Self { remote: remote.clone(), number: None }
    }

    /// Its number, once it was begun.
    pub(super) fn number(&self) -> Option<u64> {
        self.number
    }

    /// Asks for a job.
    pub(super) fn ask(&self, asking: Asking<'_>, beginning: &PoolSubmitRequest) -> Result<()> {
        self.remote.ask(asking, beginning)
    }

    /// It was begun.
    pub(super) fn hear(&mut self, heard: Heard) -> Result<()> {
        let (response, _) = self.remote.decode::<PoolSubmitResponse>(heard)?;
        self.number = Some(response.job);
        Ok(())
    }

    /// It is not forgotten: somebody will collect it.
    pub(super) fn keep(&mut self) -> u64 {
        self.number.take().unwrap_or_default()
    }
}

impl<M: Mode> Drop for Job<M> {
    fn drop(&mut self) {
        if let Some(job) = self.number {
            self.remote.cast(&PoolForgetRequest { job });
        }
    }
}
