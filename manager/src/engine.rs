//! When an input is ordered, applied, and its answer released.

#[cfg(feature = "history")]
use std::fs::File;
use std::sync::Arc;
#[cfg(feature = "history")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use holdfast_objects::catalog::{AnyObject, AnyOp, AnyReply};
use holdfast_objects::mutant::{Mutant, mutant};
use holdfast_objects::{
    Answer, CallId, Client, Creation, Ended, Remains, Room, SessionId, Turn, Waiters, Withdrawal, Woken,
};
use holdfast_proto::datum::Reference;
#[cfg(feature = "history")]
use holdfast_proto::datum::Target as _;
use holdfast_proto::{Reason, Refusal};
use uuid::Uuid;

#[cfg(feature = "history")]
use crate::history::{History, Input};
use crate::limits::Limits;
use crate::reclaim::Reclaim;
use crate::slot::Slot;
use crate::waits::{Waiting, Waits};

/// The volatile engine: orders an input, applies it and releases its answer at once, and keeps nothing over a restart.
///
/// The index of an input is taken while the object's slot is locked, so the inputs of one object have rising indexes in
/// the order in which they were applied.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The last index that was given.
    index: AtomicU64,
    /// Which life of the manager this is.
    epoch: u16,
    usage: Arc<Usage>,
    reclaim: Arc<Reclaim>,
    waits: Arc<Waits>,
    limits: Arc<Limits>,
    #[cfg(feature = "history")]
    history: OnceLock<History>,
}

impl Engine {
    pub(crate) fn new(limits: Arc<Limits>, epoch: u16) -> Self {
        let waits = Arc::new(Waits::new(limits.clone()));
        Self {
            index: AtomicU64::new(0),
            epoch,
            usage: Arc::default(),
            reclaim: Arc::default(),
            waits,
            limits,
            #[cfg(feature = "history")]
            history: OnceLock::new(),
        }
    }

    /// The calls that wait.
    pub(crate) fn waits(&self) -> &Arc<Waits> {
        &self.waits
    }

    /// The fence of what is granted at an index: it rises with the index, and from one life of the manager to the next.
    pub(crate) fn fence(&self, index: u64) -> u64 {
        // 48 bits are nine years of a million inputs a second.
        let index = if mutant(Mutant::FenceDoesNotRise) { 1 } else { index };
        (u64::from(self.epoch) << 48).saturating_add(index)
    }

    /// Makes an object. `resolve` is given each reference in the spec, to replace what came over the wire by a slot.
    pub(crate) fn create(
        &self,
        kind: u32,
        spec: &[u8],
        resolve: &mut dyn FnMut(&mut Reference) -> Result<(), Refusal>,
    ) -> Result<Arc<Slot>, Refusal> {
        self.usage.add_object(self.limits.objects)?;
        let (id, seed) = self.id_and_seed();
        let mut creation = Creation { seed, room: self.room(0) };
        let mut refers = false;
        let made = AnyObject::create(kind, spec, &mut creation, &mut |reference| {
            refers = true;
            resolve(reference)
        });
        match made {
            Ok(object) => {
                let slot =
                    Arc::new(Slot::new(id, object, self.usage.clone(), self.reclaim.clone(), self.waits.clone()));
                if refers {
                    slot.will_refer();
                }
                #[cfg(feature = "history")]
                if let Some(history) = self.history.get() {
                    history.note_made(slot.object(), kind, spec, self.limits.page_bytes);
                }
                Ok(slot)
            }
            Err(refusal) => {
                self.usage.remove_object();
                Err(refusal)
            }
        }
    }

