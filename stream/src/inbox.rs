//! What arrives on a stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Error, RecvStream};
use http::HeaderMap;

/// So much may have been read, and a [`SHARE`] of the stream's window at most, before the other end is granted room for more.
const HELD: usize = 4096;

/// HTTP/2 tells of what was granted when it is half a window. So of a window that is used up half a window less what is held
/// back here is told at last, and nobody waits for that.
const SHARE: usize = 4;

/// The pieces that arrive on a stream.
///
/// Each piece that is read makes room for others, which h2 is told under the lock of the connection. Calls and replies are
/// short, so it is told once for many.
#[derive(Debug)]
pub struct Inbox {
    stream: RecvStream,
    /// Bytes that were read, and of which h2 has not been told: fewer than `most`.
    held: usize,
    most: usize,
}

impl From<RecvStream> for Inbox {
    /// What the window has room for now is taken for its size, which it is if nothing has come yet.
    fn from(mut stream: RecvStream) -> Self {
        let window = usize::try_from(stream.flow_control().available_capacity()).unwrap_or_default();
        Self { stream, held: 0, most: HELD.min(window / SHARE) }
    }
}

impl Inbox {
    /// The next piece, which is read once this returns it. `None` when nothing more comes but trailers.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let read = ready!(self.stream.poll_data(cx));
        if let Some(Ok(piece)) = &read {
            self.held += piece.len();
            if self.held >= self.most {
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
