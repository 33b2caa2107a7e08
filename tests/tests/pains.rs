//! What users of Python's `multiprocessing.Manager` complain about, and how it is here: what
//! `docs/from-multiprocessing.md` names and no other test shows.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use futures_util::future::try_join_all;
use holdfast::blocking::{self, Dict, List};
use holdfast::{Address, ConnectError, Error, Options};
use holdfast_tests::{Manager, Process, Setup, Stopped, program, until};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process_group, pidfd_getfd, pidfd_open};

fn start() -> Manager {
    Setup::new(program!()).start()
}

/// A process in one of the roles of the test program, whose default manager listens here.
fn worker_at(manager: &Manager, address: usize, arguments: &[&str]) -> Process {
    let mut command = Command::new(program!());
    command.args(arguments).env("HOLDFAST_ADDRESS", manager.addresses[address].to_string());
    Process::start(command.env("HOLDFAST_AUTHKEY_FILE", manager.authkey_file()))
}

/// How many entries a folder of the kernel has for a process: its tasks, its file descriptors.
fn count(of: Pid, what: &str) -> usize {
    fs::read_dir(format!("/proc/{of}/{what}")).unwrap().count()
}

/// A field of the status that the kernel tells of a process.
fn field(of: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{of}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

#[test]
fn five_hundred_clients_that_connect_at_once_are_all_served() {
    const PROCESSES: usize = 5;
    const EACH: usize = 100;
    // Handshakes take long without optimization, and a hundred of them are one thread's work.
    let patience = u64::try_from(holdfast_tests::PATIENCE.as_millis()).unwrap();
    let manager = Setup::new(program!()).tcp().limit("authenticate_ms", patience).start();
    let client = manager.connect_blocking();
    let counter: Dict<u64, u64> = client.dict("crowd").unwrap();
    for address in [0, 1] {
        let mut workers: Vec<Process> =
            (0..PROCESSES).map(|_| worker_at(&manager, address, &["crowd", &EACH.to_string()])).collect();
        workers.iter().for_each(|worker| assert_eq!(worker.line(), "ready"));
        workers.iter_mut().for_each(|worker| worker.say("go"));
        workers.iter().for_each(|worker| assert_eq!(worker.line(), "served", "{}", manager.addresses[address]));
        assert_eq!(client.status().unwrap().sessions, 1 + (PROCESSES * EACH) as u64, "all at the same time");
        assert_eq!(counter.pop(&0).unwrap(), (PROCESSES * EACH) as u64);
        workers.into_iter().for_each(Process::finish);
        until("they leave", || (client.status().unwrap().sessions == 1).then_some(()));
    }
}

#[tokio::test]
async fn sessions_take_no_thread_of_the_manager_each() {
    let patience = u64::try_from(holdfast_tests::PATIENCE.as_millis()).unwrap();
    let manager = Setup::new(program!()).limit("authenticate_ms", patience).start();
    let first = manager.connect().await;
    let threads = count(manager.process.pid(), "task");
    let opened = try_join_all((0..200).map(|_| {
        let options = manager.options().connect_timeout(holdfast_tests::PATIENCE);
        async move { holdfast::Manager::connect_with(&options).await }
    }));
    let opened = opened.await.unwrap();
    try_join_all(opened.iter().map(|manager| manager.new_value(&1_u64))).await.unwrap();
    assert_eq!(first.status().await.unwrap().sessions, 201);
    assert_eq!(count(manager.process.pid(), "task"), threads);
}

#[test]
fn threads_and_objects_of_a_client_share_one_connection() {
    let manager = start();
    let client = manager.connect_blocking();
    let sockets = count(manager.process.pid(), "fd");
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                let list: List<u64> = client.new_list().unwrap();
                list.append(&1).unwrap();
                assert_eq!(count(manager.process.pid(), "fd"), sockets);
            });
        }
    });
    let limits = client.limits().unwrap();
    let connections = limits.iter().find(|limit| limit.name == "connections").unwrap();
    assert_eq!(connections.used, Some(1));
}

