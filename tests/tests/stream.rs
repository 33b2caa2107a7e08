//! The session stream: many calls in flight, clients that do not read, managers that do not answer or are gone.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use holdfast::{Address, Authkey, ConnectError, Error, Options, blocking};
use holdfast_proto::{
    CreateRequest, Datum, DictAddRequest, DictGetRequest, DictGetResponse, DictSetRequest, dict, reply, server_frame,
};
use holdfast_tests::{
    Ended, Manager, PATIENCE, Raw, Setup, Stopped, Stream, Witness, call, program, until, until_async, within,
};
use prost::Message;
use rustix::process::Signal;

fn start() -> Manager {
    Setup::new(program!()).tcp().tls().start()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_session() {
    const TASKS: u64 = 256;
    const EACH: u64 = 50;
    let manager = start();
    for address in 0..3 {
        let client = holdfast::Manager::connect_with(&manager.options_at(address)).await.unwrap();
        let counters: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
        let tasks = (0..TASKS).map(|task| {
            let counters = counters.clone();
            tokio::spawn(async move {
                let mut sums = Vec::new();
                for _ in 0..EACH {
                    sums.push(counters.add(&0, 1).await.unwrap());
                    counters.add(&(task + 1), 1).await.unwrap();
                }
                assert!(sums.is_sorted_by(|a, b| a < b), "a task's own calls keep their order");
                sums
            })
        });
        let sums: HashSet<u64> =
            within("all tasks", join_all(tasks)).await.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(sums, (1..=TASKS * EACH).collect(), "every call had a reply of its own");
        let each = counters.get_many(&Vec::from_iter(1..=TASKS)).await.unwrap();
        assert!(each.iter().all(|each| *each == Some(EACH)), "{each:?}");
    }
}

#[test]
fn many_threads_share_one_blocking_session() {
    const EACH: u64 = 500;
    let manager = start();
    for address in 0..3 {
        let client = blocking::Manager::connect_with(&manager.options_at(address)).unwrap();
        let counters: blocking::Dict<u64, u64> = client.new_dict().unwrap();
        let sums: HashSet<u64> = thread::scope(|scope| {
            let threads: Vec<_> = (1..=8)
                .map(|number| {
                    let counters = counters.clone();
                    scope.spawn(move || {
                        let add = |_| {
                            counters.add(&number, 1).unwrap();
                            counters.add(&0, 1).unwrap()
                        };
                        (0..EACH).map(add).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(sums, (1..=8 * EACH).collect());
        let each = counters.get_many(&Vec::from_iter(1..=8)).unwrap();
        assert!(each.iter().all(|each| *each == Some(EACH)), "{each:?}");
    }
}

#[test]
fn many_threads_with_large_values_share_one_blocking_session() {
    // More than the socket takes at once, in both directions at the same time.
    let manager = start();
    let client = manager.connect_blocking();
    let values: blocking::Dict<u64, String> = client.new_dict().unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let values = values.clone();
            scope.spawn(move || {
                for round in 0..10 {
                    let value = format!("{number} {round} ").repeat(50_000);
                    values.set(&number, &value).unwrap();
                    assert_eq!(values.get(&number).unwrap(), Some(value));
                }
            });
        }
    });
}

#[tokio::test]
async fn small_calls_are_answered_among_large_ones() {
    let manager = start();
    let client = manager.connect().await;
    let large: holdfast::Dict<u64, String> = client.new_dict().await.unwrap();
    let small: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    let text = "x".repeat(1 << 20);
    let (sets, adds) = tokio::join!(
        try_join_all((0..30).map(|key| large.set(&key, &text))),
        try_join_all((0..3000).map(|_| small.add(&0, 1))),
    );
    assert_eq!(sets.unwrap().len(), 30);
    assert_eq!(adds.unwrap().into_iter().collect::<HashSet<_>>(), (1..=3000).collect());
    let (gets, adds) = tokio::join!(
        try_join_all((0..30).map(|key| large.get(&key))),
        try_join_all((0..3000).map(|_| small.add(&0, 1))),
    );
    assert!(gets.unwrap().into_iter().all(|value| value.as_ref() == Some(&text)));
    assert_eq!(adds.unwrap().into_iter().collect::<HashSet<_>>(), (3001..=6000).collect());
}

#[tokio::test]
async fn more_calls_than_may_be_in_flight_wait_in_line() {
    let manager = Setup::new(program!()).limit("calls_in_flight", 7).start();
    let client = manager.connect().await;
    let counter: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    let sums = try_join_all((0..1000).map(|_| counter.add(&0, 1))).await.unwrap();
    assert_eq!(sums, Vec::from_iter(1..=1000), "first come, first served");
    let client = manager.connect_blocking();
    let counter: blocking::Dict<u64, u64> = client.new_dict().unwrap();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..50 {
                    counter.add(&0, 1).unwrap();
                }
            });
        }
    });
    assert_eq!(counter.get(&0).unwrap(), Some(1000));
}

