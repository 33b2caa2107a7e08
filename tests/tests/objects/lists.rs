// What proxies to lists promise, for either library: see `promises.rs`.

/// Another client, on a thread of its own, that does one thing over and over until it is dropped.
struct Meanwhile {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Meanwhile {
    /// Returns when it was done for the first time.
    fn on(
        manager: holdfast::blocking::Manager,
        list: &str,
        mut what: impl FnMut(&holdfast::blocking::List<i64>, i64) + Send + 'static,
    ) -> Self {
        use std::sync::atomic::Ordering;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (began, has_begun) = std::sync::mpsc::channel();
        let (stopped, list) = (stop.clone(), list.to_owned());
        let thread = std::thread::spawn(move || {
            let list = manager.list(&list).expect("a list is opened or made");
            for turn in 0.. {
                what(&list, turn);
                let _ = began.send(());
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        has_begun.recv().expect("it is done once");
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

promise!(a_list_gets_sets_inserts_and_deletes, SHARED, |_server, manager| {
    let list: List<String> = wait!(manager.new_list()).unwrap();
    assert!(wait!(list.is_empty()).unwrap());
    assert_eq!(why(wait!(list.get(0))), Reason::IndexOutOfRange);
    wait!(list.append(&"b".into())).unwrap();
    wait!(list.insert(0, &"a".into())).unwrap();
    wait!(list.insert(99, &"d".into())).unwrap();
    wait!(list.insert(-1, &"c".into())).unwrap();
    assert_eq!(wait!(list.to_vec()).unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(wait!(list.get(-4)).unwrap(), "a");
    wait!(list.set(-1, &"e".into())).unwrap();
    assert_eq!(wait!(list.get(3)).unwrap(), "e");
    for index in [4, -5, i64::MAX, i64::MIN] {
        assert_eq!(why(wait!(list.get(index))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(list.set(index, &"x".into()))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(list.delete(index))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(list.pop_at(index))), Reason::IndexOutOfRange);
        assert_eq!(why(wait!(list.swap(0, index))), Reason::IndexOutOfRange);
    }
    wait!(list.delete(-2)).unwrap();
    wait!(list.swap(0, -1)).unwrap();
    assert_eq!(wait!(list.to_vec()).unwrap(), ["e", "b", "a"]);
    assert_eq!(wait!(list.len()).unwrap(), 3);
    assert_eq!(wait!(list.clear()).unwrap(), 3);
    assert_eq!(wait!(list.clear()).unwrap(), 0);
    assert_eq!(wait!(list.to_vec()).unwrap(), Vec::<String>::new());
});

promise!(a_list_pops_and_is_taken_from, SHARED, |_server, manager| {
    let list: List<i64> = wait!(manager.new_list()).unwrap();
    assert_eq!(why(wait!(list.pop())), Reason::Empty);
    assert_eq!(why(wait!(list.pop_at(0))), Reason::Empty);
    assert_eq!(wait!(list.take_front(5)).unwrap(), []);
    wait!(list.extend(0..10)).unwrap();
    wait!(list.extend([])).unwrap();
    assert_eq!(wait!(list.pop()).unwrap(), 9);
    assert_eq!(wait!(list.pop_at(0)).unwrap(), 0);
    assert_eq!(wait!(list.pop_at(-2)).unwrap(), 7);
    assert_eq!(wait!(list.take_front(2)).unwrap(), [1, 2]);
    assert_eq!(wait!(list.take_back(2)).unwrap(), [8, 6]);
    assert_eq!(wait!(list.take_back(0)).unwrap(), []);
    assert_eq!(wait!(list.take_back(u64::MAX)).unwrap(), [5, 4, 3]);
});

promise!(a_list_looks_for_values_as_python_does, SHARED, |_server, manager| {
    let list: List<f64> = wait!(manager.list(&name("sought"))).unwrap();
    let same: List<i64> = wait!(manager.list(&name("sought"))).unwrap();
    wait!(list.extend([0.0, 1.0, 2.0, f64::NAN, 1.0])).unwrap();
    assert_eq!(wait!(same.index(&1)).unwrap(), 1);
    assert_eq!(wait!(same.index_within(&1, 2..)).unwrap(), 4);
    assert_eq!(wait!(same.index_within(&1, -1..)).unwrap(), 4);
    assert_eq!(why(wait!(same.index_within(&1, ..1))), Reason::MissingValue);
    assert_eq!(wait!(same.index_within(&1, ..=1)).unwrap(), 1);
    assert_eq!(why(wait!(same.index(&3))), Reason::MissingValue);
    assert_eq!(wait!(same.count(&1)).unwrap(), 2);
    assert!(wait!(same.contains(&2)).unwrap());
    assert!(!wait!(list.contains(&f64::NAN)).unwrap(), "NaN equals nothing");
    wait!(same.remove(&1)).unwrap();
    wait!(same.remove(&1)).unwrap();
    assert_eq!(why(wait!(same.remove(&1))), Reason::MissingValue);
    assert_eq!(wait!(list.len()).unwrap(), 3);
    let texts: List<String> = wait!(manager.new_list()).unwrap();
    wait!(texts.append(&"a".into())).unwrap();
    assert_eq!(wait!(texts.index("a")).unwrap(), 0, "a text is looked for without making one");
});

promise!(a_list_has_slices, SHARED, |_server, manager| {
    let list: List<i64> = wait!(manager.new_list()).unwrap();
    wait!(list.extend(0..6)).unwrap();
    assert_eq!(wait!(list.get_slice(1..3)).unwrap(), [1, 2]);
    assert_eq!(wait!(list.get_slice(1..=3)).unwrap(), [1, 2, 3]);
    assert_eq!(wait!(list.get_slice(-2..)).unwrap(), [4, 5]);
    assert_eq!(wait!(list.get_slice(..=-1)).unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(wait!(list.get_slice(4..99)).unwrap(), [4, 5]);
    assert_eq!(wait!(list.get_slice(99..)).unwrap(), []);
    assert_eq!(wait!(list.get_slice_step(.., -1)).unwrap(), [5, 4, 3, 2, 1, 0]);
    assert_eq!(wait!(list.get_slice_step(1.., 3)).unwrap(), [1, 4]);
    assert_eq!(wait!(list.get_slice_step(-1..=0, -2)).unwrap(), [5, 3, 1]);
    assert_eq!(why(wait!(list.get_slice_step(.., 0))), Reason::Malformed);

    wait!(list.set_slice(1..3, [7, 8, 9])).unwrap();
    wait!(list.set_slice(0..0, [-1])).unwrap();
    wait!(list.set_slice(i64::MAX.., [10, 11])).unwrap();
    assert_eq!(wait!(list.to_vec()).unwrap(), [-1, 0, 7, 8, 9, 3, 4, 5, 10, 11]);
    wait!(list.set_slice_step(.., 5, [1, 2])).unwrap();
    assert_eq!(why(wait!(list.set_slice_step(.., 5, [1, 2, 3]))), Reason::Malformed);
    assert_eq!(why(wait!(list.set_slice_step(.., 0, [1]))), Reason::Malformed);
    assert_eq!(wait!(list.to_vec()).unwrap(), [1, 0, 7, 8, 9, 2, 4, 5, 10, 11]);
    assert_eq!(wait!(list.delete_slice(..2)).unwrap(), 2);
    assert_eq!(wait!(list.delete_slice_step(.., -3)).unwrap(), 3);
    assert_eq!(wait!(list.delete_slice(5..)).unwrap(), 0);
    assert_eq!(wait!(list.to_vec()).unwrap(), [7, 9, 2, 5, 10]);
    assert_eq!(why(wait!(list.delete_slice_step(.., 0))), Reason::Malformed);
    let copy: std::collections::VecDeque<i64> = wait!(list.copy()).unwrap();
    assert_eq!(copy, [7, 9, 2, 5, 10]);
});

promise!(a_list_adds_compares_and_sets, SHARED, |_server, manager| {
    let list: List<i64> = wait!(manager.new_list()).unwrap();
    wait!(list.extend([5, i64::MAX])).unwrap();
    assert_eq!(wait!(list.add(0, -7)).unwrap(), -2);
    assert_eq!(why(wait!(list.add(-1, 1))), Reason::Overflow);
    assert_eq!(why(wait!(list.add(2, 1))), Reason::IndexOutOfRange);
    assert!(wait!(list.compare_and_set(0, &-2, &1)).unwrap());
    assert!(!wait!(list.compare_and_set(0, &-2, &2)).unwrap());
    assert_eq!(why(wait!(list.compare_and_set(2, &-2, &2))), Reason::IndexOutOfRange);
    assert_eq!(wait!(list.to_vec()).unwrap(), [1, i64::MAX]);
    let texts: List<String> = wait!(manager.new_list()).unwrap();
    wait!(texts.append(&"a".into())).unwrap();
    assert_eq!(why(wait!(texts.add(0, "b".into()))), Reason::WrongType);
});

promise!(a_list_is_sorted_reversed_and_repeated, SHARED, |_server, manager| {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Any {
        Boolean(bool),
        Integer(i64),
        Float(f64),
        Text(String),
    }
    use Any::{Boolean, Float, Integer, Text};
    let list: List<Any> = wait!(manager.new_list()).unwrap();
    const TWO_TO_53: i64 = 1 << 53;
    let mixed = [Integer(TWO_TO_53 + 1), Float(TWO_TO_53 as f64), Boolean(true), Integer(1), Float(0.5)];
    wait!(list.extend(mixed)).unwrap();
    wait!(list.sort()).unwrap();
    let sorted = [Float(0.5), Boolean(true), Integer(1), Float(TWO_TO_53 as f64), Integer(TWO_TO_53 + 1)];
    assert_eq!(wait!(list.to_vec()).unwrap(), sorted);
    wait!(list.sort_reversed()).unwrap();
    let reversed = [Integer(TWO_TO_53 + 1), Float(TWO_TO_53 as f64), Boolean(true), Integer(1), Float(0.5)];
    assert_eq!(wait!(list.to_vec()).unwrap(), reversed, "what is equal keeps its order");
    wait!(list.append(&Text("x".into()))).unwrap();
    assert_eq!(why(wait!(list.sort())), Reason::WrongType);
    assert_eq!(wait!(list.get_slice(..-1)).unwrap(), reversed, "a refusal changes nothing");
    wait!(list.set(-1, &Float(f64::NAN))).unwrap();
    assert_eq!(why(wait!(list.sort_reversed())), Reason::WrongType);

    let pairs: List<(String, i64)> = wait!(manager.new_list()).unwrap();
    wait!(pairs.extend([("b".into(), 1), ("a".into(), 2), ("a".into(), 1)])).unwrap();
    wait!(pairs.sort()).unwrap();
    wait!(pairs.reverse()).unwrap();
    assert_eq!(wait!(pairs.to_vec()).unwrap(), [("b".into(), 1), ("a".into(), 2), ("a".into(), 1)]);
    wait!(pairs.repeat(2)).unwrap();
    assert_eq!(wait!(pairs.len()).unwrap(), 6);
    is_quota(wait!(pairs.repeat(i64::MAX)), "one call may add 67108864");
    assert_eq!(wait!(pairs.len()).unwrap(), 6);
    wait!(pairs.repeat(0)).unwrap();
    assert!(wait!(pairs.is_empty()).unwrap());
});

promise!(a_list_is_one_for_all_and_travels_as_a_token, SHARED, |server, manager| {
    let other = connect!(server.options_at(1)).unwrap();
    let here: List<i64> = wait!(manager.list(&name("list for all"))).unwrap();
    let there: List<i64> = wait!(other.list(&name("list for all"))).unwrap();
    wait!(here.append(&1)).unwrap();
    let clone = there.clone();
    assert_eq!(wait!(clone.pop()).unwrap(), 1);
    assert_eq!(why(wait!(manager.dict::<i64, i64>(&name("list for all")))), Reason::WrongKind);
    let token = wait!(here.token(2, Duration::from_secs(60))).unwrap();
    assert_eq!(why(wait!(other.dict_from_token::<i64, i64>(&token))), Reason::WrongKind);
    let same: List<i64> = wait!(other.list_from_token(&token)).unwrap();
    wait!(same.append(&2)).unwrap();
    assert_eq!(wait!(here.with_timeout(None).to_vec()).unwrap(), [2]);
    wait!(manager.delete(&name("list for all"))).unwrap();
    assert_eq!(why(wait!(there.append(&1))), Reason::UnknownObject);
});

promise!(a_hundred_thousand_elements_are_read_in_pages, SHARED, |_server, manager| {
    const COUNT: i64 = 100_000;
    let list: List<i64> = wait!(manager.new_list()).unwrap();
    wait!(list.extend(0..COUNT)).unwrap();
    assert_eq!(wait!(list.to_vec()).unwrap(), Vec::from_iter(0..COUNT));
    assert_eq!(wait!(list.get_slice_step(.., -1)).unwrap(), Vec::from_iter((0..COUNT).rev()));
    assert_eq!(wait!(list.delete_slice_step(.., 2)).unwrap() as i64, COUNT / 2);
    assert_eq!(wait!(list.copy::<Vec<_>>()).unwrap(), Vec::from_iter((1..COUNT).step_by(2)));
    let mut taken = 0;
    loop {
        match wait!(list.take_front(u64::MAX)).unwrap().len() {
            0 => break,
            page => taken += page as i64,
        }
    }
    assert_eq!(taken, COUNT / 2);
});

promise!(elements_near_the_limit_pass_and_larger_ones_are_refused, SHARED, |_server, manager| {
    const LIMIT: usize = 1 << 20;
    let list: List<String> = wait!(manager.new_list()).unwrap();
    let large = "x".repeat(LIMIT - 100);
    wait!(list.extend((0..4).map(|_| large.clone()))).unwrap();
    assert!(wait!(list.to_vec()).unwrap().iter().all(|element| *element == large));
    assert_eq!(why(wait!(list.append(&"x".repeat(LIMIT)))), Reason::ValueTooLarge);
    assert_eq!(why(wait!(list.set_slice(.., [large.clone(), large]))), Reason::ValueTooLarge, "one call");
    // What went before the one that is too large is there.
    assert_eq!(why(wait!(list.extend(["small".into(), "x".repeat(LIMIT)]))), Reason::ValueTooLarge);
    assert_eq!(wait!(list.len()).unwrap(), 5);
});

promise!(a_list_has_only_so_many_bytes, &[("object_bytes", 1000)], |_server, manager| {
    let list: List<String> = wait!(manager.new_list()).unwrap();
    wait!(list.extend([String::new(), "x".repeat(452)])).unwrap();
    assert_eq!(wait!(manager.status()).unwrap().bytes, 500);
    is_quota(wait!(list.append(&"x".repeat(477))), "object_bytes");
    is_quota(wait!(list.insert(0, &"x".repeat(477))), "object_bytes");
    is_quota(wait!(list.set(0, &"x".repeat(525))), "object_bytes");
    is_quota(wait!(list.extend([String::new(), "x".repeat(453)])), "object_bytes");
    is_quota(wait!(list.set_slice(.., ["x".repeat(977)])), "object_bytes");
    is_quota(wait!(list.repeat(3)), "object_bytes");
    assert_eq!(wait!(list.len()).unwrap(), 2, "all or nothing");
    wait!(list.repeat(2)).unwrap();
    assert_eq!(wait!(manager.status()).unwrap().bytes, 1000);
    assert_eq!(wait!(list.delete_slice(1..)).unwrap(), 3);
    assert_eq!(wait!(manager.status()).unwrap().bytes, 24);
});

promise!(a_list_that_grows_is_read_as_of_one_moment, &[("page_bytes", 1024)], |server, manager| {
    const COUNT: i64 = 2000;
    let list: List<i64> = wait!(manager.list("grows")).unwrap();
    wait!(list.extend(0..COUNT)).unwrap();
    let before = wait!(list.len()).unwrap();
    let appending = Meanwhile::on(server.connect_blocking(), "grows", |list, turn| {
        list.append(&(COUNT + turn)).unwrap();
    });
    for _ in 0..5 {
        let read = wait!(list.to_vec()).unwrap();
        assert!(read.len() as u64 >= before);
        assert!((0..).zip(&read).all(|(expected, element)| expected == *element), "{read:?}");
    }
    drop(appending);
    assert!(wait!(list.len()).unwrap() > before, "it grew meanwhile");
});

promise!(a_list_whose_elements_move_is_never_read_wrongly, &[("page_bytes", 1024)], |server, manager| {
    const COUNT: i64 = 2000;
    let list: List<i64> = wait!(manager.list("moves")).unwrap();
    wait!(list.extend(0..COUNT)).unwrap();
    let moving = Meanwhile::on(server.connect_blocking(), "moves", |list, turn| {
        list.swap(turn % COUNT, -1 - turn * 7 % COUNT).unwrap();
    });
    for _ in 0..5 {
        match wait!(list.to_vec()) {
            Ok(mut read) => {
                read.sort_unstable();
                assert!(read.into_iter().eq(0..COUNT), "an element was skipped or read twice");
            }
            Err(error) => assert!(matches!(error, Error::Changing { .. }), "{error:?}"),
        }
    }
    let first = wait!(list.get_slice(..100)).unwrap();
    assert_eq!(first.len(), 100, "what fits a page is read at once");
    drop(moving);
    assert_eq!(wait!(list.to_vec()).unwrap().len() as i64, COUNT);
});
