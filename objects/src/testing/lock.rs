//! Arbitrary locks.

use alloc::string::String;

use holdfast_proto::lock::{Op, Spec};
use holdfast_proto::{
    LockAcquireRequest, LockDescribeRequest, LockNotifyRequest, LockReleaseRequest, LockResetRequest, LockWaitRequest,
};

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
        match source.below(18) {
            0..6 => Op::Acquire(LockAcquireRequest { patience_ms: source.patience_ms(), actor }),
            6..10 => Op::Release(LockReleaseRequest { fence: source.fence(), actor }),
            10 => Op::Describe(LockDescribeRequest {}),
            11..14 => {
                let (condition, patience_ms) = (condition(source), source.patience_ms());
                Op::Wait(LockWaitRequest { condition, patience_ms, actor, fence: source.fence() })
            }
            14..17 => {
                let n = (source.below(2) == 0).then(|| source.below(5) as i64 - 1);
                let (condition, all) = (condition(source), source.below(4) == 0);
                Op::Notify(LockNotifyRequest { condition, n, all, actor, fence: source.fence() })
            }
            _ => Op::Reset(LockResetRequest {}),
        }
    }

    fn promise(op: &Op) -> Promise {
        match op {
            Op::Describe(_) => Promise::Reads,
            Op::Release(_) | Op::Reset(_) | Op::Notify(_) => Promise::Frees,
            Op::Acquire(_) | Op::Wait(_) => Promise::Writes,
        }
    }
}

/// The name of one of few conditions, seldom too long to be one.
fn condition(source: &mut Source) -> String {
    if source.often() { ["", "not empty"][source.below(2) as usize].into() } else { "n".repeat(257) }
}
