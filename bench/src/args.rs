//! The command line: what a person may say, and the hidden subcommands under which the harness starts itself.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const AFTER_HELP: &str = "\
FIGURES
  Time per call is elapsed time over calls, never a tool's own p50:
  redis-benchmark's leaves out a part of its loop. p50 and p99 are given beside
  it where single calls are timed. Believe the ratios of one run; absolute
  figures move by half from day to day.

  pinned     server and clients share one CPU: no wake-up crosses CPUs
  unpinned   the kernel places them; one figure may be two (the same CPU, or
             another), so look at the least and the most

PEERS
  redis-benchmark   HINCRBY and HGET (-c 1, -c 64, -P 256); RPUSH, LINDEX, SADD
                    and SISMEMBER (-c 1); LRANGE 0 -1
  redis crate       the same commands through its synchronous connection; a
                    lock of SET NX PX and a script that compares and deletes,
                    asked for again after 0.5 to 1.5 ms, at random
  CPython           a multiprocessing SyncManager: `d[k]`; and
                    `d[k] = d[k] + 1`, counted as two calls; `for x in l`;
                    `m.dict()`, dropped at once; its Lock, Queue and Barrier;
                    multiprocessing.Pool and concurrent.futures
  etcd              one member; its v3 lock through its JSON gateway, all locks
                    with one lease
  raw echo          4-byte length and a body of 20 bytes, or of 1 MiB, sent
                    back as it came, once or twice; a tokio client and a
                    blocking one

  All talk over Unix sockets in a private directory, but for etcd and the works
  that are named after loopback. A peer that is not installed is left out, and
  its cells show `-`.

EXIT STATUS
  0    everything that could be measured was, whether or not the goals are met
  1    something that should have run failed; the notes under the table say what
  2    wrong usage
  130  interrupted

EXAMPLES
  cargo run --release -p holdfast-bench -- compare
  cargo run --release -p holdfast-bench -- compare --quick --only 'blocking'
  cargo run --release -p holdfast-bench -- compare --only 'list unpinned' --only unary
  cargo run --release -p holdfast-bench -- compare --json bench.json --rounds 9";

const INSTRUCTIONS_HELP: &str = "\
FIGURES
  Instructions in user space, system calls not included. A lock acquired and
  released, and an item put and taken, are two calls and one figure. Busy
  polling is off: how often somebody looks depends on time.

EXIT STATUS
  0  everything was counted, and with --check nothing is above its budget
  1  something is, or could not be counted
  2  wrong usage

EXAMPLES
  bench/instructions --check
  bench/instructions --write
  bench/instructions --only dict.add --functions 20";

/// Side-by-side benchmarks of Holdfast and its peers
#[derive(Debug, Parser)]
#[command(name = "holdfast-bench", version, after_long_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Do the same work against Holdfast and its peers, and print one table of ratios and goals
    ///
    /// Starts Holdfast, redis-server and etcd (if installed), CPython's multiprocessing manager (if python3 is there) and
    /// a raw framed echo, each as its own process, first all on one CPU and then free. Contenders take turns: one
    /// measurement each, then the next round, so that noise hits all alike. A warm-up round comes first; it also
    /// settles how many calls make a measurement of the wanted length. The table goes to standard output, progress
    /// to standard error.
    #[command(after_long_help = AFTER_HELP)]
    Compare(CompareArgs),
    /// Count the instructions of single calls with callgrind, and compare them with what is allowed
    ///
    /// Starts `holdfast serve` and a client under `valgrind --tool=callgrind`, each for a short and for a long run; the
    /// difference divided by the calls is the figure. All that the two say goes through this program, which lets one of
    /// them run at a time, so the figures do not depend on what else the machine does. Prints one line for each op, way of
    /// calling and side.
    #[command(after_long_help = INSTRUCTIONS_HELP)]
    Instructions(InstructionsArgs),
    #[command(hide = true)]
    Child(ChildArgs),
    #[command(hide = true)]
    Worker(WorkerArgs),
    #[command(hide = true)]
    Counted(CountedArgs),
    #[command(hide = true)]
    EchoServer(EchoServerArgs),
    #[command(hide = true)]
    EchoClient(EchoClientArgs),
    #[command(hide = true)]
    RedisClient(RedisClientArgs),
    #[command(hide = true)]
    EtcdClient(EtcdClientArgs),
    /// End at once: what any start of this program takes.
    #[command(hide = true)]
    Nothing,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Also write every figure as JSON to FILE; with `-` the JSON goes to standard output and the table to standard
    /// error
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// Three short rounds, and a tenth of the objects and entries: a first impression, not a result
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only works whose name contains each of WORDS, case aside (the names are in the table's first two columns, such
    /// as `blocking, get, unpinned`); may be given several times
    #[arg(long, value_name = "WORDS")]
    pub(crate) only: Vec<String>,

    /// Measured rounds, of which the median counts [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,

    /// The `holdfast` program to measure [default: the one beside this program, built first if cargo is there]
    #[arg(long, value_name = "PROGRAM", env = "HOLDFAST_BENCH_PROGRAM")]
    pub(crate) holdfast: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct InstructionsArgs {
    /// Fail if a figure is more than 5 % above its budget in bench/instructions.json, and say which functions grew
    #[arg(long, conflicts_with = "write")]
    pub(crate) check: bool,

    /// Make what is counted the new budgets
    #[arg(long, conflicts_with = "only")]
    pub(crate) write: bool,

    /// Only figures whose name contains each of WORDS, case aside (such as `dict.add blocking`); may be given several times
    #[arg(long, value_name = "WORDS")]
    pub(crate) only: Vec<String>,

    /// Print so many functions of each figure, those with the most instructions
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) functions: usize,

    /// The `holdfast` program to count [default: the one beside this program, built first if cargo is there]
    #[arg(long, value_name = "PROGRAM", env = "HOLDFAST_BENCH_PROGRAM")]
    pub(crate) holdfast: Option<PathBuf>,
}

