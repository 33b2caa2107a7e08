mod model;

use alloc::sync::Arc;
use alloc::vec;

use self::job::Job;
use super::*;
use crate::catalog::AnyReply;
use crate::{Client, Room, Woken};
use holdfast_proto::{
    Datum, PoolArguments, PoolCancelRequest, PoolCancelResponse, PoolCloseRequest, PoolCollectRequest,
    PoolDescribeRequest, PoolDone, PoolFinishRequest, PoolFinishResponse, PoolForgetRequest, PoolForgetResponse,
    PoolJoinRequest, PoolLeaveRequest, PoolOutcome, PoolProgressRequest, PoolProgressResponse, PoolRunRequest,
    PoolSubmitRequest, PoolSubmitResponse, PoolTakeRequest, PoolTask, PoolWorkerLost,
};

fn session(name: char) -> SessionId {
    SessionId([name as u8; 16])
}

fn call(name: char, number: u64) -> CallId {
    CallId { session: session(name), number }
}

/// A pool and the inputs so far. Sessions are known by a letter, calls by theirs and a number.
struct World {
    pool: Pool,
    index: u64,
    page: u32,
    room: u64,
}

type Came = (Answer<Reply>, Vec<Woken>);

impl World {
    fn new(spec: Spec) -> Self {
        let mut creation = Creation { seed: 5, room: Room::new(1 << 40, "object_bytes") };
        Self { pool: Pool::create(spec, &mut creation).unwrap(), index: 0, page: 1000, room: 1 << 40 }
    }

    fn input<R>(&mut self, call: CallId, input: impl FnOnce(&mut Pool, &mut Turn) -> R) -> (R, Vec<Woken>) {
        self.index += 1;
        let mut turn = Turn::new(self.index, call, self.page, Room::new(self.room, "object_bytes"));
        turn.client = Some(Arc::new(Client { name: "worker".into(), pid: 7, host: "here".into() }));
        let came = input(&mut self.pool, &mut turn);
        self.pool.check_invariants();
        (came, turn.woken)
    }

    fn apply(&mut self, call: CallId, op: Op) -> Came {
        self.input(call, |pool, turn| pool.apply(op, turn))
    }

    /// A call that nobody else makes.
    fn own(&mut self, name: char) -> CallId {
        call(name, 1000 + self.index)
    }

    /// Tasks of one job, each with a number.
    fn submit(&mut self, name: char, numbers: &[i64], tries: u32) -> (u64, Vec<Woken>) {
        let call = self.own(name);
        match self.apply(call, submit(0, numbers, tries)) {
            (Answer::Done(Reply::Submit(PoolSubmitResponse { job, first: 0 })), woken) => (job, woken),
            other => panic!("{other:?}"),
        }
    }

    /// A worker that serves `f` and `g`.
    fn join(&mut self, name: char) -> u64 {
        let functions = vec!["f".into(), "g".into()];
        let call = self.own(name);
        match self.apply(call, Op::Join(PoolJoinRequest { functions, ..PoolJoinRequest::default() })).0 {
            Answer::Done(Reply::Join(response)) => response.worker,
            other => panic!("{other:?}"),
        }
    }

