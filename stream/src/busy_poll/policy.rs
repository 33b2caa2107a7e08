//! The decision: a state machine without clock, socket or thread.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use super::BusyPoll;

/// How long `auto` polls at most: about what it takes to wake a CPU that has gone idle, measured as 40 to 60 µs where the
/// manager and its client are alone on a machine. Whoever polls for as long as sleeping would have cost, and sleeps then, pays
/// at most twice of what the better choice would have been.
const BUDGET: Duration = Duration::from_micros(50);

/// A wait asleep that was no longer is taken for one that polling might have ended in time: what came within the budget is
/// heard of when this end is awake, and the other end may have had to wake before it spoke.
const SHORT: Duration = Duration::from_micros(200);

/// Others who have the CPU for longer at a time have work to do with it: it is not the other end that answers, nor somebody
/// who polls as well. Where two processes hand each other a lock on two CPUs, so that three poll, some are away for more than
/// 25 µs now and then with nobody else on the machine; who sleeps for that loses more than by staying: 0.7 of the time without
/// polling, against 0.3 with any value from 75 to 150 µs. Processes with work keep a CPU for milliseconds.
pub(super) const TAKEN: Duration = Duration::from_micros(100);

/// After so many times in a row in vain, this many waits are asleep before polling is tried again.
const LONGEST_PAUSE: u32 = 128;

/// Others who have the CPU for longer than this have enough work for a slice of the scheduler.
pub(super) const SLICE: Duration = Duration::from_millis(1);

/// Where others took the CPU, so many waits are asleep, and each time so many times as many. The first time may be chance: an
/// interrupt, or a thread that moved to another CPU since.
const PAUSE_FOR_OTHERS: u32 = 8;

/// The first time, if they took it for a slice.
const PAUSE_FOR_SLICE: u32 = 1024;

/// At the most. A slice is a hundred times of what polling gains, and with many others it is one of each.
const LONGEST_PAUSE_FOR_OTHERS: u32 = 8192;

/// What was learnt of others is half forgotten after so many times in which they did not want the CPU.
const FORGET_OTHERS: u32 = 64;

/// Whether to poll before going to sleep, and for how long: the one policy of the manager and of both drivers of clients.
///
/// A thread that sleeps leaves its CPU idle, and waking an idle CPU takes longer than all the rest of a call. Whoever polls
/// instead goes on in a fraction of the time. That costs a CPU while it lasts. So one that was made of [`BusyPoll::Auto`]
/// keeps these rules:
///
/// - It polls after activity only, for no longer than 50 µs, and then sleeps. Who has nothing to wait for, or is not
///   spoken to, never polls.
/// - Polling must be deserved. After a time in vain, the waits that follow are asleep: 1, then 2, 4 and so on up to 128, twice as
///   many after each that was in vain, half as many after each that was not. Only *short* waits count; at the manager, and
///   for calls that wait for somebody, these are no longer than 200 µs, and one of them comes before the first time. So of
///   waits that are all long none is polled for, but for the first after a short one. A call that waits for nobody is short
///   by its nature, and each counts: if the manager is far away, one of 129 is polled for, which is less than 1 % of the time.
/// - Hence the bound: among waits of which `short` are short and `found` were polled for and ended in time, polling was
///   in vain at most `found + short / 128 + 9` times, 50 µs each. What is burnt in vain is at most as much as polling
///   gained, and 1 in 128 of the waits that might have gained.
/// - Where there is more to run than CPUs, the time is others'. Between two looks the CPU is offered to them, and where
///   somebody took it for longer than 100 µs, polling ends, and 8 short waits are asleep, or 1024 if it was longer than 1 ms;
///   after the next time 8 times as many, up to 8192: who sleeps is given the CPU sooner than who offered it. Only
///   64 times in which nobody else wanted the CPU halve that. So the CPU was lost at most `found / 192 + short / 8192 + 6`
///   times.
/// - With one CPU it never polls: nobody could answer meanwhile.
///
/// [`BusyPoll::For`] keeps to the first and the last of these rules alone, for the time that it says; but who has lost the
/// CPU meanwhile goes to sleep.
///
/// Calls and those that wait for others need policies of their own, and so does each object that is waited for, and each way
/// to do it: that a queue is never full says nothing about when there will be something in it. Only what is learnt of others
/// who want the CPU holds for all of a process ([`learn_of_others`](Self::learn_of_others)).
///
/// It is told what happened: [`learn`](Self::learn) what came of polling, [`slept`](Self::slept) how long a wait was.
#[derive(Clone, Debug)]
pub struct Policy {
    way: Way,
    /// Only waits asleep that were not longer count.
    short: Option<Duration>,
    /// How many waits are asleep after a time in vain.
    pause: u32,
    /// How many waits are asleep after others took the CPU.
    pause_for_others: u32,
    /// How often something was found since then, or since that was halved.
    found: u32,
    /// How many waits are yet to be asleep.
    asleep: u32,
}

