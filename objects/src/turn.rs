//! One input being applied.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use holdfast_proto::{Reason, Refusal};

use crate::catalog::AnyReply;
use crate::{Answer, Client, Room, Withdrawal};

/// The id of a session: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// As it stands in a saved state. Refused: `MALFORMED`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let id = bytes.try_into().map_err(|_| Refusal::new(Reason::Malformed, "the id of a session has 16 bytes"))?;
        Ok(Self(id))
    }

    /// The ids of all calls that it may ever make, for ordered maps by call.
    pub(crate) fn calls(self) -> RangeInclusive<CallId> {
        CallId { session: self, number: 0 }..=CallId { session: self, number: u64::MAX }
    }
}

/// The id of a call: its session, and its number there, which no other call of the session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// Whose call it is.
    pub session: SessionId,
    /// Which of them.
    pub number: u64,
}

/// A call, as it stands in a saved state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CallState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

impl CallState {
    /// The call that it stands for. Refused: `MALFORMED`.
    pub(crate) fn read(&self) -> Result<CallId, Refusal> {
        Ok(CallId { session: SessionId::read(&self.session)?, number: self.number })
    }
}

impl From<CallId> for CallState {
    fn from(call: CallId) -> Self {
        Self { session: call.session.0.into(), number: call.number }
    }
}

/// One input being applied: who asked, when in the order of all inputs, within which limits, and whom it woke.
#[derive(Debug)]
pub struct Turn {
    /// The position of this input in the manager's total order. Rises from turn to turn, never 0.
    pub index: u64,
    /// What is granted in this turn is granted with this fence: the index, with the manager's epoch above it. Strictly rising
    /// also over restarts.
    pub fence: u64,
    /// The call that is made. For an input that is no call, only the session means something.
    pub call: CallId,
    /// Who is at the other end of the session, where a session ends.
    pub client: Option<Arc<Client>>,
    /// No answer holds more user data than about this many bytes: it is a page.
    pub page_bytes: u32,
    /// The bytes of user data that the object may yet grow by, and has grown by in this turn.
    pub room: Room,
    /// Whether another call may wait.
    pub waiters: Waiters,
    /// The calls that waited before, and are answered in this turn.
    pub woken: Vec<Woken>,
    /// Much data that no object has any more since this turn. To be dropped where nobody waits for it.
    pub remains: Option<Remains>,
}

/// More bytes of user data than this are freed where nobody waits for it: to free a megabyte of integers in a dict takes 0.5 ms.
pub const LARGE: u64 = 1 << 20;

/// What is to be freed, and of which nothing else is to be known.
pub struct Remains(#[expect(dead_code, reason = "it is dropped")] Box<dyn Send>);

impl Remains {
    /// Of whatever it is.
    #[must_use]
    pub fn of(what: impl Send + 'static) -> Self {
        Self(Box::new(what))
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remains")
    }
}

/// A call that waited, and its answer, which is not to wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Woken {
    /// Which call.
    pub call: CallId,
    /// What it is answered.
    pub answer: Answer<AnyReply>,
}

/// How many calls may wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiters {
    /// At one object, under the limit `object_waiters`.
    pub of_object: usize,
    /// The limit that is reached already, by its name and value, if one is.
    pub reached: Option<(&'static str, usize)>,
}

impl Waiters {
    /// As many as anybody likes, for tests.
    pub const ANY: Self = Self { of_object: usize::MAX, reached: None };
}

impl Turn {
    /// A turn in which nothing but the call is known: its epoch is 0, and as many calls may wait as like to.
    #[must_use]
    pub fn new(index: u64, call: CallId, page_bytes: u32, room: Room) -> Self {
        let (waiters, woken, remains) = (Waiters::ANY, Vec::new(), None);
        Self { index, fence: index, call, client: None, page_bytes, room, waiters, woken, remains }
    }

    /// Whether the call may wait at an object at which `already` calls do. Refused: `QUOTA`.
    pub(crate) fn may_wait(&self, already: usize) -> Result<(), Refusal> {
        let of_object = (already >= self.waiters.of_object).then_some(("object_waiters", self.waiters.of_object));
        match of_object.or(self.waiters.reached) {
            None => Ok(()),
            Some((name, limit)) => Err(Refusal::new(
                Reason::Quota,
                format!("{limit} calls wait already, the limit named {name}: try again later, or raise it"),
            )),
        }
    }

    /// Lets go of what was in the object, with so many bytes of user data: it is freed at once, or, if it is much, where nobody
    /// waits for it.
    pub(crate) fn let_go(&mut self, bytes: u64, what: impl Send + 'static) {
        if bytes >= LARGE {
            self.remains = Some(match self.remains.take() {
                Some(before) => Remains::of((before, what)),
                None => Remains::of(what),
            });
        }
    }

    /// Answers a call that waits.
    pub(crate) fn wake(&mut self, call: CallId, reply: impl Into<AnyReply>) {
        self.woken.push(Woken { call, answer: Answer::Done(reply.into()) });
    }

    /// Answers a call that waits, with what is kept until its caller has it.
    pub(crate) fn deliver(&mut self, call: CallId, reply: impl Into<AnyReply>) {
        self.woken.push(Woken { call, answer: Answer::Delivered(reply.into()) });
    }

    /// Answers a call that waited in vain: with this reply, or, if its caller wants none, with `WITHDRAWN`.
    pub(crate) fn end_in_vain(&mut self, call: CallId, why: Withdrawal, reply: impl Into<AnyReply>) {
        match why {
            Withdrawal::Patience => self.wake(call, reply),
            Withdrawal::Cancelled => self.refuse(call, withdrawn()),
        }
    }

    /// Refuses a call that waits.
    pub(crate) fn refuse(&mut self, call: CallId, refusal: Refusal) {
        self.woken.push(Woken { call, answer: Answer::Refused(refusal) });
    }
}

/// The answer to a call that was withdrawn by its caller.
pub(crate) fn withdrawn() -> Refusal {
    Refusal::new(Reason::Withdrawn, "the call waited and was withdrawn by its caller: it granted nothing")
}
