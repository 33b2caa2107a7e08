//! Calls that wait for their results.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::PoolOptions;
use holdfast::blocking::{Manager, Pool};

use crate::functions::{add, count, half, nothing, pid_of, sleeps, square, text};
use crate::until;

pub(crate) fn methods() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.apply(square, (7,)).unwrap(), 49);
    assert_eq!(pool.apply(add, (2, 3)).unwrap(), 5);
    pool.apply(nothing, ()).unwrap();

    let squares: Vec<i64> = (0..1000).map(|x| x * x).collect();
    assert_eq!(pool.map(square, 0..1000).unwrap(), squares);
    for chunk in [1, 7, 1000, 5000] {
        assert_eq!(pool.chunk_size(chunk).map(square, 0..1000).unwrap(), squares, "in chunks of {chunk}");
    }
    assert_eq!(pool.map(square, []).unwrap(), []);
    assert_eq!(pool.starmap(add, (0..100).map(|x| (x, 1))).unwrap(), (1..101).collect::<Vec<_>>());
    assert_eq!(pool.starmap(nothing, [(), ()]).unwrap(), [(), ()]);

    // Chunks as CPython cuts them: a quarter of an even share, rounded up.
    let before = pool.state().unwrap().finished;
    pool.map(square, 0..100).unwrap();
    assert_eq!(
        pool.state().unwrap().finished - before,
        8,
        "100 calls for two workers are 8 tasks of 13, the last of 9"
    );

    // Both workers work, each at its own.
    let pids: HashSet<u32> = pool.chunk_size(1).map(pid_of, 0..200).unwrap().into_iter().collect();
    let workers: HashSet<u32> = pool.workers().unwrap().into_iter().map(|worker| worker.pid).collect();
    assert!(pids.is_subset(&workers) && !pids.contains(&std::process::id()), "{pids:?} {workers:?}");

    // Nothing is left behind.
    until("no job is left", || pool.state().unwrap().jobs == 0);
    pool.close().unwrap();
    pool.join().unwrap();
    assert_eq!(pool.state().unwrap().workers, 0);
}

pub(crate) fn imap() {
    let pool = Pool::new(2).unwrap();
    let squares: Vec<i64> = (0..5000).map(|x| x * x).collect();
    let given: Vec<i64> = pool.imap(square, 0..5000).map(Result::unwrap).collect();
    assert_eq!(given, squares);
    for chunk in [1, 3, 64] {
        let mut given: Vec<i64> = pool.chunk_size(chunk).imap_unordered(square, 0..5000).map(Result::unwrap).collect();
        given.sort_unstable();
        assert_eq!(given, squares, "in chunks of {chunk}");
    }
    assert!(pool.imap(square, []).next().is_none());

    // Each error is in the place of its result.
    let given: Vec<_> = pool.chunk_size(2).imap(half, 0..6).map(Result::unwrap).collect();
    assert_eq!(
        given,
        [Ok(0), Err("1 is odd".to_owned()), Ok(1), Err("3 is odd".to_owned()), Ok(2), Err("5 is odd".to_owned())]
    );

    // Of an endless input no more is taken than a little ahead, and what is not done is dropped.
    let taken = Arc::new(AtomicU64::new(0));
    let seen = taken.clone();
    let endless = (0..).inspect(move |_| _ = seen.fetch_add(1, Ordering::Relaxed));
    let mut results = pool.imap(square, endless);
    for x in 0..10 {
        assert_eq!(results.next().unwrap().unwrap(), x * x);
    }
    assert!(taken.load(Ordering::Relaxed) <= 64, "{taken:?} are taken for ten results");
    assert_eq!(pool.state().unwrap().jobs, 1);
    drop(results);
    until("the job is forgotten", || pool.state().unwrap().jobs == 0);

    // One that is late is not lost.
    let mut results = pool.imap(sleeps, [300, 0]);
    let late = results.next_within(Duration::from_millis(1)).unwrap().unwrap_err();
    assert!(late.is_timed_out(), "{late}");
    assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), [300, 0]);
}

/// Results, arguments and chunks that are larger than requests.
pub(crate) fn parts() {
    let pool = Pool::new(2).unwrap();
    let megabyte = 1 << 20;
    // One task, whose results are more than a request.
    let texts = pool.chunk_size(16).map(text, [megabyte; 16]).unwrap();
    assert!(texts.len() == 16 && texts.iter().all(|text| text.len() == megabyte));
    let texts: Vec<String> = pool.chunk_size(16).imap(text, [megabyte; 16]).map(Result::unwrap).collect();
    assert!(texts.len() == 16 && texts.iter().all(|text| text.len() == megabyte));

    // Arguments of 32 MiB, in requests as the manager takes them.
    #[holdfast::function]
    fn length(text: String) -> usize {
        text.len()
    }
    assert_eq!(pool.map(length, vec!["y".repeat(megabyte); 32]).unwrap(), [megabyte; 32]);

    // No more tasks wait than may.
    let narrow = Pool::with(PoolOptions::new().workers(2).max_waiting(3)).unwrap();
    let squares: Vec<i64> = (0..500).map(|x| x * x).collect();
    assert_eq!(narrow.chunk_size(1).map(square, 0..500).unwrap(), squares);
    assert_eq!(narrow.imap(square, 0..500).map(Result::unwrap).collect::<Vec<_>>(), squares);
    assert_eq!(narrow.chunk_size(1).map_async(square, 0..500).unwrap().get().unwrap(), squares);
}

/// Proxies as arguments, and a pool as data.
pub(crate) fn proxies() {
    let manager = Manager::start().unwrap();
    let pool = Pool::on(&manager, PoolOptions::new().workers(2)).unwrap();
    let counts = manager.new_dict::<String, i64>().unwrap();
    assert_eq!(pool.apply(count, (counts.clone(), "a".to_owned())).unwrap(), 1);
    pool.starmap(count, (0..20).map(|_| (counts.clone(), "b".to_owned()))).unwrap();
    assert_eq!(counts.get("b").unwrap(), Some(20));

    let pools = manager.new_dict::<String, Pool>().unwrap();
    pools.set("squares", &pool).unwrap();
    let same = pools.get("squares").unwrap().unwrap();
    assert_eq!(same.map(square, 0..10).unwrap(), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    let token = same.token(1, Duration::from_secs(60)).unwrap();
    assert_eq!(manager.pool_from_token(&token).unwrap().apply(square, (2,)).unwrap(), 4);
}
