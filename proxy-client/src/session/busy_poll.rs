//! What is learnt of polling for replies, apart for each thing that is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_stream::{BusyPoll, Next, Policy, Polled, allowed_cpus};

/// So many objects are told apart, times the ways to wait for them. A client that waits for more begins to learn anew.
const MOST_SITES: usize = 256;

/// What a call waits for that waits for others: the object, and what it wants of it.
///
/// A `get` that waits for items says nothing about a `put` that finds room, nor one lock about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) handle: u32,
    pub(crate) op: &'static str,
}

/// The policies of one session.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    busy_poll: BusyPoll,
    cpus: usize,
    calls: Policy,
    waits: BTreeMap<Site, Policy>,
}

impl Policies {
    /// For a session of this process.
    pub(crate) fn new(busy_poll: BusyPoll) -> Self {
        Self::on(allowed_cpus(), busy_poll)
    }

    /// For a process that may use so many CPUs.
    pub(crate) fn on(cpus: usize, busy_poll: BusyPoll) -> Self {
        Self { busy_poll, cpus, calls: Policy::of_calls(busy_poll, cpus), waits: BTreeMap::new() }
    }

    /// That of calls that wait at the site, or of those that wait for nobody.
    fn of(&mut self, site: Option<Site>) -> &mut Policy {
        let Some(site) = site else { return &mut self.calls };
        if self.waits.len() >= MOST_SITES && !self.waits.contains_key(&site) {
            self.waits.clear();
        }
        self.waits.entry(site).or_insert_with(|| {
            let mut policy = Policy::of_waits(self.busy_poll, self.cpus);
            policy.learn_of_others(&self.calls);
            policy
        })
    }

    /// A reply is about to be waited for, for as long as `left`.
    pub(crate) fn begin(&mut self, site: Option<Site>, left: Option<Duration>) -> Next {
        self.of(site).begin(left)
    }

    /// What came of polling.
    pub(crate) fn learn(&mut self, site: Option<Site>, polled: Polled) {
        let policy = self.of(site);
        policy.learn(polled);
        if matches!(polled, Polled::Taken { .. }) {
            let learnt = policy.clone();
            self.calls.learn_of_others(&learnt);
            self.waits.values_mut().for_each(|policy| policy.learn_of_others(&learnt));
            // Perhaps there are fewer than there were.
            self.cpus = allowed_cpus();
            self.calls.note_cpus(self.cpus);
            self.waits.values_mut().for_each(|policy| policy.note_cpus(self.cpus));
        }
    }

    /// How long a wait asleep was.
    pub(crate) fn slept(&mut self, site: Option<Site>, time: Duration) {
        self.of(site).slept(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Site = Site { handle: 7, op: "Queue.Get" };
    const PUT: Site = Site { handle: 7, op: "Queue.Put" };
    const OTHER_GET: Site = Site { handle: 8, op: "Queue.Get" };

    fn polls(policies: &mut Policies, site: Option<Site>) -> bool {
        matches!(policies.begin(site, None), Next::Poll(_))
    }

    #[test]
    fn what_is_learnt_of_one_wait_says_nothing_about_others() {
        let mut policies = Policies::on(2, BusyPoll::Auto);
        for site in [GET, PUT, OTHER_GET].map(Some) {
            assert!(!polls(&mut policies, site), "no wait was short yet");
        }
        policies.slept(Some(PUT), Duration::from_micros(10));
        assert!(polls(&mut policies, Some(PUT)));
        assert!(!polls(&mut policies, Some(GET)) && !polls(&mut policies, Some(OTHER_GET)));
        policies.learn(Some(PUT), Polled::Nothing);
        assert!(!polls(&mut policies, Some(PUT)));
        assert!(polls(&mut policies, None), "a call that waits for nobody");
    }

    #[test]
    fn others_who_want_the_cpu_are_learnt_of_once_for_all_waits() {
        for lost in [None, Some(GET)] {
            let mut policies = Policies::on(2, BusyPoll::Auto);
            for site in [GET, PUT].map(Some) {
                policies.slept(site, Duration::ZERO);
                assert!(polls(&mut policies, site));
            }
            policies.learn(lost, Polled::Taken { found: true, long: true });
            assert!([None, Some(GET), Some(PUT), Some(OTHER_GET)].iter().all(|site| !polls(&mut policies, *site)));
            for _ in 0..1024 {
                polls(&mut policies, None);
                policies.slept(Some(PUT), Duration::ZERO);
            }
            assert!(polls(&mut policies, None) && polls(&mut policies, Some(PUT)));
        }
    }

    #[test]
    fn only_so_many_waits_are_remembered() {
        let mut policies = Policies::on(2, BusyPoll::Auto);
        for handle in 0..10 * MOST_SITES as u32 {
            policies.slept(Some(Site { handle, ..GET }), Duration::ZERO);
            assert!(policies.waits.len() <= MOST_SITES);
            assert!(polls(&mut policies, Some(Site { handle, ..GET })), "the last is among them");
        }
    }
}
