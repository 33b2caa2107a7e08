//! The known races and pitfalls of shared primitives, one test each, by the number that they have in the study of them.
//!
//! Those that need a journal (27, and of 26 the part about sessions that outlive a restart) are left out: there is none yet.

use std::time::Duration;

use holdfast::Reason;
use holdfast_proto::{
    BarrierSpec, BarrierWaitRequest, Datum, DictAddRequest, DictGetRequest, DictSpec, EventClearRequest,
    EventSetRequest, EventSpec, EventWaitRequest, LockAcquireRequest, LockDescribeRequest, LockNotifyRequest,
    LockReleaseRequest, LockSpec, LockWaitRequest, QueueDelivery, QueueGetRequest, QueueJoinRequest, QueuePutRequest,
    QueueSizeRequest, QueueSpec, QueueTaskDoneRequest, SemaphoreDescribeRequest, SemaphoreSpec, ValueSpec,
    WithdrawRequest, barrier, dict, event, lock, queue, semaphore, value,
};
use holdfast_tests::{Cut, Cutter, Manager, Party, Process, Setup, program, until_async};

fn start() -> Manager {
    Setup::new(program!()).tcp().setting("session_grace", "600s").start()
}

/// A process of its own that is in this phase of this use of the object "object".
fn victim(manager: &Manager, used: &str, phase: &str) -> Process {
    let victim = manager.worker(&["victim", used, phase, "object"]);
    assert_eq!(victim.line(), "there");
    victim
}

/// A session with a handle to the object "object".
async fn party(manager: &Manager, kind: u32, spec: &impl prost::Message) -> (Party, u32) {
    let mut party = Party::join(manager, 0).await;
    let handle = party.open("object", kind, spec).await;
    party.open("object, beacon", value::KIND, &ValueSpec::default()).await;
    (party, handle)
}

/// A session over TCP, whose connection can be cut.
async fn remote(manager: &Manager, kind: u32, spec: &impl prost::Message) -> (Party, u32, Cutter) {
    let cutter = Cutter::start(&manager.addresses[1], |_| Cut::NEVER);
    let mut party = Party::join_as(&cutter.address(), manager.authkey(), "a remote party").await;
    let handle = party.open("object", kind, spec).await;
    (party, handle, cutter)
}

/// Kills processes, and waits until their sessions are over.
async fn kill(victims: impl IntoIterator<Item = Process>, observer: &mut Party, left: u64) {
    victims.into_iter().for_each(|mut victim| victim.kill());
    until_async("their sessions end", async || (observer.handles_to("object, beacon").await == left).then_some(()))
        .await;
}

fn acquire(patience_ms: Option<i64>) -> LockAcquireRequest {
    LockAcquireRequest { patience_ms, actor: 0 }
}

fn put(items: impl IntoIterator<Item = i64>) -> QueuePutRequest {
    let items = items.into_iter().map(Datum::Integer).collect();
    QueuePutRequest { items, ..QueuePutRequest::default() }
}

fn get(patience_ms: Option<i64>) -> QueueGetRequest {
    QueueGetRequest { max: 1, patience_ms }
}

/// Takes one item, and tells it, and whether it is marked.
async fn take(party: &mut Party, queue: u32) -> (Datum, bool) {
    let item = party.ask(queue, get(None)).await.unwrap().items.remove(0);
    (item.item.unwrap(), item.redelivered)
}

#[tokio::test]
async fn row_01_lost_wake_up() {
    let manager = start();
    let (mut one, _) = party(&manager, event::KIND, &EventSpec {}).await;
    let (mut other, _) = party(&manager, event::KIND, &EventSpec {}).await;
    for round in 0..200 {
        let name = format!("event {round}");
        let (of_one, of_other) =
            (one.open(&name, event::KIND, &EventSpec {}).await, other.open(&name, event::KIND, &EventSpec {}).await);
        // Which of the two comes first nobody knows.
        let waits = one.send(of_one, EventWaitRequest::default()).await;
        let sets = other.send(of_other, EventSetRequest {}).await;
        assert!(one.answer::<EventWaitRequest>(waits).await.unwrap().set);
        other.answer::<EventSetRequest>(sets).await.unwrap();
        other.ask(of_other, EventClearRequest {}).await.unwrap();
        // Who waits already goes on, although it is cleared at once.
        let waits = one.send(of_one, EventWaitRequest::default()).await;
        one.settle().await;
        other.send(of_other, EventSetRequest {}).await;
        other.ask(of_other, EventClearRequest {}).await.unwrap();
        assert!(one.answer::<EventWaitRequest>(waits).await.unwrap().set);
    }
}

