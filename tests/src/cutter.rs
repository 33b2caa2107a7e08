//! A network that breaks where a test wants it to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::Duration;

use holdfast::Address;
use socket2::{SockFilter, SockRef};

/// How many bytes of one connection pass before it is cut: from the client, and from the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// From the client to the manager.
    pub up: u64,
    /// From the manager to the client.
    pub down: u64,
}

impl Cut {
    /// Never.
    pub const NEVER: Self = Self { up: u64::MAX, down: u64::MAX };
}

/// Where in one frame of HTTP/2 a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Before it, which is after the one before it.
    Before,
    /// In its head.
    Head,
    /// Between its head and its payload.
    BeforePayload,
    /// In the middle of its payload.
    Payload,
    /// Before its last byte.
    BeforeLast,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Before, Self::Head, Self::BeforePayload, Self::Payload, Self::BeforeLast];
}

/// How far one direction of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So many bytes.
    Bytes(u64),
    /// So many whole frames, the preface of a client counted as one, and a part of the next.
    Frame(u64, Part),
}

/// How it is on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// What comes passes.
    #[default]
    Clear,
    /// What comes passes so much later.
    Late(Duration),
    /// Nothing passes, and nobody is told.
    Still,
}

/// Passes connections on to a manager, and cuts each where it is told to.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    closed: AtomicBool,
    connections: AtomicU64,
    cuts: AtomicU64,
    /// What has passed on the connection that was made last.
    up: AtomicU64,
    down: AtomicU64,
    weather: Mutex<Weather>,
    weather_changes: Condvar,
    /// Both ends of each connection.
    sockets: Mutex<Vec<Weak<TcpStream>>>,
    /// Nothing passes any more, and nobody is told.
    vanished: AtomicBool,
    /// Those of connections whose other end has vanished: closing them would tell.
    gone: Mutex<Vec<Arc<TcpStream>>>,
}

impl Cutter {
    /// `cut` is asked for each connection, by its number, which begins at 0.
    #[must_use]
    pub fn start(manager: &Address, cut: impl Fn(u64) -> Cut + Send + 'static) -> Self {
        Self::start_within(manager, move |connection| {
            let Cut { up, down } = cut(connection);
            [Until::Bytes(up), Until::Bytes(down)]
        })
    }

    /// `until` is asked for each connection how far it goes from the client, and from the manager. Frames are told apart in
    /// plain text alone.
    #[must_use]
    pub fn start_within(manager: &Address, until: impl Fn(u64) -> [Until; 2] + Send + 'static) -> Self {
        let manager = manager.clone();
        Self::start_with(&manager.clone(), move |connection| (manager.clone(), until(connection)))
    }

    /// Cuts nothing. `manager` is asked for each connection where it goes, by plain TCP.
    #[must_use]
    pub fn start_anywhere(manager: impl Fn() -> Address + Send + 'static) -> Self {
        Self::start_with(&Address::Http(String::new()), move |_| (manager(), [Until::Bytes(u64::MAX); 2]))
    }