/// How it polls, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Never,
    /// There is but one CPU; else it would be as the user wants.
    OneCpu(BusyPoll),
    Learning,
    Always(Duration),
}

/// What to do before something comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Poll for so long, tell what came of it, and then sleep.
    Poll(Duration),
    /// Sleep, and tell for how long.
    SleepAndTell,
    /// Sleep.
    Sleep,
}

/// What came of polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Something came, and nobody else wanted the CPU.
    InTime,
    /// Nothing came within the budget.
    Nothing,
    /// Others had the CPU for long meanwhile; then there was something, or nothing.
    Taken {
        /// Whether there was something.
        found: bool,
        /// Whether they had it for longer than 1 ms.
        long: bool,
    },
    /// It was not waited for as long as the budget, for another reason.
    Interrupted,
}

impl Polled {
    /// Whether there is something to be read.
    #[must_use]
    pub fn has_found(self) -> bool {
        matches!(self, Self::InTime | Self::Taken { found: true, .. })
    }
}

/// How many CPUs this thread may use: its affinity, and the share of them that its control group grants. Some files are read
/// for that.
#[must_use]
pub fn allowed_cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

impl Policy {
    /// For calls that are answered as soon as they are heard. `cpus` is how many this process may use.
    #[must_use]
    pub fn of_calls(busy_poll: BusyPoll, cpus: usize) -> Self {
        Self { way: Way::new(busy_poll, cpus), short: None, pause: 0, pause_for_others: 0, found: 0, asleep: 0 }
    }

    /// For waits that may end at any time: of calls that wait for somebody, of a manager for calls.
    #[must_use]
    pub fn of_waits(busy_poll: BusyPoll, cpus: usize) -> Self {
        Self { short: Some(SHORT), asleep: 1, ..Self::of_calls(busy_poll, cpus) }
    }

    /// Something is about to be waited for, for as long as `left`.
    pub fn begin(&mut self, left: Option<Duration>) -> Next {
        let budget = match self.way {
            Way::Never | Way::OneCpu(_) => return Next::Sleep,
            Way::Learning if self.asleep == 0 => BUDGET,
            Way::Learning if self.short.is_some() => return Next::SleepAndTell,
            Way::Learning => {
                self.asleep -= 1;
                return Next::Sleep;
            }
            Way::Always(budget) => budget,
        };
        match left.map_or(budget, |left| left.min(budget)) {
            Duration::ZERO => Next::Sleep,
            budget => Next::Poll(budget),
        }
    }

    /// What came of polling.
    pub fn learn(&mut self, polled: Polled) {
        match polled {
            Polled::InTime => {
                self.pause /= 2;
                self.asleep = self.pause;
                self.found += 1;
                if self.found == FORGET_OTHERS {
                    (self.found, self.pause_for_others) = (0, self.pause_for_others / 2);
                }
            }
            Polled::Nothing => {
                self.pause = (self.pause * 2).clamp(1, LONGEST_PAUSE);
                self.asleep = self.pause;
            }
            Polled::Taken { long, .. } => {
                let least = if long { PAUSE_FOR_SLICE } else { PAUSE_FOR_OTHERS };
                let pause = self.pause_for_others.saturating_mul(PAUSE_FOR_OTHERS);
                (self.found, self.pause_for_others) = (0, pause.clamp(least, LONGEST_PAUSE_FOR_OTHERS));
                self.asleep = self.pause_for_others.max(self.pause);
            }
            Polled::Interrupted => {}
        }
    }

    /// Takes over what another policy of the same process has just learnt of others who want the CPU: whatever is waited for,
    /// they are the same.
    pub fn learn_of_others(&mut self, from: &Self) {
        self.pause_for_others = self.pause_for_others.max(from.pause_for_others);
        // What is left of a pause for them, and not of one after times in vain.
        self.asleep = self.asleep.max(from.asleep.min(from.pause_for_others));
        self.found = 0;
    }

    /// A wait asleep has ended that was to be told of.
    pub fn slept(&mut self, time: Duration) {
        if self.short.is_some_and(|short| time <= short) {
            self.asleep = self.asleep.saturating_sub(1);
        }
    }

    /// So many CPUs may be used from now on.
    pub fn note_cpus(&mut self, cpus: usize) {
        self.way = match (self.way, cpus > 1) {
            (Way::OneCpu(busy_poll), true) => Way::new(busy_poll, cpus),
            (Way::Learning, false) => Way::OneCpu(BusyPoll::Auto),
            (Way::Always(budget), false) => Way::OneCpu(BusyPoll::For(budget)),
            (way, _) => way,
        };
    }
}

impl Way {
    fn new(busy_poll: BusyPoll, cpus: usize) -> Self {
        match busy_poll {
            BusyPoll::Off => Self::Never,
            _ if cpus <= 1 => Self::OneCpu(busy_poll),
            BusyPoll::Auto => Self::Learning,
            BusyPoll::For(time) => match BusyPoll::from(time) {
                BusyPoll::For(time) => Self::Always(time),
                _ => Self::Never,
            },
        }
    }
}
