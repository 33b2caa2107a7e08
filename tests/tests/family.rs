//! Processes that a program starts, and their ends. What each case does is in `tests/src/family/`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output, Stdio};

use holdfast_tests::{Process, Setup, program, until};
use rustix::process::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast-test-family");

fn command(case: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg(case).env_remove("HOLDFAST_ADDRESS").env_remove("HOLDFAST_AUTHKEY_FILE");
    command
}

/// Runs a case to its end.
fn run(case: &str) {
    Process::start(&mut command(case)).finish();
}

/// Runs a case that is short, and gives what it said.
fn output(case: &str) -> Output {
    let output = command(case).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn is_there(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

fn pid(line: &str) -> Pid {
    Pid::from_raw(line.parse().unwrap()).unwrap()
}

#[test]
fn a_process_is_started_joined_and_ended() {
    run("life");
}

#[test]
fn a_process_is_started_joined_and_ended_by_async_programs() {
    run("async");
}

#[test]
fn exit_codes_say_how_a_process_ended() {
    run("exit-codes");
}

#[test]
fn an_error_and_a_panic_are_told_under_the_name_of_the_process() {
    let said = String::from_utf8(output("told").stderr).unwrap();
    assert!(said.contains("halver: the function failed: 3 is odd\n"), "{said}");
    assert!(said.contains("panicker: the function panicked: on purpose, at tests/src/family/functions.rs:"), "{said}");
    assert!(said.contains("functions::panics"), "the backtrace leads to the function: {said}");
}

#[test]
fn no_zombie_is_left_whoever_has_a_handle() {
    run("zombies");
}

#[test]
fn daemons_end_when_their_parent_is_killed_and_others_go_on() {
    let mut parent = Process::start(&mut command("orphans"));
    let mut lines = [parent.line(), parent.line()];
    // The child may be first.
    lines.sort();
    let [daemon, there] = lines;
    assert_eq!(there, "there");
    let daemon = pid(&daemon);
    assert!(is_there(daemon));
    parent.kill();
    Process::wait_for_other(daemon);
    assert_eq!(parent.line(), "outlived");
}

#[test]
fn the_end_of_main_ends_daemons_and_waits_for_the_others() {
    let mut parent = Process::start(&mut command("family"));
    let daemon = pid(&parent.line());
    parent.hang_up();
    assert!(parent.wait().success());
    // All of it has happened by now.
    assert!(!is_there(daemon));
    assert_eq!(parent.line_if_any().or_else(|| Some(parent.line())), Some("spoken".to_owned()));
}

#[test]
fn a_daemon_that_does_not_end_when_told_is_killed() {
    let mut parent = Process::start(&mut command("stubborn"));
    let daemon = pid(&parent.line());
    parent.hang_up();
    assert_eq!(parent.line(), "told");
    assert!(parent.wait().success());
    assert!(!is_there(daemon));
}

#[test]
fn processes_know_their_names_parents_and_children() {
    run("identities");
}

#[test]
fn proxies_go_with_the_arguments_and_sessions_are_closed() {
    run("proxies");
}

#[test]
fn proxies_of_the_async_library_go_with_the_arguments() {
    run("proxies-async");
}

#[test]
fn a_manager_of_ones_own_lives_as_long_as_a_child_with_its_proxies() {
    run("manager-goes-first");
}

#[test]
fn proxies_of_a_manager_that_runs_elsewhere_go_with_the_arguments() {
    let manager = Setup::new(program!()).start();
    let client = manager.connect_blocking();
    let mut parent = Command::new(PROGRAM);
    client.share_with(&mut parent);
    Process::start(parent.arg("shared-manager")).finish();
    let dict: holdfast::blocking::Dict<String, i64> = client.dict("shared").unwrap();
    assert_eq!(dict.get("count").unwrap(), Some(5));
    until("their sessions end", || (client.status().unwrap().sessions == 1).then_some(()));
}

#[test]
fn children_inherit_the_manager_and_its_authkey() {
    run("inherited");
}

#[test]
fn arguments_may_be_large() {
    run("large");
}

#[test]
fn a_child_has_the_arguments_of_the_program_and_nothing_to_read_and_its_own_children_are_not_confused() {
    run("surroundings");
}

#[test]
fn the_program_may_be_replaced_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("program");
    std::fs::copy(PROGRAM, &copy).unwrap();
    Process::start(Command::new(copy).arg("replaced")).finish();
}

#[test]
fn an_end_whose_status_somebody_else_took_is_an_end() {
    run("status-lost");
}

#[test]
fn a_main_that_runs_a_runtime_may_call_init_inside_of_it() {
    run("async-main");
}

#[test]
fn without_init_nothing_is_started() {
    run("no-init");
}

#[test]
fn what_is_wrong_is_said() {
    let output = output("wrong");
    let said = String::from_utf8(output.stderr).unwrap();
    for part in [
        "could not begin: no function is registered as \"of nobody\" in this program: put #[holdfast::function] over it",
        "could not begin: the arguments of halve cannot be read: expected i64, found the text \"four\"",
        "is a daemon, and daemons have no children",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[test]
fn what_is_wrong_in_async_programs_is_said() {
    run("wrong-async");
}

#[test]
fn a_fork_has_not_its_parents_children() {
    run("fork");
}

#[test]
fn nothing_is_started_when_the_family_is_dropped() {
    run("family-dropped");
}
