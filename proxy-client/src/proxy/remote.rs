//! What all proxies have in common: a handle in a session.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ops::Request;
use holdfast_proto::{DescribeRequest, ShareRequest, ShareResponse, describe_request};
use prost::Message;

use super::listing::Describe;
use crate::child::Child;
use crate::error::{ConnectError, Error, Result};
use crate::session::{Asking, Exchange, Heard, Mode, SessionLike, Step};
use crate::token::Token;

/// An object in a manager, as one proxy and its clones see it. When the last of them is gone the handle is given back.
pub(crate) struct Remote<M: Mode> {
    handle: Arc<Handle<M>>,
    timeout: Option<Duration>,
}

struct Handle<M: Mode> {
    session: Arc<M::Session>,
    number: u32,
    /// The manager itself, if this process started it. After the session, so that goodbye is said first.
    child: Option<Arc<Child>>,
}

/// The handle of the manager itself, which needs no opening and no giving back.
const MANAGER: u32 = 0;

impl<M: Mode> Drop for Handle<M> {
    fn drop(&mut self) {
        if self.number != MANAGER {
            self.session.close_handle(self.number);
        }
    }
}

impl<M: Mode> Clone for Remote<M> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), timeout: self.timeout }
    }
}

impl<M: Mode> fmt::Debug for Remote<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("handle", &self.handle.number).finish_non_exhaustive()
    }
}

impl<M: Mode> Remote<M> {
    /// The manager itself.
    pub(crate) fn manager(session: Arc<M::Session>, timeout: Option<Duration>) -> Self {
        Self { handle: Arc::new(Handle { session, number: MANAGER, child: None }), timeout }
    }

    /// The manager itself, which this process started.
    pub(crate) fn own_manager(session: Arc<M::Session>, timeout: Option<Duration>, child: Arc<Child>) -> Self {
        Self { handle: Arc::new(Handle { session, number: MANAGER, child: Some(child) }), timeout }
    }

    /// An object that was opened in the same session. It keeps alive what this does.
    pub(crate) fn opened(&self, number: u32) -> Self {
        let handle = Handle { session: self.session().clone(), number, child: self.handle.child.clone() };
        Self { handle: Arc::new(handle), timeout: self.timeout }
    }

    /// The manager itself, if this process started it.
    pub(crate) fn child(&self) -> Option<&Arc<Child>> {
        self.handle.child.as_ref()
    }

    pub(crate) fn session(&self) -> &Arc<M::Session> {
        &self.handle.session
    }

    /// The same object, with another time for each call.
    pub(crate) fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { handle: self.handle.clone(), timeout }
    }

    /// Makes one call. The request may already be an error, so that proxies need not make a difference.
    pub(crate) fn once<R: Request, T>(
        &self,
        request: Result<R>,
        finish: fn(R::Response, u64) -> Result<T>,
    ) -> M::Output<Single<M, R, T>> {
        self.run(Single { remote: self.clone(), request: Some(request), finish })
    }

    /// Runs an exchange of several calls.
    pub(crate) fn run<E: Exchange>(&self, exchange: E) -> M::Output<E> {
        M::run(self.session(), self.timeout, exchange)
    }

    /// Writes a call on this object.
    pub(crate) fn ask<R: Request>(&self, asking: Asking<'_>, request: &R) -> Result<()> {
        asking.0.call(self.handle.number, request)
    }

    /// Makes a token for this object.
    pub(crate) fn share(&self, kind: u32, uses: u32, lifetime: Duration) -> M::Output<Tokens<M>> {
        let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let request = ShareRequest { handle: self.handle.number, uses, lifetime_ms };
        self.run(Tokens { manager: self.of_session(), object: self.clone(), kind, request })
    }

    /// Asks the manager about this object.
    pub(crate) fn describe(&self) -> M::Output<Describe<M>> {
        let request = DescribeRequest { object: Some(describe_request::Object::Handle(self.handle.number)) };
        self.run(Describe { manager: self.of_session(), _object: self.clone(), request })
    }

    /// The manager itself, to be asked about this object.
    fn of_session(&self) -> Self {
        Self::manager(self.session().clone(), self.timeout)
    }
}

/// Reads a response message.
pub(crate) fn decode<T: Message + Default>(heard: Heard) -> Result<(T, u64)> {
    let index = heard.0.index;
    let response = T::decode(heard.0.body).map_err(|error| {
        let problem = format!("the manager's answer cannot be read ({error}): is it of another version?");
        Error::from(holdfast_proto::Refusal::new(holdfast_proto::Reason::Unspecified, problem))
    })?;
    Ok((response, index))
}

/// One call.
pub struct Single<M: Mode, R: Request, T> {
    remote: Remote<M>,
    request: Option<Result<R>>,
    finish: fn(R::Response, u64) -> Result<T>,
}

impl<M: Mode, R: Request, T> Unpin for Single<M, R, T> {}

impl<M: Mode, R: Request, T> fmt::Debug for Single<M, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(R::NAME).finish_non_exhaustive()
    }
}

impl<M: Mode, R: Request, T> Exchange for Single<M, R, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let request = self.request.take().expect("a single call is asked once")?;
        self.remote.ask(asking, &request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        let (response, index) = decode::<R::Response>(heard)?;
        (self.finish)(response, index).map(Step::Done)
    }
}

/// The making of a token.
#[derive(Debug)]
pub struct Tokens<M: Mode> {
    manager: Remote<M>,
    /// The handle must stay open until the manager has answered.
    object: Remote<M>,
    kind: u32,
    request: ShareRequest,
}

impl<M: Mode> Unpin for Tokens<M> {}

impl<M: Mode> Exchange for Tokens<M> {
    type Value = Token;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        self.manager.ask(asking, &self.request)
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<Token>> {
        let (response, _) = decode::<ShareResponse>(heard)?;
        let peer = self.object.session().peer().0;
        Ok(Step::Done(Token::new(self.kind, peer.incarnation, response.token, peer.address.clone())))
    }
}

/// Checks that a token is for this life of this manager, which spares a question that can only be answered with no.
pub(crate) fn check_token<M: Mode>(manager: &Remote<M>, token: &Token) -> Result<()> {
    if manager.session().peer().0.incarnation == token.incarnation {
        Ok(())
    } else {
        Err(ConnectError::Incarnation.into())
    }
}

/// For proxies that are generic over what they hold without holding any of it.
pub(crate) type Holds<T> = PhantomData<fn(T) -> T>;
