//! Faults that are put in on purpose are found: tests that find nothing are no tests.

use std::env;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use holdfast_objects::mutant::Mutant;
use holdfast_tests::history::{Plan, Ran, check};
use holdfast_tests::program;

/// How often a fault has the chance to be found. Each time there are other calls, and other things that go wrong.
const SEEDS: u64 = 80;

/// What finds a manager with this fault, and how soon. `None` if nothing does.
fn caught(mutant: Option<Mutant>, seed: u64) -> Option<String> {
    let name = mutant.map(|mutant| format!("{mutant:?}"));
    let plan = Plan { seed, clients: 8, actors: 6, calls: 6000, faults: 100 };
    match Ran::run(program!(), &plan, name.as_deref()) {
        Ok(ran) => check(&ran.records(), &ran.logs()).err().map(|violation| violation.to_string()),
        Err(unplanned) => Some(unplanned.to_string()),
    }
}

/// Whether a fault is found, and by what.
fn is_found(mutant: Mutant) -> bool {
    let begin = Instant::now();
    let found = (0..SEEDS).find_map(|seed| caught(Some(mutant), seed).map(|by| (seed, by)));
    let Some((seed, by)) = &found else { return false };
    let by: String = by.chars().take(200).collect();
    println!("{mutant:?}: found after {:.1?} and {} runs: {by}", begin.elapsed(), seed + 1);
    true
}

#[test]
fn every_fault_that_is_put_in_is_found() {
    let left = Mutex::new(Mutant::ALL.iter().copied());
    let missed = Mutex::new(Vec::new());
    let next = || left.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(mutant) = next() {
                    if !is_found(mutant) {
                        missed.lock().expect("nobody panicked").push(mutant);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("nobody panicked");
    assert!(missed.is_empty(), "nothing finds {missed:?} in {SEEDS} runs");
    // And it is the faults that are found.
    for seed in 0..2 {
        assert_eq!(caught(None, seed), None, "seed {seed}, without a fault");
    }
}

/// What only tests may have in it.
const ONLY_FOR_TESTS: [&str; 3] = ["history", "mutants", "testing"];

fn features_of(package: &str) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "--package", package, "--edges", "normal,build,features", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8_lossy(&tree.stdout).into_owned()
}

#[test]
fn no_product_is_built_with_what_is_for_tests() {
    let has = |tree: &str, feature: &str| {
        let feature = format!("feature \"{feature}\"");
        tree.lines().any(|line| line.starts_with("holdfast") && line.contains(&feature))
    };
    let tests = features_of("holdfast-tests");
    assert!(ONLY_FOR_TESTS.iter().all(|feature| has(&tests, feature)), "cargo tree shows no features:\n{tests}");
    for package in ["holdfast", "holdfast-cli", "holdfast-manager", "holdfast-objects", "holdfast-bench"] {
        let tree = features_of(package);
        for feature in ONLY_FOR_TESTS {
            assert!(!has(&tree, feature), "{package} is built with the feature {feature}");
        }
    }
}
