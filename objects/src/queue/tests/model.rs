//! Queues beside a model that is obviously right: all items in one vector, and every question asked of all of them.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;
use crate::catalog::AnyReply;
use crate::testing::Source;
use crate::{Room, Woken};

/// Numbers before texts, as in the order of their types.
type Key = (u8, i64);

#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    Stored,
    With { session: Option<SessionId>, delivery: u64, call: Option<u64> },
    Dead(u64),
    Gone,
}

#[derive(Clone, Debug)]
struct Thing {
    item: Key,
    priority: Option<Key>,
    sequence: u64,
    attempts: u32,
    returned: bool,
    at: At,
}

#[derive(Clone, Debug, PartialEq)]
enum Want {
    Get(u64),
    Put(Vec<Key>, Option<Key>),
    Join,
}

struct Model {
    spec: Spec,
    things: Vec<Thing>,
    /// In the order in which they came.
    waiting: Vec<(CallId, Want)>,
    unfinished: u64,
    shut: bool,
    over: bool,
    given: u64,
    died: u64,
    fence: u64,
    woken: Vec<(CallId, String)>,
}

fn datum((kind, number): Key) -> Datum {
    if kind == 0 { Datum::Integer(number) } else { Datum::from(format!("t{number}").as_str()) }
}

fn told(answer: &Answer<AnyReply>) -> String {
    match answer {
        Answer::Refused(refusal) => format!("{:?}", refusal.why()),
        other => format!("{other:?}"),
    }
}

fn refused(why: Reason) -> String {
    format!("{why:?}")
}

fn done(reply: Reply) -> String {
    told(&Answer::Done(reply.into()))
}

fn delivered(reply: QueueGetResponse) -> String {
    told(&Answer::Delivered(Reply::Get(reply).into()))
}

fn waits(patience_ms: Option<i64>) -> String {
    told(&Answer::Wait(Patience::read(patience_ms).unwrap().unwrap()))
}

impl Model {
    fn new(spec: Spec) -> Self {
        let (things, waiting, woken) = (vec![], vec![], vec![]);
        let (unfinished, given, died, fence) = (0, 0, 0, 0);
        Self { spec, things, waiting, unfinished, shut: false, over: false, given, died, fence, woken }
    }

    fn on_done(&self) -> bool {
        self.spec.delivery() == QueueDelivery::OnDone
    }

    fn stored(&self) -> usize {
        self.things.iter().filter(|thing| thing.at == At::Stored).count()
    }

    fn fits(&self, count: usize) -> bool {
        self.spec.maxsize <= 0 || (self.stored() + count) as i64 <= self.spec.maxsize
    }

    fn first(&self, is: fn(&Want) -> bool) -> Option<usize> {
        self.waiting.iter().position(|(_, want)| is(want))
    }

    fn answer(&mut self, at: usize, answer: String) {
        let (call, _) = self.waiting.remove(at);
        self.woken.push((call, answer));
    }

    fn ordered(&self, keys: &[Key]) -> bool {
        if self.spec.order() != QueueOrder::Priority {
            return true;
        }
        let mut there: Vec<Key> = self.things.iter().filter(|thing| thing.at == At::Stored).map(key).collect();
        there.sort_unstable();
        keys.iter().all(|new| {
            let before = there.iter().rfind(|old| *old <= new);
            let after = there.iter().find(|old| *old > new);
            keys.iter().chain(before).chain(after).all(|other| other.0 == new.0)
        })
    }

    fn put_in(&mut self, items: &[Key], priority: Option<Key>) -> bool {
        let keys: Vec<Key> = items.iter().map(|item| priority.unwrap_or(*item)).collect();
        if !self.ordered(&keys) {
            return false;
        }
        for item in items {
            let sequence = self.things.len() as u64 + 1;
            let (attempts, returned, at) = (0, false, At::Stored);
            self.things.push(Thing { item: *item, priority, sequence, attempts, returned, at });
            self.unfinished += 1;
        }
        true
    }

