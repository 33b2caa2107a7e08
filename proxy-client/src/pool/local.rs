//! The local workers of a pool: processes of this program.

mod boot;

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;
use std::thread;

use holdfast_proto::{Datum, PoolDescribeRequest, PoolDescribeResponse, PoolTerminateRequest};
use parking_lot::Mutex;
use prost::Message;

use self::boot::{Boot, ENTRY};
use super::cell::Cell;
use super::exits::Exits;
use super::{Pool, PoolOptions};
use crate::codec::to_datum;
use crate::error::{Error, Result};
use crate::process::worker::Worker as Process;
use crate::process::{Access, Exit};
use crate::proxy::remote::{Remote, Single};
use crate::session::{Mode, SessionLike};

/// What local workers are called, with a number.
const NAME: &str = "PoolWorker";

/// The local workers of a pool, for the handles that have them. When the last of those is gone, the pool is terminated.
///
/// - There are as many as was said, until the pool is closed and done, or terminated: one that ends is replaced at once.
/// - Workers that end without one having joined in between, more of them than there are places and two, will not come to anything: the
///   pool is terminated, and its callers are told why.
/// - One thread hears of all ends, and starts those that follow. It ends with the last worker.
pub(super) struct Local<M: Mode> {
    team: Arc<Team<M>>,
}

struct Team<M: Mode> {
    remote: Remote<M>,
    place: M::Place,
    options: PoolOptions,
    initializer: Option<(String, Datum)>,
    exits: Exits,
    ends: Sender<End>,
    state: Mutex<State>,
    /// Finished when the last worker has ended and none follows.
    ended: Arc<Cell>,
}

#[derive(Default)]
struct State {
    alive: HashMap<u64, Process>,
    last: u64,
    /// None is started any more.
    is_over: bool,
}

/// A worker has ended: which, and how.
struct End(u64, Exit);

impl<M: Mode> fmt::Debug for Local<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("workers", &self.team.options.workers).finish_non_exhaustive()
    }
}

impl<M: Mode> Local<M> {
    /// Starts them; none if none are wanted. On a thread that may block.
    pub(super) fn start(pool: &Pool<M>, options: PoolOptions, place: M::Place) -> Result<Option<Arc<Self>>> {
        if options.workers == 0 {
            return Ok(None);
        }
        let initializer = options.initializer.clone().transpose()?;
        let (ends, ended) = channel();
        let team = Arc::new(Team {
            remote: pool.remote.clone(),
            place,
            initializer: initializer.map(|(name, arguments)| (name.into_owned(), arguments)),
            options,
            exits: pool.exits.clone(),
            ends,
            state: Mutex::default(),
            ended: Cell::new(None),
        });
        let local = Arc::new(Self { team: team.clone() });
        for _ in 0..team.options.workers {
            team.hire()?;
        }
        let lead = move || team.lead(&ended);
        let led = thread::Builder::new().name("holdfast-pool".to_owned()).spawn(lead);
        led.map_err(|error| Error::Thread { cause: error.to_string().into() })?;
        Ok(Some(local))
    }

    /// How many there are.
    pub(super) fn workers(&self) -> u64 {
        self.team.options.workers as u64
    }

    /// Kills them; none follows.
    pub(super) fn end(&self) {
        self.team.dismiss();
    }

    /// Whether the last has ended and none follows; if not, the waker is woken then.
    pub(super) fn has_ended(&self, waker: &Waker) -> bool {
        self.team.ended.poll(waker).is_some()
    }
}

impl<M: Mode> Drop for Local<M> {
    fn drop(&mut self) {
        self.team.remote.cast(&PoolTerminateRequest::default());
        self.team.dismiss();
    }
}

impl<M: Mode> Team<M> {
    /// Starts a worker, unless it is over.
    fn hire(&self) -> Result<()> {
        let boot = self.boot()?;
        let mut state = self.state.lock();
        if state.is_over {
            return Ok(());
        }
        state.last += 1;
        let (number, ends) = (state.last, self.ends.clone());
        // Nobody hears of it when the thread that would has ended, since all is over.
        let tell = move |exit| _ = ends.send(End(number, exit));
        let access = Access::from(&*self.remote.session().peer().0);
        let message = to_datum(&boot)?.encode_to_vec().into();
        let process = Process::start(NAME, ENTRY, message, Some(access), tell)?;
        self.exits.started(process.pid());
        state.alive.insert(number, process);
        Ok(())
    }

    fn boot(&self) -> Result<Boot> {
        let (name, arguments) = self.initializer.clone().unzip();
        let token = boot::pack(&self.remote, &self.place, arguments)?;
        Ok(Boot { token, is_async: M::IS_ASYNC, max_tasks: self.options.max_tasks, initializer: name })
    }

    fn dismiss(&self) {
        let alive = {
            let mut state = self.state.lock();
            state.is_over = true;
            state.alive.values().cloned().collect::<Vec<_>>()
        };
        for process in alive {
            // One that cannot be killed has ended, or ends with this process.
            let _ = process.kill();
        }
    }

    /// Hears of every end, and has somebody follow, until the last.
    fn lead(&self, ends: &Receiver<End>) {
        let (mut joined, mut fruitless) = (0, 0);
        while let Ok(End(number, exit)) = ends.recv() {
            let process = {
                let mut state = self.state.lock();
                state.alive.remove(&number)
            };
            let Some(process) = process else { continue };
            self.exits.ended(process.pid(), exit.code());
            if !self.state.lock().is_over {
                let pool = self.call(PoolDescribeRequest {});
                let followed = pool.and_then(|pool| {
                    if is_done(&pool) {
                        return Ok(());
                    }
                    fruitless = if pool.joined > joined { 0 } else { fruitless + 1 };
                    joined = pool.joined;
                    if fruitless < self.options.workers + 2 {
                        return self.hire();
                    }
                    let cause = format!(
                        "{fruitless} workers in a row ended before they could begin, the last of them, process {}, {}: what it said \
                         on standard error says why",
                        process.pid(),
                        how(exit)
                    );
                    Err(Error::Worker { cause: cause.into() })
                });
                if let Err(error) = followed {
                    // If the session is over, everybody knows.
                    let _ = self.call(PoolTerminateRequest { reason: error.to_string() });
                    self.dismiss();
                }
            }
            if self.state.lock().alive.is_empty() {
                break;
            }
        }
        self.state.lock().is_over = true;
        self.ended.finish(Ok(Vec::new()));
    }

    fn call<R: holdfast_proto::ops::Request>(&self, request: R) -> Result<R::Response> {
        let call = Single::new(&self.remote, Ok(request), |response, _| Ok(response));
        M::block(&self.place, self.remote.session(), self.remote.time(), call)
    }
}

/// Whether nothing will be left to do.
fn is_done(pool: &PoolDescribeResponse) -> bool {
    pool.terminated || pool.closed && pool.waiting == 0 && pool.running == 0
}

fn how(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("with exit code {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
        Exit::Unknown => "nobody knows how".to_owned(),
    }
}

impl<M: Mode> Drop for Team<M> {
    fn drop(&mut self) {
        // If the first could not all be started, the thread was not either.
        for (_, process) in mem::take(&mut self.state.get_mut().alive) {
            let _ = process.kill();
        }
    }
}
