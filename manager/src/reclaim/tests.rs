use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_objects::catalog::{AnyOp, AnyReply};
use holdfast_objects::testing::Source;
use holdfast_objects::{Answer, LARGE, SessionId};
use holdfast_proto::datum::{Reference, Target};
use holdfast_proto::{
    Datum, DictClearRequest, DictGetRequest, DictPopRequest, DictSetRequest, ListAppendRequest, ListClearRequest,
    QueueClearRequest, QueuePutRequest, SetAddRequest, SetClearRequest, dict, list, queue, set,
};

use super::Survey;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::slot::{Held, Slot};

const SESSION: SessionId = SessionId([1; 16]);

fn engine() -> Engine {
    Engine::new(Arc::new(Limits::default()), 1)
}

fn object(engine: &Engine) -> Held {
    engine.create(dict::KIND, b"", &mut |_| Ok(())).unwrap().into()
}

/// Puts a reference to `to` under `key` into `from`.
fn refer(engine: &Engine, from: &Held, key: i64, to: &Held) {
    from.will_refer();
    let value = Some(Datum::Reference(to.to_reference()));
    let set = DictSetRequest { key: Some(Datum::Integer(key)), value };
    let (_, answer) = engine.ask(from, SESSION, AnyOp::Dict(dict::Op::Set(set)));
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
}

/// What `from` refers to under `key`.
fn follow(engine: &Engine, from: &Held, key: i64) -> Option<Held> {
    let get = DictGetRequest { key: Some(Datum::Integer(key)) };
    let (_, answer) = engine.ask(from, SESSION, AnyOp::Dict(dict::Op::Get(get)));
    let Answer::Done(AnyReply::Dict(dict::Reply::Get(response))) = answer else { panic!("{answer:?}") };
    match response.value {
        Some(Datum::Reference(reference)) => Some(Held::from(reference.target::<Slot>().unwrap())),
        None => None,
        other => panic!("{other:?}"),
    }
}

fn forget(engine: &Engine, from: &Held, key: i64) {
    let pop = DictPopRequest { key: Some(Datum::Integer(key)), default: Some(Datum::Null) };
    let (_, answer) = engine.ask(from, SESSION, AnyOp::Dict(dict::Op::Pop(pop)));
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
}

/// Waits until so many objects are left.
fn wait_for(engine: &Engine, objects: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.usage().objects() != objects {
        assert!(Instant::now() < deadline, "{} objects are left, not {objects}", engine.usage().objects());
        thread::yield_now();
    }
}

#[test]
fn a_long_chain_ends_without_a_deep_stack() {
    let engine = engine();
    let mut last = object(&engine);
    for _ in 0..200_000 {
        let next = object(&engine);
        refer(&engine, &next, 0, &last);
        last = next;
    }
    assert_eq!(engine.usage().objects(), 200_001);
    drop(last);
    wait_for(&engine, 0);
    assert_eq!(engine.usage().bytes(), 0);
}

#[test]
fn cycles_end_when_nobody_can_reach_them() {
    let engine = engine();
    let root = object(&engine);
    // One that refers to itself, and a ring of three with a tail.
    let lone = object(&engine);
    refer(&engine, &lone, 0, &lone);
    let ring = [(); 3].map(|()| object(&engine));
    for (at, one) in ring.iter().enumerate() {
        refer(&engine, one, 0, &ring[(at + 1) % 3]);
    }
    let tail = object(&engine);
    refer(&engine, &ring[1], 1, &tail);
    refer(&engine, &root, 0, &ring[2]);
    drop((lone, ring, tail));
    // The ring is reachable from the root, the lone one from nowhere.
    wait_for(&engine, 5);
    for _ in 0..10 {
        let there = follow(&engine, &root, 0).and_then(|two| follow(&engine, &two, 0));
        let one = there.and_then(|zero| follow(&engine, &zero, 0)).unwrap();
        assert!(follow(&engine, &one, 1).is_some(), "the tail is there");
    }
    forget(&engine, &root, 0);
    wait_for(&engine, 1);
    drop(root);
    wait_for(&engine, 0);
    assert_eq!(engine.usage().bytes(), 0);
}

