//! Locks and what else is held or waited for, through a manager, from both libraries.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use holdfast::{BreakCause, Holding, OnLoss, Reason};
use holdfast_tests::{Setup, program, until, until_async, within};

fn start() -> holdfast_tests::Manager {
    Setup::new(program!()).start()
}

#[test]
fn a_lock_passes_on_in_order_and_its_guards_release_it() {
    let manager = start();
    let (one, other) = (manager.connect_blocking(), manager.connect_blocking());
    let lock = one.lock("lock").unwrap();
    let guard = lock.acquire().unwrap();
    assert!(other.lock("lock").unwrap().acquire_within(Duration::ZERO).unwrap().is_none());
    let (send, order) = mpsc::channel();
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            let (lock, send) = (other.lock("lock").unwrap(), send.clone());
            let waiting = thread::spawn(move || {
                let guard = lock.acquire().unwrap();
                send.send((number, guard.fence())).unwrap();
                drop(guard);
            });
            until("it waits", || (one.lock("lock").unwrap().state().unwrap().waiting == number + 1).then_some(()));
            waiting
        })
        .collect();
    let first = guard.fence();
    guard.release().unwrap();
    waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
    let order: Vec<_> = order.try_iter().collect();
    assert_eq!(order.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(order.iter().map(|(_, fence)| *fence).is_sorted() && order[0].1 > first, "{order:?}");
    until("the last guard has released it", || (!lock.is_locked().unwrap()).then_some(()));
}

#[test]
fn patience_ends_a_wait_and_leaves_nothing() {
    let manager = start();
    let (one, other) = (manager.connect_blocking(), manager.connect_blocking());
    let guard = one.lock("lock").unwrap().acquire().unwrap();
    let lock = other.lock("lock").unwrap();
    assert!(lock.acquire_within(Duration::from_millis(20)).unwrap().is_none());
    let state = lock.state().unwrap();
    assert_eq!((state.waiting, state.held, state.is_ours), (0, Some(guard.fence()), false));
}

#[tokio::test]
async fn an_async_acquire_that_is_dropped_is_withdrawn_or_undone() {
    let manager = start();
    let (one, other) = (manager.connect().await, manager.connect().await);
    let (lock, waiter) = (one.lock("lock").await.unwrap(), other.lock("lock").await.unwrap());
    for round in 0..100 {
        let guard = lock.acquire().await.unwrap();
        let waiting = tokio::spawn({
            let waiter = waiter.clone();
            async move { drop(waiter.acquire().await) }
        });
        while lock.state().await.unwrap().waiting == 0 {}
        if round % 2 == 0 {
            waiting.abort();
            while lock.state().await.unwrap().waiting == 1 {}
            drop(guard);
        } else {
            // The grant and the withdrawal meet on their way.
            drop(guard);
            waiting.abort();
        }
        let _ = waiting.await;
        let free = within("what nobody wants any more is given back", lock.acquire()).await;
        free.unwrap().release().await.unwrap();
    }
}

#[test]
fn a_holder_that_is_killed_passes_the_lock_on_and_is_named() {
    let manager = start();
    let client = manager.connect_blocking();
    let lock = client.lock_with("lock", Holding::new()).unwrap();
    let mut holder = manager.worker(&["lock", "lock"]);
    assert_eq!(holder.line(), "ready");
    assert!(lock.acquire_within(Duration::ZERO).unwrap().is_none());
    holder.kill();
    let guard = lock.acquire().unwrap();
    let abandoned = guard.abandoned().expect("it was told");
    assert!(abandoned.fence < guard.fence());
    drop(guard);
    assert_eq!(lock.acquire().unwrap().abandoned(), None, "told once");
    let error = client.lock_with("lock", Holding::new().on_loss(OnLoss::Keep)).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OtherSpec));
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_a_guard_that_holds_nothing() {
    let manager = start();
    let (one, other) = (manager.connect().await, manager.connect().await);
    let (condition, lock) = (one.condition("lock").await.unwrap(), other.rlock("lock").await.unwrap());
    let mut guard = condition.acquire().await.unwrap();
    let outer = condition.acquire().await.unwrap();
    // One that is not polled was not asked.
    drop(condition.wait(&mut guard));
    assert!(guard.is_held());
    tokio::select! {
        woken = condition.wait(&mut guard) => panic!("nobody notifies, but {woken:?}"),
        () = until_async("it waits", async || {
            (lock.state().await.unwrap().waiting_on_conditions == 1).then_some(())
        }) => {}
    }
    assert!(!guard.is_held() && !outer.is_held());
    let free = within("it is withdrawn, and the lock is not taken for it", lock.acquire()).await.unwrap();
    until_async("it waits no more", async || (lock.state().await.unwrap().waiting_on_conditions == 0).then_some(()))
        .await;
    let refused = condition.wait(&mut guard).await.unwrap_err();
    assert!(refused.is_not_held() && refused.to_string().contains("acquire the lock again"), "{refused}");
    free.release().await.unwrap();
    // A later grant is not that of the old guards, and not theirs to give back.
    let again = condition.acquire().await.unwrap();
    drop(outer);
    assert!(guard.release().await.unwrap_err().is_not_held());
    assert_eq!(lock.state().await.unwrap().held, Some(again.fence()));
}

