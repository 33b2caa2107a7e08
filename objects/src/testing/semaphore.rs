//! Arbitrary semaphores.

use holdfast_proto::semaphore::{Op, Spec};
use holdfast_proto::{
    SemaphoreAcquireRequest, SemaphoreDescribeRequest, SemaphoreReleaseRequest, SemaphoreResetRequest,
};

use super::{Promise, Source, Tested};
use crate::semaphore::Semaphore;

impl Tested for Semaphore {
    fn arbitrary_spec(source: &mut Source) -> Spec {
        let unowned = source.below(3) == 0;
        let value = (source.below(8) != 0).then(|| source.below(5) as i64);
        let (on_loss, on_close) = if unowned { (0, 0) } else { (source.below(3) as i32, source.below(2) as i32) };
        Spec { value, bounded: source.below(2) == 0, on_loss, on_close, unowned }
    }

    fn arbitrary_op(source: &mut Source) -> Op {
        let permits = source.few();
        match source.below(16) {
            0..7 => Op::Acquire(SemaphoreAcquireRequest { patience_ms: source.patience_ms(), permits }),
            7..13 => Op::Release(SemaphoreReleaseRequest { permits, fence: source.fence() }),
            13 | 14 => Op::Describe(SemaphoreDescribeRequest {}),
            _ => Op::Reset(SemaphoreResetRequest {}),
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