#[test]
fn a_cycle_that_holds_a_large_object_gives_back_its_bytes() {
    let engine = engine();
    let (one, other) = (object(&engine), object(&engine));
    refer(&engine, &one, 0, &other);
    refer(&engine, &other, 0, &one);
    let value = Some(Datum::Bytes(vec![7; 3 << 20].into()));
    let set = DictSetRequest { key: Some(Datum::Integer(1)), value };
    let _ = engine.ask(&one, SESSION, AnyOp::Dict(dict::Op::Set(set)));
    assert!(engine.usage().bytes() > 3 << 20);
    drop((one, other));
    wait_for(&engine, 0);
    assert_eq!(engine.usage().bytes(), 0);
}

/// The one way in which counting one after the other can be deceived: what is reachable walks from a holder that has not
/// been counted to one that has.
#[test]
fn a_survey_notices_who_was_there_while_it_counted() {
    let engine = engine();
    let (one, other) = (object(&engine), object(&engine));
    refer(&engine, &one, 0, &other);
    refer(&engine, &other, 0, &one);
    let holders = [other.clone(), one.clone()].map(|held| Arc::clone(&held));
    drop(other);

    let mut survey = Survey::begin(&holders);
    survey.count();
    let other = follow(&engine, &one, 0).unwrap();
    drop(one);
    survey.count();
    assert_eq!(survey.reached(), [false, false], "the counts alone are deceived");
    assert_eq!((survey.garbage(), survey.is_unsettled), (vec![], true), "there was an input");

    // Nobody is there this time.
    drop(other);
    let mut survey = Survey::begin(&holders);
    survey.count();
    survey.count();
    assert_eq!((survey.garbage(), survey.is_unsettled), (vec![0, 1], false));
}

/// Somebody is always somewhere: what nobody is at must go all the same.
#[test]
fn a_survey_finds_garbage_beside_what_changes() {
    let engine = engine();
    let cycle = |engine: &Engine| {
        let (one, other) = (object(engine), object(engine));
        refer(engine, &one, 0, &other);
        refer(engine, &other, 0, &one);
        [one, other]
    };
    let [a, b] = cycle(&engine);
    let [c, d] = cycle(&engine);
    let tail = object(&engine);
    refer(&engine, &d, 1, &tail);
    refer(&engine, &tail, 0, &tail);
    let holders = [&a, &b, &c, &d, &tail].map(|held| Arc::clone(held));
    drop((a, b, d, tail));
    let mut survey = Survey::begin(&holders);
    // As if somebody had come and gone.
    forget(&engine, &c, 7);
    drop(c);
    holders.iter().for_each(|_| survey.count());
    assert_eq!(survey.reached(), [false; 5]);
    assert_eq!((survey.garbage(), survey.is_unsettled), (vec![0, 1], true), "the tail hangs on what was changed");
}

/// Threads walk and rewire a graph at random, each from a root of its own. What can be reached must be there whenever it is
/// looked at (`follow` panics at a deleted object), and what cannot must go.
#[test]
fn nothing_that_can_be_reached_ends_while_others_change_the_graph() {
    let engine = engine();
    let roots: Vec<Held> = (0..4).map(|_| object(&engine)).collect();
    thread::scope(|scope| {
        for (number, root) in roots.iter().enumerate() {
            let (engine, roots) = (&engine, &roots);
            scope.spawn(move || {
                let mut source = Source::new(number as u64 + 1);
                for _ in 0..30_000 {
                    step(engine, root, roots, &mut source);
                }
            });
        }
    });
    for root in &roots {
        (0..KEYS).for_each(|key| forget(&engine, root, key));
    }
    wait_for(&engine, roots.len());
    drop(roots);
    wait_for(&engine, 0);
}

const KEYS: i64 = 3;

