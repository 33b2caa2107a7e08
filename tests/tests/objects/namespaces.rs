// What a namespace promises, for either library: see `promises.rs`.

promise!(a_namespace_has_attributes_of_any_type, SHARED, |_server, manager| {
    let namespace: Namespace = wait!(manager.new_namespace()).unwrap();
    let missing = wait!(namespace.get::<i64>("x")).unwrap_err();
    assert!(missing.is_missing_attribute() && missing.to_string().contains("\"x\""), "{missing}");
    assert!(!wait!(namespace.contains("x")).unwrap());
    assert_eq!(why(wait!(namespace.delete("x"))), Reason::MissingAttribute);
    let first = wait!(namespace.set("x", &1)).unwrap();
    let second = wait!(namespace.set("y", "text")).unwrap();
    assert!(first > 0 && second > first);
    assert_eq!(wait!(namespace.get::<i64>("x")).unwrap(), 1);
    assert_eq!(wait!(namespace.get::<String>("y")).unwrap(), "text");
    assert_eq!(wait!(namespace.get_with_version::<i64>("x")).unwrap(), (1, first));
    assert!(wait!(namespace.contains("x")).unwrap());
    let read = wait!(namespace.get::<i64>("y"));
    assert!(matches!(&read, Err(Error::Codec(_))), "{read:?}");
    assert_eq!(wait!(namespace.names::<Vec<_>>()).unwrap(), ["x", "y"]);
    wait!(namespace.delete("x")).unwrap();
    assert_eq!(wait!(namespace.names::<Vec<_>>()).unwrap(), ["y"]);
});

promise!(a_namespace_is_read_and_written_as_a_struct, SHARED, |_server, manager| {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        name: String,
        retries: u32,
        ratio: Option<f64>,
    }
    let namespace: Namespace = wait!(manager.new_namespace()).unwrap();
    let settings = Settings { name: "a".into(), retries: 3, ratio: None };
    wait!(namespace.set_many(&settings)).unwrap();
    wait!(namespace.set("more", &true)).unwrap();
    assert_eq!(wait!(namespace.get::<u32>("retries")).unwrap(), 3);
    assert_eq!(wait!(namespace.get_all::<Settings>()).unwrap(), settings);
    wait!(namespace.set_many(&BTreeMap::from([("retries", 5), ("zeal", 7)]))).unwrap();
    assert_eq!(wait!(namespace.get::<u32>("retries")).unwrap(), 5);
    assert_eq!(wait!(namespace.names::<Vec<_>>()).unwrap(), ["name", "retries", "ratio", "more", "zeal"]);
    wait!(namespace.delete("name")).unwrap();
    let read = wait!(namespace.get_all::<Settings>());
    assert!(matches!(&read, Err(Error::Codec(_))), "{read:?}");
    for refused in [wait!(namespace.set_many(&5)), wait!(namespace.set_many(&BTreeMap::from([(1, 1)])))] {
        assert!(matches!(&refused, Err(Error::Codec(_))), "{refused:?}");
    }
});

promise!(a_namespace_adds_and_swaps, SHARED, |_server, manager| {
    let namespace: Namespace = wait!(manager.namespace(&name("counts"))).unwrap();
    assert_eq!(why(wait!(namespace.add("n", 1))), Reason::MissingAttribute);
    wait!(namespace.set("n", &5)).unwrap();
    assert_eq!(wait!(namespace.add("n", -7)).unwrap(), -2);
    assert_eq!(wait!(namespace.add("n", 0.5)).unwrap(), -1.5);
    wait!(namespace.set("n", &i64::MAX)).unwrap();
    assert_eq!(why(wait!(namespace.add("n", 1))), Reason::Overflow);
    wait!(namespace.set("t", "text")).unwrap();
    assert_eq!(why(wait!(namespace.add("t", 1))), Reason::WrongType);
    let made = wait!(namespace.compare_and_set("new", Expected::ABSENT, Some(&1))).unwrap();
    assert!(made.swapped && made.value == Some(1) && made.version > 0, "{made:?}");
    let kept = wait!(namespace.compare_and_set("new", Expected::Value(&9), Some(&2))).unwrap();
    assert_eq!(kept, Swap { swapped: false, value: Some(1), version: made.version });
    let gone = wait!(namespace.compare_and_set::<i64>("new", Expected::Version(made.version), None)).unwrap();
    assert_eq!(gone, Swap { swapped: true, value: None, version: 0 });
    assert!(!wait!(namespace.contains("new")).unwrap());
});

promise!(names_of_attributes_are_bounded, SHARED, |_server, manager| {
    let namespace: Namespace = wait!(manager.new_namespace()).unwrap();
    let longest = "n".repeat(256);
    wait!(namespace.set(&longest, &1)).unwrap();
    assert_eq!(wait!(namespace.get::<i64>(&longest)).unwrap(), 1);
    assert_eq!(why(wait!(namespace.set("", &1))), Reason::InvalidName);
    assert_eq!(why(wait!(namespace.set(&"n".repeat(257), &1))), Reason::InvalidName);
    let mixed = BTreeMap::from([("good", 1), ("", 2)]);
    assert_eq!(why(wait!(namespace.set_many(&mixed))), Reason::InvalidName);
    assert!(!wait!(namespace.contains("good")).unwrap(), "all or nothing");
});

promise!(a_large_namespace_is_read_and_written_in_pages, SHARED, |_server, manager| {
    let namespace: Namespace = wait!(manager.new_namespace()).unwrap();
    let all: BTreeMap<String, u64> = (0..50_000).map(|number| (format!("attribute {number:06}"), number)).collect();
    wait!(namespace.set_many(&all)).unwrap();
    assert!(wait!(namespace.names::<Vec<_>>()).unwrap().iter().eq(all.keys()));
    assert_eq!(wait!(namespace.items::<u64, BTreeMap<_, _>>()).unwrap(), all);
    assert_eq!(wait!(namespace.get_all::<BTreeMap<String, u64>>()).unwrap(), all);
});

promise!(a_namespace_is_no_dict_and_travels_by_token, &[("object_bytes", 1000)], |server, manager| {
    let namespace: Namespace = wait!(manager.namespace("n")).unwrap();
    assert_eq!(why(wait!(manager.dict::<i64, i64>("n"))), Reason::WrongKind);
    is_quota(wait!(namespace.set("a", &"x".repeat(1000))), "object_bytes");
    wait!(namespace.set("a", &1)).unwrap();
    let token = wait!(namespace.token(1, Duration::from_secs(60))).unwrap();
    let other = connect!(server.options()).unwrap();
    let same: Namespace = wait!(other.namespace_from_token(&token)).unwrap();
    assert_eq!(wait!(same.add("a", 1)).unwrap(), 2);
    assert_eq!(wait!(namespace.get::<i64>("a")).unwrap(), 2);
});
