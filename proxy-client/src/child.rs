//! A manager that this process starts for itself.

use std::env;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::place::{
    ADDRESS_VARIABLE, AUTHKEY_FILE_VARIABLE, Address, CERTIFICATE_FILE_VARIABLE, PRIVATE_KEY_FILE_VARIABLE,
};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{ConnectError, Result};
use crate::options::Options;
use crate::owner::Owner;

/// Names the program that is run as a manager, instead of the `holdfast` that would be found.
const PROGRAM_VARIABLE: &str = "HOLDFAST_PROGRAM";

/// A manager that is told to end has this long before it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// More than the two lines that a manager says.
const READY_BYTES: usize = 64 << 10;

/// A manager that this process started: a child that ends when its standard input is closed, and so with this process,
/// however that ends.
pub(crate) struct Child {
    running: Mutex<Option<Running>>,
    address: Address,
    authkey_file: PathBuf,
}

struct Running {
    process: process::Child,
    /// Open for as long as the manager is to live.
    lifeline: ChildStdin,
    /// Where its socket and authkey are, which it removes itself unless it is killed.
    folder: Option<PathBuf>,
    owner: Owner,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Child {
    /// Starts a manager, and returns when clients can connect to it, or when that takes longer than `patience`.
    pub(crate) fn start(patience: Duration) -> Result<Self, ConnectError> {
        let (mut command, program) = command()?;
        let failed = |problem: String| ConnectError::Start(format!("{}: {problem}", program.display()));
        // A group of its own: Ctrl-C is for the program, which may still need its manager while it ends.
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
        let mut started = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(lifeline), Some(output)) = (started.stdin.take(), started.stdout.take()) else {
            unreachable!("both were piped");
        };
        let mut running = Running { process: started, lifeline, folder: None, owner: Owner::this() };
        match places(output, patience) {
            Ok((address, authkey_file)) => {
                let authkey_file = PathBuf::from(authkey_file);
                running.folder = authkey_file.parent().filter(|folder| is_private(folder)).map(Path::to_owned);
                match address.parse() {
                    Ok(address) => Ok(Self { address, authkey_file, running: Mutex::new(Some(running)) }),
                    Err(error) => {
                        running.end();
                        Err(ConnectError::Address(error))
                    }
                }
            }
            // If it has ended, it has said on standard error why.
            Err(problem) => {
                let _ = running.process.kill();
                let status = running.process.wait().map(|status| status.to_string()).unwrap_or_default();
                Err(failed(format!("{problem} ({status})")))
            }
        }
    }

    /// The options with which this manager is connected to.
    pub(crate) fn options(&self, options: &Options) -> Options {
        options.clone().of_own_manager().address(self.address.clone()).authkey_file(&self.authkey_file)
    }

    /// Ends the manager and waits for it.
    pub(crate) fn end(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            running.end();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(running) = self.running.lock().take() else { return };
        // Whoever drops the last proxy must not wait. A thread that cannot be started leaves the child to end by itself,
        // when its standard input closes, and to be reaped by init.
        let _ = thread::Builder::new().name("holdfast-reaper".to_owned()).spawn(move || running.end());
    }
}

impl Running {
    fn end(mut self) {
        if self.owner.is_elsewhere() {
            return;
        }
        drop(self.lifeline);
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(Ok(process)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            let timeout = Timespec::try_from(END_WITHIN).ok();
            let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref());
            if ended != Ok(1) {
                let _ = self.process.kill();
            }
        }
        let _ = self.process.wait();
        if let Some(folder) = &self.folder {
            // Most often it is gone already.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Whether a folder has a name that only a private manager gives.
fn is_private(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("private-") || name.starts_with("holdfast-private-")
}

/// The two lines that a private manager says when clients can connect: its address, and its authkey file.
fn places(mut output: ChildStdout, patience: Duration) -> Result<(String, String), String> {
    let deadline = Instant::now() + patience;
    let mut said = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&said);
        if let [address, authkey_file, _] = text.splitn(3, '\n').collect::<Vec<_>>()[..] {
            return Ok((address.to_owned(), authkey_file.to_owned()));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || said.len() > READY_BYTES {
            return Err(format!("it was not ready within {patience:?}"));
        }
        let timeout = Timespec::try_from(left).ok();
        // Interrupted or late, the deadline is looked at again.
        if poll(&mut [PollFd::new(&output, PollFlags::IN)], timeout.as_ref()) == Ok(1) {
            let mut chunk = [0; 1024];
            match output.read(&mut chunk) {
                Ok(read @ 1..) => said.extend_from_slice(&chunk[..read]),
                _ => return Err("it ended before it was ready".to_owned()),
            }
        }
    }
}

/// What is run as the manager.
fn command() -> Result<(Command, PathBuf), ConnectError> {
    #[cfg(feature = "embedded")]
    if let Some(command) = crate::embedded::command() {
        return Ok(command);
    }
    let program = match env::var_os(PROGRAM_VARIABLE) {
        Some(program) => PathBuf::from(program),
        None => beside_this_program().or_else(in_path).ok_or_else(|| {
            let own = if cfg!(feature = "embedded") {
                "begin main with `let _family = holdfast::init();`, so that this program is its own manager"
            } else {
                "bring the manager along with the feature `embedded` and holdfast::init()"
            };
            ConnectError::Start(format!(
                "there is no holdfast program beside this one or in PATH: {own}; or install it (cargo install --path cli), \
                 or name it with HOLDFAST_PROGRAM"
            ))
        })?,
    };
    let mut command = Command::new(&program);
    command.args(["serve", "--private"]);
    // What leads clients to another manager, or tells another one what to show, is not for this one.
    for variable in [ADDRESS_VARIABLE, AUTHKEY_FILE_VARIABLE, CERTIFICATE_FILE_VARIABLE, PRIVATE_KEY_FILE_VARIABLE] {
        command.env_remove(variable);
    }
    Ok((command, program))
}

fn beside_this_program() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let folder = program.parent()?;
    // Cargo puts tests and examples one folder below the programs that they belong to.
    [Some(folder), folder.parent()]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("holdfast"))
        .find(|path| is_program(path))
}

fn in_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("holdfast")).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
