//! How many instructions a call may have: the file, and the comparison with it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::profile::Profile;

/// The file, beside the source of this program.
pub(super) const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

/// More than this above its budget, and a figure is too large. What is left of chance is a tenth of that.
const TOLERANCE: f64 = 0.05;

/// A function with less than this share of a figure is not in the file.
const SHARE: f64 = 0.01;

/// How many functions are told of a figure that is too large.
const TOLD: usize = 12;

/// All budgets, and what they were counted with.
#[derive(Debug, Deserialize, Serialize, PartialEq)]
pub(super) struct Budgets {
    pub(super) toolchain: Toolchain,
    pub(super) figures: BTreeMap<String, Figure>,
}

/// All that has a part in how many instructions a call has, beside the code.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub(super) struct Toolchain {
    architecture: String,
    rustc: String,
    libc: String,
    valgrind: String,
}

/// Instructions of one call on one side.
#[derive(Debug, Deserialize, Serialize, PartialEq)]
pub(super) struct Figure {
    pub(super) instructions: u64,
    /// The functions that have most of them.
    functions: BTreeMap<String, u64>,
}

impl Toolchain {
    /// What this program runs with.
    pub(super) fn here() -> Result<Self> {
        Ok(Self {
            architecture: format!("{}{}", std::env::consts::ARCH, if has_avx2() { " with AVX2" } else { "" }),
            rustc: first_line("rustc", "--version")?,
            libc: first_line("getconf", "GNU_LIBC_VERSION")?,
            valgrind: first_line("valgrind", "--version")?,
        })
    }

    /// Whether a call has other instructions here in any case.
    pub(super) fn is_of_another_machine(&self, other: &Self) -> bool {
        self.architecture != other.architecture
    }
}

/// Whether glibc copies with AVX2 here, which takes half the instructions.
fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

fn first_line(program: &str, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.with_context(|| format!("`{program}` is needed to count instructions: install it"))?;
    let line = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() {
        bail!("`{program} {argument}` says nothing");
    }
    Ok(line)
}

impl Figure {
    pub(super) fn of(profile: &Profile) -> Self {
        let total = profile.total();
        let top = profile.top().into_iter().take_while(|(_, count)| *count >= total * SHARE);
        let functions = top.map(|(function, count)| (function.to_owned(), count.round() as u64)).collect();
        Self { instructions: total.round() as u64, functions }
    }
}

impl Budgets {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("there is no {}: write it with --write", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("reading {}: write it anew with --write", path.display()))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// How a figure stands to its budget.
    pub(super) fn verdict(&self, name: &str, profile: &Profile) -> Verdict {
        let Some(budget) = self.figures.get(name) else { return Verdict::Unknown };
        let ratio = profile.total() / budget.instructions as f64;
        if ratio > 1.0 + TOLERANCE {
            Verdict::Above { ratio, grown: grown(budget, profile) }
        } else if ratio < 1.0 - TOLERANCE {
            Verdict::Below { ratio }
        } else {
            Verdict::Within { ratio }
        }
    }
}

/// What a comparison comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Within {
        ratio: f64,
    },
    /// The budget could be less.
    Below {
        ratio: f64,
    },
    /// Too many. What is told of the functions that grew the most.
    Above {
        ratio: f64,
        grown: String,
    },
    /// There is no budget for it.
    Unknown,
}

/// The functions that have more instructions than in the file. One that is not there had less than what is.
fn grown(budget: &Figure, profile: &Profile) -> String {
    let least = budget.instructions as f64 * SHARE;
    let growth = |function: &str, count: f64| match budget.functions.get(function) {
        Some(&was) => (count - was as f64, was.to_string()),
        None => (count - least, format!("less than {}", least.ceil())),
    };
    let mut grown: Vec<_> = profile.top().into_iter().map(|(name, count)| (growth(name, count), name, count)).collect();
    grown.retain(|((more, _), ..)| *more >= 1.0);
    grown.sort_by(|a, b| b.0.0.total_cmp(&a.0.0));
    let mut text = String::new();
    for ((more, was), name, count) in grown.into_iter().take(TOLD) {
        let _ = writeln!(text, "      +{more:<6.0} {name}: was {was}, is {count:.0}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(functions: &[(&str, f64)]) -> Profile {
        Profile(functions.iter().map(|&(name, count)| (name.to_owned(), count)).collect())
    }

    fn budgets(profile: &Profile) -> Budgets {
        let toolchain = ["x86_64", "rustc 1", "glibc 2", "valgrind-3"].map(str::to_owned);
        let [architecture, rustc, libc, valgrind] = toolchain;
        let figures = BTreeMap::from([("add".to_owned(), Figure::of(profile))]);
        Budgets { toolchain: Toolchain { architecture, rustc, libc, valgrind }, figures }
    }

    #[test]
    fn a_figure_may_be_a_twentieth_above_its_budget() {
        let budgets = budgets(&profile(&[("a", 900.0), ("b", 95.0), ("c", 5.0)]));
        let verdict = |count| budgets.verdict("add", &profile(&[("a", count)]));
        assert_eq!(verdict(1050.0), Verdict::Within { ratio: 1.05 });
        assert!(matches!(verdict(1051.0), Verdict::Above { .. }));
        assert_eq!(verdict(950.0), Verdict::Within { ratio: 0.95 });
        assert!(matches!(verdict(949.0), Verdict::Below { .. }));
        assert_eq!(budgets.verdict("get", &profile(&[])), Verdict::Unknown);
    }

    #[test]
    fn the_functions_that_grew_the_most_are_told_first() {
        let budgets = budgets(&profile(&[("a", 900.0), ("b", 95.0), ("c", 5.0)]));
        let more = profile(&[("a", 950.0), ("b", 95.0), ("c", 110.0), ("d", 12.0)]);
        let Verdict::Above { grown, .. } = budgets.verdict("add", &more) else { panic!("it is above") };
        let lines: Vec<_> = grown.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 3, "one did not grow: {grown}");
        assert!(lines[0].ends_with("c: was less than 10, is 110"), "{grown}");
        assert!(lines[1].starts_with("+50 ") && lines[1].ends_with("a: was 900, is 950"), "{grown}");
        assert!(lines[2].ends_with("d: was less than 10, is 12"), "{grown}");
    }

    #[test]
    fn the_file_is_read_as_it_was_written() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("instructions.json");
        assert!(Budgets::read(&path).is_err());
        let budgets = budgets(&profile(&[("a", 900.0), ("b", 95.0), ("c", 5.0)]));
        budgets.write(&path)?;
        let read = Budgets::read(&path)?;
        assert_eq!(read, budgets);
        assert!(!read.figures["add"].functions.contains_key("c"), "it is too small to be told");
        Ok(())
    }
}
