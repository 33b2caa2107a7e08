//! Where connections come in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_proto::place::{Address, runtime_folder};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::auth::Source;
use crate::certificate::Certificate;
use crate::network::Network;
use crate::process::Peer;
use crate::quiet::Quiet;
use crate::server::{Listen, StartError};

/// Connections that the kernel keeps until they are accepted: several hundred clients may start at once.
const BACKLOG: i32 = 4096;

/// How often a silent host is asked for a sign of life until its time is over.
const PROBE: Duration = Duration::from_secs(2);

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix { listener: UnixListener, path: PathBuf, _lock: File },
    Tcp(TcpListener),
    Tls(TcpListener, Certificate),
}

/// A connection that came in, and where from.
#[derive(Debug)]
pub(crate) enum Accepted {
    Unix(UnixStream, Source, Peer),
    Tcp(TcpStream, Source),
    /// What is to become of it is TLS, with this certificate.
    Tls(TcpStream, Source, Certificate),
}

impl Accepted {
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Unix(_, source, _) | Self::Tcp(_, source) | Self::Tls(_, source, _) => *source,
        }
    }

    /// Closes the connection, and tells the client for which limit if it can hear it: the preface of an HTTP/2 server, and
    /// a GOAWAY with the error `ENHANCE_YOUR_CALM` (RFC 9113, sections 3.4 and 6.8).
    pub(crate) fn turn_away(self, limit: &str) {
        let text =
            format!("the manager takes no more connections, for the limit named {limit}: close some, or raise it");
        let length = u8::try_from(8 + text.len()).expect("the text is short");
        let mut frames = vec![0, 0, 0, 0x4, 0, 0, 0, 0, 0];
        frames.extend([0, 0, length, 0x7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb]);
        frames.extend(text.as_bytes());
        // A socket that is new has room for it. If it has not, the client is told by the end of the connection.
        let _ = match &self {
            Self::Unix(stream, ..) => stream.try_write(&frames),
            Self::Tcp(stream, _) => stream.try_write(&frames),
            // There is no TLS yet in which to say it.
            Self::Tls(..) => Ok(0),
        };
    }
}

impl Listener {
    /// Listens on an address: over TLS with the certificate, in plain text on this machine alone unless other hosts are
    /// allowed explicitly.
    pub(crate) fn bind(to: &Listen, certificate: Option<&Certificate>) -> Result<Self, StartError> {
        let address = &to.address;
        let failed = |error| StartError::Listen(address.clone(), error);
        match address {
            Address::Unix(path) => Self::bind_unix(path).map_err(failed),
            Address::Http(authority) => {
                let socket = find(authority).map_err(failed)?;
                if !socket.ip().is_loopback() && !to.beyond_loopback {
                    return Err(StartError::Exposed(address.clone()));
                }
                bind_tcp(socket).map(Self::Tcp).map_err(failed)
            }
            Address::Https(authority) => {
                let certificate = certificate.ok_or_else(|| StartError::NoCertificate(address.clone()))?.clone();
                let listener = find(authority).and_then(bind_tcp).map_err(failed)?;
                Ok(Self::Tls(listener, certificate))
            }
        }
    }

    fn bind_unix(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent()
            && folder == runtime_folder()
        {
            make_private_folder(folder)?;
        }
        // The lock tells a socket that is being served from one that a killed manager left, without a race between two
        // managers that find the same one. It ends with this process.
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another manager serves this socket: use that one, stop it, or listen elsewhere",
                ));
            }
            Err(errno) => return Err(errno.into()),
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before `listen`, so nobody gets in between.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self::Unix { listener, path: path.to_owned(), _lock: lock })
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Unix { path, .. } => Ok(Address::Unix(std::path::absolute(path)?)),
            Self::Tcp(listener) => Ok(Address::Http(listener.local_addr()?.to_string())),
            Self::Tls(listener, _) => Ok(Address::Https(listener.local_addr()?.to_string())),
        }
    }

    /// The next connection. A failure is waited out and never ends the listener; `quiet` says when it is logged.
    pub(crate) async fn accept(&self, network: &Network, quiet: &mut Quiet) -> Accepted {
        let mut held = None;
        loop {
            match self.try_accept(network, &mut held).await {
                Ok(accepted) => return accepted,
                // Nobody is left who could be told.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    if let Some(unsaid) = quiet.say(Instant::now()) {
                        tracing::warn!(%error, unsaid, "a connection was refused");
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: trying again at once would only burn the CPU.
                    if let Some(unsaid) = quiet.say(Instant::now()) {
                        tracing::error!(%error, unsaid, "a connection could not be accepted");
                    }
                    tokio::time::sleep(network.accept_pause).await;
                }
            }
        }
    }

    /// The next connection. What came in when there was nothing left to watch its process with is held meanwhile.
    async fn try_accept(&self, network: &Network, held: &mut Option<UnixStream>) -> io::Result<Accepted> {
        match self {
            Self::Unix { listener, .. } => {
                let stream = match held.take() {
                    Some(stream) => stream,
                    None => listener.accept().await?.0,
                };
                let credentials = stream.peer_cred()?;
                let uid = credentials.uid();
                if uid != geteuid().as_raw() {
                    let problem = format!("the process at the other end belongs to user {uid}");
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
                }
                match Peer::of(&stream, &credentials) {
                    Ok(peer) => Ok(Accepted::Unix(stream, Source::User(uid), peer)),
                    Err(error) => {
                        if error.kind() != io::ErrorKind::ConnectionAborted {
                            *held = Some(stream);
                        }
                        Err(error)
                    }
                }
            }
            Self::Tcp(listener) => {
                let (stream, source) = accept_tcp(listener, network).await?;
                Ok(Accepted::Tcp(stream, source))
            }
            Self::Tls(listener, certificate) => {
                let (stream, source) = accept_tcp(listener, network).await?;
                Ok(Accepted::Tls(stream, source, certificate.clone()))
            }
        }
    }
}

