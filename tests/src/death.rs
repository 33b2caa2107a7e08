//! What a process was doing with an object when it went, and how it went: the cells of the table in `docs/death.md`.
//!
//! Each cell is a play of three. The victim is a process of its own; the others are one session of the test: the stage, which
//! makes the victim wait and lets it go on, and the next in line, by which is seen what becomes of what the victim had.

use bytes::Bytes;
use holdfast::{Reason, Refusal};
use holdfast_proto::{
    Abandoned, ArraySpec, BarrierDescribeRequest, BarrierSpec, BarrierWaitRequest, Datum, EventIsSetRequest,
    EventSetRequest, EventWaitRequest, LatchCountDownRequest, LatchCountRequest, LatchSpec, LatchWaitRequest,
    LockAcquireRequest, LockNotifyRequest, LockReleaseRequest, LockSpec, LockWaitRequest, PoolArguments,
    PoolCollectRequest, PoolDescribeRequest, PoolDone, PoolFinishRequest, PoolJoinRequest, PoolOutcome, PoolRunRequest,
    PoolSubmitRequest, PoolTakeRequest, QueueDelivery, QueueGetRequest, QueueJoinRequest, QueuePutRequest,
    QueueSizeRequest, QueueSpec, QueueTaskDoneRequest, RwlockAcquireReadRequest, RwlockAcquireWriteRequest,
    RwlockReleaseReadRequest, RwlockReleaseWriteRequest, SemaphoreAcquireRequest, SemaphoreReleaseRequest, array,
    array_spec, barrier, dict, event, latch, list, lock, namespace, ops, pool, queue, rwlock, semaphore, set, value,
};
use prost::Message;

use crate::party::{Ask, Party};

/// What the victim is called.
pub const VICTIM_NAME: &str = "a victim";

/// What the name of an object is followed by in that of a second one, to which the victim has a handle as long as its session
/// lives. It is left after the first, so when it is, the object itself knows of the end.
pub const BEACON: &str = ", beacon";

/// What a process was doing with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its call waits.
    Waiting,
    /// Its call was answered, and it has not read that.
    Granted,
    /// It has what it took.
    Holding,
    /// It has given back what it took, or done what others wait for, and has not read that it was done.
    Releasing,
    /// It has the object open, and nothing of it.
    Idle,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Granted, Self::Holding, Self::Releasing, Self::Idle];

    /// As it stands in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Holding => "holding",
            Self::Releasing => "releasing",
            Self::Idle => "idle",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|phase| phase.name() == name).unwrap_or_else(|| panic!("no phase {name:?}"))
    }
}

/// What objects are used for, as it stands in the table. More than there are kinds, since some can be used in several ways.
pub const USES: [&str; 22] = [
    "lock",
    "lock, reentrant",
    "condition",
    "rwlock, reading",
    "rwlock, writing",
    "semaphore",
    "event",
    "barrier",
    "latch",
    "queue",
    "queue, done by word",
    "queue, putting",
    "pool, working",
    "pool, calling",
    "pool, collecting",
    "pool, collecting what is kept",
    "dict",
    "list",
    "set",
    "array",
    "namespace",
    "value",
];

/// What somebody was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// In the words of the table.
    pub what: &'static str,
    /// Who was lost.
    pub abandoned: Option<Abandoned>,
}

/// A call, and what its answer means.
#[derive(Clone, Debug)]
pub struct Step {
    /// The call.
    pub ask: Ask,
    see: fn(Result<Bytes, Refusal>) -> Seen,
}

impl Step {
    fn of<R: ops::Request>(request: R) -> Self
    where
        R::Response: Tell,
    {
        let see = |answer: Result<Bytes, Refusal>| match answer {
            Ok(response) => R::Response::decode(response).unwrap().tell(),
            Err(refusal) if refusal.reason() == Reason::Broken => "is told that it is broken".into(),
            Err(refusal) if refusal.reason() == Reason::NoJob => "is told that the job is gone".into(),
            Err(refusal) => panic!("refused: {refusal:?}"),
        };
        Self { ask: request.into(), see }
    }

    /// Waits for the answer to this step, which was asked as this call.
    pub async fn answer(&self, of: &mut Party, call: u64) -> Seen {
        (self.see)(of.response(call).await)
    }

