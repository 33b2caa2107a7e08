//! A shared queue: kind `queue`.

mod deliveries;
mod item;
mod state;
mod store;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use holdfast_proto::datum::Reference;
use holdfast_proto::queue::{Op, Reply, Spec};
use holdfast_proto::{
    OnLoss, QueueClearResponse, QueueDeadLetter, QueueDeadLettersRequest, QueueDeadLettersResponse, QueueDelivery,
    QueueDropDeadLettersRequest, QueueDropDeadLettersResponse, QueueGetRequest, QueueGetResponse, QueueItem,
    QueueJoinRequest, QueueJoinResponse, QueueNackRequest, QueueNackResponse, QueueOrder, QueuePutRequest,
    QueuePutResponse, QueueRequeueRequest, QueueRequeueResponse, QueueShutdownRequest, QueueShutdownResponse,
    QueueSizeResponse, QueueTaskDoneRequest, QueueTaskDoneResponse, Reason, Refusal,
};

use self::deliveries::{Deliveries, Delivery, Place};
pub use self::item::ItemState;
use self::item::{Item, bytes_of};
pub use self::state::{DeadState, DeliveryState, GetterState, JoinerState, PutterState, State};
use self::store::Store;
use crate::holding::{Fate, Policy};
use crate::key::Equality;
use crate::mutant::{Mutant, mutant};
use crate::page::Page;
use crate::turn::withdrawn;
use crate::wait_queue::WaitQueue;
use crate::{Answer, CallId, Creation, Ended, Object, Patience, SessionId, Turn, Withdrawal, door};

/// Python's queues, which lose nothing that was taken by somebody who died.
///
/// - Nobody waits to take while something is there, or to put while there is room for what the first of them brings; and
///   nobody waits for either once it is shut down. Nobody joins while nothing is unfinished.
/// - Who waits is served in the order in which they came, in the turn that makes it possible.
/// - What never came back never exceeds `maxsize`. What came back may, since it is always taken.
/// - An item is at one place: it can be taken, was given out, is a dead letter, or waits with the call that brings it.
///   Its sequence number is that of its putting in, and it comes back to where that stands.
/// - Where items are done by saying so, those that can be taken and those that were given out are what is unfinished.
///   Where they are done on receipt, what is given out is received or not, and what is unfinished is but counted.
/// - A session that ended has nothing and waits for nothing. Its waiting calls are gone before anything is granted.
#[derive(Debug)]
pub struct Queue {
    spec: Spec,
    policy: Policy,
    equality: Equality,
    stored: Store,
    delivered: Deliveries,
    /// What is not delivered any more, by the order in which it came to that.
    dead: BTreeMap<u64, Item>,
    /// With how many items each would like at most.
    getters: WaitQueue<u64>,
    /// With what each brings.
    putters: WaitQueue<Vec<Item>>,
    joiners: WaitQueue<()>,
    unfinished: u64,
    phase: Phase,
    bytes: u64,
    /// How many were ever put in, given out, and dead.
    put: u64,
    given: u64,
    died: u64,
}

/// How far it is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing more comes in.
    Draining,
    /// Nor does anything come back.
    Over,
}

/// Why an item comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    /// Surely nobody saw it.
    Unseen,
    Undone,
    /// It is not to be delivered again.
    GivenUp,
}

impl Object for Queue {
    type Spec = Spec;
    type Op = Op;
    type State = State;

    fn create(mut spec: Spec, creation: &mut Creation) -> Result<Self, Refusal> {
        let malformed = |problem: String| Refusal::new(Reason::Malformed, problem);
        let order = QueueOrder::try_from(spec.order);
        let order = order.map_err(|_| malformed(format!("there is no order {}", spec.order)))?;
        let delivery = QueueDelivery::try_from(spec.delivery);
        let delivery = delivery.map_err(|_| malformed(format!("there is no delivery {}", spec.delivery)))?;
        let policy = Policy::read(OnLoss::Release.into(), spec.on_close)?;
        if delivery == QueueDelivery::OnReceipt && (spec.max_deliveries > 0 || spec.on_close != 0) {
            let problem =
                "max_deliveries and on_close are for what is done with TaskDone: say ON_DONE, or leave them out";
            return Err(malformed(problem.into()));
        }
        spec.maxsize = spec.maxsize.max(0);
        Ok(Self {
            spec,
            policy,
            equality: Equality::new(creation.seed),
            stored: Store::new(order, creation.seed),
            delivered: Deliveries::default(),
            dead: BTreeMap::new(),
            getters: WaitQueue::default(),
            putters: WaitQueue::default(),
            joiners: WaitQueue::default(),
            unfinished: 0,
            phase: Phase::Open,
            bytes: 0,
            put: 0,
            given: 0,
            died: 0,
        })
    }

