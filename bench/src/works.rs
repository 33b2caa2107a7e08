//! The table of works: what is compared with what, and the goals.

mod neighbours;
mod polling;
mod pooling;
mod waiting;

use crate::args::{ObjectOp, Op};
use crate::contender::{Contender, LARGE, Socket};
use crate::reading::{Reading, median};

/// Contenders that take turns in the same rounds, and what is read from their figures.
pub(crate) struct Stage {
    pub(crate) pinned: bool,
    pub(crate) rows: Vec<Row>,
}

impl Stage {
    /// Everyone the rows speak of, once each.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let mut all = Vec::new();
        for contender in self.rows.iter().flat_map(|row| [Some(row.subject), row.peer]).flatten() {
            if !all.contains(&contender) {
                all.push(contender);
            }
        }
        all
    }
}

/// One line of the table.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) subject: Contender,
    pub(crate) peer: Option<Contender>,
    pub(crate) figure: Figure,
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// The name by which `--only` finds it.
    pub(crate) fn name(&self, pinned: bool) -> String {
        format!("{}, {}", self.work, placement(pinned))
    }
}

/// `pinned` or `unpinned`.
pub(crate) fn placement(pinned: bool) -> &'static str {
    if pinned { "pinned" } else { "unpinned" }
}

/// What is read from a measurement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Figure {
    /// Elapsed time over calls, in microseconds.
    TimePerCall,
    /// Calls per second.
    Rate,
    /// The median of single calls, in microseconds.
    P50,
    /// What 99 of 100 single calls took at most, in microseconds.
    P99,
    /// Elapsed time over calls, in milliseconds.
    Milliseconds,
    /// How much of a large value is moved each second, there and back, in MiB.
    Bandwidth,
    /// Memory per entry, in bytes.
    Bytes,
    /// Memory per session, in KiB.
    Kibibytes,
    /// Time on a CPU, in percent of the time that passed.
    Percent,
}

impl Figure {
    /// The median over rounds.
    pub(crate) fn of(self, readings: &[Reading]) -> Option<f64> {
        median(readings.iter().filter_map(|reading| match self {
            Self::TimePerCall => Some(reading.us_per_call()),
            Self::Rate => Some(reading.per_second()),
            Self::P50 => reading.p50_us,
            Self::P99 => reading.p99_us,
            Self::Milliseconds => Some(reading.us_per_call() / 1000.0),
            Self::Bandwidth => Some(reading.per_second() * (2 * LARGE) as f64 / f64::from(1 << 20)),
            Self::Bytes | Self::Kibibytes | Self::Percent => None,
        }))
    }

    /// The unit, as the JSON names it.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::TimePerCall | Self::P50 | Self::P99 => "us",
            Self::Rate => "calls/s",
            Self::Milliseconds => "ms",
            Self::Bandwidth => "MiB/s",
            Self::Bytes => "B",
            Self::Kibibytes => "KiB",
            Self::Percent => "%",
        }
    }
}

/// What is to be reached: of the ratio to the peer, or of the figure itself where there is no peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// All timed works, in the order in which they run, on one CPU or free.
pub(crate) fn stages(pinned: bool) -> Vec<Stage> {
    let stage = |rows| Stage { pinned, rows };
    let data = [
        stage(one_at_a_time(Op::Add, pinned)),
        stage(one_at_a_time(Op::Get, pinned)),
        stage(busy()),
        stage(loopback()),
        stage(processes()),
        stage(objects()),
        stage(start()),
        stage(pipe()),
        stage(start_process()),
        stage(whole_list()),
        stage(lists_and_sets(pinned)),
        stage(creation()),
        stage(unary()),
        stage(large_value()),
    ];
    let waiting = polling::stages(pinned).into_iter().chain(waiting::stages(pinned)).chain(pooling::stages(pinned));
    data.into_iter().chain(waiting).chain(neighbours::stages(pinned)).collect()
}

fn one_at_a_time(op: Op, pinned: bool) -> Vec<Row> {
    let [asynchronous, blocking] = match op {
        Op::Add => ["one at a time, async, add", "one at a time, blocking, add"],
        Op::Get => ["one at a time, async, get", "one at a time, blocking, get"],
    };
    // Unpinned, waking a CPU is most of a call, which polling spares: there the goal is against Redis alone.
    let redis = |on_one_cpu, free| Some(Goal::AtMost(if pinned { on_one_cpu } else { free }));
    let pinned_only = |goal| pinned.then_some(Goal::AtMost(goal));
    let row = |work, subject, peer, goal| Row { work, subject, peer: Some(peer), figure: Figure::TimePerCall, goal };
    let (ours, ours_blocking) = (Contender::HoldfastAsync(op), Contender::HoldfastBlocking(op));
    vec![
        row(asynchronous, ours, Contender::RedisBenchmark(op), redis(0.9, 0.4)),
        row(asynchronous, ours, Contender::CpythonGet, pinned_only(0.7)),
        row(asynchronous, ours, Contender::EchoAsync, pinned_only(1.25)),
        row(blocking, ours_blocking, ours, pinned_only(0.9)),
        row(blocking, ours_blocking, Contender::RedisCrate(op), redis(1.0, 0.3)),
        Row { figure: Figure::P99, ..row(blocking, ours_blocking, Contender::RedisCrate(op), redis(1.0, 0.5)) },
        row(blocking, ours_blocking, Contender::EchoBlocking, pinned_only(1.25)),
    ]
}

