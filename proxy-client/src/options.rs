//! Whom to connect to, and how.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::place::{
    ADDRESS_VARIABLE, AUTHKEY_FILE_VARIABLE, Address, default_address, default_authkey_file, read_authkey_file,
};
use holdfast_proto::scram::Authkey;
use holdfast_stream::{BUSY_POLL_VARIABLE, BusyPoll};

use crate::error::{ConnectError, Result};
use crate::process;
use crate::session::Target;

/// Whom to connect to, and how. What is not set comes, in a child that [`Process`](crate::Process) started, from its parent, or else
/// from the environment, and then from the defaults that `holdfast serve` uses too.
///
/// | | from the parent | environment | default |
/// |---|---|---|---|
/// | address | of the manager of its arguments; or else the one to which the parent connected last, and still is connected | `HOLDFAST_ADDRESS` | the user's Unix socket |
/// | authkey | the parent's for that address | the file in `HOLDFAST_AUTHKEY_FILE` | the user's authkey file |
/// | name | | | the name of the process, if this library started it, or else of the program |
/// | time to connect | | | 10 s |
/// | time to connect again | | | 10 s |
/// | time for a call | | | 30 s |
/// | polling for replies | | `HOLDFAST_BUSY_POLL` | where it pays |
#[derive(Clone, Debug)]
pub struct Options {
    address: Option<Address>,
    authkey: Option<Authkey>,
    authkey_file: Option<PathBuf>,
    name: Option<String>,
    connect_timeout: Duration,
    reconnect_timeout: Duration,
    call_timeout: Option<Duration>,
    busy_poll: Option<BusyPoll>,
    /// The manager is one that this program started.
    is_own: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: None,
            authkey: None,
            authkey_file: None,
            name: None,
            connect_timeout: Duration::from_secs(10),
            reconnect_timeout: Duration::from_secs(10),
            call_timeout: Some(Duration::from_secs(30)),
            busy_poll: None,
            is_own: false,
        }
    }
}

