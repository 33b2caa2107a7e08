//! Processes count together, in a dict that one manager holds for all of them.
//!
//! The program starts a manager and a number of worker processes: itself, a second time and a third. Each worker gets a
//! proxy to the same dict and adds to its counters, first with `add`, which is one atomic call, and then the way that one
//! is tempted to, with `get` and `set`. The table at the end shows what each has cost, and what the second has lost.
//!
//! ```text
//! cargo run --release --example shared_counters -- --processes 8 --increments 20000
//! ```

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use holdfast::Token;
use holdfast::blocking::{Dict, Manager, Value};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// What is counted: all workers add to all of these, in turn.
const COUNTERS: [&str; 4] = ["/", "/login", "/search", "/basket"];

/// Workers that are not ready to count by then are given up.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// A worker reports its progress each time it has counted this often.
const REPORT_EVERY: u64 = 256;

/// Count with many processes in one shared dict: with atomic calls, and without.
///
/// Starts a manager and N worker processes. Every worker makes M increments on four shared counters, first with `add`,
/// which is one atomic call, then with `get` followed by `set`, without a lock. Prints the totals, the time and the calls
/// per second of both, and how many updates the second way has lost.
#[derive(Debug, Parser)]
#[command(
    name = "shared_counters",
    max_term_width = 100,
    after_long_help = "Exit codes:\n  0  every atomic increment was counted\n  1  one was not, or a process failed; standard error says how\n  2  the arguments are wrong"
)]
struct Args {
    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=512))]
    processes: u32,

    /// Increments that each of them makes
    #[arg(long, value_name = "M", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    increments: u64,

    /// Be a worker: what the program starts itself as
    #[arg(long, value_enum, hide = true)]
    worker: Option<Way>,
}

/// How to increment a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    Add,
    GetThenSet,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Add => "add",
            Self::GetThenSet => "get, then set",
        })
    }
}

impl Way {
    fn calls_per_increment(self) -> u64 {
        match self {
            Self::Add => 1,
            Self::GetThenSet => 2,
        }
    }

