//! The works on pools.

use super::{Figure, Goal, Row, Stage};
use crate::contender::Contender;
use crate::contender::pooling::Pooling::{self, *};

/// All of them, in the order in which they run.
pub(super) fn stages(pinned: bool) -> impl Iterator<Item = Stage> {
    [map(), apply(), unordered(), executor(), ready()].into_iter().map(move |row| Stage { pinned, rows: vec![row] })
}

fn row(work: &'static str, subject: Pooling, peer: Pooling, figure: Figure, goal: Goal) -> Row {
    let (subject, peer) = (Contender::Pooling(subject), Some(Contender::Pooling(peer)));
    Row { work, subject, peer, figure, goal: Some(goal) }
}

fn map() -> Row {
    row("pool, map of 100,000, 2 workers", HoldfastMap, CpythonMap, Figure::Rate, Goal::AtLeast(2.0))
}

fn apply() -> Row {
    row("pool, apply, one at a time", HoldfastApply, CpythonApply, Figure::P50, Goal::AtMost(0.7))
}

fn unordered() -> Row {
    row("pool, imap_unordered, one by one", HoldfastUnordered, CpythonUnordered, Figure::Rate, Goal::AtLeast(3.0))
}

/// Submitting and waiting are two calls to the manager, where `apply` is one.
fn executor() -> Row {
    let (subject, peer) = (Contender::Pooling(HoldfastExecutor), Some(Contender::Pooling(CpythonExecutor)));
    Row { work: "executor, submit and result", subject, peer, figure: Figure::P50, goal: None }
}

fn ready() -> Row {
    row("pool of 8, started and ready", HoldfastReady, CpythonReady, Figure::Milliseconds, Goal::AtMost(0.3))
}
