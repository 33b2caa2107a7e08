//! The framing of the session stream: gRPC's length prefix around `ClientFrame` and `ServerFrame`.
//!
//! The two frames that every call needs, `Call` and `Reply`, are written and read by hand, without a message in between:
//! at millions of calls a second the copies would cost more than the call. Tests hold them to what prost does.

mod deframer;
mod pieces;
mod short_reply;
mod wire;

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::datum::Blob;
use crate::fields::{Fields, LENGTH_DELIMITED, VARINT, Wrong, key};
use crate::ops::{Response, Writer, Written};
use crate::{
    Call, ClientFrame, Goodbye, Hello, Refusal, Reply, ServerFrame, Welcome, client_frame, reply, server_frame,
};

pub use deframer::Deframer;
pub use pieces::{Frames, Out, Pieces};
use short_reply::put_short_reply;
use wire::{Head, Plain, bytes_header_len, varint_field_len};

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
const CALL_FENCE: u32 = 5;

const SERVER_WELCOME: u32 = 1;
const SERVER_REPLY: u32 = 2;
const SERVER_GOODBYE: u32 = 3;

const REPLY_SEQUENCE: u32 = 1;
const REPLY_INDEX: u32 = 2;
const REPLY_RESPONSE: u32 = 3;
const REPLY_REFUSAL: u32 = 4;
const REPLY_DELIVERED: u32 = 5;
const REPLY_ACKNOWLEDGE: u32 = 6;

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
    Malformed(&'static str),
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
    /// As in `Call`.
    pub fence: u64,
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
    /// As in `Reply`.
    pub delivered: Vec<u32>,
    /// As in `Reply`.
    pub acknowledge: bool,
}

/// Appends a call with its length prefix.
pub fn put_call<M: Written>(out: &mut impl Frames, received: u64, sequence: u64, handle: u32, op: u32, request: &M) {
    put_sized_call(out, received, sequence, handle, op, request, request.written_len());
}

/// As [`put_call`], with a fence.
pub fn put_fenced_call<M: Message>(out: &mut impl Frames, received: u64, call: CallFrame<'_>, request: &M) {
    let CallFrame { sequence, handle, op, fence, .. } = call;
    let call = Call { sequence, handle, op, request: request.encode_to_vec().into(), fence };
    put_client(out, &ClientFrame { received, frame: Some(client_frame::Frame::Call(call)) });
}

/// As [`put_call`], for one who knows already that the request has `request_len` bytes.
#[inline]
pub fn put_sized_call<M: Written>(
    out: &mut impl Frames,
    received: u64,
    sequence: u64,
    handle: u32,
    op: u32,
    request: &M,
    request_len: usize,
) {
    let call_len = varint_field_len(sequence)
        + varint_field_len(handle.into())
        + varint_field_len(op.into())
        + bytes_header_len(request_len)
        + request_len;
    let frame_len = varint_field_len(received) + bytes_header_len(call_len) + call_len;

    let mut head = head_of(frame_len);
    head.varint_field(RECEIVED, received);
    head.bytes_header(CLIENT_CALL, call_len);
    head.varint_field(CALL_SEQUENCE, sequence);
    head.varint_field(CALL_HANDLE, handle.into());
    head.varint_field(CALL_OP, op.into());
    head.bytes_header(CALL_REQUEST, request_len);
    // Into what has its length already: a buffer that may grow is asked for room at every byte.
    if let Some(mut rest) = head.rest(request_len) {
        request.put(&mut rest);
        head.put(out.flat());
    } else if request_len < Blob::SHARED {
        let out = out.flat();
        out.reserve(PREFIX + frame_len);
        head.put(out);
        let begin = out.len();
        out.resize(begin + request_len, 0);
        request.put(&mut &mut out[begin..]);
    } else {
        // What is long in it may be shared, and is most of it then.
        head.put(out.flat());
        request.put(out);
    }
}

/// Appends the answer to a call that was applied, with its length prefix.
#[inline]
pub fn put_response<R: Response>(out: &mut impl Frames, sequence: u64, index: u64, response: R) {
    response.write(PutResponse { out, sequence, index, acknowledge: false });
}

