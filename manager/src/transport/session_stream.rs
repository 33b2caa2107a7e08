//! The session stream of one connection, polled by the task of that connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use holdfast_objects::Client;
use holdfast_objects::mutant::{Mutant, mutant};
use holdfast_proto::frame::{self, Broken, CallFrame, ClientSays, Deframer, FromClient};
use holdfast_proto::{
    CONNECT_PATH, Goodbye, Hello, INCARNATION_METADATA, PROTOCOL, Resume, ServerFrame, Welcome, server_frame,
};
use holdfast_stream::{Inbox, Outbox, Sent};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use uuid::Uuid;

use super::session_cell::SessionCell;
use super::status::{self, trailers};
use super::stint::Stint;
use super::unary::Calls;
use crate::detached::{Claim, Detached, Release, Resumption};
use crate::freed_apart;
use crate::limits::Limits;

/// How many frames are handled before the replies to them leave.
const FRAMES_AT_ONCE: usize = 256;

/// After so many frames there may be much to do, and the connection's stint has an end. They take 20 to 40 µs.
const FRAMES_WITHOUT_A_CLOCK: usize = 64;

/// The session stream of one connection: its frames in, its replies out, and the session between.
///
/// - Every whole frame that has come is applied in the poll that finds it, and its reply is in the outbox before the next
///   one is read; all replies of one poll leave together.
/// - While the outbox holds more than its limit nothing is read, so flow control stops the client: one that does not read
///   its replies is slowed, and costs its limit, one reply and the stream's window.
/// - It ends with a status, after everything before it has left. A broken protocol ends it with an error.
pub(super) struct SessionStream {
    inbox: Inbox,
    send: SendStream<Bytes>,
    deframer: Deframer,
    outbox: Outbox,
    state: State,
    limits: Arc<Limits>,
    count: Count,
    /// How sessions on this connection outlive it. `None` where none does: the end of a Unix socket is that of a process.
    grace: Option<Grace>,
    stint: Stint,
    /// The session outlives this connection.
    resumable: bool,
}

/// How a session outlives its connection.
pub(super) struct Grace {
    pub(super) time: Duration,
    pub(super) release: Arc<Release>,
}

/// How far the calls of a stream have come.
#[derive(Default)]
struct Count {
    /// The sequence number of the last call.
    sequence: u64,
    /// How many replies the client said it has received.
    received: u64,
    /// How many replies were made: as many as calls came, but for those that wait.
    replied: u64,
}

enum State {
    /// Nothing has come yet.
    Silent,
    /// The client goes on with a session that another connection may yet have.
    Resuming(Box<Claim>),
    /// The client has said who it is, and the session of the connection is open.
    Open,
    /// Nothing more is applied; the status is sent when the outbox is empty.
    Ending(Status),
    /// The status is sent, or nobody waits for it.
    Ended,
}

impl SessionStream {
    pub(super) fn new(
        recv: RecvStream,
        send: SendStream<Bytes>,
        limits: Arc<Limits>,
        grace: Option<Grace>,
        stint: Stint,
    ) -> Self {
        Self {
            inbox: recv.into(),
            send,
            deframer: Deframer::new(limits.frame_bytes()).sharing(freed_apart::share),
            outbox: Outbox::default(),
            state: State::Silent,
            limits,
            count: Count::default(),
            grace,
            stint,
            resumable: false,
        }
    }

