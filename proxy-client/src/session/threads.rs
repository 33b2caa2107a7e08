//! A session that the calling threads drive themselves, for the blocking library: no runtime, no thread of its own.

mod renewal;

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use holdfast_proto::Resume;
use holdfast_proto::ops::Request;
use holdfast_proto::place::Address;
use holdfast_stream::{Look, Next as BeforeSleep, Polled, poll as poll_until};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use super::busy_poll::{Policies, Site};
use super::calls::{Calls, NotAsked, Outcome, Patience, Ticket, Writer};
use super::hello::{self, Begin};
use super::pipe::{Pipe, PipeIo};
use super::renewal::{Renewable, Renewal};
use super::resume::{Attempt, Next, Resumption};
use super::tls::MaybeTls;
use super::wire::Wire;
use super::{Asking, Exchange, Heard, Mode, Peer, PeerInfo, SessionLike, Step, Target};
use crate::error::{ConnectError, Error, Result};
use crate::owner::Owner;

/// What is read from the socket at once.
const READ_BYTES: usize = 64 << 10;

/// How long a session that is dropped waits for the manager to take what is to be given back, if that is very much.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The system takes no receive timeout of 0.
const SHORTEST: Duration = Duration::from_millis(1);

/// A receive timeout that is this much too long is left as it is: changing it costs a system call.
const TOLERANCE: Duration = Duration::from_millis(10);

/// The blocking library: calls return their result, and the calling thread moves the bytes itself.
#[derive(Clone, Copy, Debug)]
pub struct Blocking;

impl Mode for Blocking {
    type Session = Session;
    type Output<E: Exchange> = Result<E::Value>;
    type Renewing<E: Renewable<Self>> = Result<E::Value>;
    type Attempt = renewal::Attempt;
    type Place = ();

    const IS_ASYNC: bool = false;

    fn actor() -> u64 {
        super::this_thread()
    }

    fn place() {}

    fn block<E: Exchange>((): &(), session: &Arc<Session>, timeout: Option<Duration>, exchange: E) -> Result<E::Value> {
        Self::run(session, timeout, exchange)
    }

    fn detach<E: Exchange<Value = ()> + Send + 'static>(
        session: &Arc<Session>,
        exchange: E,
        failed: impl FnOnce(Error) + Send + 'static,
    ) {
        let session = session.clone();
        let failed = Arc::new(Mutex::new(Some(failed)));
        let tell = move |error| {
            let failed = failed.lock().take();
            if let Some(failed) = failed {
                failed(error);
            }
        };
        let told = tell.clone();
        let run = move || {
            if let Err(error) = Self::run(&session, None, exchange) {
                told(error);
            }
        };
        if let Err(error) = thread::Builder::new().name("holdfast-pool".to_owned()).spawn(run) {
            tell(Error::Thread { cause: error.to_string().into() });
        }
    }

    fn run<E: Exchange>(session: &Arc<Session>, timeout: Option<Duration>, mut exchange: E) -> Result<E::Value> {
        loop {
            match session.call(timeout, &mut exchange)? {
                Step::Again => {}
                Step::Done(value) => return Ok(value),
            }
        }
    }

    fn run_renewing<E: Renewable<Self>>(
        renewal: &Arc<Renewal<Self>>,
        session: Arc<Session>,
        timeout: Option<Duration>,
        exchange: E,
    ) -> Result<E::Value> {
        renewal::run(renewal, session, timeout, exchange)
    }
}

/// One session, driven by whichever threads call.
///
/// Of the threads that wait for a reply one reads the socket, and hands the others theirs; when it has its own it leaves
/// the reading to one of them. Nobody holds a lock while waiting. Locks are taken in the order `wire`, `calls`.
pub struct Session {
    wire: Mutex<Driven>,
    calls: Mutex<Calls>,
    /// The socket of the connection that it has now.
    pipe: RwLock<Arc<Pipe>>,
    /// How it goes on after a broken connection, if it can.
    resumption: Option<Resumption>,
    /// Whether a thread is reading.
    reading: AtomicBool,
    peer: Arc<Peer>,
    owner: Owner,
}

