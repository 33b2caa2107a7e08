//! What an object is.

use core::fmt;

use holdfast_proto::datum::{HasReferences, Reference};
use holdfast_proto::{Reason, Refusal, ops};

/// A shared object: a state, and how inputs change it.
///
/// - Nothing changes an object but an input: [`apply`](Self::apply) (a call) or [`leave`](Self::leave) (the end of a
///   session). One input names exactly one object.
/// - A refused input changes nothing.
/// - The work of one input is bounded: what reads or writes much does so a page at a time.
/// - `restore(state())` is the same object: it answers every input as the original does.
/// - [`bytes`](Self::bytes) is exact: it changes by what the turn's [`Room`] was told, and `restore` counts the same.
pub trait Object: Sized + Send + fmt::Debug {
    /// How an object of this kind is made.
    type Spec: prost::Message + HasReferences + Default;
    /// What can be asked of it.
    type Op: ops::Op;
    /// All there is to know about it, for listings, snapshots and tests.
    type State: prost::Message + Default + PartialEq + Clone;

    /// Makes an object.
    fn create(spec: Self::Spec, creation: &mut Creation) -> Result<Self, Refusal>;

    /// Makes the object that had this state.
    fn restore(state: Self::State, creation: &mut Creation) -> Result<Self, Refusal>;

    /// The whole state.
    fn state(&self) -> Self::State;

    /// One call.
    fn apply(&mut self, op: Self::Op, turn: &mut Turn) -> Answer<<Self::Op as ops::Op>::Reply>;

    /// A session that used this object ended: gives up what it held here. A superset of the sessions that did is told.
    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        let _ = (session, how, turn);
    }

    /// Whether it is as one that was just created with the default spec. Never, where that is refused.
    fn is_vacant(&self) -> bool;

    /// The bytes of user data in it, as the limits count them.
    fn bytes(&self) -> u64;

    /// Shows `visit` each reference to another object that is in it: those of its state, each once, without a copy.
    fn visit_references(&self, visit: &mut dyn FnMut(&Reference));

    /// How many elements it has, for listings. `None` for a kind that has no elements. Must be cheap: it is asked for every
    /// object of a listing.
    fn elements(&self) -> Option<u64> {
        None
    }
}

/// What becomes of an input, as seen by its caller.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Answer<R> {
    /// It was applied.
    Done(R),
    /// It was not, and nothing changed.
    Refused(Refusal),
}

impl<R> Answer<R> {
    /// The same answer with another reply.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Answer<S> {
        match self {
            Self::Done(reply) => Answer::Done(change(reply)),
            Self::Refused(refusal) => Answer::Refused(refusal),
        }
    }
}

impl<R> From<Result<R, Refusal>> for Answer<R> {
    fn from(result: Result<R, Refusal>) -> Self {
        match result {
            Ok(reply) => Self::Done(reply),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

/// The id of a session: a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its client said goodbye.
    Closed,
    /// Its client died or vanished.
    Lost,
}

/// What an object is given when it is made.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Keys the object's hash tables, so that nobody can choose keys that collide. No answer depends on it.
    pub seed: u64,
    /// The bytes of user data that it may have, and has taken.
    pub room: Room,
}

/// One input being applied: who asked, when in the order of all inputs, and within which limits.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The position of this input in the manager's total order. Rises from turn to turn, never 0.
    pub index: u64,
    /// Who asked.
    pub session: SessionId,
    /// No answer holds more user data than about this many bytes: it is a page.
    pub page_bytes: u32,
    /// The bytes of user data that the object may yet grow by, and has grown by in this turn.
    pub room: Room,
}

/// A budget of bytes.
///
/// Growth is asked for before anything is changed; what frees bytes is never refused.
#[derive(Clone, Copy)]
pub struct Room {
    left: u64,
    limit: &'static str,
}

impl Room {
    /// Room for `left` more bytes; `limit` names what sets it, for the refusal.
    #[must_use]
    pub fn new(left: u64, limit: &'static str) -> Self {
        Self { left, limit }
    }

    /// Takes `by` bytes, or refuses and takes none.
    pub fn grow(&mut self, by: u64) -> Result<(), Refusal> {
        match self.left.checked_sub(by) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Refusal::new(
                Reason::Quota,
                alloc::format!(
                    "the call needs {by} bytes and only {} are left under the limit {}: delete something, or raise it",
                    self.left,
                    self.limit
                ),
            )),
        }
    }

    /// Exchanges `old` bytes for `new` ones, or refuses and exchanges none.
    pub fn replace(&mut self, old: u64, new: u64) -> Result<(), Refusal> {
        if new > old {
            self.grow(new - old)
        } else {
            self.shrink(old - new);
            Ok(())
        }
    }

    /// Gives `by` bytes back.
    pub fn shrink(&mut self, by: u64) {
        self.left = self.left.saturating_add(by);
    }

    /// The bytes that may yet be taken.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes under {}", self.left, self.limit)
    }
}