    /// What a take is given that does not wait: with which numbers, and at which attempt.
    fn take(&mut self, call: CallId, worker: u64, max: u64) -> Vec<(i64, u32)> {
        match self.apply(call, take(worker, max, Some(0))).0 {
            Answer::Delivered(Reply::Take(response)) => shown(&response),
            Answer::Done(Reply::Take(response)) if response.tasks.is_empty() => vec![],
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, name: char, worker: u64, done: Vec<PoolDone>, untouched: &[u64]) -> Came {
        let call = self.own(name);
        self.apply(call, Op::Finish(PoolFinishRequest { worker, done, untouched: untouched.into() }))
    }

    /// What can be collected at once.
    fn collect(&mut self, call: CallId, job: u64) -> Vec<(u64, PoolOutcome)> {
        match self.apply(call, Op::Collect(PoolCollectRequest { job, max: 0, patience_ms: Some(0) })).0 {
            Answer::Delivered(Reply::Collect(response)) => {
                response.outcomes.into_iter().map(|came| (came.index, came.outcome.unwrap())).collect()
            }
            Answer::Done(Reply::Collect(response)) => {
                assert_eq!(response.left, 0);
                vec![]
            }
            Answer::Refused(refusal) if refusal.why() == Reason::TimedOut => vec![],
            other => panic!("{other:?}"),
        }
    }

    fn describe(&mut self) -> PoolDescribeResponse {
        match self.apply(call('z', 0), Op::Describe(PoolDescribeRequest {})) {
            (Answer::Done(Reply::Describe(response)), _) => response,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, name: char, how: Ended) -> Vec<Woken> {
        self.input(call(name, 0), |pool, turn| pool.leave(session(name), how, turn)).1
    }

    fn undo(&mut self, call: CallId) -> Vec<Woken> {
        self.input(call, |pool, turn| pool.undo(call, turn)).1
    }

    fn acknowledge(&mut self, call: CallId) {
        assert_eq!(self.input(call, |pool, turn| pool.acknowledge(call, turn)).1, []);
    }
}

fn arguments(number: i64) -> PoolArguments {
    PoolArguments { datum: Some(Datum::Integer(number)), encoded: None }
}

fn submit(job: u64, numbers: &[i64], tries: u32) -> Op {
    let tasks = numbers.iter().copied().map(arguments).collect();
    Op::Submit(PoolSubmitRequest { job, function: "f".into(), tasks, tries, ..PoolSubmitRequest::default() })
}

fn take(worker: u64, max: u64, patience_ms: Option<i64>) -> Op {
    Op::Take(PoolTakeRequest { worker, max, patience_ms, done: vec![] })
}

fn run(number: i64) -> Op {
    let arguments = Some(arguments(number).into());
    Op::Run(PoolRunRequest { function: "f".into(), arguments, ..PoolRunRequest::default() })
}

fn shown(response: &PoolTakeResponse) -> Vec<(i64, u32)> {
    let shown = |task: &PoolTask| match task.arguments {
        Some(PoolArguments { datum: Some(Datum::Integer(number)), .. }) => (number, task.attempt),
        ref other => panic!("{other:?}"),
    };
    response.tasks.iter().map(shown).collect()
}

fn returned(number: i64) -> PoolOutcome {
    PoolOutcome { returned: Some(Datum::Integer(number)), ..PoolOutcome::default() }
}

fn done(task: u64, number: i64) -> PoolDone {
    PoolDone { task, outcome: Some(returned(number)), ..PoolDone::default() }
}

fn cancelled() -> PoolOutcome {
    PoolOutcome { cancelled: true, ..PoolOutcome::default() }
}

fn lost(tries: u32) -> PoolOutcome {
    let lost = PoolWorkerLost { name: "worker".into(), pid: 7, host: "here".into(), tries };
    PoolOutcome { lost: Some(lost), ..PoolOutcome::default() }
}

fn why(answer: Answer<Reply>) -> Reason {
    match answer {
        Answer::Refused(refusal) => refusal.why(),
        other => panic!("{other:?}"),
    }
}

/// Whom a turn woke, and with which tasks or outcomes, or why not.
fn woken(woken: &[Woken]) -> Vec<(CallId, Result<Vec<i64>, Reason>)> {
    let number = |outcome: &PoolOutcome| match outcome.returned {
        Some(Datum::Integer(number)) => number,
        _ => panic!("{outcome:?}"),
    };
    let shown = |woken: &Woken| match &woken.answer {
        Answer::Refused(refusal) => Err(refusal.why()),
        Answer::Delivered(AnyReply::Pool(Reply::Take(response))) => {
            Ok(shown(response).into_iter().map(|(number, _)| number).collect())
        }
        Answer::Delivered(AnyReply::Pool(Reply::Collect(response))) => {
            Ok(response.outcomes.iter().filter_map(|came| came.outcome.as_ref()).map(number).collect())
        }
        Answer::Done(AnyReply::Pool(Reply::Run(response))) => Ok(response.outcomes.iter().map(number).collect()),
        Answer::Done(_) => Ok(vec![]),
        other => panic!("{other:?}"),
    };
    woken.iter().map(|one| (one.call, shown(one))).collect()
}

const FINISHED: fn(u64) -> Answer<Reply> = |accepted| Answer::Done(Reply::Finish(PoolFinishResponse { accepted }));

#[test]
fn tasks_are_taken_in_order_and_their_outcomes_collected_as_they_come() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1, 2, 3], 0);
    let (a, b) = (world.join('a'), world.join('b'));
    assert_eq!(world.take(call('a', 1), a, 9), [(1, 1), (2, 1)], "half of three, rounded up");
    assert_eq!(world.take(call('b', 1), b, 9), [(3, 1)]);
    assert_eq!(world.take(call('b', 2), b, 9), []);
    assert_eq!(world.finish('b', b, vec![done(3, 30)], &[]).0, FINISHED(1));
    assert_eq!(world.finish('a', a, vec![done(1, 10), done(3, 31), done(1, 11)], &[2]).0, FINISHED(2), "its own, once");
    assert_eq!(world.collect(call('c', 1), job), [(2, returned(30)), (0, returned(10))]);
    assert_eq!(world.take(call('b', 3), b, 9), [(2, 1)], "it was not begun");
    let op = Op::Collect(PoolCollectRequest { job, max: 0, patience_ms: None });
    assert_eq!(world.apply(call('c', 2), op.clone()).0, Answer::Wait(Patience::Endless));
    assert_eq!(world.apply(call('d', 1), op).0, Answer::Wait(Patience::Endless));
    let (_, to) = world.finish('b', b, vec![done(2, 20)], &[]);
    assert_eq!(woken(&to), [(call('c', 2), Ok(vec![20])), (call('d', 1), Ok(vec![]))], "nothing is left for the other");
    assert_eq!(world.collect(call('c', 3), job), []);
}

