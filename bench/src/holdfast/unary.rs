//! The unary door: `DictService/Add` as an RPC, from a client that is nothing but h2 and the messages.

use std::future::poll_fn;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use holdfast_proto::frame::{self, PREFIX};
use holdfast_proto::ops::Request;
use holdfast_proto::place::Address;
use holdfast_proto::scram::{Authkey, Binding, ClientAwaitingChallenge, Nonce};
use holdfast_proto::{
    BeginRequest, BeginResponse, Datum, DictAddRequest, FinishRequest, FinishResponse, HANDLE_METADATA, OpenRequest,
    TOKEN_METADATA, dict,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use prost::Message;
use tokio::net::UnixStream;

use super::{DICT, KEY};
use crate::args::WorkerArgs;
use crate::{load, worker};

/// Adds to the counter, `width` calls at once.
pub(super) async fn add(args: &WorkerArgs, width: usize) -> Result<()> {
    let address: Address = args.place.address.as_deref().context("a worker needs --address")?.parse()?;
    let Address::Unix(socket) = address else { bail!("this client knows Unix sockets only") };
    let authkey_file = args.place.authkey_file.as_deref().context("a worker needs --authkey-file")?;
    let door = Door::open(&socket, Authkey::new(std::fs::read(authkey_file)?)?).await?;

    let open = OpenRequest { name: DICT.into(), kind: dict::KIND, ..Default::default() };
    let handle = door.ask(&door.headers, &open).await?.handle;
    let mut headers = door.headers.clone();
    headers.insert(HANDLE_METADATA, handle.into());
    let request = DictAddRequest { key: Some(Datum::from(KEY)), delta: Some(Datum::Integer(1)) };
    let work = async |calls| match width {
        1 => load::one_at_a_time(calls, async || door.ask(&headers, &request).await).await,
        _ => load::in_flight(width, calls, || door.ask(&headers, &request)).await,
    };
    worker::measure(args.calls, work).await
}

/// A connection that has authenticated.
struct Door {
    sender: SendRequest<Bytes>,
    headers: HeaderMap,
}

impl Door {
    async fn open(socket: &Path, authkey: Authkey) -> Result<Self> {
        let (sender, connection) = h2::client::handshake(UnixStream::connect(socket).await?).await?;
        // How it ends is told by the calls on it.
        tokio::spawn(async move { drop(connection.await) });
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let mut door = Self { sender, headers };

        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let (client_first, awaiting) = ClientAwaitingChallenge::begin(&Binding::None, Nonce::from_random(random));
        let begun: BeginResponse = door.call(&door.headers, auth("Begin"), &BeginRequest { client_first }).await?;
        let (client_final, awaiting) = awaiting.prove(&begun.server_first, &authkey)?;
        let proof = FinishRequest { client_final };
        let finished: FinishResponse = door.call(&door.headers, auth("Finish"), &proof).await?;
        awaiting.confirm(&finished.server_final)?;
        let token = BASE64_STANDARD_NO_PAD.encode(finished.token);
        door.headers.insert(HeaderName::from_static(TOKEN_METADATA), HeaderValue::try_from(token)?);
        Ok(door)
    }

    /// Calls the op of this request.
    async fn ask<R: Request>(&self, headers: &HeaderMap, request: &R) -> Result<R::Response> {
        self.call(headers, uri(R::NAME), request).await
    }

    async fn call<A: Message + Default>(&self, headers: &HeaderMap, uri: Uri, request: &impl Message) -> Result<A> {
        let mut head = http::Request::post(uri).body(())?;
        *head.headers_mut() = headers.clone();
        let mut sender = self.sender.clone();
        poll_fn(|cx| sender.poll_ready(cx)).await?;
        let (response, mut send) = sender.send_request(head, false)?;
        let mut out = BytesMut::new();
        frame::put_message(&mut out, request);
        send.send_data(out.freeze(), true)?;

        let (head, mut body) = response.await?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            answer.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await?.unwrap_or(head.headers);
        match trailers.get("grpc-status") {
            Some(status) if status == "0" => Ok(A::decode(answer.get(PREFIX..).context("an answer is missing")?)?),
            _ => bail!("refused: {:?}", trailers.get("grpc-message")),
        }
    }
}

fn auth(method: &str) -> Uri {
    uri(&format!("AuthService/{method}"))
}

fn uri(method: &str) -> Uri {
    let path = format!("http://localhost/holdfast.v1.{method}");
    path.parse().expect("the names of services and methods are letters")
}