/// Appends the answer to a call that was applied, and whose response is to be acknowledged, with its length prefix.
#[inline]
pub fn put_response_to_acknowledge<R: Response>(out: &mut impl Frames, sequence: u64, index: u64, response: R) {
    response.write(PutResponse { out, sequence, index, acknowledge: true });
}

struct PutResponse<'a, F> {
    out: &'a mut F,
    sequence: u64,
    index: u64,
    acknowledge: bool,
}

/// The field behind a response that is to be acknowledged.
const ACKNOWLEDGE: [u8; 2] = [key(REPLY_ACKNOWLEDGE, VARINT), 1];

impl<F: Frames> Writer for PutResponse<'_, F> {
    #[inline]
    fn write(self, message: impl Written) {
        let Self { out, sequence, index, acknowledge } = self;
        let len = message.written_len();
        let after: &[u8] = if acknowledge { &ACKNOWLEDGE } else { &[] };
        if !put_short_reply(out, sequence, index, &message, len, after) {
            put_reply(out, sequence, index, REPLY_RESPONSE, len, after.len());
            message.put(out);
            out.slice(after);
        }
        message.discard();
    }
}

/// Appends the answer to a call that was applied, and whose response has references in it, with its length prefix.
pub fn put_special_response<R: Response>(
    out: &mut impl Frames,
    sequence: u64,
    index: u64,
    response: &R,
    delivered: Vec<u32>,
    acknowledge: bool,
) {
    let mut body = BytesMut::with_capacity(response.encoded_len());
    response.encode(&mut body);
    let result = Some(reply::Result::Response(body.freeze()));
    let reply = Reply { sequence, index, result, delivered, acknowledge };
    put_server(out, &ServerFrame { frame: Some(server_frame::Frame::Reply(reply)) });
}

/// Appends the answer to a call that was refused, with its length prefix.
pub fn put_refusal(out: &mut impl Frames, sequence: u64, index: u64, refusal: &Refusal) {
    put_reply(out, sequence, index, REPLY_REFUSAL, refusal.encoded_len(), 0);
    refusal.encode_raw(out.flat());
}

/// Appends everything of a reply but its result, which has `len` bytes and follows, and what comes after that.
fn put_reply(out: &mut impl Frames, sequence: u64, index: u64, result: u32, len: usize, after: usize) {
    let reply_len = varint_field_len(sequence) + varint_field_len(index) + bytes_header_len(len) + len + after;
    let frame_len = bytes_header_len(reply_len) + reply_len;

    let mut head = head_of(frame_len);
    head.bytes_header(SERVER_REPLY, reply_len);
    head.varint_field(REPLY_SEQUENCE, sequence);
    head.varint_field(REPLY_INDEX, index);
    head.bytes_header(result, len);
    let out = out.flat();
    // What is long in it may be shared, and needs no room here.
    out.reserve(PREFIX + frame_len.min(Blob::SHARED));
    head.put(out);
}

/// Appends any frame of a client, with its length prefix.
pub fn put_client(out: &mut impl Frames, frame: &ClientFrame) {
    put_message(out, frame);
}

/// Appends any frame of the manager, with its length prefix.
pub fn put_server(out: &mut impl Frames, frame: &ServerFrame) {
    put_message(out, frame);
}

/// Appends any message with its length prefix.
pub fn put_message<M: Message>(out: &mut impl Frames, message: &M) {
    let (out, len) = (out.flat(), message.encoded_len());
    out.reserve(PREFIX + len);
    head_of(len).put(out);
    message.encode_raw(out);
}

/// Appends a message that is bytes already, with its length prefix.
pub fn put_bytes(out: &mut impl Frames, message: &Bytes) {
    head_of(message.len()).put(out.flat());
    out.put_shared(message);
}

/// Reads one frame of a client, without its prefix.
#[inline]
pub fn read_client(message: &[u8]) -> Result<FromClient<'_>, Broken> {
    match read_plain_call(message) {
        Some((received, call)) => Ok(FromClient { received, frame: Some(ClientSays::Call(call)) }),
        None => read_any_client(message),
    }
}

