//! That scenarios fail where they should: a runner that lets everything pass proves nothing.

use holdfast_proto::Refusal;
use holdfast_scenarios::door::{Answered, Caller, Input, Setup};
use holdfast_scenarios::{Door, Kind, Machine, Outcome, Scenario, parse};

fn read(kind: &str, text: &str) -> Result<Vec<Scenario>, String> {
    parse("here", text, &Kind::named(kind).expect("there is such a kind")).map_err(|unreadable| unreadable.to_string())
}

fn run(kind: &str, steps: &str, door: &mut impl Door) -> Result<Outcome, String> {
    let scenarios = read(kind, &format!("# A title.\n{steps}")).unwrap_or_else(|problem| panic!("{steps}\n{problem}"));
    scenarios[0].run(door).map_err(|failure| failure.to_string())
}

/// Steps of a lock, where the first line is line 2; where they fail, and with which words.
const FAILING: &[(&str, &str, &str)] = &[
    (
        "a Acquire -> acquired: false",
        "here:2:",
        "expected: acquired: false\n  got:      acquired:true,fence:1007 (acquired is true and not false)",
    ),
    ("a Acquire -> acquired: true", "here:2:", "fence is 1007 and not 0"),
    ("a Acquire -> acquired: false ...", "here:2:", "acquired is true and not false"),
    ("a Acquire -> done", "here:2:", "acquired is true and not false"),
    ("a Acquire -> acquired: true fence: $1 abandoned { ... }", "here:2:", "abandoned is not set"),
    (
        "a Acquire -> acquired: true fence: $1\na dies\nb Acquire -> acquired: true fence: $2",
        "here:4:",
        "abandoned is set",
    ),
    (
        "a Acquire -> acquired: true fence: $1\na dies\nb Acquire -> acquired: true fence: $2 abandoned { name: \"b\" ... }",
        "here:4:",
        "abandoned.name is \"a\" and not \"b\"",
    ),
    (
        "a Acquire -> acquired: true fence: $1\na dies\nb Acquire -> acquired: true fence: $2 abandoned { fence: $2 ... }",
        "here:4:",
        "abandoned.fence is 1007 and not $2, which is 1021",
    ),
    (
        "a Acquire -> acquired: true fence: $1\na dies\nb Acquire -> acquired: true abandoned { ... }",
        "here:4:",
        "fence is 1021 and not 0",
    ),
    (
        "a Acquire -> acquired: true fence: $1\na dies\nb Acquire -> abandoned { name: \"a\" } ...",
        "here:4:",
        "abandoned.fence is 1007 and not 0",
    ),
    ("a Acquire -> waits", "here:2:", "a was answered, which nobody expects: acquired:true,fence:1007"),
    ("a Acquire -> refused BROKEN", "here:2:", "got:      acquired:true,fence:1007"),
    ("a Release -> depth: 0", "here:2:", "got:      refused NOT_HELD \"nobody has the lock"),
    ("a Release -> refused BROKEN", "here:2:", "expected: refused BROKEN\n  got:      refused NOT_HELD"),
    ("a Release -> refused NOT_HELD \"somebody\"", "here:2:", "the message does not have \"somebody\""),
    (
        "a Acquire -> acquired: true fence: $1\na Release -> depth: 0\na Acquire -> acquired: true fence: $1",
        "here:4:",
        "and not $1",
    ),
    (
        "a Acquire -> acquired: true fence: $1\na Release -> depth: 0\na Acquire -> acquired: true fence: $2 < $1",
        "here:4:",
        "$2 is 1021 and not below $1, which is 1007",
    ),
    ("a Acquire -> acquired: true fence: $1 > $1", "here:2:", "not above $1"),
    ("a Acquire -> acquired: true fence: $1 > $other", "here:2:", "$other stands for nothing"),
    ("a Release fence: $1 -> depth: 0", "here:2:", "$1 stands for nothing"),
    ("a Describe -> done @ $1\na Describe -> done @ $1", "here:3:", "the index is 1014 and not $1, which is 1007"),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> acquired: true fence: $2",
        "here:3:",
        "expected: acquired: true fence: $2\n  got:      no answer",
    ),
    ("a Acquire -> acquired: true fence: $1\nb Acquire -> waits", "here:3:", "a call of b was never answered"),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\nb still waits\na Describe -> locked: true ...",
        "here:5:",
        "a call of b was never answered",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\na Release -> depth: 0",
        "here:4:",
        "b was answered, which nobody expects: acquired:true,fence:1021",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\nc Release -> refused NOT_HELD\n b -> acquired: true ...",
        "here:5:",
        "expected: acquired: true ...\n  got:      no answer",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\na dies\n b -> refused WITHDRAWN",
        "here:5:",
        "got:      acquired:true",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\nb dies\na Release -> depth: 0\n b -> acquired: true ...",
        "here:6:",
        "b does not wait",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\na Release -> depth: 0\n b -> acquired: true ...\n b -> acquired: true ...",
        "here:6:",
        "b is answered twice",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\nb Release -> refused NOT_HELD",
        "here:4:",
        "b waits already",
    ),
    ("a dies\na Release -> refused NOT_HELD", "here:3:", "the session a has ended"),
    ("a withdraws -> nothing", "here:2:", "a made no call"),
    ("a Acquire -> acquired: true fence: $1\na withdraws -> refused WITHDRAWN", "here:3:", "a does not wait"),
    ("a Acquire -> acquired: true fence: $1\na still waits", "here:3:", "a does not wait"),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\nb withdraws -> nothing",
        "here:4:",
        "b waits, so it is answered",
    ),
    (
        "a Acquire -> acquired: true fence: $1\nb Acquire -> waits\nb loses patience -> acquired: true",
        "here:4:",
        "acquired is false and not true",
    ),
    ("a Acquire -> acquired: true fence: $1\na misses", "here:3:", "no answer to a is on its way"),
    ("a Acquire ~> acquired: true fence: $1\na hears\na misses", "here:4:", "no answer to a is on its way"),
    ("a opens reentrant: true -> done", "here:2:", "got:      refused OTHER_SPEC"),
    ("a opens -> refused OTHER_SPEC", "here:2:", "got:      done"),
    ("spec -> refused MALFORMED", "here:2:", "got:      done"),
    ("spec on_loss: 9\na Reset -> done", "here:1:", "the object was not made: there is no on_loss 9"),
    ("spec on_loss: 9 -> refused QUOTA", "here:2:", "got:      refused MALFORMED"),
    ("limit patience 3\na Reset -> done", "here:1:", "not patience"),
];

