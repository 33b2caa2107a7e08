//! The handle of a process, before it is started and after.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;

use super::arguments::{Sent, Written, write};
use super::boot::{Arguments, FunctionTask, Task};
use super::error::ProcessError;
use super::household::{self, Started, UntilEnd, within};
use super::start::{self, Plan};
use crate::error::Result;
use crate::function::{Arguments as FunctionArguments, Function};
use crate::proxy::{Async, Blocking, Mode};

/// A process that runs one function: Python's `multiprocessing.Process`.
///
/// It is this same program, run a second time, in which [`init`](crate::init) runs the function, if it has
/// [`#[holdfast::function]`](macro@crate::function) over it. What the function takes goes there as data, proxies among it; what this
/// process has in memory does not. It has the same arguments, environment, standard output and standard error, and nothing to read
/// on its standard input. Proxies among the arguments must be of one session, and of the same library as this.
///
/// Its exit code is 0 when the function has returned, 1 when it has returned an `Err` or panicked, which is told on standard error,
/// and 125 when it could not be called, because it is not registered or cannot read its arguments; or what it called
/// [`std::process::exit`] with.
///
/// It is reaped when it has ended, whether somebody joins it or not. Dropping this does nothing to it: it is joined when what `init`
/// returned is dropped, see [`Family`](crate::Family).
///
/// ```no_run
/// use holdfast::blocking::Process;
///
/// #[holdfast::function]
/// fn greet(name: String) {
///     println!("hello {name}");
/// }
///
/// fn main() -> holdfast::Result<()> {
///     let _family = holdfast::init();
///     let mut process = Process::new(greet, ("bob".to_owned(),));
///     process.start()?;
///     process.join()?;
///     assert_eq!(process.exit_code()?, Some(0));
///     Ok(())
/// }
/// ```
pub struct Process<M: Mode> {
    name: String,
    path: Vec<u32>,
    is_daemon: bool,
    state: State<M>,
    _mode: PhantomData<M>,
}

enum State<M: Mode> {
    /// With what is wrong with the function or its arguments, which `start` says.
    New(Result<Box<Call<M>>>),
    /// `start` has failed, or has been given up: what it was called with is gone.
    Spent,
    Started(Arc<Started>),
}

struct Call<M: Mode> {
    function: String,
    arguments: Written<M>,
}

impl<M: Mode> fmt::Debug for Process<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.pid();
        f.debug_struct("Process").field("name", &self.name).field("pid", &pid).finish_non_exhaustive()
    }
}

impl<M: Mode> Process<M> {
    /// A process that is to call the function with these arguments, a tuple. They are written here, as they are now; an open end of
    /// a pipe among them is moved. What is wrong with them, [`start`](Self::start) says.
    ///
    /// Its name is `Process-1` and so on, as Python's; that of the second child of that one `Process-1:2`.
    pub fn new<F, A>(function: F, arguments: A) -> Self
    where
        F: Function<A>,
        A: FunctionArguments + Serialize,
    {
        let (path, name) = start::next("Process");
        let call = || {
            let function = function.registered_name()?.into_owned();
            Ok(Box::new(Call { function, arguments: write(&name, &arguments)? }))
        };
        let state = State::New(call());
        Self { name, path, is_daemon: false, state, _mode: PhantomData }
    }

    /// Gives it another name, for people. Nothing happens once it is started.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Whether it ends with this process, however this ends, also by `kill -9`: it gets `SIGTERM` then, and `SIGKILL` five seconds
    /// later. It cannot start processes itself. Without this it is no daemon. Nothing happens once it is started.
    #[must_use]
    pub fn daemon(mut self, is_daemon: bool) -> Self {
        self.is_daemon = is_daemon;
        self
    }

    /// Its name.
    #[must_use]
    pub fn get_name(&self) -> &str {
        match &self.state {
            State::Started(started) => &started.name,
            State::New(_) | State::Spent => &self.name,
        }
    }

