//! Arbitrary barriers.

use holdfast_proto::barrier::{Op, Spec};
use holdfast_proto::{BarrierAbortRequest, BarrierDescribeRequest, BarrierResetRequest, BarrierWaitRequest};

use super::{Promise, Source, Tested};
use crate::barrier::Barrier;

impl Tested for Barrier {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        let patience_ms = (source.below(3) == 0).then(|| source.below(3) as i64);
        Spec { parties: 1 + source.below(5) as i64, patience_ms }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        match source.below(20) {
            0 => Op::Abort(BarrierAbortRequest {}),
            1..4 => Op::Reset(BarrierResetRequest {}),
            4 | 5 => Op::Describe(BarrierDescribeRequest {}),
            _ => Op::Wait(BarrierWaitRequest { patience_ms: source.patience_ms() }),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Describe(_) => Promise::Reads,
            Op::Abort(_) | Op::Reset(_) => Promise::Frees,
            Op::Wait(_) => Promise::Writes,
        }
    }
}
