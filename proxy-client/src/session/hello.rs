//! How a session begins: both ends prove that they hold the authkey, the stream is opened, and they introduce themselves.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use holdfast_proto::frame::{self, Deframer, FromServer};
use holdfast_proto::scram::{Binding, ClientAwaitingChallenge, Failure, Nonce};
use holdfast_proto::{
    BeginRequest, BeginResponse, CONNECT_PATH, ClientFrame, FinishRequest, FinishResponse, Hello, INCARNATION_METADATA,
    PROTOCOL, Resume, TOKEN_METADATA, Welcome, client_frame,
};
use holdfast_stream::{FRAME_BYTES, Outbox, Sent};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};

use super::calls::Calls;
use super::resume::{Attempt, Resumption};
use super::tls::MaybeTls;
use super::wire::Wire;
use super::{Peer, Target};
use crate::error::{ConnectError, cause_of};
use crate::process;

/// The largest message of the handshake, and of the frame that says Welcome.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// No manager sends larger pages.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// What the manager may send without a word from us, on the session's stream.
const STREAM_WINDOW: u32 = 1 << 20;

const UNAUTHENTICATED: i32 = 16;
const RESOURCE_EXHAUSTED: i32 = 8;
const NOT_FOUND: i32 = 5;

/// A stream on which the manager has said Welcome.
pub(super) struct Opened<Io> {
    pub(super) wire: Wire<Io>,
    pub(super) welcome: Welcome,
}

/// The session that was to be resumed is over.
#[derive(Debug)]
pub(super) struct Over {
    /// Of the manager that says so.
    pub(super) incarnation: Option<Vec<u8>>,
}

/// A session, as its driver needs it.
pub(super) struct Begin<Io> {
    pub(super) wire: Wire<Io>,
    pub(super) calls: Calls,
    pub(super) peer: Arc<Peer>,
    /// How it goes on after a broken connection, if it can.
    pub(super) resumption: Option<Resumption>,
}

/// Opens a session over a socket that is connected.
pub(super) async fn open<Io>(io: Io, target: &Target) -> Result<Begin<MaybeTls<Io>>, ConnectError>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let protocol = |cause: &str| ConnectError::Protocol { address: target.address.clone(), cause: cause.to_owned() };
    let opened = open_stream(io, target, None).await?;
    let Opened { mut wire, welcome } = opened.map_err(|_| protocol("it knows no session, and was asked for none"))?;
    let incarnation =
        <[u8; 16]>::try_from(&*welcome.incarnation).map_err(|_| protocol("its incarnation is not a UUID"))?;
    let resumption = Resumption::new(target, &welcome);
    if resumption.is_some() {
        wire.outbox = Outbox::keeping(Sent::new(0, usize::MAX));
    }
    let peer = Arc::new(Peer {
        address: target.address.clone(),
        incarnation,
        authkey: target.authkey.clone(),
        is_own: target.is_own,
        frame_bytes: welcome.frame_bytes as usize,
        name: target.name.clone(),
        host: target.host.clone(),
        #[cfg(feature = "testing")]
        session: welcome.session.clone(),
    });
    process::note_session(&peer);
    Ok(Begin { wire, calls: Calls::new(&welcome), peer, resumption })
}

/// Opens the stream of a session: of a new one, or of one that goes on and in which so many replies have come.
pub(super) async fn open_stream<Io>(io: Io, target: &Target, resume: Option<(Resume, u64)>) -> Attempt<MaybeTls<Io>>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, binding) = MaybeTls::open(io, target).await?;
    let talk = Talk { target, binding, resume };
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(2 * STREAM_WINDOW)
        .max_send_buffer_size(STREAM_WINDOW as usize)
        .max_frame_size(FRAME_BYTES)
        .enable_push(false);
    let (sender, mut connection) = builder.handshake(io).await.map_err(|error| talk.broken(&error))?;
    let begun = {
        let mut begin = pin!(talk.begin(sender));
        poll_fn(|cx| {
            if let Poll::Ready(begun) = begin.as_mut().poll(cx) {
                return Poll::Ready(begun);
            }
            match Pin::new(&mut connection).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(over) => match begin.as_mut().poll(cx) {
                    Poll::Ready(begun) => Poll::Ready(begun),
                    Poll::Pending => Poll::Ready(Err(talk.over(over.err().as_ref()))),
                },
            }
        })
        .await?
    };
    let Begun { sender, send, recv, mut deframer, welcome } = match begun {
        Ok(begun) => begun,
        Err(over) => return Ok(Err(over)),
    };
    // A reply holds one value, which came in a frame, or a page and one value.
    deframer.set_limit(welcome.frame_bytes as usize + PAGE_BYTES_MAX);
    Ok(Ok(Opened { wire: Wire::new(connection, sender, send, recv, deframer), welcome }))
}

