//! Bad input: each gets a typed error, or a closed connection where the protocol is broken, changes nothing, and harms no
//! other client.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use holdfast::{Address, Authkey, Reason};
use holdfast_proto::datum::{Named, Reference};
use holdfast_proto::ops::Request;
use holdfast_proto::scram::Binding;
use holdfast_proto::{
    BeginRequest, CONNECT_PATH, Call, CloseRequest, CreateRequest, CreateResponse, Datum, DictAddRequest,
    DictGetRequest, DictGetResponse, DictSetRequest, FinishRequest, Goodbye, Hello, OpenRequest, PROTOCOL, Refusal,
    ShareRequest, StatusRequest, TakeUpRequest, ValueGetRequest, ValueSetRequest, ValueSpec, client_frame, dict, reply,
    server_frame, value,
};
use holdfast_tests::{Ended, Manager, PATIENCE, Raw, Setup, Stream, Witness, call, handshake, program};
use prost::Message;

const INVALID_ARGUMENT: Option<i32> = Some(3);
const RESOURCE_EXHAUSTED: Option<i32> = Some(8);
const FAILED_PRECONDITION: Option<i32> = Some(9);
const UNAUTHENTICATED: Option<i32> = Some(16);

async fn start() -> (Manager, Witness) {
    let manager = Setup::new(program!())
        .limit("value_bytes", 64 << 10)
        .limit("calls_in_flight", 100)
        .limit("session_waiters", 0)
        .tcp()
        .tls()
        .start();
    let witness = Witness::new(&manager).await;
    (manager, witness)
}

/// A session with a dict and a cell in it, and the handles of the two.
async fn with_objects(raw: &Raw) -> (Stream, u32, u32) {
    let mut stream = raw.session().await;
    let create = |kind| CreateRequest { kind, spec: Bytes::new() };
    let dict = stream.ask(0, &create(dict::KIND)).await.unwrap().handle;
    let cell = stream.ask(0, &create(value::KIND)).await.unwrap().handle;
    let set = DictSetRequest { key: Some(Datum::Integer(1)), value: Some(Datum::Integer(10)) };
    stream.ask(dict, &set).await.unwrap();
    (stream, dict, cell)
}

fn get() -> DictGetRequest {
    DictGetRequest { key: Some(Datum::Integer(1)) }
}

/// The session still works, and its dict is as it was.
async fn goes_on(stream: &mut Stream, dict: u32) {
    assert_eq!(stream.ask(dict, &get()).await.unwrap().value, Some(Datum::Integer(10)));
    assert_eq!(stream.ask(dict, &holdfast_proto::DictLenRequest {}).await.unwrap().len, 1);
}

#[track_caller]
fn is<T: std::fmt::Debug>(refused: Result<T, Refusal>, reason: Reason, names: &str) {
    let refusal = refused.expect_err("it was to be refused");
    assert_eq!(refusal.why(), reason, "{}", refusal.message);
    assert!(refusal.message.contains(names), "{:?} names {names:?}", refusal.message);
}

