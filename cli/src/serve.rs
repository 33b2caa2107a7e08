//! `holdfast serve`.

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use holdfast_manager::{
    Certificate, CertificateError, Config, Limits, Listen, Server, StartError, Stopped, raise_file_limit, run_private,
};
use holdfast_proto::place::{Address, create_authkey_file, default_address, default_authkey_file};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::ServeArgs;
use crate::exit::Exit;

/// Where the certificate is kept that the manager made, with its private key, beside the authkey.
const CERTIFICATE_FILE: &str = "tls.pem";

/// Runs a manager until it is stopped.
pub(crate) fn serve(args: ServeArgs) -> Exit {
    let filter = tracing_subscriber::EnvFilter::builder().with_env_var("HOLDFAST_LOG");
    let filter = filter.with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false).init();
    raise_file_limit();
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Failed, &error),
    };
    runtime.block_on(async {
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return fail(Exit::Failed, &error),
        };
        if args.private { serve_private(args, signals).await } else { serve_others(args, signals).await }
    })
}

async fn serve_private(args: ServeArgs, signals: Signals) -> Exit {
    let threads = threads(args.threads);
    let served = run_private(args.limits.into(), threads, |address, authkey_file| {
        print(&[address.to_string(), authkey_file.display().to_string()]);
    });
    unless_signalled(served, signals).await
}

async fn serve_others(args: ServeArgs, mut signals: Signals) -> Exit {
    let (authenticate_within, drain) = (args.authenticate_within(), args.drain());
    let authkey_file = args.authkey_file.unwrap_or_else(default_authkey_file);
    let authkey = match create_authkey_file(&authkey_file) {
        Ok(authkey) => authkey,
        Err(error) => return fail(Exit::BadAuthkeyFile, &error),
    };
    let listen = if args.listen.is_empty() { vec![default_address()] } else { args.listen };
    let certificate = match certificate(&listen, args.certificate.zip(args.private_key), &authkey_file) {
        Ok(certificate) => certificate,
        Err(error) => return fail(Exit::BadCertificate, &error),
    };
    let fingerprint = certificate.as_ref().map(|certificate| certificate.fingerprint().to_owned());
    let listen =
        listen.into_iter().map(|address| Listen { address, beyond_loopback: args.insecure_plaintext }).collect();
    let (limits, threads) = (Limits::from(args.limits), threads(args.threads));
    let config = Config { listen, authkey, certificate, limits, threads, authenticate_within, drain };
    let server = match Server::bind(config) {
        Ok(server) => server,
        Err(
            error @ (StartError::Listen(..)
            | StartError::Exposed(_)
            | StartError::Nowhere
            | StartError::NoCertificate(_)),
        ) => {
            return fail(Exit::CannotListen, &error);
        }
        Err(error) => return fail(Exit::Failed, &error),
    };
    if args.print_address {
        print(&server.addresses().iter().map(Address::to_string).collect::<Vec<_>>());
    }
    introduce(&server, &authkey_file, fingerprint.as_deref());
    let (first, again) = tokio::sync::oneshot::channel();
    let served = server.run(async move {
        signals.next().await;
        say("stopping; a second signal stops at once");
        let _ = first.send(signals);
    });
    let second = async {
        match again.await {
            Ok(signals) => signals.wait().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = served => end(served),
        () = second => Exit::Cut,
    }
}

/// The certificate for the `https://` addresses, if there are any: the one that was given, or the one beside the authkey
/// file, which is made on first start.
fn certificate(
    listen: &[Address],
    given: Option<(PathBuf, PathBuf)>,
    authkey_file: &Path,
) -> Result<Option<Certificate>, CertificateError> {
    let is_tls = |address: &&Address| matches!(address, Address::Https(_));
    let hosts: Vec<&str> = listen.iter().filter(is_tls).filter_map(Address::host).collect();
    match given {
        _ if hosts.is_empty() => Ok(None),
        Some((certificate, private_key)) => Certificate::read(&certificate, &private_key).map(Some),
        None => Certificate::create(&authkey_file.with_file_name(CERTIFICATE_FILE), &hosts).map(Some),
    }
}

/// A signal ends a private manager at once: only its owner's processes use it.
async fn unless_signalled(served: impl Future<Output = Result<Stopped, StartError>>, signals: Signals) -> Exit {
    tokio::select! {
        served = served => end(served),
        () = signals.wait() => Exit::Cut,
    }
}

fn end(served: Result<Stopped, StartError>) -> Exit {
    match served {
        Ok(Stopped::Drained) => Exit::Drained,
        Ok(Stopped::Cut) => Exit::Cut,
        Err(error) => fail(Exit::Failed, &error),
    }
}

fn fail(exit: Exit, error: &dyn std::error::Error) -> Exit {
    say(&error.to_string());
    exit
}

/// Tells a person where the manager is.
fn introduce(server: &Server, authkey_file: &Path, fingerprint: Option<&str>) {
    for address in server.addresses() {
        say(&format!("serving at {address}"));
    }
    say(&format!("the authkey is in {}", authkey_file.display()));
    if let Some(fingerprint) = fingerprint {
        say(&format!("the certificate has the SHA-256 fingerprint {fingerprint}"));
    }
}

/// Says something to a person. Nobody hearing it is no reason to end, as it would be for `eprintln!`.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "holdfast: {text}");
}

/// Prints lines for a program, at once. Nobody reading them is no reason to end.
fn print(lines: &[String]) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{}", lines.join("\n")).and_then(|()| stdout.flush());
}

fn threads(asked: Option<u16>) -> usize {
    // Measured: on two CPUs one thread serves more than two, since the clients need the other. See ARCHITECTURE.md.
    asked.map_or_else(|| (thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 8), usize::from)
}

/// The signals that stop a manager.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn wait(mut self) {
        self.next().await;
    }
}