/// A session with a dict that has a value of 100 KiB under the key 1.
async fn with_large_value(raw: &Raw) -> (Stream, u32) {
    let mut stream = raw.session().await;
    let dict = stream.ask(0, &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.unwrap().handle;
    let value = Some(Datum::from(&*"x".repeat(100 << 10)));
    stream.ask(dict, &DictSetRequest { key: Some(Datum::Integer(1)), value }).await.unwrap();
    (stream, dict)
}

#[tokio::test]
async fn a_client_that_does_not_read_its_replies_is_slowed_and_costs_bounded_memory() {
    const REQUESTS: u64 = 10_000;
    const REPLY: u64 = 100 << 10;
    let manager = Setup::new(program!()).limit("calls_in_flight", 1_000_000).start();
    let witness = Witness::new(&manager).await;
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict) = with_large_value(&raw).await;
    let before = manager.process.memory();

    // Small requests for large replies. They need more than the windows on the way, so sending must come to a halt.
    let padding = Datum::from(&*"p".repeat(1000));
    let mut bytes = BytesMut::new();
    let (first, received) = (stream.sequence + 1, stream.received);
    for sequence in first..first + REQUESTS {
        // A key that is not there costs nothing to answer; one that is there, 100 KiB. Every second call is padded.
        let request = if sequence % 2 == 0 {
            call(received, sequence, dict, &DictGetRequest { key: Some(Datum::Integer(1)) })
        } else {
            call(
                received,
                sequence,
                dict,
                &DictAddRequest { key: Some(padding.clone()), delta: Some(Datum::Integer(1)) },
            )
        };
        bytes.extend_from_slice(&request);
    }
    let bytes = bytes.freeze();
    let mut sent = 0;
    // It has come to a halt when nothing more can be sent although the manager has had many turns to read.
    let mut turns = 0;
    while sent < bytes.len() && turns < 200 {
        match stream.send_some(&bytes.slice(sent..)) {
            Some(part) => (sent, turns) = (sent + part, 0),
            None => turns += 1,
        }
        witness.manager().status().await.unwrap();
    }
    assert!(sent < bytes.len(), "{sent} bytes of requests were taken without a reply being read");
    let grown = manager.process.memory().saturating_sub(before);
    assert!(grown < 40 << 20, "the manager grew by {} KiB", grown >> 10);
    witness.sees_its_data().await;

    // Now it reads: every reply comes, in order, once.
    for sequence in first..first + REQUESTS {
        if let Some(part) = (sent < bytes.len()).then(|| stream.send_some(&bytes.slice(sent..))).flatten() {
            sent += part;
        }
        let reply = loop {
            // What is left to send goes when there is room, which reading makes.
            match stream.reply().now_or_never() {
                Some(reply) => break reply.unwrap(),
                None if sent < bytes.len() => {
                    if let Some(part) = stream.send_some(&bytes.slice(sent..)) {
                        sent += part;
                    }
                    tokio::task::yield_now().await;
                }
                None => break stream.reply().await.unwrap(),
            }
        };
        assert_eq!(reply.sequence, sequence);
        let Some(reply::Result::Response(response)) = reply.result else { panic!("{reply:?}") };
        if sequence % 2 == 0 {
            assert!(response.len() as u64 >= REPLY);
        }
    }
    let grown = manager.process.memory().saturating_sub(before);
    assert!(grown < 40 << 20, "the manager grew by {} KiB", grown >> 10);
    drop((raw, stream));
    witness.sees_no_harm(&manager).await;
}

