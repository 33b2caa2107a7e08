//! A socket as h2 sees it when a thread drives the session: reads give what the thread has read before, writes never wait.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::owner::Owner;

/// The half of the socket that belongs to h2. Dropping it tells the peer that nothing more will come.
#[derive(Debug)]
pub(super) struct PipeIo {
    pipe: Arc<Pipe>,
    owner: Owner,
}

/// What the thread and h2 share.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) socket: OwnedFd,
    state: Mutex<State>,
    /// The socket took less than h2 had for it. Written under the lock that h2 is driven under.
    is_full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// What was read and h2 has not taken, from `at` on.
    inbound: Vec<u8>,
    at: usize,
    /// The peer has closed its half, or reading failed.
    end: Option<io::ErrorKind>,
    closed: bool,
}

impl Pipe {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, state: Mutex::default(), is_full: AtomicBool::new(false) }
    }

    /// Gives h2 what was read; nothing means that the peer has closed.
    pub(super) fn feed(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        if bytes.is_empty() {
            state.closed = true;
        }
        let at = state.at;
        state.inbound.drain(..at);
        state.at = 0;
        state.inbound.extend_from_slice(bytes);
    }

    /// Tells h2 that nothing more can be read.
    pub(super) fn fail(&self, kind: io::ErrorKind) {
        self.state.lock().end = Some(kind);
    }

    /// Nothing more comes or goes: whoever waits for the socket is woken.
    pub(super) fn give_up(&self) {
        self.is_full.store(false, Ordering::Relaxed);
        // An error means that the peer is gone.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Whether something waits until the socket takes more.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn write(&self, buffers: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            // A small frame is one buffer, and the kernel has less to do for it.
            let sent = match buffers {
                [buffer] => send(&self.socket, buffer, flags),
                _ => sendmsg(&self.socket, buffers, &mut SendAncillaryBuffer::default(), flags),
            };
            match sent {
                Ok(sent) => {
                    self.is_full.store(false, Ordering::Relaxed);
                    return Poll::Ready(Ok(sent));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.is_full.store(true, Ordering::Relaxed);
                    return Poll::Pending;
                }
                // The peer is gone. What it said before that is still to be read, and tells more than this.
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    self.is_full.store(false, Ordering::Relaxed);
                    return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
                }
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }
}

impl PipeIo {
    pub(super) fn new(pipe: Arc<Pipe>) -> Self {
        Self { pipe, owner: Owner::this() }
    }
}

impl Drop for PipeIo {
    fn drop(&mut self) {
        if !self.owner.is_elsewhere() {
            // An error means that the peer is gone.
            let _ = shutdown(&self.pipe.socket, Shutdown::Write);
        }
    }
}

impl AsyncRead for PipeIo {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.pipe.state.lock();
        let rest = &state.inbound[state.at..];
        if rest.is_empty() {
            return match state.end {
                Some(kind) => Poll::Ready(Err(kind.into())),
                None if state.closed => Poll::Ready(Ok(())),
                None => Poll::Pending,
            };
        }
        let part = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..part]);
        state.at += part;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeIo {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pipe.write(&[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pipe.write(buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&self.pipe.socket, Shutdown::Write).map_err(Into::into))
    }
}
