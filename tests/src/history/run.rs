//! A run: a manager, its clients, and what goes wrong between them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_manager::history::Record;
use rustix::process::Signal;
use tempfile::TempDir;

use super::client::TOLD_CALLS;
use super::log::{self, Entry};
use super::plan::{Fault, Plan};
use crate::cutter::{Cutter, Weather};
use crate::manager::{Manager, Setup};
use crate::process::Process;
use crate::wait::{PATIENCE, until};

/// How often things went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Clients that were killed.
    pub kills: u64,
    /// Clients that were stopped for a while.
    pub pauses: u64,
    /// Connections that were cut, now or in the middle of a message.
    pub cuts: u64,
    /// Times in which all was late.
    pub delays: u64,
    /// Times in which nothing passed.
    pub blackholes: u64,
}

impl Faults {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kills + self.pauses + self.cuts + self.delays + self.blackholes
    }
}

/// Something went wrong in a run that was not in its plan.
#[derive(Debug)]
pub struct Unplanned {
    problem: String,
    folder: TempDir,
}

impl Unplanned {
    /// Leaves the files, for somebody to look into. Where they are.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

impl fmt::Display for Unplanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

/// What is left of a run.
#[derive(Debug)]
pub struct Ran {
    /// What went wrong.
    pub faults: Faults,
    /// How long it took.
    pub time: Duration,
    folder: TempDir,
}

struct Client {
    number: u64,
    life: u64,
    process: Process,
    /// What is between it and the manager. `None` where that is a Unix socket.
    cutter: Option<Cutter>,
    /// When it is let go on.
    paused_until: Option<Instant>,
    /// When the weather clears up.
    foul_until: Option<Instant>,
}

struct Run<'a> {
    program: &'a Path,
    plan: &'a Plan,
    manager: Manager,
    folder: PathBuf,
    clients: Vec<Client>,
    calls: u64,
    faults: Faults,
}

impl Ran {
    /// Does what the plan says, with a manager that has this fault in it.
    pub fn run(program: &Path, plan: &Plan, mutant: Option<&str>) -> Result<Self, Unplanned> {
        let begin = Instant::now();
        let folder = tempfile::Builder::new().prefix("holdfast-history-").tempdir().unwrap();
        let mut setup = Setup::new(program)
            .tcp()
            .setting("session_grace", "250ms")
            .setting("history", folder.path().join("manager.history").to_str().unwrap());
        if let Some(mutant) = mutant {
            setup = setup.setting("mutant", mutant);
        }
        let manager = setup.start();
        let mut run = Run {
            program,
            plan,
            manager,
            folder: folder.path().into(),
            clients: Vec::new(),
            calls: 0,
            faults: Faults::default(),
        };
        for number in 0..plan.clients {
            let plan = *plan;
            let cutter = (!Plan::is_local(number))
                .then(|| Cutter::start(&run.manager.addresses[1], move |connection| plan.cut(number, connection)));
            let process = run.start(number, 0, cutter.as_ref());
            run.clients.push(Client { number, life: 0, process, cutter, paused_until: None, foul_until: None });
        }
        let made = run.make_calls();
        let faults = made.and_then(|()| run.finish());
        match faults {
            Ok(faults) => Ok(Self { faults, time: begin.elapsed(), folder }),
            Err(problem) => Err(Unplanned { problem, folder }),
        }
    }

    /// What the manager did.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        log::read(&std::fs::read(self.folder.path().join("manager.history")).unwrap())
    }

    /// What the clients saw.
    #[must_use]
    pub fn logs(&self) -> Vec<Vec<Entry>> {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| log::read(&std::fs::read(path).unwrap())).collect()
    }

    /// Leaves the files, for somebody to look into. Where they are.
    #[must_use]
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