    fn restore(state: State, creation: &mut Creation) -> Result<Self, Refusal> {
        state::restore(state, creation)
    }

    fn state(&self) -> State {
        state::of(self)
    }

    fn apply(&mut self, op: Op, turn: &mut Turn) -> Answer<Reply> {
        match op {
            Op::Put(request) => self.put(request, turn).into(),
            Op::Get(request) => self.get(&request, turn).into(),
            Op::Size(_) => Answer::Done(Reply::Size(self.size())),
            Op::TaskDone(request) => self.task_done(request, turn).map(Reply::TaskDone).into(),
            Op::Nack(request) => self.nack(request, turn).map(Reply::Nack).into(),
            Op::Join(request) => self.join(&request, turn).into(),
            Op::Shutdown(request) => Answer::Done(Reply::Shutdown(self.shut_down(&request, turn))),
            Op::Clear(_) => Answer::Done(Reply::Clear(self.clear(turn))),
            Op::DeadLetters(request) => Answer::Done(Reply::DeadLetters(self.dead_letters(&request, turn))),
            Op::Requeue(request) => self.requeue(request, turn).map(Reply::Requeue).into(),
            Op::DropDeadLetters(request) => Answer::Done(Reply::DropDeadLetters(self.drop_dead(&request, turn))),
        }
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let in_vain = if self.getters.remove(call).is_some() {
            Err(empty())
        } else if let Some(items) = self.putters.remove(call) {
            self.free(bytes_of(&items), turn);
            Err(self.full())
        } else if self.joiners.remove(call).is_some() {
            Ok(Reply::Join(QueueJoinResponse { joined: false }))
        } else {
            return false;
        };
        match (why, in_vain) {
            (Withdrawal::Patience, Ok(reply)) => turn.wake(call, reply),
            (Withdrawal::Patience, Err(refusal)) => turn.refuse(call, refusal),
            (Withdrawal::Cancelled, _) => turn.refuse(call, withdrawn()),
        }
        // Who waited behind it may bring less.
        self.serve(turn);
        true
    }

    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        for place in self.delivered.unreceived(call) {
            self.take_back(place, Return::Unseen, turn);
        }
        self.serve(turn);
    }

    fn acknowledge(&mut self, call: CallId, turn: &mut Turn) {
        if self.is_done_on_receipt() {
            for place in self.delivered.unreceived(call) {
                self.let_go(place, turn);
            }
        } else {
            self.delivered.receive(call);
        }
    }

    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        self.getters.remove_session(session);
        self.joiners.remove_session(session);
        for (_, items) in self.putters.remove_session(session) {
            self.free(bytes_of(&items), turn);
        }
        let stays = self.policy.fate(how) == Fate::Keep;
        let places: Vec<Place> = self.delivered.of_session(session).collect();
        for place in places {
            // What it may never have had is not left with it.
            match self.delivered.remove(place) {
                Some(delivery) if stays && delivery.call.is_none() => {
                    self.delivered.insert((None, place.1), delivery);
                }
                Some(delivery) => self.put_back(delivery.item, Return::Undone, turn),
                None => {}
            }
        }
        self.serve(turn);
    }

    fn involves(&self, session: SessionId) -> bool {
        self.getters.involves(session)
            || self.putters.involves(session)
            || self.joiners.involves(session)
            || self.delivered.of_session(session).next().is_some()
    }

    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        self.getters.iter().for_each(|(call, _)| visit(call));
        self.putters.iter().for_each(|(call, _)| visit(call));
        self.joiners.iter().for_each(|(call, ())| visit(call));
    }

    fn admits(&self, spec: &Spec) -> Result<(), Refusal> {
        let asked = Spec { maxsize: spec.maxsize.max(0), ..*spec };
        if asked == self.spec {
            return Ok(());
        }
        Err(Refusal::new(Reason::OtherSpec, format!("this queue is {}, not {}", shown(&self.spec), shown(&asked))))
    }

    fn is_vacant(&self) -> bool {
        self.spec == Spec::default()
            && self.put == 0
            && self.phase == Phase::Open
            && self.getters.is_empty()
            && self.putters.is_empty()
            && self.joiners.is_empty()
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn elements(&self) -> Option<u64> {
        Some(self.stored.len() as u64)
    }

    fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        self.items().for_each(|item| item.visit_references(visit));
    }

    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {
        self.check();
    }
}

