//! What a child is told when it begins, and how: by one message on the socket that is its standard input.
//!
//! The message is sent before the child is started, so neither of the two ever waits for the other. It is short: what is long is
//! in a file in memory that goes with it.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use holdfast_proto::scram::Authkey;
use prost::Message;
use rustix::fs::{MemfdFlags, Mode, OFlags, fstat, memfd_create, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::stdio::dup2_stdin;

use super::access::Access;
use super::descriptors;

/// Tells a program what it was started to be.
pub(crate) const ROLE_VARIABLE: &str = "HOLDFAST_ROLE";

/// A process of this library. What follows is the number of the socket that it gets as its standard input, so that a program that
/// inherits the variable, and not the socket, is none.
const PROCESS: &str = "process:";

/// More is in a file in memory. Every socket takes so much at once.
const INLINE: usize = 4096;

/// The library's own descriptors: that of the parent, and a file in memory.
const OWN: usize = 2;

/// A child is told this.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Boot {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// Which child of which child it is.
    #[prost(uint32, repeated, tag = "2")]
    pub(super) path: Vec<u32>,
    #[prost(bool, tag = "3")]
    pub(super) is_daemon: bool,
    #[prost(string, tag = "4")]
    pub(super) parent_name: String,
    #[prost(uint32, tag = "5")]
    pub(super) parent_pid: u32,
    #[prost(message, repeated, tag = "6")]
    pub(super) access: Vec<WireAccess>,
    #[prost(oneof = "Task", tags = "7, 8")]
    pub(super) task: Option<Task>,
}

/// What a child is to do.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Task {
    #[prost(message, tag = "7")]
    Function(FunctionTask),
    #[prost(message, tag = "8")]
    Entry(EntryTask),
}

/// Run a registered function.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FunctionTask {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(oneof = "Arguments", tags = "2, 3, 4")]
    pub(super) arguments: Option<Arguments>,
}

/// Where the arguments of a function are.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Arguments {
    /// Here: a datum.
    #[prost(bytes = "bytes", tag = "2")]
    Here(Bytes),
    /// They hold proxies, and are in an object that this token stands for. They are read as those of the blocking library.
    #[prost(string, tag = "3")]
    Blocking(String),
    /// The same for those of the async library.
    #[prost(string, tag = "4")]
    Async(String),
}

/// Run an entry of the library itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryTask {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) message: Bytes,
}

/// A manager and its authkey.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(crate) struct WireAccess {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(string, tag = "2")]
    authkey: String,
}

impl fmt::Debug for WireAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireAccess").field("address", &self.address).finish_non_exhaustive()
    }
}

impl From<&Access> for WireAccess {
    fn from(access: &Access) -> Self {
        Self { address: access.address.to_string(), authkey: access.authkey.as_str().to_owned() }
    }
}

impl WireAccess {
    pub(super) fn read(&self) -> io::Result<Access> {
        let address = self.address.parse().map_err(io::Error::other)?;
        let authkey = Authkey::new(&*self.authkey).map_err(io::Error::other)?;
        Ok(Access { address, authkey })
    }
}

/// What comes before the message.
struct Header {
    /// How many bytes follow: all of the message, or nothing, as it is in a file.
    inline: u32,
    descriptors: u32,
}

impl Header {
    const BYTES: usize = 8;

    fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.inline.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.descriptors.to_ne_bytes());
        bytes
    }

    fn read(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { inline: u32::from_ne_bytes([a, b, c, d]), descriptors: u32::from_ne_bytes([e, f, g, h]) }
    }
}

/// A message on its way: the standard input of the child that gets it, and what tells the child so.
pub(super) struct Channel {
    pub(super) input: OwnedFd,
    pub(super) role: String,
}

/// Sends the message, for a child that is not started yet.
pub(super) fn send(boot: &Boot, given: &[OwnedFd]) -> io::Result<Channel> {
    let (ours, input) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
    let message = boot.encode_to_vec();
    // By this, and not by the number of this process, the child knows its parent: numbers are given again.
    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let is_inline = message.len() <= INLINE;
    let file = if is_inline { None } else { Some(in_memory(&message)?) };
    let own = [Some(this_process.as_fd()), file.as_ref().map(AsFd::as_fd)];
    let all: Vec<BorrowedFd<'_>> = own.into_iter().flatten().chain(given.iter().map(AsFd::as_fd)).collect();
    let inline: &[u8] = if is_inline { &message } else { &[] };
    let length = |length: usize| u32::try_from(length).expect("both are bounded");
    let header = Header { inline: length(inline.len()), descriptors: length(all.len()) }.bytes();

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors::MOST + OWN))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&all)), "there is room for all that may be given away");
    let parts = [IoSlice::new(&header), IoSlice::new(inline)];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = retry_on_intr(|| sendmsg(&ours, &parts, &mut control, flags))?;
    if sent != header.len() + inline.len() {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "the system's sockets take less than 4 KiB at once"));
    }
    let role = format!("{PROCESS}{}", fstat(&input)?.st_ino);
    Ok(Channel { input, role })
}

