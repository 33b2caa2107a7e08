//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use holdfast_manager::Limits;
use holdfast_proto::place::Address;

/// Shared objects for any processes, in any language.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // Described by what it takes: a description here would replace the whole of that.
    Serve(ServeArgs),
}

/// Run a manager that other processes connect to.
///
/// It holds shared objects in memory and serves them until it is stopped. Clients of the same user find it without any
/// setting: they use the same default address and the same authkey file.
///
/// Who can connect: over a Unix socket, processes of the same user that hold the authkey; over https:// and http://,
/// whoever holds the authkey and can reach the port. With https:// everything is encrypted, and clients need nothing but
/// the authkey to know that nobody stands between. With http:// nothing is encrypted, so addresses beyond this machine are
/// refused unless --insecure-plaintext is given.
///
/// SIGTERM or SIGINT stops it: it takes no new connections, answers the calls that it has received, says goodbye to every
/// client and ends, after --drain-timeout at the latest. A second signal ends it at once.
#[derive(Debug, Parser)]
#[command(after_long_help = EXIT_CODES)]
pub(crate) struct ServeArgs {
    /// Where to listen: unix:PATH, http://HOST:PORT or https://HOST:PORT. May be given several times.
    ///
    /// Port 0 lets the system choose; --print-address tells. Default: unix:$XDG_RUNTIME_DIR/holdfast/manager.sock, or
    /// unix:/tmp/holdfast-UID/manager.sock where there is no XDG_RUNTIME_DIR.
    #[arg(long, value_name = "ADDRESS", env = "HOLDFAST_ADDRESS")]
    pub(crate) listen: Vec<Address>,

    /// The file with the authkey. It is made on first start, with a random key, readable by you alone.
    ///
    /// Default: $XDG_CONFIG_HOME/holdfast/authkey, or ~/.config/holdfast/authkey.
    #[arg(long, value_name = "PATH", env = "HOLDFAST_AUTHKEY_FILE")]
    pub(crate) authkey_file: Option<PathBuf>,

    /// The certificate to show on https:// addresses, in PEM, followed by those that it is signed with, if any.
    ///
    /// Clients of Holdfast need no certificate that others have signed: without this one is made on first start. It is kept
    /// with its private key in the file tls.pem beside the authkey file, is valid for manager.internal, and never expires.
    #[arg(long, value_name = "PATH", env = "HOLDFAST_CERTIFICATE_FILE", requires = "private_key")]
    pub(crate) certificate: Option<PathBuf>,

    /// The private key of --certificate, in PEM without a passphrase; readable by you alone
    #[arg(long, value_name = "PATH", env = "HOLDFAST_PRIVATE_KEY_FILE", requires = "certificate")]
    pub(crate) private_key: Option<PathBuf>,

    /// Print each address on a line of its own, once clients can connect, and nothing else on standard output
    #[arg(long)]
    pub(crate) print_address: bool,

    /// Serve the process that started this one, and end with it.
    ///
    /// The socket and the authkey are made in a new folder, which is removed at the end. Prints the address and the path of
    /// the authkey file, each on a line. Ends when standard input is closed or the parent process ends.
    #[arg(long, conflicts_with_all = PUBLIC)]
    pub(crate) private: bool,

    /// Allow http:// addresses that other machines can reach, although whoever sees the traffic can read and change it
    #[arg(long)]
    pub(crate) insecure_plaintext: bool,

    /// Threads that serve connections; each connection stays with one. Default: one for every two CPUs, at most eight
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,

    /// How long a connection may take to prove that it holds the authkey, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) authenticate_timeout: u64,

    /// How long clients may take to leave after a signal to stop, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub(crate) drain_timeout: u64,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// What a private manager decides by itself.
const PUBLIC: [&str; 6] =
    ["listen", "authkey_file", "certificate", "private_key", "print_address", "insecure_plaintext"];

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by a signal, and every client got its answers
  1  failed; standard error says why
  2  the arguments are wrong
  3  an address cannot be listened on
  4  the authkey file cannot be used
  5  stopped by a signal, and some clients were cut off after --drain-timeout, or by a second signal
  6  the certificate or its private key cannot be used

Environment:
  HOLDFAST_ADDRESS           as --listen, for clients too
  HOLDFAST_AUTHKEY_FILE      as --authkey-file, for clients too
  HOLDFAST_CERTIFICATE_FILE  as --certificate
  HOLDFAST_PRIVATE_KEY_FILE  as --private-key
  HOLDFAST_LOG               what is logged on standard error: error, warn (default), info, debug";

/// Limits: what would exceed one is refused with its name; what frees something never is.
#[derive(Debug, Parser)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Connections at once
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Sessions at once
    #[arg(long, value_name = "N")]
    max_sessions: Option<usize>,
    /// Objects at once
    #[arg(long, value_name = "N")]
    max_objects: Option<usize>,
    /// Handles of one session at once
    #[arg(long, value_name = "N")]
    max_handles: Option<usize>,
    /// Tokens at once that wait to be taken up
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Bytes in the name of an object
    #[arg(long, value_name = "BYTES")]
    max_name_bytes: Option<usize>,
    /// Bytes in one request: a key and its value
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    max_value_bytes: Option<u32>,
    /// Bytes of user data in one object [default: a quarter of the memory]
    #[arg(long, value_name = "BYTES")]
    max_object_bytes: Option<u64>,
    /// Bytes of user data in all objects [default: half of the memory]
    #[arg(long, value_name = "BYTES")]
    max_total_bytes: Option<u64>,
    /// Bytes in one page of a listing
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1024..=8 << 20))]
    page_bytes: Option<u32>,
    /// Unanswered calls of one session at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_calls_in_flight: Option<u32>,
    /// Bytes of replies that wait for one client to read them
    #[arg(long, value_name = "BYTES")]
    max_outbound_bytes: Option<usize>,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        let default = Self::default();
        Self {
            connections: args.max_connections.unwrap_or(default.connections),
            sessions: args.max_sessions.unwrap_or(default.sessions),
            objects: args.max_objects.unwrap_or(default.objects),
            handles: args.max_handles.unwrap_or(default.handles),
            tokens: args.max_tokens.unwrap_or(default.tokens),
            name_bytes: args.max_name_bytes.unwrap_or(default.name_bytes),
            value_bytes: args.max_value_bytes.map_or(default.value_bytes, |bytes| bytes as usize),
            object_bytes: args.max_object_bytes.unwrap_or(default.object_bytes),
            total_bytes: args.max_total_bytes.unwrap_or(default.total_bytes),
            page_bytes: args.page_bytes.unwrap_or(default.page_bytes),
            calls_in_flight: args.max_calls_in_flight.unwrap_or(default.calls_in_flight),
            outbound_bytes: args.max_outbound_bytes.unwrap_or(default.outbound_bytes),
        }
    }
}

impl ServeArgs {
    pub(crate) fn authenticate_within(&self) -> Duration {
        Duration::from_millis(self.authenticate_timeout)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_timeout)
    }
}
