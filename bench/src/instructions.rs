//! `instructions`: how many instructions a call has at either end, and whether these are more than they were.
//!
//! Both processes run under callgrind, twice: the longer run less the shorter one, divided by the calls that it has more, is the
//! figure. So the start, the handshake and the end are in neither, and the product needs no marks that say where to count.

mod budget;
mod profile;
mod turns;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use self::budget::{Budgets, FILE, Figure, Toolchain, Verdict};
use self::profile::Profile;
use self::turns::Party;
use crate::args::{CountedMode, CountedOp, InstructionsArgs};
use crate::child::{Child, Launch};
use crate::contender::IN_FLIGHT;
use crate::{compare, holdfast, interrupt};

/// How long a process may take to start, or to end, under callgrind on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// What callgrind is told. Instructions alone: no caches, no branches.
const CALLGRIND: &str = "-q --tool=callgrind --cache-sim=no --branch-sim=no --collect-jumps=no --dump-instr=no";

/// glibc chooses among copies of some functions by what the CPU has. What not every CPU of the last ten years has is taken
/// away, so that the same ones are chosen everywhere: those with AVX2.
const SAME_LIBC: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-RTM";

/// How often an op is done in the shorter run and in the longer one.
fn lengths(mode: CountedMode) -> [u64; 2] {
    let round = IN_FLIGHT as u64;
    match mode {
        CountedMode::Blocking | CountedMode::Async => [100, 600],
        CountedMode::InFlight => [4 * round, 24 * round],
    }
}

/// Counts, and prints, compares or writes down what it comes to.
pub(crate) fn run(args: &InstructionsArgs) -> Result<ExitCode> {
    interrupt::watch()?;
    let toolchain = Toolchain::here()?;
    let own = std::env::current_exe().context("finding this program")?;
    let manager = holdfast::program(args.holdfast.as_deref(), &own)?;
    let budgets = args.check.then(|| Budgets::read(Path::new(FILE))).transpose()?;
    if let Some(budgets) = &budgets
        && toolchain.is_of_another_machine(&budgets.toolchain)
    {
        println!("the budgets are for another architecture: nothing to compare with\n{:#?}", budgets.toolchain);
        return Ok(ExitCode::SUCCESS);
    }
    let mut counted = BTreeMap::new();
    let mut verdicts = Vec::new();
    for &op in CountedOp::value_variants() {
        for &mode in CountedMode::value_variants() {
            let names = ["manager", "client"].map(|side| format!("{}, {}, {side}", name(op), way(mode)));
            if !names.iter().any(|name| compare::is_wanted(name, &args.only)) {
                continue;
            }
            let profiles = count(&manager, &own, op, mode).with_context(|| names[1].clone())?;
            for (name, profile) in names.into_iter().zip(profiles) {
                let verdict = budgets.as_ref().map(|budgets| budgets.verdict(&name, &profile));
                println!("{name:<42} {:>7.0}{}", profile.total(), said(verdict.as_ref()));
                for (function, count) in profile.top().into_iter().take(args.functions) {
                    println!("      {count:>7.1} {function}");
                }
                verdicts.extend(verdict);
                counted.insert(name, Figure::of(&profile));
            }
        }
    }
    if args.write {
        Budgets { toolchain, figures: counted }.write(Path::new(FILE))?;
        println!("written to {FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(budgets.map_or(ExitCode::SUCCESS, |budgets| conclude(&budgets, &toolchain, &verdicts)))
}

fn name(op: CountedOp) -> &'static str {
    match op {
        CountedOp::DictGet => "dict.get",
        CountedOp::DictAdd => "dict.add",
        CountedOp::Lock => "lock acquire + release",
        CountedOp::Queue => "queue put + get",
    }
}

fn way(mode: CountedMode) -> &'static str {
    match mode {
        CountedMode::Blocking => "blocking",
        CountedMode::Async => "async",
        CountedMode::InFlight => "256 in flight",
    }
}

fn said(verdict: Option<&Verdict>) -> String {
    match verdict {
        None => String::new(),
        Some(Verdict::Within { ratio }) => format!("  {ratio:.3} of the budget"),
        Some(Verdict::Below { ratio }) => format!("  {ratio:.3} of the budget, which could be less"),
        Some(Verdict::Above { ratio, grown }) => format!("  {ratio:.3} of the budget: TOO MANY\n{}", grown.trim_end()),
        Some(Verdict::Unknown) => "  has no budget".to_owned(),
    }
}

