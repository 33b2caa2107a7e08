//! Arbitrary latches.

use holdfast_proto::latch::{Op, Spec};
use holdfast_proto::{LatchCountDownRequest, LatchCountRequest, LatchWaitRequest};

use super::{Promise, Source, Tested};
use crate::latch::Latch;

impl Tested for Latch {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        Spec { count: source.below(40) as i64 }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        match source.below(12) {
            0..3 => {
                let n = source.few();
                Op::CountDown(LatchCountDownRequest { n: (source.below(2) == 0).then_some(n) })
            }
            3 => Op::Count(LatchCountRequest {}),
            _ => Op::Wait(LatchWaitRequest { patience_ms: source.patience_ms() }),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Count(_) => Promise::Reads,
            Op::CountDown(_) => Promise::Frees,
            Op::Wait(_) => Promise::Writes,
        }
    }
}
