//! What is left of a client when its session is over, and how its manager opens the next one: over every kind of address,
//! through both libraries.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::poll;
use holdfast::{Address, ConnectError, Error, Options, Reason, Token, blocking};
use holdfast_tests::{Manager, PATIENCE, Setup, program, until, until_async, within};

/// A Unix socket, TCP and TLS.
const ADDRESSES: usize = 3;

/// Over TCP a session waits until the manager that was started anew says that it knows nothing of it.
fn start() -> Manager {
    Setup::new(program!()).kept_ports().setting("session_grace", "600s").start()
}

/// A session is over when its connection is, over TCP too.
fn start_without_grace() -> Manager {
    Setup::new(program!()).kept_ports().setting("session_grace", "0s").start()
}

fn connect(manager: &Manager, address: usize) -> blocking::Manager {
    blocking::Manager::connect_with(&patient(manager, address)).unwrap()
}

/// A machine may be busy while a manager starts.
fn patient(manager: &Manager, address: usize) -> Options {
    manager.options_at(address).reconnect_timeout(PATIENCE)
}

/// What the end of a session says.
fn end_of<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(error @ Error::Ended { .. }) => error.to_string(),
        other => panic!("not the end of a session, but {other:?}"),
    }
}

fn says_what_happened(end: &str, manager: &Manager, address: usize) {
    for part in [
        &*manager.addresses[address].to_string(),
        "started anew",
        "what it held before is gone",
        "open the objects again",
    ] {
        assert!(end.contains(part), "{part:?} is not in {end:?}");
    }
}