struct Driven {
    wire: Wire<MaybeTls<PipeIo>>,
    /// For the thread that reads.
    buffer: Vec<u8>,
    /// The socket's receive timeout.
    receive_timeout: Option<Duration>,
    /// Whether the thread that reads polls before it sleeps.
    busy_poll: Policies,
    /// To wake, kept for its memory.
    woken: Vec<Waker>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.peer.address).finish_non_exhaustive()
    }
}

/// Wakes a thread from `park`.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

impl Session {
    /// Connects, authenticates and opens a session, within the target's time.
    pub(crate) fn open(target: &Target) -> Result<Arc<Self>, ConnectError> {
        let deadline = Instant::now().checked_add(target.connect_timeout).unwrap_or_else(far_away);
        let late = || ConnectError::Timeout { address: target.address.clone(), timeout: target.connect_timeout };
        let unreachable = |error: io::Error| match error.kind() {
            // What a socket says whose backlog stayed full, and a host that did not answer.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
            _ => ConnectError::Unreachable { address: target.address.clone(), cause: error.to_string() },
        };
        let socket: OwnedFd = match &target.address {
            Address::Unix(path) => connect_unix(path, target.connect_timeout).map_err(unreachable)?,
            Address::Http(authority) | Address::Https(authority) => {
                connect_tcp(authority, deadline).map_err(unreachable)?.into()
            }
        };
        let pipe = Arc::new(Pipe::new(socket));
        let Begin { wire, calls, peer, resumption } =
            block_on(&pipe, deadline, hello::open(PipeIo::new(pipe.clone()), target)).ok_or_else(late)??;
        let (buffer, busy_poll) = (vec![0; READ_BYTES], Policies::new(target.busy_poll));
        let driven = Driven { wire, buffer, receive_timeout: None, busy_poll, woken: Vec::new() };
        let (wire, calls, reading) = (Mutex::new(driven), Mutex::new(calls), AtomicBool::new(false));
        let pipe = RwLock::new(pipe);
        let session = Self { wire, calls, pipe, resumption, reading, peer, owner: Owner::this() };
        // The window that the handshake granted goes out with the first call, if not before.
        Ok(Arc::new(session))
    }

