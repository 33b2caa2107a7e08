//! Work on queues.

use anyhow::{Result, bail};
use serde_bytes::ByteBuf;

use super::client;
use crate::args::WorkerArgs;
use crate::contender::waiting::ITEM;
use crate::load::{self, Timer};
use crate::worker;

/// The queue of one who puts and takes by itself.
const OWN: &str = "own queue";
/// The queues of two who pass an item on to each other.
const THERE: &str = "there";
const BACK: &str = "back";

pub(super) async fn asynchronous(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let queue = manager.queue::<i64>(OWN).await?;
    let put_and_get = async || {
        queue.put(&1).await?;
        queue.get().await
    };
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, put_and_get).await).await
}

pub(super) fn blocking(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let queue = manager.queue::<i64>(OWN)?;
    let put_and_get = || {
        queue.put(&1)?;
        queue.get()
    };
    worker::measure_blocking(args.calls, |calls| load::blocking(calls, put_and_get))
}

/// Puts items for those who [`consume`].
pub(super) fn produce(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let queue = manager.queue::<ByteBuf>(&shared(args.batch))?;
    let item = ByteBuf::from(vec![b'x'; ITEM]);
    worker::ready()?;
    let timer = Timer::start_untimed();
    let mut left = args.calls;
    while left > 0 {
        let batch = left.min(args.batch);
        match args.batch {
            1 => queue.put(&item)?,
            _ => queue.put_many((0..batch).map(|_| item.clone()))?,
        }
        left -= batch;
    }
    worker::report(&timer.stop().of_helper())
}

/// Takes so many items. All who produce together put as many as all who consume take.
pub(super) fn consume(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let queue = manager.queue::<ByteBuf>(&shared(args.batch))?;
    worker::ready()?;
    let mut timer = Timer::start_untimed();
    let mut left = args.calls;
    while left > 0 {
        let items = match args.batch {
            1 => vec![queue.get()?],
            batch => queue.get_many(left.min(batch))?,
        };
        for item in &items {
            check(item)?;
            timer.tick();
        }
        left -= items.len() as u64;
    }
    worker::report(&timer.stop())
}

fn check(item: &ByteBuf) -> Result<()> {
    if item.len() == ITEM { Ok(()) } else { bail!("an item has {} bytes instead of {ITEM}", item.len()) }
}

/// The queue of those who pass on so many items in one call.
fn shared(batch: u64) -> String {
    format!("shared queue, {batch}")
}

/// Puts an item for the one who [`pong`]s, and waits for the one that comes back.
pub(super) async fn ping(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let (there, back) = (manager.queue::<i64>(THERE).await?, manager.queue::<i64>(BACK).await?);
    let there_and_back = async || {
        there.put(&1).await?;
        back.get().await
    };
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, there_and_back).await).await
}

/// Waits for an item, and puts another, as often as the one who [`ping`]s does it the other way round.
pub(super) async fn pong(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let (there, back) = (manager.queue::<i64>(THERE).await?, manager.queue::<i64>(BACK).await?);
    let answer = async || {
        let item = there.get().await?;
        back.put(&item).await
    };
    worker::measure(args.calls, async |calls| Ok(load::one_at_a_time(calls, answer).await?.of_helper())).await
}

pub(super) fn ping_blocking(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let (there, back) = (manager.queue::<i64>(THERE)?, manager.queue::<i64>(BACK)?);
    let there_and_back = || {
        there.put(&1)?;
        back.get()
    };
    worker::measure_blocking(args.calls, |calls| load::blocking(calls, there_and_back))
}

pub(super) fn pong_blocking(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let (there, back) = (manager.queue::<i64>(THERE)?, manager.queue::<i64>(BACK)?);
    let answer = || {
        let item = there.get()?;
        back.put(&item)
    };
    worker::measure_blocking(args.calls, |calls| Ok(load::blocking(calls, answer)?.of_helper()))
}
