//! The policy as it is told, and the bounds that it promises.

use std::cell::Cell;

use proptest::prelude::*;

use super::policy::TAKEN;
use super::*;

const BUDGET: Duration = Duration::from_micros(50);
const SHORT: Duration = Duration::from_micros(200);

/// What happens while something is waited for.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// It comes after so many microseconds.
    Comes(u64),
    /// Others take the CPU when it is offered.
    Taken { found: bool, long: bool },
}

/// What a policy did about one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Found,
    InVain,
    LostTheCpu,
    Slept,
}

fn wait(policy: &mut Policy, happens: Happens) -> Did {
    match (policy.begin(None), happens) {
        (Next::Poll(budget), Happens::Comes(after)) => {
            let in_time = Duration::from_micros(after) <= budget;
            policy.learn(if in_time { Polled::InTime } else { Polled::Nothing });
            if in_time { Did::Found } else { Did::InVain }
        }
        (Next::Poll(_), Happens::Taken { found, long }) => {
            policy.learn(Polled::Taken { found, long });
            Did::LostTheCpu
        }
        (Next::SleepAndTell, Happens::Comes(after)) => {
            policy.slept(Duration::from_micros(after));
            Did::Slept
        }
        (Next::SleepAndTell | Next::Sleep, _) => Did::Slept,
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..60_u64).prop_map(Happens::Comes),
        2 => (0..300_u64).prop_map(Happens::Comes),
        2 => (51..200_u64).prop_map(Happens::Comes),
        1 => (200..10_000_000_u64).prop_map(Happens::Comes),
        1 => any::<(bool, bool)>().prop_map(|(found, long)| Happens::Taken { found, long }),
    ]
}

/// Runs of the same, which say more about what is learnt than what changes each time.
fn past() -> impl Strategy<Value = Vec<Happens>> {
    let run = (happens(), prop_oneof![1..4_usize, 100..2000_usize]);
    prop::collection::vec(run, 1..40)
        .prop_map(|runs| runs.into_iter().flat_map(|(what, times)| vec![what; times]).collect())
}

fn policies() -> [Policy; 2] {
    [Policy::of_calls(BusyPoll::Auto, 2), Policy::of_waits(BusyPoll::Auto, 2)]
}

proptest! {
    #[test]
    fn what_is_burnt_in_vain_is_bounded_by_what_was_gained(past in past()) {
        for (which, mut policy) in policies().into_iter().enumerate() {
            let (mut found, mut in_vain, mut short, mut lost) = (0, 0, 0, 0);
            for what in &past {
                match wait(&mut policy, *what) {
                    Did::Found => (found, short) = (found + 1, short + 1),
                    Did::InVain => in_vain += 1,
                    Did::LostTheCpu => lost += 1,
                    Did::Slept => {
                        let is_short = matches!(what, Happens::Comes(after) if Duration::from_micros(*after) <= SHORT);
                        // All that waits for nobody is short.
                        short += usize::from(which == 0 || is_short);
                    }
                }
                prop_assert!(in_vain <= found + short / 128 + 9, "{in_vain} in vain, {found} found, {short} short");
                prop_assert!(lost <= found / 192 + short / 8192 + 6, "{lost} lost, {found} found, {short} short");
            }
        }
    }

    #[test]
    fn what_waits_long_is_polled_for_but_once(past in past(), long in 201..10_000_000_u64) {
        let mut policy = Policy::of_waits(BusyPoll::Auto, 2);
        for what in past {
            wait(&mut policy, what);
        }
        let polled = (0..10_000).filter(|_| wait(&mut policy, Happens::Comes(long)) != Did::Slept).count();
        prop_assert!(polled <= 1, "polled {polled} times");
    }

    #[test]
    fn it_never_polls_where_it_must_not(past in past(), time in 1..10_000_u64) {
        for busy_poll in [BusyPoll::Auto, BusyPoll::Off, BusyPoll::For(Duration::from_micros(time))] {
            let cpus = if busy_poll == BusyPoll::Off { 64 } else { 1 };
            for mut policy in [Policy::of_calls(busy_poll, cpus), Policy::of_waits(busy_poll, cpus)] {
                prop_assert!(past.iter().all(|what| wait(&mut policy, *what) == Did::Slept));
            }
        }
    }

    #[test]
    fn no_time_of_polling_is_longer_than_it_may_be(past in past(), left in 0..2_000_u64) {
        let left = Duration::from_micros(left);
        for mut policy in policies() {
            for what in &past {
                if let Next::Poll(budget) = policy.begin(Some(left)) {
                    prop_assert!(budget <= BUDGET && budget <= left && !budget.is_zero());
                }
                wait(&mut policy, *what);
            }
        }
    }

    #[test]
    fn it_begins_again_after_whatever_was(past in past()) {
        for mut policy in policies() {
            for what in &past {
                wait(&mut policy, *what);
            }
            // Those after the CPU was lost, or those after times in vain: 128, 64 and so on.
            for _ in 0..8192 + 256 + 20 {
                wait(&mut policy, Happens::Comes(10));
            }
            prop_assert!((0..100).all(|_| wait(&mut policy, Happens::Comes(10)) == Did::Found));
        }
    }

    #[test]
    fn a_text_says_what_it_said(time in 0..=1000_u64) {
        let busy_poll = BusyPoll::from(Duration::from_micros(time));
        prop_assert_eq!(busy_poll.to_string().parse(), Ok(busy_poll));
        prop_assert_eq!(time.to_string().parse(), Ok(busy_poll));
    }
}

