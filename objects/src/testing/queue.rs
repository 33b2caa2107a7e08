//! Arbitrary queues.

use alloc::vec::Vec;

use holdfast_proto::queue::{Op, Spec};
use holdfast_proto::{
    Datum, QueueClearRequest, QueueDeadLettersRequest, QueueDropDeadLettersRequest, QueueGetRequest, QueueJoinRequest,
    QueueNackRequest, QueuePutRequest, QueueRequeueRequest, QueueShutdownRequest, QueueSizeRequest,
    QueueTaskDoneRequest,
};

use super::{Promise, Source, Tested};
use crate::queue::Queue;

impl Tested for Queue {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        let on_done = source.below(2) == 0;
        let (order, maxsize) = (source.below(3) as i32, source.below(6) as i64 - 1);
        let (max_deliveries, on_close) =
            if on_done { (source.below(3) as u32, source.below(2) as i32) } else { (0, 0) };
        Spec { order, maxsize, delivery: on_done.into(), max_deliveries, on_close }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        match source.below(40) {
            0..14 => {
                let priority = if source.below(8) == 0 { source.key() } else { None };
                Op::Put(QueuePutRequest { items: items(source), patience_ms: source.patience_ms(), priority })
            }
            14..26 => Op::Get(QueueGetRequest { max: source.below(4), patience_ms: source.patience_ms() }),
            26 => Op::Size(QueueSizeRequest {}),
            27..30 => Op::TaskDone(QueueTaskDoneRequest { deliveries: numbers(source) }),
            30..33 => Op::Nack(QueueNackRequest { deliveries: numbers(source), give_up: source.below(3) == 0 }),
            33 | 34 => Op::Join(QueueJoinRequest { patience_ms: source.patience_ms() }),
            35 if source.below(4) == 0 => Op::Shutdown(QueueShutdownRequest { immediate: source.below(2) == 0 }),
            36 if source.below(2) == 0 => Op::Clear(QueueClearRequest {}),
            35..38 => {
                Op::DeadLetters(QueueDeadLettersRequest { cursor: source.below(4), bytes: source.below(60) as u32 })
            }
            38 => Op::Requeue(QueueRequeueRequest { letters: numbers(source) }),
            _ => Op::DropDeadLetters(QueueDropDeadLettersRequest { letters: numbers(source) }),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Size(_) | Op::DeadLetters(_) => Promise::Reads,
            Op::TaskDone(_) | Op::Nack(_) | Op::Shutdown(_) | Op::Clear(_) | Op::DropDeadLetters(_) => Promise::Frees,
            Op::Put(_) | Op::Get(_) | Op::Join(_) | Op::Requeue(_) => Promise::Writes,
        }
    }
}

/// Few, which mostly have an order; seldom more than fit.
fn items(source: &mut Source) -> Vec<Datum> {
    let count = if source.often() { source.below(4) } else { 7 };
    let item = |source: &mut Source| if source.below(4) == 0 { source.datum() } else { source.number() };
    (0..count).map(|_| item(source)).collect()
}

/// Numbers of few deliveries or dead letters, seldom one that is there.
fn numbers(source: &mut Source) -> Vec<u64> {
    if source.below(2) == 0 {
        return Vec::new();
    }
    (0..1 + source.below(2)).map(|_| source.below(8)).collect()
}
