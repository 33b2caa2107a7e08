//! Looks for calls before a thread sleeps.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use holdfast_stream::{BusyPoll, Look, Next, Policy, Polled, Spell, allowed_cpus};
use tokio::runtime::Builder;
use tokio::task::yield_now;

/// What a serving thread does before it sleeps.
///
/// Its runtime asks before it sleeps ([`hook`]), and a task of that runtime looks for what comes ([`watch`]): each time that it
/// yields, the runtime asks the system, without waiting, and runs whoever has something to do. Polling is thus an ordinary
/// task that is always ready, and holds up nobody: between two of its turns all others have theirs.
///
/// - The task is woken only as the thread is about to sleep, and only if a connection had something to do since it last
///   polled. A thread that nobody calls sleeps, and one that has work never polls.
/// - Between two looks the CPU is offered to others, clients that share it first of all.
/// - [`Policy`] decides, one for each thread, told how long the thread slept, and what came of polling.
struct Watch {
    policy: Policy,
    /// What wakes the task.
    waker: Option<Waker>,
    /// For which it is woken.
    budget: Option<Duration>,
    /// What [`ACTIVITY`] was when it was last decided whether to poll.
    seen: u64,
    /// The thread sleeps, and the policy wants to know for how long.
    asleep_since: Option<Instant>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
    /// How often connections of this thread had something to do.
    static ACTIVITY: Cell<u64> = const { Cell::new(0) };
}

/// A connection of this thread has something to do.
pub(crate) fn note_activity() {
    ACTIVITY.set(ACTIVITY.get().wrapping_add(1));
}

/// Lets [`watch`] know when a thread of the runtime is about to sleep.
pub(crate) fn hook(builder: &mut Builder) -> &mut Builder {
    builder.on_thread_park(before_sleep).on_thread_unpark(after_sleep)
}

fn before_sleep() {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch.before_sleep();
        }
    });
}

fn after_sleep() {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch
            && let Some(since) = watch.asleep_since.take()
        {
            watch.policy.slept(since.elapsed());
        }
    });
}

impl Watch {
    /// How long to poll, if there was something to do since the last time.
    fn begin(&mut self) -> Next {
        let activity = ACTIVITY.get();
        if activity == self.seen {
            return Next::Sleep;
        }
        self.seen = activity;
        self.policy.begin(None)
    }

    fn before_sleep(&mut self) {
        if self.waker.is_none() {
            return;
        }
        match self.begin() {
            Next::Poll(budget) => {
                self.budget = Some(budget);
                self.waker.iter().for_each(Waker::wake_by_ref);
            }
            Next::SleepAndTell => self.asleep_since = Some(Instant::now()),
            Next::Sleep => {}
        }
    }

    fn learn(&mut self, polled: Polled) {
        self.policy.learn(polled);
        if matches!(polled, Polled::Taken { .. }) {
            // Perhaps there are fewer than there were.
            self.policy.note_cpus(allowed_cpus());
        }
    }
}

/// Ends the watch of this thread with its task.
struct EndWatch;

impl Drop for EndWatch {
    fn drop(&mut self) {
        WATCH.set(None);
    }
}

/// Looks for what comes, as a task of its own, on each thread whose runtime was built with [`hook`]. Does not end.
pub(crate) async fn watch(busy_poll: BusyPoll) {
    let policy = Policy::of_waits(busy_poll, allowed_cpus());
    WATCH.set(Some(Watch { policy, waker: None, budget: None, seen: ACTIVITY.get(), asleep_since: None }));
    let _end = EndWatch;
    loop {
        let mut budget = Some(wanted().await);
        while let Some(next) = budget {
            budget = poll(next).await;
        }
    }
}

/// Waits until the thread would sleep and should poll instead, and gives how long.
async fn wanted() -> Duration {
    poll_fn(|cx| {
        WATCH.with_borrow_mut(|watch| {
            let Some(watch) = watch else { return Poll::Pending };
            if let Some(budget) = watch.budget.take() {
                return Poll::Ready(budget);
            }
            if !watch.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                watch.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
    })
    .await
}

/// Polls once, and gives how long to go on if something came.
async fn poll(budget: Duration) -> Option<Duration> {
    let before = WATCH.with_borrow(|watch| watch.as_ref().map(|watch| watch.seen))?;
    let mut now = Instant::now();
    let mut spell = Spell::new(budget, now);
    loop {
        // The runtime asks the system, and those have their turns who have something to do.
        yield_now().await;
        let has_found = ACTIVITY.get() != before;
        if !has_found {
            now = Instant::now();
        }
        // What was done since the last look is no part of the time that was waited.
        let look = if has_found { Look::Found } else { Look::Nothing };
        if let Some(polled) = spell.looked(look, now) {
            return WATCH.with_borrow_mut(|watch| {
                let watch = watch.as_mut()?;
                watch.learn(polled);
                match watch.begin() {
                    Next::Poll(budget) => Some(budget),
                    Next::SleepAndTell | Next::Sleep => None,
                }
            });
        }
        now = spell.give_way(now, Instant::now);
    }
}
