//! Ends whose calling thread waits.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::end::{End, Filled};
use super::operation::Operation;
use super::{BUSY_POLL, Held, PipeError, Waiting};
use crate::error::Result;
use crate::session::busy_poll::{self, BusyPoll, Look};
use crate::session::threads::Blocking;

impl Waiting for Blocking {
    type Watch = Watch;
    type Transfer<'a, O: Operation + 'a> = Result<O::Value>;

    fn transfer<'a, O: Operation + 'a>(
        held: Result<&'a mut Held<Self>>,
        patience: Option<Duration>,
        mut operation: O,
    ) -> Result<O::Value> {
        let Held { end, watch } = held?;
        let mut deadline = None;
        loop {
            if let Some(value) = operation.attempt(end)? {
                return Ok(value);
            }
            let left = match patience {
                None => None,
                Some(patience) => {
                    let now = Instant::now();
                    let deadline = deadline.get_or_insert_with(|| now.checked_add(patience));
                    deadline.map(|deadline| deadline.saturating_duration_since(now))
                }
            };
            if let (Some(patience), Some(Duration::ZERO)) = (patience, left) {
                return operation.expire(end, patience);
            }
            if !(operation.is_receiving() && watch.poll_before_sleep(end, left)) {
                sleep(end, operation.is_receiving(), left)?;
            }
        }
    }
}

/// Whether to poll before going to sleep.
#[derive(Debug)]
pub struct Watch(BusyPoll);

impl Default for Watch {
    fn default() -> Self {
        Self(BusyPoll::new(BUSY_POLL))
    }
}

impl Watch {
    /// Looks for a moment without leaving the CPU: whether something came.
    fn poll_before_sleep(&mut self, end: &mut End, left: Option<Duration>) -> bool {
        let Some(budget) = self.0.begin(left) else { return false };
        let polled = busy_poll::poll(budget, Instant::now, || match end.fill() {
            Ok(Filled::Nothing) => Look::Nothing,
            // An error is met again by who wanted something.
            Ok(Filled::Some | Filled::End) | Err(_) => Look::Found,
        });
        self.0.learn(polled);
        polled.has_found()
    }
}

/// Sleeps until something can be read or, if something waits for it, written, or the other process ends, or time is over.
fn sleep(end: &mut End, is_receiving: bool, left: Option<Duration>) -> Result<(), PipeError> {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, is_receiving || end.may_read_ahead());
    flags.set(PollFlags::OUT, end.has_output());
    let socket = end.socket().clone();
    let watched = end.watched().cloned();
    let mut awaited = vec![PollFd::new(&socket, flags)];
    awaited.extend(watched.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut awaited, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    if awaited.get(1).is_some_and(|pidfd| !pidfd.revents().is_empty()) {
        end.note_gone();
    }
    Ok(())
}