    /// Takes steps one after the other, waits for each, and returns what was told last.
    pub async fn take(steps: &[Self], of: &mut Party, handle: u32) -> Option<Seen> {
        let mut seen = None;
        for step in steps {
            let call = of.send(handle, step.ask.clone()).await;
            seen = Some(step.answer(of, call).await);
        }
        seen
    }

    /// Takes steps one after the other, and does not wait for the last, whose call it returns.
    pub async fn begin(steps: &[Self], of: &mut Party, handle: u32) -> u64 {
        let (last, first) = steps.split_last().expect("there is something to be done");
        Self::take(first, of, handle).await;
        of.send(handle, last.ask.clone()).await
    }
}

/// What is done to an object in one phase of one use of it, in this order, but for what comes when the victim goes.
#[derive(Clone, Debug, Default)]
pub struct Play {
    /// The kind of the object.
    pub kind: u32,
    /// How it is made.
    pub spec: Bytes,
    /// What the stage does before the victim comes.
    pub before: Vec<Step>,
    /// Whether the next in line is there before the victim.
    pub next_is_first: bool,
    /// How the victim comes into its phase. The last step waits if the phase is waiting or granted.
    pub take: Vec<Step>,
    /// What the next in line does. The last step waits. There is nobody if there is none.
    pub next: Vec<Step>,
    /// By which the stage lets go on who waits first: in the phase granted before the victim goes, in the phase waiting after.
    pub lift: Vec<Step>,
    /// By which the victim gives back what it has, or lets the next in line go on: in the phase releasing before it goes.
    pub give: Vec<Step>,
}

/// What is done, if there is this phase in this use.
#[must_use]
pub fn play(of: &str, phase: Phase) -> Option<Play> {
    match of {
        "lock" => lock_play(false, phase),
        "lock, reentrant" => lock_play(true, phase),
        "condition" => condition_play(phase),
        "rwlock, reading" => {
            let take = Step::of(RwlockAcquireReadRequest::default());
            rwlock_play(take, Step::of(RwlockReleaseReadRequest::default()), phase)
        }
        "rwlock, writing" => {
            let take = Step::of(RwlockAcquireWriteRequest::default());
            rwlock_play(take, Step::of(RwlockReleaseWriteRequest::default()), phase)
        }
        "semaphore" => {
            let take = Step::of(SemaphoreAcquireRequest::default());
            let give = Step::of(SemaphoreReleaseRequest::default());
            let parts = [take.clone(), take.clone(), give.clone(), take, give];
            held(semaphore::KIND, Bytes::new(), parts, phase)
        }
        "event" => {
            let wait = Step::of(EventWaitRequest::default());
            signalled(event::KIND, Bytes::new(), &wait, &[Step::of(EventSetRequest {})], phase, EventIsSetRequest {})
        }
        "latch" => {
            let (wait, down) = (Step::of(LatchWaitRequest::default()), Step::of(LatchCountDownRequest::default()));
            let spec = LatchSpec { count: 1 }.encode_to_vec().into();
            signalled(latch::KIND, spec, &wait, &[down], phase, LatchCountRequest {})
        }
        "barrier" => {
            let wait = Step::of(BarrierWaitRequest::default());
            let spec = BarrierSpec { parties: 3, ..BarrierSpec::default() }.encode_to_vec().into();
            let lift = std::slice::from_ref(&wait);
            let mut play = signalled(barrier::KIND, spec, &wait, lift, phase, BarrierDescribeRequest {})?;
            play.give.clear();
            (phase != Phase::Releasing).then_some(play)
        }
        "queue" => queue_play(QueueDelivery::OnReceipt, phase),
        "queue, done by word" => queue_play(QueueDelivery::OnDone, phase),
        "queue, putting" => putting_play(phase),
        "pool, working" => Some(working_play(phase)),
        "pool, calling" => calling_play(phase),
        "pool, collecting" => collecting_play(false, phase),
        "pool, collecting what is kept" => collecting_play(true, phase),
        _ => (phase == Phase::Idle).then(|| data_play(of)),
    }
}

