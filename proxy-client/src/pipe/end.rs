//! One end of a pipe, which never waits.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_proto::Datum;
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, SocketFlags, SocketType, recvmsg,
    shutdown, socketpair,
};

use super::PipeError;
use super::inbound::{Inbound, News};
use super::outbound::Outbound;
use super::peer::{self, Announced, Peer};
use crate::error::Result;
use crate::owner::Owner;

/// While room is waited for, no more than this is read ahead of who receives.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// An end that is passed to another process takes no more than this with it of what has come already.
const PASSED_BYTES: usize = 64 << 10;

/// One end of a pipe: everything about it but waiting.
///
/// - It is one process's: the one that made the pipe, or the one that took it up. In a fork of that process it does nothing, and
///   is dropped there without a word.
/// - Whoever drops or closes it ends it for all copies of its socket, in whatever process they are.
/// - It has ended when its socket has, or when the process that has the other end is gone and nothing more can be read.
#[derive(Debug)]
pub struct End {
    socket: Arc<OwnedFd>,
    inbound: Inbound,
    outbound: Outbound,
    peer: Peer,
    /// The process that has the other end is gone. What it sent before that may not be read yet.
    peer_is_gone: bool,
    /// The other end was not told yet whose this one is.
    is_unannounced: bool,
    owner: Owner,
    /// Its socket is another process's now.
    is_passed: bool,
}

/// An end on its way to another process.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) socket: OwnedFd,
    pub(super) peer: Option<OwnedFd>,
    /// What has come and was not received.
    pub(super) unread: Vec<u8>,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    Some,
    Nothing,
    /// The socket has ended.
    End,
}

impl End {
    /// The two ends of a pipe, both of them this process's.
    pub(super) fn pair() -> Result<(Self, Self), PipeError> {
        let (first, second) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let end = |socket| Self::new(socket, Inbound::default(), Peer::Here);
        Ok((end(first), end(second)))
    }

    pub(super) fn new(socket: OwnedFd, inbound: Inbound, peer: Peer) -> Self {
        Self {
            socket: Arc::new(socket),
            inbound,
            outbound: Outbound::default(),
            peer,
            peer_is_gone: false,
            is_unannounced: false,
            owner: Owner::this(),
            is_passed: false,
        }
    }

    /// Takes up an end that was passed to this process.
    pub(super) fn take_up(passed: Passed) -> Self {
        let Passed { socket, peer, unread } = passed;
        let peer = peer.map_or(Peer::Unknown, |pidfd| Peer::Process(Arc::new(pidfd)));
        let mut end = Self::new(socket, Inbound::after(unread), peer);
        end.is_unannounced = true;
        // What goes wrong shows again when the end is used.
        let _ = end.announce();
        end
    }

    /// Lets go of the end, for another process to take it up. If this fails it stays as it is.
    pub(super) fn pass(&mut self) -> Result<Passed, String> {
        self.check().map_err(|error| error.to_string())?;
        if !self.outbound.is_empty() {
            return Err("a message was sent in part only: send something else, which sends the rest first".to_owned());
        }
        let unread = self.unread().map_err(|error| error.to_string())?;
        if unread.len() > PASSED_BYTES {
            return Err(format!("{} bytes have come and were not received: receive them first", unread.len()));
        }
        let socket = self.socket.try_clone().map_err(|error| error.to_string())?;
        // As long as it is not announced, it was released before.
        if !self.is_unannounced {
            match peer::release(&self.socket) {
                Ok(Announced::Yes) => {}
                Ok(Announced::Full) => return Err("the pipe is full: let the other end receive first".to_owned()),
                Err(errno) => return Err(errno.to_string()),
            }
        }
        self.is_passed = true;
        Ok(Passed { socket, peer: self.peer.seen_from_elsewhere(), unread })
    }

    fn unread(&mut self) -> Result<Vec<u8>, PipeError> {
        // A header is written as a whole, so what is missing of one can be read.
        while let Some(missing) = self.inbound.cut_header() {
            if self.fill_up_to(missing)? != Filled::Some {
                break;
            }
        }
        self.inbound.unread()
    }

