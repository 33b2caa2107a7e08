//! A queue as messages, and back.

use alloc::vec::Vec;

use holdfast_proto::Refusal;
use holdfast_proto::queue::Spec;

use super::deliveries::Delivery;
use super::item::{Item, ItemState, damaged};
use super::{Phase, Queue};
use crate::{CallId, Creation, Object as _, SessionId};

/// All there is to know about a [`Queue`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// How it was made.
    #[prost(message, required, tag = "1")]
    pub spec: Spec,
    /// What can be taken, by sequence number.
    #[prost(message, repeated, tag = "2")]
    pub stored: Vec<ItemState>,
    /// What was given out.
    #[prost(message, repeated, tag = "3")]
    pub delivered: Vec<DeliveryState>,
    /// The dead letters, by number.
    #[prost(message, repeated, tag = "4")]
    pub dead: Vec<DeadState>,
    /// Who waits to take something, in their order.
    #[prost(message, repeated, tag = "5")]
    pub getters: Vec<GetterState>,
    /// Who waits to put something in, in their order.
    #[prost(message, repeated, tag = "6")]
    pub putters: Vec<PutterState>,
    /// Who waits until all is done, in their order.
    #[prost(message, repeated, tag = "7")]
    pub joiners: Vec<JoinerState>,
    /// How many are not done.
    #[prost(uint64, tag = "8")]
    pub unfinished: u64,
    /// 1 if it was shut down, 2 if at once.
    #[prost(uint32, tag = "9")]
    pub phase: u32,
    /// How many were ever put in.
    #[prost(uint64, tag = "10")]
    pub put: u64,
    /// How many deliveries there were.
    #[prost(uint64, tag = "11")]
    pub given: u64,
    /// How many dead letters there were.
    #[prost(uint64, tag = "12")]
    pub died: u64,
}

/// An item that was given out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliveryState {
    /// The session that has it; empty if nobody does.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// The number of the delivery.
    #[prost(uint64, tag = "2")]
    pub delivery: u64,
    /// The number of the call that it answered, unless its caller has the answer.
    #[prost(uint64, optional, tag = "3")]
    pub call: Option<u64>,
    /// What it is.
    #[prost(message, optional, tag = "4")]
    pub item: Option<ItemState>,
}

/// An item that is not delivered any more.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeadState {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub letter: u64,
    /// What it is.
    #[prost(message, optional, tag = "2")]
    pub item: Option<ItemState>,
}

/// A call that waits to take something.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetterState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// How many items it would like at most.
    #[prost(uint64, tag = "3")]
    pub max: u64,
}

/// A call that waits to put something in.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutterState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// What it brings.
    #[prost(message, repeated, tag = "3")]
    pub items: Vec<ItemState>,
}

/// A call that waits until all is done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinerState {
    /// The session of the call.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

pub(super) fn of(queue: &Queue) -> State {
    let mut stored: Vec<ItemState> = queue.stored.iter().map(Item::state).collect();
    stored.sort_unstable_by_key(|item| item.sequence);
    let delivered = queue.delivered.iter().map(|((session, delivery), given)| DeliveryState {
        session: session.map(|session| session.0.into()).unwrap_or_default(),
        delivery,
        call: given.call,
        item: Some(given.item.state()),
    });
    let getter =
        |(call, max): (CallId, &u64)| GetterState { session: call.session.0.into(), number: call.number, max: *max };
    let putter = |(call, items): (CallId, &Vec<Item>)| PutterState {
        session: call.session.0.into(),
        number: call.number,
        items: items.iter().map(Item::state).collect(),
    };
    let joiner = |(call, ()): (CallId, &())| JoinerState { session: call.session.0.into(), number: call.number };
    State {
        spec: queue.spec,
        stored,
        delivered: delivered.collect(),
        dead: queue.dead.iter().map(|(letter, item)| DeadState { letter: *letter, item: Some(item.state()) }).collect(),
        getters: queue.getters.iter().map(getter).collect(),
        putters: queue.putters.iter().map(putter).collect(),
        joiners: queue.joiners.iter().map(joiner).collect(),
        unfinished: queue.unfinished,
        phase: queue.phase as u32,
        put: queue.put,
        given: queue.given,
        died: queue.died,
    }
}

pub(super) fn restore(state: State, creation: &mut Creation) -> Result<Queue, Refusal> {
    let State { spec, stored, delivered, dead, getters, putters, joiners, unfinished, phase, put, given, died } = state;
    let mut queue = Queue::create(spec, creation)?;
    if [unfinished, put, given, died].into_iter().any(|count| count > i64::MAX as u64) {
        return Err(damaged());
    }
    (queue.unfinished, queue.put, queue.given, queue.died) = (unfinished, put, given, died);
    queue.phase = match phase {
        0 => Phase::Open,
        1 => Phase::Draining,
        2 => Phase::Over,
        _ => return Err(damaged()),
    };
    if !stored.is_sorted_by(|a, b| a.sequence < b.sequence) {
        return Err(damaged());
    }
    for item in stored {
        queue.stored.put_back(Item::restore(Some(item), put + 1, &queue.equality)?);
    }
    for DeliveryState { session, delivery, call, item } in delivered {
        let session = if session.is_empty() { None } else { Some(SessionId::read(&session)?) };
        let item = Item::restore(item, put + 1, &queue.equality)?;
        if delivery > given || !queue.delivered.insert((session, delivery), Delivery { call, item }) {
            return Err(damaged());
        }
    }
    for DeadState { letter, item } in dead {
        let item = Item::restore(item, put + 1, &queue.equality)?;
        if letter > died || queue.dead.insert(letter, item).is_some() {
            return Err(damaged());
        }
    }
    restore_waiting(&mut queue, getters, putters, joiners)?;
    queue.bytes = queue.items().map(Item::bytes).sum();
    creation.room.grow(queue.bytes)?;
    Ok(queue)
}

fn restore_waiting(
    queue: &mut Queue,
    getters: Vec<GetterState>,
    putters: Vec<PutterState>,
    joiners: Vec<JoinerState>,
) -> Result<(), Refusal> {
    let call = |session: &[u8], number| Ok::<_, Refusal>(CallId { session: SessionId::read(session)?, number });
    let getters = getters.into_iter().map(|getter| Ok((call(&getter.session, getter.number)?, getter.max)));
    queue.getters = getters.collect::<Result<_, Refusal>>()?;
    let putters = putters.into_iter().map(|putter| {
        // They have no place yet.
        let items = putter.items.into_iter().map(|item| Item::restore(Some(item), 1, &queue.equality));
        Ok((call(&putter.session, putter.number)?, items.collect::<Result<_, Refusal>>()?))
    });
    queue.putters = putters.collect::<Result<_, Refusal>>()?;
    let joiners = joiners.into_iter().map(|joiner| Ok((call(&joiner.session, joiner.number)?, ())));
    queue.joiners = joiners.collect::<Result<_, Refusal>>()?;
    Ok(())
}
