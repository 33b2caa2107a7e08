//! A program whose processes talk through pipes. The first argument is what it does; its children have the same.
//!
//! It ends with success if all was as it must be.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong is to panic")]

use std::io::Write;
use std::time::{Duration, Instant};

use fork::Fork;
use holdfast::blocking::{Connection, Dict, Manager, Pipe, Process, Receiver, Sender};
use holdfast::{CodecError, Error, Named, PipeError};
use holdfast_tests::PATIENCE;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn main() {
    let _family = holdfast::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["talk"] => talk(),
        ["talk-async"] => {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(talk_async());
        }
        ["one-way"] => one_way(),
        ["killed"] => killed(),
        ["killed-receiver"] => killed_receiver(),
        ["torn"] => torn(),
        ["passed-on"] => passed_on(),
        ["never-begun"] => never_begun(),
        ["fork"] => fork(),
        ["orphan"] => orphan(),
        ["wrong"] => wrong(),
        _ => panic!("no such case: {arguments:?}"),
    }
}

fn start(mut process: Process) -> Process {
    process.start().unwrap();
    process
}

/// Waits for its end, and says how it ended.
fn ended(process: &Process) -> Option<i32> {
    assert!(process.join_within(PATIENCE).unwrap(), "{process:?} was to end");
    process.exit_code().unwrap()
}

