//! A session that a task on a tokio runtime drives, for the async library.

mod renewal;

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use holdfast_proto::Resume;
use holdfast_proto::ops::Request;
use holdfast_proto::place::Address;
use holdfast_stream::{Look, Next as BeforeSleep, SelfWake, poll as poll_until};
use parking_lot::{Mutex, MutexGuard};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Sleep, sleep, sleep_until, timeout, timeout_at};

use super::busy_poll::{Policies, Site};
use super::calls::{Asked, Calls, NotAsked, Outcome, Patience, Ticket};
use super::hello::{self, Begin};
use super::renewal::{Renewable, Renewal};
use super::resume::{self, Attempt, Lost, Resumption};
use super::socket::{Lookout, Socket};
use super::tls::MaybeTls;
use super::wire::Wire;
use super::{Asking, End, Exchange, Heard, Mode, Peer, PeerInfo, SessionLike, Step, Target};
use crate::error::{ConnectError, Error, Result};
use crate::owner::Owner;

pub use renewal::ManagerCall;

/// The async library: calls are futures, a session is driven by a task of the tokio runtime in which it was opened.
#[derive(Clone, Copy, Debug)]
pub struct Async;

impl Mode for Async {
    type Session = Session;
    type Output<E: Exchange> = Call<E>;
    type Renewing<E: Renewable<Self>> = ManagerCall<E>;
    type Attempt = renewal::Attempt;
    type Place = Handle;

    const IS_ASYNC: bool = true;

    fn place() -> Handle {
        Handle::current()
    }

    fn block<E: Exchange>(
        place: &Handle,
        session: &Arc<Session>,
        timeout: Option<Duration>,
        exchange: E,
    ) -> Result<E::Value> {
        place.block_on(Self::run(session, timeout, exchange))
    }

    fn detach<E: Exchange<Value = ()> + Send + 'static>(
        session: &Arc<Session>,
        exchange: E,
        failed: impl FnOnce(Error) + Send + 'static,
    ) {
        let call = Self::run(session, None, exchange);
        tokio::spawn(async move {
            if let Err(error) = call.await {
                failed(error);
            }
        });
    }

    fn actor() -> u64 {
        // The number of a task is not told but as text, which has nothing else in it. Above those of threads.
        let task = tokio::task::try_id().and_then(|id| id.to_string().parse::<u64>().ok());
        task.map_or_else(super::this_thread, |task| task | 1 << 63)
    }

    fn run<E: Exchange>(session: &Arc<Session>, timeout: Option<Duration>, exchange: E) -> Call<E> {
        Call {
            session: session.clone(),
            exchange,
            timeout,
            state: State::New,
            leads: None,
            has_polled: false,
            asleep: None,
        }
    }

    fn run_renewing<E: Renewable<Self>>(
        renewal: &Arc<Renewal<Self>>,
        session: Arc<Session>,
        timeout: Option<Duration>,
        exchange: E,
    ) -> ManagerCall<E> {
        ManagerCall::new(Self::run(&session, timeout, exchange), renewal.clone())
    }
}

/// One session, from the side of those who call. When the last of them drops it, the client says goodbye.
pub struct Session {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    owner: Owner,
}

