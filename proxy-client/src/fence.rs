//! What tells an earlier holder from a later one.

use std::fmt;

/// What a grant is known by: a number above that of every earlier grant, of any object, also over restarts of the manager.
///
/// A process that is stopped or cut off may lose a lock without knowing. What it does afterwards can be told by its fence: an
/// object refuses a call that comes with a lower one than it has seen (`fenced` of each proxy), and so can anything else that
/// remembers the highest fence that it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    pub(crate) fn new(fence: u64) -> Self {
        Self(fence)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Fence {
    fn from(fence: u64) -> Self {
        Self(fence)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