#[tokio::test]
async fn what_guards_are_to_give_back_is_given_back_although_the_call_is_not_made() {
    let manager = start();
    let one = manager.connect().await;
    let lock = one.lock("lock").await.unwrap();
    drop(lock.acquire().await.unwrap().release());
    assert!(!lock.is_locked().await.unwrap());
    let semaphore = one.semaphore("semaphore", 2).await.unwrap();
    drop(semaphore.acquire_many(2).await.unwrap().release());
    assert_eq!(semaphore.value().await.unwrap(), 2);
    let lock = one.rwlock("rwlock").await.unwrap();
    drop(lock.write().await.unwrap().downgrade());
    drop(lock.write_within(Duration::ZERO).await.unwrap().expect("nobody has it").release());
    drop(lock.read_within(Duration::ZERO).await.unwrap().expect("nobody has it").release());
    assert!(lock.write_within(Duration::ZERO).await.unwrap().is_some());
}

#[tokio::test]
async fn a_downgrade_that_is_dropped_leaves_no_reader() {
    let manager = start();
    let (one, other) = (manager.connect().await, manager.connect().await);
    let (lock, there) = (one.rwlock("rwlock").await.unwrap(), other.rwlock("rwlock").await.unwrap());
    // What was asked is undone: nobody has the guard that the answer would be.
    for _ in 0..50 {
        let writer = within("nobody has it", there.write()).await.unwrap();
        writer.release().await.unwrap();
        let downgrade = lock.write().await.unwrap().downgrade();
        assert!(downgrade.now_or_never().is_none_or(|reader| reader.is_ok()));
    }
    within("nobody has it", there.write()).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn acquisitions_that_are_dropped_wait_no_more() {
    let manager = start();
    let (one, other) = (manager.connect().await, manager.connect().await);
    let (semaphore, there) = (one.semaphore("s", 1).await.unwrap(), other.semaphore("s", 1).await.unwrap());
    let (barrier, seen) = (one.barrier("b", 2).await.unwrap(), other.barrier("b", 2).await.unwrap());
    let _permit = there.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { drop(semaphore.acquire().await) });
    until_async("it waits", async || (there.state().await.unwrap().waiting == 1).then_some(())).await;
    waiting.abort();
    until_async("it waits no more", async || (there.state().await.unwrap().waiting == 0).then_some(())).await;
    let waiting = tokio::spawn(async move { barrier.wait().await.map(drop) });
    until_async("it waits", async || (seen.n_waiting().await.unwrap() == 1).then_some(())).await;
    waiting.abort();
    until_async("it breaks", async || seen.is_broken().await.unwrap().then_some(())).await;
    assert_eq!(seen.state().await.unwrap().broken_by, Some(BreakCause::Withdrawal));
}

#[test]
fn a_wait_for_runs_in_a_task_of_any_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = start();
        let (one, other) = (manager.connect().await, manager.connect().await);
        let (condition, event) = (one.condition("c").await.unwrap(), one.event("e").await.unwrap());
        let waiting = tokio::spawn(async move {
            let mut guard = condition.acquire().await?;
            condition.wait_for(&mut guard, || event.is_set()).await?;
            guard.release().await
        });
        let (there, event) = (other.condition("c").await.unwrap(), other.event("e").await.unwrap());
        let lock = other.rlock("c").await.unwrap();
        until_async("it waits", async || (lock.state().await.unwrap().waiting_on_conditions == 1).then_some(())).await;
        let guard = there.acquire().await.unwrap();
        event.set().await.unwrap();
        assert_eq!(there.notify_all().await.unwrap(), 1);
        drop(guard);
        within("it goes on", waiting).await.unwrap().unwrap();
    });
}

/// A manager that takes two calls of a session at once and lets one wait, and an unowned semaphore in it, of which nobody
/// gives back what a session leaves behind.
fn with_few_calls_at_once() -> holdfast_tests::Manager {
    Setup::new(program!()).limit("calls_in_flight", 2).limit("session_waiters", 1).start()
}

const PERMITS: u64 = 100;

fn unowned() -> Holding {
    Holding::new().released_by_anyone(true)
}

fn all_came_back(observer: &holdfast::blocking::Manager) {
    let semaphore = observer.semaphore_with("permits", PERMITS, unowned()).expect("the semaphore");
    until("all permits come back", || (semaphore.value().expect("its value") == PERMITS).then_some(()));
}

#[test]
fn what_is_dropped_is_given_back_before_its_session_says_goodbye() {
    let manager = with_few_calls_at_once();
    let observer = manager.connect_blocking();
    for is_closed in [true, false] {
        let client = manager.connect_blocking();
        let semaphore = client.semaphore_with("permits", PERMITS, unowned()).unwrap();
        let guards: Vec<_> = (0..PERMITS).map(|_| semaphore.acquire().unwrap()).collect();
        assert_eq!(observer.semaphore_with("permits", PERMITS, unowned()).unwrap().value().unwrap(), 0);
        drop((guards, semaphore));
        if is_closed {
            client.close();
        } else {
            drop(client);
        }
        all_came_back(&observer);
    }
}

#[test]
fn an_async_session_gives_back_what_was_dropped_before_it_says_goodbye() {
    let manager = with_few_calls_at_once();
    let observer = manager.connect_blocking();
    for is_closed in [true, false] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = manager.connect().await;
            let semaphore = client.semaphore_with("permits", PERMITS, unowned()).await.unwrap();
            let mut guards = Vec::new();
            for _ in 0..PERMITS {
                guards.push(semaphore.acquire().await.unwrap());
            }
            drop((guards, semaphore));
            if is_closed {
                client.close().await;
            } else {
                drop(client);
            }
            let observer = observer.clone();
            tokio::task::spawn_blocking(move || all_came_back(&observer)).await.unwrap();
        });
    }
}
