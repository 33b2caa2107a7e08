//! A client of our own, which says whatever a test wants it to say.

use std::fmt;
use std::future::poll_fn;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use holdfast::{Address, Authkey, Refusal};
use holdfast_proto::frame::{self, Deframer};
use holdfast_proto::ops;
use holdfast_proto::scram::{Binding, ClientAwaitingChallenge, ClientAwaitingSignature, Nonce};
use holdfast_proto::{
    BeginRequest, BeginResponse, CONNECT_PATH, Call, ClientFrame, FinishRequest, FinishResponse, Hello, PROTOCOL,
    Reply, Resume, ServerFrame, TOKEN_METADATA, Welcome, client_frame, reply, server_frame,
};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::manager::Manager;
use crate::tls::connect_tls;
use crate::wait::within;

/// How a call, a stream or a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a gRPC status.
    Status {
        /// Its code.
        code: i32,
        /// Its message, as it came.
        message: String,
    },
    /// Without one: the connection or the stream was cut.
    Cut(String),
}

impl Ended {
    /// The gRPC code, if it ended with one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::Cut(_) => None,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code, message } => write!(f, "status {code}: {message}"),
            Self::Cut(how) => write!(f, "cut: {how}"),
        }
    }
}

pub(crate) fn cut(error: impl fmt::Display) -> Ended {
    Ended::Cut(error.to_string())
}

/// A client of our own: an HTTP/2 connection, on which nothing is said by itself.
#[derive(Debug)]
pub struct Raw {
    pub(crate) sender: SendRequest<Bytes>,
    connection: JoinHandle<()>,
    /// The token of this connection, once it has one.
    pub token: Option<Bytes>,
    /// What its proofs are bound to.
    pub binding: Binding,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Raw {
    /// Connects, and says nothing.
    pub async fn connect(address: &Address) -> Self {
        match address {
            Address::Unix(path) => Self::over(UnixStream::connect(path).await.unwrap()).await,
            Address::Http(authority) => Self::over(TcpStream::connect(authority).await.unwrap()).await,
            Address::Https(authority) => {
                let (stream, binding) = connect_tls(authority).await.unwrap();
                let mut raw = Self::over(stream).await;
                raw.binding = binding;
                raw
            }
        }
    }

    /// Speaks over a socket that is connected.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = within("HTTP/2", Builder::new().handshake(io)).await.unwrap();
        // How it ends is told by the streams on it.
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { sender, connection, token: None, binding: Binding::None }
    }

    /// Connects and authenticates.
    pub async fn authenticated(manager: &Manager) -> Self {
        let mut raw = Self::connect(&manager.addresses[0]).await;
        raw.authenticate(&manager.authkey()).await.unwrap();
        raw
    }

    /// Proves that it holds the authkey, and keeps the token.
    pub async fn authenticate(&mut self, authkey: &Authkey) -> Result<(), Ended> {
        let (client_final, awaiting) = self.begin(authkey).await?;
        let finished = self.finish(client_final).await?;
        awaiting.confirm(&finished.server_final).unwrap();
        self.token = Some(finished.token.into());
        Ok(())
    }

    /// The first half of the handshake.
    pub async fn begin(&self, authkey: &Authkey) -> Result<(String, ClientAwaitingSignature), Ended> {
        let (client_first, awaiting) = handshake(&self.binding);
        let begun = self.unary("/holdfast.v1.AuthService/Begin", &BeginRequest { client_first }).await?;
        let begun = BeginResponse::decode(begun).unwrap();
        Ok(awaiting.prove(&begun.server_first, authkey).unwrap())
    }

    /// The second half of the handshake.
    pub async fn finish(&self, client_final: String) -> Result<FinishResponse, Ended> {
        let finished = self.unary("/holdfast.v1.AuthService/Finish", &FinishRequest { client_final }).await?;
        Ok(FinishResponse::decode(finished).unwrap())
    }

    /// One unary call.
    pub async fn unary(&self, path: &str, request: &impl Message) -> Result<Bytes, Ended> {
        let mut body = BytesMut::new();
        frame::put_message(&mut body, request);
        let mut stream = self.open(path, self.token.as_ref()).await?;
        stream.send_bytes(body, true).await?;
        let answer = stream.next_message().await?;
        match stream.next_message().await {
            Err(Ended::Status { code: 0, .. }) => Ok(answer),
            Err(ended) => Err(ended),
            Ok(_) => panic!("two answers to one call"),
        }
    }

    /// Opens the session stream, with the token of this connection.
    pub async fn stream(&self) -> Result<Stream, Ended> {
        self.open(CONNECT_PATH, self.token.as_ref()).await
    }

    /// Opens the session stream and says Hello.
    pub async fn session(&self) -> Stream {
        let mut stream = self.stream().await.unwrap();
        stream.hello().await;
        stream
    }

