//! The works on polling before sleeping: what it gains, and that it costs nothing where it cannot gain.

use super::{Figure, Goal, Row, Stage};
use crate::args::Op;
use crate::contender::Contender;
use crate::contender::polling::{Polling, Task};

/// All of them, in the order in which they run.
pub(super) fn stages(pinned: bool) -> Vec<Stage> {
    let rows = if pinned {
        vec![
            vec![costs_nothing("polling costs nothing, one at a time, blocking, add", Task::Blocking)],
            vec![costs_nothing("polling costs nothing, one at a time, async, add", Task::Async)],
        ]
    } else {
        vec![
            vec![forced()],
            vec![hand_over()],
            vec![costs_nothing("polling costs nothing, 16 processes, add", Task::Processes)],
            vec![costs_nothing("polling costs nothing, 64 connections, add", Task::Connections)],
            vec![costs_nothing("polling costs nothing, 256 in flight, add", Task::InFlight)],
        ]
    };
    rows.into_iter().map(|rows| Stage { pinned, rows }).collect()
}

fn forced() -> Row {
    Row {
        work: "polling forced, one at a time, blocking, add",
        subject: Contender::Polling(Task::Blocking, Polling::Forced),
        peer: Some(Contender::RedisCrate(Op::Add)),
        figure: Figure::TimePerCall,
        goal: Some(Goal::AtMost(0.15)),
    }
}

fn hand_over() -> Row {
    Row {
        work: "polling, lock from one process to another and back",
        subject: Contender::Polling(Task::HandOver, Polling::Auto),
        peer: Some(Contender::Polling(Task::HandOver, Polling::Off)),
        figure: Figure::TimePerCall,
        goal: Some(Goal::AtMost(0.5)),
    }
}

fn costs_nothing(work: &'static str, task: Task) -> Row {
    Row {
        work,
        subject: Contender::Polling(task, Polling::Auto),
        peer: Some(Contender::Polling(task, Polling::Off)),
        figure: Figure::Rate,
        goal: Some(Goal::AtLeast(0.97)),
    }
}
