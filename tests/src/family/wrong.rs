//! What is refused, and how.

use std::time::Duration;

use holdfast::blocking::{Dict, Event, Manager, Process};
use holdfast::{CodecError, Error, Family, Named, ProcessError};
use holdfast_tests::PATIENCE;
use rustix::process::{WaitOptions, waitpid};

use crate::functions::*;
use crate::{run, say};

/// The exit code of a child that could not call its function.
const NOT_BEGUN: i32 = 125;

fn unregistered() {}

pub(crate) fn no_init() {
    let error = Process::new(nothing, ()).start().unwrap_err();
    assert!(matches!(error, Error::Process(ProcessError::NotInitialized)), "{error}");
    assert!(error.to_string().contains("let _family = holdfast::init();"));
}

pub(crate) fn family_dropped(family: Family) {
    drop(family);
    let error = Process::new(nothing, ()).start().unwrap_err();
    assert!(matches!(error, Error::Process(ProcessError::Ending)), "{error}");
}

pub(crate) fn wrong() {
    let error = Process::new(unregistered, ()).start().unwrap_err();
    assert!(matches!(&error, Error::NotRegistered { function } if function.ends_with("unregistered")), "{error}");
    // A closure is no function that another process can find.
    let error = Process::new(|_: i64| (), (1,)).start().unwrap_err();
    assert!(matches!(error, Error::NotRegistered { .. }), "{error}");

    not_started();
    only_once();

    // What the other process finds out.
    assert_eq!(run(Process::new(Named::<(), ()>::new("of nobody"), ())), Some(NOT_BEGUN));
    assert_eq!(run(Process::new(Named::<(String,), i64>::new("halve"), ("four".to_owned(),))), Some(NOT_BEGUN));
    assert_eq!(run(Process::new(Named::<(i64, i64), i64>::new("halve"), (4, 2))), Some(NOT_BEGUN));
    assert_eq!(run(Process::new(starts_a_child, ())), Some(0));
    say("a daemon has no children:");
    assert_eq!(run(Process::new(starts_a_child, ()).daemon(true)), Some(1));

    let mut running = Process::new(forever, ());
    running.start().unwrap();
    let pid = running.pid().unwrap();
    let error = running.close().unwrap_err();
    assert!(matches!(error, Error::Process(ProcessError::StillRunning { .. })), "{error}");
    let active = holdfast::blocking::active_children();
    assert_eq!(active.iter().map(Process::pid).collect::<Vec<_>>(), [Some(pid)], "it goes on");
    active[0].kill().unwrap();

    of_two_sessions();
}

fn not_started() {
    let process = Process::new(nothing, ());
    let is_not_started = |result: holdfast::Result<()>, asked: &str| {
        let error = result.unwrap_err();
        let Error::Process(ProcessError::NotStarted { name, what }) = &error else { panic!("{error}") };
        assert_eq!((&**name, *what), (process.get_name(), asked));
    };
    is_not_started(process.join(), "join");
    is_not_started(process.join_within(Duration::ZERO).map(drop), "join");
    is_not_started(process.terminate(), "terminate");
    is_not_started(process.kill(), "kill");
    process.close().unwrap();
}

fn only_once() {
    let mut process = Process::new(nothing, ());
    process.start().unwrap();
    let twice = |process: &mut Process| {
        let error = process.start().unwrap_err();
        assert!(matches!(error, Error::Process(ProcessError::AlreadyStarted { .. })), "{error}");
    };
    twice(&mut process);
    process.join().unwrap();
    twice(&mut process);
    assert_eq!(process.exit_code().unwrap(), Some(0), "it is the one that was started");
}

fn of_two_sessions() {
    let manager = Manager::start().unwrap();
    let other =
        Manager::connect_with(&holdfast::Options::default().address(manager.address()).authkey_file(
            std::env::var_os("HOLDFAST_AUTHKEY_FILE").map_or_else(|| authkey_beside(&manager), Into::into),
        ))
        .unwrap();
    let (mine, its): (Event, Event) = (manager.new_event().unwrap(), other.new_event().unwrap());
    let error = Process::new(Named::<(Event, Event), ()>::new("of nobody"), (mine, its)).start().unwrap_err();
    assert!(matches!(error, Error::OtherSession { .. }), "{error}");
}

/// The authkey file of a private manager is beside its socket.
fn authkey_beside(manager: &Manager) -> std::path::PathBuf {
    let mut command = std::process::Command::new("true");
    manager.share_with(&mut command);
    let file = command.get_envs().find(|(name, _)| *name == "HOLDFAST_AUTHKEY_FILE").and_then(|(_, file)| file);
    file.unwrap().into()
}

pub(crate) async fn wrong_async() {
    // The blocking library cannot be used inside of a runtime's thread for long, but its proxies may be there.
    let dict: Dict<String, i64> =
        tokio::task::spawn_blocking(|| Manager::start().unwrap().new_dict().unwrap()).await.unwrap();
    let mut process = holdfast::Process::new(Named::<(Dict<String, i64>,), ()>::new("count_late"), (dict.clone(),));
    let error = process.start().await.unwrap_err();
    assert!(matches!(error, Error::Process(ProcessError::OtherLibrary { .. })), "{error}");
    tokio::task::spawn_blocking(|| drop(dict)).await.unwrap();

    let mut process = holdfast::Process::new(nothing, ());
    assert!(matches!(process.join().await.unwrap_err(), Error::Process(ProcessError::NotStarted { .. })));
    process.start().await.unwrap();
    let error = process.start().await.unwrap_err();
    assert!(matches!(error, Error::Process(ProcessError::AlreadyStarted { .. })), "{error}");
    process.join().await.unwrap();
    let deep = (0..2000).fold(Nested(Vec::new()), |inner, _| Nested(vec![inner]));
    let error = holdfast::Process::new(Named::<(Nested,), ()>::new("of nobody"), (deep,)).start().await.unwrap_err();
    assert!(matches!(error, Error::Codec(CodecError::TooDeep)), "{error}");
}

/// In a fork, the parent's children are not one's own; one's own are.
pub(crate) fn fork() {
    let mut process = Process::new(forever, ());
    process.start().unwrap();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let is_refused = |result: holdfast::Result<()>| {
                let error = result.unwrap_err();
                assert!(matches!(error, Error::Process(ProcessError::OfAnotherProcess { .. })), "{error}");
            };
            is_refused(process.is_alive().map(drop));
            is_refused(process.exit_code().map(drop));
            is_refused(process.join());
            is_refused(process.terminate());
            is_refused(process.kill());
            assert!(holdfast::blocking::active_children().is_empty());
            assert_eq!(run(Process::new(nothing, ())), Some(0));
            // Its `Family` is the parent's, and must not wait for the parent's child.
        }
        fork::Fork::Parent(pid) => {
            let (_, status) = waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
            assert!(process.is_alive().unwrap());
            process.kill().unwrap();
            assert!(process.join_within(PATIENCE).unwrap());
        }
    }
}
