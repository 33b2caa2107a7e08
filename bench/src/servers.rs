//! The servers of one placement (all on one CPU, or free), each started when first needed, and the one place that knows
//! how each contender is made to do its work.

mod neighbours;
mod polling;
mod pooling;
mod waiting;

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::args::WorkerWork;
use crate::contender::waiting::Library;
use crate::contender::{Contender, ELEMENTS, PROCESSES, Socket};
use crate::holdfast;
use crate::peers::{cpython, echo, etcd, redis};
use crate::reading::Reading;
use crate::setting::Setting;
use crate::unavailable::Unavailable;
use crate::worker;
use crate::works::placement;

/// Objects of the manager that is compared with one that holds many.
const FEW_OBJECTS: u64 = 100;

/// Servers that run for as long as this lives.
pub(crate) struct Servers<'a> {
    setting: &'a Setting,
    pinned: bool,
    holdfast: Lazy<holdfast::Server>,
    few_objects: Lazy<holdfast::Server>,
    many_objects: Lazy<holdfast::Server>,
    large: Lazy<holdfast::Server>,
    tcp: Lazy<holdfast::Server>,
    tls: Lazy<holdfast::Server>,
    /// One for each way to poll.
    polling: [Lazy<holdfast::Server>; 3],
    redis: Lazy<redis::Server>,
    cpython: Lazy<cpython::Server>,
    cpython_tcp: Lazy<cpython::Server>,
    etcd: Lazy<etcd::Server>,
    echo: Lazy<echo::Server>,
}

impl<'a> Servers<'a> {
    pub(crate) fn new(setting: &'a Setting, pinned: bool) -> Self {
        Self {
            setting,
            pinned,
            holdfast: Lazy::Untried,
            few_objects: Lazy::Untried,
            many_objects: Lazy::Untried,
            large: Lazy::Untried,
            tcp: Lazy::Untried,
            tls: Lazy::Untried,
            polling: [const { Lazy::Untried }; 3],
            redis: Lazy::Untried,
            cpython: Lazy::Untried,
            cpython_tcp: Lazy::Untried,
            etcd: Lazy::Untried,
            echo: Lazy::Untried,
        }
    }

    /// Lets one contender make that many calls.
    pub(crate) fn run(&mut self, contender: Contender, calls: u64) -> Result<Reading> {
        let (setting, cpu) = (self.setting, self.cpu());
        let holdfast = |server: &holdfast::Server, work| server.run(setting, work, calls, 1, cpu);
        match contender {
            Contender::HoldfastAsync(op) => holdfast(self.holdfast()?, holdfast::async_work(op)),
            Contender::HoldfastBlocking(op) => holdfast(self.holdfast()?, holdfast::blocking_work(op)),
            Contender::HoldfastConnections => holdfast(self.holdfast()?, WorkerWork::Connections),
            Contender::HoldfastInFlight => holdfast(self.holdfast()?, WorkerWork::InFlight),
            Contender::HoldfastTasks => holdfast(self.holdfast()?, WorkerWork::Tasks),
            Contender::HoldfastProcesses => {
                self.holdfast()?.run(setting, WorkerWork::BlockingAdd, calls, PROCESSES, cpu)
            }
            Contender::HoldfastFewObjects => holdfast(self.few_objects()?, WorkerWork::SpreadGet),
            Contender::HoldfastManyObjects => holdfast(self.many_objects()?, WorkerWork::SpreadGet),
            Contender::HoldfastStart => holdfast::start(setting, cpu),
            Contender::HoldfastPipe => holdfast::pipe(setting, calls, cpu),
            Contender::HoldfastProcess => holdfast::start_processes(setting, WorkerWork::StartProcess, calls, cpu),
            Contender::BareProcess => holdfast::start_processes(setting, WorkerWork::BareProcess, calls, cpu),
            Contender::CpythonProcess => {
                let python = setting.python.as_ref().map_err(Clone::clone)?;
                worker::run(vec![python.start_processes(calls, cpu)?])
            }
            Contender::HoldfastTcp(op) => holdfast(self.tcp()?, holdfast::async_work(op)),
            Contender::HoldfastTcpInFlight => holdfast(self.tcp()?, WorkerWork::InFlight),
            Contender::HoldfastTlsInFlight => holdfast(self.tls()?, WorkerWork::InFlight),
            Contender::HoldfastListRead => holdfast(self.holdfast()?, WorkerWork::ListRead),
            Contender::HoldfastObject(op) => holdfast(self.holdfast()?, holdfast::object_work(op)),
            Contender::HoldfastCreate(Socket::Unix) => holdfast(self.holdfast()?, WorkerWork::Create),
            Contender::HoldfastCreate(Socket::Tcp) => holdfast(self.tcp()?, WorkerWork::Create),
            Contender::HoldfastLargeValue => holdfast(self.holdfast()?, WorkerWork::LargeValue),
            Contender::HoldfastAtOnce => holdfast(self.holdfast()?, WorkerWork::AtOnce),
            Contender::HoldfastUnary => holdfast(self.holdfast()?, WorkerWork::UnaryAdd),
            Contender::HoldfastUnaryAtOnce => holdfast(self.holdfast()?, WorkerWork::UnaryAtOnce),
            Contender::RedisBenchmark(op) => self.redis()?.benchmark(op, calls, 1, 1, cpu),
            Contender::RedisCrate(op) => self.redis()?.call_by_crate(setting, op, calls, cpu),
            Contender::RedisConnections => self.redis()?.connections(calls, cpu),
            Contender::RedisPipelined => self.redis()?.pipelined(calls, cpu),
            Contender::RedisTcp(op) => self.redis()?.over_tcp(op, calls, cpu),
            Contender::RedisObject(op) => self.redis()?.on_object(op, calls, cpu),
            Contender::RedisListRead => self.redis()?.read_list(ELEMENTS, calls, cpu),
            Contender::CpythonGet => self.cpython()?.get(calls, cpu),
            Contender::CpythonProcesses => self.cpython()?.processes(calls, cpu),
            Contender::CpythonPipe => self.cpython()?.pipe(calls, cpu),
            Contender::CpythonStart => {
                let python = self.setting.python.as_ref().map_err(Clone::clone)?;
                worker::run(vec![python.start_manager(cpu)?])
            }
            Contender::CpythonIteration => self.cpython()?.iterate(calls, cpu),
            Contender::CpythonCreate(Socket::Unix) => self.cpython()?.create(calls, cpu),
            Contender::CpythonCreate(Socket::Tcp) => self.cpython_tcp()?.create(calls, cpu),
            Contender::EchoAsync => self.echo()?.call(setting, calls, echo::ONCE, Library::Async, cpu),
            Contender::EchoBlocking => self.echo()?.call(setting, calls, echo::ONCE, Library::Blocking, cpu),
            Contender::EchoLarge => self.echo()?.call(setting, calls, echo::LARGE_ONCE, Library::Async, cpu),
            Contender::Neighbour(neighbour) => self.run_beside(neighbour, calls),
            Contender::Polling(task, polling) => self.run_polling(task, polling, calls),
            Contender::Waiting(waiting) => self.run_waiting(waiting, calls),
            Contender::Pooling(pooling) => self.run_pooling(pooling, calls),
        }
    }

