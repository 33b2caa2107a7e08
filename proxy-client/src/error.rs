//! What can go wrong, and what to do about it.

mod data;

use std::fmt;
use std::io;
use std::time::Duration;

use holdfast_proto::place::{Address, AuthkeyFileError, InvalidAddress};
use holdfast_proto::scram::Failure;
use holdfast_proto::{PoolRaised, PoolWorkerLost, Reason, Refusal};
use holdfast_stream::{BUSY_POLL_VARIABLE, NotBusyPoll};

use crate::codec::CodecError;
use crate::pipe::PipeError;
use crate::process::ProcessError;

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call, or the way to its manager, failed.
///
/// A [registered function](macro@crate::function) may return it. Whoever asked for the call has it then as [`Raised`](Self::Raised),
/// with its message, since objects and reasons there are others.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manager answered, and the answer is no. Nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// A key or value cannot be stored, or what is stored is not of the type that was asked for. The call, if it was
    /// made, was applied.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// No answer came within the time that the call may take. It may or may not have been applied.
    #[error(
        "{op}: no answer within {timeout:?}, and it is not known whether the call was applied: look, or ask again with a longer timeout"
    )]
    Timeout {
        /// What was asked.
        op: &'static str,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The call could not be sent within the time that it may take, since too many others wait for their answers. It was
    /// not applied.
    #[error(
        "the call was not sent within {timeout:?}: too many others wait for the manager's answers; nothing was applied"
    )]
    Crowded {
        /// How long it waited in line.
        timeout: Duration,
    },
    /// The session has ended: the manager stopped, was killed or was started anew, or the connection was cut and, over TCP,
    /// no other took its place within the session's grace. A call that had no answer may or may not have been applied.
    ///
    /// Every proxy of the session fails with this from now on: what it led to was held by that session, or may be gone with
    /// the manager. Open the object again from the `Manager`, which opens a new session by itself.
    #[error("the session with the manager at {address} has ended: {cause}; {}", remedy(*is_own))]
    Ended {
        /// Where the manager was.
        address: Address,
        /// How it ended.
        cause: String,
        /// Whether this program had started the manager (`Manager::start`). Its `Manager` opens no other session then.
        is_own: bool,
    },
    /// A value holds a proxy that came of another session than the object in which it was to be stored. Nothing was asked.
    #[error(
        "{op}: a proxy in the value belongs to another session: if that one is over, open the object again from the manager; or else pass it through a token, and use the proxy that comes of it. A pool whose functions take proxies is made in their manager: Pool::on(&manager, options)"
    )]
    OtherSession {
        /// What was to be asked.
        op: &'static str,
    },
    /// A list that takes several pages was changed between them each time that it was read, so that what was read is not
    /// of one moment.
    #[error(
        "the list was changed between its pages in each of {attempts} attempts to read it as of one moment: read it in slices that fit a page, or while nobody changes what is in it"
    )]
    Changing {
        /// How often it was tried.
        attempts: u32,
    },
    /// There is no manager to talk to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A pipe did not do what was asked of it.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// The function is not registered in this program.
    #[error(
        "{function} is not registered: put #[holdfast::function] over it, and name the function itself where it is called, not a closure around it"
    )]
    NotRegistered {
        /// What the compiler calls it.
        function: Box<str>,
    },
    /// The function failed in the process that ran it: it panicked, returned an `Err` where none was expected, or raised what
    /// its language has for that. It ran to its end and is not tried again.
    #[error("{0}")]
    Raised(Box<Raised>),
    /// The worker that had the task ended before it was done. Whether it had begun, and how far it came, is not known.
    #[error("{0}")]
    WorkerLost(Box<WorkerLost>),
    /// What the function returned was not taken: it is larger than a request may be, or the manager had no room for it.
    #[error(
        "what the function returned is larger than the manager takes at once, or than it has room for: return less, or put it into \
         an object and return that"
    )]
    ResultTooLarge,
    /// A pool is waited for that may still be given something to do.
    #[error("the pool is not closed, so it may never be done: close or terminate it before it is joined")]
    PoolIsOpen,
    /// No worker of a local pool comes to take tasks.
    #[error("no worker of the pool could begin: {cause}")]
    Worker {
        /// Why not.
        cause: Box<str>,
    },
    /// A thread that a call needs could not be started.
    #[error("a thread could not be started ({cause}): does the process have too many?")]
    Thread {
        /// What the system says.
        cause: Box<str>,
    },
    /// A process could not be started, or not be asked for something.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The task was cancelled before it was done, or its pool was terminated.
    #[error("the task was cancelled before it was done: by cancel, or because its pool was terminated")]
    Cancelled,
}

