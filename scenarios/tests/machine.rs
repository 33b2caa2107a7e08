//! Every scenario, on the bare machines.

use std::collections::BTreeSet;
use std::fs;

use holdfast_scenarios::{Kind, Machine, Ran, folder, run_all, scenarios};

#[test]
fn machines_do_what_the_scenarios_say() {
    let Ran { passed, left_out } = run_all(&mut Machine::plain());
    assert!(passed > 0 && left_out == 0, "a machine is an exact door");
}

#[test]
fn machines_do_it_also_when_they_are_made_anew_from_their_states_all_the_time() {
    run_all(&mut Machine::restored());
}

#[test]
fn every_op_of_every_kind_is_called_and_every_one_that_can_wait_waits() {
    for kind in Kind::all() {
        let scenarios = scenarios(&kind);
        let called: BTreeSet<&str> = scenarios.iter().flat_map(|scenario| scenario.ops()).map(|op| op.name).collect();
        let waiting: BTreeSet<&str> =
            scenarios.iter().flat_map(|scenario| scenario.ops_that_wait()).map(|op| op.name).collect();
        for op in kind.ops() {
            assert!(called.contains(op.name), "no scenario of {} calls {op}", kind.name());
            assert!(!op.waits || waiting.contains(op.name), "in no scenario of {} a call of {op} waits", kind.name());
        }
    }
}

#[test]
fn every_file_is_of_a_kind() {
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let kind = name.strip_suffix(".scenario").and_then(Kind::named);
        assert!(kind.is_some(), "{name} is called after no kind, so nobody reads it");
    }
}
