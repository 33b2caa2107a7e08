//! A client of Holdfast in Rust with nothing but the .proto files: stubs made by tonic, and not the library `holdfast`.

mod connection;
mod datum;
mod errors;
mod handshake;
mod vectors;
mod work;

use std::env;
use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

use connection::Connection;

/// What tonic-prost-build has made of the .proto files.
#[allow(missing_docs, clippy::all)]
mod pb {
    tonic::include_proto!("holdfast.v1");
}

/// The numbers of kinds: the option (holdfast.v1.kind) of their services.
mod kind {
    pub const DICT: u32 = 2;
    pub const VALUE: u32 = 3;
    pub const LOCK: u32 = 8;
    pub const BARRIER: u32 = 12;
    pub const QUEUE: u32 = 14;
}

const USAGE: &str = "\
client work    [--language rust] [--parties N] [--adds N] [--locks N] [--items N] [--expect counter=N,entry=N]
client errors          each kind of bad input, and what comes of it
client vectors FILE    checks the handshake against docs/handshake-vectors.json
HOLDFAST_ADDRESS and HOLDFAST_AUTHKEY_FILE say where the manager is, and with which key.";

/// What there is to do.
struct Plan {
    language: String,
    parties: i64,
    adds: i64,
    locks: i64,
    items: i64,
    counter: Expected,
    entry: Expected,
}

/// What a total must be: what is usual, so much, or so much or more.
#[derive(Clone, Copy)]
enum Expected {
    Usual,
    Exactly(i64),
    AtLeast(i64),
}

impl Expected {
    fn or(self, usual: i64) -> Self {
        if let Self::Usual = self { Self::Exactly(usual) } else { self }
    }

    fn holds(self, number: i64) -> bool {
        match self {
            Self::Usual => true,
            Self::Exactly(wanted) => number == wanted,
            Self::AtLeast(least) => number >= least,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["work", flags @ ..] => work::work(&login().await?, &plan(flags)?).await,
        ["errors"] => errors::errors(&env::var("HOLDFAST_ADDRESS")?, &login().await?).await,
        ["vectors", file] => vectors::check(file),
        _ => Err(USAGE.into()),
    }
}

/// A connection to the manager that the environment names, with both sides proven.
async fn login() -> Result<Connection, Box<dyn Error>> {
    let name = |variable| {
        env::var(variable).map_err(|_| format!("set {variable}: it says where the manager is, or with which key"))
    };
    let authkey = read_authkey(&name("HOLDFAST_AUTHKEY_FILE")?)?;
    let mut connection = Connection::connect(&name("HOLDFAST_ADDRESS")?).await?;
    connection.authenticate(authkey.trim()).await?;
    Ok(connection)
}

/// Refuses a file that others can read.
fn read_authkey(path: &str) -> Result<String, Box<dyn Error>> {
    if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        return Err(format!("others can read {path}: chmod 600 it").into());
    }
    Ok(std::fs::read_to_string(path)?)
}

fn plan(flags: &[&str]) -> Result<Plan, Box<dyn Error>> {
    let (counter, entry) = (Expected::Usual, Expected::Usual);
    let mut plan = Plan { language: "rust".into(), parties: 1, adds: 10_000, locks: 200, items: 100, counter, entry };
    for flag in flags.chunks(2) {
        match flag {
            ["--language", language] => plan.language = (*language).into(),
            ["--parties", number] => plan.parties = number.parse()?,
            ["--adds", number] => plan.adds = number.parse()?,
            ["--locks", number] => plan.locks = number.parse()?,
            ["--items", number] => plan.items = number.parse()?,
            ["--expect", totals] => {
                for total in totals.split(',') {
                    match total.split_once('=') {
                        Some(("counter", number)) => plan.counter = expected(number)?,
                        Some(("entry", number)) => plan.entry = expected(number)?,
                        _ => return Err(USAGE.into()),
                    }
                }
            }
            _ => return Err(USAGE.into()),
        }
    }
    Ok(plan)
}

/// A number with a + after it is a least one.
fn expected(number: &str) -> Result<Expected, Box<dyn Error>> {
    Ok(match number.strip_suffix('+') {
        Some(least) => Expected::AtLeast(least.parse()?),
        None => Expected::Exactly(number.parse()?),
    })
}