fn data_play(of: &str) -> Play {
    let kind = match of {
        "dict" => dict::KIND,
        "list" => list::KIND,
        "set" => set::KIND,
        "array" => array::KIND,
        "namespace" => namespace::KIND,
        "value" => value::KIND,
        _ => panic!("no use {of:?}"),
    };
    let spec = if of == "array" {
        let contents = Some(array_spec::Contents::Length(1));
        ArraySpec { typecode: "q".to_owned(), contents }.encode_to_vec().into()
    } else {
        Bytes::new()
    };
    Play { kind, spec, ..Play::default() }
}

/// What one can hold. The parts: how the stage takes it, how the victim does, how the victim gives it back, how the next in line
/// takes it, how the stage gives it back.
fn held(kind: u32, spec: Bytes, parts: [Step; 5], phase: Phase) -> Option<Play> {
    let [bar, take, give, next, lift] = parts.map(|part| vec![part]);
    let play = Play { kind, spec, take, give, ..Play::default() };
    Some(match phase {
        Phase::Waiting | Phase::Granted => Play { before: bar, lift, next, ..play },
        Phase::Holding | Phase::Releasing => Play { next, ..play },
        Phase::Idle => play,
    })
}

/// What one waits for and cannot hold.
fn signalled<R: ops::Request>(
    kind: u32,
    spec: Bytes,
    wait: &Step,
    signal: &[Step],
    phase: Phase,
    look: R,
) -> Option<Play>
where
    R::Response: Tell,
{
    let play = Play { kind, spec, ..Play::default() };
    let waiting = || vec![wait.clone()];
    match phase {
        Phase::Waiting | Phase::Granted => Some(Play { take: waiting(), next: waiting(), lift: signal.into(), ..play }),
        Phase::Releasing => Some(Play { next: waiting(), give: signal.into(), ..play }),
        Phase::Idle => Some(Play { take: vec![Step::of(look)], ..play }),
        Phase::Holding => None,
    }
}

const STAGE: u64 = 1;
const VICTIM: u64 = 2;
const NEXT: u64 = 3;

fn acquire(actor: u64) -> Step {
    Step::of(LockAcquireRequest { actor, ..LockAcquireRequest::default() })
}

fn release(actor: u64) -> Step {
    Step::of(LockReleaseRequest { actor, ..LockReleaseRequest::default() })
}

fn lock_play(reentrant: bool, phase: Phase) -> Option<Play> {
    let spec = LockSpec { reentrant, ..LockSpec::default() }.encode_to_vec().into();
    let parts = [acquire(STAGE), acquire(VICTIM), release(VICTIM), acquire(NEXT), release(STAGE)];
    let mut play = held(lock::KIND, spec, parts, phase)?;
    if reentrant && matches!(phase, Phase::Holding | Phase::Releasing) {
        play.take.push(acquire(VICTIM));
        play.give.push(release(VICTIM));
    }
    Some(play)
}

fn condition_play(phase: Phase) -> Option<Play> {
    let wait = |actor, patience_ms| Step::of(LockWaitRequest { actor, patience_ms, ..LockWaitRequest::default() });
    let notify = |actor| Step::of(LockNotifyRequest { actor, ..LockNotifyRequest::default() });
    let play = Play { kind: lock::KIND, ..Play::default() };
    let take = vec![acquire(VICTIM), wait(VICTIM, None)];
    let next = vec![acquire(NEXT), wait(NEXT, None)];
    let give = vec![notify(VICTIM), release(VICTIM)];
    let lift = vec![acquire(STAGE), notify(STAGE), release(STAGE)];
    Some(match phase {
        Phase::Waiting | Phase::Granted => Play { take, next, lift, give, ..play },
        Phase::Holding => {
            let take = vec![acquire(VICTIM), wait(VICTIM, Some(0))];
            Play { take, next: vec![acquire(NEXT)], give: vec![release(VICTIM)], ..play }
        }
        Phase::Releasing => Play { next_is_first: true, take: vec![acquire(VICTIM)], next, give, ..play },
        Phase::Idle => Play { take: vec![acquire(VICTIM)], give: vec![release(VICTIM)], ..play },
    })
}

fn rwlock_play(take: Step, give: Step, phase: Phase) -> Option<Play> {
    let write = Step::of(RwlockAcquireWriteRequest::default());
    let lift = Step::of(RwlockReleaseWriteRequest::default());
    held(rwlock::KIND, Bytes::new(), [write.clone(), take, give, write, lift], phase)
}