#[tokio::test]
async fn row_02_a_grant_races_with_patience_and_with_a_withdrawal() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let (mut other, of_other) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let (mut granted, mut given_up) = (0, 0);
    for round in 0..200 {
        assert!(one.ask(lock, acquire(None)).await.unwrap().acquired);
        let by_patience = round % 2 == 0;
        let waits = other.send(of_other, acquire(by_patience.then_some(1 + round % 3))).await;
        other.settle().await;
        if by_patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let releases = one.send(lock, LockReleaseRequest::default()).await;
        let withdraw = WithdrawRequest { handle: of_other, call: waits, ..WithdrawRequest::default() };
        let has_it = if by_patience {
            other.answer::<LockAcquireRequest>(waits).await.unwrap().acquired
        } else {
            let withdrawn = other.ask(0, withdraw).await.unwrap().withdrawn;
            match other.answer::<LockAcquireRequest>(waits).await {
                // Too late: you hold it.
                Ok(response) => {
                    assert!(response.acquired && !withdrawn);
                    true
                }
                Err(refusal) => {
                    assert!(refusal.reason() == Reason::Withdrawn && withdrawn);
                    false
                }
            }
        };
        one.answer::<LockReleaseRequest>(releases).await.unwrap();
        let state = other.ask(of_other, LockDescribeRequest {}).await.unwrap();
        assert_eq!((state.locked, state.yours, state.waiting), (has_it, has_it, 0), "what was said is so");
        if has_it {
            other.ask(of_other, LockReleaseRequest::default()).await.unwrap();
        }
        *(if has_it { &mut granted } else { &mut given_up }) += 1;
    }
    println!("{granted} granted, {given_up} given up");
}

#[tokio::test]
async fn row_03_a_grant_to_a_dead_waiter() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    let dead = [victim(&manager, "lock", "waiting"), victim(&manager, "lock", "waiting")];
    let alive = one.send(lock, acquire(None)).await;
    kill(dead, &mut one, 1).await;
    let fence = one.ask(lock, LockDescribeRequest {}).await.unwrap().fence;
    one.ask(lock, LockReleaseRequest { fence: Some(fence), actor: 0 }).await.unwrap();
    assert!(one.answer::<LockAcquireRequest>(alive).await.unwrap().acquired);
}

#[tokio::test]
async fn row_04_the_reply_to_a_grant_is_lost() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let (mut far, of_far, cutter) = remote(&manager, lock::KIND, &LockSpec::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    let waits = far.send(of_far, acquire(None)).await;
    far.settle().await;
    cutter.cut_all();
    one.ask(lock, LockReleaseRequest::default()).await.unwrap();
    let granted = one.ask(lock, LockDescribeRequest {}).await.unwrap();
    assert!(granted.locked, "the session has it, whatever became of its connection");
    far.resume().await;
    assert_eq!(far.answer::<LockAcquireRequest>(waits).await.unwrap().fence, granted.fence, "one grant, told once");
}

#[test]
fn row_05_two_holders_after_a_pause() {
    let manager = start();
    let client = manager.connect_blocking();
    let protected: holdfast::blocking::Dict<u64, u64> = client.dict("protected").unwrap();
    let mut paused = manager.worker(&["inherit", "lock"]);
    let line = paused.line();
    // What it would write with if it were only paused, and did not know that it lost the lock.
    let stale: u64 = line.split_once(": ").unwrap().0.parse().unwrap();
    paused.kill();
    let guard = client.lock("lock").unwrap().acquire().unwrap();
    protected.fenced(guard.fence()).set(&1, &1).unwrap();
    let error = protected.fenced(holdfast::Fence::from(stale)).set(&1, &2).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::StaleFence));
    assert_eq!(protected.get(&1).unwrap(), Some(1));
}

// Row 6, the manager was the one that slept, is in `asleep.rs`.

#[tokio::test]
async fn row_07_an_item_is_lost_between_the_queue_and_its_receiver() {
    let manager = start();
    let (mut one, queue) = party(&manager, queue::KIND, &QueueSpec::default()).await;
    let dead = victim(&manager, "queue", "waiting");
    one.ask(queue, put([7])).await.unwrap();
    assert_eq!(one.ask(queue, QueueSizeRequest {}).await.unwrap().delivered, 1);
    kill([dead], &mut one, 1).await;
    assert_eq!(take(&mut one, queue).await, (Datum::Integer(7), true));
}

