//! Producers and consumers: `None` at the end of the queue tells a consumer that nothing more comes.
//!
//! First one of each; the producer itself puts the end mark. Then three producers and two consumers: none of the producers
//! knows who is the last, so the main program waits for all of them and puts one mark for each consumer.

use holdfast::QueueOptions;
use holdfast::blocking::{Manager, Process, Queue};

/// `None` is the end mark.
type Loaves = Queue<Option<String>>;

#[holdfast::function]
fn bake(baker: String, loaves: Loaves, is_the_only_one: bool) -> holdfast::Result<()> {
    for number in 1..=4 {
        let loaf = format!("loaf {number} of {baker}");
        println!("{baker} has baked {loaf}");
        loaves.put(&Some(loaf))?;
    }
    if is_the_only_one { loaves.put(&None) } else { Ok(()) }
}

#[holdfast::function]
fn eat(eater: String, loaves: Loaves) -> holdfast::Result<()> {
    while let Some(loaf) = loaves.get()? {
        println!("{eater} has eaten {loaf}");
    }
    println!("{eater} has had enough");
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;

    let loaves: Loaves = manager.new_queue_with(QueueOptions::fifo().maxsize(2))?;
    let mut baker = Process::new(bake, ("Ada".to_owned(), loaves.clone(), true));
    let mut eater = Process::new(eat, ("Zoe".to_owned(), loaves));
    baker.start()?;
    eater.start()?;
    baker.join()?;
    eater.join()?;
    println!("--");

    let loaves: Loaves = manager.new_queue_with(QueueOptions::fifo().maxsize(2))?;
    let mut bakers = ["Bob", "Cleo", "Dan"].map(|name| Process::new(bake, (name.to_owned(), loaves.clone(), false)));
    let mut eaters = ["Xenia", "Yann"].map(|name| Process::new(eat, (name.to_owned(), loaves.clone())));
    for process in bakers.iter_mut().chain(&mut eaters) {
        process.start()?;
    }
    for baker in &bakers {
        baker.join()?;
    }
    loaves.put_many([None, None])?;
    for eater in &eaters {
        eater.join()?;
    }
    Ok(())
}
