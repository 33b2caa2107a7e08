//! What can be wrong.

use std::time::Duration;

use holdfast::blocking::{Manager, Pool};
use holdfast::{Error, Named, PoolOptions, Reason};

use crate::functions::{exits, half, panics_at, prepare_badly, sleeps, square, text, unregistered};
use crate::until;

pub(crate) fn errors() {
    let pool = Pool::new(2).unwrap();
    pool.apply(square, (1,)).unwrap();

    // A function that this program does not know, and one that no worker serves.
    let unknown = pool.apply(unregistered, (1,)).unwrap_err();
    assert!(matches!(&unknown, Error::NotRegistered { function } if function.contains("unregistered")), "{unknown}");
    assert!(matches!(pool.map(unregistered, [1]), Err(Error::NotRegistered { .. })));
    let nobody = pool.apply(Named::<(i64,), i64>::new("of_nobody"), (1,)).unwrap_err();
    assert_eq!(nobody.reason(), Some(Reason::NotRegistered), "{nobody}");
    assert!(pool.map_async(Named::<(i64,), i64>::new("of_nobody"), [1]).is_err());

    // Arguments that are not what it takes, too many of them, and a result that is not what was said.
    let misread = pool.apply(Named::<(String,), i64>::new("square"), ("four".to_owned(),)).unwrap_err();
    assert!(
        matches!(&misread, Error::Raised(raised) if raised.kind == "CodecError" && raised.message.contains("square")),
        "{misread}"
    );
    assert!(matches!(pool.apply(Named::<(i64, i64), i64>::new("square"), (1, 2)), Err(Error::Raised(_))));
    assert!(matches!(pool.map(Named::<(String,), i64>::new("square"), ["x".to_owned()]), Err(Error::Raised(_))));
    assert!(matches!(pool.apply(Named::<(i64,), String>::new("square"), (1,)), Err(Error::Codec(_))));

    // An error of the function itself, read as what it is and as what it is not.
    assert_eq!(pool.apply(half, (3,)).unwrap(), Err("3 is odd".to_owned()));
    let raised = pool.apply(Named::<(i64,), i64>::new("half"), (3,)).unwrap_err();
    assert!(matches!(&raised, Error::Raised(raised) if raised.message == "3 is odd"), "{raised}");

    // A panic, with its message and backtrace; in a map the first in the order of the calls.
    let panicked = pool.apply(panics_at, (3,)).unwrap_err();
    let Error::Raised(raised) = &panicked else { panic!("{panicked:?}") };
    assert_eq!(raised.kind, "panic");
    assert!(raised.message.contains("three is no good"), "{raised}");
    assert!(raised.trace.contains("functions.rs") && raised.trace.contains("panics_at"), "{}", raised.trace);
    let first = pool.chunk_size(1).map(Named::<(i64,), i64>::new("half"), [2, 5, 4, 7]).unwrap_err();
    assert!(matches!(&first, Error::Raised(raised) if raised.message == "5 is odd"), "{first}");

    // In one task a panic is the outcome of its call alone.
    let mut given = pool.chunk_size(5).imap(panics_at, 1..6);
    for x in 1..6 {
        match given.next().unwrap() {
            Ok(result) => assert!(result == x && x != 3),
            Err(error) => assert!(x == 3 && matches!(error, Error::Raised(_)), "{x}: {error}"),
        }
    }

    // Results and arguments that are larger than a request.
    let large = pool.apply(text, (64 << 20,)).unwrap_err();
    assert!(matches!(large, Error::ResultTooLarge), "{large}");
    let large = pool.map(text, [1, 64 << 20]).unwrap_err();
    assert!(matches!(&large, Error::Raised(raised) if raised.message.contains("bytes")), "{large}");
    let large = pool.apply(Named::<(String,), usize>::new("length"), ("x".repeat(64 << 20),)).unwrap_err();
    assert_eq!(large.reason(), Some(Reason::ValueTooLarge), "{large}");

    // Time.
    let late = pool.patience(Duration::from_millis(20)).apply(sleeps, (400,)).unwrap_err();
    assert!(late.is_timed_out(), "{late}");
    let late = pool.patience(Duration::from_millis(20)).map(sleeps, [400]).unwrap_err();
    assert!(late.is_timed_out(), "{late}");
    until("what timed out is forgotten", || pool.state().unwrap().jobs <= 1);

    // An exit inside of a task: no other try is better, so it is lost.
    let lost = pool.tries(2).apply(exits, (7,)).unwrap_err();
    let Error::WorkerLost(worker) = &lost else { panic!("{lost:?}") };
    assert_eq!((worker.tries, worker.exit_code), (2, Some(7)), "{lost}");
    assert!(worker.name.starts_with("PoolWorker-") && lost.to_string().contains("exit code 7"), "{lost}");
    assert_eq!(pool.apply(square, (3,)).unwrap(), 9, "the pool is full again");

    // A pool that is not closed is not joined; one that is closed takes nothing.
    assert!(matches!(pool.join(), Err(Error::PoolIsOpen)));
    pool.close().unwrap();
    for refused in [
        pool.apply(square, (1,)).unwrap_err(),
        pool.map(square, [1]).unwrap_err(),
        pool.apply_async(square, (1,)).unwrap_err(),
        pool.imap(square, [1]).next().unwrap().unwrap_err(),
    ] {
        assert!(refused.is_shut_down(), "{refused}");
    }
    pool.join().unwrap();
}

