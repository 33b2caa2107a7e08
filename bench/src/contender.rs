//! Who takes part: one entry per thing that can be measured against another.

use std::fmt;

use crate::args::Op;

/// Connections of the work with many clients.
pub(crate) const CONNECTIONS: usize = 64;
/// Calls in flight, commands pipelined, or tasks side by side in the works of one busy client.
pub(crate) const IN_FLIGHT: usize = 256;
/// Processes of the work with many processes.
pub(crate) const PROCESSES: usize = 16;

/// One side of a comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Contender {
    HoldfastAsync(Op),
    HoldfastBlocking(Op),
    HoldfastConnections,
    HoldfastInFlight,
    HoldfastTasks,
    HoldfastProcesses,
    HoldfastFewObjects,
    HoldfastManyObjects,
    HoldfastStart,
    HoldfastTcp(Op),
    HoldfastTcpInFlight,
    HoldfastTlsInFlight,
    RedisBenchmark(Op),
    RedisCrate(Op),
    RedisConnections,
    RedisPipelined,
    RedisTcp(Op),
    CpythonGet,
    CpythonProcesses,
    CpythonStart,
    EchoAsync,
    EchoBlocking,
}

impl Contender {
    /// Calls of the first, unmeasured round, from whose speed the others are sized.
    pub(crate) fn first_calls(self) -> u64 {
        match self {
            Self::HoldfastStart | Self::CpythonStart => 1,
            Self::HoldfastConnections | Self::RedisConnections => 20_000,
            Self::HoldfastInFlight
            | Self::HoldfastTasks
            | Self::HoldfastTcpInFlight
            | Self::HoldfastTlsInFlight
            | Self::RedisPipelined => 300_000,
            _ => 5_000,
        }
    }

    /// Whether its calls can be made more or fewer: a start is one start.
    pub(crate) fn is_sized(self) -> bool {
        !matches!(self, Self::HoldfastStart | Self::CpythonStart)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = |op: &Op| match op {
            Op::Add => "HINCRBY",
            Op::Get => "HGET",
        };
        let method = |op: &Op| match op {
            Op::Add => "add",
            Op::Get => "get",
        };
        match self {
            Self::HoldfastAsync(op) => write!(f, "Holdfast async {}", method(op)),
            Self::HoldfastBlocking(op) => write!(f, "Holdfast blocking {}", method(op)),
            Self::HoldfastConnections => write!(f, "Holdfast {CONNECTIONS} connections"),
            Self::HoldfastInFlight => write!(f, "Holdfast {IN_FLIGHT} in flight"),
            Self::HoldfastTasks => write!(f, "Holdfast {IN_FLIGHT} tasks"),
            Self::HoldfastProcesses => write!(f, "Holdfast {PROCESSES} processes"),
            Self::HoldfastFewObjects => f.write_str("Holdfast few objects"),
            Self::HoldfastManyObjects => f.write_str("Holdfast many objects"),
            Self::HoldfastStart => f.write_str("Holdfast Manager::start()"),
            Self::HoldfastTcp(op) => write!(f, "Holdfast TCP async {}", method(op)),
            Self::HoldfastTcpInFlight => write!(f, "Holdfast TCP {IN_FLIGHT} in flight"),
            Self::HoldfastTlsInFlight => write!(f, "Holdfast TLS {IN_FLIGHT} in flight"),
            Self::RedisBenchmark(op) => write!(f, "redis-benchmark {}", command(op)),
            Self::RedisCrate(op) => write!(f, "redis crate {}", command(op)),
            Self::RedisConnections => write!(f, "redis-benchmark -c {CONNECTIONS}"),
            Self::RedisPipelined => write!(f, "redis-benchmark -P {IN_FLIGHT}"),
            Self::RedisTcp(op) => write!(f, "redis-benchmark TCP {}", command(op)),
            Self::CpythonGet => f.write_str("CPython d[k]"),
            Self::CpythonProcesses => write!(f, "CPython {PROCESSES} processes (2 calls per +1)"),
            Self::CpythonStart => f.write_str("CPython Manager()"),
            Self::EchoAsync => f.write_str("raw echo, async"),
            Self::EchoBlocking => f.write_str("raw echo, blocking"),
        }
    }
}
