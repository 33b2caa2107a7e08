//! One session with a manager: one stream, any number of calls in flight.
//!
//! [`calls`] knows what was asked and who waits; [`wire`] is the HTTP/2 stream; and one of two drivers moves bytes between
//! them: [`tasks`], a task on a tokio runtime, or [`threads`], the calling thread itself.

mod body;
pub(crate) mod busy_poll;
mod by_number;
mod calls;
mod hello;
mod pipe;
pub(crate) mod renewal;
mod resume;
mod socket;
pub(crate) mod tasks;
pub(crate) mod threads;
mod tls;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_proto::Refusal;
use holdfast_proto::ops::Request;
use holdfast_proto::place::Address;
use holdfast_proto::scram::Authkey;
use holdfast_stream::BusyPoll;

pub(crate) use body::Body;
pub(crate) use calls::Asked;

use crate::error::{Error, Result};
use renewal::{Attempt, Renewable, Renewal};

/// Whom to talk to, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) authkey: Authkey,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) connect_timeout: Duration,
    /// Whether replies are polled for.
    pub(crate) busy_poll: BusyPoll,
    /// Whether this program started the manager.
    pub(crate) is_own: bool,
}

/// What is known of the manager at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    pub(crate) incarnation: [u8; 16],
    /// For the children of this process.
    pub(crate) authkey: Authkey,
    /// Whether this program started it.
    pub(crate) is_own: bool,
    /// How many bytes one call may have.
    pub(crate) frame_bytes: usize,
    /// What this client calls itself, and its host.
    pub(crate) name: String,
    pub(crate) host: String,
    /// The id of the session.
    #[cfg(feature = "testing")]
    pub(crate) session: Vec<u8>,
}

/// The answer to one call.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The position of the call in the manager's order.
    pub(crate) index: u64,
    /// The response message.
    pub(crate) body: Body,
    /// The handles of the references in it, each to be given back as often as it is here.
    pub(crate) delivered: Box<[u32]>,
    /// The object is to be told that the caller has it.
    pub(crate) acknowledge: bool,
}

/// One or more calls, made one after the other, that together give one result.
///
/// It is the one place where a proxy says what it asks and what comes of it; the drivers run it without knowing more.
pub trait Exchange: Unpin {
    /// The result.
    type Value;

    /// Writes the next call.
    #[doc(hidden)]
    fn ask(&mut self, asking: Asking<'_>) -> Result<()>;

    /// Whether its calls may wait for what others do.
    #[doc(hidden)]
    fn may_wait(&self) -> bool {
        false
    }

    /// Takes the reply to it.
    #[doc(hidden)]
    fn hear(&mut self, reply: Heard) -> Result<Step<Self::Value>>;

    /// The call was refused, which ends the exchange.
    #[doc(hidden)]
    fn refused(&mut self, _refusal: &Refusal) {}
}

/// What is to be done after a reply.
#[derive(Debug)]
pub enum Step<T> {
    /// Ask again.
    Again,
    /// This is the result.
    Done(T),
}

/// Where an exchange writes its call.
#[derive(Debug)]
pub struct Asking<'a>(pub(crate) calls::Writer<'a>);

/// A reply that an exchange reads.
#[derive(Debug)]
pub struct Heard(pub(crate) Reply);