/// Reads a frame of a client that is a call as encoders write it: its fields in the order of their numbers, and nothing
/// else. Gives how many replies were received, and the call. `None` says nothing about the frame: ask [`read_client`].
#[inline(always)]
pub fn read_plain_call(message: &[u8]) -> Option<(u64, CallFrame<'_>)> {
    let mut fields = Fields::new(message);
    let received = fields.number(key(RECEIVED, VARINT))?.unwrap_or(0);
    if !fields.passes(key(CLIENT_CALL, LENGTH_DELIMITED)) {
        return None;
    }
    let mut fields = Fields::new(fields.last_bytes()?);
    let sequence = fields.number(key(CALL_SEQUENCE, VARINT))?.unwrap_or(0);
    // A varint of a uint32 field is cut to 32 bits, as everywhere in protobuf.
    let handle = fields.number(key(CALL_HANDLE, VARINT))?.unwrap_or(0) as u32;
    let op = fields.number(key(CALL_OP, VARINT))?.unwrap_or(0) as u32;
    if !fields.passes(key(CALL_REQUEST, LENGTH_DELIMITED)) {
        return None;
    }
    Some((received, CallFrame { sequence, handle, op, request: fields.last_bytes()?, fence: 0 }))
}

#[inline(never)]
fn read_any_client(message: &[u8]) -> Result<FromClient<'_>, Broken> {
    const RECEIVED_KEY: u64 = key(RECEIVED, VARINT) as u64;
    const CALL_KEY: u64 = key(CLIENT_CALL, LENGTH_DELIMITED) as u64;
    const HELLO_KEY: u64 = key(CLIENT_HELLO, LENGTH_DELIMITED) as u64;
    const GOODBYE_KEY: u64 = key(CLIENT_GOODBYE, LENGTH_DELIMITED) as u64;
    let read = || -> Result<_, Wrong> {
        let mut from = FromClient { received: 0, frame: None };
        let mut fields = Fields::new(message);
        while let Some(key) = fields.key()? {
            match key {
                RECEIVED_KEY => from.received = fields.varint()?,
                CALL_KEY => from.frame = Some(ClientSays::Call(read_call(fields.bytes()?)?)),
                HELLO_KEY => from.frame = Some(ClientSays::Hello(message_in(fields.bytes()?)?)),
                GOODBYE_KEY => from.frame = Some(ClientSays::Goodbye(message_in(fields.bytes()?)?)),
                other => fields.skip(other, CLIENT_GOODBYE)?,
            }
        }
        Ok(from)
    };
    read().map_err(Broken::Malformed)
}

fn read_call(message: &[u8]) -> Result<CallFrame<'_>, Wrong> {
    const SEQUENCE_KEY: u64 = key(CALL_SEQUENCE, VARINT) as u64;
    const HANDLE_KEY: u64 = key(CALL_HANDLE, VARINT) as u64;
    const OP_KEY: u64 = key(CALL_OP, VARINT) as u64;
    const REQUEST_KEY: u64 = key(CALL_REQUEST, LENGTH_DELIMITED) as u64;
    const FENCE_KEY: u64 = key(CALL_FENCE, VARINT) as u64;
    let mut call = CallFrame::default();
    let mut fields = Fields::new(message);
    while let Some(key) = fields.key()? {
        match key {
            SEQUENCE_KEY => call.sequence = fields.varint()?,
            // A varint of a uint32 field is cut to 32 bits, as everywhere in protobuf.
            HANDLE_KEY => call.handle = fields.varint()? as u32,
            OP_KEY => call.op = fields.varint()? as u32,
            REQUEST_KEY => call.request = fields.bytes()?,
            FENCE_KEY => call.fence = fields.varint()?,
            other => fields.skip(other, CALL_FENCE)?,
        }
    }
    Ok(call)
}

