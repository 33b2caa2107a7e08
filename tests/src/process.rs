//! A process that a test starts.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::wait::PATIENCE;

/// A process that a test starts: told and read line by line, and killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { input: child.stdin.take(), child, lines: Mutex::new(lines) }
    }

    /// Its id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.lock().unwrap().recv_timeout(PATIENCE).expect("the process was to print a line")
    }

    /// The next line that it has printed, if it has.
    pub fn line_if_any(&self) -> Option<String> {
        self.lines.lock().unwrap().try_recv().ok()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Gives it a line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Closes its standard input.
    pub fn hang_up(&mut self) {
        self.input = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for_end(self.pid());
        self.child.wait().unwrap()
    }

    /// Waits until it has ended well.
    pub fn finish(mut self) {
        self.hang_up();
        let status = self.wait();
        assert!(status.success(), "the process ended with {status}");
    }

    /// The memory that it has in use, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
    }
}

/// Waits until a process has ended, also one that another process started.
pub(crate) fn wait_for_end(pid: Pid) {
    // It may have ended and been reaped already.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let timeout = Timespec::try_from(PATIENCE).ok();
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref());
    assert_eq!(ended, Ok(1), "process {pid} was to end");
}

impl Process {
    /// Waits until a process has ended that another process started.
    pub fn wait_for_other(pid: Pid) {
        wait_for_end(pid);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
