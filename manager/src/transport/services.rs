//! Hands a request of an HTTP/2 connection to tonic's services, and their response back.
//!
//! These are the services that anybody who can connect may call, so what they cost is bounded here.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tower_service::Service;

use super::status::trailers;

/// The services that a connection may call before it is authenticated: the handshake, and what tells nothing that is not
/// in the `.proto` files and nothing about anybody's data.
const OPEN: [&str; 4] = [
    "/holdfast.v1.AuthService/",
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Whether a request for this path is for one of these services.
pub(super) fn has(path: &str) -> bool {
    OPEN.iter().any(|service| path.starts_with(service))
}

/// Whether it is for reflection, which is built apart.
pub(super) fn is_reflection(path: &str) -> bool {
    path.starts_with("/grpc.reflection.")
}

/// The bytes of requests that one connection may yet send to these services.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// So much.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn spend(&self, bytes: usize) -> Result<(), Status> {
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent.map(drop).map_err(|_| {
            Status::resource_exhausted(
                "too much was sent on a connection that is not authenticated: authenticate first",
            )
        })
    }
}

/// Answers one request. Ends early, and drops the service's future, when the client resets the stream. `budget` bounds what
/// the request may have, if anything does. A response that would go on without an end is ended by `stop`.
pub(super) async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut routes: Routes,
    budget: Option<Budget>,
    stop: CancellationToken,
) {
    let request = request.map(|recv| RequestBody { recv, budget });
    let reset = poll_fn(|cx| respond.poll_reset(cx));
    let response = tokio::select! {
        biased;
        _ = reset => return,
        response = routes.call(request) => response,
    };
    let response = match response {
        Ok(response) => response,
        // Routes never fail: every error is a response with a gRPC status.
        Err(never) => match never {},
    };
    if let Err(error) = send(response, respond, &stop).await {
        tracing::debug!(%error, "a response could not be sent");
    }
}

async fn send(
    response: Response<tonic::body::Body>,
    mut respond: SendResponse<Bytes>,
    stop: &CancellationToken,
) -> Result<(), h2::Error> {
    let (head, body) = response.into_parts();
    let ends = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), ends)?;
    if ends {
        return Ok(());
    }
    let end = tokio::select! {
        // What the service has to say about the stop itself comes first.
        biased;
        end = send_body(&mut stream, body) => end?,
        () = stop.cancelled() => trailers(&Status::unavailable("the manager is being stopped")),
    };
    stream.send_trailers(end)
}

/// Sends all that a body has, and returns its trailers.
async fn send_body(stream: &mut SendStream<Bytes>, body: tonic::body::Body) -> Result<HeaderMap, h2::Error> {
    let mut body = Box::pin(body);
    let mut trailers = HeaderMap::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|status| {
            tracing::warn!(%status, "the body of a response failed");
            h2::Error::from(h2::Reason::INTERNAL_ERROR)
        })?;
        match frame.into_data() {
            Ok(data) => send_data(stream, data).await?,
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(trailers)
}

async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap_or(Err(h2::Reason::STREAM_CLOSED.into()))?;
        stream.send_data(data.split_to(capacity.min(data.len())), false)?;
    }
    Ok(())
}

/// The body of a request as tonic reads it.
struct RequestBody {
    recv: RecvStream,
    budget: Option<Budget>,
}

impl RequestBody {
    /// The next data, or `None` at their end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let Some(data) = ready!(self.recv.poll_data(cx)) else { return Poll::Ready(None) };
        let take = |data: Bytes| {
            self.budget.as_ref().map_or(Ok(()), |budget| budget.spend(data.len()))?;
            self.recv.flow_control().release_capacity(data.len()).map_err(cut)?;
            Ok(data)
        };
        Poll::Ready(Some(data.map_err(cut).and_then(take)))
    }
}

fn cut(error: h2::Error) -> Status {
    Status::cancelled(format!("the request was cut: {error}"))
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(data) = ready!(self.poll_data(cx)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let trailers = ready!(self.recv.poll_trailers(cx)).map_err(cut)?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream()
    }
}
