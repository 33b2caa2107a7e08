//! Honest clients whose calls are timed while others do harm.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdfast::blocking::{self, Dict};

use crate::manager::Manager;
use crate::wait::until;

/// The calls of which one p99 is taken: one in a hundred is the second slowest.
const WINDOW: usize = 200;

/// The windows over each address before there is a verdict. That of the middle counts: what else a machine does for a moment
/// is not the manager's doing.
const WINDOWS: usize = 5;

/// Between two calls of one client. A client that is never idle would itself be a load.
const PACE: Duration = Duration::from_millis(1);

/// Honest clients, one for each of the first two addresses of a manager, each in a thread of its own. They call one after
/// the other and note how long each call took, and how large the manager was.
#[derive(Debug)]
pub struct Pulse {
    clients: Vec<Arc<Client>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Client {
    /// Since [`Pulse::begin`] was called last.
    calls: Mutex<Vec<Duration>>,
    /// The largest memory of the manager since then.
    memory: AtomicU64,
    stop: AtomicBool,
}

/// What was seen over each address, the slower of the two, and the manager.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// 99 of 100 calls took no longer, in the window of the middle. The time is left out for which the thread of the client
    /// or that of the manager was ready to run and had no CPU: what else the machine does is not the manager's doing.
    pub p99: Duration,
    /// What the manager had in use at most, in bytes.
    pub memory: u64,
}

impl Pulse {
    /// Connects, and begins to call.
    #[must_use]
    pub fn new(manager: &Arc<Manager>) -> Self {
        let (mut clients, mut threads) = (Vec::new(), Vec::new());
        for address in 0..2 {
            let session = blocking::Manager::connect_with(&manager.options_at(address)).unwrap();
            let (client, manager) = (Arc::<Client>::default(), manager.clone());
            clients.push(client.clone());
            threads.push(thread::spawn(move || client.run(&session, &manager)));
        }
        Self { clients, threads }
    }

    /// Forgets what was seen.
    pub fn begin(&self) {
        for client in &self.clients {
            client.calls.lock().unwrap().clear();
            client.memory.store(0, Ordering::Relaxed);
        }
    }

    /// Whether what was seen since it began is enough for a verdict.
    #[must_use]
    pub fn has_seen_enough(&self) -> bool {
        for thread in &self.threads {
            assert!(!thread.is_finished(), "an honest client failed");
        }
        self.clients.iter().all(|client| client.calls.lock().unwrap().len() >= WINDOW * WINDOWS)
    }

    /// What was seen since it began, once there is enough of it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        until("honest clients call on", || self.has_seen_enough().then_some(()));
        let p99 = self.clients.iter().map(|client| p99(&client.calls.lock().unwrap())).max();
        let memory = self.clients.iter().map(|client| client.memory.load(Ordering::Relaxed)).max();
        Seen { p99: p99.unwrap(), memory: memory.unwrap() }
    }
}

/// The p99 of the window of the middle.
fn p99(calls: &[Duration]) -> Duration {
    let windows = calls.chunks_exact(WINDOW).map(|window| {
        let mut window = window.to_vec();
        window.sort_unstable();
        window[WINDOW * 99 / 100]
    });
    let mut windows: Vec<Duration> = windows.collect();
    windows.sort_unstable();
    windows[windows.len() / 2]
}

/// How long a thread was ready to run, and no CPU was free for it.
#[derive(Debug)]
struct Waiting(Option<File>);

impl Waiting {
    /// Of the thread that the system names so; of a process, its first.
    fn of(name: &str) -> Self {
        Self(File::open(format!("/proc/{name}/schedstat")).ok())
    }

    /// Since it began, as far as the system tells.
    fn so_far(&self) -> Duration {
        let mut text = [0; 100];
        let length = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = str::from_utf8(&text[..length]).unwrap();
        let waited = text.split_whitespace().nth(1).map(|nanoseconds| nanoseconds.parse().unwrap());
        Duration::from_nanos(waited.unwrap_or(0))
    }
}

impl Client {
    fn run(&self, session: &blocking::Manager, manager: &Manager) {
        let dict: Dict<u64, u64> = session.new_dict().unwrap();
        // A manager of one thread has no other.
        let waiting = [Waiting::of("thread-self"), Waiting::of(&manager.process.pid().to_string())];
        let waited = || waiting.iter().map(Waiting::so_far).sum::<Duration>();
        let mut calls = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let (before, began) = (waited(), Instant::now());
            calls += 1;
            assert_eq!(dict.add(&0, 1).unwrap(), calls);
            let took = began.elapsed();
            self.calls.lock().unwrap().push(took.saturating_sub(waited() - before));
            self.memory.fetch_max(manager.process.memory(), Ordering::Relaxed);
            thread::sleep(PACE);
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.clients.iter().for_each(|client| client.stop.store(true, Ordering::Relaxed));
        for thread in self.threads.drain(..) {
            // A panic has been told where it happened, and here if it was not expected.
            let failed = thread.join().is_err();
            assert!(!failed || thread::panicking(), "an honest client failed");
        }
    }
}
