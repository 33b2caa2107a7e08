//! Who takes part in the works on what lets calls wait: locks, queues, events and barriers.

use std::fmt;

use super::PROCESSES;

/// Processes that put items, and as many that take them.
pub(crate) const CREW: usize = 4;
/// Bytes of an item that they pass on.
pub(crate) const ITEM: usize = 100;
/// Items in one call, where they are passed on in batches.
pub(crate) const BATCH: u64 = 100;
/// Calls that wait for the event.
pub(crate) const WAITERS: u64 = 10_000;

/// One side of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waiting {
    HoldfastLock(Library, Release),
    HoldfastContended,
    HoldfastQueue(Library),
    /// So many items in each call.
    HoldfastItems(u64),
    HoldfastPing(Library),
    /// The waiting calls are of so many sessions.
    HoldfastEvent(u64),
    HoldfastBarrier,
    CpythonLock,
    CpythonContended,
    CpythonQueue,
    CpythonItems,
    CpythonBarrier,
    RedisContended,
    EtcdLock,
    EchoTwice(Library),
}

/// How a client waits for replies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Library {
    Async,
    Blocking,
}

/// How a lock is given back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Release {
    /// By a call of its own, which is waited for, as Python does it.
    Waited,
    /// By dropping the guard.
    Dropped,
}

impl Waiting {
    /// Calls of the first, unmeasured round, from whose speed the others are sized.
    pub(crate) fn first_calls(self) -> u64 {
        match self {
            Self::HoldfastEvent(_) => 2,
            // Some of each take as long as all of others: a disk is waited for, or a back-off.
            Self::EtcdLock => 20,
            Self::RedisContended | Self::CpythonContended | Self::CpythonBarrier => 500,
            Self::HoldfastItems(BATCH..) => 100_000,
            _ => 5_000,
        }
    }

    /// Calls that a measurement has at least, however long they take.
    pub(crate) fn least_calls(self) -> u64 {
        match self {
            Self::HoldfastEvent(_) => 5,
            Self::EtcdLock => 50,
            _ => 256,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = |library: &Library| match library {
            Library::Async => "async",
            Library::Blocking => "blocking",
        };
        let release = |release: &Release| match release {
            Release::Waited => "released",
            Release::Dropped => "dropped",
        };
        match self {
            Self::HoldfastLock(of, how) => write!(f, "Holdfast {} lock, {}", library(of), release(how)),
            Self::HoldfastContended => write!(f, "Holdfast {PROCESSES} on one lock"),
            Self::HoldfastQueue(of) => write!(f, "Holdfast {} put + get", library(of)),
            Self::HoldfastItems(1) => write!(f, "Holdfast {CREW} put, {CREW} get"),
            Self::HoldfastItems(batch) => write!(f, "Holdfast {CREW} put_many, {CREW} get_many, {batch}"),
            Self::HoldfastPing(of) => write!(f, "Holdfast {} queue there and back", library(of)),
            Self::HoldfastEvent(sessions) => write!(f, "Holdfast event, {sessions} sessions"),
            Self::HoldfastBarrier => write!(f, "Holdfast barrier of {PROCESSES}"),
            Self::CpythonLock => f.write_str("CPython lock"),
            Self::CpythonContended => write!(f, "CPython {PROCESSES} on one lock"),
            Self::CpythonQueue => f.write_str("CPython put + get"),
            Self::CpythonItems => write!(f, "CPython {CREW} put, {CREW} get"),
            Self::CpythonBarrier => write!(f, "CPython barrier of {PROCESSES}"),
            Self::RedisContended => write!(f, "redis crate {PROCESSES} on SET NX"),
            Self::EtcdLock => f.write_str("etcd lock + unlock"),
            Self::EchoTwice(of) => write!(f, "raw echo, {}, twice", library(of)),
        }
    }
}
