//! Two processes that talk to each other, of which one runs at a time.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// How long a process may go on at a time. Under callgrind it is some fifty times as slow as it is.
const TURN: Duration = Duration::from_secs(60);
/// How often a process is looked at that has not gone to sleep.
const LOOK: Duration = Duration::from_micros(20);

/// One of the two.
pub(super) struct Party {
    pub(super) pid: u32,
    pub(super) socket: UnixStream,
}

/// Passes on what two processes say to each other, until the first of them has nothing more to say.
///
/// How often a process is woken, and how much it then finds, depends on when the other one speaks. So here each gets all that
/// the other has said, at once, when the other has gone to sleep; and the other is asleep until it has the answer. What the two
/// do is then the same each time, however busy the machine is and however slowly they run.
///
/// A process is asleep when all of its threads are. What it was sent has woken it before the system says that it was sent, so it
/// is not taken for asleep before it has read that.
pub(super) fn pass_on(first: &mut Party, second: &mut Party) -> Result<()> {
    loop {
        let first_goes_on = pass(first, second)?;
        if !first_goes_on {
            return Ok(());
        }
        pass(second, first)?;
    }
}

/// Lets one finish its turn, and gives what it has said to the other. Whether it may have more to say.
fn pass(from: &mut Party, to: &mut Party) -> Result<bool> {
    let until = Instant::now() + TURN;
    while !is_asleep(from.pid)? {
        if Instant::now() > until {
            bail!("process {} did not go to sleep within {TURN:?}: does it poll?", from.pid);
        }
        interrupt::check()?;
        thread::sleep(LOOK);
    }
    let (mut said, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    let mut goes_on = true;
    from.socket.set_nonblocking(true)?;
    loop {
        match from.socket.read(&mut piece) {
            Ok(0) => {
                goes_on = false;
                break;
            }
            Ok(read) => said.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("listening to a process that is counted"),
        }
    }
    to.socket.set_nonblocking(false)?;
    match to.socket.write_all(&said) {
        // Who is gone needs nothing.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(goes_on),
        written => written.map(|()| goes_on).context("talking to a process that is counted"),
    }
}

/// Whether no thread of a process runs or is about to. One that has ended sleeps for good.
fn is_asleep(pid: u32) -> Result<bool> {
    let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(threads) => threads,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).context("looking at a process that is counted"),
    };
    for thread in threads {
        // A thread that is gone by now has not gone to sleep, and may have woken another.
        let Ok(stat) = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat"))) else {
            return Ok(false);
        };
        // The name, which stands before the state, may have parentheses of its own.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, Some('S' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_asleep_until_it_has_something_to_do() -> Result<()> {
        // It echoes what it is told, after some work of its own.
        let script = "while read -r line; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo \"$line\"; done";
        let mut shell =
            Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (mut to, mut from) = (shell.stdin.take().context("stdin")?, shell.stdout.take().context("stdout")?);
        let mut answer = [0; 3];
        for _ in 0..5 {
            to.write_all(b"go\n")?;
            while !is_asleep(shell.id())? {
                thread::yield_now();
            }
            // It has answered before it went to sleep, so this does not wait.
            rustix::io::ioctl_fionbio(&from, true)?;
            from.read_exact(&mut answer)?;
            rustix::io::ioctl_fionbio(&from, false)?;
            assert_eq!(&answer, b"go\n");
        }
        drop(to);
        shell.wait()?;
        assert!(is_asleep(shell.id())?, "it has ended");
        Ok(())
    }
}
