//! A program that starts processes, and checks what becomes of them. The first argument is what it does; its children have the same.
//!
//! It ends with success if all was as it must be. What only its test can see, it prints.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong is to panic")]

mod functions;
mod wrong;

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast::blocking::{Dict, Lock, Manager, Process, active_children};
use holdfast::current_process;
use holdfast_tests::{PATIENCE, until};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use functions::*;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["no-init"] => return wrong::no_init(),
        // Children get there too, and so call `init` inside of a runtime.
        ["async-main"] => return async_main(),
        _ => {}
    }
    let _family = holdfast::init();
    match arguments[..] {
        ["life"] => life(),
        ["exit-codes"] => exit_codes(),
        ["told"] => told(),
        ["zombies"] => zombies(),
        ["orphans"] => orphans(),
        ["family"] => family(),
        ["stubborn"] => stubborn(),
        ["identities"] => identities(),
        ["proxies"] => proxies(),
        ["proxies-async"] => runtime().block_on(proxies_async()),
        ["manager-goes-first"] => manager_goes_first(),
        ["shared-manager"] => shared_manager(),
        ["inherited"] => inherited(),
        ["large"] => large(),
        ["surroundings"] => surroundings(),
        ["hello"] => say("hello"),
        ["replaced"] => replaced(),
        ["status-lost"] => status_lost(),
        ["async"] => runtime().block_on(life_async()),
        ["wrong"] => wrong::wrong(),
        ["wrong-async"] => runtime().block_on(wrong::wrong_async()),
        ["fork"] => wrong::fork(),
        ["family-dropped"] => wrong::family_dropped(_family),
        _ => panic!("no such case: {arguments:?}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Tells the test something, unless it is over.
fn say(what: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{what}").and_then(|()| stdout.flush());
}

/// Waits until the test is over.
fn stay() {
    std::io::stdin().lock().lines().for_each(drop);
}

/// Starts a process, waits for its end, and says how it ended.
fn run(mut process: Process) -> Option<i32> {
    process.start().unwrap();
    assert!(process.join_within(PATIENCE).unwrap(), "{process:?} was to end");
    process.exit_code().unwrap()
}

fn life() {
    let mut process = Process::new(forever, ()).name("the sleeper");
    assert_eq!((process.get_name(), process.is_daemon(), process.pid()), ("the sleeper", false, None));
    assert_eq!((process.is_alive().unwrap(), process.exit_code().unwrap()), (false, None));
    process.start().unwrap();
    assert!(process.is_alive().unwrap());
    assert_eq!(process.exit_code().unwrap(), None);
    assert!(Path::new("/proc").join(process.pid().unwrap().to_string()).exists());
    assert!(!process.join_within(Duration::from_millis(20)).unwrap());
    assert!(!process.join_within(Duration::ZERO).unwrap());
    process.terminate().unwrap();
    process.join().unwrap();
    assert_eq!((process.is_alive().unwrap(), process.exit_code().unwrap()), (false, Some(-15)));
    // As often as one likes, and also when it is too late.
    process.join().unwrap();
    process.terminate().unwrap();
    process.kill().unwrap();
    process.close().unwrap();

    let mut process = Process::new(forever, ()).daemon(true);
    assert!(process.is_daemon());
    process.start().unwrap();
    process.kill().unwrap();
    process.join().unwrap();
    assert_eq!(process.exit_code().unwrap(), Some(-9));

    // What is in memory here is not there, nor the other way round.
    COUNTER.store(5, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(run(Process::new(count_up, (0,))), Some(0));
    assert_eq!(COUNTER.load(std::sync::atomic::Ordering::Relaxed), 5);
}

async fn life_async() {
    let mut process = holdfast::Process::new(forever, ());
    process.start().await.unwrap();
    assert!(process.is_alive().unwrap());
    assert!(!process.join_within(Duration::from_millis(20)).await.unwrap());
    assert_eq!(holdfast::active_children().len(), 1);
    // Of two who wait, one gives up: the other is told all the same.
    let (first, second) = (process.join(), process.join());
    let mut first = Box::pin(first);
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    process.terminate().unwrap();
    second.await.unwrap();
    assert_eq!(process.exit_code().unwrap(), Some(-15));
    process.join().await.unwrap();
    assert!(process.join_within(PATIENCE).await.unwrap());

    let mut process = holdfast::Process::new(parents_async, ());
    process.start().await.unwrap();
    process.join().await.unwrap();
    assert_eq!(process.exit_code().unwrap(), Some(0));
}

fn exit_codes() {
    assert_eq!(run(Process::new(nothing, ())), Some(0));
    assert_eq!(run(Process::new(halve, (4,))), Some(0));
    assert_eq!(run(Process::new(halve, (3,))), Some(1));
    assert_eq!(run(Process::new(panics, ("on purpose".to_owned(),))), Some(1));
    assert_eq!(run(Process::new(leave, (7,))), Some(7));
    assert_eq!(run(Process::new(returns_no_datum, ())), Some(0));
}

/// What is said on standard error, for the test to read.
fn told() {
    assert_eq!(run(Process::new(halve, (3,)).name("halver")), Some(1));
    assert_eq!(run(Process::new(panics, ("on purpose".to_owned(),)).name("panicker")), Some(1));
}

/// Processes are reaped when they have ended, whoever has a handle.
fn zombies() {
    let mut held = Process::new(nothing, ());
    held.start().unwrap();
    let mut pids = vec![held.pid().unwrap()];
    for _ in 0..3 {
        let mut dropped = Process::new(nothing, ());
        dropped.start().unwrap();
        pids.push(dropped.pid().unwrap());
    }
    for pid in pids {
        until("it ends and is reaped", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    }
    assert_eq!(held.exit_code().unwrap(), Some(0));
    assert!(active_children().is_empty());
}

/// Says which children it has, and stays until it is killed.
fn orphans() {
    let mut daemon = Process::new(forever, ()).daemon(true);
    let mut other = Process::new(outlive, ());
    daemon.start().unwrap();
    other.start().unwrap();
    say(daemon.pid().unwrap());
    stay();
}

/// Returns from `main` while both run.
fn family() {
    let mut daemon = Process::new(forever, ()).daemon(true);
    daemon.start().unwrap();
    say(daemon.pid().unwrap());
    let mut other = Process::new(speak_late, ());
    other.start().unwrap();
}

/// Returns from `main` while a daemon runs that does not want to end.
fn stubborn() {
    let mut daemon = Process::new(never_end, ()).daemon(true);
    daemon.start().unwrap();
    // It says so itself when it does not listen any more.
    stay();
}

fn identities() {
    assert_eq!(current_process().name(), "MainProcess");
    assert_eq!((current_process().pid(), current_process().is_daemon()), (std::process::id(), false));
    assert!(holdfast::blocking::parent_process().is_none());
    let mut first = Process::new(nothing, ());
    let mut second = Process::new(forever, ()).name("the second").daemon(true);
    let mut third = Process::new(forever, ());
    assert_eq!((first.get_name(), third.get_name()), ("Process-1", "Process-3"));
    for process in [&mut first, &mut second, &mut third] {
        process.start().unwrap();
    }
    first.join().unwrap();
    let active: Vec<Process> = active_children();
    let names: Vec<&str> = active.iter().map(Process::get_name).collect();
    assert_eq!(names, ["the second", "Process-3"]);
    assert!(active[0].is_daemon() && !active[1].is_daemon());
    active[1].kill().unwrap();
    third.join().unwrap();
    assert_eq!(run(Process::new(is_named, ("Process-4".to_owned(), false, std::process::id()))), Some(0));
    assert_eq!(
        run(Process::new(is_named, ("eve".to_owned(), true, std::process::id())).name("eve").daemon(true)),
        Some(0)
    );
    assert_eq!(run(Process::new(has_children, ("Process-6".to_owned(),))), Some(0));
}

fn proxies() {
    let manager = Manager::start().unwrap();
    let (dict, lock): (Dict<String, i64>, Lock) = (manager.new_dict().unwrap(), manager.new_lock().unwrap());
    let before = manager.status().unwrap();
    let children: Vec<Process> = (0..4).map(|_| Process::new(count, (dict.clone(), vec![lock.clone()], 25))).collect();
    let children: Vec<Process> = children
        .into_iter()
        .map(|mut child| {
            child.start().unwrap();
            child
        })
        .collect();
    for child in children {
        assert!(child.join_within(PATIENCE).unwrap());
        assert_eq!(child.exit_code().unwrap(), Some(0));
    }
    assert_eq!(dict.get("count").unwrap(), Some(100));
    // They said goodbye before they ended, and what carried the arguments is gone.
    let after = manager.status().unwrap();
    assert_eq!((after.sessions, after.objects), (before.sessions, before.objects));
}

async fn proxies_async() {
    let manager = holdfast::Manager::start().await.unwrap();
    let dict: holdfast::Dict<String, i64> = manager.new_dict().await.unwrap();
    let sessions = manager.status().await.unwrap().sessions;
    let mut child = holdfast::Process::new(count_async, (dict.clone(), 25));
    child.start().await.unwrap();
    assert!(child.join_within(PATIENCE).await.unwrap());
    assert_eq!(child.exit_code().unwrap(), Some(0));
    assert_eq!(dict.get("count").await.unwrap(), Some(25));
    assert_eq!(manager.status().await.unwrap().sessions, sessions);
}

/// A manager of one's own lives for as long as a child has proxies of it.
fn manager_goes_first() {
    let manager = Manager::start().unwrap();
    let dict: Dict<String, i64> = manager.new_dict().unwrap();
    let pid = manager.status().unwrap().pid;
    let mut child = Process::new(count_late, (dict.clone(),));
    child.start().unwrap();
    drop(dict);
    drop(manager);
    assert!(child.join_within(PATIENCE).unwrap());
    assert_eq!(child.exit_code().unwrap(), Some(0));
    until("it ends then", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

/// With the manager that the environment names.
fn shared_manager() {
    let manager = Manager::connect_default().unwrap();
    let dict: Dict<String, i64> = manager.dict("shared").unwrap();
    let lock = manager.lock("lock").unwrap();
    assert_eq!(run(Process::new(count, (dict, vec![lock], 5))), Some(0));
}

/// A child connects to its parent's manager without being told how.
fn inherited() {
    let manager = Manager::start().unwrap();
    let pid = manager.status().unwrap().pid;
    let address = manager.address().to_string();
    assert_eq!(run(Process::new(connects, (pid, address.clone()))), Some(0));
    // So does a grandchild, although its parent has no session.
    assert_eq!(run(Process::new(has_a_child_that_connects, (pid, address.clone()))), Some(0));
    // The manager of the arguments comes before one to which the parent connected later.
    let other = Manager::start().unwrap();
    let other_pid = other.status().unwrap().pid;
    assert_eq!(run(Process::new(connects_with, (manager.new_event().unwrap(), pid))), Some(0));
    assert_eq!(run(Process::new(connects, (other_pid, other.address().to_string()))), Some(0));
    // When the later is over, the earlier is meant.
    other.close();
    assert_eq!(run(Process::new(connects, (pid, address))), Some(0));
}

fn large() {
    for size in [0, 3000, 4096, 5000, 48 << 20] {
        let text = "x".repeat(size);
        assert_eq!(run(Process::new(has_length, (text, size))), Some(0), "of {size} bytes");
    }
}

fn surroundings() {
    let arguments: Vec<String> = std::env::args().collect();
    assert_eq!(run(Process::new(has_nothing_to_read, (arguments,))), Some(0));
    assert_eq!(run(Process::new(runs_the_program, ())), Some(0));
}

/// The program is taken away while it runs.
fn replaced() {
    std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(run(Process::new(nothing, ())), Some(0));
    let other = Path::new(&std::env::args().next().unwrap()).to_owned();
    std::fs::write(other, "another program").unwrap();
    assert_eq!(run(Process::new(nothing, ())), Some(0));
}

/// Another part of the program waits for whatever ends, and gets there first now and then.
fn status_lost() {
    std::thread::spawn(|| {
        loop {
            // There may be none at the moment.
            let _ = waitid(WaitId::All, WaitIdOptions::EXITED);
            std::thread::yield_now();
        }
    });
    until("a status is taken by the other", || {
        let mut process = Process::new(forever, ());
        process.start().unwrap();
        process.kill().unwrap();
        assert!(process.join_within(PATIENCE).unwrap());
        assert!(!process.is_alive().unwrap());
        match process.exit_code().unwrap() {
            Some(code) => {
                assert_eq!(code, -9);
                None
            }
            None => Some(()),
        }
    });
}

fn async_main() {
    runtime().block_on(async {
        let _family = holdfast::init();
        let mut process = holdfast::Process::new(blocks_on, ());
        process.start().await.unwrap();
        process.join().await.unwrap();
        assert_eq!(process.exit_code().unwrap(), Some(0));
        let mut process = holdfast::Process::new(leave, (7,));
        process.start().await.unwrap();
        process.join().await.unwrap();
        assert_eq!(process.exit_code().unwrap(), Some(7));
    });
}

/// This program, as somebody else would start it.
fn this_program(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(case).stdin(Stdio::null());
    command
}
