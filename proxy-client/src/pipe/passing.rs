//! Ends as arguments of a process, which moves them there.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::OwnedFd;

use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::{End, Passed};
use super::{Connection, Place, Receiver, Sender, Waiting};
use crate::process::descriptors;

/// What an end is in the data of arguments.
const NAME: &str = "$holdfast::Pipe";

/// A descriptor that can be given away once.
struct Given<F>(RefCell<Option<F>>);

impl<F: FnOnce() -> Result<OwnedFd, String>> Given<F> {
    fn new(give: F) -> Self {
        Self(RefCell::new(Some(give)))
    }
}

impl<F: FnOnce() -> Result<OwnedFd, String>> Serialize for Given<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let give = || self.0.take().ok_or("it was given away before")?();
        descriptors::serialize(give, serializer)
    }
}

/// Bytes, as bytes.
struct Unread<'a>(&'a [u8]);

impl Serialize for Unread<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<M: Waiting> Place<M> {
    fn serialize<S: Serializer>(&self, serializer: S, sort: &'static str) -> Result<S::Ok, S::Error> {
        let rest = RefCell::new(None);
        let mut written = serializer.serialize_struct(NAME, 4)?;
        written.serialize_field("end", sort)?;
        // It is let go of when it is certain that a process is there to take it.
        written.serialize_field(
            "socket",
            &Given::new(|| {
                let Passed { socket, peer, unread } = self.pass()?;
                *rest.borrow_mut() = Some((peer, unread));
                Ok(socket)
            }),
        )?;
        let (peer, unread) = rest.into_inner().unwrap_or_default();
        written.serialize_field("peer", &peer.map(|pidfd| Given::new(|| Ok(pidfd))))?;
        written.serialize_field("unread", &Unread(&unread))?;
        written.end()
    }

    fn pass(&self) -> Result<Passed, String> {
        let mut place = self.0.lock();
        let held = place.as_mut().ok_or("it was passed to another process before, which has it now")?;
        let passed = held.end.pass()?;
        *place = None;
        Ok(passed)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D, sort: &'static str) -> Result<Self, D::Error> {
        let Written { end, socket, peer, unread } = Written::deserialize(deserializer)?;
        if end != sort {
            return Err(D::Error::custom(format_args!("expected the {sort} of a pipe, found its {end}")));
        }
        Ok(Self::of(End::take_up(Passed { socket: socket.0, peer: peer.map(|pidfd| pidfd.0), unread: unread.0 })))
    }
}

#[derive(Deserialize)]
struct Written {
    end: String,
    socket: Taken,
    peer: Option<Taken>,
    unread: Bytes,
}

/// A descriptor that is taken up.
struct Taken(OwnedFd);

impl<'de> Deserialize<'de> for Taken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        descriptors::deserialize(deserializer).map(Self)
    }
}

/// Bytes, from bytes.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl serde::de::Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }
}

macro_rules! passes {
    ($End:ident<$($T:ident),+>) => {
        /// Passes the end to a process that is started with it as an argument; elsewhere it is an error, and the end stays.
        impl<$($T,)+ M: Waiting> Serialize for $End<$($T,)+ M> {
            fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
                self.place.serialize(serializer, stringify!($End))
            }
        }

        /// Takes up an end that was passed to this process as an argument.
        impl<'de, $($T,)+ M: Waiting> Deserialize<'de> for $End<$($T,)+ M> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Place::deserialize(deserializer, stringify!($End)).map(Self::at)
            }
        }
    };
}

passes!(Connection<S, R>);
passes!(Sender<T>);
passes!(Receiver<T>);
