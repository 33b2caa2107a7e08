//! Where one object lives.

use std::any::Any;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_objects::catalog::AnyObject;
use holdfast_objects::mutant::{Mutant, mutant};
use holdfast_objects::{CallId, LARGE, Remains, SessionId};
use holdfast_proto::datum::{Reference, Target};
use holdfast_proto::{Reason, Refusal};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::engine::Usage;
use crate::reclaim::Reclaim;
use crate::waits::Waits;

/// Where one object lives: a mutex around its machine, held for one input at a time.
///
/// - A panic inside the machine poisons this slot alone: its state may be half changed, so nothing is asked of it any more.
/// - A deleted object is gone for every session at once, also for those that have a handle.
/// - The object's share of the manager's counts ends with the slot, so it cannot be forgotten.
/// - The slot lives while somebody has an `Arc` of it. References in the data of other objects are such `Arc`s.
#[derive(Debug)]
pub(crate) struct Slot {
    kind: u32,
    id: Uuid,
    /// The object's data may refer to other objects. Once it may, it always may.
    refers: AtomicBool,
    inside: Mutex<Inside>,
    usage: Arc<Usage>,
    reclaim: Arc<Reclaim>,
    waits: Arc<Waits>,
    /// What the registry calls it now. Only the registry writes it.
    name: Mutex<Option<Arc<str>>>,
    made: Instant,
}

#[derive(Debug)]
struct Inside {
    state: State,
    /// How many inputs there were.
    inputs: u64,
    /// The highest fence with which a call came. One with a lower fence comes too late.
    fence: u64,
}

/// What there is to know about an object without asking it anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The bytes of user data in it.
    pub(crate) bytes: u64,
    /// How many elements it has, if its kind has any.
    pub(crate) elements: Option<u64>,
    /// Whether a fault in it was caught.
    pub(crate) poisoned: bool,
}

#[derive(Debug)]
enum State {
    Live(AnyObject),
    Poisoned(String),
    Deleted,
}

impl Slot {
    /// Puts an object in a slot. Its place among the objects has been taken from `usage`, and is given back at the end.
    pub(crate) fn new(
        id: Uuid,
        object: AnyObject,
        usage: Arc<Usage>,
        reclaim: Arc<Reclaim>,
        waits: Arc<Waits>,
    ) -> Self {
        usage.add_bytes(object.bytes());
        let kind = object.kind();
        let inside = Mutex::new(Inside { state: State::Live(object), inputs: 0, fence: 0 });
        Self {
            kind,
            id,
            refers: AtomicBool::new(false),
            inside,
            usage,
            reclaim,
            waits,
            name: Mutex::new(None),
            made: Instant::now(),
        }
    }

    /// The number of the object's kind.
    pub(crate) fn kind(&self) -> u32 {
        self.kind
    }