#[tokio::test]
async fn a_refused_call_leaves_its_session_and_everybody_else_as_they_were() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict, cell) = with_objects(&raw).await;
    let malformed = &b"\xff\xff\xff"[..];
    let huge = vec![0; (64 << 10) + 1];
    let nan = Some(Datum::Float(f64::NAN));
    let one = Some(Datum::Integer(1));
    let open = |name: &str, kind, mode, spec: &'static [u8]| {
        OpenRequest { name: name.to_owned(), kind, spec: spec.into(), mode }.encode_to_vec()
    };
    let known = "what the witness knows";
    let share = |handle, uses, lifetime_ms| ShareRequest { handle, uses, lifetime_ms }.encode_to_vec();
    let token = |token: &[u8]| TakeUpRequest { token: token.to_vec(), kind: dict::KIND }.encode_to_vec();
    let (open_op, create_op, close_op, delete_op, share_op, take_up_op) = (1, 2, 3, 4, 5, 6);

    let cases: Vec<(u32, u32, Vec<u8>, Reason, &str)> = vec![
        // Handles that this session does not have.
        (99, DictGetRequest::OP, get().encode_to_vec(), Reason::UnknownHandle, "99"),
        (u32::MAX, DictGetRequest::OP, get().encode_to_vec(), Reason::UnknownHandle, "4294967295"),
        (0, close_op, CloseRequest { handle: 99, deliveries: 0 }.encode_to_vec(), Reason::UnknownHandle, "99"),
        (0, close_op, CloseRequest { handle: 0, deliveries: 0 }.encode_to_vec(), Reason::UnknownHandle, "0"),
        (0, share_op, share(99, 1, 1000), Reason::UnknownHandle, "99"),
        // Ops that do not exist, and those of another kind.
        (0, 0, vec![], Reason::UnknownOp, "0"),
        (0, 999, vec![], Reason::UnknownOp, "999"),
        (dict, 0, vec![], Reason::UnknownOp, "dict"),
        (dict, 999, vec![], Reason::UnknownOp, "999"),
        (cell, DictAddRequest::OP, vec![], Reason::UnknownOp, "value has no op 13"),
        (0, 99, vec![], Reason::UnknownOp, "99"),
        (0, open_op, open("n", 99, 0, b""), Reason::UnknownOp, "99"),
        (0, create_op, CreateRequest { kind: 1, spec: Bytes::new() }.encode_to_vec(), Reason::UnknownOp, "kind 1"),
        // Requests that cannot be read, or lack what they need.
        (dict, DictGetRequest::OP, malformed.to_vec(), Reason::Malformed, "Get"),
        (0, open_op, malformed.to_vec(), Reason::Malformed, "cannot be read"),
        (dict, DictGetRequest::OP, vec![], Reason::Malformed, "key"),
        (dict, DictGetRequest::OP, b"\x0a\x00".to_vec(), Reason::Malformed, "key"),
        (
            dict,
            DictSetRequest::OP,
            DictSetRequest { key: one.clone(), value: None }.encode_to_vec(),
            Reason::Malformed,
            "value",
        ),
        (
            dict,
            DictSetRequest::OP,
            DictSetRequest { key: None, value: one.clone() }.encode_to_vec(),
            Reason::Malformed,
            "key",
        ),
        (0, open_op, open("n", dict::KIND, 99, b""), Reason::Malformed, "99"),
        (0, open_op, open("n", value::KIND, 0, b"\xff"), Reason::Malformed, "spec"),
        (0, share_op, share(dict, 0, 1000), Reason::Malformed, "0"),
        (0, share_op, share(dict, 1, 0), Reason::Malformed, "0"),
        (0, share_op, share(dict, 1, u64::MAX), Reason::Malformed, "86400000"),
        // Keys and values that are none, or too large.
        (
            dict,
            DictSetRequest::OP,
            DictSetRequest { key: nan, value: one.clone() }.encode_to_vec(),
            Reason::NanKey,
            "NaN",
        ),
        (dict, DictSetRequest::OP, huge, Reason::ValueTooLarge, "value_bytes"),
        (
            dict,
            DictAddRequest::OP,
            DictAddRequest { key: one.clone(), delta: Some(Datum::from("1")) }.encode_to_vec(),
            Reason::WrongType,
            "",
        ),
        (
            dict,
            DictAddRequest::OP,
            DictAddRequest { key: one, delta: Some(Datum::Integer(i64::MAX)) }.encode_to_vec(),
            Reason::Overflow,
            "",
        ),
        // Names and tokens.
        (0, open_op, open("", dict::KIND, 0, b""), Reason::InvalidName, "empty"),
        (0, open_op, open(&"n".repeat(513), dict::KIND, 0, b""), Reason::InvalidName, "name_bytes"),
        (0, open_op, open(known, value::KIND, 0, b""), Reason::WrongKind, known),
        (0, open_op, open(known, dict::KIND, 2, b""), Reason::Exists, known),
        (0, open_op, open("nobody", dict::KIND, 1, b""), Reason::UnknownObject, "nobody"),
        (0, delete_op, open("nobody", 0, 0, b""), Reason::UnknownObject, "nobody"),
        (0, take_up_op, token(&[7; 32]), Reason::UnknownToken, "token"),
        (0, take_up_op, token(b""), Reason::UnknownToken, "token"),
    ];
    let before = stream.ask(0, &StatusRequest {}).await.unwrap();
    for (handle, op, request, reason, names) in cases {
        is(stream.ask_as(handle, op, request).await, reason, names);
        goes_on(&mut stream, dict).await;
    }
    assert_eq!(stream.ask(cell, &ValueGetRequest {}).await.unwrap().value, Some(Datum::Null));
    assert_eq!(stream.ask(0, &StatusRequest {}).await.unwrap(), before, "a refusal leaves nothing behind");
    witness.sees_its_data().await;
    drop(stream);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_handle_is_of_its_session_alone_and_of_no_use_once_given_back() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict, _) = with_objects(&raw).await;
    let other = Raw::authenticated(&manager).await;
    let mut stranger = other.session().await;
    assert_eq!(stranger.ask(dict, &get()).await.unwrap_err().why(), Reason::UnknownHandle);
    stream.ask(0, &CloseRequest { handle: dict, deliveries: 0 }).await.unwrap();
    assert_eq!(stream.ask(dict, &get()).await.unwrap_err().why(), Reason::UnknownHandle);
    assert_eq!(
        stream.ask(0, &CloseRequest { handle: dict, deliveries: 0 }).await.unwrap_err().why(),
        Reason::UnknownHandle
    );
    drop((raw, other, stream, stranger));
    witness.sees_no_harm(&manager).await;
}