/// How a function failed in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Raised {
    /// The type of the error, as its language calls it: `panic` for a panic, `Err` for an error that a function of Rust returned.
    pub kind: String,
    /// Its message.
    pub message: String,
    /// The worker's own backtrace; empty if it has none.
    pub trace: String,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, message, trace } = self;
        match (&**kind, trace.is_empty()) {
            ("Err", _) => write!(f, "the function failed: {message}")?,
            ("panic", _) => write!(f, "the function panicked: {message}")?,
            _ => write!(f, "the function raised {kind}: {message}")?,
        }
        if trace.is_empty() { Ok(()) } else { write!(f, "\nin the worker:\n{trace}") }
    }
}

impl From<PoolRaised> for Raised {
    fn from(raised: PoolRaised) -> Self {
        let PoolRaised { r#type, message, trace, .. } = raised;
        Self { kind: r#type, message, trace }
    }
}

/// A worker that ended while it had a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLost {
    /// What its process called itself.
    pub name: String,
    /// Its process id; 0 if it is not known.
    pub pid: u32,
    /// Its host; empty if it is not known.
    pub host: String,
    /// How often the task was tried.
    pub tries: u32,
    /// The exit code of its process, negative for a signal, if it was started by this process and is still known.
    pub exit_code: Option<i32>,
}

impl fmt::Display for WorkerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, pid, host, tries, exit_code } = self;
        write!(f, "the worker {name:?} (process {pid} on {host:?}) ended ")?;
        match exit_code {
            Some(signal @ ..0) => write!(f, "by signal {} ", signal.unsigned_abs())?,
            Some(code) => write!(f, "with exit code {code} ")?,
            None => {}
        }
        write!(
            f,
            "before the task was done, which was tried {tries} times: look why the worker ends; a task that may be done \
             twice can be tried more often"
        )
    }
}

impl From<PoolWorkerLost> for WorkerLost {
    fn from(lost: PoolWorkerLost) -> Self {
        let PoolWorkerLost { name, pid, host, tries } = lost;
        Self { name, pid, host, tries, exit_code: None }
    }
}

/// There is no session with a manager.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers at the address.
    #[error("no manager answers at {address}: {cause}; is `holdfast serve` running, and is this its address?")]
    Unreachable {
        /// Where it was looked for.
        address: Address,
        /// What the system says.
        cause: String,
    },
    /// Somebody answers who is not a manager that this client can talk to.
    #[error("what answers at {address} does not speak the protocol: {cause}")]
    Protocol {
        /// Where.
        address: Address,
        /// What it did.
        cause: String,
    },
    /// One of the two does not hold the same authkey as the other. Over TLS this is [`Unproven`](Self::Unproven).
    #[error(transparent)]
    Authentication(#[from] Failure),
    /// Over TLS, a proof failed: one of the two does not hold the same authkey as the other, or somebody between them ends
    /// the TLS connection and begins another. Nothing was sent but a proof that is of no use to whoever is there.
    #[error(
        "the manager at {address} and this client cannot prove to each other that they hold the same authkey and that \
         nobody is between them: {failure}; if the authkey is right, somebody in between decrypts the connection"
    )]
    Unproven {
        /// Where.
        address: Address,
        /// Which proof, and what to do if it is the authkey.
        failure: Failure,
    },
    /// The manager takes no more sessions.
    #[error("the manager at {address} takes no session: {cause}")]
    Turned {
        /// Where.
        address: Address,
        /// Why not.
        cause: String,
    },
    /// It took too long.
    #[error(
        "no session with the manager at {address} within {timeout:?}: is the machine overloaded, or is something else listening there?"
    )]
    Timeout {
        /// Where.
        address: Address,
        /// How long it was tried.
        timeout: Duration,
    },
    /// The address is none.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// What the environment says about polling means nothing.
    #[error("{BUSY_POLL_VARIABLE} is {text:?}: {cause}")]
    BusyPoll {
        /// What it says.
        text: String,
        /// What it may say.
        cause: NotBusyPoll,
    },
    /// The authkey file cannot be used.
    #[error("{0}")]
    AuthkeyFile(String),
    /// The text is not a token.
    #[error("not a token: {0}; a token is the text that a proxy's token() gave, whole")]
    Token(&'static str),
    /// The token is from a manager that is gone, or from another one.
    #[error("the token is from another life of the manager: the object that it stood for is gone")]
    Incarnation,
    /// A manager of one's own could not be started.
    #[error("no manager could be started: {0}")]
    Start(String),
}

