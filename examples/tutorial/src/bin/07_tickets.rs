//! A hundred buyers and ten tickets: who reads, thinks and then writes sells more than there are. A lock helps.
//!
//! The tickets are counted in a file, as JSON, and in a shared dict. At each of the two there is a careless counter,
//! where everybody looks how many are left and then writes one less, and one where a lock is held meanwhile. Between look
//! and write the tutorials sleep for a moment; here all buyers wait for each other, so that the worst case is certain.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast::blocking::{Barrier, Dict, Lock, Manager, Process};
use serde::{Deserialize, Serialize};

const BUYERS: u64 = 100;
const TICKETS: i64 = 10;

/// What each buyer is given. The proxies in it arrive as proxies of the same objects.
#[derive(Clone, Serialize, Deserialize)]
struct Station {
    careless_file: PathBuf,
    careful_file: PathBuf,
    tickets: Dict<String, i64>,
    sold: Dict<String, i64>,
    lock: Lock,
    all_have_looked: Barrier,
}

#[derive(Serialize, Deserialize)]
struct Left {
    count: i64,
}

fn read(file: &Path) -> i64 {
    let text = fs::read(file).expect("the station has this file");
    serde_json::from_slice::<Left>(&text).expect("only counts are written to it").count
}

fn write(file: &Path, count: i64) {
    let text = serde_json::to_vec(&Left { count }).expect("a count can be written");
    fs::write(file, text).expect("the station's files can be written");
}

#[holdfast::function]
fn buy(station: Station) -> holdfast::Result<()> {
    let Station { careless_file, careful_file, tickets, sold, lock, all_have_looked } = station;

    let left = read(&careless_file);
    all_have_looked.wait()?;
    if left > 0 {
        write(&careless_file, left - 1);
        sold.add("file, without a lock", 1)?;
    }

    let guard = lock.acquire()?;
    let left = read(&careful_file);
    if left > 0 {
        write(&careful_file, left - 1);
        sold.add("file, with a lock", 1)?;
    }
    drop(guard);

    let left = tickets.get("careless")?.unwrap_or(0);
    all_have_looked.wait()?;
    if left > 0 {
        tickets.set("careless", &(left - 1))?;
        sold.add("dict, without a lock", 1)?;
    }

    let _guard = lock.acquire()?;
    let left = tickets.get("careful")?.unwrap_or(0);
    if left > 0 {
        tickets.set("careful", &(left - 1))?;
        sold.add("dict, with a lock", 1)?;
    }
    Ok(())
}

fn main() -> holdfast::Result<()> {
    let _family = holdfast::init();
    let manager = Manager::start()?;
    let folder = tempfile::tempdir().expect("there is a place for temporary files");

    let station = Station {
        careless_file: folder.path().join("careless.json"),
        careful_file: folder.path().join("careful.json"),
        tickets: manager.new_dict()?,
        sold: manager.new_dict()?,
        lock: manager.new_lock()?,
        all_have_looked: manager.new_barrier(BUYERS)?,
    };
    write(&station.careless_file, TICKETS);
    write(&station.careful_file, TICKETS);
    station.tickets.update([("careless".to_owned(), TICKETS), ("careful".to_owned(), TICKETS)])?;

    let mut buyers: Vec<_> = (0..BUYERS).map(|_| Process::new(buy, (station.clone(),))).collect();
    for buyer in &mut buyers {
        buyer.start()?;
    }
    for buyer in &buyers {
        buyer.join()?;
    }
    for counter in ["file, without a lock", "file, with a lock", "dict, without a lock", "dict, with a lock"] {
        println!("{counter}: {} of {TICKETS} tickets sold", station.sold.get(counter)?.unwrap_or(0));
    }
    Ok(())
}
