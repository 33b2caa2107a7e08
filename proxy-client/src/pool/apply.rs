//! One call, waited for.

use std::fmt;
use std::marker::PhantomData;

use holdfast_proto::{PoolRunRequest, PoolRunResponse};
use serde::de::DeserializeOwned;

use super::exits::Exits;
use super::results::one;
use crate::error::{Error, Result};
use crate::proxy::remote::Remote;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// The running of one call by a worker.
pub struct Apply<R, M: Mode> {
    remote: Remote<M>,
    exits: Exits,
    /// The error is apart, since what it takes would be moved around with every call.
    request: Option<Result<PoolRunRequest, Box<Error>>>,
    returns: PhantomData<fn() -> R>,
}

impl<R, M: Mode> Apply<R, M> {
    pub(super) fn new(remote: &Remote<M>, exits: &Exits, request: Result<PoolRunRequest>) -> Self {
        let request = Some(request.map_err(Box::new));
        Self { remote: remote.clone(), exits: exits.clone(), request, returns: PhantomData }
    }
}

impl<R, M: Mode> Unpin for Apply<R, M> {}

impl<R, M: Mode> fmt::Debug for Apply<R, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apply").finish_non_exhaustive()
    }
}

impl<R: DeserializeOwned, M: Mode> Exchange for Apply<R, M> {
    type Value = R;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let request = self.request.take().expect("a single call is asked once");
        self.remote.ask(asking, &request.map_err(|error| *error)?)
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<R>> {
        let (response, _) = self.remote.decode::<PoolRunResponse>(heard)?;
        one(response.outcomes).map(Step::Done).map_err(|error| self.exits.explain(error))
    }
}
