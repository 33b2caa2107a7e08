//! Nine pieces of work, three at a time: with a semaphore nine processes wait, with a pool nine tasks.
//!
//! Either way no more than three are at work at any time. The semaphore bounds how many work, of nine processes that are all
//! there; the pool bounds how many there are.

use std::collections::BTreeSet;
use std::process;
use std::thread;
use std::time::Duration;

use holdfast::PoolOptions;
use holdfast::blocking::{Latch, List, Manager, Pool, Process, Semaphore, Value};

/// Who did a piece of work, and how many were at work then.
type Done = (u32, i64);

#[holdfast::function]
fn work(at_work: Value<i64>) -> holdfast::Result<Done> {
    let together = at_work.add(1)?;
    thread::sleep(Duration::from_millis(30));
    at_work.add(-1)?;
    Ok((process::id(), together))
}

#[holdfast::function]
fn work_in_turn(all_are_there: Latch, turns: Semaphore, at_work: Value<i64>, done: List<Done>) -> holdfast::Result<()> {
    all_are_there.count_down(1)?;
    all_are_there.wait()?;
    let _turn = turns.acquire()?; // here a process waits
    done.append(&work(at_work)?)
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let at_work = manager.new_value(&0)?;

    let (all_are_there, turns, done) = (manager.new_latch(9)?, manager.new_semaphore(3)?, manager.new_list()?);
    let mut processes = Vec::new();
    for _ in 0..9 {
        let arguments = (all_are_there.clone(), turns.clone(), at_work.clone(), done.clone());
        let mut process = Process::new(work_in_turn, arguments);
        process.start()?;
        processes.push(process);
    }
    for process in &processes {
        process.join()?;
    }
    say("with a semaphore", &done.to_vec()?);

    // In the same manager, so that its proxies can be arguments of tasks.
    let pool = Pool::on(&manager, PoolOptions::new().workers(3))?;
    let done = pool.map(work, vec![at_work; 9])?; // here a task waits
    say("with a pool", &done.into_iter().collect::<holdfast::Result<Vec<_>>>()?);
    pool.close()?;
    pool.join()
}

fn say(how: &str, done: &[Done]) {
    let pids: BTreeSet<_> = done.iter().map(|(pid, _)| pid).collect();
    let most = done.iter().map(|(_, together)| together).max().copied().unwrap_or_default();
    println!("{how}: {} pieces of work by {} processes, {most} at a time", done.len(), pids.len());
}
