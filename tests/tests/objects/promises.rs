// What proxies promise, for either library: `wait!` makes a call, `promise!` a test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use holdfast::proxy::{Element, ElementSwap, Expected, Slice, Swap};
use holdfast::{Address, BreakCause, ConnectError, Error, Holding, OnLoss, Options, Reason, blocking};
use holdfast_proto::datum::DEPTH;
use holdfast_tests::until;
use serde::{Deserialize, Serialize};

const SHARED: &[(&str, u64)] = &[];

fn name(of: &str) -> String {
    format!("{LIBRARY} {of}")
}

/// Long enough for what is to happen.
const SOON: Duration = Duration::from_secs(20);

/// Long enough to see that something does not happen.
const MOMENT: Duration = Duration::from_millis(20);

/// Does something in a session and a thread of its own, while the test waits.
fn meanwhile(
    options: &Options,
    work: impl FnOnce(blocking::Manager) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let options = options.clone();
    std::thread::spawn(move || work(blocking::Manager::connect_with(&options).expect("the manager is there")))
}

/// Why a call was refused.
#[track_caller]
fn why<T>(result: Result<T, Error>) -> Reason {
    match result {
        Err(error) => error.reason().unwrap_or_else(|| panic!("not refused, but {error:?}")),
        Ok(_) => panic!("not refused"),
    }
}

/// Which limit a call was refused for.
#[track_caller]
fn is_quota<T>(result: Result<T, Error>, limit: &str) {
    match result {
        Err(Error::Refused(refusal)) if refusal.why() == Reason::Quota => {
            assert!(refusal.message.contains(limit), "{}", refusal.message);
        }
        Err(error) => panic!("not refused for {limit}, but {error:?}"),
        Ok(_) => panic!("not refused for {limit}"),
    }
}

promise!(a_dict_gets_sets_and_deletes, SHARED, |_server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(wait!(dict.get("a")).unwrap(), None);
    assert_eq!(wait!(dict.get_with_version("a")).unwrap(), None);
    assert!(wait!(dict.is_empty()).unwrap());
    let first = wait!(dict.set("a", &1)).unwrap();
    let second = wait!(dict.set("a", &2)).unwrap();
    assert!(first > 0 && second > first, "{first} {second}");
    assert_eq!(wait!(dict.get_with_version("a")).unwrap(), Some((2, second)));
    assert_eq!(wait!(dict.len()).unwrap(), 1);
    assert!(!wait!(dict.is_empty()).unwrap());
    assert!(wait!(dict.contains("a")).unwrap());
    assert!(!wait!(dict.contains("b")).unwrap());
    wait!(dict.delete("a")).unwrap();
    let gone = wait!(dict.delete("a"));
    assert!(gone.as_ref().is_err_and(Error::is_missing_key), "{gone:?}");
    assert_eq!(wait!(dict.len()).unwrap(), 0);
});

promise!(a_dict_pops, SHARED, |_server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(why(wait!(dict.pop("a"))), Reason::MissingKey);
    assert_eq!(wait!(dict.pop_or("a", &-1)).unwrap(), -1);
    assert_eq!(why(wait!(dict.popitem())), Reason::Empty);
    wait!(dict.update([("a".into(), 1), ("b".into(), 2), ("c".into(), 3)])).unwrap();
    wait!(dict.set("a", &10)).unwrap();
    assert_eq!(wait!(dict.popitem()).unwrap(), ("c".into(), 3), "the one put in last, not the one written last");
    assert_eq!(wait!(dict.pop("a")).unwrap(), 10);
    assert_eq!(wait!(dict.pop_or("b", &-1)).unwrap(), 2);
    assert_eq!(wait!(dict.len()).unwrap(), 0);
});

promise!(a_dict_sets_defaults, SHARED, |_server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(wait!(dict.setdefault("a", &1)).unwrap(), 1);
    assert_eq!(wait!(dict.setdefault("a", &2)).unwrap(), 1);
    assert!(!wait!(dict.insert_if_absent("a", &3)).unwrap());
    assert!(wait!(dict.insert_if_absent("b", &4)).unwrap());
    assert_eq!(wait!(dict.items::<Vec<_>>()).unwrap(), [("a".into(), 1), ("b".into(), 4)]);
});

