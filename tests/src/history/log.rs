//! What a client writes down of its calls: when each began, and when it had what answer.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use prost::Message;
use rustix::time::{ClockId, clock_gettime};

/// One line of a log.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// When, in nanoseconds of the clock that all processes of a machine share.
    #[prost(uint64, tag = "1")]
    pub at: u64,
    /// The session of the call.
    #[prost(bytes = "vec", tag = "2")]
    pub session: Vec<u8>,
    /// Its number there.
    #[prost(uint64, tag = "3")]
    pub number: u64,
    /// What happened.
    #[prost(oneof = "What", tags = "4, 5")]
    pub what: Option<What>,
}

/// What happened to a call.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// It is about to be sent.
    #[prost(message, tag = "4")]
    Begin(Begin),
    /// The client has its answer, or does not wait for it any more.
    #[prost(message, tag = "5")]
    End(End),
}

/// A call that is about to be sent.
#[derive(Clone, PartialEq, Message)]
pub struct Begin {
    /// The id of the object.
    #[prost(bytes = "vec", tag = "1")]
    pub object: Vec<u8>,
    /// The number of the op within the kind.
    #[prost(uint32, tag = "2")]
    pub op: u32,
    /// The encoded request.
    #[prost(bytes = "vec", tag = "3")]
    pub request: Vec<u8>,
    /// With which fence it comes; 0 is none.
    #[prost(uint64, tag = "4")]
    pub fence: u64,
    /// Whether it may wait.
    #[prost(bool, tag = "5")]
    pub waits: bool,
}

/// The end of a call, as its caller sees it.
#[derive(Clone, PartialEq, Message)]
pub struct End {
    /// How it ended.
    #[prost(enumeration = "How", tag = "1")]
    pub how: i32,
    /// The position in the manager's order, of one that was answered.
    #[prost(uint64, tag = "2")]
    pub index: u64,
    /// The encoded response, or what the caller was told instead.
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
    /// Whether the object is told that the caller has the answer.
    #[prost(bool, tag = "4")]
    pub acknowledge: bool,
    /// Why it was refused.
    #[prost(int32, tag = "5")]
    pub reason: i32,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum How {
    /// With a response.
    Answered = 0,
    /// With a refusal.
    Refused = 1,
    /// The caller does not wait any more.
    GivenUp = 2,
    /// The session is over: nobody knows.
    Lost = 3,
}

/// Where a client writes. What was written survives the death of the process.
#[derive(Debug)]
pub(super) struct Log(Mutex<File>);

impl Log {
    /// A new file.
    #[must_use]
    pub(super) fn create(path: &Path) -> Self {
        Self(Mutex::new(OpenOptions::new().create_new(true).append(true).open(path).unwrap()))
    }

    /// Writes an entry, with the time.
    pub(super) fn write(&self, session: &[u8], number: u64, what: What) {
        // The end of a call is when its answer is there, the beginning before anything is sent: so the time is taken here,
        // and not after others were waited for who write.
        let entry = Entry { at: now(), session: session.into(), number, what: Some(what) };
        let bytes = entry.encode_length_delimited_to_vec();
        self.0.lock().unwrap().write_all(&bytes).unwrap();
    }
}

/// All messages of a file. The last one of a process that was killed may be torn.
pub(super) fn read<T: Message + Default>(mut bytes: &[u8]) -> Vec<T> {
    let mut read = Vec::new();
    while let Ok(message) = T::decode_length_delimited(&mut bytes) {
        read.push(message);
        if bytes.is_empty() {
            break;
        }
    }
    read
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}
