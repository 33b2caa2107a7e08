//! When a driver polls the socket before it sleeps.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

/// No budget is longer: whoever polls looks at no deadline and lets nobody else run.
const LONGEST: Duration = Duration::from_millis(1);

/// After so many misses in a row, this many replies are waited for asleep before polling is tried again.
const LONGEST_PAUSE: u32 = 128;

/// Whether to poll the socket for a reply before going to sleep, and for how long.
///
/// A thread that sleeps leaves its CPU idle, and waking an idle CPU takes longer than all the rest of a call. Whoever polls
/// instead has its reply in half the time. That costs a CPU while it lasts, so:
///
/// - Polling happens only inside of a call, and for no longer than the budget. An idle session never polls.
/// - It happens only where it lately paid. A reply that did not come within the budget doubles the number of replies that
///   are then waited for asleep, up to [`LONGEST_PAUSE`]; one that did halves it. Where replies are late (an op that
///   waits, a manager far away, more work than CPUs), one of 129 is polled for, and as each of the others took longer than
///   the budget too, less than 1 % of the time is polled away.
/// - Between two looks the CPU is offered to others. Where they took it for longer than the budget, the longest pause begins
///   at once: who sleeps is given the CPU sooner than who offered it.
/// - A process that may use one CPU only never polls: nobody could answer meanwhile.
///
/// It knows neither sockets nor clocks. [`poll`] does the polling.
#[derive(Clone, Debug)]
pub(crate) struct BusyPoll {
    budget: Duration,
    /// How many replies are waited for asleep after a miss.
    pause: u32,
    /// How many of them are left.
    asleep: u32,
}

impl BusyPoll {
    /// For a session of this process. A budget of 0 means never.
    pub(crate) fn new(budget: Duration) -> Self {
        // Looks at the CPUs that this process may run on, and at the share of them that its control group grants.
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        Self::on(cpus, budget)
    }

    /// For a process that may use so many CPUs.
    pub(crate) fn on(cpus: usize, budget: Duration) -> Self {
        let budget = if cpus > 1 { budget.min(LONGEST) } else { Duration::ZERO };
        Self { budget, pause: 0, asleep: 0 }
    }

    /// A reply is about to be waited for, for as long as `left`: how long to poll for it.
    pub(crate) fn begin(&mut self, left: Option<Duration>) -> Option<Duration> {
        if self.asleep > 0 {
            self.asleep -= 1;
            return None;
        }
        let budget = left.map_or(self.budget, |left| left.min(self.budget));
        (!budget.is_zero()).then_some(budget)
    }

    /// What came of polling.
    pub(crate) fn learn(&mut self, polled: Polled) {
        self.pause = match polled {
            Polled::InTime => self.pause / 2,
            Polled::Nothing => (self.pause * 2).clamp(1, LONGEST_PAUSE),
            // The time that others took is many times what polling gains.
            Polled::Late => LONGEST_PAUSE,
            Polled::Interrupted => return,
        };
        self.asleep = self.pause;
    }
}

/// What came of polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// Something came within the budget.
    InTime,
    /// Something came, but nobody looked in time.
    Late,
    /// Nothing came within the budget.
    Nothing,
    /// It was not waited for as long as the budget, for another reason.
    Interrupted,
}

impl Polled {
    /// Whether there is something to be read.
    pub(crate) fn has_found(self) -> bool {
        matches!(self, Self::InTime | Self::Late)
    }
}

/// What a look at the socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Found,
    Nothing,
    /// It is not for this caller to wait any more.
    Stop,
}

