//! The works that ask what one client feels of another.

use super::{Figure, Goal, Row, Stage};
use crate::contender::Contender;
use crate::contender::neighbours::{Busy, Neighbour};

/// All of them. On one CPU the clients would take it from each other, which is no matter of the server's.
pub(super) fn stages(pinned: bool) -> impl Iterator<Item = Stage> {
    let rows = vec![
        row("light client alone, get", Busy::Absent, None),
        row("light client, beside 1,024 calls in flight, get", Busy::Calls, Some(Goal::AtMost(0.5))),
        row("light client, beside values of 64 MiB, get", Busy::Values, Some(Goal::AtMost(0.3))),
        without_peer("light client, beside an event with 10,000 waiters of one session, get", Busy::Event(1)),
        without_peer("light client, beside an event with 10,000 waiters of 1,000 sessions, get", Busy::Event(1000)),
    ];
    (!pinned).then_some(Stage { pinned, rows }).into_iter()
}

fn row(work: &'static str, busy: Busy, goal: Option<Goal>) -> Row {
    let subject = Contender::Neighbour(Neighbour::Holdfast(busy));
    let peer = Some(Contender::Neighbour(Neighbour::Redis(busy)));
    Row { work, subject, peer, figure: Figure::P99, goal }
}

/// Of what Redis does not have.
fn without_peer(work: &'static str, busy: Busy) -> Row {
    Row { peer: None, ..row(work, busy, None) }
}
