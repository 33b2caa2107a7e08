//! What can be asked of an end, without the waiting.

use std::time::Duration;

use holdfast_proto::Datum;
use holdfast_proto::datum::HasReferences;
use serde::Serialize;

use super::PipeError;
use super::end::End;
use crate::codec::{CodecError, to_datum};
use crate::error::Result;

/// One thing that is asked of an end: tried until it is done.
///
/// It is the one place where an end says what it does; who waits, and how, runs it without knowing more.
pub trait Operation: Unpin {
    /// What comes of it.
    type Value;

    /// Does it, if that can be done without waiting. If not, everything that can be read was read, as far as it is waited for.
    #[doc(hidden)]
    fn attempt(&mut self, end: &mut End) -> Result<Option<Self::Value>>;

    /// Whether it waits for a message, and not for room.
    #[doc(hidden)]
    fn is_receiving(&self) -> bool;

    /// Its time is over.
    #[doc(hidden)]
    fn expire(&mut self, end: &mut End, patience: Duration) -> Result<Self::Value>;

    /// Nobody waits for it any more.
    #[doc(hidden)]
    fn abandon(&mut self, _end: &mut End) {}
}

/// Sends a message.
#[derive(Debug)]
pub struct Send(State);

#[derive(Debug)]
enum State {
    /// Another message was sent in part, or the end was not announced yet.
    Waiting(Result<Datum>),
    /// It is the one that is being sent.
    Begun,
    Done,
}

impl Send {
    pub(super) fn new<T: Serialize>(message: &T) -> Self {
        Self(State::Waiting(to_message(message)))
    }
}

/// The datum of a message, in which there is no proxy: who receives it may have no session with a manager.
fn to_message<T: Serialize>(message: &T) -> Result<Datum> {
    let datum = to_datum(message)?;
    let mut has_reference = false;
    datum.visit_references(&mut |_| has_reference = true);
    if has_reference {
        let why = "a proxy does not go through a pipe: pass it as an argument of the process, or send a token of it";
        return Err(CodecError::Invalid(why.into()).into());
    }
    Ok(datum)
}

impl Operation for Send {
    type Value = ();

    fn attempt(&mut self, end: &mut End) -> Result<Option<()>> {
        let mut is_flushed = end.flush()?;
        if is_flushed && let State::Waiting(message) = &mut self.0 {
            let message = std::mem::replace(message, Ok(Datum::Unset));
            self.0 = State::Done;
            end.begin(message?)?;
            self.0 = State::Begun;
            is_flushed = end.flush()?;
        }
        if is_flushed {
            self.0 = State::Done;
            return Ok(Some(()));
        }
        end.look_for_room()?;
        Ok(None)
    }

    fn is_receiving(&self) -> bool {
        false
    }

    fn expire(&mut self, end: &mut End, patience: Duration) -> Result<()> {
        let is_untouched = !matches!(self.0, State::Begun) || end.give_up();
        self.0 = State::Done;
        Err(if is_untouched { PipeError::Full { patience } } else { PipeError::Unfinished { patience } }.into())
    }

    fn abandon(&mut self, end: &mut End) {
        if let State::Begun = self.0 {
            end.give_up();
        }
    }
}

/// Receives a message, or nothing if that takes too long.
#[derive(Debug)]
pub struct Receive<V> {
    /// What is made of it.
    made: fn(Option<Datum>) -> Result<V>,
}

impl<V> Receive<V> {
    pub(super) fn new(made: fn(Option<Datum>) -> Result<V>) -> Self {
        Self { made }
    }
}

impl<V> Operation for Receive<V> {
    type Value = V;

    fn attempt(&mut self, end: &mut End) -> Result<Option<V>> {
        flush_beside(end)?;
        end.take()?.map(|message| (self.made)(Some(message))).transpose()
    }

    fn is_receiving(&self) -> bool {
        true
    }

    fn expire(&mut self, _end: &mut End, _patience: Duration) -> Result<V> {
        (self.made)(None)
    }
}

/// Asks whether something can be received.
#[derive(Debug)]
pub struct LookFor;

impl Operation for LookFor {
    type Value = bool;

    fn attempt(&mut self, end: &mut End) -> Result<Option<bool>> {
        flush_beside(end)?;
        match end.look() {
            Ok(true) | Err(PipeError::Ended | PipeError::Torn | PipeError::TooLarge { .. }) => Ok(Some(true)),
            Ok(false) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn is_receiving(&self) -> bool {
        true
    }

    fn expire(&mut self, _end: &mut End, _patience: Duration) -> Result<bool> {
        Ok(false)
    }
}

/// Sends what was left of another message: who waits for an answer to it would wait for ever. That it cannot be sent any more is
/// not what is asked, and there may still be something to receive.
fn flush_beside(end: &mut End) -> Result<(), PipeError> {
    match end.flush() {
        Ok(_) | Err(PipeError::Closed) => Ok(()),
        Err(error) => Err(error),
    }
}
