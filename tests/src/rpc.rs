//! Unary calls of a [`Raw`] client.

use std::future::poll_fn;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{Buf, Bytes, BytesMut};
use h2::SendStream;
use h2::client::ResponseFuture;
use holdfast::Reason;
use holdfast_proto::frame::{self, PREFIX};
use holdfast_proto::status::RichStatus;
use holdfast_proto::{HANDLE_METADATA, INDEX_METADATA, OBJECT_BINARY_METADATA, TOKEN_METADATA, ops};
use http::{HeaderMap, Method, Request};
use prost::Message;

use crate::raw::{Ended, Raw, cut, status_of};
use crate::wait::within;

/// A unary call that is yet to be made.
#[derive(Clone, Debug)]
pub struct Rpc {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Rpc {
    /// A call of any path, with an empty body.
    #[must_use]
    pub fn to(path: &str) -> Self {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { method: Method::POST, path: path.to_owned(), headers, body: Bytes::new() }
    }

    /// The call of the op whose request this is.
    #[must_use]
    pub fn of<R: ops::Request>(request: &R) -> Self {
        Self::to(&format!("/holdfast.v1.{}", R::NAME)).message(request)
    }

    /// With another HTTP method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// With this header, and no other of that name.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// About the object behind a handle.
    #[must_use]
    pub fn handle(self, handle: u32) -> Self {
        self.header(HANDLE_METADATA, handle)
    }

    /// About the object of a name.
    #[must_use]
    pub fn object(self, name: &str) -> Self {
        self.header(OBJECT_BINARY_METADATA, BASE64_STANDARD_NO_PAD.encode(name))
    }

    /// With this message, after what the body has already.
    #[must_use]
    pub fn message(mut self, message: &impl Message) -> Self {
        let mut body = BytesMut::from(self.body);
        frame::put_message(&mut body, message);
        self.body = body.freeze();
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The body as it is.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.body.clone()
    }
}

/// What a unary call was answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of HTTP.
    pub http: u16,
    /// The status of gRPC, if there is one.
    pub status: Option<Ended>,
    /// What the status says in detail.
    pub details: Option<RichStatus>,
    /// The index of the call.
    pub index: Option<u64>,
    /// The body of the response.
    pub body: Bytes,
}

impl Answer {
    /// The code of gRPC.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.as_ref()?.code()
    }

    /// Why the call was refused.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.details.as_ref()?.reason()
    }

    /// The response to a request like that, which it must be.
    #[must_use]
    pub fn response<R: ops::Request>(&self) -> R::Response {
        assert_eq!(self.code(), Some(0), "{self:?}");
        let mut body = self.body.clone();
        assert_eq!(body.get_u8(), 0);
        assert_eq!(body.get_u32() as usize, self.body.len() - PREFIX);
        R::Response::decode(body).unwrap()
    }
}

/// A unary call that has begun.
#[derive(Debug)]
pub struct Open {
    send: SendStream<Bytes>,
    response: ResponseFuture,
}

impl Raw {
    /// Makes a unary call, with the token of this connection.
    pub async fn rpc(&self, rpc: &Rpc) -> Result<Answer, Ended> {
        let mut open = self.begin_rpc(rpc, false).await?;
        // What was refused before it was read may be over already.
        let _ = open.send(rpc.bytes(), true).await;
        open.answer().await
    }

    /// Makes a unary call that must be answered well.
    pub async fn ask<R: ops::Request>(&self, rpc: Rpc, request: &R) -> R::Response {
        let rpc = Rpc { path: format!("/holdfast.v1.{}", R::NAME), ..rpc }.message(request);
        self.rpc(&rpc).await.unwrap().response::<R>()
    }

    /// Begins a unary call, and sends nothing of its body; `end` says that there will be none.
    pub async fn begin_rpc(&self, rpc: &Rpc, end: bool) -> Result<Open, Ended> {
        let mut request = Request::builder().method(rpc.method.clone()).uri(format!("http://localhost{}", rpc.path));
        for (name, value) in &rpc.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header(TOKEN_METADATA, BASE64_STANDARD_NO_PAD.encode(token));
        }
        let mut sender = self.sender.clone();
        within("room for a stream", poll_fn(|cx| sender.poll_ready(cx))).await.map_err(cut)?;
        let (response, send) = sender.send_request(request.body(()).unwrap(), end).map_err(cut)?;
        Ok(Open { send, response })
    }
}

impl Open {
    /// Sends some of the body, as flow control allows.
    pub async fn send(&mut self, mut bytes: Bytes, end: bool) -> Result<(), Ended> {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let capacity = within("the manager reads", poll_fn(|cx| self.send.poll_capacity(cx))).await;
            let capacity = capacity.unwrap_or(Err(h2::Reason::STREAM_CLOSED.into())).map_err(cut)?;
            let part = bytes.split_to(capacity.min(bytes.len()));
            self.send.send_data(part, false).map_err(cut)?;
        }
        if end { self.send.send_data(Bytes::new(), true).map_err(cut) } else { Ok(()) }
    }

    /// Gives up.
    pub fn reset(mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }

    /// Waits for the answer and reads it.
    pub async fn answer(self) -> Result<Answer, Ended> {
        let (head, mut recv) = within("a response", self.response).await.map_err(cut)?.into_parts();
        let mut body = BytesMut::new();
        while let Some(chunk) = within("data", recv.data()).await {
            let chunk = chunk.map_err(cut)?;
            let _ = recv.flow_control().release_capacity(chunk.len());
            body.extend_from_slice(&chunk);
        }
        let trailers = within("trailers", recv.trailers()).await.map_err(cut)?;
        let ends: &HeaderMap = trailers.as_ref().unwrap_or(&head.headers);
        let text = |name: &str| ends.get(name).map(|value| value.to_str().unwrap().to_owned());
        let details = text("grpc-status-details-bin").map(|value| BASE64_STANDARD_NO_PAD.decode(value).unwrap());
        Ok(Answer {
            http: head.status.as_u16(),
            status: status_of(ends),
            details: details.map(|details| RichStatus::decode(&*details).unwrap()),
            index: text(INDEX_METADATA).map(|index| index.parse().unwrap()),
            body: body.freeze(),
        })
    }
}