    /// Makes one call and waits for its reply.
    fn call<E: Exchange>(&self, timeout: Option<Duration>, exchange: &mut E) -> Result<Step<E::Value>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let asked = WAKER.with(|waker| self.ask(deadline, timeout, waker, exchange));
        if asked.is_err() {
            self.pass_on();
        }
        let asked = asked?;
        let site = if exchange.may_wait() { self.calls.lock().site(asked) } else { None };
        self.pump();
        let outcome = WAKER.with(|waker| {
            self.wait(deadline, site, || match self.calls.lock().outcome(asked, Some(waker)) {
                Outcome::Waiting => None,
                outcome => Some(outcome),
            })
        });
        self.pass_on();
        match outcome {
            Outcome::Answered(Ok(reply)) => exchange.hear(Heard(reply)),
            Outcome::Answered(Err(refusal)) => {
                exchange.refused(&refusal);
                Err(refusal.into())
            }
            Outcome::Expired(op) => {
                // One that may wait is withdrawn.
                self.pump();
                Err(Error::Timeout { op, timeout: timeout.unwrap_or_default() })
            }
            Outcome::Ended(end) => Err(self.peer.ended(&end)),
            Outcome::Waiting => unreachable!("it was waited for"),
        }
    }

    /// Makes the call, after waiting in line if it must.
    fn ask<E: Exchange>(
        &self,
        deadline: Option<Instant>,
        timeout: Option<Duration>,
        waker: &Waker,
        exchange: &mut E,
    ) -> Result<super::Asked> {
        let mut ticket: Option<Ticket> = None;
        let may_wait = exchange.may_wait();
        let asked = self.wait(deadline, None, || {
            let patience = Patience::until(deadline);
            let mut kept = Vec::new();
            let write = |writer: Writer<'_>| exchange.ask(Asking(writer));
            let result = self.calls.lock().ask(&mut kept, ticket, patience, Some(waker), may_wait, write);
            drop(kept);
            match result {
                Ok(asked) => Some(Ok(asked)),
                Err(NotAsked::Line(place, _)) => {
                    ticket = Some(place);
                    let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
                    is_late.then(|| Err(Error::Crowded { timeout: timeout.unwrap_or_default() }))
                }
                Err(NotAsked::Full) => unreachable!("a thread has a waker"),
                Err(NotAsked::Error(error)) => Some(Err(error)),
                Err(NotAsked::Ended(end)) => Some(Err(self.peer.ended(&end))),
            }
        });
        if let (Err(_), Some(ticket)) = (&asked, ticket) {
            let next = self.calls.lock().leave_line(ticket);
            if let Some(next) = next {
                next.wake();
            }
        }
        asked
    }

    /// Waits until `look` finds something: reads for all who wait, or is woken by the thread that does.
    fn wait<T>(&self, deadline: Option<Instant>, site: Option<Site>, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            let now = Instant::now();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                self.expire(now);
                continue;
            }
            if !self.reading.swap(true, Ordering::AcqRel) {
                self.read(left, site);
            } else if let Some(full) = self.full_pipe() {
                // The thread that reads waits for what comes; somebody must wait for room to write.
                wait_for(&full, PollFlags::OUT, left);
                self.pump();
            } else {
                match left {
                    Some(left) => thread::park_timeout(left),
                    None => thread::park(),
                }
            }
        }
    }

    /// Reads once, for all who wait. This thread has set `reading`.
    fn read(&self, left: Option<Duration>, site: Option<Site>) {
        let mut driven = self.wire.lock();
        if driven.wire.lost.is_some() {
            return self.resume(driven, left);
        }
        let pipe = self.pipe.read().clone();
        let mut buffer = mem::take(&mut driven.buffer);
        if pipe.is_full() {
            drop(driven);
            wait_for(&pipe, PollFlags::IN | PollFlags::OUT, left);
            driven = self.wire.lock();
            receive(&pipe, &mut buffer, RecvFlags::DONTWAIT);
        } else {
            driven.set_receive_timeout(&pipe, left);
            let next = driven.busy_poll.begin(site, left);
            drop(driven);
            driven = self.receive(next, site, &pipe, &mut buffer);
        }
        driven.buffer = buffer;
        self.reading.store(false, Ordering::Release);
        self.pump_locked(driven);
    }

    /// Reads what comes next, polling or asleep, and learns from it.
    fn receive(&self, next: BeforeSleep, site: Option<Site>, pipe: &Pipe, buffer: &mut [u8]) -> MutexGuard<'_, Driven> {
        match next {
            BeforeSleep::Poll(budget) => {
                let polled = poll_socket(pipe, buffer, budget);
                if !polled.has_found() {
                    receive(pipe, buffer, RecvFlags::empty());
                }
                let mut driven = self.wire.lock();
                driven.busy_poll.learn(site, polled);
                driven
            }
            BeforeSleep::SleepAndTell => {
                let since = Instant::now();
                receive(pipe, buffer, RecvFlags::empty());
                let slept = since.elapsed();
                let mut driven = self.wire.lock();
                driven.busy_poll.slept(site, slept);
                driven
            }
            BeforeSleep::Sleep => {
                receive(pipe, buffer, RecvFlags::empty());
                self.wire.lock()
            }
        }
    }

    /// The socket, if something waits for room in it.
    fn full_pipe(&self) -> Option<Arc<Pipe>> {
        let pipe = self.pipe.read();
        pipe.is_full().then(|| pipe.clone())
    }

    /// Tries once to go on over another connection, in the place of the one that was lost. This thread has set `reading`.
    #[cold]
    fn resume<'a>(&'a self, mut driven: MutexGuard<'a, Driven>, left: Option<Duration>) {
        let (Some(resumption), Some(lost)) = (&self.resumption, driven.wire.lost.clone()) else {
            unreachable!("only a session that can be resumed is lost")
        };
        let mut new_pipe = None;
        let next = if self.calls.lock().is_leaving() {
            Err(lost.end())
        } else {
            let hello = resumption.hello(self.calls.lock().received());
            drop(driven);
            let deadline = left.map_or(lost.deadline, |left| lost.deadline.min(Instant::now() + left));
            let attempt = attempt_to_resume(&resumption.target, hello, deadline, &mut new_pipe);
            driven = self.wire.lock();
            resumption.take_place(&mut driven.wire, &self.calls, attempt)
        };
        match next {
            Ok(Next::GoOn) => {
                if let Some(pipe) = new_pipe {
                    *self.pipe.write() = pipe;
                }
                driven.receive_timeout = None;
            }
            Ok(Next::Pause(pause)) => {
                drop(driven);
                thread::sleep(left.map_or(pause, |left| pause.min(left)));
                driven = self.wire.lock();
            }
            Err(end) => self.calls.lock().end(end, &mut driven.woken),
        }
        self.reading.store(false, Ordering::Release);
        self.pump_locked(driven);
    }

    /// Sends what is to be sent, as far as the socket takes it, and hands out what has come.
    fn pump(&self) {
        self.pump_locked(self.wire.lock());
    }

    fn pump_locked(&self, mut driven: MutexGuard<'_, Driven>) {
        let driven_ref = &mut *driven;
        let cx = Context::from_waker(Waker::noop());
        let ended = loop {
            if driven_ref.wire.lost.is_some() {
                break None;
            }
            match driven_ref.wire.pump(&cx, &self.calls, &mut driven_ref.woken) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(end) => break Some(end),
            }
        };
        if let Some(end) = ended {
            let mut calls = self.calls.lock();
            match &self.resumption {
                Some(resumption) if end.is_loss && !calls.is_leaving() => {
                    driven_ref.wire.lost = Some(resumption.lose(end));
                    // The thread that reads must take note.
                    self.pipe.read().give_up();
                }
                _ => calls.end(end, &mut driven_ref.woken),
            }
        }
        // Nobody is woken under the lock. Nearly always it is one, and the others' memory stays where it is.
        let Some(last) = driven.woken.pop() else { return };
        let rest = if driven.woken.is_empty() { Vec::new() } else { mem::take(&mut driven.woken) };
        drop(driven);
        for waker in rest {
            waker.wake();
        }
        last.wake();
    }

    fn expire(&self, now: Instant) {
        let mut woken = Vec::new();
        self.calls.lock().expire(now, &mut woken);
        for waker in woken {
            waker.wake();
        }
    }

    /// This thread stops waiting: if nobody reads, one of those who wait must.
    fn pass_on(&self) {
        if !self.reading.load(Ordering::Acquire) {
            let next = self.calls.lock().wake_one();
            if let Some(next) = next {
                next.wake();
            }
        }
    }

    /// Says goodbye and waits, within `patience`, until the manager has ended the session.
    pub(crate) fn close(&self, patience: Duration) {
        self.calls.lock().say_goodbye();
        self.pump();
        let deadline = Instant::now() + patience;
        while !self.calls.lock().is_ended() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.reading.swap(true, Ordering::AcqRel) {
                thread::park_timeout(left.min(TOLERANCE));
            } else {
                self.read(Some(left.max(SHORTEST)), None);
            }
        }
        self.pass_on();
    }
}