/// Sends Ctrl-C and waits until the process has had it.
fn interrupt(process: &Process, send: impl Fn()) {
    const SIGINT: u64 = 1 << (2 - 1);
    send();
    until("the signal is delivered", || {
        let pending = ["ShdPnd:", "SigPnd:"].map(|of| u64::from_str_radix(&field(process.pid(), of), 16).unwrap());
        (pending.iter().all(|pending| pending & SIGINT == 0)).then_some(())
    });
}

#[test]
fn ctrl_c_in_the_middle_of_a_call_shifts_no_reply() {
    let manager = start();
    let mut worker = manager.worker(&["interrupted", "shared"]);
    assert_eq!(worker.line(), "ready");
    let stopped = Stopped::new(&manager);
    worker.say("go");
    assert_eq!(worker.line(), "calling");
    for _ in 0..10 {
        until("it waits for the reply", || field(worker.pid(), "State:").starts_with('S').then_some(()));
        interrupt(&worker, || worker.signal(Signal::INT));
    }
    drop(stopped);
    assert_eq!(worker.line(), "answered");
    for _ in 0..500 {
        interrupt(&worker, || worker.signal(Signal::INT));
    }
    worker.say("enough");
    assert_eq!(worker.line(), "every answer was right");
    worker.finish();
}

#[test]
fn ctrl_c_at_the_terminal_does_not_end_the_manager_of_a_program_that_handles_it() {
    // All processes of the program get it, as from a terminal.
    let mut command = Command::new(program!());
    let mut worker = Process::start(command.args(["interrupted", "own"]).process_group(0));
    assert_eq!(worker.line(), "ready");
    worker.say("go");
    assert_eq!(worker.line(), "calling");
    assert_eq!(worker.line(), "answered");
    for _ in 0..100 {
        interrupt(&worker, || kill_process_group(worker.pid(), Signal::INT).unwrap());
    }
    worker.say("enough");
    assert_eq!(worker.line(), "every answer was right");
    worker.finish();
}

