//! A socket of the async library, of either kind.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use holdfast_stream::UnixSocket;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What is read at once beside tokio. Replies to calls that are made one after the other are short.
const READ_BYTES: usize = 4096;

/// A socket of either kind.
#[derive(Debug)]
pub(super) struct Socket(Arc<Mutex<Inner>>);

/// Looks whether something can be read from a socket, beside whoever reads it.
///
/// tokio learns of it only when its runtime asks the system, which it does not while a task of it runs. So what was seen here
/// is read here, too. tokio's own idea of the socket is left as it is: it is told later, and then finds nothing.
#[derive(Debug)]
pub(super) struct Lookout(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    /// Something can be read that tokio may not know of.
    has_come: bool,
}

#[derive(Debug)]
enum Stream {
    Unix(UnixSocket),
    Tcp(TcpStream),
}

/// Does the same with either.
macro_rules! either {
    ($socket:expr, $it:ident => $act:expr) => {
        match &mut $socket.0.lock().stream {
            Stream::Unix(it) => {
                let $it = Pin::new(it);
                $act
            }
            Stream::Tcp(it) => {
                let $it = Pin::new(it);
                $act
            }
        }
    };
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::new(Stream::Unix(stream.into()))
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::new(Stream::Tcp(stream))
    }
}

impl Socket {
    fn new(stream: Stream) -> Self {
        Self(Arc::new(Mutex::new(Inner { stream, has_come: false })))
    }

    pub(super) fn lookout(&self) -> Lookout {
        Lookout(self.0.clone())
    }
}

impl Lookout {
    /// Whether something can be read now, be it the end.
    pub(super) fn look(&self) -> bool {
        let mut inner = self.0.lock();
        if !inner.has_come {
            let looked = inner.recv(&mut [0], RecvFlags::PEEK);
            inner.has_come = !matches!(looked, Err(Errno::AGAIN | Errno::INTR));
        }
        inner.has_come
    }
}

impl Inner {
    fn recv(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        match &self.stream {
            Stream::Unix(stream) => stream.recv_now(buffer, flags),
            Stream::Tcp(stream) => recv(stream, buffer, flags | RecvFlags::DONTWAIT).map(|(read, _)| read),
        }
    }

    /// Reads what was seen to have come. `None` if it is gone.
    fn read_seen(&mut self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let part = buffer.remaining().min(READ_BYTES);
        match self.recv(buffer.initialize_unfilled_to(part), RecvFlags::empty()) {
            Ok(read) => {
                buffer.advance(read);
                // All of it was read; of what comes from now on, tokio is told. The end can be read again.
                self.has_come = read == 0 || read == part;
                Some(match &mut self.stream {
                    Stream::Unix(stream) => stream.note_read(read),
                    Stream::Tcp(_) => Ok(()),
                })
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.has_come = false;
                None
            }
            Err(errno) => Some(Err(errno.into())),
        }
    }
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
        let mut inner = self.0.lock();
        if inner.has_come
            && let Some(read) = inner.read_seen(buffer)
        {
            return Poll::Ready(read);
        }
        match &mut inner.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::yield_now;

    use super::*;

    /// What can be read now.
    async fn read_now(socket: &mut Socket) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 2 * READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut *socket).poll_read(cx, &mut buffer))).await;
        match read {
            Poll::Ready(read) => read.map(|()| buffer.filled().to_vec()).ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn what_was_seen_can_be_read_before_the_runtime_knows_of_it() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut ours = Socket::from(ours);
        let lookout = ours.lookout();
        // From here on tokio takes it for empty, until the system says otherwise.
        assert_eq!(read_now(&mut ours).await, None);
        assert!(!lookout.look());
        let long = vec![7; READ_BYTES + 1];
        assert_eq!(theirs.try_write(&long).expect("there is room"), long.len());
        assert_eq!(read_now(&mut ours).await, None, "tokio cannot know yet");
        assert!(lookout.look());
        assert_eq!(read_now(&mut ours).await.as_deref(), Some(&long[1..]));
        assert_eq!(read_now(&mut ours).await.as_deref(), Some(&long[..1]));
        assert_eq!(read_now(&mut ours).await, None);
        assert!(!lookout.look());
    }

    #[tokio::test]
    async fn what_was_not_seen_wakes_the_reader_as_ever() {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let mut ours = Socket::from(ours);
        let lookout = ours.lookout();
        for round in 0..10 {
            assert_eq!(read_now(&mut ours).await, None);
            theirs.try_write(b"seen").expect("there is room");
            assert!(lookout.look(), "round {round}");
            assert_eq!(read_now(&mut ours).await.as_deref(), Some(&b"seen"[..]));
            let reader = tokio::spawn(async move {
                let mut bytes = [0; 4];
                ours.read_exact(&mut bytes).await.map(|_| (ours, bytes))
            });
            yield_now().await;
            theirs.write_all(b"not!").await.expect("there is room");
            let bytes;
            (ours, bytes) = reader.await.expect("the reader").expect("four bytes");
            assert_eq!(&bytes, b"not!");
        }
    }

    #[tokio::test]
    async fn the_end_is_seen_and_stays() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut ours = Socket::from(ours);
        assert_eq!(read_now(&mut ours).await, None);
        drop(theirs);
        assert!(ours.lookout().look());
        assert_eq!(read_now(&mut ours).await, Some(Vec::new()));
        assert_eq!(read_now(&mut ours).await, Some(Vec::new()));
    }
}
