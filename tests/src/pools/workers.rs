//! How workers work.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use holdfast::blocking::{Manager, Pool};
use holdfast::pool::WorkerEnd;
use holdfast::{PoolOptions, Reason, WorkerOptions};

use crate::functions::{add, pid_of, prepare, prepare_counting, prepared, sleeps, square};
use crate::until;

pub(crate) fn options() {
    let pool = Pool::with(PoolOptions::new().workers(2).initializer(prepare, (77,))).unwrap();
    assert_eq!(pool.apply(prepared, ()).unwrap(), 77);

    // Proxies are arguments of initializers too.
    let manager = Manager::start().unwrap();
    let counts = manager.new_dict::<String, i64>().unwrap();
    let pool = Pool::on(
        &manager,
        PoolOptions::new().workers(3).initializer(prepare_counting, (counts.clone(), "begun".to_owned())),
    )
    .unwrap();
    until("each worker has counted", || counts.get("begun").unwrap() == Some(3));

    // Each process does so many tasks, and another follows.
    let pool_of_two = Pool::with(PoolOptions::new().workers(2).max_tasks_per_child(5)).unwrap();
    let pids = pool_of_two.chunk_size(1).map(pid_of, 0..100).unwrap();
    let distinct: HashSet<u32> = pids.iter().copied().collect();
    assert!(distinct.len() >= 20, "{} processes for 100 tasks, five each", distinct.len());
    assert!(distinct.iter().all(|pid| pids.iter().filter(|other| *other == pid).count() <= 5));

    // A pool of nobody, to which a local worker comes later.
    let named = manager.pool("later").unwrap();
    let waiting = named.apply_async(square, (8,)).unwrap();
    assert!(!waiting.wait_within(Duration::from_millis(10)));
    let staffed = named.staffed(PoolOptions::new().workers(1)).unwrap();
    assert_eq!(waiting.get().unwrap(), 64);
    drop((staffed, pool));
}

/// Workers that are threads of this program.
pub(crate) fn joined() {
    let manager = Manager::start().unwrap();
    let pool = manager.pool("squares").unwrap();
    let worker = pool.worker_with(WorkerOptions::new().name("squarer").serves(square).max_tasks(3));
    let thread = thread::spawn(move || worker.run());
    until("it has joined", || pool.state().unwrap().workers == 1);
    let [known] = &pool.workers().unwrap()[..] else { panic!("one has joined") };
    assert_eq!(
        (&*known.name, &*known.functions, known.pid),
        ("squarer", &["square".to_owned()][..], std::process::id())
    );
    assert_eq!(pool.apply(add, (1, 2)).unwrap_err().reason(), Some(Reason::NotRegistered));
    assert_eq!((0..3).map(|x| pool.apply(square, (x,)).unwrap()).collect::<Vec<_>>(), [0, 1, 4]);
    assert_eq!(thread.join().unwrap().unwrap(), WorkerEnd::MaxTasks);
    assert_eq!(pool.state().unwrap().workers, 0);

    let worker = pool.worker();
    let thread = thread::spawn(move || worker.run());
    assert_eq!(pool.apply(add, (1, 2)).unwrap(), 3);
    pool.close().unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), WorkerEnd::ShutDown);
    assert_eq!(pool.worker().run().unwrap(), WorkerEnd::ShutDown);
}

/// Nobody waits behind a task that is long where those before it were short.
pub(crate) fn watch() {
    let manager = Manager::start().unwrap();
    let pool = Pool::on(&manager, PoolOptions::new().workers(2)).unwrap();
    pool.apply(square, (1,)).unwrap();
    for _ in 0..3 {
        // The workers learn that tasks are short, and take many at once.
        pool.chunk_size(1).map(sleeps, [0; 2000]).unwrap();
        let times = [vec![1500], vec![0; 199]].concat();
        let order: Vec<u64> = pool.imap_unordered(sleeps, times).map(Result::unwrap).collect();
        assert_eq!((order.len(), order.last()), (200, Some(&1500)), "the short ones are done before the long one");
    }
}
