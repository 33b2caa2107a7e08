//! How every child begins: on its CPU, with enough file descriptors, and bound to die with the harness.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Error, anyhow};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::args::ChildArgs;

/// The CPUs this process may run on.
pub(crate) fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("reading the CPU affinity")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// Replaces this process by the program named. Returns only if that fails.
pub(crate) fn become_program(args: &ChildArgs) -> Error {
    if let Err(error) = settle(args.cpu) {
        return error;
    }
    let Some((program, rest)) = args.program.split_first() else { return anyhow!("no program given") };
    let failed = Command::new(program).args(rest).exec();
    Error::new(failed).context(format!("starting {}", program.display()))
}

fn settle(cpu: Option<usize>) -> anyhow::Result<()> {
    // Survives exec. The harness starts children from its main thread alone, so this fires when the harness ends.
    set_parent_process_death_signal(Some(Signal::KILL)).context("setting the parent death signal")?;
    if let Some(cpu) = cpu {
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one).with_context(|| format!("pinning to CPU {cpu}"))?;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A thousand sessions in one process exceed the usual soft limit of 1024.
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raising the file descriptor limit")
}
