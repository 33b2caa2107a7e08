//! What can be said, when an object is made, about what becomes of what a process holds when it goes.

use std::time::Duration;

use holdfast::{Holding, OnClose, OnLoss, Reason};
use holdfast_proto::{
    Abandoned, LockAcquireRequest, LockDescribeRequest, LockReleaseRequest, LockResetRequest, LockSpec,
    RwlockAcquireWriteRequest, RwlockDescribeRequest, RwlockResetRequest, RwlockSpec, SemaphoreAcquireRequest,
    SemaphoreDescribeRequest, SemaphoreResetRequest, SemaphoreSpec, ValueSpec, lock, rwlock, semaphore, value,
};
use holdfast_tests::{Manager, Party, Setup, program, until_async};

/// How a process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Killed,
    Goodbye,
}

/// What is seen of an object after its holder has gone: whether the next has it, whom it is told of, whether it is kept, and by
/// whom it is broken.
#[derive(Debug, PartialEq)]
struct Left {
    acquired: bool,
    told: bool,
    kept: bool,
    broken: bool,
}

const RELEASED: Left = Left { acquired: true, told: false, kept: false, broken: false };
const ABANDONED: Left = Left { acquired: true, told: true, kept: false, broken: false };
const KEPT: Left = Left { acquired: false, told: false, kept: true, broken: false };
const BROKEN: Left = Left { acquired: false, told: false, kept: false, broken: true };

/// Every choice, and what is left then.
const CHOICES: [(OnLoss, OnClose, Way, Left); 6] = [
    (OnLoss::Release, OnClose::Release, Way::Killed, ABANDONED),
    (OnLoss::Keep, OnClose::Release, Way::Killed, KEPT),
    (OnLoss::Break, OnClose::Release, Way::Killed, BROKEN),
    (OnLoss::Release, OnClose::Release, Way::Goodbye, RELEASED),
    (OnLoss::Release, OnClose::Keep, Way::Goodbye, KEPT),
    (OnLoss::Break, OnClose::Keep, Way::Goodbye, KEPT),
];

fn on_loss(on_loss: OnLoss) -> i32 {
    match on_loss {
        OnLoss::Release => holdfast_proto::OnLoss::Release,
        OnLoss::Keep => holdfast_proto::OnLoss::Keep,
        OnLoss::Break => holdfast_proto::OnLoss::Break,
    }
    .into()
}

fn on_close(on_close: OnClose) -> i32 {
    match on_close {
        OnClose::Release => holdfast_proto::OnClose::Release,
        OnClose::Keep => holdfast_proto::OnClose::Keep,
    }
    .into()
}

/// A process holds the object, in this use of it, and goes. Who is left, and has a handle to it.
async fn left_by(
    manager: &Manager,
    used: &str,
    name: &str,
    kind: u32,
    spec: &impl prost::Message,
    way: Way,
) -> (Party, u32) {
    let mut party = Party::join(manager, 0).await;
    let handle = party.open(name, kind, spec).await;
    let beacon = format!("{name}, beacon");
    party.open(&beacon, value::KIND, &ValueSpec::default()).await;
    let mut victim = manager.worker(&["victim", used, "holding", name]);
    assert_eq!(victim.line(), "there");
    match way {
        Way::Killed => victim.kill(),
        Way::Goodbye => {
            victim.say("close");
            assert_eq!(victim.line(), "closed");
        }
    }
    until_async("its session ends", async || (party.handles_to(&beacon).await == 1).then_some(())).await;
    (party, handle)
}

/// What an answer says: whether it was acquired, and who was lost; or that the object is broken.
fn left(answer: Result<(bool, Option<Abandoned>), holdfast::Refusal>, kept: bool) -> Left {
    match answer {
        Ok((acquired, abandoned)) => Left { acquired, told: abandoned.is_some(), kept, broken: false },
        Err(refusal) => {
            assert_eq!(refusal.reason(), Reason::Broken);
            Left { acquired: false, told: false, kept, broken: true }
        }
    }
}

#[tokio::test]
async fn a_lock_does_what_was_chosen() {
    let manager = Setup::new(program!()).start();
    for (loss, close, way, expected) in CHOICES {
        let spec = LockSpec { on_loss: on_loss(loss), on_close: on_close(close), ..LockSpec::default() };
        let name = format!("{loss:?} {close:?} {way:?}");
        let (mut party, lock) = left_by(&manager, "lock", &name, lock::KIND, &spec, way).await;
        let kept = party.ask(lock, LockDescribeRequest {}).await.unwrap().kept;
        let now = LockAcquireRequest { patience_ms: Some(0), actor: 0 };
        let seen = left(party.ask(lock, now).await.map(|response| (response.acquired, response.abandoned)), kept);
        assert_eq!(seen, expected, "{name}");
        if !seen.acquired {
            assert!(party.ask(lock, LockResetRequest {}).await.unwrap().was_reset);
            assert!(party.ask(lock, now).await.unwrap().acquired, "it is usable again: {name}");
        }
    }
}

