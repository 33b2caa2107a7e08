//! A waker that tells a task's own wake-ups from those of others.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The wakers of a task that polls an HTTP/2 connection, a stream of it, and what is rarely due.
///
/// h2 wakes the connection's task at each `send_data` and `release_capacity`, also when the caller is that task and is
/// about to poll the connection anyway; the task would run once more for nothing at every call. A wake-up that is raised
/// by the thread that is inside [`scope`](Self::scope) is therefore only noted, and the task looks at
/// [`take`](Self::take) before it returns.
///
/// - A wake-up from another thread, from the I/O driver, or from this thread outside of the scope always reaches the
///   task's real waker: none is lost. The mark is thread-local, since a plain "muted" flag would swallow those too.
/// - Whoever enters the scope must, before it returns `Pending`, poll again each side that `take` reports, or wake itself.
/// - Whoever enters registers its own waker; [`hand_over`](Self::hand_over) gives the wake-ups to another task, and no
///   wake-up falls between the two.
#[derive(Clone, Debug)]
pub struct SelfWake {
    shared: Arc<Shared>,
    connection: Waker,
    stream: Waker,
    rare: Waker,
}

/// What a wake-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The connection has something to do: something was queued for it.
    Connection,
    /// The stream has something to do: data or capacity came.
    Stream,
    /// Something that is rarely due: a timer, a signal to stop. Its wake-ups are always delivered, also the task's own.
    Rare,
}

#[derive(Debug, Default)]
struct Shared {
    task: AtomicWaker,
    connection: AtomicBool,
    stream: AtomicBool,
    rare: AtomicBool,
    /// A wake-up was delivered since somebody entered.
    delivered: AtomicBool,
}

struct SideWaker {
    shared: Arc<Shared>,
    side: Side,
}

thread_local! {
    /// The task that this thread is inside of.
    static INSIDE: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

impl Shared {
    fn flag(&self, side: Side) -> &AtomicBool {
        match side {
            Side::Connection => &self.connection,
            Side::Stream => &self.stream,
            Side::Rare => &self.rare,
        }
    }
}

impl Shared {
    fn deliver(&self) {
        // Before the wake-up, so that whoever is registered after it finds the mark.
        self.delivered.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

impl Wake for SideWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.side == Side::Rare {
            self.shared.rare.store(true, Ordering::Release);
            self.shared.deliver();
        } else if INSIDE.get() == Arc::as_ptr(&self.shared) {
            // Only this thread reads and writes the flag while it is inside, so no ordering is needed.
            self.shared.flag(self.side).store(true, Ordering::Relaxed);
        } else {
            self.shared.deliver();
        }
    }
}

impl Default for SelfWake {
    fn default() -> Self {
        // What is rarely due has to be polled once before it can wake anyone.
        let shared = Arc::new(Shared { rare: AtomicBool::new(true), ..Shared::default() });
        let waker = |side| Waker::from(Arc::new(SideWaker { shared: shared.clone(), side }));
        Self { connection: waker(Side::Connection), stream: waker(Side::Stream), rare: waker(Side::Rare), shared }
    }
}

impl SelfWake {
    /// Enters the task: until the guard is dropped, wake-ups raised by this thread are noted instead of delivered.
    #[must_use]
    pub fn scope(&self, cx: &Context<'_>) -> Scope {
        self.shared.delivered.store(false, Ordering::SeqCst);
        self.shared.task.register(cx.waker());
        let outer = INSIDE.replace(Arc::as_ptr(&self.shared));
        Scope { outer }
    }

    /// The waker to poll that side with.
    #[must_use]
    pub fn waker(&self, side: Side) -> &Waker {
        match side {
            Side::Connection => &self.connection,
            Side::Stream => &self.stream,
            Side::Rare => &self.rare,
        }
    }

    /// Whether that side was woken by this task since the last look.
    pub fn take(&self, side: Side) -> bool {
        let flag = self.shared.flag(side);
        // The other sides are only raised by this thread; `Rare` comes from anywhere, and what was done before it is seen.
        flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Acquire)
    }

    /// Wakes the task itself.
    pub fn wake_task(&self) {
        self.shared.deliver();
    }

    /// From now on `waker` is woken. It is woken at once if a wake-up was delivered to the one before it and may not have
    /// been acted upon.
    pub fn hand_over(&self, waker: &Waker) {
        self.shared.task.register(waker);
        if self.shared.delivered.swap(false, Ordering::SeqCst) {
            self.shared.task.wake();
        }
    }
}

/// The time during which a thread is inside a task.
#[derive(Debug)]
pub struct Scope {
    outer: *const Shared,
}

impl Drop for Scope {
    fn drop(&mut self) {
        INSIDE.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn own_wake_ups_are_noted_and_others_pass() {
        let count = Arc::new(Count::default());
        let task = Waker::from(count.clone());
        let cx = Context::from_waker(&task);
        let wakes = SelfWake::default();
        let woken = || count.0.swap(0, Ordering::SeqCst);

        let scope = wakes.scope(&cx);
        wakes.waker(Side::Connection).wake_by_ref();
        assert_eq!(woken(), 0, "raised by the task itself");
        assert!(wakes.take(Side::Connection));
        assert!(!wakes.take(Side::Connection), "reported once");
        assert!(!wakes.take(Side::Stream), "the other side was not meant");

        let other = wakes.waker(Side::Stream).clone();
        thread::spawn(move || other.wake()).join().expect("wakes");
        assert_eq!(woken(), 1, "another thread's wake-up passes while the task is inside");
        drop(scope);

        drop(wakes.scope(&cx));
        wakes.waker(Side::Stream).wake_by_ref();
        assert_eq!(woken(), 1, "outside of the scope even the same thread passes");
        assert!(!wakes.take(Side::Stream));
    }

    #[test]
    fn no_wake_up_falls_between_two_tasks() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (first_waker, second_waker) = (Waker::from(first.clone()), Waker::from(second.clone()));
        let wakes = SelfWake::default();
        drop(wakes.scope(&Context::from_waker(&first_waker)));
        wakes.hand_over(&second_waker);
        assert_eq!(second.0.load(Ordering::SeqCst), 0, "nothing happened in between");
        wakes.waker(Side::Stream).wake_by_ref();
        assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));

        drop(wakes.scope(&Context::from_waker(&first_waker)));
        wakes.waker(Side::Stream).wake_by_ref();
        wakes.hand_over(&second_waker);
        assert_eq!(
            (first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)),
            (1, 2),
            "it may not be acted upon"
        );
    }

    #[test]
    fn a_task_inside_another_wakes_the_outer_one() {
        let count = Arc::new(Count::default());
        let task = Waker::from(count.clone());
        let cx = Context::from_waker(&task);
        let (outer, inner) = (SelfWake::default(), SelfWake::default());
        let outer_scope = outer.scope(&cx);
        drop(inner.scope(&cx));
        outer.waker(Side::Stream).wake_by_ref();
        assert!(outer.take(Side::Stream), "the outer scope is entered again when the inner one ends");
        drop(outer_scope);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }
}
