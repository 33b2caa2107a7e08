//! The same with the async library.

use std::process;
use std::time::Duration;

use holdfast::{Callbacks, Error, Executor, Manager, Pool, PoolOptions, ReturnWhen, as_completed, wait};
use tokio::runtime::Builder;
use tokio::sync::mpsc::unbounded_channel;

use crate::functions::{add, count_async, dies, exits, panics_at, pid_of, sleeps, square};

pub(crate) fn methods() {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let manager = Manager::start().await.unwrap();
        let pool = Pool::on(&manager, PoolOptions::new().workers(2)).await.unwrap();
        assert_eq!(pool.apply(square, (7,)).await.unwrap(), 49);
        let squares: Vec<i64> = (0..1000).map(|x| x * x).collect();
        assert_eq!(pool.map(square, 0..1000).await.unwrap(), squares);
        assert_eq!(pool.starmap(add, [(1, 2), (3, 4)]).await.unwrap(), [3, 7]);
        let mut results = pool.imap(square, 0..1000);
        let mut given = Vec::new();
        while let Some(result) = results.next().await {
            given.push(result.unwrap());
        }
        assert_eq!(given, squares);

        // Takings that are given up lose nothing.
        let mut results = pool.imap_unordered(square, 0..1000);
        let mut given = Vec::new();
        let mut given_up = 0;
        loop {
            tokio::select! {
                biased;
                result = results.next() => match result {
                    Some(result) => given.push(result.unwrap()),
                    None => break,
                },
                () = tokio::time::sleep(Duration::from_micros(50)) => given_up += 1,
            }
        }
        given.sort_unstable();
        assert_eq!(given, squares);
        assert!(given_up > 0);

        let counts = manager.new_dict::<String, i64>().await.unwrap();
        assert_eq!(pool.apply(count_async, (counts.clone(), "a".to_owned())).await.unwrap(), 1);
        let result = pool.apply_async(sleeps, (50,)).await.unwrap();
        assert!(result.get_within(Duration::from_millis(1)).await.unwrap_err().is_timed_out());
        assert_eq!(result.get().await.unwrap(), 50);
        assert_eq!(pool.map_async(square, 0..1000).await.unwrap().get().await.unwrap(), squares);
        let many: Vec<_> = (0..200).map(|x| pool.apply_async(square, (x,)).send()).collect();
        for (x, one) in (0..).zip(many) {
            assert_eq!(one.await.unwrap().get().await.unwrap(), x * x);
        }

        let (sender, mut receiver) = unbounded_channel();
        let calls = Callbacks::new().callback(move |pid: u32| sender.send((pid, process::id())).unwrap());
        pool.apply_async_with(pid_of, (0,), calls).await.unwrap();
        let (worker, here) = receiver.recv().await.unwrap();
        assert!(worker != here && here == process::id());

        assert!(matches!(pool.apply(panics_at, (3,)).await, Err(Error::Raised(_))));
        let lost = pool.tries(1).apply(exits, (7,)).await.unwrap_err();
        assert!(matches!(&lost, Error::WorkerLost(lost) if lost.exit_code == Some(7)), "{lost:?}");
        let _ = dies;
        pool.close().await.unwrap();
        assert!(pool.apply(square, (1,)).await.unwrap_err().is_shut_down());
        pool.join().await.unwrap();
        assert_eq!(pool.state().await.unwrap().workers, 0);

        // A worker in this process.
        let pool = manager.pool("named").await.unwrap();
        let worker = tokio::spawn(pool.worker().run());
        assert_eq!(pool.apply(square, (3,)).await.unwrap(), 9);
        pool.close().await.unwrap();
        worker.await.unwrap().unwrap();
    });
}

pub(crate) fn executor() {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let executor = Executor::new(2).await.unwrap();
        let slow = executor.submit(sleeps, (400,)).await.unwrap();
        let quick = executor.submit(sleeps, (1,)).await.unwrap();
        let first = wait([slow.clone(), quick.clone()], None, ReturnWhen::FirstCompleted).await;
        assert_eq!((first.done.len(), first.not_done.len()), (1, 1));
        let mut results = as_completed([slow, quick], None);
        assert_eq!(results.next().await.unwrap().get().await.unwrap(), 1);
        assert_eq!(results.next().await.unwrap().get().await.unwrap(), 400);
        assert!(results.next().await.is_none());
        executor.shutdown(true, false).await.unwrap();
        assert!(executor.submit(square, (1,)).await.unwrap_err().is_shut_down());
    });
}