/// What callers and the driver share. Locks are taken in the order `wire`, `calls`.
///
/// The driver moves the wire, unless a call is the only one in flight: then its own task does, which spares the way through
/// the driver's task. Whoever moves the wire last is woken by the socket; a call that has done it hands the wake-ups back to
/// the driver when it ends.
struct Shared {
    wire: Mutex<Wire<MaybeTls<Socket>>>,
    calls: Mutex<Calls>,
    /// Of the socket of the wire.
    lookout: Mutex<Lookout>,
    /// Never locked together with another.
    polling: Mutex<Polling>,
    /// Those of the wire.
    wakes: SelfWake,
    /// Wakes the driver, whoever moves the wire.
    driver: Waker,
    /// How the session goes on after a broken connection, if it can.
    resumption: Option<Resumption>,
    /// Those who wait for the session to be over.
    over: Notify,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.peer.address).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, authenticates and opens a session, within the target's time.
    pub(crate) async fn open(target: &Target) -> Result<Arc<Self>, ConnectError> {
        let late = |_| ConnectError::Timeout { address: target.address.clone(), timeout: target.connect_timeout };
        timeout(target.connect_timeout, Self::open_in_time(target)).await.map_err(late)?
    }

    async fn open_in_time(target: &Target) -> Result<Arc<Self>, ConnectError> {
        let unreachable =
            |error: io::Error| ConnectError::Unreachable { address: target.address.clone(), cause: error.to_string() };
        match &target.address {
            Address::Unix(path) => Self::drive(connect_unix(path).await.map_err(unreachable)?.into(), target).await,
            Address::Http(authority) | Address::Https(authority) => {
                let socket = TcpStream::connect(authority).await.map_err(unreachable)?;
                socket.set_nodelay(true).map_err(unreachable)?;
                Self::drive(socket.into(), target).await
            }
        }
    }

    async fn drive(socket: Socket, target: &Target) -> Result<Arc<Self>, ConnectError> {
        let lookout = Mutex::new(socket.lookout());
        let Begin { wire, calls, peer, resumption } = hello::open(socket, target).await?;
        let wakes = wire.wakes.clone();
        let kick = Arc::new(Kick::default());
        let shared = Arc::new(Shared {
            wire: Mutex::new(wire),
            calls: Mutex::new(calls),
            lookout,
            polling: Mutex::new(Polling::new(Policies::new(target.busy_poll))),
            wakes,
            driver: kick.clone().into(),
            resumption,
            over: Notify::new(),
        });
        let timer = Timer { sleep: Box::pin(sleep_until(tokio::time::Instant::now())), at: None };
        tokio::spawn(Driver { shared: shared.clone(), kick, timer, resuming: None, woken: Vec::new() });
        Ok(Arc::new(Self { shared, peer, owner: Owner::this() }))
    }

    /// Says goodbye, and waits until the manager has answered what was asked before and the session is over.
    pub(crate) async fn close(&self) {
        let over = self.shared.over.notified();
        let mut over = std::pin::pin!(over);
        over.as_mut().enable();
        {
            let mut calls = self.shared.calls.lock();
            if calls.is_ended() {
                return;
            }
            calls.say_goodbye();
        }
        self.shared.driver.wake_by_ref();
        over.await;
    }
}

/// A Unix socket whose backlog is full has no room for a moment: the time for connecting bounds how often it is tried.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(Duration::from_millis(5)).await,
            connected => return connected,
        }
    }
}

impl SessionLike for Session {
    fn close_handle(&self, handle: u32) {
        if self.owner.is_elsewhere() {
            return;
        }
        self.shared.calls.lock().close_handle(handle);
        self.shared.driver.wake_by_ref();
    }

    fn cast<R: Request>(&self, handle: u32, request: &R) {
        if self.owner.is_elsewhere() {
            return;
        }
        self.shared.calls.lock().cast(handle, request);
        self.shared.driver.wake_by_ref();
    }

    fn peer(&self) -> PeerInfo {
        PeerInfo(self.peer.clone())
    }

    fn ending(&self) -> Option<Error> {
        self.shared.calls.lock().ending().map(|end| self.peer.ended(end))
    }

    fn is_elsewhere(&self) -> bool {
        self.owner.is_elsewhere()
    }

    fn followed_by(&self, incarnation: [u8; 16]) {
        self.shared.calls.lock().note_after(self.peer.after(incarnation));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.owner.is_elsewhere() {
            return;
        }
        self.shared.calls.lock().say_goodbye();
        // At once, as far as that goes: the runtime may not live long enough to run the driver once more, and a session that
        // ends without a goodbye is lost.
        self.shared.flush();
        self.shared.driver.wake_by_ref();
    }
}

