//! The saved state of a lock for readers and writers.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use holdfast_proto::rwlock::Spec;
use holdfast_proto::{Abandoned, Reason, Refusal};

use super::{Grant, Mode, Rwlock, Writer};
use crate::{CallId, SessionId};

/// All there is to know about a [`Rwlock`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// Who writes.
    #[prost(message, optional, tag = "2")]
    pub writer: Option<WriterState>,
    /// Who reads, those of one session in the order in which they were granted it, and those after them that were given back.
    #[prost(message, repeated, tag = "3")]
    pub readers: Vec<ReaderState>,
    /// Who waits, in their order.
    #[prost(message, repeated, tag = "4")]
    pub waiting: Vec<WaiterState>,
    /// The writer that was lost, until another is told.
    #[prost(message, optional, tag = "5")]
    pub abandoned: Option<Abandoned>,
    /// The writer that broke it.
    #[prost(message, optional, tag = "6")]
    pub broken: Option<Abandoned>,
}

/// Who writes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriterState {
    /// Its session; empty once that has ended.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// The call by which it was taken.
    #[prost(uint64, tag = "2")]
    pub call: u64,
    /// The fence of the grant.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    /// What it was told when it was granted.
    #[prost(message, optional, tag = "4")]
    pub told: Option<Abandoned>,
}

/// One grant for reading.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReaderState {
    /// The session that has it.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// The call by which it was taken.
    #[prost(uint64, tag = "2")]
    pub call: u64,
    /// Its fence.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    /// It was given back, while another with this fence is not.
    #[prost(bool, tag = "4")]
    pub given_back: bool,
}

/// A call that waits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WaiterState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// Whether it waits to write.
    #[prost(bool, tag = "3")]
    pub to_write: bool,
}

impl Rwlock {
    /// The whole state.
    pub(super) fn saved(&self) -> State {
        let writer = |writer: &Writer| WriterState {
            session: writer.session.map(|session| session.0.into()).unwrap_or_default(),
            call: writer.call,
            fence: writer.fence,
            told: writer.told.clone(),
        };
        let readers = self.readers.by_session.iter().flat_map(|(session, reads)| {
            let reader = |grant: &Grant, given_back| {
                let Grant { call, fence } = *grant;
                ReaderState { session: session.0.into(), call, fence, given_back }
            };
            let given_back = reads.given_back.iter().map(move |grant| reader(grant, true));
            reads.grants.iter().map(move |grant| reader(grant, false)).chain(given_back)
        });
        let waiter = |(call, mode): (CallId, &Mode)| WaiterState {
            session: call.session.0.into(),
            number: call.number,
            to_write: *mode == Mode::Write,
        };
        State {
            spec: self.spec,
            writer: self.writer.as_ref().map(writer),
            readers: readers.collect(),
            waiting: self.waiting.iter().map(waiter).collect(),
            abandoned: self.abandoned.clone(),
            broken: self.broken.clone(),
        }
    }

    /// Makes a new lock one with this state. Refused: `MALFORMED`.
    pub(super) fn load(&mut self, state: State) -> Result<(), Refusal> {
        self.writer = state.writer.map(Writer::restore).transpose()?;
        let mut seen = BTreeSet::new();
        for ReaderState { session, call, fence, given_back } in state.readers {
            let call = once(&mut seen, &session, call)?;
            if !given_back {
                self.readers.push(call, fence);
                continue;
            }
            let reads = self.readers.by_session.get_mut(&call.session);
            let reads = reads.filter(|reads| reads.grants.iter().any(|grant| grant.fence == fence));
            reads.ok_or_else(alone)?.given_back.push(Grant { call: call.number, fence });
        }
        for WaiterState { session, number, to_write } in state.waiting {
            let mode = if to_write { Mode::Write } else { Mode::Read };
            self.waiting.push(once(&mut seen, &session, number)?, mode);
        }
        (self.abandoned, self.broken) = (state.abandoned, state.broken);
        Ok(())
    }
}

impl Writer {
    fn restore(state: WriterState) -> Result<Self, Refusal> {
        let WriterState { session, call, fence, told } = state;
        let session = if session.is_empty() { None } else { Some(SessionId::read(&session)?) };
        Ok(Self { session, fence, call, told })
    }
}

#[cold]
fn alone() -> Refusal {
    let problem = "the saved state of the lock has a grant that was given back, and no other beside it: it was damaged";
    Refusal::new(Reason::Malformed, problem)
}

/// A call that is in one place of the state at most. Refused: `MALFORMED`.
fn once(seen: &mut BTreeSet<CallId>, session: &[u8], number: u64) -> Result<CallId, Refusal> {
    let call = CallId { session: SessionId::read(session)?, number };
    if seen.insert(call) {
        return Ok(call);
    }
    Err(Refusal::new(Reason::Malformed, "the saved state of the lock has a call twice: it was damaged"))
}