promise!(a_dict_keeps_the_order_in_every_listing, SHARED, |_server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(wait!(dict.items::<Vec<_>>()).unwrap(), []);
    wait!(dict.update([("z".into(), 1), ("a".into(), 2), ("m".into(), 3), ("a".into(), 4)])).unwrap();
    wait!(dict.update([])).unwrap();
    assert_eq!(wait!(dict.keys::<Vec<_>>()).unwrap(), ["z", "a", "m"]);
    assert_eq!(wait!(dict.values::<Vec<_>>()).unwrap(), [1, 4, 3]);
    assert_eq!(wait!(dict.items::<Vec<_>>()).unwrap(), [("z".into(), 1), ("a".into(), 4), ("m".into(), 3)]);
    let copy: HashMap<String, i64> = wait!(dict.copy()).unwrap();
    assert_eq!(copy, HashMap::from([("z".into(), 1), ("a".into(), 4), ("m".into(), 3)]));
    let merged: BTreeMap<String, i64> = wait!(dict.merge([("a".into(), 9), ("n".into(), 5)])).unwrap();
    assert_eq!(merged, BTreeMap::from([("a".into(), 9), ("m".into(), 3), ("n".into(), 5), ("z".into(), 1)]));
    assert_eq!(wait!(dict.get("a")).unwrap(), Some(4), "merging changes nothing");
    let found = wait!(dict.get_many(["m", "nobody", "z", "m"])).unwrap();
    assert_eq!(found, [Some(3), None, Some(1), Some(3)]);
    assert_eq!(wait!(dict.get_many::<str>([])).unwrap(), []);
    assert_eq!(wait!(dict.clear()).unwrap(), 3);
    assert_eq!(wait!(dict.clear()).unwrap(), 0);
});

promise!(a_dict_adds, SHARED, |_server, manager| {
    let integers: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(wait!(integers.add("n", 5)).unwrap(), 5);
    assert_eq!(wait!(integers.add("n", -7)).unwrap(), -2);
    wait!(integers.set("most", &i64::MAX)).unwrap();
    assert_eq!(why(wait!(integers.add("most", 1))), Reason::Overflow);
    assert_eq!(wait!(integers.get("most")).unwrap(), Some(i64::MAX), "a refusal changes nothing");
    wait!(integers.set("least", &i64::MIN)).unwrap();
    assert_eq!(why(wait!(integers.add("least", -1))), Reason::Overflow);

    let floats: Dict<String, f64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(wait!(floats.add("n", 0.5)).unwrap(), 0.5);
    assert_eq!(wait!(floats.add("n", 0.25)).unwrap(), 0.75);
    wait!(floats.set("most", &f64::MAX)).unwrap();
    assert_eq!(why(wait!(floats.add("most", f64::MAX))), Reason::Overflow);
    assert_eq!(wait!(floats.get("most")).unwrap(), Some(f64::MAX));

    let texts: Dict<String, String> = wait!(manager.new_dict()).unwrap();
    wait!(texts.set("t", &"1".into())).unwrap();
    assert_eq!(why(wait!(texts.add("t", "1".into()))), Reason::WrongType);
    assert_eq!(why(wait!(texts.add("new", "1".into()))), Reason::WrongType);
    assert!(!wait!(texts.contains("new")).unwrap(), "a refusal changes nothing");

    let booleans: Dict<String, bool> = wait!(manager.new_dict()).unwrap();
    wait!(booleans.set("b", &true)).unwrap();
    assert_eq!(why(wait!(booleans.add("b", true))), Reason::WrongType);
    let large: Dict<String, u128> = wait!(manager.new_dict()).unwrap();
    wait!(large.set("l", &u128::MAX)).unwrap();
    assert_eq!(why(wait!(large.add("l", 1))), Reason::WrongType, "a big integer");
});

promise!(a_dict_compares_and_sets, SHARED, |_server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    let no = |value, version| Swap { swapped: false, value, version };
    assert_eq!(wait!(dict.compare_and_set("a", Expected::Value(&1), Some(&2))).unwrap(), no(None, 0));
    let made = wait!(dict.compare_and_set("a", Expected::ABSENT, Some(&1))).unwrap();
    assert!(made.swapped && made.value == Some(1) && made.version > 0, "{made:?}");
    assert_eq!(wait!(dict.compare_and_set("a", Expected::ABSENT, Some(&9))).unwrap(), no(Some(1), made.version));
    assert_eq!(wait!(dict.compare_and_set("a", Expected::Value(&7), Some(&9))).unwrap(), no(Some(1), made.version));
    let by_value = wait!(dict.compare_and_set("a", Expected::Value(&1), Some(&2))).unwrap();
    assert!(by_value.swapped && by_value.version > made.version, "{by_value:?}");
    let stale = wait!(dict.compare_and_set("a", Expected::Version(made.version), Some(&9))).unwrap();
    assert_eq!(stale, no(Some(2), by_value.version));
    // Written and written back: the value is the same, the version is not.
    wait!(dict.set("a", &5)).unwrap();
    let version = wait!(dict.set("a", &2)).unwrap();
    assert!(!wait!(dict.compare_and_set("a", Expected::Version(by_value.version), Some(&9))).unwrap().swapped);
    let gone = wait!(dict.compare_and_set("a", Expected::Version(version), None)).unwrap();
    assert_eq!(gone, Swap { swapped: true, value: None, version: 0 });
    assert!(!wait!(dict.contains("a")).unwrap());
});

