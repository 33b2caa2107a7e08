//! Cuts what arrives into messages.

use core::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{Broken, PREFIX};

/// Where the next message lies.
enum Place {
    Chunk(Range<usize>),
    Joined,
}

/// Cuts the bytes of a stream into messages, wherever the chunks in which they arrive begin and end.
///
/// A message that lies whole in one chunk is not copied. At most one incomplete message is kept, and never more of it
/// than the limit: a length is refused before anything is allocated for it.
#[derive(Debug)]
pub struct Deframer {
    /// The largest message that is accepted.
    limit: usize,
    /// What arrived last, up to `at` already cut.
    chunk: Bytes,
    at: usize,
    /// The beginning, with its prefix, of a message whose end has not arrived.
    partial: BytesMut,
    /// The message that `partial` became.
    joined: Bytes,
    /// What makes of the buffer of a joined message what can be shared.
    share: fn(BytesMut) -> Bytes,
}

impl Deframer {
    /// For messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (chunk, partial, joined) = (Bytes::new(), BytesMut::new(), Bytes::new());
        Self { limit, chunk, at: 0, partial, joined, share: BytesMut::freeze }
    }

    /// The buffers of messages that came in several chunks are shared by means of this, for one who wants to know of their end.
    #[must_use]
    pub fn sharing(mut self, share: fn(BytesMut) -> Bytes) -> Self {
        self.share = share;
        self
    }

    /// Accepts messages of at most `limit` bytes from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Adds what arrived. The chunk before must have been used up: `next` has returned `None`.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert_eq!(self.at, self.chunk.len(), "the chunk before is used up");
        self.chunk = chunk;
        self.at = 0;
    }

    /// Whether `next` must be called before anything can be pushed.
    #[must_use]
    pub fn has_rest(&self) -> bool {
        self.at < self.chunk.len()
    }

    /// Whether an incomplete message is waiting for its end.
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        !self.partial.is_empty() || self.has_rest()
    }

    /// The next whole message, without its prefix, or `None` if more must arrive first.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        Ok(self.next_in_buffer()?.map(|(message, _)| message))
    }

    /// As [`next`](Self::next), together with the buffer in which it lies, for one who may keep a part of it
    /// ([`Bytes::slice_ref`]).
    #[inline]
    pub fn next_in_buffer(&mut self) -> Result<Option<(&[u8], &Bytes)>, Broken> {
        Ok(match self.cut()? {
            Some(Place::Chunk(range)) => Some((&self.chunk[range], &self.chunk)),
            Some(Place::Joined) => Some((&self.joined[PREFIX..], &self.joined)),
            None => None,
        })
    }

    /// As [`next`](Self::next), together with the buffer in which it lies if there is nothing else in it: for one who keeps a
    /// part of it for long.
    #[inline]
    #[expect(clippy::type_complexity, reason = "a name would say no more than the two parts do")]
    pub fn next_in_own_buffer(&mut self) -> Result<Option<(&[u8], Option<&Bytes>)>, Broken> {
        Ok(match self.cut()? {
            Some(Place::Chunk(range)) => Some((&self.chunk[range], None)),
            Some(Place::Joined) => Some((&self.joined[PREFIX..], Some(&self.joined))),
            None => None,
        })
    }

    /// As [`next`](Self::next), for one who keeps the message.
    pub fn next_shared(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(match self.cut()? {
            Some(Place::Chunk(range)) => Some(self.chunk.slice(range)),
            Some(Place::Joined) => Some(self.joined.split_off(PREFIX)),
            None => None,
        })
    }

    #[inline]
    fn cut(&mut self) -> Result<Option<Place>, Broken> {
        if self.partial.is_empty() {
            // Nothing has been pushed since this last said so.
            if self.chunk.is_empty() && self.joined.is_empty() {
                return Ok(None);
            }
            let rest = &self.chunk[self.at..];
            if let Some(len) = self.message_len(rest)?
                && rest.len() >= PREFIX + len
            {
                let begin = self.at + PREFIX;
                self.at = begin + len;
                return Ok(Some(Place::Chunk(begin..begin + len)));
            }
        }
        self.cut_end()
    }

    /// Where no whole message lies in the chunk: keeps what is left of it, or goes on with what was kept.
    #[inline(never)]
    fn cut_end(&mut self) -> Result<Option<Place>, Broken> {
        if !self.partial.is_empty() {
            return self.join();
        }
        if self.has_rest() {
            self.partial.extend_from_slice(&self.chunk[self.at..]);
        }
        // A chunk that is used up is let go, so that an idle stream keeps no buffer.
        self.chunk = Bytes::new();
        if !self.joined.is_empty() {
            self.joined = Bytes::new();
        }
        self.at = 0;
        Ok(None)
    }

    /// Goes on with the incomplete message.
    fn join(&mut self) -> Result<Option<Place>, Broken> {
        if self.partial.len() < PREFIX {
            self.take(PREFIX - self.partial.len());
        }
        let Some(len) = self.message_len(&self.partial)? else { return Ok(None) };
        let missing = PREFIX + len - self.partial.len();
        self.partial.reserve(missing);
        self.take(missing);
        if self.partial.len() < PREFIX + len {
            return Ok(None);
        }
        self.joined = (self.share)(core::mem::take(&mut self.partial));
        Ok(Some(Place::Joined))
    }

    /// Moves up to `len` bytes from the chunk to the incomplete message.
    fn take(&mut self, len: usize) {
        let end = self.chunk.len().min(self.at + len);
        self.partial.extend_from_slice(&self.chunk[self.at..end]);
        self.at = end;
    }

    /// The length of the message that begins here, if enough of it is here to tell.
    fn message_len(&self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        let [compressed, a, b, c, d, ..] = *bytes else { return Ok(None) };
        if compressed != 0 {
            return Err(Broken::Compressed);
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > self.limit {
            return Err(Broken::TooLarge { bytes: len, limit: self.limit });
        }
        Ok(Some(len))
    }
}