    fn give(&mut self, call: CallId, max: u64) -> QueueGetResponse {
        let mut items = vec![];
        while (items.len() as u64) < max.max(1) {
            let order = self.spec.order();
            let stored = self.things.iter_mut().filter(|thing| thing.at == At::Stored);
            let next = match order {
                QueueOrder::Fifo => stored.min_by_key(|thing| thing.sequence),
                QueueOrder::Lifo => stored.max_by_key(|thing| thing.sequence),
                QueueOrder::Priority => stored.min_by_key(|thing| (key(thing), thing.sequence)),
            };
            let Some(next) = next else { break };
            self.given += 1;
            let delivery = self.given;
            next.at = At::With { session: Some(call.session), delivery, call: Some(call.number) };
            let item = Some(datum(next.item));
            items.push(QueueItem { item, delivery, attempt: next.attempts + 1, redelivered: next.returned });
        }
        QueueGetResponse { items, fence: self.fence }
    }

    fn serve(&mut self) {
        loop {
            if self.stored() > 0
                && let Some(at) = self.first(|want| matches!(want, Want::Get(_)))
            {
                let (call, Want::Get(max)) = self.waiting[at].clone() else { unreachable!() };
                let response = self.give(call, max);
                self.answer(at, delivered(response));
            } else if let Some(at) = self.first(|want| matches!(want, Want::Put(..)))
                && let (_, Want::Put(items, priority)) = self.waiting[at].clone()
                && self.fits(items.len())
            {
                let put = self.put_in(&items, priority);
                let answer = if put { done(Reply::Put(QueuePutResponse {})) } else { refused(Reason::WrongType) };
                self.answer(at, answer);
            } else {
                return;
            }
        }
    }

    fn finish(&mut self, count: u64) {
        self.unfinished = self.unfinished.saturating_sub(count);
        while self.unfinished == 0
            && let Some(at) = self.first(|want| *want == Want::Join)
        {
            self.answer(at, done(Reply::Join(QueueJoinResponse { joined: true })));
        }
    }

    fn come_back(&mut self, at: usize, counts: bool, give_up: bool) {
        let most = self.spec.max_deliveries;
        let thing = &mut self.things[at];
        thing.returned = true;
        thing.attempts += u32::from(counts);
        if give_up || (most > 0 && thing.attempts >= most) {
            self.died += 1;
            thing.at = At::Dead(self.died);
            self.finish(1);
        } else if self.over {
            thing.at = At::Gone;
            self.finish(1);
        } else {
            thing.at = At::Stored;
        }
    }

    /// Which of those that are with somebody, by their deliveries.
    fn held(&self, is: impl Fn(Option<SessionId>, u64, Option<u64>) -> bool) -> Vec<usize> {
        let delivery = |at: &usize| match self.things[*at].at {
            At::With { session, delivery, call } => Some((session, delivery, call)),
            _ => None,
        };
        let mut held: Vec<usize> = (0..self.things.len())
            .filter(|at| delivery(at).is_some_and(|(session, number, call)| is(session, number, call)))
            .collect();
        // Those that nobody has are named first, which numbers dead letters.
        held.sort_by_key(|at| delivery(at).map(|(session, number, _)| (session, number)));
        held
    }

    fn named(&self, session: SessionId, deliveries: &[u64]) -> Option<Vec<usize>> {
        if deliveries.is_empty() {
            let held = self.held(|whose, _, _| whose == Some(session));
            return held.first().map(|at| vec![*at]);
        }
        let may = |whose: Option<SessionId>| whose.is_none_or(|whose| whose == session);
        let held = self.held(|whose, number, _| may(whose) && deliveries.contains(&number));
        (held.len() == deliveries.len()).then_some(held)
    }

