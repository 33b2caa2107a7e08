//! Redis at its best: without persistence, over a Unix socket or loopback, driven by redis-benchmark and by the `redis` crate.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::{Duration, Instant};

use ::redis::{Client, Commands, Connection, ExistenceCheck, SetExpiry, SetOptions};
use anyhow::{Context, Result, bail};

use crate::args::{ObjectOp, Op, RedisClientArgs, RedisWork};
use crate::child::{Child, Launch};
use crate::contender::neighbours::{CALLS, VALUE};
use crate::contender::{CONNECTIONS, IN_FLIGHT, PROCESSES};
use crate::reading::Reading;
use crate::register::Register;
use crate::setting::Setting;
use crate::unavailable::Unavailable;
use crate::{interrupt, load, memory, register, worker};

/// How long redis-server may take to start.
const START: Duration = Duration::from_secs(10);
/// How long one command, or one redis-benchmark, may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Entries per command when a hash is loaded.
const CHUNK: u64 = 1_000;

/// The programs that are installed.
pub(crate) struct Redis {
    pub(crate) version: String,
}

impl Redis {
    /// Looks for redis-server and redis-benchmark.
    pub(crate) fn find() -> Result<Self, Unavailable> {
        let version = |program: &str| match Command::new(program).arg("--version").output() {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            _ => Err(Unavailable(format!("{program} is not installed"))),
        };
        version("redis-benchmark")?;
        let server = version("redis-server")?;
        let number = server.split_whitespace().find_map(|word| word.strip_prefix("v="));
        Ok(Self { version: number.unwrap_or("of unknown version").to_owned() })
    }

