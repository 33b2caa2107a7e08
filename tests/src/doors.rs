//! The doors of a real manager through which scenarios are run.

mod stream;
mod unary;
mod watcher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast::Refusal;
use holdfast_scenarios::door::{self, Answer, Answered, Caller, Door, Input};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep};

use self::stream::StreamSession;
use self::unary::UnarySession;
use self::watcher::Watcher;
use crate::manager::{Manager, Setup};
use crate::wait::PATIENCE;

/// How the sessions of scenarios make their calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// On the session stream, over a Unix socket: a session whose connection is cut is lost.
    Stream,
    /// On the session stream, over TCP: a session whose connection is cut is lost after its grace.
    StreamOverTcp,
    /// As unary calls, on a connection for each session. It says nothing of itself, and its end is all that is seen of it.
    Unary,
    /// As unary calls, beside a session stream that says who it is, and goodbye.
    UnaryBesideStream,
}

/// A door to the objects of a manager process.
///
/// What a session is asked to do is done on a connection of its own. An input is over when each call that the sessions have
/// not got an answer to waits in the manager, which is asked for the number, and when nobody has the object but those sessions
/// that live, which is asked too: a session that ended lets go of it after it was told of the end.
#[derive(Debug)]
pub struct ManagerDoor {
    way: Way,
    program: PathBuf,
    // Before the runtime: what it has of connections ends first.
    world: Option<World>,
    manager: Option<Manager>,
    runtime: Runtime,
    scenarios: u32,
    /// What it waited for in vain, after which nothing more is tried.
    is_stuck: bool,
}

/// One object, and the sessions that use it.
#[derive(Debug)]
struct World {
    way: Way,
    watcher: Watcher,
    object: Object,
    sessions: BTreeMap<String, Session>,
    /// A manager for this scenario alone, whose limits are its own.
    limited: Option<Manager>,
}

/// Which object it is.
#[derive(Clone, Debug)]
struct Object {
    name: String,
    kind: u32,
}

#[derive(Debug)]
enum Session {
    Stream(StreamSession),
    Unary(UnarySession),
}

/// The answers that came, to calls of whatever session.
type Came = Vec<Answered>;

/// How long anything may take before the scenario is given up: before those give up who read an answer, since this one can
/// tell which scenario it is.
const LONGEST: Duration = PATIENCE.checked_div(3).expect("not by zero");

/// How long to do nothing between two looks.
const PAUSE: Duration = Duration::from_millis(1);

impl ManagerDoor {
    /// The door to managers that this program starts.
    #[must_use]
    pub fn new(program: &Path, way: Way) -> Self {
        // One thread, which runs only while the door waits: a connection that is dropped says nothing more.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { way, program: program.into(), world: None, manager: None, runtime, scenarios: 0, is_stuck: false }
    }

    fn setup(&self) -> Setup {
        Setup::new(&self.program).tcp().setting("session_grace", "20ms")
    }

    /// Does something with the world, and waits until all that comes of it has come.
    fn act<F>(&mut self, act: F) -> Result<Came, String>
    where
        F: AsyncFnOnce(&mut World, &Manager, &mut Came) -> Result<(), String>,
    {
        let usual = self.manager.as_ref();
        let mut world = self.world.take().ok_or("the scenario has not begun")?;
        let limited = world.limited.take();
        let manager = limited.as_ref().or(usual).ok_or("no manager was started")?;
        let mut came = Vec::new();
        let done = self.runtime.block_on(async {
            act(&mut world, manager, &mut came).await?;
            world.settle(&mut came).await.inspect_err(|_| self.is_stuck = true)
        });
        world.limited = limited;
        self.world = Some(world);
        done.map(|()| came)
    }

    fn clear(&mut self) -> Result<(), String> {
        let Some(world) = self.world.take() else { return Ok(()) };
        let ended = self.runtime.block_on(world.end());
        ended.inspect_err(|_| self.is_stuck = true)
    }
}

