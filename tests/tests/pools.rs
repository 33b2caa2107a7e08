//! Pools: what callers are given, and what becomes of tasks whose worker or caller is killed.
//!
//! Local workers are processes of the program that has the pool, so what has pools is a program of its own; see its scenarios in
//! `src/pools/`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast::blocking::Pool;
use holdfast::{Named, PoolOptions, Reason};
use holdfast_tests::{Process, Setup, program, until, until_within};

/// No scenario takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(180);

fn pool_program() -> Command {
    Command::new(Path::new(env!("CARGO_BIN_EXE_holdfast-pool-program")))
}

/// Runs a scenario, which panics if anything is not as it is to be.
fn run(scenario: &[&str]) {
    let mut process = Process::start(pool_program().args(scenario));
    let status = until_within(PATIENCE, &format!("{scenario:?} is done"), || process.ended());
    assert!(status.success(), "{scenario:?} failed: {status}");
}

#[test]
fn calls_give_what_the_function_returns_in_order() {
    run(&["methods"]);
}

#[test]
fn results_are_taken_one_by_one_and_elements_no_further_ahead_than_that_takes() {
    run(&["imap"]);
}

#[test]
fn what_is_larger_than_a_request_goes_in_parts() {
    run(&["parts"]);
}

#[test]
fn proxies_are_arguments_and_pools_are_data() {
    run(&["proxies"]);
}

#[test]
fn results_can_be_waited_for_later() {
    run(&["results"]);
}

#[test]
fn callbacks_run_in_the_process_of_the_caller() {
    run(&["callbacks"]);
}

#[test]
fn an_executor_is_one_of_concurrent_futures() {
    run(&["executor"]);
}

#[test]
fn what_is_wrong_is_said() {
    run(&["errors"]);
}

#[test]
fn a_pool_that_comes_to_nothing_tells_every_caller_why() {
    run(&["broken"]);
}

#[test]
fn a_task_is_tried_as_often_as_it_may_be() {
    run(&["tries"]);
}

#[test]
fn workers_are_killed_at_random_and_every_result_is_there_once() {
    run(&["storm", "100000"]);
}

#[test]
fn a_pool_that_is_dropped_leaves_no_process() {
    run(&["pool-dropped"]);
}

#[test]
fn workers_are_made_as_the_options_say() {
    run(&["options"]);
}

#[test]
fn any_process_can_be_a_worker() {
    run(&["joined"]);
}

#[test]
fn nobody_waits_behind_a_long_task() {
    run(&["watch"]);
}

#[test]
fn the_async_library_does_the_same() {
    run(&["async"]);
}

#[test]
fn an_async_executor_needs_one_thread() {
    run(&["async-executor"]);
}

/// A manager that the pool program connects to by default, with a pool.
fn squares() -> (holdfast_tests::Manager, Pool) {
    let manager = Setup::new(program!()).start();
    let pool = manager.connect_blocking().pool("squares").unwrap();
    (manager, pool)
}

fn caller(manager: &holdfast_tests::Manager, what: &str) -> Process {
    let mut command = pool_program();
    manager.connect_blocking().share_with(&mut command);
    Process::start(command.args(["caller", what]))
}

#[test]
fn what_a_caller_left_is_dropped_when_it_is_killed() {
    let (manager, pool) = squares();
    let mut caller = caller(&manager, "dropped");
    assert_eq!(caller.line(), "0");
    assert_eq!(pool.state().unwrap().waiting, 100);
    caller.kill();
    until("its tasks are dropped", || (pool.state().unwrap().waiting == 0).then_some(()));
    assert_eq!(pool.state().unwrap().jobs, 0);
}

#[test]
fn what_a_caller_asked_to_keep_is_done_and_collected_by_another() {
    let (manager, pool) = squares();
    let mut killed = caller(&manager, "kept");
    let job = killed.line().parse().unwrap();
    killed.kill();
    let mut worker = caller(&manager, "works");
    assert_eq!(worker.line(), "ready");
    let late = pool.patience(Duration::ZERO).collect::<i64>(u64::MAX).unwrap_err();
    assert_eq!(late.reason(), Some(Reason::NoJob));
    until("it is done", || (pool.progress(job).unwrap().done == 15).then_some(()));
    assert_eq!(pool.collect::<i64>(job).unwrap(), (0..100).map(|x| x * x).collect::<Vec<_>>());
    until("it is forgotten", || (pool.state().unwrap().jobs == 0).then_some(()));
    assert_eq!(pool.collect::<i64>(job).unwrap_err().reason(), Some(Reason::NoJob));

    // One that nobody wants any more.
    let square = Named::<(i64,), i64>::new("square");
    let job = pool.map_kept(square, 0..10).unwrap();
    assert!(pool.forget(job).unwrap() && !pool.forget(job).unwrap());

    // A worker of another process is killed while it has a task.
    let result = pool.apply_async(Named::<(u64,), u64>::new("sleeps"), (300,)).unwrap();
    until("it has begun", || (pool.state().unwrap().running == 1).then_some(()));
    worker.kill();
    let _follows = caller(&manager, "works");
    assert_eq!(result.get().unwrap(), 300);
    assert_eq!(pool.state().unwrap().lost, 1);
}

#[test]
fn a_pool_is_opened_as_it_was_made() {
    let (manager, _) = squares();
    let client = manager.connect_blocking();
    let once = client.pool_with("once", &PoolOptions::new().tries(1)).unwrap();
    assert_eq!(once.state().unwrap().tries, 1);
    assert_eq!(client.pool("once").unwrap_err().reason(), Some(Reason::OtherSpec));
    client.pool_with("once", &PoolOptions::new().tries(1)).unwrap();
}