struct Begun {
    sender: SendRequest<Bytes>,
    send: SendStream<Bytes>,
    recv: RecvStream,
    deframer: Deframer,
    welcome: Welcome,
}

struct Talk<'a> {
    target: &'a Target,
    /// What the proofs are bound to.
    binding: Binding,
    /// Which session goes on, and how many of its replies have come.
    resume: Option<(Resume, u64)>,
}

impl Talk<'_> {
    async fn begin(&self, mut sender: SendRequest<Bytes>) -> Result<Result<Begun, Over>, ConnectError> {
        let token = self.authenticate(&mut sender).await?;
        let (mut recv, mut send) = self.connect(&mut sender, &token).await?;
        let (resume, received) = self.resume.clone().unzip();
        let (name, host) = (self.target.name.clone(), self.target.host.clone());
        let hello = Hello { protocol: PROTOCOL, name, resumable: true, resume, pid: std::process::id(), host };
        let received = received.unwrap_or_default();
        let mut out = BytesMut::new();
        frame::put_client(&mut out, &ClientFrame { received, frame: Some(client_frame::Frame::Hello(hello)) });
        send.send_data(out.freeze(), false).map_err(|error| self.broken(&error))?;

        let mut deframer = Deframer::new(HANDSHAKE_BYTES);
        loop {
            if let Some(message) = deframer.next().map_err(|error| self.protocol(error))? {
                let FromServer::Welcome(welcome) = frame::read_server(message).map_err(|error| self.protocol(error))?
                else {
                    return Err(self.protocol("it does not begin with Welcome"));
                };
                return Ok(Ok(Begun { sender, send, recv, deframer, welcome }));
            }
            match recv.data().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|error| self.broken(&error))?;
                    let _ = recv.flow_control().release_capacity(chunk.len());
                    deframer.push(chunk);
                }
                None => {
                    let trailers = recv.trailers().await.map_err(|error| self.broken(&error))?;
                    let trailers = trailers.unwrap_or_default();
                    return match status_of(&trailers) {
                        (NOT_FOUND, _) if self.resume.is_some() => {
                            Ok(Err(Over { incarnation: incarnation_of(&trailers) }))
                        }
                        status => Err(self.refused(status)),
                    };
                }
            }
        }
    }

    /// Both ends prove that they hold the authkey. Returns the token of the connection.
    async fn authenticate(&self, sender: &mut SendRequest<Bytes>) -> Result<Bytes, ConnectError> {
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| self.protocol(format_args!("no randomness: {error}")))?;
        let (client_first, awaiting) = ClientAwaitingChallenge::begin(&self.binding, Nonce::from_random(random));
        let begun: BeginResponse = self.unary(sender, "Begin", &BeginRequest { client_first }).await?;
        let proven = awaiting.prove(&begun.server_first, &self.target.authkey);
        let (client_final, awaiting) = proven.map_err(|failure| self.unproven(failure))?;
        let finished: FinishResponse = self.unary(sender, "Finish", &FinishRequest { client_final }).await?;
        awaiting.confirm(&finished.server_final).map_err(|failure| self.unproven(failure))?;
        Ok(finished.token.into())
    }

    async fn connect(
        &self,
        sender: &mut SendRequest<Bytes>,
        token: &[u8],
    ) -> Result<(RecvStream, SendStream<Bytes>), ConnectError> {
        use base64::Engine as _;
        let token = base64::prelude::BASE64_STANDARD_NO_PAD.encode(token);
        let request =
            self.post(CONNECT_PATH).header(TOKEN_METADATA, token).body(()).map_err(|error| self.protocol(error))?;
        self.ready(sender).await?;
        let (response, send) = sender.send_request(request, false).map_err(|error| self.broken(&error))?;
        let (head, recv) = response.await.map_err(|error| self.broken(&error))?.into_parts();
        self.check(&head)?;
        Ok((recv, send))
    }

    /// One unary call of the authentication service.
    async fn unary<Q: Message, A: Message + Default>(
        &self,
        sender: &mut SendRequest<Bytes>,
        method: &str,
        request: &Q,
    ) -> Result<A, ConnectError> {
        let head =
            self.post(&format!("/holdfast.v1.AuthService/{method}")).body(()).map_err(|error| self.protocol(error))?;
        self.ready(sender).await?;
        let (response, mut send) = sender.send_request(head, false).map_err(|error| self.broken(&error))?;
        let mut out = BytesMut::new();
        frame::put_message(&mut out, request);
        send.send_data(out.freeze(), true).map_err(|error| self.broken(&error))?;

        let (head, mut body) = response.await.map_err(|error| self.broken(&error))?.into_parts();
        self.check(&head)?;
        let mut deframer = Deframer::new(HANDSHAKE_BYTES);
        let mut answer = None;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(|error| self.broken(&error))?;
            let _ = body.flow_control().release_capacity(chunk.len());
            deframer.push(chunk);
            while let Some(message) = deframer.next().map_err(|error| self.protocol(error))? {
                answer = Some(A::decode(message).map_err(|error| self.protocol(error))?);
            }
        }
        let trailers = body.trailers().await.map_err(|error| self.broken(&error))?.unwrap_or_default();
        match (status_of(&trailers), answer) {
            ((0, _), Some(answer)) => Ok(answer),
            ((0, _), None) => Err(self.protocol("an answer is missing")),
            (status, _) => Err(self.refused(status)),
        }
    }

    fn post(&self, path: &str) -> http::request::Builder {
        let scheme = if self.binding == Binding::None { "http" } else { "https" };
        Request::post(format!("{scheme}://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("holdfast/", env!("CARGO_PKG_VERSION")))
    }

    async fn ready(&self, sender: &mut SendRequest<Bytes>) -> Result<(), ConnectError> {
        poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| self.broken(&error))
    }

    /// Whether the head of a response is the beginning of an answer.
    fn check(&self, head: &http::response::Parts) -> Result<(), ConnectError> {
        if head.status != http::StatusCode::OK {
            return Err(self.protocol(format_args!("it answers with HTTP status {}", head.status)));
        }
        // A status in the head is one without an answer.
        if head.headers.contains_key("grpc-status") {
            return Err(self.refused(status_of(&head.headers)));
        }
        Ok(())
    }

    fn refused(&self, (code, message): (i32, String)) -> ConnectError {
        match code {
            UNAUTHENTICATED => self.unproven(Failure::Rejected),
            RESOURCE_EXHAUSTED => ConnectError::Turned { address: self.target.address.clone(), cause: message },
            _ => self.protocol(message),
        }
    }

    fn unproven(&self, failure: Failure) -> ConnectError {
        match self.binding {
            Binding::None => failure.into(),
            Binding::TlsServerEndPoint(_) => ConnectError::Unproven { address: self.target.address.clone(), failure },
        }
    }

    fn protocol(&self, cause: impl ToString) -> ConnectError {
        ConnectError::Protocol { address: self.target.address.clone(), cause: cause.to_string() }
    }

    fn broken(&self, error: &h2::Error) -> ConnectError {
        match error.get_io() {
            Some(io) if io.kind() != io::ErrorKind::InvalidData => {
                ConnectError::Unreachable { address: self.target.address.clone(), cause: cause_of(error) }
            }
            _ => self.protocol(error),
        }
    }

    fn over(&self, error: Option<&h2::Error>) -> ConnectError {
        match error {
            Some(error) => self.broken(error),
            None => {
                let cause = "it closed the connection".to_owned();
                ConnectError::Unreachable { address: self.target.address.clone(), cause }
            }
        }
    }
}

/// The gRPC status code and message in trailers.
pub(super) fn status_of(trailers: &HeaderMap) -> (i32, String) {
    const UNKNOWN: i32 = 2;
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    let message = text("grpc-message").map(unescape).unwrap_or_else(|| format!("gRPC status {code}"));
    (code, message)
}

/// The incarnation of the manager in trailers, if it is there.
fn incarnation_of(trailers: &HeaderMap) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = trailers.get(INCARNATION_METADATA)?.to_str().ok()?;
    base64::prelude::BASE64_STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// Undoes the percent-encoding of a gRPC status message.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_messages_are_read() {
        assert_eq!(unescape("call 9 came%3A 100%25 wrong"), "call 9 came: 100% wrong");
        assert_eq!(unescape("50%"), "50%");
        assert_eq!(unescape("%e2%82%ac%zz"), "€%zz");
        assert_eq!(status_of(&HeaderMap::new()), (2, "gRPC status 2".to_owned()));
    }
}