#[test]
fn a_task_of_a_lost_worker_is_tried_again_before_later_ones_and_alone_until_it_has_come_to_that() {
    let mut world = World::new(Spec { tries: 2, ..Spec::default() });
    let (job, _) = world.submit('c', &[1, 2, 3], 0);
    let a = world.join('a');
    assert_eq!(world.take(call('a', 1), a, 2), [(1, 1), (2, 1)]);
    world.acknowledge(call('a', 1));
    let _ = world.leave('a', Ended::Lost);
    let b = world.join('b');
    assert_eq!(world.take(call('b', 1), b, 9), [(1, 2)], "alone");
    assert_eq!(world.take(call('b', 2), b, 9), [(2, 2)]);
    let _ = world.finish('b', b, vec![done(2, 20)], &[]);
    let collect = Op::Collect(PoolCollectRequest { job, max: 0, patience_ms: None });
    assert_eq!(world.collect(call('c', 1), job), [(1, returned(20))]);
    assert!(matches!(world.apply(call('c', 2), collect).0, Answer::Wait(_)));
    let to = world.leave('b', Ended::Lost);
    assert_eq!(to.len(), 1);
    let Answer::Delivered(AnyReply::Pool(Reply::Collect(response))) = &to[0].answer else { panic!("{to:?}") };
    assert_eq!(response.outcomes[0].outcome, Some(lost(2)));
    assert_eq!((response.left, world.describe().lost), (1, 3));
    let c = world.join('w');
    assert_eq!(world.take(call('w', 1), c, 9), [(3, 1)]);
}

#[test]
fn what_was_surely_not_begun_is_not_counted() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1], 1);
    for round in 0..3 {
        let a = world.join('a');
        assert_eq!(world.take(call('a', round), a, 1), [(1, 1)]);
        let woken = match round {
            0 => world.undo(call('a', round)),
            1 => world.leave('a', Ended::Closed),
            _ => world.apply(call('a', 9), Op::Leave(PoolLeaveRequest { worker: a })).1,
        };
        assert_eq!((woken, world.describe().waiting), (vec![], 1));
    }
    let a = world.join('a');
    let _ = world.take(call('a', 10), a, 1);
    world.acknowledge(call('a', 10));
    let _ = world.leave('a', Ended::Closed);
    assert_eq!(world.collect(call('c', 1), job), [(0, lost(1))], "it was received, and at most once means that");
}