fn find(authority: &str) -> io::Result<SocketAddr> {
    let mut found = authority.to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept_tcp(listener: &TcpListener, network: &Network) -> io::Result<(TcpStream, Source)> {
    let (stream, peer) = listener.accept().await?;
    // A call is one small write: it must not wait for more.
    stream.set_nodelay(true)?;
    watch(&stream, network)?;
    Ok((stream, Source::Host(peer.ip())))
}

/// Lets the kernel end the connection when the host at the other end has vanished without a word.
///
/// Not HTTP/2's ping: a blocking client answers only while it makes a call, and a process that is stopped for a while is
/// not one that is gone. The kernel at the other end answers for both.
fn watch(stream: &TcpStream, network: &Network) -> io::Result<()> {
    let probes = network.keepalive_timeout.as_secs() / PROBE.as_secs();
    let keepalive = TcpKeepalive::new().with_time(network.keepalive_time).with_interval(PROBE);
    let keepalive = keepalive.with_retries(u32::try_from(probes).unwrap_or(u32::MAX));
    let socket = SockRef::from(stream);
    // Nobody is asked for a sign of life while something is on its way to them: what was granted to a host that has vanished
    // would be sent again and again, for a quarter of an hour, and its session hold everything so long. The price: a peer that
    // lives, and leaves more unread than fits its socket, loses its connection after this time too; it can resume.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(network.keepalive_time + network.keepalive_timeout))?;
    socket.set_tcp_keepalive(&keepalive)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // The lock file stays: whoever removed it could remove the one that another manager has just locked.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the folder for sockets of this user, or checks that it is one that nobody else can enter.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::symlink_metadata(folder)?;
    if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        let problem = format!(
            "{} must be a folder that belongs to you with mode 0700: correct it, or listen elsewhere",
            folder.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_watches_peers_that_may_vanish() {
        let address = "http://127.0.0.1:0".parse().expect("an address");
        let listener = Listener::bind(&Listen { address, beyond_loopback: false }, None).expect("a free port");
        let Ok(Address::Http(authority)) = listener.address() else { panic!("it listens") };
        let _client = TcpStream::connect(authority).await.expect("it listens");
        let network = Network { keepalive_time: Duration::from_secs(77), ..Network::default() };
        let Accepted::Tcp(stream, _) = listener.accept(&network, &mut Quiet::default()).await else {
            panic!("it came over TCP")
        };
        let socket = SockRef::from(&stream);
        assert_eq!(socket.keepalive().ok(), Some(true));
        assert_eq!(socket.tcp_keepalive_time().ok(), Some(Duration::from_secs(77)));
        assert_eq!(socket.tcp_keepalive_interval().ok(), Some(PROBE));
        assert_eq!(socket.tcp_keepalive_retries().ok(), Some(5));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().ok(), Some(Some(Duration::from_secs(87))));
        assert_eq!(socket.tcp_nodelay().ok(), Some(true));
    }

    #[tokio::test]
    async fn the_system_tells_which_process_has_connected_over_a_unix_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = Address::Unix(folder.path().join("manager.sock"));
        let listener = Listener::bind(&Listen { address, beyond_loopback: false }, None).expect("a free path");
        let _client = UnixStream::connect(folder.path().join("manager.sock")).await.expect("it listens");
        let Accepted::Unix(_, _, peer) = listener.accept(&Network::default(), &mut Quiet::default()).await else {
            panic!("it came over a Unix socket")
        };
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.process.is_some(), cfg!(target_os = "linux"));
    }
}
