//! Pipes: one way, until the end of file, and both ways, to somebody who answers.
//!
//! The first program of the tutorials hangs for whoever forgets to close the ends that a process does not use. Here an end
//! that is passed to a process has moved there, so nobody else has it.

use holdfast::blocking::{Connection, Pipe, Process, Receiver, Sender};

#[holdfast::function]
fn produce(mut loaves: Sender<String>) -> holdfast::Result<()> {
    for number in 1..=5 {
        loaves.send(&format!("loaf {number}"))?;
    }
    Ok(()) // the end is dropped, and thereby closed
}

#[holdfast::function]
fn consume(mut loaves: Receiver<String>) -> holdfast::Result<()> {
    for loaf in loaves.iter() {
        println!("has eaten {}", loaf?);
    }
    println!("end of file");
    Ok(())
}

/// Gets pairs and answers with their sums.
#[holdfast::function]
fn add(mut pairs: Connection<i64, (i64, i64)>) -> holdfast::Result<()> {
    loop {
        match pairs.recv() {
            Ok((x, y)) => pairs.send(&(x + y))?,
            Err(error) if error.is_end_of_file() => break,
            Err(error) => return Err(error),
        }
    }
    println!("the adder has ended");
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();

    let (receiver, sender) = Pipe::one_way()?;
    let mut producer = Process::new(produce, (sender,));
    let mut consumer = Process::new(consume, (receiver,));
    producer.start()?;
    consumer.start()?;
    producer.join()?;
    consumer.join()?;

    let (mut ours, theirs) = Pipe::new()?;
    let mut adder = Process::new(add, (theirs,));
    adder.start()?;
    for (x, y) in [(1, 2), (40, 2), (-5, 5)] {
        ours.send(&(x, y))?;
        println!("{x} + {y} = {}", ours.recv()?);
    }
    ours.close();
    adder.join()
}
