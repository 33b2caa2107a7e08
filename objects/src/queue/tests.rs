mod model;

use alloc::sync::Arc;
use alloc::vec;
use core::time::Duration;

use super::*;
use crate::{Room, Woken};
use holdfast_proto::datum::Named;
use holdfast_proto::{Datum, OnClose, QueueClearRequest, QueueSizeRequest};

fn creation() -> Creation {
    Creation { seed: 5, room: Room::new(1 << 40, "object_bytes") }
}

fn session(name: u8) -> SessionId {
    SessionId([name; 16])
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: session(name as u8), number }
}

/// A queue and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    queue: Queue,
    index: u64,
    page: u32,
}

impl World {
    fn new(spec: Spec) -> Self {
        Self { queue: Queue::create(spec, &mut creation()).unwrap(), index: 0, page: 1000 }
    }

    fn turn(&mut self, call: CallId) -> Turn {
        self.index += 1;
        Turn::new(self.index, call, self.page, Room::new(1 << 40, "object_bytes"))
    }

    fn apply(&mut self, call: CallId, op: Op) -> (Answer<Reply>, Vec<Woken>) {
        let mut turn = self.turn(call);
        let answer = self.queue.apply(op, &mut turn);
        self.queue.check_invariants();
        (answer, turn.woken)
    }

    fn put(&mut self, call: CallId, items: &[i64], patience_ms: Option<i64>) -> (Answer<Reply>, Vec<Woken>) {
        let items = items.iter().copied().map(Datum::Integer).collect();
        self.apply(call, Op::Put(QueuePutRequest { items, patience_ms, priority: None }))
    }

    fn get(&mut self, call: CallId, max: u64, patience_ms: Option<i64>) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call, Op::Get(QueueGetRequest { max, patience_ms }))
    }

    /// What a get is given that does not wait: items and whether each came back.
    fn take(&mut self, call: CallId, max: u64) -> Vec<(i64, bool)> {
        match self.get(call, max, Some(0)).0 {
            Answer::Delivered(Reply::Get(response)) => shown(&response),
            Answer::Refused(refusal) if refusal.why() == Reason::Empty => vec![],
            other => panic!("{other:?}"),
        }
    }

    fn undo(&mut self, call: CallId) -> Vec<Woken> {
        let mut turn = self.turn(call);
        self.queue.undo(call, &mut turn);
        self.queue.check_invariants();
        turn.woken
    }

    fn acknowledge(&mut self, call: CallId) {
        let mut turn = self.turn(call);
        self.queue.acknowledge(call, &mut turn);
        assert_eq!(turn.woken, []);
    }

    fn withdraw(&mut self, call: CallId, why: Withdrawal) -> (bool, Vec<Woken>) {
        let mut turn = self.turn(call);
        (self.queue.withdraw(call, why, &mut turn), turn.woken)
    }

    fn leave(&mut self, name: char, how: Ended) -> Vec<Woken> {
        let mut turn = self.turn(call(name, 0));
        self.queue.leave(session(name as u8), how, &mut turn);
        self.queue.check_invariants();
        turn.woken
    }

    fn done(&mut self, call: CallId, deliveries: &[u64]) -> Answer<Reply> {
        self.apply(call, Op::TaskDone(QueueTaskDoneRequest { deliveries: deliveries.into() })).0
    }

    fn nack(&mut self, call: CallId, deliveries: &[u64], give_up: bool) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call, Op::Nack(QueueNackRequest { deliveries: deliveries.into(), give_up }))
    }

    fn shut_down(&mut self, immediate: bool) -> (Answer<Reply>, Vec<Woken>) {
        self.apply(call('s', 1000 + self.index), Op::Shutdown(QueueShutdownRequest { immediate }))
    }

    fn size(&mut self) -> QueueSizeResponse {
        match self.apply(call('s', 0), Op::Size(QueueSizeRequest {})) {
            (Answer::Done(Reply::Size(size)), _) => size,
            other => panic!("{other:?}"),
        }
    }

    fn letters(&mut self, cursor: u64, bytes: u32) -> QueueDeadLettersResponse {
        match self.apply(call('s', 0), Op::DeadLetters(QueueDeadLettersRequest { cursor, bytes })) {
            (Answer::Done(Reply::DeadLetters(letters)), _) => letters,
            other => panic!("{other:?}"),
        }
    }
}

