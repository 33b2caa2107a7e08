//! What a process needs to connect to a manager, as its children inherit it: Python's `current_process().authkey`.
//!
//! A child gets the addresses and authkeys of all managers that its parent has a session with, or has inherited itself. They go
//! over the socket between the two and nowhere else: no argument, environment variable, file or log has them.

use std::sync::{Arc, OnceLock, Weak};

use holdfast_proto::place::Address;
use holdfast_proto::scram::Authkey;
use parking_lot::Mutex;

use crate::session::Peer;

/// A manager, and what it takes to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) address: Address,
    pub(crate) authkey: Authkey,
}

impl From<&Peer> for Access {
    fn from(peer: &Peer) -> Self {
        Self { address: peer.address.clone(), authkey: peer.authkey.clone() }
    }
}

/// What this process got from its parent. The first is where `connect_default` leads.
static INHERITED: OnceLock<Vec<Access>> = OnceLock::new();

/// The managers that this process has sessions with, the newest last. Those that are over are let go when there are as many.
static SESSIONS: Mutex<Vec<Weak<Peer>>> = Mutex::new(Vec::new());

/// This process is a child that got these.
pub(super) fn inherit(access: Vec<Access>) {
    // A process is begun once.
    let _ = INHERITED.set(access);
}

/// This process has a session with a manager.
pub(crate) fn note(peer: &Arc<Peer>) {
    let mut sessions = SESSIONS.lock();
    if sessions.len() == sessions.capacity() {
        sessions.retain(|peer| peer.strong_count() > 0);
    }
    sessions.push(Arc::downgrade(peer));
}

/// What was inherited for the manager at this address, or for the one that is meant where none is said.
pub(crate) fn inherited(address: Option<&Address>) -> Option<&'static Access> {
    let inherited = INHERITED.get()?;
    match address {
        Some(address) => inherited.iter().find(|access| access.address == *address),
        None => inherited.first(),
    }
}

/// What a child is to inherit: first the manager that its arguments are from, if they are from one, then those that this process
/// has sessions with, the newest before the others, and last what it has inherited itself. Each address is there once.
pub(super) fn to_inherit(first: Option<Access>) -> Vec<Access> {
    let sessions: Vec<_> = SESSIONS.lock().iter().rev().filter_map(Weak::upgrade).collect();
    let sessions = sessions.iter().map(|peer| Access::from(&**peer));
    let mut all: Vec<Access> = Vec::new();
    for access in first.into_iter().chain(sessions).chain(INHERITED.get().into_iter().flatten().cloned()) {
        if all.iter().all(|known| known.address != access.address) {
            all.push(access);
        }
    }
    all
}
