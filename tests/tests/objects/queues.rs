// What proxies to queues promise, for either library: see `promises.rs`.

use holdfast::{OnClose, QueueOptions};

/// What no test waits for in earnest.
const BRIEFLY: Duration = Duration::from_millis(20);

promise!(a_queue_gives_in_the_order_of_putting, SHARED, |_server, manager| {
    let queue: Queue<String> = wait!(manager.new_queue()).unwrap();
    assert!(wait!(queue.is_empty()).unwrap());
    assert!(wait!(queue.get_nowait()).unwrap_err().is_empty());
    assert_eq!(why(wait!(queue.get_within(BRIEFLY))), Reason::Empty);
    assert_eq!(why(wait!(queue.get_many_within(3, BRIEFLY))), Reason::Empty);
    for item in ["a", "b", "c"] {
        wait!(queue.put(&item.to_owned())).unwrap();
    }
    wait!(queue.put_many(["d".to_owned(), "e".to_owned()])).unwrap();
    wait!(queue.put_many([])).unwrap();
    assert_eq!(wait!(queue.qsize()).unwrap(), 5);
    assert!(!wait!(queue.is_empty()).unwrap() && !wait!(queue.is_full()).unwrap());
    assert_eq!(wait!(queue.get()).unwrap(), "a");
    assert_eq!(wait!(queue.get_within(BRIEFLY)).unwrap(), "b");
    assert_eq!(wait!(queue.get_nowait()).unwrap(), "c");
    assert_eq!(wait!(queue.get_many(10)).unwrap(), ["d", "e"]);
    assert_eq!(wait!(queue.qsize()).unwrap(), 0);
});

promise!(a_queue_can_be_lifo_or_have_priorities, SHARED, |_server, manager| {
    let stack: Queue<i64> = wait!(manager.new_queue_with(QueueOptions::lifo())).unwrap();
    wait!(stack.put_many([1, 2, 3])).unwrap();
    assert_eq!(wait!(stack.get_many(2)).unwrap(), [3, 2]);
    assert_eq!(why(wait!(stack.put_with_priority(&4, &0))), Reason::Malformed, "it has none");

    let smallest: Queue<(i64, String)> = wait!(manager.new_queue_with(QueueOptions::priority())).unwrap();
    wait!(smallest.put_many([(2, "b".into()), (1, "z".into()), (1, "a".into())])).unwrap();
    assert_eq!(wait!(smallest.get_many(3)).unwrap(), [(1, "a".into()), (1, "z".into()), (2, "b".into())]);

    let jobs: Queue<String> = wait!(manager.new_queue_with(QueueOptions::priority().maxsize(3))).unwrap();
    wait!(jobs.put_with_priority(&"late".to_owned(), &9)).unwrap();
    wait!(jobs.put_with_priority_within(&"first".to_owned(), &1.5, BRIEFLY)).unwrap();
    wait!(jobs.put_with_priority(&"second".to_owned(), &2)).unwrap();
    let full = wait!(jobs.put_with_priority_within(&"more".to_owned(), &2, BRIEFLY));
    assert!(full.unwrap_err().is_full());
    assert_eq!(wait!(jobs.get_many(2)).unwrap(), ["first", "second"]);
    assert_eq!(why(wait!(jobs.put(&"no number".to_owned()))), Reason::WrongType, "it has no order with 9");
    assert_eq!(wait!(jobs.get()).unwrap(), "late");
});

promise!(a_queue_with_a_limit_is_full, SHARED, |_server, manager| {
    let queue: Queue<i64> = wait!(manager.new_queue_with(QueueOptions::fifo().maxsize(2))).unwrap();
    wait!(queue.put_nowait(&1)).unwrap();
    assert_eq!(why(wait!(queue.put_many_within([2, 3], BRIEFLY))), Reason::Full, "all or none");
    assert_eq!(why(wait!(queue.put_many([2, 3, 4]))), Reason::OutOfRange, "they never fit");
    assert_eq!(wait!(queue.qsize()).unwrap(), 1);
    wait!(queue.put_within(&2, BRIEFLY)).unwrap();
    assert!(wait!(queue.is_full()).unwrap());
    assert!(wait!(queue.put_nowait(&3)).unwrap_err().is_full());
    assert_eq!(why(wait!(queue.put_within(&3, BRIEFLY))), Reason::Full);
    assert_eq!(wait!(queue.get_many(9)).unwrap(), [1, 2]);
});