    /// What is new and random about an object, in one question to the kernel.
    fn id_and_seed(&self) -> (Uuid, u64) {
        let mut random = [0; 18];
        if getrandom::fill(&mut random).is_err() {
            // The kernel has no randomness only very early in its boot. The seed defends against chosen keys; without it
            // the object works. The position in the order of all inputs keeps ids apart.
            random[..8].copy_from_slice(&self.index.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        }
        let (id, seed) = random.split_at(10);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(
            u64::try_from(now.as_millis()).unwrap_or_default(),
            id.try_into().expect("ten bytes"),
        );
        (id.into_uuid(), u64::from_ne_bytes(seed.try_into().expect("eight bytes")))
    }

    /// Writes every input that is applied from now on into a file.
    #[cfg(feature = "history")]
    pub(crate) fn record_history(&self, file: File) {
        // Who asks twice keeps the first file.
        let _ = self.history.set(History::new(file));
    }

    /// Writes what is left of the history.
    #[cfg(feature = "history")]
    pub(crate) fn flush_history(&self) {
        if let Some(history) = self.history.get() {
            history.flush();
        }
    }

    /// One call on one object. The index is 0 if the call was refused before it was ordered. A call that waits is answered
    /// through `waiting`.
    pub(crate) fn apply(&self, slot: &Arc<Slot>, waiting: &Waiting, asked: Asked) -> (u64, Answer<AnyReply>) {
        let Asked { number, fence, op } = asked;
        let applied = slot.enter_fenced(fence, |object| {
            let mut turn = self.turn(waiting.call(number), self.waits.room(waiting), object);
            #[cfg(feature = "history")]
            let call = self.history.get().map(|_| Input::call(&op, fence));
            let answer = object.apply(op, &mut turn);
            #[cfg(feature = "history")]
            self.note(slot, &turn, call, Some(&answer));
            if let Answer::Wait(patience) = answer {
                self.waits.begin(waiting, number, slot, patience);
            }
            (turn.index, answer, turn.woken, turn.remains)
        });
        match applied {
            Ok((index, answer, woken, remains)) => {
                self.conclude(index, woken, remains);
                (index, answer)
            }
            Err(refusal) => (0, Answer::Refused(refusal)),
        }
    }

    /// One call of somebody who makes no other.
    #[cfg(test)]
    pub(crate) fn ask(&self, slot: &Arc<Slot>, session: SessionId, op: AnyOp) -> (u64, Answer<AnyReply>) {
        self.apply(slot, &self.waits.join(session), Asked { number: 1, fence: 0, op })
    }

    /// A call is not to wait any longer. Whether it waited.
    pub(crate) fn withdraw(&self, slot: &Slot, call: CallId, why: Withdrawal) -> bool {
        self.input(slot, call, None, NoCall::Withdraw(why)).unwrap_or_default()
    }

    /// Nobody will have the answer to a call.
    pub(crate) fn undo(&self, slot: &Slot, call: CallId) {
        let _ = self.input(slot, call, None, NoCall::Undo);
    }

    /// The caller has the answer to a call.
    pub(crate) fn acknowledge(&self, slot: &Slot, call: CallId) {
        let _ = self.input(slot, call, None, NoCall::Acknowledge);
    }

    /// The end of a session, for one object that it used.
    pub(crate) fn leave(&self, slot: &Slot, session: SessionId, how: Ended, client: &Arc<Client>) {
        let call = CallId { session, number: 0 };
        // A poisoned or deleted object holds nothing for anyone.
        let _ = self.input(slot, call, Some(client), NoCall::Leave(how));
    }

    /// Ends the waits whose time is over, as long as it is polled.
    pub(crate) async fn run(&self) {
        let expire = |slot: &Arc<Slot>, call| {
            self.withdraw(slot, call, Withdrawal::Patience);
        };
        self.waits.run(expire).await;
    }

    /// An input that is no call. Whether it ended a wait.
    fn input(&self, slot: &Slot, call: CallId, client: Option<&Arc<Client>>, input: NoCall) -> Result<bool, Refusal> {
        let (index, waited, woken, remains) = slot.enter(|object| {
            let mut turn = self.turn(call, Waiters::ANY, object);
            turn.client = client.cloned();
            let waited = input.apply(object, &mut turn);
            #[cfg(feature = "history")]
            self.note(slot, &turn, self.history.get().map(|_| Input::no_call(input, waited, client)), None);
            (turn.index, waited, turn.woken, turn.remains)
        })?;
        self.conclude(index, woken, remains);
        Ok(waited)
    }

    /// What a turn has left to be done, when the slot is free again.
    #[inline]
    fn conclude(&self, index: u64, woken: Vec<Woken>, remains: Option<Remains>) {
        if !woken.is_empty() {
            self.waits.answer(index, woken);
        }
        if let Some(remains) = remains {
            self.reclaim.bury(remains);
        }
    }

    /// Writes an input into the history, if there is one. To be called in its turn, while the slot is locked.
    #[cfg(feature = "history")]
    fn note(&self, slot: &Slot, turn: &Turn, input: Option<Input>, answer: Option<&Answer<AnyReply>>) {
        if let (Some(history), Some(input)) = (self.history.get(), input) {
            history.note(slot.object(), turn, input, answer);
        }
    }

    /// What all objects take.
    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    fn turn(&self, call: CallId, waiters: Waiters, object: &AnyObject) -> Turn {
        let index = self.index.fetch_add(1, Ordering::Relaxed) + 1;
        let mut turn = Turn::new(index, call, self.limits.page_bytes, self.room(object.bytes()));
        turn.fence = self.fence(index);
        turn.waiters = waiters;
        turn
    }

    /// How much an object that has `bytes` may grow by.
    fn room(&self, bytes: u64) -> Room {
        let of_object = self.limits.object_bytes.saturating_sub(bytes);
        let of_all = self.limits.total_bytes.saturating_sub(self.usage.bytes());
        if of_object <= of_all { Room::new(of_object, "object_bytes") } else { Room::new(of_all, "total_bytes") }
    }
}

/// An input that is no call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoCall {
    Withdraw(Withdrawal),
    Undo,
    Acknowledge,
    /// The end of a session.
    Leave(Ended),
}

