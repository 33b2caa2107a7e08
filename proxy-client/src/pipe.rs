//! Pipes: messages between two processes, past the manager.
//!
//! Python's `multiprocessing.Pipe`. A pipe has two ends; what one sends the other receives, in order, each message as a whole.
//! The two processes talk over a Unix socket of their own, so a message is one write and one read, and the manager is not
//! needed.
//!
//! ```
//! # fn main() -> holdfast::Result<()> {
//! use holdfast::blocking::{Connection, Pipe};
//!
//! // What this end sends is what the other one receives, and the other way round.
//! let (mut ours, mut theirs): (Connection<(i64, i64), i64>, _) = Pipe::new()?;
//! ours.send(&(2, 3))?;
//! let (x, y) = theirs.recv()?;
//! theirs.send(&(x + y))?;
//! assert_eq!(ours.recv()?, 5);
//!
//! theirs.close();
//! assert!(ours.recv().is_err_and(|error| error.is_end_of_file()));
//! # Ok(())
//! # }
//! ```
//!
//! # Which process has an end
//!
//! The process that made the pipe has both ends, until it passes one as an argument of a process that it starts. That *moves* the
//! end: the parent has it no more. So the other end sees the end of the pipe when the child is gone, and not, as in Python, only
//! when nobody has forgotten to close his copy.
//!
//! # The end of a pipe
//!
//! [`recv`](Connection::recv) gives [`PipeError::Ended`] once everything is received that was sent, when the other end was
//! closed or dropped, or when its process is gone, however that ended. On Linux that holds also if some other process has a copy
//! of the end, which it gets when it is forked without exec; such a copy can do nothing.

mod end;
mod error;
mod frame;
mod inbound;
mod operation;
mod outbound;
mod passing;
mod peer;
mod polling;
mod tasks;
#[cfg(test)]
mod tests;
mod threads;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::PipeError;
#[doc(hidden)]
pub use operation::{LookFor, Operation, Receive, Send};
#[doc(hidden)]
pub use tasks::Transfer;

use crate::codec::from_datum;
use crate::error::Result;
use crate::session::Mode;
use crate::session::tasks::Async;
use crate::session::threads::Blocking;
use end::End;

/// The largest message that goes through a pipe, as it is sent: 256 MiB.
///
/// The other process gives it memory as it comes; without a bound a wrong length would take all that there is.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// How an end of a pipe is waited for: the difference between the async and the blocking library, and the only one.
pub trait Waiting: Mode {
    /// What is kept from one wait to the next.
    #[doc(hidden)]
    type Watch: Default + fmt::Debug + std::marker::Send + Sync;

    /// What a call gives: a future in the async library, the result itself in the blocking one.
    type Transfer<'a, O: Operation + 'a>;

    /// Runs an operation, for as long as it takes or until its patience is over.
    #[doc(hidden)]
    fn transfer<'a, O: Operation + 'a>(
        held: Result<&'a mut Held<Self>>,
        patience: Option<Duration>,
        operation: O,
    ) -> Self::Transfer<'a, O>;
}

/// An end with what it takes to wait for it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Held<M: Waiting> {
    // Dropped first: it has the descriptors of the end.
    watch: M::Watch,
    end: End,
}

/// The two ends of a pipe.
pub type Ends<S, R, M> = (Connection<S, R, M>, Connection<R, S, M>);

/// Makes pipes: [`new`](Self::new) and [`one_way`](Self::one_way).
#[derive(Debug)]
pub struct Pipe<M>(PhantomData<M>);

impl<M: Waiting> Pipe<M> {
    /// A pipe whose ends both send and receive: Python's `Pipe()`. What one sends is of the type that the other receives.
    ///
    /// Fails with [`PipeError::System`] if the process may not have two more files.
    #[expect(clippy::new_ret_no_self, reason = "Python's name; a pipe is its two ends")]
    pub fn new<S, R>() -> Result<Ends<S, R, M>> {
        let (first, second) = End::pair()?;
        Ok((Connection::of(first), Connection::of(second)))
    }

    /// A pipe of one direction: Python's `Pipe(duplex=False)`, whose first end is the one that receives.
    ///
    /// Fails as [`new`](Self::new) does.
    pub fn one_way<T>() -> Result<(Receiver<T, M>, Sender<T, M>)> {
        let (first, second) = End::pair()?;
        Ok((Receiver::of(first), Sender::of(second)))
    }
}

/// The end of a pipe that both sends and receives: messages of type `S` go out, those of type `R` come in.
///
/// It is one thread's or task's at a time. Dropping it closes it. As an argument of a process it is passed on.
pub struct Connection<S, R, M: Waiting> {
    place: Place<M>,
    messages: PhantomData<fn(S) -> R>,
}

/// The end of a pipe that sends.
///
/// It is one thread's or task's at a time. Dropping it closes it. As an argument of a process it is passed on.
pub struct Sender<T, M: Waiting> {
    place: Place<M>,
    messages: PhantomData<fn(T)>,
}

/// The end of a pipe that receives.
///
/// It is one thread's or task's at a time. Dropping it closes it. As an argument of a process it is passed on.
pub struct Receiver<T, M: Waiting> {
    place: Place<M>,
    messages: PhantomData<fn() -> T>,
}

/// Where an end is, until it is passed on: while it is written as an argument, which has it behind a shared reference.
struct Place<M: Waiting>(Mutex<Option<Box<Held<M>>>>);

impl<M: Waiting> Place<M> {
    fn of(end: End) -> Self {
        Self(Mutex::new(Some(Box::new(Held { watch: M::Watch::default(), end }))))
    }