promise!(a_long_batch_is_several_calls, SHARED, |_server, manager| {
    let queue: Queue<String> = wait!(manager.new_queue()).unwrap();
    let items: Vec<String> = (0..900).map(|number| format!("{number:01000}")).collect();
    wait!(queue.put_many(items.clone())).unwrap();
    let mut taken = Vec::new();
    while taken.len() < items.len() {
        let some = wait!(queue.get_many(u64::MAX)).unwrap();
        assert!(!some.is_empty() && some.len() < 300, "a page holds 256 KiB: {}", some.len());
        taken.extend(some);
    }
    assert_eq!(taken, items);
});

promise!(a_queue_joins_when_all_is_done, SHARED, |_server, manager| {
    let queue: Queue<i64> = wait!(manager.new_queue()).unwrap();
    wait!(queue.join()).unwrap();
    wait!(queue.put_many([1, 2])).unwrap();
    assert!(!wait!(queue.join_within(BRIEFLY)).unwrap());
    wait!(queue.get_many(2)).unwrap();
    assert!(!wait!(queue.join_within(Duration::ZERO)).unwrap(), "taken is not done");
    assert_eq!(wait!(queue.task_done()).unwrap(), 1);
    assert_eq!(wait!(queue.task_done()).unwrap(), 0);
    wait!(queue.join()).unwrap();
    assert_eq!(why(wait!(queue.task_done())), Reason::OverRelease);
});

promise!(a_queue_that_is_shut_down_gives_what_it_has, SHARED, |_server, manager| {
    let queue: Queue<i64> = wait!(manager.new_queue()).unwrap();
    wait!(queue.put_many([1, 2, 3])).unwrap();
    assert_eq!(wait!(queue.shutdown(false)).unwrap(), 0);
    assert!(wait!(queue.put(&4)).unwrap_err().is_shut_down());
    assert!(wait!(queue.put_many([4])).unwrap_err().is_shut_down());
    assert_eq!(wait!(queue.get()).unwrap(), 1);
    assert!(wait!(queue.state()).unwrap().is_shut_down);
    assert_eq!(wait!(queue.shutdown(true)).unwrap(), 2);
    assert_eq!(why(wait!(queue.get())), Reason::ShutDown);
    assert!(wait!(queue.get_many(2)).unwrap_err().is_shut_down());
});

promise!(a_queue_is_cleared, SHARED, |_server, manager| {
    let queue: Queue<i64> = wait!(manager.new_queue()).unwrap();
    wait!(queue.put_many([1, 2, 3])).unwrap();
    assert_eq!(wait!(queue.clear()).unwrap(), 3);
    wait!(queue.join()).unwrap();
    assert!(wait!(queue.get_nowait()).unwrap_err().is_empty());
});

promise!(a_queue_tells_its_state, SHARED, |_server, manager| {
    let options = QueueOptions::fifo().on_done().maxsize(2);
    let queue: WorkQueue<i64> = wait!(manager.new_queue_with(options)).unwrap();
    wait!(queue.put_many([1, 2])).unwrap();
    let state = wait!(queue.state()).unwrap();
    assert_eq!((state.size, state.is_full, state.unfinished, state.delivered), (2, true, 2, 0));
    let first = wait!(queue.get()).unwrap();
    let state = wait!(queue.state()).unwrap();
    assert_eq!((state.size, state.is_full, state.unfinished, state.delivered), (1, false, 2, 1));
    wait!(first.give_up()).unwrap();
    let state = wait!(queue.state()).unwrap();
    assert_eq!((state.unfinished, state.delivered, state.dead_letters), (1, 0, 1));
    assert_eq!((state.getters, state.putters, state.joiners, state.is_shut_down), (0, 0, 0, false));
});

