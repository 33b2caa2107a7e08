//! What waits to leave.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use holdfast_proto::frame::{Frames as _, Pieces};

use crate::sent::Sent;

/// Frames that wait to leave on a stream.
///
/// h2 would take everything at once and buffer it without bound; this hands it only what flow control and h2's own
/// buffer have room for, so that what a slow peer costs is what the owner lets gather here. Long bytes in a frame are not
/// copied, but shared with whoever else has them, and count here as all others.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: Pieces,
    /// For so many bytes more there was room when h2 was last asked. It can have become less only where the other end has made
    /// its windows smaller, and then h2 keeps what exceeds them, which is no more than [`AHEAD`].
    room: usize,
    /// Where frames may have to be sent again.
    sent: Option<Box<Sent>>,
}

/// A burst of small frames fits; an idle stream keeps no more.
const RESERVE: usize = 4096;

/// Where there is no room for what is to leave, room for so much more is asked for, which many small frames use up one after
/// the other. It is taken from what the other streams of the connection may send, so it is little of the smallest window.
const AHEAD: usize = 4096;

impl Outbox {
    /// One that keeps what it has sent, until it is told that the other end has it. It costs a reference to each piece that
    /// leaves, and no copy.
    #[must_use]
    pub fn keeping(sent: Sent) -> Self {
        Self { sent: Some(Box::new(sent)), ..Self::default() }
    }

    /// All frames up to this number are written by now. Without effect where nothing is kept.
    #[inline]
    pub fn mark(&mut self, number: u64) {
        if let Some(sent) = &mut self.sent {
            sent.mark(number, self.frames.len());
        }
    }

    /// The other end has the frames up to this number. Without effect where nothing is kept.
    #[inline]
    pub fn forget(&mut self, number: u64) {
        if let Some(sent) = &mut self.sent {
            sent.forget(number);
        }
    }

    /// All frames that the other end may not have, those among them that have not been sent: the number of the last one
    /// before them, and their bytes. Frames without a number may be among them. `None` where nothing is kept.
    pub fn take_kept(&mut self) -> Option<(u64, Pieces)> {
        let (forgotten, mut kept) = self.sent.take()?.into_parts();
        kept.append(&mut self.frames);
        Some((forgotten, kept))
    }

    /// Where to append frames.
    pub fn frames(&mut self) -> &mut Pieces {
        // A buffer that starts at nothing would grow three times for one reply.
        if self.frames.room() < RESERVE / 4 {
            self.frames.flat().reserve(RESERVE);
        }
        &mut self.frames
    }

    /// The bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Hands over as much as there is room for. `Ready(Ok)` when nothing waits any more, `Pending` when the peer must
    /// read first.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut SendStream<Bytes>) -> Poll<Result<(), h2::Error>> {
        while !self.frames.is_empty() {
            if self.room < self.frames.len() {
                stream.reserve_capacity(self.frames.len().max(AHEAD));
                self.room = stream.capacity();
            }
            if self.room == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    // What there is now, which may be nothing: h2 tells also of room that has been used since.
                    Some(capacity) => _ = capacity?,
                    // The stream was reset, so nobody waits for these bytes.
                    None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
                }
                continue;
            }
            let part = self.frames.take(self.room);
            self.room = self.room.saturating_sub(part.len()).min(AHEAD);
            if let Some(sent) = &mut self.sent {
                sent.push(part.clone());
            }
            stream.send_data(part, false)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go of memory that a burst took, if nothing waits.
    pub fn shrink(&mut self) {
        if self.frames.is_empty() && self.frames.room() > 4 * RESERVE {
            self.frames.clear();
        }
    }
}
