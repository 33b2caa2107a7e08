//! Every cell of the table in `docs/death.md`: each use of an object, each phase of it, and each way in which a process goes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use holdfast_proto::{ValueSpec, value};
use holdfast_tests::death::{BEACON, Phase, Play, Seen, Step, USES, VICTIM_NAME, play};
use holdfast_tests::{Cut, Cutter, HOST, Manager, Party, Process, Setup, program, until_async};
use rustix::process::{Pid, Signal, test_kill_process};

const DOCUMENT: &str = include_str!("../../../docs/death.md");

/// The grace of the managers here, where it is to pass.
const GRACE: Duration = Duration::from_millis(200);

/// How a process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Goodbye,
    Killed,
    KilledWithHeir,
    KilledOverTcp,
    HalfOpen,
    Stopped,
    Resumed,
}

/// What becomes of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Lost,
    GoesOn,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::Goodbye,
        Self::Killed,
        Self::KilledWithHeir,
        Self::KilledOverTcp,
        Self::HalfOpen,
        Self::Stopped,
        Self::Resumed,
    ];

    /// As it stands in the document.
    fn name(self) -> &'static str {
        match self {
            Self::Goodbye => "says goodbye",
            Self::Killed => "is killed, over a Unix socket",
            Self::KilledWithHeir => "is killed, and a forked child keeps its Unix socket",
            Self::KilledOverTcp => "is killed, over TCP",
            Self::HalfOpen => "vanishes from the network, over TCP",
            Self::Stopped => "is stopped, over TCP, for longer than the grace",
            Self::Resumed => "loses its TCP connection and resumes within the grace",
        }
    }

    fn manager(self) -> Manager {
        let grace = if self == Self::Resumed { Duration::from_secs(600) } else { GRACE };
        let setup = Setup::new(program!()).tcp().setting("session_grace", &format!("{}ms", grace.as_millis()));
        // The least that there is.
        setup.setting("keepalive_time", "1s").setting("keepalive_timeout", "2s").start()
    }

    /// How many cells of it are run at once.
    fn at_once(self) -> usize {
        // The manager takes its time to find out, each time.
        if self == Self::HalfOpen { usize::MAX } else { 8 }
    }
}

/// The rows of the table that begins with this column, cell by cell.
fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(&format!("| {first} |")));
    let lines = lines.skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// What is promised of each use and phase, for each end of a session.
fn promises() -> Vec<(&'static str, Phase, [&'static str; 3])> {
    let rows = rows("object");
    let promise = |row: &Vec<&'static str>| match row[..] {
        [used, phase, closed, lost, on] => (used, Phase::named(phase), [closed, lost, on]),
        _ => panic!("a row of the table has five cells: {row:?}"),
    };
    rows.iter().map(promise).collect()
}

#[test]
fn the_document_has_each_use_each_phase_and_each_way() {
    let promised: Vec<_> = promises().into_iter().map(|(used, phase, _)| (used, phase)).collect();
    let all = USES.into_iter().flat_map(|used| Phase::ALL.map(|phase| (used, phase)));
    let there_are: Vec<_> = all.filter(|(used, phase)| play(used, *phase).is_some()).collect();
    assert_eq!(promised, there_are);
    let ways: Vec<_> = rows("how it goes").into_iter().map(|row| (row[0], row[1])).collect();
    let there_are = Way::ALL.map(|way| (way.name(), ["closed", "lost", "goes on"][way.end() as usize]));
    assert_eq!(ways, there_are);
}

