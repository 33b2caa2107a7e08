//! One HTTP/2 connection: what it carries, and when it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use holdfast_proto::scram::Binding;
use holdfast_proto::{CONNECT_PATH, TOKEN_METADATA};
use holdfast_stream::{SelfWake, Side};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use super::session_stream::SessionStream;
use super::{tls, unary};
use crate::auth::{Authenticator, Gate, Source, Verdict};
use crate::certificate::Certificate;
use crate::session::Store;

/// A connection that is being closed, and on which all has been said, waits this long for the peer to take note. One that
/// reads does so at once; one whose thread is busy elsewhere must not hold up the manager's end.
const LINGER: Duration = Duration::from_secs(1);

/// How often a connection is polled again for what it did itself, before others get their turn.
const ROUNDS: usize = 4;

/// What a client may send without a word from the manager, on the session's stream.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 2 << 20;

/// What h2 keeps of one stream's outgoing bytes; the rest waits in the outbox, where it is counted.
const SEND_BUFFER: usize = 128 << 10;

/// The path of the service that an unauthenticated connection may call.
const AUTH_SERVICE: &str = "/holdfast.v1.AuthService/";

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) routes: Routes,
    /// A connection has this long to prove that it holds the authkey.
    pub(crate) authenticate_within: Duration,
    /// Cancelled when the manager stops.
    pub(crate) stop: CancellationToken,
}

/// Serves one connection in plain text until it ends.
pub(crate) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: Source,
    shared: Arc<Shared>,
) {
    let deadline = Instant::now() + shared.authenticate_within;
    serve_until(deadline, io, source, Binding::None, shared).await;
}

/// Serves one connection over TLS until it ends.
pub(crate) async fn serve_tls(stream: TcpStream, source: Source, certificate: Certificate, shared: Arc<Shared>) {
    let deadline = Instant::now() + shared.authenticate_within;
    let handshake = tls::shake_hands(stream, &certificate);
    let stream = tokio::select! {
        handshake = timeout_at(deadline, handshake) => match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(?source, %error, "a TLS handshake failed"),
            Err(_) => return,
        },
        () = shared.stop.cancelled() => return,
    };
    serve_until(deadline, stream, source, certificate.binding().clone(), shared).await;
}

/// Serves one connection, on which clients must have authenticated before the deadline.
async fn serve_until(
    deadline: Instant,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: Source,
    binding: Binding,
    shared: Arc<Shared>,
) {
    let handshake = builder().handshake(io);
    let h2 = tokio::select! {
        handshake = timeout_at(deadline, handshake) => match handshake {
            Ok(Ok(h2)) => h2,
            // Not HTTP/2, or nothing at all.
            Ok(Err(_)) | Err(_) => return,
        },
        () = shared.stop.cancelled() => return,
    };
    let gate = Arc::new(Gate::new(shared.authenticator.clone(), source, binding));
    Connection::new(h2, deadline, gate, shared).await;
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(8 << 10)
        .max_concurrent_streams(256)
        // Streams that h2 itself resets because of a peer's errors: without a limit they cost memory for ever
        // (CVE-2025-8671, RUSTSEC-2024-0003).
        .max_local_error_reset_streams(Some(256));
    builder
}