    fn start_with(like: &Address, route: impl Fn(u64) -> (Address, [Until; 2]) + Send + 'static) -> Self {
        let scheme = if matches!(like, Address::Https(_)) { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let cutter = Self { address, scheme, shared: shared.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.unwrap();
                if shared.closed.load(Ordering::SeqCst) {
                    continue;
                }
                let (manager, [up, down]) = route(shared.connections.fetch_add(1, Ordering::SeqCst));
                let (Address::Http(authority) | Address::Https(authority)) = manager else {
                    panic!("a Unix socket does not break")
                };
                let Ok(manager) = TcpStream::connect(&*authority) else { continue };
                shared.up.store(0, Ordering::SeqCst);
                shared.down.store(0, Ordering::SeqCst);
                let (client, manager) = (Arc::new(client), Arc::new(manager));
                {
                    let mut sockets = shared.sockets.lock().unwrap();
                    sockets.retain(|socket| socket.strong_count() > 0);
                    sockets.extend([Arc::downgrade(&client), Arc::downgrade(&manager)]);
                }
                for (from, to, until, is_up) in [(&client, &manager, up, true), (&manager, &client, down, false)] {
                    from.set_nodelay(true).unwrap();
                    let (from, to, shared) = (from.clone(), to.clone(), shared.clone());
                    thread::spawn(move || {
                        let passed = if is_up { &shared.up } else { &shared.down };
                        if pass(&from, &to, Meter::new(until, is_up), passed, &shared.vanished, || {
                            shared.wait_for_weather();
                        }) {
                            shared.cuts.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
            }
        });
        cutter
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Address {
        format!("{}://{}", self.scheme, self.address).parse().unwrap()
    }

    /// Passes no further connection on.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
    }

    /// Changes how it is on the way, for all connections.
    pub fn set_weather(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
        self.shared.weather_changes.notify_all();
    }

    /// Cuts all connections that there are. Whether there was one.
    pub fn cut_all(&self) -> bool {
        let sockets = std::mem::take(&mut *self.shared.sockets.lock().unwrap());
        let mut found = false;
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            found |= socket.shutdown(Shutdown::Both).is_ok();
        }
        found
    }

    /// From now on nothing passes, and neither end is told, as if the host of the other had lost its power: its kernel answers
    /// nothing either, neither data nor a question whether it is there.
    pub fn vanish(&self) {
        /// The whole program of a filter (classic BPF): "return 0", which takes in no byte of any packet.
        const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        self.shared.vanished.store(true, Ordering::SeqCst);
        let sockets = std::mem::take(&mut *self.shared.sockets.lock().unwrap());
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            SockRef::from(&*socket).attach_filter(&[NOTHING]).unwrap();
            self.shared.gone.lock().unwrap().push(socket);
        }
    }

    /// How many connections were cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// The bytes that have passed on the connection that was made last.
    #[must_use]
    pub fn passed(&self) -> Cut {
        Cut { up: self.shared.up.load(Ordering::SeqCst), down: self.shared.down.load(Ordering::SeqCst) }
    }
}

impl Shared {
    /// Waits until the weather lets pass what has come.
    fn wait_for_weather(&self) {
        let is_still = |weather: &mut Weather| *weather == Weather::Still && !self.over.load(Ordering::SeqCst);
        let weather = self.weather_changes.wait_while(self.weather.lock().unwrap(), is_still).unwrap();
        let weather = *weather;
        if let Weather::Late(delay) = weather {
            thread::sleep(delay);
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.weather_changes.notify_all();
        let _ = TcpStream::connect(self.address);
        self.cut_all();
    }
}

/// What may yet pass in one direction.
struct Meter {
    until: Until,
    /// Frames that have passed.
    frames: u64,
    /// The head of the frame that passes, as far as it has come.
    head: Vec<u8>,
    /// What has come of the payload.
    payload: u64,
}

impl Meter {
    const HEAD: usize = 9;
    const PREFACE: u64 = 24;

    fn new(until: Until, is_up: bool) -> Self {
        let mut meter = Self { until, frames: 0, head: Vec::new(), payload: 0 };
        if is_up {
            // The preface is like a frame of which the head has come.
            meter.head = [&Self::PREFACE.to_be_bytes()[5..], &[0; 6]].concat();
        }
        meter
    }

    /// How much of the payload there is, once the head has come.
    fn length(&self) -> Option<u64> {
        let length = |head: &[u8]| u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        (self.head.len() == Self::HEAD).then(|| length(&self.head))
    }

    /// Whether the place is reached at which to cut.
    fn is_reached(&self) -> bool {
        match self.until {
            Until::Bytes(left) => left == 0,
            Until::Frame(frames, _) if frames != self.frames => frames < self.frames,
            Until::Frame(_, Part::Before) => true,
            Until::Frame(_, Part::Head) => self.head.len() >= Self::HEAD / 2,
            Until::Frame(_, part) => self.length().is_some_and(|length| {
                self.payload
                    >= match part {
                        Part::Payload => length / 2,
                        Part::BeforeLast => length.saturating_sub(1),
                        Part::Before | Part::Head | Part::BeforePayload => 0,
                    }
            }),
        }
    }

    /// How many of these bytes pass.
    fn take(&mut self, bytes: &[u8]) -> usize {
        if let Until::Bytes(left) = &mut self.until {
            let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            *left -= taken as u64;
            return taken;
        }
        for (at, byte) in bytes.iter().enumerate() {
            if self.is_reached() {
                return at;
            }
            match self.length() {
                None => self.head.push(*byte),
                Some(_) => self.payload += 1,
            }
            if self.length() == Some(self.payload) {
                (self.frames, self.payload) = (self.frames + 1, 0);
                self.head.clear();
            }
        }
        bytes.len()
    }
}

/// Passes on what the meter lets pass, and cuts both connections then. Whether it did.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    mut meter: Meter,
    passed: &AtomicU64,
    vanished: &AtomicBool,
    wait_for_weather: impl Fn(),
) -> bool {
    let mut buffer = vec![0; 16 << 10];
    let is_cut = loop {
        if meter.is_reached() {
            break true;
        }
        match from.read(&mut buffer) {
            Ok(_) if vanished.load(Ordering::SeqCst) => return false,
            Ok(read @ 1..) => {
                wait_for_weather();
                let passing = meter.take(&buffer[..read]);
                if to.write_all(&buffer[..passing]).is_err() {
                    break false;
                }
                passed.fetch_add(passing as u64, Ordering::SeqCst);
            }
            Ok(0) | Err(_) => break false,
        }
    };
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    is_cut
}