fn shown(response: &QueueGetResponse) -> Vec<(i64, bool)> {
    let shown = |item: &QueueItem| match item.item {
        Some(Datum::Integer(number)) => (number, item.redelivered),
        ref other => panic!("{other:?}"),
    };
    response.items.iter().map(shown).collect()
}

/// Whom a turn woke, and with which items or why not.
fn woken(woken: &[Woken]) -> Vec<(CallId, Result<Vec<i64>, Reason>)> {
    let shown = |woken: &Woken| match &woken.answer {
        Answer::Refused(refusal) => (woken.call, Err(refusal.why())),
        Answer::Delivered(crate::catalog::AnyReply::Queue(Reply::Get(response))) => {
            (woken.call, Ok(shown(response).into_iter().map(|(number, _)| number).collect()))
        }
        _ => (woken.call, Ok(vec![])),
    };
    woken.iter().map(shown).collect()
}

fn why<R: core::fmt::Debug>(answer: Answer<R>) -> Reason {
    match answer {
        Answer::Refused(refusal) => refusal.why(),
        other => panic!("{other:?}"),
    }
}

fn on_done() -> Spec {
    Spec { delivery: QueueDelivery::OnDone.into(), ..Spec::default() }
}

fn order(order: QueueOrder) -> Spec {
    Spec { order: order.into(), ..Spec::default() }
}

const PUT: Answer<Reply> = Answer::Done(Reply::Put(QueuePutResponse {}));

#[test]
fn an_item_goes_to_who_has_waited_longest_in_the_turn_in_which_it_comes() {
    let mut world = World::new(Spec::default());
    assert_eq!(world.get(call('a', 1), 0, None).0, Answer::Wait(Patience::Endless));
    assert_eq!(world.get(call('b', 1), 2, Some(9)).0, Answer::Wait(Patience::For(Duration::from_millis(9))));
    assert_eq!(why(world.get(call('c', 1), 0, Some(0)).0), Reason::Empty);
    let (answer, to) = world.put(call('p', 1), &[1, 2, 3, 4], None);
    assert_eq!((answer, woken(&to)), (PUT, vec![(call('a', 1), Ok(vec![1])), (call('b', 1), Ok(vec![2, 3]))]));
    let Answer::Delivered(crate::catalog::AnyReply::Queue(Reply::Get(first))) = &to[0].answer else { panic!("{to:?}") };
    assert_eq!((first.fence, first.items[0].delivery, first.items[0].attempt), (4, 1, 1));
    assert_eq!(world.take(call('c', 2), 9), [(4, false)]);
}

#[test]
fn a_get_that_makes_room_lets_in_who_has_waited_longest_and_nobody_overtakes() {
    let mut world = World::new(Spec { maxsize: 2, ..Spec::default() });
    assert_eq!(world.put(call('a', 1), &[1, 2], None).0, PUT);
    assert_eq!(why(world.put(call('b', 1), &[3], Some(0)).0), Reason::Full);
    assert_eq!(world.put(call('b', 2), &[3, 4], None).0, Answer::Wait(Patience::Endless));
    assert_eq!(world.put(call('c', 1), &[5], None).0, Answer::Wait(Patience::Endless));
    let (_, to) = world.get(call('g', 1), 1, None);
    assert_eq!(woken(&to), [], "two wait for room for two");
    assert_eq!(why(world.put(call('d', 1), &[6], Some(0)).0), Reason::Full, "there is room, and others wait for it");
    let (_, to) = world.get(call('g', 2), 1, None);
    assert_eq!(woken(&to), [(call('b', 2), Ok(vec![]))]);
    assert_eq!(world.take(call('g', 3), 9), [(3, false), (4, false)]);
    assert_eq!(world.take(call('g', 4), 9), [(5, false)]);
    assert_eq!(why(world.put(call('a', 2), &[1, 2, 3], None).0), Reason::OutOfRange);
}

