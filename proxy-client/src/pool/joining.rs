//! Waiting until a pool is done.

use std::fmt;

use holdfast_proto::{PoolDescribeRequest, PoolDescribeResponse, PoolDrainRequest, PoolDrainResponse};

use super::patience::Patience;
use crate::error::{Error, Result};
use crate::proxy::remote::Remote;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// Waits until a pool that was closed has nothing to do.
pub(super) struct Joining<M: Mode> {
    remote: Remote<M>,
    patience: Patience,
    /// It is known that nothing more is submitted.
    is_closed: bool,
}

impl<M: Mode> Joining<M> {
    pub(super) fn new(remote: &Remote<M>, patience: Patience) -> Self {
        Self { remote: remote.clone(), patience, is_closed: false }
    }
}

impl<M: Mode> Unpin for Joining<M> {}

impl<M: Mode> fmt::Debug for Joining<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").finish_non_exhaustive()
    }
}

impl<M: Mode> Exchange for Joining<M> {
    type Value = ();

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        if self.is_closed {
            self.remote.ask(asking, &PoolDrainRequest { patience_ms: self.patience.left_ms() })
        } else {
            self.remote.ask(asking, &PoolDescribeRequest {})
        }
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<()>> {
        if self.is_closed {
            self.remote.decode::<PoolDrainResponse>(heard)?;
            return Ok(Step::Done(()));
        }
        let (response, _) = self.remote.decode::<PoolDescribeResponse>(heard)?;
        if !response.closed && !response.terminated {
            return Err(Error::PoolIsOpen);
        }
        self.is_closed = true;
        Ok(Step::Again)
    }
}