#[tokio::test]
async fn row_08_an_item_is_put_twice_by_a_retry() {
    let manager = start();
    let (mut one, queue) = party(&manager, queue::KIND, &QueueSpec::default()).await;
    let (mut far, of_far, cutter) = remote(&manager, queue::KIND, &QueueSpec::default()).await;
    for round in 1..=5 {
        let puts = far.send(of_far, put([round])).await;
        until_async("it is in", async || {
            let size = one.ask(queue, QueueSizeRequest {}).await.unwrap().size;
            (size == u64::try_from(round).unwrap()).then_some(())
        })
        .await;
        cutter.cut_all();
        far.resume().await;
        far.answer::<QueuePutRequest>(puts).await.unwrap();
    }
    assert_eq!(one.ask(queue, QueueSizeRequest {}).await.unwrap().size, 5);
}

#[tokio::test]
async fn row_09_what_comes_back_breaks_the_order() {
    let manager = start();
    let (mut one, queue) = party(&manager, queue::KIND, &QueueSpec::default()).await;
    let dead = victim(&manager, "queue", "waiting");
    one.ask(queue, put([1, 2, 3])).await.unwrap();
    kill([dead], &mut one, 1).await;
    for (item, marked) in [(1, true), (2, false), (3, false)] {
        assert_eq!(take(&mut one, queue).await, (Datum::Integer(item), marked));
    }
}

#[tokio::test]
async fn row_10_a_dead_waiter_steals_a_notify() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let dead = victim(&manager, "condition", "waiting");
    one.ask(lock, acquire(None)).await.unwrap();
    let alive = one.send(lock, LockWaitRequest::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    assert_eq!(one.ask(lock, LockNotifyRequest::default()).await.unwrap().notified, 1);
    one.ask(lock, LockReleaseRequest::default()).await.unwrap();
    assert!(!one.is_answered(alive).await, "it was for the one that has waited longest");
    kill([dead], &mut one, 1).await;
    assert!(one.answer::<LockWaitRequest>(alive).await.unwrap().notified);
}

#[tokio::test]
async fn row_11_a_party_of_a_barrier_dies() {
    let manager = start();
    let spec = BarrierSpec { parties: 3, ..BarrierSpec::default() };
    let (mut one, barrier) = party(&manager, barrier::KIND, &spec).await;
    let dead = victim(&manager, "barrier", "waiting");
    let waits = one.send(barrier, BarrierWaitRequest::default()).await;
    kill([dead], &mut one, 1).await;
    let refusal = one.answer::<BarrierWaitRequest>(waits).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::Broken);
}

#[tokio::test]
async fn row_12_who_owns_a_reentrant_lock() {
    let manager = start();
    let spec = LockSpec { reentrant: true, ..LockSpec::default() };
    let (mut far, lock, cutter) = remote(&manager, lock::KIND, &spec).await;
    let first = far.ask(lock, acquire(None)).await.unwrap();
    cutter.cut_all();
    far.resume().await;
    let again = far.ask(lock, acquire(Some(0))).await.unwrap();
    assert_eq!((again.acquired, again.fence), (true, first.fence), "it owns it after its connection broke");
    let other = LockReleaseRequest { fence: None, actor: 1 };
    assert_eq!(far.ask(lock, other).await.unwrap_err().reason(), Reason::NotHeld, "another actor does not");
    for depth in [1, 0] {
        assert_eq!(far.ask(lock, LockReleaseRequest::default()).await.unwrap().depth, depth);
    }
}

#[tokio::test]
async fn row_13_permits_leak() {
    let manager = start();
    let spec = SemaphoreSpec { value: Some(3), ..SemaphoreSpec::default() };
    let (mut one, permits) = party(&manager, semaphore::KIND, &spec).await;
    for _ in 0..2 {
        let dead = [(); 3].map(|()| victim(&manager, "semaphore", "holding"));
        assert_eq!(one.ask(permits, SemaphoreDescribeRequest {}).await.unwrap().value, 0);
        kill(dead, &mut one, 1).await;
        assert_eq!(one.ask(permits, SemaphoreDescribeRequest {}).await.unwrap().value, 3);
    }
}

fn add_one() -> DictAddRequest {
    DictAddRequest { key: Some(Datum::Integer(0)), delta: Some(Datum::Integer(1)) }
}

#[tokio::test]
async fn row_14_a_retry_is_applied_twice() {
    let manager = start();
    let (mut one, dict) = party(&manager, dict::KIND, &DictSpec::default()).await;
    let (mut far, of_far, cutter) = remote(&manager, dict::KIND, &DictSpec::default()).await;
    for round in 1..=20 {
        let adds = far.send(of_far, add_one()).await;
        let get = || DictGetRequest { key: Some(Datum::Integer(0)) };
        until_async("it is applied", async || {
            let value = one.ask(dict, get()).await.ok()?.value;
            (value == Some(Datum::Integer(round))).then_some(())
        })
        .await;
        cutter.cut_all();
        far.resume().await;
        assert_eq!(far.answer::<DictAddRequest>(adds).await.unwrap().value, Some(Datum::Integer(round)));
    }
}