impl From<AuthkeyFileError> for ConnectError {
    fn from(error: AuthkeyFileError) -> Self {
        Self::AuthkeyFile(error.to_string())
    }
}

impl From<InvalidAddress> for Error {
    fn from(error: InvalidAddress) -> Self {
        ConnectError::Address(error).into()
    }
}

impl From<AuthkeyFileError> for Error {
    fn from(error: AuthkeyFileError) -> Self {
        ConnectError::from(error).into()
    }
}

/// The message: it is what a person sees of a `main` that returns this, and of an `unwrap`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The message, as that of [`Error`].
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Why the manager refused, if it did.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refusal) => Some(refusal.why()),
            _ => None,
        }
    }

    /// Whether a dict had no such key, or a set no such member, as Python's `KeyError`.
    #[must_use]
    pub fn is_missing_key(&self) -> bool {
        self.reason() == Some(Reason::MissingKey)
    }

    /// Whether an object is broken: a barrier, as Python's `BrokenBarrierError`, or what broke when its holder was lost. It is so
    /// until somebody resets it.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.reason() == Some(Reason::Broken)
    }

    /// Whether what was granted has passed to somebody else since.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.reason() == Some(Reason::StaleFence)
    }

    /// Whether the caller does not hold what it would release or use.
    #[must_use]
    pub fn is_not_held(&self) -> bool {
        self.reason() == Some(Reason::NotHeld)
    }

    /// Whether a namespace had no such attribute, as Python's `AttributeError`.
    #[must_use]
    pub fn is_missing_attribute(&self) -> bool {
        self.reason() == Some(Reason::MissingAttribute)
    }

    /// Whether there was nothing to take, from a queue for as long as the caller would wait: Python's `queue.Empty`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reason() == Some(Reason::Empty)
    }

    /// Whether a queue or a pipe had no room for as long as the caller would wait: Python's `queue.Full`.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.reason() == Some(Reason::Full) || matches!(self, Self::Pipe(PipeError::Full { .. }))
    }

    /// Whether a pipe has ended, and all that was sent is received: Python's `EOFError`.
    #[must_use]
    pub fn is_end_of_file(&self) -> bool {
        matches!(self, Self::Pipe(PipeError::Ended))
    }

    /// Whether nothing came of a wait for as long as the caller would wait: Python's `TimeoutError`.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.reason() == Some(Reason::TimedOut)
    }

    /// Whether a queue was shut down, Python's `queue.ShutDown`, or a pool was closed or terminated.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.reason() == Some(Reason::ShutDown)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What to do about a session that has ended.
fn remedy(is_own: bool) -> &'static str {
    if is_own {
        "this program had started that manager, which ends with the session, and so do its objects: start another one"
    } else {
        "its proxies are of no use any more: open the objects again from the manager, and look whether a call without an \
         answer was applied"
    }
}

/// What made a session end, as far as it can be told.
pub(crate) fn cause_of(error: &h2::Error) -> String {
    match error.get_io() {
        Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        Some(io) => io.to_string(),
        None => error.to_string(),
    }
}
