//! Calls that come as requests of their own: one request, one response, and a status.

use std::collections::HashMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, Stream};
use futures_util::task::AtomicWaker;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use holdfast_proto::frame::{Broken, Deframer, PREFIX};
use holdfast_proto::{INDEX_METADATA, Reason, Refusal};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::metadata;
use super::session_cell::SessionCell;
use super::status::{self, refuse, trailers};
use crate::limits::Limits;
use crate::rpc::{Method, Target};
use crate::session::{Grant, Session, Unary, UnaryAnswer, too_large};
use crate::waits::Answered;

/// A request of no more bytes is taken in whatever else is on its way: large calls must not keep small ones out, since what
/// frees something is small.
const SMALL: usize = 16 << 10;

/// The unary calls of one connection that are being received or answered, or wait, polled by the task of that connection.
///
/// - A call is applied once, when its request is whole, which most are when they are first looked at.
/// - A call that waits is withdrawn when its client cancels it or its deadline passes. What a call was granted whose response
///   cannot be handed to the connection any more is taken back.
/// - While responses of more than the limit wait to be read, no request is read on, so flow control stops the client.
/// - A request counts against a limit of the connection while it is being received.
pub(super) struct Calls {
    receiving: FuturesUnordered<Receiving>,
    waiting: FuturesUnordered<WaitingCall>,
    /// Where the answers to those that wait are put, by their numbers.
    letters: HashMap<u64, Arc<Letter>>,
    sending: FuturesUnordered<Sending>,
    /// Bytes of requests that are not whole.
    inbound: Arc<AtomicUsize>,
    /// Bytes of responses that wait for the client to read.
    outbound: Arc<AtomicUsize>,
    limits: Arc<Limits>,
}

/// What a request asks for, and where its answer goes.
struct Call {
    method: Method,
    target: Target,
    fence: u64,
    path: String,
    respond: SendResponse<Bytes>,
    deadline: Option<Instant>,
}

