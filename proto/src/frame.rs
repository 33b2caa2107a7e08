//! The framing of the session stream: gRPC's length prefix around `ClientFrame` and `ServerFrame`.
//!
//! The two frames that every call needs, `Call` and `Reply`, are written and read by hand, without a message in between:
//! at millions of calls a second the copies would cost more than the call. Tests hold them to what prost does.

mod deframer;
mod wire;

use alloc::string::String;

use bytes::{BufMut, BytesMut};
use prost::Message;

use crate::ops::Response;
use crate::{ClientFrame, Goodbye, Hello, Refusal, ServerFrame, Welcome};

pub use deframer::Deframer;
use wire::{Field, Fields, key_len, put_bytes_header, put_varint_field, varint_field_len, varint_len};

/// The bytes before each message: a flag that it is compressed, never set, and its length in big-endian.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
pub const PREFIX: usize = 5;

const RECEIVED: u32 = 1;
const CLIENT_HELLO: u32 = 2;
const CLIENT_CALL: u32 = 3;
const CLIENT_GOODBYE: u32 = 4;

const CALL_SEQUENCE: u32 = 1;
const CALL_HANDLE: u32 = 2;
const CALL_OP: u32 = 3;
const CALL_REQUEST: u32 = 4;

const SERVER_WELCOME: u32 = 1;
const SERVER_REPLY: u32 = 2;
const SERVER_GOODBYE: u32 = 3;

const REPLY_SEQUENCE: u32 = 1;
const REPLY_INDEX: u32 = 2;
const REPLY_RESPONSE: u32 = 3;
const REPLY_REFUSAL: u32 = 4;

/// Why a stream cannot be read on: the peer broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The flag of a compressed message was set.
    #[error("a frame is compressed, which the session stream does not allow")]
    Compressed,
    /// A message is larger than the limit.
    #[error("a frame of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Of the message.
        bytes: usize,
        /// That was exceeded.
        limit: usize,
    },
    /// A message is not what the stream carries.
    #[error("a frame cannot be read: {0}")]
    Malformed(String),
}

impl Broken {
    fn malformed(what: &str) -> Self {
        Self::Malformed(what.into())
    }
}

impl From<prost::DecodeError> for Broken {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(alloc::format!("{error}"))
    }
}

/// A frame of a client, as it lies in the buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct FromClient<'a> {
    /// How many replies it has received.
    pub received: u64,
    /// What else it says.
    pub frame: Option<ClientSays<'a>>,
}

/// What a client can say.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientSays<'a> {
    /// Who it is.
    Hello(Hello),
    /// One op.
    Call(CallFrame<'a>),
    /// That it ends its session.
    Goodbye(Goodbye),
}

/// One op, as it lies in the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFrame<'a> {
    /// As in `Call`.
    pub sequence: u64,
    /// As in `Call`.
    pub handle: u32,
    /// As in `Call`.
    pub op: u32,
    /// As in `Call`.
    pub request: &'a [u8],
}

/// A frame of the manager, as it lies in the buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum FromServer<'a> {
    /// What the session is.
    Welcome(Welcome),
    /// The answer to one call.
    Reply(ReplyFrame<'a>),
    /// That the manager stops.
    Goodbye(Goodbye),
}

/// One answer, as it lies in the buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyFrame<'a> {
    /// As in `Reply`.
    pub sequence: u64,
    /// As in `Reply`.
    pub index: u64,
    /// The bytes of the response message, or why not.
    pub result: Result<&'a [u8], Refusal>,
}

/// Appends a call with its length prefix.
pub fn put_call<M: Message>(out: &mut BytesMut, received: u64, sequence: u64, handle: u32, op: u32, request: &M) {
    let request_len = request.encoded_len();
    let call_len = varint_field_len(CALL_SEQUENCE, sequence)
        + varint_field_len(CALL_HANDLE, handle.into())
        + varint_field_len(CALL_OP, op.into())
        + key_len(CALL_REQUEST)
        + varint_len(request_len as u64)
        + request_len;
    let frame_len =
        varint_field_len(RECEIVED, received) + key_len(CLIENT_CALL) + varint_len(call_len as u64) + call_len;

    out.reserve(PREFIX + frame_len);
    put_prefix(out, frame_len);
    put_varint_field(out, RECEIVED, received);
    put_bytes_header(out, CLIENT_CALL, call_len);
    put_varint_field(out, CALL_SEQUENCE, sequence);
    put_varint_field(out, CALL_HANDLE, handle.into());
    put_varint_field(out, CALL_OP, op.into());
    put_bytes_header(out, CALL_REQUEST, request_len);
    request.encode_raw(out);
}

/// Appends the answer to a call that was applied, with its length prefix.
pub fn put_response<R: Response>(out: &mut BytesMut, sequence: u64, index: u64, response: &R) {
    let response_len = response.encoded_len();
    let result_len = key_len(REPLY_RESPONSE) + varint_len(response_len as u64) + response_len;
    put_reply_header(out, sequence, index, result_len);
    put_bytes_header(out, REPLY_RESPONSE, response_len);
    response.encode(out);
}

/// Appends the answer to a call that was refused, with its length prefix.
pub fn put_refusal(out: &mut BytesMut, sequence: u64, index: u64, refusal: &Refusal) {
    let refusal_len = refusal.encoded_len();
    let result_len = key_len(REPLY_REFUSAL) + varint_len(refusal_len as u64) + refusal_len;
    put_reply_header(out, sequence, index, result_len);
    put_bytes_header(out, REPLY_REFUSAL, refusal_len);
    refusal.encode_raw(out);
}