/// Putting in.
impl Queue {
    fn put(&mut self, request: QueuePutRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        let items = self.read(request)?;
        self.is_open()?;
        if items.is_empty() {
            return Ok(Answer::Done(Reply::Put(QueuePutResponse {})));
        }
        self.could_fit(items.len())?;
        let bytes = bytes_of(&items);
        if self.putters.is_empty() && self.fits(items.len()) {
            self.put_in(items, || turn.room.grow(bytes))?;
            self.bytes += bytes;
            self.serve(turn);
            return Ok(Answer::Done(Reply::Put(QueuePutResponse {})));
        }
        let patience = patience.ok_or_else(|| self.full())?;
        turn.may_wait(self.waiting())?;
        turn.room.grow(bytes)?;
        self.bytes += bytes;
        self.putters.push(turn.call, items);
        Ok(Answer::Wait(patience))
    }

    /// What a request brings.
    fn read(&self, request: QueuePutRequest) -> Result<Vec<Item>, Refusal> {
        let priority = door::optional("priority", request.priority, &self.equality)?;
        if priority.is_some() && self.spec.order() != QueueOrder::Priority {
            let problem = "this queue has no priorities: leave the priority out, or make it with the order PRIORITY";
            return Err(Refusal::new(Reason::Malformed, problem));
        }
        let items = request.items.into_iter().map(|item| {
            let datum = door::value("items", Some(item), &self.equality)?;
            Ok(Item::new(datum, priority.clone().map(Box::new)))
        });
        let items = items.collect::<Result<Vec<_>, Refusal>>()?;
        self.stored.check(&items)?;
        Ok(items)
    }

    /// Whether there is room for so many more.
    fn fits(&self, items: usize) -> bool {
        let maxsize = self.maxsize();
        maxsize == 0 || (self.stored.len() + items) as u64 <= maxsize
    }

    /// Whether an empty queue has room for so many. Refused: `OUT_OF_RANGE`.
    fn could_fit(&self, items: usize) -> Result<(), Refusal> {
        let maxsize = self.maxsize();
        if maxsize == 0 || items as u64 <= maxsize {
            return Ok(());
        }
        let problem = format!("{items} items do not fit a queue of {maxsize}, ever: put them in fewer at a time");
        Err(Refusal::new(Reason::OutOfRange, problem))
    }

    /// Puts them in if `room` says so, which is asked last. Refused: `WRONG_TYPE`, and as `room` does.
    fn put_in(&mut self, mut items: Vec<Item>, room: impl FnOnce() -> Result<(), Refusal>) -> Result<(), Refusal> {
        let count = items.len() as u64;
        for (item, sequence) in items.iter_mut().zip(self.put + 1..) {
            item.sequence = sequence;
        }
        self.stored.put(items, room)?;
        self.put += count;
        self.unfinished += count;
        Ok(())
    }
}

/// Taking out.
impl Queue {
    fn get(&mut self, request: &QueueGetRequest, turn: &mut Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        if !self.stored.is_empty() {
            let response = self.give(turn.call, request.max, turn);
            self.serve(turn);
            return Ok(Answer::Delivered(Reply::Get(response)));
        }
        self.is_open()?;
        let patience = patience.ok_or_else(empty)?;
        turn.may_wait(self.waiting())?;
        self.getters.push(turn.call, request.max);
        Ok(Answer::Wait(patience))
    }

    /// Gives a call what it asked for, as far as it is there and a page holds it: at least one.
    fn give(&mut self, call: CallId, max: u64, turn: &Turn) -> QueueGetResponse {
        let mut page = Page::new(0, turn.page_bytes);
        let mut items = Vec::new();
        while let Some(item) = self.stored.pop() {
            self.given += 1;
            let given = QueueItem {
                item: Some(item.datum.clone()),
                delivery: self.given,
                attempt: item.attempts.saturating_add(1),
                redelivered: item.returned,
            };
            page.count(&given);
            items.push(given);
            self.delivered.insert((Some(call.session), self.given), Delivery { call: Some(call.number), item });
            if items.len() as u64 >= max || page.is_full() {
                break;
            }
        }
        QueueGetResponse { items, fence: turn.fence }
    }

