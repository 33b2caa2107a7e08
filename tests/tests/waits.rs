//! Calls that wait, where neither a library nor a scenario can choose the moment.

#![expect(clippy::unwrap_used, reason = "tests")]

use holdfast::{Address, Reason};
use holdfast_proto::ops::Request;
use holdfast_proto::{
    BarrierResetRequest, BarrierSpec, BarrierWaitRequest, CloseRequest, CreateRequest, LimitsRequest,
    LockAcquireRequest, LockDescribeRequest, LockDescribeResponse, LockReleaseRequest, OpenRequest, WithdrawRequest,
    reply,
};
use holdfast_tests::{Manager, Raw, Setup, Stream, program, until_async};
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
