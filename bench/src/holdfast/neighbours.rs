//! Clients that are busy until they are ended, for the works that ask what others feel of them.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use serde_bytes::ByteBuf;

use super::meetings::Crowd;
use super::{DICT, KEY, client};
use crate::args::WorkerArgs;
use crate::contender::neighbours::{CALLS, VALUE, WAITERS};
use crate::{load, worker};

/// Makes a call each millisecond.
pub(super) fn light(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let dict = manager.dict::<String, i64>(DICT)?;
    let key = KEY.to_owned();
    dict.add(&key, 1)?;
    worker::measure_blocking(args.calls, |calls| load::paced(calls, || dict.get(&key)))
}

/// Keeps many calls in flight, from one task.
pub(super) async fn calls(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let dict = manager.dict::<String, i64>(DICT).await?;
    let key = KEY.to_owned();
    let mut running: VecDeque<_> = (0..CALLS).map(|_| dict.add(&key, 1).send()).collect();
    worker::ready_async().await?;
    loop {
        running.pop_front().context("calls are in flight")?.await?;
        running.push_back(dict.add(&key, 1).send());
    }
}

/// Sets and gets a very large value.
pub(super) async fn values(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let large = ByteBuf::from(vec![b'x'; VALUE]);
    let value = manager.value("very large", &ByteBuf::new()).await?;
    worker::ready_async().await?;
    loop {
        value.set(&large).await?;
        let got = value.get().await?;
        if got.len() != VALUE {
            bail!("the value has {} bytes instead of {VALUE}", got.len());
        }
    }
}

/// Sets an event for which very many calls of several sessions wait.
pub(super) async fn event(args: &WorkerArgs) -> Result<()> {
    let crowd = Crowd::gather(args, args.calls, WAITERS).await?;
    worker::ready_async().await?;
    loop {
        crowd.meet().await?;
    }
}