impl SessionLike for Session {
    fn close_handle(&self, handle: u32) {
        if self.owner.is_elsewhere() {
            return;
        }
        self.calls.lock().close_handle(handle);
        self.pump();
    }

    fn cast<R: Request>(&self, handle: u32, request: &R) {
        if self.owner.is_elsewhere() {
            return;
        }
        self.calls.lock().cast(handle, request);
        self.pump();
    }

    fn peer(&self) -> PeerInfo {
        PeerInfo(self.peer.clone())
    }

    fn ending(&self) -> Option<Error> {
        self.calls.lock().ending().map(|end| self.peer.ended(end))
    }

    fn is_elsewhere(&self) -> bool {
        self.owner.is_elsewhere()
    }

    fn followed_by(&self, incarnation: [u8; 16]) {
        self.calls.lock().note_after(self.peer.after(incarnation));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.owner.is_elsewhere() {
            return;
        }
        self.calls.lock().say_goodbye();
        self.pump();
        if self.calls.lock().has_more_to_say() {
            // More is to be given back than may be in flight at once.
            self.close(LAST_WORDS);
            self.calls.lock().hurry();
            self.pump();
        }
    }
}

impl Driven {
    fn set_receive_timeout(&mut self, pipe: &Pipe, left: Option<Duration>) {
        let fits = match (self.receive_timeout, left) {
            (None, None) => true,
            (Some(set), Some(left)) => set <= left + TOLERANCE && left <= 2 * set,
            _ => false,
        };
        if !fits && sockopt::set_socket_timeout(&pipe.socket, sockopt::Timeout::Recv, left).is_ok() {
            self.receive_timeout = left;
        }
    }
}