/// Pools that come to nothing: every call is told why.
pub(crate) fn broken() {
    // An initializer that fails.
    let options = PoolOptions::new().workers(2).initializer(prepare_badly, ("no disk".to_owned(),));
    for waits in 0..3 {
        let pool = Pool::with(options.clone()).unwrap();
        let told = match waits {
            0 => pool.apply(square, (1,)).unwrap_err(),
            1 => pool.map(square, 0..100).unwrap_err(),
            _ => match pool.apply_async(square, (1,)) {
                Ok(result) => result.get().unwrap_err(),
                Err(error) => error,
            },
        };
        assert!(told.is_shut_down(), "{told}");
        assert!(told.to_string().contains("prepare_badly") && told.to_string().contains("no disk"), "{told}");
        pool.join().unwrap();
    }

    // Workers that end before they have joined.
    let pool = Pool::with(PoolOptions::new().workers(2).initializer(exits, (9,))).unwrap();
    let told = pool.apply(square, (1,)).unwrap_err();
    assert!(told.is_shut_down() && told.to_string().contains("exit code 9"), "{told}");
    let told = pool.imap(square, [1]).next().unwrap().unwrap_err();
    assert!(told.is_shut_down(), "{told}");
    pool.join().unwrap();

    // One whose initializer is not registered is not begun.
    assert!(matches!(
        Pool::with(PoolOptions::new().workers(1).initializer(unregistered, (1,))),
        Err(Error::NotRegistered { .. })
    ));

    // Results that were waited for when it was terminated.
    let manager = Manager::start().unwrap();
    let pool = manager.new_pool().unwrap();
    let result = pool.apply_async(square, (1,)).unwrap();
    let results = pool.map_async(square, 0..10).unwrap();
    let mut one_by_one = pool.imap(square, 0..10);
    assert!(one_by_one.next_within(Duration::from_millis(1)).unwrap().unwrap_err().is_timed_out());
    // Chunks as for one worker, as long as nobody has joined.
    assert_eq!(pool.terminate().unwrap(), 1 + 4 + 10);
    assert!(matches!(result.get(), Err(Error::Cancelled)));
    assert!(matches!(results.get(), Err(Error::Cancelled)));
    assert_eq!(one_by_one.filter(|result| matches!(result, Err(Error::Cancelled))).count(), 10);
    pool.join().unwrap();
}