#[test]
fn a_fork_leaves_the_session_of_its_parent_alone_and_opens_its_own() {
    let manager = Setup::new(program!()).tls().start();
    for address in [0, 1] {
        let worker = worker_at(&manager, address, &["fork"]);
        assert_eq!(worker.line(), r#"[("parent", 2), ("child", 2)]"#, "{}", manager.addresses[address]);
        worker.finish();
        manager.connect_blocking().delete("counter").unwrap();
    }
}

#[test]
fn a_program_that_is_started_inherits_no_session() {
    let manager = start();
    let client = manager.connect_blocking();
    client.status().unwrap();
    let child = manager.worker(&["share"]);
    child.line();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", child.pid())).unwrap();
    let sockets = descriptors.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let sockets = sockets.filter(|to| to.to_string_lossy().starts_with("socket:")).count();
    assert_eq!(sockets, 1, "the one of its own session");
    child.finish();
}

#[test]
fn a_thousand_sessions_and_a_hundred_thousand_proxies_leave_no_file_descriptor_behind() {
    let manager = start();
    let mut worker = manager.worker(&["descriptors"]);
    let before = worker.line();
    let in_manager = count(manager.process.pid(), "fd");
    worker.say("go");
    assert_eq!(worker.line(), before, "in the client");
    until("those of the manager are closed", || (count(manager.process.pid(), "fd") == in_manager).then_some(()));
    worker.finish();
}

#[test]
fn a_client_that_is_stopped_for_a_while_harms_nobody_and_goes_on() {
    let manager = start();
    let client = manager.connect_blocking();
    let total: Dict<String, u64> = client.dict("held").unwrap();
    let workers = [manager.worker(&["hold", "10"]), manager.worker(&["hold", "10"])];
    workers.iter().for_each(|worker| assert_eq!(worker.line(), "ready"));
    let goes_on = || {
        let seen = total.get("adds").unwrap().unwrap_or(0);
        until("calls are made", || total.get("adds").unwrap().filter(|adds| *adds > seen + 200));
    };
    workers[0].signal(Signal::STOP);
    until("it is stopped", || field(workers[0].pid(), "State:").starts_with('T').then_some(()));
    goes_on();
    workers[1].signal(Signal::STOP);
    until("it is stopped", || field(workers[1].pid(), "State:").starts_with('T').then_some(()));
    manager.connect_blocking().status().unwrap();
    workers[0].signal(Signal::CONT);
    // Only the one that was stopped first can add now.
    goes_on();
    assert_eq!(client.status().unwrap().sessions, 3);
}

#[test]
fn a_socket_path_that_is_too_long_is_told_with_what_to_do() {
    let long = format!("/tmp/{}/manager.sock", "x".repeat(100));
    let of_text = format!("unix:{long}").parse::<Address>().unwrap_err();
    let told = |error: &str| {
        assert!(error.contains("107 bytes") && error.contains("shorter") && error.contains(&long), "{error}");
    };
    told(&of_text.to_string());
    // Also where it is no text that is parsed.
    let options = Options::default().address(Address::Unix(long.clone().into())).authkey_file("/nowhere/authkey");
    let error = blocking::Manager::connect_with(&options).unwrap_err();
    assert!(matches!(error, Error::Connect(ConnectError::Address(_))), "{error:?}");
    told(&error.to_string());
}

#[test]
fn the_default_socket_path_is_short_wherever_temporary_files_are() {
    let deep = format!("/{}", "x".repeat(100));
    let default = |variable: &str, value: &str| {
        let mut command = Command::new(program!());
        command.arg("default-address").env_remove("XDG_RUNTIME_DIR").env(variable, value);
        let process = Process::start(&mut command);
        let line = process.line();
        process.finish();
        line
    };
    let in_tmp = format!("unix:/tmp/holdfast-{}/manager.sock", rustix::process::geteuid().as_raw());
    assert_eq!(default("TMPDIR", &deep), in_tmp);
    assert_eq!(default("XDG_RUNTIME_DIR", &deep), in_tmp);
    assert_eq!(default("XDG_RUNTIME_DIR", "/run/user/1"), "unix:/run/user/1/holdfast/manager.sock");
}

#[test]
fn a_manager_of_ones_own_starts_wherever_temporary_files_are() {
    let deep = tempfile::Builder::new().prefix(&format!("holdfast-test-{}", "x".repeat(100))).tempdir().unwrap();
    let mut command = Command::new(program!());
    command.args(["own", "blocking"]).env("TMPDIR", deep.path()).env("XDG_RUNTIME_DIR", deep.path());
    let mut owner = Process::start(&mut command);
    let manager = Pid::from_raw(owner.line().parse().unwrap()).unwrap();
    assert!(owner.line().starts_with("unix:/tmp/holdfast-"));
    owner.say("close");
    assert_eq!(owner.line(), "done");
    Process::wait_for_other(manager);
    owner.finish();
}

/// Whether each TCP connection of a process has `TCP_NODELAY`. `None` where the system forbids to look.
fn nodelay_of(process: Pid) -> Option<Vec<bool>> {
    let pidfd = pidfd_open(process, PidfdFlags::empty()).unwrap();
    let mut connections = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let entry = entry.unwrap();
        if !fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")) {
            continue;
        }
        let number = entry.file_name().to_str().unwrap().parse().unwrap();
        let socket = match pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) {
            Ok(socket) => socket,
            Err(Errno::PERM | Errno::NOSYS) => return None,
            // Another thread has closed it meanwhile.
            Err(_) => continue,
        };
        // Connected, and of TCP.
        if rustix::net::getpeername(&socket).is_ok()
            && let Ok(is_set) = sockopt::tcp_nodelay(&socket)
        {
            connections.push(is_set);
        }
    }
    Some(connections)
}

