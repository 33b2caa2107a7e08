//! How long a connection may keep its thread from the others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a connection may go on while others wait.
const LENGTH: Duration = Duration::from_micros(100);

/// What stands in place of an end while no clock runs.
const NO_CLOCK: u64 = 0;

/// The end of what has no end.
const NEVER: u64 = u64::MAX;

/// The stint of one connection: it begins when the connection's task runs. The clock is started by what may be the first of
/// much: a read that fills the whole buffer, or a request. A call on a session stream looks at none.
///
/// h2 reads until the socket has nothing. A client that says more than the manager can take in, in frames of a few bytes
/// each, would keep it reading for as long as tokio lets one task read, which is a megabyte; and meanwhile the calls of all
/// who are served by the same thread wait. A bound in time treats those who send large frames, which cost little, as well as
/// before.
#[derive(Clone, Debug)]
pub(super) struct Stint(Arc<State>);

/// Written by the connection's task alone; atomic so that the task can move to where it is spawned.
#[derive(Debug)]
struct State {
    epoch: Instant,
    /// In nanoseconds since the epoch.
    end: AtomicU64,
    is_over: AtomicBool,
    /// The socket had nothing more in this stint.
    is_drained: AtomicBool,
}

impl Stint {
    /// One without an end, until the first begins.
    pub(super) fn new() -> Self {
        let (is_over, is_drained) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(State { epoch: Instant::now(), end: AtomicU64::new(NEVER), is_over, is_drained }))
    }

    /// The connection's task runs.
    pub(super) fn begin(&self) {
        self.0.end.store(NO_CLOCK, Ordering::Relaxed);
        self.0.is_over.store(false, Ordering::Relaxed);
        self.0.is_drained.store(false, Ordering::Relaxed);
    }

    /// The socket has nothing more. Whoever asked it is woken when it has, which begins another stint.
    fn note_drained(&self) {
        // Before the first stint nobody says when what is asked next begins.
        let has_begun = self.0.end.load(Ordering::Relaxed) != NEVER;
        self.0.is_drained.store(has_begun, Ordering::Relaxed);
    }

    fn is_drained(&self) -> bool {
        self.0.is_drained.load(Ordering::Relaxed)
    }

    /// There may be much to do.
    pub(super) fn start_clock(&self) {
        if self.0.end.load(Ordering::Relaxed) == NO_CLOCK {
            let end = (self.0.epoch.elapsed() + LENGTH).as_nanos();
            self.0.end.store(u64::try_from(end).unwrap_or(NEVER), Ordering::Relaxed);
        }
    }

    /// Whether there is time for more. What was left is for the next stint.
    pub(super) fn goes_on(&self) -> bool {
        let state = &*self.0;
        let end = state.end.load(Ordering::Relaxed);
        if state.is_over.load(Ordering::Relaxed) {
            return false;
        }
        let is_over = end != NO_CLOCK && state.epoch.elapsed() >= Duration::from_nanos(end);
        state.is_over.store(is_over, Ordering::Relaxed);
        !is_over
    }
}

/// A socket that is read only during stints. Whoever is told `Pending` asks [`Stint::goes_on`], and begins another if not.
///
/// Once it had nothing it is not asked again in the same stint: h2 asks each time that it is polled to write. And what has
/// come until then is handled before h2 writes.
pub(super) struct InStints<Io, R> {
    io: Io,
    stint: Stint,
    reader: R,
}

/// Whoever handles what is read from a socket.
pub(super) trait Reader {
    /// The socket has nothing more for now. HTTP/2 has handed on what it had, and writes when this returns.
    fn socket_is_dry(&self);
}

impl<Io, R> InStints<Io, R> {
    pub(super) fn new(io: Io, stint: Stint, reader: R) -> Self {
        Self { io, stint, reader }
    }
}

impl<Io: AsyncRead + Unpin, R: Reader + Unpin> AsyncRead for InStints<Io, R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stint.is_drained() || !self.stint.goes_on() {
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if read.is_pending() {
            self.stint.note_drained();
            self.reader.socket_is_dry();
        } else if buffer.remaining() == 0 {
            self.stint.start_clock();
        }
        read
    }
}

impl<Io: AsyncWrite + Unpin, R: Unpin> AsyncWrite for InStints<Io, R> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stint_ends_once_its_clock_runs_and_not_before() {
        let stint = Stint::new();
        stint.start_clock();
        assert!((0..1000).all(|_| stint.goes_on()), "none has begun");
        for _ in 0..3 {
            stint.begin();
            let began = Instant::now();
            while began.elapsed() < 2 * LENGTH {
                assert!(stint.goes_on(), "no clock runs");
            }
            stint.start_clock();
            let began = Instant::now();
            while stint.goes_on() {
                // Not from now on.
                stint.start_clock();
                assert!(began.elapsed() < Duration::from_secs(10), "it does not end");
            }
            assert!(!stint.goes_on(), "it stays over until the next");
        }
    }

    #[test]
    fn who_sends_more_than_is_read_at_once_is_left_for_the_next_stint() {
        let stint = Stint::new();
        let mut socket = InStints::new(tokio::io::repeat(7), stint.clone(), Dry::default());
        let mut read = |size: usize| {
            let mut bytes = vec![0; size];
            let mut cx = Context::from_waker(std::task::Waker::noop());
            Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes))
        };
        for _ in 0..3 {
            stint.begin();
            let began = Instant::now();
            while read(10).is_ready() {
                assert!(began.elapsed() < Duration::from_secs(10), "it reads without end");
            }
            assert!(!stint.goes_on() && began.elapsed() >= LENGTH);
        }
    }

    /// Counts how often it is told.
    #[derive(Default)]
    struct Dry(std::cell::Cell<usize>);

    impl Reader for Dry {
        fn socket_is_dry(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    /// Has nothing to read, and counts how often it is asked.
    struct Empty(usize);

    impl AsyncRead for Empty {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.0 += 1;
            Poll::Pending
        }
    }

    #[test]
    fn a_socket_that_had_nothing_is_asked_again_in_the_next_stint_and_always_before_the_first() {
        let stint = Stint::new();
        let mut socket = InStints::new(Empty(0), stint.clone(), Dry::default());
        let mut asked = |times| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            for _ in 0..times {
                assert!(Pin::new(&mut socket).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 9])).is_pending());
            }
            (std::mem::take(&mut socket.io.0), socket.reader.0.take())
        };
        assert_eq!(asked(3), (3, 3), "nobody says when the handshake is polled again");
        for _ in 0..3 {
            stint.begin();
            assert_eq!(asked(3), (1, 1), "what is read is handled as soon as there is no more");
        }
    }
}
