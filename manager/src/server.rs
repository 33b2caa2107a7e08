//! The parts put together, from start to stop.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::auth_service_server::AuthServiceServer;
use holdfast_proto::place::Address;
use holdfast_proto::scram::Authkey;
use holdfast_stream::{BusyPoll, UnixSocket};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::admission::Place;
use crate::auth::{Authenticator, Service};
use crate::certificate::Certificate;
use crate::epoch::{self, EpochError};
use crate::file_limit::warn_if_files_are_few;
use crate::health::Health;
use crate::heap;
use crate::limits::Limits;
use crate::network::Network;
use crate::poller;
use crate::process::Peer;
use crate::quiet::Quiet;
use crate::session::Store;
use crate::transport::{Accepted, Listener, Shared, serve, serve_tls};

/// The largest message of a client that need not have proven anything.
const STRANGER_MESSAGE_BYTES: usize = 4096;

/// How many tasks run before the system is asked what has come for the others. tokio's 61 would let so many connections
/// have their turn before a call is noticed; to ask costs less than a microsecond.
const TASKS_BETWEEN_EVENTS: u32 = 4;

/// How a manager is set up.
#[derive(Debug)]
pub struct Config {
    /// Where to listen: at least one address.
    pub listen: Vec<Listen>,
    /// What clients must prove to hold.
    pub authkey: Authkey,
    /// What it shows on `https://` addresses; must be there if there is one.
    pub certificate: Option<Certificate>,
    /// Where it is kept which life of the manager this is, so that fences rise from one to the next. None for one that
    /// belongs to a process: it has one life.
    pub epoch_file: Option<PathBuf>,
    /// Every limit.
    pub limits: Limits,
    /// How connections are treated.
    pub network: Network,
    /// Threads that serve connections, at least 1. Each connection stays with one.
    pub threads: usize,
    /// How long connections may take to end after a signal to stop.
    pub drain: Duration,
}

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address.
    pub address: Address,
    /// Whether it may be one of plain text beyond loopback, where whoever sees the traffic can read and change it.
    pub beyond_loopback: bool,
}

/// The manager could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(Address, #[source] io::Error),
    /// An address can be reached from other machines, and nothing would be encrypted.
    #[error(
        "{0} can be reached from other machines, and without TLS whoever sees the traffic can read and change it: \
         listen on https://, on a Unix socket or on 127.0.0.1, or allow it with --insecure-plaintext"
    )]
    Exposed(Address),
    /// An address is one of TLS, and there is no certificate.
    #[error("cannot listen on {0}: TLS needs a certificate, and the manager was given none")]
    NoCertificate(Address),
    /// No address was given.
    #[error("there is no address to listen on: give at least one")]
    Nowhere,
    /// It cannot be told which life of the manager this is.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The system gave no randomness or no thread.
    #[error("the system refused what a manager needs: {0}")]
    System(#[source] io::Error),
}

/// How a manager stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every client got its answers.
    Drained,
    /// Some connections did not end within the time and were cut.
    Cut,
}

/// What a manager runs in: one thread, on which all connections have their turns.
pub fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    poller::hook(&mut builder).enable_all().event_interval(TASKS_BETWEEN_EVENTS).build()
}

/// A manager that listens.
///
/// It is built and run inside a [`runtime`], which serves connections too, beside the threads that it starts.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    addresses: Vec<Address>,
    shared: Arc<Shared>,
    threads: usize,
    drain: Duration,
}

impl Server {
    /// Listens on every address. Clients can connect from now on, and are served from [`run`](Self::run) on.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let Config { listen, authkey, certificate, epoch_file, limits, network, threads, drain } = config;
        if listen.is_empty() {
            return Err(StartError::Nowhere);
        }
        warn_if_files_are_few(&limits);
        heap::keep_freed();
        let authenticator =
            Authenticator::new(&authkey).map_err(|error| StartError::System(io::Error::other(error)))?;
        let listeners: Vec<Listener> =
            listen.iter().map(|to| Listener::bind(to, certificate.as_ref())).collect::<Result<_, _>>()?;
        let addresses =
            listeners.iter().map(Listener::address).collect::<Result<_, _>>().map_err(StartError::System)?;
        // When all else is there, so that a start that fails uses up no epoch; and before anybody is let in.
        let epoch = epoch_file.map_or(Ok(epoch::FIRST), |path| epoch::next(&path))?;
        let stop = CancellationToken::new();
        let shared = Shared {
            store: Arc::new(Store::new(limits, epoch)),
            network,
            authenticator: Arc::new(authenticator),
            routes: routes(&stop),
            reflection: LazyLock::new(reflection),
            stop,
        };
        Ok(Self { listeners, addresses, shared: Arc::new(shared), threads, drain })
    }

    /// Writes every input that is applied to an object from now on into a file: see [`history`](crate::history). It is whole
    /// when [`run`](Self::run) has returned.
    #[cfg(feature = "history")]
    pub fn record_history(&self, file: std::fs::File) {
        self.shared.store.engine.record_history(file);
    }

    /// Where clients reach it, in the order in which the addresses were given. A port 0 has become the port that was
    /// chosen.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Serves until `stop` is ready, then drains: takes no new connections, answers what has come, says goodbye to every
    /// session, and cuts after the drain time what is left.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Stopped, StartError> {
        let tracker = TaskTracker::new();
        let ended = CancellationToken::new();
        let busy_poll = self.shared.network.busy_poll;
        let workers = Workers::start(self.threads, busy_poll, &ended).map_err(StartError::System)?;
        // Ends with this.
        let mut polling = JoinSet::new();
        polling.spawn(poller::watch(busy_poll));
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            let (shared, tracker, workers) = (self.shared.clone(), tracker.clone(), workers.clone());
            accepting.spawn(async move {
                let (mut failures, mut refusals) = (Quiet::default(), Quiet::default());
                loop {
                    // Whoever opens connections without end must not keep those from the thread that are open.
                    yield_now().await;
                    let accepted = listener.accept(&shared.network, &mut failures).await;
                    match shared.store.admission.admit(accepted.source()) {
                        Ok(place) => workers.hand_over(accepted, place, &shared, &tracker),
                        Err(limit) => {
                            let source = accepted.source();
                            accepted.turn_away(limit);
                            if let Some(unsaid) = refusals.say(Instant::now()) {
                                tracing::warn!(
                                    ?source,
                                    unsaid,
                                    "a connection was turned away for the limit named {limit}"
                                );
                            }
                        }
                    }
                }
            });
        }
        let mut stop = pin!(stop);
        let mut sweeping = pin!(self.shared.store.tokens.run());
        let mut expiry = pin!(self.shared.store.engine.run());
        tokio::select! {
            () = &mut stop => {}
            // A listener ends only by a fault: a manager that nobody can reach must not seem to live.
            Some(_) = accepting.join_next() => {
                return Err(StartError::System(io::Error::other("a listener has failed")));
            }
            () = &mut expiry => unreachable!("there is no last deadline"),
            () = &mut sweeping => unreachable!("there is no last token"),
        }

        // The listeners go with their tasks, and the sockets' files with the listeners.
        accepting.shutdown().await;
        self.shared.stop.cancel();
        self.shared.store.resumables.close();
        tracker.close();
        let drained = tokio::time::timeout(self.drain, tracker.wait()).await;
        // What is left on the other threads is dropped with their runtimes.
        ended.cancel();
        #[cfg(feature = "history")]
        self.shared.store.engine.flush_history();
        Ok(if drained.is_ok() { Stopped::Drained } else { Stopped::Cut })
    }
}

