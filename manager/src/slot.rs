//! Where one object lives.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_objects::catalog::AnyObject;
use holdfast_proto::{Reason, Refusal};
use parking_lot::Mutex;

use crate::engine::Usage;

/// Where one object lives: a mutex around its machine, held for one input at a time.
///
/// - A panic inside the machine poisons this slot alone: its state may be half changed, so nothing is asked of it any more.
/// - A deleted object is gone for every session at once, also for those that have a handle.
/// - The object's share of the manager's counts ends with the slot, so it cannot be forgotten.
#[derive(Debug)]
pub(crate) struct Slot {
    kind: u32,
    state: Mutex<State>,
    usage: Arc<Usage>,
    /// What the registry calls it now. Only the registry writes it.
    name: Mutex<Option<Arc<str>>>,
    made: Instant,
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
    pub(crate) fn new(object: AnyObject, usage: Arc<Usage>) -> Self {
        usage.add_bytes(object.bytes());
        Self {
            kind: object.kind(),
            state: Mutex::new(State::Live(object)),
            usage,
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
        self.state.lock().facts().ok_or_else(deleted)
    }

    /// The same, unless it has just been deleted or an input is being applied to it.
    pub(crate) fn facts_at_once(&self) -> Option<Facts> {
        self.state.try_lock()?.facts()
    }

    /// Does one thing with the object, alone with it.
    pub(crate) fn enter<R>(&self, act: impl FnOnce(&mut AnyObject) -> R) -> Result<R, Refusal> {
        let mut state = self.state.lock();
        let object = match &mut *state {
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
                *state = State::Poisoned(fault);
                drop(state);
                tracing::error!(kind = self.kind, %refusal, "an object panicked and is poisoned");
                Err(refusal)
            }
        }
    }

    /// Ends the object for everyone.
    pub(crate) fn delete(&self) {
        let was = std::mem::replace(&mut *self.state.lock(), State::Deleted);
        if let State::Live(object) = &was {
            self.usage.exchange_bytes(object.bytes(), 0);
        }
        // A large object is freed here, after the lock is.
        drop(was);
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
        if let State::Live(object) = self.state.get_mut() {
            self.usage.exchange_bytes(object.bytes(), 0);
        }
        self.usage.remove_object();
    }
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

    fn ask<R: Request>(engine: &Engine, slot: &Slot, request: &R) -> Answer<AnyReply> {
        let op = AnyOp::decode(R::KIND, R::OP, &request.encode_to_vec()).unwrap();
        engine.apply(slot, SessionId([1; 16]), op).1
    }

    fn set(engine: &Engine, slot: &Slot) -> Answer<AnyReply> {
        let request = DictSetRequest { key: Some(Datum::Integer(1)), value: Some(Datum::from(&*"x".repeat(1000))) };
        ask(engine, slot, &request)
    }

    #[test]
    fn a_panic_poisons_its_own_object_alone() {
        let engine = Engine::new(Arc::new(Limits::default()));
        let [victim, other] = [(); 2].map(|()| engine.create(dict::KIND, b"").unwrap());
        for slot in [&victim, &other] {
            assert!(matches!(set(&engine, slot), Answer::Done(_)));
        }
        let bytes = engine.usage().bytes();
        let half = bytes / 2;
        assert!(half > 1000);

        // In the middle of a change, after which nobody can tell what is in it.
        let grow = |object: &mut AnyObject| {
            let session = SessionId([1; 16]);
            let mut turn = Turn { index: 9, session, page_bytes: 1000, room: Room::new(1 << 20, "object_bytes") };
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
        engine.leave(&victim, SessionId([1; 16]), Ended::Lost);
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
        let engine = Engine::new(Arc::new(Limits::default()));
        let slot = engine.create(dict::KIND, b"").unwrap();
        assert!(matches!(set(&engine, &slot), Answer::Done(_)));
        let refusal = slot.enter::<()>(|_| std::panic::panic_any(7)).unwrap_err();
        assert!(refusal.message.contains("a panic without a message"), "{}", refusal.message);
        drop(slot);
        assert_eq!((engine.usage().objects(), engine.usage().bytes()), (0, 0));
    }
}
