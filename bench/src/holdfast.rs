//! Holdfast in the comparison: its server process, and the client work of the hidden subcommand `worker`.
//!
//! Everything that touches Holdfast stands here, and in the modules beneath.

mod children;
pub(crate) mod counted;
mod locks;
mod meetings;
mod neighbours;
mod objects;
mod pipes;
mod pools;
mod queues;
mod unary;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};

use crate::args::{ObjectOp, Op, WorkerArgs, WorkerWork};
use crate::child::{Child, Launch};
use crate::contender::neighbours::VALUE;
use crate::contender::polling::Polling;
use crate::contender::waiting::{CREW, Library, Release};
use crate::contender::{AT_ONCE, CONNECTIONS, IN_FLIGHT, PROCESSES};
use crate::load::{self, Load};
use crate::reading::{Reading, now_ns};
use crate::setting::Setting;
use crate::unavailable::Unavailable;
use crate::{memory, register, worker};

/// How long `holdfast serve` may take to say its address.
const START: Duration = Duration::from_secs(10);
/// Entries or objects that a filling worker asks for at once.
const CHUNK: u64 = 1_000;
/// What the server is told beyond where to listen, and on how many threads to serve.
const SERVE_LIMITS: &str = "--threads 1";

// ---- The server -------------------------------------------------------------------------------------------------

/// A running `holdfast serve`.
pub(crate) struct Server {
    pub(crate) process: Child,
    address: String,
    authkey_file: PathBuf,
    /// What it and its clients are told about polling, if anything.
    polling: Option<Polling>,
}

impl Server {
    /// Starts a server on `socket`, and waits until it says its address.
    pub(crate) fn start(setting: &Setting, socket: &Path, cpu: Option<usize>) -> Result<Self> {
        Self::listen(setting, &format!("unix:{}", socket.display()), cpu)
    }

    /// The same, and it takes values of 64 MiB.
    pub(crate) fn for_large_values(setting: &Setting, socket: &Path, cpu: Option<usize>) -> Result<Self> {
        let limits = format!("{SERVE_LIMITS} --max-value-bytes {}MiB", (2 * VALUE) >> 20);
        Self::serve(setting, &format!("unix:{}", socket.display()), &limits, None, cpu)
    }

    /// As [`start`](Self::start), and tells it and its clients how to poll.
    pub(crate) fn polling(setting: &Setting, socket: &Path, polling: Polling, cpu: Option<usize>) -> Result<Self> {
        Self::serve(setting, &format!("unix:{}", socket.display()), SERVE_LIMITS, Some(polling), cpu)
    }

    /// Starts a server on an address, and waits until it says which that has become.
    pub(crate) fn listen(setting: &Setting, address: &str, cpu: Option<usize>) -> Result<Self> {
        Self::serve(setting, address, SERVE_LIMITS, None, cpu)
    }

    fn serve(
        setting: &Setting,
        address: &str,
        limits: &str,
        polling: Option<Polling>,
        cpu: Option<usize>,
    ) -> Result<Self> {
        let program = measured(setting)?;
        let authkey_file = setting.path("authkey");
        let launch = Launch::new("holdfast serve", &program)
            .words("serve --print-address --listen")
            .arg(address)
            .words("--authkey-file")
            .arg(&authkey_file)
            .words(limits);
        let mut process = Child::start(told(launch, polling), cpu)?;
        let address = process.line(START)?;
        Ok(Self { process, address, authkey_file, polling })
    }

    /// Starts a server that holds that many named objects.
    pub(crate) fn with_objects(setting: &Setting, socket: &Path, objects: u64, cpu: Option<usize>) -> Result<Self> {
        let server = Self::start(setting, socket, cpu)?;
        eprintln!("making {objects} objects");
        server.run(setting, WorkerWork::FillObjects, objects, 1, cpu)?;
        Ok(server)
    }

