//! The file that the authkey is in.

use std::format;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::vec::Vec;

use crate::scram::Authkey;

/// No authkey is longer than this, so a larger file is not one.
const FILE_BYTES_MAX: u64 = 4096;

/// The authkey file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthkeyFileError {
    /// There is none.
    #[error("there is no authkey file {}: start the manager first (holdfast serve makes it), or name the file with HOLDFAST_AUTHKEY_FILE", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("the authkey file {} cannot be {doing}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Read or written.
        doing: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// Others could have read it, or written it.
    #[error("the authkey file {} {problem}: it must belong to you and be readable by nobody else (chmod 600)", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// How it is exposed.
        problem: &'static str,
    },
    /// It does not hold a usable key.
    #[error("the authkey file {} holds no usable key: {problem}; delete it and let holdfast serve make a new one", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with what it holds.
        problem: std::string::String,
    },
}

/// Reads the authkey from a file, after ssh's rule: it must belong to this user, and nobody else may read or write it.
pub fn read_authkey_file(path: &Path) -> Result<Authkey, AuthkeyFileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => AuthkeyFileError::Missing(path.into()),
        _ => AuthkeyFileError::Io { path: path.into(), doing: "read", error },
    };
    let exposed = |problem| AuthkeyFileError::Exposed { path: path.into(), problem };
    let unusable = |problem| AuthkeyFileError::Unusable { path: path.into(), problem };

    let file = File::open(path).map_err(failed)?;
    // What was opened is what is checked: the name may lead elsewhere a moment later.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(unusable("it is not a regular file".into()));
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        return Err(exposed("belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(exposed("is accessible to others"));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    Authkey::new(text).map_err(|error| unusable(format!("{error}")))
}

/// Reads the authkey from a file, and makes the file first, with 32 random bytes as the key, if there is none.
///
/// The file appears whole or not at all, and of several processes that do this at once all get the same key.
pub fn create_authkey_file(path: &Path) -> Result<Authkey, AuthkeyFileError> {
    match read_authkey_file(path) {
        Err(AuthkeyFileError::Missing(_)) => {}
        found => return found,
    }
    let failed = |error: io::Error| AuthkeyFileError::Io { path: path.into(), doing: "written", error };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let random = |buffer: &mut [u8]| getrandom::fill(buffer).map_err(|error| failed(io::Error::other(error)));
    let (mut key, mut suffix) = ([0; 32], [0; 8]);
    random(&mut key)?;
    random(&mut suffix)?;
    let unfinished = path.with_extension(format!("new-{:016x}", u64::from_ne_bytes(suffix)));
    let written = write_authkey_file(&unfinished, &Authkey::from_random(key)).and_then(|()| {
        // A link, unlike a rename, does not replace a file that another process has made meanwhile.
        match fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    });
    let _ = fs::remove_file(&unfinished);
    written?;
    read_authkey_file(path)
}

/// Writes a new file, readable by this user only, that holds `authkey`.
pub fn write_authkey_file(path: &Path, authkey: &Authkey) -> Result<(), AuthkeyFileError> {
    let failed = |error: io::Error| AuthkeyFileError::Io { path: path.into(), doing: "written", error };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(authkey.as_str().as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::string::ToString;
    use std::thread;

    #[test]
    fn many_at_once_make_one_key_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/authkey");
        let keys: Vec<_> = thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| create_authkey_file(&path).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap().as_str().to_string()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && key.len() >= 43), "one key for all");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing unfinished stays");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authkey");
        assert!(matches!(read_authkey_file(&path), Err(AuthkeyFileError::Missing(_))));
        create_authkey_file(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(read_authkey_file(&path), Err(AuthkeyFileError::Exposed { .. })), "{mode:o}");
            assert!(matches!(create_authkey_file(&path), Err(AuthkeyFileError::Exposed { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(read_authkey_file(&path), Err(AuthkeyFileError::Unusable { .. })));
        assert!(matches!(read_authkey_file(folder.path()), Err(AuthkeyFileError::Unusable { .. })));
    }
}
