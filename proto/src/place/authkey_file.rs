//! The file that the authkey is in.

use std::format;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::private_file::{PrivateFileError, create_private_file, read_private_file, write_private_file};
use crate::scram::Authkey;

/// The authkey file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthkeyFileError {
    /// There is none.
    #[error("there is no authkey file {}: start the manager first (holdfast serve makes it), or name the file with HOLDFAST_AUTHKEY_FILE", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written, or others could have done either.
    #[error("the authkey file {} {problem}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        problem: PrivateFileError,
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

impl AuthkeyFileError {
    fn of(path: &Path, problem: PrivateFileError) -> Self {
        match problem {
            PrivateFileError::Missing => Self::Missing(path.into()),
            problem => Self::File { path: path.into(), problem },
        }
    }
}

/// Reads the authkey from a file, after ssh's rule: it must belong to this user, and nobody else may read or write it.
pub fn read_authkey_file(path: &Path) -> Result<Authkey, AuthkeyFileError> {
    let text = read_private_file(path).map_err(|problem| AuthkeyFileError::of(path, problem))?;
    Authkey::new(text.as_slice())
        .map_err(|error| AuthkeyFileError::Unusable { path: path.into(), problem: format!("{error}") })
}

/// Reads the authkey from a file, and makes the file first, with 32 random bytes as the key, if there is none.
///
/// The file appears whole or not at all, and of several processes that do this at once all get the same key.
pub fn create_authkey_file(path: &Path) -> Result<Authkey, AuthkeyFileError> {
    match read_authkey_file(path) {
        Err(AuthkeyFileError::Missing(_)) => {}
        found => return found,
    }
    let failed = |problem| AuthkeyFileError::of(path, problem);
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| failed(PrivateFileError::Write(std::io::Error::other(error))))?;
    create_private_file(path, &line(&Authkey::from_random(key))).map_err(failed)?;
    read_authkey_file(path)
}

/// Writes a new file, readable by this user only, that holds `authkey`.
pub fn write_authkey_file(path: &Path, authkey: &Authkey) -> Result<(), AuthkeyFileError> {
    write_private_file(path, &line(authkey)).map_err(|problem| AuthkeyFileError::of(path, problem))
}

fn line(authkey: &Authkey) -> Zeroizing<std::vec::Vec<u8>> {
    Zeroizing::new([authkey.as_str().as_bytes(), b"\n"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::string::ToString;
    use std::thread;
    use std::vec::Vec;

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
            assert!(
                matches!(
                    read_authkey_file(&path),
                    Err(AuthkeyFileError::File { problem: PrivateFileError::Exposed(_), .. })
                ),
                "{mode:o}"
            );
            assert!(
                matches!(
                    create_authkey_file(&path),
                    Err(AuthkeyFileError::File { problem: PrivateFileError::Exposed(_), .. })
                ),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(read_authkey_file(&path), Err(AuthkeyFileError::Unusable { .. })));
        let folder = read_authkey_file(folder.path());
        assert!(matches!(folder, Err(AuthkeyFileError::File { problem: PrivateFileError::Irregular, .. })));
    }
}
