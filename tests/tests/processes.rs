//! Many processes, and what remains when some of them are killed.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast::blocking::{Dict, Manager};
use holdfast::{ConnectError, Error, Reason, Token};
use holdfast_tests::{Process, Setup, Stopped, program, until};
use rustix::process::{Pid, Signal, kill_process};

fn start() -> holdfast_tests::Manager {
    Setup::new(program!()).start()
}

#[test]
fn eight_processes_that_add_at_once_reach_the_exact_total() {
    const EACH: u64 = 1000;
    let manager = start();
    let client = manager.connect_blocking();
    let mut workers: Vec<Process> = (0..8).map(|_| manager.worker(&["add", "counters", &EACH.to_string()])).collect();
    for worker in &workers {
        assert_eq!(worker.line(), "ready");
    }
    workers.iter_mut().for_each(|worker| worker.say("go"));
    let pids: Vec<String> = workers.iter().map(|worker| worker.pid().to_string()).collect();
    workers.into_iter().for_each(Process::finish);
    let counters: Dict<String, u64> = client.dict("counters").unwrap();
    assert_eq!(counters.get("total").unwrap(), Some(8 * EACH));
    for pid in pids {
        assert_eq!(counters.get(&format!("of {pid}")).unwrap(), Some(EACH));
    }
    assert_eq!(counters.len().unwrap(), 9);
    until("their sessions end", || (client.status().unwrap().sessions == 1).then_some(()));
}

#[test]
fn a_process_that_is_killed_gives_back_what_it_had_and_harms_nobody() {
    let manager = start();
    let client = manager.connect_blocking();
    let total: Dict<String, u64> = client.dict("held").unwrap();
    let before = client.status().unwrap();
    let mut workers = [manager.worker(&["hold", "50"]), manager.worker(&["hold", "50"])];
    for worker in &workers {
        assert_eq!(worker.line(), "ready");
    }
    let seen = total.get("adds").unwrap().unwrap_or(0);
    until("they work", || total.get("adds").unwrap().filter(|adds| *adds > seen + 100));
    let during = client.status().unwrap();
    assert_eq!((during.objects, during.sessions), (before.objects + 100, before.sessions + 2));

    let [first, second] = &mut workers;
    first.kill();
    let after = until("the session of the dead ends", || {
        Some(client.status().unwrap()).filter(|status| status.objects == before.objects + 50)
    });
    assert_eq!(after.sessions, before.sessions + 1);
    let seen = total.get("adds").unwrap().unwrap();
    until("the other works on", || total.get("adds").unwrap().filter(|adds| *adds > seen + 100));
    second.kill();
    until("nothing is left", || {
        let status = client.status().unwrap();
        (status.objects == before.objects && status.sessions == before.sessions).then_some(())
    });
    let bytes = client.status().unwrap().bytes;
    total.clear().unwrap();
    assert!(client.status().unwrap().bytes < bytes, "and the bytes are counted off");
    assert_eq!(client.status().unwrap().bytes, before.bytes);
}

/// Sockets that a process has open.
fn sockets(of: Pid) -> BTreeSet<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{of}/fd")).unwrap();
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).collect()
}

/// A process whose child keeps the socket of its session, and that child.
fn with_heir(manager: &holdfast_tests::Manager, calls: usize) -> (Process, Pid) {
    let worker = manager.worker(&["inherited", &calls.to_string()]);
    let heir = Pid::from_raw(worker.line().parse().unwrap()).unwrap();
    assert_eq!(worker.line(), "ready");
    (worker, heir)
}

#[test]
fn a_session_ends_with_its_process_although_another_process_keeps_the_socket() {
    for threads in [1, 2] {
        // With two threads, every other connection is watched on the second.
        let manager = Setup::new(program!()).limit("threads", threads).start();
        let client = manager.connect_blocking();
        for _ in 0..2 {
            let (mut worker, heir) = with_heir(&manager, 0);
            assert_eq!(client.status().unwrap().sessions, 2);
            let of_session = sockets(worker.pid());
            worker.signal(Signal::KILL);
            until("the session of the dead ends", || (client.status().unwrap().sessions == 1).then_some(()));
            worker.kill();
            assert!(sockets(heir).is_superset(&of_session) && !of_session.is_empty(), "the heir has it still");
        }
    }
}

