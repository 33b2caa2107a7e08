//! Names and process ids; waiting for a process until it ends, or for a while.
//!
//! Both children wait for the parent's word, so the first `join`, which has a limit, comes back with nothing done.

use std::process;
use std::time::Duration;

use holdfast::blocking::{Event, Manager, Process};
use holdfast::current_process;

#[holdfast::function]
fn wait_for_word(word: Event) -> holdfast::Result<()> {
    println!("I am {:?}, process {}", current_process().name(), process::id());
    word.wait()
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let word = manager.new_event()?;

    let mut first = Process::new(wait_for_word, (word.clone(),));
    let mut second = Process::new(wait_for_word, (word.clone(),)).name("the second");
    first.start()?;
    second.start()?;
    for process in [&first, &second] {
        println!("started {:?} as process {}", process.get_name(), process.pid().expect("it is started"));
    }

    println!("the first has ended within 50 ms: {}", first.join_within(Duration::from_millis(50))?);
    word.set()?;
    first.join()?;
    second.join()?;
    println!("after join: alive {} and {}", first.is_alive()?, second.is_alive()?);
    Ok(())
}