#[test]
fn who_waits_behind_one_that_gives_up_is_let_in() {
    for how in ["patience", "cancelled", "lost"] {
        let mut world = World::new(Spec { maxsize: 2, ..Spec::default() });
        let _ = world.put(call('a', 1), &[1], None);
        let _ = world.put(call('b', 1), &[2, 3], None);
        let _ = world.put(call('c', 1), &[4], None);
        let let_in = (call('c', 1), Ok(vec![]));
        let to = match how {
            "patience" => world.withdraw(call('b', 1), Withdrawal::Patience).1,
            "cancelled" => world.withdraw(call('b', 1), Withdrawal::Cancelled).1,
            _ => world.leave('b', Ended::Lost),
        };
        let expected = match how {
            "patience" => vec![(call('b', 1), Err(Reason::Full)), let_in],
            "cancelled" => vec![(call('b', 1), Err(Reason::Withdrawn)), let_in],
            _ => vec![let_in],
        };
        assert_eq!(woken(&to), expected);
        assert_eq!(world.take(call('g', 1), 9), [(1, false), (4, false)]);
        assert_eq!(world.queue.bytes(), 2 * 48, "what was not put in is forgotten");
    }
}

#[test]
fn what_was_not_received_comes_back_to_its_place() {
    let orders = [
        (QueueOrder::Fifo, vec![(1, true), (2, true), (3, false), (4, false)]),
        (QueueOrder::Lifo, vec![(4, false), (3, true), (2, true), (1, false)]),
        (QueueOrder::Priority, vec![(1, true), (2, true), (3, false), (4, false)]),
    ];
    for (which, expected) in orders {
        for how in [None, Some(Ended::Closed), Some(Ended::Lost)] {
            let mut world = World::new(order(which));
            let _ = world.put(call('p', 1), &[1, 2, 3], None);
            let _ = world.take(call('a', 1), 2);
            let _ = world.put(call('p', 2), &[4], None);
            assert_eq!((world.size().size, world.size().delivered, world.size().unfinished), (2, 2, 4));
            match how {
                None => assert_eq!(world.undo(call('a', 1)), []),
                Some(how) => assert_eq!(world.leave('a', how), []),
            }
            assert!(!world.queue.involves(session(b'a')));
            assert_eq!((world.size().size, world.size().unfinished), (4, 4));
            assert_eq!(world.take(call('b', 1), 9), expected, "{which:?} {how:?}");
        }
    }
}

#[test]
fn what_was_received_is_nobodys_and_its_bytes_are_given_back() {
    let mut world = World::new(Spec::default());
    let _ = world.put(call('p', 1), &[1, 2], None);
    assert_eq!(world.queue.bytes(), 2 * 48);
    let _ = world.take(call('a', 1), 2);
    assert_eq!(world.queue.bytes(), 2 * 48);
    world.acknowledge(call('a', 1));
    assert_eq!(world.queue.bytes(), 0);
    assert_eq!((world.undo(call('a', 1)), world.leave('a', Ended::Lost)), (vec![], vec![]));
    assert_eq!(world.take(call('b', 1), 9), []);
    assert_eq!(world.size().unfinished, 2, "received is not done");
}

#[test]
fn what_comes_back_goes_to_who_waits() {
    let mut world = World::new(Spec::default());
    let _ = world.put(call('p', 1), &[1], None);
    let _ = world.take(call('a', 1), 1);
    let _ = world.get(call('a', 2), 1, None);
    let _ = world.get(call('b', 1), 1, None);
    assert_eq!(woken(&world.leave('a', Ended::Lost)), [(call('b', 1), Ok(vec![1]))], "and not to the dead one");
    assert_eq!(world.queue.state().getters, []);
}

#[test]
fn what_comes_back_is_taken_though_the_queue_is_full_meanwhile() {
    let mut world = World::new(Spec { maxsize: 1, ..Spec::default() });
    let _ = world.put(call('p', 1), &[1], None);
    let _ = world.take(call('a', 1), 1);
    assert_eq!(world.put(call('p', 2), &[2], Some(0)).0, PUT, "what was given out does not count");
    assert_eq!(world.undo(call('a', 1)), []);
    assert!(world.size().size == 2 && world.size().full);
    let _ = world.put(call('p', 3), &[3], None);
    assert_eq!(world.take(call('b', 1), 1), [(1, true)]);
    assert_eq!(world.size().putters, 1, "one is there, and one is the most");
    assert_eq!(world.take(call('b', 2), 1), [(2, false)]);
    assert_eq!(world.size().putters, 0);
}