/// Where a client process finds its manager.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    #[arg(long)]
    pub(crate) address: Option<String>,
    #[arg(long)]
    pub(crate) authkey_file: Option<PathBuf>,
}

/// One client process whose instructions are counted.
#[derive(Args, Clone, Debug)]
pub(crate) struct CountedArgs {
    pub(crate) op: CountedOp,
    pub(crate) mode: CountedMode,
    #[command(flatten)]
    pub(crate) place: Place,
    /// How often the op is done.
    #[arg(long)]
    pub(crate) times: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum CountedOp {
    /// `dict.get`.
    DictGet,
    /// `dict.add`.
    DictAdd,
    /// A lock acquired and released.
    Lock,
    /// An item put into a queue and taken.
    Queue,
}

/// How the calls that are counted are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum CountedMode {
    /// The blocking library, one call at a time.
    Blocking,
    /// The async library, one call at a time.
    Async,
    /// The async library, 256 calls in flight.
    InFlight,
}

/// Become another program, on one CPU, and die with the process that started this one.
#[derive(Args, Debug)]
pub(crate) struct ChildArgs {
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    #[arg(required = true, last = true)]
    pub(crate) program: Vec<OsString>,
}

/// One client process of Holdfast.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerArgs {
    pub(crate) work: WorkerWork,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Calls to measure; entries, objects or sessions to make for the works that make something.
    #[arg(long, default_value_t = 1)]
    pub(crate) calls: u64,
    /// Items that are put or taken in one call.
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: u64,
    /// Sessions that the calls are spread over.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: u64,
    /// Where those who contend for a lock write down who had it.
    #[arg(long)]
    pub(crate) register: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum WorkerWork {
    /// One async client, `dict.add`, one call at a time.
    AsyncAdd,
    /// One async client, `dict.get`, one call at a time.
    AsyncGet,
    /// One blocking client, `dict.add`.
    BlockingAdd,
    /// One blocking client, `dict.get`.
    BlockingGet,
    /// 64 connections, each one call at a time.
    Connections,
    /// One connection, 256 calls in flight.
    InFlight,
    /// One connection, 256 tasks, each one call at a time.
    Tasks,
    /// Calls on all objects that the manager holds, in an order that no cache foresees.
    SpreadGet,
    /// Make that many named objects.
    FillObjects,
    /// Put that many entries into one dict.
    FillEntries,
    /// Hold that many idle sessions.
    Sessions,
    /// `Manager::start()` until the first reply.
    Start,
    /// `list.to_vec` of a long list.
    ListRead,
    /// `list.append`, one call at a time.
    ListAppend,
    /// `list.get`, one call at a time.
    ListGet,
    /// `set.add`, one call at a time.
    SetAdd,
    /// `set.contains`, one call at a time.
    SetContains,
    /// A dict without a name made, and its proxy dropped.
    Create,
    /// `value.set` and `value.get` of 1 MiB, together one call.
    LargeValue,
    /// One connection, 64 calls in flight.
    AtOnce,
    /// `DictService/Add` as an RPC, one at a time.
    UnaryAdd,
    /// `DictService/Add` as an RPC, 64 at once.
    UnaryAtOnce,
    /// One blocking client, `dict.get`, once each millisecond.
    LightGet,
    /// Keep 1,024 calls in flight until this process is ended.
    BusyCalls,
    /// Set and get a value of 64 MiB until this process is ended.
    BusyValues,
    /// Set an event for which 10,000 calls of that many sessions wait, and clear it, until this process is ended.
    BusyEvent,
    /// One async client, a lock acquired and released.
    AsyncLock,
    /// One async client, a lock acquired, and its guard dropped.
    AsyncLockDropped,
    /// One blocking client, a lock acquired and released.
    BlockingLock,
    /// One blocking client, a lock acquired, and its guard dropped.
    BlockingLockDropped,
    /// One of many that want the same lock.
    Contend,
    /// One async client that puts an item and takes it.
    AsyncQueue,
    /// One blocking client that puts an item and takes it.
    BlockingQueue,
    /// Puts items for others.
    Produce,
    /// Takes what others put.
    Consume,
    /// Puts an item, and waits for the other that comes back; async.
    AsyncPing,
    /// Waits for an item, and puts another; async.
    AsyncPong,
    /// Puts an item, and waits for the other that comes back; blocking.
    BlockingPing,
    /// Waits for an item, and puts another; blocking.
    BlockingPong,
    /// Lets many wait for an event, and sets it.
    EventSet,
    /// One party of a barrier.
    Barrier,
    /// Hold that many calls that wait for a lock.
    LockWaits,
    /// Hold that many calls that wait for an event.
    EventWaits,
    /// Sends a number to a process that sends it back, through a pipe.
    PipeThereAndBack,
    /// A pool, `pool.map` of 100,000.
    PoolMap,
    /// A pool, `pool.apply`, one call at a time.
    PoolApply,
    /// A pool, `pool.imap_unordered`.
    PoolUnordered,
    /// A pool, `executor.submit`, and its result.
    PoolExecutor,
    /// A pool of eight, until all have joined.
    PoolReady,
    /// Leave that many tasks in a pool without workers.
    WaitingTasks,
    /// `Process::start` and `join`.
    StartProcess,
    /// This program started and waited for, without the library.
    BareProcess,
}

