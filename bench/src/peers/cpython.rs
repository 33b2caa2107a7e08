//! CPython's `multiprocessing` manager, served and called by the script beside this file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::child::{Child, Launch};
use crate::contender::PROCESSES;
use crate::contender::waiting::CREW;
use crate::reading::Reading;
use crate::setting::Setting;
use crate::unavailable::Unavailable;
use crate::{register, worker};

const SCRIPT: &str = include_str!("cpython.py");
/// How long the manager may take to start.
const START: Duration = Duration::from_secs(20);

/// The interpreter that is installed.
#[derive(Clone)]
pub(crate) struct Python {
    pub(crate) version: String,
    interpreter: PathBuf,
    script: PathBuf,
}

impl Python {
    /// Looks for python3, and puts the script into `directory`.
    pub(crate) fn find(directory: &Path) -> Result<Self, Unavailable> {
        // The interpreter itself, since `python3` may be a slow script that looks for it.
        let question = "import platform, sys; print(platform.python_version()); print(sys.executable)";
        let absent = || Unavailable("python3 is not installed".to_owned());
        let answer = Command::new("python3").args(["-c", question]).output().map_err(|_| absent())?;
        let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
        let mut lines = answer.lines();
        let (Some(version), Some(interpreter)) = (lines.next(), lines.next()) else { return Err(absent()) };
        let script = directory.join("cpython.py");
        fs::write(&script, SCRIPT).map_err(|error| Unavailable(format!("writing {}: {error}", script.display())))?;
        Ok(Self { version: version.to_owned(), interpreter: interpreter.into(), script })
    }

    /// Starts a manager on `address`, a path or HOST:PORT, and waits until it says which that has become.
    pub(crate) fn serve(&self, address: &OsStr, cpu: Option<usize>) -> Result<Server> {
        let mut process = Child::start(self.launch("serve").arg(address), cpu)?;
        let address = process.line(START)?.into();
        Ok(Server { _process: process, python: self.clone(), address })
    }

    /// A process that starts a manager of its own.
    pub(crate) fn start_manager(&self, cpu: Option<usize>) -> Result<Child> {
        Child::start(self.launch("start"), cpu)
    }

    /// A process that has a pool of its own, or an executor.
    pub(crate) fn pool(&self, what: &str, calls: u64, cpu: Option<usize>) -> Result<Child> {
        Child::start(self.launch(what).words(&calls.to_string()), cpu)
    }

    /// A process that starts processes, and joins each.
    pub(crate) fn start_processes(&self, calls: u64, cpu: Option<usize>) -> Result<Child> {
        Child::start(self.launch("spawn").words(&calls.to_string()), cpu)
    }

    fn launch(&self, what: &str) -> Launch {
        let isolated = Launch::new(format!("CPython ({what})"), &self.interpreter).words("-I -B");
        isolated.arg(&self.script).words(what)
    }
}

/// A running manager.
pub(crate) struct Server {
    _process: Child,
    python: Python,
    address: OsString,
}

impl Server {
    /// `d[k]`, one at a time.
    pub(crate) fn get(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client("get", calls)], cpu)
    }

    /// Processes that all do `d[k] = d[k] + 1`, which is two calls, without a lock: it loses updates, but it is the
    /// fastest that CPython can do.
    pub(crate) fn processes(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        let each = (calls / PROCESSES as u64).max(2);
        worker::side_by_side(vec![self.client("count", each); PROCESSES], cpu)
    }

    /// `for x in l` over a list of 100,000 integers: a proxy makes a call for each of them.
    pub(crate) fn iterate(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client("iterate", calls)], cpu)
    }

    /// `m.dict()`, whose proxy is dropped at once.
    pub(crate) fn create(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client("create", calls)], cpu)
    }

    /// A lock acquired and released, one at a time.
    pub(crate) fn lock(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client("lock", calls)], cpu)
    }

    /// Processes that all want one lock, until there were so many hand-offs.
    pub(crate) fn contend(&self, setting: &Setting, handoffs: u64, cpu: Option<usize>) -> Result<Reading> {
        let path = setting.path("register");
        let contend = self.client("contend", handoffs).arg(&path);
        register::count(&path, handoffs, || worker::side_by_side(vec![contend; PROCESSES], cpu))
    }

    /// An item put into a queue and taken, one at a time.
    pub(crate) fn queue(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client("queue", calls)], cpu)
    }

    /// Processes that put items, and as many that take them.
    pub(crate) fn pass_on(&self, items: u64, cpu: Option<usize>) -> Result<Reading> {
        let each = (items / CREW as u64).max(1);
        let (consume, produce) = (self.client("consume", each), self.client("produce", each));
        worker::side_by_side([vec![consume; CREW], vec![produce; CREW]].concat(), cpu)
    }

    /// A number sent through a pipe to a process that sends it back. The manager has no part in it.
    pub(crate) fn pipe(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client("pipe", calls)], cpu)
    }

    /// All parties of a barrier, for so many rounds.
    pub(crate) fn meet(&self, rounds: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side(vec![self.client("barrier", rounds); PROCESSES], cpu)
    }

    fn client(&self, what: &str, calls: u64) -> Launch {
        self.python.launch(what).arg(&self.address).words(&calls.to_string())
    }
}