    /// Opens a stream of any path with any token, and sends nothing on it.
    pub async fn open(&self, path: &str, token: Option<&Bytes>) -> Result<Stream, Ended> {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header(TOKEN_METADATA, BASE64_STANDARD_NO_PAD.encode(token));
        }
        let mut sender = self.sender.clone();
        within("room for a stream", poll_fn(|cx| sender.poll_ready(cx))).await.map_err(cut)?;
        let (response, send) = sender.send_request(request.body(()).unwrap(), false).map_err(cut)?;
        // A manager answers at once where it takes a session, and after the request where a call is unary.
        if path == CONNECT_PATH {
            let (head, recv) = within("a response", response).await.map_err(cut)?.into_parts();
            status_of(&head.headers).map_or(Ok(()), Err)?;
            return Ok(Stream::new(send, Body::Open(recv)));
        }
        Ok(Stream::new(send, Body::Awaited(response)))
    }

    /// Cuts the connection, as a network does that breaks: nothing is said before.
    pub fn cut(self) {}

    /// Waits until the manager has closed the connection.
    pub async fn closed(mut self) {
        within("the manager closes the connection", &mut self.connection).await.unwrap();
    }
}

/// The first message of a handshake, and what comes after it.
pub fn handshake(binding: &Binding) -> (String, ClientAwaitingChallenge) {
    let mut random = [0; 18];
    getrandom::fill(&mut random).unwrap();
    ClientAwaitingChallenge::begin(binding, Nonce::from_random(random))
}

pub(crate) fn status_of(headers: &HeaderMap) -> Option<Ended> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status")?.parse().unwrap();
    // Enough of the percent-encoding for messages that people read.
    let message = text("grpc-message").unwrap_or_default();
    Some(Ended::Status { code, message: message.replace("%20", " ").replace("%3A", ":") })
}

#[derive(Debug)]
enum Body {
    Awaited(h2::client::ResponseFuture),
    Open(RecvStream),
}

/// One stream of a [`Raw`] client.
#[derive(Debug)]
pub struct Stream {
    send: SendStream<Bytes>,
    body: Body,
    deframer: Deframer,
    /// Of the last call.
    pub sequence: u64,
    /// Replies received.
    pub received: u64,
}

impl Stream {
    fn new(send: SendStream<Bytes>, body: Body) -> Self {
        Self { send, body, deframer: Deframer::new(32 << 20), sequence: 0, received: 0 }
    }

