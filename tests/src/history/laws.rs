//! What must hold of locks and queues whatever their machines say: told apart from these, and as plainly as possible.

use std::collections::HashSet;

use holdfast_manager::history::{Given, Input, Sort};
use holdfast_objects::CallId;
use holdfast_objects::catalog::AnyOp;
use holdfast_proto::{
    Datum, LockAcquireResponse, LockReleaseResponse, LockWaitResponse, PoolTakeResponse, QueueGetResponse,
    RwlockAcquireReadResponse, RwlockAcquireWriteResponse, SemaphoreAcquireResponse, lock, pool, queue, rwlock,
    semaphore,
};
use prost::Message;

/// The laws of one object.
///
/// - The fence of what is granted is above all before, but for those of the same turn, and of one who takes again what it has.
/// - A lock is granted to nobody while another has it.
/// - An item of a queue that is not marked as delivered before was not delivered before.
#[derive(Debug, Default)]
pub(super) struct Laws {
    highest: u64,
    /// In which turn that was granted.
    at: u64,
    lock: Holder,
    delivered: HashSet<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Holder {
    #[default]
    Nobody,
    Call(CallId, u64),
    /// What the records say is not enough to tell.
    Unsure,
}

impl Laws {
    /// A call is made: one that waits on a condition gives the lock back, whoever has it, in the same turn.
    pub(super) fn called(&mut self, op: &AnyOp, given: &Given) {
        if matches!(op, AnyOp::Lock(lock::Op::Wait(_))) && given.sort() != Sort::Refused {
            self.lock = Holder::Nobody;
        }
    }

    /// A call was answered, in the turn with this index.
    pub(super) fn answered(&mut self, call: CallId, op: &AnyOp, given: &Given, index: u64) -> Result<(), String> {
        let is_applied = matches!(given.sort(), Sort::Done | Sort::Delivered);
        match op {
            _ if !is_applied => {}
            AnyOp::Lock(lock::Op::Acquire(_)) => {
                let LockAcquireResponse { acquired, fence, .. } = read(given)?;
                return if acquired { self.lock_granted(call, fence) } else { Ok(()) };
            }
            AnyOp::Lock(lock::Op::Wait(_)) => {
                let LockWaitResponse { fence, .. } = read(given)?;
                return self.lock_granted(call, fence);
            }
            AnyOp::Lock(lock::Op::Release(_)) => {
                let LockReleaseResponse { depth } = read(given)?;
                if depth == 0 {
                    self.lock = Holder::Nobody;
                }
            }
            AnyOp::Lock(lock::Op::Reset(_)) => self.lock = Holder::Unsure,
            AnyOp::Rwlock(rwlock::Op::AcquireRead(_)) => {
                let RwlockAcquireReadResponse { acquired, fence, .. } = read(given)?;
                return if acquired { self.granted(fence, index) } else { Ok(()) };
            }
            AnyOp::Rwlock(rwlock::Op::AcquireWrite(_)) => {
                let RwlockAcquireWriteResponse { acquired, fence, .. } = read(given)?;
                return if acquired { self.granted(fence, index) } else { Ok(()) };
            }
            AnyOp::Semaphore(semaphore::Op::Acquire(_)) => {
                let SemaphoreAcquireResponse { acquired, fence, .. } = read(given)?;
                return if acquired { self.granted(fence, index) } else { Ok(()) };
            }
            AnyOp::Pool(pool::Op::Take(_)) => {
                let PoolTakeResponse { tasks, fence, .. } = read(given)?;
                return if tasks.is_empty() { Ok(()) } else { self.granted(fence, index) };
            }
            AnyOp::Queue(queue::Op::Get(_)) => return self.delivered(&read(given)?),
            _ => {}
        }
        Ok(())
    }

    /// Something happened that is no call.
    pub(super) fn other(&mut self, call: CallId, input: &Input) {
        if let (Holder::Call(holder, _), Input::Undo(_) | Input::Leave(_)) = (self.lock, input)
            && holder.session == call.session
        {
            self.lock = Holder::Unsure;
        }
    }

    fn granted(&mut self, fence: u64, index: u64) -> Result<(), String> {
        if fence < self.highest || (fence == self.highest && index != self.at) {
            return Err(format!("something was granted with the fence {fence} after one with {}", self.highest));
        }
        (self.highest, self.at) = (fence, index);
        Ok(())
    }

    fn lock_granted(&mut self, call: CallId, fence: u64) -> Result<(), String> {
        let is_again = match self.lock {
            Holder::Nobody => false,
            Holder::Unsure => fence == self.highest,
            Holder::Call(holder, held) if holder.session == call.session && held == fence => true,
            Holder::Call(holder, held) => {
                return Err(format!("the lock was granted while {holder:?} has it, with the fence {held}"));
            }
        };
        if !is_again && fence <= self.highest {
            return Err(format!("the lock was granted with the fence {fence} after one with {}", self.highest));
        }
        self.highest = fence;
        self.lock = Holder::Call(call, fence);
        Ok(())
    }

    fn delivered(&mut self, response: &QueueGetResponse) -> Result<(), String> {
        for item in response.items.iter().filter(|item| !item.redelivered) {
            // The others are not unique.
            if let Some(Datum::Integer(unique)) = item.item
                && unique >> 61 == 1
                && !self.delivered.insert(unique)
            {
                return Err(format!("the item {unique} was delivered twice, the second time as if it were the first"));
            }
        }
        Ok(())
    }
}

fn read<T: Message + Default>(given: &Given) -> Result<T, String> {
    T::decode(&*given.body).map_err(|error| format!("the response cannot be read: {error}"))
}
