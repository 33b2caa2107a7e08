//! Sessions that outlive their connections, frame by frame: what the manager promises to any client.

#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use holdfast_proto::{
    CreateRequest, Datum, DictAddRequest, DictAddResponse, DictGetRequest, DictSetRequest, Goodbye, LockAcquireRequest,
    LockDescribeRequest, LockDescribeResponse, LockReleaseRequest, OpenRequest, StatusRequest, StatusResponse, Welcome,
    client_frame, dict, lock, reply,
};
use holdfast_tests::{Ended, Manager, Raw, Rpc, Setup, Stream, call, program, until_async};
use prost::Message;
use rustix::process::Signal;

const INVALID_ARGUMENT: Option<i32> = Some(3);
const NOT_FOUND: Option<i32> = Some(5);
const FAILED_PRECONDITION: Option<i32> = Some(9);

/// Longer than any test takes.
const LONG: &str = "600s";

fn start(grace: &str) -> Manager {
    Setup::new(program!()).tcp().tls().setting("session_grace", grace).start()
}

/// An authenticated connection to one of the addresses.
async fn connect(manager: &Manager, address: usize) -> Raw {
    let mut raw = Raw::connect(&manager.addresses[address]).await;
    raw.authenticate(&manager.authkey()).await.unwrap();
    raw
}

