//! Arbitrary locks.

use holdfast_proto::lock::{Op, Spec};
use holdfast_proto::{LockAcquireRequest, LockDescribeRequest, LockReleaseRequest, LockResetRequest};

use super::{Promise, Source, Tested};
use crate::lock::Lock;

impl Tested for Lock {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        let reentrant = source.below(2) == 0;
        let (on_loss, on_close) = (source.below(3) as i32, source.below(2) as i32);
        Spec { reentrant, on_loss, on_close, released_by_anyone: !reentrant && source.below(3) == 0 }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        let actor = source.below(2);
        match source.below(12) {
            0..6 => Op::Acquire(LockAcquireRequest { patience_ms: source.patience_ms(), actor }),
            6..10 => Op::Release(LockReleaseRequest { fence: source.fence(), actor }),
            10 => Op::Describe(LockDescribeRequest {}),
            _ => Op::Reset(LockResetRequest {}),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Describe(_) => Promise::Reads,
            Op::Release(_) | Op::Reset(_) => Promise::Frees,
            Op::Acquire(_) => Promise::Writes,
        }
    }
}