/// Does what the document says of this way, and compares.
fn goes(way: Way) {
    let manager = way.manager();
    let promises = promises();
    let (left, wrong) = (Mutex::new(promises.iter()), Mutex::new(Vec::new()));
    let done = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..way.at_once().min(promises.len()) {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let next = left.lock().unwrap().next();
                    let Some((used, phase, promised)) = next else { return };
                    let promised = promised[way.end() as usize];
                    let play = || runtime.block_on(Cell::begin(way, used, *phase, &manager));
                    let seen =
                        catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| "panicked: see above".to_owned());
                    *done.lock().unwrap() += 1;
                    if seen != promised {
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("{used}, {phase:?}: {promised:?} is promised, and it {seen:?}"));
                    }
                }
            });
        }
    });
    let (done, wrong) = (done.into_inner().unwrap(), wrong.into_inner().unwrap());
    assert!(wrong.is_empty(), "a process that {}:\n{}", way.name(), wrong.join("\n"));
    assert_eq!(done, promises.len());
    println!("{done} cells: a process that {}", way.name());
}

#[test]
fn a_process_says_goodbye() {
    goes(Way::Goodbye);
}

#[test]
fn a_process_is_killed() {
    goes(Way::Killed);
}

#[test]
fn a_process_is_killed_and_a_forked_child_keeps_its_socket() {
    goes(Way::KilledWithHeir);
}

#[test]
fn a_process_is_killed_over_tcp() {
    goes(Way::KilledOverTcp);
}

#[test]
fn a_process_vanishes_from_the_network() {
    goes(Way::HalfOpen);
}

#[test]
fn a_process_is_stopped_for_longer_than_the_grace() {
    goes(Way::Stopped);
}

#[test]
fn a_process_loses_its_connection_and_resumes() {
    goes(Way::Resumed);
}

impl Way {
    fn end(self) -> End {
        match self {
            Self::Goodbye => End::Closed,
            Self::Killed | Self::KilledWithHeir | Self::KilledOverTcp | Self::HalfOpen => End::Lost,
            Self::Stopped | Self::Resumed => End::GoesOn,
        }
    }
}

/// One use of one object in one phase, while one process goes in one way.
struct Cell {
    way: Way,
    phase: Phase,
    play: Play,
    beacon: String,
    /// Who lets the victim wait and go on, and who is next in line.
    others: Party,
    handle: u32,
    victim: Process,
    cutter: Option<Cutter>,
    /// The call of the next in line.
    next: Option<u64>,
}

impl Cell {
    /// Plays it. What was seen, in the words of the document.
    async fn begin(way: Way, used: &str, phase: Phase, manager: &Manager) -> String {
        let play = play(used, phase).unwrap();
        let name = format!("{used}, {}", phase.name());
        let beacon = format!("{name}{BEACON}");
        let mut others = Party::join(manager, 0).await;
        let handle = others.open_as(&name, play.kind, play.spec.clone()).await;
        others.open(&beacon, value::KIND, &ValueSpec::default()).await;
        Step::take(&play.before, &mut others, handle).await;
        let mut next = None;
        if play.next_is_first {
            next = Some(Step::begin(&play.next, &mut others, handle).await);
            others.settle().await;
        }
        let cutter =
            matches!(way, Way::HalfOpen | Way::Resumed).then(|| Cutter::start(&manager.addresses[1], |_| Cut::NEVER));
        let address = match (&cutter, way) {
            (Some(cutter), _) => cutter.address(),
            (None, Way::KilledOverTcp | Way::Stopped) => manager.addresses[1].clone(),
            (None, _) => manager.addresses[0].clone(),
        };
        let victim = manager.worker_at(&address, &["victim", used, phase.name(), &name]);
        assert_eq!(victim.line(), "there");
        if next.is_none() && !play.next.is_empty() {
            next = Some(Step::begin(&play.next, &mut others, handle).await);
            others.settle().await;
        }
        Self { way, phase, play, beacon, others, handle, victim, cutter, next }.play().await
    }

    async fn play(mut self) -> String {
        let mut seen = None;
        match self.phase {
            Phase::Granted => {
                if self.way == Way::HalfOpen {
                    // What it is granted does not reach its host any more.
                    self.cutter.as_ref().unwrap().vanish();
                }
                self.lift().await;
            }
            Phase::Releasing => {
                self.victim.say("give, and do not read");
                seen = self.seen_by_next().await;
            }
            Phase::Waiting | Phase::Holding | Phase::Idle => {}
        }
        match self.way.end() {
            End::Closed | End::Lost => self.ends(seen).await,
            End::GoesOn => self.goes_on(seen).await,
        }
    }