    fn apply(&mut self, call: CallId, op: &Asked) -> String {
        match op {
            Asked::Put(items, priority, patience) => self.put(call, items, *priority, *patience),
            Asked::Get(max, patience) => {
                if self.stored() > 0 {
                    let response = self.give(call, *max);
                    self.serve();
                    return delivered(response);
                }
                if self.shut || *patience == Some(0) {
                    return refused(if self.shut { Reason::ShutDown } else { Reason::Empty });
                }
                self.waiting.push((call, Want::Get(*max)));
                waits(*patience)
            }
            Asked::TaskDone(deliveries) if self.on_done() => match self.named(call.session, deliveries) {
                None if deliveries.is_empty() => refused(Reason::OverRelease),
                None => refused(Reason::NotHeld),
                Some(named) => {
                    for at in named {
                        self.things[at].at = At::Gone;
                        self.finish(1);
                    }
                    done(Reply::TaskDone(QueueTaskDoneResponse { unfinished: self.unfinished }))
                }
            },
            Asked::TaskDone(deliveries) if !deliveries.is_empty() => refused(Reason::NotHeld),
            Asked::TaskDone(_) if self.unfinished == 0 => refused(Reason::OverRelease),
            Asked::TaskDone(_) => {
                self.finish(1);
                done(Reply::TaskDone(QueueTaskDoneResponse { unfinished: self.unfinished }))
            }
            Asked::Nack(deliveries, give_up) => {
                let named = if self.on_done() { self.named(call.session, deliveries) } else { None };
                let Some(named) = named else { return refused(Reason::NotHeld) };
                let died = self.died;
                for at in named {
                    self.come_back(at, true, *give_up);
                }
                let dead = self.died - died;
                self.serve();
                done(Reply::Nack(QueueNackResponse { dead }))
            }
            Asked::Join(patience) => {
                if self.unfinished == 0 || *patience == Some(0) {
                    return done(Reply::Join(QueueJoinResponse { joined: self.unfinished == 0 }));
                }
                self.waiting.push((call, Want::Join));
                waits(*patience)
            }
            Asked::Shutdown(immediate) => self.shut_down(*immediate),
            Asked::Clear => {
                let removed = self.drain();
                self.serve();
                done(Reply::Clear(QueueClearResponse { removed }))
            }
            Asked::Requeue(letters) => {
                if self.shut {
                    return refused(Reason::ShutDown);
                }
                let mut requeued = 0;
                for thing in self.things.iter_mut().filter(|thing| is_letter(thing, letters)) {
                    (thing.at, thing.attempts) = (At::Stored, 0);
                    requeued += 1;
                }
                self.unfinished += requeued;
                self.serve();
                done(Reply::Requeue(QueueRequeueResponse { requeued }))
            }
            Asked::Drop(letters) => {
                let mut dropped = 0;
                for thing in self.things.iter_mut().filter(|thing| is_letter(thing, letters)) {
                    thing.at = At::Gone;
                    dropped += 1;
                }
                done(Reply::DropDeadLetters(QueueDropDeadLettersResponse { dropped }))
            }
        }
    }

    fn put(&mut self, call: CallId, items: &[Key], priority: Option<Key>, patience: Option<i64>) -> String {
        let is_priority = self.spec.order() == QueueOrder::Priority;
        if priority.is_some() && !is_priority {
            return refused(Reason::Malformed);
        }
        if is_priority && priority.is_none() && items.windows(2).any(|pair| pair[0].0 != pair[1].0) {
            return refused(Reason::WrongType);
        }
        if self.shut {
            return refused(Reason::ShutDown);
        }
        if self.spec.maxsize > 0 && items.len() as i64 > self.spec.maxsize {
            return refused(Reason::OutOfRange);
        }
        let waits_somebody = self.first(|want| matches!(want, Want::Put(..))).is_some();
        if items.is_empty() || (!waits_somebody && self.fits(items.len())) {
            if !self.put_in(items, priority) {
                return refused(Reason::WrongType);
            }
            self.serve();
            return done(Reply::Put(QueuePutResponse {}));
        }
        if patience == Some(0) {
            return refused(Reason::Full);
        }
        self.waiting.push((call, Want::Put(items.into(), priority)));
        waits(patience)
    }

    fn drain(&mut self) -> u64 {
        let removed = self.stored() as u64;
        for thing in self.things.iter_mut().filter(|thing| thing.at == At::Stored) {
            thing.at = At::Gone;
        }
        self.finish(removed);
        removed
    }