    fn task_done(&mut self, request: QueueTaskDoneRequest, turn: &mut Turn) -> Result<QueueTaskDoneResponse, Refusal> {
        if self.is_done_on_receipt() {
            if !request.deliveries.is_empty() {
                return Err(done_on_receipt());
            }
            if self.unfinished == 0 {
                return Err(over_release());
            }
            self.finish(1, turn);
        } else {
            for place in self.named(request.deliveries, turn.call.session)?.ok_or_else(over_release)? {
                self.let_go(place, turn);
                self.finish(1, turn);
            }
        }
        Ok(QueueTaskDoneResponse { unfinished: self.unfinished })
    }

    fn nack(&mut self, request: QueueNackRequest, turn: &mut Turn) -> Result<QueueNackResponse, Refusal> {
        if self.is_done_on_receipt() {
            return Err(done_on_receipt());
        }
        let died = self.died;
        let why = if request.give_up { Return::GivenUp } else { Return::Undone };
        for place in self.named(request.deliveries, turn.call.session)?.ok_or_else(nothing_held)? {
            self.take_back(place, why, turn);
        }
        self.serve(turn);
        Ok(QueueNackResponse { dead: self.died - died })
    }

    /// Where the deliveries with these numbers are, or that of the session with the smallest, if it has any.
    /// Refused: `NOT_HELD`.
    fn named(&self, deliveries: Vec<u64>, session: SessionId) -> Result<Option<Vec<Place>>, Refusal> {
        if deliveries.is_empty() {
            return Ok(self.delivered.of_session(session).next().map(|place| [place].into()));
        }
        let mut named = BTreeSet::new();
        for delivery in deliveries {
            let place = [(Some(session), delivery), (None, delivery)];
            let place = place.into_iter().find(|place| self.delivered.contains(*place));
            let place = place.filter(|place| named.insert(*place));
            place.ok_or_else(|| not_held(delivery))?;
        }
        Ok(Some(named.into_iter().collect()))
    }
}

/// What else can be asked.
impl Queue {
    fn size(&self) -> QueueSizeResponse {
        QueueSizeResponse {
            size: self.stored.len() as u64,
            empty: self.stored.is_empty(),
            full: !self.fits(1),
            unfinished: self.unfinished,
            getters: self.getters.len() as u64,
            putters: self.putters.len() as u64,
            joiners: self.joiners.len() as u64,
            delivered: self.delivered.len() as u64,
            dead_letters: self.dead.len() as u64,
            shut_down: self.phase != Phase::Open,
            delivery: self.spec.delivery,
        }
    }

    fn join(&mut self, request: &QueueJoinRequest, turn: &Turn) -> Result<Answer<Reply>, Refusal> {
        let patience = Patience::read(request.patience_ms)?;
        let joined = self.unfinished == 0;
        match patience {
            Some(patience) if !joined => {
                turn.may_wait(self.waiting())?;
                self.joiners.push(turn.call, ());
                Ok(Answer::Wait(patience))
            }
            _ => Ok(Answer::Done(Reply::Join(QueueJoinResponse { joined }))),
        }
    }

    fn shut_down(&mut self, request: &QueueShutdownRequest, turn: &mut Turn) -> QueueShutdownResponse {
        self.phase = self.phase.max(if request.immediate { Phase::Over } else { Phase::Draining });
        while let Some((call, _)) = self.getters.pop() {
            turn.refuse(call, shut_down());
        }
        while let Some((call, items)) = self.putters.pop() {
            self.free(bytes_of(&items), turn);
            turn.refuse(call, shut_down());
        }
        let removed = if self.phase == Phase::Over { self.drain(turn) } else { 0 };
        QueueShutdownResponse { removed }
    }

    fn clear(&mut self, turn: &mut Turn) -> QueueClearResponse {
        let removed = self.drain(turn);
        self.serve(turn);
        QueueClearResponse { removed }
    }

    fn dead_letters(&self, request: &QueueDeadLettersRequest, turn: &Turn) -> QueueDeadLettersResponse {
        let mut page = Page::new(request.bytes, turn.page_bytes);
        let mut letters = Vec::new();
        for (letter, item) in self.dead.range(request.cursor..) {
            if !letters.is_empty() && page.is_full() {
                return QueueDeadLettersResponse { letters, cursor: *letter };
            }
            let shown = QueueDeadLetter {
                letter: *letter,
                item: Some(item.datum.clone()),
                priority: item.priority.as_deref().cloned(),
                attempts: item.attempts,
            };
            page.count(&shown);
            letters.push(shown);
        }
        QueueDeadLettersResponse { letters, cursor: 0 }
    }

