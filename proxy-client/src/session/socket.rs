//! A socket of the async library, of either kind.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A socket of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Does the same with either.
macro_rules! either {
    ($socket:expr, $it:ident => $act:expr) => {
        match $socket.get_mut() {
            Socket::Unix(it) => {
                let $it = Pin::new(it);
                $act
            }
            Socket::Tcp(it) => {
                let $it = Pin::new(it);
                $act
            }
        }
    };
}

/// Takes what cannot be written for written when the peer is gone: what it said before that is still to be read, and tells
/// more than the failure to write.
fn unless_gone(written: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
    match written {
        Poll::Ready(Err(error))
            if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
        {
            Poll::Ready(Ok(bytes))
        }
        written => written,
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, it => it.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        unless_gone(either!(self, it => it.poll_write(cx, bytes)), bytes.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers {
            // A small frame is one buffer, and the kernel has less to do for it.
            [buffer] => self.poll_write(cx, buffer),
            _ => {
                let written = either!(self, it => it.poll_write_vectored(cx, buffers));
                unless_gone(written, buffers.iter().map(|buffer| buffer.len()).sum())
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, it => it.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, it => it.poll_shutdown(cx))
    }
}
