//! What waits to leave.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;

/// Frames that wait to leave on a stream.
///
/// h2 would take everything at once and buffer it without bound; this hands it only what flow control and h2's own
/// buffer have room for, so that what a slow peer costs is what the owner lets gather here.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: BytesMut,
}

/// A burst of small frames fits; an idle stream keeps no more.
const RESERVE: usize = 4096;

impl Outbox {
    /// Where to append frames.
    pub fn frames(&mut self) -> &mut BytesMut {
        // A buffer that starts at nothing would grow three times for one reply.
        if self.frames.capacity() - self.frames.len() < RESERVE / 4 {
            self.frames.reserve(RESERVE);
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
            stream.reserve_capacity(self.frames.len());
            let mut capacity = stream.capacity();
            if capacity == 0 {
                capacity = match ready!(stream.poll_capacity(cx)) {
                    Some(capacity) => capacity?,
                    // The stream was reset, so nobody waits for these bytes.
                    None => return Poll::Ready(Err(h2::Reason::STREAM_CLOSED.into())),
                };
            }
            let part = self.frames.split_to(capacity.min(self.frames.len()));
            stream.send_data(part.freeze(), false)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go of memory that a burst took, if nothing waits.
    pub fn shrink(&mut self) {
        if self.frames.is_empty() && self.frames.capacity() > 4 * RESERVE {
            self.frames = BytesMut::new();
        }
    }
}
