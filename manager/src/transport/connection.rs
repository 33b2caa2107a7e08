//! One HTTP/2 connection: what it carries, and when it ends.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use holdfast_proto::scram::Binding;
use holdfast_proto::{CONNECT_PATH, Reason, Refusal};
use holdfast_stream::{FRAME_BYTES, SelfWake, Side};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use super::metadata;
use super::services::{self, Budget};
use super::session_cell::SessionCell;
use super::session_stream::{Grace, SessionStream};
use super::status::{self, refuse, refuse_http};
use super::stint::{InStints, Stint};
use super::tls;
use super::traffic::{Parts, Traffic};
use super::unary::Calls;
use crate::admission::Place;
use crate::auth::{Authenticator, Gate, Source, Verdict};
use crate::certificate::Certificate;
use crate::detached::Release;
use crate::network::Network;
use crate::poller::note_activity;
use crate::process::Peer;
use crate::session::Store;

/// A connection that is being closed, and on which all has been said, waits this long for the peer to take note. One that
/// reads does so at once; one whose thread is busy elsewhere must not hold up the manager's end.
const LINGER: Duration = Duration::from_secs(1);

/// How often a connection is polled again for what it did itself, before others get their turn.
const ROUNDS: usize = 4;

/// What a client may send on a connection before it has proven anything: the default of HTTP/2, which is its least.
const STRANGER_WINDOW: u32 = 65_535;

/// The bytes of messages that a connection is served for before it is authenticated.
const STRANGER_BYTES: usize = 64 << 10;

/// How many requests a connection may have open at once before it is authenticated.
const STRANGER_REQUESTS_AT_ONCE: usize = 8;

/// How many requests a connection may make before it is authenticated.
const STRANGER_REQUESTS: usize = 64;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) routes: Routes,
    /// Built when somebody asks for it.
    pub(crate) reflection: LazyLock<Routes>,
    pub(crate) network: Network,
    /// Cancelled when the manager stops.
    pub(crate) stop: CancellationToken,
}

/// Serves one connection in plain text until it ends.
pub(crate) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: Source,
    peer: Peer,
    place: Place,
    shared: Arc<Shared>,
) {
    let deadline = Instant::now() + shared.network.handshake_timeout;
    serve_until(deadline, io, (source, Binding::None), peer, place, shared).await;
}

/// Serves one connection over TLS until it ends.
pub(crate) async fn serve_tls(
    stream: TcpStream,
    source: Source,
    certificate: Certificate,
    place: Place,
    shared: Arc<Shared>,
) {
    let deadline = Instant::now() + shared.network.handshake_timeout;
    let handshake = tls::shake_hands(stream, &certificate);
    let stream = tokio::select! {
        handshake = timeout_at(deadline, handshake) => match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(?source, %error, "a TLS handshake failed"),
            Err(_) => return,
        },
        () = shared.stop.cancelled() => return,
    };
    serve_until(deadline, stream, (source, certificate.binding().clone()), Peer::default(), place, shared).await;
}

/// Serves one connection, on which clients must have authenticated before the deadline.
async fn serve_until(
    deadline: Instant,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (source, binding): (Source, Binding),
    peer: Peer,
    place: Place,
    shared: Arc<Shared>,
) {
    let (stint, wakes) = (Stint::new(), SelfWake::default());
    let session = SessionCell::new(shared.store.clone(), peer.pid);
    let traffic = Traffic::new(wakes.clone(), session, Calls::new(shared.store.limits.clone()));
    let handshake = builder(&shared.network).handshake(InStints::new(io, stint.clone(), traffic.clone()));
    let h2 = tokio::select! {
        handshake = timeout_at(deadline, handshake) => match handshake {
            Ok(Ok(h2)) => h2,
            // Not HTTP/2, or nothing at all.
            Ok(Err(_)) | Err(_) => return,
        },
        () = place.ousted() => return,
        () = shared.stop.cancelled() => return,
    };
    let gate = Arc::new(Gate::new(shared.authenticator.clone(), source, binding));
    let peer_pid = peer.pid;
    let orphaned = match peer.ended() {
        Ok(orphaned) => orphaned,
        Err(error) => {
            return tracing::error!(%error, "the process at the other end of a connection could not be watched");
        }
    };
    let rare = Rare::new(deadline, gate.clone(), orphaned, place, shared.stop.clone());
    Connection::new(h2, (stint, wakes, traffic), gate, peer_pid, rare, shared).await;
}

fn builder(network: &Network) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(network.stream_window)
        .initial_connection_window_size(STRANGER_WINDOW)
        .max_send_buffer_size(network.send_buffer)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(network.max_header_list)
        .max_concurrent_streams(network.max_concurrent_streams)
        .max_pending_accept_reset_streams(network.max_pending_accept_resets)
        .max_local_error_reset_streams(Some(network.max_local_error_resets));
    builder
}