#[test]
fn priorities_are_pythons_order_and_equal_ones_first_come_first_served() {
    let mut world = World::new(order(QueueOrder::Priority));
    let put = |items: Vec<Datum>, priority| Op::Put(QueuePutRequest { items, patience_ms: None, priority });
    let number = Datum::Integer;
    let _ = world.apply(call('p', 1), put(vec![number(7), number(3)], None));
    let _ = world.apply(call('p', 2), put(vec![number(10), number(11)], Some(Datum::Float(3.0))));
    let _ = world.apply(call('p', 3), put(vec![Datum::Boolean(true)], Some(number(9))));
    for unordered in [Datum::from("text"), Datum::Null, Datum::Float(f64::NAN), Datum::Map([].into())] {
        let (answer, _) = world.apply(call('p', 4), put(vec![number(1), unordered.clone()], None));
        assert_eq!(why(answer), Reason::WrongType, "{unordered:?}");
        let (answer, _) = world.apply(call('p', 5), put(vec![number(1)], Some(unordered)));
        assert_eq!(why(answer), Reason::WrongType);
    }
    assert_eq!(world.size().size, 5);
    assert_eq!(world.take(call('g', 1), 4), [(3, false), (10, false), (11, false), (7, false)]);
    let mut world = World::new(Spec::default());
    assert_eq!(why(world.apply(call('p', 1), put(vec![number(1)], Some(number(1)))).0), Reason::Malformed);
    let mut world = World::new(order(QueueOrder::Priority));
    assert_eq!(why(world.apply(call('p', 1), put(vec![Datum::Null], None)).0), Reason::WrongType, "it has no order");
}

#[test]
fn a_call_that_waited_with_what_has_no_order_by_now_is_refused() {
    let mut world = World::new(Spec { maxsize: 1, ..order(QueueOrder::Priority) });
    let text = Op::Put(QueuePutRequest { items: vec![Datum::from("a")], patience_ms: None, priority: None });
    let _ = world.put(call('p', 1), &[1], None);
    let _ = world.take(call('a', 1), 1);
    let _ = world.put(call('p', 2), &[2], None);
    let _ = world.apply(call('p', 3), text);
    assert_eq!(world.size().putters, 1);
    assert_eq!(world.undo(call('a', 1)), []);
    let _ = world.apply(call('s', 1), Op::Clear(QueueClearRequest {}));
    assert_eq!((world.size().putters, world.size().size), (0, 1), "nothing else is there");
    let mut world = World::new(Spec { maxsize: 2, ..order(QueueOrder::Priority) });
    let _ = world.put(call('p', 1), &[1, 2], None);
    let items = vec![Datum::from("a")];
    let _ = world.apply(call('p', 2), Op::Put(QueuePutRequest { items, patience_ms: None, priority: None }));
    let _ = world.put(call('p', 3), &[3], None);
    let bytes = world.queue.bytes();
    let (_, to) = world.get(call('g', 1), 1, None);
    assert_eq!(woken(&to), [(call('p', 2), Err(Reason::WrongType)), (call('p', 3), Ok(vec![]))]);
    assert_eq!(world.queue.bytes(), bytes - 48);
}

