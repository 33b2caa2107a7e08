//! Queues with consumers that stop, are killed, or change their mind: each item arrives once, or comes back marked.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::poll_fn;
use holdfast::{Queue, QueueOptions, WorkQueue, blocking};
use holdfast_tests::{Setup, program, until, until_async, within};
use tokio::sync::mpsc;

fn start() -> holdfast_tests::Manager {
    Setup::new(program!()).start()
}

/// A test is over in this time, or something hangs.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_consumer_that_ends_after_its_last_get_keeps_what_it_got() {
    let manager = start();
    let client = manager.connect_blocking();
    for library in ["blocking", "async", "async-current", "async-detached"] {
        for _ in 0..10 {
            let queue: blocking::Queue<u64> = client.queue("last").unwrap();
            queue.put_many([1, 2]).unwrap();
            let mut consumer = manager.worker(&["consume", library, "last"]);
            assert_eq!(consumer.line(), "1");
            assert!(consumer.wait().success(), "{library}");
            until("its session ends", || (client.status().unwrap().sessions == 1).then_some(()));
            let state = queue.state().unwrap();
            assert_eq!((state.size, state.delivered), (1, 0), "{library}: what it got came back");
            assert_eq!(queue.get().unwrap(), 2);
        }
    }
}

#[test]
fn what_a_killed_consumer_had_comes_back_marked() {
    let manager = start();
    let client = manager.connect_blocking();
    let jobs: blocking::WorkQueue<u64> = client.queue_with("jobs", QueueOptions::fifo().on_done()).unwrap();
    jobs.put_many(1..=3).unwrap();
    let mut worker = manager.worker(&["work", "jobs"]);
    assert_eq!(worker.line(), "1", "done");
    assert_eq!(worker.line(), "2", "taken");
    worker.kill();
    let again = jobs.get_within(LONG).unwrap();
    let next = jobs.get_within(LONG).unwrap();
    // Both may be there before the manager knows of the death.
    let mut seen = [again, next].map(|item| {
        let seen = (*item, item.attempts(), item.is_redelivered());
        item.done().unwrap();
        seen
    });
    seen.sort_unstable();
    assert_eq!(seen, [(2, 2, true), (3, 1, false)]);
    jobs.join_within(LONG).unwrap();

    // What is done on receipt is its receiver's from its next call on.
    let queue: blocking::Queue<u64> = client.queue("items").unwrap();
    queue.put_many(1..=2).unwrap();
    let mut consumer = manager.worker(&["consume-and-stay", "items"]);
    assert_eq!(consumer.line(), "1");
    assert_eq!(consumer.line(), "2");
    assert_eq!(queue.state().unwrap().delivered, 1, "only of the first it has said that it has it");
    consumer.kill();
    assert_eq!(queue.get_within(LONG).unwrap(), 2);
    assert!(queue.get_nowait().unwrap_err().is_empty());
}

/// Many consumers, of which each gives up again and again while an item may be on its way to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_that_is_dropped_loses_no_item_and_doubles_none() {
    const CONSUMERS: u64 = 4;
    const ITEMS: u64 = 1000;
    let manager = start();
    let client = manager.connect().await;
    let producer: Queue<u64> = client.queue("raced").await.unwrap();
    let (send, mut arrivals) = mpsc::unbounded_channel();
    let mut consumers = Vec::new();
    for consumer in 0..CONSUMERS {
        let queue: Queue<u64> = manager.connect().await.queue("raced").await.unwrap();
        let send = send.clone();
        consumers.push(tokio::spawn(async move { consume_and_give_up(&queue, consumer, &send).await }));
    }
    drop(send);
    for item in 0..ITEMS {
        producer.put(&item).await.unwrap();
    }
    // While all of them live, so that nothing comes back because a session ended.
    let mut arrived: BTreeMap<u64, u64> = BTreeMap::new();
    while (arrived.len() as u64) < ITEMS {
        let item = within("all items arrive", arrivals.recv()).await.unwrap();
        *arrived.entry(item).or_default() += 1;
    }
    producer.shutdown(false).await.unwrap();
    let mut given_up = 0;
    for consumer in consumers {
        given_up += within("a consumer ends", consumer).await.unwrap();
    }
    while let Some(item) = arrivals.recv().await {
        *arrived.entry(item).or_default() += 1;
    }
    assert_eq!(arrived, (0..ITEMS).map(|item| (item, 1)).collect());
    assert!(given_up >= 1000, "the race was lost {given_up} times");
    until_async("sessions end", async || (client.status().await.unwrap().sessions == 1).then_some(())).await;
    let state = producer.state().await.unwrap();
    assert_eq!((state.size, state.getters, state.delivered), (0, 0, 0));
}

