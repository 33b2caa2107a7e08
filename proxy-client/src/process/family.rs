//! The begin and the end of a process of this library: `init`, and what it returns.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::process;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::Handle;

use super::boot::{self, Boot, FunctionTask, Received, Task};
use super::error::GRACE;
use super::household::dissolve;
use super::identity::{Begun, Parent};
use super::worker::Entry;
use super::{access, arguments, descriptors, identity, start};
use crate::function::{self, panics};
use crate::owner::Owner;

/// The exit code of a child whose function returned `Err` or panicked, as Python's.
const FAILED: i32 = 1;

/// The exit code of a child that could not begin: the function is not registered there, or its arguments cannot be read. It has
/// said on standard error why.
pub(crate) const NOT_BEGUN: i32 = 125;

/// The stack of a function that cannot run on the main thread: what that has on most systems.
const STACK: usize = 8 << 20;

/// Lets this program start itself as another process. Call it first in `main`, before threads are started or arguments are read, and
/// keep what it returns to the end of `main`:
///
/// ```no_run
/// let _family = holdfast::init();
/// ```
///
/// In a process that [`Process::start`](crate::Process) or a pool started, this runs what that process is for, and never returns; with
/// the feature `embedded`, in one that [`Manager::start`](crate::Manager::start) started, it serves as the manager. In every other
/// process it returns at once. It is what `if __name__ == "__main__":` and `multiprocessing.freeze_support` are in Python.
///
/// What it returns ends this program's children when it is dropped: see [`Family`]. An async `main` may call it too, inside of its
/// runtime: what is run here then has a thread of its own.
///
/// # Panics
///
/// If two functions are registered under one name. The panic names both places.
pub fn init() -> Family {
    #[cfg(feature = "embedded")]
    if crate::embedded::is_told() {
        process::exit(without_runtime(crate::embedded::serve));
    }
    if let Some(channel) = boot::channel() {
        process::exit(run_child(channel));
    }
    if let Some(ambiguity) = function::ambiguity() {
        panic!("{ambiguity}");
    }
    start::begin();
    Family { owner: Owner::this() }
}

/// The children of this program, which end with it as those of a Python program do.
///
/// When it is dropped, at the end of `main`, daemons are told to end (`SIGTERM`; after five seconds `SIGKILL`), and all others are
/// waited for. No process can be started afterwards. A program that ends otherwise (`std::process::exit`, a signal) does none of
/// that: its daemons notice and end, its other children go on.
#[must_use = "keep it to the end of main, as `let _family = holdfast::init();`: dropping it ends all children"]
#[derive(Debug)]
pub struct Family {
    owner: Owner,
}

impl Drop for Family {
    fn drop(&mut self) {
        // A fork of this process has inherited it, and no child.
        if !self.owner.is_elsewhere() {
            start::end();
            dissolve();
        }
    }
}

/// All that a child does. Returns its exit code.
fn run_child(channel: io::Result<OwnedFd>) -> i32 {
    let received = channel.and_then(|channel| boot::receive(&channel));
    let begun = received.and_then(begin);
    let (task, given) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("holdfast: a process that was started could not begin: {error}");
            return NOT_BEGUN;
        }
    };
    if let Some(ambiguity) = function::ambiguity() {
        return not_begun(&ambiguity);
    }
    start::begin();
    let family = Family { owner: Owner::this() };
    let run = move || match task {
        Some(Task::Function(task)) => run_function(task, given),
        Some(Task::Entry(task)) => match Entry::find(&task.name) {
            Some(run) => run(task.message),
            None => not_begun(&format!("this program has no entry {:?}", task.name)),
        },
        None => not_begun("the parent did not say what to do"),
    };
    let code = without_runtime(run);
    drop(family);
    code
}

/// Runs it where it may block, and build a runtime of its own, neither of which can be done where one runs already: an async
/// `main` calls `init` in one.
fn without_runtime(run: impl FnOnce() -> i32 + Send + 'static) -> i32 {
    if Handle::try_current().is_ok() { elsewhere(run) } else { run() }
}

/// Runs it on a thread of its own.
fn elsewhere(run: impl FnOnce() -> i32 + Send + 'static) -> i32 {
    let thread = thread::Builder::new().name("main".to_owned()).stack_size(STACK).spawn(run);
    match thread {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(error) => not_begun(&format!("no thread can be started: {error}")),
    }
}

/// Becomes what the parent said.
fn begin(received: Received) -> io::Result<(Option<Task>, Vec<OwnedFd>)> {
    let Received { boot, parent, given } = received;
    let Boot { name, path, is_daemon, parent_name, parent_pid, access, task } = boot;
    if is_daemon {
        end_with(parent.try_clone()?)?;
    }
    access::inherit(access.iter().map(|access| access.read()).collect::<io::Result<_>>()?);
    let parent = Parent { name: parent_name, pid: parent_pid, process: parent };
    identity::begin(Begun { name, path, is_daemon, parent });
    Ok((task, given))
}

/// Ends this process when its parent has ended, which it may have already.
fn end_with(parent: OwnedFd) -> io::Result<()> {
    let watch = move || {
        // Nothing but an interruption can go wrong with one descriptor that is there.
        let _ = retry_on_intr(|| poll(&mut [PollFd::new(&parent, PollFlags::IN)], None));
        let _ = kill_process(getpid(), Signal::TERM);
        thread::sleep(GRACE);
        let _ = kill_process(getpid(), Signal::KILL);
    };
    thread::Builder::new().name("holdfast-daemon".to_owned()).spawn(watch)?;
    Ok(())
}

/// Says why the child does not do what it was started for.
fn not_begun(why: &str) -> i32 {
    eprintln!("{}: could not begin: {why}", super::current_process().name());
    NOT_BEGUN
}

fn run_function(task: FunctionTask, given: Vec<OwnedFd>) -> i32 {
    let FunctionTask { name, arguments } = task;
    let Some(registered) = function::find(&name) else {
        return not_begun(&format!(
            "no function is registered as {name:?} in this program: put #[holdfast::function] over it, and start the process \
             from the same program"
        ));
    };
    let (arguments, connection) = match arguments::fetch(arguments) {
        Ok(fetched) => fetched,
        Err(error) => return not_begun(&format!("the arguments of {name} cannot be had: {error}")),
    };
    // What reads them is the program's own, and may panic.
    let prepared = panics::catch(|| descriptors::scatter(given, || registered.item().prepare(arguments)));
    let code = match prepared {
        Ok(Ok(prepared)) => called(panics::catch(prepared)),
        Ok(Err(error)) => not_begun(&format!("the arguments of {name} cannot be read: {error}")),
        Err(panicked) => not_begun(&format!("reading the arguments of {name} panicked: {panicked}")),
    };
    connection.close();
    code
}

/// The exit code for what came of a function, which is said where people see it.
fn called(outcome: Result<Result<(), String>, panics::Panicked>) -> i32 {
    let name = super::current_process().name();
    match outcome {
        Ok(Ok(())) => 0,
        Ok(Err(message)) => {
            eprintln!("{name}: the function failed: {message}");
            FAILED
        }
        Err(panicked) => {
            eprintln!("{name}: the function panicked: {panicked}");
            FAILED
        }
    }
}
