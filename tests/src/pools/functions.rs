//! What the pools are asked to run.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use holdfast::blocking::{Dict, Event};

#[holdfast::function]
pub(crate) fn square(x: i64) -> i64 {
    x * x
}

#[holdfast::function]
pub(crate) fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[holdfast::function]
pub(crate) fn nothing() {}

#[holdfast::function]
pub(crate) fn half(x: i64) -> Result<i64, String> {
    if x % 2 == 0 { Ok(x / 2) } else { Err(format!("{x} is odd")) }
}

#[holdfast::function]
pub(crate) fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[holdfast::function]
pub(crate) fn pid() -> u32 {
    process::id()
}

#[holdfast::function]
pub(crate) fn pid_of(_: u32) -> u32 {
    process::id()
}

#[holdfast::function]
pub(crate) fn panics_at(x: i64) -> i64 {
    assert_ne!(x, 3, "three is no good");
    x
}

#[holdfast::function]
pub(crate) fn exits(code: i32) {
    process::exit(code);
}

#[holdfast::function]
pub(crate) fn sleeps(ms: u64) -> u64 {
    thread::sleep(Duration::from_millis(ms));
    ms
}

/// Counts in the dict, and waits until it may go on.
#[holdfast::function]
pub(crate) fn waits(counts: Dict<String, i64>, name: String, event: Event) -> i64 {
    let count = counts.add(&name, 1).unwrap();
    event.wait().unwrap();
    count
}

/// Counts in the dict, and kills itself as long as it was not called more often than this.
#[holdfast::function]
pub(crate) fn dies(counts: Dict<String, i64>, name: String, deaths: i64) -> i64 {
    let count = counts.add(&name, 1).unwrap();
    if count <= deaths {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
        thread::sleep(Duration::from_secs(60));
    }
    count
}

#[holdfast::function]
pub(crate) fn count(counts: Dict<String, i64>, name: String) -> i64 {
    counts.add(&name, 1).unwrap()
}

/// The same with a proxy of the async library.
#[holdfast::function]
pub(crate) fn count_async(counts: holdfast::Dict<String, i64>, name: String) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { counts.add(&name, 1).await.unwrap() })
}

static PREPARED: AtomicU32 = AtomicU32::new(0);

#[holdfast::function]
pub(crate) fn prepare(with: u32) {
    PREPARED.store(with, Ordering::Relaxed);
}

#[holdfast::function]
pub(crate) fn prepare_counting(counts: Dict<String, i64>, name: String) {
    counts.add(&name, 1).unwrap();
}

#[holdfast::function]
pub(crate) fn prepared() -> u32 {
    PREPARED.load(Ordering::Relaxed)
}

#[holdfast::function]
pub(crate) fn prepare_badly(why: String) -> Result<(), String> {
    Err(why)
}

/// It is not registered.
pub(crate) fn unregistered(x: i64) -> i64 {
    x
}