#[test]
fn what_comes_back_goes_to_who_waits() {
    let mut world = World::new(Spec::default());
    let _ = world.submit('c', &[1, 2], 0);
    let (a, b) = (world.join('a'), world.join('b'));
    let _ = world.take(call('a', 1), a, 1);
    let _ = world.take(call('a', 2), a, 1);
    let _ = world.apply(call('a', 3), take(a, 1, None));
    let _ = world.apply(call('b', 1), take(b, 1, None));
    assert_eq!(woken(&world.leave('a', Ended::Lost)), [(call('b', 1), Ok(vec![1]))], "and not to the dead one");
    assert_eq!(world.take(call('b', 2), b, 1), [(2, 2)]);
}

#[test]
fn outcomes_are_kept_until_they_are_received() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1, 2, 3], 0);
    let a = world.join('a');
    let _ = world.take(call('a', 1), a, 9);
    let _ = world.finish('a', a, vec![done(1, 10), done(2, 20)], &[]);
    assert_eq!(world.collect(call('d', 1), job).len(), 2);
    let _ = world.finish('a', a, vec![done(3, 30)], &[]);
    assert_eq!(world.undo(call('d', 1)), []);
    let before = world.pool.bytes();
    assert_eq!(world.collect(call('d', 2), job).iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(world.pool.bytes(), before, "it is kept");
    assert_eq!(world.leave('d', Ended::Lost), []);
    assert_eq!(world.collect(call('c', 2), job).len(), 3, "nobody has it");
    world.acknowledge(call('c', 2));
    assert_eq!(world.pool.bytes(), before - 3 * 72);
    assert_eq!((world.undo(call('c', 2)), world.collect(call('c', 3), job)), (vec![], vec![]));
}

#[test]
fn outcomes_come_in_parts_that_follow_each_other() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1], 0);
    let _ = world.apply(call('r', 1), run(2));
    let a = world.join('a');
    let _ = world.take(call('a', 1), a, 9);
    let part = |task, number| PoolDone { more: true, ..done(task, number) };
    let _ = world.finish('a', a, vec![part(1, 10), part(2, 20)], &[]);
    assert_eq!(world.collect(call('c', 1), job), [], "it is not done");
    let _ = world.finish('a', a, vec![part(1, 99)], &[1]);
    assert_eq!(world.take(call('a', 2), a, 9), [(1, 1)], "what was handed in of it is let go");
    let (_, to) = world.finish('a', a, vec![part(1, 10), done(2, 21), done(1, 11)], &[]);
    assert_eq!(woken(&to), [(call('r', 1), Ok(vec![20, 21]))]);
    world.page = 0;
    let mut collected = vec![];
    for round in 0..2 {
        let op = Op::Collect(PoolCollectRequest { job, max: 0, patience_ms: Some(0) });
        let Answer::Delivered(Reply::Collect(response)) = world.apply(call('c', 10 + round), op).0 else { panic!() };
        let [came] = &response.outcomes[..] else { panic!("{response:?}") };
        collected.push((came.index, came.more, response.left));
    }
    assert_eq!(collected, [(0, true, 1), (0, false, 0)]);
}