    /// Lets that many processes do the work, `calls` in all, side by side.
    pub(crate) fn run(
        &self,
        setting: &Setting,
        work: WorkerWork,
        calls: u64,
        processes: usize,
        cpu: Option<usize>,
    ) -> Result<Reading> {
        let each = (calls / processes as u64).max(1);
        worker::side_by_side(vec![self.launch(setting, work, each)?; processes], cpu)
    }

    /// One client process that will do the work once it is told to.
    pub(crate) fn worker(&self, setting: &Setting, work: WorkerWork, calls: u64, cpu: Option<usize>) -> Result<Child> {
        Child::start(self.launch(setting, work, calls)?, cpu)
    }

    fn launch(&self, setting: &Setting, work: WorkerWork, calls: u64) -> Result<Launch> {
        Ok(told(launch_worker(setting, work)?, self.polling)
            .words(&format!("--calls {calls} --address"))
            .arg(&self.address)
            .words("--authkey-file")
            .arg(&self.authkey_file))
    }

    /// Processes that all want one lock, until there were so many hand-offs.
    pub(crate) fn contend(
        &self,
        setting: &Setting,
        handoffs: u64,
        processes: usize,
        cpu: Option<usize>,
    ) -> Result<Reading> {
        let path = setting.path("register");
        let contend = self.launch(setting, WorkerWork::Contend, handoffs)?.words("--register").arg(&path);
        register::count(&path, handoffs, || worker::side_by_side(vec![contend; processes], cpu))
    }

    /// Processes that put items, and as many that take them.
    pub(crate) fn pass_on(&self, setting: &Setting, items: u64, batch: u64, cpu: Option<usize>) -> Result<Reading> {
        let each = (items / CREW as u64).max(1);
        let launch = |role| Ok::<_, Error>(self.launch(setting, role, each)?.words(&format!("--batch {batch}")));
        let (consume, produce) = (launch(WorkerWork::Consume)?, launch(WorkerWork::Produce)?);
        worker::side_by_side([vec![consume; CREW], vec![produce; CREW]].concat(), cpu)
    }

    /// Two processes that pass an item on to each other, there and back.
    pub(crate) fn ping(&self, setting: &Setting, library: Library, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        let (ping, pong) = match library {
            Library::Async => (WorkerWork::AsyncPing, WorkerWork::AsyncPong),
            Library::Blocking => (WorkerWork::BlockingPing, WorkerWork::BlockingPong),
        };
        worker::side_by_side([self.launch(setting, ping, calls)?, self.launch(setting, pong, calls)?], cpu)
    }

    /// A process of which calls in so many sessions wait for an event, which it then sets.
    pub(crate) fn set_event(
        &self,
        setting: &Setting,
        sessions: u64,
        calls: u64,
        cpu: Option<usize>,
    ) -> Result<Reading> {
        let launch = self.launch(setting, WorkerWork::EventSet, calls)?.words(&format!("--sessions {sessions}"));
        worker::side_by_side([launch], cpu)
    }

    /// All parties of a barrier, for so many rounds.
    pub(crate) fn meet(&self, setting: &Setting, rounds: u64, cpu: Option<usize>) -> Result<Reading> {
        let party = self.launch(setting, WorkerWork::Barrier, rounds)?;
        worker::side_by_side(vec![party; PROCESSES], cpu)
    }
}

/// The program, told how to poll if it is to be.
fn told(launch: Launch, polling: Option<Polling>) -> Launch {
    match polling {
        Some(polling) => launch.env("HOLDFAST_BUSY_POLL", polling.value()),
        None => launch,
    }
}

/// A process that makes calls of a manager of its own.
pub(crate) fn with_own_manager(setting: &Setting, work: WorkerWork, calls: u64, cpu: Option<usize>) -> Result<Reading> {
    let launch = launch_worker(setting, work)?.env("HOLDFAST_PROGRAM", measured(setting)?);
    worker::run(vec![Child::start(launch.words(&format!("--calls {calls}")), cpu)?])
}