/// One HTTP/2 connection, polled as one task together with its session and its unary calls.
///
/// Whatever ends it, the session is dropped with it, and with the session everything that it held.
struct Connection<Io> {
    h2: h2::server::Connection<InStints<Io, Traffic>, Bytes>,
    stint: Stint,
    wakes: SelfWake,
    traffic: Traffic,
    /// A connection has one session stream in its life.
    had_stream: bool,
    /// Requests to services that need no session. They end with the connection.
    services: JoinSet<()>,
    gate: Arc<Gate>,
    /// What it may yet do, until it has shown the token that authentication gave it.
    stranger: Option<Stranger>,
    shared: Arc<Shared>,
    rare: Rare,
    closing: bool,
    /// Of the process at the other end, where it is known.
    peer_pid: Option<u32>,
    /// That process has ended. Another that has inherited its socket is no part of the session.
    orphaned: bool,
}

/// What a connection that is not authenticated may yet do.
struct Stranger {
    requests: usize,
    bytes: Budget,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Connection<Io> {
    fn new(
        h2: h2::server::Connection<InStints<Io, Traffic>, Bytes>,
        (stint, wakes, traffic): (Stint, SelfWake, Traffic),
        gate: Arc<Gate>,
        peer_pid: Option<u32>,
        rare: Rare,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            h2,
            stint,
            wakes,
            traffic,
            had_stream: false,
            services: JoinSet::new(),
            gate,
            stranger: Some(Stranger { requests: STRANGER_REQUESTS, bytes: Budget::new(STRANGER_BYTES) }),
            shared,
            rare,
            closing: false,
            peer_pid,
            orphaned: false,
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
            self.stint.start_clock();
            if !self.stint.goes_on() {
                return Poll::Pending;
            }
        }
    }

