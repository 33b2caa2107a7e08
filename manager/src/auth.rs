//! Who may speak on a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::auth_service_server::AuthService;
use holdfast_proto::scram::{Authkey, Binding, Failure, Nonce, ServerAwaitingProof, Verifier};
use holdfast_proto::{BeginRequest, BeginResponse, FinishRequest, FinishResponse};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Notify;
use tonic::{Request, Response, Status};

use crate::quiet::Quiet;

/// Where a connection comes from, as far as attempts are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A process of this user, over a Unix socket.
    User(u32),
    /// A host.
    Host(IpAddr),
}

/// What every connection is checked against.
#[derive(Debug)]
pub(crate) struct Authenticator {
    verifier: Verifier,
    throttle: Throttle,
}

impl Authenticator {
    pub(crate) fn new(authkey: &Authkey) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        Ok(Self { verifier: Verifier::derive(authkey, salt), throttle: Throttle::default() })
    }
}

/// The gate of one connection: shut until its client has proven that it holds the authkey.
///
/// - One attempt is all that a connection has: a failed one shuts the gate for good, and the connection is closed.
/// - The token is valid on this connection alone, because it is kept nowhere else, and until the connection's session ends.
#[derive(Debug)]
pub(crate) struct Gate {
    authenticator: Arc<Authenticator>,
    source: Source,
    /// What the proofs must be bound to: the kind of listener says.
    binding: Binding,
    state: Mutex<State>,
    /// Told when the gate opens, or shuts for good.
    changed: Notify,
}

#[derive(Debug)]
enum State {
    Untried,
    Challenged(ServerAwaitingProof),
    Open { token_hash: [u8; 32] },
    Shut,
}

/// What the owner of the connection must know of its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Undecided,
    Open,
    Shut,
}

impl Gate {
    pub(crate) fn new(authenticator: Arc<Authenticator>, source: Source, binding: Binding) -> Self {
        Self { authenticator, source, binding, state: Mutex::new(State::Untried), changed: Notify::new() }
    }

    /// Whether the peer is reached through a network, whose breaking is not its end.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.source, Source::Host(_))
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match *self.state.lock() {
            State::Untried | State::Challenged(_) => Verdict::Undecided,
            State::Open { .. } => Verdict::Open,
            State::Shut => Verdict::Shut,
        }
    }

    /// Waits for the verdict to change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether `token` is the one of this connection.
    pub(crate) fn admits(&self, token: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(token).into();
        match &*self.state.lock() {
            State::Open { token_hash } => token_hash.ct_eq(&hash).into(),
            _ => false,
        }
    }

    /// Shuts the gate for good.
    pub(crate) fn shut(&self) {
        *self.state.lock() = State::Shut;
        self.changed.notify_one();
    }

    fn begin(&self, client_first: &str) -> Result<String, Failure> {
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|_| Failure::Malformed)?;
        let mut state = self.state.lock();
        if !matches!(*state, State::Untried) {
            return Err(Failure::Malformed);
        }
        let nonce = Nonce::from_random(random);
        let (server_first, awaiting) =
            ServerAwaitingProof::begin(&self.authenticator.verifier, &self.binding, client_first, nonce)?;
        *state = State::Challenged(awaiting);
        Ok(server_first)
    }

    fn finish(&self, client_final: &str) -> Result<(String, [u8; 32]), Failure> {
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(|_| Failure::Malformed)?;
        let mut state = self.state.lock();
        // The challenge is used up, whatever comes of it.
        let State::Challenged(awaiting) = std::mem::replace(&mut *state, State::Shut) else {
            return Err(Failure::Malformed);
        };
        let server_final = awaiting.finish(&self.authenticator.verifier, client_final)?;
        *state = State::Open { token_hash: Sha256::digest(token).into() };
        drop(state);
        self.changed.notify_one();
        Ok((server_final, token))
    }

    /// The answer to a failed attempt: the same for every failure, later the more there are, and the last on this
    /// connection.
    async fn fail(&self, failure: Failure) -> Status {
        let Penalty { wait, log } = self.authenticator.throttle.penalty(self.source, Instant::now());
        if let Some(unsaid) = log {
            tracing::warn!(source = ?self.source, ?failure, unsaid, "authentication failed");
        }
        tokio::time::sleep(wait).await;
        self.shut();
        Status::unauthenticated(failure.to_string())
    }
}

/// The unary service; the gate of the connection comes with each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service;