#[test]
fn what_a_process_sent_before_it_was_killed_is_applied_although_another_process_keeps_the_socket() {
    // More than a session has handled in one turn.
    const CALLS: u64 = 2000;
    let manager = start();
    let client = manager.connect_blocking();
    let counter: Dict<u64, u64> = client.dict("inherited").unwrap();
    let (mut worker, _) = with_heir(&manager, CALLS as usize);
    // The manager finds the calls and the end of the process at the same time.
    let stopped = Stopped::new(&manager);
    worker.signal(Signal::USR1);
    assert_eq!(worker.line(), "asked");
    worker.kill();
    drop(stopped);
    until("the session of the dead ends", || (client.status().unwrap().sessions == 1).then_some(()));
    assert_eq!(counter.get(&0).unwrap(), Some(CALLS));
}

#[test]
fn a_token_keeps_its_object_when_its_maker_is_killed() {
    let manager = start();
    let client = manager.connect_blocking();
    let mut maker = manager.worker(&["share"]);
    let text = maker.line();
    maker.kill();
    until("the session of the maker ends", || (client.status().unwrap().sessions == 1).then_some(()));
    assert_eq!(client.status().unwrap().objects, 1, "the token holds it");

    let taker = manager.worker(&["take", &text]);
    assert_eq!(taker.line(), "Some([4, 2])");
    taker.finish();
    let token: Token = text.parse().unwrap();
    let here: Dict<String, Vec<u8>> = client.dict_from_token(&token).unwrap();
    assert_eq!(here.get("from the maker").unwrap(), Some(vec![4, 2]));
    let used_up = client.dict_from_token::<String, Vec<u8>>(&token).unwrap_err();
    assert_eq!(used_up.reason(), Some(Reason::UnknownToken), "{used_up:?}");
    drop(here);
    until("the object goes with the last that refers to it", || (client.status().unwrap().objects == 0).then_some(()));
}

#[test]
fn a_token_that_nobody_takes_up_lets_its_object_go_in_the_end() {
    let manager = start();
    let client = manager.connect_blocking();
    let object: Dict<i64, i64> = client.new_dict().unwrap();
    let token = object.token(1, Duration::from_millis(100)).unwrap();
    drop(object);
    until("the token expires", || (client.status().unwrap().objects == 0).then_some(()));
    let expired = client.dict_from_token::<i64, i64>(&token).unwrap_err();
    assert_eq!(expired.reason(), Some(Reason::UnknownToken), "{expired:?}");
}

#[test]
fn a_token_of_another_life_of_the_manager_is_refused() {
    let first = start();
    let token = first.connect_blocking().new_dict::<i64, i64>().unwrap().token(1, Duration::from_secs(60)).unwrap();
    let second = start();
    let refused = second.connect_blocking().dict_from_token::<i64, i64>(&token).unwrap_err();
    assert!(matches!(refused, Error::Connect(ConnectError::Incarnation)), "{refused:?}");
}

#[test]
fn the_blocking_library_makes_calls_on_the_calling_thread_alone() {
    let manager = start();
    let worker = manager.worker(&["threads"]);
    let counts: Vec<String> = (0..4).map(|_| worker.line()).collect();
    worker.finish();
    assert_eq!(counts, ["1"; 4], "before, after connecting, after calls, after closing");
}

/// A process with a manager of its own.
struct Owner {
    process: Process,
    manager: Pid,
    folder: PathBuf,
}

impl Owner {
    fn start(library: &str) -> Self {
        let runtime = tempfile::Builder::new().prefix("holdfast-test-").tempdir().unwrap();
        let process =
            Process::start(Command::new(program!()).args(["own", library]).env("XDG_RUNTIME_DIR", runtime.path()));
        let manager = Pid::from_raw(process.line().parse().unwrap()).unwrap();
        let address = process.line();
        let socket = Path::new(address.strip_prefix("unix:").unwrap());
        let folder = socket.parent().unwrap().to_owned();
        assert!(folder.starts_with(runtime.path()), "{}", folder.display());
        assert!(socket.exists());
        // The folder of this owner goes when it is dropped.
        let _ = runtime.keep();
        Self { process, manager, folder }
    }

