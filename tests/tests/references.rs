//! Proxies stored in objects: what is read is a proxy again, and what can be reached stays, whoever dies.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use holdfast::blocking::{Dict, Manager, Reference, Value};
use holdfast::{CodecError, Error, Reason};
use holdfast_objects::testing::Source;
use holdfast_tests::{Process, Setup, program, until, until_async};
use serde::{Deserialize, Serialize};

fn start() -> holdfast_tests::Manager {
    Setup::new(program!()).start()
}

/// Waits until the manager has so many objects.
fn wait_for_objects(client: &Manager, objects: u64) {
    until("objects go", || (client.status().unwrap().objects == objects).then_some(()));
}

type Counters = Dict<String, i64>;

#[test]
fn a_proxy_in_a_dict_leads_to_its_object() {
    let server = start();
    let client = server.connect_blocking();
    let by_host: Dict<String, Counters> = client.dict("by host").unwrap();
    let hits: Counters = client.new_dict().unwrap();
    by_host.set("here", &hits).unwrap();
    hits.add("/", 1).unwrap();
    drop(hits);

    // Another session reads it, and what it changes there is seen here.
    let other = server.connect_blocking();
    let there: Dict<String, Counters> = other.dict("by host").unwrap();
    let hits = there.get("here").unwrap().unwrap();
    assert_eq!(hits.add("/", 1).unwrap(), 2);
    let (again, items) = (by_host.get("here").unwrap().unwrap(), there.items::<Vec<_>>().unwrap());
    assert_eq!(again.get("/").unwrap(), Some(2));
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].1.get("/").unwrap(), Some(2));
    assert!(again.reference().is_same(&by_host.get("here").unwrap().unwrap().reference()));

    // It lives as long as anything leads to it.
    let taken = by_host.pop("here").unwrap();
    drop((hits, again, items));
    assert_eq!(taken.get("/").unwrap(), Some(2));
    assert_eq!(client.status().unwrap().objects, 2);
    drop(taken);
    wait_for_objects(&client, 1);
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Host {
    name: String,
    counters: Vec<(String, Option<Counters>)>,
    best: BTreeMap<String, Value<f64>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(i64),
    Counters(Counters),
    Text(String),
}

#[test]
fn a_proxy_is_found_at_any_depth_and_in_any_type() {
    let server = start();
    let client = server.connect_blocking();
    let hosts: Dict<u32, Host> = client.dict("hosts").unwrap();
    let (hits, best) = (client.new_dict().unwrap(), client.new_value(&0.5).unwrap());
    let counters = vec![("none".to_owned(), None), ("hits".to_owned(), Some(hits))];
    hosts.set(&1, &Host { name: "one".into(), counters, best: [("best".to_owned(), best)].into() }).unwrap();
    let read = hosts.get(&1).unwrap().unwrap();
    assert_eq!(read.name, "one");
    assert!(read.counters[0].1.is_none());
    assert_eq!(read.counters[1].1.as_ref().unwrap().add("a", 3).unwrap(), 3);
    assert!((read.best["best"].get().unwrap() - 0.5).abs() < 1e-9);

    // Where serde does not know the type beforehand.
    let any: Dict<u32, Either> = client.dict("any").unwrap();
    any.set(&0, &Either::Number(7)).unwrap();
    any.set(&1, &Either::Counters(read.counters[1].1.clone().unwrap())).unwrap();
    any.set(&2, &Either::Text("seven".into())).unwrap();
    let values: Vec<Either> = any.values().unwrap();
    let [Either::Number(7), Either::Counters(counters), Either::Text(_)] = &values[..] else { panic!("{values:?}") };
    assert_eq!(counters.get("a").unwrap(), Some(3));

    // As the first value of a cell, and as a key.
    let cell: Value<Option<Counters>> = client.new_value(&Some(counters.clone())).unwrap();
    assert_eq!(cell.get().unwrap().unwrap().get("a").unwrap(), Some(3));
    let keyed: Dict<Reference, u8> = client.new_dict().unwrap();
    keyed.set(&counters.reference(), &1).unwrap();
    assert_eq!(keyed.get(&cell.get().unwrap().unwrap().reference()).unwrap(), Some(1), "the same object, the same key");

    // And one whose kind nobody knows.
    let odd: Dict<u8, Reference> = client.new_dict().unwrap();
    odd.set(&0, &cell.reference()).unwrap();
    let found = odd.get(&0).unwrap().unwrap();
    assert!(found.get::<Counters>().is_none());
    let its_cell: Value<Option<Counters>> = found.get().unwrap();
    assert!(its_cell.get().unwrap().is_some());
    drop((values, read, keyed, odd, cell, found, its_cell, hosts, any));
    client.delete("hosts").unwrap();
    client.delete("any").unwrap();
    wait_for_objects(&client, 0);
    assert_eq!(client.status().unwrap().bytes, 0);
}

