//! The works on what lets calls wait.

use super::{Figure, Goal, Row, Stage};
use crate::contender::Contender;
use crate::contender::waiting::{BATCH, Library, Release, Waiting};

/// All of them, in the order in which they run.
pub(super) fn stages(pinned: bool) -> impl Iterator<Item = Stage> {
    [lock(), contended(), queue(), items(), there_and_back(), event(), barrier()]
        .into_iter()
        .map(move |rows| Stage { pinned, rows })
}

fn row(work: &'static str, subject: Waiting, peer: Waiting, figure: Figure, goal: Goal) -> Row {
    let (subject, peer) = (Contender::Waiting(subject), Some(Contender::Waiting(peer)));
    Row { work, subject, peer, figure, goal: Some(goal) }
}

fn lock() -> Vec<Row> {
    use Waiting::{CpythonLock, EtcdLock, HoldfastLock};
    let works = [
        ("lock, one client, async, acquire + release", HoldfastLock(Library::Async, Release::Waited)),
        ("lock, one client, async, acquire + drop", HoldfastLock(Library::Async, Release::Dropped)),
        ("lock, one client, blocking, acquire + release", HoldfastLock(Library::Blocking, Release::Waited)),
        ("lock, one client, blocking, acquire + drop", HoldfastLock(Library::Blocking, Release::Dropped)),
    ];
    let against = |peer, goal| works.map(|(work, subject)| row(work, subject, peer, Figure::P50, Goal::AtMost(goal)));
    [against(CpythonLock, 0.75), against(EtcdLock, 0.05)].concat()
}

fn contended() -> Vec<Row> {
    let against = |peer| {
        let work = "16 processes, blocking, one lock, hand-offs";
        row(work, Waiting::HoldfastContended, peer, Figure::Rate, Goal::AtLeast(2.0))
    };
    vec![against(Waiting::CpythonContended), against(Waiting::RedisContended)]
}

fn queue() -> Vec<Row> {
    [
        ("queue, one client, async, put + get", Library::Async),
        ("queue, one client, blocking, put + get", Library::Blocking),
    ]
    .map(|(work, library)| {
        row(work, Waiting::HoldfastQueue(library), Waiting::CpythonQueue, Figure::P50, Goal::AtMost(0.7))
    })
    .into()
}

fn items() -> Vec<Row> {
    let (alone, batches) = (Waiting::HoldfastItems(1), Waiting::HoldfastItems(BATCH));
    let one_by_one = "queue, 4 producers, 4 consumers, one by one";
    let in_batches = "queue, 4 producers, 4 consumers, batches of 100";
    vec![
        row(one_by_one, alone, Waiting::CpythonItems, Figure::Rate, Goal::AtLeast(2.0)),
        row(in_batches, batches, alone, Figure::Rate, Goal::AtLeast(10.0)),
    ]
}

/// A call goes from one process through the manager to the other, and back the same way: as far as an echo twice.
fn there_and_back() -> Vec<Row> {
    [
        ("queue, to a blocked consumer and back, async", Library::Async),
        ("queue, to a blocked consumer and back, blocking", Library::Blocking),
    ]
    .map(|(work, library)| {
        row(work, Waiting::HoldfastPing(library), Waiting::EchoTwice(library), Figure::P50, Goal::AtMost(1.3))
    })
    .into()
}

fn event() -> Vec<Row> {
    [("event set, 10,000 waiters in 1 session", 1), ("event set, 10,000 waiters in 100 sessions", 100)]
        .map(|(work, sessions)| Row {
            work,
            subject: Contender::Waiting(Waiting::HoldfastEvent(sessions)),
            peer: None,
            figure: Figure::Milliseconds,
            goal: Some(Goal::AtMost(50.0)),
        })
        .into()
}

fn barrier() -> Vec<Row> {
    let work = "16 processes, blocking, one barrier, rounds";
    vec![row(work, Waiting::HoldfastBarrier, Waiting::CpythonBarrier, Figure::Rate, Goal::AtLeast(2.0))]
}