    /// What the registry calls it.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.name.lock().clone()
    }

    /// The registry calls it something else, or nothing, from now on.
    pub(crate) fn set_name(&self, name: Option<Arc<str>>) {
        *self.name.lock() = name;
    }

    /// How long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// What there is to know about the object. Waits for the input that is being applied to it.
    pub(crate) fn facts(&self) -> Result<Facts, Refusal> {
        self.inside.lock().state.facts().ok_or_else(deleted)
    }

    /// The same, unless it has just been deleted or an input is being applied to it.
    pub(crate) fn facts_at_once(&self) -> Option<Facts> {
        self.inside.try_lock()?.state.facts()
    }

    /// Does one thing with the object, alone with it.
    pub(crate) fn enter<R>(&self, act: impl FnOnce(&mut AnyObject) -> R) -> Result<R, Refusal> {
        self.enter_fenced(0, act)
    }

    /// The same for somebody who comes with a fence, unless a later one has been seen here. 0 is none.
    #[inline]
    pub(crate) fn enter_fenced<R>(&self, fence: u64, act: impl FnOnce(&mut AnyObject) -> R) -> Result<R, Refusal> {
        let mut inside = self.inside.lock();
        if fence != 0 {
            if fence < inside.fence && !mutant(Mutant::StaleFenceAccepted) {
                return Err(stale(fence, inside.fence));
            }
            inside.fence = fence;
        }
        inside.inputs += 1;
        let object = match &mut inside.state {
            State::Live(object) => object,
            State::Poisoned(fault) => return Err(poisoned(fault)),
            State::Deleted => return Err(deleted()),
        };
        let before = object.bytes();
        match catch_unwind(AssertUnwindSafe(|| act(object))) {
            Ok(result) => {
                let after = object.bytes();
                self.usage.exchange_bytes(before, after);
                Ok(result)
            }
            Err(panic) => {
                let fault = message_of(&*panic);
                self.usage.exchange_bytes(before, 0);
                let refusal = poisoned(&fault);
                let waiting = waiting_at(object);
                inside.state = State::Poisoned(fault);
                drop(inside);
                self.waits.refuse(waiting, &refusal);
                tracing::error!(kind = self.kind, %refusal, "an object panicked and is poisoned");
                Err(refusal)
            }
        }
    }

    /// Ends the object for everyone.
    pub(crate) fn delete(&self) {
        let was = std::mem::replace(&mut self.inside.lock().state, State::Deleted);
        if let State::Live(object) = &was {
            self.waits.refuse(waiting_at(object), &deleted());
        }
        self.bury(was);
    }

    /// Whether somebody who asks for an object with this encoded spec may have this one.
    pub(crate) fn admits(&self, spec: &[u8]) -> Result<(), Refusal> {
        match &self.inside.lock().state {
            State::Live(object) => object.admits(spec),
            State::Poisoned(fault) => Err(poisoned(fault)),
            State::Deleted => Err(deleted()),
        }
    }

    /// Whether a session holds something of the object, or waits at it.
    pub(crate) fn involves(&self, session: SessionId) -> bool {
        matches!(&self.inside.lock().state, State::Live(object) if object.involves(session))
    }

    /// Notes that a request is about to put a reference to another object into this one's data.
    pub(crate) fn will_refer(self: &Arc<Self>) {
        if !self.refers.swap(true, Ordering::AcqRel) {
            self.reclaim.add_holder(self);
        }
    }

    /// Whether there may be references in the object's data: whoever has seen one there sees this.
    pub(crate) fn refers(&self) -> bool {
        self.refers.load(Ordering::Acquire)
    }

    /// How many inputs there were.
    pub(crate) fn inputs(&self) -> u64 {
        self.inside.lock().inputs
    }

    /// Shows `visit` each reference in the object's data.
    pub(crate) fn visit_references(&self, visit: &mut dyn FnMut(&Reference)) {
        if let State::Live(object) = &self.inside.lock().state {
            object.visit_references(visit);
        }
    }

    /// Frees what was in the slot, where no lock is held.
    fn bury(&self, was: State) {
        if let State::Live(object) = was {
            self.usage.exchange_bytes(object.bytes(), 0);
            if self.refers.load(Ordering::Acquire) || object.bytes() >= LARGE {
                self.reclaim.bury(Remains::of(object));
            }
        }
    }
}

impl State {
    fn facts(&self) -> Option<Facts> {
        match self {
            Self::Live(object) => Some(Facts { bytes: object.bytes(), elements: object.elements(), poisoned: false }),
            Self::Poisoned(_) => Some(Facts { poisoned: true, ..Facts::default() }),
            Self::Deleted => None,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let was = std::mem::replace(&mut self.inside.get_mut().state, State::Deleted);
        self.bury(was);
        self.usage.remove_object();
    }
}

impl Target for Slot {
    fn kind(&self) -> u32 {
        self.kind
    }

    fn object(&self) -> [u8; 16] {
        self.id.into_bytes()
    }

    fn released(&self, others: usize) {
        if others > 0 && self.refers.load(Ordering::Acquire) {
            self.reclaim.suspect();
        }
    }
}

/// A slot as somebody holds it who may be the last to know it: when this goes, what is left may be a cycle.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Slot>);

impl Held {
    /// The same, as data.
    pub(crate) fn to_reference(&self) -> Reference {
        Reference::new(self.0.clone())
    }
}

impl From<Arc<Slot>> for Held {
    fn from(slot: Arc<Slot>) -> Self {
        Self(slot)
    }
}

impl Deref for Held {
    type Target = Arc<Slot>;

