//! Who had the lock: a file in which everyone who has it writes down its name, so that hand-offs can be counted.
//!
//! A lock that is taken again by who has just released it makes a good many calls a second, and hands nothing to anybody.
//! So what counts is how often it had another holder than before. All contenders count this way, in Python too, and at
//! the same cost: a read and a write of 16 bytes while they hold the lock, far less than a call.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::load::{Load, Timer};
use crate::reading::Reading;

/// The holder before, and how many hand-offs there were: two numbers of 8 bytes, the lower bytes first.
const BYTES: usize = 16;

/// The file, as one of those who contend has it.
pub(crate) struct Register {
    file: File,
    me: u64,
    enough: u64,
}

/// What it means to have the lock now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// It was had by this one before, too.
    Again,
    HandOff,
    /// There were as many hand-offs as there are to be.
    Enough,
}

impl Register {
    /// For the process of this number; there are to be `enough` hand-offs, all processes together.
    pub(crate) fn open(path: &Path, me: u32, enough: u64) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path);
        Ok(Self { file: file.with_context(|| format!("opening {}", path.display()))?, me: me.into(), enough })
    }

    /// Writes down that this one has the lock. To be called while it has it.
    pub(crate) fn sign(&self) -> std::io::Result<Turn> {
        let mut record = [0; BYTES];
        self.file.read_exact_at(&mut record, 0)?;
        let (mut last, mut count) = ([0; 8], [0; 8]);
        last.copy_from_slice(&record[..8]);
        count.copy_from_slice(&record[8..]);
        let (last, count) = (u64::from_le_bytes(last), u64::from_le_bytes(count));
        if count >= self.enough {
            return Ok(Turn::Enough);
        }
        if last == self.me {
            return Ok(Turn::Again);
        }
        record[..8].copy_from_slice(&self.me.to_le_bytes());
        record[8..].copy_from_slice(&(count + 1).to_le_bytes());
        self.file.write_all_at(&record, 0)?;
        Ok(Turn::HandOff)
    }
}

/// Takes the lock time and again, until there were enough hand-offs; `hold` takes it, signs, and gives it back.
pub(crate) fn contend(mut hold: impl FnMut() -> Result<Turn>) -> Result<Load> {
    let mut timer = Timer::start_untimed();
    loop {
        match hold()? {
            Turn::HandOff => timer.tick(),
            Turn::Again => {}
            Turn::Enough => return Ok(timer.stop()),
        }
    }
}

/// In the harness: lets processes contend, who are started with the path of a new register, and makes sure that none of
/// them had the lock while another had it: each hand-off was then counted by one.
pub(crate) fn count(path: &Path, handoffs: u64, run: impl FnOnce() -> Result<Reading>) -> Result<Reading> {
    std::fs::write(path, [0; BYTES]).with_context(|| format!("writing {}", path.display()))?;
    let reading = run()?;
    if reading.calls != handoffs {
        bail!("{} hand-offs were counted instead of {handoffs}: two had the lock at once", reading.calls);
    }
    Ok(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_holder_is_a_hand_off_and_only_until_there_are_enough() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("register");
        let reading = Reading { calls: 3, seconds: 1.0, p50_us: None, p99_us: None };
        count(&path, 3, || {
            let (one, other) = (Register::open(&path, 1, 3)?, Register::open(&path, 2, 3)?);
            let turns = [&one, &one, &other, &one, &other, &one].map(|register| register.sign().ok());
            let expected = [Turn::HandOff, Turn::Again, Turn::HandOff, Turn::HandOff, Turn::Enough, Turn::Enough];
            assert_eq!(turns, expected.map(Some));
            Ok(reading)
        })?;
        assert!(count(&path, 2, || Ok(reading)).is_err(), "one hand-off was counted twice");
        Ok(())
    }
}