fn busy() -> Vec<Row> {
    let row = |work, subject, peer, goal| Row {
        work,
        subject,
        peer: Some(peer),
        figure: Figure::Rate,
        goal: Some(Goal::AtLeast(goal)),
    };
    vec![
        row("64 connections, add", Contender::HoldfastConnections, Contender::RedisConnections, 1.4),
        row("256 in flight, add", Contender::HoldfastInFlight, Contender::RedisPipelined, 3.0),
        row("256 tasks, add", Contender::HoldfastTasks, Contender::HoldfastInFlight, 0.5),
    ]
}

fn loopback() -> Vec<Row> {
    vec![
        Row {
            work: "TCP loopback, one at a time, async, add",
            subject: Contender::HoldfastTcp(Op::Add),
            peer: Some(Contender::RedisTcp(Op::Add)),
            figure: Figure::TimePerCall,
            goal: Some(Goal::AtMost(1.0)),
        },
        Row {
            work: "TLS loopback, 256 in flight, add",
            subject: Contender::HoldfastTlsInFlight,
            peer: Some(Contender::HoldfastTcpInFlight),
            figure: Figure::Rate,
            goal: Some(Goal::AtLeast(0.5)),
        },
    ]
}

fn processes() -> Vec<Row> {
    vec![Row {
        work: "16 processes, blocking, one counter",
        subject: Contender::HoldfastProcesses,
        peer: Some(Contender::CpythonProcesses),
        figure: Figure::Rate,
        goal: Some(Goal::AtLeast(3.0)),
    }]
}

fn objects() -> Vec<Row> {
    vec![Row {
        work: "p50 of get, many objects against 100",
        subject: Contender::HoldfastManyObjects,
        peer: Some(Contender::HoldfastFewObjects),
        figure: Figure::P50,
        goal: Some(Goal::AtMost(1.1)),
    }]
}

fn start() -> Vec<Row> {
    let row = |peer, goal| Row {
        work: "start until the first reply",
        subject: Contender::HoldfastStart,
        peer,
        figure: Figure::Milliseconds,
        goal,
    };
    vec![row(None, Some(Goal::AtMost(50.0))), row(Some(Contender::CpythonStart), None)]
}

/// A message through a pipe and back, against one call that the manager answers: in both, two processes and two messages.
fn pipe() -> Vec<Row> {
    let row = |peer, goal| Row {
        work: "pipe, blocking, there and back",
        subject: Contender::HoldfastPipe,
        peer: Some(peer),
        figure: Figure::P50,
        goal,
    };
    vec![row(Contender::HoldfastBlocking(Op::Get), Some(Goal::AtMost(1.2))), row(Contender::CpythonPipe, None)]
}

fn start_process() -> Vec<Row> {
    let row = |peer, goal| Row {
        work: "start and join one process",
        subject: Contender::HoldfastProcess,
        peer: Some(peer),
        figure: Figure::Milliseconds,
        goal: Some(Goal::AtMost(goal)),
    };
    vec![row(Contender::CpythonProcess, 0.3), row(Contender::BareProcess, 1.5)]
}

fn whole_list() -> Vec<Row> {
    let row = |peer, figure, goal| Row {
        work: "list of 100,000, read all",
        subject: Contender::HoldfastListRead,
        peer: Some(peer),
        figure,
        goal: Some(goal),
    };
    vec![
        row(Contender::CpythonIteration, Figure::Rate, Goal::AtLeast(50.0)),
        row(Contender::RedisListRead, Figure::Milliseconds, Goal::AtMost(2.0)),
    ]
}

fn lists_and_sets(pinned: bool) -> Vec<Row> {
    let row = |work, op| Row {
        work,
        subject: Contender::HoldfastObject(op),
        peer: Some(Contender::RedisObject(op)),
        figure: Figure::TimePerCall,
        goal: pinned.then_some(Goal::AtMost(1.0)),
    };
    vec![
        row("one at a time, async, list append", ObjectOp::ListAppend),
        row("one at a time, async, list get", ObjectOp::ListGet),
        row("one at a time, async, set add", ObjectOp::SetAdd),
        row("one at a time, async, set contains", ObjectOp::SetContains),
    ]
}

fn creation() -> Vec<Row> {
    let row = |work, socket| Row {
        work,
        subject: Contender::HoldfastCreate(socket),
        peer: Some(Contender::CpythonCreate(socket)),
        figure: Figure::TimePerCall,
        goal: Some(Goal::AtMost(0.1)),
    };
    vec![
        row("create and drop an object, Unix socket", Socket::Unix),
        row("create and drop an object, TCP loopback", Socket::Tcp),
    ]
}

fn unary() -> Vec<Row> {
    let row = |work, subject, peer, figure| Row { work, subject, peer: Some(peer), figure, goal: None };
    let alone = Contender::HoldfastAsync(Op::Add);
    vec![
        row("unary, one at a time, add", Contender::HoldfastUnary, alone, Figure::TimePerCall),
        row("unary, 64 at once, add", Contender::HoldfastUnaryAtOnce, Contender::HoldfastAtOnce, Figure::Rate),
    ]
}

fn large_value() -> Vec<Row> {
    vec![Row {
        work: "value of 1 MiB, set and get",
        subject: Contender::HoldfastLargeValue,
        peer: Some(Contender::EchoLarge),
        figure: Figure::Bandwidth,
        goal: Some(Goal::AtLeast(0.5)),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_runs_everyone_once() {
        let stage = Stage { pinned: true, rows: one_at_a_time(Op::Add, true) };
        let all = stage.contenders();
        assert_eq!(all.len(), 7, "{all:?}");
    }

    #[test]
    fn goals_are_bounds() {
        assert!(Goal::AtMost(0.9).is_met(0.9) && !Goal::AtMost(0.9).is_met(0.91));
        assert!(Goal::AtLeast(3.0).is_met(3.0) && !Goal::AtLeast(3.0).is_met(2.9));
    }
}
