//! Calls functions of a program in another language: a pool whose worker is `examples/pool-worker/worker.py`.
//!
//! `examples/pool-worker/run` starts a manager, the worker and this, and checks what this prints.

use std::collections::BTreeMap;

use holdfast::blocking::Manager;
use holdfast::{Error, Named};

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let pool = Manager::connect_default()?.pool("words")?;

    // What they take and return is said here, and checked when they are called.
    let word_count = Named::<(String,), BTreeMap<String, u64>>::new("word_count");
    let divide = Named::<(i64, i64), f64>::new("divide");
    let whoami = Named::<(), String>::new("whoami");

    let who = pool.apply(whoami, ())?;
    println!("served by {}", who.split(',').next().unwrap_or_default());

    let text = "the quick brown fox jumps over the lazy dog";
    println!("{:?}", pool.apply(word_count.clone(), (text.to_owned(),))?.get("the"));
    let counts = pool.map(word_count, ["a b a", "b b", ""].map(str::to_owned))?;
    println!("{counts:?}");
    println!("{:?}", pool.starmap(divide.clone(), [(1, 2), (3, 4), (10, 5)])?);
    println!("{:?}", pool.apply_async(divide.clone(), (1, 8))?.get()?);

    // An exception of Python's comes back with its type, message and traceback.
    match pool.apply(divide, (1, 0)) {
        Err(Error::Raised(raised)) => {
            println!("{}: {}", raised.kind, raised.message);
            println!("{}", raised.trace.lines().next().unwrap_or_default());
        }
        other => println!("nobody divides by zero: {other:?}"),
    }
    pool.close()?;
    pool.join()
}
