//! Arbitrary locks for readers and writers.

use holdfast_proto::rwlock::{Op, Spec};
use holdfast_proto::{
    RwlockAcquireReadRequest, RwlockAcquireWriteRequest, RwlockDescribeRequest, RwlockDowngradeRequest,
    RwlockReleaseReadRequest, RwlockReleaseWriteRequest, RwlockResetRequest,
};

use super::{Promise, Source, Tested};
use crate::rwlock::Rwlock;

impl Tested for Rwlock {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        Spec { on_loss: source.below(3) as i32, on_close: source.below(2) as i32 }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        match source.below(16) {
            0..4 => Op::AcquireRead(RwlockAcquireReadRequest { patience_ms: source.patience_ms() }),
            4..7 => Op::AcquireWrite(RwlockAcquireWriteRequest { patience_ms: source.patience_ms() }),
            7..10 => Op::ReleaseRead(RwlockReleaseReadRequest { fence: source.fence() }),
            10..13 => Op::ReleaseWrite(RwlockReleaseWriteRequest { fence: source.fence() }),
            13 => Op::Downgrade(RwlockDowngradeRequest { fence: source.fence() }),
            14 => Op::Describe(RwlockDescribeRequest {}),
            _ => Op::Reset(RwlockResetRequest {}),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Describe(_) => Promise::Reads,
            Op::ReleaseRead(_) | Op::ReleaseWrite(_) | Op::Downgrade(_) | Op::Reset(_) => Promise::Frees,
            Op::AcquireRead(_) | Op::AcquireWrite(_) => Promise::Writes,
        }
    }
}
