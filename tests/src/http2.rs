//! HTTP/2 written by hand (RFC 9113, RFC 7541), for what no library would let a test say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::BytesMut;
use holdfast::{Address, Authkey};
use holdfast_proto::scram::Binding;
use holdfast_proto::{BeginRequest, BeginResponse, FinishRequest, FinishResponse, TOKEN_METADATA, frame};
use prost::Message;
use rustix::net::{Shutdown, shutdown};

use crate::raw::handshake;
use crate::wait::PATIENCE;

/// The types of frames (RFC 9113, section 6).
pub mod kind {
    /// The body of a message.
    pub const DATA: u8 = 0;
    /// The headers of a message, or their beginning.
    pub const HEADERS: u8 = 1;
    /// What a stream depends on; deprecated, and still to be checked.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream.
    pub const RST_STREAM: u8 = 3;
    /// What one end is told of the other.
    pub const SETTINGS: u8 = 4;
    /// To be answered.
    pub const PING: u8 = 6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 7;
    /// More that the other end may send.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of the headers.
    pub const CONTINUATION: u8 = 9;
}

/// The flag of the last frame of one direction of a stream; of a SETTINGS or PING frame: that it is an acknowledgement.
pub const END_STREAM: u8 = 1;
/// The flag of the last frame of one list of headers.
pub const END_HEADERS: u8 = 4;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the manager may leave what it is told unread before it counts as pushing back.
const UNREAD: Duration = Duration::from_secs(1);

/// One frame, whatever it says.
#[must_use]
pub fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A list of headers as literals that are never indexed (RFC 7541, section 6.2.3), in any order and any number.
#[must_use]
pub fn header_block(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0x10);
        put_string(&mut block, name.as_bytes());
        put_string(&mut block, value);
    }
    block
}

/// A header as a literal that goes into the dynamic table (RFC 7541, section 6.2.1), as its newest entry: number 62.
#[must_use]
pub fn indexed_header(name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x40];
    put_string(&mut block, name.as_bytes());
    put_string(&mut block, value);
    block
}

/// A string of HPACK, not compressed (RFC 7541, sections 5.1 and 5.2).
fn put_string(block: &mut Vec<u8>, string: &[u8]) {
    const PREFIX_MAX: usize = 0x7f;
    if let Some(mut rest) = string.len().checked_sub(PREFIX_MAX) {
        block.push(PREFIX_MAX as u8);
        while rest >= 0x80 {
            block.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
    } else {
        block.push(string.len() as u8);
    }
    block.extend(string);
}

/// The headers of a gRPC request of this path, without a token.
#[must_use]
pub fn grpc_headers(path: &str) -> Vec<(&str, &[u8])> {
    vec![
        (":method", b"POST"),
        (":scheme", b"http"),
        (":authority", b"localhost"),
        (":path", path.as_bytes()),
        ("content-type", b"application/grpc"),
        ("te", b"trailers"),
    ]
}

/// What the manager has said on a connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The data of each stream.
    pub data: BTreeMap<u32, Vec<u8>>,
    /// The streams with headers of a response.
    pub answered: BTreeSet<u32>,
    /// The streams that it reset, and with what error.
    pub reset: BTreeMap<u32, u32>,
    /// Acknowledged pings.
    pub pongs: u64,
    /// Acknowledged settings.
    pub settled: u64,
    /// The error of the last GOAWAY that was not graceful.
    pub goaway: Option<u32>,
    /// The connection is over.
    pub ended: bool,
}

impl Heard {
    /// Takes one frame in.
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            kind::DATA => self.data.entry(stream).or_default().extend(payload),
            kind::HEADERS => drop(self.answered.insert(stream)),
            kind::RST_STREAM => drop(self.reset.insert(stream, number(0))),
            kind::SETTINGS => self.settled += u64::from(flags & END_STREAM),
            kind::PING => self.pongs += u64::from(flags & END_STREAM),
            kind::GOAWAY if number(4) != 0 => self.goaway = Some(number(4)),
            _ => {}
        }
    }
}

/// A connection on which every byte is the test's own. It grants the manager no window but what HTTP/2 begins with.
#[derive(Debug)]
pub struct Wire {
    socket: File,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    /// The headers that show the token, once there is one.
    token: Option<String>,
}

impl Wire {
    /// Connects, and says nothing; what the manager says is read.
    ///
    /// # Errors
    ///
    /// As connecting fails.
    pub fn silent(address: &Address) -> io::Result<Self> {
        let wire = Self::deaf(address)?;
        let (mut socket, heard) = (wire.socket.try_clone()?, wire.heard.clone());
        thread::spawn(move || {
            // How it ends does not matter: cut or closed.
            let _ = listen(&mut socket, &heard);
            heard.0.lock().unwrap().ended = true;
            heard.1.notify_all();
        });
        Ok(wire)
    }