    fn shut_down(&mut self, immediate: bool) -> String {
        self.shut = true;
        self.over |= immediate;
        for is in [|want: &Want| matches!(want, Want::Get(_)), |want: &Want| matches!(want, Want::Put(..))] {
            while let Some(at) = self.first(is) {
                self.answer(at, refused(Reason::ShutDown));
            }
        }
        let removed = if self.over { self.drain() } else { 0 };
        done(Reply::Shutdown(QueueShutdownResponse { removed }))
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal) -> bool {
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == call) else { return false };
        let answer = match (why, &self.waiting[at].1) {
            (Withdrawal::Cancelled, _) => refused(Reason::Withdrawn),
            (_, Want::Get(_)) => refused(Reason::Empty),
            (_, Want::Put(..)) => refused(Reason::Full),
            (_, Want::Join) => done(Reply::Join(QueueJoinResponse { joined: false })),
        };
        self.answer(at, answer);
        self.serve();
        true
    }

    fn undo(&mut self, undone: CallId) {
        for at in self.held(|session, _, call| session == Some(undone.session) && call == Some(undone.number)) {
            self.come_back(at, false, false);
        }
        self.serve();
    }

    fn acknowledge(&mut self, known: CallId) {
        let on_done = self.on_done();
        for at in self.held(|session, _, call| session == Some(known.session) && call == Some(known.number)) {
            match &mut self.things[at].at {
                At::With { call, .. } if on_done => *call = None,
                place => *place = At::Gone,
            }
        }
    }

    fn leave(&mut self, left: SessionId, how: Ended) {
        self.waiting.retain(|(call, _)| call.session != left);
        let keep = how == Ended::Closed && self.spec.on_close() == OnClose::Keep;
        for at in self.held(|session, _, _| session == Some(left)) {
            match &mut self.things[at].at {
                At::With { session, call: None, .. } if keep => *session = None,
                _ => self.come_back(at, true, false),
            }
        }
        self.serve();
    }

    fn size(&self) -> QueueSizeResponse {
        let waiting = |is: fn(&Want) -> bool| self.waiting.iter().filter(|(_, want)| is(want)).count() as u64;
        let things = |is: fn(&At) -> bool| self.things.iter().filter(|thing| is(&thing.at)).count() as u64;
        QueueSizeResponse {
            size: self.stored() as u64,
            empty: self.stored() == 0,
            full: !self.fits(1),
            unfinished: self.unfinished,
            getters: waiting(|want| matches!(want, Want::Get(_))),
            putters: waiting(|want| matches!(want, Want::Put(..))),
            joiners: waiting(|want| *want == Want::Join),
            delivered: things(|at| matches!(at, At::With { .. })),
            dead_letters: things(|at| matches!(at, At::Dead(_))),
            shut_down: self.shut,
            delivery: self.spec.delivery,
        }
    }

    fn bytes(&self) -> u64 {
        let one = |priority: &Option<Key>| 48 + if priority.is_some() { 24 } else { 0 };
        let there = self.things.iter().filter(|thing| thing.at != At::Gone).map(|thing| one(&thing.priority));
        let brought = self.waiting.iter().map(|(_, want)| match want {
            Want::Put(items, priority) => items.len() as u64 * one(priority),
            _ => 0,
        });
        there.chain(brought).sum()
    }

    fn involves(&self, whose: SessionId) -> bool {
        self.waiting.iter().any(|(call, _)| call.session == whose)
            || !self.held(|session, _, _| session == Some(whose)).is_empty()
    }
}

fn key(thing: &Thing) -> Key {
    thing.priority.unwrap_or(thing.item)
}

fn is_letter(thing: &Thing, letters: &[u64]) -> bool {
    matches!(thing.at, At::Dead(letter) if letters.contains(&letter))
}

/// What is asked of both.
#[derive(Clone, Debug)]
enum Asked {
    Put(Vec<Key>, Option<Key>, Option<i64>),
    Get(u64, Option<i64>),
    TaskDone(Vec<u64>),
    Nack(Vec<u64>, bool),
    Join(Option<i64>),
    Shutdown(bool),
    Clear,
    Requeue(Vec<u64>),
    Drop(Vec<u64>),
}

