//! Memory: how much a server's resident set grows by what it is given to hold. Once each, since it does not vary.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::args::WorkerWork;
use crate::child::Child;
use crate::report::{Line, Side};
use crate::setting::Setting;
use crate::works::{Figure, Goal};
use crate::{holdfast, interrupt, worker};

const DICT: &str = "memory per entry, text key and integer";
const SESSION: &str = "memory per idle session";
const WAITS: [(&str, WorkerWork); 2] = [
    ("memory per waiting call, for a lock", WorkerWork::LockWaits),
    ("memory per waiting call, for an event", WorkerWork::EventWaits),
];

const TASK: &str = "memory per waiting task, with its argument, a number";

/// The key of entry `index`, the same for all: 16 bytes.
pub(crate) fn key(index: u64) -> String {
    format!("key:{index:012}")
}

/// Resident memory of the process, in bytes.
pub(crate) fn resident(process: &Child) -> Result<u64> {
    let path = format!("/proc/{}/status", process.pid());
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|n| n.trim().parse::<u64>().ok());
    Ok(kibibytes.with_context(|| format!("no VmRSS in {path}"))? * 1024)
}

/// The lines about memory.
pub(crate) fn lines(setting: &Setting, wanted: impl Fn(&str) -> bool) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    if wanted(DICT) {
        lines.push(dict(setting)?);
    }
    if wanted(SESSION) {
        lines.push(session(setting)?);
    }
    for (name, work) in WAITS.into_iter().filter(|(name, _)| wanted(name)) {
        lines.push(waiting_call(setting, name, work)?);
    }
    if wanted(TASK) {
        lines.push(waiting_task(setting)?);
    }
    Ok(lines)
}

fn waiting_task(setting: &Setting) -> Result<Line> {
    let ours = Side::of("memory", held(setting, WorkerWork::WaitingTasks, setting.entries))?;
    let work = format!("{TASK}, of {}", setting.entries);
    Ok(Line::plain(work, Figure::Bytes, ("Holdfast".to_owned(), ours), None, Goal::AtMost(300.0)))
}

fn dict(setting: &Setting) -> Result<Line> {
    let (ours, theirs) = (Side::of("memory", holdfast_dict(setting))?, Side::of("memory", redis_hash(setting))?);
    let work = format!("{DICT}, of {}", setting.entries);
    let peer = Some(("Redis hash".to_owned(), theirs));
    Ok(Line::plain(work, Figure::Bytes, ("Holdfast dict".to_owned(), ours), peer, Goal::AtMost(1.2)))
}

fn session(setting: &Setting) -> Result<Line> {
    let ours = Side::of("memory", held(setting, WorkerWork::Sessions, setting.sessions).map(|bytes| bytes / 1024.0))?;
    let work = format!("{SESSION}, of {}", setting.sessions);
    Ok(Line::plain(work, Figure::Kibibytes, ("Holdfast".to_owned(), ours), None, Goal::AtMost(40.0)))
}

fn waiting_call(setting: &Setting, name: &str, work: WorkerWork) -> Result<Line> {
    let ours = Side::of("memory", held(setting, work, setting.waiters))?;
    let work = format!("{name}, of {}", setting.waiters);
    Ok(Line::plain(work, Figure::Bytes, ("Holdfast".to_owned(), ours), None, Goal::AtMost(600.0)))
}

fn redis_hash(setting: &Setting) -> Result<f64> {
    let redis = setting.redis.as_ref().map_err(Clone::clone)?;
    let server = redis.serve(&setting.path("redis-memory"), setting.directory(), None)?;
    let before = resident(&server.process)?;
    server.load(setting.entries)?;
    let per_entry = growth(&server.process, before)? / setting.entries as f64;
    eprintln!("memory   Redis hash of {}: {per_entry:.1} B per entry", setting.entries);
    Ok(per_entry)
}

fn holdfast_dict(setting: &Setting) -> Result<f64> {
    let server = holdfast::Server::start(setting, &setting.path("dict-memory"), None)?;
    server.run(setting, WorkerWork::AsyncAdd, 1_000, 1, None)?;
    let before = resident(&server.process)?;
    server.run(setting, WorkerWork::FillEntries, setting.entries, 1, None)?;
    let per_entry = growth(&server.process, before)? / setting.entries as f64;
    eprintln!("memory   Holdfast dict of {}: {per_entry:.1} B per entry", setting.entries);
    Ok(per_entry)
}

/// Bytes for each of so many things that one worker holds.
fn held(setting: &Setting, work: WorkerWork, number: u64) -> Result<f64> {
    let server = holdfast::Server::start(setting, &setting.path(&format!("{work:?}-memory")), None)?;
    server.run(setting, WorkerWork::AsyncAdd, 1_000, 1, None)?;
    let before = resident(&server.process)?;
    let mut holder = vec![server.worker(setting, work, number, None)?];
    worker::await_ready(&mut holder)?;
    let each = growth(&server.process, before)? / number as f64;
    worker::run_ready(holder)?;
    eprintln!("memory   Holdfast, {number} {work:?}: {each:.1} B each");
    Ok(each)
}

/// How much more is resident than before, once the server is at rest.
fn growth(process: &Child, before: u64) -> Result<f64> {
    let mut now = resident(process)?;
    for _ in 0..20 {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
        let later = resident(process)?;
        if later == now {
            return Ok(now as f64 - before as f64);
        }
        now = later;
    }
    bail!("the server's memory does not settle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sixteen_bytes() {
        assert_eq!(key(0).len(), 16);
        assert_eq!(key(999_999).len(), 16);
    }
}