promise!(a_delivery_is_done_or_given_back, SHARED, |_server, manager| {
    let queue: WorkQueue<String> = wait!(manager.new_queue_with(QueueOptions::fifo().on_done())).unwrap();
    wait!(queue.put_many(["a".to_owned(), "b".to_owned(), "c".to_owned()])).unwrap();
    let a = wait!(queue.get()).unwrap();
    assert_eq!((a.as_str(), a.attempts(), a.is_redelivered()), ("a", 1, false));
    let mut b = wait!(queue.get_within(BRIEFLY)).unwrap();
    assert!(b.fence() > a.fence());
    b.push('!');
    assert_eq!(*b, "b!");
    assert_eq!(wait!(a.nack()).unwrap(), 0);
    assert_eq!(wait!(b.done()).unwrap(), 2);

    let again = wait!(queue.get_nowait()).unwrap();
    assert_eq!((again.as_str(), again.attempts(), again.is_redelivered()), ("a", 2, true), "before those put later");
    drop(again);
    let again = wait!(queue.get()).unwrap();
    assert_eq!((again.as_str(), again.attempts()), ("a", 3), "what is dropped goes back");
    let (item, receipt) = again.into_parts();
    assert_eq!(item, "a");
    assert_eq!(wait!(receipt.done()).unwrap(), 1);
    assert_eq!(wait!(wait!(queue.get()).unwrap().done()).unwrap(), 0);
    wait!(queue.join()).unwrap();
});

promise!(many_deliveries_are_settled_at_once, SHARED, |_server, manager| {
    let queue: WorkQueue<i64> = wait!(manager.new_queue_with(QueueOptions::fifo().on_done())).unwrap();
    let other: WorkQueue<i64> = wait!(manager.new_queue_with(QueueOptions::fifo().on_done())).unwrap();
    wait!(queue.put_many(0..6)).unwrap();
    wait!(other.put_many(0..6)).unwrap();
    let nothing: [Receipt; 0] = [];
    let kept = wait!(queue.get()).unwrap();
    assert_eq!(wait!(queue.task_done(nothing)).unwrap(), 6, "none is none, and not any");
    assert_eq!(wait!(kept.done()).unwrap(), 5);
    assert_eq!(wait!(queue.task_done(wait!(queue.get_many(2)).unwrap())).unwrap(), 3);
    assert_eq!(wait!(queue.nack(wait!(queue.get_many(2)).unwrap())).unwrap(), 0);
    wait!(queue.give_up(wait!(queue.get_many(1)).unwrap())).unwrap();

    let of_both = [wait!(queue.get()).unwrap(), wait!(other.get()).unwrap()];
    assert_eq!(why(wait!(queue.task_done(of_both))), Reason::NotHeld);
    let state = (wait!(queue.state()).unwrap(), wait!(other.state()).unwrap());
    assert_eq!((state.0.size, state.1.size), (2, 6), "what could not be settled goes back");
});

promise!(a_call_to_settle_that_is_refused_gives_back, SHARED, |_server, manager| {
    let queue: WorkQueue<i64> = wait!(manager.new_queue_with(QueueOptions::fifo().on_done())).unwrap();
    wait!(queue.put_many(0..2)).unwrap();
    let [first, second] = wait!(queue.get_many(2)).unwrap().try_into().unwrap();
    let first = first.into_parts().1.keep();
    let twice = [queue.receipt(first), second.into(), queue.receipt(first)];
    assert_eq!(why(wait!(queue.task_done(twice))), Reason::NotHeld);
    assert_eq!(wait!(queue.qsize()).unwrap(), 1, "the second goes back, the first is kept");
    assert_eq!(wait!(queue.nack([queue.receipt(first)])).unwrap(), 0);
    assert_eq!(wait!(queue.qsize()).unwrap(), 2);
});

promise!(what_fails_too_often_is_a_dead_letter, SHARED, |_server, manager| {
    let options = QueueOptions::fifo().on_done().max_deliveries(2);
    let queue: WorkQueue<String> = wait!(manager.new_queue_with(options)).unwrap();
    wait!(queue.put_many(["bad".to_owned(), "worse".to_owned()])).unwrap();
    assert_eq!(wait!(wait!(queue.get()).unwrap().nack()).unwrap(), 0);
    assert_eq!(wait!(wait!(queue.get()).unwrap().nack()).unwrap(), 1, "twice is enough");
    wait!(wait!(queue.get()).unwrap().give_up()).unwrap();
    wait!(queue.join()).unwrap();
    let dead = wait!(queue.dead_letters()).unwrap();
    let seen: Vec<_> = dead.iter().map(|dead| (dead.item.as_deref().unwrap(), dead.attempts)).collect();
    assert_eq!(seen, [("bad", 2), ("worse", 1)]);

    assert_eq!(wait!(queue.requeue([dead[0].number, 1000])).unwrap(), 1);
    let again = wait!(queue.get()).unwrap();
    assert_eq!((again.as_str(), again.attempts(), again.is_redelivered()), ("bad", 1, true));
    assert_eq!(wait!(queue.drop_dead_letters([dead[0].number, dead[1].number])).unwrap(), 1);
    assert_eq!(wait!(queue.dead_letters()).unwrap().len(), 0);
    wait!(queue.shutdown(false)).unwrap();
    wait!(again.give_up()).unwrap();
    let dead = wait!(queue.dead_letters()).unwrap();
    assert_eq!(why(wait!(queue.requeue([dead[0].number]))), Reason::ShutDown);
});

