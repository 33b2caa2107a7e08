//! Calls that come as requests of their own: one request, one response, and a status.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, Stream};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use holdfast_proto::frame::{Broken, Deframer, PREFIX};
use holdfast_proto::{INDEX_METADATA, Reason, Refusal};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::metadata;
use super::session_cell::SessionCell;
use super::status::{self, refuse, trailers};
use crate::limits::Limits;
use crate::rpc::{Method, Target};
use crate::session::too_large;

/// A request of no more bytes is taken in whatever else is on its way: large calls must not keep small ones out, since what
/// frees something is small.
const SMALL: usize = 16 << 10;

/// The unary calls of one connection that are being received or answered, polled by the task of that connection.
///
/// - A call is applied once, when its request is whole, which most are when they are first looked at.
/// - While responses of more than the limit wait to be read, no request is read on, so flow control stops the client.
/// - A request counts against a limit of the connection while it is being received.
pub(super) struct Calls {
    receiving: FuturesUnordered<Receiving>,
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
    path: String,
    respond: SendResponse<Bytes>,
}

impl Calls {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            receiving: FuturesUnordered::new(),
            sending: FuturesUnordered::new(),
            inbound: Arc::default(),
            outbound: Arc::default(),
            limits,
        }
    }

    /// Whether no call is left.
    pub(super) fn is_empty(&self) -> bool {
        self.receiving.is_empty() && self.sending.is_empty()
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
            self.answer(received, session);
        } else {
            self.receiving.push(receiving);
        }
    }

    /// Does all that can be done now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, session: &mut SessionCell) {
        while !self.is_empty() {
            while let Poll::Ready(Some(())) = Pin::new(&mut self.sending).poll_next(cx) {}
            if self.is_full() {
                return;
            }
            match Pin::new(&mut self.receiving).poll_next(cx) {
                Poll::Ready(Some(received)) => self.answer(received, session),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Refuses every call whose request is not whole.
    pub(super) fn refuse_rest(&mut self, status: &Status) {
        for mut receiving in mem::take(&mut self.receiving) {
            if let Some(call) = &mut receiving.call {
                refuse(&mut call.respond, status.clone());
            }
        }
    }

    /// The client must read before more is applied.
    fn is_full(&self) -> bool {
        self.outbound.load(Ordering::Relaxed) >= self.limits.outbound_bytes
    }

    /// Applies a call, and answers it.
    fn answer(&mut self, received: Received, session: &mut SessionCell) {
        let Received { mut call, request, inbound } = received;
        let request = match request {
            Ok(request) => request,
            Err(Unfit::Refused(refusal)) => return refuse(&mut call.respond, status::of(&refusal, &call.path)),
            Err(Unfit::Status(status)) => return refuse(&mut call.respond, status),
            // Nobody waits for an answer.
            Err(Unfit::Gone) => return,
        };
        let mut response = BytesMut::zeroed(PREFIX);
        let (index, result) = match session.open() {
            Ok(session) => session.call_unary(call.method, &call.target, &request, &mut response),
            Err(refusal) => (0, Err(refusal)),
        };
        drop((request, inbound));
        match result {
            Ok(()) => self.respond(call.respond, response, index),
            Err(refusal) => {
                let mut status = status::of(&refusal, &call.path);
                if index > 0 {
                    status.metadata_mut().insert(INDEX_METADATA, index.into());
                }
                refuse(&mut call.respond, status);
            }
        }
    }

    /// Sends a response, which begins with room for its prefix.
    fn respond(&mut self, mut respond: SendResponse<Bytes>, mut response: BytesMut, index: u64) {
        // The flag of a compressed message stays zero. Every response is far below 4 GiB.
        let len = u32::try_from(response.len() - PREFIX).expect("a response is smaller than 4 GiB");
        (&mut response[1..PREFIX]).put_u32(len);
        let mut trailers = trailers(&Status::ok(""));
        if index > 0 {
            trailers.insert(INDEX_METADATA, index.into());
        }
        let mut head = Response::new(());
        head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        // Errors mean that the client has reset the stream.
        let Ok(stream) = respond.send_response(head, false) else { return };
        let mut sending = Sending { stream, response: response.freeze(), trailers, outbound: None };
        if !sending.send_at_once() {
            sending.outbound = Some(Counted::new(&self.outbound, sending.response.len()));
            self.sending.push(sending);
        }
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
        let (method, target, timeout) = match asks_for(path, &head.headers) {
            Ok(asked) => asked,
            Err(refusal) => {
                refuse(&mut respond, status::of(&refusal, path));
                return None;
            }
        };
        Some(Self {
            call: Some(Call { method, target, path: path.to_owned(), respond }),
            recv,
            deframer: Deframer::new(calls.limits.value_bytes),
            request: None,
            inbound: Counted::new(&calls.inbound, 0),
            limits: calls.limits.clone(),
            // One that no clock can show never comes.
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
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
fn asks_for(path: &str, headers: &HeaderMap) -> Result<(Method, Target, Option<Duration>), Refusal> {
    let method = Method::find(path)?;
    let target = metadata::target(headers)?;
    if method.is_of_manager() && target != Target::Nothing {
        let problem = "the call is about the manager and about no object: leave out the metadata that name one";
        return Err(Refusal::new(Reason::Malformed, problem));
    }
    Ok((method, target, metadata::timeout(headers)?))
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
}

impl Sending {
    /// Whether it is all sent, or nobody waits for it.
    fn send_at_once(&mut self) -> bool {
        self.stream.reserve_capacity(self.response.len());
        self.stream.capacity() >= self.response.len() && {
            let response = mem::take(&mut self.response);
            // Errors mean that the client has reset the stream.
            let _ = self.stream.send_data(response, false);
            let _ = self.stream.send_trailers(mem::take(&mut self.trailers));
            true
        }
    }
}

impl Future for Sending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while !self.send_at_once() {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(capacity))) => {
                    let part = capacity.min(self.response.len());
                    let part = self.response.split_to(part);
                    if self.stream.send_data(part, false).is_err() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}