/// `Manager::start()` until the first reply, in a process of its own.
pub(crate) fn start(setting: &Setting, cpu: Option<usize>) -> Result<Reading> {
    let launch = launch_worker(setting, WorkerWork::Start)?.env("HOLDFAST_PROGRAM", measured(setting)?);
    worker::run(vec![Child::start(launch, cpu)?])
}

/// Two processes with a pipe between them, which need no manager.
pub(crate) fn pipe(setting: &Setting, calls: u64, cpu: Option<usize>) -> Result<Reading> {
    let launch = launch_worker(setting, WorkerWork::PipeThereAndBack)?.words(&format!("--calls {calls}"));
    worker::side_by_side([launch], cpu)
}

/// Processes started and joined, by a process of its own that needs no manager: those of Holdfast, or bare ones.
pub(crate) fn start_processes(setting: &Setting, work: WorkerWork, calls: u64, cpu: Option<usize>) -> Result<Reading> {
    let launch = launch_worker(setting, work)?.words(&format!("--calls {calls}"));
    worker::side_by_side([launch], cpu)
}

/// The asynchronous work that does `op` one at a time.
pub(crate) fn async_work(op: Op) -> WorkerWork {
    match op {
        Op::Add => WorkerWork::AsyncAdd,
        Op::Get => WorkerWork::AsyncGet,
    }
}

/// The blocking work that does `op`.
pub(crate) fn blocking_work(op: Op) -> WorkerWork {
    match op {
        Op::Add => WorkerWork::BlockingAdd,
        Op::Get => WorkerWork::BlockingGet,
    }
}

/// The work that does `op`.
pub(crate) fn object_work(op: ObjectOp) -> WorkerWork {
    match op {
        ObjectOp::ListAppend => WorkerWork::ListAppend,
        ObjectOp::ListGet => WorkerWork::ListGet,
        ObjectOp::SetAdd => WorkerWork::SetAdd,
        ObjectOp::SetContains => WorkerWork::SetContains,
    }
}

/// The work that acquires a lock and gives it back so.
pub(crate) fn lock_work(library: Library, release: Release) -> WorkerWork {
    match (library, release) {
        (Library::Async, Release::Waited) => WorkerWork::AsyncLock,
        (Library::Async, Release::Dropped) => WorkerWork::AsyncLockDropped,
        (Library::Blocking, Release::Waited) => WorkerWork::BlockingLock,
        (Library::Blocking, Release::Dropped) => WorkerWork::BlockingLockDropped,
    }
}

/// The work of one who puts items into a queue and takes them.
pub(crate) fn queue_work(library: Library) -> WorkerWork {
    match library {
        Library::Async => WorkerWork::AsyncQueue,
        Library::Blocking => WorkerWork::BlockingQueue,
    }
}

fn launch_worker(setting: &Setting, work: WorkerWork) -> Result<Launch> {
    let work = clap::ValueEnum::to_possible_value(&work).context("a work has no name")?;
    Ok(Launch::new(format!("worker {}", work.get_name()), &setting.program).words("worker").words(work.get_name()))
}

/// The `holdfast` program that is measured.
fn measured(setting: &Setting) -> Result<PathBuf> {
    program(setting.holdfast.as_deref(), &setting.program)
}

/// The `holdfast` program: the one that was named, or the one beside this program, brought up to date by cargo if cargo
/// started this.
pub(crate) fn program(named: Option<&Path>, own: &Path) -> Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let directory = own.parent().context("this program is in no directory")?;
    let beside = directory.join("holdfast");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let target = directory.parent().context("this program is in no target directory")?;
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "holdfast-cli", "--bins", "--profile", profile, "--target-dir"])
            .arg(target)
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .status()
            .context("building the holdfast program")?;
        if !built.success() {
            bail!("building the holdfast program failed");
        }
    }
    match fs::metadata(&beside) {
        Ok(_) => Ok(beside),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Unavailable(format!("there is no {}: build it, or name one with --holdfast", beside.display())).into())
        }
        Err(error) => Err(error).with_context(|| format!("looking for {}", beside.display())),
    }
}

