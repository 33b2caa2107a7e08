//! Results that are waited for later.

use std::collections::HashSet;
use std::process;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use holdfast::blocking::{Executor, Manager, Pool, as_completed, wait};
use holdfast::{Callbacks, Error, PoolOptions, ReturnWhen};

use crate::functions::{add, half, panics_at, pid, sleeps, square, waits};
use holdfast_tests::PATIENCE;

use crate::until;

pub(crate) fn results() {
    let manager = Manager::start().unwrap();
    let pool = Pool::on(&manager, PoolOptions::new().workers(2)).unwrap();
    let (counts, event) = (manager.new_dict::<String, i64>().unwrap(), manager.new_event().unwrap());

    let result = pool.apply_async(waits, (counts.clone(), "a".to_owned(), event.clone())).unwrap();
    assert!(!result.ready() && result.successful().is_none() && !result.cancelled());
    let late = result.get_within(Duration::from_millis(20)).unwrap_err();
    assert!(late.is_timed_out(), "{late}");
    assert!(!result.wait_within(Duration::ZERO));
    event.set().unwrap();
    assert_eq!(result.get().unwrap(), 1);
    assert_eq!((result.get().unwrap(), result.ready(), result.successful()), (1, true, Some(true)));

    let squares = pool.chunk_size(10).map_async(square, 0..100).unwrap();
    assert_eq!(squares.get().unwrap(), (0..100).map(|x| x * x).collect::<Vec<i64>>());
    assert_eq!((squares.progress().done, squares.progress().tasks), (10, 10));
    assert_eq!(pool.starmap_async(add, [(1, 2), (3, 4)]).unwrap().get().unwrap(), [3, 7]);
    assert_eq!(pool.map_async(square, []).unwrap().get().unwrap(), []);
    assert_eq!(pool.apply_async(half, (5,)).unwrap().get().unwrap(), Err("5 is odd".to_owned()));
    let failed = pool.apply_async(panics_at, (3,)).unwrap();
    assert!(matches!(failed.get(), Err(Error::Raised(_))));
    assert_eq!(failed.successful(), Some(false));

    // Many threads on one handle.
    thread::scope(|scope| {
        for thread in 0..8_i64 {
            let pool = &pool;
            scope.spawn(move || {
                let results: Vec<_> = (0..200).map(|x| pool.apply_async(add, (thread, x)).unwrap()).collect();
                for (x, result) in (0..).zip(results) {
                    assert_eq!(result.get().unwrap(), thread + x);
                }
            });
        }
    });

    // What no worker has is cancelled; what one has goes on.
    event.clear().unwrap();
    let busy: Vec<_> =
        (0..2).map(|_| pool.apply_async(waits, (counts.clone(), "busy".to_owned(), event.clone())).unwrap()).collect();
    until("both workers are busy", || counts.get("busy").unwrap() == Some(2));
    let waiting = pool.apply_async(square, (2,)).unwrap();
    assert_eq!(pool.map_async(square, []).unwrap().cancel().unwrap(), 0);
    assert_eq!(waiting.cancel().unwrap(), 1);
    assert!(matches!(waiting.get(), Err(Error::Cancelled)) && waiting.cancelled());
    assert_eq!(busy[0].cancel().unwrap(), 0);
    event.set().unwrap();
    assert_eq!(busy.iter().map(|busy| busy.get().unwrap()).collect::<HashSet<_>>(), HashSet::from([1, 2]));
}

