//! What a connection carries for its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use holdfast_stream::{SelfWake, Side};
use parking_lot::{Mutex, MutexGuard};

use super::session_cell::SessionCell;
use super::session_stream::SessionStream;
use super::stint::Reader;
use super::unary::Calls;

/// The session of a connection, its stream and its unary calls, shared by the connection and its socket.
///
/// HTTP/2 reads until the socket has nothing more, and then writes what is there to be written; nobody else can make it write.
/// What came could be handled after that, and HTTP/2 polled once more for the replies: 800 of the manager's
/// 9,500 instructions for a call. So the socket polls this as it has run dry ([`Reader`]), and the replies leave in the
/// write that follows.
///
/// - Only the task of the connection comes here, by way of the socket or not, so nobody ever waits for the lock. Nothing that
///   is polled under it polls HTTP/2 in turn.
/// - What is due and was not done as the socket ran dry, because it did not run dry or because it came later, is for the
///   connection to do ([`take_due`](Self::take_due)).
#[derive(Clone)]
pub(super) struct Traffic(Arc<Shared>);

struct Shared {
    wakes: SelfWake,
    /// There may be something to do. Of the connection's task alone; atomic so that the task can move to where it is spawned.
    due: AtomicBool,
    /// The stream has ended, and the connection does not know yet.
    ended: AtomicBool,
    parts: Mutex<Parts>,
}

/// What is carried.
pub(super) struct Parts {
    pub(super) session: SessionCell,
    pub(super) stream: Option<SessionStream>,
    /// Unary calls that use the session.
    pub(super) calls: Calls,
}

impl Traffic {
    /// For a connection that has carried nothing yet, and whose task is woken by `wakes`.
    pub(super) fn new(wakes: SelfWake, session: SessionCell, calls: Calls) -> Self {
        let parts = Mutex::new(Parts { session, stream: None, calls });
        Self(Arc::new(Shared { wakes, due: AtomicBool::new(false), ended: AtomicBool::new(false), parts }))
    }

    pub(super) fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.parts.lock()
    }

    /// There may be something to do for a reason of which no waker tells.
    pub(super) fn be_due(&self) {
        self.0.due.store(true, Ordering::Relaxed);
    }

    /// Whether there may be something to do.
    pub(super) fn is_due(&self) -> bool {
        if self.0.wakes.take(Side::Stream) {
            self.be_due();
        }
        self.0.due.load(Ordering::Relaxed)
    }

    /// The same, and whoever asks does it.
    pub(super) fn take_due(&self) -> bool {
        let due = self.is_due();
        self.0.due.store(false, Ordering::Relaxed);
        due
    }

    /// Whether the stream has ended since this was last asked.
    pub(super) fn take_ended(&self) -> bool {
        let ended = self.0.ended.load(Ordering::Relaxed);
        self.0.ended.store(false, Ordering::Relaxed);
        ended
    }

    /// Does all that can be done now.
    pub(super) fn poll(&self) {
        let mut cx = Context::from_waker(self.0.wakes.waker(Side::Stream));
        let Parts { session, stream, calls } = &mut *self.parts();
        if let Some(session_stream) = stream
            && session_stream.poll(&mut cx, session, calls).is_ready()
        {
            *stream = None;
            self.0.ended.store(true, Ordering::Relaxed);
        }
        calls.poll(&mut cx, session);
    }
}

impl Reader for Traffic {
    fn socket_is_dry(&self) {
        if !self.take_due() {
            return;
        }
        let wakes = &self.0.wakes;
        let was_woken = wakes.take(Side::Connection);
        self.poll();
        // What this has raised is done by the write that follows.
        wakes.take(Side::Connection);
        if was_woken {
            wakes.waker(Side::Connection).wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::limits::Limits;
    use crate::session::Store;

    fn traffic() -> (SelfWake, Traffic) {
        let (wakes, limits) = (SelfWake::default(), Limits::default());
        let store = Arc::new(Store::new(limits.clone(), 1));
        let traffic = Traffic::new(wakes.clone(), SessionCell::new(store, None), Calls::new(Arc::new(limits)));
        (wakes, traffic)
    }

    #[test]
    fn what_is_due_is_done_once_by_the_socket_or_the_connection() {
        let (wakes, traffic) = traffic();
        let _scope = wakes.scope(&Context::from_waker(Waker::noop()));
        assert!(!traffic.take_due());
        let raises: [fn(&SelfWake, &Traffic); 2] =
            [|_, traffic| traffic.be_due(), |wakes, _| wakes.waker(Side::Stream).wake_by_ref()];
        for raise in raises {
            raise(&wakes, &traffic);
            traffic.socket_is_dry();
            assert!(!traffic.take_due(), "the socket has done it");
            raise(&wakes, &traffic);
            assert!(traffic.is_due() && traffic.is_due(), "who looks does not do it");
            assert!(traffic.take_due());
            assert!(!traffic.take_due(), "whoever asked does it");
        }
    }

    #[test]
    fn the_connection_is_polled_again_for_what_was_raised_before_the_socket_ran_dry() {
        let (wakes, traffic) = traffic();
        let _scope = wakes.scope(&Context::from_waker(Waker::noop()));
        for was_woken in [true, false] {
            if was_woken {
                wakes.waker(Side::Connection).wake_by_ref();
            }
            traffic.be_due();
            traffic.socket_is_dry();
            assert_eq!(wakes.take(Side::Connection), was_woken);
        }
    }
}