#[test]
fn who_runs_and_gives_up_has_the_task_dropped() {
    let mut world = World::new(Spec::default());
    let a = world.join('a');
    let before = world.pool.bytes();
    assert_eq!(world.apply(call('r', 1), run(1)).0, Answer::Wait(Patience::Endless));
    assert_eq!(world.take(call('a', 1), a, 1), [(1, 1)]);
    let (waited, to) = world.input(call('r', 1), |pool, turn| pool.withdraw(call('r', 1), Withdrawal::Patience, turn));
    assert!(waited && woken(&to) == [(call('r', 1), Err(Reason::TimedOut))]);
    assert_eq!((world.describe().running, world.pool.bytes()), (0, before));
    assert_eq!(world.finish('a', a, vec![done(1, 10)], &[]).0, FINISHED(0), "its outcome is let go");
    let _ = world.apply(call('r', 2), run(2));
    let _ = world.leave('r', Ended::Lost);
    assert_eq!(world.take(call('a', 2), a, 1), [], "it is not begun");
    let op = Op::Run(PoolRunRequest {
        patience_ms: Some(0),
        function: "f".into(),
        arguments: Some(arguments(1).into()),
        ..PoolRunRequest::default()
    });
    assert_eq!(why(world.apply(call('r', 3), op).0), Reason::Malformed);
}

#[test]
fn the_jobs_of_a_session_end_with_it_unless_they_are_kept() {
    let mut world = World::new(Spec { max_waiting: 2, ..Spec::default() });
    let a = world.join('a');
    let empty = world.pool.bytes();
    let (job, _) = world.submit('c', &[1, 2], 0);
    let _ = world.take(call('a', 1), a, 1);
    let Op::Submit(mut kept) = submit(0, &[3], 0) else { unreachable!() };
    kept.keep = true;
    assert!(matches!(world.apply(call('c', 9), Op::Submit(kept)).0, Answer::Done(_)));
    assert!(matches!(world.apply(call('d', 1), submit(job, &[4], 0)).0, Answer::Wait(_)), "there is no room");
    let collect = Op::Collect(PoolCollectRequest { job, max: 0, patience_ms: None });
    assert!(matches!(world.apply(call('e', 1), collect.clone()).0, Answer::Wait(_)));
    let mut to = woken(&world.leave('c', Ended::Lost));
    to.sort_unstable_by_key(|(call, _)| *call);
    assert_eq!(to, [(call('d', 1), Err(Reason::NoJob)), (call('e', 1), Err(Reason::NoJob))]);
    assert_eq!(why(world.apply(call('e', 2), collect).0), Reason::NoJob);
    assert_eq!((world.describe().running, world.describe().waiting, world.describe().jobs), (0, 1, 1));
    assert_eq!(world.take(call('a', 2), a, 9), [(3, 1)]);
    let _ = world.finish('a', a, vec![done(3, 30)], &[]);
    assert_eq!(world.collect(call('e', 3), 2), [(0, returned(30))]);
    let forgotten = |forgotten| Answer::Done(Reply::Forget(PoolForgetResponse { forgotten }));
    assert_eq!(world.apply(call('e', 4), Op::Forget(PoolForgetRequest { job: 2 })).0, forgotten(true));
    assert_eq!(world.apply(call('e', 5), Op::Forget(PoolForgetRequest { job: 2 })).0, forgotten(false));
    assert_eq!(world.pool.bytes(), empty + 72, "what was given is kept");
    assert_eq!((world.undo(call('e', 3)), world.pool.bytes()), (vec![], empty), "and has no job to go back to");
}

#[test]
fn who_submits_waits_for_room_in_line() {
    let mut world = World::new(Spec { max_waiting: 2, ..Spec::default() });
    let a = world.join('a');
    let _ = world.submit('c', &[1, 2], 0);
    assert!(matches!(world.apply(call('c', 1), submit(0, &[3, 4], 0)).0, Answer::Wait(_)));
    assert!(matches!(world.apply(call('d', 1), submit(0, &[5], 0)).0, Answer::Wait(_)));
    assert_eq!(why(world.apply(call('d', 2), run(6)).0), Reason::Full);
    assert_eq!(why(world.apply(call('d', 3), submit(0, &[6, 7, 8], 0)).0), Reason::OutOfRange);
    let Op::Submit(mut hasty) = submit(0, &[6], 0) else { unreachable!() };
    hasty.patience_ms = Some(0);
    assert_eq!(why(world.apply(call('d', 4), Op::Submit(hasty)).0), Reason::Full);
    let (_, to) = world.apply(call('a', 1), take(a, 1, None));
    assert_eq!(to, [], "the first of them has no room, and the second waits behind it");
    let (_, to) = world.apply(call('a', 2), take(a, 1, None));
    assert_eq!(woken(&to), [(call('c', 1), Ok(vec![]))]);
    assert_eq!(world.take(call('a', 3), a, 9), [(3, 1), (4, 1)]);
    assert_eq!(world.describe().waiting, 1, "the last one is in");
}

