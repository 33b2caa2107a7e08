//! What is the same for a whole run: where things are, how much is done, and on which CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::args::CompareArgs;
use crate::peers::cpython::Python;
use crate::peers::etcd::Etcd;
use crate::peers::redis::Redis;
use crate::pin;
use crate::unavailable::Unavailable;

/// The load average from which on a run is not worth much.
const BUSY: f64 = 0.5;

/// The run's constants.
pub(crate) struct Setting {
    /// Sockets, keys, scripts and etcd's data; removed at the end.
    directory: TempDir,
    /// This program.
    pub(crate) program: PathBuf,
    /// The `holdfast` program, if one was named.
    pub(crate) holdfast: Option<PathBuf>,
    pub(crate) redis: Result<Redis, Unavailable>,
    pub(crate) python: Result<Python, Unavailable>,
    pub(crate) etcd: Result<Etcd, Unavailable>,
    pub(crate) rounds: u32,
    /// How long one measurement is to take.
    pub(crate) measurement: Duration,
    /// Objects of the work with many objects.
    pub(crate) objects: u64,
    /// Entries of the dict whose memory is measured.
    pub(crate) entries: u64,
    /// Idle sessions whose memory is measured.
    pub(crate) sessions: u64,
    /// Waiting calls whose memory is measured.
    pub(crate) waiters: u64,
    /// The CPU that all share when pinned.
    pub(crate) cpu: usize,
    /// How many CPUs there are when not.
    pub(crate) cpus: usize,
    /// The load average of the minute before the run: what else was going on.
    pub(crate) load: Option<f64>,
}

impl Setting {
    pub(crate) fn new(args: &CompareArgs) -> Result<Self> {
        let cpus = pin::allowed_cpus()?;
        let directory = tempfile::Builder::new().prefix("hf-bench-").tempdir().context("making a directory")?;
        let python = Python::find(directory.path());
        let quick = args.quick;
        let load = fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok());
        if let Some(load) = load.filter(|load| *load > BUSY) {
            eprintln!("warning: this machine is busy (load average {load:.1}): the figures will not mean much");
        }
        Ok(Self {
            directory,
            program: std::env::current_exe().context("finding this program")?,
            holdfast: args.holdfast.clone(),
            redis: Redis::find(),
            python,
            etcd: Etcd::find(),
            rounds: args.rounds.unwrap_or(if quick { 3 } else { 5 }),
            measurement: Duration::from_millis(if quick { 200 } else { 700 }),
            objects: if quick { 100_000 } else { 1_000_000 },
            entries: if quick { 100_000 } else { 1_000_000 },
            sessions: if quick { 100 } else { 1_000 },
            waiters: if quick { 10_000 } else { 100_000 },
            // The last one: the first is where most interrupts go.
            cpu: cpus.last().copied().context("no CPU is allowed")?,
            cpus: cpus.len(),
            load,
        })
    }

    /// A path for a file of that name in the run's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The run's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}
