//! A manager under attack, and what must hold meanwhile and afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast::blocking::{self, Dict};

use crate::manager::{Manager, Setup};
use crate::pulse::{Pulse, Seen};
use crate::wait::until;

/// How many times slower honest clients may become.
const SLOWER: u32 = 5;

/// What they may always take. On two cores an attacker takes the CPU from them whatever the manager does: a call that has to
/// wait for its turn, in the client and again in the manager, waits several of the kernel's time slices; and a manager that
/// is built without optimization needs ten times as long for everything that an attack makes it do.
const FLOOR: Duration = Duration::from_millis(100);

/// How soon everything must be as before.
const RECOVERY: Duration = Duration::from_secs(5);

/// What is to be as it was once the attackers are gone.
const LEFTOVERS: [&str; 5] = ["connections", "unauthenticated", "sessions", "objects", "total_bytes"];

/// Attacks of one program take turns: together they would tell nothing about each.
static TURN: Mutex<()> = Mutex::new(());

/// A manager with a Unix socket and a port, and honest clients on both, of whom is known how long their calls take.
///
/// - While it is attacked, 99 of 100 honest calls take at most five times as long as 99 of 100 did before, or 100 ms.
/// - The manager's memory grows by no more than the attack's bound.
/// - Within five seconds connections, sessions, objects and bytes are as many as before, and a new client is served.
#[derive(Debug)]
pub struct Siege {
    // Dropped in this order: nobody calls a manager that has been killed.
    pulse: Pulse,
    client: blocking::Manager,
    /// Who is attacked.
    pub manager: Arc<Manager>,
    idle: Seen,
    before: BTreeMap<String, Option<u64>>,
    _turn: MutexGuard<'static, ()>,
}

impl Siege {
    /// Starts a manager, and looks how long calls take while nothing happens.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let manager = Arc::new(setup.tcp().start());
        let client = manager.connect_blocking();
        let pulse = Pulse::new(&manager);
        // The first calls are slower.
        let _ = pulse.seen();
        pulse.begin();
        let idle = pulse.seen();
        let before = used(&client);
        pulse.begin();
        Self { pulse, client, manager, idle, before, _turn: turn }
    }

    /// How much of each limit is used.
    #[must_use]
    pub fn used(&self) -> BTreeMap<String, Option<u64>> {
        used(&self.client)
    }

    /// The attack is at its height or has just ended: what was promised held, and the manager grew by `memory` bytes at most.
    pub fn endures(&self, memory: u64) {
        let Seen { p99, memory: most } = self.pulse.seen();
        let grown = most.saturating_sub(self.idle.memory);
        println!("p99 {p99:?}, {:?} when idle; grown by {} KiB of {}", self.idle.p99, grown >> 10, memory >> 10);
        assert!(p99 <= FLOOR.max(SLOWER * self.idle.p99), "honest calls took {p99:?}, and {:?} before", self.idle.p99);
        assert!(grown <= memory, "the manager grew by {} KiB, more than {}", grown >> 10, memory >> 10);
    }

    /// The attackers are gone: everything is as before.
    pub fn recovers(self) {
        let began = Instant::now();
        until("what the attackers had is given back", || {
            let now = self.used();
            LEFTOVERS.iter().all(|name| now[*name] == self.before[*name]).then_some(())
        });
        let newcomer = blocking::Manager::connect_with(&self.manager.options_at(1)).unwrap();
        let dict: Dict<u64, u64> = newcomer.new_dict().unwrap();
        assert_eq!(dict.add(&0, 1).unwrap(), 1);
        let took = began.elapsed();
        println!("recovered in {took:?}");
        assert!(took < RECOVERY, "the manager took {took:?} to recover");
    }
}

fn used(of: &blocking::Manager) -> BTreeMap<String, Option<u64>> {
    of.limits().unwrap().into_iter().map(|limit| (limit.name, limit.used)).collect()
}

/// How often something is done, by an environment variable, or as often as ordinary runs have time for.
#[must_use]
pub fn times(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().map_or(default, |times| times.replace('_', "").parse().unwrap())
}
