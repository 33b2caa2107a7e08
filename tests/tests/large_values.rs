//! Large values: held once on their way, and others are served meanwhile.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use holdfast::blocking::{self, Dict, Value};
use holdfast_tests::{Manager, Setup, program};
use serde_bytes::ByteBuf;

const BYTES: usize = 64 << 20;

fn manager() -> Manager {
    Setup::new(program!()).limit("value_bytes", 2 * BYTES as u64).start()
}

/// How many pages the system has given to the manager.
fn pages(manager: &Manager) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", manager.process.pid())).unwrap();
    // The name, in parentheses, may hold anything; the eighth field after it counts.
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
}

fn connect(manager: &Manager) -> blocking::Manager {
    manager.connect_blocking()
}

#[test]
fn the_manager_has_memory_for_one_copy_of_a_value_that_comes_and_goes() {
    let manager = manager();
    let client = connect(&manager);
    let value: Value<ByteBuf> = client.value("large", &ByteBuf::new()).unwrap();
    let large = ByteBuf::from((0..BYTES).map(|at| (at % 251) as u8).collect::<Vec<u8>>());
    let once = BYTES as u64 / 4096;
    let before = pages(&manager);
    for _ in 0..3 {
        value.set(&large).unwrap();
        assert!(value.get().unwrap() == large);
    }
    let taken = pages(&manager) - before;
    // Larger pages make fewer of them.
    assert!(taken < 3 * once * 3 / 2, "{taken} pages for three values of {once}, each set and read");
}

#[test]
fn others_are_answered_while_a_large_value_comes_and_goes() {
    let manager = manager();
    let (busy, light) = (connect(&manager), connect(&manager));
    let value: Value<ByteBuf> = busy.value("large", &ByteBuf::new()).unwrap();
    let calls: Dict<u64, u64> = light.new_dict().unwrap();
    let large = ByteBuf::from(vec![7; BYTES]);
    let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                calls.set(&1, &1).unwrap();
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            let before = made.load(Ordering::Relaxed);
            value.set(&large).unwrap();
            let between = made.load(Ordering::Relaxed);
            assert!(value.get().unwrap() == large);
            let after = made.load(Ordering::Relaxed);
            // A value is hundreds of pieces, and whoever calls has a turn after each few of them.
            assert!(
                between - before > 20 && after - between > 20,
                "{} and {} calls",
                between - before,
                after - between
            );
        }
        over.store(true, Ordering::Relaxed);
    });
}
