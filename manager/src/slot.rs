//! Where one object lives.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

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
        Self { kind: object.kind(), state: Mutex::new(State::Live(object)), usage }
    }

    /// The number of the object's kind.
    pub(crate) fn kind(&self) -> u32 {
        self.kind
    }

    /// Does one thing with the object, alone with it.
    pub(crate) fn enter<R>(&self, act: impl FnOnce(&mut AnyObject) -> R) -> Result<R, Refusal> {
        let mut state = self.state.lock();
        let object = match &mut *state {
            State::Live(object) => object,
            State::Poisoned(fault) => return Err(poisoned(fault)),
            State::Deleted => return Err(Refusal::new(Reason::UnknownObject, "the object was deleted: open it again")),
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
                tracing::error!(kind = self.kind, fault, "an object panicked and is poisoned");
                let refusal = poisoned(&fault);
                *state = State::Poisoned(fault);
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

impl Drop for Slot {
    fn drop(&mut self) {
        if let State::Live(object) = self.state.get_mut() {
            self.usage.exchange_bytes(object.bytes(), 0);
        }
        self.usage.remove_object();
    }
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
