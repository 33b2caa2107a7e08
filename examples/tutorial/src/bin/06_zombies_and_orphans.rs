//! Zombies and orphans: what is left of a process that has ended, and what becomes of one whose parent has.
//!
//! A zombie is a process that has ended and whose parent has not asked how. Here nobody has to ask. An orphan is one whose
//! parent has ended, here by `kill -9`: the daemon ends too, the other goes on until it is done.

use std::collections::BTreeMap;
use std::fs;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use holdfast::blocking::{Event, Manager, Process, Queue};
use holdfast::current_process;

#[holdfast::function]
fn end_at_once() {}

/// Starts a daemon and an ordinary process, and is killed before it comes to its end.
#[holdfast::function]
fn parent(born: Queue<(String, u32)>, word: Event) -> holdfast::Result<()> {
    Process::new(child, (born.clone(), word.clone())).name("the daemon").daemon(true).start()?;
    Process::new(child, (born, word)).name("the orphan").start()?;
    thread::sleep(Duration::from_secs(600));
    Ok(())
}

#[holdfast::function]
fn child(born: Queue<(String, u32)>, word: Event) -> holdfast::Result<()> {
    let name = current_process().name().to_owned();
    born.put(&(name.clone(), process::id()))?;
    word.wait()?;
    println!("{name}: my parent is gone, and I end by myself");
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;

    let mut pids = Vec::new();
    for _ in 0..5 {
        let mut process = Process::new(end_at_once, ());
        process.start()?;
        pids.extend(process.pid()); // and the handle is dropped: nobody joins
    }
    wait_until(|| pids.iter().all(|pid| state(*pid).is_none_or(|state| state == 'Z')));
    wait_until(|| pids.iter().all(|pid| state(*pid).is_none()));
    println!("five processes have ended, nobody has joined them, and none is a zombie");

    let (born, word) = (manager.new_queue()?, manager.new_event()?);
    let mut victim = Process::new(parent, (born.clone(), word.clone()));
    victim.start()?;
    let children = BTreeMap::from([born.get()?, born.get()?]);
    victim.kill()?;
    victim.join()?;
    println!("the parent was killed: exit code {:?}", victim.exit_code()?);

    let [daemon, orphan] = ["the daemon", "the orphan"].map(|name| children[name]);
    wait_until(|| has_ended(daemon));
    println!("the daemon: has ended with its parent");
    println!("the orphan: {}", if has_ended(orphan) { "has ended too" } else { "goes on" });
    word.set()?;
    wait_until(|| has_ended(orphan));
    println!("the orphan: has ended");
    Ok(())
}

/// What the system says that a process does: R when it runs, S when it sleeps, Z when it is a zombie. `None`: there is none.
fn state(pid: u32) -> Option<char> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit(") ").next()?.chars().next()
}

/// An orphan's zombie is not ours: whoever has adopted it, asks how it ended.
fn has_ended(pid: u32) -> bool {
    state(pid).is_none_or(|state| state == 'Z')
}

/// Looks a hundred times a second whether it is so, for ten seconds.
fn wait_until(so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "this takes too long: what did not end is to be seen with `ps`"
        );
        thread::sleep(Duration::from_millis(10));
    }
}
