//! What has come and was not received yet.

use std::os::fd::OwnedFd;

use holdfast_proto::Datum;
use prost::Message;

use super::PipeError;
use super::frame::{HEADER_BYTES, Header};
use crate::codec::CodecError;
use crate::error::Result;

/// There is room for so much at least whenever something is read.
pub(super) const READ_BYTES: usize = 16 << 10;

/// What a large message took beyond this is given back.
const KEPT_BYTES: usize = 256 << 10;

/// Bytes that have come, cut into messages where they lie.
///
/// - `from <= to <= buffer.len()`; what has come and was not received is `from..to`, and `from` is where a frame begins.
/// - Every frame that begins before `scanned` is known, and what it says of the other end was told; `scanned` is where the next
///   one begins, which may not have come yet. So the news of a process is never late because a message lies before it.
/// - Room is made for what comes, and never for more than as much again: a length that is only announced takes no memory.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    scanned: usize,
    /// A pidfd that came along, until the frame that it belongs to is scanned, which has come as a whole with it or will come.
    arrived: Option<OwnedFd>,
}

/// What the other end says of itself.
#[derive(Debug)]
pub(super) enum News {
    /// It is that of this process.
    Held(OwnedFd),
    /// Nobody who can be watched has it.
    Released,
}

impl Inbound {
    /// One that begins with what another process has read before.
    pub(super) fn after(read: Vec<u8>) -> Self {
        Self { to: read.len(), buffer: read, ..Self::default() }
    }

    /// How much has come and was not received.
    pub(super) fn len(&self) -> usize {
        self.to - self.from
    }

    /// Room for what is to be read next, never none.
    pub(super) fn room(&mut self) -> Result<&mut [u8], PipeError> {
        if self.from == self.to {
            (self.from, self.to, self.scanned) = (0, 0, 0);
            if self.buffer.len() > KEPT_BYTES {
                self.buffer = Vec::new();
            }
        }
        let missing = match self.front()? {
            Some(header) => header.frame_bytes().saturating_sub(self.len()),
            None => 0,
        };
        let wanted = missing.min(self.len()).max(READ_BYTES);
        if self.buffer.len() - self.to < wanted.min(missing.max(1)) {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.to, self.scanned) = (self.len(), self.scanned - self.from);
            self.from = 0;
            self.buffer.resize((self.to + wanted).max(self.buffer.len()), 0);
        }
        Ok(&mut self.buffer[self.to..])
    }

    /// So many bytes were read into the room, and perhaps a pidfd came along.
    pub(super) fn came(&mut self, bytes: usize, pidfd: Option<OwnedFd>) {
        self.to += bytes;
        if pidfd.is_some() {
            self.arrived = pidfd;
        }
    }

    /// The next that the other end says of itself, among what has come.
    pub(super) fn next_news(&mut self) -> Result<Option<News>, PipeError> {
        while self.scanned < self.to {
            let Some(header) = Header::read(&self.buffer[self.scanned..self.to])? else { break };
            self.scanned += header.frame_bytes();
            match header {
                Header::Message(_) => {}
                Header::Released => return Ok(Some(News::Released)),
                // Without one, this process could not have another descriptor.
                Header::Held => return Ok(Some(self.arrived.take().map_or(News::Released, News::Held))),
            }
        }
        Ok(None)
    }

    /// Whether a whole message is there.
    pub(super) fn has_message(&mut self) -> Result<bool, PipeError> {
        Ok(self.message()?.is_some())
    }

    /// The next message. One that is not data is gone.
    pub(super) fn take(&mut self) -> Result<Option<Datum>> {
        let Some(bytes) = self.message()? else { return Ok(None) };
        let begin = self.from + HEADER_BYTES;
        let read = Datum::decode(&self.buffer[begin..begin + bytes]);
        self.from = begin + bytes;
        let unreadable = |why: String| CodecError::Invalid(format!("what came through the pipe: {why}").into());
        let datum = read.map_err(|error| unreadable(error.to_string()))?;
        datum.check().map_err(|invalid| unreadable(invalid.to_string()))?;
        Ok(Some(datum))
    }

    /// Whether a message has begun to come.
    pub(super) fn has_part(&self) -> bool {
        self.len() > 0
    }

    /// The length of the message at the front, if all of it is there. What is before it is let go.
    fn message(&mut self) -> Result<Option<usize>, PipeError> {
        loop {
            match self.front()? {
                Some(Header::Message(bytes)) if HEADER_BYTES + bytes <= self.len() => return Ok(Some(bytes)),
                Some(Header::Held | Header::Released) => self.from += HEADER_BYTES,
                Some(Header::Message(_)) | None => return Ok(None),
            }
        }
    }

    fn front(&self) -> Result<Option<Header>, PipeError> {
        Header::read(&self.buffer[self.from..self.to])
    }

    /// How many bytes are missing of a header of which some have come.
    pub(super) fn cut_header(&self) -> Option<usize> {
        // Past the end where a message has not come as a whole.
        let part = self.to.checked_sub(self.scanned)?;
        (1..HEADER_BYTES).contains(&part).then(|| HEADER_BYTES - part)
    }

    /// What another process is to begin with: all that has come and is a message, or a part of one.
    pub(super) fn unread(&self) -> Result<Vec<u8>, PipeError> {
        let (mut unread, mut at) = (Vec::new(), self.from);
        while let Some(header) = Header::read(&self.buffer[at.min(self.to)..self.to])? {
            let end = at + header.frame_bytes();
            if let Header::Message(_) = header {
                unread.extend_from_slice(&self.buffer[at..end.min(self.to)]);
            }
            at = end;
        }
        Ok(unread)
    }
}
