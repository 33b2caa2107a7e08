//! What the tests start: managers with chosen limits, and the processes that use them. The first argument is the role.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong is to panic")]

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast::blocking::{Dict, Manager};
use holdfast_manager::{AUTHENTICATE_WITHIN, Certificate, Config, Limits, Listen, Server};
use holdfast_proto::place::{Address, create_authkey_file};
use tokio::signal::unix::{SignalKind, signal};

fn main() {
    // Also makes `Manager::start` run this very program.
    holdfast::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", folder, listen, ref limits @ ..] => serve(folder.into(), listen, limits),
        ["add", name, count] => add(name, count.parse().unwrap()),
        ["hold", objects] => hold(objects.parse().unwrap()),
        ["share"] => share(),
        ["take", token] => take(token),
        ["threads"] => threads(),
        ["own", library] => own(library),
        ["connect-default"] => say(Manager::connect_default().unwrap().status().unwrap().pid),
        _ => panic!("no such role: {arguments:?}"),
    }
}

/// Tells the test something, unless it is over.
fn say(what: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{what}").and_then(|()| stdout.flush());
}

/// The next line from the test. `None` when the test is over.
fn hear() -> Option<String> {
    std::io::stdin().lock().lines().next().map(Result::unwrap)
}

/// A manager, until the test is over or it is told to stop.
fn serve(folder: PathBuf, listen: &str, limits: &[&str]) {
    let mut config = Config {
        listen: listen
            .split(',')
            .map(|kind| Listen { address: address(kind, &folder), beyond_loopback: false })
            .collect(),
        authkey: create_authkey_file(&folder.join("authkey")).unwrap(),
        certificate: listen.contains("tls").then(|| Certificate::create(&folder.join("tls.pem"), &[]).unwrap()),
        limits: Limits::default(),
        threads: 2,
        authenticate_within: AUTHENTICATE_WITHIN,
        drain: Duration::from_secs(30),
    };
    for limit in limits {
        let (name, value) = limit.split_once('=').unwrap();
        set(&mut config, name, value.parse().unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let (over, is_over) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            while hear().is_some() {}
            let _ = over.send(());
        });
        let server = Server::bind(config).unwrap();
        server.addresses().iter().for_each(say);
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = is_over => {}
            }
        };
        say(format_args!("{:?}", server.run(stop).await.unwrap()));
    });
    // A test that was killed does not do it.
    let _ = std::fs::remove_dir_all(folder);
}

fn address(kind: &str, folder: &Path) -> Address {
    match kind {
        "unix" => Address::Unix(folder.join("manager.sock")),
        "tcp" => Address::Http("127.0.0.1:0".to_owned()),
        "tls" => Address::Https("127.0.0.1:0".to_owned()),
        other => panic!("no such kind of address: {other}"),
    }
}

fn set(config: &mut Config, name: &str, value: u64) {
    let limits = &mut config.limits;
    let (small, size) = (u32::try_from(value).unwrap_or(u32::MAX), usize::try_from(value).unwrap());
    match name {
        "authenticate_ms" => config.authenticate_within = Duration::from_millis(value),
        "drain_ms" => config.drain = Duration::from_millis(value),
        "threads" => config.threads = size,
        "connections" => limits.connections = size,
        "sessions" => limits.sessions = size,
        "objects" => limits.objects = size,
        "handles" => limits.handles = size,
        "tokens" => limits.tokens = size,
        "name_bytes" => limits.name_bytes = size,
        "value_bytes" => limits.value_bytes = size,
        "object_bytes" => limits.object_bytes = value,
        "total_bytes" => limits.total_bytes = value,
        "page_bytes" => limits.page_bytes = small,
        "calls_in_flight" => limits.calls_in_flight = small,
        "outbound_bytes" => limits.outbound_bytes = size,
        other => panic!("no such limit: {other}"),
    }
}

/// Adds to one counter, so often.
fn add(name: &str, count: u64) {
    let counters: Dict<String, u64> = Manager::connect_default().unwrap().dict(name).unwrap();
    say("ready");
    hear();
    for _ in 0..count {
        counters.add("total", 1).unwrap();
        counters.add(&format!("of {}", std::process::id()), 1).unwrap();
    }
}

/// Makes objects without a name, and works with them until it is killed.
fn hold(objects: u64) {
    let manager = Manager::connect_default().unwrap();
    let objects: Vec<Dict<u64, u64>> = (0..objects).map(|_| manager.new_dict().unwrap()).collect();
    let total: Dict<String, u64> = manager.dict("held").unwrap();
    say("ready");
    loop {
        for object in &objects {
            object.add(&1, 1).unwrap();
            total.add("adds", 1).unwrap();
        }
    }
}

/// Makes an object without a name and a token for it, and does nothing more.
fn share() {
    let manager = Manager::connect_default().unwrap();
    let object: Dict<String, Vec<u8>> = manager.new_dict().unwrap();
    object.set("from the maker", &vec![4, 2]).unwrap();
    say(object.token(2, Duration::from_secs(600)).unwrap());
    hear();
}

/// Takes up a token that `share` made.
fn take(token: &str) {
    let token = token.parse().unwrap();
    let manager = Manager::connect_token(&token).unwrap();
    let object: Dict<String, Vec<u8>> = manager.dict_from_token(&token).unwrap();
    say(format_args!("{:?}", object.get("from the maker").unwrap()));
}

/// Makes calls of every sort, and tells how many threads that took.
fn threads() {
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    say(count());
    let manager = Manager::connect_default().unwrap();
    say(count());
    let dict: Dict<u64, String> = manager.new_dict().unwrap();
    for number in 0..1000 {
        dict.set(&number, &"x".repeat(1000)).unwrap();
    }
    assert_eq!(dict.items::<Vec<_>>().unwrap().len(), 1000);
    say(count());
    manager.close();
    say(count());
}

/// Has a manager of its own, and does with it what it is told.
fn own(library: &str) {
    if library == "async" {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(own_async());
    }
    let manager = Manager::start().unwrap();
    let dict: Dict<u64, u64> = manager.new_dict().unwrap();
    say(manager.status().unwrap().pid);
    say(manager.address());
    match hear().as_deref() {
        Some("drop") => {
            drop(manager);
            assert_eq!(dict.add(&1, 1).unwrap(), 1, "a proxy keeps the manager");
            drop(dict);
        }
        Some("close") => manager.close(),
        other => panic!("told {other:?}"),
    }
    say("done");
    hear();
}

async fn own_async() {
    let manager = holdfast::Manager::start().await.unwrap();
    let dict: holdfast::Dict<u64, u64> = manager.new_dict().await.unwrap();
    say(manager.status().await.unwrap().pid);
    say(manager.address());
    match tokio::task::spawn_blocking(hear).await.unwrap().as_deref() {
        Some("drop") => {
            drop(manager);
            assert_eq!(dict.add(&1, 1).await.unwrap(), 1, "a proxy keeps the manager");
            drop(dict);
        }
        Some("close") => manager.close().await,
        other => panic!("told {other:?}"),
    }
    say("done");
    tokio::task::spawn_blocking(hear).await.unwrap();
}