#[tokio::test]
async fn many_clients_that_do_not_read_do_not_hold_up_others() {
    let manager = start();
    let witness = Witness::new(&manager).await;
    let mut lazy = Vec::new();
    for _ in 0..20 {
        let raw = Raw::authenticated(&manager).await;
        let (mut stream, dict) = with_large_value(&raw).await;
        for _ in 0..20 {
            stream.call(dict, &DictGetRequest { key: Some(Datum::Integer(1)) }).await;
        }
        lazy.push((raw, stream));
    }
    witness.sees_its_data().await;
    for (raw, mut stream) in lazy {
        for _ in 0..20 {
            let reply = stream.reply().await.unwrap();
            let Some(reply::Result::Response(response)) = reply.result else { panic!("{reply:?}") };
            assert!(DictGetResponse::decode(response).unwrap().value.is_some());
        }
        drop(raw);
    }
    witness.sees_no_harm(&manager).await;
}

/// What a call may take that is given this long. Machines can be busy.
const SHORT: Duration = Duration::from_millis(200);

#[track_caller]
fn is_timeout<T>(result: Result<T, Error>, began: Instant) {
    let elapsed = began.elapsed();
    match result {
        Err(Error::Timeout { timeout, .. }) => assert_eq!(timeout, SHORT),
        Err(error) => panic!("not a timeout, but {error:?}"),
        Ok(_) => panic!("not a timeout"),
    }
    assert!(elapsed >= SHORT && elapsed < PATIENCE / 4, "{elapsed:?}");
}

#[tokio::test]
async fn a_call_times_out_when_the_manager_does_not_answer_and_the_session_goes_on() {
    let manager = start();
    for address in 0..3 {
        let client = holdfast::Manager::connect_with(&manager.options_at(address)).await.unwrap();
        let counter: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
        let hurried = counter.with_timeout(Some(SHORT));
        let stopped = Stopped::new(&manager);
        let began = Instant::now();
        is_timeout(hurried.add(&0, 1).await, began);
        let began = Instant::now();
        let (first, second) = tokio::join!(hurried.add(&0, 1), hurried.add(&0, 1));
        is_timeout(first, began);
        is_timeout(second, began);
        // A call with more time, which is in flight when the manager goes on, gets its own reply and not a late one.
        let patient = tokio::spawn({
            let counter = counter.clone();
            async move { counter.add(&0, 1).await }
        });
        tokio::task::yield_now().await;
        drop(stopped);
        assert_eq!(patient.await.unwrap().unwrap(), 4, "all were applied");
        assert_eq!(counter.add(&0, 1).await.unwrap(), 5);
    }
}

/// The call that is waited for moves the session itself; what fails beside it must not take its wake-ups along.
#[tokio::test]
async fn a_call_is_answered_although_one_beside_it_could_not_be_made() {
    let manager = start();
    let options = manager.options().call_timeout(None);
    let client = holdfast::Manager::connect_with(&options).await.unwrap();
    let counter: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    let texts: holdfast::Dict<u64, String> = client.new_dict().await.unwrap();
    // Calls that come one at a time, so that the next is alone.
    for _ in 0..64 {
        counter.add(&0, 1).await.unwrap();
    }
    let stopped = Stopped::new(&manager);
    let mut patient = Box::pin(counter.add(&0, 1));
    assert!((&mut patient).now_or_never().is_none());
    let too_large = "x".repeat(64 << 20);
    let hurried = texts.with_timeout(Some(PATIENCE));
    assert!(matches!(hurried.set(&0, &too_large).await, Err(Error::Refused(_))));
    drop(stopped);
    assert_eq!(within("the reply to the call that was made", patient).await.unwrap(), 65);
}

#[test]
fn a_blocking_call_times_out_when_the_manager_does_not_answer_and_the_session_goes_on() {
    let manager = start();
    for address in 0..3 {
        let client = blocking::Manager::connect_with(&manager.options_at(address)).unwrap();
        let counter: blocking::Dict<u64, u64> = client.new_dict().unwrap();
        let hurried = counter.with_timeout(Some(SHORT));
        let stopped = Stopped::new(&manager);
        let began = Instant::now();
        is_timeout(hurried.add(&0, 1), began);
        // Of several threads that wait one reads; each has its own time.
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let began = Instant::now();
                    is_timeout(hurried.add(&0, 1), began);
                });
            }
        });
        drop(stopped);
        assert_eq!(counter.add(&0, 1).unwrap(), 6, "all were applied");
        assert_eq!(hurried.add(&0, 1).unwrap(), 7);
    }
}