    /// The manager has ended, and has left nothing behind.
    fn manager_is_gone(&self) {
        Process::wait_for_other(self.manager);
        assert!(!self.folder.exists(), "{} is left over", self.folder.display());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // XDG_RUNTIME_DIR/holdfast/private-...
        let runtime = self.folder.ancestors().nth(2).unwrap();
        fs::remove_dir_all(runtime).unwrap();
    }
}

#[test]
fn a_manager_of_ones_own_ends_with_the_last_proxy() {
    for library in ["async", "blocking"] {
        let mut owner = Owner::start(library);
        owner.process.say("drop");
        assert_eq!(owner.process.line(), "done");
        owner.manager_is_gone();
    }
}

#[test]
fn a_manager_of_ones_own_has_ended_when_close_returns() {
    for library in ["async", "blocking"] {
        let mut owner = Owner::start(library);
        owner.process.say("close");
        assert_eq!(owner.process.line(), "done");
        let state = fs::read_to_string(format!("/proc/{}/stat", owner.manager));
        assert!(state.is_err(), "{state:?}");
        owner.manager_is_gone();
    }
}

#[test]
fn a_manager_of_ones_own_that_was_killed_is_told_and_not_started_anew() {
    for library in ["async", "blocking"] {
        let mut owner = Owner::start(library);
        kill_process(owner.manager, Signal::KILL).unwrap();
        Process::wait_for_other(owner.manager);
        owner.process.say("outlive");
        for asked in ["the proxy", "the manager"] {
            let error = owner.process.line();
            assert!(error.contains("this program had started that manager"), "{asked} says {error:?}");
            assert!(error.contains("start another one"), "{asked} says {error:?}");
        }
        assert_eq!(owner.process.line(), "done");
        owner.manager_is_gone();
    }
}

#[test]
fn a_manager_of_ones_own_ends_when_its_owner_is_killed() {
    for library in ["async", "blocking"] {
        let mut owner = Owner::start(library);
        owner.process.kill();
        owner.manager_is_gone();
    }
}

#[test]
fn a_manager_of_ones_own_ends_when_its_owner_is_killed_although_another_process_keeps_the_pipe_open() {
    let mut owner = Owner::start("blocking");
    // As a child of the owner would that was forked without exec: this process has the same pipe open.
    let pipe = fs::read_link(format!("/proc/{}/fd/0", owner.manager)).unwrap();
    let ours = fs::read_dir(format!("/proc/{}/fd", owner.process.pid())).unwrap();
    let ours = ours.map(|fd| fd.unwrap().path()).find(|fd| fs::read_link(fd).is_ok_and(|to| to == pipe)).unwrap();
    let kept_open = OpenOptions::new().write(true).open(ours).unwrap();
    owner.process.kill();
    owner.manager_is_gone();
    drop(kept_open);
}

#[test]
fn a_manager_of_ones_own_serves_the_processes_that_are_told_of_it() {
    let manager = start();
    let client = manager.connect_blocking();
    let mut command = Command::new(program!());
    client.share_with(command.arg("connect-default"));
    let worker = Process::start(&mut command);
    assert_eq!(worker.line(), manager.process.pid().to_string());
    worker.finish();
}

#[test]
fn a_program_that_cannot_be_run_as_a_manager_is_an_error_that_names_it() {
    // This test's own program does not begin with `init`, and there is no `holdfast` where HOLDFAST_PROGRAM leads; the
    // variable is set for a process of its own.
    const INNER: &str = "HOLDFAST_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        let error = Manager::start().unwrap_err().to_string();
        assert!(error.contains("/nowhere/holdfast") && error.contains("No such file"), "{error}");
        return;
    }
    for (program, expected) in [("/nowhere/holdfast", true), ("/bin/false", false)] {
        let this = std::env::current_exe().unwrap();
        let name = "a_program_that_cannot_be_run_as_a_manager_is_an_error_that_names_it";
        let run = Command::new(this).args([name, "--exact"]).env("HOLDFAST_PROGRAM", program).env(INNER, "1").output();
        assert_eq!(run.unwrap().status.success(), expected);
    }
}
