//! Every limit of a manager, by name.

use std::fs;

use crate::settings;
use crate::settings::{Count, Settings as _, Size};

settings! {
    /// Every limit of a manager. What would exceed one is refused with the limit's name; what frees something never is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Limits {
        /// Connections at once, authenticated or not. A further one is closed as soon as it is accepted, unless it can have
        /// the place of one that is not authenticated. Over a Unix socket each takes two of the files that the manager may
        /// have open, over TCP one.
        "max_connections" connections: usize as Count, = 4096;
        /// Connections at once that are not authenticated yet. For a further one the oldest of them is closed.
        "max_unauthenticated" unauthenticated: usize as Count in 1..=u64::MAX, = 1024;
        /// Connections at once from one other host, or from one network of 64 bits for IPv6. A further one is closed as
        /// soon as it is accepted.
        "max_host_connections" host_connections: usize as Count, = 2048;
        /// Sessions at once.
        "max_sessions" sessions: usize as Count, = 4096;
        /// Objects at once, with and without a name.
        "max_objects" objects: usize as Count, = 4_000_000;
        /// Handles that one session has open at once.
        "max_handles" handles: usize as Count in 0..=u64::from(u32::MAX - 1), = 2_000_000;
        /// Tokens at once that wait to be taken up.
        "max_tokens" tokens: usize as Count, = 100_000;
        /// Bytes in the name of an object.
        "max_name_bytes" name_bytes: usize as Size, = 512;
        /// Bytes in one request: a key and its value, or the entries of one update, as encoded.
        "max_value_bytes" value_bytes: usize as Size in 1024..=1 << 30, = 4 << 20;
        /// Bytes of user data in one object.
        "max_object_bytes" object_bytes: u64 as Size, = total_memory() / 4, "a quarter of the memory";
        /// Bytes of user data in all objects.
        "max_total_bytes" total_bytes: u64 as Size, = total_memory() / 2, "half of the memory";
        /// Bytes of user data in one page of a listing.
        "page_bytes" page_bytes: u32 as Size in 1024..=8 << 20, = 256 << 10;
        /// Calls of one session that are unanswered at once.
        "max_calls_in_flight" calls_in_flight: u32 as Count in 1..=u64::from(u32::MAX), = 4096;
        /// Calls at once that wait, for a lock, an item, or anything else.
        "max_waiters" waiters: usize as Count, = 1_000_000;
        /// Calls at once that wait at one object.
        "max_object_waiters" object_waiters: usize as Count, = 200_000;
        /// Calls at once of one session that wait. They do not count among its calls in flight.
        "max_session_waiters" session_waiters: usize as Count in 0..=u64::from(u32::MAX), = 200_000;
        /// Bytes of requests of one connection's unary calls that are on their way at once. One call alone may have more,
        /// and small ones are not kept out.
        "max_inbound_bytes" inbound_bytes: usize as Size, = 32 << 20;
        /// Bytes of replies that wait for one session's client to read them. At this mark the manager stops reading the
        /// session's calls.
        "max_outbound_bytes" outbound_bytes: usize as Size, = 256 << 10;
        /// Bytes of replies of one session that are kept until its client says that it has them, so that they can be sent
        /// again after its TCP connection broke. Beyond it the oldest are not kept, and a client that does not have them
        /// cannot resume.
        "max_replay_bytes" replay_bytes: usize as Size, = 8 << 20;
    }
}

impl Limits {
    /// Name and value of each.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::settings().iter().map(|setting| (setting.about.field, (setting.number)(self)))
    }

    /// The largest frame of a client: a request of the largest size, and what is around it.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.value_bytes + 1024
    }
}

/// The memory that this process may have: what the machine has, or what its container is given, or what a small machine has
/// if neither can be told.
fn total_memory() -> u64 {
    const SMALL: u64 = 2 << 30;
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        Some(kib << 10)
    });
    // "max" where there is no limit, which is no number.
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(container).min().unwrap_or(SMALL)
}