#[test]
fn a_large_blocking_call_times_out_when_the_manager_does_not_read() {
    let manager = start();
    let client = manager.connect_blocking();
    let dict: blocking::Dict<u64, String> = client.new_dict().unwrap();
    let hurried = dict.with_timeout(Some(SHORT));
    let large = "x".repeat(3 << 20);
    let stopped = Stopped::new(&manager);
    // Neither the socket nor the windows take all of it.
    for _ in 0..2 {
        let began = Instant::now();
        is_timeout(hurried.set(&1, &large), began);
    }
    let crowded = hurried.set(&1, &large);
    assert!(matches!(crowded, Err(Error::Timeout { .. } | Error::Crowded { .. })), "{crowded:?}");
    drop(stopped);
    assert_eq!(dict.get(&1).unwrap(), Some(large));
}

#[tokio::test]
async fn calls_that_cannot_even_be_sent_say_that_nothing_was_applied() {
    let manager = Setup::new(program!()).limit("calls_in_flight", 3).start();
    let client = manager.connect().await;
    let counter: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    let hurried = counter.with_timeout(Some(SHORT));
    let stopped = Stopped::new(&manager);
    let results = join_all((0..10).map(|_| hurried.add(&0, 1))).await;
    let is_late = |result: &&Result<u64, Error>| matches!(result, Err(Error::Timeout { .. }));
    let is_crowded = |result: &&Result<u64, Error>| matches!(result, Err(Error::Crowded { .. }));
    assert_eq!(results.iter().filter(is_late).count(), 3, "{results:?}");
    assert_eq!(results.iter().filter(is_crowded).count(), 7, "{results:?}");
    drop(stopped);
    assert_eq!(counter.add(&0, 1).await.unwrap(), 4, "those that were sent, and no others");

    let client = manager.connect_blocking();
    let counter: blocking::Dict<u64, u64> = client.new_dict().unwrap();
    let hurried = counter.with_timeout(Some(SHORT));
    let stopped = Stopped::new(&manager);
    let (late, crowded) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| match hurried.add(&0, 1) {
                Err(Error::Timeout { .. }) => late.fetch_add(1, Ordering::Relaxed),
                Err(Error::Crowded { .. }) => crowded.fetch_add(1, Ordering::Relaxed),
                other => panic!("{other:?}"),
            });
        }
    });
    drop(stopped);
    assert_eq!((late.into_inner(), crowded.into_inner()), (3, 7));
    assert_eq!(counter.add(&0, 1).unwrap(), 4);
}

#[tokio::test]
async fn futures_that_are_dropped_leave_the_session_usable() {
    let manager = Setup::new(program!()).limit("calls_in_flight", 5).start();
    let client = manager.connect().await;
    let counter: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    drop(counter.add(&0, 1));
    assert_eq!(counter.get(&0).await.unwrap(), None, "a call that was never polled was not made");
    // Polled once and dropped: in flight, or in line.
    let mut made = 0;
    for _ in 0..100 {
        let mut calls: Vec<_> = (0..20).map(|_| Box::pin(counter.add(&0, 1))).collect();
        made += calls.iter_mut().map(|call| call.as_mut().now_or_never()).filter(Option::is_some).count() as u64;
        drop(calls);
        let got = tokio::time::timeout(Duration::ZERO, counter.add(&1, 1)).await;
        drop(got);
    }
    let applied = within("the session goes on", counter.add(&0, 0)).await.unwrap();
    assert!(applied >= made && applied <= 2000, "{applied} of 2000");
    let sums = within("everyone gets a turn", try_join_all((0..50).map(|_| counter.add(&0, 1)))).await;
    assert_eq!(sums.unwrap(), Vec::from_iter(applied + 1..=applied + 50));
}

#[tokio::test]
async fn proxies_that_are_dropped_give_their_handles_back() {
    let manager = start();
    let client = manager.connect().await;
    let proxies = try_join_all((0..1000).map(|_| client.new_dict::<u64, u64>())).await.unwrap();
    let clones = proxies.clone();
    drop(proxies);
    assert_eq!(client.status().await.unwrap().objects, 1000, "clones keep them");
    drop(clones);
    until_async("the objects go", async || (client.status().await.unwrap().objects == 0).then_some(())).await;

    let client = manager.connect_blocking();
    let proxies: Vec<_> = (0..1000).map(|_| client.new_dict::<u64, u64>().unwrap()).collect();
    assert_eq!(client.status().unwrap().objects, 1000);
    drop(proxies);
    until("the objects go", || (client.status().unwrap().objects == 0).then_some(()));
}