    /// Does all that can be done now. `Ready` when the stream has ended; must not be polled again then.
    ///
    /// The session of the connection ends when the stream has nothing more to say for it, before the stream itself.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, session: &mut SessionCell, calls: &mut Calls) -> Poll<()> {
        if let Err(error) = self.poll_frames(cx, session) {
            // The client is gone: there is nobody to tell.
            if !self.is_reset(cx, &error) {
                self.detach(session, calls);
            }
            self.state = State::Ended;
        }
        if matches!(self.state, State::Ending(_) | State::Ended) {
            session.end();
        }
        self.poll_end(cx)
    }

    /// The manager stops: what has come is answered, and nothing that comes later.
    pub(super) fn stop(&mut self, cx: &mut Context<'_>, session: &mut SessionCell) {
        // All that has come, although it may be more than one turn's worth. What the client must read first to make room
        // for its reply stays unanswered: the end cannot wait for a client that does not read.
        let mut before = None;
        while matches!(self.state, State::Silent | State::Open) && before != Some(self.count.sequence) {
            before = Some(self.count.sequence);
            self.stint.begin();
            if self.poll_frames(cx, session).is_err() {
                return;
            }
        }
        if matches!(self.state, State::Silent | State::Resuming(_) | State::Open) {
            let goodbye = Goodbye { message: "the manager is being stopped".to_owned() };
            self.say(server_frame::Frame::Goodbye(goodbye));
            self.end(Status::ok(""));
        }
        session.end();
    }

    /// Whether another connection resumes the session, so that this one must let go of it.
    pub(super) fn is_claimed(&self) -> bool {
        self.grace.as_ref().is_some_and(|grace| grace.release.is_wanted())
    }

    /// The connection is lost, or another one resumes its session. A session that outlives it waits to be resumed; any other
    /// is left as it is. Its unary calls do not outlive the connection, on which alone they can be answered.
    pub(super) fn detach(&mut self, session: &mut SessionCell, calls: &mut Calls) {
        if !self.resumable || !matches!(self.state, State::Open) {
            return;
        }
        self.state = State::Ended;
        let (Some(grace), Some((forgotten, replies))) = (&self.grace, self.outbox.take_kept()) else { return };
        let store = session.store().clone();
        if let Some(session) = session.take() {
            calls.end_all(&session);
            session.waiting().set_waker(None);
            tracing::debug!(session = %session.id(), client = %session.client(), "a session lost its connection");
            let Count { sequence, received, replied } = self.count;
            let detached = Detached { session, sequence, received, replied, forgotten, replies };
            store.resumables.detach(Box::new(detached), &store, grace.time);
        }
    }

    /// Whether the client has reset the stream, rather than lost the connection.
    fn is_reset(&mut self, cx: &mut Context<'_>, error: &h2::Error) -> bool {
        if error.is_reset() {
            return true;
        }
        // Who could not send is not told why; who reads is.
        while let Poll::Ready(Some(read)) = self.inbox.poll_data(cx) {
            if let Err(error) = read {
                return error.is_reset();
            }
        }
        false
    }

    /// Reads, applies and replies, until there is nothing to read, the client must read first, or others must have
    /// their turn. An error means that the connection or the stream is gone.
    fn poll_frames(&mut self, cx: &mut Context<'_>, session: &mut SessionCell) -> Result<(), h2::Error> {
        // Pieces of one are counted like whole ones: whoever sends a byte at a time has no longer turn.
        let mut frames = 0;
        while matches!(self.state, State::Silent | State::Resuming(_) | State::Open) {
            if self.outbox.len() >= self.limits.outbound_bytes && self.poll_flush(cx)?.is_pending() {
                return Ok(());
            }
            if matches!(self.state, State::Resuming(_)) && self.poll_resume(cx, session).is_pending() {
                break;
            }
            if frames >= FRAMES_AT_ONCE || self.must_pause(frames) {
                cx.waker().wake_by_ref();
                break;
            }
            match self.handle_next(cx, session) {
                Ok(true) => frames += 1,
                Ok(false) => match self.inbox.poll_data(cx) {
                    Poll::Ready(Some(chunk)) => {
                        self.deframer.push(chunk?);
                        frames += 1;
                    }
                    Poll::Ready(None) => self.handle_half_close(),
                    Poll::Pending => break,
                },
                Err(status) => self.end(status),
            }
        }
        self.put_answers(cx, session)?;
        // Nothing waits for the result: what cannot leave now is tried again when there is room.
        let _ = self.poll_flush(cx)?;
        self.outbox.shrink();
        Ok(())
    }

    /// Whether others must have their turn after so many frames.
    #[inline(always)]
    fn must_pause(&self, frames: usize) -> bool {
        frames != 0 && frames.is_multiple_of(FRAMES_WITHOUT_A_CLOCK) && self.is_stint_over()
    }

    #[cold]
    fn is_stint_over(&self) -> bool {
        self.stint.start_clock();
        !self.stint.goes_on()
    }

    /// Replies to calls that waited, until none is left, the client must read first, or others must have their turn.
    fn put_answers(&mut self, cx: &mut Context<'_>, session: &mut SessionCell) -> Result<(), h2::Error> {
        let State::Open = self.state else { return Ok(()) };
        let Some(session) = session.get() else { return Ok(()) };
        for answers in 0..FRAMES_AT_ONCE {
            if self.must_pause(answers) {
                break;
            }
            if self.outbox.len() >= self.limits.outbound_bytes && self.poll_flush(cx)?.is_pending() {
                return Ok(());
            }
            let Some(answered) = session.waiting().next_answer() else { return Ok(()) };
            session.put_answer(answered, self.outbox.frames());
            self.count.replied += 1;
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.outbox.mark(self.count.replied);
        self.outbox.forget(self.count.received);
        self.outbox.poll_flush(cx, &mut self.send)
    }

    /// Handles the next whole frame, if one has come. An error ends the stream.
    fn handle_next(&mut self, cx: &Context<'_>, session: &mut SessionCell) -> Result<bool, Status> {
        let Some((message, buffer)) = self.deframer.next_in_own_buffer().map_err(broken)? else { return Ok(false) };
        let limit = u64::from(self.limits.calls_in_flight) + self.limits.session_waiters as u64;
        // What nearly every frame is.
        if let State::Open = self.state
            && let Some((received, call)) = frame::read_plain_call(message)
        {
            self.count.note_received(received)?;
            self.count.note_call(&call, limit)?;
            let session = session.get().expect("an open stream has a session");
            self.count.replied += u64::from(session.call(&call, buffer, self.outbox.frames()));
            return Ok(true);
        }
        let FromClient { received, frame } = frame::read_client(message).map_err(broken)?;
        if let (State::Silent, Some(ClientSays::Hello(Hello { resume: Some(_), .. }))) = (&self.state, &frame) {
            // It counts the replies of the session, which is not here yet.
            self.count.received = received;
        } else {
            self.count.note_received(received)?;
        }
        match (&self.state, frame) {
            (State::Open, Some(ClientSays::Call(call))) => {
                let session = session.get().expect("an open stream has a session");
                self.count.note_call(&call, limit)?;
                self.count.replied += u64::from(session.call(&call, buffer, self.outbox.frames()));
            }
            (State::Open, None) => {}
            (State::Open, Some(ClientSays::Goodbye(_))) => {
                session.get().expect("an open stream has a session").close();
                self.end(Status::ok(""));
            }
            (State::Silent, Some(ClientSays::Hello(hello))) => self.handle_hello(cx, &hello, session)?,
            (State::Silent, _) => {
                return Err(Status::failed_precondition("the first frame of a session must be Hello"));
            }
            (State::Open, Some(ClientSays::Hello(_))) => {
                return Err(Status::failed_precondition("only the first frame of a session may be Hello"));
            }
            (State::Resuming(_) | State::Ending(_) | State::Ended, _) => {}
        }
        Ok(true)
    }

    fn handle_hello(&mut self, cx: &Context<'_>, hello: &Hello, session: &mut SessionCell) -> Result<(), Status> {
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "this manager speaks protocol {PROTOCOL} and the client speaks {}: use a client of the manager's version",
                hello.protocol
            )));
        }
        if hello.name.len() > 128 {
            return Err(Status::invalid_argument("the name of a client has at most 128 bytes"));
        }
        if hello.host.len() > 255 {
            return Err(Status::invalid_argument("the name of a client's host has at most 255 bytes"));
        }
        if let Some(resume) = &hello.resume {
            return self.begin_resume(resume, session);
        }
        let store = session.store().clone();
        let client = Client { name: hello.name.clone(), pid: hello.pid, host: hello.host.clone() };
        let session = session.open_for(client).map_err(|refusal| status::of(&refusal, CONNECT_PATH))?;
        let id = session.id();
        session.waiting().set_waker(Some(cx.waker().clone()));
        tracing::debug!(session = %id, client = %session.client(), "a session opened");
        let grace = self.grace.as_ref().filter(|_| hello.resumable);
        let resumption = grace.and_then(|grace| store.resumables.add(session, grace.release.clone()));
        if resumption.is_some() {
            self.be_resumable();
        }
        self.state = State::Open;
        self.welcome(id, store.incarnation, resumption.as_ref());
        Ok(())
    }

    fn be_resumable(&mut self) {
        self.resumable = true;
        self.outbox = Outbox::keeping(Sent::new(self.count.received, self.limits.replay_bytes));
    }

    fn welcome(&mut self, session: Uuid, incarnation: Uuid, resumption: Option<&Resumption>) {
        let grace = self.grace.as_ref().filter(|_| resumption.is_some());
        let limits = &self.limits;
        let welcome = Welcome {
            session: session.as_bytes().to_vec(),
            incarnation: incarnation.as_bytes().to_vec(),
            calls_in_flight: limits.calls_in_flight,
            frame_bytes: u32::try_from(limits.frame_bytes()).unwrap_or(u32::MAX),
            resumption: resumption.map(|resumption| resumption.to_vec()).unwrap_or_default(),
            grace_ms: grace.map_or(0, |grace| u32::try_from(grace.time.as_millis()).unwrap_or(u32::MAX)),
            calls_received: self.count.sequence,
            waiting_calls: u32::try_from(limits.session_waiters).unwrap_or(u32::MAX),
        };
        self.say(server_frame::Frame::Welcome(welcome));
    }

    fn begin_resume(&mut self, resume: &Resume, session: &SessionCell) -> Result<(), Status> {
        if !session.is_unopened() {
            let problem =
                "this connection has a session already, which a unary call opened: resume on another connection";
            return Err(Status::failed_precondition(problem));
        }
        let id = Uuid::from_slice(&resume.session);
        let (Ok(id), Ok(resumption), Some(_)) = (id, Resumption::try_from(&*resume.resumption), &self.grace) else {
            return Err(over(session.store().incarnation));
        };
        self.state = State::Resuming(Box::new(Claim::new(id, resumption)));
        Ok(())
    }

    /// Goes on with the session that the client has named, once the connection that has it has let go of it.
    fn poll_resume(&mut self, cx: &Context<'_>, session: &mut SessionCell) -> Poll<()> {
        let (State::Resuming(claim), Some(grace)) = (&mut self.state, &self.grace) else { return Poll::Ready(()) };
        // A unary call may have come meanwhile.
        let claimed = if session.is_unopened() {
            match session.store().resumables.poll_claim(cx, claim, &grace.release) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(claimed) => claimed,
            }
        } else {
            None
        };
        let resumption = claim.resumption;
        let incarnation = session.store().incarnation;
        match claimed
            .ok_or_else(|| over(incarnation))
            .and_then(|detached| self.resume(cx, *detached, &resumption, session))
        {
            Ok(()) => self.state = State::Open,
            Err(status) => self.end(status),
        }
        Poll::Ready(())
    }

    /// Puts a session, and the replies that its client does not have, in the place of what was here. An error ends it.
    fn resume(
        &mut self,
        cx: &Context<'_>,
        detached: Detached,
        resumption: &Resumption,
        session: &mut SessionCell,
    ) -> Result<(), Status> {
        let mut count = Count { sequence: detached.sequence, received: detached.received, replied: detached.replied };
        let received = self.count.received;
        if mutant(Mutant::ResentIsAppliedTwice) && count.sequence > received {
            count.sequence -= 1;
        }
        count.note_received(received)?;
        let incarnation = session.store().incarnation;
        let mut missing = detached.replies_after(received).ok_or_else(|| over(incarnation))?;
        self.count = count;
        self.be_resumable();
        let session = session.adopt(detached.session);
        session.waiting().set_waker(Some(cx.waker().clone()));
        let id = session.id();
        tracing::debug!(session = %id, "a session was resumed");
        self.welcome(id, incarnation, Some(resumption));
        self.outbox.frames().append(&mut missing);
        Ok(())
    }

    /// The client will send nothing more. Without a goodbye its session is lost.
    fn handle_half_close(&mut self) {
        self.end(match &self.state {
            State::Open if !self.deframer.is_inside_message() => Status::ok(""),
            _ => Status::invalid_argument("the stream was closed in the middle of a frame, or before Hello"),
        });
    }

    fn say(&mut self, frame: server_frame::Frame) {
        frame::put_server(self.outbox.frames(), &ServerFrame { frame: Some(frame) });
    }

    /// Ends the session now, and the stream when everything before has left.
    fn end(&mut self, status: Status) {
        if status.code() != Code::Ok {
            tracing::warn!(status = status.message(), "a client broke the protocol");
        }
        self.state = State::Ending(status);
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Ending(status) = &self.state else {
            return if matches!(self.state, State::Ended) { Poll::Ready(()) } else { Poll::Pending };
        };
        match self.outbox.poll_flush(cx, &mut self.send) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                // An error means that nobody waits for the status.
                let _ = self.send.send_trailers(trailers(status));
                self.state = State::Ended;
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                self.state = State::Ended;
                Poll::Ready(())
            }
        }
    }
}