impl Calls {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            receiving: FuturesUnordered::new(),
            waiting: FuturesUnordered::new(),
            letters: HashMap::new(),
            sending: FuturesUnordered::new(),
            inbound: Arc::default(),
            outbound: Arc::default(),
            limits,
        }
    }

    /// Whether no call is left.
    pub(super) fn is_empty(&self) -> bool {
        self.receiving.is_empty() && self.waiting.is_empty() && self.sending.is_empty()
    }

    /// Takes in a request, and answers it if it is whole.
    pub(super) fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        session: &mut SessionCell,
    ) {
        let Some(mut receiving) = Receiving::begin(request, respond, self) else { return };
        if !self.is_full()
            && let Poll::Ready(received) = Pin::new(&mut receiving).poll(cx)
        {
            self.apply(cx, received, session);
        } else {
            self.receiving.push(receiving);
        }
    }

    /// Does all that can be done now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, session: &mut SessionCell) {
        while !self.is_empty() {
            while let Poll::Ready(Some(Sent { grant, is_sent })) = Pin::new(&mut self.sending).poll_next(cx) {
                settle(session, grant, is_sent);
            }
            if self.is_full() {
                return;
            }
            let answered = self.poll_waiting(cx, session);
            match Pin::new(&mut self.receiving).poll_next(cx) {
                Poll::Ready(Some(received)) => self.apply(cx, received, session),
                Poll::Ready(None) | Poll::Pending if answered => {}
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Answers one call that waited, or ends its wait. Whether there was one.
    fn poll_waiting(&mut self, cx: &mut Context<'_>, session: &mut SessionCell) -> bool {
        if let Some(session) = session.get() {
            self.hand_out(session);
        }
        let Poll::Ready(Some(WaitOver { mut call, grant, why })) = Pin::new(&mut self.waiting).poll_next(cx) else {
            return false;
        };
        self.letters.remove(&grant.number());
        // A session that has ended has ended all its waits, and took back what they were granted.
        let Some(session) = session.get() else {
            refuse(
                &mut call.respond,
                Status::unavailable("the session of the connection has ended, and the call with it"),
            );
            return true;
        };
        match why {
            Over::Answered(answered) => {
                let mut response = BytesMut::zeroed(PREFIX);
                let answer = session.put_unary_answer(answered, &mut response);
                self.respond(session, call, answer, response);
            }
            Over::Gone => self.cancel(session, &grant),
            Over::Late => {
                self.cancel(session, &grant);
                let problem = "the deadline passed while the call waited: it was withdrawn, and granted nothing";
                refuse(&mut call.respond, Status::deadline_exceeded(problem));
            }
        }
        true
    }

    /// Hands the answers that have come to the calls that wait for them.
    fn hand_out(&mut self, session: &Session) {
        while let Some(answered) = session.waiting().next_unary_answer() {
            if let Some(letter) = self.letters.remove(&answered.number) {
                letter.put(answered);
            }
        }
    }

    /// Withdraws a call. Nobody is left to take its answer, which would keep its object until the next one comes.
    fn cancel(&mut self, session: &Session, grant: &Grant) {
        session.cancel_unary(grant);
        self.hand_out(session);
    }

    /// Refuses every call whose request is not whole, and those that wait.
    pub(super) fn refuse_rest(&mut self, status: &Status) {
        for mut waiting in mem::take(&mut self.waiting) {
            if let Some((call, _)) = &mut waiting.call {
                refuse(&mut call.respond, status.clone());
            }
        }
        self.letters.clear();
        for mut receiving in mem::take(&mut self.receiving) {
            if let Some(call) = &mut receiving.call {
                refuse(&mut call.respond, status.clone());
            }
        }
    }

    /// The connection is lost, and its session goes on without it: nobody is left to take an answer. What calls wait for is
    /// withdrawn, and what was granted without being heard of is taken back.
    pub(super) fn end_all(&mut self, session: &Session) {
        let waiting = mem::take(&mut self.waiting).into_iter().filter_map(|mut waiting| waiting.call.take());
        let sending = mem::take(&mut self.sending).into_iter().filter_map(|mut sending| sending.grant.take());
        for grant in waiting.map(|(_, grant)| grant).chain(sending) {
            session.cancel_unary(&grant);
        }
        self.letters.clear();
        self.hand_out(session);
        self.receiving.clear();
    }

    /// The client must read before more is applied.
    fn is_full(&self) -> bool {
        self.outbound.load(Ordering::Relaxed) >= self.limits.outbound_bytes
    }

    /// Applies a call, and answers it unless it waits.
    fn apply(&mut self, cx: &Context<'_>, received: Received, session: &mut SessionCell) {
        let Received { mut call, request, inbound } = received;
        let request = match request {
            Ok(request) => request,
            Err(Unfit::Refused(refusal)) => return refuse(&mut call.respond, status::of(&refusal, &call.path)),
            Err(Unfit::Status(status)) => return refuse(&mut call.respond, status),
            // Nobody waits for an answer.
            Err(Unfit::Gone) => return,
        };
        let session = match session.open() {
            Ok(session) => session,
            Err(refusal) => return refuse(&mut call.respond, status::of(&refusal, &call.path)),
        };
        let mut response = BytesMut::zeroed(PREFIX);
        let unary = session.call_unary(call.method, &call.target, call.fence, &request, &mut response);
        drop((request, inbound));
        match unary {
            Unary::Answered(answer) => self.respond(session, call, answer, response),
            Unary::Waits(grant) => {
                session.waiting().set_waker(Some(cx.waker().clone()));
                let letter = Arc::<Letter>::default();
                self.letters.insert(grant.number(), letter.clone());
                let timer = call.deadline.map(|deadline| Box::pin(sleep_until(deadline)));
                self.waiting.push(WaitingCall { call: Some((call, grant)), letter, timer });
                // It has to be polled once to be woken.
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Sends an answer. Its response begins with room for its prefix.
    fn respond(&mut self, session: &Session, mut call: Call, answer: UnaryAnswer, mut response: BytesMut) {
        let UnaryAnswer { index, result, grant } = answer;
        if let Err(refusal) = result {
            let mut status = status::of(&refusal, &call.path);
            if index > 0 {
                status.metadata_mut().insert(INDEX_METADATA, index.into());
            }
            return refuse(&mut call.respond, status);
        }
        // The flag of a compressed message stays zero. Every response is far below 4 GiB.
        let len = u32::try_from(response.len() - PREFIX).expect("a response is smaller than 4 GiB");
        (&mut response[1..PREFIX]).put_u32(len);
        let mut trailers = trailers(&Status::ok(""));
        if index > 0 {
            trailers.insert(INDEX_METADATA, index.into());
        }
        let mut head = Response::new(());
        head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let Ok(stream) = call.respond.send_response(head, false) else {
            // The client has reset the stream.
            return settle_in(session, grant, false);
        };
        let mut sending = Sending { stream, response: response.freeze(), trailers, outbound: None, grant };
        if let Some(is_sent) = sending.send_at_once() {
            settle_in(session, sending.grant.take(), is_sent);
        } else {
            sending.outbound = Some(Counted::new(&self.outbound, sending.response.len()));
            self.sending.push(sending);
        }
    }
}

/// What a call was granted is its client's if its response was handed to the connection, and is taken back if not.
fn settle(session: &mut SessionCell, grant: Option<Grant>, is_sent: bool) {
    if let Some(session) = session.get() {
        settle_in(session, grant, is_sent);
    }
}

fn settle_in(session: &Session, grant: Option<Grant>, is_sent: bool) {
    match grant {
        Some(grant) if is_sent => session.acknowledge_unary(&grant),
        Some(grant) => session.cancel_unary(&grant),
        None => {}
    }
}

/// A call that waits.
struct WaitingCall {
    /// Until it is over.
    call: Option<(Call, Grant)>,
    letter: Arc<Letter>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Where the answer to a call that waits is put.
#[derive(Default)]
struct Letter {
    answered: Mutex<Option<Answered>>,
    waker: AtomicWaker,
}

impl Letter {
    fn put(&self, answered: Answered) {
        *self.answered.lock() = Some(answered);
        self.waker.wake();
    }
}

/// The end of a wait.
struct WaitOver {
    call: Call,
    grant: Grant,
    why: Over,
}

enum Over {
    Answered(Answered),
    /// The client has given up.
    Gone,
    /// The deadline of the RPC has passed.
    Late,
}

impl Future for WaitingCall {
    type Output = WaitOver;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WaitOver> {
        let this = &mut *self;
        this.letter.waker.register(cx.waker());
        let (call, _) = this.call.as_mut().expect("a wait is over once");
        let answered = this.letter.answered.lock().take();
        let why = if let Some(answered) = answered {
            Over::Answered(answered)
        } else if let Poll::Ready(Ok(_)) = call.respond.poll_reset(cx) {
            // An error is the end of the connection. With it ends the session, or all its unary calls if that goes on.
            Over::Gone
        } else if this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            Over::Late
        } else {
            return Poll::Pending;
        };
        let (call, grant) = this.call.take().expect("it was just looked at");
        Poll::Ready(WaitOver { call, grant, why })
    }
}

/// Bytes that count, until they are dropped.
struct Counted {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Counted {
    fn new(total: &Arc<AtomicUsize>, bytes: usize) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self { total: total.clone(), bytes }
    }

    /// Adds some. Also tells how many all have together, and whether others have any.
    fn add(&mut self, bytes: usize) -> (usize, bool) {
        self.bytes += bytes;
        let total = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (total, total > self.bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request that is being received.
struct Receiving {
    /// Until it is received.
    call: Option<Call>,
    recv: RecvStream,
    deframer: Deframer,
    request: Option<Bytes>,
    inbound: Counted,
    limits: Arc<Limits>,
    deadline: Option<Instant>,
    /// Set when the rest of the request has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A request that was received.
struct Received {
    call: Call,
    request: Result<Bytes, Unfit>,
    inbound: Counted,
}

/// Why a request is not applied.
enum Unfit {
    Refused(Refusal),
    Status(Status),
    /// The client has given up.
    Gone,
}

impl Receiving {
    /// Looks at the head of a request. `None` if it is refused.
    fn begin(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, calls: &Calls) -> Option<Self> {
        let (head, recv) = request.into_parts();
        let path = head.uri.path();
        let (method, target, fence, timeout) = match asks_for(path, &head.headers) {
            Ok(asked) => asked,
            Err(refusal) => {
                refuse(&mut respond, status::of(&refusal, path));
                return None;
            }
        };
        // One that no clock can show never comes.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Some(Self {
            call: Some(Call { method, target, fence, path: path.to_owned(), respond, deadline }),
            recv,
            deframer: Deframer::new(calls.limits.value_bytes),
            request: None,
            inbound: Counted::new(&calls.inbound, 0),
            limits: calls.limits.clone(),
            deadline,
            timer: None,
        })
    }

    /// The whole request, once its end has come.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Unfit>> {
        loop {
            let message = match self.deframer.next_shared() {
                Ok(message) => message,
                Err(broken) => return Poll::Ready(Err(unfit(&broken, &self.limits))),
            };
            if let Some(message) = message {
                if self.request.replace(message).is_some() {
                    return Poll::Ready(Err(Unfit::Status(miscounted("two"))));
                }
                continue;
            }
            match self.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    if let Err(unfit) = self.push(chunk) {
                        return Poll::Ready(Err(unfit));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Unfit::Gone)),
                Poll::Ready(None) => return Poll::Ready(self.whole()),
                Poll::Pending => return self.poll_deadline(cx),
            }
        }
    }

    fn push(&mut self, chunk: Bytes) -> Result<(), Unfit> {
        let (total, others) = self.inbound.add(chunk.len());
        let limit = self.limits.inbound_bytes;
        if others && total > limit && self.inbound.bytes > SMALL {
            let problem = format!(
                "the requests that are coming on this connection have more than {limit} bytes together, the limit named \
                 inbound_bytes: make fewer large calls at once, or raise it"
            );
            return Err(Unfit::Refused(Refusal::new(Reason::Quota, problem)));
        }
        self.recv.flow_control().release_capacity(chunk.len()).map_err(|_| Unfit::Gone)?;
        self.deframer.push(chunk);
        Ok(())
    }

    /// The end of the request has come.
    fn whole(&mut self) -> Result<Bytes, Unfit> {
        if self.deframer.is_inside_message() {
            let problem = "the request ends in the middle of its message: send all of it before the stream is closed";
            return Err(Unfit::Refused(Refusal::new(Reason::Malformed, problem)));
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Unfit::Status(too_late()));
        }
        self.request.take().ok_or_else(|| Unfit::Status(miscounted("no")))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Unfit>> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| Err(Unfit::Status(too_late())))
    }
}

impl Future for Receiving {
    type Output = Received;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        let this = &mut *self;
        this.poll_request(cx).map(|request| {
            let nothing = Counted::new(&this.inbound.total, 0);
            Received {
                call: this.call.take().expect("a request is received once"),
                request,
                inbound: mem::replace(&mut this.inbound, nothing),
            }
        })
    }
}

