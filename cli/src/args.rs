//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use holdfast::{Address, Kind};

use crate::settings::SettingFlags;

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

    /// List the objects that have names: name, kind, number of elements and bytes, with tabs between them.
    ///
    /// A dash stands for what an object does not have, or could not tell since a call was being applied to it. Control
    /// characters in names are escaped as in JSON.
    #[command(after_long_help = VERB_EXIT_CODES)]
    List {
        /// Only names that begin with this
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
        /// Only objects of this kind, such as dict
        #[arg(long)]
        kind: Option<Kind>,
        #[command(flatten)]
        manager: ManagerArgs,
        /// Print one JSON object on a line for each
        #[arg(long)]
        json: bool,
    },

    /// Tell what the manager holds, and how much of each limit is used.
    #[command(after_long_help = VERB_EXIT_CODES)]
    Status {
        #[command(flatten)]
        manager: ManagerArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },

    /// Delete an object, at once and for everyone who uses it.
    #[command(after_long_help = VERB_EXIT_CODES)]
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        manager: ManagerArgs,
    },
}

/// Which manager to ask.
#[derive(Debug, Parser)]
pub(crate) struct ManagerArgs {
    /// Where the manager is [default: where `holdfast serve` listens]
    #[arg(long, value_name = "ADDRESS", env = "HOLDFAST_ADDRESS", hide_env_values = true)]
    pub(crate) address: Option<Address>,
    /// The file with the authkey [default: the one of `holdfast serve`]
    #[arg(long, value_name = "PATH", env = "HOLDFAST_AUTHKEY_FILE", hide_env_values = true)]
    pub(crate) authkey_file: Option<PathBuf>,
}

const VERB_EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; standard error says why
  2  the arguments are wrong
  6  no session with the manager: it does not run, or the authkey is another
  7  the manager refused: there is no such object";

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
    /// The configuration file: TOML, with the settings below as keys [env: HOLDFAST_CONFIG]
    ///
    /// A flag goes before its environment variable, that before the file, and that before the default. Without this and
    /// without the variable, $XDG_CONFIG_HOME/holdfast/manager.toml or ~/.config/holdfast/manager.toml is read, if it
    /// exists.
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Print the configuration as a file that --config takes, with the origin of each value, and end
    #[arg(long, conflicts_with = "print_address")]
    pub(crate) print_config: bool,

    /// Print each address on a line of its own, once clients can connect, and nothing else on standard output
    #[arg(long)]
    pub(crate) print_address: bool,

    /// Serve the process that started this one, and end with it.
    ///
    /// The socket and the authkey are made in a new folder, which is removed at the end. Prints the address and the path of
    /// the authkey file, each on a line. Ends when standard input is closed or the parent process ends. Limits and the like
    /// are taken from the environment, and from a configuration file only if one is named.
    #[arg(long, conflicts_with_all = PUBLIC)]
    pub(crate) private: bool,

    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

/// What a private manager decides by itself.
const PUBLIC: [&str; 7] =
    ["listen", "authkey_file", "epoch_file", "certificate", "private_key", "print_address", "insecure_plaintext"];

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by a signal, and every client got its answers
  1  failed; standard error says why
  2  an argument, an environment variable or the configuration file is wrong
  3  an address cannot be listened on
  4  the authkey file cannot be used
  5  stopped by a signal, and some clients were cut off after --drain-timeout, or by a second signal
  8  the certificate or its private key cannot be used
  9  the epoch file cannot be used";
