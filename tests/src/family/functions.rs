//! What the children do.

use std::io::Read;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use holdfast::blocking::{self, Dict, Event, Lock, Manager, Process};
use holdfast::current_process;
use tokio::signal::unix::{SignalKind, signal};

use crate::{run, runtime, say, this_program};

pub(crate) static COUNTER: AtomicI64 = AtomicI64::new(0);

#[holdfast::function]
pub(crate) fn nothing() {}

/// Until it is ended: by its parent, or by the one who waits for it.
#[holdfast::function]
pub(crate) fn forever() {
    loop {
        thread::park();
    }
}

#[holdfast::function]
pub(crate) fn count_up(expected: i64) {
    assert_eq!(COUNTER.fetch_add(1, Ordering::Relaxed), expected);
}

#[holdfast::function]
pub(crate) fn halve(n: i64) -> Result<i64, String> {
    if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
}

#[holdfast::function]
pub(crate) fn panics(message: String) {
    panic!("{message}");
}

#[holdfast::function]
pub(crate) fn leave(code: i32) {
    std::process::exit(code);
}

/// What it returns is nested deeper than data is.
#[holdfast::function]
pub(crate) fn returns_no_datum() -> Nested {
    (0..1000).fold(Nested(Vec::new()), |inner, _| Nested(vec![inner]))
}

/// As deep as one likes.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Nested(pub(crate) Vec<Nested>);

/// Goes on when its parent has ended.
#[holdfast::function]
pub(crate) fn outlive() {
    let parent = blocking::parent_process().unwrap();
    assert!(parent.is_alive());
    assert!(!parent.join_within(Duration::from_millis(1)));
    say("there");
    parent.join();
    assert!(!parent.is_alive() && parent.join_within(Duration::ZERO));
    say("outlived");
}

#[holdfast::function]
pub(crate) fn speak_late() {
    // The parent comes to its end meanwhile.
    thread::sleep(Duration::from_millis(200));
    say("spoken");
}

#[holdfast::function]
pub(crate) fn never_end() {
    runtime().block_on(async {
        let mut told = signal(SignalKind::terminate()).unwrap();
        say(std::process::id());
        told.recv().await;
        say("told");
        std::future::pending::<()>().await;
    });
}

#[holdfast::function]
pub(crate) fn is_named(name: String, is_daemon: bool, parent: u32) {
    let this = current_process();
    assert_eq!((this.name(), this.is_daemon(), this.pid()), (&*name, is_daemon, std::process::id()));
    let its_parent = blocking::parent_process().unwrap();
    assert_eq!((its_parent.pid(), its_parent.is_alive()), (parent, true));
    assert_eq!(its_parent.name(), "MainProcess");
}

#[holdfast::function]
pub(crate) fn has_children(name: String) {
    for number in 1..=2 {
        let child = Process::new(is_grandchild, (format!("{name}:{number}"), name.clone()));
        assert_eq!(run(child), Some(0));
    }
}

#[holdfast::function]
pub(crate) fn is_grandchild(name: String, parent: String) {
    assert_eq!(current_process().name(), name);
    assert_eq!(blocking::parent_process().unwrap().name(), parent);
}

#[holdfast::function]
pub(crate) fn parents_async() {
    runtime().block_on(async {
        let parent = holdfast::parent_process().unwrap();
        assert!(parent.is_alive());
        assert!(!parent.join_within(Duration::from_millis(5)).await.unwrap());
    });
}

#[holdfast::function]
pub(crate) fn count(dict: Dict<String, i64>, locks: Vec<Lock>, times: i64) {
    for _ in 0..times {
        let _guard = locks[0].acquire().unwrap();
        let before = dict.get("count").unwrap().unwrap_or(0);
        dict.set("count", &(before + 1)).unwrap();
    }
}

#[holdfast::function]
pub(crate) fn count_async(dict: holdfast::Dict<String, i64>, times: i64) {
    runtime().block_on(async {
        for _ in 0..times {
            dict.add("count", 1).await.unwrap();
        }
    });
}

#[holdfast::function]
pub(crate) fn count_late(dict: Dict<String, i64>) {
    // The parent lets go of the manager meanwhile.
    thread::sleep(Duration::from_millis(300));
    dict.add("count", 1).unwrap();
}

#[holdfast::function]
pub(crate) fn connects(manager: u32, address: String) {
    assert_eq!(Manager::connect_default().unwrap().status().unwrap().pid, manager);
    assert_eq!(Manager::connect(&address).unwrap().status().unwrap().pid, manager);
}

#[holdfast::function]
pub(crate) fn connects_with(event: Event, manager: u32) {
    assert!(!event.is_set().unwrap());
    assert_eq!(Manager::connect_default().unwrap().status().unwrap().pid, manager);
}

#[holdfast::function]
pub(crate) fn has_a_child_that_connects(manager: u32, address: String) {
    assert_eq!(run(Process::new(connects, (manager, address))), Some(0));
}

#[holdfast::function]
pub(crate) fn has_length(text: String, length: usize) {
    assert_eq!(text.len(), length);
}

#[holdfast::function]
pub(crate) fn has_nothing_to_read(arguments: Vec<String>) {
    assert_eq!(std::env::args().collect::<Vec<_>>(), arguments);
    assert_eq!(std::io::stdin().read_to_end(&mut Vec::new()).unwrap(), 0);
    // Nothing by which it was started is open here, but for what its parent is known by.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let open: Vec<_> = open.filter_map(|path| std::fs::read_link(path).ok()).collect();
    let has = |what: &str| open.iter().filter(|path| path.to_str().unwrap().contains(what)).count();
    assert_eq!((has("socket:"), has("memfd:"), has("[pidfd]")), (0, 0, 1), "{open:?}");
}

/// A program that a child starts is no child of this library, although it inherits the environment.
#[holdfast::function]
pub(crate) fn runs_the_program() {
    assert!(std::env::var("HOLDFAST_ROLE").is_ok());
    let output = this_program("hello").output().unwrap();
    assert_eq!((&*output.stdout, output.status.code()), (&b"hello\n"[..], Some(0)));
}

/// Cannot be done on a thread that drives a runtime.
#[holdfast::function]
pub(crate) fn blocks_on() {
    runtime().block_on(tokio::task::yield_now());
}

#[holdfast::function]
pub(crate) fn starts_a_child() -> Result<(), String> {
    Process::new(nothing, ()).start().map_err(|error| error.to_string())
}