promise!(a_value_gets_sets_adds_and_swaps, SHARED, |_server, manager| {
    let value: Value<i64> = wait!(manager.new_value(&7)).unwrap();
    assert_eq!(wait!(value.get_with_version()).unwrap(), (7, 0), "never written");
    let version = wait!(value.set(&8)).unwrap();
    assert_eq!(wait!(value.get_with_version()).unwrap(), (8, version));
    assert_eq!(wait!(value.add(-10)).unwrap(), -2);
    assert_eq!(wait!(value.get()).unwrap(), -2);
    let stale = wait!(value.compare_and_set(Expected::Version(version), &0)).unwrap();
    assert!(!stale.swapped && stale.value == Some(-2) && stale.version > version, "{stale:?}");
    let swap = wait!(value.compare_and_set(Expected::Value(&-2), &i64::MAX)).unwrap();
    assert!(swap.swapped && swap.value == Some(i64::MAX) && swap.version > stale.version, "{swap:?}");
    assert!(wait!(value.compare_and_set(Expected::Version(swap.version), &i64::MAX)).unwrap().swapped);
    assert_eq!(why(wait!(value.add(1))), Reason::Overflow);
    assert_eq!(wait!(value.get()).unwrap(), i64::MAX);

    let float: Value<f64> = wait!(manager.new_value(&f64::MAX)).unwrap();
    assert_eq!(why(wait!(float.add(f64::MAX))), Reason::Overflow);
    assert_eq!(wait!(float.add(-f64::MAX)).unwrap(), 0.0);
    wait!(float.set(&f64::NAN)).unwrap();
    assert!(wait!(float.get()).unwrap().is_nan(), "NaN is a value");
    let text: Value<String> = wait!(manager.new_value(&"t".to_owned())).unwrap();
    assert_eq!(why(wait!(text.add("t".to_owned()))), Reason::WrongType);
});

promise!(an_object_with_a_name_is_one_for_all, SHARED, |server, manager| {
    let other = connect!(server.options_at(1)).unwrap();
    let here: Dict<String, i64> = wait!(manager.dict(&name("one for all"))).unwrap();
    let there: Dict<String, i64> = wait!(other.dict(&name("one for all"))).unwrap();
    wait!(here.set("a", &1)).unwrap();
    assert_eq!(wait!(there.get("a")).unwrap(), Some(1));
    let clone = there.clone();
    drop(there);
    assert_eq!(wait!(clone.add("a", 1)).unwrap(), 2);
    // An initial value is for a cell that is new.
    let first: Value<i64> = wait!(manager.value(&name("cell"), &1)).unwrap();
    let second: Value<i64> = wait!(other.value(&name("cell"), &2)).unwrap();
    assert_eq!((wait!(first.get()).unwrap(), wait!(second.get()).unwrap()), (1, 1));

    // It outlives every proxy, and ends for everybody when it is deleted.
    drop((here, clone));
    let again: Dict<String, i64> = wait!(manager.dict(&name("one for all"))).unwrap();
    assert_eq!(wait!(again.get("a")).unwrap(), Some(2));
    wait!(other.delete(&name("one for all"))).unwrap();
    assert_eq!(why(wait!(again.get("a"))), Reason::UnknownObject);
    assert_eq!(why(wait!(other.delete(&name("one for all")))), Reason::UnknownObject);
    let new: Dict<String, i64> = wait!(manager.dict(&name("one for all"))).unwrap();
    assert_eq!(wait!(new.len()).unwrap(), 0);
});

promise!(an_object_is_not_opened_as_another_kind_or_with_a_bad_name, SHARED, |_server, manager| {
    let _dict: Dict<String, i64> = wait!(manager.dict(&name("a dict"))).unwrap();
    assert_eq!(why(wait!(manager.value(&name("a dict"), &1))), Reason::WrongKind);
    assert_eq!(why(wait!(manager.dict::<i64, i64>(""))), Reason::InvalidName);
    assert_eq!(why(wait!(manager.dict::<i64, i64>(&"n".repeat(65)))), Reason::InvalidName);
    wait!(manager.dict::<i64, i64>(&LIBRARY.repeat(64)[..64])).unwrap();
    assert_eq!(why(wait!(manager.delete(&name("nobody made this")))), Reason::UnknownObject);
});

