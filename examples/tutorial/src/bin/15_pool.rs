//! A pool of three workers: `apply`, which waits for each task, against `apply_async`, which waits for all; and `map`.
//!
//! Six tasks that take 100 ms each take six times as long with `apply`, and twice as long with `apply_async`. The results
//! are in the order of the tasks, whoever was first.

use std::thread;
use std::time::{Duration, Instant};

use holdfast::blocking::Pool;

/// Squares, and takes its time; the first takes longest.
#[holdfast::function]
fn slow_square(x: u64) -> u64 {
    thread::sleep(Duration::from_millis(100 + 10 * (6 - x)));
    x * x
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let pool = Pool::new(3)?;
    pool.map(slow_square, [6, 6, 6])?; // the workers have started when this is done, and no start is measured

    let begin = Instant::now();
    let mut squares = Vec::new();
    for x in 1..=6 {
        squares.push(pool.apply(slow_square, (x,))?);
    }
    println!("apply:       {squares:?} in {} ms", begin.elapsed().as_millis());

    let begin = Instant::now();
    let mut results = Vec::new();
    for x in 1..=6 {
        results.push(pool.apply_async(slow_square, (x,))?);
    }
    let squares = results.into_iter().map(|result| result.get()).collect::<holdfast::Result<Vec<_>>>()?;
    println!("apply_async: {squares:?} in {} ms", begin.elapsed().as_millis());

    let begin = Instant::now();
    let squares = pool.map(slow_square, 1..=6)?;
    println!("map:         {squares:?} in {} ms", begin.elapsed().as_millis());

    pool.close()?;
    pool.join()?;
    Ok(())
}