// ---- The client -------------------------------------------------------------------------------------------------

/// The work of the hidden subcommand `worker`.
pub(crate) fn work(args: &WorkerArgs) -> Result<()> {
    match args.work {
        WorkerWork::BlockingAdd => blocking(args, Op::Add),
        WorkerWork::BlockingGet => blocking(args, Op::Get),
        WorkerWork::BlockingLock => locks::blocking(args, Release::Waited),
        WorkerWork::BlockingLockDropped => locks::blocking(args, Release::Dropped),
        WorkerWork::Contend => locks::contend(args),
        WorkerWork::BlockingQueue => queues::blocking(args),
        WorkerWork::Produce => queues::produce(args),
        WorkerWork::Consume => queues::consume(args),
        WorkerWork::BlockingPing => queues::ping_blocking(args),
        WorkerWork::BlockingPong => queues::pong_blocking(args),
        WorkerWork::LightGet => neighbours::light(args),
        WorkerWork::Barrier => meetings::barrier(args),
        WorkerWork::PipeThereAndBack => pipes::there_and_back(args),
        WorkerWork::PoolMap => pools::map(args),
        WorkerWork::PoolApply => pools::apply(args),
        WorkerWork::PoolUnordered => pools::unordered(args),
        WorkerWork::PoolExecutor => pools::executor(args),
        WorkerWork::PoolReady => pools::ready(args),
        WorkerWork::WaitingTasks => pools::waiting_tasks(args),
        WorkerWork::StartProcess => children::started(args),
        WorkerWork::BareProcess => children::bare(args),
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(asynchronous(args))
        }
    }
}

async fn asynchronous(args: &WorkerArgs) -> Result<()> {
    match args.work {
        WorkerWork::AsyncAdd => one_at_a_time(args, Op::Add).await,
        WorkerWork::AsyncGet => one_at_a_time(args, Op::Get).await,
        WorkerWork::Connections => connections(args).await,
        WorkerWork::InFlight => in_flight(args, IN_FLIGHT).await,
        WorkerWork::AtOnce => in_flight(args, AT_ONCE).await,
        WorkerWork::Tasks => tasks(args).await,
        WorkerWork::SpreadGet => spread_get(args).await,
        WorkerWork::FillObjects => fill_objects(args).await,
        WorkerWork::FillEntries => fill_entries(args).await,
        WorkerWork::Sessions => sessions(args).await,
        WorkerWork::Start => start_until_reply().await,
        WorkerWork::ListRead => objects::list_read(args).await,
        WorkerWork::ListAppend => objects::list_append(args).await,
        WorkerWork::ListGet => objects::list_get(args).await,
        WorkerWork::SetAdd => objects::set_add(args).await,
        WorkerWork::SetContains => objects::set_contains(args).await,
        WorkerWork::Create => objects::create(args).await,
        WorkerWork::LargeValue => objects::large_value(args).await,
        WorkerWork::UnaryAdd => unary::add(args, 1).await,
        WorkerWork::UnaryAtOnce => unary::add(args, AT_ONCE).await,
        WorkerWork::AsyncLock => locks::asynchronous(args, Release::Waited).await,
        WorkerWork::AsyncLockDropped => locks::asynchronous(args, Release::Dropped).await,
        WorkerWork::AsyncQueue => queues::asynchronous(args).await,
        WorkerWork::AsyncPing => queues::ping(args).await,
        WorkerWork::AsyncPong => queues::pong(args).await,
        WorkerWork::BusyCalls => neighbours::calls(args).await,
        WorkerWork::BusyValues => neighbours::values(args).await,
        WorkerWork::BusyEvent => neighbours::event(args).await,
        WorkerWork::EventSet => meetings::event_set(args).await,
        WorkerWork::LockWaits => meetings::lock_waits(args).await,
        WorkerWork::EventWaits => meetings::event_waits(args).await,
        _ => bail!("not an asynchronous work"),
    }
}

