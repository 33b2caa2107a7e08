//! Which connections there may be at once.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::auth::Source;
use crate::limits::Limits;

/// Which connections there may be at once.
///
/// Whoever can reach the manager can open connections and say nothing. So those that have not authenticated have a limit
/// of their own, and the oldest of them goes when there is no place for a new one: an honest client needs its place for
/// the few milliseconds of a handshake, a silent one for as long as it is let. Were the newest turned away instead, a few
/// silent ones would keep everybody out until their time to authenticate is over.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Arc<Limits>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All that have a place.
    connections: usize,
    /// Those of them that are not authenticated, by their age: the oldest has the lowest number.
    strangers: BTreeMap<u64, Stranger>,
    /// How many each host has.
    hosts: HashMap<Host, usize>,
    next: u64,
}

#[derive(Debug)]
struct Stranger {
    host: Option<Host>,
    ousted: CancellationToken,
}

/// A host, as far as its connections are counted: an IPv4 address, or the network of 64 bits that one IPv6 host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Host(IpAddr);

impl Host {
    /// `None` over a Unix socket: that is this user, who could as well stop the manager.
    fn of(source: Source) -> Option<Self> {
        let Source::Host(address) = source else { return None };
        Some(Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            address @ IpAddr::V4(_) => address,
        }))
    }
}

impl Admission {
    pub(crate) fn new(limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// A place for a new connection, or the name of the limit for which it gets none.
    pub(crate) fn admit(self: &Arc<Self>, source: Source) -> Result<Place, &'static str> {
        let host = Host::of(source);
        let mut state = self.state.lock();
        if host.is_some_and(|host| state.of_host(host) >= self.limits.host_connections) {
            return Err("host_connections");
        }
        if state.strangers.len() >= self.limits.unauthenticated || state.connections >= self.limits.connections {
            let oldest = state.strangers.pop_first().map(|(_, oldest)| oldest);
            let oldest = oldest.ok_or("connections")?;
            state.remove(oldest.host);
            oldest.ousted.cancel();
        }
        let (id, ousted) = (state.next, CancellationToken::new());
        state.next += 1;
        state.add(host);
        state.strangers.insert(id, Stranger { host, ousted: ousted.clone() });
        Ok(Place { admission: self.clone(), id, host, ousted, is_authenticated: false })
    }

    /// How many connections there are, and how many of them are not authenticated.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.connections, state.strangers.len())
    }

    /// How many connections the host has that has most.
    pub(crate) fn most_of_a_host(&self) -> usize {
        self.state.lock().hosts.values().copied().max().unwrap_or_default()
    }
}

impl State {
    fn of_host(&self, host: Host) -> usize {
        self.hosts.get(&host).copied().unwrap_or_default()
    }

    fn add(&mut self, host: Option<Host>) {
        self.connections += 1;
        if let Some(host) = host {
            *self.hosts.entry(host).or_default() += 1;
        }
    }

    fn remove(&mut self, host: Option<Host>) {
        self.connections -= 1;
        if let Some(host) = host {
            let left = self.of_host(host).saturating_sub(1);
            if left == 0 {
                self.hosts.remove(&host);
            } else {
                self.hosts.insert(host, left);
            }
        }
    }
}

/// The place of one connection. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    id: u64,
    host: Option<Host>,
    ousted: CancellationToken,
    is_authenticated: bool,
}

impl Place {
    /// Ready when another connection has got this place.
    pub(crate) fn ousted(&self) -> WaitForCancellationFutureOwned {
        self.ousted.clone().cancelled_owned()
    }

    /// The connection has authenticated: it keeps its place from now on.
    pub(crate) fn keep(&mut self) {
        if std::mem::replace(&mut self.is_authenticated, true) {
            return;
        }
        let mut state = self.admission.state.lock();
        if state.strangers.remove(&self.id).is_none() {
            // It was ousted in the moment in which it authenticated. It stays, and for that moment there is one too many.
            state.add(self.host);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        if self.is_authenticated || state.strangers.remove(&self.id).is_some() {
            state.remove(self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, unauthenticated: usize, host_connections: usize) -> Arc<Admission> {
        Admission::new(Arc::new(Limits { connections, unauthenticated, host_connections, ..Limits::default() }))
    }

    fn host(text: &str) -> Source {
        Source::Host(text.parse().unwrap())
    }

    const USER: Source = Source::User(1);

    #[test]
    fn the_oldest_stranger_goes_for_a_new_one_and_those_who_authenticated_stay() {
        let admission = admission(10, 2, 10);
        let mut honest = admission.admit(USER).unwrap();
        honest.keep();
        let strangers: Vec<Place> = (0..100).map(|_| admission.admit(USER).unwrap()).collect();
        assert_eq!(admission.count(), (3, 2));
        let ousted = strangers.iter().filter(|place| place.ousted.is_cancelled()).count();
        assert_eq!(ousted, 98);
        assert!(strangers[98..].iter().all(|place| !place.ousted.is_cancelled()), "the newest stay");
        assert!(!honest.ousted.is_cancelled());
        drop(strangers);
        assert_eq!(admission.count(), (1, 0), "what was ousted is not given back twice");
        drop(honest);
        assert_eq!(admission.count(), (0, 0));
    }

    #[test]
    fn strangers_do_not_take_the_last_places_from_others() {
        let admission = admission(3, 3, 10);
        let strangers: Vec<Place> = (0..3).map(|_| admission.admit(USER).unwrap()).collect();
        let mut honest: Vec<Place> = (0..3).map(|_| admission.admit(USER).unwrap()).collect();
        honest.iter_mut().for_each(Place::keep);
        assert!(strangers.iter().all(|place| place.ousted.is_cancelled()));
        assert_eq!(admission.admit(USER).unwrap_err(), "connections", "nobody goes who has authenticated");
        honest.pop();
        assert!(admission.admit(USER).is_ok());
    }

    #[test]
    fn who_authenticates_while_it_is_ousted_stays_and_is_counted() {
        let admission = admission(10, 1, 10);
        let mut quick = admission.admit(USER).unwrap();
        let _newer = admission.admit(USER).unwrap();
        assert!(quick.ousted.is_cancelled());
        quick.keep();
        quick.keep();
        assert_eq!(admission.count(), (2, 1));
        drop(quick);
        assert_eq!(admission.count(), (1, 1));
    }

    #[test]
    fn no_host_takes_all_places_and_an_ipv6_network_is_one_host() {
        let admission = admission(100, 100, 2);
        let mut places = vec![
            admission.admit(host("192.0.2.1")).unwrap(),
            admission.admit(host("::ffff:192.0.2.1")).unwrap(),
            admission.admit(host("2001:db8::1")).unwrap(),
            admission.admit(host("2001:db8::ffff:1")).unwrap(),
        ];
        for full in ["192.0.2.1", "2001:db8::2"] {
            assert_eq!(admission.admit(host(full)).unwrap_err(), "host_connections");
        }
        assert_eq!(admission.most_of_a_host(), 2);
        places.push(admission.admit(host("192.0.2.2")).unwrap());
        places.push(admission.admit(host("2001:db8:0:1::1")).unwrap());
        places.extend((0..5).map(|_| admission.admit(USER).unwrap()));
        places.remove(0);
        assert!(admission.admit(host("192.0.2.1")).is_ok());
        drop(places);
        assert!(admission.state.lock().hosts.is_empty(), "nothing is remembered of who has left");
    }
}
