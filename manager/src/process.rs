//! Another process, watched until it ends: the one at the other end of a Unix socket, the owner of a private manager.
//!
//! What only Linux has stands here and nowhere else in the manager: a file descriptor of a process (pidfd), which can be
//! waited for like a socket. Where there is none (other systems, Linux before 5.3, a sandbox that forbids it) no process is
//! watched, and the end of its socket or pipe alone tells its end: at once, unless another process has inherited that.

use std::future::{Future, pending};
use std::io;
use std::pin::Pin;

use rustix::fd::AsFd;
use tokio::net::unix::UCred;

pub(crate) use system::Process;

/// What is known of the process at the other end of a connection: nothing, unless that is a Unix socket.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Its id, where this process can see it.
    pub(crate) pid: Option<u32>,
    /// To watch it, where the system can do that.
    pub(crate) process: Option<Process>,
}

impl Peer {
    /// The process that connected this socket, whoever has it by now. `ConnectionAborted` if that process is no more; another
    /// error is one of the system, which may have what it takes later.
    pub(crate) fn of(socket: impl AsFd, credentials: &UCred) -> io::Result<Self> {
        // 0 stands for a process in a container that this one cannot see.
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        Ok(Self { pid, process: Process::peer(socket, pid)? })
    }

    /// Ready when it has ended: never, if it is not watched. Must be called where it is waited for.
    pub(crate) fn ended(self) -> io::Result<Pin<Box<dyn Future<Output = ()> + Send>>> {
        Ok(match self.process {
            Some(process) => Box::pin(process.ended()?),
            None => Box::pin(pending()),
        })
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::future::Future;
    use std::io;

    use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A process that can be watched.
    #[derive(Debug)]
    pub(crate) struct Process(OwnedFd);

    impl Process {
        /// The process that connected a socket, if it can be watched.
        pub(super) fn peer(socket: impl AsFd, pid: Option<u32>) -> io::Result<Option<Self>> {
            match getsockopt(&socket.as_fd(), PeerPidfd).map_err(|errno| Errno::from_raw_os_error(errno as i32)) {
                // Linux before 6.5.
                Err(Errno::NOPROTOOPT) => Self::with_pid(pid),
                // Said of a process that was there and is no more.
                Err(Errno::INVAL) => gone(),
                found => told(found),
            }
        }

        /// The process that has this id now.
        ///
        /// It may have ended since it connected, and another have its id. Then that one is watched, and the end of the
        /// connection alone tells the end of the first. Nobody is harmed: the connection ends early only if its process has
        /// ended, which it has.
        fn with_pid(pid: Option<u32>) -> io::Result<Option<Self>> {
            let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else { return Ok(None) };
            told(pidfd_open(pid, PidfdFlags::empty()))
        }

        /// The process that started this one, if it can be watched.
        pub(crate) fn parent() -> Option<Self> {
            let parent = getppid()?;
            pidfd_open(parent, PidfdFlags::empty()).ok().map(Self)
        }

        /// Ready when it has ended. Must be called inside the runtime in which that is waited for.
        pub(crate) fn ended(self) -> io::Result<impl Future<Output = ()> + Send + 'static> {
            #[expect(
                deprecated,
                reason = "it takes anything for the owner of a file descriptor, which is unsound; an OwnedFd is one, and what \
                          replaces it is unsafe to call"
            )]
            let watched = AsyncFd::with_interest(self.0, Interest::READABLE)?;
            Ok(async move {
                // An error means that the runtime ends, and with it whoever waits.
                let _ = watched.readable().await;
            })
        }
    }

    fn told(found: Result<OwnedFd, Errno>) -> io::Result<Option<Process>> {
        match found {
            Ok(process) => Ok(Some(Process(process))),
            Err(Errno::SRCH) => gone(),
            Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno.into()),
            Err(errno) => {
                tracing::debug!(%errno, "the process at the other end of a connection cannot be watched");
                Ok(None)
            }
        }
    }

    fn gone() -> io::Result<Option<Process>> {
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the process at the other end has ended"))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::convert::Infallible;
    use std::future::Pending;
    use std::io;

    use rustix::fd::AsFd;

    /// A process that can be watched: there is none.
    #[derive(Debug)]
    pub(crate) struct Process(Infallible);

    impl Process {
        pub(super) fn peer(_socket: impl AsFd, _pid: Option<u32>) -> io::Result<Option<Self>> {
            Ok(None)
        }

        pub(crate) fn parent() -> Option<Self> {
            None
        }

        pub(crate) fn ended(self) -> io::Result<Pending<()>> {
            match self.0 {}
        }
    }
}
