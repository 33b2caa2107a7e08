//! Ends that a task waits for.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use holdfast_stream::{Look, poll as poll_until};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop;
use tokio::time::{Sleep, sleep};

use super::end::End;
use super::operation::Operation;
use super::polling::{RECEIVING, look, policies};
use super::{Held, PipeError, Waiting};
use crate::error::{Error, Result};
use crate::session::tasks::{Async, Leader, Next, Polling};

impl Waiting for Async {
    type Watch = Watch;
    type Transfer<'a, O: Operation + 'a> = Transfer<'a, O>;

    fn transfer<'a, O: Operation + 'a>(
        held: Result<&'a mut Held<Self>>,
        patience: Option<Duration>,
        operation: O,
    ) -> Transfer<'a, O> {
        Transfer {
            state: held.map_err(Some),
            patience,
            timer: None,
            leads: None,
            has_polled: false,
            asleep: None,
            operation,
        }
    }
}

/// A call on the end of a pipe, which does nothing until it is awaited.
///
/// One that is dropped gives up: nothing that was to be received is lost, and what was to be sent is not sent later, but for a
/// message of which a part was written already, whose rest goes with the next call on the end.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Transfer<'a, O: Operation> {
    /// The error is taken when it is told.
    state: Result<&'a mut Held<Async>, Option<Error>>,
    patience: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    /// While it waits.
    leads: Option<Leader>,
    has_polled: bool,
    /// It sleeps since then, which is to be told.
    asleep: Option<Instant>,
    operation: O,
}

impl<O: Operation> fmt::Debug for Transfer<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl<O: Operation> Future for Transfer<'_, O> {
    type Output = Result<O::Value>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<O::Value>> {
        let this = self.get_mut();
        let held = match &mut this.state {
            Ok(held) => held,
            Err(error) => return Poll::Ready(Err(error.take().expect("a future is not polled after its end"))),
        };
        // A task that always finds something must let others run, too.
        let coop = std::task::ready!(coop::poll_proceed(cx));
        let Held { end, watch } = &mut **held;
        let mut done = this.operation.attempt(end).transpose();
        if done.is_none() && this.patience == Some(Duration::ZERO) {
            done = Some(this.operation.expire(end, Duration::ZERO));
        }
        if done.is_none() && this.operation.is_receiving() && !this.has_polled {
            this.leads.get_or_insert_with(Leader::new);
            match watch.poll_before_sleep(end) {
                Polled::Found => done = this.operation.attempt(end).transpose(),
                Polled::Nothing { since } => (this.has_polled, this.asleep) = (true, since),
                Polled::Turn => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        if done.is_none() {
            done = watch.wait(cx, end, &mut this.operation).transpose();
        }
        if done.is_none()
            && let Some(patience) = this.patience
        {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
            if timer.as_mut().poll(cx).is_ready() {
                done = Some(this.operation.expire(end, patience));
            }
        }
        match done {
            Some(done) => {
                coop.made_progress();
                if let Some(since) = this.asleep.take() {
                    watch.slept(since.elapsed());
                }
                this.leads = None;
                this.state = Err(None);
                Poll::Ready(done)
            }
            None => Poll::Pending,
        }
    }
}

impl<O: Operation> Drop for Transfer<'_, O> {
    fn drop(&mut self) {
        if let Ok(held) = &mut self.state {
            self.operation.abandon(&mut held.end);
        }
    }
}

/// What came of polling.
enum Polled {
    Found,
    Nothing {
        /// From when on it sleeps, if that is to be told.
        since: Option<Instant>,
    },
    /// Others are to run first.
    Turn,
}

/// What the runtime was told to wait for, in which the end was first waited for.
#[derive(Debug, Default)]
pub struct Watch {
    incoming: Option<AsyncFd<Arc<OwnedFd>>>,
    /// A copy of the socket, there only while something waits for room: the system wakes those who wait for that each time that
    /// the other end has read.
    room: Option<AsyncFd<OwnedFd>>,
    /// The process at the other end.
    process: Option<AsyncFd<Arc<OwnedFd>>>,
    /// Once there was a wait.
    polling: Option<Polling>,
}

