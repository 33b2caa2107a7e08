//! Every limit of a manager, by name.

use std::fs;

/// Every limit of a manager. What would exceed one is refused with the limit's name; what frees something never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, authenticated or not. A further one is closed as soon as it is accepted.
    pub connections: usize,
    /// Sessions at once.
    pub sessions: usize,
    /// Objects at once, with and without a name.
    pub objects: usize,
    /// Handles that one session has open at once.
    pub handles: usize,
    /// Tokens at once that wait to be taken up.
    pub tokens: usize,
    /// Bytes in the name of an object.
    pub name_bytes: usize,
    /// Bytes in one request: a key and its value, or the entries of one update, as encoded.
    pub value_bytes: usize,
    /// Bytes of user data in one object.
    pub object_bytes: u64,
    /// Bytes of user data in all objects.
    pub total_bytes: u64,
    /// Bytes of user data in one page of a listing.
    pub page_bytes: u32,
    /// Calls of one session that are unanswered at once.
    pub calls_in_flight: u32,
    /// Bytes of requests of one connection's unary calls that are on their way at once. One call alone may have more, and
    /// small ones are not kept out.
    pub inbound_bytes: usize,
    /// Bytes of replies that wait for one session's client to read them. At this mark the manager stops reading the
    /// session's calls.
    pub outbound_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            sessions: 4096,
            objects: 4_000_000,
            handles: 2_000_000,
            tokens: 100_000,
            name_bytes: 512,
            value_bytes: 4 << 20,
            object_bytes: total_memory() / 4,
            total_bytes: total_memory() / 2,
            page_bytes: 256 << 10,
            calls_in_flight: 4096,
            inbound_bytes: 32 << 20,
            outbound_bytes: 256 << 10,
        }
    }
}

impl Limits {
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
