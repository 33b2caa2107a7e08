//! What the tests start: managers with chosen limits, and the processes that use them. The first argument is the role.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong is to panic")]

mod victim;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use holdfast::blocking::{Dict, List, Manager, Queue, WorkQueue};
use holdfast::{Error, Options, QueueOptions};
use holdfast_manager::settings::Settings;
use holdfast_manager::{Certificate, Config, Limits, Listen, Network, Server};
use holdfast_objects::mutant::{self, Mutant};
use holdfast_objects::testing::Source;
use holdfast_proto::place::{Address, create_authkey_file, default_address};
use holdfast_tests::{PATIENCE, history, until_async};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

fn main() {
    // Also makes `Manager::start` run this very program.
    let _family = holdfast::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", folder, listen, ref limits @ ..] => serve(folder.into(), listen, limits),
        ["history", seed, clients, actors, client, life, log] => {
            let number = |text: &str| text.parse::<u64>().unwrap();
            let (seed, clients, actors) = (number(seed), number(clients), number(actors));
            let plan = history::Plan { seed, clients, actors, calls: 0, faults: 0 };
            history::run_client(plan, number(client), number(life), Path::new(log));
        }
        ["add", name, count] => add(name, count.parse().unwrap()),
        ["hold", objects] => hold(objects.parse().unwrap()),
        ["lock", name] => lock(name),
        ["consume", library, name] => consume(library, name),
        ["consume-and-stay", name] => consume_and_stay(name),
        ["work", name] => work(name),
        ["inherit", name] => inherit(name),
        ["share"] => share(),
        ["take", token] => take(token),
        ["litter", seed] => litter(seed.parse().unwrap()),
        ["threads"] => threads(),
        ["own", library] => own(library),
        ["crowd", sessions] => crowd(sessions.parse().unwrap()),
        ["interrupted", whose] => interrupted(whose),
        ["fork"] => fork(),
        ["inherited", calls] => inherited(calls.parse().unwrap()),
        ["descriptors"] => descriptors(),
        ["iterate", dict, list] => iterate(dict, list),
        ["victim", used, phase, name] => victim::run(used, phase, name),
        ["default-address"] => say(default_address()),
        ["connect-default"] => say(Manager::connect_default().unwrap().status().unwrap().pid),
        _ => panic!("no such role: {arguments:?}"),
    }
}

/// Tells the test something, unless it is over.
fn say(what: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{what}").and_then(|()| stdout.flush());
}

/// Takes a lock, and holds it until the test is over.
fn lock(name: &str) {
    let manager = Manager::connect_default().unwrap();
    let guard = manager.lock(name).unwrap().acquire().unwrap();
    say("ready");
    while hear().is_some() {}
    drop(guard);
}

/// Takes one item, and ends as programs do.
fn consume(library: &str, name: &str) {
    let mut runtime = match library {
        "blocking" => {
            let queue: Queue<u64> = Manager::connect_default().unwrap().queue(name).unwrap();
            return say(queue.get().unwrap());
        }
        "async-current" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let taking = async |name: String| {
        let queue: holdfast::Queue<u64> =
            holdfast::Manager::connect_default().await.unwrap().queue(&name).await.unwrap();
        say(queue.get().await.unwrap());
        queue
    };
    let name = name.to_owned();
    runtime.enable_all().build().unwrap().block_on(async {
        if library != "async-detached" {
            drop(taking(name).await);
            return;
        }
        // The task outlives `main`, and with it the session.
        let (send, has_taken) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let queue = taking(name).await;
            let _ = send.send(());
            std::future::pending::<()>().await;
            drop(queue);
        });
        has_taken.await.unwrap();
    });
}

/// Takes two items, and keeps its session until the test is over.
fn consume_and_stay(name: &str) {
    let queue: Queue<u64> = Manager::connect_default().unwrap().queue(name).unwrap();
    say(queue.get().unwrap());
    say(queue.get().unwrap());
    while hear().is_some() {}
}

