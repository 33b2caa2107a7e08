//! The libraries over a network that breaks: every call is made once, and every call is answered.
//!
//! A short dialogue is cut at every byte, and a load of calls in and around every frame with which connections begin.
//! `HOLDFAST_CUT_CALLS` is how many calls each caller makes over a network that is cut at random.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::{ConnectError, Error, Options, blocking};
use holdfast_tests::{Cut, Cutter, Manager, Part, Setup, Until, program, times, until, within};

/// Longer than any test takes.
const LONG: &str = "600s";

fn start(grace: &str) -> Manager {
    Setup::new(program!()).tcp().tls().setting("session_grace", grace).start()
}

fn options(manager: &Manager, cutter: &Cutter) -> Options {
    Options::default().address(cutter.address()).authkey_file(manager.authkey_file()).call_timeout(None)
}

/// Numbers that differ from run to run. The first is told, so that a run can be repeated.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).unwrap();
        let seed =
            std::env::var("HOLDFAST_CUTS_SEED").map_or(u64::from_ne_bytes(seed) | 1, |seed| seed.parse().unwrap());
        eprintln!("HOLDFAST_CUTS_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Cuts the first connection in one direction, after so many bytes.
fn cut_first(manager: &Manager, up: bool, bytes: u64) -> Cutter {
    let cut = if up { Cut { up: bytes, ..Cut::NEVER } } else { Cut { down: bytes, ..Cut::NEVER } };
    Cutter::start(&manager.addresses[1], move |connection| if connection == 0 { cut } else { Cut::NEVER })
}

/// The places in a dialogue at which to cut: in which direction, and after how many bytes.
fn places(before: Cut, after: Cut) -> impl Iterator<Item = (bool, u64)> {
    let ups = (before.up..=after.up).map(|bytes| (true, bytes));
    ups.chain((before.down..=after.down).map(|bytes| (false, bytes)))
}

/// A few calls, each of which shows whether it was made once.
fn talk(dict: &blocking::Dict<u64, u64>) {
    for expected in 1..=4 {
        assert_eq!(dict.add(&0, 1).unwrap(), expected);
    }
    assert_eq!(dict.pop(&0).unwrap(), 4);
}

#[test]
fn a_thread_notices_nothing_wherever_the_connection_breaks() {
    let manager = start(LONG);
    let whole = cut_first(&manager, true, u64::MAX);
    let client = blocking::Manager::connect_with(&options(&manager, &whole)).unwrap();
    let before = whole.passed();
    talk(&client.new_dict().unwrap());
    let after = whole.passed();
    let mut cuts = 0;
    for (up, bytes) in places(before, after) {
        let cutter = cut_first(&manager, up, bytes.max(1));
        // It may break before there is a session.
        let Ok(client) = blocking::Manager::connect_with(&options(&manager, &cutter)) else { continue };
        talk(&client.new_dict().unwrap());
        client.close();
        cuts += cutter.cuts();
    }
    assert!(cuts > 50, "only {cuts} connections were cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_notices_nothing_wherever_the_connection_breaks() {
    async fn talk(client: &holdfast::Manager) {
        let dict: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
        let sums = join_all((0..4).map(|_| async { dict.add(&0, 1).await.unwrap() })).await;
        assert_eq!(sums, [1, 2, 3, 4]);
        assert_eq!(dict.pop(&0).await.unwrap(), 4);
    }
    let manager = start(LONG);
    let whole = cut_first(&manager, true, u64::MAX);
    let client = holdfast::Manager::connect_with(&options(&manager, &whole)).await.unwrap();
    let before = whole.passed();
    talk(&client).await;
    let after = whole.passed();
    let mut cuts = 0;
    for (up, bytes) in places(before, after) {
        let cutter = cut_first(&manager, up, bytes.max(1));
        let Ok(client) = holdfast::Manager::connect_with(&options(&manager, &cutter)).await else { continue };
        within("the dialogue", talk(&client)).await;
        client.close().await;
        cuts += cutter.cuts();
    }
    assert!(cuts > 50, "only {cuts} connections were cut");
}

/// Cuts every connection somewhere after its handshake, or in it.
fn cut_all(manager: &Manager, address: usize) -> Cutter {
    let chance = Mutex::new(Chance::new());
    Cutter::start(&manager.addresses[address], move |connection| {
        let mut chance = chance.lock().unwrap();
        let mut bytes = || if connection == 0 { 9000 + chance.below(10_000) } else { 500 + chance.below(40_000) };
        Cut { up: bytes(), down: bytes() }
    })
}

/// So many calls of each caller.
fn load() -> u64 {
    times("HOLDFAST_CUT_CALLS", 2000) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_are_answered_once_each_over_a_network_that_breaks_all_the_time() {
    const TASKS: u64 = 16;
    let manager = start(LONG);
    for address in [1, 2] {
        let cutter = cut_all(&manager, address);
        let client = holdfast::Manager::connect_with(&options(&manager, &cutter)).await.unwrap();
        let dict: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
        let tasks = (0..TASKS).map(|_| {
            let dict = dict.clone();
            tokio::spawn(async move {
                let mut sums = Vec::new();
                for _ in 0..load() {
                    sums.push(dict.add(&0, 1).await.unwrap());
                }
                sums
            })
        });
        once_each(within("all tasks", join_all(tasks)).await.into_iter().map(Result::unwrap));
        assert!(cutter.cuts() > 5, "only {} connections were cut", cutter.cuts());
    }
}

#[test]
fn many_threads_are_answered_once_each_over_a_network_that_breaks_all_the_time() {
    const THREADS: u64 = 4;
    let manager = start(LONG);
    for address in [1, 2] {
        let cutter = cut_all(&manager, address);
        let client = blocking::Manager::connect_with(&options(&manager, &cutter)).unwrap();
        let dict: blocking::Dict<u64, u64> = client.new_dict().unwrap();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let dict = dict.clone();
                thread::spawn(move || Vec::from_iter((0..load()).map(|_| dict.add(&0, 1).unwrap())))
            })
            .collect();
        once_each(threads.into_iter().map(|thread| thread.join().unwrap()));
        assert!(cutter.cuts() > 5, "only {} connections were cut", cutter.cuts());
    }
}

/// The frames of each connection, in each direction, in and around which it is cut: those of its handshake, of resuming, and
/// many of calls.
const FRAMES: u64 = 40;

/// How often [`cut_in_every_frame`] cuts: in and before each of the frames of both directions, and the first connection.
const CUTS: u64 = 2 * FRAMES * Part::ALL.len() as u64 + 1;

/// Cuts each connection at another place, but for the first, which is left alone for long enough to become a session.
fn cut_in_every_frame(manager: &Manager) -> Cutter {
    /// Few of those that follow each other break before they carry calls: a client waits the longer the more have.
    const STEP: u64 = 87;
    Cutter::start_within(&manager.addresses[1], move |connection| {
        let never = Until::Bytes(u64::MAX);
        if connection == 0 {
            return [never, Until::Frame(2 * FRAMES, Part::Payload)];
        }
        if connection >= CUTS {
            return [never; 2];
        }
        let place = connection * STEP % (CUTS - 1);
        let (place, part) = (place / Part::ALL.len() as u64, Part::ALL[(place % Part::ALL.len() as u64) as usize]);
        let until = Until::Frame(place % FRAMES, part);
        if place < FRAMES { [until, never] } else { [never, until] }
    })
}

/// All sums of all callers: every call was made once, and had its own answer.
fn once_each(sums: impl IntoIterator<Item = Vec<u64>>) {
    let mut all = HashSet::new();
    let mut calls = 0;
    for sums in sums {
        assert!(sums.is_sorted_by(|a, b| a < b), "a caller's own calls keep their order");
        calls += sums.len() as u64;
        all.extend(sums);
    }
    assert_eq!(all, (1..=calls).collect(), "every call was made once and had its own answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_answered_once_each_whatever_frame_their_connections_break_in() {
    let manager = start(LONG);
    let cutter = Arc::new(cut_in_every_frame(&manager));
    let client = holdfast::Manager::connect_with(&options(&manager, &cutter)).await.unwrap();
    let dict: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    let tasks = (0..8).map(|_| {
        let (dict, cutter) = (dict.clone(), cutter.clone());
        tokio::spawn(async move {
            let mut sums = Vec::new();
            while cutter.cuts() < CUTS {
                sums.push(dict.add(&0, 1).await.unwrap());
            }
            sums
        })
    });
    once_each(within("all cuts", join_all(tasks)).await.into_iter().map(Result::unwrap));
    assert_eq!(cutter.cuts(), CUTS);
}

#[test]
fn threads_are_answered_once_each_whatever_frame_their_connections_break_in() {
    let manager = start(LONG);
    let cutter = Arc::new(cut_in_every_frame(&manager));
    let client = blocking::Manager::connect_with(&options(&manager, &cutter)).unwrap();
    let dict: blocking::Dict<u64, u64> = client.new_dict().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (dict, cutter) = (dict.clone(), cutter.clone());
            thread::spawn(move || {
                let mut sums = Vec::new();
                while cutter.cuts() < CUTS {
                    sums.push(dict.add(&0, 1).unwrap());
                }
                sums
            })
        })
        .collect();
    once_each(threads.into_iter().map(|thread| thread.join().unwrap()));
    assert_eq!(cutter.cuts(), CUTS);
}