#[test]
fn late_calls_cost_less_than_a_hundredth_of_their_time() {
    for reply in [51, 60, 1000, 1_000_000] {
        let mut policy = Policy::of_calls(BusyPoll::Auto, 2);
        let in_vain = (0..100_000).filter(|_| wait(&mut policy, Happens::Comes(reply)) == Did::InVain).count();
        let share = in_vain as f64 * BUDGET.as_micros() as f64 / (100_000.0 * reply as f64);
        assert!(in_vain > 0 && share < 0.01, "{share} for replies after {reply} us");
    }
}

#[test]
fn a_few_late_replies_do_not_stop_it() {
    let mut policy = Policy::of_calls(BusyPoll::Auto, 2);
    let reply = |n: u32| Happens::Comes(if n % 4 == 3 { 5000 } else { 25 });
    let polled = (0..1000).filter(|n| wait(&mut policy, reply(*n)) != Did::Slept).count();
    assert!(polled > 600, "{polled} of 1000");
}

#[test]
fn what_waits_for_somebody_is_polled_for_once_that_was_short() {
    let mut policy = Policy::of_waits(BusyPoll::Auto, 2);
    for long in [201, 1000, 1_000_000] {
        assert_eq!(wait(&mut policy, Happens::Comes(long)), Did::Slept);
    }
    assert_eq!(wait(&mut policy, Happens::Comes(200)), Did::Slept);
    assert_eq!(wait(&mut policy, Happens::Comes(20)), Did::Found);
    assert_eq!(wait(&mut policy, Happens::Comes(1000)), Did::InVain);
    assert_eq!(wait(&mut policy, Happens::Comes(20)), Did::Slept);
    assert_eq!(wait(&mut policy, Happens::Comes(20)), Did::Found);
}

/// Others take the CPU, and so many waits are asleep after each time.
fn lose_all(policy: &mut Policy, long: bool, pauses: &[u32]) {
    for pause in pauses {
        assert_eq!(wait(policy, Happens::Taken { found: true, long }), Did::LostTheCpu);
        assert!((0..*pause).all(|_| wait(policy, Happens::Comes(10)) == Did::Slept));
        // For a while nobody wants it.
        assert!((0..63).all(|_| wait(policy, Happens::Comes(10)) == Did::Found));
    }
}

#[test]
fn where_others_want_the_cpu_it_stops_for_longer_each_time() {
    for mut policy in policies() {
        wait(&mut policy, Happens::Comes(10));
        let mut goes_on = policy.clone();
        lose_all(&mut goes_on, false, &[8, 64, 512, 4096, 8192, 8192]);
        goes_on = policy;
        lose_all(&mut goes_on, true, &[1024, 8192, 8192]);
        assert!((0..64 * 3).all(|_| wait(&mut goes_on, Happens::Comes(10)) == Did::Found));
        lose_all(&mut goes_on, true, &[8192]);
        assert!((0..64 * 7).all(|_| wait(&mut goes_on, Happens::Comes(10)) == Did::Found));
        lose_all(&mut goes_on, false, &[512]);
    }
}

