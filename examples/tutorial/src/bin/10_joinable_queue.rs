//! A queue that can be joined: producers wait until everything is eaten, and nobody needs an end mark.
//!
//! The consumers are daemons and work for ever; they say `task_done` after each item. When the producers have ended, all is
//! eaten, so the main program ends too, and with it the daemons.

use holdfast::blocking::{Manager, Process, Queue};

#[holdfast::function]
fn bake(baker: String, loaves: Queue<String>) -> holdfast::Result<()> {
    for number in 1..=4 {
        loaves.put(&format!("loaf {number} of {baker}"))?;
    }
    loaves.join()
}

#[holdfast::function]
fn eat(eater: String, loaves: Queue<String>) -> holdfast::Result<()> {
    loop {
        let loaf = loaves.get()?;
        println!("{eater} has eaten {loaf}");
        loaves.task_done()?;
    }
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let loaves: Queue<String> = manager.new_queue()?;

    let mut bakers = ["Ada", "Bob", "Cleo"].map(|name| Process::new(bake, (name.to_owned(), loaves.clone())));
    for baker in &mut bakers {
        baker.start()?;
    }
    for name in ["Yann", "Zoe"] {
        Process::new(eat, (name.to_owned(), loaves.clone())).daemon(true).start()?;
    }
    for baker in &bakers {
        baker.join()?;
    }
    println!("everything is eaten");
    Ok(())
}
