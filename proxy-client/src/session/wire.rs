//! The session stream as a client drives it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{RecvStream, SendStream};
use holdfast_proto::frame::{self, Deframer, FromServer, ReplyFrame};
use holdfast_stream::{Inbox, Outbox, SelfWake, Side};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::calls::Calls;
use super::resume::Lost;
use super::{End, Reply};
use crate::error::cause_of;
use crate::owner::{FORKED, Owner};

/// How often the wire is moved for what moving it brought about, before others get their turn.
const ROUNDS: usize = 4;

/// The HTTP/2 connection of one session and its one stream.
///
/// It is moved by [`pump`](Self::pump) alone, from a task or from a thread: what is to be sent goes out, what has come is
/// given to those who wait. It never waits for anything itself.
pub(super) struct Wire<Io> {
    pub(super) connection: Connection<Io, Bytes>,
    pub(super) send: SendStream<Bytes>,
    inbox: Inbox,
    pub(super) deframer: Deframer,
    pub(super) wakes: SelfWake,
    pub(super) outbox: Outbox,
    /// The connection is lost, and the session goes on over another one if there is one in time. Nothing is moved meanwhile.
    pub(super) lost: Option<Lost>,
    /// Nothing has been read from the stream, so it wakes nobody yet.
    is_new: bool,
    /// What came made room for something that is to be sent.
    is_due: bool,
    /// What the manager said before it stopped.
    goodbye: Option<String>,
    owner: Owner,
    /// The connection ends when nobody can open a stream on it any more.
    _sender: SendRequest<Bytes>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Wire<Io> {
    pub(super) fn new(
        connection: Connection<Io, Bytes>,
        sender: SendRequest<Bytes>,
        send: SendStream<Bytes>,
        recv: RecvStream,
        deframer: Deframer,
    ) -> Self {
        let (wakes, outbox, inbox) = (SelfWake::default(), Outbox::default(), recv.into());
        let (is_new, is_due, goodbye, lost) = (true, false, None, None);
        let owner = Owner::this();
        Self { connection, send, inbox, deframer, wakes, outbox, lost, is_new, is_due, goodbye, owner, _sender: sender }
    }

    /// Sends what is to be sent and takes what has come, as far as the socket allows; `cx` is woken when it allows more.
    /// Those whose calls are answered are appended to `woken`. Whether it should be pumped again at once, after others had
    /// their turn.
    pub(super) fn pump(&mut self, cx: &Context<'_>, calls: &Mutex<Calls>, woken: &mut Vec<Waker>) -> Result<bool, End> {
        let _scope = self.wakes.scope(cx);
        for _ in 0..ROUNDS {
            self.send(calls, woken)?;
            // What sending raised is done by the poll that follows.
            self.wakes.take(Side::Connection);
            let over =
                Pin::new(&mut self.connection).poll(&mut Context::from_waker(self.wakes.waker(Side::Connection)));
            // The stream was left when it had nothing more, so it wakes when something comes.
            let came = self.wakes.take(Side::Stream) || mem::take(&mut self.is_new);
            if came || over.is_ready() {
                self.receive(calls, woken)?;
            }
            if let Poll::Ready(result) = over {
                return Err(self.ended(result.err()));
            }
            let room = (came && !self.outbox.is_empty()) || mem::take(&mut self.is_due);
            if !self.wakes.take(Side::Connection) && !self.wakes.take(Side::Stream) && !room {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn send(&mut self, calls: &Mutex<Calls>, woken: &mut Vec<Waker>) -> Result<(), End> {
        // While what was taken before cannot leave, callers are slowed instead of this growing.
        if self.outbox.is_empty() {
            let mut calls = calls.lock();
            if calls.has_output() {
                // Calls that leave together share the question, which is one to the system.
                if self.owner.is_elsewhere() {
                    return Err(End::new(FORKED));
                }
                calls.take_output(self.outbox.frames(), woken);
                self.outbox.mark(calls.last_sequence());
            }
        }
        let mut cx = Context::from_waker(self.wakes.waker(Side::Stream));
        // An error is told better by what the manager said before it, which is still to be read.
        if let Poll::Ready(Ok(())) = self.outbox.poll_flush(&mut cx, &mut self.send) {
            self.outbox.shrink();
        }
        Ok(())
    }

    fn receive(&mut self, calls: &Mutex<Calls>, woken: &mut Vec<Waker>) -> Result<(), End> {
        if self.deframer.has_rest() {
            // What came together with Welcome.
            self.take_frames(calls, woken)?;
        }
        loop {
            let mut cx = Context::from_waker(self.wakes.waker(Side::Stream));
            match self.inbox.poll_data(&mut cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(chunk))) => {
                    self.deframer.push(chunk);
                    self.take_frames(calls, woken)?;
                }
                Poll::Ready(Some(Err(error))) => return Err(self.ended(Some(error))),
                Poll::Ready(None) => {
                    let Poll::Ready(trailers) = self.inbox.poll_trailers(&mut cx) else { return Ok(()) };
                    return Err(match trailers {
                        Ok(trailers) => End::new(self.said_at_the_end(trailers.as_ref())),
                        Err(error) => self.ended(Some(error)),
                    });
                }
            }
        }
    }

    fn take_frames(&mut self, calls: &Mutex<Calls>, woken: &mut Vec<Waker>) -> Result<(), End> {
        let mut calls = calls.lock();
        let mut last = 0;
        while let Some((message, buffer)) = self.deframer.next_in_buffer().map_err(broken)? {
            match frame::read_server(message).map_err(broken)? {
                FromServer::Reply(reply) => {
                    let ReplyFrame { sequence, index, result, delivered, acknowledge } = reply;
                    let (body, delivered) = (|body| Body::keep(body, buffer), delivered.into());
                    let answer = result.map(|bytes| Reply { index, body: body(bytes), delivered, acknowledge });
                    calls.answer(sequence, answer, woken).map_err(End::new)?;
                    last = sequence.max(last);
                }
                FromServer::Goodbye(goodbye) => self.goodbye = Some(goodbye.message),
                FromServer::Welcome(_) => return Err(End::new("the manager said Welcome twice")),
            }
        }
        self.is_due |= calls.is_due();
        // Calls come in their order: whoever answers one has all before it.
        self.outbox.forget(last);
        Ok(())
    }

    fn said_at_the_end(&self, trailers: Option<&http::HeaderMap>) -> String {
        let message = trailers.map(super::hello::status_of);
        match (&self.goodbye, message) {
            (Some(goodbye), _) => goodbye.clone(),
            (None, Some((0, _))) => "the manager ended it".to_owned(),
            (None, Some((_, message))) => message,
            (None, None) => "the manager ended it without a word".to_owned(),
        }
    }

    fn ended(&self, error: Option<h2::Error>) -> End {
        match (&self.goodbye, error) {
            (Some(goodbye), _) => End::new(goodbye.clone()),
            (None, Some(error)) if error.is_reset() => End::new(cause_of(&error)),
            (None, Some(error)) => End::loss(cause_of(&error)),
            (None, None) => End::loss("the connection was closed"),
        }
    }
}

fn broken(broken: frame::Broken) -> End {
    End::new(format!("the manager broke the protocol: {broken}"))
}