/// Takes items, and drops two of three calls after having polled them for a while. How many it has dropped.
async fn consume_and_give_up(queue: &Queue<u64>, seed: u64, arrived: &mpsc::UnboundedSender<u64>) -> u64 {
    let mut given_up = 0;
    for round in seed.. {
        if round % 6 == 4 {
            // The answer is there, often, and nobody takes it.
            let sent = queue.get().send();
            turns(round % 200).await;
            drop(sent);
            given_up += 1;
            continue;
        }
        let mut get = pin!(queue.get());
        let outcome = tokio::select! {
            biased;
            outcome = &mut get => Some(outcome),
            () = turns(round % 7), if round % 3 != 0 => None,
        };
        match outcome {
            Some(Ok(item)) => arrived.send(item).expect("the test listens"),
            Some(Err(error)) if error.is_shut_down() => break,
            Some(Err(error)) => panic!("{error}"),
            None => given_up += 1,
        }
    }
    given_up
}

/// Lets other tasks run so often.
async fn turns(count: u64) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_put_that_is_dropped_is_in_once_or_never() {
    let manager = start();
    let (one, other) = (manager.connect().await, manager.connect().await);
    let queue: Queue<u64> = one.queue_with("full", QueueOptions::fifo().maxsize(1)).await.unwrap();
    let full: Queue<u64> = other.queue_with("full", QueueOptions::fifo().maxsize(1)).await.unwrap();
    full.put(&0).await.unwrap();
    for round in 1..=200 {
        {
            let mut put = pin!(full.put(&round));
            poll_fn(|cx| Poll::Ready(put.as_mut().poll(cx))).await.is_ready();
            until_async("it waits", async || (queue.state().await.unwrap().putters == 1).then_some(())).await;
            if round % 2 == 0 {
                // The room and the withdrawal meet on their way.
                assert_eq!(queue.get().await.unwrap(), 0);
            }
        }
        until_async("nobody waits", async || (queue.state().await.unwrap().putters == 0).then_some(())).await;
        let there = queue.get_many_within(9, Duration::ZERO).await.unwrap_or_default();
        assert!(there == [0] || round % 2 == 0 && (there == [round] || there.is_empty()), "{round}: {there:?}");
        full.put(&0).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_to_settle_that_is_dropped_settles_or_gives_back() {
    let manager = start();
    let client = manager.connect().await;
    let jobs: WorkQueue<u64> = client.queue_with("jobs", QueueOptions::fifo().on_done()).await.unwrap();
    jobs.put(&1).await.unwrap();
    drop(jobs.get().await.unwrap().done());
    let again = within("what was not even asked goes back", jobs.get()).await.unwrap();
    assert_eq!((*again, again.attempts()), (1, 2));
    drop(again.done().send());
    within("what was asked is done", jobs.join()).await.unwrap();
    let state = jobs.state().await.unwrap();
    assert_eq!((state.size, state.delivered), (0, 0));
}

#[tokio::test]
async fn a_worker_that_panics_gives_its_item_back() {
    let manager = start();
    let client = manager.connect().await;
    let jobs: WorkQueue<u64> =
        client.queue_with("jobs", QueueOptions::fifo().on_done().max_deliveries(2)).await.unwrap();
    jobs.put(&1).await.unwrap();
    for attempt in 1..=2 {
        let worker = jobs.clone();
        let panicked = tokio::spawn(async move {
            let job = worker.get().await.unwrap();
            assert_eq!(job.attempts(), 0, "a worker with a fault");
        });
        assert!(panicked.await.is_err(), "{attempt}");
    }
    within("it is given up", jobs.join()).await.unwrap();
    assert_eq!(jobs.dead_letters().await.unwrap()[0].item.as_ref().unwrap(), &1);
}

#[test]
fn threads_of_one_session_wait_and_work_side_by_side() {
    let manager = start();
    let client = manager.connect_blocking();
    let jobs: blocking::WorkQueue<u64> = client.queue_with("jobs", QueueOptions::fifo().on_done().maxsize(4)).unwrap();
    let done: blocking::Queue<u64> = client.queue("done").unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (jobs, done) = (jobs.clone(), done.clone());
            std::thread::spawn(move || {
                loop {
                    match jobs.get() {
                        Ok(job) => {
                            done.put(&*job).unwrap();
                            job.done().unwrap();
                        }
                        Err(error) => return assert!(error.is_shut_down(), "{error}"),
                    }
                }
            })
        })
        .collect();
    for job in 0..200 {
        jobs.put(&job).unwrap();
    }
    jobs.join().unwrap();
    jobs.shutdown(false).unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let mut all = done.get_many(1000).unwrap();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}
