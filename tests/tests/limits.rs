//! Limits: each has a name, is told, and is never in the way of who gives something back.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use holdfast::blocking::{self, Dict, Value};
use holdfast::proxy::Expected;
use holdfast::{Address, ConnectError, Error, Reason};
use holdfast_manager::{Limits, raise_file_limit, settings::Settings};
use holdfast_tests::{Manager, PATIENCE, Raw, Setup, program, until};

fn used(of: &blocking::Manager) -> BTreeMap<String, Option<u64>> {
    of.limits().unwrap().into_iter().map(|limit| (limit.name, limit.used)).collect()
}

fn silent(manager: &Manager) -> UnixStream {
    let Address::Unix(path) = &manager.addresses[0] else { panic!("it listens on a Unix socket first") };
    let socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn silent_tcp(manager: &Manager) -> TcpStream {
    let Address::Http(authority) = &manager.addresses[1] else { panic!("it listens on a port too") };
    let socket = TcpStream::connect(authority).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// All that comes until the manager has closed the connection.
fn read_all(socket: &mut impl Read) -> String {
    let mut said = Vec::new();
    if let Err(error) = socket.read_to_end(&mut said) {
        // It may be cut instead of being closed, but it must not stay open.
        assert!(error.kind() != ErrorKind::WouldBlock, "the manager did not close the connection within {PATIENCE:?}");
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn every_limit_tells_its_value_and_how_much_of_it_is_used() {
    let manager = Setup::new(program!()).limit("objects", 77).tcp().start();
    let client = blocking::Manager::connect_with(&manager.options_at(1)).unwrap();
    let dict: Dict<u64, u64> = client.new_dict().unwrap();
    dict.set(&1, &1).unwrap();
    let _token = dict.token(2, Duration::from_secs(60)).unwrap();
    let _silent = silent(&manager);
    until("the silent connection is counted", || (used(&client)["unauthenticated"] == Some(1)).then_some(()));

    let limits = client.limits().unwrap();
    let names: Vec<&str> = limits.iter().map(|limit| &*limit.name).collect();
    let declared: Vec<&str> = Limits::settings().iter().map(|setting| setting.about.field).collect();
    assert_eq!(names, declared);
    assert_eq!(limits.iter().find(|limit| limit.name == "objects").unwrap().value, 77);
    let used: Vec<(&str, u64)> = limits.iter().filter_map(|limit| Some((&*limit.name, limit.used?))).collect();
    let expected = [
        ("connections", 2),
        ("unauthenticated", 1),
        ("host_connections", 1),
        ("sessions", 1),
        ("objects", 1),
        ("handles", 1),
        ("tokens", 1),
        ("total_bytes", 72),
        ("waiters", 0),
        ("session_waiters", 0),
    ];
    assert_eq!(used, expected);
}

/// A manager in which nothing more fits: no connection, session, object, handle, token or byte.
struct Full {
    manager: Manager,
    client: blocking::Manager,
    dict: Dict<u64, String>,
    cell: Value<String>,
}

impl Full {
    fn new() -> Self {
        // An entry takes 24 bytes and those of its key, 24, and its value, 24 and its length.
        let (entry, cell) = (172, 124);
        let manager = Setup::new(program!())
            .limit("connections", 1)
            .limit("sessions", 1)
            .limit("objects", 2)
            .limit("handles", 2)
            .limit("tokens", 1)
            .limit("name_bytes", 4)
            .limit("object_bytes", 2 * entry)
            .limit("total_bytes", 2 * entry + cell)
            .start();
        let client = manager.connect_blocking();
        let dict = client.dict("dict").unwrap();
        dict.set(&1, &"x".repeat(100)).unwrap();
        dict.set(&2, &"x".repeat(100)).unwrap();
        let cell = client.value("cell", &"y".repeat(100)).unwrap();
        let _ = dict.token(9, Duration::from_secs(600)).unwrap();
        let full = Self { manager, client, dict, cell };
        full.is_full();
        full
    }

    /// Each of the limits refuses, by its name.
    fn is_full(&self) {
        let Self { manager, client, dict, cell } = self;
        is_quota(dict.set(&3, &String::new()), "object_bytes");
        is_quota(cell.set(&"y".repeat(101)), "total_bytes");
        is_quota(dict.token(1, Duration::from_secs(1)), "tokens");
        is_quota(client.new_dict::<u64, u64>(), "handles");
        let mut refused = silent(manager);
        assert!(read_all(&mut refused).contains("the limit named connections"));
    }
}

#[track_caller]
fn is_quota<T>(refused: Result<T, Error>, limit: &str) {
    match refused {
        Err(Error::Refused(refusal)) if refusal.why() == Reason::Quota => {
            assert!(refusal.message.contains(limit), "{limit} in {}", refusal.message);
        }
        Err(other) => panic!("refused for {limit}? {other}"),
        Ok(_) => panic!("not refused for {limit}"),
    }
}

#[test]
fn what_frees_something_is_never_refused_at_any_limit() {
    type Freeing = (&'static str, fn(Full));
    let freeing: &[Freeing] = &[
        ("dict: delete", |full| assert!(full.dict.delete(&1).is_ok())),
        ("dict: pop", |full| assert!(full.dict.pop(&1).is_ok())),
        ("dict: popitem", |full| assert!(full.dict.popitem().is_ok())),
        ("dict: clear", |full| assert_eq!(full.dict.clear().unwrap(), 2)),
        ("dict: set something smaller", |full| assert!(full.dict.set(&1, &"x".repeat(99)).is_ok())),
        ("dict: swap for something smaller", |full| {
            let large = "x".repeat(100);
            assert!(full.dict.compare_and_set(&1, Expected::Value(&large), Some(&String::new())).unwrap().swapped);
        }),
        ("dict: swap for nothing", |full| {
            let large = "x".repeat(100);
            assert!(full.dict.compare_and_set(&1, Expected::Value(&large), None).unwrap().swapped);
        }),
        ("cell: set something smaller", |full| assert!(full.cell.set(&"y".repeat(99)).is_ok())),
        ("cell: swap for something smaller", |full| {
            let large = "y".repeat(100);
            assert!(full.cell.compare_and_set(Expected::Value(&large), &String::new()).unwrap().swapped);
        }),
        ("delete", |full| {
            full.client.delete("dict").unwrap();
            // Its handle is still there, and goes too.
            let Full { client, dict, .. } = &full;
            assert_eq!(dict.len().unwrap_err().reason(), Some(Reason::UnknownObject));
            assert_eq!(used(client)["total_bytes"], Some(124));
        }),
        ("delete, to which the name was given by a rename that replaces", |full| {
            full.client.replace("cell", "dict").unwrap();
            assert_eq!(used(&full.client)["total_bytes"], Some(124));
            full.client.delete("dict").unwrap();
            assert_eq!(used(&full.client)["total_bytes"], Some(0));
        }),
        ("close", |full| {
            let Full { client, cell, .. } = full;
            drop(cell);
            until("the handle is given back", || (used(&client)["handles"] == Some(1)).then_some(()));
            let _again: Value<String> = client.value("cell", &String::new()).unwrap();
        }),
        ("goodbye", |full| {
            let Full { manager, client, dict, cell } = full;
            drop((dict, cell));
            client.close();
            // The connection goes with its session, and there is a place for the next one.
            let next = until("a place", || blocking::Manager::connect_with(&manager.options()).ok());
            assert_eq!(used(&next)["sessions"], Some(1));
            next.delete("dict").unwrap();
            next.delete("cell").unwrap();
            // The token holds what it was for until it expires, without a byte of it.
            let used = used(&next);
            assert_eq!((used["total_bytes"], used["tokens"]), (Some(0), Some(1)));
        }),
        ("what only tells", |full| {
            let Full { client, dict, .. } = &full;
            assert_eq!(client.status().unwrap().objects, 2);
            assert_eq!(client.names("").unwrap().len(), 2);
            assert!(client.exists("dict").unwrap().is_some() && dict.describe().unwrap().elements == Some(2));
        }),
    ];
    for (name, free) in freeing {
        println!("{name}");
        free(Full::new());
    }
}

#[test]
fn objects_and_names_have_limits_that_name_themselves() {
    let manager = Setup::new(program!()).limit("objects", 1).limit("name_bytes", 4).limit("value_bytes", 2000).start();
    let client = manager.connect_blocking();
    let long = client.dict::<u64, u64>("names").unwrap_err();
    assert!(long.reason() == Some(Reason::InvalidName) && long.to_string().contains("name_bytes"), "{long}");
    let dict: Dict<u64, String> = client.dict("name").unwrap();
    is_quota(client.new_dict::<u64, u64>(), "objects");
    let large = dict.set(&1, &"x".repeat(2000)).unwrap_err();
    assert!(large.reason() == Some(Reason::ValueTooLarge) && large.to_string().contains("value_bytes"), "{large}");
}

#[test]
fn one_session_too_many_is_told_of_the_limit() {
    let manager = Setup::new(program!()).limit("sessions", 1).start();
    let client = manager.connect_blocking();
    let refused = blocking::Manager::connect_with(&manager.options()).unwrap_err();
    assert!(matches!(refused, Error::Connect(ConnectError::Turned { .. })), "{refused}");
    assert!(refused.to_string().contains("the limit named sessions"), "{refused}");
    client.status().unwrap();
}

#[test]
fn silent_connections_keep_no_honest_client_out() {
    raise_file_limit();
    let manager = Setup::new(program!()).limit("connections", 40).limit("unauthenticated", 20).start();
    let honest = manager.connect_blocking();
    let mut silent: Vec<UnixStream> = Vec::new();
    let mut newcomers = Vec::new();
    for number in 0..1000 {
        silent.push(self::silent(&manager));
        if number % 50 == 49 {
            newcomers.push(manager.connect_blocking());
            honest.status().unwrap();
        }
    }
    assert_eq!(newcomers.len(), 20);
    newcomers.iter().for_each(|newcomer| drop(newcomer.status().unwrap()));
    let used = used(&honest);
    assert!(used["unauthenticated"] <= Some(20) && used["connections"] <= Some(40), "{used:?}");
    // The oldest are closed, the newest are not.
    silent[..900].iter_mut().for_each(|socket| drop(read_all(socket)));
    let newest = silent.last_mut().unwrap();
    newest.set_nonblocking(true).unwrap();
    let mut said = Vec::new();
    assert_eq!(newest.read_to_end(&mut said).unwrap_err().kind(), ErrorKind::WouldBlock, "it has not been closed");
    drop(silent);
    until("they are forgotten", || (self::used(&honest)["unauthenticated"] == Some(0)).then_some(()));
}

#[tokio::test]
async fn a_connection_that_was_closed_in_its_handshake_gives_its_place_to_one_that_speaks() {
    let manager = Setup::new(program!()).limit("unauthenticated", 1).start();
    let first = Raw::connect(&manager.addresses[0]).await;
    let _ = first.begin(&manager.authkey()).await.unwrap();
    let second = Raw::authenticated(&manager).await;
    first.closed().await;
    // Who has authenticated stays, whoever comes.
    let _third = Raw::connect(&manager.addresses[0]).await;
    let mut stream = second.session().await;
    stream.ask(0, &holdfast_proto::StatusRequest {}).await.unwrap();
}

#[test]
fn one_host_does_not_take_all_places() {
    let manager = Setup::new(program!()).limit("host_connections", 2).tcp().start();
    let first = blocking::Manager::connect_with(&manager.options_at(1)).unwrap();
    let second = silent_tcp(&manager);
    until("both are counted", || (used(&first)["host_connections"] == Some(2)).then_some(()));
    assert!(read_all(&mut silent_tcp(&manager)).contains("the limit named host_connections"));
    // Those of this user are of no host.
    manager.connect_blocking().status().unwrap();
    drop(second);
    until("there is a place again", || blocking::Manager::connect_with(&manager.options_at(1)).ok());
}

#[test]
fn a_connection_that_does_not_authenticate_in_time_is_closed() {
    let manager = Setup::new(program!()).setting("handshake_timeout", "50ms").start();
    read_all(&mut silent(&manager));
}

/// What a server says first (RFC 9113, section 6.5): the settings by their numbers.
fn told(socket: &mut TcpStream) -> BTreeMap<u16, u32> {
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        socket.read_exact(&mut body).unwrap();
        let number = |at: &[u8]| u32::from_be_bytes(at.try_into().unwrap());
        if head[3] == 4 && !body.is_empty() {
            return body.chunks(6).map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), number(&pair[2..]))).collect();
        }
    }
}

#[test]
fn settings_of_http2_reach_its_clients() {
    let settings = told(&mut silent_tcp(&Setup::new(program!()).tcp().start()));
    // MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE.
    assert_eq!((settings[&3], settings[&4], settings[&6]), (256, 1 << 20, 8 << 10));
    let changed = Setup::new(program!())
        .limit("max_concurrent_streams", 7)
        .setting("stream_window", "128KiB")
        .setting("max_header_list", "16KiB");
    let settings = told(&mut silent_tcp(&changed.tcp().start()));
    assert_eq!((settings[&3], settings[&4], settings[&6]), (7, 128 << 10, 16 << 10));
}
