//! Calls that wait, where neither a library nor a scenario can choose the moment.

#![expect(clippy::unwrap_used, reason = "tests")]

use bytes::BytesMut;
use holdfast::{Address, Reason};
use holdfast_proto::ops::Request;
use holdfast_proto::{
    BarrierResetRequest, BarrierSpec, BarrierWaitRequest, CloseRequest, CreateRequest, EventSetRequest,
    EventWaitRequest, EventWaitResponse, Goodbye, LimitsRequest, LimitsResponse, LockAcquireRequest,
    LockDescribeRequest, LockDescribeResponse, LockReleaseRequest, OpenRequest, WithdrawRequest, client_frame, reply,
};
use holdfast_tests::{Manager, Raw, Setup, Stopped, Stream, call, program, until_async};
use prost::Message as _;

/// The number of the kind, and the name of the lock of each test.
const LOCK: (u32, &str) = (8, "lock");

async fn connect(manager: &Manager, address: &Address) -> Raw {
    let mut raw = Raw::connect(address).await;
    raw.authenticate(&manager.authkey()).await.unwrap();
    raw
}

/// A handle of the lock.
async fn open(stream: &mut Stream) -> u32 {
    let (kind, name) = LOCK;
    let open = OpenRequest { name: name.to_owned(), kind, ..OpenRequest::default() };
    stream.ask(0, &open).await.unwrap().handle
}

async fn describe(stream: &mut Stream, handle: u32) -> LockDescribeResponse {
    stream.ask(handle, &LockDescribeRequest {}).await.unwrap()
}

/// Without patience.
fn acquire_now() -> LockAcquireRequest {
    LockAcquireRequest { patience_ms: Some(0), ..LockAcquireRequest::default() }
}

#[tokio::test]
async fn an_answer_that_comes_while_its_session_has_no_connection_is_kept_for_it() {
    let manager = Setup::new(program!()).tcp().setting("session_grace", "600s").start();
    let one = connect(&manager, &manager.addresses[0]).await;
    let mut holder = one.session().await;
    let lock = open(&mut holder).await;
    assert!(holder.ask(lock, &acquire_now()).await.unwrap().acquired);

    let other = connect(&manager, &manager.addresses[1]).await;
    let mut waiter = other.stream().await.unwrap();
    let welcome = waiter.hello_resumable().await;
    let handle = open(&mut waiter).await;
    let call = waiter.call(handle, &LockAcquireRequest::default()).await;
    until_async("it waits", async || (describe(&mut holder, lock).await.waiting == 1).then_some(())).await;
    let received = waiter.received;
    other.cut();
    drop(waiter);
    let connections = |limits: &[holdfast_proto::Limit]| limits.iter().find(|limit| limit.name == "connections")?.used;
    until_async("the manager has noticed", async || {
        let limits = holder.ask(0, &LimitsRequest {}).await.unwrap().limits;
        (connections(&limits) == Some(1)).then_some(())
    })
    .await;
    holder.ask(lock, &LockReleaseRequest::default()).await.unwrap();
    assert!(describe(&mut holder, lock).await.locked, "who has no connection waits on");

    let again = connect(&manager, &manager.addresses[1]).await;
    let mut waiter = again.stream().await.unwrap();
    waiter.resume(&welcome, received).await.unwrap();
    let reply = waiter.reply().await.unwrap();
    assert_eq!(reply.sequence, call);
    let Some(reply::Result::Response(response)) = reply.result else { panic!("it was refused") };
    assert!(<LockAcquireRequest as Request>::Response::decode(response).unwrap().acquired);
    waiter.ask(handle, &LockReleaseRequest::default()).await.unwrap();
    assert!(holder.ask(lock, &acquire_now()).await.unwrap().acquired);
}

