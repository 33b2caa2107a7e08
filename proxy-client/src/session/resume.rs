//! How a session goes on over another connection after its own broke.

use std::time::{Duration, Instant};

use holdfast_proto::place::Address;
use holdfast_proto::{Resume, Welcome};
use holdfast_stream::Sent;
use parking_lot::Mutex;

use super::calls::Calls;
use super::hello::{Opened, Over};
use super::wire::Wire;
use super::{End, Target};
use crate::error::ConnectError;
use tokio::io::{AsyncRead, AsyncWrite};

/// The pause after the first attempt that failed. It doubles with each further one, up to a limit.
const PAUSE: Duration = Duration::from_millis(10);

/// So often the pause doubles.
const DOUBLINGS: u32 = 5;

/// How long to pause after an attempt, when so many have failed before it.
pub(super) fn pause_after(attempts: u32) -> Duration {
    PAUSE * (1 << attempts.min(DOUBLINGS))
}

/// What a session needs to go on over another connection. Only over TCP: the end of a Unix socket is that of the manager.
#[derive(Debug)]
pub(super) struct Resumption {
    pub(super) target: Target,
    resume: Resume,
    grace: Duration,
    incarnation: Vec<u8>,
}

/// A connection that is lost.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// How.
    end: End,
    /// Until then another one may take its place.
    pub(super) deadline: Instant,
    attempts: u32,
    /// Why the last attempt failed.
    last: Option<String>,
}

/// What came of an attempt to resume.
pub(super) type Attempt<Io> = Result<Result<Opened<Io>, Over>, ConnectError>;

impl Resumption {
    /// `None` if the session ends with its connection.
    pub(super) fn new(target: &Target, welcome: &Welcome) -> Option<Self> {
        if matches!(target.address, Address::Unix(_)) || welcome.resumption.is_empty() {
            return None;
        }
        Some(Self {
            target: target.clone(),
            resume: Resume { session: welcome.session.clone(), resumption: welcome.resumption.clone() },
            grace: Duration::from_millis(welcome.grace_ms.into()),
            incarnation: welcome.incarnation.clone(),
        })
    }

    /// What Hello says, of a session in which so many replies have come.
    pub(super) fn hello(&self, received: u64) -> (Resume, u64) {
        (self.resume.clone(), received)
    }

    /// The session may go on over another connection from now on.
    pub(super) fn lose(&self, end: End) -> Lost {
        Lost { end, deadline: Instant::now() + self.grace, attempts: 0, last: None }
    }

    /// Puts the new connection into the place of the lost one, or tells what is to be done otherwise.
    pub(super) fn take_place<Io: AsyncRead + AsyncWrite + Unpin>(
        &self,
        wire: &mut Wire<Io>,
        calls: &Mutex<Calls>,
        attempt: Option<Attempt<Io>>,
    ) -> Result<Next, End> {
        let Some(lost) = &mut wire.lost else { return Ok(Next::GoOn) };
        match attempt {
            Some(Ok(Ok(opened))) => {
                let Opened { wire: mut new, welcome } = opened;
                let kept = wire.outbox.take_kept().map(|(_, kept)| kept).unwrap_or_default();
                new.outbox = holdfast_stream::Outbox::keeping(Sent::new(welcome.calls_received, usize::MAX));
                calls.lock().resend(kept, welcome.calls_received).map_err(End::new)?;
                new.wakes = wire.wakes.clone();
                *wire = new;
                return Ok(Next::GoOn);
            }
            Some(Ok(Err(Over { incarnation }))) => return Err(self.over(lost, incarnation.as_deref())),
            Some(Err(error @ (ConnectError::Authentication(_) | ConnectError::Unproven { .. }))) => {
                let cause = format!("the connection broke ({}), and no other was let in: {error}", lost.end.cause);
                return Err(End::new(cause));
            }
            Some(Err(error)) => lost.last = Some(error.to_string()),
            None => {}
        }
        let now = Instant::now();
        if now >= lost.deadline {
            return Err(self.late(lost));
        }
        let pause = pause_after(lost.attempts);
        lost.attempts += 1;
        Ok(Next::Pause(pause.min(lost.deadline - now)))
    }

    fn over(&self, lost: &Lost, incarnation: Option<&[u8]>) -> End {
        let cause = &lost.end.cause;
        match incarnation {
            Some(other) if other != self.incarnation => End::of_a_life(format!("the connection broke ({cause})")),
            _ => End::new(format!(
                "the connection broke ({cause}), and the session was over when another one resumed it: its grace of {:?} had passed",
                self.grace
            )),
        }
    }

    fn late(&self, lost: &Lost) -> End {
        let (cause, grace) = (&lost.end.cause, self.grace);
        let last = lost.last.as_deref().unwrap_or("the manager did not answer");
        End::new(format!(
            "the connection broke ({cause}), and none took its place within the grace of {grace:?}: {last}"
        ))
    }
}

impl Lost {
    /// Whether nothing has been tried yet: the first attempt is made at once.
    pub(super) fn is_first(&self) -> bool {
        self.attempts == 1
    }

    /// The end of a session that does not go on.
    pub(super) fn end(&self) -> End {
        self.end.clone()
    }
}

/// What is to be done after an attempt.
#[derive(Debug)]
pub(super) enum Next {
    /// The session has a connection.
    GoOn,
    /// Try again after so long.
    Pause(Duration),
}