/// One HTTP/2 connection, polled as one task together with its session.
///
/// Whatever ends it, the session is dropped with it, and with the session everything that it held.
struct Connection<Io> {
    h2: h2::server::Connection<Io, Bytes>,
    wakes: SelfWake,
    session: Option<SessionStream>,
    /// A connection has one session in its life.
    had_session: bool,
    /// Unary calls that are being answered. They end with the connection.
    unary: JoinSet<()>,
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    rare: Rare,
    closing: bool,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Connection<Io> {
    fn new(h2: h2::server::Connection<Io, Bytes>, deadline: Instant, gate: Arc<Gate>, shared: Arc<Shared>) -> Self {
        let rare = Rare::new(deadline, gate.clone(), shared.stop.clone());
        Self {
            h2,
            wakes: SelfWake::default(),
            session: None,
            had_session: false,
            unary: JoinSet::new(),
            gate,
            shared,
            rare,
            closing: false,
        }
    }

    /// Reads and writes the socket, and takes in new streams. `Ready` when the connection is over.
    fn poll_h2(&mut self) -> Poll<()> {
        loop {
            let mut cx = Context::from_waker(self.wakes.waker(Side::Connection));
            match self.h2.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.handle_request(request, respond),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn handle_request(&mut self, mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        while self.unary.try_join_next().is_some() {}
        let path = request.uri().path();
        if path.starts_with(AUTH_SERVICE) {
            request.extensions_mut().insert(self.gate.clone());
            self.unary.spawn(unary::answer(request, respond, self.shared.routes.clone()));
        } else if !token(request.headers()).is_some_and(|token| self.gate.admits(&token)) {
            let status = Status::unauthenticated(
                "this connection has not proven that it holds the authkey: call AuthService first, and send its token",
            );
            refuse(&mut respond, status);
        } else if path == CONNECT_PATH {
            self.handle_connect(request, respond);
        } else {
            self.unary.spawn(unary::answer(request, respond, self.shared.routes.clone()));
        }
    }

    fn handle_connect(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.had_session {
            return refuse(
                &mut respond,
                Status::failed_precondition("this connection had its session: open another connection"),
            );
        }
        let response = Response::builder().header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let response = response.body(()).expect("a constant response");
        if let Ok(send) = respond.send_response(response, false) {
            self.had_session = true;
            self.session = Some(SessionStream::new(request.into_body(), send, self.shared.store.clone()));
        }
    }

    fn poll_session(&mut self) {
        let mut cx = Context::from_waker(self.wakes.waker(Side::Stream));
        if let Some(session) = &mut self.session
            && session.poll(&mut cx).is_ready()
        {
            self.session = None;
            // The token dies with the session.
            self.gate.shut();
            self.close();
        }
    }

    /// Handles what is rarely due. `Ready` when the connection must end now.
    fn poll_rare(&mut self) -> Poll<()> {
        let waker = self.wakes.waker(Side::Rare).clone();
        while let Poll::Ready(due) = self.rare.poll(&mut Context::from_waker(&waker), self.gate.verdict()) {
            match due {
                Due::Unauthenticated => return Poll::Ready(()),
                Due::Shut => self.close(),
                Due::Lingered => {
                    while self.unary.try_join_next().is_some() {}
                    if self.session.is_none() && self.unary.is_empty() {
                        return Poll::Ready(());
                    }
                    self.rare.linger();
                }
                Due::Stop => {
                    let stream = self.wakes.waker(Side::Stream).clone();
                    if let Some(session) = &mut self.session {
                        session.stop(&mut Context::from_waker(&stream));
                    }
                    self.close();
                }
            }
        }
        Poll::Pending
    }

    /// Takes no new streams; ends when those that are open have ended.
    fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            self.h2.graceful_shutdown();
            // h2 does not wake anyone for it, and what it has queued must leave.
            self.wakes.waker(Side::Connection).wake_by_ref();
            self.rare.linger();
            self.wakes.waker(Side::Rare).wake_by_ref();
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Future for Connection<Io> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _scope = this.wakes.scope(cx);
        for _ in 0..ROUNDS {
            // Whatever these were raised for is done by the polls that follow.
            this.wakes.take(Side::Connection);
            if this.poll_h2().is_ready() {
                // What came before the end still counts, a goodbye most of all.
                this.poll_session();
                return Poll::Ready(());
            }
            this.wakes.take(Side::Stream);
            this.poll_session();
            if this.wakes.take(Side::Rare) && this.poll_rare().is_ready() {
                return Poll::Ready(());
            }
            let connection = this.wakes.take(Side::Connection);
            let stream = this.wakes.take(Side::Stream);
            if !connection && !stream {
                return Poll::Pending;
            }
        }
        this.wakes.wake_task();
        Poll::Pending
    }
}

/// Metadata in binary is base64 with or without padding.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
const BINARY_METADATA: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token that came with a request.
fn token(headers: &HeaderMap) -> Option<Vec<u8>> {
    BINARY_METADATA.decode(headers.get(TOKEN_METADATA)?.as_bytes()).ok()
}

/// Answers with a status alone.
fn refuse(respond: &mut SendResponse<Bytes>, status: Status) {
    let response: Response<()> = status.into_http();
    // An error means that the client has reset the stream.
    let _ = respond.send_response(response, true);
}

/// What is rarely due on a connection, apart from what is due at every call.
struct Rare {
    /// Until the gate opens.
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    gate: Arc<Gate>,
    /// The next change of the gate, until it is shut.
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Since the connection is being closed.
    linger: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

enum Due {
    /// The time to authenticate is over.
    Unauthenticated,
    /// The gate was shut for good.
    Shut,
    /// The peer had time to take note of the end.
    Lingered,
    /// The manager stops.
    Stop,
}

impl Rare {
    fn new(deadline: Instant, gate: Arc<Gate>, stop: CancellationToken) -> Self {
        Self {
            deadline: Some(Box::pin(sleep_until(deadline))),
            change: Some(change(&gate)),
            linger: None,
            gate,
            stop: Some(Box::pin(stop.cancelled_owned())),
        }
    }

    /// Tells in a while that the peer had time.
    fn linger(&mut self) {
        self.linger = Some(Box::pin(sleep_until(Instant::now() + LINGER)));
    }

    fn poll(&mut self, cx: &mut Context<'_>, verdict: Verdict) -> Poll<Due> {
        if is_ready(&mut self.stop, cx) {
            return Poll::Ready(Due::Stop);
        }
        if is_ready(&mut self.linger, cx) {
            return Poll::Ready(Due::Lingered);
        }
        match verdict {
            Verdict::Shut if self.change.take().is_some() => return Poll::Ready(Due::Shut),
            Verdict::Shut => {}
            Verdict::Open => self.deadline = None,
            Verdict::Undecided => {}
        }
        if is_ready(&mut self.change, cx) {
            // A gate that is open may yet be shut. What it is now is looked at again.
            self.change = Some(change(&self.gate));
            cx.waker().wake_by_ref();
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Due::Unauthenticated);
        }
        Poll::Pending
    }
}

/// The next change of a gate.
fn change(gate: &Arc<Gate>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let gate = gate.clone();
    Box::pin(async move { gate.changed().await })
}

/// Polls what is still waited for, once it is ready no more.
fn is_ready(future: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>, cx: &mut Context<'_>) -> bool {
    let ready = future.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready());
    if ready {
        *future = None;
    }
    ready
}