/// A call that is being made: a future of its result.
///
/// Nothing is sent before it is polled. Dropped before, it is not made; dropped afterwards, it is not waited for, and may
/// be applied. Calls of which several are polled at once (`join!`, `FuturesUnordered`, many tasks) are in flight together
/// and share frames and system calls.
#[must_use = "a call is made when it is awaited"]
pub struct Call<E> {
    session: Arc<Session>,
    exchange: E,
    timeout: Option<Duration>,
    state: State,
    /// Whether this task has moved the wire, and may be the one that the socket wakes.
    leads: Option<Leader>,
    /// Whether it has polled the socket for its reply, or need not.
    has_polled: bool,
    /// It waits asleep, and it is to be learnt for how long.
    asleep: Option<Box<Asleep>>,
}

/// A wait whose time may be short enough to be polled for.
#[derive(Debug)]
struct Asleep {
    since: Instant,
    site: Option<Site>,
}

/// It is moved around with every call, so what is rare is apart.
#[derive(Debug)]
enum State {
    New,
    InLine(Box<Place>),
    Asked(Asked),
    /// It could not be made when it was sent ahead.
    Failed(Box<Error>),
    Done,
}

/// A call that waits for room.
#[derive(Clone, Copy, Debug)]
struct Place {
    ticket: Ticket,
    deadline: Option<Instant>,
}

impl<E> fmt::Debug for Call<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<E: Exchange> Call<E> {
    /// Sends the call now, before it is awaited: several that are sent one after the other are in flight together.
    ///
    /// ```no_run
    /// # async fn example(hits: holdfast::Dict<String, i64>, paths: Vec<String>) -> holdfast::Result<()> {
    /// let calls: Vec<_> = paths.iter().map(|path| hits.add(path, 1).send()).collect();
    /// for call in calls {
    ///     call.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A call for which there is no room, because too many are in flight, is sent when it is awaited after all.
    pub fn send(mut self) -> Self {
        if matches!(self.state, State::New)
            && let Poll::Ready(Err(error)) = self.poll_ask(None, None)
        {
            self.state = State::Failed(Box::new(error));
        }
        self
    }

    /// Makes the call if there is room. If there is none, `waker` stands in line; without one the call stays as it is.
    /// `place` is that of one who stands in line already.
    fn poll_ask(&mut self, place: Option<Place>, waker: Option<&Waker>) -> Poll<Result<()>> {
        let (ticket, patience) = match place {
            Some(place) => (Some(place.ticket), Patience::until(place.deadline)),
            None => (None, Patience::of(self.timeout)),
        };
        let shared = &self.session.shared;
        let exchange = &mut self.exchange;
        let mut kept = Vec::new();
        let mut calls = shared.calls.lock();
        let may_wait = exchange.may_wait();
        match calls.ask(&mut kept, ticket, patience, waker, may_wait, |writer| exchange.ask(Asking(writer))) {
            Ok(asked) => {
                // A task that does not wait cannot be woken by the socket.
                let alone = calls.is_alone(may_wait) && waker.is_some();
                let call_driver = !alone && calls.call_driver();
                let flush = !alone && calls.should_flush();
                drop(calls);
                // Before others are woken, who may panic: from here on the call is known to be one.
                self.state = State::Asked(asked);
                drop(kept);
                if call_driver {
                    shared.driver.wake_by_ref();
                }
                if flush {
                    shared.flush();
                }
                Poll::Ready(Ok(()))
            }
            Err(not_asked) => {
                drop(calls);
                drop(kept);
                self.not_asked(not_asked)
            }
        }
    }

