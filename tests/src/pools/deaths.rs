//! Workers that are killed.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use holdfast::blocking::{Manager, Pool};
use holdfast::{Error, PoolOptions};
use rustix::process::{Pid, Signal, kill_process};

use crate::functions::{dies, nothing, square};
use crate::until;

pub(crate) fn tries() {
    let manager = Manager::start().unwrap();
    let pool = Pool::on(&manager, PoolOptions::new().workers(2)).unwrap();
    let counts = manager.new_dict::<String, i64>().unwrap();

    // At least once: the third worker does it.
    assert_eq!(pool.apply(dies, (counts.clone(), "thrice".to_owned(), 2)).unwrap(), 3);
    assert_eq!(pool.apply_async(dies, (counts.clone(), "thrice again".to_owned(), 2)).unwrap().get().unwrap(), 3);
    let results = pool.chunk_size(1).starmap(dies, (0..3).map(|x| (counts.clone(), format!("map {x}"), 1))).unwrap();
    assert_eq!(results, [2, 2, 2]);

    // And no more often than that.
    let lost = pool.apply(dies, (counts.clone(), "never".to_owned(), 100)).unwrap_err();
    let Error::WorkerLost(worker) = &lost else { panic!("{lost:?}") };
    assert_eq!((worker.tries, worker.exit_code, counts.get("never").unwrap()), (3, Some(-9), Some(3)), "{lost}");

    // At most once.
    for (name, lost) in [
        ("apply", pool.tries(1).apply(dies, (counts.clone(), "apply".to_owned(), 1)).map(|_| ())),
        ("map", pool.tries(1).starmap(dies, [(counts.clone(), "map".to_owned(), 1)]).map(|_| ())),
        ("async", pool.tries(1).apply_async(dies, (counts.clone(), "async".to_owned(), 1)).unwrap().get().map(|_| ())),
    ] {
        assert!(
            matches!(&lost, Err(Error::WorkerLost(worker)) if worker.tries == 1 && worker.exit_code == Some(-9)),
            "{lost:?}"
        );
        assert_eq!(counts.get(name).unwrap(), Some(1));
    }
    let once = Pool::on(&manager, PoolOptions::new().workers(1).tries(1)).unwrap();
    assert!(matches!(once.apply(dies, (counts, "of the pool".to_owned(), 1)), Err(Error::WorkerLost(_))));
    until("the pool is full again", || once.state().unwrap().workers == 1);
    once.apply(nothing, ()).unwrap();
}

/// Kills random workers every 100 ms during a map: every result exactly once, in order.
pub(crate) fn storm(calls: i64) {
    let pool = Pool::with(PoolOptions::new().workers(4).tries(1000)).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut killed, mut random) = (0, 1_u64);
            while !is_over.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(100));
                let workers = pool.workers().unwrap();
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if let Some(victim) = workers.get((random >> 33) as usize % workers.len().max(1)) {
                    let pid = Pid::from_raw(i32::try_from(victim.pid).unwrap()).unwrap();
                    killed += u32::from(kill_process(pid, Signal::KILL).is_ok());
                }
            }
            killed
        });
        let expected: Vec<i64> = (0..calls).map(|x| x * x).collect();
        assert_eq!(pool.chunk_size(20).map(slow_square, 0..calls).unwrap(), expected);
        let given: Vec<i64> = pool.imap(square, 0..calls / 10).map(Result::unwrap).collect();
        assert_eq!(given, expected[..given.len()]);
        is_over.store(true, Ordering::Release);
        let killed = killer.join().unwrap();
        let lost = pool.state().unwrap().lost;
        println!("{killed} workers killed, {lost} of them with a task");
        assert!(killed > 3 && lost > 0);
    });
}

/// Takes long enough to be killed.
#[holdfast::function]
fn slow_square(x: i64) -> i64 {
    if x % 20 == 0 {
        thread::sleep(Duration::from_micros(800));
    }
    x * x
}

/// A pool that is dropped leaves no process.
pub(crate) fn pool_dropped() {
    let pool = Pool::new(3).unwrap();
    pool.apply(nothing, ()).unwrap();
    until("all have joined", || pool.state().unwrap().workers == 3);
    let pids: Vec<u32> = pool.workers().unwrap().into_iter().map(|worker| worker.pid).collect();
    let lives = |pid: &u32| fs::exists(format!("/proc/{pid}")).unwrap();
    assert!(pids.iter().all(lives));
    let pending = pool.apply_async(crate::functions::sleeps, (60_000,)).unwrap();
    drop(pool);
    until("no worker is left", || !pids.iter().any(lives));
    assert!(pending.get().is_err());
}
