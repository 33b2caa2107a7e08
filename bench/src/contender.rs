//! Who takes part: one entry per thing that can be measured against another.

pub(crate) mod neighbours;
pub(crate) mod polling;
pub(crate) mod pooling;
pub(crate) mod waiting;

use std::fmt;

use self::neighbours::Neighbour;
use self::polling::{Polling, Task};
use self::pooling::Pooling;
use self::waiting::Waiting;
use crate::args::{ObjectOp, Op};

/// Connections of the work with many clients.
pub(crate) const CONNECTIONS: usize = 64;
/// Calls in flight, commands pipelined, or tasks side by side in the works of one busy client.
pub(crate) const IN_FLIGHT: usize = 256;
/// Calls at once in the work of unary calls.
pub(crate) const AT_ONCE: usize = 64;
/// Elements of the list that is read as a whole.
pub(crate) const ELEMENTS: u64 = 100_000;
/// Bytes of the large value.
pub(crate) const LARGE: usize = 1 << 20;
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
    HoldfastPipe,
    HoldfastProcess,
    BareProcess,
    HoldfastTcp(Op),
    HoldfastTcpInFlight,
    HoldfastTlsInFlight,
    HoldfastListRead,
    HoldfastObject(ObjectOp),
    HoldfastCreate(Socket),
    HoldfastLargeValue,
    HoldfastAtOnce,
    HoldfastUnary,
    HoldfastUnaryAtOnce,
    RedisBenchmark(Op),
    RedisCrate(Op),
    RedisConnections,
    RedisPipelined,
    RedisTcp(Op),
    RedisObject(ObjectOp),
    RedisListRead,
    CpythonGet,
    CpythonProcesses,
    CpythonStart,
    CpythonPipe,
    CpythonProcess,
    CpythonIteration,
    CpythonCreate(Socket),
    EchoAsync,
    EchoBlocking,
    EchoLarge,
    /// Beside a busy client.
    Neighbour(Neighbour),
    /// Told how to poll.
    Polling(Task, Polling),
    /// At something that lets calls wait.
    Waiting(Waiting),
    /// Pools of workers.
    Pooling(Pooling),
}

/// What lies between a client and its server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Socket {
    Unix,
    Tcp,
}

impl Contender {
    /// Calls of the first, unmeasured round, from whose speed the others are sized.
    pub(crate) fn first_calls(self) -> u64 {
        match self {
            Self::HoldfastStart | Self::CpythonStart | Self::CpythonIteration => 1,
            Self::HoldfastListRead | Self::RedisListRead | Self::CpythonProcess => 10,
            Self::HoldfastProcess | Self::BareProcess => 100,
            // Over TCP each takes 180 ms: its connections wait for acknowledgements that are put off.
            Self::CpythonCreate(Socket::Tcp) => 3,
            Self::HoldfastLargeValue | Self::EchoLarge | Self::CpythonCreate(Socket::Unix) => 100,
            Self::HoldfastConnections | Self::RedisConnections | Self::HoldfastAtOnce | Self::HoldfastUnaryAtOnce => {
                20_000
            }
            Self::HoldfastInFlight
            | Self::HoldfastTasks
            | Self::HoldfastTcpInFlight
            | Self::HoldfastTlsInFlight
            | Self::RedisPipelined => 300_000,
            Self::Neighbour(_) => 200,
            Self::Polling(task, _) => task.first_calls(),
            Self::Waiting(waiting) => waiting.first_calls(),
            Self::Pooling(pooling) => pooling.first_calls(),
            _ => 5_000,
        }
    }

    /// Calls that a measurement has at least, however long they take.
    pub(crate) fn least_calls(self) -> u64 {
        match self {
            Self::HoldfastListRead
            | Self::RedisListRead
            | Self::CpythonIteration
            | Self::CpythonCreate(Socket::Tcp) => 1,
            Self::HoldfastLargeValue | Self::EchoLarge => 16,
            Self::Neighbour(_) => 2_000,
            Self::HoldfastProcess | Self::BareProcess | Self::CpythonProcess => 5,
            Self::Waiting(waiting) => waiting.least_calls(),
            Self::Pooling(pooling) => pooling.least_calls(),
            _ => 256,
        }
    }

