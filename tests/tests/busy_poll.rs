//! Sessions that poll for their replies: what they are told, and whom they must not hold up.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use holdfast::{Dict, Error, Manager, Options, blocking};
use holdfast_tests::{Setup, program, until};
use rustix::process::Signal;
use tokio::task::yield_now;

/// As long as may be, so that nearly every reply is polled for however slow the machine is.
const LONG: Duration = Duration::from_millis(1);

fn start() -> holdfast_tests::Manager {
    Setup::new(program!()).start()
}

fn polling(manager: &holdfast_tests::Manager) -> Options {
    manager.options().busy_poll(LONG)
}

#[tokio::test]
async fn other_tasks_run_between_calls_that_poll() {
    const CALLS: u64 = 2000;
    let manager = start();
    let client = Manager::connect_with(&polling(&manager)).await.unwrap();
    let dict: Dict<String, u64> = client.dict("counters").await.unwrap();
    let (turns, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let other = tokio::spawn({
        let (turns, is_over) = (turns.clone(), is_over.clone());
        async move {
            while !is_over.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        }
    });
    let (mut seen, mut waits, mut longest) = (0, 0, 0);
    for _ in 0..CALLS {
        dict.add("total", 1).await.unwrap();
        let now = turns.load(Ordering::Relaxed);
        waits = if now == seen { waits + 1 } else { 0 };
        longest = longest.max(waits);
        seen = now;
    }
    is_over.store(true, Ordering::Relaxed);
    other.await.unwrap();
    // The runtime may take the caller twice before it takes the other task.
    assert!(longest <= 20, "{longest} calls in a row without a turn for the other task");
    assert_eq!(dict.get("total").await.unwrap(), Some(CALLS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_from_many_tasks_and_threads_get_their_replies_while_some_poll() {
    let manager = start();
    let client = Manager::connect_with(&polling(&manager)).await.unwrap();
    let dict: Dict<String, u64> = client.dict("counters").await.unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|task: u64| {
            let dict = dict.clone();
            tokio::spawn(async move {
                for call in 0..500 {
                    dict.add("total", 1).await.unwrap();
                    // So that now one of them is alone and now they are not.
                    if call % (task + 2) == 0 {
                        yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(dict.get("total").await.unwrap(), Some(2000));
}

#[tokio::test]
async fn long_replies_are_whole() {
    let manager = start();
    let client = Manager::connect_with(&polling(&manager)).await.unwrap();
    let dict: Dict<String, String> = client.dict("texts").await.unwrap();
    for bytes in [1, 4000, 4095, 4096, 4097, 8192, 100_000, 1_000_000] {
        let text = "x".repeat(bytes);
        dict.set("text", &text).await.unwrap();
        for _ in 0..10 {
            assert!(dict.get("text").await.unwrap().as_ref() == Some(&text), "{bytes} bytes");
        }
    }
}

#[test]
fn threads_that_share_a_session_get_their_replies() {
    for budget in [Duration::ZERO, LONG, Duration::MAX] {
        let manager = start();
        let client = blocking::Manager::connect_with(&manager.options().busy_poll(budget)).unwrap();
        let dict: blocking::Dict<String, u64> = client.dict("counters").unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        dict.add("total", 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(dict.get("total").unwrap(), Some(2000));
    }
}

#[tokio::test]
async fn a_manager_that_is_stopped_is_not_waited_for_beyond_the_deadline() {
    let manager = start();
    let options = polling(&manager).call_timeout(Some(Duration::from_millis(100)));
    let blocking_options = options.clone();
    let client = Manager::connect_with(&options).await.unwrap();
    let dict: Dict<String, u64> = client.dict("counters").await.unwrap();
    let blocking_client =
        tokio::task::spawn_blocking(move || blocking::Manager::connect_with(&blocking_options).unwrap());
    let blocking_client = blocking_client.await.unwrap();
    manager.process.signal(Signal::STOP);
    until("the manager is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", manager.process.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
    });
    assert!(matches!(dict.get("total").await, Err(Error::Timeout { .. })));
    let status = tokio::task::spawn_blocking(move || blocking_client.status()).await.unwrap();
    assert!(matches!(status, Err(Error::Timeout { .. })), "{status:?}");
    manager.process.signal(Signal::CONT);
    dict.add("total", 1).await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_manager_is_noticed() {
    let manager = start();
    let client = Manager::connect_with(&polling(&manager)).await.unwrap();
    let dict: Dict<String, u64> = client.dict("counters").await.unwrap();
    dict.add("total", 1).await.unwrap();
    drop(manager);
    assert!(matches!(dict.add("total", 1).await, Err(Error::Ended { .. })));
}
