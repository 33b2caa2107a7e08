//! Shared events.

use std::time::Duration;

use holdfast_proto::{EventClearRequest, EventIsSetRequest, EventSetRequest, EventWaitRequest};

use super::holding::patience_ms;
use super::reference::proxy;
use super::remote::Remote;
use super::{Mode, Output};

/// A shared event: Python's `multiprocessing.Event`. It has not happened at first.
///
/// See the [crate] for what holds for every call.
pub struct Event<M: Mode> {
    remote: Remote<M>,
}

proxy!(Event<> in event);

impl<M: Mode> Event<M> {
    pub(super) fn of(remote: Remote<M>) -> Self {
        Self { remote }
    }

    /// It has happened: everybody who waits goes on, also if it is cleared right after.
    pub fn set(&self) -> Output<M, EventSetRequest, ()> {
        self.remote.once(Ok(EventSetRequest {}), |_, _| Ok(()))
    }

    /// It has not happened, from now on.
    pub fn clear(&self) -> Output<M, EventClearRequest, ()> {
        self.remote.once(Ok(EventClearRequest {}), |_, _| Ok(()))
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> Output<M, EventIsSetRequest, bool> {
        self.remote.once(Ok(EventIsSetRequest {}), |response, _| Ok(response.set))
    }

    /// Waits until it has happened, as long as it takes, and not at all if it has.
    ///
    /// An async call that is dropped is withdrawn. Refused with [`Reason::Quota`](crate::Reason::Quota) if too many wait.
    pub fn wait(&self) -> Output<M, EventWaitRequest, ()> {
        self.remote.wait(None, Ok(EventWaitRequest { patience_ms: None }), |_, _| Ok(()))
    }

    /// The same, but waits no longer than `patience`; zero is not at all. Says whether it has happened.
    pub fn wait_within(&self, patience: Duration) -> Output<M, EventWaitRequest, bool> {
        let request = EventWaitRequest { patience_ms: patience_ms(Some(patience)) };
        self.remote.wait(Some(patience), Ok(request), |response, _| Ok(response.set))
    }
}