#[test]
fn a_task_is_cancelled_as_long_as_nobody_has_it() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1, 2, 3, 4], 0);
    let a = world.join('a');
    let _ = world.take(call('a', 1), a, 1);
    let cancel = |indexes: &[u64]| Op::Cancel(PoolCancelRequest { job, indexes: indexes.into() });
    let count = |cancelled| Answer::Done(Reply::Cancel(PoolCancelResponse { cancelled }));
    assert_eq!(world.apply(call('c', 1), cancel(&[0, 2, 2, 9])).0, count(1));
    assert_eq!(world.take(call('a', 2), a, 1), [(2, 1)], "not what was cancelled");
    assert_eq!(world.apply(call('c', 2), cancel(&[])).0, count(1));
    assert_eq!(world.collect(call('c', 3), job), [(2, cancelled()), (3, cancelled())]);
    let progress = Op::Progress(PoolProgressRequest { job });
    let Answer::Done(Reply::Progress(progress)) = world.apply(call('c', 4), progress).0 else { panic!() };
    let PoolProgressResponse { tasks, waiting, running, done, collected } = progress;
    assert_eq!((tasks, waiting, running, done, collected), (4, 0, 2, 2, 2));
}

#[test]
fn a_closed_pool_does_what_it_has_and_then_lets_its_workers_go() {
    let mut world = World::new(Spec { max_waiting: 2, ..Spec::default() });
    let (job, _) = world.submit('c', &[1, 2], 0);
    let a = world.join('a');
    let _ = world.apply(call('d', 1), submit(0, &[3], 0));
    assert_eq!(
        woken(&world.apply(call('s', 1), Op::Close(PoolCloseRequest {})).1),
        [(call('d', 1), Err(Reason::ShutDown))]
    );
    assert_eq!(why(world.apply(call('d', 2), submit(0, &[3], 0)).0), Reason::ShutDown);
    assert_eq!(why(world.apply(call('d', 3), run(3)).0), Reason::ShutDown);
    let b = world.join('b');
    assert_eq!(world.take(call('a', 1), a, 1), [(1, 1)]);
    assert_eq!(world.take(call('a', 2), a, 1), [(2, 1)]);
    assert!(matches!(world.apply(call('b', 1), take(b, 1, None)).0, Answer::Wait(_)), "something could come back");
    let _ = world.apply(call('s', 2), Op::Drain(PoolDrainRequest { patience_ms: None }));
    let _ = world.finish('a', a, vec![done(1, 10)], &[]);
    let op = Op::Take(PoolTakeRequest { worker: a, max: 1, patience_ms: None, done: vec![done(2, 20)] });
    let (answer, to) = world.apply(call('a', 3), op);
    assert_eq!(answer, Answer::Done(Reply::Take(no_more())));
    let no_more = Answer::Done(Reply::Take(no_more()).into());
    let drained = Answer::Done(Reply::Drain(PoolDrainResponse {}).into());
    let to: Vec<(CallId, Answer<AnyReply>)> = to.into_iter().map(|woken| (woken.call, woken.answer)).collect();
    assert_eq!(to, [(call('s', 2), drained), (call('b', 1), no_more)]);
    assert_eq!(world.collect(call('c', 1), job).len(), 2, "outcomes stay");
    let join = PoolJoinRequest { functions: vec!["f".into()], ..PoolJoinRequest::default() };
    assert_eq!(why(world.apply(call('x', 1), Op::Join(join)).0), Reason::ShutDown);
}

