//! What can be wrong with processes.

use std::time::Duration;

/// A process could not be started, or not be asked for something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A child of this program would not know that it is one, run `main`, and start children itself, without end.
    #[error(
        "this program cannot start processes, since its main does not begin with `let _family = holdfast::init();`: make that its \
         first line"
    )]
    NotInitialized,
    /// What `holdfast::init()` returned was dropped, which ends all children.
    #[error(
        "the program is at its end: what holdfast::init() returned was dropped, which ends all children; keep it in a variable of \
         main, as `let _family = holdfast::init();`"
    )]
    Ending,
    /// A daemon ends with its parent, at once: it could not end its own children.
    #[error(
        "{name} is a daemon, and daemons have no children: start it with .daemon(false), or start the process elsewhere"
    )]
    DaemonStartsChildren {
        /// The name of this process.
        name: String,
    },
    /// It was started before, or could not be.
    #[error(
        "{name} was started before, or could not be, and a process is started once: make another one with Process::new"
    )]
    AlreadyStarted {
        /// Its name.
        name: String,
    },
    /// It must be started first.
    #[error("{name} is not started, so there is nothing to {what}: call start first")]
    NotStarted {
        /// Its name.
        name: String,
        /// What was asked for.
        what: &'static str,
    },
    /// It is not the child of this process, which is a fork of its parent.
    #[error("{name} was started by the process of which this one is a fork: only that one can {what} it")]
    OfAnotherProcess {
        /// Its name.
        name: String,
        /// What was asked for.
        what: &'static str,
    },
    /// It has not ended.
    #[error("{name} is still running: join it, or end it with terminate or kill, before you close it")]
    StillRunning {
        /// Its name.
        name: String,
    },
    /// The arguments hold proxies of the other library than the process is of.
    #[error(
        "the arguments of {name} hold proxies of the other library: start it as holdfast::Process with async proxies, or as \
         holdfast::blocking::Process with blocking ones"
    )]
    OtherLibrary {
        /// Its name.
        name: String,
    },
    /// The system started no process.
    #[error("{name} could not be started: {cause}")]
    Start {
        /// Its name.
        name: String,
        /// What the system says.
        cause: String,
    },
    /// It did not end, though it was told to.
    #[error("{name} could not be told to end: {cause}")]
    Signal {
        /// Its name.
        name: String,
        /// What the system says.
        cause: String,
    },
}

/// How long a daemon has between the word that it is to end, `SIGTERM`, and its end by `SIGKILL`.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
