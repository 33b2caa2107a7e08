//! How long a caller is willing to wait for all that it asked for.

use std::time::{Duration, Instant};

use crate::proxy::holding::patience_ms;

/// A time until which calls are made one after the other, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(Option<Instant>);

impl Patience {
    /// From now on.
    pub(super) fn of(patience: Option<Duration>) -> Self {
        // A time that cannot be told is none.
        Self(patience.and_then(|patience| Instant::now().checked_add(patience)))
    }

    /// For as long as it takes.
    pub(super) fn endless() -> Self {
        Self(None)
    }

    /// What is left of it.
    pub(super) fn left(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// What is left of it, as a request says it.
    pub(super) fn left_ms(self) -> Option<i64> {
        patience_ms(self.left())
    }
}