impl Asked {
    fn arbitrary(source: &mut Source, model: &Model, session: SessionId) -> Self {
        let patience = [None, None, Some(0), Some(5)][source.below(4) as usize];
        let key = |source: &mut Source| (u8::from(source.below(12) == 0), source.below(9) as i64);
        match source.below(48) {
            0..16 => {
                let items = (0..source.below(4)).map(|_| key(source)).collect();
                let priority = (source.below(6) == 0).then(|| key(source));
                Self::Put(items, priority, patience)
            }
            16..30 => Self::Get(source.below(4), patience),
            30..36 => Self::TaskDone(deliveries(source, model, session)),
            36..41 => Self::Nack(deliveries(source, model, session), source.below(4) == 0),
            41 | 42 => Self::Join(patience),
            43 if source.below(6) == 0 => Self::Shutdown(source.below(2) == 0),
            43 if source.below(2) == 0 => Self::Clear,
            43..46 => Self::Requeue(
                (0..source.below(3)).map(|_| 1 + source.below(8)).collect::<BTreeSet<_>>().into_iter().collect(),
            ),
            _ => Self::Drop((0..source.below(3)).map(|_| 1 + source.below(8)).collect()),
        }
    }

    fn op(&self) -> Op {
        let data = |items: &[Key]| items.iter().copied().map(datum).collect();
        match self.clone() {
            Self::Put(items, priority, patience_ms) => {
                Op::Put(QueuePutRequest { items: data(&items), patience_ms, priority: priority.map(datum) })
            }
            Self::Get(max, patience_ms) => Op::Get(QueueGetRequest { max, patience_ms }),
            Self::TaskDone(deliveries) => Op::TaskDone(QueueTaskDoneRequest { deliveries }),
            Self::Nack(deliveries, give_up) => Op::Nack(QueueNackRequest { deliveries, give_up }),
            Self::Join(patience_ms) => Op::Join(QueueJoinRequest { patience_ms }),
            Self::Shutdown(immediate) => Op::Shutdown(QueueShutdownRequest { immediate }),
            Self::Clear => Op::Clear(QueueClearRequest {}),
            Self::Requeue(letters) => Op::Requeue(QueueRequeueRequest { letters }),
            Self::Drop(letters) => Op::DropDeadLetters(QueueDropDeadLettersRequest { letters }),
        }
    }
}

/// None, or mostly what the session has, or nobody; seldom what it has not.
fn deliveries(source: &mut Source, model: &Model, session: SessionId) -> Vec<u64> {
    if source.below(3) == 0 {
        return vec![];
    }
    let anybody = source.below(10) == 0;
    let theirs = model.held(|whose, _, _| anybody || whose.is_none_or(|whose| whose == session));
    let number = |at: &usize| match model.things[*at].at {
        At::With { delivery, .. } => Some(delivery),
        _ => None,
    };
    let mut named: Vec<u64> = theirs.iter().filter_map(number).filter(|_| source.below(2) == 0).collect();
    if source.below(20) == 0 {
        named.push(source.below(100));
    }
    if source.below(30) == 0 {
        named.extend(named.first().copied());
    }
    named
}

struct Both {
    queue: Queue,
    model: Model,
    index: u64,
    calls: Vec<CallId>,
}

const SESSIONS: u64 = 4;

impl Both {
    fn new(spec: Spec) -> Self {
        let queue = Queue::create(spec, &mut creation()).unwrap();
        Self { queue, model: Model::new(spec), index: 0, calls: vec![] }
    }

