//! Honest clients whose calls are timed while others do harm.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdfast::blocking::{self, Dict};

use crate::manager::Manager;
use crate::wait::until;

/// The calls over each address before there is a verdict.
const ENOUGH: usize = 200;

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
    /// 99 of 100 calls took no longer.
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

    /// What was seen since it began, once there is enough of it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let mut p99 = Duration::ZERO;
        for (client, thread) in self.clients.iter().zip(&self.threads) {
            let mut calls = until("an honest client calls on", || {
                assert!(!thread.is_finished(), "an honest client failed");
                let calls = client.calls.lock().unwrap();
                (calls.len() >= ENOUGH).then(|| calls.clone())
            });
            calls.sort_unstable();
            p99 = p99.max(calls[calls.len() * 99 / 100]);
        }
        let memory = self.clients.iter().map(|client| client.memory.load(Ordering::Relaxed)).max();
        Seen { p99, memory: memory.unwrap() }
    }
}

impl Client {
    fn run(&self, session: &blocking::Manager, manager: &Manager) {
        let dict: Dict<u64, u64> = session.new_dict().unwrap();
        let mut calls = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            calls += 1;
            assert_eq!(dict.add(&0, 1).unwrap(), calls);
            self.calls.lock().unwrap().push(began.elapsed());
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
