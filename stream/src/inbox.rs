//! What arrives on a stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Error, RecvStream};
use http::HeaderMap;

/// So much may have been read before the other end is granted room for more. Every window is at least sixteen times as large,
/// and HTTP/2 tells of what was granted when it is half a window; so nobody waits for what is held back here.
const HELD: usize = 4096;

/// The pieces that arrive on a stream.
///
/// Each piece that is read makes room for others, which h2 is told under the lock of the connection. Calls and replies are
/// short, so it is told once for many.
#[derive(Debug)]
pub struct Inbox {
    stream: RecvStream,
    /// Bytes that were read, and of which h2 has not been told.
    held: usize,
}

impl From<RecvStream> for Inbox {
    fn from(stream: RecvStream) -> Self {
        Self { stream, held: 0 }
    }
}

impl Inbox {
    /// The next piece, which is read once this returns it. `None` when nothing more comes but trailers.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let read = ready!(self.stream.poll_data(cx));
        if let Some(Ok(piece)) = &read {
            self.held += piece.len();
            if self.held >= HELD {
                // An error means that the stream is reset, which the next poll tells.
                let _ = self.stream.flow_control().release_capacity(std::mem::take(&mut self.held));
            }
        }
        Poll::Ready(read)
    }

    /// What is said after the last piece.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Error>> {
        self.stream.poll_trailers(cx)
    }
}