#[test]
fn after_a_restart_old_proxies_say_so_and_their_manager_opens_new_ones() {
    let mut manager = start();
    for address in 0..ADDRESSES {
        let client = connect(&manager, address);
        let clone = client.with_timeout(Some(PATIENCE));
        let old: blocking::Dict<u64, u64> = client.dict("kept").unwrap();
        let nameless: blocking::Dict<u64, u64> = client.new_dict().unwrap();
        old.set(&0, &1).unwrap();
        manager.start_anew();

        // A Unix socket tells no more than that it was closed; another connection finds a manager of another life.
        let first = end_of(old.get(&0));
        if address == 0 {
            assert!(first.contains("so the manager has most likely ended"), "{first}");
        } else {
            says_what_happened(&first, &manager, address);
        }
        let new: blocking::Dict<u64, u64> = client.dict("kept").unwrap();
        assert_eq!(new.len().unwrap(), 0, "the manager is volatile");
        for proxy in [&old, &nameless, &old] {
            says_what_happened(&end_of(proxy.add(&0, 1)), &manager, address);
        }
        new.set(&0, &2).unwrap();
        // The clones of a manager have one session, also the next one.
        let same: blocking::Dict<u64, u64> = clone.dict("kept").unwrap();
        assert_eq!(same.get(&0).unwrap(), Some(2));
        assert_eq!(client.status().unwrap().sessions, 1);

        let of_dicts: blocking::Dict<u64, blocking::Dict<u64, u64>> = clone.new_dict().unwrap();
        of_dicts.set(&0, &new).unwrap();
        let error = of_dicts.set(&1, &old).unwrap_err();
        assert!(matches!(&error, Error::OtherSession { .. }), "{error}");
        assert!(error.to_string().contains("if that one is over, open the object again"), "{error}");
        client.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_old_async_proxies_say_so_and_their_manager_opens_new_ones() {
    let mut manager = start();
    for address in 0..ADDRESSES {
        let client = holdfast::Manager::connect_with(&patient(&manager, address)).await.unwrap();
        let clone = client.clone();
        let old: holdfast::Dict<u64, u64> = client.dict("kept").await.unwrap();
        old.set(&0, &1).await.unwrap();
        manager.start_anew();

        let first = end_of(within("an end", old.get(&0)).await);
        if address > 0 {
            says_what_happened(&first, &manager, address);
        }
        let new: holdfast::Dict<u64, u64> = within("a new session", client.dict("kept")).await.unwrap();
        assert_eq!(new.len().await.unwrap(), 0, "the manager is volatile");
        says_what_happened(&end_of(old.add(&0, 1).await), &manager, address);
        new.set(&0, &2).await.unwrap();
        // Sent ahead like any other call.
        let same: holdfast::Dict<u64, u64> = clone.dict("kept").send().await.unwrap();
        assert_eq!(same.get(&0).await.unwrap(), Some(2));
        assert_eq!(client.status().await.unwrap().sessions, 1);
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asked_for_nothing_meanwhile_notices_nothing_of_a_restart() {
    let mut manager = start();
    for address in 0..ADDRESSES {
        let clients = [(); 5].map(|()| connect(&manager, address));
        let client = holdfast::Manager::connect_with(&patient(&manager, address)).await.unwrap();
        manager.start_anew();
        let maker = connect(&manager, address);
        let made: blocking::Dict<u64, u64> = maker.new_dict().unwrap();
        made.set(&0, &7).unwrap();
        let token = |uses| made.token(uses, PATIENCE).unwrap();
        let [by_name, by_token, nameless, names, array] = &clients;
        by_name.dict::<u64, u64>("kept").unwrap().set(&0, &1).unwrap();
        let taken: blocking::Dict<u64, u64> = by_token.dict_from_token(&token(1)).unwrap();
        assert_eq!(taken.get(&0).unwrap(), Some(7), "the token is of the life in which it is taken up");
        nameless.new_value(&3).unwrap();
        assert_eq!(names.names("").unwrap().len(), 1);
        assert_eq!(array.array::<i64>("array", 3).unwrap().len().unwrap(), 3);

        let send = within("a new session", client.dict_from_token::<u64, u64>(&token(1)).send()).await.unwrap();
        assert_eq!(send.get(&0).await.unwrap(), Some(7));
        clients.into_iter().for_each(blocking::Manager::close);
    }
}

#[test]
fn a_token_of_the_life_before_is_refused_as_such_after_a_restart() {
    let mut manager = start();
    let client = connect(&manager, 0);
    let token: Token = client.new_dict::<u64, u64>().unwrap().token(1, PATIENCE).unwrap();
    manager.start_anew();
    for _ in 0..2 {
        let error = client.dict_from_token::<u64, u64>(&token).unwrap_err();
        assert!(matches!(error, Error::Connect(ConnectError::Incarnation)), "{error}");
    }
}

#[test]
fn what_may_have_been_applied_is_not_asked_twice() {
    let mut manager = start();
    let client = connect(&manager, 0);
    client.dict::<u64, u64>("kept").unwrap();
    manager.start_anew();
    end_of(client.delete("kept"));
    let error = client.delete("kept").unwrap_err();
    assert_eq!(error.reason(), Some(Reason::UnknownObject), "the new session was asked: {error}");
}

/// Turns two connections away where the manager was.
fn turn_away(address: &Address) {
    match address {
        Address::Unix(path) => {
            std::fs::remove_file(path).unwrap();
            let listener = UnixListener::bind(path).unwrap();
            listener.set_nonblocking(true).unwrap();
            (0..2).for_each(|_| drop(until("somebody connects", || listener.accept().ok())));
        }
        Address::Http(authority) | Address::Https(authority) => {
            let listener = TcpListener::bind(authority).unwrap();
            listener.set_nonblocking(true).unwrap();
            (0..2).for_each(|_| drop(until("somebody connects", || listener.accept().ok())));
        }
    }
}

#[test]
fn a_manager_that_is_only_being_started_is_tried_again() {
    let mut manager = start_without_grace();
    for address in 0..ADDRESSES {
        let client = connect(&manager, address);
        let old: blocking::Dict<u64, u64> = client.dict("kept").unwrap();
        manager.process.kill();
        let end = end_of(old.get(&0));
        assert!(!end.contains("started anew"), "{end}");
        let waiting = {
            let client = client.clone();
            thread::spawn(move || client.dict::<u64, u64>("kept").unwrap().len().unwrap())
        };
        turn_away(&manager.addresses[address]);
        manager.start_anew();
        assert_eq!(waiting.join().unwrap(), 0);

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(holdfast::Manager::connect_with(&patient(&manager, address))).unwrap();
        manager.process.kill();
        let waiting = runtime.spawn(async move { client.dict::<u64, u64>("kept").await.unwrap().len().await.unwrap() });
        turn_away(&manager.addresses[address]);
        manager.start_anew();
        assert_eq!(runtime.block_on(within("a new session", waiting)).unwrap(), 0);
    }
}

fn is_unreachable(error: &Error, manager: &Manager, address: usize) {
    assert!(matches!(error, Error::Connect(ConnectError::Unreachable { .. })), "{error:?}");
    assert!(error.to_string().contains(&manager.addresses[address].to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_is_gone_for_good_is_told_within_the_time_to_connect_again() {
    const TIME: Duration = Duration::from_millis(200);
    let mut manager = start_without_grace();
    for address in 0..ADDRESSES {
        let options = manager.options_at(address).reconnect_timeout(TIME);
        let client = blocking::Manager::connect_with(&options).unwrap();
        let async_client = holdfast::Manager::connect_with(&options).await.unwrap();
        let never = options.clone().reconnect_timeout(Duration::ZERO);
        let never = blocking::Manager::connect_with(&never).unwrap();
        manager.process.kill();

        is_unreachable(&client.dict::<u64, u64>("kept").unwrap_err(), &manager, address);
        let began = Instant::now();
        is_unreachable(&client.status().unwrap_err(), &manager, address);
        assert!((TIME..PATIENCE / 4).contains(&began.elapsed()), "{:?}", began.elapsed());
        let error = within("an error", async_client.dict::<u64, u64>("kept")).await.unwrap_err();
        is_unreachable(&error, &manager, address);

        end_of(never.status());
        manager.start_anew();
        end_of(never.status());
        until("it is asked for long enough", || client.status().ok());
        until_async("it is asked for long enough", async || async_client.status().await.ok()).await;
    }
}

#[test]
fn the_authkey_is_read_again_and_kept_where_it_cannot_be() {
    let mut manager = start_without_grace();
    for address in 0..ADDRESSES {
        let client = connect(&manager, address);
        let impatient = manager.options_at(address).reconnect_timeout(Duration::from_millis(10));
        let impatient = blocking::Manager::connect_with(&impatient).unwrap();
        manager.process.kill();
        std::fs::remove_file(manager.authkey_file()).unwrap();
        is_unreachable(&impatient.status().unwrap_err(), &manager, address);
        manager.start_anew();
        client.status().unwrap();
    }
}

#[test]
fn fifty_threads_open_one_session_together() {
    const THREADS: usize = 50;
    let mut manager = start();
    for address in 0..ADDRESSES {
        let client = connect(&manager, address);
        manager.start_anew();
        let barrier = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (client, barrier) = (client.clone(), barrier.clone());
                thread::spawn(move || {
                    barrier.wait();
                    let dict: blocking::Dict<u64, u64> = client.dict("shared").unwrap();
                    dict.add(&0, 1).unwrap();
                    dict
                })
            })
            .collect();
        // Each would keep its session.
        let dicts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(client.status().unwrap().sessions, 1);
        assert_eq!(dicts[0].get(&0).unwrap(), Some(THREADS as u64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tasks_open_one_session_together_although_the_first_is_dropped() {
    const TASKS: usize = 50;
    let mut manager = start_without_grace();
    for address in 0..ADDRESSES {
        let client = holdfast::Manager::connect_with(&patient(&manager, address)).await.unwrap();
        let old: holdfast::Dict<u64, u64> = client.dict("shared").await.unwrap();
        manager.process.kill();
        end_of(within("an end", old.get(&0)).await);
        let mut first = Box::pin(client.dict::<u64, u64>("shared"));
        assert!(poll!(&mut first).is_pending());
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let dict: holdfast::Dict<u64, u64> = client.dict("shared").await.unwrap();
                    dict.add(&0, 1).await.unwrap();
                    dict
                })
            })
            .collect();
        drop(first);
        manager.start_anew();
        let dicts: Vec<_> = within("new sessions", join_all(tasks)).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(client.status().await.unwrap().sessions, 1);
        assert_eq!(dicts[0].get(&0).await.unwrap(), Some(TASKS as u64));
    }
}

#[test]
fn a_session_is_opened_again_on_another_runtime_when_that_of_the_first_is_gone() {
    let mut manager = start();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let client = first.block_on(holdfast::Manager::connect_with(&patient(&manager, 0))).unwrap();
    manager.process.kill();
    let second = runtime();
    let waiting = {
        let client = client.clone();
        first.spawn(async move { client.dict::<u64, u64>("kept").await.map(drop) })
    };
    turn_away(&manager.addresses[0]);
    // The attempt is that of the first runtime.
    let mut joined = Box::pin(client.dict::<u64, u64>("kept"));
    second.block_on(async { assert!(poll!(&mut joined).is_pending()) });
    drop(first);
    assert!(second.block_on(waiting).unwrap_err().is_cancelled());
    manager.start_anew();
    second.block_on(within("a session", joined)).unwrap();
    // The session of a runtime that is gone is over, and its manager lives.
    let client = second.block_on(holdfast::Manager::connect_with(&patient(&manager, 0))).unwrap();
    let old: holdfast::Dict<u64, u64> = second.block_on(client.dict("kept")).unwrap();
    drop(second);
    let third = runtime();
    third.block_on(within("a session", client.dict::<u64, u64>("kept"))).unwrap();
    let end = end_of(third.block_on(old.get(&0)));
    assert!(end.contains("the manager lives on"), "{end}");
}

#[test]
fn a_manager_that_was_closed_opens_no_other_session() {
    let manager = start();
    let client = connect(&manager, 0);
    let clone = client.clone();
    client.close();
    let end = end_of(clone.dict::<u64, u64>("kept"));
    assert!(end.contains("this program closed it"), "{end}");
    assert_eq!(connect(&manager, 0).status().unwrap().sessions, 1);
}