promise!(dead_letters_are_listed_over_pages, SHARED, |_server, manager| {
    let queue: WorkQueue<String> = wait!(manager.new_queue_with(QueueOptions::fifo().on_done())).unwrap();
    wait!(queue.put_many((0..600).map(|number| format!("{number:01000}")))).unwrap();
    let mut given_up = 0;
    while given_up < 600 {
        let some = wait!(queue.get_many(1000)).unwrap();
        given_up += some.len();
        wait!(queue.give_up(some)).unwrap();
    }
    let numbers: Vec<u64> = wait!(queue.dead_letters()).unwrap().iter().map(|dead| dead.number).collect();
    assert_eq!(numbers, (1..=600).collect::<Vec<_>>());
});

promise!(what_cannot_be_read_is_not_lost_where_items_are_done, SHARED, |_server, manager| {
    let texts: WorkQueue<String> =
        wait!(manager.queue_with(&name("mixed"), QueueOptions::fifo().on_done().max_deliveries(3))).unwrap();
    let numbers: WorkQueue<i64> =
        wait!(manager.queue_with(&name("mixed"), QueueOptions::fifo().on_done().max_deliveries(3))).unwrap();
    wait!(numbers.put_many([1, 2])).unwrap();
    wait!(texts.put(&"text".to_owned())).unwrap();
    let unread = wait!(numbers.get_many(3));
    assert!(matches!(unread, Err(Error::Codec(_))), "{unread:?}");
    assert_eq!(wait!(numbers.qsize()).unwrap(), 3, "it goes back, and what came with it");
    let first = wait!(numbers.get_many(2)).unwrap();
    assert_eq!(first.iter().map(|item| (**item, item.attempts())).collect::<Vec<_>>(), [(1, 2), (2, 2)]);
    for _ in 0..2 {
        assert!(matches!(wait!(numbers.get()), Err(Error::Codec(_))));
    }
    assert!(wait!(numbers.get_nowait()).unwrap_err().is_empty());
    let dead = wait!(numbers.dead_letters()).unwrap();
    assert!(matches!(dead[..], [holdfast::DeadLetter { item: Err(_), attempts: 3, .. }]), "{dead:?}");
    assert_eq!(wait!(texts.dead_letters()).unwrap()[0].item.as_deref().unwrap(), "text");
});

promise!(a_kept_delivery_outlives_its_session, SHARED, |server, manager| {
    let options = QueueOptions::fifo().on_done().on_close(OnClose::Keep);
    let queue: WorkQueue<i64> = wait!(manager.queue_with(&name("kept"), options)).unwrap();
    wait!(queue.put_many([1, 2])).unwrap();
    let other: Manager = connect!(server.options()).unwrap();
    let theirs: WorkQueue<i64> = wait!(other.queue_with(&name("kept"), options)).unwrap();
    let numbers: Vec<u64> =
        wait!(theirs.get_many(2)).unwrap().into_iter().map(|item| item.into_parts().1.keep()).collect();
    assert_eq!(why(wait!(queue.receipt(numbers[0]).done())), Reason::NotHeld, "it is theirs");
    drop(theirs);
    wait!(other.close());
    assert_eq!(wait!(queue.state()).unwrap().delivered, 2);
    assert_eq!(wait!(queue.receipt(numbers[0]).done()).unwrap(), 1);
    drop(queue.receipt(numbers[1]));
    assert_eq!(wait!(queue.state()).unwrap().delivered, 1, "who was not given it gives nothing back");
    assert_eq!(wait!(queue.receipt(numbers[1]).nack()).unwrap(), 0);
    assert_eq!(*wait!(queue.get()).unwrap(), 2);
});

