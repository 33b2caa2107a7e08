//! Much work, done without holding up others.

use tokio::runtime::Handle;
use tokio::task::yield_now;

/// Does work step by step: the first step at once, and the others in a task of this thread, between which all who are ready
/// have their turn. `step` says whether there is more.
///
/// All steps are done, whatever becomes of the task. Where there is no runtime nobody is held up, and all are done at once.
pub(crate) fn in_steps(step: impl FnMut() -> bool + Send + 'static) {
    let mut steps = Steps { step, has_more: true };
    if steps.go_on()
        && let Ok(runtime) = Handle::try_current()
    {
        runtime.spawn(async move {
            while steps.go_on() {
                yield_now().await;
            }
        });
    }
}

/// Work of which some steps may be left, which are done when it is dropped.
struct Steps<F: FnMut() -> bool> {
    step: F,
    has_more: bool,
}

impl<F: FnMut() -> bool> Steps<F> {
    /// Whether some are left over.
    fn go_on(&mut self) -> bool {
        self.has_more = self.has_more && (self.step)();
        self.has_more
    }
}

impl<F: FnMut() -> bool> Drop for Steps<F> {
    fn drop(&mut self) {
        while self.go_on() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Work of so many steps, and how many of them were done.
    fn work(steps: usize) -> (Arc<AtomicUsize>, impl FnMut() -> bool + Send + 'static) {
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        (done, move || count.fetch_add(1, Ordering::Relaxed) + 1 < steps)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn others_have_their_turn_between_two_steps() {
        runtime().block_on(async {
            let (done, step) = work(5);
            in_steps(step);
            let mut seen = Vec::new();
            while seen.last() != Some(&5) {
                seen.push(done.load(Ordering::Relaxed));
                yield_now().await;
            }
            assert_eq!(seen, [1, 2, 3, 4, 5]);
        });
    }

    #[test]
    fn all_steps_are_done_without_a_runtime_and_when_it_ends() {
        let (done, step) = work(5);
        in_steps(step);
        assert_eq!(done.load(Ordering::Relaxed), 5);

        let (done, step) = work(5);
        let runtime = runtime();
        runtime.block_on(async { in_steps(step) });
        assert_eq!(done.load(Ordering::Relaxed), 1);
        drop(runtime);
        assert_eq!(done.load(Ordering::Relaxed), 5);
    }
}