    #[cold]
    fn not_asked(&mut self, not_asked: NotAsked) -> Poll<Result<()>> {
        match not_asked {
            NotAsked::Full => Poll::Pending,
            NotAsked::Line(ticket, deadline) => {
                self.state = State::InLine(Box::new(Place { ticket, deadline }));
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    let timeout = self.timeout.unwrap_or_default();
                    return Poll::Ready(Err(Error::Crowded { timeout }));
                }
                // The driver must know of the deadline.
                self.session.shared.driver.wake_by_ref();
                Poll::Pending
            }
            NotAsked::Error(error) => Poll::Ready(Err(error)),
            NotAsked::Ended(end) => Poll::Ready(Err(self.session.peer.ended(&end))),
        }
    }

    /// What has become of the call. If nothing has, this task is woken when something does; or moves the wire itself, if its
    /// call is alone.
    fn outcome(&mut self, asked: Asked, cx: &Context<'_>) -> Outcome {
        let shared = &self.session.shared;
        let mut calls = shared.calls.lock();
        let alone = calls.is_alone(self.exchange.may_wait());
        let outcome = calls.outcome(asked, (!alone).then(|| cx.waker()));
        if !matches!(outcome, Outcome::Waiting) {
            return outcome;
        }
        if alone {
            calls.mute(asked);
            drop(calls);
            self.leads.get_or_insert_with(Leader::new);
            return self.lead(asked, cx);
        }
        let call_driver = calls.has_output() && calls.call_driver();
        drop(calls);
        // The socket may have woken this task instead of the driver, whose turn it is.
        if self.leads.take().is_some() {
            shared.wakes.hand_over(&shared.driver);
        }
        if call_driver {
            shared.driver.wake_by_ref();
        }
        outcome
    }

    /// Moves the wire, since the call is alone, and polls the socket for its reply where that pays.
    fn lead(&mut self, asked: Asked, cx: &Context<'_>) -> Outcome {
        let shared = &self.session.shared;
        shared.pump_once(shared.wire.lock(), cx);
        if !self.has_polled {
            let may_wait = self.exchange.may_wait();
            let mut calls = shared.calls.lock();
            let outcome = calls.outcome(asked, None);
            if !matches!(outcome, Outcome::Waiting) {
                return outcome;
            }
            let site = if may_wait { calls.site(asked) } else { None };
            drop(calls);
            let next = shared.polling.lock().next(site);
            self.has_polled = !matches!(next, Next::Turn);
            match next {
                Next::Poll(budget) => {
                    if shared.poll_socket(budget, may_wait, site) {
                        shared.pump_once(shared.wire.lock(), cx);
                    }
                }
                Next::Turn => cx.waker().wake_by_ref(),
                Next::SleepAndTell => self.asleep = Some(Box::new(Asleep { since: Instant::now(), site })),
                Next::Sleep => {}
            }
        }
        shared.calls.lock().outcome(asked, Some(cx.waker()))
    }

    fn poll_reply(&mut self, asked: Asked, cx: &Context<'_>) -> Poll<Result<E::Value>> {
        let outcome = self.outcome(asked, cx);
        if matches!(outcome, Outcome::Waiting) {
            return Poll::Pending;
        }
        if let Some(asleep) = self.asleep.take() {
            self.session.shared.polling.lock().policies.slept(asleep.site, asleep.since.elapsed());
        }
        (self.state, self.has_polled) = (State::New, false);
        Poll::Ready(match outcome {
            Outcome::Answered(Ok(reply)) => match self.exchange.hear(Heard(reply)) {
                Ok(Step::Again) => return self.poll(cx),
                Ok(Step::Done(value)) => Ok(value),
                Err(error) => Err(error),
            },
            Outcome::Answered(Err(refusal)) => {
                self.exchange.refused(&refusal);
                Err(refusal.into())
            }
            Outcome::Expired(op) => Err(Error::Timeout { op, timeout: self.timeout.unwrap_or_default() }),
            Outcome::Ended(end) => Err(self.session.peer.ended(&end)),
            Outcome::Waiting => unreachable!("it was just looked at"),
        })
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<E::Value>> {
        let place = match &self.state {
            State::New => None,
            State::InLine(place) => Some(**place),
            State::Asked(asked) => return self.poll_reply(*asked, cx),
            State::Failed(_) => match mem::replace(&mut self.state, State::Done) {
                State::Failed(error) => return Poll::Ready(Err(*error)),
                _ => unreachable!("it was just found"),
            },
            State::Done => panic!("a call was polled after it had its result"),
        };
        match (ready!(self.poll_ask(place, Some(cx.waker()))), &self.state) {
            (Ok(()), State::Asked(asked)) => self.poll_reply(*asked, cx),
            (Ok(()), _) => Poll::Pending,
            (Err(error), _) => Poll::Ready(Err(error)),
        }
    }
}

