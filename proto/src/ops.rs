//! What the rest of the project knows about an op, derived from the `.proto` files.

use alloc::vec::Vec;

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::Buffered;
use crate::datum::{Blob, HasReferences};
use crate::frame::Out;

/// A request message that the session stream carries: which op of which kind it is, and what answers it.
pub trait Request: Message + Written + HasReferences + Default + Send + 'static {
    /// The number of the kind.
    const KIND: u32;
    /// The number of the op within the kind.
    const OP: u32;
    /// Whether the call may wait.
    const WAITS: bool;
    /// `NounService/Method`, for people.
    const NAME: &'static str;
    /// The message that answers it.
    type Response: Message + Readable + HasReferences + Default;
}

/// All ops of one kind, as a closed enum.
pub trait Op: HasReferences + Sized + Clone + core::fmt::Debug + PartialEq + Send + 'static {
    /// The number of the kind.
    const KIND: u32;
    /// All responses of the kind.
    type Reply: Response;

    /// Number and name of every op, by number.
    fn table() -> &'static [(u32, &'static str)];
    /// The number of this op.
    fn number(&self) -> u32;
    /// Reads the request of op number `op`.
    fn decode(op: u32, request: &[u8]) -> Result<Self, Unreadable>;
    /// The same for a request that lies in `buffer`, whose long bytes may share it.
    fn decode_in(op: u32, request: &[u8], buffer: &Bytes) -> Result<Self, Unreadable>;
    /// Appends the request.
    fn encode(&self, into: &mut Vec<u8>);
}

/// All responses of one kind, as a closed enum.
pub trait Response: HasReferences + Clone + core::fmt::Debug + PartialEq + Send + 'static {
    /// The bytes that [`encode`](Self::encode) appends.
    fn encoded_len(&self) -> usize;
    /// Appends the response message.
    fn encode(&self, into: &mut impl Out);
    /// Hands the message over that this is. One look at what it is, and all that is done with it is compiled for it.
    fn write(self, writer: impl Writer);
}

/// A request or response message of one op that is read field by field, as `build.rs` writes it from the `.proto` file.
pub trait Readable: Message + Default {
    /// Reads a message as encoders write it: each field at most once, and in the order of their numbers. `None` says nothing
    /// about it: then prost is to read it.
    fn read(message: &[u8]) -> Option<Self>;

    /// Reads what encoders write at once, and everything else as prost does.
    #[inline]
    fn read_any(message: &[u8]) -> Result<Self, DecodeError> {
        match Self::read(message) {
            Some(read) => Ok(read),
            None => read_slowly(message),
        }
    }

    /// The same for a message that lies in `buffer`, whose long bytes may share it.
    #[inline]
    fn read_in(message: &[u8], buffer: &Bytes) -> Result<Self, DecodeError> {
        if message.len() < Blob::SHARED { Self::read_any(message) } else { read_long(message, buffer) }
    }
}

/// Reads a message that is so long that bytes in it may share the buffer in which it came. That is nothing for
/// [`Readable::read`], which knows of no buffer.
#[inline(never)]
fn read_long<M: Message + Default>(message: &[u8], buffer: &Bytes) -> Result<M, DecodeError> {
    M::decode(Buffered::new(message, buffer))
}

/// Unknown fields, long keys, wrong wire types and everything that is refused: prost says best what is wrong.
#[cold]
fn read_slowly<M: Message + Default>(message: &[u8]) -> Result<M, DecodeError> {
    M::decode(message)
}

/// Something to do with every request and response message of every kind.
#[cfg(test)]
pub(crate) trait VisitMessages {
    fn message<M: Readable + Written + core::fmt::Debug>(&mut self, name: &str);
}

/// A request or response message of one op, written as prost does, to the byte.
pub trait Written {
    /// The bytes that [`put`](Self::put) writes.
    fn written_len(&self) -> usize;
    /// Appends the message. A slice must have the room.
    fn put(&self, out: &mut impl Out);
    /// Drops it: see [`Datum::discard`](crate::Datum::discard).
    fn discard(self);
}

/// What is to be done with a response message.
pub trait Writer {
    /// Does it.
    fn write(self, message: impl Written);
}

/// Why a request could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// The kind has no op with that number.
    #[error("no op with this number")]
    Unknown,
    /// The bytes are not the request message of that op.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}