    /// Connects, says nothing, and reads nothing.
    ///
    /// # Errors
    ///
    /// As connecting fails.
    pub fn deaf(address: &Address) -> io::Result<Self> {
        let socket: OwnedFd = match address {
            Address::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_write_timeout(Some(UNREAD))?;
                socket.into()
            }
            Address::Http(authority) => {
                let socket = TcpStream::connect(authority)?;
                socket.set_nodelay(true)?;
                socket.set_write_timeout(Some(UNREAD))?;
                socket.into()
            }
            Address::Https(_) => panic!("frames by hand are for plain text"),
        };
        Ok(Self { socket: socket.into(), heard: Arc::default(), token: None })
    }

    /// Connects and says the preface, with these settings: pairs of number and value.
    #[must_use]
    pub fn connect(address: &Address, settings: &[(u16, u32)]) -> Self {
        let wire = Self::silent(address).unwrap();
        wire.greet(settings);
        wire
    }

    /// Says the preface, with these settings: pairs of number and value.
    pub fn greet(&self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (number, value) in settings {
            payload.extend(number.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.say(&[PREFACE, &http2_frame(kind::SETTINGS, 0, 0, &payload)].concat());
    }

    /// Connects, says the preface and proves that it holds the authkey, on the streams 1 and 3.
    #[must_use]
    pub fn authenticated(address: &Address, authkey: &Authkey) -> Self {
        let mut wire = Self::connect(address, &[]);
        let (client_first, awaiting) = handshake(&Binding::None);
        let begun: BeginResponse = wire.ask(1, "/holdfast.v1.AuthService/Begin", &BeginRequest { client_first });
        let (client_final, awaiting) = awaiting.prove(&begun.server_first, authkey).unwrap();
        let finished: FinishResponse = wire.ask(3, "/holdfast.v1.AuthService/Finish", &FinishRequest { client_final });
        awaiting.confirm(&finished.server_final).unwrap();
        wire.token = Some(BASE64_STANDARD_NO_PAD.encode(finished.token));
        wire
    }

    /// Says these bytes. False if the manager has hung up, or leaves them unread for a second.
    pub fn say(&self, bytes: &[u8]) -> bool {
        (&self.socket).write_all(bytes).is_ok()
    }

    /// The headers of a gRPC request with the token of this connection, if it has one, in one HEADERS frame.
    #[must_use]
    pub fn request(&self, stream: u32, flags: u8, path: &str, more: &[(&str, &[u8])]) -> Vec<u8> {
        let mut headers = grpc_headers(path);
        headers.extend(self.token.as_ref().map(|token| (TOKEN_METADATA, token.as_bytes())));
        headers.extend(more);
        http2_frame(kind::HEADERS, flags | END_HEADERS, stream, &header_block(&headers))
    }

    /// Makes a unary call that is answered well.
    pub fn ask<R: Message + Default>(&self, stream: u32, path: &str, request: &impl Message) -> R {
        let mut body = BytesMut::new();
        frame::put_message(&mut body, request);
        let mut bytes = self.request(stream, 0, path, &[]);
        bytes.extend(http2_frame(kind::DATA, END_STREAM, stream, &body));
        assert!(self.say(&bytes), "the manager hung up: {:?}", self.heard());
        let message = self.until("an answer", |heard| {
            let (prefix, message) = heard.data.get(&stream)?.split_at_checked(frame::PREFIX)?;
            let len = u32::from_be_bytes(prefix[1..].try_into().unwrap());
            (message.len() == len as usize).then(|| message.to_vec())
        });
        R::decode(&*message).unwrap()
    }

    /// What has been heard so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.heard.0.lock().unwrap().clone()
    }

    /// Waits until what was heard says so.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Heard) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.heard.0.lock().unwrap();
        loop {
            if let Some(found) = look(&heard) {
                return found;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                // Not with the lock held, which the thread that listens takes too.
                let heard = Heard { data: BTreeMap::new(), ..heard.clone() };
                panic!("waited {PATIENCE:?} in vain: {what}; heard {heard:?}, and data");
            };
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }

    /// Waits until the manager has ended the connection.
    pub fn ended(&self) -> Heard {
        self.until("the manager ends the connection", |heard| heard.ended.then(|| heard.clone()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Ends the thread that listens. The connection may be over already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

/// Takes frames in until there are no more.
fn listen(socket: &mut File, heard: &(Mutex<Heard>, Condvar)) -> io::Result<()> {
    let mut socket = io::BufReader::with_capacity(64 << 10, socket);
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        socket.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap()) & (u32::MAX >> 1);
        heard.0.lock().unwrap().frame(head[3], head[4], stream, &payload);
        heard.1.notify_all();
    }
}
