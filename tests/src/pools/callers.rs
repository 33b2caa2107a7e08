//! Callers that are killed.

use std::io::{BufRead, stdin};
use std::time::Duration;

use holdfast::blocking::Manager;

use crate::functions::square;

/// Submits what others are to find, says so, and waits to be killed. The manager is where `connect_default` leads.
pub(crate) fn caller(what: &str) {
    let pool = Manager::connect_default().unwrap().pool("squares").unwrap();
    let (job, pending) = match what {
        "dropped" => (0, Some(pool.chunk_size(1).map_async(square, 0..100).unwrap())),
        "kept" => (pool.chunk_size(7).map_kept(square, 0..100).unwrap(), None),
        "works" => {
            println!("ready");
            pool.worker().run().unwrap();
            return;
        }
        _ => panic!("no such caller: {what}"),
    };
    println!("{job}");
    let _ = stdin().lock().lines().next();
    if let Some(pending) = pending {
        pending.wait_within(Duration::from_secs(60));
    }
}
