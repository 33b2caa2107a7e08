//! What many clients see of a manager while things go wrong is explained, every answer of it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;

use holdfast_tests::history::{Plan, Ran, check};
use holdfast_tests::program;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// `HOLDFAST_HISTORY_CALLS` says how many calls, `HOLDFAST_HISTORY_FAULTS` how many faults, `HOLDFAST_HISTORY_SEED` which.
#[test]
fn every_answer_of_every_kind_is_explained_whatever_goes_wrong() {
    let calls = number("HOLDFAST_HISTORY_CALLS", 20_000);
    let faults = number("HOLDFAST_HISTORY_FAULTS", (calls / 2500).max(24));
    let seed = number("HOLDFAST_HISTORY_SEED", u64::from(std::process::id()));
    let plan = Plan { seed, clients: 16, actors: 8, calls, faults };
    println!("HOLDFAST_HISTORY_SEED={seed} HOLDFAST_HISTORY_CALLS={calls} HOLDFAST_HISTORY_FAULTS={faults}");
    let ran = match Ran::run(program!(), &plan, None) {
        Ok(ran) => ran,
        Err(unplanned) => {
            let what = unplanned.to_string();
            panic!("{plan:?}: {what}; the records are in {}", unplanned.keep().display());
        }
    };
    let (records, logs) = (ran.records(), ran.logs());
    let checked = match check(&records, &logs) {
        Ok(checked) => checked,
        Err(violation) => panic!("{plan:?}: {violation}; the records are in {}", ran.keep().display()),
    };
    println!("{:?} in {:?}: {checked:?}", ran.faults, ran.time);
    println!("{} calls/s checked", (checked.calls as f64 / checked.time.as_secs_f64()) as u64);
    assert!(checked.calls as u64 >= calls && ran.faults.total() >= faults / 2, "{checked:?} {:?}", ran.faults);
    assert!(checked.answered * 2 > checked.calls, "most answers are seen: {checked:?}");
    assert!(checked.inputs > checked.calls / 2, "{checked:?}");
}