/// Takes two items, of which it does the first.
fn work(name: &str) {
    let options = QueueOptions::fifo().on_done();
    let jobs: WorkQueue<u64> = Manager::connect_default().unwrap().queue_with(name, options).unwrap();
    let first = jobs.get().unwrap();
    let item = *first;
    first.done().unwrap();
    say(item);
    let second = jobs.get().unwrap();
    say(*second);
    while hear().is_some() {}
}

/// Takes a lock, tells its fence and whom it was told of, and holds it until it is told something, or the test is over.
fn inherit(name: &str) {
    let manager = Manager::connect_default().unwrap();
    let guard = manager.lock(name).unwrap().acquire().unwrap();
    let told = guard.abandoned().map_or("nobody was lost".to_owned(), |lost| {
        let pid = lost.pid.unwrap_or_default();
        format!("{}, process {pid} on {}, had {}", lost.name, lost.host, lost.fence)
    });
    say(format_args!("{}: {told}", guard.fence()));
    if hear().is_some() {
        guard.release().unwrap();
    }
}

/// The next line from the test. `None` when the test is over.
fn hear() -> Option<String> {
    std::io::stdin().lock().lines().next().map(Result::unwrap)
}

/// A manager, until the test is over or it is told to stop.
fn serve(folder: PathBuf, listen: &str, limits: &[&str]) {
    let mut config = Config {
        listen: listen
            .split(',')
            .map(|kind| Listen { address: address(kind, &folder), beyond_loopback: false })
            .collect(),
        authkey: create_authkey_file(&folder.join("authkey")).unwrap(),
        certificate: (listen.contains("tls") || listen.contains("https:"))
            .then(|| Certificate::create(&folder.join("tls.pem"), &[]).unwrap()),
        epoch_file: None,
        limits: Limits::default(),
        network: Network::default(),
        threads: 2,
        drain: Duration::from_secs(30),
    };
    let mut history = None;
    for limit in limits {
        let (name, value) = limit.split_once('=').unwrap();
        match name {
            "history" => history = Some(std::fs::File::create_new(value).unwrap()),
            "mutant" => mutant::choose(Mutant::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == value)),
            "epoch" => config.epoch_file = Some(folder.join(value)),
            _ => set(&mut config, name, value),
        }
    }
    let runtime = holdfast_manager::runtime().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let (over, is_over) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            while hear().is_some() {}
            let _ = over.send(());
        });
        let server = Server::bind(config).unwrap();
        if let Some(history) = history {
            server.record_history(history);
        }
        server.addresses().iter().for_each(say);
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = is_over => {}
            }
        };
        say(format_args!("{:?}", server.run(stop).await.unwrap()));
    });
    // A test that was killed does not do it.
    let _ = std::fs::remove_dir_all(folder);
}

fn address(kind: &str, folder: &Path) -> Address {
    match kind {
        "unix" => Address::Unix(folder.join("manager.sock")),
        "tcp" => Address::Http("127.0.0.1:0".to_owned()),
        "tls" => Address::Https("127.0.0.1:0".to_owned()),
        address => address.parse().unwrap(),
    }
}

fn set(config: &mut Config, name: &str, value: &str) {
    match name {
        "drain_ms" => config.drain = Duration::from_millis(value.parse().unwrap()),
        "authenticate_ms" => config.network.handshake_timeout = Duration::from_millis(value.parse().unwrap()),
        "threads" => config.threads = value.parse().unwrap(),
        _ => {
            let is_set = set_in(&mut config.limits, name, value) || set_in(&mut config.network, name, value);
            assert!(is_set, "no such limit: {name}");
        }
    }
}

/// Sets a setting by the name of its field, if there is one of that name.
fn set_in<T: Settings>(of: &mut T, name: &str, value: &str) -> bool {
    let setting = T::settings().iter().find(|setting| setting.about.field == name);
    setting.is_some_and(|setting| {
        (setting.set)(of, &[value]).unwrap();
        true
    })
}

