//! What an object is.

use core::fmt;
use core::time::Duration;

use holdfast_proto::datum::{HasReferences, Reference};
use holdfast_proto::{Reason, Refusal, ops};

use crate::turn::{CallId, SessionId, Turn};

/// A shared object: a state, and how inputs change it.
///
/// - Nothing changes an object but an input: [`apply`](Self::apply) (a call), [`withdraw`](Self::withdraw),
///   [`undo`](Self::undo), [`acknowledge`](Self::acknowledge), or [`leave`](Self::leave) (the end of a session). One input
///   names exactly one object.
/// - A call that is answered [`Answer::Wait`] is answered in a later turn, once, among [`Turn::woken`]. Until then
///   [`visit_waiting`](Self::visit_waiting) shows it, and afterwards not.
/// - Whether to wait is decided in the turn that would have to be waited for, so no wake-up falls between.
/// - What a session holds or waits for it gives up when it leaves, and [`involves`](Self::involves) is true until then.
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

    /// A call that waits is not to wait any longer. Tells whether it waited; if not, nothing changes.
    ///
    /// One whose caller wants no answer is refused with `WITHDRAWN` in this turn. One whose patience is over is answered as the
    /// op says for one that waited in vain: in this turn, or as soon as it has what it must not be answered without. So it may
    /// go on waiting, without a bound: one that waited on a condition returns with the lock.
    fn withdraw(&mut self, call: CallId, why: Withdrawal, turn: &mut Turn) -> bool {
        let _ = (call, why, turn);
        false
    }

    /// Nobody has the answer to this call, or ever will: takes back what it granted, if that is still its caller's.
    fn undo(&mut self, call: CallId, turn: &mut Turn) {
        let _ = (call, turn);
    }

    /// The caller has the answer to this call, which was [`Answer::Delivered`].
    fn acknowledge(&mut self, call: CallId, turn: &mut Turn) {
        let _ = (call, turn);
    }

    /// A session that used this object ended: gives up what it held here. A superset of the sessions that did is told.
    fn leave(&mut self, session: SessionId, how: Ended, turn: &mut Turn) {
        let _ = (session, how, turn);
    }

    /// Whether this session holds something here, or waits, so that it must not be forgotten when it ends.
    fn involves(&self, session: SessionId) -> bool {
        let _ = session;
        false
    }

    /// Shows `visit` each call that waits.
    fn visit_waiting(&self, visit: &mut dyn FnMut(CallId)) {
        let _ = visit;
    }

    /// Whether somebody who asks for an object with this spec may have this one. Refused: `OTHER_SPEC`.
    ///
    /// Kinds whose spec is but what is in the object at first admit any.
    fn admits(&self, spec: &Self::Spec) -> Result<(), Refusal> {
        let _ = spec;
        Ok(())
    }

    /// Whether it is as one that was just created with the default spec. Never, where that is refused.
    fn is_vacant(&self) -> bool;

    /// The bytes of user data in it, as the limits count them.
    fn bytes(&self) -> u64;

    /// Shows `visit` each reference to another object that is in it: those of its state, each once, without a copy.
    fn visit_references(&self, visit: &mut dyn FnMut(&Reference));

    /// Panics if what its type promises of its state is not so. Called after every input in tests.
    #[cfg(any(test, feature = "testing"))]
    fn check_invariants(&self) {}

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
    /// It was applied, and the object keeps what it gave until [`Object::acknowledge`] says that the caller has it.
    Delivered(R),
    /// It waits, at most so long, and is answered in a later turn.
    Wait(Patience),
    /// It was not applied, and nothing changed.
    Refused(Refusal),
}

impl<R> Answer<R> {
    /// The same answer with another reply.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> Answer<S> {
        match self {
            Self::Done(reply) => Answer::Done(change(reply)),
            Self::Delivered(reply) => Answer::Delivered(change(reply)),
            Self::Wait(patience) => Answer::Wait(patience),
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

impl<R> From<Result<Answer<R>, Refusal>> for Answer<R> {
    fn from(result: Result<Answer<R>, Refusal>) -> Self {
        result.unwrap_or_else(Answer::Refused)
    }
}

/// How long a call is willing to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As long as it takes.
    Endless,
    /// So long. The object has no clock: who has one withdraws the call then.
    For(Duration),
}

impl Patience {
    /// What the field `patience_ms` of a request says. `None` where the call is not willing to wait at all.
    /// Refused: `OUT_OF_RANGE`.
    pub(crate) fn read(patience_ms: Option<i64>) -> Result<Option<Self>, Refusal> {
        match patience_ms.map(u64::try_from) {
            None => Ok(Some(Self::Endless)),
            Some(Ok(0)) => Ok(None),
            Some(Ok(ms)) => Ok(Some(Self::For(Duration::from_millis(ms)))),
            Some(Err(_)) => Err(Refusal::new(
                Reason::OutOfRange,
                "patience_ms is negative: leave it out to wait as long as it takes, or say 0 for not at all",
            )),
        }
    }
}

/// Why a call is not to wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// It has waited for as long as it was willing to.
    Patience,
    /// Its caller does not want it any more.
    Cancelled,
}

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
