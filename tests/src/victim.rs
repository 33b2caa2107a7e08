//! A process that a test lets go while it does something with an object: see `death.rs`.

use holdfast_proto::place::read_authkey_file;
use holdfast_tests::Party;
use holdfast_tests::death::{BEACON, Phase, Play, Seen, Step, VICTIM_NAME, play};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{hear, say};

/// Comes into a phase of one use of an object of this name, says so, and then does what it is told, until the test is over.
///
/// It reads from its connection only where it waits for a reply: while it listens to the test, nothing is read.
pub(crate) fn run(used: &str, phase: &str, name: &str) {
    let phase = Phase::named(phase);
    let play = play(used, phase).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = std::env::var("HOLDFAST_ADDRESS").unwrap().parse().unwrap();
        let authkey = std::env::var_os("HOLDFAST_AUTHKEY_FILE").unwrap();
        let authkey = read_authkey_file(authkey.as_ref()).unwrap();
        let mut party = Party::join_as(&address, authkey, VICTIM_NAME).await;
        let handle = party.find(name, play.kind).await;
        party
            .open(&format!("{name}{BEACON}"), holdfast_proto::value::KIND, &holdfast_proto::ValueSpec::default())
            .await;
        Victim { party, handle, phase, play, unread: None }.act().await;
    });
}

struct Victim {
    party: Party,
    handle: u32,
    phase: Phase,
    play: Play,
    /// A call whose reply it has not read, and what it was.
    unread: Option<(u64, Step)>,
}

impl Victim {
    async fn act(mut self) {
        match self.phase {
            Phase::Waiting | Phase::Granted => {
                let take = self.play.take.clone();
                self.begin(&take).await;
                // Calls of a session are applied in their order: it waits now.
                self.party.settle().await;
            }
            Phase::Holding | Phase::Releasing => {
                Step::take(&self.play.take, &mut self.party, self.handle).await;
            }
            Phase::Idle => {
                self.idle().await;
            }
        }
        say("there");
        while let Some(told) = hear() {
            match &*told {
                "give, and do not read" => {
                    let give = self.play.give.clone();
                    self.begin(&give).await;
                    // The connection has its turn, and writes what is left.
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                }
                "fork" => say(fork_heir()),
                "resume" => self.party.resume().await,
                "go on" => say(self.go_on().await.what),
                "give" => {
                    Step::take(&self.play.give, &mut self.party, self.handle).await;
                    say("given");
                }
                "close" => {
                    self.party.close().await;
                    return say("closed");
                }
                other => panic!("told {other:?}"),
            }
        }
    }

    async fn begin(&mut self, steps: &[Step]) {
        let call = Step::begin(steps, &mut self.party, self.handle).await;
        self.unread = Some((call, steps.last().unwrap().clone()));
    }

    /// Takes the object and gives it back, or looks at it.
    async fn idle(&mut self) {
        Step::take(&self.play.take, &mut self.party, self.handle).await;
        Step::take(&self.play.give, &mut self.party, self.handle).await;
    }

    /// Reads what it has not read, and makes sure that its session goes on.
    async fn go_on(&mut self) -> Seen {
        let seen = match self.unread.take() {
            Some((call, step)) => step.answer(&mut self.party, call).await,
            None if self.phase == Phase::Holding => "still has it".into(),
            None => {
                self.idle().await;
                "goes on".into()
            }
        };
        self.party.settle().await;
        seen
    }
}

/// Starts a child that keeps this process's socket for as long as the test is not over. Its process id.
fn fork_heir() -> i32 {
    // This process has one thread, so its child may do anything.
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            // Only its parent may read what the test says. The end comes without being asked for.
            let _ = poll(&mut [PollFd::new(&std::io::stdin(), PollFlags::empty())], None);
            std::process::exit(0);
        }
        fork::Fork::Parent(child) => child,
    }
}