/// The connection puts its gate into every request that it hands to a unary service.
fn gate<T>(request: &Request<T>) -> Result<Arc<Gate>, Status> {
    let gate = request.extensions().get::<Arc<Gate>>();
    gate.cloned().ok_or_else(|| Status::internal("a request without its connection reached the manager"))
}

#[tonic::async_trait]
impl AuthService for Service {
    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<BeginResponse>, Status> {
        let gate = gate(&request)?;
        match gate.begin(&request.get_ref().client_first) {
            Ok(server_first) => Ok(Response::new(BeginResponse { server_first })),
            Err(failure) => Err(gate.fail(failure).await),
        }
    }

    async fn finish(&self, request: Request<FinishRequest>) -> Result<Response<FinishResponse>, Status> {
        let gate = gate(&request)?;
        match gate.finish(&request.get_ref().client_final) {
            Ok((server_final, token)) => Ok(Response::new(FinishResponse { server_final, token: token.into() })),
            Err(failure) => Err(gate.fail(failure).await),
        }
    }
}

/// Slows down whoever guesses: the answers to failed attempts of one source are spaced out.
///
/// Only failures wait. An honest client behind the same address is served at once, however many fail beside it.
#[derive(Debug, Default)]
struct Throttle {
    sources: Mutex<HashMap<Source, Failures>>,
}

/// What is remembered of the failures of one source.
#[derive(Debug)]
struct Failures {
    /// When the next one may be answered.
    next: Instant,
    quiet: Quiet,
}

/// What one more failure costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Penalty {
    /// How long its answer has to wait.
    wait: Duration,
    /// Whether it is logged, and how many were not since the last line. Whoever fails a thousand times a second must not
    /// fill a disk with it.
    log: Option<u64>,
}

impl Throttle {
    const SPACING: Duration = Duration::from_millis(100);
    /// Failures that are answered at once.
    const BURST: Duration = Duration::from_secs(1);
    /// A connection that is not authenticated by then is closed anyway.
    const LONGEST: Duration = Duration::from_secs(10);
    const SOURCES: usize = 1024;

    /// What one more failure of `source` costs.
    fn penalty(&self, source: Source, now: Instant) -> Penalty {
        let mut sources = self.sources.lock();
        if sources.len() >= Self::SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, failures| failures.next > now);
            if sources.len() >= Self::SOURCES {
                return Penalty { wait: Self::LONGEST, log: None };
            }
        }
        let failures = sources.entry(source).or_insert(Failures { next: now, quiet: Quiet::default() });
        // What is owed does not grow beyond what anyone waits for.
        let next = (failures.next.max(now) + Self::SPACING).min(now + Self::BURST + Self::LONGEST);
        failures.next = next;
        Penalty { wait: next.duration_since(now).saturating_sub(Self::BURST), log: failures.quiet.say(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_spaced_out_and_forgiven() {
        let throttle = Throttle::default();
        let (source, now) = (Source::User(1), Instant::now());
        let burst = (0..10).map(|_| throttle.penalty(source, now).wait).max();
        assert_eq!(burst, Some(Duration::ZERO), "a typing error costs nothing");
        assert_eq!(throttle.penalty(source, now).wait, Throttle::SPACING);
        assert_eq!(throttle.penalty(source, now).wait, 2 * Throttle::SPACING);
        assert_eq!(throttle.penalty(Source::User(2), now).wait, Duration::ZERO, "others do not pay");
        for _ in 0..1000 {
            assert!(throttle.penalty(source, now).wait <= Throttle::LONGEST);
        }
        let later = now + Throttle::LONGEST + Throttle::BURST;
        assert_eq!(throttle.penalty(source, later).wait, Duration::ZERO, "forgiven");
    }

    #[test]
    fn a_flood_of_failures_does_not_flood_the_log() {
        let throttle = Throttle::default();
        let (source, now) = (Source::User(1), Instant::now());
        assert_eq!(throttle.penalty(source, now).log, Some(0));
        assert!((0..1000).all(|_| throttle.penalty(source, now).log.is_none()));
        assert_eq!(throttle.penalty(Source::User(2), now).log, Some(0), "those of others are not hidden by it");
        assert_eq!(throttle.penalty(source, now + Duration::from_secs(1)).log, Some(1000));
    }

    #[test]
    fn the_memory_of_failures_is_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for host in 0..5000_u32 {
            throttle.penalty(Source::Host(IpAddr::from(host.to_be_bytes())), now);
        }
        assert!(throttle.sources.lock().len() <= Throttle::SOURCES);
    }
}