pub(crate) fn callbacks() {
    let pool = Pool::new(1).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let seen = seen.clone();
        move |result: String| seen.lock().unwrap().push(format!("{what} {result} in {}", process::id()))
    };
    let callbacks = |name| {
        let (result, error) = (note(name), note(name));
        Callbacks::new()
            .callback(move |squared: i64| result(squared.to_string()))
            .error_callback(move |failed: Error| error(failed.to_string().lines().next().unwrap().to_owned()))
    };
    // Who waits for the result finds the callback done.
    pool.apply_async_with(square, (3,), callbacks("apply")).unwrap().get().unwrap();
    pool.apply_async_with(panics_at, (3,), callbacks("apply")).unwrap().get().unwrap_err();
    let all = note("map");
    let callbacks = Callbacks::new().callback(move |squares: Vec<i64>| all(format!("{squares:?}")));
    pool.map_async_with(square, 0..3, callbacks).unwrap().get().unwrap();
    let this = process::id();
    assert_ne!(pool.apply(pid, ()).unwrap(), this);
    let seen: Vec<String> = seen.lock().unwrap().drain(..).collect();
    assert_eq!(seen[0], format!("apply 9 in {this}"));
    assert!(seen[1].contains("three is no good") && seen[1].ends_with(&this.to_string()), "{seen:?}");
    assert_eq!(seen[2..], [format!("map [0, 1, 4] in {this}")]);

    // One that panics changes nothing else, and one may call the pool.
    let (sender, receiver) = channel();
    let calling = pool.clone();
    let bad = Callbacks::new().callback(|_| panic!("a callback of a test that is to panic"));
    assert_eq!(pool.apply_async_with(square, (4,), bad).unwrap().get().unwrap(), 16);
    let calls = Callbacks::new().callback(move |x: i64| sender.send(calling.apply(square, (x,)).unwrap()).unwrap());
    // Its result is not waited for.
    pool.apply_async_with(square, (3,), calls).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), 81);
}

pub(crate) fn executor() {
    let manager = Manager::start().unwrap();
    let executor = Executor::from(Pool::on(&manager, PoolOptions::new().workers(2)).unwrap());
    let (counts, event) = (manager.new_dict::<String, i64>().unwrap(), manager.new_event().unwrap());
    assert_eq!(executor.submit(square, (5,)).unwrap().get().unwrap(), 25);
    assert_eq!(executor.map(square, 0..5).map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 4, 9, 16]);

    let slow = executor.submit(sleeps, (400,)).unwrap();
    let quick = executor.submit(sleeps, (1,)).unwrap();
    let first = wait([slow.clone(), quick.clone()], None, ReturnWhen::FirstCompleted);
    assert_eq!((first.done[0].get().unwrap(), first.not_done.len()), (1, 1));
    let none = wait([slow.clone()], Some(Duration::from_millis(1)), ReturnWhen::AllCompleted);
    assert_eq!((none.done.len(), none.not_done.len()), (0, 1));
    let order: Vec<u64> = as_completed([slow.clone(), quick], None).map(|done| done.get().unwrap()).collect();
    assert_eq!(order, [1, 400]);
    let failing = executor.submit(panics_at, (3,)).unwrap();
    let waiting = executor.submit(waits, (counts.clone(), "w".to_owned(), event.clone())).unwrap();
    let failed = wait([waiting.clone(), failing], Some(PATIENCE), ReturnWhen::FirstException);
    assert_eq!((failed.done.len(), failed.not_done.len()), (1, 1));
    let mut in_time = as_completed([waiting.clone()], Some(Duration::from_millis(5)));
    assert!(in_time.next().is_none() && in_time.not_done().count() == 1);

    // What is there already calls back at once, on this thread; what is not, when it is.
    let (sender, receiver) = channel();
    let here = thread::current().id();
    let sends = sender.clone();
    slow.add_done_callback(move |done| sends.send((done.get().unwrap() as i64, thread::current().id())).unwrap());
    assert_eq!(receiver.try_recv().unwrap(), (400, here));
    waiting.add_done_callback(move |done| sender.send((done.get().unwrap(), thread::current().id())).unwrap());
    assert!(receiver.try_recv().is_err());
    event.set().unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap().0, 1);

    // At its end what waits is cancelled, and what is under way is done.
    event.clear().unwrap();
    let busy: Vec<_> =
        (0..2).map(|_| executor.submit(waits, (counts.clone(), "busy".to_owned(), event.clone())).unwrap()).collect();
    until("both workers are busy", || counts.get("busy").unwrap() == Some(2));
    let queued = executor.submit(square, (6,)).unwrap();
    executor.shutdown(false, true).unwrap();
    assert!(matches!(queued.get(), Err(Error::Cancelled)));
    assert!(executor.submit(square, (1,)).unwrap_err().is_shut_down());
    event.set().unwrap();
    assert!(busy.iter().all(|busy| busy.get().is_ok()));
    executor.shutdown(true, false).unwrap();
    assert_eq!(executor.pool().state().unwrap().workers, 0);
}
