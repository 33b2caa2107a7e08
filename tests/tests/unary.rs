//! Unary calls, well-formed and not: what a client does wrong is answered with the status that says so, changes nothing,
//! and harms no other call.

#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use holdfast::Reason;
use holdfast_proto::{
    CreateRequest, Datum, DeleteRequest, DictAddRequest, DictGetRequest, DictLenRequest, DictSetRequest, Hello,
    OpenRequest, PROTOCOL, StatusRequest, ValueGetRequest, client_frame, dict, value,
};
use holdfast_tests::{Answer, Manager, Open, Raw, Rpc, Setup, Witness, program};
use http::Method;
use rustix::process::Signal;

const VALUE_BYTES: usize = 64 << 10;

async fn start() -> (Manager, Witness) {
    start_with(|setup| setup).await
}

async fn start_with(set: impl FnOnce(Setup) -> Setup) -> (Manager, Witness) {
    let manager = set(Setup::new(program!()).limit("value_bytes", VALUE_BYTES as u64)).start();
    let witness = Witness::new(&manager).await;
    (manager, witness)
}

/// A connection with a dict of its own, in which 1 stands for 10.
async fn with_dict(manager: &Manager) -> (Raw, u32) {
    let raw = Raw::authenticated(manager).await;
    let dict = raw.ask(Rpc::to(""), &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.handle;
    let set = DictSetRequest { key: Some(Datum::Integer(1)), value: Some(Datum::Integer(10)) };
    raw.ask(Rpc::to("").handle(dict), &set).await;
    (raw, dict)
}

fn get() -> DictGetRequest {
    DictGetRequest { key: Some(Datum::Integer(1)) }
}

fn add() -> DictAddRequest {
    DictAddRequest { key: Some(Datum::Integer(1)), delta: Some(Datum::Integer(1)) }
}

/// A request of about so many bytes, which adds a key.
fn large(bytes: usize) -> DictSetRequest {
    DictSetRequest { key: Some(Datum::from("large")), value: Some(Datum::from(&*"x".repeat(bytes))) }
}

/// The connection still works, and its dict is as it was.
async fn goes_on(raw: &Raw, dict: u32) {
    assert_eq!(raw.ask(Rpc::to("").handle(dict), &get()).await.value, Some(Datum::Integer(10)));
    assert_eq!(raw.ask(Rpc::to("").handle(dict), &DictLenRequest {}).await.len, 1);
}

#[track_caller]
fn is(answer: &Answer, code: i32, reason: Option<Reason>, says: &str) {
    assert_eq!((answer.http, answer.code(), answer.reason()), (200, Some(code), reason), "{answer:?}");
    let status = answer.status.as_ref().unwrap().to_string();
    assert!(status.contains(says), "{status:?} says {says:?}");
}

#[tokio::test]
async fn a_call_names_its_object_by_name_or_handle_and_is_told_its_index() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let open = OpenRequest { name: "s\u{fc}\u{df}".into(), kind: dict::KIND, ..OpenRequest::default() };
    assert!(raw.ask(Rpc::to(""), &open).await.created);
    let mut last = 0;
    for rpc in [
        Rpc::of(&add()).handle(dict),
        Rpc::of(&add()).object(&open.name),
        Rpc::of(&add()).header("holdfast-object", "s%C3%BC%c3%9f"),
    ] {
        let answer = raw.rpc(&rpc).await.unwrap();
        let _ = answer.response::<DictAddRequest>();
        assert!(answer.index > Some(last), "{answer:?}");
        last = answer.index.unwrap();
    }
    let got = raw.ask(Rpc::to("").object(&open.name), &get()).await;
    assert_eq!((got.value, got.version), (Some(Datum::Integer(2)), last));
    raw.ask(Rpc::to(""), &DeleteRequest { name: open.name.clone() }).await;

    // The name means the object that has it now.
    is(&raw.rpc(&Rpc::of(&get()).object(&open.name)).await.unwrap(), 5, Some(Reason::UnknownObject), "no object");
    assert!(raw.ask(Rpc::to(""), &open).await.created);
    assert_eq!(raw.ask(Rpc::to("").object(&open.name), &DictLenRequest {}).await.len, 0);
    raw.ask(Rpc::to(""), &DeleteRequest { name: open.name }).await;
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_body_that_is_not_one_message_is_refused_and_changes_nothing() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let call = || Rpc::of(&add()).handle(dict);
    let whole = call().bytes();
    let mut compressed = BytesMut::from(&whole[..]);
    compressed[0] = 1;
    let mut huge = BytesMut::from(&b"\0"[..]);
    huge.put_u32(u32::MAX);
    let malformed = Some(Reason::Malformed);
    for (body, code, reason, says) in [
        (Bytes::new(), 12, None, "no messages"),
        (whole.slice(..3), 3, malformed, "in the middle"),
        (whole.slice(..whole.len() - 1), 3, malformed, "in the middle"),
        (call().message(&add()).bytes(), 12, None, "two messages"),
        ([&whole[..], &whole[..2]].concat().into(), 3, malformed, "in the middle"),
        (compressed.freeze(), 12, None, "compress"),
        (Rpc::to("").message(&large(VALUE_BYTES)).bytes(), 3, Some(Reason::ValueTooLarge), "value_bytes"),
        (huge.freeze(), 3, Some(Reason::ValueTooLarge), "value_bytes"),
        (b"\0\0\0\0\x03\xff\xff\xff"[..].into(), 3, malformed, "Add"),
        (b"\0\0\0\0\0"[..].into(), 3, malformed, "key"),
    ] {
        let answer = raw.rpc(&call().body(body)).await.unwrap();
        is(&answer, code, reason, says);
        goes_on(&raw, dict).await;
    }
    // One that is too large is refused before its end.
    let mut open = raw.begin_rpc(&call(), false).await.unwrap();
    open.send(Rpc::to("").message(&large(VALUE_BYTES)).bytes().slice(..100), false).await.unwrap();
    is(&open.answer().await.unwrap(), 3, Some(Reason::ValueTooLarge), "value_bytes");
    goes_on(&raw, dict).await;
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn headers_that_do_not_make_a_call_are_refused() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let call = || Rpc::of(&add()).handle(dict);
    for (rpc, http) in [
        (call().header("content-type", "application/json"), 415),
        (call().header("content-type", "application/grpc-web+proto"), 415),
        (call().method(Method::PUT), 405),
    ] {
        let answer = raw.rpc(&rpc).await.unwrap();
        assert_eq!((answer.http, answer.code()), (http, None), "{answer:?}");
    }
    let malformed = Some(Reason::Malformed);
    let other = Rpc::of(&ValueGetRequest {});
    for (rpc, code, reason, says) in [
        (Rpc::of(&add()), 3, malformed, "names no object"),
        (call().object("a name"), 3, malformed, "twice"),
        (call().header("holdfast-object", "a name"), 3, malformed, "twice"),
        (Rpc::of(&add()).header("holdfast-handle", "one"), 3, malformed, "holdfast-handle"),
        (Rpc::of(&add()).header("holdfast-object", "100%"), 3, malformed, "percent-encoded"),
        (Rpc::of(&add()).handle(0), 5, Some(Reason::UnknownHandle), "0"),
        (Rpc::of(&add()).handle(99), 5, Some(Reason::UnknownHandle), "99"),
        (Rpc::of(&add()).object(""), 3, Some(Reason::InvalidName), "empty"),
        (Rpc::of(&add()).object(&"n".repeat(513)), 3, Some(Reason::InvalidName), "name_bytes"),
        (other.clone().handle(dict), 9, Some(Reason::WrongKind), "dict"),
        (other.object("what the witness knows"), 9, Some(Reason::WrongKind), "dict"),
        (Rpc::of(&StatusRequest {}).handle(dict), 3, malformed, "about the manager"),
        (call().header("grpc-timeout", "soon"), 3, malformed, "grpc-timeout"),
        (Rpc::to("/holdfast.v1.DictService/add").message(&add()).handle(dict), 12, Some(Reason::UnknownOp), "Add"),
        (Rpc::to(&format!("/{}/x", "s".repeat(3000))).message(&add()), 12, Some(Reason::UnknownOp), "no service"),
    ] {
        is(&raw.rpc(&rpc).await.unwrap(), code, reason, says);
        goes_on(&raw, dict).await;
    }
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn without_the_token_of_the_connection_nothing_is_touched() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let mut stranger = Raw::connect(&manager.addresses[0]).await;
    let made_up = Some(Bytes::from_static(&[7; 32]));
    for token in [None, Some(Bytes::new()), made_up, raw.token.clone()] {
        stranger.token = token;
        let create = CreateRequest { kind: dict::KIND, spec: Bytes::new() };
        for rpc in [Rpc::of(&create), Rpc::of(&add()).handle(dict), Rpc::to("/holdfast.v1.NoService/Get")] {
            let answer = stranger.rpc(&rpc).await.unwrap();
            is(&answer, 16, Some(Reason::Unauthenticated), "AuthService");
        }
    }
    goes_on(&raw, dict).await;
    drop((raw, stranger));
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_and_the_call_is_not_applied() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let call = Rpc::of(&add()).handle(dict);
    is(&raw.rpc(&call.clone().header("grpc-timeout", "0m")).await.unwrap(), 4, None, "deadline");
    // One whose request does not come is told so, although it never ends.
    let late = call.clone().header("grpc-timeout", "20m");
    let mut open = raw.begin_rpc(&late, false).await.unwrap();
    open.send(late.bytes().slice(..7), false).await.unwrap();
    is(&open.answer().await.unwrap(), 4, None, "deadline");
    goes_on(&raw, dict).await;
    for timeout in ["1H", "99999999H"] {
        let _ = raw.rpc(&call.clone().header("grpc-timeout", timeout)).await.unwrap().response::<DictAddRequest>();
    }
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

/// A call that has begun, with all but the last byte of its request sent.
async fn nearly(raw: &Raw, rpc: &Rpc) -> Open {
    let mut open = raw.begin_rpc(rpc, false).await.unwrap();
    open.send(rpc.bytes().slice(..rpc.bytes().len() - 1), false).await.unwrap();
    open
}

/// Ends a call that has [`nearly`] been made.
async fn finish(mut open: Open, rpc: &Rpc) -> Answer {
    let _ = open.send(rpc.bytes().slice(rpc.bytes().len() - 1..), true).await;
    open.answer().await.unwrap()
}

#[tokio::test]
async fn a_call_is_applied_once_its_request_is_whole_and_not_if_it_is_given_up() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let call = Rpc::of(&add()).handle(dict);
    let (first, second) = (nearly(&raw, &call).await, nearly(&raw, &call).await);
    goes_on(&raw, dict).await;
    second.reset();
    goes_on(&raw, dict).await;
    let sum = finish(first, &call).await.response::<DictAddRequest>();
    assert_eq!(sum.value, Some(Datum::Integer(11)));
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn requests_on_their_way_are_bounded_and_one_alone_always_fits() {
    let (manager, witness) = start_with(|setup| setup.limit("inbound_bytes", 50_000)).await;
    let (raw, dict) = with_dict(&manager).await;
    let call = Rpc::of(&large(60_000)).handle(dict);
    let mut first = raw.begin_rpc(&call, false).await.unwrap();
    let most = call.bytes().split_to(call.bytes().len() - 1);
    for part in most.chunks(10_000) {
        first.send(part.to_vec().into(), false).await.unwrap();
        // One frame, which leaves before those of any later call. Small calls are served beside it.
        goes_on(&raw, dict).await;
    }
    let second = raw.rpc(&call).await.unwrap();
    is(&second, 8, Some(Reason::Quota), "inbound_bytes");
    goes_on(&raw, dict).await;
    let _ = finish(first, &call).await.response::<DictSetRequest>();
    let _ = raw.rpc(&call).await.unwrap().response::<DictSetRequest>();
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_responses_is_slowed_and_costs_bounded_memory() {
    const CALLS: usize = 200;
    let (manager, witness) = start_with(|setup| setup.limit("value_bytes", 1 << 20).limit("outbound_bytes", 1)).await;
    let (raw, dict) = with_dict(&manager).await;
    raw.ask(Rpc::to("").handle(dict), &large(1 << 19)).await;
    let before = manager.process.memory();
    let rpc = Rpc::of(&DictGetRequest { key: Some(Datum::from("large")) }).handle(dict);
    let mut unread = Vec::new();
    for _ in 0..CALLS {
        let mut open = raw.begin_rpc(&rpc, false).await.unwrap();
        open.send(rpc.bytes(), true).await.unwrap();
        unread.push(open);
    }
    // 100 MiB were asked for. Whatever the manager does about it, it has had many turns for it now.
    for _ in 0..100 {
        witness.manager().status().await.unwrap();
    }
    let grown = manager.process.memory().saturating_sub(before);
    assert!(grown < 30 << 20, "the manager grew by {} KiB", grown >> 10);
    // Each is answered once they are read.
    for answer in join_all(unread.into_iter().map(Open::answer)).await {
        assert_eq!(answer.unwrap().response::<DictGetRequest>().value, large(1 << 19).value);
    }
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn objects_that_are_named_count_as_handles() {
    let manager = Setup::new(program!()).limit("handles", 3).start();
    let raw = Raw::authenticated(&manager).await;
    let made = manager.connect().await;
    let names = ["a", "b", "c"];
    for name in names {
        drop(made.dict::<u64, u64>(name).await.unwrap());
    }
    let create = CreateRequest { kind: value::KIND, spec: Bytes::new() };
    raw.ask(Rpc::to(""), &create).await;
    for _ in 0..2 {
        for name in &names[..2] {
            raw.ask(Rpc::to("").object(name), &add()).await;
        }
    }
    for rpc in [Rpc::of(&add()).object("c"), Rpc::of(&create)] {
        is(&raw.rpc(&rpc).await.unwrap(), 8, Some(Reason::Quota), "handles");
    }
}

#[tokio::test]
async fn the_session_of_a_stream_is_that_of_its_connection_and_its_end_the_end_of_both() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let mut stream = raw.session().await;
    assert_eq!(stream.ask(dict, &get()).await.unwrap().value, Some(Datum::Integer(10)), "a handle of both");
    assert_eq!(witness.manager().status().await.unwrap().sessions, 2);
    goes_on(&raw, dict).await;
    let call = Rpc::of(&add()).handle(dict);
    let unfinished = nearly(&raw, &call).await;
    // Answered after the manager has seen the unfinished call.
    goes_on(&raw, dict).await;
    stream.half_close();
    assert_eq!(stream.end().await.code(), Some(0));
    is(&finish(unfinished, &call).await, 14, None, "not applied");
    raw.closed().await;
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_stream_alone_shares_its_session_with_calls_that_come_later() {
    let (manager, witness) = start().await;
    let raw = Raw::authenticated(&manager).await;
    let mut stream = raw.stream().await.unwrap();
    // Before Hello there is a stream and no session.
    let create = CreateRequest { kind: dict::KIND, spec: Bytes::new() };
    let dict = raw.ask(Rpc::to(""), &create).await.handle;
    let hello = Hello { protocol: PROTOCOL, name: "raw".to_owned(), ..Hello::default() };
    stream.say(0, Some(client_frame::Frame::Hello(hello))).await;
    stream.next().await.unwrap();
    assert_eq!(stream.ask(dict, &DictLenRequest {}).await.unwrap().len, 0);
    drop((stream, raw));
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_manager_that_stops_refuses_what_has_not_come_and_waits_for_nobody() {
    let (manager, witness) = start().await;
    let (raw, dict) = with_dict(&manager).await;
    let call = Rpc::of(&add()).handle(dict);
    let unfinished = nearly(&raw, &call).await;
    let reflection = Rpc::to("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let mut endless = raw.begin_rpc(&reflection, false).await.unwrap();
    // A request for the list of services.
    endless.send(Bytes::from_static(b"\0\0\0\0\x02\x3a\0"), false).await.unwrap();
    goes_on(&raw, dict).await;
    manager.process.signal(Signal::TERM);
    is(&unfinished.answer().await.unwrap(), 14, None, "not applied");
    let endless = endless.answer().await.unwrap();
    assert_eq!(endless.code(), Some(14), "{endless:?}");
    raw.closed().await;
    drop(witness);
    assert_eq!(manager.process.line(), "Drained");
}

/// The token of nobody, on a service that anybody may call.
fn check_health() -> Rpc {
    Rpc::to("/grpc.health.v1.Health/Check").body(&b"\0\0\0\0\0"[..])
}

#[tokio::test]
async fn a_stranger_has_few_requests_at_once_and_few_in_all() {
    let (manager, witness) = start().await;
    let stranger = Raw::connect(&manager.addresses[0]).await;
    let health = check_health();
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(nearly(&stranger, &health).await);
    }
    is(&stranger.rpc(&health).await.unwrap(), 8, None, "at once");
    for open in open {
        assert_eq!(finish(open, &health).await.code(), Some(0));
    }
    let mut answered = 9;
    while let Ok(answer) = stranger.rpc(&health).await {
        assert_eq!(answer.code(), Some(0), "{answer:?}");
        answered += 1;
        assert!(answered < 64);
    }
    stranger.closed().await;

    // Who has proven something is not bounded like that.
    let (raw, _) = with_dict(&manager).await;
    for _ in 0..100 {
        assert_eq!(raw.rpc(&health).await.unwrap().code(), Some(0));
    }
    drop(raw);
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn a_stranger_may_send_little() {
    let (manager, witness) = start().await;
    let mut stranger = Raw::connect(&manager.addresses[0]).await;
    let reflection = Rpc::to("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let message = |bytes: usize| {
        // `host`, which nobody looks at.
        let host = vec![b'h'; bytes];
        let mut message = BytesMut::from(&b"\x0a"[..]);
        message.extend_from_slice(&[u8::try_from(bytes & 127).unwrap() | 128, u8::try_from(bytes >> 7).unwrap()]);
        message.extend_from_slice(&host);
        message.extend_from_slice(b"\x3a\0");
        let mut body = BytesMut::from(&b"\0"[..]);
        body.put_u32(u32::try_from(message.len()).unwrap());
        body.extend_from_slice(&message);
        body.freeze()
    };
    let too_large = stranger.rpc(&reflection.clone().body(message(5000))).await.unwrap();
    assert!(too_large.body.is_empty(), "{too_large:?}");
    let many: Vec<u8> = (0..20).flat_map(|_| message(4000)).collect();
    let too_much = stranger.rpc(&reflection.body(many)).await.unwrap();
    let (mut answers, mut rest) = (0, too_much.body);
    while !rest.is_empty() {
        rest.advance(1);
        let len = rest.get_u32() as usize;
        rest.advance(len);
        answers += 1;
    }
    assert!((1..16).contains(&answers), "{answers} of 20 requests were answered");
    // It is refused its handshake too, since it has used up what it had.
    let refused = stranger.authenticate(&manager.authkey()).await.unwrap_err();
    assert_eq!(refused.code(), Some(8), "{refused}");
    drop(stranger);
    witness.sees_no_harm(&manager).await;
}