promise!(keys_compare_as_in_python, SHARED, |_server, manager| {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Key {
        Boolean(bool),
        Integer(i64),
        Float(f64),
        Text(String),
        Nothing,
    }
    let dict: Dict<Key, i64> = wait!(manager.new_dict()).unwrap();
    wait!(dict.set(&Key::Integer(1), &10)).unwrap();
    assert_eq!(wait!(dict.get(&Key::Float(1.0))).unwrap(), Some(10));
    assert_eq!(wait!(dict.get(&Key::Boolean(true))).unwrap(), Some(10));
    assert_eq!(wait!(dict.add(&Key::Boolean(true), 1)).unwrap(), 11);
    assert_eq!(wait!(dict.len()).unwrap(), 1);
    assert_eq!(wait!(dict.keys::<Vec<_>>()).unwrap(), [Key::Integer(1)], "the key that was there stays");
    assert_eq!(wait!(dict.get(&Key::Text("1".into()))).unwrap(), None);
    assert_eq!(why(wait!(dict.set(&Key::Float(f64::NAN), &1))), Reason::NanKey);
    assert_eq!(why(wait!(dict.get(&Key::Float(f64::NAN)))), Reason::NanKey);
    assert_eq!(wait!(dict.get(&Key::Float(-0.0))).unwrap(), None);
    wait!(dict.set(&Key::Nothing, &0)).unwrap();
    assert_eq!(wait!(dict.get(&Key::Nothing)).unwrap(), Some(0));

    let tuples: Dict<(f64, i64), i64> = wait!(manager.new_dict()).unwrap();
    assert_eq!(why(wait!(tuples.set(&(f64::NAN, 1), &1))), Reason::NanKey, "also inside a tuple");
    wait!(tuples.set(&(1.0, 2), &1)).unwrap();
    assert_eq!(wait!(tuples.get(&(1.0, 2))).unwrap(), Some(1));
});

promise!(keys_and_values_are_any_serde_type, SHARED, |_server, manager| {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Line((i8, i8), (i8, i8)),
        Named { name: String, sides: Option<Vec<u64>> },
    }
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        id: u128,
        tags: BTreeMap<String, char>,
        next: Option<Box<Record>>,
    }
    let shapes: Dict<(u8, Shape), Shape> = wait!(manager.new_dict()).unwrap();
    let all = [
        Shape::Point,
        Shape::Circle(-0.5),
        Shape::Line((1, -2), (3, -4)),
        Shape::Named { name: "a\0ü".into(), sides: Some(vec![u64::MAX, 0]) },
        Shape::Named { name: String::new(), sides: None },
    ];
    let entries: Vec<_> = (1..).zip(&all).map(|(at, shape)| ((at, shape.clone()), shape.clone())).collect();
    wait!(shapes.update(entries.clone())).unwrap();
    assert_eq!(wait!(shapes.items::<Vec<_>>()).unwrap(), entries);
    for (key, value) in &entries {
        assert_eq!(wait!(shapes.get(key)).unwrap().as_ref(), Some(value));
    }
    let record = Record { id: u128::MAX, tags: [("t".into(), '€')].into(), next: None };
    let record = Record { id: 0, tags: BTreeMap::new(), next: Some(Box::new(record)) };
    let records: Dict<Vec<u8>, Record> = wait!(manager.new_dict()).unwrap();
    wait!(records.set(&[0, 255][..], &record)).unwrap();
    assert_eq!(wait!(records.get(&[0, 255][..])).unwrap(), Some(record));
    let nested: Value<Option<Option<()>>> = wait!(manager.new_value(&Some(None))).unwrap();
    assert_eq!(wait!(nested.get()).unwrap(), Some(None));
});

promise!(data_of_another_type_is_an_error_and_the_session_goes_on, SHARED, |_server, manager| {
    let texts: Dict<String, String> = wait!(manager.dict(&name("texts"))).unwrap();
    wait!(texts.set("a", &"text".into())).unwrap();
    let numbers: Dict<String, i64> = wait!(manager.dict(&name("texts"))).unwrap();
    let read = wait!(numbers.get("a"));
    assert!(matches!(&read, Err(Error::Codec(_))), "{read:?}");
    let listed = wait!(numbers.items::<Vec<_>>());
    assert!(matches!(&listed, Err(Error::Codec(_))), "{listed:?}");
    assert_eq!(wait!(texts.get("a")).unwrap().as_deref(), Some("text"));
});

