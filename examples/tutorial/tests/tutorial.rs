//! Every program of the tutorial, run as a user runs it, and what it prints.
//!
//! What is printed is compared whole, where its order is fixed. Where processes print as they come, it is compared as lines
//! in any order, and then what does follow from what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far longer than any of them takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(50);

/// What a program printed.
struct Printed {
    lines: Vec<String>,
    errors: String,
}

/// Runs a program until it and all processes that it started have ended: so long somebody has its output.
fn run(program: &str) -> Printed {
    let mut child = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has built it");
    let output = collect(child.stdout.take().expect("piped"));
    let errors = collect(child.stderr.take().expect("piped"));
    let Ok(output) = output.recv_timeout(PATIENCE) else {
        // Whether it can be killed or has ended, the test has failed.
        let _ = child.kill();
        panic!("{program} or a process that it started has not ended after {PATIENCE:?}");
    };
    let errors = errors.recv_timeout(PATIENCE).expect("who has closed its output ends");
    let status = child.wait().expect("it can be waited for");
    assert!(status.success(), "{program}: {status}\n{output}\n{errors}");
    Printed { lines: output.lines().map(str::to_owned).collect(), errors }
}

/// Everything that comes out of a pipe, when it is at its end.
fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is missed by the test, which nobody has to be told who has failed already.
        let _ = pipe.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    receiver
}

macro_rules! run {
    ($name:literal) => {
        run(env!(concat!("CARGO_BIN_EXE_", $name)))
    };
}

impl Printed {
    /// Exactly these lines.
    fn is(&self, expected: &[&str]) {
        assert_eq!(self.lines, expected, "{}", self.errors);
    }

    /// Where the one line is that begins so.
    fn at(&self, begin: &str) -> usize {
        let mut found = self.lines.iter().enumerate().filter(|(_, line)| line.starts_with(begin));
        let (at, _) = found.next().unwrap_or_else(|| panic!("no line begins with {begin:?} in {self}"));
        assert!(found.next().is_none(), "more than one line begins with {begin:?} in {self}");
        at
    }

    /// What follows `begin` on the one line that begins so.
    fn after(&self, begin: &str) -> &str {
        self.lines[self.at(begin)][begin.len()..].trim_start()
    }
}

impl std::fmt::Display for Printed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\n{}\n{}", self.lines.join("\n"), self.errors)
    }
}

#[track_caller]
fn number<T: std::str::FromStr>(text: &str) -> T {
    let digits: String = text.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '-' | '.')).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}

#[test]
fn lock() {
    let printed = run!("01_lock");
    let (last, lines) = printed.lines.split_last().expect("it prints");
    assert_eq!(last, "all ten are done");
    let mut seen = BTreeSet::new();
    for of_one in lines.chunks(3) {
        let who: u32 = number(of_one[0].strip_prefix("process ").expect("a line of a process"));
        assert_eq!(of_one, ["begins", "works", "ends"].map(|what| format!("process {who} {what}")), "{printed}");
        seen.insert(who);
    }
    assert_eq!(seen, (0..10).collect());
}

#[test]
fn memory() {
    run!("02_memory").is(&[
        "parent, before:    global 50, shared 50",
        "child, at first:   global 100, shared 50",
        "child, at its end: global 0, shared 0",
        "parent, after:     global 50, shared 0",
    ]);
}

#[test]
fn join() {
    let printed = run!("03_join");
    let mut pids = BTreeSet::new();
    for name in ["\"Process-1\"", "\"the second\""] {
        let child: u32 = number(printed.after(&format!("I am {name}, process")));
        let parent: u32 = number(printed.after(&format!("started {name} as process")));
        assert_eq!(child, parent, "{printed}");
        pids.insert(child);
    }
    assert_eq!(pids.len(), 2, "{printed}");
    assert_eq!(printed.after("the first has ended within 50 ms:"), "false", "{printed}");
    assert_eq!(printed.lines.last().expect("it prints"), "after join: alive false and false");
    assert_eq!(printed.lines.len(), 6, "{printed}");
}

#[test]
fn terminate() {
    let printed = run!("04_terminate");
    printed.is(&[
        "before start: alive false, exit code None",
        "started:      alive true, exit code None",
        "terminated:   alive false, exit code Some(-15)",
        "killed:       exit code Some(-9)",
        "returned:     exit code Some(0)",
        "exit(7):      exit code Some(7)",
        "Err:          exit code Some(1)",
        "panic:        exit code Some(1)",
    ]);
    for said in ["there is nothing to do", "this is the worst case"] {
        assert!(printed.errors.contains(said), "{printed}");
    }
}

