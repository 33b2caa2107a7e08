//! A manager within the program that uses it.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use holdfast_manager::{Limits, Network, run_private, runtime};

use crate::options::busy_poll_of_environment;
use crate::process::{self, ROLE_VARIABLE};

/// The role of a program that was started to be a manager.
const MANAGER: &str = "manager";

/// Whether this program was started to be the manager.
pub(crate) fn is_told() -> bool {
    env::var_os(ROLE_VARIABLE).is_some_and(|role| role == MANAGER)
}

/// Serves as the manager until it is not needed any more. Returns the exit code. To be called where no runtime runs.
pub(crate) fn serve() -> i32 {
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
    if !process::has_begun() {
        return None;
    }
    let program = env::current_exe().ok()?;
    let mut command = Command::new(&program);
    command.env(ROLE_VARIABLE, MANAGER);
    Some((command, program))
}