/// A session whose client does one thing that the protocol forbids, and how it ends.
async fn breaks(abuse: impl AsyncFnOnce(&mut Stream, u32)) -> Ended {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict, _) = with_objects(&raw).await;
    abuse(&mut stream, dict).await;
    let ended = loop {
        match stream.next().await {
            Ok(server_frame::Frame::Reply(_)) => {}
            Ok(other) => panic!("not a reply, but {other:?}"),
            Err(ended) => break ended,
        }
    };
    raw.closed().await;
    witness.sees_no_harm(&manager).await;
    ended
}

#[track_caller]
fn ends_with(ended: &Ended, code: Option<i32>, says: &str) {
    assert_eq!(ended.code(), code, "{ended}");
    assert!(ended.to_string().contains(says), "{ended}");
}

/// Any frame, with a prefix of our own.
fn frame(flag: u8, len: u32, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(len);
    bytes.extend_from_slice(message);
    bytes.freeze()
}

#[tokio::test]
async fn a_malformed_frame_ends_its_session() {
    let ended = breaks(async |stream, _| stream.send_bytes(frame(0, 3, b"\xff\xff\xff"), false).await.unwrap()).await;
    ends_with(&ended, INVALID_ARGUMENT, "cannot be read");
}

#[tokio::test]
async fn a_field_of_the_wrong_wire_type_ends_its_session() {
    // `received` as bytes.
    let ended = breaks(async |stream, _| stream.send_bytes(frame(0, 3, b"\x0a\x01x"), false).await.unwrap()).await;
    ends_with(&ended, INVALID_ARGUMENT, "wire type");
}

#[tokio::test]
async fn an_oversized_frame_ends_its_session_before_it_is_read() {
    let ended = breaks(async |stream, _| stream.send_bytes(frame(0, u32::MAX, b"x"), false).await.unwrap()).await;
    ends_with(&ended, RESOURCE_EXHAUSTED, "larger than the limit");
}

#[tokio::test]
async fn a_compressed_frame_ends_its_session() {
    let ended = breaks(async |stream, _| stream.send_bytes(frame(1, 0, b""), false).await.unwrap()).await;
    ends_with(&ended, INVALID_ARGUMENT, "compressed");
}

#[tokio::test]
async fn a_gap_in_the_sequence_ends_its_session_and_the_call_is_not_applied() {
    let ended = breaks(async |stream, dict| {
        stream.sequence += 1;
        stream.call(dict, &get()).await;
    })
    .await;
    ends_with(&ended, INVALID_ARGUMENT, "sequence numbers rise by one");
}

#[tokio::test]
async fn a_repeated_sequence_number_ends_its_session() {
    let ended = breaks(async |stream, dict| {
        stream.sequence -= 1;
        stream.call(dict, &get()).await;
    })
    .await;
    ends_with(&ended, INVALID_ARGUMENT, "sequence numbers rise by one");
}

#[tokio::test]
async fn more_replies_received_than_sent_end_the_session() {
    let ended = breaks(async |stream, _| stream.say(stream.received + 1, None).await).await;
    ends_with(&ended, INVALID_ARGUMENT, "replies were sent");
}