#[test]
fn daemon() {
    let printed = run!("05_daemon");
    let main = printed.at("main: this is the last line of main");
    assert!(printed.at("worker: begins") < main && printed.at("daemon: begins") < main, "{printed}");
    printed.at("worker: is done");
    assert_eq!(printed.lines.len(), 4, "{printed}");
    let daemon: u32 = number(printed.after("daemon: begins as process"));
    assert!(!Path::new(&format!("/proc/{daemon}")).exists(), "the daemon goes on: {printed}");
}

#[test]
fn zombies_and_orphans() {
    run!("06_zombies_and_orphans").is(&[
        "five processes have ended, nobody has joined them, and none is a zombie",
        "the parent was killed: exit code Some(-9)",
        "the daemon: has ended with its parent",
        "the orphan: goes on",
        "the orphan: my parent is gone, and I end by myself",
        "the orphan: has ended",
    ]);
}

#[test]
fn tickets() {
    run!("07_tickets").is(&[
        "file, without a lock: 100 of 10 tickets sold",
        "file, with a lock: 10 of 10 tickets sold",
        "dict, without a lock: 100 of 10 tickets sold",
        "dict, with a lock: 10 of 10 tickets sold",
    ]);
}

#[test]
fn queue() {
    run!("08_queue").is(&[
        "full: true",
        "put_nowait of a fourth: Full is true",
        "put within 10 ms: Full is true",
        "got 1",
        "got 2",
        "got 3",
        "empty: true",
        "get_nowait of a fourth: Empty is true",
    ]);
}

/// The loaves that these eaters have eaten, each in its order.
fn eaten<'a>(lines: &'a [String], eaters: &[&str]) -> Vec<Vec<&'a str>> {
    let by = |eater: &&str| {
        let begin = format!("{eater} has eaten ");
        lines.iter().filter_map(|line| line.strip_prefix(&begin)).collect()
    };
    eaters.iter().map(by).collect()
}

/// Four loaves of each baker, as text in order.
fn loaves(bakers: &[&str]) -> Vec<String> {
    bakers.iter().flat_map(|baker| (1..=4).map(move |number| format!("loaf {number} of {baker}"))).collect()
}

/// Each loaf was eaten once, and those of one baker, which one eater had, in the order in which they were baked.
fn all_eaten(printed: &Printed, lines: &[String], bakers: &[&str], eaters: &[&str]) {
    let eaten = eaten(lines, eaters);
    let mut all = eaten.concat();
    all.sort_unstable_by_key(|loaf| loaf.chars().rev().collect::<String>());
    let mut expected = loaves(bakers);
    expected.sort_unstable_by_key(|loaf| loaf.chars().rev().collect::<String>());
    assert_eq!(all, expected, "{printed}");
    for of_one in eaten {
        for baker in bakers {
            let mine: Vec<_> = of_one.iter().filter(|loaf| loaf.ends_with(baker)).collect();
            assert!(mine.is_sorted(), "{mine:?} in {printed}");
        }
    }
}

#[test]
fn producers_and_consumers() {
    let printed = run!("09_producers_and_consumers");
    let (first, second) = printed.lines.split_at(printed.at("--"));
    for (lines, bakers, eaters) in
        [(first, &["Ada"][..], &["Zoe"][..]), (second, &["Bob", "Cleo", "Dan"], &["Xenia", "Yann"])]
    {
        all_eaten(&printed, lines, bakers, eaters);
        for loaf in loaves(bakers) {
            let baker = loaf.rsplit(' ').next().expect("there is a name");
            let baked = printed.at(&format!("{baker} has baked {loaf}"));
            assert!(
                baked < printed.lines.iter().position(|line| line.ends_with(&format!("eaten {loaf}"))).expect("eaten")
            );
        }
        for eater in eaters {
            let last = lines.iter().rfind(|line| line.starts_with(eater)).expect("each says something");
            assert_eq!(*last, format!("{eater} has had enough"), "{printed}");
        }
    }
}

#[test]
fn joinable_queue() {
    let printed = run!("10_joinable_queue");
    let (last, lines) = printed.lines.split_last().expect("it prints");
    assert_eq!(last, "everything is eaten");
    assert_eq!(lines.len(), 12, "{printed}");
    all_eaten(&printed, lines, &["Ada", "Bob", "Cleo"], &["Yann", "Zoe"]);
}

