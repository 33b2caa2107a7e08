//! Work on lists, sets, values, and on objects that come and go.

use anyhow::{Error, Result, bail};
use serde_bytes::ByteBuf;

use super::client;
use crate::args::WorkerArgs;
use crate::contender::{ELEMENTS, LARGE};
use crate::{load, worker};

/// The member that all works on sets are about.
const MEMBER: &str = "member";

/// Reads a long list as a whole, time and again.
pub(super) async fn list_read(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let list = manager.list::<i64>("long").await?;
    if list.is_empty().await? {
        list.extend(0..ELEMENTS as i64).await?;
    }
    let read = async || {
        let all = list.to_vec().await?;
        if all.len() as u64 != ELEMENTS {
            bail!("the list has {} elements instead of {ELEMENTS}", all.len());
        }
        Ok::<_, Error>(all)
    };
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, read).await).await
}

/// Appends to a list, which grows.
pub(super) async fn list_append(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let list = manager.list::<i64>("appended").await?;
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, async || list.append(&1).await).await).await
}

/// Reads the first element of a list.
pub(super) async fn list_get(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let list = manager.list::<i64>("short").await?;
    if list.is_empty().await? {
        list.append(&0).await?;
    }
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, async || list.get(0).await).await).await
}

/// Adds a member, which is there from the second time on.
pub(super) async fn set_add(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let set = manager.set::<String>("members").await?;
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, async || set.add(MEMBER).await).await).await
}

/// Looks for a member that is there.
pub(super) async fn set_contains(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let set = manager.set::<String>("members").await?;
    set.add(MEMBER).await?;
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, async || set.contains(MEMBER).await).await)
        .await
}

/// Makes dicts without a name and drops their proxies, with which each of them goes.
pub(super) async fn create(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let make = async || manager.new_dict::<String, i64>().await.map(drop);
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, make).await).await
}

/// Sets a large value and gets it, together one call: as much there and back as an echo of that size.
pub(super) async fn large_value(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let large = ByteBuf::from(vec![b'x'; LARGE]);
    let value = manager.value("large", &large).await?;
    let set_and_get = async || {
        value.set(&large).await?;
        let got = value.get().await?;
        if got.len() != LARGE {
            bail!("the value has {} bytes instead of {LARGE}", got.len());
        }
        Ok::<_, Error>(())
    };
    worker::measure(args.calls, async |calls| load::one_at_a_time(calls, set_and_get).await).await
}