    fn increment(self, counters: &Dict<String, u64>, counter: &str) -> holdfast::Result<()> {
        match self {
            Self::Add => {
                counters.add(counter, 1)?;
            }
            // Between the two another process may set the counter. What it has added is then overwritten.
            Self::GetThenSet => {
                let count = counters.get(counter)?.unwrap_or(0);
                counters.set(counter, &(count + 1))?;
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    // First of all: where this process was started to be the manager, this call is the manager.
    let _family = holdfast::init();
    let args = Args::parse();
    let done = match args.worker {
        Some(way) => work(way, args.increments),
        None => compare(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A worker's error is passed on by the process that started it.
            let name = if args.worker.is_some() { "" } else { "shared_counters: " };
            eprintln!("{name}{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a worker process does: connect, say "ready", wait for a line, count, say "done".
fn work(way: Way, increments: u64) -> Result<()> {
    // Where the manager is, and where the authkey, stands in the environment.
    let manager = Manager::connect_default()?;
    let mut lines = io::stdin().lines();
    let mut line = || lines.next().context("the program that started this worker has ended")?.context("standard input");
    let counters: Dict<String, u64> = manager.dict_from_token(&line()?.parse()?)?;
    let progress: Value<u64> = manager.value_from_token(&line()?.parse()?)?;
    println!("ready");
    line()?;

    let mut reported = 0;
    for (counter, step) in COUNTERS.iter().cycle().zip(1..=increments) {
        way.increment(&counters, counter)?;
        if step % REPORT_EVERY == 0 || step == increments {
            progress.add(step - reported)?;
            reported = step;
        }
    }
    println!("done");
    Ok(())
}

/// Counts both ways and prints what came of it.
fn compare(args: &Args) -> Result<()> {
    let manager = Manager::start()?;
    let atomic = count(&manager, Way::Add, args)?;
    let careless = count(&manager, Way::GetThenSet, args)?;
    manager.close();

    println!("{}", Table { args, counted: [&atomic, &careless] });
    ensure!(atomic.totals == expected(args), "the totals of the atomic increments are not exact");
    Ok(())
}

/// What the counters come to if nothing is lost.
fn expected(args: &Args) -> Vec<u64> {
    let counters = COUNTERS.len() as u64;
    let of_one = |at| args.increments / counters + u64::from(at < args.increments % counters);
    (0..counters).map(|at| of_one(at) * u64::from(args.processes)).collect()
}

/// What came of counting one way.
struct Counted {
    way: Way,
    totals: Vec<u64>,
    time: Duration,
}

impl Counted {
    fn total(&self) -> u64 {
        self.totals.iter().sum()
    }

    fn lost(&self, args: &Args) -> u64 {
        (u64::from(args.processes) * args.increments).saturating_sub(self.total())
    }

    fn calls(&self, args: &Args) -> u64 {
        u64::from(args.processes) * args.increments * self.way.calls_per_increment()
    }
}

/// Counts one way, with new processes in a new dict.
fn count(manager: &Manager, way: Way, args: &Args) -> Result<Counted> {
    let counters: Dict<String, u64> = manager.new_dict()?;
    counters.update(COUNTERS.map(|counter| (counter.to_owned(), 0)))?;
    let progress: Value<u64> = manager.new_value(&0)?;
    // Each worker takes both tokens up once; until then they keep the objects alive.
    let tokens = [counters.token(args.processes, READY_WITHIN)?, progress.token(args.processes, READY_WITHIN)?];

    let mut workers = Workers::start(manager, way, args, &tokens)?;
    let deadline = Instant::now() + READY_WITHIN;
    workers.wait_for(Saying::Ready, || {
        ensure!(Instant::now() < deadline, "some workers were not ready within {READY_WITHIN:?}");
        Ok(())
    })?;

    let bar = bar(way, args);
    let begin = Instant::now();
    workers.go()?;
    workers.wait_for(Saying::Done, || {
        // The manager has better things to do than to be asked for what nobody sees.
        if !bar.is_hidden() {
            bar.set_position(progress.get()?);
        }
        Ok(())
    })?;
    let time = begin.elapsed();
    bar.finish_and_clear();
    workers.end()?;

    let totals = counters.get_many(COUNTERS)?;
    Ok(Counted { way, totals: totals.into_iter().map(Option::unwrap_or_default).collect(), time })
}

fn bar(way: Way, args: &Args) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>13} {wide_bar} {human_pos}/{human_len} {elapsed}");
    let style = style.expect("the template is constant");
    ProgressBar::new(u64::from(args.processes) * args.increments).with_style(style).with_message(way.to_string())
}

/// The worker processes of one run. Those that still run are killed when it is dropped.
struct Workers {
    all: Vec<Worker>,
    heard: Receiver<(usize, Saying)>,
}

/// What a worker says on its standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saying {
    Ready,
    Done,
    /// Nothing more, and it was not done.
    Nothing,
}

struct Worker {
    process: Child,
    input: ChildStdin,
}

impl Workers {
    fn start(manager: &Manager, way: Way, args: &Args, tokens: &[Token]) -> Result<Self> {
        let (said, heard) = channel();
        let start = |number| Worker::start(manager, way, args, tokens, number, said.clone());
        let all = (0..args.processes as usize).map(start).collect::<Result<_>>()?;
        Ok(Self { all, heard })
    }

    /// Lets all of them count.
    fn go(&mut self) -> Result<()> {
        self.all
            .iter_mut()
            .try_for_each(|worker| worker.tell("go"))
            .context("a worker has ended before it was to count")
    }

    /// Waits until each of them has said `what`, and does something else now and then.
    fn wait_for(&mut self, what: Saying, mut meanwhile: impl FnMut() -> Result<()>) -> Result<()> {
        let mut missing = self.all.len();
        while missing > 0 {
            match self.heard.recv_timeout(TICK) {
                Ok((_, said)) if said == what => missing -= 1,
                Ok((number, _)) => return Err(self.all[number].failure(number)),
                Err(_) => meanwhile()?,
            }
        }
        Ok(())
    }

    /// Waits for those that are done to end.
    fn end(mut self) -> Result<()> {
        for (number, worker) in self.all.iter_mut().enumerate() {
            if !worker.process.wait()?.success() {
                return Err(worker.failure(number));
            }
        }
        Ok(())
    }
}

impl Worker {
    fn start(
        manager: &Manager,
        way: Way,
        args: &Args,
        tokens: &[Token],
        number: usize,
        said: Sender<(usize, Saying)>,
    ) -> Result<Self> {
        let way = way.to_possible_value().expect("every way has a name");
        let mut command = Command::new(env::current_exe().context("this program cannot be found")?);
        command.args(["--worker", way.get_name(), "--increments", &args.increments.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        manager.share_with(&mut command);
        let mut process = command.spawn().context("a worker could not be started")?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both are piped");
        };
        thread::spawn(move || listen(output, |saying| said.send((number, saying))));
        let mut worker = Self { process, input };
        // Whoever reads the command lines of this machine must not find the tokens there. A worker that has ended already
        // has a reason, which is told when it is missed.
        let _ = tokens.iter().try_for_each(|token| worker.tell(&token.to_string()));
        Ok(worker)
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.input, "{line}")
    }

    /// What has become of a worker that is not done and says nothing more.
    fn failure(&mut self, number: usize) -> anyhow::Error {
        // An error means that it has ended, which is what is wanted.
        let _ = self.process.kill();
        let status = self.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut last_words = String::new();
        if let Some(mut errors) = self.process.stderr.take() {
            let _ = errors.read_to_string(&mut last_words);
        }
        match last_words.trim() {
            "" => anyhow!("worker {number} has failed without a word: {status}"),
            last_words => anyhow!("worker {number} has failed: {last_words}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Errors mean that it has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Hears what a worker says, until it is done or says nothing more.
fn listen(output: ChildStdout, tell: impl Fn(Saying) -> Result<(), SendError<(usize, Saying)>>) {
    let mut lines = BufReader::new(output).lines();
    loop {
        let saying = match lines.next() {
            Some(Ok(line)) if line == "ready" => Saying::Ready,
            Some(Ok(line)) if line == "done" => Saying::Done,
            _ => Saying::Nothing,
        };
        if tell(saying).is_err() || saying != Saying::Ready {
            return;
        }
    }
}

/// What came of counting both ways, side by side.
struct Table<'a> {
    args: &'a Args,
    counted: [&'a Counted; 2],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { args, counted: both @ [_, careless] } = self;
        let number = |number: u64| HumanCount(number).to_string();
        let row = |f: &mut fmt::Formatter<'_>, name: &str, expected: &str, cells: [String; 2]| {
            writeln!(f, "  {name:<18}{expected:>14}{:>16}{:>16}", cells[0], cells[1])
        };
        let every = expected(args);
        let total = every.iter().sum::<u64>();

        writeln!(
            f,
            "{} processes, {} increments each, on {} counters in one dict.\n",
            args.processes,
            number(args.increments),
            COUNTERS.len()
        )?;
        row(f, "", "expected", both.map(|counted| counted.way.to_string()))?;
        for (at, counter) in COUNTERS.iter().enumerate() {
            row(f, counter, &number(every[at]), both.map(|counted| number(counted.totals[at])))?;
        }
        row(f, "total", &number(total), both.map(|counted| number(counted.total())))?;
        row(f, "lost", "", both.map(|counted| number(counted.lost(args))))?;
        writeln!(f)?;
        row(f, "seconds", "", both.map(|counted| format!("{:.3}", counted.time.as_secs_f64())))?;
        row(f, "calls", "", both.map(|counted| number(counted.calls(args))))?;
        let rate = |counted: &Counted| number((counted.calls(args) as f64 / counted.time.as_secs_f64()) as u64);
        row(f, "calls per second", "", both.map(rate))?;
        writeln!(f)?;
        let share = 100.0 * careless.lost(args) as f64 / total as f64;
        writeln!(f, "add is one call and is applied as a whole: every update counts.")?;
        write!(f, "get, then set are two, with room for others in between: {share:.0} % of the updates are lost.")
    }
}
