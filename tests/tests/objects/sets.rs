// What a set promises, for either library: see `promises.rs`.

promise!(a_set_adds_and_removes, SHARED, |_server, manager| {
    let set: Set<String> = wait!(manager.new_set()).unwrap();
    assert!(wait!(set.is_empty()).unwrap());
    assert!(wait!(set.add("a")).unwrap());
    assert!(!wait!(set.add("a")).unwrap(), "it was there");
    assert!(wait!(set.add("b")).unwrap());
    assert!(wait!(set.contains("a")).unwrap());
    assert!(!wait!(set.contains("c")).unwrap());
    assert_eq!(wait!(set.len()).unwrap(), 2);
    assert!(!wait!(set.is_empty()).unwrap());
    assert!(!wait!(set.discard("c")).unwrap());
    assert_eq!(why(wait!(set.remove("c"))), Reason::MissingKey);
    assert!(wait!(set.remove("c")).unwrap_err().is_missing_key());
    wait!(set.remove("a")).unwrap();
    assert!(wait!(set.discard("b")).unwrap());
    assert_eq!(why(wait!(set.pop())), Reason::Empty);
    wait!(set.update(["x", "y"])).unwrap();
    assert_eq!(wait!(set.pop()).unwrap(), "y", "the one put in last");
    assert_eq!(wait!(set.clear()).unwrap(), 1);
    assert_eq!(wait!(set.clear()).unwrap(), 0);
});

promise!(members_compare_as_in_python, SHARED, |_server, manager| {
    let set: Set<f64> = wait!(manager.set(&name("numbers"))).unwrap();
    assert!(wait!(set.add(&1.0)).unwrap());
    let same: Set<i64> = wait!(manager.set(&name("numbers"))).unwrap();
    assert!(!wait!(same.add(&1)).unwrap());
    assert_eq!(wait!(same.add_many(&[1, 2])).unwrap(), 1);
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), [1.0, 2.0]);
    assert!(wait!(same.compare(&[2, 1])).unwrap().is_equal());
    assert_eq!(why(wait!(set.add(&f64::NAN))), Reason::NanKey);
    assert_eq!(why(wait!(set.contains(&f64::NAN))), Reason::NanKey);
    assert_eq!(why(wait!(set.add_many(&[3.0, f64::NAN]))), Reason::NanKey);
    assert_eq!(why(wait!(set.compare(&[f64::NAN]))), Reason::NanKey);
    assert_eq!(wait!(set.len()).unwrap(), 2, "a refusal changes nothing");
    let read = wait!(same.copy::<Vec<_>>());
    assert!(matches!(&read, Err(Error::Codec(_))), "a float is no integer, and the first form stays: {read:?}");
    wait!(manager.delete(&name("numbers"))).unwrap();
    assert_eq!(why(wait!(set.len())), Reason::UnknownObject);
});

promise!(a_set_changes_by_another, SHARED, |_server, manager| {
    let set: Set<i64> = wait!(manager.new_set()).unwrap();
    assert_eq!(wait!(set.add_many(&[3, 1, 2, 1])).unwrap(), 3);
    assert_eq!(wait!(set.update(&[4, 1])).unwrap(), 1);
    assert_eq!(wait!(set.contains_many(&[1, 9, 1])).unwrap(), [true, false, true]);
    assert_eq!(wait!(set.contains_many(&[])).unwrap(), [false; 0]);
    assert_eq!(wait!(set.remove_many(&[1, 1, 9])).unwrap(), 1);
    assert_eq!(wait!(set.difference_update(&[9])).unwrap(), 0);
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), [3, 2, 4], "in the order of insertion");
    assert_eq!(wait!(set.symmetric_difference_update(&[4, 5, 5, 1])).unwrap(), (2, 1));
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), [3, 2, 5, 1]);
    assert_eq!(wait!(set.intersection_update(&[1, 3, 8])).unwrap(), 2);
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), [3, 1]);
    assert_eq!(wait!(set.intersection_update(&[])).unwrap(), 2);
    assert!(wait!(set.is_empty()).unwrap());
});

promise!(a_set_is_compared_with_another, SHARED, |_server, manager| {
    let set: Set<i64> = wait!(manager.new_set()).unwrap();
    wait!(set.add_many(&[1, 2, 3])).unwrap();
    let equal = wait!(set.compare(&[3, 2, 1, 1])).unwrap();
    assert!(equal.is_equal() && equal.is_subset() && equal.is_superset());
    assert!(!equal.is_proper_subset() && !equal.is_proper_superset() && !equal.is_disjoint());
    let smaller = wait!(set.compare(&[1, 2])).unwrap();
    assert!(smaller.is_proper_superset() && smaller.is_superset() && !smaller.is_subset() && !smaller.is_equal());
    let larger = wait!(set.compare(&[1, 2, 3, 4])).unwrap();
    assert!(larger.is_proper_subset() && larger.is_subset() && !larger.is_superset() && !larger.is_equal());
    let other = wait!(set.compare(&[1, 9])).unwrap();
    assert!(!other.is_subset() && !other.is_superset() && !other.is_disjoint());
    assert!(wait!(set.is_subset(&[4, 3, 2, 1])).unwrap());
    assert!(!wait!(set.is_subset(&[1])).unwrap());
    assert!(wait!(set.is_superset(&[1])).unwrap());
    assert!(wait!(set.is_superset(&[])).unwrap());
    assert!(!wait!(set.is_superset(&[4])).unwrap());
    assert!(wait!(set.is_disjoint(&[4])).unwrap());
    assert!(!wait!(set.is_disjoint(&[4, 1])).unwrap());
});

