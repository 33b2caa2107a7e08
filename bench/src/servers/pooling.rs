//! How the contenders with pools are made to do their work. Each brings its own pool, and so its own manager.

use anyhow::Result;

use super::Servers;
use crate::args::WorkerWork;
use crate::contender::pooling::Pooling;
use crate::reading::Reading;
use crate::{holdfast, worker};

impl Servers<'_> {
    /// Lets one contender make that many calls.
    pub(super) fn run_pooling(&mut self, contender: Pooling, calls: u64) -> Result<Reading> {
        let (setting, cpu) = (self.setting, self.cpu());
        let holdfast = |work| holdfast::with_own_manager(setting, work, calls, cpu);
        let cpython = |what: &str| {
            let python = setting.python.as_ref().map_err(Clone::clone)?;
            worker::run(vec![python.pool(what, calls, cpu)?])
        };
        match contender {
            Pooling::HoldfastMap => holdfast(WorkerWork::PoolMap),
            Pooling::HoldfastApply => holdfast(WorkerWork::PoolApply),
            Pooling::HoldfastUnordered => holdfast(WorkerWork::PoolUnordered),
            Pooling::HoldfastExecutor => holdfast(WorkerWork::PoolExecutor),
            Pooling::HoldfastReady => holdfast(WorkerWork::PoolReady),
            Pooling::CpythonMap => cpython("pool_map"),
            Pooling::CpythonApply => cpython("pool_apply"),
            Pooling::CpythonUnordered => cpython("pool_unordered"),
            Pooling::CpythonExecutor => cpython("pool_executor"),
            Pooling::CpythonReady => cpython("pool_ready"),
        }
    }
}