fn step(engine: &Engine, root: &Held, roots: &[Held], source: &mut Source) {
    // Somewhere in the graph, at most a few steps from a root.
    let mut here = if source.below(4) == 0 { &roots[source.below(roots.len() as u64) as usize] } else { root }.clone();
    for _ in 0..source.below(5) {
        match follow(engine, &here, source.below(KEYS as u64) as i64) {
            Some(next) => here = next,
            None => break,
        }
    }
    let key = source.below(KEYS as u64) as i64;
    match source.below(4) {
        0 => forget(engine, &here, key),
        1 => refer(engine, &here, key, &object(engine)),
        2 => refer(engine, &here, key, &here),
        _ => {
            let there = follow(engine, root, source.below(KEYS as u64) as i64);
            refer(engine, &here, key, there.as_ref().unwrap_or(root));
        }
    }
}

#[test]
fn a_reference_is_equal_to_another_of_the_same_object() {
    let engine = engine();
    let (one, other) = (object(&engine), object(&engine));
    assert_eq!(one.to_reference(), Held::clone(&one).to_reference());
    assert_ne!(one.to_reference(), other.to_reference());
    assert_eq!(Reference::address(&one.to_reference()), Arc::as_ptr(&one).addr());
}

/// Tells, when it is dropped, whether the object in which it was could be entered then.
#[derive(Debug)]
struct Spy {
    was_in: Weak<Slot>,
    seen: mpsc::Sender<bool>,
}

impl Target for Spy {
    fn kind(&self) -> u32 {
        dict::KIND
    }

    fn object(&self) -> [u8; 16] {
        [7; 16]
    }

    fn released(&self, _: usize) {}
}

impl Drop for Spy {
    fn drop(&mut self) {
        let was_in = self.was_in.upgrade().expect("the test has it");
        self.seen.send(was_in.facts_at_once().is_some()).unwrap();
    }
}

#[test]
fn much_that_is_taken_out_at_once_is_freed_while_others_are_served() {
    type Put = fn(i64, Datum) -> AnyOp;
    let kinds: [(u32, Put, AnyOp); 4] = [
        (
            dict::KIND,
            |key, value| AnyOp::Dict(dict::Op::Set(DictSetRequest { key: Some(key.into()), value: Some(value) })),
            AnyOp::Dict(dict::Op::Clear(DictClearRequest {})),
        ),
        (
            list::KIND,
            |_, value| AnyOp::List(list::Op::Append(ListAppendRequest { value: Some(value) })),
            AnyOp::List(list::Op::Clear(ListClearRequest {})),
        ),
        (
            set::KIND,
            |_, member| AnyOp::Set(set::Op::Add(SetAddRequest { member: Some(member) })),
            AnyOp::Set(set::Op::Clear(SetClearRequest {})),
        ),
        (
            queue::KIND,
            |_, item| AnyOp::Queue(queue::Op::Put(QueuePutRequest { items: vec![item], ..QueuePutRequest::default() })),
            AnyOp::Queue(queue::Op::Clear(QueueClearRequest {})),
        ),
    ];
    let engine = engine();
    for (kind, put, clear) in kinds {
        for (bytes, is_much) in [(LARGE, true), (1000, false)] {
            let slot = engine.create(kind, b"", &mut |_| Ok(())).unwrap();
            let (seen, sight) = mpsc::channel();
            let spy = Arc::new(Spy { was_in: Arc::downgrade(&slot), seen });
            let data = [Datum::Reference(Reference::new(spy)), Datum::from(&*"x".repeat(bytes as usize))];
            for (key, datum) in (0..).zip(data) {
                let (_, answer) = engine.ask(&slot, SESSION, put(key, datum));
                assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
            }
            let (_, answer) = engine.ask(&slot, SESSION, clear.clone());
            assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
            let was_free = sight.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(was_free, is_much, "kind {kind}, {bytes} bytes");
            assert_eq!(slot.facts().unwrap().bytes, 0);
        }
    }
}