#[test]
fn pipe() {
    run!("11_pipe").is(&[
        "has eaten loaf 1",
        "has eaten loaf 2",
        "has eaten loaf 3",
        "has eaten loaf 4",
        "has eaten loaf 5",
        "end of file",
        "1 + 2 = 3",
        "40 + 2 = 42",
        "-5 + 5 = 0",
        "the adder has ended",
    ]);
}

#[test]
fn manager_dict() {
    run!("12_manager_dict").is(&[
        "without a lock: 99 of 100 are left",
        "with a lock: 0 of 100 are left",
        "with add: 0 of 100 are left",
    ]);
}

#[test]
fn semaphore() {
    let printed = run!("13_semaphore");
    let (last, lines) = printed.lines.split_last().expect("it prints");
    assert_eq!(last, "all have gone: 0 inside, 5 rooms free");
    let mut said = BTreeMap::<u32, Vec<&str>>::new();
    let mut most = 0;
    for line in lines {
        let (guest, rest) = line.strip_prefix("guest ").and_then(|line| line.split_once(' ')).expect("of a guest");
        let (what, inside) = rest.split_once(": ").expect("and how many are inside");
        said.entry(number(guest)).or_default().push(what);
        let inside: i64 = number(inside);
        assert!((0..=5).contains(&inside), "{line}");
        most = most.max(inside);
    }
    assert_eq!(most, 5, "the first five are inside together: {printed}");
    assert!(said.keys().copied().eq(1..=13), "{printed}");
    assert!(said.values().all(|said| *said == ["comes in", "goes"]), "{printed}");
}

#[test]
fn traffic_light() {
    let printed = run!("14_traffic_light");
    let [green, red] = ["the light turns green", "the light turns red"].map(|line| printed.at(line));
    for number in 1..=2 {
        let line = format!("police car {number} drives, and the light is red");
        assert!(printed.at(&line) < green, "{printed}");
    }
    for number in 1..=6 {
        let drives = printed.at(&format!("car {number} drives, since the light is green"));
        assert!(green < drives && drives < red, "{printed}");
        assert!(printed.at(&format!("car {number} waits")) < green, "{printed}");
    }
    assert_eq!(printed.lines.last().expect("it prints"), "the light is red");
    assert_eq!(printed.lines.len(), 18, "{printed}");
}

/// The milliseconds at the end of a line.
#[track_caller]
fn milliseconds(line: &str) -> f64 {
    let text = line.strip_suffix(" ms").and_then(|line| line.rsplit(' ').next());
    number(text.unwrap_or_else(|| panic!("no time: {line:?}")))
}

#[test]
fn pool() {
    let printed = run!("15_pool");
    let of = |way: &str| {
        let (squares, time) = printed.after(way).split_once(" in ").expect("a time");
        assert_eq!(squares, "[1, 4, 9, 16, 25, 36]", "{printed}");
        milliseconds(&format!(" {time}"))
    };
    let (one_by_one, at_once, map) = (of("apply:"), of("apply_async:"), of("map:"));
    // 750 ms of sleep, which no machine makes shorter, against about 260.
    assert!(one_by_one >= 750.0, "{printed}");
    assert!(at_once < one_by_one * 0.8 && map < one_by_one * 0.8, "{printed}");
}

#[test]
fn callbacks() {
    let printed = run!("16_callbacks");
    let main: u32 = number(printed.after("main is process"));
    for (task, callback, says) in [
        ("12 / 3", "callback", ": 4"),
        ("12 / 4", "callback", ": 3"),
        ("12 / 0", "error callback", ": the function panicked: attempt to divide by zero"),
    ] {
        let worker: u32 = number(printed.after(&format!("task {task} runs in process")));
        assert_ne!(worker, main, "{printed}");
        let callback = printed.after(&format!("{callback} of {task} runs in process"));
        assert_eq!(number::<u32>(callback), main, "{printed}");
        assert!(callback.contains(says), "{printed}");
    }
    assert_eq!(printed.lines.last().expect("it prints"), "all is done");
    let of_callbacks = printed.lines.iter().filter(|line| line.contains("callback of")).count();
    assert_eq!(of_callbacks, 3, "each task has one: {printed}");
}