/// What the head of a request asks for. Refused: `UNKNOWN_OP`, `MALFORMED`.
fn asks_for(path: &str, headers: &HeaderMap) -> Result<(Method, Target, u64, Option<Duration>), Refusal> {
    let method = Method::find(path)?;
    let target = metadata::target(headers)?;
    if method.is_of_manager() && target != Target::Nothing {
        let problem = "the call is about the manager and about no object: leave out the metadata that name one";
        return Err(Refusal::new(Reason::Malformed, problem));
    }
    Ok((method, target, metadata::fence(headers)?, metadata::timeout(headers)?))
}

fn unfit(broken: &Broken, limits: &Limits) -> Unfit {
    match *broken {
        Broken::TooLarge { bytes, .. } => Unfit::Refused(too_large(bytes, limits.value_bytes)),
        Broken::Compressed => Unfit::Status(Status::unimplemented(
            "the request is compressed, which this manager does not read: send it without compression",
        )),
        Broken::Malformed(problem) => Unfit::Refused(Refusal::new(Reason::Malformed, problem)),
    }
}

/// <https://grpc.github.io/grpc/core/md_doc_statuscodes.html> has this code for it.
fn miscounted(messages: &str) -> Status {
    Status::unimplemented(format!("the request has {messages} messages: a unary call has one"))
}