/// Looks until something is found or the time is over. `now` is the clock.
pub(crate) fn poll(budget: Duration, mut now: impl FnMut() -> Instant, mut look: impl FnMut() -> Look) -> Polled {
    let begin = now();
    loop {
        let looked = look();
        let is_over = now().saturating_duration_since(begin) > budget;
        match looked {
            Look::Found if is_over => return Polled::Late,
            Look::Found => return Polled::InTime,
            Look::Stop => return Polled::Interrupted,
            Look::Nothing if is_over => return Polled::Nothing,
            Look::Nothing => {}
        }
        // The manager may wait for this very CPU: the system likes to wake those who are spoken to where the speaker runs.
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const BUDGET: Duration = Duration::from_micros(50);

    /// Waits for one reply, and says how long it was polled for.
    fn wait(busy_poll: &mut BusyPoll, reply: Duration) -> Duration {
        let Some(budget) = busy_poll.begin(None) else { return Duration::ZERO };
        busy_poll.learn(if reply <= budget { Polled::InTime } else { Polled::Nothing });
        reply.min(budget)
    }

    #[test]
    fn replies_in_time_are_always_polled_for() {
        let mut busy_poll = BusyPoll::on(2, BUDGET);
        for _ in 0..1000 {
            assert_eq!(wait(&mut busy_poll, BUDGET), BUDGET);
        }
    }

    #[test]
    fn less_than_a_hundredth_of_the_time_is_polled_away_for_late_replies() {
        for reply in [51, 60, 1000, 1_000_000].map(Duration::from_micros) {
            let mut busy_poll = BusyPoll::on(2, BUDGET);
            let polled: Duration = (0..100_000).map(|_| wait(&mut busy_poll, reply)).sum();
            assert!(!polled.is_zero() && polled < reply * 100_000 / 100, "{polled:?} for replies after {reply:?}");
        }
    }

    #[test]
    fn it_stops_at_once_when_replies_become_late_and_begins_again_when_they_do_not() {
        let mut busy_poll = BusyPoll::on(2, BUDGET);
        let late = (0..255).filter(|_| !wait(&mut busy_poll, BUDGET * 2).is_zero()).count();
        assert_eq!(late, 8, "1 + 1, 1 + 2 and so on, up to 1 + 128");
        // At the longest, the pauses pass that are now halved: 128 + 64 and so on, each with one that is polled for.
        for _ in 0..300 {
            wait(&mut busy_poll, BUDGET);
        }
        assert!((0..100).all(|_| !wait(&mut busy_poll, BUDGET).is_zero()));
    }

    #[test]
    fn a_few_late_replies_do_not_stop_it() {
        let mut busy_poll = BusyPoll::on(2, BUDGET);
        let reply = |n: u32| if n % 4 == 3 { BUDGET * 100 } else { BUDGET / 2 };
        let polled = (0..1000).filter(|n| !wait(&mut busy_poll, reply(*n)).is_zero()).count();
        assert!(polled > 600, "{polled} of 1000");
    }

    #[test]
    fn who_stopped_for_another_reason_learns_nothing() {
        let mut busy_poll = BusyPoll::on(2, BUDGET);
        for _ in 0..10 {
            assert!(busy_poll.begin(None).is_some());
            busy_poll.learn(Polled::Interrupted);
        }
    }

    #[test]
    fn one_cpu_no_budget_or_no_time_means_never() {
        assert_eq!(BusyPoll::on(1, BUDGET).begin(None), None);
        assert_eq!(BusyPoll::on(2, Duration::ZERO).begin(None), None);
        assert_eq!(BusyPoll::on(2, BUDGET).begin(Some(Duration::ZERO)), None);
        assert_eq!(BusyPoll::on(2, BUDGET).begin(Some(BUDGET / 2)), Some(BUDGET / 2));
        assert_eq!(BusyPoll::on(2, BUDGET).begin(Some(BUDGET * 2)), Some(BUDGET));
        assert_eq!(BusyPoll::on(2, Duration::MAX).begin(None), Some(LONGEST));
    }

    /// Polls with a clock that goes on by `step` with every look, and gives what `look` says at that time.
    fn poll_with(step: Duration, look: impl Fn(Duration) -> Look) -> (Polled, u32) {
        let (begin, looks) = (Instant::now(), Cell::new(0));
        let polled = poll(
            BUDGET,
            || begin + step * looks.get(),
            || {
                looks.set(looks.get() + 1);
                look(step * looks.get())
            },
        );
        (polled, looks.get())
    }

    #[test]
    fn it_looks_until_the_budget_is_used_up() {
        let step = BUDGET / 10;
        assert_eq!(poll_with(step, |_| Look::Nothing), (Polled::Nothing, 11));
        assert_eq!(poll_with(step, |_| Look::Found), (Polled::InTime, 1));
        assert_eq!(poll_with(step, |now| if now < BUDGET { Look::Nothing } else { Look::Found }), (Polled::InTime, 10));
        assert_eq!(
            poll_with(step, |now| if now < BUDGET { Look::Nothing } else { Look::Stop }),
            (Polled::Interrupted, 10)
        );
    }

    #[test]
    fn what_is_found_after_others_had_the_cpu_for_long_is_late() {
        assert_eq!(poll_with(BUDGET * 20, |_| Look::Found), (Polled::Late, 1));
        let mut busy_poll = BusyPoll::on(2, BUDGET);
        assert!(busy_poll.begin(None).is_some());
        busy_poll.learn(Polled::Late);
        let asleep = (0..1000).take_while(|_| busy_poll.begin(None).is_none()).count();
        assert_eq!(asleep, LONGEST_PAUSE as usize);
    }
}
