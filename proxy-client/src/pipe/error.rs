//! What can go wrong with a pipe.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::MAX_MESSAGE_BYTES;

/// A pipe did not do what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// The other end was closed, or its process is gone, and all that it sent has been received: Python's `EOFError`.
    #[error("the pipe has ended: its other end was closed or its process is gone, and all that was sent is received")]
    Ended,
    /// The other end was closed, or its process is gone: Python's `BrokenPipeError`. The message was not received.
    #[error("the message was not sent: the other end of the pipe was closed or its process is gone; make another pipe")]
    Closed,
    /// The other end was closed in the middle of a message, or its process was killed. What came of the message is dropped.
    #[error(
        "the other end of the pipe was closed, or its process ended, in the middle of a message, which is lost: look why \
         that process ended"
    )]
    Torn,
    /// The message is larger than a pipe takes. To be sent: nothing of it was sent, and the pipe is as it was. To be received:
    /// the other end is no pipe of this library, and everything that it sends from now on is lost.
    #[error(
        "a message of {bytes} bytes does not go through a pipe, which takes {MAX_MESSAGE_BYTES}: send it in pieces"
    )]
    TooLarge {
        /// How large it is, as it would be sent.
        bytes: usize,
    },
    /// There was no room in time, since the other end does not read. Nothing was sent.
    #[error(
        "nothing was sent within {patience:?}: the pipe is full, since its other end does not receive; send it again later"
    )]
    Full {
        /// How long it was waited for.
        patience: Duration,
    },
    /// A part of the message was sent, and no room for the rest was there in time. The rest goes with the next call.
    #[error(
        "only a part of the message was sent within {patience:?}, since the other end does not receive; the rest goes with \
         the next call on this end: do not send it again"
    )]
    Unfinished {
        /// How long it was waited for.
        patience: Duration,
    },
    /// This process is a fork of the one that has the end.
    #[error(
        "this end of a pipe belongs to the process of which this one is a fork: pass it as an argument of a Process"
    )]
    Forked,
    /// The end was passed to another process, as an argument.
    #[error("this end of a pipe was passed to another process, which has it now: make another pipe")]
    Passed,
    /// The system refused.
    #[error("the system does not let the pipe work: {0}")]
    System(String),
}

impl From<Errno> for PipeError {
    #[cold]
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<io::Error> for PipeError {
    #[cold]
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}
