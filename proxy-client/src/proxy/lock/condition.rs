//! Conditions of locks.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::{LockNotifyRequest, LockWaitRequest, LockWaitResponse, Reason, Refusal, lock};

use super::{Acquire, LockGuard, TryAcquire, acquire, acquire_within};
use crate::error::{Error, Result};
use crate::proxy::holding::patience_ms;
use crate::proxy::listing::Describe;
use crate::proxy::remote::{Remote, Tokens};
use crate::proxy::{Async, Blocking, Exchange, Mode, Output, Reference};
use crate::session::{Asking, Heard, Step};

/// A shared condition: Python's `multiprocessing.Condition`, which loses no notify to the dead.
///
/// It is part of its lock: who holds that waits here for others to change what it protects, and who has changed it notifies
/// those who wait. [`Manager::condition`](crate::proxy::Manager::condition) makes one with a reentrant lock of its own, as
/// Python's `Condition()`; [`Lock::condition`](super::Lock::condition) and [`RLock::condition`](super::RLock::condition) give
/// those of a lock, told apart by their names.
///
/// As in Python, test in a loop what was waited for, or use `wait_for`: somebody else may have had the lock between the notify
/// and the return, and a notify whose waiter is lost wakes the next. See the [crate] for what holds for every call.
///
/// It is no data: store its [`reference`](Self::reference), which is one to its lock.
pub struct Condition<M: Mode> {
    remote: Remote<M>,
    name: Arc<str>,
}

impl<M: Mode> Condition<M> {
    pub(super) fn new(remote: Remote<M>, name: &str) -> Self {
        Self { remote, name: name.into() }
    }

    /// The condition with the empty name.
    pub(in crate::proxy) fn of(remote: Remote<M>) -> Self {
        Self::new(remote, "")
    }

    /// Takes the lock, as [`RLock::acquire`](super::RLock::acquire).
    pub fn acquire(&self) -> M::Output<Acquire<M>> {
        acquire(&self.remote)
    }

    /// The same, but waits no longer than `patience`; zero is not at all. `None` if it could not be had.
    pub fn acquire_within(&self, patience: Duration) -> M::Output<TryAcquire<M>> {
        acquire_within(&self.remote, patience)
    }

    /// Gives the lock back, wholly, and waits for a notify, in one step; returns when it has the lock again. The guard holds it
    /// with a new fence then.
    ///
    /// It waits as long as it takes. An async call that is dropped is withdrawn, and the guard holds nothing from then on:
    /// unlike in Python the lock is not taken again for it. Refused with [`Reason::NotHeld`] or [`Reason::StaleFence`] if the
    /// guard does not hold this lock, and with [`Reason::Broken`] if the lock breaks meanwhile; with [`Reason::InvalidName`]
    /// and [`Reason::Quota`] (too many wait), after which the guard holds the lock as before.
    pub fn wait<'g>(&self, guard: &'g mut LockGuard<M>) -> M::Output<Waiting<'g, M, ()>> {
        self.begin(guard, None, |_| ())
    }

    /// The same, but waits for a notify no longer than `patience`; zero is not at all. Says whether it was notified.
    ///
    /// It has the lock again in either case, and waits for that as long as it takes, as in Python: the time of a call
    /// ([`Options::call_timeout`](crate::Options::call_timeout)) is not for it.
    pub fn wait_within<'g>(&self, guard: &'g mut LockGuard<M>, patience: Duration) -> M::Output<Waiting<'g, M, bool>> {
        self.begin(guard, Some(patience), |notified| notified)
    }

    fn begin<'g, T>(
        &self,
        guard: &'g mut LockGuard<M>,
        patience: Option<Duration>,
        finish: fn(bool) -> T,
    ) -> M::Output<Waiting<'g, M, T>> {
        let request = self.request(guard, patience).map_err(Box::new);
        let exchange = Waiting { remote: self.remote.clone(), guard, request, finish };
        // The lock must be had again, however long that takes.
        M::run(self.remote.session(), None, exchange)
    }

    fn request(&self, guard: &LockGuard<M>, patience: Option<Duration>) -> Result<LockWaitRequest> {
        guard.check()?;
        if !guard.remote.is_same(&self.remote) {
            let problem = "the guard is of another lock, or of another session: wait with one of this condition's lock";
            return Err(Refusal::new(Reason::NotHeld, problem).into());
        }
        Ok(LockWaitRequest {
            condition: (*self.name).to_owned(),
            patience_ms: patience_ms(patience),
            actor: guard.actor,
            fence: Some(guard.fence().get()),
        })
    }

    /// Lets up to `n` go on who wait here, those first who have waited longest. They go on when they have the lock, so not before
    /// it is released. Returns how many that are.
    ///
    /// Refused with [`Reason::NotHeld`] if this process does not hold the lock, or, where that is reentrant, if this thread or
    /// task does not.
    pub fn notify(&self, n: u64) -> Output<M, LockNotifyRequest, u64> {
        self.notify_as(Some(i64::try_from(n).unwrap_or(i64::MAX)), false)
    }

    /// The same, for all who wait here at the moment.
    pub fn notify_all(&self) -> Output<M, LockNotifyRequest, u64> {
        self.notify_as(None, true)
    }

    fn notify_as(&self, n: Option<i64>, all: bool) -> Output<M, LockNotifyRequest, u64> {
        let condition = (*self.name).to_owned();
        let request = LockNotifyRequest { condition, n, all, actor: M::actor(), fence: None };
        self.remote.once(Ok(request), |response, _| Ok(response.notified))
    }

    /// The same condition, with another time for each call that does not wait; `None` for as long as it takes.
    #[must_use]
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Self {
        Self { remote: self.remote.with_timeout(timeout), name: self.name.clone() }
    }

    /// A [`Token`](crate::Token) with which another process can open the lock, `uses` times, within `lifetime` (at most a day):
    /// [`condition_from_token`](crate::proxy::Manager::condition_from_token) gives the condition with the empty name, which is
    /// that of [`Manager::condition`](crate::proxy::Manager::condition).
    pub fn token(&self, uses: u32, lifetime: Duration) -> M::Output<Tokens<M>> {
        self.remote.share(lock::KIND, uses, lifetime)
    }

    /// What the manager knows about the lock.
    pub fn describe(&self) -> M::Output<Describe<M>> {
        self.remote.describe()
    }

    /// The lock, without its type.
    #[must_use]
    pub fn reference(&self) -> Reference<M> {
        Reference::of(self.remote.clone())
    }
}