promise!(a_set_is_combined_with_another_and_stays_as_it_is, SHARED, |_server, manager| {
    let set: Set<String> = wait!(manager.new_set()).unwrap();
    wait!(set.add_many(["a", "b", "c"])).unwrap();
    let other = ["c", "d", "b", "d"];
    let union: Vec<String> = wait!(set.union(other)).unwrap();
    assert_eq!(union, ["a", "c", "d", "b"]);
    let common: Vec<String> = wait!(set.intersection(other)).unwrap();
    assert_eq!(common, ["b", "c"]);
    let rest: BTreeSet<String> = wait!(set.difference(other)).unwrap();
    assert_eq!(rest, BTreeSet::from(["a".into()]));
    let either: Vec<String> = wait!(set.symmetric_difference(other)).unwrap();
    assert_eq!(either, ["a", "d"]);
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), ["a", "b", "c"]);
});

promise!(large_sets_are_combined_in_pages, SHARED, |_server, manager| {
    const COUNT: u64 = 200_000;
    let set: Set<u64> = wait!(manager.new_set()).unwrap();
    let members: Vec<u64> = (0..COUNT).collect();
    assert_eq!(wait!(set.add_many(&members)).unwrap(), COUNT);
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), members);
    assert!(wait!(set.contains_many(&members)).unwrap().iter().all(|contains| *contains));
    let other: Vec<u64> = (COUNT - 50_000..COUNT + 10).collect();
    let rest: Vec<u64> = wait!(set.difference(&other)).unwrap();
    assert_eq!(rest, members[..150_000]);
    let common: Vec<u64> = wait!(set.intersection(&other)).unwrap();
    assert_eq!(common, members[150_000..]);
    let union: Vec<u64> = wait!(set.union(&other)).unwrap();
    assert_eq!(union, Vec::from_iter(0..COUNT + 10));
    let either: Vec<u64> = wait!(set.symmetric_difference(&other)).unwrap();
    assert!(either.iter().copied().eq((0..150_000).chain(COUNT..COUNT + 10)));
    assert_eq!(wait!(set.remove_many(&members[10..])).unwrap(), COUNT - 10);
});

promise!(another_set_that_is_too_large_for_one_request_is_refused_where_it_must_be_whole, SHARED, |_server, manager| {
    let set: Set<String> = wait!(manager.new_set()).unwrap();
    // Two mebibytes, where a request may have one.
    let members: Vec<String> = (0..2048).map(|number| format!("{number:01024}")).collect();
    assert_eq!(wait!(set.add_many(&members)).unwrap(), 2048, "in chunks");
    assert_eq!(wait!(set.contains_many(&members)).unwrap().len(), 2048);
    assert_eq!(why(wait!(set.intersection_update(&members))), Reason::ValueTooLarge);
    assert_eq!(why(wait!(set.symmetric_difference_update(&members))), Reason::ValueTooLarge);
    assert_eq!(why(wait!(set.compare(&members))), Reason::ValueTooLarge);
    assert_eq!(why(wait!(set.is_subset(&members))), Reason::ValueTooLarge);
    assert_eq!(why(wait!(set.difference::<_, Vec<_>>(&members))), Reason::ValueTooLarge);
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), members, "a refusal changes nothing");
    assert_eq!(wait!(set.remove_many(&members)).unwrap(), 2048, "in chunks");
});

promise!(a_set_is_no_dict_and_travels_by_token, &[("object_bytes", 1000)], |server, manager| {
    let set: Set<String> = wait!(manager.set("s")).unwrap();
    assert_eq!(why(wait!(manager.dict::<i64, i64>("s"))), Reason::WrongKind);
    wait!(set.add("a")).unwrap();
    is_quota(wait!(set.add(&*"x".repeat(1000))), "object_bytes");
    is_quota(wait!(set.add_many(["b", &"x".repeat(1000)])), "object_bytes");
    is_quota(wait!(set.symmetric_difference_update(["a", &"x".repeat(1000)])), "object_bytes");
    assert_eq!(wait!(set.copy::<Vec<_>>()).unwrap(), ["a"], "all or nothing");
    let token = wait!(set.token(1, Duration::from_secs(60))).unwrap();
    let other = connect!(server.options()).unwrap();
    let same: Set<String> = wait!(other.set_from_token(&token)).unwrap();
    assert!(wait!(same.discard("a")).unwrap());
    assert!(wait!(set.is_empty()).unwrap());
});
