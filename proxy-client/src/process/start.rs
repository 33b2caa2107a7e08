//! Starts this program a second time, as a child that knows what it is to do.

use std::env;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::access::{self, Access};
use super::boot::{self, Boot, ROLE_VARIABLE, Task};
use super::current_process;
use super::error::ProcessError;
use super::household::{Started, UntilEnd, take_in};
use super::identity;

/// What this process runs, also if the program was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Whether processes can be started.
static STAGE: AtomicU8 = AtomicU8::new(Stage::NotBegun as u8);

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// `init` was not called: a child would run `main`.
    NotBegun,
    Begun,
    /// What `init` returned was dropped.
    Ending,
}

/// Processes can be started from now on.
pub(super) fn begin() {
    STAGE.store(Stage::Begun as u8, Ordering::Release);
}

/// No processes are started any more.
pub(super) fn end() {
    STAGE.store(Stage::Ending as u8, Ordering::Release);
}

/// Whether this program's `main` begins with `init`, so that it may be started for another purpose.
#[cfg(feature = "embedded")]
pub(crate) fn has_begun() -> bool {
    STAGE.load(Ordering::Acquire) != Stage::NotBegun as u8
}

/// A process that is to be started.
pub(crate) struct Plan {
    pub(super) name: String,
    pub(super) path: Vec<u32>,
    pub(super) is_daemon: bool,
    pub(super) task: Task,
    /// What the arguments give away.
    pub(super) given: Vec<OwnedFd>,
    /// The manager to which `connect_default` leads there; the one that this process means if none is said.
    pub(super) manager: Option<Access>,
    pub(super) until_end: UntilEnd,
}

/// Whether this process may start others.
pub(super) fn check() -> Result<(), ProcessError> {
    let stage = STAGE.load(Ordering::Acquire);
    if stage == Stage::NotBegun as u8 {
        return Err(ProcessError::NotInitialized);
    }
    if stage == Stage::Ending as u8 {
        return Err(ProcessError::Ending);
    }
    let this = current_process();
    if this.is_daemon() {
        return Err(ProcessError::DaemonStartsChildren { name: this.name().to_owned() });
    }
    Ok(())
}

/// Starts it. Waits for nothing that the child does.
pub(crate) fn start(plan: Plan) -> Result<Arc<Started>, ProcessError> {
    check()?;
    let Plan { name, path, is_daemon, task, given, manager, until_end } = plan;
    let access = access::to_inherit(manager).iter().map(Into::into).collect();
    let boot = Boot {
        name: name.clone(),
        path,
        is_daemon,
        parent_name: current_process().name().to_owned(),
        parent_pid: process::id(),
        access,
        task: Some(task),
    };
    let failed = |error: io::Error| ProcessError::Start { name: name.clone(), cause: error.to_string() };
    let channel = boot::send(&boot, &given).map_err(failed)?;
    // It has copies of them by now, on their way.
    drop(given);
    let mut command = this_program();
    let child = command.env(ROLE_VARIABLE, channel.role).stdin(channel.input).spawn().map_err(failed)?;
    drop(command);
    take_in(name.clone(), is_daemon, child, until_end).map_err(failed)
}

/// This program, with the arguments that it was started with.
fn this_program() -> Command {
    let same = |path: &PathBuf| {
        let (named, running) = (fs::metadata(path).ok()?, fs::metadata(THIS_PROGRAM).ok()?);
        ((named.dev(), named.ino()) == (running.dev(), running.ino())).then_some(())
    };
    // The name is what people see in lists of processes, so it is taken where it leads to the same.
    let program = env::current_exe().ok().filter(|path| same(path).is_some());
    let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from(THIS_PROGRAM)));
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    command
}

/// The name of a process that was not given one: as Python's, `Process-1`, or `Process-1:2` of a child's.
pub(super) fn default_name(prefix: &str, path: &[u32]) -> String {
    let path: Vec<String> = path.iter().map(u32::to_string).collect();
    format!("{prefix}-{}", path.join(":"))
}

/// The path and the name of the next process that is made here.
pub(super) fn next(prefix: &str) -> (Vec<u32>, String) {
    let path = identity::next_path();
    let name = default_name(prefix, &path);
    (path, name)
}