#[test]
fn what_is_not_as_the_scenario_says_fails_there_with_what_came() {
    for (steps, line, words) in FAILING {
        let failure = run("lock", steps, &mut Machine::plain()).expect_err(steps);
        assert!(failure.starts_with(line) && failure.contains(words), "{steps}\n---\n{failure}");
        assert!(failure.ends_with("in \"A title.\", through the machine"), "{failure}");
    }
}

#[test]
fn lists_and_data_are_compared_whole() {
    let put = "a AddMany members: [{ integer: 1 }, { text: \"x\" }] -> added: 2\na Scan -> ";
    for (expected, words) in [
        ("members { integer: 1 }", "members has 2 elements and not 1"),
        ("members { integer: 1 } ...", "members has 2 elements and not 1"),
        ("members: [{ ... }, { text: \"\" ... }]", "members[1].text is \"x\" and not \"\""),
        ("members: [{ integer: 1 }, { text: \"y\" }]", "members[1].text is \"x\" and not \"y\""),
        ("members: [{ integer: 1 }, { integer: 0 }]", "members[1].integer is not set"),
        ("members: [{ float: 1 }, { text: \"x\" }]", "members[0].integer is set"),
    ] {
        let failure = run("set", &format!("{put}{expected}"), &mut Machine::plain()).expect_err(expected);
        assert!(failure.contains(words), "{expected}\n---\n{failure}");
    }
    for same in ["members: [{ integer: 1 }, { text: \"x\" }]", "members: [{ ... }, { text: 'x' ... }]", "..."] {
        assert_eq!(run("set", &format!("{put}{same}"), &mut Machine::plain()), Ok(Outcome::Passed), "{same}");
    }
}