#[test]
fn what_is_to_be_done_comes_back_until_it_is_and_then_dies() {
    let mut world = World::new(Spec { max_deliveries: 2, ..on_done() });
    let _ = world.put(call('p', 1), &[1, 2], None);
    let _ = world.take(call('a', 1), 2);
    world.acknowledge(call('a', 1));
    assert_eq!(world.undo(call('a', 1)), [], "it was received");
    assert_eq!(why(world.done(call('b', 1), &[1])), Reason::NotHeld);
    assert_eq!(why(world.done(call('a', 2), &[1, 7])), Reason::NotHeld);
    assert_eq!(why(world.done(call('a', 2), &[1, 1])), Reason::NotHeld);
    assert_eq!(world.done(call('a', 3), &[2]), Answer::Done(Reply::TaskDone(QueueTaskDoneResponse { unfinished: 1 })));
    assert_eq!(world.queue.bytes(), 48);
    assert_eq!(world.leave('a', Ended::Closed), []);
    let (answer, _) = world.get(call('b', 2), 5, Some(0));
    let Answer::Delivered(Reply::Get(response)) = answer else { panic!("{answer:?}") };
    assert!(matches!(response.items[..], [QueueItem { attempt: 2, redelivered: true, delivery: 3, .. }]));
    assert_eq!(
        world.apply(call('j', 1), Op::Join(QueueJoinRequest { patience_ms: None })).0,
        Answer::Wait(Patience::Endless)
    );
    let to = world.leave('b', Ended::Lost);
    assert_eq!(woken(&to), [(call('j', 1), Ok(vec![]))], "dead is finished");
    let letters = world.letters(0, 0);
    assert!(matches!(letters.letters[..], [QueueDeadLetter { letter: 1, attempts: 2, .. }]), "{letters:?}");
    let requeue = |letters: &[u64]| Op::Requeue(QueueRequeueRequest { letters: letters.into() });
    let requeued = Answer::Done(Reply::Requeue(QueueRequeueResponse { requeued: 1 }));
    assert_eq!(world.apply(call('s', 1), requeue(&[1, 1, 5])).0, requeued);
    assert_eq!((world.take(call('c', 1), 1), world.size().unfinished), (vec![(1, true)], 1));
    assert_eq!(world.nack(call('c', 2), &[], true).0, Answer::Done(Reply::Nack(QueueNackResponse { dead: 1 })));
    let drop = Op::DropDeadLetters(QueueDropDeadLettersRequest { letters: vec![1, 2] });
    let dropped = Answer::Done(Reply::DropDeadLetters(QueueDropDeadLettersResponse { dropped: 1 }));
    assert_eq!((world.apply(call('s', 2), drop).0, world.queue.bytes()), (dropped, 0));
}

#[test]
fn an_undone_delivery_does_not_bring_an_item_nearer_to_death() {
    let mut world = World::new(Spec { max_deliveries: 1, ..on_done() });
    let _ = world.put(call('p', 1), &[1], None);
    for round in 0..3 {
        assert_eq!(world.take(call('a', round), 1), [(1, round > 0)]);
        let _ = world.undo(call('a', round));
    }
    let _ = world.take(call('a', 9), 1);
    assert_eq!(world.nack(call('a', 10), &[], false).0, Answer::Done(Reply::Nack(QueueNackResponse { dead: 1 })));
}

