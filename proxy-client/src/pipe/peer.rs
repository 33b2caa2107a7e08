//! The process that has the other end, watched until it ends.
//!
//! A socket tells its end when all its copies are closed. A process that was forked without exec has copies of its parent's
//! sockets, and keeps them for as long as it lives. So whoever takes up an end sends a file descriptor of its own process, and
//! the other end waits for that, too. It cannot mean another process that got the same id later, and it needs no right: what a
//! process could forge with it is its own end, which it may close anyway.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};

use super::frame::Header;
use super::outbound::FLAGS;

/// Who has the other end, as far as it was heard.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// The process that has this one too.
    Here,
    /// Another process, by a pidfd.
    Process(Arc<OwnedFd>),
    /// Nobody for now, or a process that cannot be watched: the end of the socket alone tells.
    Unknown,
}

impl Peer {
    /// To tell of it to another process, as that process will see it.
    pub(super) fn seen_from_elsewhere(&self) -> Option<OwnedFd> {
        match self {
            Self::Here => this_process(),
            Self::Process(pidfd) => pidfd.try_clone().ok(),
            Self::Unknown => None,
        }
    }
}

/// What came of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    Yes,
    /// There is no room for it now.
    Full,
}

/// Says that the end is nobody's until somebody takes it up.
pub(super) fn release(socket: impl AsFd) -> Result<Announced, Errno> {
    announce(socket, Header::Released, None)
}

/// Says that the end is this process's. Where this process cannot be watched there is nothing to say.
pub(super) fn hold(socket: impl AsFd) -> Result<Announced, Errno> {
    match this_process() {
        Some(pidfd) => announce(socket, Header::Held, Some(&pidfd)),
        None => Ok(Announced::Yes),
    }
}

fn announce(socket: impl AsFd, header: Header, pidfd: Option<&OwnedFd>) -> Result<Announced, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let pidfds: Vec<_> = pidfd.iter().map(|pidfd| pidfd.as_fd()).collect();
    if !pidfds.is_empty() {
        // There is room for one.
        control.push(SendAncillaryMessage::ScmRights(&pidfds));
    }
    loop {
        // The system takes a few bytes as a whole or not at all.
        match sendmsg(&socket, &[IoSlice::new(&header.written())], &mut control, FLAGS) {
            Ok(_) => return Ok(Announced::Yes),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Announced::Full),
            // The other end is closed: nobody is there to be told.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(Announced::Yes),
            Err(errno) => return Err(errno),
        }
    }
}

/// This process, to be watched, where the system can do that.
#[cfg(target_os = "linux")]
fn this_process() -> Option<OwnedFd> {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    pidfd_open(getpid(), PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn this_process() -> Option<OwnedFd> {
    None
}
