//! Calls of any op on objects of any kind, as bytes: for tests that check what every call comes to.
//!
//! They go the way of all other calls, and are recorded from outside: the library's numbers, resent calls and withdrawals are
//! part of what is tested.

use std::fmt;
use std::time::Duration;

use super::remote::Remote;
use super::{Manager, Mode, Open};
use crate::error::Result;
use crate::session::{Asking, Exchange, Heard, Reply, SessionLike, Step};

/// An object of any kind.
#[derive(Clone)]
pub struct Anything<M: Mode>(Remote<M>);

/// What one call asks.
#[derive(Clone, Debug)]
pub struct Question {
    /// The number of the op within the kind.
    pub op: u32,
    /// The encoded request.
    pub request: Vec<u8>,
    /// With which fence it comes; 0 is none.
    pub fence: u64,
    /// Whether it may wait.
    pub waits: bool,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The call's position in the manager's order.
    pub index: u64,
    /// The encoded response.
    pub response: Vec<u8>,
    /// Whether the object is told that the caller has it.
    pub acknowledge: bool,
}

impl<M: Mode> Manager<M> {
    /// The object of that name, which is made from an encoded spec if there is none.
    pub fn anything(&self, name: &str, kind: u32, spec: Vec<u8>) -> M::Renewing<Open<M, Anything<M>>> {
        self.open(name, kind, Ok(spec.into()), Anything)
    }
}

impl<M: Mode> Anything<M> {
    /// The id of the object.
    #[must_use]
    pub fn object(&self) -> [u8; 16] {
        holdfast_proto::datum::Target::object(&**self.0.target())
    }

    /// The id of the session.
    #[must_use]
    pub fn session(&self) -> Vec<u8> {
        self.0.session().peer().0.session.clone()
    }

    /// Makes a call. `begin` is told its number before anything of it is sent.
    pub fn ask<B: FnOnce(u64) + Unpin>(
        &self,
        question: Question,
        timeout: Duration,
        begin: B,
    ) -> M::Output<AnyCall<M, B>> {
        M::run(self.0.session(), Some(timeout), AnyCall { remote: self.0.clone(), question, begin: Some(begin) })
    }
}

impl<M: Mode> fmt::Debug for Anything<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Anything").field(&self.0).finish()
    }
}

/// One call.
pub struct AnyCall<M: Mode, B> {
    remote: Remote<M>,
    question: Question,
    begin: Option<B>,
}

impl<M: Mode, B> fmt::Debug for AnyCall<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyCall").field("question", &self.question).finish_non_exhaustive()
    }
}

impl<M: Mode, B: FnOnce(u64) + Unpin> Exchange for AnyCall<M, B> {
    type Value = Told;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let Question { op, request, fence, waits } = &self.question;
        let begin = self.begin.take().expect("it is asked once");
        begin(asking.0.number());
        asking.0.call_any(self.remote.target().number(), *fence, *op, *waits, request);
        Ok(())
    }

    fn may_wait(&self) -> bool {
        self.question.waits
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Told>> {
        let Heard(Reply { index, body, acknowledge, .. }) = heard;
        Ok(Step::Done(Told { index, response: body.to_vec(), acknowledge }))
    }
}