/// The time of such a call is over before the turn is in which it begins to wait.
#[tokio::test]
async fn a_call_that_waits_without_patience_is_always_answered() {
    const BARRIER: u32 = 12;
    let manager = Setup::new(program!()).start();
    let one = Raw::authenticated(&manager).await;
    let mut stream = one.session().await;
    let spec = BarrierSpec { parties: 2, ..BarrierSpec::default() }.encode_to_vec().into();
    let barrier = stream.ask(0, &CreateRequest { kind: BARRIER, spec }).await.unwrap().handle;
    for _ in 0..2000 {
        let refusal = stream.ask(barrier, &BarrierWaitRequest { patience_ms: Some(0) }).await.unwrap_err();
        assert_eq!(refusal.why(), Reason::Broken);
        stream.ask(barrier, &BarrierResetRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_call_was_granted_is_taken_back_only_where_its_caller_says_so() {
    let manager = Setup::new(program!()).start();
    let (one, other) = (Raw::authenticated(&manager).await, Raw::authenticated(&manager).await);
    let (mut stream, mut next) = (one.session().await, other.session().await);
    let (handle, lock) = (open(&mut stream).await, open(&mut next).await);
    assert!(stream.ask(handle, &acquire_now()).await.unwrap().acquired);
    let call = stream.sequence;
    for (undo, is_locked) in [(false, true), (true, false)] {
        let response = stream.ask(0, &WithdrawRequest { handle, call, undo }).await.unwrap();
        assert!(!response.withdrawn, "it did not wait");
        assert_eq!(describe(&mut next, lock).await.locked, is_locked, "undo: {undo}");
    }
    assert!(next.ask(lock, &acquire_now()).await.unwrap().acquired);
    stream.ask(0, &WithdrawRequest { handle, call, undo: true }).await.unwrap();
    assert!(describe(&mut next, lock).await.yours, "it is taken back from who was granted it, and from nobody else");
}

#[tokio::test]
async fn an_object_whose_handle_was_given_back_is_told_of_the_end_of_its_holder() {
    let manager = Setup::new(program!()).start();
    let (one, other) = (Raw::authenticated(&manager).await, Raw::authenticated(&manager).await);
    let (mut stream, mut next) = (one.session().await, other.session().await);
    let (handle, lock) = (open(&mut stream).await, open(&mut next).await);
    assert!(stream.ask(handle, &acquire_now()).await.unwrap().acquired);
    stream.ask(0, &CloseRequest { handle, deliveries: 1 }).await.unwrap();
    assert!(describe(&mut next, lock).await.locked, "the session goes on, and holds it");
    let call = next.call(lock, &LockAcquireRequest::default()).await;
    one.cut();
    drop(stream);
    let reply = next.reply().await.unwrap();
    assert_eq!(reply.sequence, call);
    let Some(reply::Result::Response(response)) = reply.result else { panic!("it was refused") };
    let granted = <LockAcquireRequest as Request>::Response::decode(response).unwrap();
    assert!(granted.acquired && granted.abandoned.is_some(), "{granted:?}");
}

/// An event at which many calls wait, and those who wait.
struct Crowd {
    connections: Vec<Raw>,
    streams: Vec<(Stream, u64)>,
}

impl Crowd {
    /// So many sessions, each with so many calls that wait for the event of this name.
    async fn gather(manager: &Manager, event: &str, sessions: u64, calls: u64) -> Self {
        let mut crowd = Self { connections: Vec::new(), streams: Vec::new() };
        for _ in 0..sessions {
            let connection = Raw::authenticated(manager).await;
            let mut stream = connection.session().await;
            let handle = open_event(&mut stream, event).await;
            let first = stream.sequence + 1;
            let mut frames = BytesMut::new();
            for number in first..first + calls {
                frames.extend_from_slice(&call(0, number, handle, &EventWaitRequest { patience_ms: None }));
            }
            stream.send_bytes(frames, false).await.unwrap();
            crowd.connections.push(connection);
            crowd.streams.push((stream, first));
        }
        crowd
    }

    /// Each call is answered once, and in the order in which they were made: the event is set.
    async fn are_all_told(mut self, calls: u64) {
        for (stream, first) in &mut self.streams {
            for number in *first..*first + calls {
                let reply = stream.reply().await.unwrap();
                assert_eq!(reply.sequence, number);
                let Some(reply::Result::Response(response)) = reply.result else { panic!("it was refused") };
                assert!(EventWaitResponse::decode(response).unwrap().set);
            }
        }
    }
}

async fn open_event(stream: &mut Stream, name: &str) -> u32 {
    const EVENT: u32 = 11;
    let open = OpenRequest { name: name.to_owned(), kind: EVENT, ..OpenRequest::default() };
    stream.ask(0, &open).await.unwrap().handle
}

/// Asks how many calls wait, of which the manager has told nobody yet how they ended.
async fn ask_untold(stream: &mut Stream) {
    stream.call(0, &LimitsRequest {}).await;
}

/// What it says.
async fn untold(stream: &mut Stream) -> u64 {
    let Some(reply::Result::Response(response)) = stream.reply().await.unwrap().result else { panic!("refused") };
    let limits = LimitsResponse::decode(response).unwrap().limits;
    limits.iter().find(|limit| limit.name == "waiters").unwrap().used.unwrap()
}

/// What was said has left: the tasks of connections had their turns.
async fn let_it_leave() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// The manager finds both calls when it goes on: that sets the event for 10,000, and that of a client who has nothing to do
/// with it.
#[tokio::test]
async fn others_are_answered_before_the_last_of_ten_thousand_is_told_of_an_event() {
    const WAITERS: u64 = 10_000;
    for (sessions, setter_ends) in [(1, false), (250, false), (250, true)] {
        let calls = WAITERS / sessions;
        let manager = Setup::new(program!()).setting("threads", "1").start();
        let crowd = Crowd::gather(&manager, "go", sessions, calls).await;
        let (one, other) = (Raw::authenticated(&manager).await, Raw::authenticated(&manager).await);
        let (mut setter, mut light) = (one.session().await, other.session().await);
        let event = open_event(&mut setter, "go").await;
        until_async("all wait", async || {
            ask_untold(&mut light).await;
            (untold(&mut light).await == WAITERS).then_some(())
        })
        .await;

        let stopped = Stopped::new(&manager);
        setter.call(event, &EventSetRequest {}).await;
        if setter_ends {
            setter.say(setter.received, Some(client_frame::Frame::Goodbye(Goodbye::default()))).await;
        }
        let_it_leave().await;
        ask_untold(&mut light).await;
        let_it_leave().await;
        drop(stopped);
        let mut left = untold(&mut light).await;
        while left == WAITERS {
            ask_untold(&mut light).await;
            left = untold(&mut light).await;
        }
        assert!(left > 0, "{sessions} sessions: all were told before anybody else was answered");
        crowd.are_all_told(calls).await;
        ask_untold(&mut light).await;
        assert_eq!(untold(&mut light).await, 0);
    }
}