/// Adds to one counter, so often.
fn add(name: &str, count: u64) {
    let counters: Dict<String, u64> = Manager::connect_default().unwrap().dict(name).unwrap();
    say("ready");
    hear();
    for _ in 0..count {
        counters.add("total", 1).unwrap();
        counters.add(&format!("of {}", std::process::id()), 1).unwrap();
    }
}

/// Makes objects without a name, and works with them until it is killed.
fn hold(objects: u64) {
    let manager = Manager::connect_default().unwrap();
    let objects: Vec<Dict<u64, u64>> = (0..objects).map(|_| manager.new_dict().unwrap()).collect();
    let total: Dict<String, u64> = manager.dict("held").unwrap();
    say("ready");
    loop {
        for object in &objects {
            object.add(&1, 1).unwrap();
            total.add("adds", 1).unwrap();
        }
    }
}

/// Makes an object without a name and a token for it, and does nothing more.
fn share() {
    let manager = Manager::connect_default().unwrap();
    let object: Dict<String, Vec<u8>> = manager.new_dict().unwrap();
    object.set("from the maker", &vec![4, 2]).unwrap();
    say(object.token(2, Duration::from_secs(600)).unwrap());
    hear();
}

/// Takes up a token that `share` made.
fn take(token: &str) {
    let token = token.parse().unwrap();
    let manager = Manager::connect_token(&token).unwrap();
    let object: Dict<String, Vec<u8>> = manager.dict_from_token(&token).unwrap();
    say(format_args!("{:?}", object.get("from the maker").unwrap()));
}

/// Makes objects that refer to each other in chains and cycles, keeps a few, leaves one in a named dict, and tells how many
/// it has made; until it is killed.
fn litter(seed: u64) {
    const AT_ONCE: usize = 500;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = holdfast::Manager::connect_default().await.unwrap();
        let left: holdfast::Dict<u64, holdfast::Reference> = manager.dict("litter").await.unwrap();
        let mut source = Source::new(seed);
        let mut kept: Vec<holdfast::Dict<u64, holdfast::Reference>> = Vec::new();
        loop {
            let made = try_join_all((0..AT_ONCE).map(|_| manager.new_dict::<u64, holdfast::Reference>()));
            let made = made.await.unwrap();
            let rewired = made.iter().enumerate().flat_map(|(at, one)| {
                let next = &made[(at + 1) % AT_ONCE];
                let other = &made[source.below(AT_ONCE as u64) as usize];
                [one.set(&0, &next.reference()), one.set(&1, &other.reference())]
            });
            try_join_all(rewired.collect::<Vec<_>>()).await.unwrap();
            left.set(&source.below(8), &made[0].reference()).await.unwrap();
            // Whoever reads a reference has a proxy, which ends like any other.
            let read = left.get(&source.below(8)).await.unwrap();
            let read: Option<holdfast::Dict<u64, holdfast::Reference>> = read.and_then(|found| found.get());
            if let Some(found) = &read {
                found.set(&2, &made[1].reference()).await.unwrap();
            }
            kept.truncate(20);
            kept.extend(read);
            kept.extend(made.into_iter().step_by(100));
            kept.reverse();
            say(AT_ONCE);
        }
    });
}

/// Makes calls of every sort, and tells how many threads that took.
fn threads() {
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    say(count());
    let manager = Manager::connect_default().unwrap();
    say(count());
    let dict: Dict<u64, String> = manager.new_dict().unwrap();
    for number in 0..1000 {
        dict.set(&number, &"x".repeat(1000)).unwrap();
    }
    assert_eq!(dict.items::<Vec<_>>().unwrap().len(), 1000);
    say(count());
    manager.close();
    say(count());
}