impl Count {
    /// The client says how many replies it has received.
    #[inline]
    fn note_received(&mut self, received: u64) -> Result<(), Status> {
        if received < self.received || received > self.replied {
            let problem =
                format!("received is {received} after {}, and {} replies were sent", self.received, self.replied);
            return Err(Status::invalid_argument(problem));
        }
        self.received = received;
        Ok(())
    }

    /// A call came.
    #[inline(always)]
    fn note_call(&mut self, call: &CallFrame<'_>, limit: u64) -> Result<(), Status> {
        if call.sequence != self.sequence + 1 {
            let (last, problem) = (self.sequence, "sequence numbers rise by one");
            return Err(Status::invalid_argument(format!("call {} came after call {last}: {problem}", call.sequence)));
        }
        if self.sequence - self.received >= limit {
            let problem = format!(
                "more than {limit} calls are unanswered, the limits calls_in_flight and session_waiters together"
            );
            return Err(Status::resource_exhausted(problem));
        }
        self.sequence = call.sequence;
        Ok(())
    }
}

/// Nothing tells which of the reasons it is: who does not know the secret learns nothing. The incarnation tells every client
/// whether the manager is still the same.
fn over(incarnation: Uuid) -> Status {
    let mut status =
        Status::not_found("the session is over, or is none that this connection can resume: open a new one");
    status.metadata_mut().insert_bin(INCARNATION_METADATA, MetadataValue::from_bytes(incarnation.as_bytes()));
    status
}

fn broken(broken: Broken) -> Status {
    match broken {
        Broken::TooLarge { .. } => Status::resource_exhausted(broken.to_string()),
        Broken::Compressed | Broken::Malformed(_) => Status::invalid_argument(broken.to_string()),
    }
}