/// A session over TCP with a dict, whose handle is told.
async fn with_dict(manager: &Manager) -> (Raw, Stream, Welcome, u32) {
    let raw = connect(manager, 1).await;
    let mut stream = raw.stream().await.unwrap();
    let welcome = stream.hello_resumable().await;
    let dict = stream.ask(0, &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.unwrap().handle;
    (raw, stream, welcome, dict)
}

/// The stream of a connection of its own on which this session is resumed.
async fn resume(manager: &Manager, welcome: &Welcome, received: u64) -> (Raw, Stream, Result<Welcome, Ended>) {
    let raw = connect(manager, 1).await;
    let mut stream = raw.stream().await.unwrap();
    let resumed = stream.resume(welcome, received).await;
    (raw, stream, resumed)
}

async fn is_over(manager: &Manager, welcome: &Welcome, received: u64) {
    let (_raw, _stream, resumed) = resume(manager, welcome, received).await;
    assert_eq!(resumed.unwrap_err().code(), NOT_FOUND);
}

fn add_one() -> DictAddRequest {
    DictAddRequest { key: Some(Datum::Integer(0)), delta: Some(Datum::Integer(1)) }
}

/// The next reply, which is to a call of [`add_one`]: its sequence number, and the sum.
async fn sum(stream: &mut Stream) -> (u64, i64) {
    let reply = stream.reply().await.unwrap();
    let Some(reply::Result::Response(response)) = reply.result else { panic!("it was refused: {reply:?}") };
    let Some(Datum::Integer(sum)) = DictAddResponse::decode(response).unwrap().value else { panic!("no integer") };
    (reply.sequence, sum)
}

async fn sessions(observer: &mut Stream) -> u64 {
    observer.ask(0, &StatusRequest {}).await.unwrap().sessions
}

/// Waits until the manager has so many sessions, that of this stream among them.
async fn until_sessions(observer: &mut Stream, count: u64) {
    until_async("sessions end", async || (sessions(observer).await == count).then_some(())).await;
}

#[tokio::test]
async fn a_session_goes_on_after_its_connection_broke() {
    let manager = start(LONG);
    for address in [1, 2] {
        let raw = connect(&manager, address).await;
        let mut stream = raw.stream().await.unwrap();
        let welcome = stream.hello_resumable().await;
        assert_eq!((welcome.resumption.len(), welcome.grace_ms, welcome.calls_received), (32, 600_000, 0));
        let dict = stream.ask(0, &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.unwrap().handle;
        for expected in 1..=5 {
            stream.call(dict, &add_one()).await;
            assert_eq!(sum(&mut stream).await.1, expected);
        }
        raw.cut();

        // Of six replies this client has only five.
        let raw = connect(&manager, address).await;
        let mut stream = raw.stream().await.unwrap();
        let resumed = stream.resume(&welcome, 5).await.unwrap();
        assert_eq!((&resumed.session, &resumed.resumption), (&welcome.session, &welcome.resumption));
        assert_eq!((&resumed.incarnation, resumed.calls_received), (&welcome.incarnation, 6));
        assert_eq!(sum(&mut stream).await, (6, 5), "the one reply that was missing");
        stream.call(dict, &add_one()).await;
        assert_eq!(sum(&mut stream).await, (7, 6), "and then the next, with the same handle");
        raw.cut();

        // Again, and this time nothing is missing.
        let raw = connect(&manager, address).await;
        let mut stream = raw.stream().await.unwrap();
        assert_eq!(stream.resume(&welcome, 7).await.unwrap().calls_received, 7);
        stream.call(dict, &add_one()).await;
        assert_eq!(sum(&mut stream).await, (8, 7));
    }
}

#[tokio::test]
async fn a_session_is_resumed_as_often_as_its_connection_breaks() {
    let manager = start(LONG);
    let (raw, mut stream, welcome, dict) = with_dict(&manager).await;
    for _ in 0..20 {
        stream.call(dict, &add_one()).await;
    }
    assert_eq!(sum(&mut stream).await, (2, 1));
    raw.cut();
    // Each time one more reply is taken from those that are sent again.
    let (mut received, mut have) = (2, 0);
    while have < 20 {
        let (raw, mut stream, resumed) = resume(&manager, &welcome, received).await;
        have = resumed.unwrap().calls_received.saturating_sub(1);
        if received <= have {
            let (sequence, value) = sum(&mut stream).await;
            assert_eq!((sequence, value), (received + 1, i64::try_from(received).unwrap()));
            received += 1;
        }
        if have < 20 {
            // The connection broke before the manager had read them all.
            stream.call(dict, &add_one()).await;
        }
        raw.cut();
    }
    let (_raw, mut stream, resumed) = resume(&manager, &welcome, received).await;
    assert_eq!(resumed.unwrap().calls_received, 21);
    for sequence in received + 1..=21 {
        assert_eq!(sum(&mut stream).await, (sequence, i64::try_from(sequence).unwrap() - 1));
    }
}

#[tokio::test]
async fn half_a_call_is_not_one() {
    let manager = start(LONG);
    let (raw, mut stream, welcome, dict) = with_dict(&manager).await;
    let first = call(1, 2, dict, &add_one());
    for part in 0..first.len() {
        let (other_raw, mut other, resumed) = resume(&manager, &welcome, 1).await;
        assert_eq!(resumed.unwrap().calls_received, 1, "{part} bytes of a call had come");
        other.send_bytes(first.slice(..part), false).await.unwrap();
        other_raw.cut();
    }
    let (_raw, mut other, resumed) = resume(&manager, &welcome, 1).await;
    assert_eq!(resumed.unwrap().calls_received, 1);
    other.send_bytes(first, false).await.unwrap();
    assert_eq!(sum(&mut other).await, (2, 1));
    assert!(matches!(stream.end().await, Ended::Cut(_)), "the first connection had to let go");
    raw.closed().await;
}

#[tokio::test]
async fn another_connection_takes_the_session_from_one_that_lives() {
    let manager = start(LONG);
    let (raw, mut stream, welcome, dict) = with_dict(&manager).await;
    stream.call(dict, &add_one()).await;
    assert_eq!(sum(&mut stream).await, (2, 1));
    let (_other, mut other, resumed) = resume(&manager, &welcome, 2).await;
    assert_eq!(resumed.unwrap().calls_received, 2);
    // Whatever the first one still says is not heard.
    stream.call(dict, &add_one()).await;
    assert!(matches!(stream.end().await, Ended::Cut(_)));
    raw.closed().await;
    other.call(dict, &add_one()).await;
    assert_eq!(sum(&mut other).await, (3, 2));
}

#[tokio::test]
async fn who_does_not_know_the_resumption_learns_nothing() {
    let manager = start(LONG);
    let (raw, mut stream, welcome, dict) = with_dict(&manager).await;
    let (mut ends, mut raws) = (Vec::new(), vec![raw]);
    for live in [true, false] {
        for change in [
            |wrong: &mut Welcome| *wrong.resumption.last_mut().unwrap() ^= 1,
            |wrong: &mut Welcome| wrong.resumption.clear(),
            |wrong: &mut Welcome| wrong.resumption.push(0),
            |wrong: &mut Welcome| wrong.session[15] ^= 1,
            |wrong: &mut Welcome| wrong.session.truncate(3),
        ] {
            let mut wrong = welcome.clone();
            change(&mut wrong);
            let (_raw, _stream, resumed) = resume(&manager, &wrong, 1).await;
            ends.push(resumed.unwrap_err());
        }
        if live {
            stream.call(dict, &add_one()).await;
            assert_eq!(sum(&mut stream).await, (2, 1), "nobody took it away");
        }
        raws.pop();
    }
    assert_eq!(ends[0].code(), NOT_FOUND);
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    let (_raw, _stream, resumed) = resume(&manager, &welcome, 2).await;
    assert_eq!(resumed.unwrap().calls_received, 2);
}

#[tokio::test]
async fn after_the_grace_a_session_is_over() {
    let manager = start("50ms");
    let observer_raw = connect(&manager, 0).await;
    let mut observer = observer_raw.session().await;
    let (raw, stream, welcome, _) = with_dict(&manager).await;
    assert_eq!(welcome.grace_ms, 50);
    assert_eq!(sessions(&mut observer).await, 2);
    drop(stream);
    raw.cut();
    until_sessions(&mut observer, 1).await;
    is_over(&manager, &welcome, 1).await;
}

#[tokio::test]
async fn a_session_that_was_resumed_in_time_has_its_grace_anew() {
    let manager = start("2s");
    let observer_raw = connect(&manager, 0).await;
    let mut observer = observer_raw.session().await;
    let (raw, _, welcome, dict) = with_dict(&manager).await;
    raw.cut();
    let (raw, mut stream, resumed) = resume(&manager, &welcome, 1).await;
    resumed.unwrap();
    // One that breaks later is over; so the first grace has passed while the session had a connection again.
    let (later, _, _, _) = with_dict(&manager).await;
    later.cut();
    until_sessions(&mut observer, 2).await;
    stream.call(dict, &add_one()).await;
    assert_eq!(sum(&mut stream).await, (2, 1));
    drop(raw);
}

#[tokio::test]
async fn what_ends_a_session_is_not_a_broken_connection() {
    let manager = start(LONG);
    let observer_raw = connect(&manager, 0).await;
    let mut observer = observer_raw.session().await;
    for how in ["goodbye", "half-close", "gap", "reset", "received"] {
        let (raw, mut stream, welcome, _) = with_dict(&manager).await;
        match how {
            "goodbye" => stream.say(1, Some(client_frame::Frame::Goodbye(Goodbye::default()))).await,
            "half-close" => stream.half_close(),
            "gap" => stream.send_bytes(call(1, 7, 0, &StatusRequest {}), false).await.unwrap(),
            "received" => stream.say(9, None).await,
            _ => stream.reset(),
        }
        until_sessions(&mut observer, 1).await;
        is_over(&manager, &welcome, 1).await;
        drop(raw);
    }
}

#[tokio::test]
async fn a_session_outlives_its_connection_only_over_tcp_and_for_clients_that_can_resume() {
    let manager = start(LONG);
    let observer_raw = connect(&manager, 0).await;
    let mut observer = observer_raw.session().await;
    for (address, resumable) in [(0, true), (1, false), (2, false)] {
        let raw = connect(&manager, address).await;
        let mut stream = raw.stream().await.unwrap();
        let welcome = if resumable { stream.hello_resumable().await } else { stream.hello().await };
        assert_eq!((welcome.resumption.len(), welcome.grace_ms), (0, 0));
        drop(stream);
        raw.cut();
        until_sessions(&mut observer, 1).await;
    }
    let nothing = Setup::new(program!()).tcp().setting("session_grace", "0ms").start();
    let raw = connect(&nothing, 1).await;
    assert!(raw.stream().await.unwrap().hello_resumable().await.resumption.is_empty());
}

#[tokio::test]
async fn a_session_is_not_resumed_over_a_unix_socket() {
    let manager = start(LONG);
    let (raw, _, welcome, _) = with_dict(&manager).await;
    raw.cut();
    let raw = connect(&manager, 0).await;
    assert_eq!(raw.stream().await.unwrap().resume(&welcome, 1).await.unwrap_err().code(), NOT_FOUND);
}

#[tokio::test]
async fn a_client_that_counts_wrong_ends_its_session() {
    let manager = start(LONG);
    for received in [0, 3] {
        let (raw, mut stream, welcome, dict) = with_dict(&manager).await;
        // This says that one reply was received.
        stream.call(dict, &add_one()).await;
        assert_eq!(sum(&mut stream).await, (2, 1));
        raw.cut();
        let (_raw, _stream, resumed) = resume(&manager, &welcome, received).await;
        assert_eq!(resumed.unwrap_err().code(), INVALID_ARGUMENT);
        is_over(&manager, &welcome, 2).await;
    }
}

#[tokio::test]
async fn a_connection_that_has_a_session_resumes_no_other() {
    let manager = start(LONG);
    let (raw, _, welcome, _) = with_dict(&manager).await;
    raw.cut();
    let raw = connect(&manager, 1).await;
    let status = raw.unary("/holdfast.v1.ManagerService/Status", &StatusRequest {}).await.unwrap();
    assert_eq!(StatusResponse::decode(status).unwrap().sessions, 2);
    let ended = raw.stream().await.unwrap().resume(&welcome, 1).await.unwrap_err();
    assert_eq!(ended.code(), FAILED_PRECONDITION);
    let (_raw, _stream, resumed) = resume(&manager, &welcome, 1).await;
    resumed.unwrap();
}

#[tokio::test]
async fn unary_calls_that_wait_end_with_their_connection_although_its_session_goes_on() {
    let manager = start(LONG);
    let (raw, mut stream, welcome, _) = with_dict(&manager).await;
    let open = OpenRequest { name: "lock".to_owned(), kind: lock::KIND, ..OpenRequest::default() };
    let lock = stream.ask(0, &open).await.unwrap().handle;

    let other = Raw::authenticated(&manager).await;
    let mut holder = other.session().await;
    let held = holder.ask(0, &open).await.unwrap().handle;
    holder.ask(held, &LockAcquireRequest::default()).await.unwrap();
    let waiting = async |holder: &mut Stream| holder.ask(held, &LockDescribeRequest {}).await.unwrap().waiting;

    let acquire = Rpc::of(&LockAcquireRequest::default()).handle(lock);
    let mut begun = raw.begin_rpc(&acquire, false).await.unwrap();
    begun.send(acquire.bytes(), true).await.unwrap();
    until_async("the call waits", async || (waiting(&mut holder).await == 1).then_some(())).await;
    raw.cut();
    until_async("the call is withdrawn", async || (waiting(&mut holder).await == 0).then_some(())).await;

    let (_raw, mut stream, resumed) = resume(&manager, &welcome, 2).await;
    resumed.unwrap();
    holder.ask(held, &LockReleaseRequest::default()).await.unwrap();
    stream.send_bytes(call(2, 3, lock, &LockDescribeRequest {}), false).await.unwrap();
    let reply = stream.reply().await.unwrap();
    let Some(reply::Result::Response(response)) = reply.result else { panic!("it was refused: {reply:?}") };
    assert!(!LockDescribeResponse::decode(response).unwrap().locked, "nobody is left who could release it");
}

#[tokio::test]
async fn a_session_without_a_connection_counts_as_one() {
    let manager = Setup::new(program!()).tcp().setting("session_grace", LONG).limit("sessions", 1).start();
    let (raw, _, welcome, _) = with_dict(&manager).await;
    raw.cut();
    let other = connect(&manager, 1).await;
    let refused = other.unary("/holdfast.v1.ManagerService/Status", &StatusRequest {}).await.unwrap_err();
    assert!(refused.to_string().contains("the limit named sessions"), "{refused}");
    let (_raw, _stream, resumed) = resume(&manager, &welcome, 1).await;
    resumed.unwrap();
}

#[tokio::test]
async fn replies_are_kept_within_a_limit() {
    let setup = Setup::new(program!()).tcp().setting("session_grace", LONG);
    let manager = setup.limit("replay_bytes", 150 << 10).start();
    for received in [3, 4, 5, 6] {
        let (raw, mut stream, welcome, dict) = with_dict(&manager).await;
        let value = Some(Datum::from(&*"x".repeat(100 << 10)));
        stream.ask(dict, &DictSetRequest { key: Some(Datum::Integer(1)), value }).await.unwrap();
        // Four large replies, none of which is acknowledged.
        let get = DictGetRequest { key: Some(Datum::Integer(1)) };
        for sequence in 3..=6 {
            stream.send_bytes(call(2, sequence, dict, &get), false).await.unwrap();
            stream.reply().await.unwrap();
        }
        raw.cut();
        let (_raw, mut stream, resumed) = resume(&manager, &welcome, received).await;
        if received < 5 {
            assert_eq!(resumed.unwrap_err().code(), NOT_FOUND);
            is_over(&manager, &welcome, 6).await;
        } else {
            assert_eq!(resumed.unwrap().calls_received, 6);
            for sequence in received + 1..=6 {
                assert_eq!(stream.reply().await.unwrap().sequence, sequence);
            }
        }
    }
}

#[tokio::test]
async fn a_manager_that_stops_waits_for_no_session_without_a_connection() {
    let manager = start(LONG);
    let (raw, _, _, _) = with_dict(&manager).await;
    raw.cut();
    manager.process.signal(Signal::TERM);
    assert_eq!(manager.process.line(), "Drained");
}