    /// One input into both. What it was, and what came of it in either.
    fn step(&mut self, source: &mut Source) -> (String, String, String) {
        self.index += 1;
        let session = session(b'a' + source.below(SESSIONS) as u8);
        let call = CallId { session, number: self.index };
        let mut turn = Turn::new(self.index, call, 1 << 20, Room::new(1 << 40, "object_bytes"));
        (self.model.fence, self.model.woken) = (turn.fence, vec![]);
        let before = self.queue.bytes();
        let some_call = self.some_call(source);
        let (what, theirs, ours) = match source.below(20) {
            0 | 1 if source.below(2) == 0 => {
                let why = [Withdrawal::Patience, Withdrawal::Cancelled][source.below(2) as usize];
                let theirs = self.queue.withdraw(some_call, why, &mut turn);
                let ours = self.model.withdraw(some_call, why);
                (format!("withdraw {some_call:?} {why:?}"), format!("{theirs}"), format!("{ours}"))
            }
            1 | 2 => {
                self.queue.undo(some_call, &mut turn);
                self.model.undo(some_call);
                (format!("undo {some_call:?}"), String::new(), String::new())
            }
            3..6 => {
                self.queue.acknowledge(some_call, &mut turn);
                self.model.acknowledge(some_call);
                (format!("acknowledge {some_call:?}"), String::new(), String::new())
            }
            6 if source.below(3) == 0 => {
                let how = [Ended::Closed, Ended::Lost][source.below(2) as usize];
                self.queue.leave(session, how, &mut turn);
                self.model.leave(session, how);
                (format!("leave {session:?} {how:?}"), String::new(), String::new())
            }
            _ => {
                let asked = Asked::arbitrary(source, &self.model, session);
                self.calls.push(call);
                let answer = self.queue.apply(asked.op(), &mut turn).map(AnyReply::from);
                let ours = self.model.apply(call, &asked);
                (format!("{call:?} {asked:?}"), told(&answer), ours)
            }
        };
        let woken = turn.woken.iter().map(|Woken { call, answer }| (*call, told(answer)));
        let theirs = format!("{theirs} {:?}", woken.collect::<Vec<_>>());
        assert_eq!(before + (1 << 40) - turn.room.left(), self.queue.bytes(), "{what}: the room was told otherwise");
        (what, theirs, format!("{ours} {:?}", self.model.woken))
    }

    /// Any of the last calls, or one that waits.
    fn some_call(&self, source: &mut Source) -> CallId {
        let waiting: Vec<CallId> = self.model.waiting.iter().map(|(call, _)| *call).collect();
        let calls = if waiting.is_empty() || source.below(2) == 0 { &self.calls } else { &waiting };
        let back = 1 + source.below(12) as usize;
        let none = CallId { session: session(b'z'), number: 0 };
        calls.get(calls.len().saturating_sub(back)).copied().unwrap_or(none)
    }

    /// What can be seen of either.
    fn compare(&mut self, what: &str) {
        self.queue.check_invariants();
        assert_eq!(self.queue.size(), self.model.size(), "{what}");
        assert_eq!(self.queue.bytes(), self.model.bytes(), "{what}");
        let mut waiting = BTreeSet::new();
        self.queue.visit_waiting(&mut |call| assert!(waiting.insert(call)));
        assert_eq!(waiting, self.model.waiting.iter().map(|(call, _)| *call).collect(), "{what}");
        for name in 0..SESSIONS {
            let session = session(b'a' + name as u8);
            assert_eq!(self.queue.involves(session), self.model.involves(session), "{what}");
        }
    }
}

#[test]
fn it_is_as_the_model_in_every_order_and_delivery() {
    let mut happened = [0_u64; 6];
    for seed in 0..240 {
        let mut source = Source::new(seed);
        let on_done = seed % 2 == 0;
        let spec = Spec {
            order: (seed / 2 % 3) as i32,
            maxsize: [0, 1, 3, 5][source.below(4) as usize],
            delivery: on_done.into(),
            max_deliveries: if on_done { source.below(4) as u32 } else { 0 },
            on_close: if on_done { source.below(2) as i32 } else { 0 },
        };
        let ran = std::panic::catch_unwind(|| {
            let mut source = source.clone();
            let mut both = Both::new(spec);
            let mut happened = [0; 6];
            for step in 0..300 {
                let (what, theirs, ours) = both.step(&mut source);
                assert_eq!(theirs, ours, "step {step}: {what}");
                both.compare(&what);
                let size = both.model.size();
                let seen = [size.getters, size.putters, size.joiners, size.delivered, size.dead_letters];
                seen.iter().zip(&mut happened).for_each(|(seen, happened)| *happened += seen);
                happened[5] += both.model.things.iter().filter(|thing| thing.returned).count() as u64;
                if source.below(40) == 0 {
                    both.queue = Queue::restore(both.queue.state(), &mut creation()).unwrap();
                }
            }
            happened
        });
        let seen = ran.unwrap_or_else(|_| panic!("seed {seed}: {spec:?}: what is above"));
        seen.iter().zip(&mut happened).for_each(|(seen, happened)| *happened += seen);
    }
    assert!(happened.iter().all(|times| *times > 1000), "not enough happened: {happened:?}");
}