impl<E: Exchange> Future for Call<E> {
    type Output = Result<E::Value>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<E::Value>> {
        let result = ready!(Call::poll(&mut self, cx));
        self.leave();
        self.state = State::Done;
        Poll::Ready(result)
    }
}

impl<E> Call<E> {
    /// Leaves nothing behind in the session.
    #[inline]
    fn leave(&mut self) {
        if self.leads.is_some() || !matches!(self.state, State::New | State::Done) {
            self.leave_unfinished();
        }
    }

    fn leave_unfinished(&mut self) {
        if self.leads.take().is_some() {
            self.session.shared.wakes.hand_over(&self.session.shared.driver);
        }
        let calls = &self.session.shared.calls;
        match mem::replace(&mut self.state, State::Done) {
            State::New | State::Failed(_) | State::Done => {}
            State::InLine(place) => {
                let next = calls.lock().leave_line(place.ticket);
                if let Some(next) = next {
                    next.wake();
                }
            }
            State::Asked(asked) => {
                let mut calls = calls.lock();
                calls.abandon(asked);
                if calls.has_output() {
                    drop(calls);
                    // A handle that nobody waits for is given back.
                    self.session.shared.driver.wake_by_ref();
                }
            }
        }
    }
}

impl<E> Drop for Call<E> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Shared {
    /// Whether something can be read within the budget. A call that is not alone any more, or whose reply the driver took,
    /// does not wait for it.
    fn poll_socket(&self, budget: Duration, may_wait: bool, site: Option<Site>) -> bool {
        let polled = poll_until(budget, Instant::now, || {
            if self.lookout.lock().look() {
                Look::Found
            } else if Leader::is_only_one() && self.calls.lock().is_alone(may_wait) {
                Look::Nothing
            } else {
                Look::Stop
            }
        });
        self.polling.lock().policies.learn(site, polled);
        polled.has_found()
    }

    /// Moves the wire in the place of the driver, which the socket still wakes.
    #[cold]
    fn flush(&self) {
        // Whoever moves it now takes what is there; or the driver does, who was called.
        if let Some(wire) = self.wire.try_lock() {
            self.pump_once(wire, &Context::from_waker(&self.driver));
        }
    }

    fn pump_once(&self, wire: MutexGuard<'_, Wire<MaybeTls<Socket>>>, cx: &Context<'_>) {
        let mut woken = Vec::new();
        if self.pump(wire, cx, &mut woken) {
            // It has ended, which is for the driver to tell.
            self.driver.wake_by_ref();
        }
        for waker in woken {
            waker.wake();
        }
    }

    /// Moves the wire, and tells whether that has ended the session.
    fn pump(&self, mut wire: MutexGuard<'_, Wire<MaybeTls<Socket>>>, cx: &Context<'_>, woken: &mut Vec<Waker>) -> bool {
        if wire.lost.is_some() {
            return false;
        }
        let mut pumped = wire.pump(cx, &self.calls, woken);
        if let (Err(end), Some(resumption)) = (&pumped, &self.resumption)
            && end.is_loss
            && !self.calls.lock().is_leaving()
        {
            wire.lost = Some(resumption.lose(end.clone()));
            self.driver.wake_by_ref();
            pumped = Ok(false);
        }
        drop(wire);
        match pumped {
            Ok(again) => {
                if again {
                    cx.waker().wake_by_ref();
                }
                false
            }
            Err(end) => {
                self.calls.lock().end(end, woken);
                true
            }
        }
    }
}

/// A call that moves the wire of its session itself. They are counted over all sessions of the process: while one polls the
/// others would wait for its thread, and their replies could not be read at once.
#[derive(Debug)]
pub(crate) struct Leader(());

