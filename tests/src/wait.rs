//! Waiting, never for ever.

use std::future::Future;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Much longer than anything takes, since machines can be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to do nothing between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `look` finds something.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same, for what may take so long.
pub fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        thread::sleep(PAUSE);
    }
}

/// Waits until `look` finds something.
pub async fn until_async<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}

/// Waits for a future.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}