fn fails<T: std::fmt::Debug>(result: holdfast::Result<T>) -> PipeError {
    match result {
        Err(Error::Pipe(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A fork of this process, which has copies of everything, and does nothing until it is killed or much time has passed.
struct Heir(i32);

impl Heir {
    fn new() -> Self {
        match fork::fork().unwrap() {
            Fork::Child => {
                std::thread::sleep(PATIENCE);
                // Neither what it has inherited is dropped, nor are its parent's children ended.
                kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
                unreachable!()
            }
            Fork::Parent(pid) => Self(pid),
        }
    }

    fn end(pid: i32) {
        let pid = Pid::from_raw(pid).unwrap();
        test_kill_process(pid).expect("it lives");
        kill_process(pid, Signal::KILL).unwrap();
    }
}

/// Answers until the pipe has ended.
#[holdfast::function]
fn add(mut pairs: Connection<i64, (i64, i64)>) {
    while let Ok((x, y)) = pairs.recv() {
        pairs.send(&(x + y)).unwrap();
    }
    assert_eq!(fails(pairs.recv()), PipeError::Ended);
}

#[holdfast::function]
fn echo(mut texts: Connection<String, String>) {
    while let Ok(text) = texts.recv() {
        texts.send(&text).unwrap();
    }
}

fn talk() {
    let (mut ours, theirs) = Pipe::new().unwrap();
    let adder = start(Process::new(add, (theirs,)));
    for n in 0..1000 {
        ours.send(&(n, 2 * n)).unwrap();
        assert_eq!(ours.recv().unwrap(), 3 * n);
    }
    ours.close();
    assert_eq!(ended(&adder), Some(0));

    let (mut ours, theirs) = Pipe::new().unwrap();
    let echoes = start(Process::new(echo, (theirs,)));
    for size in [0, 1, 4000, 20_000, 300_000, 16 << 20] {
        let text: String = ('a'..='z').cycle().take(size).collect();
        ours.send(&text).unwrap();
        assert!(ours.poll(PATIENCE).unwrap());
        assert!(ours.recv().unwrap() == text);
    }
    assert!(!ours.poll(Duration::ZERO).unwrap());
    drop(ours);
    assert_eq!(ended(&echoes), Some(0));
}

async fn talk_async() {
    let (mut ours, theirs) = holdfast::Pipe::new().unwrap();
    let mut adder = holdfast::Process::new(add, (theirs.into_blocking(),));
    adder.start().await.unwrap();
    for n in 0..1000 {
        ours.send(&(n, 2 * n)).await.unwrap();
        assert_eq!(ours.recv().await.unwrap(), 3 * n);
    }
    adder.kill().unwrap();
    assert_eq!(fails(ours.recv().await), PipeError::Ended);
    assert_eq!(fails(ours.send(&(1, 1)).await), PipeError::Closed);
    adder.join().await.unwrap();
}

#[holdfast::function]
fn produce(mut numbers: Sender<i64>) {
    for n in 0..10_000 {
        numbers.send(&n).unwrap();
    }
}

/// Sends until nobody is there to receive.
#[holdfast::function]
fn produce_without_end(mut numbers: Sender<i64>) {
    let failed = (0..).map(|n| numbers.send(&n)).find_map(Result::err);
    assert_eq!(fails::<()>(Err(failed.unwrap())), PipeError::Closed);
}

#[holdfast::function]
fn consume(mut numbers: Receiver<i64>) {
    let all: Vec<i64> = numbers.iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(all, (0..10_000).collect::<Vec<_>>());
}

fn one_way() {
    // Between two children: the parent keeps nothing, and so keeps nobody waiting.
    let (receiver, sender) = Pipe::one_way::<i64>().unwrap();
    let children = [start(Process::new(consume, (receiver,))), start(Process::new(produce, (sender,)))];
    assert!(children.iter().all(|child| ended(child) == Some(0)));

    let (mut receiver, sender) = Pipe::one_way().unwrap();
    let producer = start(Process::new(produce_without_end, (sender,)));
    assert_eq!(receiver.recv().unwrap(), 0);
    receiver.close();
    assert_eq!(ended(&producer), Some(0), "it is told, and not killed by a signal");
}

/// Sends the pid of a fork, and then nothing.
#[holdfast::function]
fn say_heir_and_wait(mut pids: Connection<i32, ()>) {
    let heir = Heir::new();
    pids.send(&heir.0).unwrap();
    pids.recv().unwrap();
}

fn killed() {
    let (mut ours, theirs) = Pipe::new::<(), i32>().unwrap();
    let child = start(Process::new(say_heir_and_wait, (theirs,)));
    let heir = ours.recv().unwrap();
    assert_eq!(ours.recv_within(Duration::from_millis(20)).unwrap(), None);
    let waits = std::thread::spawn(move || {
        let end = fails(ours.recv());
        (end, Instant::now(), ours)
    });
    let begin = Instant::now();
    child.kill().unwrap();
    let (end, noticed, mut ours) = waits.join().unwrap();
    Heir::end(heir);
    assert_eq!(end, PipeError::Ended);
    assert!(noticed - begin < PATIENCE / 2, "the end was the heir's");
    assert_eq!(fails(ours.recv()), PipeError::Ended);
    assert_eq!(ended(&child), Some(-9));
}

#[holdfast::function]
fn receive_one(mut texts: Receiver<String>, mut pids: Sender<i32>) {
    let heir = Heir::new();
    texts.recv().unwrap();
    pids.send(&heir.0).unwrap();
    // Dropping nothing.
    std::thread::sleep(PATIENCE);
}

fn killed_receiver() {
    let (receiver, mut sender) = Pipe::one_way::<String>().unwrap();
    let (mut pids, pid) = Pipe::one_way().unwrap();
    let child = start(Process::new(receive_one, (receiver, pid)));
    sender.send(&"first".to_owned()).unwrap();
    let heir = pids.recv().unwrap();
    let waits = std::thread::spawn(move || fails(sender.send(&"x".repeat(8 << 20))));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waits.is_finished());
    child.kill().unwrap();
    assert_eq!(waits.join().unwrap(), PipeError::Closed);
    Heir::end(heir);
}

/// Sends a message and a part of another.
#[holdfast::function]
fn send_a_part(mut texts: Sender<String>, mut told: Sender<i32>) {
    let heir = Heir::new();
    texts.send(&"whole".to_owned()).unwrap();
    let unfinished = fails(texts.send_within(&"x".repeat(8 << 20), Duration::from_millis(5)));
    assert!(matches!(unfinished, PipeError::Unfinished { .. }));
    told.send(&heir.0).unwrap();
    std::thread::sleep(PATIENCE);
}

fn torn() {
    let (mut texts, sender) = Pipe::one_way::<String>().unwrap();
    let (mut told, tell) = Pipe::one_way().unwrap();
    let child = start(Process::new(send_a_part, (sender, tell)));
    let heir = told.recv().unwrap();
    child.kill().unwrap();
    assert_eq!(texts.recv().unwrap(), "whole");
    assert_eq!(fails(texts.recv()), PipeError::Torn);
    assert_eq!(fails(told.recv()), PipeError::Ended);
    Heir::end(heir);
}

/// Receives one number, and passes the end on.
#[holdfast::function]
fn pass_on(mut numbers: Connection<i64, i64>, depth: i64) {
    assert_eq!(numbers.recv().unwrap(), depth);
    // There is more to receive.
    assert!(numbers.poll(PATIENCE).unwrap());
    let next = if depth < 2 {
        Process::new(pass_on, (numbers, depth + 1))
    } else {
        let heir = Heir::new();
        numbers.send(&i64::from(heir.0)).unwrap();
        Process::new(count, (numbers,))
    };
    start(next);
    // At once, and without waiting for the child: that has the end, or is about to take it up.
    std::process::exit(0);
}

#[holdfast::function]
fn count(mut numbers: Connection<i64, i64>) {
    numbers.send(&i64::from(std::process::id())).unwrap();
    loop {
        let n = numbers.recv().unwrap();
        numbers.send(&(n + 1)).unwrap();
    }
}

fn passed_on() {
    let (mut ours, theirs) = Pipe::new::<i64, i64>().unwrap();
    for n in 0..10 {
        ours.send(&n).unwrap();
    }
    let child = start(Process::new(pass_on, (theirs, 0)));
    let [heir, last] = [(); 2].map(|()| ours.recv().unwrap() as i32);
    for n in 3..10 {
        assert_eq!(ours.recv().unwrap(), n + 1);
    }
    assert_eq!(ours.recv_within(Duration::from_millis(20)).unwrap(), None);
    // A fork of the one before has a copy.
    kill_process(Pid::from_raw(last).unwrap(), Signal::KILL).unwrap();
    assert_eq!(fails(ours.recv()), PipeError::Ended);
    Heir::end(heir);
    assert_eq!(ended(&child), Some(0));
}

fn never_begun() {
    let (mut ours, theirs) = Pipe::new::<i64, i64>().unwrap();
    let child = start(Process::new(Named::<(Connection<i64, i64>,), ()>::new("of nobody"), (theirs,)));
    assert_eq!(fails(ours.recv()), PipeError::Ended);
    assert_eq!(ended(&child), Some(125));
    let (mut ours, theirs) = Pipe::new::<i64, i64>().unwrap();
    drop(Process::new(Named::<(Connection<i64, i64>,), ()>::new("add"), (theirs,)));
    assert_eq!(fails(ours.recv()), PipeError::Ended);
}

fn fork() {
    let (mut ours, mut theirs) = Pipe::new::<i64, i64>().unwrap();
    match fork::fork().unwrap() {
        Fork::Child => {
            let refused = [fails(ours.send(&1)), fails(ours.recv().map(drop)), fails(ours.poll(PATIENCE).map(drop))];
            drop((ours, theirs));
            std::process::exit(i32::from(refused.iter().any(|error| *error != PipeError::Forked)));
        }
        Fork::Parent(child) => assert_eq!(fork::waitpid(child).unwrap(), 0, "it may use nothing"),
    }
    ours.send(&1).unwrap();
    assert_eq!(theirs.recv().unwrap(), 1, "what a fork drops is not closed");
    let heir = Heir::new();
    drop(ours);
    assert_eq!(fails(theirs.recv()), PipeError::Ended);
    Heir::end(heir.0);
}

/// Says when the pipe has ended.
#[holdfast::function]
fn say_end(mut numbers: Connection<i64, i64>) {
    numbers.send(&1).unwrap();
    assert_eq!(fails(numbers.recv()), PipeError::Ended);
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ended").and_then(|()| stdout.flush()).unwrap();
}

/// Is killed by the test once it has said which process has a copy of all that it has.
fn orphan() {
    let (mut ours, theirs) = Pipe::new::<i64, i64>().unwrap();
    let _child = start(Process::new(say_end, (theirs,)));
    assert_eq!(ours.recv().unwrap(), 1);
    let heir = Heir::new();
    println!("{}", heir.0);
    std::thread::sleep(PATIENCE);
    drop(ours);
}

fn wrong() {
    let (mut ours, theirs) = Pipe::new::<Option<Dict<String, i64>>, i64>().unwrap();
    let manager = Manager::start().unwrap();
    let dict = manager.new_dict::<String, i64>().unwrap();
    let refused = ours.send(&Some(dict)).unwrap_err();
    assert!(matches!(&refused, Error::Codec(CodecError::Invalid(why)) if why.contains("token")), "{refused}");
    let refused = manager.value::<Connection<i64, Option<Dict<String, i64>>>>("end", &theirs);
    assert!(matches!(refused, Err(Error::Codec(CodecError::Invalid(why))) if why.contains("argument")));
    ours.send(&None).unwrap();
    assert!(theirs.into_async().into_blocking().poll(PATIENCE).unwrap());
}
