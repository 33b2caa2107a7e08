//! A network that breaks where a test wants it to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

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
    /// Nothing passes any more, and nobody is told.
    vanished: AtomicBool,
    /// The sockets of all connections.
    sockets: Mutex<Vec<Arc<TcpStream>>>,
}

impl Cutter {
    /// `cut` is asked for each connection, by its number, which begins at 0.
    #[must_use]
    pub fn start(manager: &Address, cut: impl Fn(u64) -> Cut + Send + 'static) -> Self {
        let manager = manager.clone();
        Self::start_with(&manager.clone(), move |connection| (manager.clone(), cut(connection)))
    }

    /// Cuts nothing. `manager` is asked for each connection where it goes, by plain TCP.
    #[must_use]
    pub fn start_anywhere(manager: impl Fn() -> Address + Send + 'static) -> Self {
        Self::start_with(&Address::Http(String::new()), move |_| (manager(), Cut::NEVER))
    }

    fn start_with(like: &Address, route: impl Fn(u64) -> (Address, Cut) + Send + 'static) -> Self {
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
                let (manager, cut) = route(shared.connections.fetch_add(1, Ordering::SeqCst));
                let (Address::Http(authority) | Address::Https(authority)) = manager else {
                    panic!("a Unix socket does not break")
                };
                let Ok(manager) = TcpStream::connect(&*authority) else { continue };
                shared.up.store(0, Ordering::SeqCst);
                shared.down.store(0, Ordering::SeqCst);
                let (client, manager) = (Arc::new(client), Arc::new(manager));
                shared.sockets.lock().unwrap().extend([client.clone(), manager.clone()]);
                for (from, to, bytes, is_up) in
                    [(&client, &manager, cut.up, true), (&manager, &client, cut.down, false)]
                {
                    from.set_nodelay(true).unwrap();
                    let (from, to, shared) = (from.clone(), to.clone(), shared.clone());
                    thread::spawn(move || {
                        let passed = if is_up { &shared.up } else { &shared.down };
                        if pass(&from, &to, bytes, passed, &shared.vanished) {
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

    /// Cuts all connections that there are. Those that are made later pass.
    pub fn cut(&self) {
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            // One that has ended by itself cannot be shut down.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing passes, and neither end is told, as if the host of the other had lost its power: its kernel answers
    /// nothing either, neither data nor a question whether it is there.
    pub fn vanish(&self) {
        /// The whole program of a filter (classic BPF): "return 0", which takes in no byte of any packet.
        const NOTHING: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        self.shared.vanished.store(true, Ordering::SeqCst);
        for socket in &*self.shared.sockets.lock().unwrap() {
            SockRef::from(&**socket).attach_filter(&[NOTHING]).unwrap();
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

impl Drop for Cutter {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

/// Passes so many bytes on, and cuts both connections then. Whether it did.
fn pass(mut from: &TcpStream, mut to: &TcpStream, bytes: u64, passed: &AtomicU64, vanished: &AtomicBool) -> bool {
    let mut buffer = vec![0; 16 << 10];
    let mut left = bytes;
    let is_cut = loop {
        if left == 0 {
            break true;
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match from.read(&mut buffer[..most]) {
            Ok(_) if vanished.load(Ordering::SeqCst) => return false,
            Ok(read @ 1..) => {
                if to.write_all(&buffer[..read]).is_err() {
                    break false;
                }
                passed.fetch_add(read as u64, Ordering::SeqCst);
                left -= read as u64;
            }
            Ok(0) | Err(_) => break false,
        }
    };
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    is_cut
}