/// The services that anybody who can connect may call, but for reflection.
fn routes(stop: &CancellationToken) -> Routes {
    let health = HealthServer::new(Health { stop: stop.clone() });
    Routes::new(AuthServiceServer::new(Service).max_decoding_message_size(STRANGER_MESSAGE_BYTES))
        .add_service(health.max_decoding_message_size(STRANGER_MESSAGE_BYTES))
        .prepare()
}

/// Server reflection, in both of its versions. To build it was 38 % of the instructions of `Server::bind`, and few ask for it.
fn reflection() -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(holdfast_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let readable = "the descriptors were written by the build";
    Routes::new(builder().build_v1().expect(readable).max_decoding_message_size(STRANGER_MESSAGE_BYTES))
        .add_service(builder().build_v1alpha().expect(readable).max_decoding_message_size(STRANGER_MESSAGE_BYTES))
        .prepare()
}

/// The threads that serve connections, each with a runtime of its own, and how connections are spread over them.
#[derive(Clone)]
struct Workers {
    /// The first is the runtime that accepts.
    runtimes: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

impl Workers {
    fn start(threads: usize, busy_poll: BusyPoll, ended: &CancellationToken) -> io::Result<Self> {
        let mut runtimes = vec![Handle::current()];
        for number in 1..threads.max(1) {
            let runtime = runtime()?;
            runtimes.push(runtime.handle().clone());
            let ended = ended.clone();
            thread::Builder::new().name(format!("holdfast-{number}")).spawn(move || {
                runtime.block_on(async {
                    drop(tokio::spawn(poller::watch(busy_poll)));
                    ended.cancelled().await;
                });
            })?;
        }
        Ok(Self { runtimes: runtimes.into(), next: Arc::default() })
    }

    /// Starts to serve a connection on the thread whose turn it is.
    fn hand_over(&self, accepted: Accepted, place: Place, shared: &Arc<Shared>, tracker: &TaskTracker) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.runtimes.len();
        let shared = shared.clone();
        let connection = async move {
            match accepted {
                Accepted::Unix(stream, source, peer) => {
                    match here(stream, turn, UnixStream::into_std, UnixStream::from_std) {
                        Ok(stream) => serve(UnixSocket::from(stream), source, peer, place, shared).await,
                        Err(error) => tracing::error!(%error, "a connection could not be moved to its thread"),
                    }
                }
                Accepted::Tcp(stream, source) => match here(stream, turn, TcpStream::into_std, TcpStream::from_std) {
                    Ok(stream) => serve(stream, source, Peer::default(), place, shared).await,
                    Err(error) => tracing::error!(%error, "a connection could not be moved to its thread"),
                },
                Accepted::Tls(stream, source, certificate) => {
                    match here(stream, turn, TcpStream::into_std, TcpStream::from_std) {
                        Ok(stream) => serve_tls(stream, source, certificate, place, shared).await,
                        Err(error) => tracing::error!(%error, "a connection could not be moved to its thread"),
                    }
                }
            }
        };
        drop(tracker.spawn_on(connection, &self.runtimes[turn]));
    }
}

/// Registers a socket with the runtime of this thread, unless it is the one that accepted it.
fn here<S, T>(
    stream: S,
    turn: usize,
    into_std: impl FnOnce(S) -> io::Result<T>,
    from_std: impl FnOnce(T) -> io::Result<S>,
) -> io::Result<S> {
    if turn == 0 { Ok(stream) } else { into_std(stream).and_then(from_std) }
}
