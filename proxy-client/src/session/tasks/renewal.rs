//! New sessions for the async library.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Async, Call, Session, State};
use crate::error::{ConnectError, Error, Result};
use crate::session::SessionLike;
use crate::session::renewal::{self, Renewable, Renewal, Turn};

/// What came of an attempt, when something has.
type Told = Option<Result<Arc<Session>>>;

/// One attempt. Its task tells what comes of it, or is dropped with its runtime.
#[derive(Clone, Debug)]
pub struct Attempt(watch::Receiver<Told>);

impl renewal::Attempt for Attempt {
    fn is_given_up(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

/// Finds a session that is not over, or opens one, together with all others who want it.
///
/// A task of its own opens it: it goes on if those who wait are dropped, and none of them has to move it for the others.
async fn renew(renewal: Arc<Renewal<Async>>) -> Result<Arc<Session>> {
    loop {
        let mut teller = None;
        let turn = renewal.turn(|| {
            let (tell, told) = watch::channel(None);
            teller = Some(tell);
            Attempt(told)
        })?;
        let Attempt(mut told) = match turn {
            Turn::Use(session) => return Ok(session),
            Turn::Await(attempt) => attempt,
        };
        let is_ours = teller.is_some();
        if let Some(tell) = teller {
            tokio::spawn(make(renewal.clone(), tell));
        }
        let telling = timeout(renewal.patience_with_others(), told.wait_for(Option::is_some)).await;
        match telling.map(|told| told.map(|told| told.clone())) {
            Ok(Ok(Some(outcome))) => return outcome,
            // The runtime of whoever made it is gone, so it is for another to make.
            Ok(_) if !is_ours => {}
            Ok(_) => return Err(renewal.gave_up("the tokio runtime that was to open another was shut down")),
            Err(_) => return Err(renewal.late()),
        }
    }
}

async fn make(renewal: Arc<Renewal<Async>>, tell: watch::Sender<Told>) {
    let outcome = renewal.finish(open(&renewal).await);
    tell.send_replace(Some(outcome));
}

async fn open(renewal: &Renewal<Async>) -> Result<Arc<Session>, ConnectError> {
    let mut tries = renewal.tries();
    loop {
        match Session::open(&tries.target()).await {
            Ok(session) => return Ok(session),
            Err(error) => sleep(tries.pause(error)?).await,
        }
    }
}

type Renewing = Pin<Box<dyn Future<Output = Result<Arc<Session>>> + Send>>;

/// A call to the manager itself that is being made: a [`Call`] that is made in a new session if its own is over.
///
/// Where its session ends before it has its answer, it is made again in the next one, unless it may not be made twice.
#[must_use = "a call is made when it is awaited"]
pub struct ManagerCall<E> {
    call: Call<E>,
    renewal: Arc<Renewal<Async>>,
    /// Waits for a session.
    renewing: Option<Renewing>,
    /// Whether it may be made again.
    may_repeat: bool,
}

impl<E> fmt::Debug for ManagerCall<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerCall").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<E: Renewable<Async>> ManagerCall<E> {
    pub(super) fn new(call: Call<E>, renewal: Arc<Renewal<Async>>) -> Self {
        let may_repeat = call.exchange.is_repeatable();
        Self { call, renewal, renewing: None, may_repeat }
    }

    /// Sends the call now, before it is awaited, as [`Call::send`] does. Where the session is over nothing is sent yet.
    pub fn send(mut self) -> Self {
        if !self.needs_session() {
            self.call = self.call.send();
        }
        self
    }

    /// Whether it was not made, and cannot be in its session.
    fn needs_session(&self) -> bool {
        let session = &self.call.session;
        matches!(self.call.state, State::New) && (session.is_elsewhere() || session.ending().is_some())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<E::Value>> {
        loop {
            if self.renewing.is_none() && self.needs_session() {
                self.renewing = Some(Box::pin(renew(self.renewal.clone())));
            }
            if let Some(renewing) = &mut self.renewing {
                let renewed = ready!(renewing.as_mut().poll(cx));
                self.renewing = None;
                self.call.begin(renewed?);
            }
            match ready!(Pin::new(&mut self.call).poll(cx)) {
                Err(Error::Ended { .. }) if self.may_repeat => {
                    self.may_repeat = false;
                    self.renewing = Some(Box::pin(renew(self.renewal.clone())));
                }
                result => return Poll::Ready(result),
            }
        }
    }
}

impl<E: Renewable<Async>> Future for ManagerCall<E> {
    type Output = Result<E::Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<E::Value>> {
        ManagerCall::poll(&mut self, cx)
    }
}

impl<E: Renewable<Async>> Call<E> {
    /// Begins anew in another session.
    fn begin(&mut self, session: Arc<Session>) {
        self.exchange.begin(&session);
        (self.session, self.state, self.has_polled) = (session, State::New, false);
    }
}