impl Door for ManagerDoor {
    fn name(&self) -> &'static str {
        match self.way {
            Way::Stream => "the session stream",
            Way::StreamOverTcp => "the session stream over TCP",
            Way::Unary => "unary calls",
            Way::UnaryBesideStream => "unary calls beside a session stream",
        }
    }

    fn is_exact(&self) -> bool {
        false
    }

    fn has_goodbyes(&self) -> bool {
        self.way != Way::Unary
    }

    fn begin(&mut self, setup: &door::Setup<'_>) -> Result<Result<(), Refusal>, String> {
        if self.is_stuck {
            return Err("the scenario before was waited for in vain, and its manager is what it left behind".into());
        }
        // One that failed has left something behind.
        self.clear()?;
        if self.manager.is_none() {
            self.manager = Some(self.setup().start());
        }
        let limited = (!setup.limits.is_empty()).then(|| {
            let limit = |manager: Setup, (name, value): &(String, u64)| manager.limit(name, *value);
            setup.limits.iter().fold(self.setup(), limit).start()
        });
        self.scenarios += 1;
        let object = Object { name: format!("scenario {}", self.scenarios), kind: setup.kind.number() };
        let manager = limited.as_ref().or(self.manager.as_ref()).expect("it was just started");
        match self.runtime.block_on(Watcher::begin(manager, &object, setup.spec)) {
            Ok(watcher) => {
                let way = self.way;
                self.world = Some(World { way, watcher, object, sessions: BTreeMap::new(), limited });
                Ok(Ok(()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn input(&mut self, input: &Input<'_>) -> Result<Came, String> {
        self.act(async |world, manager, came| world.input(manager, input, came).await)
    }

    fn heard(&mut self, caller: &Caller) -> Result<Came, String> {
        self.act(async |world, _, came| match world.sessions.get_mut(&caller.session) {
            Some(Session::Stream(session)) => session.heard(caller, came).await,
            // The manager knows that a response has left.
            Some(Session::Unary(_)) | None => Ok(()),
        })
    }

    fn end(&mut self) -> Result<(), String> {
        self.clear()
    }
}

impl World {
    async fn input(&mut self, manager: &Manager, input: &Input<'_>, came: &mut Came) -> Result<(), String> {
        match *input {
            Input::Call { caller, op, request } => {
                let object = self.object.clone();
                match self.session(manager, caller).await {
                    Session::Stream(session) => session.call(caller, op, request).await,
                    Session::Unary(session) => session.call(caller, op, request, &object).await?,
                }
                Ok(())
            }
            Input::Open { caller, spec } => {
                let object = self.object.clone();
                let opened = match self.session(manager, caller).await {
                    Session::Stream(session) => session.open(&object, spec, came).await,
                    Session::Unary(session) => session.open(&object, spec).await?,
                };
                let done = || Answer::Done { response: Vec::new(), index: 0 };
                let answer = opened.map_or_else(Answer::Refused, |()| done());
                came.push(Answered { caller: caller.clone(), answer });
                Ok(())
            }
            Input::Withdraw(caller) => match self.session(manager, caller).await {
                Session::Stream(session) => session.withdraw(caller, came).await,
                Session::Unary(session) => {
                    came.extend(session.withdraw(caller));
                    Ok(())
                }
            },
            Input::LosePatience(caller) => self.answered(caller, came).await,
            Input::Miss(_) => Err("nobody chooses here which answers are lost".into()),
            Input::Lose(name) => {
                drop(self.sessions.remove(name));
                Ok(())
            }
            Input::Close(name) => match self.sessions.remove(name) {
                Some(Session::Stream(session)) => session.close().await,
                Some(Session::Unary(session)) => session.close().await,
                None => Ok(()),
            },
        }
    }

    /// The session of a caller, which is there from its first input on.
    async fn session(&mut self, manager: &Manager, caller: &Caller) -> &mut Session {
        let name = &caller.session;
        if !self.sessions.contains_key(name) {
            let address = &manager.addresses[usize::from(self.way == Way::StreamOverTcp)];
            let mut raw = crate::raw::Raw::connect(address).await;
            raw.authenticate(&manager.authkey()).await.unwrap();
            let session = match self.way {
                Way::Stream | Way::StreamOverTcp => {
                    Session::Stream(StreamSession::begin(raw, name, &self.object).await)
                }
                Way::Unary => Session::Unary(UnarySession::silent(raw)),
                Way::UnaryBesideStream => Session::Unary(UnarySession::named(raw, name).await),
            };
            self.sessions.insert(name.clone(), session);
        }
        self.sessions.get_mut(name).expect("it was just put there")
    }

    /// Waits for the answer to a call.
    async fn answered(&mut self, caller: &Caller, came: &mut Came) -> Result<(), String> {
        let deadline = Instant::now() + LONGEST;
        while !came.iter().any(|answered| answered.caller == *caller) {
            if Instant::now() > deadline {
                return Err(format!("waited {LONGEST:?} in vain for the patience of {caller} to end"));
            }
            sleep(PAUSE).await;
            self.drain(came)?;
        }
        Ok(())
    }

    fn drain(&mut self, came: &mut Came) -> Result<(), String> {
        self.sessions.values_mut().try_for_each(|session| match session {
            Session::Stream(session) => session.drain(came),
            Session::Unary(session) => session.drain(came),
        })
    }

    /// Waits until each call waits in the manager that has no answer here, and each session that ended has let go.
    ///
    /// A call is answered, and a session's end told, before the manager counts it as such: so what is to come is on its way
    /// to here when the numbers are as they are to be, and once it has come they are those of the end.
    async fn settle(&mut self, came: &mut Came) -> Result<(), String> {
        let deadline = Instant::now() + LONGEST;
        loop {
            let (references, waiting) = self.watcher.look().await;
            self.drain(came)?;
            let (mut held, mut unanswered) = (Watcher::REFERENCES, 0);
            for session in self.sessions.values() {
                let (references, calls) = match session {
                    Session::Stream(session) => session.count(),
                    Session::Unary(session) => session.count(),
                };
                held += references;
                unanswered += calls;
            }
            if (references, waiting) == (held, unanswered) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "waited {LONGEST:?} in vain: {waiting} calls wait in the manager, where {references} have the object; \
                     {unanswered} are without an answer here, where {held} should have it"
                ));
            }
            sleep(PAUSE).await;
        }
    }

    /// Ends all sessions, and waits until nothing is left of them.
    async fn end(mut self) -> Result<(), String> {
        for session in std::mem::take(&mut self.sessions).into_values() {
            match session {
                Session::Stream(session) => session.close().await?,
                Session::Unary(session) => session.close().await?,
            }
        }
        self.settle(&mut Vec::new()).await?;
        self.watcher.end(&self.object).await;
        Ok(())
    }
}
