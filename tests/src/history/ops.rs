//! Arbitrary calls that come to something: what is granted is mostly given back, with the right fence.

use holdfast_objects::catalog::AnyOp;
use holdfast_objects::testing::Source;
use holdfast_proto::{
    Datum, LockAcquireRequest, LockAcquireResponse, LockNotifyRequest, LockReleaseRequest, LockWaitRequest,
    LockWaitResponse, PoolCollectRequest, PoolDone, PoolFinishRequest, PoolJoinResponse, PoolOutcome,
    PoolSubmitResponse, PoolTakeRequest, PoolTakeResponse, QueueGetResponse, QueueNackRequest, QueueTaskDoneRequest,
    RwlockAcquireReadResponse, RwlockAcquireWriteResponse, RwlockDowngradeRequest, RwlockReleaseReadRequest,
    RwlockReleaseWriteRequest, SemaphoreAcquireResponse, SemaphoreReleaseRequest, barrier, event, latch, lock, pool,
    queue, rwlock, semaphore,
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
            | AnyOp::Pool(
                pool::Op::Submit(_) | pool::Op::Run(_) | pool::Op::Collect(_) | pool::Op::Take(_) | pool::Op::Drain(_)
            )
    )
}

/// Something that a caller was given and may give back.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) named: Named,
    /// 0 if it was given without one.
    pub(super) fence: u64,
    what: Thing,
}

#[derive(Clone, Debug)]
enum Thing {
    Lock {
        actor: u64,
    },
    Read,
    Write,
    Permits,
    Items(Vec<u64>),
    /// A worker of a pool, which is not given back.
    Worker(u64),
    /// Tasks that a worker has.
    Tasks {
        worker: u64,
        tasks: Vec<u64>,
    },
    Job(u64),
}

impl Held {
    /// What a call was given, if it was given something.
    pub(super) fn of(named: &Named, op: &AnyOp, response: &[u8]) -> Option<Self> {
        let of = |fence, what| Self { named: named.clone(), fence, what };
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
            AnyOp::Pool(pool::Op::Take(PoolTakeRequest { worker, .. })) => {
                let taken = PoolTakeResponse::decode(response).ok()?;
                let tasks = taken.tasks.iter().map(|task| task.task).collect();
                (taken.fence, Thing::Tasks { worker: *worker, tasks })
            }
            AnyOp::Pool(pool::Op::Join(_)) => {
                return Some(of(0, Thing::Worker(PoolJoinResponse::decode(response).ok()?.worker)));
            }
            AnyOp::Pool(pool::Op::Submit(_)) => {
                return Some(of(0, Thing::Job(PoolSubmitResponse::decode(response).ok()?.job)));
            }
            _ => return None,
        };
        (fence != 0).then(|| of(fence, what))
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
            Thing::Worker(worker) => {
                let (max, patience_ms) = (source.below(4), (source.below(2) == 0).then(|| source.below(50) as i64));
                AnyOp::Pool(pool::Op::Take(PoolTakeRequest { worker, max, patience_ms, done: Vec::new() }))
            }
            Thing::Tasks { worker, ref tasks } => AnyOp::Pool(finished(worker, tasks, source)),
            Thing::Job(job) => {
                let patience_ms = (source.below(2) == 0).then(|| source.below(50) as i64);
                AnyOp::Pool(pool::Op::Collect(PoolCollectRequest { job, max: source.below(3), patience_ms }))
            }
        }
    }

    /// What is left of it after a call.
    pub(super) fn after(self, op: &AnyOp) -> Option<Self> {
        let is_left = match op {
            AnyOp::Lock(lock::Op::Notify(_) | lock::Op::Acquire(_)) => true,
            AnyOp::Pool(pool::Op::Take(_)) => matches!(self.what, Thing::Worker(_)),
            _ => false,
        };
        is_left.then_some(self)
    }
}

/// A worker says what came of the tasks that it has, or that it has not begun them.
fn finished(worker: u64, tasks: &[u64], source: &mut Source) -> pool::Op {
    let (begun, untouched) = tasks.split_at(tasks.len() - source.below(2).min(tasks.len() as u64) as usize);
    let done = begun.iter().map(|task| {
        let outcome = PoolOutcome { returned: Some(Datum::Integer(*task as i64)), ..PoolOutcome::default() };
        PoolDone { task: *task, outcome: Some(outcome), more: source.below(8) == 0, too_large: false }
    });
    let done = done.collect();
    match source.below(2) {
        0 => pool::Op::Take(PoolTakeRequest { worker, max: 1, patience_ms: Some(20), done }),
        _ => pool::Op::Finish(PoolFinishRequest { worker, done, untouched: untouched.into() }),
    }
}