    /// Whether its calls can be made more or fewer: a start is one start.
    pub(crate) fn is_sized(self) -> bool {
        !matches!(
            self,
            Self::HoldfastStart | Self::CpythonStart | Self::Pooling(Pooling::HoldfastReady | Pooling::CpythonReady)
        )
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
        let over = |socket: &Socket| match socket {
            Socket::Unix => "",
            Socket::Tcp => " TCP",
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
            Self::HoldfastListRead => f.write_str("Holdfast list.to_vec"),
            Self::HoldfastObject(ObjectOp::ListAppend) => f.write_str("Holdfast list.append"),
            Self::HoldfastObject(ObjectOp::ListGet) => f.write_str("Holdfast list.get"),
            Self::HoldfastObject(ObjectOp::SetAdd) => f.write_str("Holdfast set.add"),
            Self::HoldfastObject(ObjectOp::SetContains) => f.write_str("Holdfast set.contains"),
            Self::HoldfastCreate(socket) => write!(f, "Holdfast{} new_dict, dropped", over(socket)),
            Self::HoldfastLargeValue => f.write_str("Holdfast value of 1 MiB, set + get"),
            Self::HoldfastAtOnce => write!(f, "Holdfast {AT_ONCE} in flight"),
            Self::HoldfastUnary => f.write_str("Holdfast unary add"),
            Self::HoldfastUnaryAtOnce => write!(f, "Holdfast {AT_ONCE} unary at once"),
            Self::RedisBenchmark(op) => write!(f, "redis-benchmark {}", command(op)),
            Self::RedisCrate(op) => write!(f, "redis crate {}", command(op)),
            Self::RedisConnections => write!(f, "redis-benchmark -c {CONNECTIONS}"),
            Self::RedisPipelined => write!(f, "redis-benchmark -P {IN_FLIGHT}"),
            Self::RedisTcp(op) => write!(f, "redis-benchmark TCP {}", command(op)),
            Self::RedisObject(ObjectOp::ListAppend) => f.write_str("redis-benchmark RPUSH"),
            Self::RedisObject(ObjectOp::ListGet) => f.write_str("redis-benchmark LINDEX"),
            Self::RedisObject(ObjectOp::SetAdd) => f.write_str("redis-benchmark SADD"),
            Self::RedisObject(ObjectOp::SetContains) => f.write_str("redis-benchmark SISMEMBER"),
            Self::RedisListRead => f.write_str("redis-benchmark LRANGE 0 -1"),
            Self::CpythonGet => f.write_str("CPython d[k]"),
            Self::CpythonProcesses => write!(f, "CPython {PROCESSES} processes (2 calls per +1)"),
            Self::HoldfastPipe => f.write_str("Holdfast Pipe, there and back"),
            Self::CpythonPipe => f.write_str("CPython Pipe, there and back"),
            Self::HoldfastProcess => f.write_str("Holdfast Process"),
            Self::BareProcess => f.write_str("fork + exec + wait"),
            Self::CpythonProcess => f.write_str("CPython Process, spawn"),
            Self::CpythonStart => f.write_str("CPython Manager()"),
            Self::CpythonIteration => f.write_str("CPython for x in l"),
            Self::CpythonCreate(socket) => write!(f, "CPython{} m.dict(), dropped", over(socket)),
            Self::EchoAsync => f.write_str("raw echo, async"),
            Self::EchoBlocking => f.write_str("raw echo, blocking"),
            Self::EchoLarge => f.write_str("raw echo, async, 1 MiB"),
            Self::Neighbour(neighbour) => neighbour.fmt(f),
            Self::Polling(task, polling) => write!(f, "Holdfast {task}, polling {polling}"),
            Self::Waiting(waiting) => waiting.fmt(f),
            Self::Pooling(pooling) => pooling.fmt(f),
        }
    }
}