    fn handle_request(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.traffic.be_due();
        if let Some(stranger) = &mut self.stranger {
            stranger.requests = stranger.requests.saturating_sub(1);
            if stranger.requests == 0 {
                return self.h2.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            }
        }
        if request.method() != Method::POST {
            return refuse_http(&mut respond, StatusCode::METHOD_NOT_ALLOWED);
        }
        if !metadata::is_grpc(request.headers()) {
            return refuse_http(&mut respond, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let path = request.uri().path();
        if services::has(path) {
            return self.handle_service(request, respond);
        }
        if !metadata::token(request.headers()).is_some_and(|token| self.gate.admits(&token)) {
            let problem = "this connection has not proven that it holds the authkey: call AuthService first, and send its token \
                           as metadata";
            let refusal = Refusal::new(Reason::Unauthenticated, problem);
            return refuse(&mut respond, status::of(&refusal, path));
        }
        if self.stranger.take().is_some() {
            self.h2.set_target_window_size(self.shared.network.connection_window);
        }
        if self.closing {
            refuse(&mut respond, closed());
        } else if path == CONNECT_PATH {
            self.handle_connect(request, respond);
        } else {
            let mut cx = Context::from_waker(self.wakes.waker(Side::Stream));
            let Parts { session, calls, .. } = &mut *self.traffic.parts();
            calls.take_in(&mut cx, request, respond, session);
        }
    }

    fn handle_service(&mut self, mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        while self.services.try_join_next().is_some() {}
        if self.stranger.is_some() && self.services.len() >= STRANGER_REQUESTS_AT_ONCE {
            let problem = format!(
                "a connection that is not authenticated has {STRANGER_REQUESTS_AT_ONCE} requests at once: wait for answers"
            );
            return refuse(&mut respond, Status::resource_exhausted(problem));
        }
        request.extensions_mut().insert(self.gate.clone());
        let budget = self.stranger.as_ref().map(|stranger| stranger.bytes.clone());
        let is_reflection = services::is_reflection(request.uri().path());
        let routes = if is_reflection { &*self.shared.reflection } else { &self.shared.routes }.clone();
        let stop = self.shared.stop.clone();
        self.services.spawn(services::answer(request, respond, routes, budget, stop));
    }

    fn handle_connect(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if self.had_stream {
            return refuse(
                &mut respond,
                Status::failed_precondition("this connection had its session: open another connection"),
            );
        }
        let response = Response::builder().header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let response = response.body(()).expect("a constant response");
        if let Ok(send) = respond.send_response(response, false) {
            self.had_stream = true;
            let limits = self.shared.store.limits.clone();
            let stream = SessionStream::new(request.into_body(), send, limits, self.grace(), self.stint.clone());
            self.traffic.parts().stream = Some(stream);
        }
    }

    /// How a session outlives this connection. The end of a Unix socket is that of the process behind it.
    fn grace(&self) -> Option<Grace> {
        let time = self.shared.network.session_grace;
        let release = || Release::new(self.wakes.waker(Side::Rare).clone());
        (self.gate.is_remote() && !time.is_zero()).then(|| Grace { time, release: release() })
    }

    /// The connection is lost: what can outlive it waits for another one.
    fn detach(&mut self) {
        let Parts { session, stream, calls } = &mut *self.traffic.parts();
        if let Some(stream) = stream {
            stream.detach(session, calls);
        }
    }

    /// Does what is due of what the connection carries, if the socket has not done it as it ran dry.
    fn poll_traffic(&mut self) {
        if self.traffic.take_due() || self.closing {
            self.traffic.poll();
        }
        if self.traffic.take_ended() {
            // The token dies with the session.
            self.gate.shut();
            self.close();
        }
    }

    /// Handles what is rarely due. `Ready` when the connection must end now.
    fn poll_rare(&mut self) -> Poll<()> {
        if self.traffic.parts().stream.as_ref().is_some_and(SessionStream::is_claimed) {
            self.detach();
            return Poll::Ready(());
        }
        let waker = self.wakes.waker(Side::Rare).clone();
        while let Poll::Ready(due) = self.rare.poll(&mut Context::from_waker(&waker), self.gate.verdict()) {
            match due {
                Due::Unauthenticated => return Poll::Ready(()),
                Due::Shut => self.close(),
                Due::Lingered => {
                    while self.services.try_join_next().is_some() {}
                    if self.orphaned {
                        return Poll::Ready(());
                    }
                    let Parts { stream, calls, .. } = &*self.traffic.parts();
                    if stream.is_none() && calls.is_empty() && self.services.is_empty() {
                        return Poll::Ready(());
                    }
                    self.rare.linger();
                }
                Due::Stop => {
                    let mut cx = Context::from_waker(self.wakes.waker(Side::Stream));
                    if let Parts { session, stream: Some(stream), .. } = &mut *self.traffic.parts() {
                        stream.stop(&mut cx, session);
                    }
                    self.close();
                }
                Due::Orphaned => {
                    tracing::debug!(pid = self.peer_pid, "the process at the other end of a connection has ended");
                    self.orphaned = true;
                    // However much others go on to send.
                    self.rare.linger();
                }
            }
        }
        Poll::Pending
    }

    /// Takes no new streams, and refuses calls that have not come whole; ends when those that are open have ended.
    fn close(&mut self) {
        if !std::mem::replace(&mut self.closing, true) {
            self.traffic.parts().calls.refuse_rest(&closed());
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
        this.stint.begin();
        note_activity();
        // What others did has woken the task, and is seen in its first round. In the rounds that follow the session is polled
        // for what this task did.
        this.traffic.be_due();
        for _ in 0..ROUNDS {
            // All that the process sent is here when its end is known, and still counts, a goodbye most of all.
            let is_last = this.orphaned;
            // Whatever these were raised for is done by the polls that follow.
            this.wakes.take(Side::Connection);
            if this.poll_h2().is_ready() {
                // What came before the end still counts, a goodbye most of all.
                this.stint.begin();
                this.traffic.be_due();
                this.poll_traffic();
                this.detach();
                return Poll::Ready(());
            }
            this.poll_traffic();
            if this.wakes.take(Side::Rare) {
                if this.poll_rare().is_ready() {
                    return Poll::Ready(());
                }
                this.traffic.be_due();
            }
            if !this.stint.goes_on() {
                break;
            }
            let connection = this.wakes.take(Side::Connection);
            if connection || this.traffic.is_due() {
                continue;
            }
            if is_last {
                return Poll::Ready(());
            }
            if !this.orphaned {
                return Poll::Pending;
            }
        }
        // Its next turn is after those of all who are ready, also of those of whom the system has not been asked yet.
        pin!(yield_now()).poll(cx)
    }
}

/// The answer to a call that comes when the connection is being closed.
fn closed() -> Status {
    Status::unavailable("this connection is being closed, and the call was not applied: make it on another connection")
}

/// What is rarely due on a connection, apart from what is due at every call.
struct Rare {
    /// Until the gate opens.
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Until the gate opens: another connection has got the place.
    ousted: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    place: Place,
    gate: Arc<Gate>,
    /// The next change of the gate, until it is shut.
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Since the connection is being closed.
    linger: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The end of the process at the other end.
    orphaned: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

enum Due {
    /// The time to authenticate is over, or another connection has got the place.
    Unauthenticated,
    /// The gate was shut for good.
    Shut,
    /// The peer had time to take note of the end.
    Lingered,
    /// The manager stops.
    Stop,
    /// The process at the other end has ended, however its socket may live on.
    Orphaned,
}

impl Rare {
    fn new(
        deadline: Instant,
        gate: Arc<Gate>,
        orphaned: Pin<Box<dyn Future<Output = ()> + Send>>,
        place: Place,
        stop: CancellationToken,
    ) -> Self {
        Self {
            deadline: Some(Box::pin(sleep_until(deadline))),
            ousted: Some(Box::pin(place.ousted())),
            place,
            change: Some(change(&gate)),
            linger: None,
            gate,
            stop: Some(Box::pin(stop.cancelled_owned())),
            orphaned: Some(orphaned),
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
        if is_ready(&mut self.orphaned, cx) {
            return Poll::Ready(Due::Orphaned);
        }
        if is_ready(&mut self.linger, cx) {
            return Poll::Ready(Due::Lingered);
        }
        match verdict {
            Verdict::Shut if self.change.take().is_some() => return Poll::Ready(Due::Shut),
            Verdict::Shut => {}
            Verdict::Open => {
                self.place.keep();
                (self.deadline, self.ousted) = (None, None);
            }
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
        if is_ready(&mut self.ousted, cx) {
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