impl Condition<Async> {
    /// Waits until `predicate` is true, which is asked with the lock held: now, and after each notify. It runs here, and may make
    /// calls; an error of it is returned, with the lock held.
    ///
    /// Otherwise as [`wait`](Self::wait).
    ///
    /// ```no_run
    /// # async fn example(manager: holdfast::Manager) -> holdfast::Result<()> {
    /// let (changed, jobs) = (manager.condition("jobs changed").await?, manager.list::<String>("jobs").await?);
    /// let mut guard = changed.acquire().await?;
    /// changed.wait_for(&mut guard, || async { Ok(jobs.len().await? > 0) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_for<F>(&self, guard: &mut LockGuard<Async>, mut predicate: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        while !predicate().await? {
            self.wait(guard).await?;
        }
        Ok(())
    }

    /// The same, but waits no longer than `patience` for all notifies together; zero is not at all. Says what the predicate was
    /// in the end.
    pub async fn wait_for_within<F>(
        &self,
        guard: &mut LockGuard<Async>,
        patience: Duration,
        mut predicate: impl FnMut() -> F,
    ) -> Result<bool>
    where
        F: Future<Output = Result<bool>>,
    {
        let waits = Waits::new(patience);
        while !predicate().await? {
            let Some(left) = waits.left() else { return Ok(false) };
            self.wait_within(guard, left).await?;
        }
        Ok(true)
    }
}

impl Condition<Blocking> {
    /// Waits until `predicate` is true, which is asked with the lock held: now, and after each notify. It runs here, and may make
    /// calls; an error of it is returned, with the lock held.
    ///
    /// Otherwise as [`wait`](Self::wait).
    ///
    /// ```no_run
    /// # fn example(manager: holdfast::blocking::Manager) -> holdfast::Result<()> {
    /// let (changed, jobs) = (manager.condition("jobs changed")?, manager.list::<String>("jobs")?);
    /// let mut guard = changed.acquire()?;
    /// changed.wait_for(&mut guard, || Ok(jobs.len()? > 0))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for(&self, guard: &mut LockGuard<Blocking>, mut predicate: impl FnMut() -> Result<bool>) -> Result<()> {
        while !predicate()? {
            self.wait(guard)?;
        }
        Ok(())
    }

    /// The same, but waits no longer than `patience` for all notifies together; zero is not at all. Says what the predicate was
    /// in the end.
    pub fn wait_for_within(
        &self,
        guard: &mut LockGuard<Blocking>,
        patience: Duration,
        mut predicate: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let waits = Waits::new(patience);
        while !predicate()? {
            let Some(left) = waits.left() else { return Ok(false) };
            self.wait_within(guard, left)?;
        }
        Ok(true)
    }
}

/// Waits that share one patience.
struct Waits {
    /// `None` if it is beyond what a clock shows.
    deadline: Option<Instant>,
}

impl Waits {
    fn new(patience: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(patience) }
    }

    /// How long the next may be, if there is to be one.
    fn left(&self) -> Option<Duration> {
        let Some(deadline) = self.deadline else { return Some(Duration::MAX) };
        Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

impl<M: Mode> Clone for Condition<M> {
    fn clone(&self) -> Self {
        Self { remote: self.remote.clone(), name: self.name.clone() }
    }
}

impl<M: Mode> fmt::Debug for Condition<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("remote", &self.remote).field("name", &self.name).finish()
    }
}

/// A wait on a condition, which gives back what a guard holds and gets it again.
pub struct Waiting<'g, M: Mode, T> {
    remote: Remote<M>,
    guard: &'g mut LockGuard<M>,
    request: Result<LockWaitRequest, Box<Error>>,
    finish: fn(bool) -> T,
}

impl<M: Mode, T> Unpin for Waiting<'_, M, T> {}

impl<M: Mode, T> fmt::Debug for Waiting<'_, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<M: Mode, T> Exchange for Waiting<'_, M, T> {
    type Value = T;

    fn ask(&mut self, asking: Asking<'_>) -> Result<()> {
        let request = self.request.as_ref().map_err(|error| (**error).clone())?;
        self.remote.ask(asking, request)?;
        self.guard.hold.let_go();
        Ok(())
    }

    fn may_wait(&self) -> bool {
        true
    }

    fn hear(&mut self, heard: Heard) -> Result<Step<T>> {
        let (response, _) = self.remote.decode::<LockWaitResponse>(heard)?;
        let notified = response.notified;
        self.guard.renew(response);
        Ok(Step::Done((self.finish)(notified)))
    }

    /// What is refused has changed nothing; but these are about a lock that the guard does not hold, or not any more.
    fn refused(&mut self, refusal: &Refusal) {
        let is_over = [Reason::NotHeld, Reason::StaleFence, Reason::Broken, Reason::Withdrawn, Reason::UnknownObject];
        if !is_over.contains(&refusal.why()) {
            self.guard.hold.keep();
        }
    }
}
