//! The example, run as a user runs it, with little to count.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Cargo builds a package's examples with its tests, and puts them beside the folder of the tests.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
    let example = profile.join("examples").join(name);
    assert!(
        example.exists(),
        "{} is missing: run `cargo test -p holdfast-examples`, which builds it",
        example.display()
    );
    example
}

fn run(args: &[&str]) -> (Output, String, String) {
    let output = Command::new(example("shared_counters")).args(args).output().expect("the example runs");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output, stdout, stderr)
}

/// The cells of the row that begins with `name`.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(name));
    row.unwrap_or_else(|| panic!("there is no row {name:?} in\n{table}")).split_whitespace().collect()
}

#[test]
fn atomic_increments_of_three_processes_are_exact() {
    let (output, stdout, stderr) = run(&["--processes", "3", "--increments", "501"]);
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert_eq!(stderr, "", "nothing to complain about, and no progress bar where there is no terminal");
    // 501 = 126 + 125 + 125 + 125
    assert_eq!(row(&stdout, "/ ")[..2], ["378", "378"]);
    for counter in ["/login ", "/search ", "/basket "] {
        assert_eq!(row(&stdout, counter)[..2], ["375", "375"], "{counter}");
    }
    assert_eq!(row(&stdout, "total ")[..2], ["1,503", "1,503"]);
    assert_eq!(row(&stdout, "lost ")[0], "0");
    assert_eq!(row(&stdout, "calls ")[..], ["1,503", "3,006"]);

    let number = |cell: &str| cell.replace(',', "").parse::<u64>().expect("a number");
    let careless = [row(&stdout, "total ")[2], row(&stdout, "lost ")[1]].map(number);
    assert_eq!(careless.iter().sum::<u64>(), 1503, "what is not there was lost");
}

#[test]
fn wrong_arguments_are_refused() {
    for args in [["--processes", "0"], ["--increments", "none"]] {
        let (output, _, stderr) = run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr.contains(args[0]), "{stderr}");
    }
}