    fn deref(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.released(Arc::strong_count(&self.0) - 1);
    }
}

/// The calls that wait at an object, as far as one that panicked can tell.
fn waiting_at(object: &AnyObject) -> Vec<CallId> {
    let mut calls = Vec::new();
    // What it has shown until it panics once more is better than nothing.
    let _ = catch_unwind(AssertUnwindSafe(|| object.visit_waiting(&mut |call| calls.push(call))));
    calls
}

#[cold]
fn stale(fence: u64, seen: u64) -> Refusal {
    let problem = format!(
        "the call comes with the fence {fence}, and one with {seen} came before: what {fence} was granted with has passed to \
         somebody else"
    );
    Refusal::new(Reason::StaleFence, problem)
}

fn deleted() -> Refusal {
    Refusal::new(Reason::UnknownObject, "the object was deleted: open it again")
}

fn poisoned(fault: &str) -> Refusal {
    Refusal::new(
        Reason::Poisoned,
        format!(
            "a fault inside this object was caught ({fault}) and its data cannot be trusted: delete it; other objects are not affected"
        ),
    )
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::limits::Limits;
    use holdfast_objects::catalog::{AnyOp, AnyReply};
    use holdfast_objects::{Answer, Ended, Room, SessionId, Turn};
    use holdfast_proto::ops::Request;
    use holdfast_proto::{Datum, DictGetRequest, DictSetRequest, dict};
    use prost::Message;

    fn ask<R: Request>(engine: &Engine, slot: &Arc<Slot>, request: &R) -> Answer<AnyReply> {
        let op = AnyOp::decode(R::KIND, R::OP, &request.encode_to_vec()).unwrap();
        engine.ask(slot, SessionId([1; 16]), op).1
    }

    fn set(engine: &Engine, slot: &Arc<Slot>) -> Answer<AnyReply> {
        let request = DictSetRequest { key: Some(Datum::Integer(1)), value: Some(Datum::from(&*"x".repeat(1000))) };
        ask(engine, slot, &request)
    }

    #[test]
    fn a_panic_poisons_its_own_object_alone() {
        let engine = Engine::new(Arc::new(Limits::default()), 1);
        let [victim, other] = [(); 2].map(|()| engine.create(dict::KIND, b"", &mut |_| Ok(())).unwrap());
        for slot in [&victim, &other] {
            assert!(matches!(set(&engine, slot), Answer::Done(_)));
        }
        let bytes = engine.usage().bytes();
        let half = bytes / 2;
        assert!(half > 1000);

        // In the middle of a change, after which nobody can tell what is in it.
        let grow = |object: &mut AnyObject| {
            let session = SessionId([1; 16]);
            let room = Room::new(1 << 20, "object_bytes");
            let mut turn = Turn::new(9, CallId { session, number: 1 }, 1000, room);
            let request = DictSetRequest { key: Some(Datum::Integer(2)), value: Some(Datum::from(&*"y".repeat(5000))) };
            let op = AnyOp::decode(DictSetRequest::KIND, DictSetRequest::OP, &request.encode_to_vec()).unwrap();
            assert!(matches!(object.apply(op, &mut turn), Answer::Done(_)));
            panic!("a fault of the test's own");
        };
        let refusal = victim.enter::<()>(grow).unwrap_err();
        assert_eq!(refusal.why(), Reason::Poisoned);
        assert_eq!(engine.usage().bytes(), half, "what it had counts no more");

        // It says so to every later caller, and nothing reaches it any more.
        let get = DictGetRequest { key: Some(Datum::Integer(1)) };
        for _ in 0..3 {
            let Answer::Refused(refusal) = ask(&engine, &victim, &get) else { panic!("it was answered") };
            assert_eq!(refusal.why(), Reason::Poisoned);
            assert!(refusal.message.contains("a fault of the test's own"), "{}", refusal.message);
        }
        engine.leave(&victim, SessionId([1; 16]), Ended::Lost, &Arc::default());
        // Others notice nothing.
        assert!(matches!(ask(&engine, &other, &get), Answer::Done(_)));
        assert!(matches!(set(&engine, &other), Answer::Done(_)));

        victim.delete();
        let Answer::Refused(refusal) = ask(&engine, &victim, &get) else { panic!("it was answered") };
        assert_eq!(refusal.why(), Reason::UnknownObject);
        assert_eq!(
            (engine.usage().objects(), engine.usage().bytes()),
            (2, half),
            "it has its place until nobody has it"
        );
        drop(victim);
        assert_eq!((engine.usage().objects(), engine.usage().bytes()), (1, half));
        drop(other);
        assert_eq!((engine.usage().objects(), engine.usage().bytes()), (0, 0));
    }

    #[test]
    fn a_poisoned_object_that_is_dropped_leaves_nothing_in_the_counts() {
        let engine = Engine::new(Arc::new(Limits::default()), 1);
        let slot = engine.create(dict::KIND, b"", &mut |_| Ok(())).unwrap();
        assert!(matches!(set(&engine, &slot), Answer::Done(_)));
        let refusal = slot.enter::<()>(|_| std::panic::panic_any(7)).unwrap_err();
        assert!(refusal.message.contains("a panic without a message"), "{}", refusal.message);
        drop(slot);
        assert_eq!((engine.usage().objects(), engine.usage().bytes()), (0, 0));
    }
}
