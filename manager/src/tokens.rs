//! Objects on their way from one process to another.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use holdfast_proto::{Reason, Refusal, ShareRequest};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::slot::Held;

const USES_MAX: u32 = u16::MAX as u32;
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often expired tokens are looked for, while there are any.
const SWEEP: Duration = Duration::from_secs(1);

/// Objects on their way from one process to another: each token holds a reference to one, so that it cannot vanish.
///
/// A reference ends with the last use of its token, or with its lifetime. Whatever is expired is dropped at the next
/// look, and [`sweep`](Self::sweep) is a look.
#[derive(Debug)]
pub(crate) struct Tokens {
    limit: usize,
    state: Mutex<State>,
    /// There is one more.
    shared: Notify,
}

#[derive(Debug, Default)]
struct State {
    tokens: HashMap<Token, Shared>,
    /// The same tokens by the end of their life.
    ends: BTreeMap<(Instant, Token), ()>,
}

/// 32 random bytes, of which nobody can guess the next.
type Token = [u8; 32];

#[derive(Debug)]
struct Shared {
    slot: Held,
    uses: u32,
    end: Instant,
}

impl Tokens {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), shared: Notify::new() }
    }

    /// Makes a token for an object.
    pub(crate) fn share(&self, slot: Held, request: &ShareRequest, now: Instant) -> Result<Token, Refusal> {
        let lifetime = Duration::from_millis(request.lifetime_ms);
        if request.uses == 0 || request.uses > USES_MAX {
            return Err(Refusal::new(
                Reason::Malformed,
                format!("a token has 1 to {USES_MAX} uses, not {}", request.uses),
            ));
        }
        if lifetime.is_zero() || lifetime > LIFETIME_MAX {
            return Err(Refusal::new(
                Reason::Malformed,
                format!("a token lives 1 to {} ms, not {}", LIFETIME_MAX.as_millis(), request.lifetime_ms),
            ));
        }
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(|error| {
            Refusal::new(Reason::Quota, format!("the system has no randomness for a token ({error}): try again"))
        })?;

        drop(self.sweep(now));
        let mut state = self.state.lock();
        if state.tokens.len() >= self.limit {
            return Err(Refusal::new(
                Reason::Quota,
                format!(
                    "{} tokens wait to be taken up, the limit named tokens: raise it, or give tokens shorter lives",
                    self.limit
                ),
            ));
        }
        let end = now + lifetime;
        state.tokens.insert(token, Shared { slot, uses: request.uses, end });
        state.ends.insert((end, token), ());
        drop(state);
        self.shared.notify_one();
        Ok(token)
    }

    /// The object that a token stands for.
    pub(crate) fn take_up(&self, token: &[u8], kind: u32, now: Instant) -> Result<Held, Refusal> {
        let unknown = || {
            Refusal::new(
                Reason::UnknownToken,
                "no such token: it was taken up already, has expired, or comes from another life of the manager",
            )
        };
        let token = Token::try_from(token).map_err(|_| unknown())?;
        drop(self.sweep(now));
        let mut state = self.state.lock();
        let shared = state.tokens.get_mut(&token).ok_or_else(unknown)?;
        if shared.slot.kind() != kind {
            return Err(Refusal::new(Reason::WrongKind, "the token is for an object of another kind"));
        }
        shared.uses -= 1;
        let slot = shared.slot.clone();
        if shared.uses == 0 {
            let end = shared.end;
            state.tokens.remove(&token);
            state.ends.remove(&(end, token));
        }
        Ok(slot)
    }

    /// How many wait to be taken up.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().tokens.len()
    }

    /// Drops what has expired, as long as it is polled. Without tokens it waits without a timer: one that runs costs every call
    /// that the thread serves a look at the clock, and wakes a manager that nobody uses.
    pub(crate) async fn run(&self) {
        loop {
            if self.len() == 0 {
                self.shared.notified().await;
            } else {
                sleep(SWEEP).await;
                drop(self.sweep(Instant::now()));
            }
        }
    }

    /// Drops what has expired, and tells when to look again. The references are returned so that they are dropped where
    /// no lock is held: the last one frees the object.
    #[must_use]
    pub(crate) fn sweep(&self, now: Instant) -> Vec<Held> {
        let mut state = self.state.lock();
        let mut expired = Vec::new();
        while let Some(entry) = state.ends.first_entry()
            && entry.key().0 <= now
        {
            let ((_, token), ()) = entry.remove_entry();
            expired.extend(state.tokens.remove(&token).map(|shared| shared.slot));
        }
        expired
    }
}
