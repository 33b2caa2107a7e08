//! A file with a secret in it: how it is made, and what it must be like to be used.

use std::format;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::vec::Vec;

use zeroize::Zeroizing;

/// No file with a secret is longer than this; what is longer is cut, and then holds no secret.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A file with a secret cannot be used. The text goes on where "the file such-and-such" ends.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// There is none.
    #[error("does not exist")]
    Missing,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It cannot be written.
    #[error("cannot be written: {0}")]
    Write(#[source] io::Error),
    /// It is a folder, a pipe, or the like.
    #[error("is not a regular file: name another one")]
    Irregular,
    /// Others could have read it, or written it.
    #[error("{0}: it must belong to you and be readable by nobody else (chmod 600)")]
    Exposed(&'static str),
}

/// Reads a file, after ssh's rule: it must belong to this user, and nobody else may read or write it.
pub fn read_private_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => PrivateFileError::Missing,
        _ => PrivateFileError::Read(error),
    };
    let file = File::open(path).map_err(failed)?;
    // What was opened is what is checked: the name may lead elsewhere a moment later.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(PrivateFileError::Irregular);
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(PrivateFileError::Exposed("belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(PrivateFileError::Exposed("is accessible to others"));
    }
    let mut content = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// Makes a file with this content, readable by this user only, unless there is one already.
///
/// The file appears whole or not at all, and of several processes that do this at once one makes it: read it afterwards
/// to know which content it has.
pub fn create_private_file(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    put_private_file(path, content, |unfinished| {
        // A link, unlike a rename, does not replace a file that another process has made meanwhile.
        match fs::hard_link(unfinished, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    })
}

/// Makes a file have this content, readable by this user only, whether there was one before or not.
///
/// Whatever happens, it has the old content or the new one, whole; and the new one when this returns, also after a loss of
/// power.
pub fn replace_private_file(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    put_private_file(path, content, |unfinished| {
        fs::rename(unfinished, path)?;
        File::open(folder_of(path).unwrap_or(Path::new(".")))?.sync_all()
    })
}

/// Writes a new file beside where it belongs, and lets `put` put it there.
fn put_private_file(
    path: &Path,
    content: &[u8],
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), PrivateFileError> {
    let failed = PrivateFileError::Write;
    make_folder_of(path).map_err(failed)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|error| failed(io::Error::other(error)))?;
    let unfinished = path.with_extension(format!("new-{:016x}", u64::from_ne_bytes(suffix)));
    let written = write_private_file(&unfinished, content).and_then(|()| put(&unfinished).map_err(failed));
    let _ = fs::remove_file(&unfinished);
    written
}

/// Makes the folder that a file is to be in, for this user alone, unless it is there.
pub fn make_folder_of(path: &Path) -> io::Result<()> {
    match folder_of(path) {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

fn folder_of(path: &Path) -> Option<&Path> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty())
}

/// Writes a new file, readable by this user only.
pub(super) fn write_private_file(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let failed = PrivateFileError::Write;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.sync_all().map_err(failed)
}
