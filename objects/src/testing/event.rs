//! Arbitrary events.

use holdfast_proto::event::Op;
use holdfast_proto::{EventClearRequest, EventIsSetRequest, EventSetRequest, EventWaitRequest};

use super::{Promise, Source, Tested};
use crate::event::Event;

impl Tested for Event {
    fn arbitrary_op(source: &mut Source) -> Op {
        match source.below(12) {
            0 => Op::Set(EventSetRequest {}),
            1 | 2 => Op::Clear(EventClearRequest {}),
            3 => Op::IsSet(EventIsSetRequest {}),
            _ => Op::Wait(EventWaitRequest { patience_ms: source.patience_ms() }),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::IsSet(_) => Promise::Reads,
            Op::Set(_) | Op::Clear(_) => Promise::Frees,
            Op::Wait(_) => Promise::Writes,
        }
    }
}
