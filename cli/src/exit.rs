//! How the command ends.

use std::process::ExitCode;

/// How the command ends. Documented in `--help`; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was stopped by a signal, and every client got its answers; or it did what it was asked.
    Done = 0,
    /// It failed for a reason that is not among these.
    Failed = 1,
    /// The arguments, the environment or the configuration file are wrong. The argument parser ends with it too.
    Misused = 2,
    /// It could not listen on an address.
    CannotListen = 3,
    /// The authkey file cannot be used.
    BadAuthkeyFile = 4,
    /// It was stopped by a signal, and some clients were cut off.
    Cut = 5,
    /// There is no session with the manager.
    Unreachable = 6,
    /// The manager said no.
    Refused = 7,
    /// The certificate or its private key cannot be used.
    BadCertificate = 8,
    /// The epoch file cannot be used.
    BadEpochFile = 9,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