/// Has a manager of its own, and does with it what it is told.
fn own(library: &str) {
    if library == "async" {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(own_async());
    }
    let manager = Manager::start().unwrap();
    let dict: Dict<u64, u64> = manager.new_dict().unwrap();
    say(manager.status().unwrap().pid);
    say(manager.address());
    match hear().as_deref() {
        Some("drop") => {
            drop(manager);
            assert_eq!(dict.add(&1, 1).unwrap(), 1, "a proxy keeps the manager");
            drop(dict);
        }
        Some("close") => manager.close(),
        Some("outlive") => {
            say(dict.get(&1).unwrap_err());
            say(manager.new_dict::<u64, u64>().unwrap_err());
            manager.close();
        }
        other => panic!("told {other:?}"),
    }
    say("done");
    hear();
}

async fn own_async() {
    let manager = holdfast::Manager::start().await.unwrap();
    let dict: holdfast::Dict<u64, u64> = manager.new_dict().await.unwrap();
    say(manager.status().await.unwrap().pid);
    say(manager.address());
    match tokio::task::spawn_blocking(hear).await.unwrap().as_deref() {
        Some("drop") => {
            drop(manager);
            assert_eq!(dict.add(&1, 1).await.unwrap(), 1, "a proxy keeps the manager");
            drop(dict);
        }
        Some("close") => manager.close().await,
        Some("outlive") => {
            say(dict.get(&1).await.unwrap_err());
            say(manager.new_dict::<u64, u64>().await.unwrap_err());
            manager.close().await;
        }
        other => panic!("told {other:?}"),
    }
    say("done");
    tokio::task::spawn_blocking(hear).await.unwrap();
}

/// Opens many sessions at once, uses each, and keeps them until the test is over.
fn crowd(sessions: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    say("ready");
    hear();
    runtime.block_on(async {
        // Nobody is refused, however long a busy machine takes to serve them all.
        let options = Options::default().connect_timeout(PATIENCE).call_timeout(Some(PATIENCE));
        let opened = try_join_all((0..sessions).map(|_| holdfast::Manager::connect_with(&options))).await.unwrap();
        let counters = try_join_all(opened.iter().map(|manager| manager.dict::<u64, u64>("crowd"))).await.unwrap();
        try_join_all(counters.iter().map(|counter| counter.add(&0, 1))).await.unwrap();
        say("served");
        tokio::task::spawn_blocking(hear).await.unwrap();
    });
}

/// Makes calls while Ctrl-C is pressed, which it handles, and checks that each gets the answer to what it asked.
fn interrupted(whose: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut interrupt = signal_in(&runtime, SignalKind::interrupt());
    let manager = if whose == "own" { Manager::start() } else { Manager::connect_default() }.unwrap();
    let squares: Dict<u64, u64> = manager.new_dict().unwrap();
    squares.update((0..100).map(|number| (number, number * number))).unwrap();
    say("ready");
    hear();
    say("calling");
    assert_eq!(squares.get(&7).unwrap(), Some(49));
    say("answered");
    let mut calls = 0_u64;
    let stdin = std::io::stdin();
    let is_over = || poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&Timespec::default())) == Ok(1);
    while !is_over() {
        let number = calls % 100;
        assert_eq!(squares.get(&number).unwrap(), Some(number * number));
        assert_eq!(squares.len().unwrap(), 100);
        assert_eq!(squares.keys::<Vec<_>>().unwrap().len(), 100);
        assert!(squares.pop(&(100 + number)).unwrap_err().is_missing_key());
        calls += 4;
    }
    assert!(calls > 0);
    runtime.block_on(interrupt.recv()).unwrap();
    say("every answer was right");
}

