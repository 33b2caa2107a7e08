//! How a session that is over is followed by a new one.
//!
//! Proxies stay with the session that they came of, and fail when it is over: what they held there, handles and objects
//! without a name, is gone, and only the program knows whether an object of the same name is the same to it. What is asked
//! of the manager itself has no such past, so it is asked in a new session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::place::{Address, read_authkey_file};
use parking_lot::Mutex;

use super::resume::pause_after;
use super::{Exchange, Mode, SessionLike, Target};
use crate::error::{ConnectError, Error, Result};
use crate::options::Options;
use crate::owner::Owner;

/// An exchange with the manager itself, which can begin anew in another session.
pub trait Renewable<M: Mode>: Exchange {
    /// Begins anew in a session that took the place of the one before.
    #[doc(hidden)]
    fn begin(&mut self, session: &Arc<M::Session>);

    /// Whether it may be made again where it is not known whether it was applied.
    #[doc(hidden)]
    fn is_repeatable(&self) -> bool;
}

/// One attempt to open a new session, which all wait for who need one.
#[doc(hidden)]
pub trait Attempt: Clone + Send + Sync + 'static {
    /// Whether nobody makes it any more, and nobody will tell what came of it.
    fn is_given_up(&self) -> bool;
}

/// The session of a [`Manager`](crate::proxy::Manager) and its clones, and what it takes to open the next one.
pub struct Renewal<M: Mode> {
    /// The manager is looked for where it was, whatever the environment says by now.
    target: Target,
    /// Where the authkey is read from again, unless it was given as such.
    authkey_file: Option<PathBuf>,
    /// How long an attempt may take; zero if there is to be none.
    patience: Duration,
    state: Mutex<State<M>>,
}

struct State<M: Mode> {
    current: Arc<M::Session>,
    /// With the process that makes it: a fork inherits one that it does not make.
    attempt: Option<(M::Attempt, Owner)>,
    is_closed: bool,
}

/// What somebody is to do who needs a session that is not over.
pub(super) enum Turn<M: Mode> {
    /// There is one.
    Use(Arc<M::Session>),
    /// Wait for what comes of this, or make it, if it is new.
    Await(M::Attempt),
}

impl<M: Mode> fmt::Debug for Renewal<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("address", self.address()).finish_non_exhaustive()
    }
}

impl<M: Mode> Renewal<M> {
    pub(crate) fn new(session: Arc<M::Session>, options: &Options, target: &Target) -> Self {
        let state = State { current: session, attempt: None, is_closed: false };
        // A manager that this program started is gone when its session is over.
        let patience = if target.is_own { Duration::ZERO } else { options.time_to_reconnect() };
        Self { target: target.clone(), authkey_file: options.file_of_authkey(), patience, state: Mutex::new(state) }
    }

    /// The newest session, which may be over.
    pub(crate) fn current(&self) -> Arc<M::Session> {
        self.state.lock().current.clone()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.target.address
    }

    /// No other session is opened from now on. Returns the newest.
    pub(crate) fn close(&self) -> Arc<M::Session> {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.current.clone()
    }

    /// Finds a session that can be used, or who makes one: `new` is called if nobody does.
    pub(super) fn turn(&self, new: impl FnOnce() -> M::Attempt) -> Result<Turn<M>> {
        let mut state = self.state.lock();
        // A fork has inherited a session that it must not use, and may open one of its own, even with its parent's manager.
        if !state.current.is_elsewhere() {
            match state.current.ending() {
                None => return Ok(Turn::Use(state.current.clone())),
                Some(_) if state.is_closed => return Err(self.closed()),
                Some(error) if self.patience.is_zero() => return Err(error),
                Some(_) => {}
            }
        }
        if let Some((attempt, owner)) = &state.attempt
            && !owner.is_elsewhere()
            && !attempt.is_given_up()
        {
            return Ok(Turn::Await(attempt.clone()));
        }
        let attempt = new();
        state.attempt = Some((attempt.clone(), Owner::this()));
        Ok(Turn::Await(attempt))
    }

    /// The attempt that is made is over: what came of it.
    pub(super) fn finish(&self, opened: Result<Arc<M::Session>, ConnectError>) -> Result<Arc<M::Session>> {
        let mut state = self.state.lock();
        state.attempt = None;
        let session = opened?;
        if state.is_closed {
            return Err(self.closed());
        }
        let old = std::mem::replace(&mut state.current, session.clone());
        drop(state);
        if !old.is_elsewhere() {
            old.followed_by(session.peer().0.incarnation);
        }
        Ok(session)
    }

    /// Begins to try.
    pub(super) fn tries(&self) -> Tries<'_, M> {
        Tries { renewal: self, deadline: Instant::now().checked_add(self.patience()), attempts: 0, last: None }
    }

    /// Nobody waits longer for an attempt of somebody else, which ends within half of that unless its thread is held up.
    pub(super) fn patience_with_others(&self) -> Duration {
        self.patience().saturating_mul(2)
    }

    /// A fork that may not open another session may still open its first.
    fn patience(&self) -> Duration {
        if self.patience.is_zero() { self.target.connect_timeout } else { self.patience }
    }

    fn closed(&self) -> Error {
        self.gave_up("this program closed it, and a Manager that was closed opens no other: connect again")
    }

    /// No session was opened, for a reason that is in this program.
    pub(super) fn gave_up(&self, cause: &str) -> Error {
        let Target { address, is_own, .. } = &self.target;
        Error::Ended { address: address.clone(), cause: cause.to_owned(), is_own: *is_own }
    }

    /// An attempt of somebody else was waited for in vain.
    pub(super) fn late(&self) -> Error {
        ConnectError::Timeout { address: self.address().clone(), timeout: self.patience_with_others() }.into()
    }
}

/// The tries of one attempt: a manager that is being started does not answer yet.
pub(super) struct Tries<'a, M: Mode> {
    renewal: &'a Renewal<M>,
    deadline: Option<Instant>,
    attempts: u32,
    last: Option<ConnectError>,
}

impl<M: Mode> Tries<'_, M> {
    /// Whom to connect to next, within what is left of the time. The authkey is read again, since it may be a new one; where
    /// that cannot be, the one that was good before may still be.
    pub(super) fn target(&self) -> Target {
        let mut target = self.renewal.target.clone();
        if let Some(Ok(authkey)) = self.renewal.authkey_file.as_deref().map(read_authkey_file) {
            target.authkey = authkey;
        }
        if let Some(left) = self.left() {
            target.connect_timeout = target.connect_timeout.min(left);
        }
        target
    }

    /// How long to pause after a try that failed, or why there is no other one: time is over, or it would fail the same way.
    pub(super) fn pause(&mut self, error: ConnectError) -> Result<Duration, ConnectError> {
        let last = match (error, self.last.take()) {
            // It had what was left of the time, which says less.
            (ConnectError::Timeout { .. }, Some(earlier)) => earlier,
            (error @ (ConnectError::Unreachable { .. } | ConnectError::Timeout { .. }), _) => error,
            (error, _) => return Err(error),
        };
        let left = self.left().unwrap_or(Duration::MAX);
        if left.is_zero() || self.renewal.state.lock().is_closed {
            return Err(last);
        }
        self.last = Some(last);
        self.attempts += 1;
        Ok(pause_after(self.attempts - 1).min(left))
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
