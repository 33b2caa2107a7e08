//! A hundred small tasks: by a pool of four, and by a hundred processes, with the times of both.
//!
//! A process costs more than a small task, and the pool has four where the other way has a hundred.

use std::time::Instant;

use holdfast::blocking::{Manager, Pool, Process, Value};

const TASKS: u64 = 100;

#[holdfast::function]
fn sum_up_to(n: u64) -> u64 {
    (1..=n).sum()
}

#[holdfast::function]
fn add_sum_up_to(n: u64, total: Value<u64>) -> holdfast::Result<()> {
    total.add(sum_up_to(n))?;
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();

    let begin = Instant::now();
    let pool = Pool::new(4)?;
    let sums = pool.map(sum_up_to, 1..=TASKS)?;
    pool.close()?;
    pool.join()?;
    let with_pool = begin.elapsed();
    println!("a pool of 4: {} in {} ms", sums.iter().sum::<u64>(), with_pool.as_millis());

    let begin = Instant::now();
    let manager = Manager::start()?;
    let total = manager.new_value(&0)?;
    let mut processes: Vec<_> = (1..=TASKS).map(|n| Process::new(add_sum_up_to, (n, total.clone()))).collect();
    for process in &mut processes {
        process.start()?;
    }
    for process in &processes {
        process.join()?;
    }
    let with_processes = begin.elapsed();
    println!("100 processes: {} in {} ms", total.get()?, with_processes.as_millis());
    println!("so the processes take {:.1} times as long", with_processes.as_secs_f64() / with_pool.as_secs_f64());
    Ok(())
}