    fn requeue(&mut self, request: QueueRequeueRequest, turn: &mut Turn) -> Result<QueueRequeueResponse, Refusal> {
        self.is_open()?;
        let mut requeued = 0;
        for item in request.letters.iter().filter_map(|letter| self.dead.remove(letter)) {
            self.stored.put_back(Item { attempts: 0, ..item });
            requeued += 1;
        }
        self.unfinished += requeued;
        self.serve(turn);
        Ok(QueueRequeueResponse { requeued })
    }

    fn drop_dead(&mut self, request: &QueueDropDeadLettersRequest, turn: &mut Turn) -> QueueDropDeadLettersResponse {
        let mut dropped = 0;
        for item in request.letters.iter().filter_map(|letter| self.dead.remove(letter)) {
            self.bytes -= item.bytes();
            turn.room.shrink(item.bytes());
            dropped += 1;
        }
        QueueDropDeadLettersResponse { dropped }
    }
}

/// What all of these are made of.
impl Queue {
    /// Serves those who wait, as long as one of them can be.
    fn serve(&mut self, turn: &mut Turn) {
        loop {
            if !self.stored.is_empty()
                && let Some((call, max)) = self.getters.pop()
            {
                let response = self.give(call, max, turn);
                turn.deliver(call, Reply::Get(response));
                continue;
            }
            let next_fits = self.putters.first().is_some_and(|(_, items)| self.fits(items.len()));
            let Some((call, items)) = next_fits.then(|| self.putters.pop()).flatten() else { return };
            let bytes = bytes_of(&items);
            match self.put_in(items, || Ok(())) {
                Ok(()) => turn.wake(call, Reply::Put(QueuePutResponse {})),
                // What came in while it waited has no order with what it brings.
                Err(refusal) => {
                    self.free(bytes, turn);
                    turn.refuse(call, refusal);
                }
            }
        }
    }

    /// What was given out comes back.
    fn take_back(&mut self, place: Place, why: Return, turn: &mut Turn) {
        if let Some(delivery) = self.delivered.remove(place) {
            self.put_back(delivery.item, why, turn);
        }
    }

    fn put_back(&mut self, mut item: Item, why: Return, turn: &mut Turn) {
        item.returned = true;
        if why != Return::Unseen {
            item.attempts = item.attempts.saturating_add(1);
        }
        let most = self.spec.max_deliveries;
        if why == Return::GivenUp || (most > 0 && item.attempts >= most) {
            self.died += 1;
            self.dead.insert(self.died, item);
            self.finish(1, turn);
        } else if self.phase == Phase::Over {
            self.free(item.bytes(), turn);
            self.finish(1, turn);
        } else {
            self.unfinished += u64::from(mutant(Mutant::JoinMiscounts));
            self.stored.put_back(item);
        }
    }

    /// What was given out is no longer the queue's.
    fn let_go(&mut self, place: Place, turn: &mut Turn) {
        if let Some(delivery) = self.delivered.remove(place) {
            self.free(delivery.item.bytes(), turn);
        }
    }

    /// Takes everything out that nobody has.
    fn drain(&mut self, turn: &mut Turn) -> u64 {
        let stored = self.stored.take();
        let (removed, bytes) = (stored.len() as u64, stored.iter().map(Item::bytes).sum());
        self.free(bytes, turn);
        turn.let_go(bytes, stored);
        self.finish(removed, turn);
        removed
    }

    /// So many more are done. In Python's way one may say so of what nobody has taken yet: then less are left than are there.
    fn finish(&mut self, count: u64, turn: &mut Turn) {
        self.unfinished = self.unfinished.saturating_sub(count);
        while self.unfinished == 0
            && let Some((call, ())) = self.joiners.pop()
        {
            turn.wake(call, Reply::Join(QueueJoinResponse { joined: true }));
        }
    }

    fn free(&mut self, bytes: u64, turn: &mut Turn) {
        self.bytes -= bytes;
        turn.room.shrink(bytes);
    }

    fn is_open(&self) -> Result<(), Refusal> {
        if self.phase == Phase::Open { Ok(()) } else { Err(shut_down()) }
    }

