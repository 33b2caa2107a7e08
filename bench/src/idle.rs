//! The CPU that is used where there is nothing to do, in percent of one. Once each, since it is a sum over ten seconds.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::args::WorkerWork;
use crate::child::Child;
use crate::report::{Line, Side};
use crate::setting::Setting;
use crate::works::{Figure, Goal};
use crate::{holdfast, interrupt, worker};

const MANAGER: &str = "CPU of a manager with idle sessions";
const WAITER: &str = "CPU of a client that waits for a lock";

/// How long it is watched.
const WATCH: Duration = Duration::from_secs(10);

/// The lines about idle processes.
pub(crate) fn lines(setting: &Setting, wanted: impl Fn(&str) -> bool) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    if wanted(MANAGER) {
        let of_manager = watch(setting, WorkerWork::Sessions, setting.sessions, |server, _| server);
        lines.push(line(format!("{MANAGER}, {}", setting.sessions), of_manager, 0.1)?);
    }
    if wanted(WAITER) {
        let of_waiter = watch(setting, WorkerWork::LockWaits, 1, |_, worker| worker);
        lines.push(line(WAITER.to_owned(), of_waiter, 0.5)?);
    }
    Ok(lines)
}

fn line(work: String, percent: Result<f64>, goal: f64) -> Result<Line> {
    let side = Side::of("idle", percent)?;
    Ok(Line::plain(work, Figure::Percent, ("Holdfast".to_owned(), side), None, Goal::AtMost(goal)))
}

/// What one of the two used while both had nothing to do.
fn watch(
    setting: &Setting,
    work: WorkerWork,
    number: u64,
    which: impl for<'a> Fn(&'a Child, &'a Child) -> &'a Child,
) -> Result<f64> {
    let server = holdfast::Server::start(setting, &setting.path(&format!("{work:?}-idle")), None)?;
    // A manager that has just been busy, and has learnt to poll.
    server.run(setting, WorkerWork::BlockingAdd, 20_000, 1, None)?;
    let mut workers = vec![server.worker(setting, work, number, None)?];
    worker::await_ready(&mut workers)?;
    let process = which(&server.process, &workers[0]);
    let (before, begin) = (on_cpu(process)?, Instant::now());
    while begin.elapsed() < WATCH {
        interrupt::check()?;
        thread::sleep(Duration::from_millis(100));
    }
    let used = on_cpu(process)?.saturating_sub(before);
    let percent = 100.0 * used.as_secs_f64() / begin.elapsed().as_secs_f64();
    worker::run_ready(workers)?;
    eprintln!("idle     {work:?}: {percent:.3} % of a CPU");
    Ok(percent)
}

/// How long the threads of a process have had a CPU.
fn on_cpu(process: &Child) -> Result<Duration> {
    let path = format!("/proc/{}/task", process.pid());
    let mut nanoseconds = 0;
    for task in fs::read_dir(&path).with_context(|| format!("reading {path}"))? {
        let path = task?.path().join("schedstat");
        // One that has just ended used nothing to speak of.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        nanoseconds += first.with_context(|| format!("{} is {text:?}", path.display()))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
