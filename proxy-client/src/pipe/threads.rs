//! Ends whose calling thread waits.

use std::time::{Duration, Instant};

use holdfast_stream::{Next, poll as poll_until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::end::End;
use super::operation::Operation;
use super::polling::{RECEIVING, look, policies};
use super::{Held, PipeError, Waiting};
use crate::error::Result;
use crate::session::busy_poll::Policies;
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
            if operation.is_receiving() {
                watch.wait_for_message(end, left)?;
            } else {
                sleep(end, false, left)?;
            }
        }
    }
}

/// What was learnt of waits for messages, once there was one.
#[derive(Debug, Default)]
pub struct Watch(Option<Policies>);

impl Watch {
    /// Waits until something came, for a moment without leaving the CPU where that lately paid.
    fn wait_for_message(&mut self, end: &mut End, left: Option<Duration>) -> Result<(), PipeError> {
        let policies = self.0.get_or_insert_with(policies);
        match policies.begin(RECEIVING, left) {
            Next::Poll(budget) => {
                let polled = poll_until(budget, Instant::now, || look(end));
                policies.learn(RECEIVING, polled);
                if polled.has_found() { Ok(()) } else { sleep(end, true, left) }
            }
            Next::SleepAndTell => {
                let since = Instant::now();
                sleep(end, true, left)?;
                policies.slept(RECEIVING, since.elapsed());
                Ok(())
            }
            Next::Sleep => sleep(end, true, left),
        }
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