    fn run<O: Operation>(&mut self, patience: Option<Duration>, operation: O) -> M::Transfer<'_, O> {
        let held = self.0.get_mut().as_deref_mut().ok_or(PipeError::Passed);
        let usable = held.and_then(|held| held.end.check().map(|()| held));
        M::transfer(usable.map_err(Into::into), patience, operation)
    }

    fn into_mode<N: Waiting>(self) -> Place<N> {
        Place(Mutex::new(self.0.into_inner().map(|held| Box::new(Held { watch: N::Watch::default(), end: held.end }))))
    }
}

/// The methods of ends that send, and of those that receive, are the same.
macro_rules! end {
    ($End:ident<$($T:ident),+>) => {
        impl<$($T,)+ M: Waiting> $End<$($T,)+ M> {
            fn of(end: End) -> Self {
                Self::at(Place::of(end))
            }

            fn at(place: Place<M>) -> Self {
                Self { place, messages: PhantomData }
            }

            /// Closes the end, as dropping it does: Python's `close()`. Does not wait.
            ///
            /// What was sent can still be received; then the other end is told that this was all, whoever has copies of this one.
            pub fn close(self) {}
        }

        impl<$($T),+> $End<$($T,)+ Async> {
            /// The same end for the blocking library. Nothing is lost.
            #[must_use]
            pub fn into_blocking(self) -> $End<$($T,)+ Blocking> {
                $End::at(self.place.into_mode())
            }
        }

        impl<$($T),+> $End<$($T,)+ Blocking> {
            /// The same end for the async library, in whatever runtime first waits for it. Nothing is lost.
            #[must_use]
            pub fn into_async(self) -> $End<$($T,)+ Async> {
                $End::at(self.place.into_mode())
            }
        }

        impl<$($T,)+ M: Waiting> fmt::Debug for $End<$($T,)+ M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($End)).finish_non_exhaustive()
            }
        }
    };
}

macro_rules! sends {
    ($End:ident<$($T:ident),+>, $S:ident) => {
        impl<$($T,)+ M: Waiting> $End<$($T,)+ M>
        where
            $S: Serialize,
        {
            /// Sends a message: Python's `send()`. It waits, as long as it takes, while the other end does not receive and what was
            /// sent before fills the pipe (about 200 KB); two processes that both send much and receive nothing wait for ever.
            ///
            /// Whether the other process ever receives it is not known. Fails with [`PipeError::Closed`] if the other end was
            /// closed or its process is gone, with [`PipeError::TooLarge`] above [`MAX_MESSAGE_BYTES`], and with
            /// [`Error::Codec`](crate::Error::Codec) if it is no data, or has a proxy or an end of a pipe in it; nothing was sent
            /// then.
            ///
            /// An async call that is dropped gives up: nothing is sent, unless a part was; then the rest goes with the next call
            /// on this end.
            pub fn send(&mut self, message: &$S) -> M::Transfer<'_, Send> {
                self.place.run(None, Send::new(message))
            }

            /// The same, but waits no longer than `patience`; zero is not at all.
            ///
            /// Fails with [`PipeError::Full`] if nothing was sent in time, and with [`PipeError::Unfinished`] if a part was:
            /// the rest goes with the next call on this end.
            pub fn send_within(&mut self, message: &$S, patience: Duration) -> M::Transfer<'_, Send> {
                self.place.run(Some(patience), Send::new(message))
            }
        }
    };
}

macro_rules! receives {
    ($End:ident<$($T:ident),+>, $R:ident) => {
        impl<$($T,)+ M: Waiting> $End<$($T,)+ M>
        where
            $R: DeserializeOwned,
        {
            /// Receives a message, and waits for one as long as it takes: Python's `recv()`.
            ///
            /// Fails with [`PipeError::Ended`], which [`is_end_of_file`](crate::Error::is_end_of_file) tells, once everything is
            /// received and the other end was closed or its process is gone; with [`PipeError::Torn`] if that happened in the
            /// middle of a message; and with [`Error::Codec`](crate::Error::Codec) if the message is of another type, which is
            /// gone then.
            ///
            /// An async call that is dropped has received nothing: the message stays for the next.
            pub fn recv(&mut self) -> M::Transfer<'_, Receive<$R>> {
                self.place.run(None, Receive::new(|message| Ok(from_datum(message.unwrap_or_default())?)))
            }

            /// The same, but waits no longer than `patience`; zero is not at all. `None` if nothing came in time.
            pub fn recv_within(&mut self, patience: Duration) -> M::Transfer<'_, Receive<Option<$R>>> {
                self.place.run(Some(patience), Receive::new(|message| Ok(message.map(from_datum).transpose()?)))
            }

            /// Whether [`recv`](Self::recv) would not wait, after waiting for that no longer than `patience`: Python's `poll()`.
            /// True at the end of the pipe too, as in Python.
            pub fn poll(&mut self, patience: Duration) -> M::Transfer<'_, LookFor> {
                self.place.run(Some(patience), LookFor)
            }
        }

        impl<$($T),+> $End<$($T,)+ Blocking>
        where
            $R: DeserializeOwned,
        {
            /// The messages that come, until the pipe has ended; waits for each as [`recv`](Self::recv) does, and gives its other
            /// errors.
            pub fn iter(&mut self) -> impl Iterator<Item = Result<$R>> {
                std::iter::from_fn(|| Some(self.recv()).filter(|received| !matches!(received, Err(error) if error.is_end_of_file())))
            }
        }
    };
}

end!(Connection<S, R>);
end!(Sender<T>);
end!(Receiver<T>);
sends!(Connection<S, R>, S);
sends!(Sender<T>, T);
receives!(Connection<S, R>, R);
receives!(Receiver<T>, T);
