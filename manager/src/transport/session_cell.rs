//! The one session that a connection has in its life.

use std::sync::Arc;

use holdfast_proto::{Reason, Refusal};

use crate::session::{Session, Store};

/// The one session that a connection has in its life: opened by the first who needs it, its stream or a unary call, and
/// used by both. Its end is the end for both.
#[derive(Debug)]
pub(super) struct SessionCell {
    store: Arc<Store>,
    state: State,
}

#[derive(Debug)]
enum State {
    Unopened,
    Open(Session),
    Ended,
}

impl SessionCell {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, state: State::Unopened }
    }

    /// What all sessions share.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The session, which is opened now if there was none yet. Refused: `QUOTA`, and `UNAUTHENTICATED` after its end.
    pub(super) fn open(&mut self) -> Result<&mut Session, Refusal> {
        if matches!(self.state, State::Unopened) {
            self.state = State::Open(Session::open(&self.store)?);
        }
        self.get().ok_or_else(|| {
            Refusal::new(Reason::Unauthenticated, "the session of this connection has ended: make another connection")
        })
    }

    /// The session, if it is open.
    pub(super) fn get(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(session) => Some(session),
            State::Unopened | State::Ended => None,
        }
    }

    /// Whether there has been no session yet.
    pub(super) fn is_unopened(&self) -> bool {
        matches!(self.state, State::Unopened)
    }

    /// Goes on with a session that another connection had. There must have been none yet.
    pub(super) fn adopt(&mut self, session: Session) -> &mut Session {
        debug_assert!(self.is_unopened(), "a connection has one session in its life");
        self.state = State::Open(session);
        self.get().expect("it was just put there")
    }

    /// Takes the session away, for another connection.
    pub(super) fn take(&mut self) -> Option<Session> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Open(session) => Some(session),
            State::Unopened | State::Ended => None,
        }
    }

    /// Ends the session, for good.
    pub(super) fn end(&mut self) {
        self.state = State::Ended;
    }
}
