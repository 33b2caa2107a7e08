//! Work whose instructions are counted. It looks at no clock, and does the same each time that it is run.

use std::future::Future;

use anyhow::Result;

use super::{DICT, KEY, client};
use crate::args::{CountedArgs, CountedMode, CountedOp};
use crate::contender::IN_FLIGHT;

const LOCK: &str = "counted lock";
const QUEUE: &str = "counted queue";

/// The work of the hidden subcommand `counted`.
pub(crate) fn work(args: &CountedArgs) -> Result<()> {
    if args.mode == CountedMode::Blocking {
        return blocking(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.mode {
            CountedMode::InFlight => in_flight(args).await,
            _ => asynchronous(args).await,
        }
    })
}

fn blocking(args: &CountedArgs) -> Result<()> {
    let manager = client::connect_blocking_asleep(&args.place)?;
    let key = KEY.to_owned();
    match args.op {
        CountedOp::DictGet | CountedOp::DictAdd => {
            let dict = manager.dict::<String, i64>(DICT)?;
            dict.add(&key, 1)?;
            for _ in 0..args.times {
                match args.op {
                    CountedOp::DictGet => drop(dict.get(&key)?),
                    _ => drop(dict.add(&key, 1)?),
                }
            }
        }
        CountedOp::Lock => {
            let lock = manager.lock(LOCK)?;
            for _ in 0..args.times {
                lock.acquire()?.release()?;
            }
        }
        CountedOp::Queue => {
            let queue = manager.queue::<i64>(QUEUE)?;
            for _ in 0..args.times {
                queue.put(&1)?;
                queue.get()?;
            }
        }
    }
    Ok(())
}

async fn asynchronous(args: &CountedArgs) -> Result<()> {
    let manager = client::connect_asleep(&args.place).await?;
    let key = KEY.to_owned();
    match args.op {
        CountedOp::DictGet | CountedOp::DictAdd => {
            let dict = manager.dict::<String, i64>(DICT).await?;
            dict.add(&key, 1).await?;
            for _ in 0..args.times {
                match args.op {
                    CountedOp::DictGet => drop(dict.get(&key).await?),
                    _ => drop(dict.add(&key, 1).await?),
                }
            }
        }
        CountedOp::Lock => {
            let lock = manager.lock(LOCK).await?;
            for _ in 0..args.times {
                lock.acquire().await?.release().await?;
            }
        }
        CountedOp::Queue => {
            let queue = manager.queue::<i64>(QUEUE).await?;
            for _ in 0..args.times {
                queue.put(&1).await?;
                queue.get().await?;
            }
        }
    }
    Ok(())
}

/// Rounds of calls that are all sent before the first is waited for. Of the ops that are two calls, all first ones are in one
/// round and all second ones in the next.
async fn in_flight(args: &CountedArgs) -> Result<()> {
    let manager = client::connect_asleep(&args.place).await?;
    let key = KEY.to_owned();
    let rounds = args.times / IN_FLIGHT as u64;
    match args.op {
        CountedOp::DictGet | CountedOp::DictAdd => {
            let dict = manager.dict::<String, i64>(DICT).await?;
            dict.add(&key, 1).await?;
            for _ in 0..rounds {
                match args.op {
                    CountedOp::DictGet => drop(together(|_| dict.get(&key).send()).await?),
                    _ => drop(together(|_| dict.add(&key, 1).send()).await?),
                }
            }
        }
        CountedOp::Lock => {
            let mut locks = Vec::with_capacity(IN_FLIGHT);
            for number in 0..IN_FLIGHT {
                locks.push(manager.lock(&format!("{LOCK} {number}")).await?);
            }
            for _ in 0..rounds {
                let mut guards = together(|place| locks[place].acquire().send()).await?.into_iter();
                together(|_| guards.next().expect("as many as there are places").release().send()).await?;
            }
        }
        CountedOp::Queue => {
            let queue = manager.queue::<i64>(QUEUE).await?;
            for _ in 0..rounds {
                together(|_| queue.put(&1).send()).await?;
                together(|_| queue.get().send()).await?;
            }
        }
    }
    Ok(())
}

/// As many calls as are to be in flight, and what comes of them.
async fn together<T, F>(call: impl FnMut(usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = ::holdfast::Result<T>>,
{
    let calls: Vec<F> = (0..IN_FLIGHT).map(call).collect();
    let mut results = Vec::with_capacity(IN_FLIGHT);
    for call in calls {
        results.push(call.await?);
    }
    Ok(results)
}