impl Options {
    /// The address of the manager: `unix:PATH`, `http://HOST:PORT`, or `https://HOST:PORT`, for which nothing else is
    /// needed than the authkey.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.address = Some(address);
        self
    }

    /// The authkey itself.
    #[must_use]
    pub fn authkey(mut self, authkey: Authkey) -> Self {
        self.authkey = Some(authkey);
        self
    }

    /// The file that holds the authkey. It must belong to this user and be accessible to nobody else.
    #[must_use]
    pub fn authkey_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authkey_file = Some(path.into());
        self
    }

    /// What the manager calls this client in logs and messages. At most 128 bytes are used.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long connecting may take, and how long a manager of one's own may take to start before that, with everything that belongs to it, but for the time in which the system finds the
    /// address of a host in the blocking library.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a `Manager` whose session is over may take to open a new one, which it does when it is asked for something.
    ///
    /// A manager that is being started anew does not answer yet, so it is tried again and again, with pauses of 10 ms that
    /// grow to 320 ms, each time for no longer than connecting may take, and with the authkey that the file holds by then. If there is none by then, this is the error of the
    /// last attempt: usually [`ConnectError::Unreachable`], which names the address. Zero means that no new session is
    /// opened; the call fails as those of proxies do.
    #[must_use]
    pub fn reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.reconnect_timeout = timeout;
        self
    }

    /// How long each call may take, unless its proxy says otherwise; `None` for as long as it takes.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Whether a call polls the socket for its reply before it sleeps: [`BusyPoll::Auto`], [`BusyPoll::Off`], or a
    /// [`Duration`], for which it then polls each time; zero is off, and more than 1 ms counts as 1 ms. Without a word about it
    /// `HOLDFAST_BUSY_POLL` says it (`auto`, `off`, or a number of microseconds), and then it is `Auto`.
    ///
    /// Waking an idle CPU takes longer than all the rest of a call, and polling makes calls that come one after the other
    /// two to five times as fast. It costs the CPU meanwhile, which is offered to others between two looks but never idle. So
    /// `Auto` does it only where it lately paid, and for 50 µs at most. A call that waits for somebody, such as `acquire`, is
    /// polled for only if the same wait has lately been that short. Where others want the CPU it stops by itself. It
    /// never begins where the process may use one CPU only, nor does a fixed time.
    ///
    /// Async calls poll only while none other of the process waits by itself, and up to eight of them before other tasks
    /// have their turn; those of the same runtime thread wait meanwhile. Switch it off where they must not, or where CPU
    /// time counts for more than the time of a call.
    #[must_use]
    pub fn busy_poll(mut self, busy_poll: impl Into<BusyPoll>) -> Self {
        self.busy_poll = Some(busy_poll.into());
        self
    }

    /// Those of a manager that this program started, whose address and authkey file are set afterwards.
    pub(crate) fn of_own_manager(mut self) -> Self {
        self.authkey = None;
        self.is_own = true;
        self
    }

    pub(crate) fn time_to_reconnect(&self) -> Duration {
        self.reconnect_timeout
    }

    pub(crate) fn time_to_connect(&self) -> Duration {
        self.connect_timeout
    }

    pub(crate) fn default_call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }

    /// The file that the authkey is in, unless it was given as such.
    pub(crate) fn file_of_authkey(&self) -> Option<PathBuf> {
        if self.authkey.is_some() {
            return None;
        }
        if self.authkey_file.is_some() {
            return self.authkey_file.clone();
        }
        if process::inherited(self.address.as_ref()).is_some() {
            return None;
        }
        let file = env::var_os(AUTHKEY_FILE_VARIABLE).map(PathBuf::from);
        Some(file.unwrap_or_else(default_authkey_file))
    }

    /// What is not set, from the environment and the defaults.
    pub(crate) fn resolve(&self) -> Result<Target, ConnectError> {
        let inherited = process::inherited(self.address.as_ref());
        let address = match (&self.address, inherited, env::var_os(ADDRESS_VARIABLE)) {
            (Some(address), ..) => address.clone(),
            (None, Some(inherited), _) => inherited.address.clone(),
            (None, None, Some(text)) => text.to_string_lossy().parse()?,
            (None, None, None) => default_address(),
        };
        address.check()?;
        let authkey = match (&self.authkey, self.file_of_authkey(), inherited) {
            (Some(authkey), ..) => authkey.clone(),
            (None, None, Some(inherited)) => inherited.authkey.clone(),
            (None, file, _) => read_authkey_file(&file.unwrap_or_default())?,
        };
        let name = at_most(128, self.name.clone().unwrap_or_else(own_name));
        let host = at_most(255, rustix::system::uname().nodename().to_string_lossy().into_owned());
        let busy_poll = match self.busy_poll {
            Some(busy_poll) => busy_poll,
            None => busy_poll_of_environment()?,
        };
        let (connect_timeout, is_own) = (self.connect_timeout, self.is_own);
        Ok(Target { address, authkey, name, host, connect_timeout, busy_poll, is_own })
    }
}

/// What the environment says about polling.
pub(crate) fn busy_poll_of_environment() -> Result<BusyPoll, ConnectError> {
    // One that is empty counts as not set, as it does for the manager.
    let Some(text) = env::var_os(BUSY_POLL_VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(BusyPoll::default());
    };
    let text = text.to_string_lossy().into_owned();
    text.parse().map_err(|cause| ConnectError::BusyPoll { text, cause })
}

/// The beginning of a text.
fn at_most(bytes: usize, mut text: String) -> String {
    let end = (0..=text.len().min(bytes)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}

/// What this process is called by default.
fn own_name() -> String {
    crate::process::given_name().map_or_else(program_name, str::to_owned)
}

fn program_name() -> String {
    let path = env::args_os().next().map(PathBuf::from);
    path.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())).unwrap_or_default()
}
