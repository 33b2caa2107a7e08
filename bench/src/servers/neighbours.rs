//! How the contenders beside a busy client are made to do their work.

use anyhow::{Result, bail};

use super::Servers;
use crate::args::WorkerWork;
use crate::contender::neighbours::{Busy, Neighbour};
use crate::reading::Reading;
use crate::worker;

impl Servers<'_> {
    /// Lets one contender make that many calls, while its neighbour is busy.
    pub(super) fn run_beside(&mut self, contender: Neighbour, calls: u64) -> Result<Reading> {
        let (setting, cpu) = (self.setting, self.cpu());
        match contender {
            Neighbour::Holdfast(busy) => {
                let server = self.large()?;
                let neighbour = match busy {
                    Busy::Absent => None,
                    Busy::Calls => Some(server.worker(setting, WorkerWork::BusyCalls, 1, cpu)?),
                    Busy::Values => Some(server.worker(setting, WorkerWork::BusyValues, 1, cpu)?),
                    Busy::Event(sessions) => Some(server.worker(setting, WorkerWork::BusyEvent, sessions, cpu)?),
                };
                worker::beside(neighbour, || server.run(setting, WorkerWork::LightGet, calls, 1, cpu))
            }
            Neighbour::Redis(busy) => {
                let server = self.redis()?;
                let neighbour = match busy {
                    Busy::Absent => None,
                    Busy::Calls => Some(server.busy(setting, "busy-calls", cpu)?),
                    Busy::Values => Some(server.busy(setting, "busy-values", cpu)?),
                    Busy::Event(_) => bail!("Redis has no events"),
                };
                worker::beside(neighbour, || server.call_lightly(setting, calls, cpu))
            }
        }
    }
}