impl Run<'_> {
    fn start(&self, number: u64, life: u64, cutter: Option<&Cutter>) -> Process {
        let Plan { seed, clients, actors, .. } = self.plan;
        let log = self.folder.join(format!("client-{number}-{life}.log"));
        let mut command = Command::new(self.program);
        command.arg("history").args([*seed, *clients, *actors, number, life].map(|number| number.to_string())).arg(log);
        let address = cutter.map_or_else(|| self.manager.addresses[0].clone(), Cutter::address);
        command.env("HOLDFAST_ADDRESS", address.to_string());
        command.env("HOLDFAST_AUTHKEY_FILE", self.manager.authkey_file());
        Process::start(&mut command)
    }

    /// Lets clients make calls, and things go wrong, until there were enough of both.
    fn make_calls(&mut self) -> Result<(), String> {
        let mut next_fault = 0;
        let mut last_progress = Instant::now();
        while self.calls < self.plan.calls {
            let before = self.calls;
            for client in &mut self.clients {
                client.heal(Instant::now());
                while client.process.line_if_any().is_some() {
                    self.calls += TOLD_CALLS;
                }
                if let Some(status) = client.process.ended() {
                    return Err(format!("client {} ended with {status}", client.number));
                }
            }
            while next_fault < self.plan.faults && self.plan.time_of_fault(next_fault) <= self.calls {
                let (client, fault) = self.plan.fault(next_fault);
                self.strike(client, fault);
                next_fault += 1;
            }
            if self.calls > before {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > PATIENCE / 2 {
                return Err(format!("no call was made for {:?}", PATIENCE / 2));
            }
            // Others use the processor meanwhile.
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn strike(&mut self, number: u64, fault: Fault) {
        let client = &mut self.clients[number as usize];
        match fault {
            Fault::Kill => {
                self.faults.kills += 1;
                client.process.kill();
                while client.process.line_if_any().is_some() {
                    self.calls += TOLD_CALLS;
                }
                client.life += 1;
                client.paused_until = None;
                let (number, life) = (client.number, client.life);
                let process = self.start(number, life, self.clients[number as usize].cutter.as_ref());
                self.clients[number as usize].process = process;
            }
            Fault::Pause(time) => {
                self.faults.pauses += 1;
                client.process.signal(Signal::STOP);
                client.paused_until = Some(Instant::now() + time);
            }
            Fault::Cut => {
                if client.cutter.as_ref().is_some_and(Cutter::cut_all) {
                    self.faults.cuts += 1;
                }
            }
            Fault::Delay(late, time) => {
                self.faults.delays += 1;
                client.foul(Weather::Late(late), time);
            }
            Fault::Blackhole(time) => {
                self.faults.blackholes += 1;
                client.foul(Weather::Still, time);
            }
        }
    }

    /// Lets all that goes on come to its end.
    fn finish(mut self) -> Result<Faults, String> {
        for client in &mut self.clients {
            client.paused_until.take().into_iter().for_each(|_| client.process.signal(Signal::CONT));
            client.foul(Weather::Clear, Duration::ZERO);
            client.process.hang_up();
        }
        for client in &mut self.clients {
            let status = client.process.wait();
            if !status.success() {
                return Err(format!("client {} ended with {status}", client.number));
            }
            self.faults.cuts += client.cutter.as_ref().map_or(0, Cutter::cuts);
        }
        // The sessions of those that were killed end, too.
        let manager = self.manager.connect_blocking();
        until("all sessions have ended", || (manager.status().unwrap().sessions == 1).then_some(()));
        manager.close();
        self.manager.process.hang_up();
        let status = self.manager.process.wait();
        if status.success() { Ok(self.faults) } else { Err(format!("the manager ended with {status}")) }
    }
}

impl Client {
    fn heal(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.process.signal(Signal::CONT);
        }
        if self.foul_until.is_some_and(|until| until <= now) {
            self.foul(Weather::Clear, Duration::ZERO);
        }
    }

    /// Changes the weather, for so long.
    fn foul(&mut self, weather: Weather, time: Duration) {
        if let Some(cutter) = &self.cutter {
            cutter.set_weather(weather);
            self.foul_until = (weather != Weather::Clear).then(|| Instant::now() + time);
        }
    }
}