#[tokio::test]
async fn row_15_a_release_wakes_the_whole_herd() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    let mut herd = Vec::new();
    for _ in 0..100 {
        herd.push(one.send(lock, acquire(None)).await);
    }
    for (at, waits) in herd.iter().enumerate() {
        one.ask(lock, LockReleaseRequest::default()).await.unwrap();
        assert!(one.answer::<LockAcquireRequest>(*waits).await.unwrap().acquired);
        assert_eq!(one.ask(lock, LockDescribeRequest {}).await.unwrap().waiting, 99 - at as u64, "one, in its turn");
    }
}

#[tokio::test]
async fn row_16_who_has_just_released_overtakes_who_waits() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let (mut other, of_other) = party(&manager, lock::KIND, &LockSpec::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    for _ in 0..50 {
        let waits = other.send(of_other, acquire(None)).await;
        other.settle().await;
        one.send(lock, LockReleaseRequest::default()).await;
        let again = one.send(lock, acquire(None)).await;
        assert!(other.answer::<LockAcquireRequest>(waits).await.unwrap().acquired);
        assert!(!one.is_answered(again).await);
        other.ask(of_other, LockReleaseRequest::default()).await.unwrap();
        assert!(one.answer::<LockAcquireRequest>(again).await.unwrap().acquired);
    }
}

#[tokio::test]
async fn row_17_waiters_without_a_bound() {
    let manager = Setup::new(program!()).limit("object_waiters", 2).start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    let first = one.send(lock, acquire(None)).await;
    one.send(lock, acquire(None)).await;
    assert_eq!(one.ask(lock, acquire(None)).await.unwrap_err().reason(), Reason::Quota);
    one.ask(lock, LockReleaseRequest::default()).await.unwrap();
    assert!(one.answer::<LockAcquireRequest>(first).await.unwrap().acquired);
}

#[tokio::test]
async fn row_18_a_client_that_does_not_read() {
    let manager = start();
    let (mut one, queue) = party(&manager, queue::KIND, &QueueSpec::default()).await;
    // It is given things, and never reads. That the manager keeps no more than its limit for it is shown in `limits.rs`.
    let idle = victim(&manager, "queue", "waiting");
    one.ask(queue, put(0..1000)).await.unwrap();
    for item in 1..1000 {
        assert_eq!(take(&mut one, queue).await, (Datum::Integer(item), false));
    }
    kill([idle], &mut one, 1).await;
    assert_eq!(take(&mut one, queue).await, (Datum::Integer(0), true));
}

#[tokio::test]
async fn row_19_a_peer_that_is_half_open() {
    let setup = Setup::new(program!()).tcp().setting("session_grace", "100ms");
    let manager = setup.setting("keepalive_time", "1s").setting("keepalive_timeout", "2s").start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let (mut far, of_far, cutter) = remote(&manager, lock::KIND, &LockSpec::default()).await;
    assert!(far.ask(of_far, acquire(None)).await.unwrap().acquired);
    cutter.vanish();
    let granted = one.ask(lock, acquire(None)).await.unwrap();
    assert_eq!(granted.abandoned.unwrap().name, "a remote party");
}

#[tokio::test]
async fn row_20_two_connections_claim_one_session() {
    let manager = start();
    let (mut one, dict) = party(&manager, dict::KIND, &DictSpec::default()).await;
    let (mut far, of_far, _cutter) = remote(&manager, dict::KIND, &DictSpec::default()).await;
    far.ask(of_far, add_one()).await.unwrap();
    // The old connection is whole.
    let (_connection, mut old) = far.resume_beside().await;
    old.call(of_far, &add_one()).await;
    let ended = old.next().await;
    assert!(ended.is_err(), "the old connection is cut: {ended:?}");
    far.ask(of_far, add_one()).await.unwrap();
    let get = DictGetRequest { key: Some(Datum::Integer(0)) };
    assert_eq!(one.ask(dict, get).await.unwrap().value, Some(Datum::Integer(2)), "what came on it late is not applied");
}