#[tokio::test]
async fn objects_that_are_opened_for_nobody_are_given_back() {
    let manager = start();
    let client = manager.connect().await;
    let stopped = Stopped::new(&manager);
    let mut calls: Vec<_> = (0..100).map(|_| Box::pin(client.new_dict::<u64, u64>())).collect();
    assert!(calls.iter_mut().all(|call| call.as_mut().now_or_never().is_none()), "they are asked");
    // The first half is dropped before the replies come, the second one when they have come.
    let rest = calls.split_off(50);
    drop(calls);
    let hurried = client.with_timeout(Some(SHORT));
    is_timeout(hurried.new_dict::<u64, u64>().await, Instant::now() - SHORT);
    drop(stopped);
    assert_eq!(client.status().await.unwrap().objects, 101);
    drop(rest);
    until_async("the objects go", async || (client.status().await.unwrap().objects == 0).then_some(())).await;

    let client = manager.connect_blocking();
    let hurried = client.with_timeout(Some(SHORT));
    let stopped = Stopped::new(&manager);
    is_timeout(hurried.new_dict::<u64, u64>(), Instant::now() - SHORT);
    drop(stopped);
    until("the object goes", || (client.status().unwrap().objects == 0).then_some(()));
}

#[tokio::test]
async fn a_session_that_is_closed_has_given_everything_back() {
    let manager = start();
    let witness = manager.connect().await;
    let client = manager.connect().await;
    let proxy: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    client.close().await;
    let status = witness.status().await.unwrap();
    assert_eq!((status.objects, status.sessions), (0, 1));
    let ended = proxy.get(&0).await.unwrap_err();
    assert!(matches!(ended, Error::Ended { .. }), "{ended:?}");

    let client = manager.connect_blocking();
    let proxy: blocking::Dict<u64, u64> = client.new_dict().unwrap();
    client.close();
    let status = witness.status().await.unwrap();
    assert_eq!((status.objects, status.sessions), (0, 1));
    let ended = proxy.get(&0).unwrap_err();
    assert!(matches!(ended, Error::Ended { .. }), "{ended:?}");
}

#[tokio::test]
async fn a_session_with_very_many_handles_ends_without_holding_up_others() {
    let manager = start();
    let witness = Witness::new(&manager).await;
    let client = manager.connect().await;
    let proxies = try_join_all((0..20_000).map(|_| client.new_dict::<u64, u64>())).await.unwrap();
    client.close().await;
    witness.sees_its_data().await;
    drop(proxies);
    until_async("all objects go", async || (witness.manager().status().await.unwrap().objects == 1).then_some(()))
        .await;
    witness.sees_no_harm(&manager).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_fails_at_once_when_the_manager_is_killed() {
    for address in 0..3 {
        let mut manager = start();
        let options = manager.options_at(address).reconnect_timeout(Duration::ZERO);
        let client = holdfast::Manager::connect_with(&options).await.unwrap();
        let counter: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
        let stopped = Stopped::new(&manager);
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let counter = counter.with_timeout(None);
                tokio::spawn(async move { counter.add(&0, 1).await })
            })
            .collect();
        let blocking_client = {
            drop(stopped);
            blocking::Manager::connect_with(&options).unwrap().with_timeout(None)
        };
        let stopped = Stopped::new(&manager);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let client = blocking_client.clone();
                thread::spawn(move || client.status())
            })
            .collect();
        std::mem::forget(stopped);
        manager.process.kill();
        for waiting in within("calls that wait fail", join_all(waiting)).await {
            // Those that were answered in between were answered well.
            if let Err(error) = waiting.unwrap() {
                assert!(matches!(error, Error::Ended { .. }), "{error:?}");
            }
        }
        for thread in threads {
            let error = thread.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::Ended { .. }), "{error:?}");
        }
        let began = Instant::now();
        let error = client.status().await.unwrap_err();
        assert!(
            matches!(&error, Error::Ended { .. }) && error.to_string().contains("open the objects again"),
            "{error:?}"
        );
        let error = blocking_client.status().unwrap_err();
        assert!(matches!(error, Error::Ended { .. }), "{error:?}");
        assert!(began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
        // Dropping and closing what is dead waits for nothing.
        drop(counter);
        client.close().await;
        blocking_client.close();
    }
}

fn quick(address: Address) -> Options {
    Options::default().address(address).authkey(Authkey::from_random([1; 32])).connect_timeout(SHORT)
}

