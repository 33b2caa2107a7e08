//! Ten processes print three lines each, under a lock.
//!
//! The first program that anybody writes with `multiprocessing.Lock`: all processes have the same screen, and without the
//! lock their lines come mixed. With it the three lines of a process stand together, whoever comes first.

use std::thread;
use std::time::Duration;

use holdfast::blocking::{Lock, Manager, Process};

#[holdfast::function]
fn report(number: u32, screen: Lock) -> holdfast::Result<()> {
    let _turn = screen.acquire()?;
    for what in ["begins", "works", "ends"] {
        println!("process {number} {what}");
        thread::sleep(Duration::from_millis(5)); // the work, during which others would print
    }
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let screen = manager.new_lock()?;

    let mut processes = Vec::new();
    for number in 0..10 {
        let mut process = Process::new(report, (number, screen.clone()));
        process.start()?;
        processes.push(process);
    }
    for process in &processes {
        process.join()?;
    }
    println!("all ten are done");
    Ok(())
}