promise!(a_hundred_thousand_entries_are_listed_in_pages, SHARED, |_server, manager| {
    const COUNT: u64 = 100_000;
    let dict: Dict<u64, String> = wait!(manager.new_dict()).unwrap();
    wait!(dict.update((0..COUNT).map(|key| (key, format!("value {key}"))))).unwrap();
    assert_eq!(wait!(dict.len()).unwrap(), COUNT);
    assert_eq!(wait!(dict.keys::<Vec<_>>()).unwrap(), Vec::from_iter(0..COUNT));
    let values = wait!(dict.values::<Vec<_>>()).unwrap();
    assert!((0..COUNT).zip(&values).all(|(key, value)| *value == format!("value {key}")) && values.len() == 100_000);
    let keys: Vec<u64> = (0..COUNT + 10).collect();
    let found = wait!(dict.get_many(&keys)).unwrap();
    assert_eq!(found.len(), keys.len());
    assert!(found[..100_000].iter().zip(values).all(|(found, value)| *found == Some(value)));
    assert!(found[100_000..].iter().all(Option::is_none));
    assert_eq!(wait!(dict.clear()).unwrap(), COUNT);
});

promise!(values_near_the_limit_pass_and_larger_ones_are_refused, SHARED, |_server, manager| {
    const LIMIT: usize = 1 << 20;
    let dict: Dict<String, String> = wait!(manager.new_dict()).unwrap();
    let large = "x".repeat(LIMIT - 100);
    wait!(dict.set("large", &large)).unwrap();
    assert_eq!(wait!(dict.get("large")).unwrap().as_ref(), Some(&large));
    assert_eq!(why(wait!(dict.set("too", &"x".repeat(LIMIT)))), Reason::ValueTooLarge, "the manager says so");
    assert_eq!(why(wait!(dict.set("too", &"x".repeat(2 * LIMIT)))), Reason::ValueTooLarge, "the library says so");
    assert_eq!(why(wait!(dict.get(&"x".repeat(LIMIT)))), Reason::ValueTooLarge, "a key, too");
    assert_eq!(why(wait!(manager.new_value(&"x".repeat(LIMIT)))), Reason::ValueTooLarge, "or what a cell begins with");
    assert!(!wait!(dict.contains("too")).unwrap());
    // Bulk calls go in chunks, each within the limit: eight large values in, and out.
    let keys: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    wait!(dict.update(keys.iter().map(|key| (key.clone(), large.clone())))).unwrap();
    let found = wait!(dict.get_many(&keys)).unwrap();
    assert!(found.len() == 8 && found.iter().all(|found| found.as_ref() == Some(&large)));
    assert_eq!(wait!(dict.values::<Vec<_>>()).unwrap().len(), 9);
    // One entry that is too large is refused; what went before it is there.
    let mixed = [("before".to_owned(), "small".to_owned()), ("too".to_owned(), "x".repeat(LIMIT))];
    assert_eq!(why(wait!(dict.update(mixed))), Reason::ValueTooLarge);
    assert!(!wait!(dict.contains("too")).unwrap());
});

promise!(what_is_nested_too_deeply_is_refused, SHARED, |_server, manager| {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Deep(Vec<Deep>);
    let deep = |levels: u32| (1..levels).fold(Deep(vec![]), |inner, _| Deep(vec![inner]));
    let dict: Dict<String, Deep> = wait!(manager.new_dict()).unwrap();
    wait!(dict.set("deep", &deep(DEPTH))).unwrap();
    assert_eq!(wait!(dict.get("deep")).unwrap(), Some(deep(DEPTH)));
    let refused = wait!(dict.set("deeper", &deep(DEPTH + 1)));
    assert!(matches!(&refused, Err(Error::Codec(_))), "{refused:?}");
    assert_eq!(wait!(dict.len()).unwrap(), 1);
});