#[test]
fn what_cannot_be_meant_is_not_read() {
    for (text, problem) in [
        ("a Acquire -> waits", "here:1: a scenario begins with `# ` and its title"),
        ("#\n", "here:1: the title says what the scenario shows"),
        ("# Title\n", "here:1: nothing happens in this scenario"),
        ("# Title\na Reset -> done\n\n# Other\n-- a remark\n", "here:4: nothing happens in this scenario"),
        ("# Title\na Steal -> done", "here:2: lock has no op \"Steal\", it has Acquire, Release, Describe, Reset"),
        ("# Title\na waits for it", "here:2: \"waits for it\" is nothing that one does"),
        ("# Title\na Acquire", "here:2: what comes of it is to be said"),
        ("# Title\na Acquire ->", "here:2: what is expected?"),
        ("# Title\na Acquire who: 1 -> waits", "here:2: \"who: 1\" is no LockAcquireRequest"),
        ("# Title\na Acquire -> taken: true", "here:2: \"taken: true\" is no LockAcquireResponse"),
        ("# Title\na Acquire actor: 2139000001 -> waits", "here:2: numbers near 2139000000 stand for variables"),
        ("# Title\na Acquire actor: 1 ... -> waits", "here:2: what is sent is said in full"),
        ("# Title\na Release fence: $2 > $1 -> done", "here:2: what is sent is said in full"),
        ("# Title\na Acquire -> fence: $", "here:2: \"$\" is no variable"),
        ("# Title\na Acquire -> done @ 1", "here:2: \"1\" is no variable"),
        ("# Title\na Acquire -> done @ $1 x", "here:2: \" x\" says nothing"),
        ("# Title\na Acquire -> refused UNKINDLY", "here:2: there is no reason \"UNKINDLY\""),
        ("# Title\na Acquire -> refused BROKEN why", "here:2: a part of the refusal's message stands in quotes"),
        ("# Title\na Acquire ~> waits", "here:2: only a response is held back"),
        ("# Title\na Release -> waits", "here:2: Release never waits"),
        ("# Title\na Release -> nothing", "here:2: nothing comes only of withdrawing"),
        ("# Title\na dies -> done", "here:2: this is not answered"),
        ("# Title\na/b dies", "here:2: a session ends as a whole: write a"),
        ("# Title\na/ Acquire -> waits", "here:2: \"a/\" is nobody"),
        ("# Title\na234567890123456z Acquire -> waits", "here:2: \"a234567890123456z\" is nobody"),
        ("# Title\na opens -> depth: 0", "here:2: \"depth: 0\" is no answer to this"),
        ("# Title\n  b -> done", "here:2: no call of b began to wait"),
        ("# Title\nb Acquire -> waits\na Reset -> done\n  b", "here:4: an indented line is what a call that waited"),
        ("# Title\nb Acquire -> waits\na Reset -> done\n  b -> waits", "here:4: a call that goes on waiting"),
        (
            "# Title\na Reset -> done\nspec reentrant: true",
            "here:3: the spec of the object stands before the first step",
        ),
        ("# Title\nspec reentrant: true -> done", "here:2: a spec is refused, or there is nothing to say"),
        (
            "# Title\nspec -> refused MALFORMED\na Reset -> done",
            "here:3: nothing happens to an object that is not made",
        ),
        ("# Title\nlimit object_bytes much", "here:2: \"much\" is no number"),
        ("# Title\nlimit object_bytes", "here:2: a limit has a name and a value"),
    ] {
        let unreadable = read("lock", text).expect_err(text);
        assert!(unreadable.starts_with(problem), "{text}\n---\n{unreadable}");
    }
}

#[test]
fn a_line_goes_on_in_the_next_and_quotes_hide_what_they_hold() {
    let text = "-- What stands above is for readers.\n# Title\na Set value { text: \"a -> b @ $c ... #\" } \\\n      -> done\n\
                a Get -> \\\n  value { \\\n  text: \"a -> b @ $c ... #\" } version: $1\na Set value { text: 'x' } -> \
                refused OVERFLOW";
    let failure = read("value", text).unwrap()[0].run(&mut Machine::plain()).unwrap_err().to_string();
    assert!(failure.starts_with("here:8: a Set"), "{failure}");
}

