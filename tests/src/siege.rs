//! A manager under attack, and what must hold meanwhile and afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast::blocking::{self, Dict};

use crate::manager::{Manager, Setup};
use crate::pulse::{Pulse, Seen};
use crate::wait::until;

/// How many times slower honest clients may become.
const SLOWER: f64 = 5.0;

/// How soon everything must be as before.
const RECOVERY: Duration = Duration::from_secs(5);

/// What is to be as it was once the attackers are gone.
const LEFTOVERS: [&str; 5] = ["connections", "unauthenticated", "sessions", "objects", "total_bytes"];

/// Attacks of one program take turns: together they would tell nothing about each.
static TURN: Mutex<()> = Mutex::new(());

/// A manager with a Unix socket and a port, and honest clients on both, of whom is known how long their calls take.
///
/// - While it is attacked, 99 of 100 honest calls take at most five times as long as 99 of 100 do of an idle manager: of this
///   one before, or of another one at the same time, since memory and caches are shared. Waiting for a CPU is left out, as
///   [`Seen::p99`] says: attackers and clients are on the manager's machine only in a test.
/// - The manager's memory grows by no more than the attack's bound.
/// - Within five seconds connections, sessions, objects and bytes are as many as before, and a new client is served.
#[derive(Debug)]
pub struct Siege {
    // Dropped in this order: nobody calls a manager that has been killed.
    pulse: Pulse,
    /// Clients of another manager, which is not attacked.
    beside: Pulse,
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
        // As the default is on two CPUs: all connections, the attackers' and the honest ones', share one thread.
        let setup = setup.tcp().setting("threads", "1");
        let [manager, other] = [setup.clone(), setup].map(|setup| Arc::new(setup.start()));
        let client = manager.connect_blocking();
        let [pulse, beside] = [&manager, &other].map(Pulse::new);
        // The first calls are slower.
        let _ = (pulse.seen(), beside.seen());
        pulse.begin();
        let idle = pulse.seen();
        let before = used(&client);
        Self { pulse, beside, client, manager, idle, before, _turn: turn }
    }

    /// How much of each limit is used.
    #[must_use]
    pub fn used(&self) -> BTreeMap<String, Option<u64>> {
        used(&self.client)
    }

    /// Attacks, and waits until honest clients have made enough calls since it began: what was promised held, and the manager
    /// grew by `memory` bytes at most. What attacks by being there is returned.
    pub fn withstands<T>(&self, memory: u64, attack: impl FnOnce() -> T) -> T {
        self.pulse.begin();
        self.beside.begin();
        let held = attack();
        let (Seen { p99, memory: most }, beside) = (self.pulse.seen(), self.beside.seen());
        let idle = self.idle.p99.max(beside.p99);
        let slower = p99.as_secs_f64() / idle.as_secs_f64();
        let grown = most.saturating_sub(self.idle.memory);
        println!(
            "p99 {p99:?}: {slower:.1} times that of an idle manager, {:?} before and {:?} beside it; grown by {} KiB of {}",
            self.idle.p99,
            beside.p99,
            grown >> 10,
            memory >> 10
        );
        assert!(slower <= SLOWER, "honest calls took {p99:?}, and {idle:?} where nobody attacks");
        assert!(grown <= memory, "the manager grew by {} KiB, more than {}", grown >> 10, memory >> 10);
        held
    }

    /// Does so again and again, until honest clients have made enough calls since the attack began: what is over in a moment
    /// would be judged by the calls after it.
    pub fn again_and_again(&self, mut round: impl FnMut()) {
        loop {
            round();
            if self.pulse.has_seen_enough() {
                break;
            }
        }
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