/// Is forked while it has a session.
fn fork() {
    let manager = Manager::connect_default().unwrap();
    let counter: Dict<String, u64> = manager.dict("counter").unwrap();
    counter.add("parent", 1).unwrap();
    let nameless: Dict<String, u64> = manager.new_dict().unwrap();
    nameless.add("parent", 1).unwrap();
    // This process has one thread, so its child may do anything.
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            // What it inherited is its parent's to use: twice, since the first refusal must not be all.
            for _ in 0..2 {
                let refused = nameless.add("child", 1).unwrap_err();
                assert!(matches!(refused, Error::Ended { .. }) && refused.to_string().contains("fork"), "{refused}");
            }
            drop((nameless, counter));
            // What is inherited opens a session of this process when it is asked for an object.
            let counter: Dict<String, u64> = manager.dict("counter").unwrap();
            counter.add("child", 1).unwrap();
            manager.close();
            let manager = Manager::connect_default().unwrap();
            let counter: Dict<String, u64> = manager.dict("counter").unwrap();
            counter.add("child", 1).unwrap();
            manager.close();
        }
        fork::Fork::Parent(child) => {
            assert_eq!(fork::waitpid(child).unwrap(), 0, "the child ends well");
            counter.add("parent", 1).unwrap();
            assert_eq!(nameless.add("parent", 1).unwrap(), 2);
            say(format_args!("{:?}", counter.items::<Vec<_>>().unwrap()));
            hear();
        }
    }
}

/// Has a child that keeps the socket of its session, as long as the test is not over; then makes so many calls, whose
/// answers it does not wait for, and does nothing more.
fn inherited(calls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_manager, counter) = runtime.block_on(async {
        let manager = holdfast::Manager::connect_default().await.unwrap();
        let counter: holdfast::Dict<u64, u64> = manager.dict("inherited").await.unwrap();
        (manager, counter)
    });
    // This process has one thread, so its child may do anything.
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            hear();
            std::process::exit(0);
        }
        fork::Fork::Parent(child) => say(child),
    }
    // Only the child may read from the test.
    let mut told = signal_in(&runtime, SignalKind::user_defined1());
    say("ready");
    runtime.block_on(async {
        told.recv().await.unwrap();
        let asked: Vec<_> = (0..calls).map(|_| counter.add(&0, 1).send()).collect();
        // The driver of the session has its turn, and writes what is left.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        say("asked");
        std::future::pending::<()>().await;
        drop(asked);
    });
}

fn signal_in(runtime: &tokio::runtime::Runtime, kind: SignalKind) -> tokio::signal::unix::Signal {
    let _inside = runtime.enter();
    signal(kind).unwrap()
}

/// Opens and drops many sessions and proxies, and tells before and after how many file descriptors it has.
fn descriptors() {
    const SESSIONS: u64 = 500;
    const PROXIES: u64 = 50_000;
    const AT_ONCE: u64 = 1000;
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let manager = Manager::connect_default().unwrap();
    let async_manager = runtime.block_on(holdfast::Manager::connect_default()).unwrap();
    let before = count();
    say(before);
    hear();
    for _ in 0..SESSIONS {
        Manager::connect_default().unwrap().status().unwrap();
    }
    for _ in 0..PROXIES {
        let _: Dict<u64, u64> = manager.dict("one").unwrap();
    }
    runtime.block_on(async {
        for _ in 0..SESSIONS {
            holdfast::Manager::connect_default().await.unwrap().status().await.unwrap();
        }
        for _ in 0..PROXIES / AT_ONCE {
            let opened = (0..AT_ONCE).map(|_| async_manager.dict::<u64, u64>("one"));
            drop(try_join_all(opened.collect::<Vec<_>>()).await.unwrap());
        }
        // The tasks of sessions that were dropped end in their own time.
        until_async("descriptors are closed", async || (count() <= before).then_some(())).await;
    });
    say(count());
    hear();
}

/// Reads a whole dict and a whole list that another process made.
fn iterate(dict: &str, list: &str) {
    let (dict, list) = (dict.parse().unwrap(), list.parse().unwrap());
    let manager = Manager::connect_token(&dict).unwrap();
    let dict: Dict<u64, u64> = manager.dict_from_token(&dict).unwrap();
    let list: List<u64> = manager.list_from_token(&list).unwrap();
    let sum = dict.items::<Vec<_>>().unwrap().into_iter().map(|(key, value)| key + value).sum::<u64>();
    say(sum + list.to_vec().unwrap().into_iter().sum::<u64>());
}
