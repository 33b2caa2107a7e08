//! How the contenders at what lets calls wait are made to do their work.

use anyhow::Result;

use super::Servers;
use crate::contender::PROCESSES;
use crate::contender::waiting::Waiting;
use crate::holdfast;
use crate::peers::echo;
use crate::reading::Reading;

impl Servers<'_> {
    /// Lets one contender make that many calls.
    pub(super) fn run_waiting(&mut self, contender: Waiting, calls: u64) -> Result<Reading> {
        let (setting, cpu) = (self.setting, self.cpu());
        match contender {
            Waiting::HoldfastLock(library, release) => {
                self.holdfast()?.run(setting, holdfast::lock_work(library, release), calls, 1, cpu)
            }
            Waiting::HoldfastContended => self.holdfast()?.contend(setting, calls, PROCESSES, cpu),
            Waiting::HoldfastQueue(library) => {
                self.holdfast()?.run(setting, holdfast::queue_work(library), calls, 1, cpu)
            }
            Waiting::HoldfastItems(batch) => self.holdfast()?.pass_on(setting, calls, batch, cpu),
            Waiting::HoldfastPing(library) => self.holdfast()?.ping(setting, library, calls, cpu),
            Waiting::HoldfastEvent(sessions) => self.holdfast()?.set_event(setting, sessions, calls, cpu),
            Waiting::HoldfastBarrier => self.holdfast()?.meet(setting, calls, cpu),
            Waiting::CpythonLock => self.cpython()?.lock(calls, cpu),
            Waiting::CpythonContended => self.cpython()?.contend(setting, calls, cpu),
            Waiting::CpythonQueue => self.cpython()?.queue(calls, cpu),
            Waiting::CpythonItems => self.cpython()?.pass_on(calls, cpu),
            Waiting::CpythonBarrier => self.cpython()?.meet(calls, cpu),
            Waiting::RedisContended => self.redis()?.contend(setting, calls, cpu),
            Waiting::EtcdLock => self.etcd()?.lock(setting, calls, cpu),
            Waiting::EchoTwice(library) => self.echo()?.call(setting, calls, echo::TWICE, library, cpu),
        }
    }
}
