//! Faults put in on purpose, to see whether the tests find them.
//!
//! They are there only with the feature `mutants`, which no product is built with, and one is on only once somebody has
//! [chosen](choose) it. Without the feature [`mutant`] is `false` when it is compiled, and nothing is left of them.

#[cfg(feature = "mutants")]
use core::sync::atomic::{AtomicU8, Ordering};

/// Declares the faults, each once.
macro_rules! mutants {
    ($($(#[$about:meta])+ $Name:ident),+ $(,)?) => {
        /// A fault that can be put in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Mutant { $($(#[$about])+ $Name),+ }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$Name),+];
        }
    };
}

mutants! {
    /// A lock keeps the calls of a session that ended in its line, and grants to them.
    GrantToTheDead,
    /// A condition keeps those who died, and a notify goes to them.
    NotifyEatenByTheDead,
    /// A barrier counts parties that died.
    BarrierCountsTheDead,
    /// What goes back to a queue goes to its end.
    RequeueAtTheTail,
    /// A session that ends gives back one permit more than it had.
    SemaphoreOffByOne,
    /// Who withdraws a call that was granted meanwhile keeps what it was granted.
    WithdrawKeepsTheGrant,
    /// A call that is sent again after a lost connection is applied again.
    ResentIsAppliedTwice,
    /// What is granted has the fence of what was granted before.
    FenceDoesNotRise,
    /// A reentrant lock comes back from a condition as if it had been taken once.
    DepthLostOverWait,
    /// Who waits for an event does not hear of a set.
    ClearSwallowsSet,
    /// What goes back to a queue counts twice among what is to be done.
    JoinMiscounts,
    /// What nobody will have the answer to stays granted.
    UndoIgnored,
    /// An object is not told of the end of a session that had given its handle back.
    LeaveNotToldAfterClose,
    /// A call may come with a fence below one that was seen.
    StaleFenceAccepted,
    /// A queue does not hear that its items have arrived.
    AcknowledgeLost,
    /// Readers pass a writer that waits.
    ReaderPassesWriter,
    /// A task whose worker was lost is not tried again.
    LostTaskIsNotTriedAgain,
    /// What came of a task is stored twice.
    OutcomeStoredTwice,
}

/// Which is on: its place in the list, from 1. 0 is none.
#[cfg(feature = "mutants")]
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Puts a fault into this process, or takes it out.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.store(mutant.map_or(0, |mutant| mutant as u8 + 1), Ordering::Relaxed);
}

/// Whether this fault is in.
#[cfg(feature = "mutants")]
#[inline]
#[must_use]
pub fn mutant(which: Mutant) -> bool {
    CHOSEN.load(Ordering::Relaxed) == which as u8 + 1
}

/// Whether this fault is in: never, since this was built without them.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn mutant(_: Mutant) -> bool {
    false
}
