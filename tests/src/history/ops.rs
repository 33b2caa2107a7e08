//! Arbitrary calls that come to something: what is granted is mostly given back, with the right fence.

use holdfast_objects::catalog::AnyOp;
use holdfast_objects::testing::Source;
use holdfast_proto::{
    Datum, LockAcquireRequest, LockAcquireResponse, LockNotifyRequest, LockReleaseRequest, LockWaitRequest,
    LockWaitResponse, QueueGetResponse, QueueNackRequest, QueueTaskDoneRequest, RwlockAcquireReadResponse,
    RwlockAcquireWriteResponse, RwlockDowngradeRequest, RwlockReleaseReadRequest, RwlockReleaseWriteRequest,
    SemaphoreAcquireResponse, SemaphoreReleaseRequest, barrier, event, latch, lock, queue, rwlock, semaphore,
};
use prost::Message;

use super::plan::Named;

/// An arbitrary call on an object of a kind. `unique` is a number that no other call has.
pub(super) fn arbitrary(kind: u32, source: &mut Source, unique: u64) -> AnyOp {
    let mut op = AnyOp::arbitrary(kind, source);
    if let AnyOp::Queue(queue::Op::Put(put)) = &mut op
        && source.below(8) != 0
    {
        // So that it can be told whether each is given out once.
        put.priority = None;
        put.items.truncate(7);
        for (at, item) in put.items.iter_mut().enumerate() {
            *item = Datum::Integer((1 << 61) + ((unique << 3) as i64) + at as i64);
        }
    }
    op
}

/// Whether a call may wait for what others do.
pub(super) fn may_wait(op: &AnyOp) -> bool {
    matches!(
        op,
        AnyOp::Lock(lock::Op::Acquire(_) | lock::Op::Wait(_))
            | AnyOp::Rwlock(rwlock::Op::AcquireRead(_) | rwlock::Op::AcquireWrite(_))
            | AnyOp::Semaphore(semaphore::Op::Acquire(_))
            | AnyOp::Event(event::Op::Wait(_))
            | AnyOp::Barrier(barrier::Op::Wait(_))
            | AnyOp::Latch(latch::Op::Wait(_))
            | AnyOp::Queue(queue::Op::Put(_) | queue::Op::Get(_) | queue::Op::Join(_))
    )
}

/// Something that a caller was given and may give back.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) named: Named,
    pub(super) fence: u64,
    what: Thing,
}

#[derive(Clone, Debug)]
enum Thing {
    Lock { actor: u64 },
    Read,
    Write,
    Permits,
    Items(Vec<u64>),
}

impl Held {
    /// What a call was given, if it was given something.
    pub(super) fn of(named: &Named, op: &AnyOp, response: &[u8]) -> Option<Self> {
        let (fence, what) = match op {
            AnyOp::Lock(lock::Op::Acquire(LockAcquireRequest { actor, .. })) => {
                (LockAcquireResponse::decode(response).ok()?.fence, Thing::Lock { actor: *actor })
            }
            AnyOp::Lock(lock::Op::Wait(LockWaitRequest { actor, .. })) => {
                (LockWaitResponse::decode(response).ok()?.fence, Thing::Lock { actor: *actor })
            }
            AnyOp::Rwlock(rwlock::Op::AcquireRead(_)) => {
                (RwlockAcquireReadResponse::decode(response).ok()?.fence, Thing::Read)
            }
            AnyOp::Rwlock(rwlock::Op::AcquireWrite(_)) => {
                (RwlockAcquireWriteResponse::decode(response).ok()?.fence, Thing::Write)
            }
            AnyOp::Semaphore(semaphore::Op::Acquire(_)) => {
                (SemaphoreAcquireResponse::decode(response).ok()?.fence, Thing::Permits)
            }
            AnyOp::Queue(queue::Op::Get(_)) => {
                let got = QueueGetResponse::decode(response).ok()?;
                (got.fence, Thing::Items(got.items.iter().map(|item| item.delivery).collect()))
            }
            _ => return None,
        };
        (fence != 0).then(|| Self { named: named.clone(), fence, what })
    }

    /// What is done with it next.
    pub(super) fn follow_up(&self, source: &mut Source) -> AnyOp {
        let fence = (source.below(4) != 0).then_some(self.fence);
        match self.what {
            Thing::Lock { actor } => AnyOp::Lock(match source.below(8) {
                0 | 1 => lock::Op::Wait(LockWaitRequest {
                    condition: String::new(),
                    patience_ms: (source.below(2) == 0).then(|| 1 + source.below(50) as i64),
                    actor,
                    fence,
                }),
                2 | 3 => {
                    let all = source.below(3) == 0;
                    lock::Op::Notify(LockNotifyRequest { condition: String::new(), n: None, all, actor, fence })
                }
                4 => lock::Op::Acquire(LockAcquireRequest { patience_ms: Some(5), actor }),
                _ => lock::Op::Release(LockReleaseRequest { fence, actor }),
            }),
            Thing::Read => AnyOp::Rwlock(rwlock::Op::ReleaseRead(RwlockReleaseReadRequest { fence })),
            Thing::Write if source.below(4) == 0 => {
                AnyOp::Rwlock(rwlock::Op::Downgrade(RwlockDowngradeRequest { fence }))
            }
            Thing::Write => AnyOp::Rwlock(rwlock::Op::ReleaseWrite(RwlockReleaseWriteRequest { fence })),
            Thing::Permits => AnyOp::Semaphore(semaphore::Op::Release(SemaphoreReleaseRequest { permits: 0, fence })),
            Thing::Items(ref deliveries) => AnyOp::Queue(match source.below(3) {
                0 => queue::Op::Nack(QueueNackRequest { deliveries: deliveries.clone(), give_up: false }),
                _ => queue::Op::TaskDone(QueueTaskDoneRequest { deliveries: deliveries.clone() }),
            }),
        }
    }

    /// What is left of it after a call.
    pub(super) fn after(self, op: &AnyOp) -> Option<Self> {
        matches!(op, AnyOp::Lock(lock::Op::Notify(_) | lock::Op::Acquire(_))).then_some(self)
    }
}
