#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod door;
mod machine;
mod parse;
mod run;
mod scenario;
mod template;

use std::fs;
use std::path::PathBuf;

pub use catalogue::Kind;
pub use door::Door;
pub use machine::Machine;
pub use parse::{Unreadable, parse};
pub use run::{Failure, Outcome};
pub use scenario::Scenario;

/// How many scenarios came out as they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Those that passed.
    pub passed: usize,
    /// Those that were left out, since they need more than the door has.
    pub left_out: usize,
}

/// Runs every scenario of every kind through a door.
///
/// # Panics
///
/// If one fails: with all failures.
pub fn run_all(door: &mut impl Door) -> Ran {
    let mut ran = Ran::default();
    let mut failures = Vec::new();
    for scenario in Kind::all().flat_map(|kind| scenarios(&kind)) {
        match scenario.run(door) {
            Ok(Outcome::Passed) => ran.passed += 1,
            Ok(Outcome::NeedsExactDoor | Outcome::NeedsGoodbyes) => ran.left_out += 1,
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    assert!(failures.is_empty(), "{} scenarios failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
    ran
}

/// The folder of the scenario files.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kinds")
}

/// The scenarios of a kind.
///
/// # Panics
///
/// If there is no file for it, or if the file cannot be read: with what is wrong.
#[must_use]
pub fn scenarios(kind: &Kind) -> Vec<Scenario> {
    let file = format!("{}.scenario", kind.name());
    let text = fs::read_to_string(folder().join(&file));
    let text = text.unwrap_or_else(|error| panic!("scenarios/kinds/{file}: {error}: each kind has its scenarios"));
    parse(&file, &text, kind).unwrap_or_else(|unreadable| panic!("{unreadable}"))
}
