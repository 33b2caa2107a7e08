//! What CPython's manager does wrong when a client dies or says nothing, eight cases: here with the opposite result.

use std::net::TcpStream;
use std::time::Duration;

use holdfast::Reason;
use holdfast_proto::{
    BarrierSpec, BarrierWaitRequest, Datum, LockAcquireRequest, LockNotifyRequest, LockReleaseRequest, LockSpec,
    LockWaitRequest, QueueGetRequest, QueuePutRequest, QueueSpec, SemaphoreAcquireRequest, SemaphoreDescribeRequest,
    SemaphoreSpec, ValueSpec, barrier, lock, queue, semaphore, value,
};
use holdfast_tests::{Manager, PATIENCE, Party, Process, Setup, program, until, until_async};

fn start() -> Manager {
    Setup::new(program!()).tcp().start()
}

/// A process of its own that is in this phase of this use of the object "object".
fn victim(manager: &Manager, used: &str, phase: &str) -> Process {
    let victim = manager.worker(&["victim", used, phase, "object"]);
    assert_eq!(victim.line(), "there");
    victim
}

/// Somebody who lives, with a handle to the object "object".
async fn living(manager: &Manager, kind: u32, spec: &impl prost::Message) -> (Party, u32) {
    let mut party = Party::join(manager, 0).await;
    let handle = party.open("object", kind, spec).await;
    party.open("object, beacon", value::KIND, &ValueSpec::default()).await;
    (party, handle)
}

/// Kills it, and waits until its session is over.
async fn kill(mut victim: Process, observer: &mut Party) {
    victim.kill();
    until_async("its session ends", async || (observer.handles_to("object, beacon").await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_consumer_that_is_killed_while_it_waits_takes_no_item_with_it() {
    let manager = start();
    let (mut other, queue) = living(&manager, queue::KIND, &QueueSpec::default()).await;
    let consumer = victim(&manager, "queue", "waiting");
    kill(consumer, &mut other).await;
    let put = QueuePutRequest { items: vec![Datum::Integer(7)], ..QueuePutRequest::default() };
    other.ask(queue, put).await.unwrap();
    let got = other.ask(queue, QueueGetRequest { patience_ms: Some(0), ..QueueGetRequest::default() }).await.unwrap();
    assert_eq!((got.items[0].item.clone(), got.items[0].redelivered), (Some(Datum::Integer(7)), false));
}

#[tokio::test]
async fn a_lock_whose_holder_is_killed_is_free() {
    let manager = start();
    let (mut other, lock) = living(&manager, lock::KIND, &LockSpec::default()).await;
    let holder = victim(&manager, "lock", "holding");
    let taken = other.ask(lock, LockAcquireRequest { patience_ms: Some(0), actor: 0 }).await.unwrap();
    assert!(!taken.acquired);
    kill(holder, &mut other).await;
    let taken = other.ask(lock, LockAcquireRequest { patience_ms: Some(0), actor: 0 }).await.unwrap();
    assert!(taken.acquired && taken.abandoned.is_some());
}

#[tokio::test]
async fn a_semaphore_whose_two_holders_are_killed_has_both_permits() {
    let manager = start();
    let (mut other, permits) =
        living(&manager, semaphore::KIND, &SemaphoreSpec { value: Some(2), ..SemaphoreSpec::default() }).await;
    let (one, two) = (victim(&manager, "semaphore", "holding"), victim(&manager, "semaphore", "holding"));
    assert_eq!(other.ask(permits, SemaphoreDescribeRequest {}).await.unwrap().value, 0);
    drop(one);
    kill(two, &mut other).await;
    assert_eq!(other.ask(permits, SemaphoreDescribeRequest {}).await.unwrap().value, 2);
    let both = SemaphoreAcquireRequest { permits: 2, patience_ms: Some(0) };
    assert!(other.ask(permits, both).await.unwrap().acquired);
}

#[tokio::test]
async fn a_notify_wakes_the_living_waiter_behind_the_dead_one() {
    let manager = start();
    let (mut other, lock) = living(&manager, lock::KIND, &LockSpec::default()).await;
    let dead = victim(&manager, "condition", "waiting");
    other.ask(lock, LockAcquireRequest::default()).await.unwrap();
    let alive = other.send(lock, LockWaitRequest::default()).await;
    kill(dead, &mut other).await;
    other.ask(lock, LockAcquireRequest::default()).await.unwrap();
    assert_eq!(other.ask(lock, LockNotifyRequest::default()).await.unwrap().notified, 1);
    other.ask(lock, LockReleaseRequest::default()).await.unwrap();
    assert!(other.answer::<LockWaitRequest>(alive).await.unwrap().notified);
}

#[tokio::test]
async fn a_barrier_does_not_let_the_second_party_pass_with_a_dead_one() {
    let manager = start();
    let (mut other, barrier) =
        living(&manager, barrier::KIND, &BarrierSpec { parties: 2, ..BarrierSpec::default() }).await;
    let dead = victim(&manager, "barrier", "waiting");
    kill(dead, &mut other).await;
    let refusal = other.ask(barrier, BarrierWaitRequest::default()).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::Broken);
}

#[tokio::test]
async fn a_notify_after_a_waiter_was_killed_does_not_hang() {
    let manager = start();
    let (mut other, lock) = living(&manager, lock::KIND, &LockSpec::default()).await;
    let dead = victim(&manager, "condition", "waiting");
    kill(dead, &mut other).await;
    other.ask(lock, LockAcquireRequest::default()).await.unwrap();
    for all in [false, true] {
        let notify = LockNotifyRequest { all, ..LockNotifyRequest::default() };
        assert_eq!(other.ask(lock, notify).await.unwrap().notified, 0);
    }
}

/// Connections over TCP that say nothing.
fn silent(manager: &Manager, count: usize) -> Vec<TcpStream> {
    let holdfast::Address::Http(authority) = &manager.addresses[1] else { panic!("it listens on a port") };
    (0..count).map(|_| TcpStream::connect(&**authority).unwrap()).collect()
}

fn threads(manager: &Manager) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", manager.process.pid())).unwrap().count()
}

#[test]
fn silent_connections_get_no_thread_and_are_closed() {
    let manager = Setup::new(program!()).tcp().limit("authenticate_ms", 600_000).start();
    let observer = manager.connect_blocking();
    let before = threads(&manager);
    let strangers = silent(&manager, 300);
    until("they were accepted", || {
        let limits = observer.limits().unwrap();
        let used = limits.iter().find(|limit| limit.name == "unauthenticated").and_then(|limit| limit.used);
        (used == Some(300)).then_some(())
    });
    assert_eq!(threads(&manager), before);
    drop(strangers);

    let manager = Setup::new(program!()).tcp().limit("authenticate_ms", 200).start();
    for mut stranger in silent(&manager, 300) {
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        // What HTTP/2 says first may come before the end.
        let end = std::io::copy(&mut stranger, &mut std::io::sink());
        let timed_out = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "it is closed");
    }
}

#[test]
fn a_silent_connection_keeps_no_other_client_waiting() {
    let manager = Setup::new(program!()).tcp().limit("authenticate_ms", 600_000).start();
    let strangers = silent(&manager, 1);
    let options = manager.options_at(1).connect_timeout(Duration::from_secs(30));
    let client = holdfast::blocking::Manager::connect_with(&options).unwrap();
    assert_eq!(client.status().unwrap().sessions, 1);
    drop(strangers);
}