/// A door that notes whose answers were heard. Where it is not exact, who is willing to wait for 1 ms has waited for as long
/// before the door has looked.
struct Probe {
    machine: Machine,
    is_exact: bool,
    heard: Vec<String>,
}

impl Probe {
    fn new(is_exact: bool) -> Self {
        Self { machine: Machine::plain(), is_exact, heard: Vec::new() }
    }
}

impl Door for Probe {
    fn name(&self) -> &'static str {
        "a probe"
    }

    fn is_exact(&self) -> bool {
        self.is_exact
    }

    fn begin(&mut self, setup: &Setup<'_>) -> Result<Result<(), Refusal>, String> {
        self.machine.begin(setup)
    }

    fn input(&mut self, input: &Input<'_>) -> Result<Vec<Answered>, String> {
        const PATIENCE_OF_1_MS: &[u8] = &[8, 1];
        let mut came = self.machine.input(input)?;
        if let Input::Call { caller, request: PATIENCE_OF_1_MS, .. } = input
            && came.is_empty()
            && !self.is_exact
        {
            came = self.machine.input(&Input::LosePatience(caller))?;
        }
        Ok(came)
    }

    fn heard(&mut self, caller: &Caller) -> Result<Vec<Answered>, String> {
        self.heard.push(caller.to_string());
        self.machine.heard(caller)
    }

    fn end(&mut self) -> Result<(), String> {
        self.machine.end()
    }
}

#[test]
fn where_time_passes_by_itself_patience_may_end_before_anybody_looks() {
    let held = "a Acquire -> acquired: true fence: $1\n";
    for patience in [1, 2] {
        let steps = format!("{held}b Acquire patience_ms: {patience} -> waits\nb loses patience -> acquired: false");
        assert_eq!(run("lock", &steps, &mut Probe::new(false)), Ok(Outcome::Passed));
    }
    let steps = format!("{held}b Acquire patience_ms: 1 -> waits\nb loses patience -> acquired: true");
    let failure = run("lock", &steps, &mut Probe::new(false)).unwrap_err();
    assert!(failure.starts_with("here:4:"), "{failure}");
    let steps = format!("{held}b Acquire patience_ms: 1 -> waits\nb still waits");
    let failure = run("lock", &steps, &mut Probe::new(false)).unwrap_err();
    assert!(failure.starts_with("here:3:") && failure.contains("nobody expects"), "{failure}");
}

#[test]
fn what_turns_on_the_moment_is_left_to_exact_doors() {
    let held = "a Acquire -> acquired: true fence: $1\n";
    for steps in [
        "a Acquire ~> acquired: true fence: $1\na hears",
        &format!("{held}b Acquire patience_ms: 9 -> waits\na Describe -> locked: true ...\nb loses patience -> done"),
        &format!("{held}b Acquire -> waits\na Release -> depth: 0\n b ~> acquired: true ..."),
    ] {
        assert_eq!(run("lock", steps, &mut Machine::plain()), Ok(Outcome::Passed), "{steps}");
        assert_eq!(run("lock", steps, &mut Probe::new(false)), Ok(Outcome::NeedsExactDoor), "{steps}");
    }
}

#[test]
fn an_answer_is_heard_once_and_only_when_it_has_come() {
    let steps = "a Acquire ~> acquired: true fence: $1\nb Acquire -> waits\nc Acquire -> waits\nd opens -> done\na hears\n\
                 a/2 Release -> depth: 0\n b -> acquired: true ...\nb Release -> depth: 0\n c ~> acquired: true ...\n\
                 c misses\nd Release -> refused NOT_HELD";
    let mut probe = Probe::new(true);
    assert_eq!(run("lock", steps, &mut probe), Ok(Outcome::Passed));
    assert_eq!(probe.heard, ["a", "a/2", "b", "b", "d"]);
}