fn too_late() -> Status {
    Status::deadline_exceeded("the deadline passed before the request was whole: nothing was applied")
}

/// A response for which there was no room at once.
struct Sending {
    stream: SendStream<Bytes>,
    response: Bytes,
    trailers: HeaderMap,
    outbound: Option<Counted>,
    grant: Option<Grant>,
}

/// A response that left, or that nobody waits for.
struct Sent {
    grant: Option<Grant>,
    is_sent: bool,
}

impl Sending {
    /// Whether it left. `None` if it must be tried again.
    fn send_at_once(&mut self) -> Option<bool> {
        self.stream.reserve_capacity(self.response.len());
        (self.stream.capacity() >= self.response.len()).then(|| {
            let response = mem::take(&mut self.response);
            // Errors mean that the client has reset the stream.
            self.stream.send_data(response, false).is_ok()
                && self.stream.send_trailers(mem::take(&mut self.trailers)).is_ok()
        })
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if let Some(is_sent) = self.send_at_once() {
                return Poll::Ready(is_sent);
            }
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(capacity))) => {
                    let part = capacity.min(self.response.len());
                    let part = self.response.split_to(part);
                    if self.stream.send_data(part, false).is_err() {
                        return Poll::Ready(false);
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Future for Sending {
    type Output = Sent;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Sent> {
        self.poll_sent(cx).map(|is_sent| Sent { grant: self.grant.take(), is_sent })
    }
}