promise!(a_token_stands_for_its_object, SHARED, |server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    wait!(dict.set("a", &1)).unwrap();
    let token = wait!(dict.token(2, Duration::from_secs(60))).unwrap();
    let other = connect!(server.options()).unwrap();
    // It travels as text.
    let token = token.to_string().parse().unwrap();
    assert_eq!(why(wait!(other.value_from_token::<i64>(&token))), Reason::WrongKind);
    let same: Dict<String, i64> = wait!(other.dict_from_token(&token)).unwrap();
    drop(dict);
    assert_eq!(wait!(same.add("a", 1)).unwrap(), 2);
    let again: Dict<String, i64> = wait!(manager.dict_from_token(&token)).unwrap();
    assert_eq!(wait!(again.get("a")).unwrap(), Some(2));
    assert_eq!(why(wait!(other.dict_from_token::<String, i64>(&token))), Reason::UnknownToken, "used up");

    let value: Value<i64> = wait!(manager.new_value(&5)).unwrap();
    assert_eq!(why(wait!(value.token(0, Duration::from_secs(60)))), Reason::Malformed);
    assert_eq!(why(wait!(value.token(1, Duration::ZERO))), Reason::Malformed);
    assert_eq!(why(wait!(value.token(65536, Duration::from_secs(60)))), Reason::Malformed);
    assert_eq!(why(wait!(value.token(1, Duration::from_secs(86_401)))), Reason::Malformed);
    let token = wait!(value.token(1, Duration::from_secs(60))).unwrap();
    drop(value);
    let value: Value<i64> = wait!(other.value_from_token(&token)).unwrap();
    assert_eq!(wait!(value.get()).unwrap(), 5);
});