fn in_memory(message: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("holdfast-boot", MemfdFlags::CLOEXEC)?);
    file.write_all(message)?;
    file.rewind()?;
    Ok(file.into())
}

/// What a child got.
pub(super) struct Received {
    pub(super) boot: Boot,
    /// The parent, whatever has its number by now.
    pub(super) parent: OwnedFd,
    pub(super) given: Vec<OwnedFd>,
}

/// The socket that is the standard input of this process, if it was started by `Process::start`.
pub(super) fn channel() -> Option<io::Result<OwnedFd>> {
    let role = env::var_os(ROLE_VARIABLE)?;
    let number: u64 = role.to_str()?.strip_prefix(PROCESS)?.parse().ok()?;
    let input = rustix::stdio::stdin();
    let is_ours = fstat(input)
        .is_ok_and(|stat| stat.st_ino == number && rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket());
    is_ours.then(|| take(input))
}

/// Takes the standard input, and puts in its place what has nothing in it.
fn take(input: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Not one of the first three, where other programs and this one's children look for something else.
    let channel = fcntl_dupfd_cloexec(input, 3)?;
    dup2_stdin(open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
    Ok(channel)
}

/// Reads the message, all of which is there.
pub(super) fn receive(channel: &OwnedFd) -> io::Result<Received> {
    let mut buffer = [0; Header::BYTES + INLINE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors::MOST + OWN))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let received = retry_on_intr(|| recvmsg(channel, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut all: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    let torn = || io::Error::new(io::ErrorKind::InvalidData, "what the parent said is not whole");
    let (header, inline) = buffer[..received.bytes].split_first_chunk().ok_or_else(torn)?;
    let header = Header::read(*header);
    if header.inline as usize != inline.len() {
        return Err(torn());
    }
    if header.descriptors as usize != all.len() {
        return Err(io::Error::new(
            Errno::MFILE.kind(),
            "not all open files of the arguments could be taken: may this process have so many (ulimit -n)?",
        ));
    }
    let mut all = all.into_iter();
    let parent = all.next().ok_or_else(torn)?;
    let message = if inline.is_empty() {
        let mut message = Vec::new();
        File::from(all.next().ok_or_else(torn)?).read_to_end(&mut message)?;
        Bytes::from(message)
    } else {
        Bytes::copy_from_slice(inline)
    };
    let boot = Boot::decode(message).map_err(io::Error::other)?;
    Ok(Received { boot, parent, given: all.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(arguments: usize) -> Boot {
        let arguments = Arguments::Here(Bytes::from(vec![7; arguments]));
        let task = Task::Function(FunctionTask { name: "f".to_owned(), arguments: Some(arguments) });
        let access = WireAccess { address: "unix:/a".to_owned(), authkey: "very much a secret".to_owned() };
        Boot { name: "n".to_owned(), path: vec![1, 2], task: Some(task), access: vec![access], ..Boot::default() }
    }

    #[test]
    fn a_message_arrives_whole_with_its_descriptors_however_long_it_is() {
        // Around the length from which it is in a file, and beyond what any socket takes.
        for arguments in [0, 1, INLINE - 200, INLINE - 20, INLINE, INLINE + 1, 32 << 20] {
            let boot = boot(arguments);
            let (mut reader, writer) = io::pipe().expect("a pipe");
            let channel = send(&boot, &[writer.into()]).expect("sent, though nobody reads");
            let Received { boot: received, parent, given } = receive(&channel.input).expect("it is there");
            assert!(received == boot, "of {arguments} bytes");
            let parent = pidfd_pid(&parent);
            assert_eq!(parent, std::process::id());
            let [given] = <[OwnedFd; 1]>::try_from(given).expect("one descriptor");
            File::from(given).write_all(b"through").expect("written");
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("read");
            assert_eq!(text, "through");
        }
    }

    fn pidfd_pid(process: &OwnedFd) -> u32 {
        use std::os::fd::AsRawFd;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).expect("proc");
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
        pid.trim().parse().expect("a number")
    }

    #[test]
    fn no_debug_output_has_an_authkey() {
        let shown = format!("{:?}", boot(1));
        assert!(shown.contains("unix:/a") && !shown.contains("secret"), "{shown}");
    }
}