impl NoCall {
    /// Whether it ended a wait.
    fn apply(self, object: &mut AnyObject, turn: &mut Turn) -> bool {
        let call = turn.call;
        match self {
            Self::Withdraw(why) => return object.withdraw(call, why, turn),
            Self::Undo if mutant(Mutant::UndoIgnored) => {}
            Self::Undo => object.undo(call, turn),
            Self::Acknowledge if mutant(Mutant::AcknowledgeLost) => {}
            Self::Acknowledge => object.acknowledge(call, turn),
            Self::Leave(how) => object.leave(call.session, how, turn),
        }
        false
    }
}

/// One call on an object.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its number in its session.
    pub(crate) number: u64,
    /// With which fence it comes; 0 is none.
    pub(crate) fence: u64,
    pub(crate) op: AnyOp,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.reclaim.end();
    }
}

/// What all objects take together. Exact when no input is being applied; several applied at once on different threads
/// may each use the room that the others also saw, so the limit can be passed by one request per thread.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    objects: AtomicUsize,
    bytes: AtomicU64,
}

impl Usage {
    pub(crate) fn objects(&self) -> usize {
        self.objects.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add_object(&self, limit: usize) -> Result<(), Refusal> {
        let taken = self.objects.fetch_add(1, Ordering::Relaxed);
        if taken < limit {
            return Ok(());
        }
        self.remove_object();
        Err(Refusal::new(
            Reason::Quota,
            format!("there are {limit} objects, the limit named objects: delete some, or raise it"),
        ))
    }

    pub(crate) fn remove_object(&self) {
        self.objects.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn exchange_bytes(&self, before: u64, after: u64) {
        // Most inputs change no size, and an atomic that is not written is not fought over.
        if before != after {
            self.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_rise_with_the_index_and_from_life_to_life() {
        let life = |epoch| Engine::new(Arc::new(Limits::default()), epoch);
        assert_eq!(life(1).fence(1), 0x0001_0000_0000_0001);
        assert!(life(1).fence(2) > life(1).fence(1));
        assert!(life(2).fence(1) > life(1).fence((1 << 48) - 1));
        assert_eq!(life(u16::MAX).fence((1 << 48) - 1), u64::MAX);
    }
}