#[test]
fn a_terminated_pool_has_cancelled_everything_and_says_why() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1, 2], 0);
    let _ = world.apply(call('r', 1), run(3));
    let a = world.join('a');
    let _ = world.take(call('a', 1), a, 1);
    let terminate = |reason: &str| Op::Terminate(PoolTerminateRequest { reason: reason.into() });
    let (answer, to) = world.apply(call('s', 1), terminate("out of coffee"));
    assert_eq!(answer, Answer::Done(Reply::Terminate(PoolTerminateResponse { cancelled: 3 })));
    assert!(matches!(&to[..], [Woken { call, answer: Answer::Refused(refusal) }]
        if *call == self::call('r', 1) && refusal.why() == Reason::ShutDown && refusal.message.contains("out of coffee")));
    assert_eq!(world.collect(call('c', 1), job), [(0, cancelled()), (1, cancelled())]);
    assert_eq!(world.finish('a', a, vec![done(1, 10)], &[]).0, FINISHED(0));
    assert_eq!(world.apply(call('a', 2), take(a, 1, None)).0, Answer::Done(Reply::Take(no_more())));
    let again = world.apply(call('s', 2), terminate(&"ä".repeat(1000))).0;
    assert_eq!(again, Answer::Done(Reply::Terminate(PoolTerminateResponse { cancelled: 0 })));
    assert_eq!(world.pool.state().reason, "out of coffee");
    let mut world = World::new(Spec::default());
    let _ = world.apply(call('s', 1), terminate(&"ä".repeat(1000)));
    assert_eq!(world.pool.state().reason.len(), 1024);
}

