//! When an input is ordered, applied, and its answer released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use holdfast_objects::catalog::{AnyObject, AnyOp, AnyReply};
use holdfast_objects::{Answer, Creation, Ended, Room, SessionId, Turn};
use holdfast_proto::{Reason, Refusal};

use crate::limits::Limits;
use crate::slot::Slot;

/// The volatile engine: orders an input, applies it and releases its answer at once, and keeps nothing over a restart.
///
/// The index of an input is taken while the object's slot is locked, so the inputs of one object have rising indexes in
/// the order in which they were applied.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The last index that was given.
    index: AtomicU64,
    usage: Arc<Usage>,
    limits: Arc<Limits>,
}

impl Engine {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        Self { index: AtomicU64::new(0), usage: Arc::default(), limits }
    }

    /// Makes an object.
    pub(crate) fn create(&self, kind: u32, spec: &[u8]) -> Result<Arc<Slot>, Refusal> {
        self.usage.add_object(self.limits.objects)?;
        let seed = getrandom::u64().unwrap_or_else(|_| {
            // The kernel has no randomness only very early in its boot. The seed defends against chosen keys; without it
            // the object works.
            self.index.load(Ordering::Relaxed)
        });
        let mut creation = Creation { seed, room: self.room(0) };
        match AnyObject::create(kind, spec, &mut creation) {
            Ok(object) => Ok(Arc::new(Slot::new(object, self.usage.clone()))),
            Err(refusal) => {
                self.usage.remove_object();
                Err(refusal)
            }
        }
    }

    /// One call on one object. The index is 0 if the call was refused before it was ordered.
    pub(crate) fn apply(&self, slot: &Slot, session: SessionId, op: AnyOp) -> (u64, Answer<AnyReply>) {
        let applied = slot.enter(|object| {
            let mut turn = self.turn(session, object);
            (turn.index, object.apply(op, &mut turn))
        });
        applied.unwrap_or_else(|refusal| (0, Answer::Refused(refusal)))
    }

    /// The end of a session, for one object that it used.
    pub(crate) fn leave(&self, slot: &Slot, session: SessionId, how: Ended) {
        // A poisoned or deleted object holds nothing for anyone.
        let _ = slot.enter(|object| {
            let mut turn = self.turn(session, object);
            object.leave(session, how, &mut turn);
        });
    }

    /// What all objects take.
    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    fn turn(&self, session: SessionId, object: &AnyObject) -> Turn {
        Turn {
            index: self.index.fetch_add(1, Ordering::Relaxed) + 1,
            session,
            page_bytes: self.limits.page_bytes,
            room: self.room(object.bytes()),
        }
    }

    /// How much an object that has `bytes` may grow by.
    fn room(&self, bytes: u64) -> Room {
        let of_object = self.limits.object_bytes.saturating_sub(bytes);
        let of_all = self.limits.total_bytes.saturating_sub(self.usage.bytes());
        if of_object <= of_all { Room::new(of_object, "object_bytes") } else { Room::new(of_all, "total_bytes") }
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
