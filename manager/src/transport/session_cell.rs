//! The one session that a connection has in its life.

use std::sync::Arc;

use holdfast_objects::Client;
use holdfast_proto::{Reason, Refusal};

use crate::session::{Session, Store};

/// The one session that a connection has in its life: opened by the first who needs it, its stream or a unary call, and
/// used by both. Its end is the end for both.
#[derive(Debug)]
pub(super) struct SessionCell {
    store: Arc<Store>,
    /// The process at the other end, where the system tells it.
    peer_pid: Option<u32>,
    state: State,
}

#[derive(Debug)]
enum State {
    Unopened,
    Open(Box<Session>),
    Ended,
}

impl SessionCell {
    pub(super) fn new(store: Arc<Store>, peer_pid: Option<u32>) -> Self {
        Self { store, peer_pid, state: State::Unopened }
    }

    /// What all sessions share.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The session, which is opened now if there was none yet. Refused: `QUOTA`, and `UNAUTHENTICATED` after its end.
    pub(super) fn open(&mut self) -> Result<&mut Session, Refusal> {
        if matches!(self.state, State::Unopened) {
            let client = Client { pid: self.peer_pid.unwrap_or_default(), ..Client::default() };
            self.state = State::Open(Box::new(Session::open(&self.store, client)?));
        }
        self.get().ok_or_else(|| {
            Refusal::new(Reason::Unauthenticated, "the session of this connection has ended: make another connection")
        })
    }

    /// As [`open`](Self::open), for a client that says this of itself. What the system says of its process goes before it.
    pub(super) fn open_for(&mut self, mut client: Client) -> Result<&mut Session, Refusal> {
        client.pid = self.peer_pid.unwrap_or(client.pid);
        let session = self.open()?;
        session.introduce(client);
        Ok(session)
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
        self.state = State::Open(Box::new(session));
        self.get().expect("it was just put there")
    }

    /// Takes the session away, for another connection.
    pub(super) fn take(&mut self) -> Option<Session> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Open(session) => Some(*session),
            State::Unopened | State::Ended => None,
        }
    }

    /// Ends the session, for good.
    pub(super) fn end(&mut self) {
        self.state = State::Ended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn the_word_of_the_system_goes_before_that_of_a_client() {
        let store = Arc::new(Store::new(Limits::default(), 1));
        let said = || Client { name: "worker".to_owned(), pid: 9, host: "here".to_owned() };
        let mut cell = SessionCell::new(store.clone(), Some(7));
        assert_eq!(
            **cell.open().unwrap().client(),
            Client { pid: 7, ..Client::default() },
            "a unary call says nothing"
        );
        assert_eq!(**cell.open_for(said()).unwrap().client(), Client { pid: 7, ..said() });
        assert_eq!(**cell.open().unwrap().client(), Client { pid: 7, ..said() }, "and is remembered");
        let mut cell = SessionCell::new(store, None);
        assert_eq!(**cell.open_for(said()).unwrap().client(), said());
    }
}