static LEADERS: AtomicUsize = AtomicUsize::new(0);

impl Leader {
    pub(crate) fn new() -> Self {
        LEADERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    pub(crate) fn is_only_one() -> bool {
        LEADERS.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        LEADERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// So many calls poll one after the other before their task gives way to others.
const CALLS_PER_TURN: u8 = 8;

/// Polling from tasks, which hold up the other tasks of their thread.
#[derive(Debug)]
pub(crate) struct Polling {
    pub(crate) policies: Policies,
    /// How many calls have polled since one of them gave way.
    in_a_row: u8,
}

/// What a call does until its reply comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Poll(Duration),
    /// Lets other tasks run, and then asks again.
    Turn,
    /// It is to be told for how long.
    SleepAndTell,
    Sleep,
}

impl Polling {
    pub(crate) fn new(policies: Policies) -> Self {
        Self { policies, in_a_row: 0 }
    }

    pub(crate) fn next(&mut self, site: Option<Site>) -> Next {
        if self.in_a_row == CALLS_PER_TURN {
            self.in_a_row = 0;
            return Next::Turn;
        }
        // A task that tokio has had enough of could not send its call.
        let may = Leader::is_only_one() && has_budget_remaining();
        match if may { self.policies.begin(site, None) } else { BeforeSleep::Sleep } {
            BeforeSleep::Poll(budget) => {
                self.in_a_row += 1;
                Next::Poll(budget)
            }
            next => {
                self.in_a_row = 0;
                if next == BeforeSleep::SleepAndTell { Next::SleepAndTell } else { Next::Sleep }
            }
        }
    }
}

/// How the driver is woken by others than the socket.
#[derive(Debug, Default)]
struct Kick(AtomicWaker);

impl Wake for Kick {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

/// Looks for another connection.
type Resuming = Pin<Box<dyn Future<Output = Result<(), End>> + Send>>;

/// The task that moves the bytes of one session.
struct Driver {
    shared: Arc<Shared>,
    kick: Arc<Kick>,
    timer: Timer,
    /// Looks for another connection, while there is none.
    resuming: Option<Resuming>,
    woken: Vec<Waker>,
}

/// Wakes the driver when a call may run out of time: one timer for all of them.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Timer {
    /// Whether a deadline has passed.
    fn poll(&mut self, deadline: Option<Instant>, waker: &Waker) -> bool {
        let Some(deadline) = deadline else { return false };
        // A timer that goes off too early is set again then; nearly always the next deadline is later than this one was.
        if self.at.is_none_or(|at| at > deadline) {
            self.at = Some(deadline);
            self.sleep.as_mut().reset(deadline.into());
        } else if self.sleep.deadline().into_std() > Instant::now() {
            return false;
        }
        let fired = self.sleep.as_mut().poll(&mut Context::from_waker(waker)).is_ready();
        if fired {
            self.at = None;
        }
        fired
    }
}

/// Looks for another connection in the place of the one that was lost, as long as the session lives.
async fn resume(shared: Arc<Shared>) -> Result<(), End> {
    let Some(resumption) = &shared.resumption else { return Ok(()) };
    let (mut attempt, mut lookout) = (None, None);
    loop {
        let next = resumption.take_place(&mut shared.wire.lock(), &shared.calls, attempt.take())?;
        let resume::Next::Pause(pause) = next else {
            if let Some(lookout) = lookout {
                *shared.lookout.lock() = lookout;
            }
            return Ok(());
        };
        let Some(lost) = shared.wire.lock().lost.clone() else { return Ok(()) };
        if !lost.is_first() {
            sleep(pause).await;
        }
        let hello = resumption.hello(shared.calls.lock().received());
        let trying = attempt_to_resume(&resumption.target, hello, &mut lookout);
        let trying = timeout_at(lost.deadline.into(), trying).await;
        attempt = trying.ok();
    }
}

async fn attempt_to_resume(
    target: &Target,
    hello: (Resume, u64),
    lookout: &mut Option<Lookout>,
) -> Attempt<MaybeTls<Socket>> {
    let unreachable =
        |error: io::Error| ConnectError::Unreachable { address: target.address.clone(), cause: error.to_string() };
    let (Address::Http(authority) | Address::Https(authority)) = &target.address else {
        return Err(unreachable(io::ErrorKind::Unsupported.into()));
    };
    let socket = TcpStream::connect(authority).await.map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    let socket = Socket::from(socket);
    *lookout = Some(socket.lookout());
    hello::open_stream(socket, target, Some(hello)).await
}

impl Driver {
    /// Goes on over another connection where the one that was is lost. Whether the session is over.
    fn poll_resume(&mut self, cx: &mut Context<'_>) -> bool {
        if self.resuming.is_none() {
            if self.shared.wire.lock().lost.is_none() {
                return false;
            }
            self.resuming = Some(Box::pin(resume(self.shared.clone())));
        }
        let Some(resuming) = &mut self.resuming else { return false };
        let end = match resuming.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => {
                self.resuming = None;
                cx.waker().wake_by_ref();
                return false;
            }
            Poll::Ready(Err(end)) => end,
            Poll::Pending if !self.shared.calls.lock().is_leaving() => return false,
            Poll::Pending => {
                self.shared.wire.lock().lost.as_ref().map(Lost::end).unwrap_or_else(|| End::new("it was closed"))
            }
        };
        self.resuming = None;
        self.shared.calls.lock().end(end, &mut self.woken);
        true
    }

    fn poll_deadlines(&mut self, waker: &Waker) {
        loop {
            let deadline = self.shared.calls.lock().deadline();
            if !self.timer.poll(deadline, waker) {
                return;
            }
            self.shared.calls.lock().expire(Instant::now(), &mut self.woken);
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.kick.0.register(cx.waker());
        // A call that leads may have found the end.
        let is_over = this.shared.calls.lock().driver_looks();
        let mut ended = is_over || this.shared.pump(this.shared.wire.lock(), cx, &mut this.woken);
        if !ended && this.shared.resumption.is_some() {
            ended = this.poll_resume(cx);
        }
        this.poll_deadlines(cx.waker());
        for waker in this.woken.drain(..) {
            waker.wake();
        }
        if ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let is_over = self.shared.calls.lock().is_ended();
        if !is_over {
            // A program whose `main` has returned, while other tasks had proxies: what it has taken is its own, and the session
            // is closed and not lost. tokio still moves sockets when it drops the tasks of a runtime.
            {
                let mut calls = self.shared.calls.lock();
                calls.say_goodbye();
                calls.hurry();
            }
            // Another thread of the runtime may be moving it for a task that has not been dropped yet, and has looked at what is
            // to be said before this. Nobody says it after this.
            let wire = self.shared.wire.lock();
            self.shared.pump_once(wire, &Context::from_waker(&self.shared.driver));
        }
        // Without effect if the session is over already.
        let end = End::new("the tokio runtime that drove it was shut down");
        self.shared.calls.lock().end(end, &mut self.woken);
        for waker in self.woken.drain(..) {
            waker.wake();
        }
        self.shared.over.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use holdfast_stream::{BusyPoll, Polled};

    use super::*;

    #[test]
    fn calls_that_poll_give_way_to_others() {
        let budget = Duration::from_micros(50);
        let _leader = Leader::new();
        let mut polling = Polling::new(Policies::on(2, BusyPoll::For(budget)));
        for _ in 0..3 {
            for _ in 0..CALLS_PER_TURN {
                assert_eq!(polling.next(None), Next::Poll(budget));
                polling.policies.learn(None, Polled::InTime);
            }
            assert_eq!(polling.next(None), Next::Turn);
        }
        let other = Leader::new();
        assert_eq!(polling.next(None), Next::Sleep, "nobody polls while somebody else waits");
        drop(other);
        assert_eq!(polling.next(None), Next::Poll(budget));
    }
}
