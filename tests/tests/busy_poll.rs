//! Managers and sessions that poll before they sleep: what they are told, whom they must not hold up, and what CPU they may use.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use holdfast::{BusyPoll, Dict, Error, Manager, Options, blocking};
use holdfast_tests::{Setup, program, until};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
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

/// A manager of one thread that is told how to poll, and a blocking client that is.
fn told(manager: BusyPoll, client: BusyPoll) -> (holdfast_tests::Manager, blocking::Manager) {
    let manager = Setup::new(program!()).limit("threads", 1).setting("busy_poll", &manager.to_string()).start();
    let client = blocking::Manager::connect_with(&manager.options().busy_poll(client)).unwrap();
    (manager, client)
}

/// How often a thread gave up its CPU because it had nothing to do. One that offers the CPU to others is not counted.
fn sleeps(thread: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// How long the threads of a process, or one thread, have had a CPU.
fn on_cpu(process: &str) -> Duration {
    let of = |thread: &str| {
        // One that has just ended used nothing to speak of.
        let schedstat = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
        schedstat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
    };
    let threads = fs::read_dir(format!("/proc/{process}/task")).map_or(vec![of(process)], |threads| {
        threads.map(|thread| of(&format!("{process}/task/{}", thread.unwrap().file_name().display()))).collect()
    });
    Duration::from_nanos(threads.iter().sum())
}

/// How long a thread was ready to run and had no CPU.
fn waited_for_cpu(thread: &str) -> Duration {
    let schedstat = fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap();
    Duration::from_nanos(schedstat.split(' ').nth(1).unwrap().parse().unwrap())
}

const CALLS: u64 = 200;

/// How often the manager or this thread slept in so many calls.
fn sleeps_in_calls(manager: &holdfast_tests::Manager, dict: &blocking::Dict<String, u64>) -> u64 {
    let both = || sleeps(&manager.process.pid().to_string()) + sleeps("thread-self");
    let before = both();
    for _ in 0..CALLS {
        dict.add("total", 1).unwrap();
    }
    both() - before
}

fn is_alone_on_its_cpu() -> bool {
    let is_alone = thread::available_parallelism().is_ok_and(|cpus| cpus == NonZero::<usize>::MIN);
    if is_alone {
        eprintln!("there is one CPU: nobody polls, and nothing is to be seen");
    }
    is_alone
}

#[test]
fn who_is_told_not_to_poll_sleeps_in_each_call() {
    let (manager, client) = told(BusyPoll::Off, BusyPoll::Off);
    let dict = client.dict("counters").unwrap();
    for _ in 0..10 {
        // Where both share a CPU, one that is interrupted as it speaks has its answer before it would have slept.
        let sleeps = sleeps_in_calls(&manager, &dict);
        assert!(sleeps >= CALLS * 9 / 10, "slept {sleeps} times in {CALLS} calls");
    }
}

#[test]
fn nobody_sleeps_between_calls_while_both_ends_are_told_to_poll() {
    if is_alone_on_its_cpu() {
        return;
    }
    let time = BusyPoll::For(LONG);
    let (manager, client) = told(time, time);
    let dict = client.dict("counters").unwrap();
    // Others may want the CPUs at times.
    until("nobody sleeps", || (sleeps_in_calls(&manager, &dict) <= CALLS / 10).then_some(()));
}

#[test]
fn either_end_alone_polls_when_it_is_told_to() {
    if is_alone_on_its_cpu() {
        return;
    }
    let time = BusyPoll::For(LONG);
    for (of_manager, of_client) in [(time, BusyPoll::Off), (BusyPoll::Off, time)] {
        let (manager, client) = told(of_manager, of_client);
        let dict = client.dict("counters").unwrap();
        let (of_manager_polls, pid) = (of_client == BusyPoll::Off, manager.process.pid().to_string());
        until("one end does not sleep", || {
            let before = if of_manager_polls { sleeps(&pid) } else { sleeps("thread-self") };
            sleeps_in_calls(&manager, &dict);
            let after = if of_manager_polls { sleeps(&pid) } else { sleeps("thread-self") };
            (after - before <= CALLS / 10).then_some(())
        });
    }
}

#[test]
fn both_ends_learn_to_poll_without_being_told() {
    if is_alone_on_its_cpu() {
        return;
    }
    let (manager, client) = told(BusyPoll::Auto, BusyPoll::Auto);
    let dict = client.dict("counters").unwrap();
    let waited = || waited_for_cpu(&manager.process.pid().to_string()) + waited_for_cpu("thread-self");
    let (before, begin) = (waited(), Instant::now());
    until("most calls are made without sleep, or others want the CPUs", || {
        let polls = sleeps_in_calls(&manager, &dict) <= CALLS / 2;
        // Where others do, it is right not to poll, and nothing is to be seen. That is not told by a moment.
        let others = begin.elapsed() > Duration::from_secs(10) && waited() - before > begin.elapsed() / 10;
        (polls || others).then_some(())
    });
}

#[test]
fn with_one_cpu_nobody_polls() {
    // This thread, and with it all that it starts.
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    sched_setaffinity(None, &one).unwrap();
    for busy_poll in [BusyPoll::Auto, BusyPoll::For(LONG)] {
        let (manager, client) = told(busy_poll, busy_poll);
        let dict = client.dict("counters").unwrap();
        for _ in 0..10 {
            let sleeps = sleeps_in_calls(&manager, &dict);
            assert!(sleeps >= CALLS * 9 / 10, "{busy_poll}: slept {sleeps} times in {CALLS} calls");
        }
    }
}

/// A client's thread that waits for a lock, and how long it was on a CPU meanwhile.
#[test]
fn who_waits_for_a_lock_does_not_poll_for_it() {
    const WATCH: Duration = Duration::from_secs(2);
    let (manager, holder) = told(BusyPoll::Auto, BusyPoll::Auto);
    let waiter = blocking::Manager::connect_with(&manager.options().busy_poll(BusyPoll::Auto)).unwrap();
    let held = holder.lock("lock").unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let guard = held.acquire().unwrap();
        scope.spawn(|| {
            let other = waiter.lock("other").unwrap();
            for _ in 0..500 {
                // Such waits are short.
                drop(other.acquire().unwrap());
            }
            let before = on_cpu("thread-self");
            tell.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            drop(waiter.lock("lock").unwrap().acquire().unwrap());
            let used = on_cpu("thread-self") - before;
            assert!(used < WATCH / 200, "it used {used:?}");
        });
        let thread = told.recv().unwrap();
        until("it sleeps", || {
            let before = sleeps(thread.to_str().unwrap());
            thread::sleep(Duration::from_millis(50));
            (sleeps(thread.to_str().unwrap()) == before).then_some(())
        });
        let used = on_cpu(thread.to_str().unwrap());
        thread::sleep(WATCH);
        assert_eq!(on_cpu(thread.to_str().unwrap()), used, "it sleeps all the time");
        drop(guard);
    });
}

#[test]
fn a_manager_that_nobody_calls_uses_no_cpu() {
    const SESSIONS: usize = 200;
    const WATCH: Duration = Duration::from_secs(2);
    for busy_poll in [BusyPoll::Auto, BusyPoll::For(LONG)] {
        let (manager, client) = told(busy_poll, BusyPoll::Auto);
        let idle: Vec<_> = (0..SESSIONS).map(|_| manager.connect_blocking()).collect();
        let dict = client.dict("counters").unwrap();
        for _ in 0..10 {
            // It has just learnt that calls come one after the other.
            sleeps_in_calls(&manager, &dict);
        }
        let pid = manager.process.pid().to_string();
        let (before, begin) = (on_cpu(&pid), Instant::now());
        // It is the time that is watched.
        thread::sleep(WATCH);
        let (used, time) = (on_cpu(&pid) - before, begin.elapsed());
        assert!(used < time / 500, "{busy_poll}: it used {used:?} of {time:?} with {} idle sessions", idle.len());
    }
}
