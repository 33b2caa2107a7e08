//! Attacks by who holds the authkey, or speaks proper HTTP/2, and means harm: each fails, and honest clients do not suffer.
//!
//! What must hold during and after each is in [`Siege`]; which attack is tested where, in `attacks.rs`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::iter::repeat_n;

use bytes::{BufMut, Bytes, BytesMut};
use holdfast::Reason;
use holdfast::blocking::{self, Dict};
use holdfast_proto::datum::DEPTH;
use holdfast_proto::frame::{PREFIX, put_call, put_client, put_message};
use holdfast_proto::ops::Request;
use holdfast_proto::{
    CONNECT_PATH, ClientFrame, CreateRequest, Datum, DictAddRequest, DictGetRequest, DictSetRequest, Hello,
    OBJECT_METADATA, OpenRequest, PROTOCOL, client_frame, dict,
};
use holdfast_tests::http2::{END_STREAM, Wire, http2_frame, kind};
use holdfast_tests::{Raw, Setup, Siege, Stream, program};
use prost::Message;

const MIB: u64 = 1 << 20;
const GET: &str = "/holdfast.v1.DictService/Get";
const SET: &str = "/holdfast.v1.DictService/Set";
/// The stream of a session, after those of the handshake.
const SESSION: u32 = 5;
/// An error of HTTP/2 (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// The largest frame that HTTP/2 takes without being told of more.
const LARGEST: usize = 16 << 10;

fn siege() -> Siege {
    Siege::new(Setup::new(program!()))
}

fn wire(siege: &Siege) -> Wire {
    Wire::authenticated(&siege.manager.addresses[1], &siege.manager.authkey())
}

/// DATA frames with all of this.
fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(LARGEST).flat_map(|chunk| http2_frame(kind::DATA, 0, stream, chunk)).collect()
}

fn hello(name: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    let hello = Hello { protocol: PROTOCOL, name: name.to_owned(), ..Hello::default() };
    put_client(&mut bytes, &ClientFrame { received: 0, frame: Some(client_frame::Frame::Hello(hello)) });
    bytes
}

/// A dict with a value of so many bytes under 1, until it is dropped.
struct Large {
    owner: blocking::Manager,
}

impl Large {
    const NAME: &str = "large";

    fn new(siege: &Siege, bytes: usize) -> Self {
        let owner = siege.manager.connect_blocking();
        let dict: Dict<u64, String> = owner.dict(Self::NAME).unwrap();
        dict.set(&1, &"x".repeat(bytes)).unwrap();
        Self { owner }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        // A test that fails may have no manager any more.
        let _ = self.owner.delete(Self::NAME);
    }
}