    /// An end can be used by the process that has it.
    pub(super) fn check(&self) -> Result<(), PipeError> {
        if self.is_passed {
            Err(PipeError::Passed)
        } else if self.owner.is_elsewhere() {
            Err(PipeError::Forked)
        } else {
            Ok(())
        }
    }

    pub(super) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// The process to wait for beside the socket, by its pidfd.
    pub(super) fn watched(&self) -> Option<&Arc<OwnedFd>> {
        match &self.peer {
            Peer::Process(pidfd) if !self.peer_is_gone => Some(pidfd),
            _ => None,
        }
    }

    /// The process that is watched has ended.
    pub(super) fn note_gone(&mut self) {
        self.peer_is_gone = true;
    }

    /// Whether something waits for room in the socket.
    pub(super) fn has_output(&self) -> bool {
        self.is_unannounced || !self.outbound.is_empty()
    }

    /// Whether more may be read ahead of who receives.
    pub(super) fn may_read_ahead(&self) -> bool {
        self.inbound.len() < READ_AHEAD_BYTES
    }

    /// Writes what waits for room: whether that was all.
    pub(super) fn flush(&mut self) -> Result<bool, PipeError> {
        Ok(self.announce()? && self.outbound.write(&self.socket)?)
    }

    fn announce(&mut self) -> Result<bool, PipeError> {
        if self.is_unannounced {
            self.is_unannounced = peer::hold(&self.socket)? == Announced::Full;
        }
        Ok(!self.is_unannounced)
    }

    /// Takes a message to be sent. Only if nothing waits for room.
    pub(super) fn begin(&mut self, message: Datum) -> Result<(), PipeError> {
        self.outbound.begin(message)
    }

    /// Gives up the message that is being sent, if nothing of it was written: whether that is so.
    pub(super) fn give_up(&mut self) -> bool {
        self.outbound.give_up()
    }

    /// Reads what has come, once.
    pub(super) fn fill(&mut self) -> Result<Filled, PipeError> {
        self.fill_up_to(usize::MAX)
    }

    fn fill_up_to(&mut self, most: usize) -> Result<Filled, PipeError> {
        let room = self.inbound.room()?;
        let most = most.min(room.len());
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let read = loop {
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut room[..most])], &mut control, flags) {
                Ok(read) => break read.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Filled::Nothing),
                // It was closed, and something that this end had sent was not read.
                Err(Errno::CONNRESET) => return Ok(Filled::End),
                Err(errno) => return Err(errno.into()),
            }
        };
        let pidfd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        self.inbound.came(read, pidfd);
        while let Some(news) = self.inbound.next_news()? {
            self.peer_is_gone = false;
            self.peer = match news {
                News::Held(pidfd) => Peer::Process(Arc::new(pidfd)),
                News::Released => Peer::Unknown,
            };
        }
        Ok(if read == 0 { Filled::End } else { Filled::Some })
    }

    /// Reads until a message is there: whether one is. An error if none will come.
    pub(super) fn look(&mut self) -> Result<bool, PipeError> {
        loop {
            if self.inbound.has_message()? {
                return Ok(true);
            }
            match self.fill()? {
                Filled::Some => {}
                Filled::Nothing if !self.peer_is_gone => return Ok(false),
                Filled::Nothing | Filled::End if self.inbound.has_part() => return Err(PipeError::Torn),
                Filled::Nothing | Filled::End => return Err(PipeError::Ended),
            }
        }
    }

    /// The next message, if it is there.
    pub(super) fn take(&mut self) -> Result<Option<Datum>> {
        Ok(if self.look()? { self.inbound.take()? } else { None })
    }

    /// Reads what the other end says of itself while this one waits for room, which the dead never make.
    pub(super) fn look_for_room(&mut self) -> Result<(), PipeError> {
        while self.may_read_ahead() || self.peer_is_gone {
            match self.fill()? {
                Filled::Some => {}
                Filled::Nothing if !self.peer_is_gone => break,
                Filled::Nothing | Filled::End => {
                    self.outbound.clear();
                    return Err(PipeError::Closed);
                }
            }
        }
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.is_passed && !self.owner.is_elsewhere() {
            // An error means that the other end is gone.
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
    }
}
