//! The callback of a task runs in the process that asked for it, not in the worker.
//!
//! Each task says which process it runs in, and so does its callback. The last task divides by zero and panics in its worker:
//! its error callback is told why.

use std::process;

use holdfast::Callbacks;
use holdfast::blocking::Pool;

#[holdfast::function]
fn divide(a: i64, b: i64) -> i64 {
    println!("task {a} / {b} runs in process {}", process::id());
    a / b
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    println!("main is process {}", process::id());
    let pool = Pool::new(2)?;

    for (a, b) in [(12, 3), (12, 4), (12, 0)] {
        let callbacks = Callbacks::new()
            .callback(move |quotient| println!("callback of {a} / {b} runs in process {}: {quotient}", process::id()))
            .error_callback(move |error| {
                let error = error.to_string();
                let why = error.lines().next().unwrap_or_default(); // the worker's backtrace follows
                println!("error callback of {a} / {b} runs in process {}: {why}", process::id());
            });
        pool.apply_async_with(divide, (a, b), callbacks)?;
    }
    pool.close()?;
    pool.join()?;
    println!("all is done");
    Ok(())
}
