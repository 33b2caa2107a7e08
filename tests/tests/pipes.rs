//! Pipes between processes that talk, end, are killed, forked, and pass their ends on. What each case does is in
//! `tests/src/pipes/`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use holdfast_tests::Process;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn command(case: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-test-pipes"));
    command.arg(case).env_remove("HOLDFAST_ADDRESS").env_remove("HOLDFAST_AUTHKEY_FILE");
    command
}

fn run(case: &str) {
    Process::start(&mut command(case)).finish();
}

#[test]
fn two_processes_talk_in_small_messages_and_large_ones() {
    run("talk");
}

#[test]
fn a_task_and_a_process_talk() {
    run("talk-async");
}

#[test]
fn one_way_pipes_end_when_the_other_end_is_closed() {
    run("one-way");
}

#[test]
fn a_killed_process_is_the_end_although_its_fork_has_a_copy() {
    run("killed");
}

#[test]
fn who_waits_for_room_is_told_that_the_receiver_was_killed() {
    run("killed-receiver");
}

#[test]
fn a_message_whose_sender_was_killed_is_torn() {
    run("torn");
}

#[test]
fn an_end_goes_from_child_to_grandchild_and_ends_with_the_last() {
    run("passed-on");
}

#[test]
fn an_end_that_no_process_takes_up_is_closed() {
    run("never-begun");
}

#[test]
fn a_fork_can_neither_use_nor_close_an_end() {
    run("fork");
}

#[test]
fn proxies_and_ends_are_refused_where_they_do_not_belong() {
    run("wrong");
}

#[test]
fn a_child_sees_the_end_when_its_parent_is_killed() {
    let mut parent = command("orphan").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(parent.stdout.take().unwrap()).lines();
    let heir = Pid::from_raw(said.next().unwrap().unwrap().parse().unwrap()).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let last = said.next().unwrap().unwrap();
    test_kill_process(heir).expect("the fork lives");
    kill_process(heir, Signal::KILL).unwrap();
    assert_eq!(last, "ended");
}
