//! A daemon ends with its parent; any other child is waited for at the end of the program.
//!
//! The worker prints its last line, although the main program is over by then. The daemon would need ten minutes for
//! its own, which nobody ever sees.

use std::process;
use std::thread;
use std::time::Duration;

use holdfast::blocking::{Latch, Manager, Process};

#[holdfast::function]
fn work(who: String, moment: Duration, both: Latch) -> holdfast::Result<()> {
    println!("{who}: begins as process {}", process::id());
    both.count_down(1)?;
    thread::sleep(moment);
    println!("{who}: is done");
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init(); // what is at the end of main is done when this is dropped
    let manager = Manager::start()?;
    let both = manager.new_latch(2)?;

    let moment = Duration::from_millis(200);
    Process::new(work, ("worker".to_owned(), moment, both.clone())).start()?;
    let moment = Duration::from_secs(600);
    Process::new(work, ("daemon".to_owned(), moment, both.clone())).daemon(true).start()?;

    both.wait()?;
    println!("main: this is the last line of main");
    Ok(())
}