/// Connecting fails with this library and with the other.
async fn fails_to_connect(options: &Options) -> [Error; 2] {
    let options = options.clone();
    let blocking = options.clone();
    let blocking = tokio::task::spawn_blocking(move || blocking::Manager::connect_with(&blocking).unwrap_err());
    [holdfast::Manager::connect_with(&options).await.unwrap_err(), blocking.await.unwrap()]
}

#[tokio::test]
async fn connecting_to_what_never_answers_takes_no_longer_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent.sock");
    let _unix = UnixListener::bind(&path).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [Address::Unix(path), Address::Http(tcp.local_addr().unwrap().to_string())] {
        let began = Instant::now();
        for error in fails_to_connect(&quick(address)).await {
            assert!(matches!(error, Error::Connect(ConnectError::Timeout { timeout: SHORT, .. })), "{error:?}");
        }
        assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn connecting_to_a_socket_whose_backlog_is_full_takes_no_longer_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // A backlog of 0 takes one that nobody accepts.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let began = Instant::now();
    for error in fails_to_connect(&quick(Address::Unix(path))).await {
        assert!(matches!(error, Error::Connect(ConnectError::Timeout { .. })), "{error:?}");
    }
    assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Address::Unix(folder.path().join("missing.sock"));
    // A port that was free a moment ago and on which nobody listens: bound, so that nobody else takes it.
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let bound: std::net::SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    for address in [nowhere.clone(), Address::Http(bound.to_string())] {
        for error in fails_to_connect(&quick(address.clone())).await {
            let text = error.to_string();
            assert!(matches!(error, Error::Connect(ConnectError::Unreachable { .. })), "{error:?}");
            assert!(text.contains(&address.to_string()) && text.contains("holdfast serve"), "{text}");
        }
    }
    let missing = folder.path().join("authkey");
    let options = Options::default().address(nowhere).authkey_file(&missing);
    for error in fails_to_connect(&options).await {
        let text = error.to_string();
        assert!(matches!(error, Error::Connect(ConnectError::AuthkeyFile(_))), "{error:?}");
        assert!(text.contains(missing.to_str().unwrap()) && text.contains("HOLDFAST_AUTHKEY_FILE"), "{text}");
    }
    let error = blocking::Manager::connect("tcp://localhost:1").unwrap_err().to_string();
    assert!(error.contains("unix:PATH"), "{error}");
}

#[tokio::test]
async fn what_speaks_another_protocol_is_told_from_a_manager() {
    use std::io::{Read, Write};
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Http(tcp.local_addr().unwrap().to_string());
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let server = thread::spawn({
        let over = over.clone();
        move || {
            for socket in tcp.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let mut socket = socket.unwrap();
                let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                let _ = socket.shutdown(std::net::Shutdown::Write);
                let _ = socket.read_to_end(&mut Vec::new());
            }
        }
    });
    let options = quick(address.clone()).connect_timeout(PATIENCE);
    for error in fails_to_connect(&options).await {
        assert!(matches!(error, Error::Connect(ConnectError::Protocol { .. })), "{error:?}");
    }
    over.store(true, Ordering::Release);
    let Address::Http(authority) = address else { unreachable!() };
    drop(std::net::TcpStream::connect(authority).unwrap());
    server.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_told_to_stop_answers_what_it_has_received() {
    let mut manager = start();
    let client = manager.connect().await;
    let counter: holdfast::Dict<u64, u64> = client.dict("counter").await.unwrap();
    let once = manager.options().reconnect_timeout(Duration::ZERO);
    let blocking_client = blocking::Manager::connect_with(&once).unwrap();
    let raw = Raw::authenticated(&manager).await;
    let mut stream = raw.session().await;
    let dict = stream.ask(0, &CreateRequest { kind: dict::KIND, spec: Bytes::new() }).await.unwrap().handle;

    // Clients that call without end, and one whose calls are received before the signal.
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let counter = counter.clone();
            tokio::spawn(async move {
                loop {
                    if let Err(error) = counter.add(&0, 1).await {
                        return error;
                    }
                }
            })
        })
        .collect();
    let thread = thread::spawn(move || {
        loop {
            if let Err(error) = blocking_client.status() {
                return error;
            }
        }
    });
    let idle = blocking::Manager::connect_with(&once).unwrap();
    until_async("the callers call", async || counter.get(&0).await.unwrap().filter(|sum| *sum > 100)).await;
    let stopped = Stopped::new(&manager);
    let add = DictAddRequest { key: Some(Datum::Integer(1)), delta: Some(Datum::Integer(1)) };
    let first = stream.sequence + 1;
    for _ in 0..200 {
        stream.call(dict, &add).await;
    }
    manager.process.signal(Signal::TERM);
    drop(stopped);

    let mut replies = 0;
    let ended = loop {
        match stream.next().await {
            Ok(server_frame::Frame::Reply(reply)) => {
                replies += 1;
                assert_eq!(
                    reply.sequence,
                    first + replies - 1,
                    "what is answered is what came first, and nothing twice"
                );
            }
            Ok(server_frame::Frame::Goodbye(goodbye)) => assert!(goodbye.message.contains("stopped"), "{goodbye:?}"),
            Ok(other) => panic!("{other:?}"),
            Err(ended) => break ended,
        }
    };
    assert!(matches!(ended, Ended::Status { code: 0, .. }), "{ended}");
    assert!(replies <= 200, "{replies}");
    for caller in within("the callers are told", join_all(callers)).await {
        let error = caller.unwrap();
        assert!(matches!(&error, Error::Ended { cause, .. } if cause.contains("being stopped")), "{error:?}");
    }
    let error = thread.join().unwrap();
    assert!(matches!(&error, Error::Ended { cause, .. } if cause.contains("being stopped")), "{error:?}");
    let error = idle.status().unwrap_err();
    assert!(matches!(&error, Error::Ended { cause, .. } if cause.contains("being stopped")), "{error:?}");
    drop((raw, stream, client, counter, idle));
    assert_eq!(manager.process.line(), "Drained");
    assert!(manager.process.wait().success());
}