#[tokio::test]
async fn an_rwlock_does_what_was_chosen() {
    let manager = Setup::new(program!()).start();
    for (loss, close, way, expected) in CHOICES {
        let spec = RwlockSpec { on_loss: on_loss(loss), on_close: on_close(close) };
        let name = format!("{loss:?} {close:?} {way:?}");
        let (mut party, lock) = left_by(&manager, "rwlock, writing", &name, rwlock::KIND, &spec, way).await;
        let kept = party.ask(lock, RwlockDescribeRequest {}).await.unwrap().kept;
        let now = RwlockAcquireWriteRequest { patience_ms: Some(0) };
        let seen = left(party.ask(lock, now).await.map(|response| (response.acquired, response.abandoned)), kept);
        assert_eq!(seen, expected, "{name}");
        if !seen.acquired {
            assert!(party.ask(lock, RwlockResetRequest {}).await.unwrap().was_reset);
            assert!(party.ask(lock, now).await.unwrap().acquired, "it is usable again: {name}");
        }
    }
}

#[tokio::test]
async fn a_semaphore_does_what_was_chosen() {
    let manager = Setup::new(program!()).start();
    for (loss, close, way, expected) in CHOICES {
        let spec = SemaphoreSpec { on_loss: on_loss(loss), on_close: on_close(close), ..SemaphoreSpec::default() };
        let name = format!("{loss:?} {close:?} {way:?}");
        let (mut party, permits) = left_by(&manager, "semaphore", &name, semaphore::KIND, &spec, way).await;
        let holders = party.ask(permits, SemaphoreDescribeRequest {}).await.unwrap().holders;
        let kept = holders.iter().any(|grant| grant.kept);
        let now = SemaphoreAcquireRequest { patience_ms: Some(0), permits: 1 };
        let seen = left(party.ask(permits, now).await.map(|response| (response.acquired, response.abandoned)), kept);
        assert_eq!(seen, expected, "{name}");
        if !seen.acquired {
            assert!(party.ask(permits, SemaphoreResetRequest {}).await.unwrap().was_reset);
            assert!(party.ask(permits, now).await.unwrap().acquired, "it is usable again: {name}");
        }
    }
}

#[tokio::test]
async fn permits_that_belong_to_nobody_are_not_given_back() {
    let manager = Setup::new(program!()).start();
    for way in [Way::Killed, Way::Goodbye] {
        let spec = SemaphoreSpec { unowned: true, ..SemaphoreSpec::default() };
        let name = format!("{way:?}");
        let (mut party, permits) = left_by(&manager, "semaphore", &name, semaphore::KIND, &spec, way).await;
        assert_eq!(party.ask(permits, SemaphoreDescribeRequest {}).await.unwrap().value, 0);
    }
}

#[tokio::test]
async fn what_is_kept_is_released_by_who_knows_its_fence() {
    let manager = Setup::new(program!()).start();
    let spec = LockSpec { on_loss: on_loss(OnLoss::Keep), ..LockSpec::default() };
    let (mut party, lock) = left_by(&manager, "lock", "kept", lock::KIND, &spec, Way::Killed).await;
    let fence = party.ask(lock, LockDescribeRequest {}).await.unwrap().fence;
    let without = party.ask(lock, LockReleaseRequest::default()).await.unwrap_err();
    assert_eq!(without.reason(), Reason::NotHeld);
    party.ask(lock, LockReleaseRequest { fence: Some(fence), actor: 0 }).await.unwrap();
    assert!(!party.ask(lock, LockDescribeRequest {}).await.unwrap().locked);
}

/// One preset has all that CPython's manager does, but for what becomes of a holder that is killed.
#[test]
fn the_preset_of_multiprocessing() {
    let manager = Setup::new(program!()).start();
    let preset = Holding::multiprocessing();
    assert_eq!(preset, Holding::new().on_loss(OnLoss::Release).on_close(OnClose::Keep).released_by_anyone(true));
    let client = manager.connect_blocking();
    let lock = client.lock_with("lock", preset).unwrap();

    let leaver = manager.connect_blocking();
    let _ = leaver.lock_with("lock", preset).unwrap().acquire().unwrap().keep();
    leaver.close();
    assert!(lock.acquire_within(Duration::ZERO).unwrap().is_none(), "a holder that said goodbye leaves it held");
    let fence = lock.state().unwrap().held.unwrap();
    lock.release(fence).unwrap();

    let other = manager.connect_blocking();
    let theirs = other.lock_with("lock", preset).unwrap().acquire().unwrap().keep();
    lock.release(theirs).unwrap();
    assert!(!lock.is_locked().unwrap(), "anybody releases it");
}
