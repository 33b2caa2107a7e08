//! A queue with three places: put until it is full, get until it is empty.
//!
//! Whoever puts into a full queue waits until somebody gets, and the other way round. With `put_nowait`, or a limit to the
//! time, there is an error instead. This program is async, in one process and with its manager; the others are blocking.

use std::time::Duration;

use holdfast::{Manager, Queue, QueueOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start().await?;
    let queue: Queue<i64> = manager.new_queue_with(QueueOptions::fifo().maxsize(3)).await?;

    for item in [1, 2, 3] {
        queue.put(&item).await?;
    }
    println!("full: {}", queue.is_full().await?);
    if let Err(error) = queue.put_nowait(&4).await {
        println!("put_nowait of a fourth: Full is {}", error.is_full());
    }
    if let Err(error) = queue.put_within(&4, Duration::from_millis(10)).await {
        println!("put within 10 ms: Full is {}", error.is_full());
    }

    for _ in 0..3 {
        println!("got {}", queue.get().await?);
    }
    println!("empty: {}", queue.is_empty().await?);
    if let Err(error) = queue.get_nowait().await {
        println!("get_nowait of a fourth: Empty is {}", error.is_empty());
    }
    Ok(())
}
