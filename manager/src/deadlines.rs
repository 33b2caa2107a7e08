//! When calls have waited for as long as they were willing to.

use std::collections::BTreeSet;

use holdfast_objects::CallId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How many deadlines are looked after before others get their turn.
const AT_ONCE: usize = 256;

/// The deadlines of all calls that wait: the one timer of the manager's objects.
///
/// A deadline is here from when its call begins to wait until it is answered or its time is over.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    calls: Mutex<BTreeSet<(Instant, CallId)>>,
    /// There is an earlier one than before.
    earlier: Notify,
}

impl Deadlines {
    pub(crate) fn add(&self, deadline: Instant, call: CallId) {
        let mut calls = self.calls.lock();
        let is_first = calls.first().is_none_or(|(first, _)| deadline < *first);
        calls.insert((deadline, call));
        drop(calls);
        if is_first {
            self.earlier.notify_one();
        }
    }

    pub(crate) fn remove(&self, deadline: Instant, call: CallId) {
        self.calls.lock().remove(&(deadline, call));
    }

    /// Hands each call to `expire` whose time is over, as long as it is polled.
    pub(crate) async fn run(&self, mut expire: impl FnMut(CallId)) {
        loop {
            let now = Instant::now();
            let mut due = Vec::new();
            let next = {
                let mut calls = self.calls.lock();
                while due.len() < AT_ONCE && calls.first().is_some_and(|(deadline, _)| *deadline <= now) {
                    due.extend(calls.pop_first().map(|(_, call)| call));
                }
                calls.first().map(|(deadline, _)| *deadline)
            };
            due.into_iter().for_each(&mut expire);
            match next {
                Some(deadline) if deadline <= now => tokio::task::yield_now().await,
                Some(deadline) => tokio::select! {
                    () = sleep_until(deadline) => {}
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use holdfast_objects::SessionId;
    use tokio::sync::mpsc;

    use super::*;

    fn call(number: u64) -> CallId {
        CallId { session: SessionId([1; 16]), number }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_expires_at_its_time_and_those_that_were_answered_do_not() {
        let deadlines = Arc::new(Deadlines::default());
        let (expired, mut seen) = mpsc::unbounded_channel();
        let running = {
            let deadlines = deadlines.clone();
            let expire = move |call: CallId| expired.send((call.number, Instant::now())).expect("the test reads");
            tokio::spawn(async move { deadlines.run(expire).await })
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        deadlines.add(after(30), call(1));
        tokio::task::yield_now().await;
        deadlines.add(after(10), call(2));
        deadlines.add(after(20), call(3));
        deadlines.remove(after(20), call(3));
        for number in 100..1100 {
            deadlines.add(after(40), call(number));
        }
        assert_eq!(seen.recv().await, Some((2, after(10))));
        assert_eq!(seen.recv().await, Some((1, after(30))));
        for number in 100..1100 {
            assert_eq!(seen.recv().await, Some((number, after(40))));
        }
        assert!(deadlines.calls.lock().is_empty());
        running.abort();
    }
}