#[test]
fn a_function_that_nobody_serves_is_refused_where_somebody_serves_another() {
    let mut world = World::new(Spec::default());
    let of = |function: &str| {
        Op::Submit(PoolSubmitRequest {
            function: function.into(),
            tasks: vec![arguments(1)],
            ..PoolSubmitRequest::default()
        })
    };
    assert!(matches!(world.apply(call('c', 1), of("h")).0, Answer::Done(_)), "its worker may yet come");
    let _ = world.join('a');
    let Answer::Refused(refusal) = world.apply(call('c', 2), of("h")).0 else { panic!() };
    assert!(refusal.why() == Reason::NotRegistered && refusal.message.contains(r#"["f", "g"]"#), "{refusal}");
    let _ = world.leave('a', Ended::Closed);
    assert!(matches!(world.apply(call('c', 3), of("h")).0, Answer::Done(_)));
}

#[test]
fn a_worker_takes_the_oldest_of_what_it_serves_and_a_page_at_most() {
    let mut world = World::new(Spec::default());
    for number in 0..6 {
        let function = String::from(["f", "g", "h"][number as usize % 3]);
        let tasks = vec![arguments(number)];
        let op = Op::Submit(PoolSubmitRequest { function, tasks, ..PoolSubmitRequest::default() });
        let _ = world.apply(call('c', number as u64), op);
    }
    let a = world.join('a');
    assert_eq!(world.take(call('a', 1), a, 3), [(0, 1), (1, 1), (3, 1)]);
    let _ = world.undo(call('a', 1));
    world.page = 0;
    assert_eq!(world.take(call('a', 2), a, 9), [(0, 1)]);
}

#[test]
fn who_came_first_is_served_first_whatever_function_it_is() {
    let mut world = World::new(Spec::default());
    let (job_f, _) = world.submit('c', &[1], 0);
    let b = world.join('b');
    let _ = world.take(call('b', 1), b, 1);
    let op = Op::Submit(PoolSubmitRequest {
        function: "g".into(),
        tasks: vec![arguments(2)],
        ..PoolSubmitRequest::default()
    });
    let _ = world.apply(call('c', 7), op);
    let _ = world.take(call('b', 2), b, 1);
    let join = PoolJoinRequest { functions: vec!["g".into()], ..PoolJoinRequest::default() };
    let Answer::Done(Reply::Join(only_g)) = world.apply(call('x', 1), Op::Join(join)).0 else { panic!() };
    let both = world.join('y');
    let _ = world.apply(call('x', 2), take(only_g.worker, 1, None));
    let _ = world.apply(call('y', 2), take(both, 9, None));
    let to = world.leave('b', Ended::Lost);
    assert_eq!(woken(&to), [(call('x', 2), Ok(vec![2])), (call('y', 2), Ok(vec![1]))]);
    assert!(job_f > 0);
}

#[test]
fn an_outcome_for_which_there_is_no_room_is_refused_and_that_it_is_too_large_is_not() {
    let mut world = World::new(Spec::default());
    let (job, _) = world.submit('c', &[1, 2], 0);
    let a = world.join('a');
    let _ = world.take(call('a', 1), a, 9);
    world.room = 10;
    let long = PoolOutcome { encoded: Some("x".repeat(100).into()), ..PoolOutcome::default() };
    let done_long = PoolDone { task: 1, outcome: Some(long), ..PoolDone::default() };
    let before = world.pool.state();
    assert_eq!(why(world.finish('a', a, vec![done(2, 20), done_long.clone()], &[]).0), Reason::Quota);
    let op = Op::Take(PoolTakeRequest { worker: a, max: 1, patience_ms: None, done: vec![done_long] });
    assert_eq!(why(world.apply(call('a', 2), op).0), Reason::Quota);
    assert_eq!(world.pool.state(), before);
    let too_large = PoolDone { task: 1, too_large: true, ..PoolDone::default() };
    assert_eq!(world.finish('a', a, vec![done(2, 20), too_large], &[]).0, FINISHED(2));
    let too_large = PoolOutcome { too_large: true, ..PoolOutcome::default() };
    assert_eq!(world.collect(call('c', 1), job), [(1, returned(20)), (0, too_large)]);
}

#[test]
fn what_a_worker_may_not_say_is_refused() {
    let mut world = World::new(Spec::default());
    let _ = world.submit('c', &[1], 0);
    let a = world.join('a');
    let _ = world.take(call('a', 1), a, 9);
    let of = |outcome| PoolDone { task: 1, outcome: Some(outcome), ..PoolDone::default() };
    let several = |outcomes| PoolOutcome { outcomes, ..PoolOutcome::default() };
    for bad in [
        PoolDone { task: 1, ..PoolDone::default() },
        PoolDone { too_large: true, ..done(1, 1) },
        PoolDone { task: 1, too_large: true, more: true, ..PoolDone::default() },
        of(PoolOutcome::default()),
        of(cancelled()),
        of(lost(1)),
        of(PoolOutcome { too_large: true, ..PoolOutcome::default() }),
        of(PoolOutcome { encoded: Some("x".into()), ..returned(1) }),
        of(several(vec![several(vec![returned(1)])])),
        of(several(vec![returned(1), cancelled()])),
        of(PoolOutcome { outcomes: vec![returned(1)], ..returned(1) }),
        of(PoolOutcome { returned: Some(Datum::Unset), ..PoolOutcome::default() }),
    ] {
        assert_eq!(why(world.finish('a', a, vec![bad.clone()], &[]).0), Reason::Malformed, "{bad:?}");
    }
    assert_eq!(why(world.finish('b', a, vec![done(1, 1)], &[]).0), Reason::NotHeld, "another's worker");
    assert_eq!(world.finish('a', a, vec![of(several(vec![returned(1), returned(2)]))], &[]).0, FINISHED(1));
    for functions in [vec![], vec![String::new()], vec!["f".into(), "f".into()], vec!["f".repeat(257)]] {
        let op = Op::Join(PoolJoinRequest { functions, ..PoolJoinRequest::default() });
        assert_eq!(why(world.apply(call('a', 5), op).0), Reason::Malformed);
    }
}

#[test]
fn a_task_that_waits_takes_less_than_300_bytes_beside_its_arguments() {
    // What is not a part of it is bounded by the shape of ordered maps: at least five entries in a node of eleven.
    let of_a_map = |entry: usize| (11 * entry + 16 + 16) / 5;
    let alone = size_of::<Task>() + size_of::<Job>() + of_a_map(12) + of_a_map(8) + 32;
    assert!(size_of::<Task>() <= 96 && alone <= 300 + size_of::<Datum>(), "{} {alone}", size_of::<Task>());
}
