//! The limit on open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::Limits;

/// How many files a connection takes: its socket, and over a Unix socket what its process is watched with.
const FILES_OF_CONNECTION: u64 = 2;

/// More than a manager has open beside connections: listeners, what its threads wait with, standard streams.
const OTHER_FILES: u64 = 64;

/// Lets this process open as many files as it may: every connection takes one, over a Unix socket two, and the usual soft
/// limit is for programs that still use `select`.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current < maximum {
        // Not being allowed to is no reason not to start: connections beyond the limit wait.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Says so if this process may not open as many files as its connections can take.
pub(crate) fn warn_if_files_are_few(limits: &Limits) {
    let Some(files) = getrlimit(Resource::Nofile).current else { return };
    if let Some(enough_for) = too_few(files, limits.connections as u64) {
        tracing::warn!(
            files,
            "the system lets this process open too few files for {} connections, the limit named connections: from about \
             {enough_for} on Unix sockets on, further ones wait until others end; raise the limit on open files (ulimit \
             -n), or lower max_connections",
            limits.connections
        );
    }
}

/// For how many connections so many files are enough, if that is fewer than there may be.
fn too_few(files: u64, connections: u64) -> Option<u64> {
    let enough_for = files.saturating_sub(OTHER_FILES) / FILES_OF_CONNECTION;
    (enough_for < connections).then_some(enough_for)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_over_a_unix_socket_counts_twice() {
        assert_eq!(too_few(1024, 480), None);
        assert_eq!(too_few(1024, 481), Some(480));
        assert_eq!(too_few(10, 1), Some(0));
        assert_eq!(too_few(10, 0), None);
    }
}
