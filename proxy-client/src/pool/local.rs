//! The local workers of a pool.

use std::sync::Arc;
use std::task::Waker;

use super::{Pool, PoolOptions};
use crate::error::{Error, Result};
use crate::session::Mode;

/// The local workers of a pool.
pub(super) struct Local<M: Mode>(std::marker::PhantomData<M>);

impl<M: Mode> Local<M> {
    pub(super) fn start(_pool: &Pool<M>, options: PoolOptions, _place: M::Place) -> Result<Option<Arc<Self>>> {
        if options.workers == 0 {
            return Ok(None);
        }
        Err(Error::Worker { cause: "local workers are not there yet".into() })
    }

    pub(super) fn workers(&self) -> u64 {
        1
    }

    pub(super) fn end(&self) {}

    pub(super) fn has_ended(&self, _waker: &Waker) -> bool {
        true
    }
}
