//! A Unix socket that wakes nobody for nothing.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// Whoever reads so much at once has more to read: nearly all calls and replies are shorter.
const SHORT: usize = 4096;

/// So many short reads in a row, and what comes is taken for calls that are made one after the other.
const CALM: u8 = 16;

/// A Unix socket whose thread is woken only by what comes, while that is short.
///
/// Each time that the other end has read something, the system wakes those who wait until they can write. tokio's sockets
/// always do, beside waiting for what comes, so each call would wake both of its ends once more for nothing; where they
/// share a CPU that is one more switch between them.
///
/// While much comes, and while there is no room to write, it is one of tokio's sockets. The task that reads and the one that
/// writes must be the same, since each may find that both have to wait at another place.
#[derive(Debug)]
pub struct UnixSocket {
    socket: Socket,
    /// How many short reads there were in a row, as one of tokio's sockets.
    short_reads: u8,
    /// Somebody waits until there is room to write.
    is_full: bool,
}

#[derive(Debug)]
enum Socket {
    /// Only what comes wakes.
    Calm(AsyncFd<OwnedFd>),
    Busy(UnixStream),
    /// The system refused what was to be made of it.
    Lost,
}

impl From<UnixStream> for UnixSocket {
    fn from(stream: UnixStream) -> Self {
        Self { socket: Socket::Busy(stream), short_reads: 0, is_full: false }
    }
}

impl UnixSocket {
    /// Reads what has come, without a word to the runtime.
    pub fn recv_now(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        let flags = flags | RecvFlags::DONTWAIT;
        match &self.socket {
            Socket::Calm(socket) => recv(socket.get_ref(), buffer, flags),
            Socket::Busy(stream) => recv(stream, buffer, flags),
            Socket::Lost => Err(Errno::NOTCONN),
        }
        .map(|(read, _)| read)
    }

    /// So much was read at once. The next read waits at another place, if this makes a difference.
    pub fn note_read(&mut self, bytes: usize) -> io::Result<()> {
        match &self.socket {
            Socket::Calm(_) if bytes >= SHORT => self.be_busy(),
            Socket::Busy(_) => {
                self.short_reads = if bytes < SHORT { self.short_reads.saturating_add(1) } else { 0 };
                if self.short_reads >= CALM && !self.is_full { self.be_calm() } else { Ok(()) }
            }
            Socket::Calm(_) | Socket::Lost => Ok(()),
        }
    }

    fn be_calm(&mut self) -> io::Result<()> {
        if let Socket::Busy(stream) = mem::replace(&mut self.socket, Socket::Lost) {
            #[expect(
                deprecated,
                reason = "what is in its place is unsafe, for descriptors that nobody owns; this one is owned"
            )]
            let socket = AsyncFd::with_interest(OwnedFd::from(stream.into_std()?), Interest::READABLE)?;
            self.socket = Socket::Calm(socket);
        }
        Ok(())
    }

    #[cold]
    fn be_busy(&mut self) -> io::Result<()> {
        if let Socket::Calm(socket) = mem::replace(&mut self.socket, Socket::Lost) {
            self.socket = Socket::Busy(UnixStream::from_std(StdUnixStream::from(socket.into_inner()))?);
            self.short_reads = 0;
        }
        Ok(())
    }

    /// There is no room: from now on the task is woken when there is, and still by what comes.
    fn wait_for_room(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.be_busy()?;
        if let Socket::Busy(stream) = &self.socket
            && stream.poll_read_ready(cx)?.is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }
}

fn lost<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

