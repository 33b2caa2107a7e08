//! Redis at its best: without persistence, over a Unix socket or loopback, driven by redis-benchmark and by the `redis` crate.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ::redis::{Client, Commands, Connection};
use anyhow::{Context, Result, bail};

use crate::args::{ObjectOp, Op, RedisClientArgs};
use crate::child::{Child, Launch};
use crate::contender::{CONNECTIONS, IN_FLIGHT};
use crate::reading::Reading;
use crate::setting::Setting;
use crate::unavailable::Unavailable;
use crate::{interrupt, load, memory, worker};

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
        let op = match op {
            Op::Add => "add",
            Op::Get => "get",
        };
        let launch = Launch::new("the redis crate's client", &setting.program)
            .words(&format!("redis-client {op} --calls {calls} --socket"))
            .arg(&self.socket);
        worker::run(vec![Child::start(launch, cpu)?])
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
    let mut work = |calls| match args.op {
        Op::Add => load::blocking(calls, || connection.hincr::<_, _, _, i64>("hits", "counter", 1)),
        Op::Get => load::blocking(calls, || connection.hget::<_, _, Option<i64>>("hits", "counter")),
    };
    work(load::warm_up(args.calls))?;
    worker::ready()?;
    worker::report(&work(args.calls)?)
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
