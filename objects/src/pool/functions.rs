//! The functions of a pool, by name, and who serves them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use holdfast_proto::{Reason, Refusal};

use super::line::Line;
use super::slab::Slab;

/// How many bytes a name may have.
pub(super) const NAME_BYTES: usize = 256;

/// How many names a message tells.
const SHOWN: usize = 20;

/// The functions that a worker serves or a task names.
///
/// A function is there as long as something [uses](Self::hold) it.
#[derive(Debug, Default)]
pub(super) struct Functions {
    slab: Slab<Function>,
    by_name: BTreeMap<Arc<str>, u32>,
}

/// A function of which no more is known than its name.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Arc<str>,
    /// The tasks that wait for a worker.
    pub(super) line: Line,
    /// The workers that serve it, and its place among the functions of each.
    pub(super) servers: BTreeMap<u64, u32>,
    /// How many workers serve it, and tasks and calls that wait name it.
    pub(super) users: u64,
}

impl Functions {
    /// How many bytes the pool grows by if this function is used.
    pub(super) fn growth(&self, name: &str) -> u64 {
        if self.by_name.contains_key(name) { 0 } else { name.len() as u64 }
    }

    /// Notes that something uses a function, and tells where it is.
    pub(super) fn hold(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name).copied() {
            self.hold_again(number);
            return number;
        }
        let name: Arc<str> = name.into();
        let function = Function { name: name.clone(), line: Line::default(), servers: BTreeMap::new(), users: 1 };
        let number = self.slab.insert(function);
        self.by_name.insert(name, number);
        number
    }

    /// Notes that something more uses a function that is there.
    pub(super) fn hold_again(&mut self, number: u32) {
        if let Some(function) = self.slab.get_mut(number) {
            function.users += 1;
        }
    }

    /// Notes that something does not use a function any more. Tells how many bytes the pool is smaller by then.
    pub(super) fn release(&mut self, number: u32) -> u64 {
        let Some(function) = self.slab.get_mut(number) else { return 0 };
        function.users -= 1;
        if function.users > 0 {
            return 0;
        }
        let Some(function) = self.slab.remove(number) else { return 0 };
        self.by_name.remove(&function.name);
        function.name.len() as u64
    }

    pub(super) fn get(&self, number: u32) -> Option<&Function> {
        self.slab.get(number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Function> {
        self.slab.get_mut(number)
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.slab.get(number).map_or("", |function| &function.name)
    }

    /// Whether this worker serves it.
    pub(super) fn serves(&self, number: u32, worker: u64) -> bool {
        self.slab.get(number).is_some_and(|function| function.servers.contains_key(&worker))
    }

    /// All, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Function)> {
        self.by_name.values().filter_map(|number| Some((*number, self.slab.get(*number)?)))
    }

    /// Refused, if nobody serves a function of this name: `NOT_REGISTERED`.
    pub(super) fn check_served(&self, name: &str) -> Result<(), Refusal> {
        let is_served = |function: &Function| !function.servers.is_empty();
        if self.by_name.get(name).and_then(|number| self.get(*number)).is_some_and(is_served) {
            return Ok(());
        }
        let served: Vec<&str> =
            self.iter().filter(|(_, function)| is_served(function)).map(|(_, function)| &*function.name).collect();
        let more = if served.len() > SHOWN { format!(", and {} more", served.len() - SHOWN) } else { String::new() };
        let shown = &served[..served.len().min(SHOWN)];
        let problem = format!(
            "no worker of the pool serves the function {name:?}: register it in the workers' program. They serve {shown:?}{more}"
        );
        Err(Refusal::new(Reason::NotRegistered, problem))
    }
}

/// Refused: `MALFORMED`.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    if (1..=NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    let problem = format!("the name of a function has {} bytes and must have 1 to {NAME_BYTES}", name.len());
    Err(Refusal::new(Reason::Malformed, problem))
}