/// Connects and resumes, until the deadline. `None` if that takes too long.
fn attempt_to_resume(
    target: &Target,
    hello: (Resume, u64),
    deadline: Instant,
    pipe: &mut Option<Arc<Pipe>>,
) -> Option<Attempt<MaybeTls<PipeIo>>> {
    let unreachable =
        |error: io::Error| ConnectError::Unreachable { address: target.address.clone(), cause: error.to_string() };
    let (Address::Http(authority) | Address::Https(authority)) = &target.address else {
        return Some(Err(unreachable(io::ErrorKind::Unsupported.into())));
    };
    let socket = match connect_tcp(authority, deadline) {
        Ok(socket) => socket,
        Err(error) => return Some(Err(unreachable(error))),
    };
    let pipe = pipe.insert(Arc::new(Pipe::new(socket.into())));
    block_on(pipe, deadline, hello::open_stream(PipeIo::new(pipe.clone()), target, Some(hello)))
}

/// Reads what has come, or waits for it as long as the socket's receive timeout. A signal ends the wait too: the system
/// would begin the timeout anew, and the caller knows what is left of it. Whether something came, be it the end.
fn receive(pipe: &Pipe, buffer: &mut [u8], flags: RecvFlags) -> bool {
    match recv(&pipe.socket, &mut *buffer, flags) {
        Ok((read, _)) => pipe.feed(&buffer[..read]),
        Err(Errno::INTR | Errno::AGAIN) => return false,
        Err(errno) => pipe.fail(io::Error::from(errno).kind()),
    }
    true
}

/// Reads what comes within the budget, without leaving the CPU.
fn poll_socket(pipe: &Pipe, buffer: &mut [u8], budget: Duration) -> Polled {
    poll_until(budget, Instant::now, || match receive(pipe, buffer, RecvFlags::DONTWAIT) {
        true => Look::Found,
        false => Look::Nothing,
    })
}

/// Waits until the socket is ready, or time is over.
fn wait_for(pipe: &Pipe, ready: PollFlags, left: Option<Duration>) {
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    // Interrupted or not, the caller looks again.
    let _ = poll(&mut [PollFd::new(&pipe.socket, ready)], timeout.as_ref());
}

/// The end of a time that is too long to be told.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(60 * 60 * 24 * 365)
}

/// A Unix socket whose backlog is full keeps its caller waiting, as long as the send timeout allows.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_write_timeout(None)?;
    Ok(socket.into())
}

fn connect_tcp(authority: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in authority.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Notes that a future may go on.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs a future that waits for nothing but the socket. `None` if it takes too long.
fn block_on<F: Future>(pipe: &Pipe, deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        if flag.0.swap(false, Ordering::AcqRel) {
            continue;
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        let ready = if pipe.is_full() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        wait_for(pipe, ready, Some(left));
        match recv(&pipe.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((read, _)) => pipe.feed(&buffer[..read]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => pipe.fail(io::Error::from(errno).kind()),
        }
    }
}