promise!(a_token_is_of_no_use_after_its_time_or_in_another_life_of_the_manager, SHARED, |server, manager| {
    let dict: Dict<String, i64> = wait!(manager.new_dict()).unwrap();
    let token = wait!(dict.token(1000, Duration::from_millis(50))).unwrap();
    let expired = loop {
        match wait!(manager.dict_from_token::<String, i64>(&token)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(expired.reason(), Some(Reason::UnknownToken), "{expired:?}");

    let token = wait!(dict.token(1, Duration::from_secs(60))).unwrap();
    let elsewhere = super::for_limits(&[("threads", 1)]);
    let other = connect!(elsewhere.options()).unwrap();
    let refused = wait!(other.dict_from_token::<String, i64>(&token));
    assert!(matches!(refused, Err(Error::Connect(ConnectError::Incarnation))), "{refused:?}");
    drop(server);
});

promise!(there_are_only_so_many_objects, &[("objects", 2)], |_server, manager| {
    let first: Dict<i64, i64> = wait!(manager.new_dict()).unwrap();
    let second: Value<i64> = wait!(manager.value("named", &1)).unwrap();
    is_quota(wait!(manager.new_dict::<i64, i64>()), "objects");
    is_quota(wait!(manager.dict::<i64, i64>("another")), "objects");
    let same: Value<i64> = wait!(manager.value("named", &1)).unwrap();
    assert_eq!(wait!(same.get()).unwrap(), 1, "what exists can be opened");
    drop(first);
    let third: Dict<i64, i64> = wait!(manager.new_dict()).unwrap();
    wait!(third.set(&1, &1)).unwrap();
    wait!(manager.delete("named")).unwrap();
    drop((second, same));
    wait!(manager.dict::<i64, i64>("another")).unwrap();
    assert_eq!(wait!(manager.status()).unwrap().objects, 2);
});

promise!(a_session_has_only_so_many_handles, &[("handles", 2)], |server, manager| {
    let first: Dict<i64, i64> = wait!(manager.dict("a")).unwrap();
    let second: Dict<i64, i64> = wait!(manager.dict("a")).unwrap();
    is_quota(wait!(manager.dict::<i64, i64>("a")), "handles");
    is_quota(wait!(manager.new_dict::<i64, i64>()), "handles");
    let token = wait!(first.token(1, Duration::from_secs(60))).unwrap();
    is_quota(wait!(manager.dict_from_token::<i64, i64>(&token)), "handles");
    let other = connect!(server.options()).unwrap();
    wait!(other.dict::<i64, i64>("a")).unwrap();
    drop(second);
    let third: Dict<i64, i64> = wait!(manager.dict_from_token(&token)).unwrap();
    assert_eq!(wait!(third.len()).unwrap(), 0);
});

promise!(only_so_many_tokens_wait, &[("tokens", 2)], |_server, manager| {
    let dict: Dict<i64, i64> = wait!(manager.new_dict()).unwrap();
    let token = wait!(dict.token(1, Duration::from_secs(60))).unwrap();
    wait!(dict.token(1, Duration::from_secs(60))).unwrap();
    is_quota(wait!(dict.token(1, Duration::from_secs(60))), "tokens");
    let _same: Dict<i64, i64> = wait!(manager.dict_from_token(&token)).unwrap();
    wait!(dict.token(1, Duration::from_secs(60))).unwrap();
});

promise!(an_object_has_only_so_many_bytes, &[("object_bytes", 10_000)], |_server, manager| {
    let dict: Dict<i64, String> = wait!(manager.new_dict()).unwrap();
    wait!(dict.set(&1, &"x".repeat(9000))).unwrap();
    let before = wait!(manager.status()).unwrap().bytes;
    is_quota(wait!(dict.set(&2, &"x".repeat(2000))), "object_bytes");
    is_quota(wait!(dict.set(&1, &"x".repeat(11_000))), "object_bytes");
    is_quota(wait!(dict.setdefault(&2, &"x".repeat(2000))), "object_bytes");
    is_quota(wait!(dict.update([(2, "small".into()), (3, "x".repeat(2000))])), "object_bytes");
    is_quota(wait!(dict.compare_and_set(&2, Expected::ABSENT, Some(&"x".repeat(2000)))), "object_bytes");
    assert_eq!(wait!(dict.keys::<Vec<_>>()).unwrap(), [1], "all or nothing");
    assert_eq!(wait!(manager.status()).unwrap().bytes, before);
    let value: Value<String> = wait!(manager.new_value(&"x".repeat(9000))).unwrap();
    is_quota(wait!(value.set(&"x".repeat(11_000))), "object_bytes");
    is_quota(wait!(manager.new_value(&"x".repeat(11_000))), "object_bytes");
    // What frees is not refused, and frees.
    wait!(dict.delete(&1)).unwrap();
    wait!(dict.set(&2, &"x".repeat(9000))).unwrap();
});

promise!(all_objects_have_only_so_many_bytes_together, &[("total_bytes", 10_000)], |_server, manager| {
    let first: Dict<i64, String> = wait!(manager.new_dict()).unwrap();
    let second: Dict<i64, String> = wait!(manager.new_dict()).unwrap();
    wait!(first.set(&1, &"x".repeat(9000))).unwrap();
    is_quota(wait!(second.set(&1, &"x".repeat(2000))), "total_bytes");
    assert_eq!(wait!(second.len()).unwrap(), 0);
    assert_eq!(wait!(first.clear()).unwrap(), 1);
    wait!(second.set(&1, &"x".repeat(9000))).unwrap();
    is_quota(wait!(first.set(&1, &"x".repeat(2000))), "total_bytes");
    drop(second);
    wait!(manager.status()).unwrap();
    wait!(first.set(&1, &"x".repeat(9000))).unwrap();
});

promise!(there_are_only_so_many_sessions, &[("sessions", 2)], |server, manager| {
    let second = connect!(server.options()).unwrap();
    let third = connect!(server.options());
    match &third {
        Err(Error::Connect(ConnectError::Turned { cause, .. })) => assert!(cause.contains("sessions"), "{cause}"),
        other => panic!("{other:?}"),
    }
    wait!(second.close());
    let third = connect!(server.options()).unwrap();
    assert_eq!(wait!(third.status()).unwrap().sessions, 2);
    assert_eq!(wait!(manager.status()).unwrap().sessions, 2);
});

promise!(there_are_only_so_many_connections, &[("connections", 2)], |server, manager| {
    let second = connect!(server.options()).unwrap();
    let third = connect!(server.options());
    assert!(matches!(&third, Err(Error::Connect(_))), "{third:?}");
    wait!(manager.status()).unwrap();
    wait!(second.close());
    // Its session is over; the connection itself goes a moment later.
    let deadline = std::time::Instant::now() + holdfast_tests::PATIENCE;
    let third = loop {
        match connect!(server.options()) {
            Ok(third) => break third,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    };
    wait!(third.status()).unwrap();
});

promise!(whoever_does_not_hold_the_authkey_is_told_so, SHARED, |server, manager| {
    let address = server.addresses[0].clone();
    let wrong = Options::default().address(address.clone()).authkey(holdfast::Authkey::from_random([7; 32]));
    let refused = connect!(wrong);
    // What more it may be over TLS is told there.
    let is_told = match &refused {
        Err(Error::Connect(ConnectError::Authentication(_))) => !matches!(address, Address::Https(_)),
        Err(Error::Connect(ConnectError::Unproven { .. })) => matches!(address, Address::Https(_)),
        _ => false,
    };
    assert!(is_told, "{refused:?}");
    let missing = connect!(Options::default().address(address).authkey_file("/nowhere/authkey")).unwrap_err();
    assert!(missing.to_string().contains("holdfast serve"), "{missing}");
    wait!(manager.status()).unwrap();
});

promise!(objects_are_listed_found_and_described, SHARED, |_server, manager| {
    let prefix = name("listed/");
    let (in_dict, in_cell) = (format!("{prefix}a"), format!("{prefix}b"));
    assert_eq!(wait!(manager.names(&prefix)).unwrap(), []);
    assert_eq!(wait!(manager.exists(&in_dict)).unwrap(), None);
    let dict: Dict<u64, String> = wait!(manager.dict(&in_dict)).unwrap();
    let cell: Value<u64> = wait!(manager.value(&in_cell, &7)).unwrap();
    wait!(dict.set(&1, &"one".to_owned())).unwrap();

    let listed = wait!(manager.names(&prefix)).unwrap();
    let facts: Vec<_> = listed.iter().map(|of| (&*of.name, of.kind.to_string(), of.elements, of.bytes)).collect();
    // An entry takes 24 bytes beside its key and its value.
    let expected =
        [(&*in_dict, "dict".to_owned(), Some(1), Some(72)), (&*in_cell, "value".to_owned(), None, Some(24))];
    assert_eq!(facts, expected);
    let cells = wait!(manager.names_of(&prefix, "value".parse().unwrap())).unwrap();
    assert_eq!(cells, listed[1..]);
    assert_eq!(wait!(manager.exists(&in_dict)).unwrap(), Some(listed[0].kind));

    let of_dict = wait!(dict.describe()).unwrap();
    assert_eq!((of_dict.name.as_ref(), of_dict.kind), (Some(&in_dict), listed[0].kind));
    assert_eq!((of_dict.elements, of_dict.bytes, of_dict.references, of_dict.poisoned), (Some(1), 72, 1, false));
    let token = wait!(dict.token(3, Duration::from_secs(60))).unwrap();
    let second: Dict<u64, String> = wait!(manager.dict_from_token(&token)).unwrap();
    assert_eq!(wait!(second.describe()).unwrap().references, 3, "two handles and a token");
    let by_name = wait!(manager.describe(&in_cell)).unwrap();
    assert_eq!((by_name.references, by_name.elements, by_name.bytes), (1, None, 24));
    assert!(wait!(cell.describe()).unwrap().age >= by_name.age);
    assert_eq!(why(wait!(manager.describe("no such object"))), Reason::UnknownObject);
    let nameless: Value<u64> = wait!(manager.new_value(&0)).unwrap();
    assert_eq!(wait!(nameless.describe()).unwrap().name, None);
    wait!(manager.delete(&in_cell)).unwrap();
    assert_eq!(why(wait!(cell.describe())), Reason::UnknownObject);
    wait!(manager.delete(&in_dict)).unwrap();
});

promise!(an_object_is_renamed_for_everyone, SHARED, |_server, manager| {
    let (old, new) = (name("renamed from"), name("renamed to"));
    let dict: Dict<u64, u64> = wait!(manager.dict(&old)).unwrap();
    wait!(dict.set(&1, &1)).unwrap();
    wait!(manager.rename(&old, &new)).unwrap();
    assert_eq!(wait!(manager.exists(&old)).unwrap(), None);
    assert_eq!(wait!(dict.get(&1)).unwrap(), Some(1), "a proxy stays good");
    assert_eq!(wait!(dict.describe()).unwrap().name, Some(new.clone()));
    assert_eq!(why(wait!(manager.rename(&old, &new))), Reason::UnknownObject);
    assert_eq!(why(wait!(manager.rename(&new, ""))), Reason::InvalidName);

    let other: Dict<u64, u64> = wait!(manager.dict(&old)).unwrap();
    assert_eq!(why(wait!(manager.rename(&new, &old))), Reason::Exists);
    assert_eq!(wait!(other.get(&1)).unwrap(), None, "nothing has changed");
    wait!(manager.replace(&new, &old)).unwrap();
    assert_eq!(why(wait!(other.get(&1))), Reason::UnknownObject);
    let again: Dict<u64, u64> = wait!(manager.dict(&old)).unwrap();
    assert_eq!(wait!(again.get(&1)).unwrap(), Some(1));
    wait!(manager.delete(&old)).unwrap();
});

promise!(a_listing_takes_as_many_pages_as_it_needs, &[("page_bytes", 1024)], |_server, manager| {
    let mut names: Vec<String> = (0..300).map(|number| format!("{LIBRARY}/{number}")).collect();
    for name in &names {
        let _: Value<u64> = wait!(manager.value(name, &0)).unwrap();
    }
    names.sort();
    let listed = wait!(manager.names(&format!("{LIBRARY}/"))).unwrap();
    assert_eq!(listed.into_iter().map(|object| object.name).collect::<Vec<_>>(), names);
});
