//! A manager that does nothing for a while.

use rustix::process::Signal;

use crate::manager::Manager;
use crate::wait::until;

/// A manager that is stopped as by Ctrl-Z, until this is dropped.
#[derive(Debug)]
pub struct Stopped<'a>(&'a Manager);

impl<'a> Stopped<'a> {
    /// Stops it.
    #[must_use]
    pub fn new(manager: &'a Manager) -> Self {
        manager.process.signal(Signal::STOP);
        until("the manager is stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", manager.process.pid())).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
        });
        Self(manager)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.process.signal(Signal::CONT);
    }
}