fn cause(error: &Error) -> String {
    let Error::Ended { cause, .. } = error else { panic!("not the end of a session, but {error}") };
    cause.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_grace_has_passed_says_so() {
    let manager = start("100ms");
    // Nobody answers.
    let cutter = Cutter::start(&manager.addresses[1], |_| Cut { up: 9000, down: 9000 });
    let options = options(&manager, &cutter).reconnect_timeout(Duration::from_millis(10));
    let client = holdfast::Manager::connect_with(&options).await.unwrap();
    let dict: holdfast::Dict<u64, u64> = client.new_dict().await.unwrap();
    cutter.close();
    let error = loop {
        if let Err(error) = within("an end", dict.add(&0, 1)).await {
            break error;
        }
    };
    assert!(cause(&error).contains("none took its place within the grace of 100ms"), "{error}");
    let other = client.status().await.unwrap_err();
    assert!(matches!(other, Error::Connect(ConnectError::Unreachable { .. })), "{other}");
    assert_eq!(cause(&dict.add(&0, 1).await.unwrap_err()), cause(&error), "once and for all");
}

#[test]
fn a_thread_that_calls_after_the_grace_is_told_so() {
    let manager = start("100ms");
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let cutter = Cutter::start(&manager.addresses[1], move |connection| match connection {
        0 => Cut { up: 9000, down: 9000 },
        _ if mended.load(Ordering::SeqCst) => Cut::NEVER,
        _ => Cut { up: 100, down: 100 },
    });
    let client = blocking::Manager::connect_with(&options(&manager, &cutter)).unwrap();
    let dict: blocking::Dict<u64, Vec<u8>> = client.new_dict().unwrap();
    // It is longer than the connection, and not waited for until the grace has passed.
    let error = dict.with_timeout(Some(Duration::from_millis(1))).set(&0, &vec![0; 20_000]).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    let observer = manager.connect_blocking();
    until("the session is over", || (observer.status().unwrap().sessions == 1).then_some(()));
    is_mended.store(true, Ordering::SeqCst);
    let error = dict.get(&0).unwrap_err();
    assert!(cause(&error).contains("grace of 100ms"), "{error}");

    client.dict::<u64, u64>("kept").unwrap().add(&0, 1).unwrap();
    let later = dict.get(&0).unwrap_err();
    assert!(cause(&later).contains("the manager lives on"), "{later}");
}

#[test]
fn proxies_to_a_manager_that_was_started_anew_say_so() {
    let first = start(LONG);
    let second = Setup::new(program!()).tcp().authkey(first.authkey()).start();
    let addresses = Mutex::new(vec![second.addresses[1].clone(), first.addresses[1].clone()]);
    let between = holdfast_tests::Cutter::start_anywhere(move || addresses.lock().unwrap().pop().unwrap());
    let client = blocking::Manager::connect_with(&options(&first, &between)).unwrap();
    let dict: blocking::Dict<u64, u64> = client.new_dict().unwrap();
    dict.set(&0, &1).unwrap();
    drop(first);
    let error = dict.get(&0).unwrap_err();
    assert!(cause(&error).contains("started anew"), "{error}");
    assert_eq!(cause(&dict.get(&0).unwrap_err()), cause(&error), "once and for all");
}