fn put(item: i64) -> Step {
    Step::of(QueuePutRequest { items: vec![Datum::Integer(item)], ..QueuePutRequest::default() })
}

fn get() -> Step {
    Step::of(QueueGetRequest::default())
}

fn queue_play(delivery: QueueDelivery, phase: Phase) -> Option<Play> {
    let spec = QueueSpec { delivery: delivery.into(), ..QueueSpec::default() }.encode_to_vec().into();
    let play = Play { kind: queue::KIND, spec, give: vec![put(2)], ..Play::default() };
    let by_word = delivery == QueueDelivery::OnDone;
    Some(match phase {
        Phase::Waiting | Phase::Granted => Play { take: vec![get()], next: vec![get()], lift: vec![put(1)], ..play },
        Phase::Holding => Play { before: vec![put(1)], take: vec![get()], next: vec![get()], ..play },
        Phase::Releasing if by_word => Play {
            before: vec![put(1)],
            take: vec![get()],
            next: vec![Step::of(QueueJoinRequest::default())],
            give: vec![Step::of(QueueTaskDoneRequest::default())],
            ..play
        },
        Phase::Releasing => Play { next: vec![get()], ..play },
        Phase::Idle => Play { take: vec![Step::of(QueueSizeRequest {})], give: Vec::new(), ..play },
    })
}

fn putting_play(phase: Phase) -> Option<Play> {
    let spec = QueueSpec { maxsize: 1, ..QueueSpec::default() }.encode_to_vec().into();
    let play = Play { kind: queue::KIND, spec, ..Play::default() };
    match phase {
        Phase::Waiting | Phase::Granted => Some(Play {
            before: vec![put(1)],
            take: vec![put(2)],
            next: vec![put(3)],
            lift: vec![get()],
            give: vec![get()],
            ..play
        }),
        Phase::Holding | Phase::Releasing | Phase::Idle => None,
    }
}

const FUNCTION: &str = "f";

/// Tasks of one job.
fn submit(count: usize, keep: bool) -> Step {
    let task = PoolArguments { datum: Some(Datum::Integer(1)), encoded: None };
    let tasks = vec![task; count];
    Step::of(PoolSubmitRequest { function: FUNCTION.to_owned(), tasks, keep, ..PoolSubmitRequest::default() })
}

/// Those who join are numbered from 1, in their order.
fn join() -> Step {
    Step::of(PoolJoinRequest { functions: vec![FUNCTION.to_owned()], ..PoolJoinRequest::default() })
}

fn take(worker: u64, max: u64, patience_ms: Option<i64>) -> Step {
    Step::of(PoolTakeRequest { worker, max, patience_ms, ..PoolTakeRequest::default() })
}

/// Tasks are numbered from 1, in the order in which they came in. Those that the worker does not have are passed over.
fn finish(worker: u64, tasks: &[u64]) -> Step {
    let outcome = Some(PoolOutcome { returned: Some(Datum::Null), ..PoolOutcome::default() });
    let done = |task: &u64| PoolDone { task: *task, outcome: outcome.clone(), ..PoolDone::default() };
    Step::of(PoolFinishRequest { worker, done: tasks.iter().map(done).collect(), ..PoolFinishRequest::default() })
}

fn collect() -> Step {
    Step::of(PoolCollectRequest { job: 1, max: 1, ..PoolCollectRequest::default() })
}

fn working_play(phase: Phase) -> Play {
    let (victim, next) = (vec![join(), take(1, 1, None)], vec![join(), take(2, 1, None)]);
    let (task, give) = (vec![submit(1, false)], vec![submit(1, false)]);
    let play = Play { kind: pool::KIND, ..Play::default() };
    match phase {
        Phase::Waiting | Phase::Granted => Play { take: victim, next, lift: task, give, ..play },
        Phase::Holding => Play { before: task, take: victim, next, give, ..play },
        Phase::Releasing => {
            Play { before: task, take: victim, next: vec![collect()], give: vec![finish(1, &[1])], ..play }
        }
        Phase::Idle => Play { take: vec![join(), Step::of(PoolDescribeRequest {})], ..play },
    }
}

