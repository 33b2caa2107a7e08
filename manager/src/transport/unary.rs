//! Hands a request of an HTTP/2 connection to tonic's services, and their response back.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tonic::service::Routes;
use tower_service::Service;

/// Answers one request. Ends early, and drops the service's future, when the client resets the stream.
pub(super) async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, mut routes: Routes) {
    let request = request.map(RequestBody);
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
    if let Err(error) = send(response, respond).await {
        tracing::debug!(%error, "a response could not be sent");
    }
}

async fn send(response: Response<tonic::body::Body>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, body) = response.into_parts();
    let ends = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), ends)?;
    if ends {
        return Ok(());
    }
    let mut body = Box::pin(body);
    let mut trailers = HeaderMap::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|status| {
            tracing::warn!(%status, "the body of a response failed");
            h2::Error::from(h2::Reason::INTERNAL_ERROR)
        })?;
        match frame.into_data() {
            Ok(data) => send_data(&mut stream, data).await?,
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    stream.send_trailers(trailers)
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
struct RequestBody(RecvStream);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.0.poll_data(cx)) {
            Some(Ok(data)) => {
                self.0.flow_control().release_capacity(data.len())?;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.0.poll_trailers(cx))?;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
