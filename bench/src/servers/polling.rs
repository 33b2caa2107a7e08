//! How the contenders that are told to poll, or not to, are made to do their work.

use anyhow::Result;

use super::Servers;
use crate::args::WorkerWork;
use crate::contender::PROCESSES;
use crate::contender::polling::{Polling, Task};
use crate::holdfast;
use crate::reading::Reading;

/// Processes that take turns at a lock.
const TWO: usize = 2;

impl Servers<'_> {
    /// Lets manager and clients, which are told the same, make that many calls.
    pub(super) fn run_polling(&mut self, task: Task, polling: Polling, calls: u64) -> Result<Reading> {
        let (setting, cpu) = (self.setting, self.cpu());
        let server = self.polling(polling)?;
        let (work, processes) = match task {
            Task::HandOver => return server.contend(setting, calls, TWO, cpu),
            Task::Blocking => (WorkerWork::BlockingAdd, 1),
            Task::Async => (WorkerWork::AsyncAdd, 1),
            Task::Processes => (WorkerWork::BlockingAdd, PROCESSES),
            Task::Connections => (WorkerWork::Connections, 1),
            Task::InFlight => (WorkerWork::InFlight, 1),
        };
        server.run(setting, work, calls, processes, cpu)
    }

    fn polling(&mut self, polling: Polling) -> Result<&holdfast::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket(&format!("polling-{polling}")));
        self.polling[polling as usize].get(|| holdfast::Server::polling(setting, &socket, polling, cpu))
    }
}