#[test]
fn who_stopped_for_another_reason_learns_nothing() {
    let mut policy = Policy::of_calls(BusyPoll::Auto, 2);
    for _ in 0..10 {
        assert_eq!(policy.begin(None), Next::Poll(BUDGET));
        policy.learn(Polled::Interrupted);
    }
}

#[test]
fn a_fixed_time_is_kept_to_whatever_comes_of_it() {
    let time = Duration::from_micros(70);
    for mut policy in [Policy::of_calls(time.into(), 2), Policy::of_waits(time.into(), 2)] {
        for polled in [Polled::Nothing, Polled::Taken { found: false, long: true }, Polled::Nothing, Polled::InTime] {
            assert_eq!(policy.begin(None), Next::Poll(time));
            policy.learn(polled);
        }
    }
    let mut longest = Policy::of_calls(BusyPoll::For(Duration::MAX), 2);
    assert_eq!(longest.begin(None), Next::Poll(LONGEST));
    assert_eq!(Policy::of_calls(BusyPoll::For(Duration::ZERO), 2).begin(None), Next::Sleep);
}

#[test]
fn cpus_may_come_and_go() {
    for busy_poll in [BusyPoll::Auto, BusyPoll::For(BUDGET)] {
        let mut policy = Policy::of_calls(busy_poll, 2);
        for _ in 0..2 {
            assert_eq!(policy.begin(None), Next::Poll(BUDGET));
            policy.note_cpus(1);
            assert_eq!(policy.begin(None), Next::Sleep);
            policy.note_cpus(2);
        }
    }
    let mut off = Policy::of_calls(BusyPoll::Off, 1);
    off.note_cpus(2);
    assert_eq!(off.begin(None), Next::Sleep);
}

#[test]
fn texts_that_say_nothing_are_refused() {
    assert_eq!("auto".parse(), Ok(BusyPoll::Auto));
    assert_eq!(" off ".parse(), Ok(BusyPoll::Off));
    assert_eq!("0".parse(), Ok(BusyPoll::Off));
    assert_eq!("50".parse(), Ok(BusyPoll::For(BUDGET)));
    for text in ["", "on", "1001", "-1", "50us", "0.5", "99999999999999999999"] {
        assert_eq!(text.parse::<BusyPoll>(), Err(NotBusyPoll), "{text}");
    }
    assert_eq!(NotBusyPoll.to_string(), "it is auto, off, or a number of microseconds from 1 to 1000");
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
    let until = |end: Look| move |now: Duration| if now < BUDGET { Look::Nothing } else { end };
    assert_eq!(poll_with(step, |_| Look::Nothing), (Polled::Nothing, 11));
    assert_eq!(poll_with(step, |_| Look::Found), (Polled::InTime, 1));
    assert_eq!(poll_with(step, until(Look::Found)), (Polled::InTime, 10));
    assert_eq!(poll_with(step, until(Look::Stop)), (Polled::Interrupted, 10));
}

#[test]
fn who_is_not_given_the_cpu_back_stops() {
    let now = Instant::now();
    let taken = |found| Polled::Taken { found, long: false };
    for (away, nothing, found) in [
        (BUDGET, None, Polled::InTime),
        (TAKEN, Some(Polled::Nothing), Polled::InTime),
        (TAKEN + Duration::from_micros(1), Some(taken(false)), taken(true)),
    ] {
        let mut spell = Spell::new(BUDGET, now);
        assert_eq!(spell.looked(Look::Nothing, now), None);
        let back = spell.give_way(now, || now + away);
        assert_eq!(back, now + away);
        assert_eq!(spell.looked(Look::Nothing, back), nothing);
        assert_eq!(spell.looked(Look::Found, back), Some(found));
    }
    // Who was interrupted elsewhere than at the offer.
    let late = now + BUDGET + TAKEN * 2;
    assert_eq!(Spell::new(BUDGET, now).looked(Look::Found, late), Some(taken(true)));
    let mut spell = Spell::new(BUDGET, now);
    let later = spell.give_way(now, || now + Duration::from_millis(2));
    assert_eq!(spell.looked(Look::Nothing, later), Some(Polled::Taken { found: false, long: true }));
}