    /// Starts a server on `socket`, and waits until it answers.
    pub(crate) fn serve(&self, socket: &Path, directory: &Path, cpu: Option<usize>) -> Result<Server> {
        // It cannot choose a port by itself.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let launch = Launch::new("redis-server", Path::new("redis-server"))
            .words("--save")
            .arg("")
            .words(&format!("--bind 127.0.0.1 --port {port}"))
            .words("--appendonly no --daemonize no --loglevel warning --unixsocketperm 700 --unixsocket")
            .arg(socket)
            .words("--dir")
            .arg(directory);
        let process = Child::start(launch, cpu)?;
        let mut server = Server { process, socket: socket.to_owned(), port };
        let until = Instant::now() + START;
        // `get` is to find something, whichever work comes first.
        let seed = || Ok(connect(socket)?.hset::<_, _, _, ()>("hits", "counter", 1)?);
        while let Err(error) = seed() {
            interrupt::check()?;
            if !server.process.is_running() {
                return Err(server.process.failure("ended at once"));
            }
            if Instant::now() > until {
                return Err(anyhow::Error::context(error, "redis-server does not answer"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

/// A running redis-server.
pub(crate) struct Server {
    pub(crate) process: Child,
    socket: PathBuf,
    port: u16,
}

impl Server {
    /// What redis-benchmark does with `connections` and `pipelined` commands on each.
    pub(crate) fn benchmark(
        &self,
        op: Op,
        calls: u64,
        connections: usize,
        pipelined: usize,
        cpu: Option<usize>,
    ) -> Result<Reading> {
        // It sends whole pipelines only.
        let calls = calls.next_multiple_of((connections * pipelined) as u64);
        let options = format!("-n {calls} -c {connections} -P {pipelined}");
        let mut reading = self.over_unix(&options, command(op), calls, cpu)?;
        if pipelined > 1 {
            // Its percentiles are of whole pipelines.
            (reading.p50_us, reading.p99_us) = (None, None);
        }
        Ok(reading)
    }

    /// One connection that does the op to a list or a set, one command at a time.
    pub(crate) fn on_object(&self, op: ObjectOp, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        if op == ObjectOp::ListGet {
            self.fill_list("short", 1)?;
        }
        self.over_unix(&format!("-n {calls} -c 1"), object_command(op), calls, cpu)
    }

    /// One connection that reads a whole list of integers, time and again.
    pub(crate) fn read_list(&self, elements: u64, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        self.fill_list("long", elements)?;
        self.over_unix(&format!("-n {calls} -c 1"), "lrange long 0 -1", calls, cpu)
    }

    fn over_unix(&self, options: &str, command: &str, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        let launch = Launch::new("redis-benchmark", Path::new("redis-benchmark"))
            .words("-s")
            .arg(&self.socket)
            .words(&format!("{options} --csv {command}"));
        parse(&Child::start(launch, cpu)?.finish(PATIENCE)?, calls)
    }

    /// Makes a list of the integers from 0, unless it is there.
    fn fill_list(&self, name: &str, elements: u64) -> Result<()> {
        let mut connection = connect(&self.socket)?;
        let mut held: u64 = connection.llen(name)?;
        while held < elements {
            interrupt::check()?;
            let chunk: Vec<u64> = (held..(held + CHUNK).min(elements)).collect();
            held = connection.rpush(name, chunk)?;
        }
        if held == elements { Ok(()) } else { bail!("Redis holds a list of {held} instead of {elements}") }
    }

    /// One connection over loopback, one command at a time.
    pub(crate) fn over_tcp(&self, op: Op, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        let launch = Launch::new("redis-benchmark", Path::new("redis-benchmark")).words(&format!(
            "-h 127.0.0.1 -p {} -n {calls} -c 1 --csv {}",
            self.port,
            command(op)
        ));
        parse(&Child::start(launch, cpu)?.finish(PATIENCE)?, calls)
    }

    /// Many connections, each one command at a time.
    pub(crate) fn connections(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        self.benchmark(Op::Add, calls, CONNECTIONS, 1, cpu)
    }

    /// One connection that sends whole pipelines.
    pub(crate) fn pipelined(&self, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        self.benchmark(Op::Add, calls, 1, IN_FLIGHT, cpu)
    }

    /// The `redis` crate's synchronous connection, one command at a time.
    pub(crate) fn call_by_crate(&self, setting: &Setting, op: Op, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        let work = match op {
            Op::Add => "add",
            Op::Get => "get",
        };
        worker::side_by_side([self.client(setting, work, calls)], cpu)
    }

    /// Processes that all want one lock, until there were so many hand-offs.
    pub(crate) fn contend(&self, setting: &Setting, handoffs: u64, cpu: Option<usize>) -> Result<Reading> {
        let path = setting.path("register");
        let contend = self.client(setting, "contend", handoffs).words("--register").arg(&path);
        register::count(&path, handoffs, || worker::side_by_side(vec![contend; PROCESSES], cpu))
    }

    /// The same connection, with a command each millisecond.
    pub(crate) fn call_lightly(&self, setting: &Setting, calls: u64, cpu: Option<usize>) -> Result<Reading> {
        worker::side_by_side([self.client(setting, "light-get", calls)], cpu)
    }

    /// A client that is busy until it is ended.
    pub(crate) fn busy(&self, setting: &Setting, work: &str, cpu: Option<usize>) -> Result<Child> {
        Child::start(self.client(setting, work, 1), cpu)
    }

    fn client(&self, setting: &Setting, work: &str, calls: u64) -> Launch {
        Launch::new("the redis crate's client", &setting.program)
            .words(&format!("redis-client {work} --calls {calls} --socket"))
            .arg(&self.socket)
    }

    /// Puts entries into one hash, pipelined by the thousand.
    pub(crate) fn load(&self, entries: u64) -> Result<()> {
        let mut connection = connect(&self.socket)?;
        for first in (0..entries).step_by(CHUNK as usize) {
            interrupt::check()?;
            let mut pipeline = ::redis::pipe();
            for index in first..(first + CHUNK).min(entries) {
                pipeline.hset("entries", memory::key(index), index).ignore();
            }
            pipeline.query::<()>(&mut connection).context("loading Redis")?;
        }
        let held: u64 = connection.hlen("entries")?;
        if held == entries { Ok(()) } else { bail!("Redis holds {held} entries instead of {entries}") }
    }
}

fn command(op: Op) -> &'static str {
    match op {
        Op::Add => "hincrby hits counter 1",
        Op::Get => "hget hits counter",
    }
}

fn object_command(op: ObjectOp) -> &'static str {
    match op {
        ObjectOp::ListAppend => "rpush appended 1",
        ObjectOp::ListGet => "lindex short 0",
        ObjectOp::SetAdd => "sadd members member",
        ObjectOp::SetContains => "sismember members member",
    }
}

/// The work of the hidden subcommand `redis-client`.
pub(crate) fn call(args: &RedisClientArgs) -> Result<()> {
    let mut connection = connect(&args.socket)?;
    match args.work {
        RedisWork::Add => worker::measure_blocking(args.calls, |calls| {
            load::blocking(calls, || connection.hincr::<_, _, _, i64>("hits", "counter", 1))
        }),
        RedisWork::Get => worker::measure_blocking(args.calls, |calls| {
            load::blocking(calls, || connection.hget::<_, _, Option<i64>>("hits", "counter"))
        }),
        RedisWork::LightGet => worker::measure_blocking(args.calls, |calls| {
            load::paced(calls, || connection.hget::<_, _, Option<i64>>("hits", "counter"))
        }),
        RedisWork::Contend => contend(args, connection),
        RedisWork::BusyCalls => busy_calls(args),
        RedisWork::BusyValues => busy_values(connection),
    }
}

/// Keeps many commands in flight: as each is answered the next one is sent, as redis-benchmark does.
fn busy_calls(args: &RedisClientArgs) -> Result<()> {
    const COMMAND: &[u8] = b"*4\r\n$7\r\nHINCRBY\r\n$4\r\nhits\r\n$7\r\ncounter\r\n$1\r\n1\r\n";
    let mut socket = UnixStream::connect(&args.socket)?;
    let commands = COMMAND.repeat(CALLS);
    worker::ready()?;
    socket.write_all(&commands)?;
    let mut replies = vec![0; 1 << 16];
    loop {
        let read = socket.read(&mut replies)?;
        // Each is an integer, a line of its own.
        let answered = replies[..read].iter().filter(|byte| **byte == b'\n').count();
        if read == 0 {
            bail!("Redis hung up");
        }
        socket.write_all(&commands[..answered * COMMAND.len()])?;
    }
}

/// Sets and gets a very large value.
fn busy_values(mut connection: Connection) -> Result<()> {
    let large = vec![b'x'; VALUE];
    worker::ready()?;
    loop {
        connection.set::<_, _, ()>("very large", &large)?;
        let got: Vec<u8> = connection.get("very large")?;
        if got.len() != VALUE {
            bail!("the value has {} bytes instead of {VALUE}", got.len());
        }
    }
}

/// One of many processes that take the same lock, for as long as it takes to write that down.
fn contend(args: &RedisClientArgs, connection: Connection) -> Result<()> {
    let path = args.register.as_deref().context("who contends needs --register")?;
    let register = Register::open(path, process::id(), args.calls)?;
    let mut lock = Lock::new(connection)?;
    for _ in 0..load::warm_up(args.calls / PROCESSES as u64) {
        lock.acquire()?;
        lock.release()?;
    }
    worker::ready()?;
    worker::report(&register::contend(|| {
        lock.acquire()?;
        let turn = register.sign()?;
        lock.release()?;
        Ok(turn)
    })?)
}

/// A lock as most clients of Redis have it: a key that is set if it is not there, with a time to live, and deleted by a
/// script if it is still the holder's. Who does not get it asks again later: it does not wait in any line.
struct Lock {
    connection: Connection,
    /// What tells this holder from others.
    token: u64,
    release: String,
    random: u64,
}

impl Lock {
    const KEY: &str = "lock";
    const LIFE_MS: u64 = 10_000;
    const RELEASE: &str =
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";
    /// How long one waits at least before asking again, and how much longer at most. What clients bring along is slower:
    /// redis-py, for one, waits for 100 ms.
    const BACK_OFF: Duration = Duration::from_micros(500);
    const JITTER_US: u64 = 1_000;

    fn new(mut connection: Connection) -> Result<Self> {
        let mut token = [0; 8];
        getrandom::fill(&mut token).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let token = u64::from_le_bytes(token);
        let release = ::redis::cmd("SCRIPT").arg("LOAD").arg(Self::RELEASE).query(&mut connection)?;
        Ok(Self { connection, token, release, random: token })
    }

    fn acquire(&mut self) -> Result<()> {
        while !self.try_acquire()? {
            std::thread::sleep(self.back_off());
        }
        Ok(())
    }

    fn try_acquire(&mut self) -> Result<bool> {
        let life = SetExpiry::PX(Self::LIFE_MS);
        let options = SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(life);
        let set: Option<()> = self.connection.set_options(Self::KEY, self.token, options)?;
        Ok(set.is_some())
    }

    fn back_off(&mut self) -> Duration {
        // A full-period generator (Knuth's MMIX), of which the upper bits are used.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Self::BACK_OFF + Duration::from_micros((self.random >> 32) % Self::JITTER_US)
    }

    fn release(&mut self) -> Result<()> {
        let mut release = ::redis::cmd("EVALSHA");
        release.arg(&self.release).arg(1).arg(Self::KEY).arg(self.token);
        match release.query(&mut self.connection)? {
            1 => Ok(()),
            _ => bail!("the lock was lost: it was held for longer than {} ms", Self::LIFE_MS),
        }
    }
}

fn connect(socket: &Path) -> Result<Connection> {
    let client = Client::open(format!("redis+unix://{}", socket.display()))?;
    let mut connection = client.get_connection_with_timeout(START)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    ::redis::cmd("PING").query::<()>(&mut connection)?;
    Ok(connection)
}

/// Reads the CSV of redis-benchmark. Its `rps` is all requests over all elapsed time.
fn parse(lines: &[String], calls: u64) -> Result<Reading> {
    let fields = |line: &String| -> Vec<String> {
        line.split("\",\"").map(|field| field.trim_matches('"').to_owned()).collect()
    };
    let header = lines.iter().position(|line| line.starts_with("\"test\"")).context("redis-benchmark: no header")?;
    let names = fields(&lines[header]);
    let values = fields(lines.get(header + 1).context("redis-benchmark: no figures")?);
    let value = |name: &str| -> Option<f64> { values.get(names.iter().position(|n| n == name)?)?.parse().ok() };
    let rate = value("rps").filter(|&rate| rate > 0.0).context("redis-benchmark: no rate")?;
    Ok(Reading {
        calls,
        seconds: calls as f64 / rate,
        p50_us: value("p50_latency_ms").map(|ms| ms * 1000.0),
        p99_us: value("p99_latency_ms").map(|ms| ms * 1000.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_of_redis_benchmark() -> Result<()> {
        let lines = [
            r#""test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms""#,
            r#""hincrby hits counter 1","20000.00","0.046","0.008","0.047","0.063","0.087""#,
        ];
        let reading = parse(&lines.map(str::to_owned), 40_000)?;
        assert!((reading.seconds - 2.0).abs() < 1e-9);
        assert_eq!((reading.p50_us, reading.p99_us), (Some(47.0), Some(87.0)));
        assert!(parse(&["Could not connect".to_owned()], 1).is_err());
        Ok(())
    }
}