/// The dict and the key that all works count in, as the peers do.
const DICT: &str = "hits";
const KEY: &str = "counter";

fn blocking(args: &WorkerArgs, op: Op) -> Result<()> {
    let manager = client::connect_blocking(&args.place)?;
    let dict = manager.dict::<String, i64>(DICT)?;
    let key = KEY.to_owned();
    // `get` is to find something, whichever work comes first.
    dict.add(&key, 1)?;
    let work = |calls| match op {
        Op::Add => load::blocking(calls, || dict.add(&key, 1)),
        Op::Get => load::blocking(calls, || dict.get(&key)),
    };
    worker::measure_blocking(args.calls, work)
}

async fn one_at_a_time(args: &WorkerArgs, op: Op) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let dict = manager.dict::<String, i64>(DICT).await?;
    let key = KEY.to_owned();
    // `get` is to find something, whichever work comes first.
    dict.add(&key, 1).await?;
    let work = async |calls| match op {
        Op::Add => load::one_at_a_time(calls, async || dict.add(&key, 1).await).await,
        Op::Get => load::one_at_a_time(calls, async || dict.get(&key).await).await,
    };
    worker::measure(args.calls, work).await
}

async fn connections(args: &WorkerArgs) -> Result<()> {
    let mut managers = Vec::with_capacity(CONNECTIONS);
    let mut dicts = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let manager = client::connect(&args.place).await?;
        dicts.push(manager.dict::<String, i64>(DICT).await?);
        managers.push(manager);
    }
    many_tasks(args, &dicts, true).await
}

async fn tasks(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let dict = manager.dict::<String, i64>(DICT).await?;
    many_tasks(args, &vec![dict; IN_FLIGHT], false).await
}

/// A task for each proxy, each one call at a time. Single calls are timed where there are few enough of them a second.
async fn many_tasks(args: &WorkerArgs, dicts: &[client::Dict<String, i64>], timed: bool) -> Result<()> {
    let work = |calls: u64| {
        let each = (calls / dicts.len() as u64).max(1);
        load::side_by_side(dicts.iter().cloned().map(move |dict| async move {
            let key = KEY.to_owned();
            let mut timer = if timed { load::Timer::start()? } else { load::Timer::start_untimed() };
            for _ in 0..each {
                dict.add(&key, 1).await?;
                timer.tick();
            }
            Ok(timer.stop())
        }))
    };
    worker::measure(args.calls, work).await
}

async fn in_flight(args: &WorkerArgs, width: usize) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let dict = manager.dict::<String, i64>(DICT).await?;
    let key = KEY.to_owned();
    let work = |calls| load::pipelined(width, calls, || dict.add(&key, 1).send());
    worker::measure(args.calls, work).await
}

/// `get` on all objects, each through a proxy of its own, in an order that no cache foresees.
async fn spread_get(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let objects = manager.dict::<String, u64>(OBJECTS).await?.get(OBJECTS).await?.context("no objects")?;
    let mut dicts = Vec::new();
    let mut opening = 0..objects;
    while !opening.is_empty() {
        let next = opening.by_ref().take(IN_FLIGHT);
        let calls: Vec<_> = next.map(|index| manager.dict::<String, i64>(&object(index)).send()).collect();
        for call in calls {
            dicts.push(call.await?);
        }
    }
    let key = KEY.to_owned();
    let work = async |calls| {
        let mut place: u64 = 0;
        load::one_at_a_time(calls, async || {
            // A full-period generator (Knuth's MMIX), of which the upper bits are used.
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            dicts[((place >> 32) % objects) as usize].get(&key).await
        })
        .await
    };
    worker::measure(args.calls, work).await
}

/// The dict that tells how many objects were made.
const OBJECTS: &str = "objects";

fn object(index: u64) -> String {
    format!("object:{index:012}")
}