#[test]
fn clients_whose_threads_are_elsewhere_do_not_hold_up_the_stop() {
    // Nobody reads on a blocking session between calls, so nobody answers what HTTP/2 asks.
    let mut manager = start();
    let once = |at| manager.options_at(at).reconnect_timeout(Duration::ZERO);
    let idle: Vec<_> = (0..3).map(|at| blocking::Manager::connect_with(&once(at)).unwrap()).collect();
    // The same with a runtime in which nobody waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asleep = runtime.block_on(holdfast::Manager::connect_with(&once(0))).unwrap();
    let began = Instant::now();
    manager.process.signal(Signal::TERM);
    assert_eq!(manager.process.line(), "Drained");
    assert!(manager.process.wait().success());
    assert!(began.elapsed() < Duration::from_secs(20), "long before the drain time is over: {:?}", began.elapsed());
    let error = runtime.block_on(async { asleep.status().await }).unwrap_err();
    assert!(matches!(&error, Error::Ended { cause, .. } if cause.contains("being stopped")), "{error:?}");
    for idle in idle {
        let error = idle.status().unwrap_err();
        assert!(matches!(&error, Error::Ended { cause, .. } if cause.contains("being stopped")), "{error:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_leave_is_cut_off_when_the_time_is_over() {
    let mut manager = Setup::new(program!()).drain(Duration::from_millis(100)).start();
    let raw = Raw::authenticated(&manager).await;
    let (mut stream, dict) = with_large_value(&raw).await;
    // It never reads, so it never hears that it is to leave.
    for _ in 0..100 {
        stream.call(dict, &DictGetRequest { key: Some(Datum::Integer(1)) }).await;
    }
    manager.process.signal(Signal::TERM);
    assert_eq!(manager.process.line(), "Cut");
    assert!(manager.process.wait().success());
    drop((raw, stream));
}

#[tokio::test]
async fn a_session_outlives_nobody_who_could_use_it() {
    let manager = start();
    let witness = manager.connect().await;
    let client = manager.connect().await;
    let proxy: holdfast::Value<u64> = client.new_value(&1).await.unwrap();
    drop(client);
    assert_eq!(proxy.get().await.unwrap(), 1, "a proxy keeps its session");
    drop(proxy);
    until_async("the session ends", async || (witness.status().await.unwrap().sessions == 1).then_some(())).await;
    let client = manager.connect_blocking();
    let proxy = client.new_value(&1).unwrap();
    drop(client);
    assert_eq!(proxy.get().unwrap(), 1);
    drop(proxy);
    until_async("the session ends", async || (witness.status().await.unwrap().sessions == 1).then_some(())).await;
}