    async fn lift(&mut self) {
        Step::take(&self.play.lift, &mut self.others, self.handle).await;
    }

    /// Waits until the next in line is answered.
    async fn seen_by_next(&mut self) -> Option<Seen> {
        let call = self.next.take()?;
        Some(self.play.next.last().unwrap().answer(&mut self.others, call).await)
    }

    /// The process goes, and its session ends.
    async fn ends(mut self, mut seen: Option<Seen>) -> String {
        let heir = self.go();
        let how = format!("the session ends: {}", self.beacon);
        until_async(&how, async || (self.references().await == 1).then_some(())).await;
        if self.phase == Phase::Waiting {
            self.lift().await;
        }
        if let Some(call) = self.next {
            if !self.others.is_answered(call).await {
                return "waits on".to_owned();
            }
            seen = self.seen_by_next().await;
        }
        if let Some(heir) = heir {
            test_kill_process(heir).expect("the child has the socket still");
        }
        let Some(seen) = seen else { return "notices nothing".to_owned() };
        let Some(lost) = seen.abandoned else { return seen.what.to_owned() };
        let pid = u32::try_from(self.victim.pid().as_raw_nonzero().get()).unwrap();
        assert_eq!((&*lost.name, lost.pid, &*lost.host), (VICTIM_NAME, pid, HOST));
        assert!(lost.fence > 0);
        format!("{}, told who was lost", seen.what)
    }

    /// The process goes. The child that keeps its socket, if there is one.
    fn go(&mut self) -> Option<Pid> {
        match self.way {
            Way::Goodbye => {
                self.victim.say("close");
                assert_eq!(self.victim.line(), "closed");
            }
            Way::Killed | Way::KilledOverTcp => self.victim.kill(),
            Way::KilledWithHeir => {
                self.victim.say("fork");
                let heir = Pid::from_raw(self.victim.line().parse().unwrap());
                self.victim.kill();
                return heir;
            }
            Way::HalfOpen => self.cutter.as_ref().unwrap().vanish(),
            Way::Stopped => self.victim.signal(Signal::STOP),
            Way::Resumed => {
                self.cutter.as_ref().unwrap().cut_all();
            }
        }
        None
    }

    /// The process goes, and comes back.
    async fn goes_on(mut self, seen: Option<Seen>) -> String {
        let was_answered = self.is_next_answered().await;
        self.go();
        if self.way == Way::Stopped {
            // The time that is to pass is what is tested.
            tokio::time::sleep(GRACE * 3).await;
            assert_eq!(self.references().await, 2, "its session lives");
            assert_eq!(self.is_next_answered().await, was_answered, "nothing was passed on");
            self.victim.signal(Signal::CONT);
        } else {
            self.victim.say("resume");
        }
        if self.phase == Phase::Waiting {
            self.lift().await;
        }
        self.victim.say("go on");
        let went_on = self.victim.line();
        assert_eq!(self.references().await, 2, "its session lives");
        if !matches!(self.phase, Phase::Releasing | Phase::Idle) {
            self.victim.say("give");
            assert_eq!(self.victim.line(), "given");
        }
        let seen = seen.or(self.seen_by_next().await);
        assert_eq!(seen.and_then(|seen| seen.abandoned), None, "nobody was lost");
        self.victim.finish();
        went_on
    }

    async fn is_next_answered(&mut self) -> bool {
        match self.next {
            Some(call) => self.others.is_answered(call).await,
            None => true,
        }
    }

    /// How many sessions have a handle to the beacon: ours, and that of the victim while it lives.
    async fn references(&mut self) -> u64 {
        self.others.handles_to(&self.beacon).await
    }
}
