//! A manager process of a test's own.

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use holdfast::{Address, Authkey, Options, blocking};
use holdfast_proto::place::{create_private_file, read_authkey_file, write_authkey_file};
use tempfile::TempDir;

use crate::process::Process;

/// How a manager is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    program: PathBuf,
    arguments: Vec<String>,
    /// The kinds of addresses.
    listen: Vec<String>,
    certificate: Option<String>,
    authkey: Option<Authkey>,
}

impl Setup {
    /// The usual limits, on a Unix socket.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            listen: vec!["unix".to_owned()],
            certificate: None,
            authkey: None,
        }
    }

    /// Sets a limit, by its name.
    #[must_use]
    pub fn limit(self, name: &str, value: u64) -> Self {
        self.setting(name, &value.to_string())
    }

    /// Sets a limit or another setting of the manager, by the name of its field.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.arguments.push(format!("{name}={value}"));
        self
    }

    /// Sets how long clients may take to leave when it stops.
    #[must_use]
    pub fn drain(self, drain: Duration) -> Self {
        self.limit("drain_ms", u64::try_from(drain.as_millis()).unwrap())
    }

    /// Listens on a port of the loopback interface too: the next address.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.listen.push("tcp".to_owned());
        self
    }

    /// Listens on a port with TLS too: the next address.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.listen.push("tls".to_owned());
        self
    }

    /// Listens on ports, without and with TLS, that nobody else takes while it does not run: the next two addresses.
    #[must_use]
    pub fn kept_ports(mut self) -> Self {
        static SETUPS: AtomicU8 = AtomicU8::new(0);
        // A loopback address of this setup's own: everybody else uses the usual one.
        let [.., high, low] = process::id().to_be_bytes();
        let host = format!("127.{}.{high}.{low}", 1 + SETUPS.fetch_add(1, Ordering::Relaxed) % 200);
        self.listen.extend(["http", "https"].map(|scheme| format!("{scheme}://{host}:0")));
        self
    }

    /// Listens on a port with TLS, and nowhere else.
    #[must_use]
    pub fn only_tls(mut self) -> Self {
        self.listen = vec!["tls".to_owned()];
        self
    }

    /// Shows this certificate, which is followed by its private key, both in PEM, instead of one that it makes.
    #[must_use]
    pub fn certificate(mut self, pem: String) -> Self {
        self.certificate = Some(pem);
        self
    }

    /// Has this authkey instead of one of its own: as if the manager that had it were started anew.
    #[must_use]
    pub fn authkey(mut self, authkey: Authkey) -> Self {
        self.authkey = Some(authkey);
        self
    }

    /// Starts it, and returns when clients can connect.
    #[must_use]
    pub fn start(self) -> Manager {
        let folder = tempfile::Builder::new().prefix("holdfast-test-").tempdir().unwrap();
        if let Some(pem) = &self.certificate {
            create_private_file(&folder.path().join("tls.pem"), pem.as_bytes()).unwrap();
        }
        if let Some(authkey) = &self.authkey {
            write_authkey_file(&folder.path().join("authkey"), authkey).unwrap();
        }
        let (process, addresses) = serve(&self.program, folder.path(), &self.listen, &self.arguments);
        Manager { process, addresses, folder, program: self.program, arguments: self.arguments }
    }
}

fn serve(program: &Path, folder: &Path, listen: &[String], arguments: &[String]) -> (Process, Vec<Address>) {
    let mut command = Command::new(program);
    command.arg("serve").arg(folder).arg(listen.join(",")).args(arguments);
    let process = Process::start(&mut command);
    let addresses = listen.iter().map(|_| process.line().parse().unwrap()).collect();
    (process, addresses)
}

/// A manager process of a test's own. Killed when dropped.
#[derive(Debug)]
pub struct Manager {
    /// The process.
    pub process: Process,
    /// Where it listens: a Unix socket unless only ports were asked for, and the ports, in the order of asking.
    pub addresses: Vec<Address>,
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Manager {
    /// Kills it, if it runs, and starts it anew: at the same addresses, with the same authkey and settings.
    pub fn start_anew(&mut self) {
        self.process.kill();
        let listen: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        let (process, addresses) = serve(&self.program, self.folder.path(), &listen, &self.arguments);
        assert_eq!(addresses, self.addresses);
        self.process = process;
    }

    /// The file with its authkey.
    #[must_use]
    pub fn authkey_file(&self) -> PathBuf {
        self.folder.path().join("authkey")
    }

    /// Its authkey.
    #[must_use]
    pub fn authkey(&self) -> Authkey {
        read_authkey_file(&self.authkey_file()).unwrap()
    }

    /// How to connect to its first address.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options_at(0)
    }

    /// How to connect to one of its addresses.
    #[must_use]
    pub fn options_at(&self, address: usize) -> Options {
        Options::default().address(self.addresses[address].clone()).authkey_file(self.authkey_file())
    }

    /// A new session.
    pub async fn connect(&self) -> holdfast::Manager {
        holdfast::Manager::connect_with(&self.options()).await.unwrap()
    }

    /// A new session of the blocking library.
    #[must_use]
    pub fn connect_blocking(&self) -> blocking::Manager {
        blocking::Manager::connect_with(&self.options()).unwrap()
    }

    /// A process in one of the roles of the test program, whose default manager is this one.
    #[must_use]
    pub fn worker(&self, arguments: &[&str]) -> Process {
        self.worker_at(&self.addresses[0], arguments)
    }

    /// The same, which reaches it at another address.
    #[must_use]
    pub fn worker_at(&self, address: &Address, arguments: &[&str]) -> Process {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command.env("HOLDFAST_ADDRESS", address.to_string());
        command.env("HOLDFAST_AUTHKEY_FILE", self.authkey_file());
        Process::start(&mut command)
    }
}