#[derive(Args, Debug)]
pub(crate) struct EchoServerArgs {
    #[arg(long)]
    pub(crate) socket: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct EchoClientArgs {
    #[arg(long)]
    pub(crate) socket: PathBuf,
    #[arg(long)]
    pub(crate) calls: u64,
    #[arg(long)]
    pub(crate) blocking: bool,
    /// Bytes of a frame, without its length.
    #[arg(long)]
    pub(crate) body: usize,
    /// How often a call goes there and back.
    #[arg(long)]
    pub(crate) trips: usize,
}

#[derive(Args, Debug)]
pub(crate) struct RedisClientArgs {
    pub(crate) work: RedisWork,
    #[arg(long)]
    pub(crate) socket: PathBuf,
    #[arg(long)]
    pub(crate) calls: u64,
    /// Where those who contend for a lock write down who had it.
    #[arg(long)]
    pub(crate) register: Option<PathBuf>,
}

/// What a client process of Redis does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum RedisWork {
    /// `HINCRBY`.
    Add,
    /// `HGET`.
    Get,
    /// One of many that want the same lock.
    Contend,
    /// `HGET`, once each millisecond.
    LightGet,
    /// Keep 1,024 commands in flight until this process is ended.
    BusyCalls,
    /// Set and get a value of 64 MiB until this process is ended.
    BusyValues,
}

#[derive(Args, Debug)]
pub(crate) struct EtcdClientArgs {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) calls: u64,
}

/// What a single call does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Add,
    Get,
}

/// What a single call does to a list or a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ObjectOp {
    ListAppend,
    ListGet,
    SetAdd,
    SetContains,
}