/// Appends any frame of a client, with its length prefix.
pub fn put_client(out: &mut BytesMut, frame: &ClientFrame) {
    put_message(out, frame);
}

/// Appends any frame of the manager, with its length prefix.
pub fn put_server(out: &mut BytesMut, frame: &ServerFrame) {
    put_message(out, frame);
}

/// Appends any message with its length prefix.
pub fn put_message<M: Message>(out: &mut BytesMut, message: &M) {
    let len = message.encoded_len();
    out.reserve(PREFIX + len);
    put_prefix(out, len);
    message.encode_raw(out);
}

/// Reads one frame of a client, without its prefix.
pub fn read_client(message: &[u8]) -> Result<FromClient<'_>, Broken> {
    let mut from = FromClient { received: 0, frame: None };
    for field in Fields::new(message) {
        match field? {
            (RECEIVED, Field::Varint(received)) => from.received = received,
            (CLIENT_CALL, Field::Bytes(call)) => from.frame = Some(ClientSays::Call(read_call(call)?)),
            (CLIENT_HELLO, Field::Bytes(hello)) => from.frame = Some(ClientSays::Hello(Hello::decode(hello)?)),
            (CLIENT_GOODBYE, Field::Bytes(bye)) => from.frame = Some(ClientSays::Goodbye(Goodbye::decode(bye)?)),
            (RECEIVED | CLIENT_CALL | CLIENT_HELLO | CLIENT_GOODBYE, _) => {
                return Err(Broken::malformed("a field of ClientFrame has the wrong wire type"));
            }
            _ => {}
        }
    }
    Ok(from)
}

fn read_call(message: &[u8]) -> Result<CallFrame<'_>, Broken> {
    let mut call = CallFrame::default();
    for field in Fields::new(message) {
        match field? {
            (CALL_SEQUENCE, Field::Varint(sequence)) => call.sequence = sequence,
            // A varint of a uint32 field is cut to 32 bits, as everywhere in protobuf.
            (CALL_HANDLE, Field::Varint(handle)) => call.handle = handle as u32,
            (CALL_OP, Field::Varint(op)) => call.op = op as u32,
            (CALL_REQUEST, Field::Bytes(request)) => call.request = request,
            (CALL_SEQUENCE | CALL_HANDLE | CALL_OP | CALL_REQUEST, _) => {
                return Err(Broken::malformed("a field of Call has the wrong wire type"));
            }
            _ => {}
        }
    }
    Ok(call)
}

/// Reads one frame of the manager, without its prefix.
pub fn read_server(message: &[u8]) -> Result<FromServer<'_>, Broken> {
    let mut frame = None;
    for field in Fields::new(message) {
        match field? {
            (SERVER_REPLY, Field::Bytes(reply)) => frame = Some(FromServer::Reply(read_reply(reply)?)),
            (SERVER_WELCOME, Field::Bytes(welcome)) => frame = Some(FromServer::Welcome(Welcome::decode(welcome)?)),
            (SERVER_GOODBYE, Field::Bytes(bye)) => frame = Some(FromServer::Goodbye(Goodbye::decode(bye)?)),
            (SERVER_REPLY | SERVER_WELCOME | SERVER_GOODBYE, _) => {
                return Err(Broken::malformed("a field of ServerFrame has the wrong wire type"));
            }
            _ => {}
        }
    }
    frame.ok_or_else(|| Broken::malformed("a ServerFrame says nothing"))
}

fn read_reply(message: &[u8]) -> Result<ReplyFrame<'_>, Broken> {
    let (mut sequence, mut index, mut result) = (0, 0, None);
    for field in Fields::new(message) {
        match field? {
            (REPLY_SEQUENCE, Field::Varint(value)) => sequence = value,
            (REPLY_INDEX, Field::Varint(value)) => index = value,
            (REPLY_RESPONSE, Field::Bytes(response)) => result = Some(Ok(response)),
            (REPLY_REFUSAL, Field::Bytes(refusal)) => result = Some(Err(Refusal::decode(refusal)?)),
            (REPLY_SEQUENCE | REPLY_INDEX | REPLY_RESPONSE | REPLY_REFUSAL, _) => {
                return Err(Broken::malformed("a field of Reply has the wrong wire type"));
            }
            _ => {}
        }
    }
    let result = result.ok_or_else(|| Broken::malformed("a Reply has no result"))?;
    Ok(ReplyFrame { sequence, index, result })
}

fn put_reply_header(out: &mut BytesMut, sequence: u64, index: u64, result_len: usize) {
    let reply_len =
        varint_field_len(REPLY_SEQUENCE, sequence) + varint_field_len(REPLY_INDEX, index) + result_len;
    let frame_len = key_len(SERVER_REPLY) + varint_len(reply_len as u64) + reply_len;
    out.reserve(PREFIX + frame_len);
    put_prefix(out, frame_len);
    put_bytes_header(out, SERVER_REPLY, reply_len);
    put_varint_field(out, REPLY_SEQUENCE, sequence);
    put_varint_field(out, REPLY_INDEX, index);
}

fn put_prefix(out: &mut BytesMut, len: usize) {
    out.put_u8(0);
    // Every limit on a message is far below 4 GiB, and is checked where the message comes from.
    out.put_u32(u32::try_from(len).expect("a message is smaller than 4 GiB"));
}

#[cfg(test)]
mod tests;