    fn cpu(&self) -> Option<usize> {
        self.pinned.then_some(self.setting.cpu)
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.setting.path(&format!("{name}-{}", placement(self.pinned)))
    }

    fn holdfast(&mut self) -> Result<&holdfast::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("holdfast"));
        self.holdfast.get(|| holdfast::Server::start(setting, &socket, cpu))
    }

    fn few_objects(&mut self) -> Result<&holdfast::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("few"));
        self.few_objects.get(|| holdfast::Server::with_objects(setting, &socket, FEW_OBJECTS, cpu))
    }

    fn many_objects(&mut self) -> Result<&holdfast::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("many"));
        self.many_objects.get(|| holdfast::Server::with_objects(setting, &socket, setting.objects, cpu))
    }

    fn large(&mut self) -> Result<&holdfast::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("large"));
        self.large.get(|| holdfast::Server::for_large_values(setting, &socket, cpu))
    }

    fn tcp(&mut self) -> Result<&holdfast::Server> {
        let (setting, cpu) = (self.setting, self.cpu());
        self.tcp.get(|| holdfast::Server::listen(setting, "http://127.0.0.1:0", cpu))
    }

    fn tls(&mut self) -> Result<&holdfast::Server> {
        let (setting, cpu) = (self.setting, self.cpu());
        self.tls.get(|| holdfast::Server::listen(setting, "https://127.0.0.1:0", cpu))
    }

    fn redis(&mut self) -> Result<&redis::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("redis"));
        self.redis.get(|| setting.redis.as_ref().map_err(Clone::clone)?.serve(&socket, setting.directory(), cpu))
    }

    fn cpython(&mut self) -> Result<&cpython::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("cpython"));
        self.cpython.get(|| setting.python.as_ref().map_err(Clone::clone)?.serve(socket.as_os_str(), cpu))
    }

    fn cpython_tcp(&mut self) -> Result<&cpython::Server> {
        let (setting, cpu) = (self.setting, self.cpu());
        self.cpython_tcp.get(|| setting.python.as_ref().map_err(Clone::clone)?.serve("127.0.0.1:0".as_ref(), cpu))
    }

    fn etcd(&mut self) -> Result<&etcd::Server> {
        let (setting, cpu, directory) = (self.setting, self.cpu(), self.socket("etcd"));
        self.etcd.get(|| setting.etcd.as_ref().map_err(Clone::clone)?.serve(&directory, cpu))
    }

    fn echo(&mut self) -> Result<&echo::Server> {
        let (setting, cpu, socket) = (self.setting, self.cpu(), self.socket("echo"));
        self.echo.get(|| echo::Server::start(setting, &socket, cpu))
    }
}

/// A server that is started once, when first asked for; if that failed it is not tried again.
enum Lazy<S> {
    Untried,
    Up(S),
    Absent(Unavailable),
    Failed(String),
}

impl<S> Lazy<S> {
    fn get(&mut self, start: impl FnOnce() -> Result<S>) -> Result<&S> {
        if matches!(self, Self::Untried) {
            *self = match start() {
                Ok(server) => Self::Up(server),
                Err(error) => match error.downcast_ref::<Unavailable>() {
                    Some(unavailable) => Self::Absent(unavailable.clone()),
                    None if error.is::<crate::interrupt::Interrupted>() => return Err(error),
                    None => Self::Failed(format!("{error:#}")),
                },
            };
        }
        match self {
            Self::Up(server) => Ok(server),
            Self::Absent(unavailable) => Err(unavailable.clone().into()),
            Self::Failed(why) => Err(anyhow!("{why}")),
            Self::Untried => Err(anyhow!("the server was not started")),
        }
    }
}