    /// Whether it ends with this process.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        match &self.state {
            State::Started(started) => started.is_daemon,
            State::New(_) | State::Spent => self.is_daemon,
        }
    }

    /// Its process id; `None` before it is started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Started(started) => Some(started.pid),
            State::New(_) | State::Spent => None,
        }
    }

    /// Whether it has been started and has not ended.
    ///
    /// # Errors
    ///
    /// [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub fn is_alive(&self) -> Result<bool> {
        let State::Started(started) = &self.state else { return Ok(false) };
        started.check_owner("look at")?;
        Ok(started.exit().is_none())
    }

    /// How it ended: with this exit code, or by a signal, whose number this is with a minus. `None` while it has not ended, and also
    /// where another part of this program has waited for it and knows instead (`waitpid(-1)`), or `SIGCHLD` is ignored.
    ///
    /// # Errors
    ///
    /// [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub fn exit_code(&self) -> Result<Option<i32>> {
        let State::Started(started) = &self.state else { return Ok(None) };
        started.check_owner("look at")?;
        Ok(started.exit().and_then(household::Exit::code))
    }

    /// Asks it to end, by `SIGTERM`. Nothing happens if it has ended. Its own children go on.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotStarted`]; [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub fn terminate(&self) -> Result<()> {
        Ok(self.started("terminate")?.signal(Signal::TERM)?)
    }

    /// Ends it, by `SIGKILL`. Nothing happens if it has ended. Its own children go on, but for daemons.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotStarted`]; [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub fn kill(&self) -> Result<()> {
        Ok(self.started("kill")?.signal(Signal::KILL)?)
    }

    /// Lets go of this handle, which must be of a process that is not running.
    ///
    /// # Errors
    ///
    /// [`ProcessError::StillRunning`], and it goes on then; [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub fn close(self) -> Result<()> {
        if self.is_alive()? {
            return Err(ProcessError::StillRunning { name: self.name }.into());
        }
        Ok(())
    }

    fn started(&self, what: &'static str) -> Result<&Arc<Started>, ProcessError> {
        let State::Started(started) = &self.state else {
            return Err(ProcessError::NotStarted { name: self.name.clone(), what });
        };
        started.check_owner(what)?;
        Ok(started)
    }

    /// What it is called with, which is gone from here then.
    fn take(&mut self) -> Result<Box<Call<M>>> {
        start::check()?;
        match mem::replace(&mut self.state, State::Spent) {
            State::New(call) => call,
            other => {
                self.state = other;
                Err(ProcessError::AlreadyStarted { name: self.name.clone() }.into())
            }
        }
    }

    fn plan(&self, call: Call<M>, sent: Sent) -> Plan {
        let Sent { arguments, access, manager } = sent;
        let task = Task::Function(FunctionTask { name: call.function, arguments: Some(arguments) });
        Plan {
            name: self.name.clone(),
            path: self.path.clone(),
            is_daemon: self.is_daemon,
            task,
            given: call.arguments.given,
            manager: access,
            until_end: UntilEnd { manager, notice: None },
        }
    }

    fn of(started: Arc<Started>) -> Self {
        let (name, is_daemon) = (started.name.clone(), started.is_daemon);
        Self { name, path: Vec::new(), is_daemon, state: State::Started(started), _mode: PhantomData }
    }
}

impl Process<Blocking> {
    /// Starts it. Waits for nothing that it does; it blocks for as long as the system takes to start a process, and, where the
    /// arguments hold proxies, for their manager.
    ///
    /// # Errors
    ///
    /// What was wrong in [`new`](Self::new): [`Error::NotRegistered`](crate::Error::NotRegistered) and
    /// [`Error::Codec`](crate::Error::Codec). [`ProcessError`] says what else can be wrong. What the manager refuses where the
    /// arguments hold proxies.
    pub fn start(&mut self) -> Result<()> {
        let call = self.take()?;
        let token = call.arguments.pack().transpose()?;
        let sent = call.arguments.sent(token, Arguments::Blocking);
        self.state = State::Started(start::start(self.plan(*call, sent))?);
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotStarted`]; [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub fn join(&self) -> Result<()> {
        self.started("join")?.join(None);
        Ok(())
    }

    /// Waits until it has ended, for so long at most. Says whether it has.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_within(&self, time: Duration) -> Result<bool> {
        Ok(self.started("join")?.join(within(time)).is_some())
    }
}

impl Process<Async> {
    /// Starts it. Waits for nothing that it does.
    ///
    /// What the system takes to start a process is waited for on a thread for blocking calls of the tokio runtime. Where this is
    /// dropped before its end, the process may be started all the same, and nobody has a handle to it.
    ///
    /// # Errors
    ///
    /// What was wrong in [`new`](Self::new): [`Error::NotRegistered`](crate::Error::NotRegistered) and
    /// [`Error::Codec`](crate::Error::Codec). [`ProcessError`] says what else can be wrong. What the manager refuses where the
    /// arguments hold proxies.
    pub async fn start(&mut self) -> Result<()> {
        let call = self.take()?;
        let token = match call.arguments.pack() {
            Some(packing) => Some(packing.await?),
            None => None,
        };
        let sent = call.arguments.sent(token, Arguments::Async);
        let plan = self.plan(*call, sent);
        let failed =
            |error: tokio::task::JoinError| ProcessError::Start { name: self.name.clone(), cause: error.to_string() };
        self.state = State::Started(tokio::task::spawn_blocking(|| start::start(plan)).await.map_err(failed)??);
        Ok(())
    }

    /// Waits until it has ended. Dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotStarted`]; [`ProcessError::OfAnotherProcess`] in a fork of the process that started it.
    pub async fn join(&self) -> Result<()> {
        self.started("join")?.joined().await;
        Ok(())
    }

    /// Waits until it has ended, for so long at most. Says whether it has. Dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub async fn join_within(&self, time: Duration) -> Result<bool> {
        let started = self.started("join")?;
        Ok(tokio::time::timeout(time, started.joined()).await.is_ok())
    }
}

/// The children of this process that have not ended, in the order in which they were started: Python's `active_children()`. Also
/// those whose handle was dropped, and the workers of its pools.
#[must_use]
pub(crate) fn active_children<M: Mode>() -> Vec<Process<M>> {
    household::active().into_iter().map(Process::of).collect()
}