    fn is_done_on_receipt(&self) -> bool {
        self.spec.delivery() == QueueDelivery::OnReceipt
    }

    fn maxsize(&self) -> u64 {
        self.spec.maxsize.unsigned_abs()
    }

    fn waiting(&self) -> usize {
        self.getters.len() + self.putters.len() + self.joiners.len()
    }

    /// Every item, wherever it is.
    fn items(&self) -> impl Iterator<Item = &Item> {
        let delivered = self.delivered.iter().map(|(_, delivery)| &delivery.item);
        let brought = self.putters.iter().flat_map(|(_, items)| items);
        self.stored.iter().chain(delivered).chain(self.dead.values()).chain(brought)
    }

    #[cold]
    fn full(&self) -> Refusal {
        let waiting = self.putters.len();
        let problem = format!(
            "the queue has no room: {} of {} items are in it, and {waiting} calls wait to put some. Wait for longer, or take some out",
            self.stored.len(),
            self.maxsize()
        );
        Refusal::new(Reason::Full, problem)
    }
}

/// What stands in the description of the type, and that the books are right.
#[cfg(any(test, feature = "testing"))]
impl Queue {
    fn check(&self) {
        let open = self.phase == Phase::Open;
        assert!(self.stored.is_empty() || self.getters.is_empty(), "somebody waits for what is there");
        assert!(self.putters.first().is_none_or(|(_, items)| !self.fits(items.len())), "somebody waits beside room");
        assert!(open || (self.getters.is_empty() && self.putters.is_empty()), "somebody waits for what never comes");
        assert!(self.phase != Phase::Over || self.stored.is_empty(), "something is left of what is over");
        assert!(self.unfinished > 0 || self.joiners.is_empty(), "somebody waits for what is done");
        let fresh = self.stored.iter().filter(|item| !item.returned).count() as u64;
        assert!(self.maxsize() == 0 || fresh <= self.maxsize(), "{fresh} items exceed {}", self.maxsize());
        assert_eq!(self.bytes, self.items().map(Item::bytes).sum::<u64>());
        if self.is_done_on_receipt() {
            assert!(self.dead.is_empty() && self.delivered.iter().all(|(_, delivery)| delivery.call.is_some()));
        } else {
            assert_eq!(self.unfinished, (self.stored.len() + self.delivered.len()) as u64);
        }
        let most = self.spec.max_deliveries;
        assert!(most == 0 || self.stored.iter().all(|item| item.attempts < most), "something should be dead");
        let numbers: Vec<u64> = self.items().map(|item| item.sequence).filter(|sequence| *sequence > 0).collect();
        assert!(numbers.iter().all(|sequence| *sequence <= self.put));
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "an item is at two places");
        assert!(self.delivered.iter().all(|((_, delivery), _)| delivery <= self.given));
    }
}

fn shown(spec: &Spec) -> String {
    let Spec { maxsize, max_deliveries, .. } = spec;
    let (order, delivery, on_close) =
        (spec.order().as_str_name(), spec.delivery().as_str_name(), spec.on_close().as_str_name());
    format!("{order}, {delivery}, maxsize {maxsize}, max_deliveries {max_deliveries}, {on_close}")
}

#[cold]
fn empty() -> Refusal {
    Refusal::new(Reason::Empty, "the queue is empty: wait for longer, or put something in")
}

#[cold]
fn shut_down() -> Refusal {
    let problem = "the queue was shut down: nothing more comes in, and what was in it is taken. Make another";
    Refusal::new(Reason::ShutDown, problem)
}

#[cold]
fn over_release() -> Refusal {
    let problem = "task_done was called more often than there was something to be done: call it once for each item";
    Refusal::new(Reason::OverRelease, problem)
}

#[cold]
fn nothing_held() -> Refusal {
    Refusal::new(Reason::NotHeld, "the session has no item of this queue: take one before it is given back")
}

#[cold]
fn not_held(delivery: u64) -> Refusal {
    let problem = format!(
        "the session does not have the delivery {delivery}, or names it twice: it is done, or went back to the queue"
    );
    Refusal::new(Reason::NotHeld, problem)
}

#[cold]
fn done_on_receipt() -> Refusal {
    let problem =
        "items of this queue are done on receipt, and nobody holds them: name no deliveries, or make it ON_DONE";
    Refusal::new(Reason::NotHeld, problem)
}

#[cfg(test)]
mod tests;
