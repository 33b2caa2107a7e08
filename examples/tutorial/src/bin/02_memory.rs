//! Each process has a memory of its own.
//!
//! The child sets a global variable, and the parent's is what it was. What both see is an object that a manager holds.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use holdfast::blocking::{Manager, Process, Value};

static GLOBAL: AtomicI64 = AtomicI64::new(100);

#[holdfast::function]
fn change(shared: Value<i64>) -> holdfast::Result<()> {
    println!("child, at first:   global {}, shared {}", GLOBAL.load(Relaxed), shared.get()?);
    GLOBAL.store(0, Relaxed);
    shared.set(&0)?;
    println!("child, at its end: global {}, shared {}", GLOBAL.load(Relaxed), shared.get()?);
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let shared = manager.new_value(&50)?;
    GLOBAL.store(50, Relaxed);
    println!("parent, before:    global {}, shared {}", GLOBAL.load(Relaxed), shared.get()?);

    let mut child = Process::new(change, (shared.clone(),));
    child.start()?;
    child.join()?;

    println!("parent, after:     global {}, shared {}", GLOBAL.load(Relaxed), shared.get()?);
    Ok(())
}