promise!(a_queue_is_opened_as_it_was_made, SHARED, |_server, manager| {
    let queue: Queue<i64> = wait!(manager.queue(&name("fifo"))).unwrap();
    let same: Queue<i64> = wait!(manager.queue_with(&name("fifo"), QueueOptions::default().maxsize(0))).unwrap();
    wait!(queue.put(&1)).unwrap();
    assert_eq!(wait!(same.get()).unwrap(), 1);
    let lifo = wait!(manager.queue_with::<i64, _>(&name("fifo"), QueueOptions::lifo()));
    assert_eq!(why(lifo), Reason::OtherSpec);
    let jobs = wait!(manager.queue_with::<i64, _>(&name("fifo"), QueueOptions::fifo().on_done()));
    assert_eq!(why(jobs), Reason::OtherSpec);
});

promise!(a_queue_goes_through_tokens_and_items, SHARED, |server, manager| {
    let jobs: WorkQueue<(String, Queue<i64>)> =
        wait!(manager.new_queue_with(QueueOptions::fifo().on_done())).unwrap();
    let answer: Queue<i64> = wait!(manager.new_queue()).unwrap();
    wait!(jobs.put(&("6 * 7".to_owned(), answer.clone()))).unwrap();
    let token = wait!(jobs.token(3, Duration::from_secs(60))).unwrap();

    let other: Manager = connect!(server.options()).unwrap();
    let theirs: WorkQueue<(String, Queue<i64>)> = wait!(other.queue_from_token(&token)).unwrap();
    let job = wait!(theirs.get()).unwrap();
    assert_eq!(job.0, "6 * 7");
    wait!(job.1.put(&42)).unwrap();
    wait!(job.done()).unwrap();
    assert_eq!(wait!(answer.get()).unwrap(), 42);
    assert_eq!(why(wait!(other.dict_from_token::<i64, i64>(&token))), Reason::WrongKind);
    let unsaid: Result<Queue<i64>, Error> = wait!(other.queue_from_token(&token));
    assert_eq!(why(unsaid), Reason::WrongType, "its items are to be said to be done");
    let token = wait!(answer.token(1, Duration::from_secs(60))).unwrap();
    let said: Result<WorkQueue<i64>, Error> = wait!(other.queue_from_token(&token));
    assert_eq!(why(said), Reason::WrongType);
});

promise!(what_a_session_had_goes_back_when_it_ends, SHARED, |server, manager| {
    let queue: WorkQueue<i64> = wait!(manager.queue_with(&name("left"), QueueOptions::fifo().on_done())).unwrap();
    wait!(queue.put_many(0..3)).unwrap();
    let other: Manager = connect!(server.options()).unwrap();
    let theirs: WorkQueue<i64> = wait!(other.queue_with(&name("left"), QueueOptions::fifo().on_done())).unwrap();
    let taken = wait!(theirs.get_many(2)).unwrap();
    wait!(other.close());
    let again = wait!(queue.get_many(3)).unwrap();
    let again: Vec<_> = again.iter().map(|item| (**item, item.is_redelivered())).collect();
    assert_eq!(again, [(0, true), (1, true), (2, false)]);
    let [first, second] = taken.try_into().unwrap();
    assert!(matches!(wait!(first.done()), Err(Error::Ended { .. })));
    drop(second);
});

promise!(calls_that_wait_are_served_in_their_order, SHARED, |server, manager| {
    let queue: Queue<usize> = wait!(manager.queue(&name("served"))).unwrap();
    let (send, order) = std::sync::mpsc::channel();
    let mut others = Vec::new();
    for number in 0..4 {
        let (options, send) = (server.options(), send.clone());
        others.push(std::thread::spawn(move || {
            let theirs = holdfast::blocking::Manager::connect_with(&options).unwrap();
            let theirs: holdfast::blocking::Queue<usize> = theirs.queue(&name("served")).unwrap();
            send.send((number, theirs.get().unwrap())).unwrap();
        }));
        while wait!(queue.state()).unwrap().getters <= number as u64 {}
    }
    wait!(queue.put_many(0..4)).unwrap();
    others.into_iter().for_each(|other| other.join().unwrap());
    let got: BTreeSet<(usize, usize)> = order.try_iter().collect();
    assert_eq!(got, (0..4).map(|number| (number, number)).collect());
});