#[test]
fn dead_letters_are_told_in_pages_with_nothing_left_out() {
    let mut world = World::new(on_done());
    let _ = world.put(call('p', 1), &[1, 2, 3, 4, 5], None);
    let _ = world.take(call('a', 1), 5);
    let _ = world.nack(call('a', 2), &[1, 2, 3, 4, 5], true);
    let (mut cursor, mut numbers) = (0, vec![]);
    loop {
        let page = world.letters(cursor, 1);
        assert_eq!(page.letters.len(), 1);
        numbers.extend(page.letters.iter().map(|letter| letter.letter));
        cursor = page.cursor;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(world.letters(0, 0).letters.len(), 5);
}

#[test]
fn what_is_kept_at_a_close_is_done_by_anybody_who_names_it() {
    let mut world = World::new(Spec { on_close: OnClose::Keep.into(), ..on_done() });
    let _ = world.put(call('p', 1), &[1, 2, 3], None);
    let _ = world.take(call('a', 1), 2);
    world.acknowledge(call('a', 1));
    let _ = world.take(call('a', 2), 1);
    assert_eq!(world.leave('a', Ended::Closed), []);
    assert!(!world.queue.involves(session(b'a')));
    assert_eq!(world.take(call('b', 1), 9), [(3, true)], "that was never received");
    assert_eq!(why(world.done(call('c', 1), &[])), Reason::OverRelease);
    assert_eq!(world.done(call('c', 2), &[1]), Answer::Done(Reply::TaskDone(QueueTaskDoneResponse { unfinished: 2 })));
    let _ = world.nack(call('c', 3), &[2], false);
    assert_eq!(world.take(call('c', 4), 9), [(2, true)]);
    assert_eq!(world.leave('c', Ended::Lost), []);
    assert_eq!(world.take(call('d', 1), 9), [(2, true)], "lost is not closed");
}

#[test]
fn task_done_and_join_are_pythons() {
    let join = |patience_ms| Op::Join(QueueJoinRequest { patience_ms });
    let joined = |joined| Answer::Done(Reply::Join(QueueJoinResponse { joined }));
    let mut world = World::new(Spec::default());
    assert_eq!(world.apply(call('j', 1), join(None)).0, joined(true));
    assert_eq!(why(world.done(call('a', 1), &[])), Reason::OverRelease);
    let _ = world.put(call('p', 1), &[1, 2], None);
    assert_eq!(world.apply(call('j', 2), join(Some(0))).0, joined(false));
    assert_eq!(world.apply(call('j', 3), join(Some(5))).0, Answer::Wait(Patience::For(Duration::from_millis(5))));
    let (waited, to) = world.withdraw(call('j', 3), Withdrawal::Patience);
    let in_vain = Reply::Join(QueueJoinResponse { joined: false });
    assert!(waited && to == [Woken { call: call('j', 3), answer: Answer::Done(in_vain.into()) }]);
    let _ = world.apply(call('j', 4), join(None));
    assert_eq!(world.done(call('b', 1), &[]), Answer::Done(Reply::TaskDone(QueueTaskDoneResponse { unfinished: 1 })));
    assert_eq!(why(world.done(call('b', 2), &[1])), Reason::NotHeld);
    let (_, to) = world.apply(call('b', 3), Op::TaskDone(QueueTaskDoneRequest::default()));
    let answer = Answer::Done(Reply::Join(QueueJoinResponse { joined: true }).into());
    assert_eq!(to, [Woken { call: call('j', 4), answer }]);
    assert_eq!(why(world.done(call('b', 4), &[])), Reason::OverRelease);
    assert_eq!(why(world.nack(call('b', 5), &[], false).0), Reason::NotHeld);
}

#[test]
fn a_queue_that_was_shut_down_takes_nothing_and_gives_what_it_has() {
    let mut world = World::new(Spec { maxsize: 1, ..Spec::default() });
    let _ = world.put(call('p', 1), &[1], None);
    let _ = world.put(call('p', 2), &[2], None);
    let (answer, to) = world.shut_down(false);
    assert_eq!(answer, Answer::Done(Reply::Shutdown(QueueShutdownResponse { removed: 0 })));
    assert_eq!(woken(&to), [(call('p', 2), Err(Reason::ShutDown))]);
    assert_eq!(world.queue.bytes(), 48);
    assert_eq!(why(world.put(call('p', 3), &[3], None).0), Reason::ShutDown);
    assert_eq!(world.take(call('a', 1), 1), [(1, false)]);
    assert_eq!(why(world.get(call('a', 2), 1, None).0), Reason::ShutDown, "also where it would wait");
    let _ = world.undo(call('a', 1));
    assert_eq!(world.take(call('b', 1), 1), [(1, true)], "what comes back can be had");
    let mut world = World::new(Spec::default());
    let _ = world.get(call('a', 1), 1, None);
    assert_eq!(woken(&world.shut_down(false).1), [(call('a', 1), Err(Reason::ShutDown))]);
}

#[test]
fn a_queue_that_was_shut_down_at_once_is_empty_for_ever() {
    for spec in [Spec::default(), on_done()] {
        let mut world = World::new(spec);
        let _ = world.put(call('p', 1), &[1, 2, 3], None);
        let _ = world.take(call('a', 1), 1);
        let _ = world.apply(call('j', 1), Op::Join(QueueJoinRequest { patience_ms: None }));
        let (answer, to) = world.shut_down(true);
        assert_eq!((answer, to), (Answer::Done(Reply::Shutdown(QueueShutdownResponse { removed: 2 })), vec![]));
        assert_eq!((world.size().unfinished, world.size().delivered), (1, 1), "what was delivered is yet to be done");
        assert_eq!(woken(&world.leave('a', Ended::Lost)), [(call('j', 1), Ok(vec![]))], "nobody will do it");
        assert_eq!(why(world.get(call('b', 1), 1, None).0), Reason::ShutDown);
        assert_eq!(world.shut_down(false).0, Answer::Done(Reply::Shutdown(QueueShutdownResponse { removed: 0 })));
        assert_eq!(world.queue.bytes(), 0);
    }
}

#[test]
fn a_get_is_given_a_page_at_most_and_one_item_at_least() {
    let mut world = World::new(Spec::default());
    world.page = 30;
    let _ = world.put(call('p', 1), &[1; 100], None);
    let first = world.take(call('a', 1), 100).len();
    assert!((2..10).contains(&first), "{first}");
    world.page = 0;
    assert_eq!(world.take(call('a', 2), 100).len(), 1);
}

#[test]
fn references_are_shown_wherever_an_item_is_and_in_its_priority() {
    let mut world = World::new(Spec { maxsize: 1, order: QueueOrder::Priority.into(), ..on_done() });
    let reference = || Datum::Reference(Reference::new(Arc::new(Named { handle: 0, kind: 2, object: [1; 16] })));
    let put = || {
        // Data without an order can be in a priority where it is equal.
        let priority = Some(Datum::Tuple([Datum::Integer(1), reference()].into()));
        Op::Put(QueuePutRequest { items: vec![reference()], patience_ms: None, priority })
    };
    let get = || Op::Get(QueueGetRequest { max: 1, patience_ms: None });
    let shown = |world: &World| {
        let mut shown = 0;
        world.queue.visit_references(&mut |_| shown += 1);
        shown
    };
    assert_eq!((world.apply(call('p', 1), put()).0, shown(&world)), (PUT, 2));
    let _ = world.apply(call('a', 1), get());
    assert_eq!(shown(&world), 2, "delivered");
    let _ = world.nack(call('a', 2), &[], true);
    assert_eq!(shown(&world), 2, "dead");
    let _ = world.apply(call('p', 2), put());
    let _ = world.apply(call('p', 3), put());
    assert_eq!((world.size().putters, shown(&world)), (1, 6), "waiting");
}

#[test]
fn bad_numbers_and_specs_are_refused() {
    let mut world = World::new(Spec { maxsize: -3, ..Spec::default() });
    assert_eq!(why(world.get(call('a', 1), 1, Some(-1)).0), Reason::OutOfRange);
    assert_eq!(why(world.put(call('a', 2), &[1], Some(-1)).0), Reason::OutOfRange);
    let join = Op::Join(QueueJoinRequest { patience_ms: Some(-1) });
    assert_eq!(why(world.apply(call('a', 3), join).0), Reason::OutOfRange);
    assert_eq!(world.queue.admits(&Spec::default()), Ok(()), "neither has a limit");
    assert_eq!(world.queue.admits(&on_done()).unwrap_err().why(), Reason::OtherSpec);
    for spec in [
        Spec { order: 3, ..Spec::default() },
        Spec { delivery: 2, ..Spec::default() },
        Spec { on_close: 2, ..on_done() },
        Spec { max_deliveries: 1, ..Spec::default() },
        Spec { on_close: OnClose::Keep.into(), ..Spec::default() },
    ] {
        assert_eq!(Queue::create(spec, &mut creation()).unwrap_err().why(), Reason::Malformed);
    }
}

#[test]
fn calls_wait_only_as_many_as_may() {
    let mut world = World::new(Spec::default());
    let _ = world.get(call('a', 1), 1, None);
    let mut turn = world.turn(call('b', 1));
    turn.waiters.of_object = 1;
    let answer = world.queue.apply(Op::Get(QueueGetRequest { max: 1, patience_ms: None }), &mut turn);
    assert_eq!(why(answer), Reason::Quota);
    assert_eq!(world.size().getters, 1);
}
