//! What `is_alive` and the exit code say before, during and after the life of a process, however it ends.

use std::process;
use std::thread;
use std::time::Duration;

use holdfast::blocking::Process;

#[holdfast::function]
fn sleep() {
    thread::sleep(Duration::from_secs(600));
}

#[holdfast::function]
fn return_at_once() {}

#[holdfast::function]
fn exit_with(code: i32) {
    process::exit(code);
}

#[holdfast::function]
fn fail() -> Result<(), String> {
    Err("there is nothing to do".to_owned())
}

#[holdfast::function]
fn panic() {
    panic!("this is the worst case");
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();

    let mut sleeper = Process::new(sleep, ());
    println!("before start: alive {}, exit code {:?}", sleeper.is_alive()?, sleeper.exit_code()?);
    sleeper.start()?;
    println!("started:      alive {}, exit code {:?}", sleeper.is_alive()?, sleeper.exit_code()?);
    sleeper.terminate()?;
    sleeper.join()?;
    println!("terminated:   alive {}, exit code {:?}", sleeper.is_alive()?, sleeper.exit_code()?);

    let mut sleeper = Process::new(sleep, ());
    sleeper.start()?;
    sleeper.kill()?;
    sleeper.join()?;
    println!("killed:       exit code {:?}", sleeper.exit_code()?);

    let ways = [
        ("returned", Process::new(return_at_once, ())),
        ("exit(7)", Process::new(exit_with, (7,))),
        ("Err", Process::new(fail, ())),
        ("panic", Process::new(panic, ())),
    ];
    for (way, mut process) in ways {
        process.start()?;
        process.join()?;
        println!("{:13} exit code {:?}", format!("{way}:"), process.exit_code()?);
    }
    Ok(())
}