/// A connection on which the manager has no window for any stream that is opened from now on.
fn without_window(siege: &Siege) -> Wire {
    let wire = wire(siege);
    wire.say(&http2_frame(kind::SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00"));
    wire.until("it is told", |heard| (heard.settled > 1).then_some(()));
    wire
}

/// What was said so far has been read, or ended the connection.
fn is_read(wire: &Wire) {
    wire.say(&http2_frame(kind::PING, 0, 0, b"12345678"));
    wire.until("a pong", |heard| (heard.pongs > 0 || heard.ended).then_some(()));
}

fn get() -> DictGetRequest {
    DictGetRequest { key: Some(Datum::Integer(1)) }
}

/// How many replies there are in what came on a session stream, whose first message is the welcome.
fn replies(mut data: &[u8]) -> u64 {
    let mut messages: u64 = 0;
    while let Some((prefix, rest)) = data.split_at_checked(PREFIX) {
        let len = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
        let Some(next) = rest.get(len..) else { break };
        (data, messages) = (next, messages + 1);
    }
    messages.saturating_sub(1)
}

/// A Hello and so many calls, each of which is refused, since there is no such handle.
fn many_calls(count: u64) -> BytesMut {
    let mut calls = hello("byte by byte");
    for sequence in 1..=count {
        put_call(&mut calls, 0, sequence, 9, DictGetRequest::OP, &get());
    }
    calls
}

/// Each byte in a frame of its own.
fn byte_by_byte(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| http2_frame(kind::DATA, 0, SESSION, &[*byte])).collect()
}

#[test]
fn calls_that_come_byte_by_byte_are_answered_or_their_client_is_told_to_calm_down() {
    const CALLS: u64 = 300;
    let siege = siege();
    // Who lets the manager read is served.
    let patient = wire(&siege);
    patient.say(&patient.request(SESSION, 0, CONNECT_PATH, &[]));
    for (number, some) in (1..).zip(many_calls(CALLS).chunks(100)) {
        patient.say(&[byte_by_byte(some), http2_frame(kind::PING, 0, 0, b"12345678")].concat());
        patient.until("a pong", |heard| (heard.pongs == number).then_some(()));
    }
    patient.until("the last reply", |heard| (replies(&heard.data[&SESSION]) == CALLS).then_some(()));
    // h2 keeps some thousands of such frames for a manager that has not read them yet, and then ends the connection.
    let round = || {
        let hasty = wire(&siege);
        hasty.say(&hasty.request(SESSION, 0, CONNECT_PATH, &[]));
        hasty.say(&byte_by_byte(&many_calls(2000)));
        is_read(&hasty);
        let heard = hasty.heard();
        assert!(!heard.ended || matches!(heard.goaway, None | Some(ENHANCE_YOUR_CALM)), "{:?}", heard.goaway);
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    drop(patient);
    siege.recovers();
}

#[test]
fn replies_for_which_there_is_no_window_are_not_kept() {
    const SESSIONS: usize = 8;
    let siege = siege();
    let large = Large::new(&siege, 100 << 10);
    let ask = |_| {
        let wire = without_window(&siege);
        wire.say(&wire.request(SESSION, 0, CONNECT_PATH, &[]));
        let mut calls = hello("no window");
        let open = OpenRequest { name: Large::NAME.to_owned(), kind: dict::KIND, ..OpenRequest::default() };
        put_call(&mut calls, 0, 1, 0, OpenRequest::OP, &open);
        for sequence in 2..1000 {
            put_call(&mut calls, 0, sequence, 1, DictGetRequest::OP, &get());
        }
        wire.say(&data(SESSION, &calls));
        is_read(&wire);
        assert!(!wire.heard().ended, "it is waited for");
        wire
    };
    // 800 MiB were asked for.
    let wires: Vec<Wire> = siege.withstands(40 * MIB, || (0..SESSIONS).map(ask).collect());
    drop((wires, large));
    siege.recovers();
}

#[test]
fn unary_calls_for_whose_responses_there_is_no_window_are_not_answered() {
    const CONNECTIONS: usize = 4;
    const STREAMS: u32 = 128;
    let siege = siege();
    let large = Large::new(&siege, 1 << 20);
    let ask = |_| {
        let wire = without_window(&siege);
        let mut body = BytesMut::new();
        put_message(&mut body, &get());
        for stream in (0..STREAMS).map(|number| 11 + 2 * number) {
            let head = wire.request(stream, 0, GET, &[(OBJECT_METADATA, Large::NAME.as_bytes())]);
            wire.say(&[head, http2_frame(kind::DATA, END_STREAM, stream, &body)].concat());
        }
        is_read(&wire);
        assert!(!wire.heard().ended, "it is waited for");
        wire
    };
    // 512 MiB were asked for. What h2 takes is at most 128 KiB of each stream.
    let memory = CONNECTIONS as u64 * 24 * MIB;
    let wires: Vec<Wire> = siege.withstands(memory, || (0..CONNECTIONS).map(ask).collect());
    drop((wires, large));
    siege.recovers();
}

#[test]
fn lengths_without_a_body_take_no_memory() {
    const CONNECTIONS: usize = 16;
    let siege = siege();
    let mut prefix = BytesMut::from(&b"\0"[..]);
    prefix.put_u32(4 << 20);
    // All that is declared, and a little of what was declared.
    prefix.extend(repeat_n(7, 10));
    let declare = |_| {
        let wire = wire(&siege);
        wire.say(&[wire.request(SESSION, 0, CONNECT_PATH, &[]), data(SESSION, &hello("a length"))].concat());
        wire.say(&data(SESSION, &prefix));
        for stream in (0..128).map(|number| 7 + 2 * number) {
            let head = wire.request(stream, 0, SET, &[(OBJECT_METADATA, b"nobody")]);
            wire.say(&[head, http2_frame(kind::DATA, 0, stream, &prefix)].concat());
        }
        is_read(&wire);
        assert!(!wire.heard().ended, "it is waited for");
        wire
    };
    // 8 GiB were declared. What remains is streams, and what was sent of them.
    let wires: Vec<Wire> = siege.withstands(40 * MIB, || (0..CONNECTIONS).map(declare).collect());
    drop(wires);
    siege.recovers();
}

/// A length-delimited field around what comes after it: its head, backwards.
fn head_backwards(key: u8, len: usize) -> Vec<u8> {
    let mut head = vec![key];
    prost::encoding::encode_varint(len as u64, &mut head);
    head.reverse();
    head
}

/// Lists in each other, so many: `Datum.list` and `Sequence.elements` by turns. Written from the innermost outwards.
fn nested(levels: usize) -> Vec<u8> {
    const LIST: u8 = 8 << 3 | 2;
    const ELEMENTS: u8 = 1 << 3 | 2;
    let mut backwards = Vec::new();
    for level in 0..levels {
        if level > 0 {
            backwards.extend(head_backwards(ELEMENTS, backwards.len()));
        }
        backwards.extend(head_backwards(LIST, backwards.len()));
    }
    backwards.reverse();
    backwards
}

/// One session, in which each of these calls on the same dict is refused as malformed.
#[tokio::main(flavor = "current_thread")]
async fn are_malformed(siege: &Siege, calls: &[(&str, u32, u32, Vec<u8>)]) {
    let raw = Raw::authenticated(&siege.manager).await;
    let mut stream: Stream = raw.session().await;
    let create = CreateRequest { kind: dict::KIND, spec: Bytes::new() };
    assert_eq!(stream.ask(0, &create).await.unwrap().handle, 1);
    for (name, handle, op, request) in calls {
        let refusal = stream.ask_as(*handle, *op, request.clone()).await.expect_err(name);
        assert_eq!(refusal.why(), Reason::Malformed, "{name}: {}", refusal.message);
        assert!(refusal.message.len() < 1000, "{name}: {}", refusal.message.len());
    }
    let len = stream.ask(1, &holdfast_proto::DictLenRequest {}).await.unwrap();
    assert_eq!(len.len, 0, "nothing was stored");
}

/// A message of these length-delimited fields.
fn fields(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut message = Vec::new();
    for (tag, content) in fields {
        message.push((tag << 3 | 2) as u8);
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        message.extend(*content);
    }
    message
}

#[test]
fn data_that_are_nested_too_deep_are_refused_however_deep() {
    let siege = siege();
    let one = Datum::Integer(1).encode_to_vec();
    assert!(Datum::decode(&*nested(DEPTH as usize)).is_ok(), "the nesting is well-formed");
    let deep: Vec<Vec<u8>> = [DEPTH as usize + 1, 1000, 100_000].map(nested).into();
    let mut calls = Vec::new();
    for data in &deep {
        calls.push(("a value", 1, DictSetRequest::OP, fields(&[(1, &one), (2, data)])));
        calls.push(("a key", 1, DictSetRequest::OP, fields(&[(1, data), (2, &one)])));
        calls.push(("a key to be found", 1, DictGetRequest::OP, fields(&[(1, data)])));
        calls.push(("a delta", 1, DictAddRequest::OP, fields(&[(1, &one), (2, data)])));
    }
    // Many times the same: what is refused is not kept.
    siege.withstands(24 * MIB, || siege.again_and_again(|| are_malformed(&siege, &calls)));
    siege.recovers();
}

#[test]
fn texts_and_names_that_are_not_utf_8_are_refused() {
    let siege = siege();
    let one = Datum::Integer(1).encode_to_vec();
    let mut calls = Vec::new();
    // Cut off, overlong, a surrogate, beyond Unicode, and no beginning.
    for bytes in [
        &b"\xc3"[..],
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"a\x80",
        b"longer than what a datum has in itself \xff",
    ] {
        let text = fields(&[(6, bytes)]);
        calls.push(("a text", 1, DictSetRequest::OP, fields(&[(1, &one), (2, &text)])));
        calls.push(("a key", 1, DictSetRequest::OP, fields(&[(1, &text), (2, &one)])));
        calls.push(("a name", 0, OpenRequest::OP, fields(&[(1, bytes)])));
        let codec = fields(&[(12, &fields(&[(1, bytes)]))]);
        calls.push(("a codec", 1, DictSetRequest::OP, fields(&[(1, &one), (2, &codec)])));
    }
    let round = || {
        are_malformed(&siege, &calls);
        no_utf_8_beside_calls(&siege);
    };
    siege.withstands(16 * MIB, || siege.again_and_again(round));
    siege.recovers();
}

/// In a Hello, which ends the session, and in metadata.
fn no_utf_8_beside_calls(siege: &Siege) {
    let wire = wire(siege);
    wire.say(&wire.request(SESSION, 0, CONNECT_PATH, &[]));
    let frame = fields(&[(2, &fields(&[(2, b"\xff\xfe")]))]);
    let mut bytes = BytesMut::from(&b"\0"[..]);
    bytes.put_u32(frame.len() as u32);
    bytes.extend(frame);
    wire.say(&data(SESSION, &bytes));
    assert_eq!(wire.ended().goaway, None, "the session ends in order");
    let wire = self::wire(siege);
    for (stream, name) in [(5, &b"%ff%fe"[..]), (7, b"\xff\xfe"), (9, b"%ed%a0%80")] {
        wire.say(&wire.request(stream, END_STREAM, GET, &[(OBJECT_METADATA, name)]));
        wire.until("an answer", |heard| heard.answered.contains(&stream).then_some(()));
    }
}
