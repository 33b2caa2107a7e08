//! Data with proxies in it, on its way to another process: in a cell without a name, for which there is one token.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::{
    CreateRequest, CreateResponse, Datum, ShareRequest, ShareResponse, TakeUpRequest, TakeUpResponse, ValueGetRequest,
    ValueGetResponse, ValueSetRequest, ValueSetResponse, value,
};

use super::remote::Remote;
use crate::error::{ConnectError, Result};
use crate::session::{Asking, Exchange, Heard, Mode, SessionLike, Step};
use crate::token::Token;

/// Puts data into a new cell, and makes a token for it.
pub(crate) struct Pack<M: Mode> {
    manager: Remote<M>,
    /// Until it is in the cell.
    datum: Option<Datum>,
    cell: Option<Remote<M>>,
    stage: Stage,
    lifetime: Duration,
}

/// What was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Opening,
    Filling,
    Sharing,
}

impl<M: Mode> Pack<M> {
    /// Of the session of this proxy. What is not taken up within the lifetime is gone.
    pub(crate) fn run(of: &Remote<M>, datum: Datum, lifetime: Duration) -> M::Output<Self> {
        of.run(Self::new(of, datum, lifetime))
    }

    /// The same, which is yet to be run.
    pub(crate) fn new(of: &Remote<M>, datum: Datum, lifetime: Duration) -> Self {
        Self { manager: of.of_session(), datum: Some(datum), cell: None, stage: Stage::New, lifetime }
    }
}

impl<M: Mode> Unpin for Pack<M> {}

impl<M: Mode> fmt::Debug for Pack<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pack").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl<M: Mode> Exchange for Pack<M> {
    type Value = Token;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let Some(cell) = &self.cell else {
            self.stage = Stage::Opening;
            return self.manager.ask(asking, &CreateRequest { kind: value::KIND, spec: Bytes::new() });
        };
        if let Some(datum) = self.datum.take() {
            self.stage = Stage::Filling;
            return cell.ask(asking, &ValueSetRequest { value: Some(datum) });
        }
        self.stage = Stage::Sharing;
        let lifetime_ms = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
        self.manager.ask(asking, &ShareRequest { handle: cell.place().1, uses: 1, lifetime_ms })
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Token>> {
        match self.stage {
            Stage::New => unreachable!("it is asked before it is answered"),
            Stage::Opening => {
                let (opened, _) = self.manager.decode::<CreateResponse>(heard)?;
                self.cell = Some(self.manager.opened(opened.handle, value::KIND, &opened.object));
                Ok(Step::Again)
            }
            Stage::Filling => {
                self.manager.decode::<ValueSetResponse>(heard)?;
                Ok(Step::Again)
            }
            Stage::Sharing => {
                let (response, _) = self.manager.decode::<ShareResponse>(heard)?;
                let peer = self.manager.session().peer().0;
                Ok(Step::Done(Token::new(value::KIND, peer.incarnation, response.token, peer.address.clone())))
            }
        }
    }
}

/// Takes up a cell, and reads what is in it.
pub(crate) struct Unpack<M: Mode> {
    manager: Remote<M>,
    token: Token,
    cell: Option<Remote<M>>,
}

impl<M: Mode> Unpack<M> {
    pub(super) fn new(manager: Remote<M>, token: &Token) -> Self {
        Self { manager, token: token.clone(), cell: None }
    }
}

impl<M: Mode> Unpin for Unpack<M> {}

impl<M: Mode> fmt::Debug for Unpack<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpack").finish_non_exhaustive()
    }
}

impl<M: Mode> Exchange for Unpack<M> {
    type Value = Datum;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        if let Some(cell) = &self.cell {
            return cell.ask(asking, &ValueGetRequest {});
        }
        if self.manager.session().peer().0.incarnation != self.token.incarnation {
            return Err(ConnectError::Incarnation.into());
        }
        self.manager.ask(asking, &TakeUpRequest { token: self.token.secret.clone(), kind: value::KIND })
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Datum>> {
        if let Some(cell) = &self.cell {
            let (response, _) = cell.decode::<ValueGetResponse>(heard)?;
            return Ok(Step::Done(response.value.unwrap_or_default()));
        }
        let (opened, _) = self.manager.decode::<TakeUpResponse>(heard)?;
        self.cell = Some(self.manager.opened(opened.handle, value::KIND, &opened.object));
        Ok(Step::Again)
    }
}
