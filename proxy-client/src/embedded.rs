//! A manager within the program that uses it.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_manager::{Limits, Network, run_private, runtime};

use crate::options::busy_poll_of_environment;

/// Tells a program that it was started to be a manager.
const ROLE_VARIABLE: &str = "HOLDFAST_ROLE";
const MANAGER: &str = "manager";

/// Whether this program's `main` begins with `init`, so that it may be started as a manager.
static IS_INITIALIZED: AtomicBool = AtomicBool::new(false);

/// Lets this program be its own manager. Call it first in `main`, before threads are started or arguments are read.
///
/// [`Manager::start`](crate::Manager::start) then runs this same program a second time; in that process this function
/// serves as the manager and never returns. In every other process it returns at once. It is to `start` what Python's
/// `multiprocessing.freeze_support` is to `multiprocessing.Manager`.
pub fn init() {
    if env::var_os(ROLE_VARIABLE).is_some_and(|role| role == MANAGER) {
        process::exit(serve());
    }
    IS_INITIALIZED.store(true, Ordering::Release);
}

fn serve() -> i32 {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("holdfast: the manager could not start: {error}");
            return 1;
        }
    };
    // One that cannot be read is told to the owner when it connects.
    let busy_poll = busy_poll_of_environment().unwrap_or_default();
    let network = Network { busy_poll, ..Network::default() };
    let served = runtime.block_on(run_private(Limits::default(), network, 1, |address, authkey_file| {
        let mut stdout = io::stdout().lock();
        // If nobody reads it, the owner is gone, which is noticed anyway.
        let _ = writeln!(stdout, "{address}\n{}", authkey_file.display()).and_then(|()| stdout.flush());
    }));
    match served {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("holdfast: the manager could not start: {error}");
            1
        }
    }
}

/// This program, to be run as a manager, if it can be.
pub(crate) fn command() -> Option<(Command, PathBuf)> {
    if !IS_INITIALIZED.load(Ordering::Acquire) {
        return None;
    }
    let program = env::current_exe().ok()?;
    let mut command = Command::new(&program);
    command.env(ROLE_VARIABLE, MANAGER);
    Some((command, program))
}
