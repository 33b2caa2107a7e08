//! What callgrind writes, as instructions by function.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Instructions by the function that they are part of. What was inlined belongs to the function that it was inlined into.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile(pub(super) BTreeMap<String, f64>);

impl Profile {
    /// Reads callgrind's file of one process.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("callgrind wrote no {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("reading {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut names: HashMap<&str, String> = HashMap::new();
        let mut functions: BTreeMap<String, f64> = BTreeMap::new();
        let mut here = String::new();
        let (mut sum, mut total) = (0, None);
        let mut is_of_callee = false;
        for line in text.lines() {
            if let Some(function) = line.strip_prefix("fn=") {
                here = name(&mut names, function)?;
            } else if let Some(function) = line.strip_prefix("cfn=") {
                // Its name may be told here for the first time.
                name(&mut names, function)?;
            } else if line.starts_with("calls=") {
                is_of_callee = true;
            } else if let Some(number) = line.strip_prefix("totals:") {
                total = Some(number.trim().parse::<u64>()?);
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                // Where it is, and how many.
                if !std::mem::take(&mut is_of_callee)
                    && let Some((_, count)) = line.rsplit_once(' ')
                {
                    let count: u64 = count.parse().with_context(|| format!("not a number of instructions: {line}"))?;
                    sum += count;
                    *functions.entry(here.clone()).or_default() += count as f64;
                }
            }
        }
        match total {
            Some(total) if total == sum => Ok(Self(functions)),
            _ => bail!("the functions have {sum} instructions and all together {total:?}: was it cut short?"),
        }
    }

    pub(super) fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// What the longer of two runs has more than the shorter one, for each of so many calls.
    pub(super) fn per_call(longer: &Self, shorter: &Self, calls: u64) -> Self {
        let mut functions = longer.0.clone();
        for (function, count) in &shorter.0 {
            *functions.entry(function.clone()).or_default() -= count;
        }
        functions.values_mut().for_each(|count| *count /= calls as f64);
        functions.retain(|_, count| *count != 0.0);
        Self(functions)
    }

    /// The functions with the most instructions, in this order.
    pub(super) fn top(&self) -> Vec<(&str, f64)> {
        let mut top: Vec<_> = self.0.iter().map(|(function, &count)| (function.as_str(), count)).collect();
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        top
    }
}

/// The name of a function: `(7) name` where it comes for the first time, and `(7)` from then on.
fn name<'a>(names: &mut HashMap<&'a str, String>, text: &'a str) -> Result<String> {
    let (id, rest) = match text.split_once(") ") {
        Some((id, rest)) => (id, Some(rest)),
        None => (text.strip_suffix(')').unwrap_or(text), None),
    };
    match rest {
        Some(full) => {
            let name = plain(full);
            names.insert(id, name.clone());
            Ok(name)
        }
        None => names.get(id).cloned().with_context(|| format!("no function is called {text}")),
    }
}

/// A name without what changes from one build to the next, and without the depth of a recursion.
fn plain(name: &str) -> String {
    let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
    let is_depth = |tail: &str| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
    let name = name.rsplit_once('\'').filter(|(_, tail)| is_depth(tail)).map_or(name, |(name, _)| name);
    let is_hash =
        |tail: &str| tail.len() == 17 && tail.starts_with('h') && tail[1..].bytes().all(|b| b.is_ascii_hexdigit());
    name.rsplit_once("::").filter(|(_, tail)| is_hash(tail)).map_or(name, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
version: 1
positions: line
events: Ir
fl=(1) a.rs
fn=(1) a::run::h0123456789abcdef
10 5
fi=(2) inlined.rs
+3 2
cfn=(2) a::step
calls=3 0
* 30
fe=(1)
-1 1

fn=(2)
7 20
cfn=(1)
calls=1 0
7 8
fn=(3) a::step'2
7 10
totals: 38
";

    #[test]
    fn each_function_has_its_own_instructions() -> Result<()> {
        let profile = Profile::parse(FILE)?;
        assert_eq!(profile.top(), [("a::step", 30.0), ("a::run", 8.0)]);
        assert_eq!(profile.total(), 38.0);
        let longer = Profile::parse(&FILE.replace("7 10", "7 70").replace("totals: 38", "totals: 98"))?;
        assert_eq!(Profile::per_call(&longer, &profile, 20).top(), [("a::step", 3.0)]);
        Ok(())
    }

    #[test]
    fn a_file_that_was_cut_short_is_not_taken() {
        assert!(Profile::parse(FILE.split_once("totals").expect("the end").0).is_err());
        assert!(Profile::parse(&FILE.replace("7 20\n", "")).is_err());
        assert!(Profile::parse("fn=(9)\n1 1\ntotals: 1").is_err());
    }

    #[test]
    fn names_are_without_what_changes_from_build_to_build() {
        assert_eq!(plain("h2::poll::h00ff00ff00ff00ff"), "h2::poll");
        assert_eq!(plain("h2::poll.llvm.123456"), "h2::poll");
        assert_eq!(plain("h2::poll'2"), "h2::poll");
        assert_eq!(plain("h2::header::h"), "h2::header::h");
        assert_eq!(plain("<&'a T as Trait>::run"), "<&'a T as Trait>::run");
    }
}
