//! What is done in a run: all of it follows from a seed.

use std::time::Duration;

use holdfast_objects::catalog::{KINDS, arbitrary_spec};
use holdfast_objects::testing::Source;

use crate::cutter::Cut;

/// What is done in a run. The same plan has the same operations and faults, in the same order for each client; how those of
/// different clients meet is up to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What all choices follow from.
    pub seed: u64,
    /// How many processes make calls.
    pub clients: u64,
    /// How many of each process's threads or tasks do.
    pub actors: u64,
    /// So many calls at least.
    pub calls: u64,
    /// So many faults, spread over the calls.
    pub faults: u64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A client is killed, and another comes in its place.
    Kill,
    /// A client is stopped for so long.
    Pause(Duration),
    /// The connection of a client is cut.
    Cut,
    /// All that passes is late by the first, for as long as the second.
    Delay(Duration, Duration),
    /// Nothing passes for so long, and nobody is told.
    Blackhole(Duration),
}

/// Which object a call is made on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The number of its kind.
    pub kind: u32,
    /// Its name.
    pub name: String,
    /// How it is made.
    pub spec: Vec<u8>,
}

impl Plan {
    /// The choices of one part of the run.
    #[must_use]
    pub fn source(&self, part: &[u64]) -> Source {
        let mut seed = self.seed;
        for number in part {
            seed = Source::new(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93)).choice();
        }
        Source::new(seed)
    }

    /// What goes wrong as the fault of this number, and for which client.
    #[must_use]
    pub fn fault(&self, number: u64) -> (u64, Fault) {
        let mut source = self.source(&[1, number]);
        let client = source.below(self.clients);
        let mut ms = |least, most| Duration::from_millis(least + source.below(most - least));
        let times = [ms(20, 200), ms(250, 700), ms(1, 20)];
        let fault = match source.below(13) {
            0..4 => Fault::Kill,
            4 => Fault::Pause(times[0]),
            // Longer than a session lives without its client.
            5 => Fault::Pause(times[1]),
            6..10 => Fault::Cut,
            10 => Fault::Delay(times[2], times[0]),
            11 => Fault::Blackhole(times[0]),
            _ => Fault::Blackhole(times[1]),
        };
        match fault {
            Fault::Cut | Fault::Delay(..) | Fault::Blackhole(_) if Self::is_local(client) => (client, Fault::Kill),
            _ => (client, fault),
        }
    }

    /// Whether a client uses the Unix socket: its session ends at once with its process. Those of the others can be resumed.
    #[must_use]
    pub fn is_local(client: u64) -> bool {
        client % 4 == 1
    }

    /// After how many calls the fault of this number comes.
    #[must_use]
    pub fn time_of_fault(&self, number: u64) -> u64 {
        (number + 1) * self.calls / (self.faults + 1)
    }

    /// Where a connection of a client is cut, in the middle of whatever passes then; mostly not at all.
    #[must_use]
    pub fn cut(&self, client: u64, connection: u64) -> Cut {
        let mut source = self.source(&[2, client, connection]);
        // The handshake takes about 1000 bytes each way.
        let bytes = 2000 + source.below(400_000);
        match source.below(8) {
            0 => Cut { up: bytes, ..Cut::NEVER },
            1 => Cut { down: bytes, ..Cut::NEVER },
            _ => Cut::NEVER,
        }
    }

    /// Some object of any kind. Others come in their place as time goes on, since some can be used up.
    pub fn object(&self, source: &mut Source, calls: u64) -> Named {
        const CALLS_OF_AN_ERA: u64 = 150;
        let (kind, number, era) =
            (KINDS[source.below(KINDS.len() as u64) as usize], source.below(2), calls / CALLS_OF_AN_ERA);
        let mut of_object = self.source(&[3, kind.number.into(), number, era]);
        let spec = arbitrary_spec(kind.number, &mut of_object);
        Named { kind: kind.number, name: format!("{}-{number}-{era}", kind.name), spec }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_all_that_is_done_and_another_seed_says_something_else() {
        let said = |seed| {
            let plan = Plan { seed, clients: 16, actors: 8, calls: 10_000, faults: 100 };
            let faults: Vec<_> = (0..100).map(|number| (plan.time_of_fault(number), plan.fault(number))).collect();
            let cuts: Vec<_> = (0..100).map(|connection| plan.cut(connection % 16, connection)).collect();
            let calls: Vec<_> = (0..1000)
                .map(|call| {
                    let mut source = plan.source(&[4, call % 16, 0, call % 8, call]);
                    let named = plan.object(&mut source, call);
                    format!("{named:?} {:?}", super::super::ops::arbitrary(named.kind, &mut source, call))
                })
                .collect();
            (faults, cuts, calls)
        };
        let (one, again, other) = (said(1), said(1), said(2));
        assert_eq!(one, again);
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
        assert!(one.0.is_sorted_by_key(|(calls, _)| *calls));
        let kinds = |wanted: fn(&Fault) -> bool| one.0.iter().filter(|(_, (_, fault))| wanted(fault)).count();
        assert!(kinds(|fault| *fault == Fault::Kill) > 10 && kinds(|fault| *fault == Fault::Cut) > 10);
    }
}