#[test]
fn no_end_of_a_tcp_connection_holds_back_small_writes() {
    let manager = Setup::new(program!()).tcp().tls().start();
    for address in [1, 2] {
        let blocking = worker_at(&manager, address, &["share"]);
        blocking.line();
        let mut asynchronous = worker_at(&manager, address, &["crowd", "1"]);
        asynchronous.say("go");
        assert_eq!((asynchronous.line(), asynchronous.line()), ("ready".into(), "served".into()));
        for (of, connections) in [(blocking.pid(), 1), (asynchronous.pid(), 1), (manager.process.pid(), 2)] {
            // Where the system forbids to look at them, as in some containers, there is nothing to see.
            let Some(found) = nodelay_of(of) else { return };
            assert_eq!(found, vec![true; connections], "{}", manager.addresses[address]);
        }
        blocking.finish();
        asynchronous.finish();
        let client = manager.connect_blocking();
        until("they leave", || (client.status().unwrap().sessions == 1).then_some(()));
    }
}

#[test]
fn reading_all_of_a_large_object_in_another_process_takes_a_few_calls() {
    const ENTRIES: u64 = 10_000;
    let manager = start();
    let client = manager.connect_blocking();
    let dict: Dict<u64, u64> = client.new_dict().unwrap();
    dict.update((0..ENTRIES).map(|number| (number, number))).unwrap();
    let list: List<u64> = client.new_list().unwrap();
    list.extend(0..ENTRIES).unwrap();
    let lifetime = Duration::from_secs(60);
    let tokens = [dict.token(1, lifetime).unwrap().to_string(), list.token(1, lifetime).unwrap().to_string()];
    // The index of a call is its place in the order of all calls.
    let before = dict.set(&0, &0).unwrap();
    let worker = manager.worker(&["iterate", &tokens[0], &tokens[1]]);
    assert_eq!(worker.line(), (3 * (0..ENTRIES).sum::<u64>()).to_string());
    worker.finish();
    let calls = dict.set(&0, &0).unwrap() - before;
    assert!((3..20).contains(&calls), "{calls} calls for {} entries and elements", 2 * ENTRIES);
}

#[test]
fn an_authkey_of_ones_own_is_told_once_and_proxies_need_no_other() {
    let manager = start();
    let key = || Options::default().address(manager.addresses[0].clone()).authkey(manager.authkey());
    let (maker, reader) =
        (blocking::Manager::connect_with(&key()).unwrap(), blocking::Manager::connect_with(&key()).unwrap());
    let outer: Dict<String, Dict<String, u64>> = maker.new_dict().unwrap();
    outer.set("inner", &maker.new_dict().unwrap()).unwrap();
    let token = outer.token(1, Duration::from_secs(60)).unwrap();
    let there: Dict<String, Dict<String, u64>> = reader.dict_from_token(&token).unwrap();
    assert_eq!(there.get("inner").unwrap().unwrap().add("n", 1).unwrap(), 1);
    assert_eq!(outer.get("inner").unwrap().unwrap().get("n").unwrap(), Some(1));
}

/// What `docs/from-multiprocessing.md` promises is shown by tests that are there.
#[test]
fn the_document_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/from-multiprocessing.md")).unwrap();
    let mut named = BTreeSet::new();
    for part in document.split("[`").skip(1) {
        let Some((name, rest)) = part.split_once("`](../") else { continue };
        let (file, _) = rest.split_once(')').unwrap();
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        if Path::new(file).extension().is_some_and(|extension| extension == "rs") {
            let is_there = text.contains(&format!("fn {name}(")) || text.contains(&format!("promise!({name},"));
            assert!(is_there, "there is no test {name} in {file}");
            named.insert(name);
        }
    }
    assert!(named.len() > 30, "{named:?}");
}
