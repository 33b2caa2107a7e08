//! Which process something belongs to.

use std::process;

/// What is said to a fork that uses what it has inherited.
pub(crate) const FORKED: &str = "this process is a fork of the one that opened it: open what it led to again from the `Manager`, in a session of its own";

/// The process that opened a session or started a manager. A fork of it inherits both, and must neither speak on its
/// parent's socket nor end what its parent still uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(u32);

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        Self(process::id())
    }

    /// Whether this is another process: a fork of the owner.
    pub(crate) fn is_elsewhere(self) -> bool {
        self.0 != process::id()
    }
}
