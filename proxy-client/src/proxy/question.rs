//! A call to the manager itself.

use std::fmt;
use std::sync::Arc;

use holdfast_proto::ops::Request;

use super::remote::Remote;
use crate::error::Result;
use crate::session::renewal::Renewable;
use crate::session::{Asking, Exchange, Heard, Mode, Step};

/// One call to the manager itself. It is kept until it is answered, so that it can be made in another session.
pub struct Question<M: Mode, R: Request, T> {
    manager: Remote<M>,
    request: R,
    is_repeatable: bool,
    finish: fn(R::Response) -> T,
}

impl<M: Mode, R: Request, T> Question<M, R, T> {
    /// One that changes nothing, or the same twice as once.
    pub(super) fn new(manager: Remote<M>, request: R, finish: fn(R::Response) -> T) -> Self {
        Self { manager, request, is_repeatable: true, finish }
    }

    /// One that must not be made twice.
    pub(super) fn once(manager: Remote<M>, request: R, finish: fn(R::Response) -> T) -> Self {
        Self { manager, request, is_repeatable: false, finish }
    }
}

impl<M: Mode, R: Request, T> Unpin for Question<M, R, T> {}

impl<M: Mode, R: Request, T> fmt::Debug for Question<M, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).finish_non_exhaustive()
    }
}

impl<M: Mode, R: Request, T> Exchange for Question<M, R, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.manager.ask(asking, &self.request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        let (response, _) = self.manager.decode::<R::Response>(heard)?;
        Ok(Step::Done((self.finish)(response)))
    }
}

impl<M: Mode, R: Request, T> Renewable<M> for Question<M, R, T> {
    fn begin(&mut self, session: &Arc<M::Session>) {
        self.manager = self.manager.renewed(session);
    }

    fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }
}