async fn fill_objects(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    worker::ready_async().await?;
    let start_ns = now_ns();
    let key = KEY.to_owned();
    // Each object is made by its first use, and left with one entry. The proxy is dropped again.
    let mut indices = 0..args.calls;
    load::in_flight(IN_FLIGHT, args.calls, || {
        let (name, manager, key) = (object(indices.next().unwrap_or_default()), &manager, &key);
        async move { manager.dict::<String, i64>(&name).await?.set(key, &1).await.map_err(anyhow::Error::from) }
    })
    .await?;
    manager.dict::<String, u64>(OBJECTS).await?.set(&OBJECTS.to_owned(), &args.calls).await?;
    worker::report(&Load::whole(args.calls, start_ns))
}

async fn fill_entries(args: &WorkerArgs) -> Result<()> {
    let manager = client::connect(&args.place).await?;
    let dict = manager.dict::<String, u64>("entries").await?;
    worker::ready_async().await?;
    let start_ns = now_ns();
    for first in (0..args.calls).step_by(CHUNK as usize) {
        let chunk = first..(first + CHUNK).min(args.calls);
        dict.update(chunk.map(|index| (memory::key(index), index))).await?;
    }
    let held = dict.len().await?;
    if held != args.calls {
        bail!("the dict holds {held} entries instead of {}", args.calls);
    }
    worker::report(&Load::whole(args.calls, start_ns))
}

async fn sessions(args: &WorkerArgs) -> Result<()> {
    let start_ns = now_ns();
    let mut managers = Vec::new();
    for _ in 0..args.calls {
        let manager = client::connect(&args.place).await?;
        manager.dict::<String, i64>(DICT).await?.add(&KEY.to_owned(), 1).await?;
        managers.push(manager);
    }
    worker::ready_async().await?;
    worker::report(&Load::whole(args.calls, start_ns))
}

async fn start_until_reply() -> Result<()> {
    worker::ready_async().await?;
    let start_ns = now_ns();
    let manager = ::holdfast::Manager::start().await?;
    manager.dict::<String, i64>(DICT).await?.add(&KEY.to_owned(), 1).await?;
    worker::report(&Load::whole(1, start_ns))
}

/// The client library, set up as the worker was told.
mod client {
    use std::time::Duration;

    use anyhow::{Context, Result};

    use crate::args::Place;

    pub(super) type Dict<K, V> = ::holdfast::Dict<K, V>;

    fn options(place: &Place) -> Result<::holdfast::Options> {
        let address = place.address.as_deref().context("a worker needs --address")?.parse()?;
        let authkey_file = place.authkey_file.as_deref().context("a worker needs --authkey-file")?;
        Ok(::holdfast::Options::default().address(address).authkey_file(authkey_file))
    }

    /// Under callgrind, on a machine with other work, a client needs seconds for what takes milliseconds.
    const SLOW: Duration = Duration::from_secs(120);

    /// The same, but replies are never polled for, and nothing is late.
    fn options_asleep(place: &Place) -> Result<::holdfast::Options> {
        Ok(options(place)?.busy_poll(::holdfast::BusyPoll::Off).connect_timeout(SLOW))
    }

    pub(super) async fn connect(place: &Place) -> Result<::holdfast::Manager> {
        Ok(::holdfast::Manager::connect_with(&options(place)?).await?)
    }

    pub(super) fn connect_blocking(place: &Place) -> Result<::holdfast::blocking::Manager> {
        Ok(::holdfast::blocking::Manager::connect_with(&options(place)?)?)
    }

    pub(super) async fn connect_asleep(place: &Place) -> Result<::holdfast::Manager> {
        Ok(::holdfast::Manager::connect_with(&options_asleep(place)?).await?)
    }

    pub(super) fn connect_blocking_asleep(place: &Place) -> Result<::holdfast::blocking::Manager> {
        Ok(::holdfast::blocking::Manager::connect_with(&options_asleep(place)?)?)
    }
}