fn calling_play(phase: Phase) -> Option<Play> {
    let arguments = Some(PoolArguments { datum: Some(Datum::Integer(1)), encoded: None }.into());
    let run = Step::of(PoolRunRequest { function: FUNCTION.to_owned(), arguments, ..PoolRunRequest::default() });
    let lift = vec![join(), take(1, 2, Some(0)), finish(1, &[1, 2])];
    let play = Play { kind: pool::KIND, take: vec![run.clone()], next: vec![run], lift, ..Play::default() };
    matches!(phase, Phase::Waiting | Phase::Granted).then_some(play)
}

/// Of the two tasks of the job one is done by the stage, and the other by the victim when it gives.
fn collecting_play(keep: bool, phase: Phase) -> Option<Play> {
    let lift = vec![join(), take(1, 1, Some(0)), finish(1, &[1])];
    let give = vec![join(), take(2, 1, Some(0)), finish(2, &[2])];
    let (victim, next) = (vec![submit(2, keep), collect()], vec![collect()]);
    let play = Play { kind: pool::KIND, take: victim, next, lift, give, ..Play::default() };
    matches!(phase, Phase::Waiting | Phase::Granted).then_some(play)
}

impl From<&'static str> for Seen {
    fn from(what: &'static str) -> Self {
        Self { what, abandoned: None }
    }
}

/// What a response means, in the words of the table.
trait Tell: Message + Default {
    fn tell(self) -> Seen;
}

/// Responses that mean one thing each.
macro_rules! tells {
    ($($what:literal: $($Response:ident),+;)+) => {$($(
        impl Tell for holdfast_proto::$Response {
            fn tell(self) -> Seen {
                $what.into()
            }
        }
    )+)+};
}

/// Responses that may be the negative one, for which nobody has asked here, and of which some say who was lost.
macro_rules! tells_if {
    ($($Response:ident.$is_so:ident: $what:literal, |$response:ident| $abandoned:expr;)+) => {$(
        impl Tell for holdfast_proto::$Response {
            fn tell(self) -> Seen {
                assert!(self.$is_so, "{self:?}");
                let $response = self;
                Seen { what: $what, abandoned: $abandoned }
            }
        }
    )+};
}

tells! {
    "has given it back": LockReleaseResponse, RwlockReleaseReadResponse, RwlockReleaseWriteResponse, SemaphoreReleaseResponse;
    "has notified": LockNotifyResponse;
    "has set it": EventSetResponse;
    "has counted": LatchCountDownResponse;
    "has put": QueuePutResponse;
    "has done it": QueueTaskDoneResponse;
    "has joined": PoolJoinResponse;
    "has submitted": PoolSubmitResponse;
    "has finished it": PoolFinishResponse;
    "gets the outcome": PoolRunResponse;
    "goes on": PoolDescribeResponse, BarrierWaitResponse, EventIsSetResponse, LatchCountResponse, BarrierDescribeResponse, QueueSizeResponse;
}

tells_if! {
    LockAcquireResponse.acquired: "gets it", |response| response.abandoned;
    RwlockAcquireReadResponse.acquired: "gets it", |response| response.abandoned;
    RwlockAcquireWriteResponse.acquired: "gets it", |response| response.abandoned;
    SemaphoreAcquireResponse.acquired: "gets it", |response| response.abandoned;
    EventWaitResponse.set: "goes on", |_response| None;
    LatchWaitResponse.opened: "goes on", |_response| None;
    QueueJoinResponse.joined: "goes on", |_response| None;
}

impl Tell for holdfast_proto::LockWaitResponse {
    fn tell(self) -> Seen {
        Seen { what: if self.notified { "is notified" } else { "gets it" }, abandoned: self.abandoned }
    }
}

impl Tell for holdfast_proto::QueueGetResponse {
    fn tell(self) -> Seen {
        if self.items[0].redelivered { "gets the item, marked" } else { "gets the item" }.into()
    }
}

impl Tell for holdfast_proto::PoolTakeResponse {
    fn tell(self) -> Seen {
        match self.tasks.first() {
            None => "gets no task",
            Some(task) if task.attempt > 1 => "gets the task, again",
            Some(_) => "gets the task",
        }
        .into()
    }
}

impl Tell for holdfast_proto::PoolCollectResponse {
    fn tell(self) -> Seen {
        assert_eq!(self.outcomes.len(), 1, "{self:?}");
        "gets the outcome".into()
    }
}
