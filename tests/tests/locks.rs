//! Locks, through a manager, from both libraries.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use holdfast::{Holding, OnLoss, Reason};
use holdfast_tests::{Setup, program, until, within};

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