#[test]
fn chat_server() {
    let printed = run!("17_chat_server");
    let said = |who: &str, what: &str| -> u32 {
        let found = printed.lines.iter().filter_map(|line| line.strip_prefix(who)?.strip_suffix(what));
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{who:?} {what:?} in {printed}");
        number(found[0].trim())
    };
    let workers = ["ada", "bob", "cleo", "dan"]
        .map(|name| said(&format!("{name}: "), &format!("HELLO, I AM {}", name.to_uppercase())));
    assert_eq!(BTreeSet::from(workers).len(), 4, "each of four has a worker: {printed}");
    assert_eq!(said("bob: ", "BYE"), workers[1], "a conversation stays with its worker: {printed}");
    assert_eq!(said("eve: ", "HELLO, I AM EVE"), workers[1], "the fifth has the worker that is free: {printed}");
    let at = |end: &str| printed.lines.iter().position(|line| line.ends_with(end));
    assert!(printed.at("eve: (hears nothing)") < at("BYE").expect("he leaves"), "{printed}");
}

#[test]
fn crawler() {
    let printed = run!("18_crawler");
    let main: u32 = number(printed.after("the crawler is process"));
    for (path, what) in [
        ("/", r#""Home" leads to ["/bread", "/cake"]"#),
        ("/bread", r#""Bread" leads to ["/", "/rye"]"#),
        ("/cake", r#""Cake" leads to ["/", "/bread", "/lost"]"#),
        ("/rye", r#""Rye" leads to ["/bread"]"#),
        ("/lost", r#""no page: HTTP/1.0 404 Not Found" leads to []"#),
    ] {
        let (worker, parser) =
            printed.after(&format!("{path}: fetched by process")).split_once(", parsed by process ").expect("both");
        assert_ne!(number::<u32>(worker), main, "{printed}");
        assert_eq!(number::<u32>(parser), main, "{printed}");
        printed.at(&format!("{path}: {what}"));
    }
    assert_eq!(printed.lines.last().expect("it prints"), r#"5 pages: {"/", "/bread", "/cake", "/lost", "/rye"}"#);
    assert_eq!(printed.lines.len(), 12, "each page once: {printed}");
}

#[test]
fn executor() {
    run!("19_executor").is(&[
        "submit: 97 is prime: true",
        "map: 112272535095293 is prime: true",
        "map: 112582705942171 is prime: true",
        "map: 115280095190773 is prime: true",
        "map: 1000000 is prime: false",
        "as_completed: 2 of 2, 3 and 4 are prime",
        "after shutdown: submit is refused: true",
    ]);
}

#[test]
fn pool_or_processes() {
    let printed = run!("20_pool_or_processes");
    let of = |begin: &str| {
        let line = printed.after(begin);
        assert!(line.starts_with("171700 in "), "{printed}");
        milliseconds(line)
    };
    let (pool, processes) = (of("a pool of 4:"), of("100 processes:"));
    assert!(pool < processes, "{printed}");
    let ratio: f64 = number(printed.after("so the processes take"));
    assert!((processes / pool - ratio).abs() <= 0.1 * ratio + 0.1, "{printed}");
}

#[test]
fn semaphore_or_pool() {
    let printed = run!("21_semaphore_or_pool");
    for (how, processes) in [("with a semaphore", 9..=9), ("with a pool", 1..=3)] {
        let rest = printed.after(&format!("{how}: 9 pieces of work by"));
        let (pids, most) = rest.split_once(" processes, ").expect("how many at a time");
        assert!(processes.contains(&number::<u32>(pids)), "{printed}");
        assert!((1..=3).contains(&number::<u32>(most)), "{printed}");
    }
    assert_eq!(printed.lines.len(), 2, "{printed}");
}

#[test]
fn readme_has_every_program_and_its_lines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("README.md")).expect("there is a README");
    let mut programs: BTreeSet<String> = fs::read_dir(folder.join("src/bin"))
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect())
        .expect("there are programs");
    assert_eq!(programs.len(), 21);
    for row in readme.lines().filter(|line| line.starts_with("| [")) {
        // A bar inside of a cell has a backslash before it.
        let row = row.replace("\\|", "\u{0}");
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect();
        let [_, link, shows, python, rust, different, _] = &cells[..] else { panic!("not five cells: {row}") };
        let (number, file) = link.trim_matches(['[', ')']).split_once("](src/bin/").expect("a link to a program");
        assert!(file.starts_with(&format!("{number}_")) && programs.remove(file), "{row}");
        assert!([shows, python, different].iter().all(|cell| !cell.is_empty()), "{row}");
        let program = fs::read_to_string(folder.join("src/bin").join(file)).expect("it is there");
        for line in rust.split("<br>") {
            let line = line.trim_start_matches("&nbsp;").trim_matches('`');
            assert!(!line.is_empty() && program.contains(line), "{file} has no line {line:?}");
        }
    }
    assert!(programs.is_empty(), "not in the table: {programs:?}");
}
