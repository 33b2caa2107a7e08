//! New sessions for the blocking library.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Blocking, Session, far_away};
use crate::error::{ConnectError, Error, Result};
use crate::session::renewal::{self, Renewable, Renewal, Turn};
use crate::session::{SessionLike, Step};

/// One attempt, which one thread makes while the others wait.
#[derive(Clone, Debug)]
pub struct Attempt(Arc<Telling>);

#[derive(Debug, Default)]
struct Telling {
    told: Mutex<Option<Result<Arc<Session>>>>,
    has_told: Condvar,
}

impl renewal::Attempt for Attempt {
    fn is_given_up(&self) -> bool {
        self.0.told.lock().is_some()
    }
}

impl Attempt {
    fn tell(&self, outcome: Result<Arc<Session>>) {
        self.0.told.lock().get_or_insert(outcome);
        self.0.has_told.notify_all();
    }
}

/// The thread that makes an attempt. If it panics, the others are told.
struct Maker<'a> {
    renewal: &'a Renewal<Blocking>,
    attempt: &'a Attempt,
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        self.attempt.tell(Err(self.renewal.gave_up("the thread that was to open another one panicked")));
    }
}

/// Makes an exchange with the manager itself in its session, or in a new one if that is over.
pub(super) fn run<E: Renewable<Blocking>>(
    renewal: &Renewal<Blocking>,
    mut session: Arc<Session>,
    timeout: Option<Duration>,
    mut exchange: E,
) -> Result<E::Value> {
    let mut may_repeat = exchange.is_repeatable();
    if session.is_elsewhere() || session.ending().is_some() {
        session = renew(renewal)?;
        exchange.begin(&session);
    }
    loop {
        match session.call(timeout, &mut exchange) {
            Ok(Step::Again) => {}
            Ok(Step::Done(value)) => return Ok(value),
            Err(Error::Ended { .. }) if may_repeat => {
                may_repeat = false;
                session = renew(renewal)?;
                exchange.begin(&session);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Finds a session that is not over, or opens one, together with all others who want it.
fn renew(renewal: &Renewal<Blocking>) -> Result<Arc<Session>> {
    let mut is_ours = false;
    let turn = renewal.turn(|| {
        is_ours = true;
        Attempt(Arc::default())
    })?;
    let attempt = match turn {
        Turn::Use(session) => return Ok(session),
        Turn::Await(attempt) => attempt,
    };
    if is_ours {
        let maker = Maker { renewal, attempt: &attempt };
        let outcome = renewal.finish(open(renewal));
        maker.attempt.tell(outcome.clone());
        return outcome;
    }
    let deadline = Instant::now().checked_add(renewal.patience_with_others()).unwrap_or_else(far_away);
    let mut told = attempt.0.told.lock();
    loop {
        if let Some(outcome) = &*told {
            return outcome.clone();
        }
        if attempt.0.has_told.wait_until(&mut told, deadline).timed_out() && told.is_none() {
            return Err(renewal.late());
        }
    }
}

fn open(renewal: &Renewal<Blocking>) -> Result<Arc<Session>, ConnectError> {
    let mut tries = renewal.tries();
    loop {
        match Session::open(&tries.target()) {
            Ok(session) => return Ok(session),
            Err(error) => thread::sleep(tries.pause(error)?),
        }
    }
}
