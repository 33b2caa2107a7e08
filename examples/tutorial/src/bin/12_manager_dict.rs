//! A dict in a manager, which a hundred processes count down from 100, one each.
//!
//! To read and to write are two calls: between them somebody else may have written, whose step is then lost. With a lock
//! around both it is right; and with `add` it is right without one, since that is one atomic call. Without the lock all
//! processes have read before the first writes, so that what may happen, does.

use holdfast::blocking::{Barrier, Dict, Lock, Manager, Process};

const PROCESSES: u64 = 100;

#[holdfast::function]
fn count_down(counts: Dict<String, i64>, lock: Lock, all_have_read: Barrier) -> holdfast::Result<()> {
    let count = counts.get("without a lock")?.unwrap_or(0);
    all_have_read.wait()?;
    counts.set("without a lock", &(count - 1))?;

    let guard = lock.acquire()?;
    let count = counts.get("with a lock")?.unwrap_or(0);
    counts.set("with a lock", &(count - 1))?;
    drop(guard);

    counts.add("with add", -1)?;
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let counts: Dict<String, i64> = manager.new_dict()?;
    counts.update(["without a lock", "with a lock", "with add"].map(|way| (way.to_owned(), 100)))?;
    let (lock, all_have_read) = (manager.new_lock()?, manager.new_barrier(PROCESSES)?);

    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        let mut process = Process::new(count_down, (counts.clone(), lock.clone(), all_have_read.clone()));
        process.start()?;
        processes.push(process);
    }
    for process in &processes {
        process.join()?;
    }
    for (way, count) in counts.items::<Vec<_>>()? {
        println!("{way}: {count} of 100 are left");
    }
    Ok(())
}