#[test]
fn what_is_no_such_proxy_is_told_apart() {
    let server = start();
    let client = server.connect_blocking();
    let dict: Dict<u8, Counters> = client.dict("d").unwrap();
    let cell: Dict<u8, Value<u8>> = client.dict("d").unwrap();
    cell.set(&0, &client.new_value(&1).unwrap()).unwrap();
    let wrong = dict.get(&0).unwrap_err();
    assert!(matches!(&wrong, Error::Codec(_)) && wrong.to_string().contains("reference to a dict"), "{wrong}");
    let number: Dict<u8, i64> = client.dict("d").unwrap();
    let wrong = number.get(&0).unwrap_err();
    assert_eq!(wrong.to_string(), "expected i64, found a reference to an object");
    let text: Dict<u8, String> = client.dict("d").unwrap();
    assert!(matches!(text.get(&0), Err(Error::Codec(CodecError::Mismatch { .. }))));
    number.set(&0, &5).unwrap();
    let wrong = dict.get(&0).unwrap_err();
    assert_eq!(wrong.to_string(), "expected a reference to a dict, found the integer 5");
    // None of what could not be read is kept.
    wait_for_objects(&client, 1);

    // A proxy of another session, and one that goes elsewhere.
    let other = server.connect_blocking();
    let theirs: Counters = other.new_dict().unwrap();
    let refused = dict.set(&1, &theirs).unwrap_err();
    assert!(matches!(refused, Error::OtherSession { .. }), "{refused}");
    let refused = serde_json::to_string(&theirs).unwrap_err();
    assert!(refused.to_string().contains("token"), "{refused}");

    // The object of a reference was deleted.
    let named: Counters = client.dict("named").unwrap();
    dict.set(&2, &named).unwrap();
    client.delete("named").unwrap();
    let read = dict.get(&2).unwrap().unwrap();
    assert_eq!(read.len().unwrap_err().reason(), Some(Reason::UnknownObject));
}

#[test]
fn a_proxy_may_go_before_its_call_is_made() {
    let server = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = server.connect().await;
        let all: holdfast::Dict<u32, holdfast::Dict<u32, u32>> = client.new_dict().await.unwrap();
        let one = client.new_dict().await.unwrap();
        let call = all.set(&1, &one);
        drop(one);
        call.await.unwrap();
        let read = all.get(&1).await.unwrap().unwrap();
        assert_eq!(read.add(&1, 1).await.unwrap(), 1);
        // A call that nobody waits for brings a handle back that nobody has.
        for _ in 0..100 {
            drop(all.get(&1).send());
        }
        drop(read);
        all.clear().await.unwrap();
        until_async("what was delivered is given back", async || {
            (client.status().await.unwrap().objects == 1).then_some(())
        })
        .await;
    });
}

#[test]
fn objects_that_refer_to_each_other_end_when_nobody_can_reach_them() {
    let server = start();
    let client = server.connect_blocking();
    let ring: Vec<Dict<u8, Reference>> = (0..10).map(|_| client.new_dict().unwrap()).collect();
    for (at, one) in ring.iter().enumerate() {
        one.set(&0, &ring[(at + 1) % 10].reference()).unwrap();
        one.set(&1, &one.reference()).unwrap();
    }
    let root: Dict<u8, Reference> = client.dict("root").unwrap();
    root.set(&0, &ring[3].reference()).unwrap();
    drop(ring);
    let mut at: Dict<u8, Reference> = root.clone();
    for _ in 0..25 {
        at = at.get(&0).unwrap().unwrap().get().unwrap();
    }
    assert_eq!(client.status().unwrap().objects, 11);
    drop(at);
    root.clear().unwrap();
    wait_for_objects(&client, 1);
}

/// How many objects the next test makes: what `HOLDFAST_TEST_OBJECTS` says. With a million it takes minutes.
fn objects_to_make() -> u64 {
    std::env::var("HOLDFAST_TEST_OBJECTS").map_or(100_000, |objects| objects.parse().unwrap())
}

#[test]
fn nothing_is_left_of_many_objects_whose_makers_were_killed() {
    let server = start();
    let client = server.connect_blocking();
    let before = client.status().unwrap();
    let mut source = Source::new(u64::from(std::process::id()));
    // The first half shows what memory the manager keeps for the next objects, and the second that this is all.
    litter(&server, objects_to_make() / 2, &mut source);
    wait_for_nothing(&client, &before);
    let memory = server.process.memory();
    litter(&server, objects_to_make() / 2, &mut source);
    wait_for_nothing(&client, &before);
    let grown = server.process.memory().saturating_sub(memory);
    assert!(grown < memory / 2 + (32 << 20), "{grown} bytes more than {memory} after the same work");
}

/// Processes litter until they have made so many objects, and are killed at random.
fn litter(server: &holdfast_tests::Manager, objects: u64, source: &mut Source) {
    let start = |source: &mut Source| server.worker(&["litter", &source.choice().to_string()]);
    let mut workers: Vec<Process> = (0..3).map(|_| start(source)).collect();
    let mut made = 0;
    while made < objects {
        let victim = source.below(3) as usize;
        for _ in 0..source.below(30) {
            made += workers[victim].line().parse::<u64>().unwrap();
        }
        workers[victim].kill();
        workers[victim] = start(source);
    }
    workers.iter_mut().for_each(Process::kill);
}

fn wait_for_nothing(client: &Manager, before: &holdfast::Status) {
    client.delete("litter").unwrap();
    until("all of it goes", || {
        let now = client.status().unwrap();
        ((now.objects, now.bytes, now.sessions) == (before.objects, before.bytes, before.sessions)).then_some(())
    });
}