#[tokio::test]
async fn row_21_a_delivery_is_made_once_while_its_session_lives() {
    let manager = start();
    let (mut one, queue) = party(&manager, queue::KIND, &QueueSpec::default()).await;
    let (mut far, of_far, cutter) = remote(&manager, queue::KIND, &QueueSpec::default()).await;
    let gets = far.send(of_far, get(None)).await;
    far.settle().await;
    cutter.cut_all();
    one.ask(queue, put([7])).await.unwrap();
    far.resume().await;
    let got = far.answer::<QueueGetRequest>(gets).await.unwrap();
    assert_eq!((got.items.len(), got.items[0].redelivered), (1, false));
    let size = one.ask(queue, QueueSizeRequest {}).await.unwrap();
    assert_eq!((size.size, size.delivered), (0, 0));
}

#[tokio::test]
async fn row_22_a_worker_dies_with_its_task() {
    let manager = start();
    let spec = QueueSpec { delivery: QueueDelivery::OnDone.into(), max_deliveries: 2, ..QueueSpec::default() };
    let (mut one, queue) = party(&manager, queue::KIND, &spec).await;
    one.ask(queue, put([7])).await.unwrap();
    for (left, dead) in [(1, 0), (0, 1)] {
        let worker = victim(&manager, "queue, done by word", "holding");
        kill([worker], &mut one, 1).await;
        let size = one.ask(queue, QueueSizeRequest {}).await.unwrap();
        assert_eq!((size.size, size.dead_letters), (left, dead), "it is done again, and not for ever");
    }
}

#[tokio::test]
async fn row_23_join_and_a_consumer_that_died() {
    let manager = start();
    let spec = QueueSpec { delivery: QueueDelivery::OnDone.into(), ..QueueSpec::default() };
    let (mut one, queue) = party(&manager, queue::KIND, &spec).await;
    one.ask(queue, put([7])).await.unwrap();
    let joins = one.send(queue, QueueJoinRequest::default()).await;
    let dead = victim(&manager, "queue, done by word", "holding");
    kill([dead], &mut one, 1).await;
    assert!(!one.is_answered(joins).await, "it is not done");
    assert_eq!(take(&mut one, queue).await, (Datum::Integer(7), true));
    assert_eq!(one.ask(queue, QueueTaskDoneRequest::default()).await.unwrap().unfinished, 0);
    assert!(one.answer::<QueueJoinRequest>(joins).await.unwrap().joined);
    let excess = one.ask(queue, QueueTaskDoneRequest::default()).await.unwrap_err();
    assert_eq!(excess.reason(), Reason::OverRelease);
}

#[tokio::test]
async fn row_24_reading_changing_and_writing_are_two_calls() {
    let manager = start();
    let (mut one, dict) = party(&manager, dict::KIND, &DictSpec::default()).await;
    let (mut other, of_other) = party(&manager, dict::KIND, &DictSpec::default()).await;
    for _ in 0..500 {
        let (first, second) = (one.send(dict, add_one()).await, other.send(of_other, add_one()).await);
        one.answer::<DictAddRequest>(first).await.unwrap();
        other.answer::<DictAddRequest>(second).await.unwrap();
    }
    let get = DictGetRequest { key: Some(Datum::Integer(0)) };
    assert_eq!(one.ask(dict, get).await.unwrap().value, Some(Datum::Integer(1000)));
}

#[tokio::test]
async fn row_25_a_storm_of_cancellations() {
    let manager = start();
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    one.ask(lock, acquire(None)).await.unwrap();
    for _ in 0..2000 {
        let call = one.send(lock, acquire(None)).await;
        let withdraw = WithdrawRequest { handle: lock, call, ..WithdrawRequest::default() };
        assert!(one.ask(0, withdraw).await.unwrap().withdrawn);
        assert_eq!(one.answer::<LockAcquireRequest>(call).await.unwrap_err().reason(), Reason::Withdrawn);
    }
    let state = one.ask(lock, LockDescribeRequest {}).await.unwrap();
    assert_eq!((state.yours, state.waiting), (true, 0));
}

#[tokio::test]
async fn row_26_a_restart_forgets_who_held_what() {
    let mut manager = Setup::new(program!()).kept_ports().setting("epoch", "kept").start();
    let mut far = Party::join(&manager, 1).await;
    let lock = far.open("object", lock::KIND, &LockSpec::default()).await;
    let before = far.ask(lock, acquire(None)).await.unwrap().fence;
    manager.start_anew();
    let over = far.try_resume().await.unwrap_err();
    assert_eq!(over.code(), Some(5), "its session is over, and it is told: {over}");
    let (mut one, lock) = party(&manager, lock::KIND, &LockSpec::default()).await;
    let after = one.ask(lock, acquire(Some(0))).await.unwrap();
    assert!(after.acquired && after.fence > before, "fences rise over restarts: {} after {before}", after.fence);
}
