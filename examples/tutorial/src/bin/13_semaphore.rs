//! A semaphore: thirteen guests and five rooms. Never more than five are inside.
//!
//! Each guest who comes in says how many are inside. The first five wait for each other, so that all rooms are seen taken.

use std::thread;
use std::time::Duration;

use holdfast::blocking::{Latch, Manager, Process, Semaphore, Value};

const ROOMS: u64 = 5;

#[holdfast::function]
fn sing(guest: u32, rooms: Semaphore, inside: Value<i64>, full: Latch) -> holdfast::Result<()> {
    let _room = rooms.acquire()?; // until it is dropped
    println!("guest {guest} comes in: {} inside", inside.add(1)?);
    full.count_down(1)?;
    full.wait()?;
    thread::sleep(Duration::from_millis(20)); // a song
    println!("guest {guest} goes: {} inside", inside.add(-1)?);
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let rooms = manager.new_semaphore(ROOMS)?;
    let inside = manager.new_value(&0)?;
    let full = manager.new_latch(ROOMS)?;

    let mut guests = Vec::new();
    for guest in 1..=13 {
        let mut process = Process::new(sing, (guest, rooms.clone(), inside.clone(), full.clone()));
        process.start()?;
        guests.push(process);
    }
    for guest in &guests {
        guest.join()?;
    }
    println!("all have gone: {} inside, {} rooms free", inside.get()?, rooms.value()?);
    Ok(())
}