/// What a comparison comes to as a whole, and what a person can do about it.
fn conclude(budgets: &Budgets, toolchain: &Toolchain, verdicts: &[Verdict]) -> ExitCode {
    let has = |wanted: fn(&Verdict) -> bool| verdicts.iter().any(wanted);
    let is_above = has(|verdict| matches!(verdict, Verdict::Above { .. } | Verdict::Unknown));
    if budgets.toolchain != *toolchain {
        println!("counted with {toolchain:#?}\nand the budgets with {:#?}", budgets.toolchain);
    }
    if is_above {
        println!(
            "Some calls have more instructions than their budgets allow. Take them out again; or, if they are worth it or come \
             with another toolchain, renew the budgets: bench/instructions --write"
        );
        return ExitCode::FAILURE;
    }
    if has(|verdict| matches!(verdict, Verdict::Below { .. })) {
        println!("To keep what was gained: bench/instructions --write");
    }
    ExitCode::SUCCESS
}

/// Instructions of one call in the manager and in the client.
fn count(manager: &Path, own: &Path, op: CountedOp, mode: CountedMode) -> Result<[Profile; 2]> {
    let [short, long] = lengths(mode);
    let shorter = Run { manager, own, op, mode, times: short }.count()?;
    let longer = Run { manager, own, op, mode, times: long }.count()?;
    Ok([0, 1].map(|side| Profile::per_call(&longer[side], &shorter[side], long - short)))
}

/// One run of a manager and its client.
struct Run<'a> {
    manager: &'a Path,
    own: &'a Path,
    op: CountedOp,
    mode: CountedMode,
    times: u64,
}

impl Run<'_> {
    fn count(&self) -> Result<[Profile; 2]> {
        let directory = tempfile::Builder::new().prefix("hf-count-").tempdir().context("making a directory")?;
        let path = |name: &str| directory.path().join(name);
        let (socket, relay, authkey_file) = (path("manager"), path("relay"), path("authkey"));
        let serve = under_callgrind("holdfast serve", self.manager, &path("manager.out"))
            .words("serve --threads 1 --busy-poll off --handshake-timeout 120s --print-address --listen")
            .arg(address(&socket))
            .words("--authkey-file")
            .arg(&authkey_file);
        let mut manager = Child::start(serve, None)?;
        manager.line(PATIENCE)?;

        let listener = UnixListener::bind(&relay).context("binding a socket between client and manager")?;
        let word = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| -> Result<OsString> {
            Ok(value().context("it has no name")?.get_name().into())
        };
        let work = under_callgrind("the client that is counted", self.own, &path("client.out"))
            .words("counted")
            .arg(word(&|| self.op.to_possible_value())?)
            .arg(word(&|| self.mode.to_possible_value())?)
            .words(&format!("--times {} --address", self.times))
            .arg(address(&relay))
            .words("--authkey-file")
            .arg(&authkey_file);
        let mut client = Child::start(work, None)?;
        let mut ours = Party { pid: client.pid(), socket: accept(&listener, &mut client)? };
        let theirs = UnixStream::connect(&socket).context("connecting to the manager")?;
        let mut theirs = Party { pid: manager.pid(), socket: theirs };
        turns::pass_on(&mut ours, &mut theirs)?;
        drop((ours, theirs));
        client.finish(PATIENCE)?;
        let pid = i32::try_from(manager.pid()).ok().and_then(Pid::from_raw).context("the manager has no process id")?;
        kill_process(pid, Signal::TERM).context("stopping the manager")?;
        manager.finish(PATIENCE)?;
        Ok([Profile::read(&path("manager.out"))?, Profile::read(&path("client.out"))?])
    }
}

fn address(socket: &Path) -> OsString {
    let mut address = OsString::from("unix:");
    address.push(socket);
    address
}

fn under_callgrind(name: &str, program: &Path, out: &Path) -> Launch {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(out);
    Launch::new(name, &PathBuf::from("valgrind"))
        .words(CALLGRIND)
        .arg(file)
        .arg(program)
        .env("GLIBC_TUNABLES", SAME_LIBC)
}

/// The one connection of a client that has just been started.
fn accept(listener: &UnixListener, client: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("waiting for the client"),
        }
        if !client.is_running() {
            return Err(client.failure("ended early"));
        }
        if Instant::now() > until {
            bail!("the client did not connect within {PATIENCE:?}");
        }
        interrupt::check()?;
        // Now and then it is looked whether it still runs.
        let mut come = [PollFd::new(listener, PollFlags::IN)];
        poll(&mut come, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })).or_else(|error| match error {
            Errno::INTR => Ok(0),
            error => Err(error),
        })?;
    }
}
