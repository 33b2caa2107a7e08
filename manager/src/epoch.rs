//! Which life of a manager this is.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_proto::place::{PrivateFileError, make_folder_of, read_private_file, replace_private_file};
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

/// The epoch of a manager that has no file for it: one that belongs to a process, and whose fences nobody compares with those
/// of another life.
pub(crate) const FIRST: u16 = 1;

/// The epoch of a manager cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// Its file cannot be read, or others could have written it.
    #[error("the epoch file {} {problem}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        problem: PrivateFileError,
    },
    /// Its file holds something else.
    #[error(
        "the epoch file {} does not hold a number from 1 to 65535: write into it the epoch of the last manager that used it, \
         which is the upper 16 bits of each of its fences, or delete it if nobody remembers a fence",
        .0.display()
    )]
    Garbage(PathBuf),
    /// All epochs were used.
    #[error(
        "the epoch file {} holds 65535, the last epoch, so fences could not rise any more: delete it when nobody remembers a \
         fence of an earlier life, and fences begin anew",
        .0.display()
    )]
    Last(PathBuf),
}

/// The epoch of this life: one more than that of the last, which is in the file.
///
/// Several managers that share a file and start at once have one each. Where the new epoch cannot be written, this life may
/// have the epoch of another one, and a warning is logged.
pub(crate) fn next(path: &Path) -> Result<u16, EpochError> {
    // Until the end, so that nobody reads in between. A manager holds it for the time of one write.
    let locked = lock(path);
    let epoch = match last(path)? {
        None => FIRST,
        Some(last) => last.checked_add(1).ok_or_else(|| EpochError::Last(path.to_owned()))?,
    };
    let written =
        locked.as_ref().map_err(|error| PrivateFileError::Write(io::Error::new(error.kind(), error.to_string())));
    let written = written.and_then(|_lock| replace_private_file(path, format!("{epoch}\n").as_bytes()));
    if let Err(problem) = written {
        tracing::warn!(
            epoch,
            "the epoch file {} {problem}: fences of this life may not be above those of earlier lives; make its folder \
             writable for this user, or name another file with --epoch-file",
            path.display()
        );
    }
    Ok(epoch)
}

/// The epoch of the last life, if there was one.
fn last(path: &Path) -> Result<Option<u16>, EpochError> {
    let content = match read_private_file(path) {
        Ok(content) => content,
        Err(PrivateFileError::Missing) => return Ok(None),
        Err(problem) => return Err(EpochError::File { path: path.to_owned(), problem }),
    };
    let text = str::from_utf8(&content).unwrap_or_default().trim_ascii();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let epoch = text.parse().ok().filter(|epoch| is_number && *epoch != 0);
    epoch.map(Some).ok_or_else(|| EpochError::Garbage(path.to_owned()))
}

/// Keeps others who share the file from reading it, until what this returns is dropped.
fn lock(path: &Path) -> io::Result<File> {
    make_folder_of(path)?;
    // Not the file itself: each write puts another one in its place.
    let mut lock_path = OsString::from(path);
    lock_path.push(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path)?;
    retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    #[test]
    fn each_life_has_an_epoch_of_its_own_also_if_many_begin_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b/epoch");
        assert_eq!(next(&path).expect("the first"), 1);
        assert_eq!(next(&path).expect("the second"), 2);
        let mut epochs: Vec<u16> = thread::scope(|scope| {
            let lives: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..8).map(|_| next(&path).expect("an epoch")).collect())).collect();
            lives.into_iter().flat_map(|life| -> Vec<u16> { life.join().expect("it ends") }).collect()
        });
        epochs.sort_unstable();
        assert_eq!(epochs, (3..67).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(&path).expect("the file"), "66\n");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        let left = fs::read_dir(path.parent().expect("a folder")).expect("a folder").count();
        assert_eq!(left, 2, "the file and its lock, and nothing unfinished");
    }

    #[test]
    fn what_holds_no_epoch_is_refused_with_what_to_do_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("epoch");
        for garbage in ["", "0", "65536", "-1", "+1", "1 2", "epoch", "\u{663}"] {
            replace_private_file(&path, garbage.as_bytes()).expect("it is written");
            let error = next(&path).expect_err(garbage);
            assert!(matches!(error, EpochError::Garbage(_)) && error.to_string().contains("delete it"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("the file"), garbage);
        }
        replace_private_file(&path, b"65534").expect("it is written");
        assert_eq!(next(&path).expect("the last"), 65535);
        let error = next(&path).expect_err("none is left");
        assert!(matches!(error, EpochError::Last(_)) && error.to_string().contains("delete it"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("the file"), "65535\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let error = next(&path).expect_err("others can read it");
        assert!(matches!(error, EpochError::File { .. }) && error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn where_nothing_can_be_written_the_manager_lives_nevertheless() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("epoch");
        replace_private_file(&path, b"7").expect("it is written");
        // What the rights on a folder do, but for root as well.
        fs::create_dir(folder.path().join("epoch.lock")).expect("it is in the way of the lock");
        assert_eq!(next(&path).expect("it goes on"), 8);
        assert_eq!(fs::read_to_string(&path).expect("the file"), "7");
    }
}