#[tokio::test]
async fn fewer_replies_received_than_before_end_the_session() {
    let ended = breaks(async |stream, _| {
        stream.say(stream.received, None).await;
        stream.say(stream.received - 1, None).await;
    })
    .await;
    ends_with(&ended, INVALID_ARGUMENT, "received is 2 after 3");
}

#[tokio::test]
async fn a_second_hello_ends_the_session() {
    let ended = breaks(async |stream, _| stream.say(stream.received, Some(hello(PROTOCOL, "raw"))).await).await;
    ends_with(&ended, FAILED_PRECONDITION, "only the first");
}

#[tokio::test]
async fn more_calls_in_flight_than_allowed_end_the_session() {
    let ended = breaks(async |stream, dict| {
        // Replies may have come, but they are not acknowledged.
        for _ in 0..101 {
            stream.call(dict, &get()).await;
        }
    })
    .await;
    ends_with(&ended, RESOURCE_EXHAUSTED, "calls_in_flight");
}

#[tokio::test]
async fn as_many_calls_in_flight_as_allowed_are_answered() {
    let (manager, _witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict, _) = with_objects(&raw).await;
    for _ in 0..10 {
        for _ in 0..100 {
            stream.call(dict, &get()).await;
        }
        for _ in 0..100 {
            stream.reply().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_closed_in_the_middle_of_a_frame_ends_its_session() {
    let ended = breaks(async |stream, dict| {
        let whole = call(stream.received, stream.sequence + 1, dict, &get());
        stream.send_bytes(whole.slice(..whole.len() - 1), true).await.unwrap();
    })
    .await;
    ends_with(&ended, INVALID_ARGUMENT, "in the middle of a frame");
}

#[tokio::test]
async fn a_stream_that_is_closed_between_frames_ends_its_session_in_order() {
    let ended = breaks(async |stream, _| stream.half_close()).await;
    ends_with(&ended, Some(0), "");
}

#[tokio::test]
async fn nothing_is_applied_after_a_goodbye() {
    let ended = breaks(async |stream, _| {
        let delete = OpenRequest { name: "what the witness knows".into(), ..OpenRequest::default() };
        let goodbye = client_frame::Frame::Goodbye(Goodbye::default());
        stream.say(stream.received, Some(goodbye)).await;
        stream.call_as(0, 4, delete.encode_to_vec()).await;
    })
    .await;
    ends_with(&ended, Some(0), "");
}

fn hello(protocol: u32, name: &str) -> client_frame::Frame {
    client_frame::Frame::Hello(Hello { protocol, name: name.to_owned(), ..Hello::default() })
}

/// A stream on which the first thing that is said is wrong, and how it ends.
async fn begins_badly(frame: Option<client_frame::Frame>) -> Ended {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let mut stream = raw.stream().await.unwrap();
    stream.say(0, frame).await;
    let ended = stream.end().await;
    raw.closed().await;
    witness.sees_no_harm(&manager).await;
    ended
}

#[tokio::test]
async fn a_session_begins_with_hello() {
    let delete = OpenRequest { name: "what the witness knows".into(), ..OpenRequest::default() };
    let delete = Call { sequence: 1, handle: 0, op: 4, request: delete.encode_to_vec().into(), fence: 0 };
    ends_with(&begins_badly(Some(client_frame::Frame::Call(delete))).await, FAILED_PRECONDITION, "must be Hello");
    ends_with(&begins_badly(None).await, FAILED_PRECONDITION, "must be Hello");
    let goodbye = client_frame::Frame::Goodbye(Goodbye::default());
    ends_with(&begins_badly(Some(goodbye)).await, FAILED_PRECONDITION, "must be Hello");
}

#[tokio::test]
async fn a_client_of_another_protocol_is_told_so() {
    ends_with(&begins_badly(Some(hello(PROTOCOL + 1, "raw"))).await, FAILED_PRECONDITION, "speaks protocol 1");
    ends_with(&begins_badly(Some(hello(0, "raw"))).await, FAILED_PRECONDITION, "speaks protocol 1");
    ends_with(&begins_badly(Some(hello(PROTOCOL, &"n".repeat(129)))).await, INVALID_ARGUMENT, "128 bytes");
    let hello = Hello { protocol: PROTOCOL, host: "h".repeat(256), ..Hello::default() };
    ends_with(&begins_badly(Some(client_frame::Frame::Hello(hello))).await, INVALID_ARGUMENT, "255 bytes");
}

#[tokio::test]
async fn a_connection_has_one_session() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict, _) = with_objects(&raw).await;
    ends_with(&raw.stream().await.unwrap_err(), FAILED_PRECONDITION, "had its session");
    goes_on(&mut stream, dict).await;
    stream.half_close();
    ends_with(&stream.end().await, Some(0), "");
    let again = raw.stream().await.unwrap_err();
    assert!(matches!(again, Ended::Cut(_)) || again.code() == UNAUTHENTICATED, "{again}");
    raw.closed().await;
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_session_that_is_reset_is_over() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (stream, ..) = with_objects(&raw).await;
    drop(stream);
    raw.closed().await;
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_wrong_authkey_is_rejected_and_its_connection_closed() {
    let (manager, witness) = start().await;
    for address in &manager.addresses {
        let mut raw = Raw::connect(address).await;
        let refused = raw.authenticate(&Authkey::from_random([1; 32])).await.unwrap_err();
        ends_with(&refused, UNAUTHENTICATED, "");
        raw.closed().await;
    }
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn every_failed_handshake_is_answered_alike() {
    let (manager, witness) = start().await;
    let address = &manager.addresses[0];
    let mut messages = Vec::new();
    // The wrong key.
    let mut raw = Raw::connect(address).await;
    messages.push(raw.authenticate(&Authkey::from_random([1; 32])).await.unwrap_err());
    raw.closed().await;
    // A proof without a challenge.
    let raw = Raw::connect(address).await;
    messages.push(raw.finish("c=biws,r=x,p=AAAA".to_owned()).await.unwrap_err());
    raw.closed().await;
    // A second challenge.
    let raw = Raw::connect(address).await;
    let _ = raw.begin(&manager.authkey()).await.unwrap();
    messages.push(raw.begin(&manager.authkey()).await.unwrap_err());
    raw.closed().await;
    // Messages that are none, another user, an unknown extension, channel binding that there is not.
    for first in [
        "",
        "n,,n=root,r=abcdefghijklmnopqrstuvwx",
        "p=tls-server-end-point,,n=manager,r=abcdefghijklmnopqrstuvwx",
        "n,,m=1,n=manager,r=abcdefghijklmnopqrstuvwx",
        "\0",
    ] {
        let raw = Raw::connect(address).await;
        let begin = BeginRequest { client_first: first.to_owned() };
        messages.push(raw.unary("/holdfast.v1.AuthService/Begin", &begin).await.unwrap_err());
        raw.closed().await;
    }
    assert_eq!(messages[0].code(), UNAUTHENTICATED);
    assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_proof_is_of_no_use_on_another_connection() {
    let (manager, witness) = start().await;
    let address = &manager.addresses[0];
    let (first, second) = (Raw::connect(address).await, Raw::connect(address).await);
    let (proof, _) = first.begin(&manager.authkey()).await.unwrap();
    let _ = second.begin(&manager.authkey()).await.unwrap();
    ends_with(&second.finish(proof.clone()).await.unwrap_err(), UNAUTHENTICATED, "");
    second.closed().await;
    // Where it belongs it works, once: a second proof shuts the gate, also for the token that the first one gave.
    let finished = first.finish(proof.clone()).await.unwrap();
    ends_with(&first.finish(proof).await.unwrap_err(), UNAUTHENTICATED, "");
    let token = finished.token.into();
    assert!(first.open(CONNECT_PATH, Some(&token)).await.is_err());
    first.closed().await;
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_second_handshake_shuts_the_gate_and_the_connection() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    ends_with(&raw.begin(&manager.authkey()).await.unwrap_err(), UNAUTHENTICATED, "");
    assert!(raw.stream().await.is_err());
    raw.closed().await;
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn nothing_but_the_handshake_is_served_without_authentication() {
    let (manager, witness) = start().await;
    for address in &manager.addresses {
        let raw = Raw::connect(address).await;
        let garbage = Bytes::from_static(&[9; 32]);
        let empty = Bytes::new();
        for token in [None, Some(&garbage), Some(&empty)] {
            ends_with(&raw.open(CONNECT_PATH, token).await.unwrap_err(), UNAUTHENTICATED, "authkey");
        }
        for path in
            ["/holdfast.v1.DictService/Get", "/holdfast.v1.ManagerService/Status", "/", "/holdfast.v1.AuthService"]
        {
            ends_with(&raw.unary(path, &get()).await.unwrap_err(), UNAUTHENTICATED, "authkey");
        }
        // Half a handshake is none.
        let _ = raw.begin(&manager.authkey()).await.unwrap();
        ends_with(&raw.open(CONNECT_PATH, None).await.unwrap_err(), UNAUTHENTICATED, "authkey");
        ends_with(&raw.open(CONNECT_PATH, Some(&empty)).await.unwrap_err(), UNAUTHENTICATED, "authkey");
    }
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_token_is_of_no_use_on_another_connection() {
    let (manager, witness) = start().await;
    let owner = Raw::authenticated(&manager).await;
    let (mut stream, dict, _) = with_objects(&owner).await;
    for address in &manager.addresses {
        // Without a handshake of its own, and with one.
        let mut thief = Raw::connect(address).await;
        ends_with(&thief.open(CONNECT_PATH, owner.token.as_ref()).await.unwrap_err(), UNAUTHENTICATED, "authkey");
        thief.authenticate(&manager.authkey()).await.unwrap();
        ends_with(&thief.open(CONNECT_PATH, owner.token.as_ref()).await.unwrap_err(), UNAUTHENTICATED, "authkey");
        thief.session().await;
    }
    goes_on(&mut stream, dict).await;
    drop((owner, stream));
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn unknown_paths_and_oversized_handshakes_are_refused() {
    let (manager, witness) = start().await;
    let raw = Raw::connect(&manager.addresses[0]).await;
    let unknown = raw.unary("/holdfast.v1.AuthService/Nothing", &BeginRequest::default()).await.unwrap_err();
    assert_eq!(unknown.code(), Some(12), "{unknown}");
    let large = FinishRequest { client_final: "x".repeat(5000) };
    let refused = raw.unary("/holdfast.v1.AuthService/Finish", &large).await.unwrap_err();
    assert!(matches!(refused.code(), Some(8 | 11)), "{refused}");
    let raw = Raw::authenticated(&manager).await;
    let unknown = raw.unary("/holdfast.v1.Nothing/Nothing", &BeginRequest::default()).await.unwrap_err();
    assert_eq!(unknown.code(), Some(12), "{unknown}");
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn who_does_not_authenticate_in_ten_seconds_is_cut_off() {
    let (manager, witness) = start().await;
    let manager_ref = &manager;
    let idlers = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)].map(async |(address, how)| {
        let address = &manager_ref.addresses[address];
        match how {
            0 => {
                let mut socket = Socket::connect(address);
                tokio::task::spawn_blocking(move || socket.read_to_end()).await.unwrap();
            }
            1 => Raw::connect(address).await.closed().await,
            _ => {
                let raw = Raw::connect(address).await;
                let _ = raw.begin(&manager_ref.authkey()).await.unwrap();
                raw.closed().await;
            }
        }
    });
    let began = Instant::now();
    let authenticated = Raw::authenticated(&manager).await;
    join_all(idlers).await;
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    // Who has authenticated may take its time.
    authenticated.session().await;
    drop(authenticated);
    witness.sees_no_harm(&manager).await;
}

/// A socket on which anything is said.
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn connect(address: &Address) -> Self {
        match address {
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Self::Unix(socket)
            }
            Address::Http(authority) | Address::Https(authority) => {
                let socket = TcpStream::connect(authority).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Self::Tcp(socket)
            }
        }
    }

    /// Says something. The manager may have hung up already.
    fn say(&mut self, bytes: &[u8]) {
        let _ = match self {
            Self::Unix(socket) => socket.write_all(bytes),
            Self::Tcp(socket) => socket.write_all(bytes),
        };
    }

    /// What comes until the manager hangs up. Fails if it does not.
    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Unix(socket) => socket.read_to_end(&mut bytes),
            Self::Tcp(socket) => socket.read_to_end(&mut bytes),
        };
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the manager did not hang up"),
            // Hanging up on unread bytes is told as a reset.
            Ok(_) | Err(_) => bytes,
        }
    }

    fn half_close(&self) {
        let _ = match self {
            Self::Unix(socket) => socket.shutdown(std::net::Shutdown::Write),
            Self::Tcp(socket) => socket.shutdown(std::net::Shutdown::Write),
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_not_http2_is_hung_up_on() {
    const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const POST: &[u8] = b"POST /holdfast.v1.SessionService/Connect HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    // The first bytes of a TLS 1.3 ClientHello, as openssl sends them.
    const TLS: &[u8] =
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x8d\x9a\x14\x3b\x00\x00\x20\x13\x02\x13\x03\x13\x01";
    const REDIS: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    let (manager, witness) = start().await;
    for address in &manager.addresses {
        for bytes in [HTTP1, POST, TLS, REDIS] {
            let mut socket = Socket::connect(address);
            socket.say(bytes);
            // It may say in HTTP/2 why.
            let answer = socket.read_to_end();
            assert!(answer.len() < 1024, "{answer:?}");
        }
        witness.sees_its_data().await;
    }
    witness.sees_no_harm(&manager).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_that_says_nothing_and_closes_harms_nobody() {
    let (manager, witness) = start().await;
    for address in &manager.addresses {
        for _ in 0..100 {
            drop(Socket::connect(address));
        }
        let mut half = Socket::connect(address);
        half.half_close();
        half.read_to_end();
        // The preface of HTTP/2 and nothing more, and a part of it.
        for preface in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"PRI * HT"] {
            let mut socket = Socket::connect(address);
            socket.say(preface);
            socket.half_close();
            socket.read_to_end();
        }
    }
    witness.sees_no_harm(&manager).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn random_bytes_harm_nobody() {
    let (manager, witness) = start().await;
    let mut random = Random(0x0123_4567_89ab_cdef);
    for address in &manager.addresses {
        for round in 0..200 {
            let mut socket = Socket::connect(address);
            // Half of them after a good beginning, so that they come further.
            if round % 2 == 0 {
                socket.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            }
            socket.say(&random.bytes());
            socket.half_close();
            socket.read_to_end();
        }
        witness.sees_its_data().await;
    }
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn random_bytes_in_a_session_harm_nobody() {
    let (manager, witness) = start().await;
    let mut random = Random(0xfedc_ba98_7654_3210);
    for round in 0..100 {
        let raw = Raw::authenticated(&manager).await;
        let (mut stream, dict, _) = with_objects(&raw).await;
        let bytes = random.bytes();
        if round % 2 == 0 {
            // As a request: a typed refusal, or by chance a good call.
            let len = bytes.len().min(60 << 10);
            drop(stream.ask_as(dict, u32::from(bytes[0] % 16), bytes.slice(..len)).await);
            let len = stream.ask(dict, &holdfast_proto::DictLenRequest {}).await.unwrap().len;
            assert!(len <= 2, "{len}");
        } else {
            // As frames: the session ends with a status.
            stream.send_bytes(frame(0, u32::try_from(bytes.len()).unwrap(), &bytes), true).await.unwrap();
            let ended = loop {
                match stream.next().await {
                    Ok(_) => {}
                    Err(ended) => break ended,
                }
            };
            assert!(ended.code().is_some(), "{ended}");
            raw.closed().await;
        }
    }
    witness.sees_no_harm(&manager).await;
}

/// Random bytes, the same in every run: <https://prng.di.unimi.it/splitmix64.c>
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self) -> Bytes {
        let len = 1 + self.next() % 2000;
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[tokio::test]
async fn many_streams_that_are_opened_and_reset_end_the_connection_or_nothing() {
    // Rapid reset (CVE-2023-44487): h2 ends a connection that does too much of it.
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let mut opened = 0;
    for _ in 0..5000 {
        match raw.open("/holdfast.v1.AuthService/Begin", None).await {
            Ok(stream) => drop(stream),
            Err(_) => break,
        }
        opened += 1;
    }
    assert!(opened > 0);
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn an_object_that_is_created_and_refused_takes_no_place() {
    let manager = Setup::new(program!()).limit("objects", 3).start();
    let raw = Raw::authenticated(&manager).await;
    let mut stream = raw.session().await;
    for _ in 0..10 {
        let bad = CreateRequest { kind: value::KIND, spec: Bytes::from_static(b"\xff") };
        assert_eq!(stream.ask(0, &bad).await.unwrap_err().why(), Reason::Malformed);
    }
    for _ in 0..3 {
        let CreateResponse { handle, .. } =
            stream.ask(0, &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.unwrap();
        assert!(handle > 0);
    }
    let full = stream.ask(0, &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.unwrap_err();
    assert_eq!(full.why(), Reason::Quota);
}

#[tokio::test]
async fn a_handshake_that_is_recorded_cannot_be_replayed() {
    let (manager, witness) = start().await;
    let (client_first, awaiting) = handshake(&Binding::None);
    let first = Raw::connect(&manager.addresses[0]).await;
    let begin = BeginRequest { client_first };
    let challenge = first.unary("/holdfast.v1.AuthService/Begin", &begin).await.unwrap();
    let challenge = holdfast_proto::BeginResponse::decode(challenge).unwrap().server_first;
    let (proof, awaiting) = awaiting.prove(&challenge, &manager.authkey()).unwrap();
    awaiting.confirm(&first.finish(proof.clone()).await.unwrap().server_final).unwrap();
    let second = Raw::connect(&manager.addresses[0]).await;
    second.unary("/holdfast.v1.AuthService/Begin", &begin).await.unwrap();
    ends_with(&second.finish(proof).await.unwrap_err(), UNAUTHENTICATED, "");
    second.closed().await;
    drop(first);
    witness.sees_no_harm(&manager).await;
}

/// What the manager does with the deliveries of a handle, seen on the wire.
#[tokio::test]
async fn a_delivered_handle_ends_with_its_last_delivery() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict, cell) = with_objects(&raw).await;
    let key = || Some(Datum::Integer(5));
    let to = |handle| Datum::Reference(Reference::new(Arc::new(Named { handle, kind: 0, object: [0; 16] })));
    let set = |value: Datum| DictSetRequest { key: key(), value: Some(value) };
    let get = DictGetRequest { key: key() };

    // A reference to nothing this session has, at any depth, and in the spec of a new object.
    let before = stream.ask(0, &StatusRequest {}).await.unwrap();
    for handle in [0, 99] {
        for value in [to(handle), Datum::List([Datum::Null, to(handle)].into())] {
            is(stream.ask(dict, &set(value)).await, Reason::UnknownHandle, "handle");
        }
        let spec = ValueSpec { initial: Some(to(handle)) }.encode_to_vec().into();
        is(stream.ask(0, &CreateRequest { kind: value::KIND, spec }).await.map(drop), Reason::UnknownHandle, "handle");
    }
    assert_eq!(stream.ask(0, &StatusRequest {}).await.unwrap(), before);

    // Delivered twice: one handle, which is not the one that was opened, and takes two to give back.
    stream.ask(dict, &set(Datum::List([to(cell), to(cell)].into()))).await.unwrap();
    stream.call(dict, &get).await;
    let reply = stream.reply().await.unwrap();
    let [delivered, again] = reply.delivered[..] else { panic!("{reply:?}") };
    assert!(delivered == again && delivered != cell && delivered != dict);
    let Some(reply::Result::Response(body)) = reply.result else { panic!("refused") };
    let Some(Datum::List(elements)) = DictGetResponse::decode(body).unwrap().value else { panic!("a list") };
    for element in &elements {
        let Datum::Reference(reference) = element else { panic!("{element:?}") };
        assert_eq!((reference.handle(), reference.kind()), (delivered, value::KIND));
        assert_ne!(reference.object(), [0; 16]);
    }
    stream.ask(delivered, &ValueSetRequest { value: Some(Datum::Integer(1)) }).await.unwrap();
    assert_eq!(stream.ask(cell, &ValueGetRequest {}).await.unwrap().value, Some(Datum::Integer(1)), "the same object");
    let close = |deliveries| CloseRequest { handle: delivered, deliveries };
    is(stream.ask(0, &close(3)).await, Reason::Malformed, "2");
    stream.ask(0, &close(1)).await.unwrap();
    stream.ask(delivered, &ValueGetRequest {}).await.unwrap();
    stream.ask(dict, &get).await.unwrap();
    stream.ask(0, &close(3)).await.unwrap();
    is(stream.ask(delivered, &ValueGetRequest {}).await, Reason::UnknownHandle, "handle");
    stream.ask(cell, &ValueGetRequest {}).await.unwrap();
    drop((raw, stream));
    witness.sees_no_harm(&manager).await;
}