impl Watch {
    /// Looks for a moment without letting others run.
    fn poll_before_sleep(&mut self, end: &mut End) -> Polled {
        let polling = self.polling.get_or_insert_with(|| Polling::new(policies()));
        let budget = match polling.next(RECEIVING) {
            Next::Poll(budget) => budget,
            Next::Turn => return Polled::Turn,
            Next::SleepAndTell => return Polled::Nothing { since: Some(Instant::now()) },
            Next::Sleep => return Polled::Nothing { since: None },
        };
        let polled = poll_until(budget, Instant::now, || match look(end) {
            Look::Nothing if !Leader::is_only_one() => Look::Stop,
            looked => looked,
        });
        polling.policies.learn(RECEIVING, polled);
        if polled.has_found() { Polled::Found } else { Polled::Nothing { since: None } }
    }

    /// So long a wait asleep was.
    fn slept(&mut self, time: Duration) {
        if let Some(polling) = &mut self.polling {
            polling.policies.slept(RECEIVING, time);
        }
    }

    /// Waits for what the operation waits for, and for the end of the other process; tries the operation again whenever something
    /// was told. The task is woken if nothing comes of it.
    fn wait<O: Operation>(
        &mut self,
        cx: &mut Context<'_>,
        end: &mut End,
        operation: &mut O,
    ) -> Result<Option<O::Value>> {
        loop {
            self.follow(end)?;
            if let Some(room) = &self.room {
                while let Poll::Ready(mut guard) = room.poll_write_ready(cx).map_err(PipeError::from)? {
                    // It may have been told of room that was used up since: only a try after this tells.
                    if let Some(value) = operation.attempt(end)? {
                        return Ok(Some(value));
                    }
                    guard.clear_ready();
                }
            }
            if let Some(incoming) = &self.incoming
                && (operation.is_receiving() || end.may_read_ahead())
            {
                while let Poll::Ready(mut guard) = incoming.poll_read_ready(cx).map_err(PipeError::from)? {
                    if let Some(value) = operation.attempt(end)? {
                        return Ok(Some(value));
                    }
                    guard.clear_ready();
                }
            }
            let is_followed = self.is_following(end);
            let has_ended = match &self.process {
                Some(process) if is_followed => process.poll_read_ready(cx).map_err(PipeError::from)?.is_ready(),
                _ => false,
            };
            if has_ended {
                end.note_gone();
                if let Some(value) = operation.attempt(end)? {
                    return Ok(Some(value));
                }
            } else if is_followed && self.room.is_some() == end.has_output() {
                return Ok(None);
            }
        }
    }

    /// Whether the process is waited for that has the other end now.
    fn is_following(&self, end: &End) -> bool {
        match (&self.process, end.watched()) {
            (None, None) => true,
            (Some(process), Some(pidfd)) => Arc::ptr_eq(process.get_ref(), pidfd),
            _ => false,
        }
    }

    /// Tells the runtime what there is to wait for.
    fn follow(&mut self, end: &End) -> Result<(), PipeError> {
        if self.incoming.is_none() {
            self.incoming = Some(register(end.socket().clone(), Interest::READABLE)?);
        }
        if !end.has_output() {
            self.room = None;
        } else if self.room.is_none() {
            self.room = Some(register(end.socket().try_clone()?, Interest::WRITABLE)?);
        }
        if !self.is_following(end) {
            self.process = end.watched().map(|pidfd| register(pidfd.clone(), Interest::READABLE)).transpose()?;
        }
        Ok(())
    }
}

fn register<T: std::os::fd::AsRawFd>(descriptor: T, interest: Interest) -> Result<AsyncFd<T>, PipeError> {
    #[expect(
        deprecated,
        reason = "it takes anything for the owner of a file descriptor, which is unsound; an OwnedFd is one, and what replaces it \
                  is unsafe to call"
    )]
    Ok(AsyncFd::with_interest(descriptor, interest)?)
}
