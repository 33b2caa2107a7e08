//! Every scenario, through the doors of a manager process: what is told in `scenarios/kinds/` holds for each.
//!
//! Among them is what bad input comes to: a typed refusal, and nothing is changed.
//!
//! | bad input | kind | scenario |
//! |---|---|---|
//! | release without holding | lock | Only its holder releases it. |
//! | release without holding | rwlock | Only who has it gives it back, and what is refused changes nothing. |
//! | release without holding | semaphore | Who has no permits releases none, and nothing is released more than once. |
//! | release by another | lock | Only its holder releases it. |
//! | release by another | rwlock | Only who has it gives it back, and what is refused changes nothing. |
//! | release by another | semaphore | Who has no permits releases none, and nothing is released more than once. |
//! | release with a stale fence | lock | Only its holder releases it. |
//! | release with a stale fence | rwlock | Only who has it gives it back, and what is refused changes nothing. |
//! | release with a stale fence | semaphore | Who has no permits releases none, and nothing is released more than once. |
//! | over-release | lock | A reentrant lock is given back as often as it was taken, and its fence stays. |
//! | over-release | semaphore | A bounded one of nobody has never more than at first: who releases too often is refused. |
//! | negative count | lock | Negative numbers and long names are refused, and the lock stays where it is. |
//! | negative count | semaphore | Negative numbers, and more permits than there are, are out of range and change nothing. |
//! | negative count | semaphore | A negative number of permits makes no semaphore. |
//! | negative count | latch | It counts down only, and what is refused changes nothing. |
//! | negative count | latch | A negative count makes no latch. |
//! | negative patience | lock | A negative patience is no number of milliseconds, and changes nothing. |
//! | negative patience | rwlock | A negative patience is no number of milliseconds, and changes nothing. |
//! | negative patience | semaphore | Negative numbers, and more permits than there are, are out of range and change nothing. |
//! | negative patience | event | A negative patience is no number of milliseconds, whether it has happened or not. |
//! | negative patience | barrier | A negative patience changes nothing, also where it is broken. |
//! | negative patience | latch | It counts down only, and what is refused changes nothing. |
//! | negative patience | queue | Negative patience and too many items are out of range, and change nothing. |
//! | negative patience | pool | What cannot be meant is refused, and changes nothing. |
//! | negative number of parties | barrier | Nobody makes a barrier for a negative number of parties. |
//! | notify without the lock | lock | Who holds nothing neither waits nor notifies, nor with a fence that is over, and nothing changes. |
//! | task_done too often | queue | task_done is refused when nothing is unfinished, whoever says it. |
//! | put on a shut queue | queue | Shut down, it lets nothing in, and gives out what is there. |
//! | another spec | lock | Who opens it must say the same of it. |
//! | another spec | rwlock | Who opens it must say the same of it. |
//! | another spec | semaphore | Who opens it must say the same of it. |
//! | another spec | barrier | Who opens it must say the same of it. |
//! | another spec | latch | Who opens it must say the same of it, also when it has counted. |
//! | another spec | queue | Who opens it must say the same of it. |
//! | another spec | pool | What cannot be meant is refused, and changes nothing. |
//! | arguments that are none | pool | What cannot be meant is refused, and changes nothing. |
//! | a worker says what it may not | pool | What cannot be meant is refused, and changes nothing. |
//! | a function that nobody serves | pool | A call to run is answered with what came of its task, and who gives up has it dropped. |
//! | submit to a closed pool | pool | A pool that was closed does what it has, and then lets its workers go. |
//! | more tasks than ever fit | pool | Who submits waits for room, and nobody overtakes. |
//! | another's worker | pool | A worker leaves with its calls, and is its session's alone. |
//! | a job that is forgotten | pool | What a job's caller leaves behind is dropped with it, unless it is kept. |

use holdfast_scenarios::{Kind, Ran, run_all, scenarios};
use holdfast_tests::{ManagerDoor, Way, program};

/// Runs all through a door. As many are left out as it says.
fn run(way: Way, left_out: usize) {
    let mut door = ManagerDoor::new(program!(), way);
    let ran = run_all(&mut door);
    println!("{way:?}: {} scenarios passed, {} were left out", ran.passed, ran.left_out);
    let all: usize = Kind::all().map(|kind| scenarios(&kind).len()).sum();
    assert_eq!(ran, Ran { passed: all - left_out, left_out });
}

/// Those in which an answer is lost on its way, or patience ends at a chosen moment: nobody can choose it here.
const EXACT: usize = 22;

/// Those besides in which somebody closes, or is told by name.
const GOODBYES: usize = 38;

#[test]
fn the_session_stream() {
    run(Way::Stream, EXACT);
}

#[test]
fn the_session_stream_over_tcp() {
    run(Way::StreamOverTcp, EXACT);
}

#[test]
fn unary_calls() {
    run(Way::Unary, EXACT + GOODBYES);
}

#[test]
fn unary_calls_beside_a_session_stream() {
    run(Way::UnaryBesideStream, EXACT);
}

#[test]
fn the_scenarios_of_bad_input_are_run_through_every_door() {
    let rows = include_str!("scenarios.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let mut seen = 0;
    for row in rows {
        let columns: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let [_, kind, title] = columns[..] else { panic!("{row}") };
        let kind = Kind::named(kind).unwrap_or_else(|| panic!("{row}"));
        let scenario = scenarios(&kind).into_iter().find(|scenario| scenario.title == title);
        let scenario = scenario.unwrap_or_else(|| panic!("no scenario of {} is called {title:?}", kind.name()));
        assert!(!scenario.is_exact() && !scenario.needs_goodbyes(), "{row}");
        seen += 1;
    }
    assert!(seen > 25, "{seen}");
}