    /// Sends bytes as they are, as flow control allows.
    pub async fn send_bytes(&mut self, bytes: impl Into<Bytes>, end: bool) -> Result<(), Ended> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let capacity = within("the manager reads", poll_fn(|cx| self.send.poll_capacity(cx))).await;
            let capacity = capacity.unwrap_or(Err(h2::Reason::STREAM_CLOSED.into())).map_err(cut)?;
            let part = bytes.split_to(capacity.min(bytes.len()));
            let last = end && bytes.is_empty();
            self.send.send_data(part, last).map_err(cut)?;
        }
        Ok(())
    }

    /// Sends as much as flow control allows at once, and tells how much that was. `None` if it allows nothing now.
    pub fn send_some(&mut self, bytes: &Bytes) -> Option<usize> {
        self.send.reserve_capacity(bytes.len());
        let part = self.send.capacity().min(bytes.len());
        (part > 0).then(|| {
            self.send.send_data(bytes.slice(..part), false).unwrap();
            part
        })
    }

    /// Closes the sending half.
    pub fn half_close(&mut self) {
        self.send.send_data(Bytes::new(), true).unwrap();
    }

    /// Resets the stream.
    pub fn reset(&mut self) {
        self.send.send_reset(h2::Reason::CANCEL);
    }

    /// Sends a frame.
    pub async fn say(&mut self, received: u64, frame: Option<client_frame::Frame>) {
        let mut bytes = BytesMut::new();
        frame::put_client(&mut bytes, &ClientFrame { received, frame });
        // A stream that is over is seen by whoever reads.
        let _ = self.send_bytes(bytes, false).await;
    }

    /// Says Hello, and waits for Welcome.
    pub async fn hello(&mut self) -> Welcome {
        self.hello_as(0, Hello::default()).await.unwrap()
    }

    /// Says Hello, and that the session may be resumed, and waits for Welcome.
    pub async fn hello_resumable(&mut self) -> Welcome {
        self.hello_as(0, Hello { resumable: true, ..Hello::default() }).await.unwrap()
    }

    /// Says Hello under a name, and that the session may be resumed, and waits for Welcome.
    pub async fn hello_named(&mut self, name: &str) -> Welcome {
        self.hello_as(0, Hello { name: name.to_owned(), resumable: true, ..Hello::default() }).await.unwrap()
    }

    /// Resumes a session of which this many replies have come, and waits for Welcome. Calls go on after those that the
    /// manager has.
    pub async fn resume(&mut self, welcome: &Welcome, received: u64) -> Result<Welcome, Ended> {
        let resume = Resume { session: welcome.session.clone(), resumption: welcome.resumption.clone() };
        let resumed = self.hello_as(received, Hello { resume: Some(resume), ..Hello::default() }).await?;
        self.sequence = resumed.calls_received;
        self.received = received;
        Ok(resumed)
    }

    /// Says Hello in these words, and waits for Welcome. The name is "raw" unless it has one.
    pub async fn hello_as(&mut self, received: u64, hello: Hello) -> Result<Welcome, Ended> {
        let name = if hello.name.is_empty() { "raw".to_owned() } else { hello.name };
        let hello = Hello { protocol: PROTOCOL, name, ..hello };
        self.say(received, Some(client_frame::Frame::Hello(hello))).await;
        match self.next().await? {
            server_frame::Frame::Welcome(welcome) => Ok(welcome),
            other => panic!("not Welcome, but {other:?}"),
        }
    }

    /// Sends a call, with the next sequence number.
    pub async fn call<R: ops::Request>(&mut self, handle: u32, request: &R) -> u64 {
        self.call_as(handle, R::OP, request.encode_to_vec()).await
    }

    /// Sends a call of any op with any request, with the next sequence number.
    pub async fn call_as(&mut self, handle: u32, op: u32, request: impl Into<Bytes>) -> u64 {
        self.sequence += 1;
        let call = Call { sequence: self.sequence, handle, op, request: request.into(), fence: 0 };
        self.say(self.received, Some(client_frame::Frame::Call(call))).await;
        self.sequence
    }

    /// Makes a call and waits for its reply.
    pub async fn ask<R: ops::Request>(&mut self, handle: u32, request: &R) -> Result<R::Response, Refusal> {
        let response = self.ask_as(handle, R::OP, request.encode_to_vec()).await?;
        Ok(R::Response::decode(response).unwrap())
    }

    /// Makes a call of any op with any request and waits for its reply.
    pub async fn ask_as(&mut self, handle: u32, op: u32, request: impl Into<Bytes>) -> Result<Bytes, Refusal> {
        let sequence = self.call_as(handle, op, request).await;
        let reply = self.reply().await.unwrap_or_else(|ended| panic!("no reply, but {ended}"));
        assert_eq!(reply.sequence, sequence);
        match reply.result.unwrap() {
            reply::Result::Response(response) => Ok(response),
            reply::Result::Refusal(refusal) => Err(refusal),
        }
    }

    /// The next reply.
    pub async fn reply(&mut self) -> Result<Reply, Ended> {
        match self.next().await? {
            server_frame::Frame::Reply(reply) => Ok(reply),
            other => panic!("not a reply, but {other:?}"),
        }
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<server_frame::Frame, Ended> {
        let message = self.next_message().await?;
        let frame = ServerFrame::decode(message).unwrap().frame.unwrap();
        self.received += u64::from(matches!(frame, server_frame::Frame::Reply(_)));
        Ok(frame)
    }

    /// How the stream ended. Panics at a frame.
    pub async fn end(&mut self) -> Ended {
        match self.next().await {
            Err(ended) => ended,
            Ok(frame) => panic!("the stream was to end, and brought {frame:?}"),
        }
    }

    async fn next_message(&mut self) -> Result<Bytes, Ended> {
        if let Body::Awaited(response) = &mut self.body {
            let (head, recv) = within("a response", response).await.map_err(cut)?.into_parts();
            status_of(&head.headers).map_or(Ok(()), Err)?;
            self.body = Body::Open(recv);
        }
        let Body::Open(recv) = &mut self.body else { unreachable!("it was just opened") };
        loop {
            if let Some(message) = self.deframer.next_shared().unwrap() {
                return Ok(message);
            }
            match within("a frame", recv.data()).await {
                Some(chunk) => {
                    let chunk = chunk.map_err(cut)?;
                    let _ = recv.flow_control().release_capacity(chunk.len());
                    self.deframer.push(chunk);
                }
                None => {
                    let trailers = within("trailers", recv.trailers()).await.map_err(cut)?;
                    let status = trailers.as_ref().and_then(status_of);
                    return Err(status.unwrap_or_else(|| Ended::Cut("without a status".to_owned())));
                }
            }
        }
    }
}

/// A call as bytes, with its prefix.
#[must_use]
pub fn call<R: ops::Request>(received: u64, sequence: u64, handle: u32, request: &R) -> Bytes {
    let mut bytes = BytesMut::new();
    frame::put_call(&mut bytes, received, sequence, handle, R::OP, request);
    bytes.freeze()
}
