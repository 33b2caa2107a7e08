//! Who takes part in the works on pools.

use std::fmt;

/// Workers of a pool.
pub(crate) const WORKERS: usize = 2;
/// Workers of the pool whose start is measured.
pub(crate) const MANY_WORKERS: usize = 8;
/// Calls of one map.
pub(crate) const MAP: u64 = 100_000;

/// One side of a comparison. Each has a pool of its own, whose workers are processes of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pooling {
    HoldfastMap,
    HoldfastApply,
    HoldfastUnordered,
    HoldfastExecutor,
    HoldfastReady,
    CpythonMap,
    CpythonApply,
    CpythonUnordered,
    /// Of `concurrent.futures`.
    CpythonExecutor,
    CpythonReady,
}

impl Pooling {
    /// Calls of the first, unmeasured round, from whose speed the others are sized.
    pub(crate) fn first_calls(self) -> u64 {
        match self {
            Self::HoldfastMap | Self::CpythonMap => MAP,
            Self::HoldfastReady | Self::CpythonReady => 1,
            _ => 3_000,
        }
    }

    /// Calls that a measurement has at least, however long they take.
    pub(crate) fn least_calls(self) -> u64 {
        match self {
            Self::HoldfastMap | Self::CpythonMap => MAP,
            Self::HoldfastReady | Self::CpythonReady => 1,
            _ => 256,
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HoldfastMap => write!(f, "Holdfast pool.map of {MAP}"),
            Self::HoldfastApply => f.write_str("Holdfast pool.apply"),
            Self::HoldfastUnordered => f.write_str("Holdfast pool.imap_unordered"),
            Self::HoldfastExecutor => f.write_str("Holdfast executor.submit, get"),
            Self::HoldfastReady => write!(f, "Holdfast Pool::new({MANY_WORKERS}), ready"),
            Self::CpythonMap => write!(f, "CPython Pool.map of {MAP}"),
            Self::CpythonApply => f.write_str("CPython Pool.apply"),
            Self::CpythonUnordered => f.write_str("CPython Pool.imap_unordered"),
            Self::CpythonExecutor => f.write_str("CPython ProcessPoolExecutor.submit, result"),
            Self::CpythonReady => write!(f, "CPython Pool({MANY_WORKERS}), spawn, ready"),
        }
    }
}