/// Reads a short piece, which need not be there yet.
fn poll_read_short(
    socket: &AsyncFd<OwnedFd>,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let mut bytes = [MaybeUninit::<u8>::uninit(); SHORT];
    let part = buffer.remaining().min(SHORT);
    loop {
        let mut ready = ready!(socket.poll_read_ready(cx))?;
        match recv(socket.get_ref(), &mut bytes[..part], RecvFlags::DONTWAIT) {
            Ok(((read, _), _)) => {
                // Less than there was room for is all that had come, and the runtime is told of more.
                if !read.is_empty() && read.len() < part {
                    ready.clear_ready();
                }
                buffer.put_slice(read);
                return Poll::Ready(Ok(read.len()));
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(errno) => return Poll::Ready(Err(errno.into())),
        }
    }
}

/// Writes as much as there is room for. `None` if there is none.
fn write_now(socket: &AsyncFd<OwnedFd>, buffers: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        // A small frame is one buffer, and the kernel has less to do for it.
        let sent = match buffers {
            [buffer] => send(socket.get_ref(), buffer, flags),
            _ => sendmsg(socket.get_ref(), buffers, &mut SendAncillaryBuffer::default(), flags),
        };
        match sent {
            Ok(sent) => return Ok(Some(sent)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl AsyncRead for UnixSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match &mut this.socket {
            Socket::Calm(socket) => ready!(poll_read_short(socket, cx, buffer))?,
            Socket::Busy(stream) => {
                let before = buffer.filled().len();
                ready!(Pin::new(stream).poll_read(cx, buffer))?;
                buffer.filled().len() - before
            }
            Socket::Lost => return lost(),
        };
        Poll::Ready(this.note_read(read))
    }
}

impl AsyncWrite for UnixSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Socket::Calm(socket) = &this.socket {
            match write_now(socket, buffers)? {
                Some(written) => return Poll::Ready(Ok(written)),
                None => this.wait_for_room(cx)?,
            }
        }
        let Socket::Busy(stream) = &mut this.socket else { return lost() };
        let written = match buffers {
            [buffer] => Pin::new(stream).poll_write(cx, buffer),
            _ => Pin::new(stream).poll_write_vectored(cx, buffers),
        };
        this.is_full = written.is_pending();
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match &self.socket {
            Socket::Calm(socket) => shutdown(socket.get_ref(), Shutdown::Write),
            Socket::Busy(stream) => shutdown(stream, Shutdown::Write),
            Socket::Lost => Ok(()),
        };
        Poll::Ready(shut.map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::yield_now;
    use tokio::time::{sleep, timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn is_calm(socket: &UnixSocket) -> bool {
        matches!(socket.socket, Socket::Calm(_))
    }

    /// Two ends, the first of which has become calm.
    async fn calm_pair() -> (UnixSocket, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let mut ours = UnixSocket::from(ours);
        for _ in 0..CALM {
            assert!(!is_calm(&ours));
            theirs.write_all(b"call").await.expect("there is room");
            ours.read_exact(&mut [0; 4]).await.expect("four bytes");
        }
        assert!(is_calm(&ours));
        (ours, theirs)
    }

    #[tokio::test]
    async fn what_comes_wakes_a_calm_socket() {
        let (mut ours, mut theirs) = calm_pair().await;
        for round in 0..3_u8 {
            let reader = tokio::spawn(async move {
                let mut byte = [0];
                ours.read_exact(&mut byte).await.map(|_| (ours, byte))
            });
            yield_now().await;
            theirs.write_all(&[round]).await.expect("there is room");
            let byte;
            (ours, byte) = timeout(LONG, reader).await.expect("it wakes").expect("the reader").expect("a byte");
            assert_eq!(byte, [round]);
            assert!(is_calm(&ours));
        }
        drop(theirs);
        assert_eq!(timeout(LONG, ours.read(&mut [0; 9])).await.expect("it wakes").expect("the end"), 0);
    }

    #[tokio::test]
    async fn what_the_other_end_reads_does_not_wake_a_calm_socket() {
        let (mut ours, mut theirs) = calm_pair().await;
        ours.write_all(b"reply").await.expect("there is room");
        theirs.read_exact(&mut [0; 5]).await.expect("five bytes");
        let Socket::Calm(socket) = &ours.socket else { panic!("it wrote little") };
        // While this sleeps the runtime hears all that the system has to say.
        sleep(Duration::from_millis(1)).await;
        let mut room = pin!(socket.ready(Interest::WRITABLE));
        let heard = poll_fn(|cx| Poll::Ready(room.as_mut().poll(cx).is_ready())).await;
        assert!(!heard, "the system told that there is room");
    }

    #[tokio::test]
    async fn a_socket_stays_busy_while_there_is_no_room() {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let mut ours = UnixSocket::from(ours);
        let much = vec![7; 16 << 20];
        let fill = async |ours: &mut UnixSocket| {
            poll_fn(|cx| {
                while let Poll::Ready(written) = Pin::new(&mut *ours).poll_write(cx, &much) {
                    written.expect("the other end is there");
                }
                Poll::Ready(())
            })
            .await;
        };
        fill(&mut ours).await;
        for _ in 0..2 * CALM {
            theirs.write_all(b"call").await.expect("there is room");
            ours.read_exact(&mut [0; 4]).await.expect("four bytes");
        }
        assert!(!is_calm(&ours), "whoever waits for room would wait forever");
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_arrives_both_ways() {
        let (mut ours, mut theirs) = calm_pair().await;
        let much: Vec<u8> = (0..3_u32 << 20).map(|at| (at % 251) as u8).collect();
        let (mut got, mut echoed) = (vec![0; much.len()], vec![0; much.len()]);
        ours.write_all(b"go").await.expect("there is room");
        assert!(is_calm(&ours));
        let there = async {
            theirs.read_exact(&mut [0; 2]).await?;
            theirs.read_exact(&mut got).await?;
            theirs.write_all(&got).await
        };
        let here = async {
            ours.write_all(&much).await?;
            ours.read_exact(&mut echoed).await
        };
        let (there, here) = timeout(LONG, async { tokio::join!(there, here) }).await.expect("it wakes");
        there.expect("it arrives");
        here.expect("it comes back");
        assert!(echoed == much);
        assert!(!is_calm(&ours));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_still_woken_by_what_comes() {
        let (mut ours, mut theirs) = calm_pair().await;
        let full = vec![7; 16 << 20];
        let mut sent = 0;
        let mut byte = [0];
        // As h2 does: one task reads until there is nothing, and then writes until there is no room.
        let mut serve = tokio::spawn(poll_fn(move |cx| {
            if let Poll::Ready(read) = Pin::new(&mut ours).poll_read(cx, &mut ReadBuf::new(&mut byte)) {
                return Poll::Ready(read.map(|()| byte[0]));
            }
            while let Poll::Ready(written) = Pin::new(&mut ours).poll_write(cx, &full[sent..]) {
                sent += written?;
            }
            Poll::<io::Result<u8>>::Pending
        }));
        yield_now().await;
        assert!(!serve.is_finished());
        theirs.write_all(b"!").await.expect("there is room");
        let read = timeout(LONG, &mut serve).await.expect("it wakes").expect("the task").expect("a byte");
        assert_eq!(read, b'!');
    }
}
