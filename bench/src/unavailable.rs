//! What cannot be measured on this machine, as opposed to what failed.

/// A contender that is not there: not installed, or not built. Its cells show `-`; that is no failure.
#[derive(Clone, Debug)]
pub(crate) struct Unavailable(pub(crate) String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}