/// A way to run exchanges: the difference between the async and the blocking library, and the only one.
pub trait Mode: Clone + Copy + Send + Sync + Sized + 'static {
    /// A session that is driven this way.
    #[doc(hidden)]
    type Session: SessionLike;

    /// What a call gives: a future in the async library, the result itself in the blocking one.
    type Output<E: Exchange>;

    /// What a call to the manager itself gives: the same, and if the session is over it is made in a new one.
    type Renewing<E: Renewable<Self>>;

    /// One attempt to open a new session.
    #[doc(hidden)]
    type Attempt: Attempt;

    /// Whether it is the async library.
    #[doc(hidden)]
    const IS_ASYNC: bool;

    /// Where exchanges are run that nobody waits for: a runtime in the async library.
    #[doc(hidden)]
    type Place: Clone + Send + Sync + 'static;

    /// The thread or task that this is: a number that no other has which lives.
    #[doc(hidden)]
    fn actor() -> u64;

    /// Runs an exchange. `timeout` is for each of its calls.
    #[doc(hidden)]
    fn run<E: Exchange>(session: &Arc<Self::Session>, timeout: Option<Duration>, exchange: E) -> Self::Output<E>;

    /// The place that this is.
    #[doc(hidden)]
    fn place() -> Self::Place;

    /// Runs an exchange in that place, and waits for it on the calling thread, which must be none of a runtime.
    #[doc(hidden)]
    fn block<E: Exchange>(
        place: &Self::Place,
        session: &Arc<Self::Session>,
        timeout: Option<Duration>,
        exchange: E,
    ) -> Result<E::Value>;

    /// Runs an exchange by itself. If it fails, `failed` is told; also if it cannot be begun.
    #[doc(hidden)]
    fn detach<E: Exchange<Value = ()> + Send + 'static>(
        session: &Arc<Self::Session>,
        exchange: E,
        failed: impl FnOnce(Error) + Send + 'static,
    );

    /// Runs an exchange that has begun in this session, which may be over, with the manager itself.
    #[doc(hidden)]
    fn run_renewing<E: Renewable<Self>>(
        renewal: &Arc<Renewal<Self>>,
        session: Arc<Self::Session>,
        timeout: Option<Duration>,
        exchange: E,
    ) -> Self::Renewing<E>;
}

/// A number that no other thread of this process has.
pub(crate) fn this_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: u64 = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    }
    NUMBER.with(|number| *number)
}

/// What proxies need of a session, however it is driven.
#[doc(hidden)]
pub trait SessionLike: Send + Sync + 'static {
    /// Gives a handle back, without waiting for anything.
    fn close_handle(&self, handle: u32);
    /// Makes a call, without waiting for what comes of it.
    #[doc(hidden)]
    fn cast<R: Request>(&self, handle: u32, request: &R);
    /// Who is at the other end.
    #[doc(hidden)]
    fn peer(&self) -> PeerInfo;
    /// What every call comes to from now on, if it is over.
    #[doc(hidden)]
    fn ending(&self) -> Option<Error>;
    /// Whether it is that of a process of which this one is a fork.
    #[doc(hidden)]
    fn is_elsewhere(&self) -> bool;
    /// It is over, and another one was opened, with a manager of this incarnation.
    #[doc(hidden)]
    fn followed_by(&self, incarnation: [u8; 16]);
}

/// What is known of the manager at the other end.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct PeerInfo(pub(crate) Arc<Peer>);

/// Why a session is of no use any more.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) cause: String,
    /// Only the connection is lost: the session may go on over another one.
    pub(crate) is_loss: bool,
    pub(crate) after: After,
}

/// What is known of the manager after the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Unknown,
    /// It lives on.
    SameLife,
    /// It was started anew.
    OtherLife,
}

impl End {
    /// One that no other connection helps against.
    pub(crate) fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_loss: false, after: After::Unknown }
    }

    fn loss(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_loss: true, after: After::Unknown }
    }

    /// The manager was started anew since.
    fn of_a_life(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_loss: false, after: After::OtherLife }
    }
}

impl Peer {
    pub(crate) fn ended(&self, end: &End) -> Error {
        let cause = &end.cause;
        let cause = match end.after {
            After::OtherLife => {
                format!("the manager was started anew, and what it held before is gone; before that: {cause}")
            }
            After::SameLife => format!("{cause}; the manager lives on, and so do its objects with a name"),
            After::Unknown if end.is_loss && matches!(self.address, Address::Unix(_)) => {
                format!("{cause}, so the manager has most likely ended, and what it held with it")
            }
            After::Unknown => cause.clone(),
        };
        Error::Ended { address: self.address.clone(), cause, is_own: self.is_own }
    }

    /// What is known of this manager when one of this incarnation is found in its place.
    pub(crate) fn after(&self, incarnation: [u8; 16]) -> After {
        if self.incarnation == incarnation { After::SameLife } else { After::OtherLife }
    }
}
