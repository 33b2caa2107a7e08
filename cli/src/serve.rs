//! `holdfast serve`.

use std::env;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use holdfast_manager::{
    Certificate, CertificateError, Config, Listen, Server, StartError, Stopped, raise_file_limit, run_private, runtime,
};
use holdfast_proto::place::{Address, create_authkey_file};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::ServeArgs;
use crate::config_file::ConfigFile;
use crate::exit::Exit;
use crate::settings::{Configuration, resolve};

/// Where the certificate is kept that the manager made, with its private key, beside the authkey.
const CERTIFICATE_FILE: &str = "tls.pem";

/// Where the epoch of the manager is kept, beside the authkey.
const EPOCH_FILE: &str = "epoch";

/// Runs a manager until it is stopped.
pub(crate) fn serve(args: ServeArgs) -> Exit {
    let file = ConfigFile::find(args.config, args.private);
    let resolved = match file.and_then(|file| resolve(&args.settings, |name| env::var_os(name), file.as_ref())) {
        Ok(resolved) => resolved,
        Err(problem) => {
            say(&problem);
            return Exit::Misused;
        }
    };
    if args.print_config {
        print(&[resolved.to_toml().trim_end().to_owned()]);
        return Exit::Done;
    }
    let configuration = resolved.configuration;
    log(&configuration.general.log);
    raise_file_limit();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Failed, &error),
    };
    runtime.block_on(async {
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return fail(Exit::Failed, &error),
        };
        if args.private {
            serve_private(configuration, signals).await
        } else {
            serve_others(configuration, args.print_address, signals).await
        }
    })
}

fn log(directives: &str) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(directives);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false).init();
}

async fn serve_private(configuration: Configuration, signals: Signals) -> Exit {
    let Configuration { general, limits, network } = configuration;
    let served = run_private(limits, network, general.threads.into(), |address, authkey_file| {
        print(&[address.to_string(), authkey_file.display().to_string()]);
    });
    unless_signalled(served, signals).await
}

async fn serve_others(configuration: Configuration, print_address: bool, mut signals: Signals) -> Exit {
    let Configuration { general, limits, network } = configuration;
    let authkey = match create_authkey_file(&general.authkey_file) {
        Ok(authkey) => authkey,
        Err(error) => return fail(Exit::BadAuthkeyFile, &error),
    };
    let given = match (general.certificate, general.private_key) {
        (Some(certificate), Some(private_key)) => Some((certificate, private_key)),
        (None, None) => None,
        _ => {
            say("a certificate and its private key go together: set both --certificate and --private-key, or neither");
            return Exit::Misused;
        }
    };
    let certificate = match certificate(&general.listen, given, &general.authkey_file) {
        Ok(certificate) => certificate,
        Err(error) => return fail(Exit::BadCertificate, &error),
    };
    let fingerprint = certificate.as_ref().map(|certificate| certificate.fingerprint().to_owned());
    let beyond_loopback = general.insecure_plaintext;
    let listen = general.listen.into_iter().map(|address| Listen { address, beyond_loopback }).collect();
    let (threads, drain) = (general.threads.into(), general.drain_timeout);
    let epoch_file = general.epoch_file.unwrap_or_else(|| general.authkey_file.with_file_name(EPOCH_FILE));
    let epoch_file = Some(epoch_file);
    let config = Config { listen, authkey, certificate, epoch_file, limits, network, threads, drain };
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
        Err(StartError::Epoch(error)) => return fail(Exit::BadEpochFile, &error),
        Err(error) => return fail(Exit::Failed, &error),
    };
    if print_address {
        print(&server.addresses().iter().map(Address::to_string).collect::<Vec<_>>());
    }
    introduce(&server, &general.authkey_file, fingerprint.as_deref());
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
        Ok(Stopped::Drained) => Exit::Done,
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
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "holdfast: {text}");
}

/// Prints lines for a program, at once. Nobody reading them is no reason to end.
pub(crate) fn print(lines: &[String]) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{}", lines.join("\n")).and_then(|()| stdout.flush());
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
