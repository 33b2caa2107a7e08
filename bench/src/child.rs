//! A child process that cannot be forgotten: read line by line, waited for within bounds, killed when dropped.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;

/// How often a wait looks for an interrupt. Rarely enough not to disturb what shares the CPU.
const LOOK: Duration = Duration::from_millis(50);
/// What is kept of a child's standard error, to explain its failure.
const TAIL: usize = 2000;

/// Which program to start, and how.
#[derive(Clone)]
pub(crate) struct Launch {
    name: String,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Launch {
    /// A launch of `program` under the name by which messages call it.
    pub(crate) fn new(name: impl Into<String>, program: &Path) -> Self {
        Self { name: name.into(), arguments: vec![program.into()], environment: Vec::new() }
    }

    /// Adds arguments, separated by blanks.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.arguments.extend(words.split_whitespace().map(OsString::from));
        self
    }

    /// Adds one argument as it is.
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, variable: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((variable, value.into()));
        self
    }
}

/// A running child process, and the processes it starts itself.
pub(crate) struct Child {
    name: String,
    process: std::process::Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Receiver<String>,
    reaped: bool,
}

impl Child {
    /// Starts a child on `cpu`, or on any.
    pub(crate) fn start(launch: Launch, cpu: Option<usize>) -> Result<Self> {
        let Launch { name, arguments, environment } = launch;
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("child");
        if let Some(cpu) = cpu {
            command.arg(format!("--cpu={cpu}"));
        }
        command.arg("--").args(arguments).envs(environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own group: what it starts ends with it, and a Ctrl-C reaches the harness alone, which then ends all.
        command.process_group(0);
        let mut process = command.spawn().with_context(|| format!("starting {name}"))?;
        let input = process.stdin.take();
        let (said, lines) = channel();
        let (complained, complaints) = channel();
        if let Some(out) = process.stdout.take() {
            thread::spawn(move || forward_lines(out, &said));
        }
        if let Some(err) = process.stderr.take() {
            thread::spawn(move || keep_tail(err, &complained));
        }
        Ok(Self { name, process, input, lines, complaints, reaped: false })
    }

    /// The process id, the same before and after the program took over.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next line of its standard output; an error if it ends or stays silent for longer than `patience`.
    pub(crate) fn line(&mut self, patience: Duration) -> Result<String> {
        match self.next_line(patience)? {
            Some(line) => Ok(line),
            None => Err(self.failure("ended early")),
        }
    }

    /// All remaining lines of its standard output, once it has ended well.
    pub(crate) fn finish(mut self, patience: Duration) -> Result<Vec<String>> {
        let until = Instant::now() + patience;
        self.input = None;
        let mut lines = Vec::new();
        while let Some(line) = self.next_line(until.saturating_duration_since(Instant::now()))? {
            lines.push(line);
        }
        loop {
            if let Some(status) = self.process.try_wait()? {
                self.reaped = true;
                if status.success() {
                    return Ok(lines);
                }
                return Err(self.failure(&format!("failed ({status})")));
            }
            if Instant::now() > until {
                bail!("{} did not end within {patience:?}", self.name);
            }
            interrupt::check()?;
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or_else(|| anyhow!("{} takes no input", self.name))?;
        writeln!(input, "{line}").and_then(|()| input.flush()).with_context(|| format!("talking to {}", self.name))
    }

    /// Whether it is still running.
    pub(crate) fn is_running(&mut self) -> bool {
        let running = matches!(self.process.try_wait(), Ok(None));
        self.reaped |= !running;
        running
    }

    /// An error about it, with the end of what it wrote to standard error.
    pub(crate) fn failure(&mut self, what: &str) -> anyhow::Error {
        self.end();
        let tail = self.complaints.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let tail = tail.trim();
        if tail.is_empty() { anyhow!("{} {what}", self.name) } else { anyhow!("{} {what}: {tail}", self.name) }
    }

    fn next_line(&mut self, patience: Duration) -> Result<Option<String>> {
        let until = Instant::now() + patience;
        loop {
            interrupt::check()?;
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if Instant::now() > until => {
                    return Err(self.failure(&format!("was silent for {patience:?}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn end(&mut self) {
        // The group first, also when its leader has ended: it may have left children of its own. Until the leader
        // is reaped its id cannot have been given to anyone else.
        if !self.reaped {
            if let Some(group) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
                // It may not have reached its own group yet, or be gone: then the kill below or nothing is needed.
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
            self.reaped = true;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

fn forward_lines(out: impl Read, to: &Sender<String>) {
    for line in BufReader::new(out).lines() {
        let Ok(line) = line else { return };
        if to.send(line).is_err() {
            return;
        }
    }
}

fn keep_tail(mut err: impl Read, to: &Sender<String>) {
    let mut tail = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = err.read(&mut chunk) {
        tail.extend_from_slice(&chunk[..length]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
    // Nobody listens any more when the child ended well.
    let _ = to.send(String::from_utf8_lossy(&tail).into_owned());
}