/// Reads one frame of the manager, without its prefix.
pub fn read_server(message: &[u8]) -> Result<FromServer<'_>, Broken> {
    const REPLY_KEY: u64 = key(SERVER_REPLY, LENGTH_DELIMITED) as u64;
    const WELCOME_KEY: u64 = key(SERVER_WELCOME, LENGTH_DELIMITED) as u64;
    const GOODBYE_KEY: u64 = key(SERVER_GOODBYE, LENGTH_DELIMITED) as u64;
    if let Some(reply) = read_plain_reply(message) {
        return Ok(FromServer::Reply(reply));
    }
    let read = || -> Result<_, Wrong> {
        let mut frame = None;
        let mut fields = Fields::new(message);
        while let Some(key) = fields.key()? {
            match key {
                REPLY_KEY => frame = Some(FromServer::Reply(read_reply(fields.bytes()?)?)),
                WELCOME_KEY => frame = Some(FromServer::Welcome(message_in(fields.bytes()?)?)),
                GOODBYE_KEY => frame = Some(FromServer::Goodbye(message_in(fields.bytes()?)?)),
                other => fields.skip(other, SERVER_GOODBYE)?,
            }
        }
        frame.ok_or("it says nothing")
    };
    read().map_err(Broken::Malformed)
}

/// Reads a reply with a response as [`put_response`] writes it: nothing else in the frame, each field once and in its place.
/// Nearly all frames are such. `None` says only that it is not, and the frame is to be read as any other.
#[inline]
fn read_plain_reply(message: &[u8]) -> Option<ReplyFrame<'_>> {
    let mut frame = Plain::new(message);
    let mut reply = Plain::new(frame.bytes(SERVER_REPLY)?);
    let (sequence, index) = (reply.varint(REPLY_SEQUENCE)?, reply.varint(REPLY_INDEX)?);
    let response = reply.bytes(REPLY_RESPONSE)?;
    let acknowledge = reply.varint(REPLY_ACKNOWLEDGE)? != 0;
    (reply.is_empty() && frame.is_empty()).then_some(ReplyFrame {
        sequence,
        index,
        result: Ok(response),
        delivered: Vec::new(),
        acknowledge,
    })
}

fn read_reply(message: &[u8]) -> Result<ReplyFrame<'_>, Wrong> {
    const SEQUENCE_KEY: u64 = key(REPLY_SEQUENCE, VARINT) as u64;
    const INDEX_KEY: u64 = key(REPLY_INDEX, VARINT) as u64;
    const RESPONSE_KEY: u64 = key(REPLY_RESPONSE, LENGTH_DELIMITED) as u64;
    const REFUSAL_KEY: u64 = key(REPLY_REFUSAL, LENGTH_DELIMITED) as u64;
    const DELIVERED_KEY: u64 = key(REPLY_DELIVERED, LENGTH_DELIMITED) as u64;
    const ONE_DELIVERED_KEY: u64 = key(REPLY_DELIVERED, VARINT) as u64;
    const ACKNOWLEDGE_KEY: u64 = key(REPLY_ACKNOWLEDGE, VARINT) as u64;
    let (mut sequence, mut index, mut result, mut delivered, mut acknowledge) = (0, 0, None, Vec::new(), false);
    let mut fields = Fields::new(message);
    while let Some(key) = fields.key()? {
        match key {
            SEQUENCE_KEY => sequence = fields.varint()?,
            INDEX_KEY => index = fields.varint()?,
            RESPONSE_KEY => result = Some(Ok(fields.bytes()?)),
            REFUSAL_KEY => result = Some(Err(message_in(fields.bytes()?)?)),
            // Packed or not: a decoder takes both.
            DELIVERED_KEY => {
                let mut packed = Fields::new(fields.bytes()?);
                while let Some(handle) = packed.key()? {
                    delivered.push(handle as u32);
                }
            }
            ONE_DELIVERED_KEY => delivered.push(fields.varint()? as u32),
            ACKNOWLEDGE_KEY => acknowledge = fields.varint()? != 0,
            other => fields.skip(other, REPLY_ACKNOWLEDGE)?,
        }
    }
    let result = result.ok_or("a reply has no result")?;
    Ok(ReplyFrame { sequence, index, result, delivered, acknowledge })
}

/// The messages in a frame that are not on the path of a call are read by prost.
fn message_in<M: Message + Default>(bytes: &[u8]) -> Result<M, Wrong> {
    M::decode(bytes).map_err(|_| "a message in it cannot be read")
}

/// The prefix of a message of `len` bytes.
fn head_of(len: usize) -> Head {
    let mut head = Head::new();
    head.byte(0);
    // Every limit on a message is far below 4 GiB, and is checked where the message comes from.
    head.big_endian(u32::try_from(len).expect("a message is smaller than 4 GiB"));
    head
}

#[cfg(test)]
mod tests;
