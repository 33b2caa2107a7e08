//! etcd with one member, as it is by default: each change is on the disk before it is answered.
//!
//! Its v3 lock is driven through the JSON gateway on its client port, which is a client of its own gRPC port in the same
//! process: a part of what is measured, and a small one beside the disk.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::http::Client;
use crate::args::EtcdClientArgs;
use crate::child::{Child, Launch};
use crate::reading::Reading;
use crate::setting::Setting;
use crate::unavailable::Unavailable;
use crate::{interrupt, load, worker};

/// How long etcd may take to elect itself and answer.
const START: Duration = Duration::from_secs(30);
/// How long the lease of a client lives, in seconds: longer than its work.
const LEASE: u32 = 600;

/// The program that is installed.
pub(crate) struct Etcd {
    pub(crate) version: String,
}

impl Etcd {
    /// Looks for etcd.
    pub(crate) fn find() -> Result<Self, Unavailable> {
        let said = match Command::new("etcd").arg("--version").output() {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            _ => return Err(Unavailable("etcd is not installed".to_owned())),
        };
        let number = said.lines().find_map(|line| line.strip_prefix("etcd Version: "));
        Ok(Self { version: number.unwrap_or("of unknown version").to_owned() })
    }

    /// Starts etcd with its data in `directory`, and waits until it answers.
    pub(crate) fn serve(&self, directory: &Path, cpu: Option<usize>) -> Result<Server> {
        // It cannot choose ports by itself. Both are taken before either is given back, so that they differ.
        let (clients, peers) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (port, peer_port) = (clients.local_addr()?.port(), peers.local_addr()?.port());
        drop((clients, peers));
        let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
        let launch = Launch::new("etcd", Path::new("etcd"))
            .words(&format!("--listen-client-urls {clients} --advertise-client-urls {clients}"))
            .words(&format!("--listen-peer-urls {peers} --initial-advertise-peer-urls {peers}"))
            .words(&format!("--name bench --initial-cluster bench={peers} --logger zap --log-level error --data-dir"))
            .arg(directory);
        let mut server = Server { process: Child::start(launch, cpu)?, port };
        let until = Instant::now() + START;
        while let Err(error) = Lock::new(port) {
            interrupt::check()?;
            if !server.process.is_running() {
                return Err(server.process.failure("ended at once"));
            }
            if Instant::now() > until {
                return Err(error.context("etcd does not answer"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

/// A running etcd.
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// A lock that nobody else wants, locked and unlocked.
    pub(crate) fn lock(&self, setting: &Setting, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        let launch = Launch::new("the etcd client", &setting.program)
            .words(&format!("etcd-client --calls {calls} --port {}", self.port));
        worker::side_by_side([launch], cpu)
    }
}

/// The work of the hidden subcommand `etcd-client`.
pub(crate) fn call(args: &EtcdClientArgs) -> Result<()> {
    let mut lock = Lock::new(args.port)?;
    worker::measure_blocking(args.calls, |calls| {
        load::blocking(calls, || {
            let held = lock.lock()?;
            lock.unlock(&held)
        })
    })
}

/// etcd's lock of one name, of one client.
struct Lock {
    client: Client,
    request: LockRequest,
}

/// Numbers of 64 bits are text in its JSON, and bytes are base64.
#[derive(Serialize)]
struct LockRequest {
    name: String,
    lease: String,
}

/// The key of a lock that is held: in the answer to `lock`, and what `unlock` is told.
#[derive(Deserialize, Serialize)]
struct Held {
    key: String,
}

impl Lock {
    fn new(port: u16) -> Result<Self> {
        #[derive(Serialize)]
        struct Grant {
            #[serde(rename = "TTL")]
            ttl: u32,
        }
        #[derive(Deserialize)]
        struct Granted {
            #[serde(rename = "ID")]
            id: String,
        }
        let mut client = Client::connect(port)?;
        let Granted { id } = client.post("/v3/lease/grant", &Grant { ttl: LEASE })?;
        Ok(Self { client, request: LockRequest { name: BASE64_STANDARD.encode("free lock"), lease: id } })
    }

    fn lock(&mut self) -> Result<Held> {
        self.client.post("/v3/lock/lock", &self.request)
    }

    fn unlock(&mut self, held: &Held) -> Result<()> {
        self.client.post("/v3/lock/unlock", held).map(|_: serde::de::IgnoredAny| ())
    }
}
