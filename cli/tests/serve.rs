//! `holdfast serve`, as a person and a script see it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use holdfast::blocking::{Dict, Manager};
use holdfast::{Address, BusyPoll, Options};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user of this machine: with folders for sockets and settings, and an otherwise empty environment.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("holdfast-test-").tempdir().unwrap();
        for folder in ["run", "config"] {
            fs::DirBuilder::new().mode(0o700).create(home.path().join(folder)).unwrap();
        }
        Self(home)
    }

    fn path(&self, of: &str) -> PathBuf {
        self.0.path().join(of)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.0.path());
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("XDG_CONFIG_HOME", self.path("config"));
        command.current_dir(self.0.path());
        command
    }

    fn holdfast(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_holdfast")));
        command.args(arguments);
        command
    }

    /// Runs a command that ends by itself.
    fn run(&self, arguments: &[&str]) -> Finished {
        Serve::start(&mut self.holdfast(arguments)).finish()
    }

    /// A manager that is ready, and the addresses that it printed.
    fn serve(&self, arguments: &[&str]) -> (Serve, Vec<Address>) {
        let serve = Serve::start(self.holdfast(&["serve", "--print-address"]).args(arguments));
        let count = arguments.iter().filter(|argument| argument.starts_with("--listen=")).count().max(1);
        let addresses = (0..count).map(|_| serve.line().parse().unwrap()).collect();
        (serve, addresses)
    }

    fn default_authkey_file(&self) -> PathBuf {
        self.path("config/holdfast/authkey")
    }

    fn connect(&self, address: &Address) -> Manager {
        let options = Options::default().address(address.clone()).authkey_file(self.default_authkey_file());
        Manager::connect_with(&options).unwrap()
    }
}

/// A command that runs. Killed when dropped.
struct Serve {
    child: Child,
    lines: Receiver<String>,
    errors: Option<thread::JoinHandle<String>>,
}

/// A command that has ended.
#[derive(Debug)]
struct Finished {
    status: ExitStatus,
    output: String,
    errors: String,
}

impl Serve {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (output, mut errors) = (BufReader::new(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, errors: Some(errors) }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the command was to print a line")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    fn finish(mut self) -> Finished {
        let process = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let timeout = Timespec::try_from(PATIENCE).ok();
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref());
        assert_eq!(ended, Ok(1), "the command was to end");
        let status = self.child.wait().unwrap();
        let errors = self.errors.take().unwrap().join().unwrap();
        Finished { status, output: self.lines.iter().collect::<Vec<_>>().join("\n"), errors }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    #[track_caller]
    fn ended(&self, code: i32, says: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        for says in says {
            assert!(self.errors.contains(says), "{says:?} in {self:?}");
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What a process in an environment of its own does: the same test, once more.
const INNER: &str = "HOLDFAST_TEST_INNER";

/// Runs a test of this file again as a client in this environment. Its own part is where [`INNER`] is set.
fn run_as_client(home: &Home, test: &str, environment: &[(&str, &str)]) {
    let mut command = home.command(&std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).env(INNER, "1").envs(environment.iter().copied());
    let finished = Serve::start(&mut command).finish();
    assert!(finished.status.success() && finished.output.contains("1 passed"), "{finished:?}");
}

#[test]
fn clients_find_a_manager_by_the_same_defaults() {
    if std::env::var_os(INNER).is_some() {
        let hits: Dict<String, u64> = Manager::connect_default().unwrap().dict("hits").unwrap();
        hits.add("n", 1).unwrap();
        return;
    }
    let home = Home::new();
    let (serve, addresses) = home.serve(&[]);
    let socket = home.path("run/holdfast/manager.sock");
    assert_eq!(addresses, [Address::Unix(socket.clone())]);
    run_as_client(&home, "clients_find_a_manager_by_the_same_defaults", &[]);
    let hits: Dict<String, u64> = home.connect(&addresses[0]).dict("hits").unwrap();
    assert_eq!(hits.get("n").unwrap(), Some(1));

    // Nobody else can read any of it.
    assert_eq!(mode(&home.default_authkey_file()), 0o600);
    assert_eq!(mode(&home.path("config/holdfast")), 0o700);
    assert_eq!(mode(&home.path("run/holdfast")), 0o700);
    assert_eq!(mode(&socket), 0o600);
    drop(hits);
    serve.signal(Signal::TERM);
    let finished = serve.finish();
    finished.ended(0, &["serving at unix:", "authkey"]);
    assert!(!socket.exists(), "the socket goes with it");
}

#[test]
fn clients_and_managers_find_each_other_by_the_environment() {
    if std::env::var_os(INNER).is_some() {
        let hits: Dict<String, u64> = Manager::connect_default().unwrap().dict("hits").unwrap();
        hits.add("n", 1).unwrap();
        return;
    }
    let home = Home::new();
    let address = format!("unix:{}", home.path("elsewhere.sock").display());
    let authkey_file = home.path("a folder/that is new/key");
    let environment = [("HOLDFAST_ADDRESS", &*address), ("HOLDFAST_AUTHKEY_FILE", authkey_file.to_str().unwrap())];
    let serve = Serve::start(home.holdfast(&["serve", "--print-address"]).envs(environment));
    assert_eq!(serve.line(), address);
    assert_eq!(mode(&authkey_file), 0o600);
    assert_eq!(mode(&home.path("a folder")), 0o700);
    assert!(!home.default_authkey_file().exists());
    run_as_client(&home, "clients_and_managers_find_each_other_by_the_environment", &environment);
}

#[test]
fn an_authkey_file_is_made_once_and_kept() {
    let home = Home::new();
    let (serve, _) = home.serve(&[]);
    let first = fs::read(home.default_authkey_file()).unwrap();
    assert!(first.len() >= 43, "32 bytes in base64");
    drop(serve);
    let (_serve, addresses) = home.serve(&[]);
    assert_eq!(fs::read(home.default_authkey_file()).unwrap(), first);
    home.connect(&addresses[0]).status().unwrap();
}

#[test]
fn a_second_manager_on_a_socket_is_told_of_the_first() {
    let home = Home::new();
    let (_serve, addresses) = home.serve(&[]);
    let client = home.connect(&addresses[0]);
    home.run(&["serve"]).ended(3, &["manager.sock", "another manager serves this socket"]);
    assert_eq!(fs::read_to_string(home.path("config/holdfast/epoch")).unwrap(), "1\n", "it had no life");
    client.status().unwrap();
    home.connect(&addresses[0]).status().unwrap();
}

#[test]
fn a_socket_that_a_killed_manager_left_is_taken_over() {
    let home = Home::new();
    let (serve, addresses) = home.serve(&[]);
    let socket = home.path("run/holdfast/manager.sock");
    drop(serve);
    assert!(socket.exists(), "kill -9 leaves it");
    let (_serve, again) = home.serve(&[]);
    assert_eq!(addresses, again);
    home.connect(&again[0]).status().unwrap();
}

#[test]
fn a_file_that_is_not_a_socket_is_left_alone() {
    let home = Home::new();
    let file = home.path("precious");
    fs::write(&file, "data").unwrap();
    home.run(&["serve", &format!("--listen=unix:{}", file.display())]).ended(3, &["precious", "not a socket"]);
    assert_eq!(fs::read(&file).unwrap(), b"data");
    home.run(&["serve", "--listen=unix:/nowhere/manager.sock"]).ended(3, &["/nowhere/manager.sock", "No such file"]);
}

#[test]
fn a_folder_for_sockets_that_others_can_enter_is_refused() {
    let home = Home::new();
    fs::create_dir(home.path("run/holdfast")).unwrap();
    fs::set_permissions(home.path("run/holdfast"), fs::Permissions::from_mode(0o755)).unwrap();
    home.run(&["serve"]).ended(3, &["run/holdfast", "0700"]);
}

#[test]
fn port_0_becomes_a_port_and_every_address_is_served() {
    let home = Home::new();
    let unix = format!("--listen=unix:{}", home.path("a.sock").display());
    let (serve, addresses) = home.serve(&["--listen=http://127.0.0.1:0", &unix, "--listen=http://localhost:0"]);
    let [Address::Http(first), Address::Unix(_), Address::Http(second)] = &*addresses else { panic!("{addresses:?}") };
    assert!(!first.ends_with(":0") && !second.ends_with(":0") && first != second, "{addresses:?}");
    for address in &addresses {
        let hits: Dict<String, u64> = home.connect(address).dict("hits").unwrap();
        hits.add("n", 1).unwrap();
    }
    let hits: Dict<String, u64> = home.connect(&addresses[0]).dict("hits").unwrap();
    assert_eq!(hits.get("n").unwrap(), Some(3));
    drop(hits);
    serve.signal(Signal::TERM);
    let finished = serve.finish();
    finished.ended(0, &[]);
    assert_eq!(finished.output, "", "nothing but the addresses is printed");
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", taken.local_addr().unwrap());
    home.run(&["serve", "--listen", &address]).ended(3, &[&address, "in use"]);
}

#[test]
fn sigterm_and_sigint_stop_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let (serve, addresses) = home.serve(&[]);
        let client = home.connect(&addresses[0]);
        // A proxy says what became of its session; the manager itself would be looked for again.
        let hits: holdfast::blocking::Dict<String, i64> = client.dict("hits").unwrap();
        hits.len().unwrap();
        serve.signal(signal);
        serve.finish().ended(0, &["stopping"]);
        let error = hits.len().unwrap_err().to_string();
        assert!(error.contains("being stopped") && error.contains("open"), "{error}");
    }
}

#[test]
fn clients_that_do_not_leave_are_cut_off_in_the_end() {
    let home = Home::new();
    let (serve, addresses) = home.serve(&["--drain-timeout=100ms"]);
    let Address::Unix(path) = &addresses[0] else { panic!("{addresses:?}") };
    // A connection on which nothing is ever said is let go at once; one in the middle of HTTP/2 has to be cut.
    let client = home.connect(&addresses[0]);
    let large: Dict<u64, String> = client.new_dict().unwrap();
    large.set(&1, &"x".repeat(1 << 20)).unwrap();
    let silent = std::os::unix::net::UnixStream::connect(path).unwrap();
    serve.signal(Signal::TERM);
    let finished = serve.finish();
    assert!(matches!(finished.status.code(), Some(0 | 5)), "{finished:?}");
    drop(silent);
}

#[test]
fn each_start_has_an_epoch_above_the_last_one() {
    let home = Home::new();
    let start = |arguments: &[&str]| {
        let (serve, _) = home.serve(arguments);
        serve.signal(Signal::TERM);
        serve.finish()
    };
    let epoch = |file: &Path| fs::read_to_string(file).unwrap();
    let (by_default, named) = (home.path("config/holdfast/epoch"), home.path("a folder/that is new/epoch"));
    for number in 1..4 {
        start(&[]).ended(0, &[]);
        assert_eq!(epoch(&by_default), format!("{number}\n"));
    }
    assert_eq!(mode(&by_default), 0o600);
    start(&["--epoch-file", named.to_str().unwrap()]).ended(0, &[]);
    assert_eq!((epoch(&by_default), epoch(&named)), ("3\n".to_owned(), "1\n".to_owned()));

    // A folder in the way of its lock does what missing rights do, but for root as well.
    fs::remove_file(home.path("config/holdfast/epoch.lock")).unwrap();
    fs::create_dir(home.path("config/holdfast/epoch.lock")).unwrap();
    start(&[]).ended(0, &["may not be above those of earlier lives", "--epoch-file"]);
    fs::remove_dir(home.path("config/holdfast/epoch.lock")).unwrap();
    assert_eq!(epoch(&by_default), "3\n");

    for (content, says) in [("three", "does not hold a number"), ("65535", "the last epoch")] {
        fs::write(&by_default, content).unwrap();
        home.run(&["serve"]).ended(9, &["config/holdfast/epoch", says, "delete it"]);
        assert_eq!(epoch(&by_default), content);
    }
    assert!(!home.path("run/holdfast/manager.sock").exists(), "and nobody is left waiting");
}

#[test]
fn the_log_tells_which_process_on_which_host_has_a_session_and_how_it_ends() {
    let home = Home::new();
    let (serve, addresses) = home.serve(&["--log=debug", "--listen=unix:socket", "--listen=http://127.0.0.1:0"]);
    let options = Options::default().authkey_file(home.default_authkey_file());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (at, address) in addresses.iter().enumerate() {
        let options = |mode| options.clone().address(address.clone()).name(format!("{mode} {at}"));
        Manager::connect_with(&options("blocking")).unwrap().close();
        runtime.block_on(async {
            holdfast::Manager::connect_with(&options("async")).await.unwrap().close().await;
        });
    }
    serve.signal(Signal::TERM);
    let finished = serve.finish();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for name in ["blocking 0", "async 0", "blocking 1", "async 1"] {
        let client = format!("client={name:?} (process {} on {host:?})", std::process::id());
        let of_client: Vec<&str> = finished.errors.lines().filter(|line| line.contains(&client)).collect();
        assert!(of_client.iter().any(|line| line.contains("a session opened")), "{client}: {finished:?}");
        let ended = |line: &&str| line.contains("a session ended") && line.contains("how=Closed");
        assert!(of_client.iter().any(ended), "{client}: {finished:?}");
    }
}

#[test]
fn an_authkey_file_that_cannot_be_used_is_refused() {
    let home = Home::new();
    let file = home.path("key");
    let serve = |file: &Path| home.run(&["serve", "--authkey-file", file.to_str().unwrap()]);
    fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    for exposed in [0o644, 0o640, 0o602] {
        fs::set_permissions(&file, fs::Permissions::from_mode(exposed)).unwrap();
        serve(&file).ended(4, &["key", "accessible to others", "chmod 600"]);
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "short").unwrap();
    serve(&file).ended(4, &["no usable key"]);
    serve(home.0.path()).ended(4, &[]);
    assert!(!home.path("run/holdfast").exists(), "nothing was listened on");
}

#[test]
fn wrong_arguments_are_told_with_what_is_right() {
    let home = Home::new();
    home.run(&["serve", "--listen", "tcp://localhost:1"]).ended(2, &["unix:PATH"]);
    home.run(&["serve", "--listen", "http://localhost"]).ended(2, &["port is missing"]);
    home.run(&["serve", "--threads", "0"]).ended(2, &["--threads"]);
    home.run(&["serve", "--max-objects", "many"]).ended(2, &["--max-objects"]);
    home.run(&["serve", "--private", "--print-address"]).ended(2, &["--private"]);
    home.run(&["serve", "--certificate", "a.pem"]).ended(2, &["--private-key"]);
    home.run(&["serve", "--private-key", "a.pem"]).ended(2, &["--certificate"]);
    home.run(&["serv"]).ended(2, &["serve"]);
    home.run(&[]).ended(2, &["Usage"]);
}

#[test]
fn addresses_that_other_machines_can_reach_are_refused_unless_allowed() {
    let home = Home::new();
    let refused = home.run(&["serve", "--listen", "http://0.0.0.0:0"]);
    refused.ended(3, &["0.0.0.0", "https://", "--insecure-plaintext"]);
    home.run(&["serve", "--listen", "http://[::]:0"]).ended(3, &["--insecure-plaintext"]);
    home.serve(&["--listen=http://127.0.0.1:0"]);
    let (_serve, addresses) = home.serve(&["--listen=http://0.0.0.0:0", "--insecure-plaintext"]);
    let Address::Http(authority) = &addresses[0] else { panic!("{addresses:?}") };
    let port = authority.rsplit_once(':').unwrap().1;
    home.connect(&format!("http://127.0.0.1:{port}").parse().unwrap()).status().unwrap();
}

#[test]
fn a_limit_that_is_set_holds_and_is_named() {
    let home = Home::new();
    let (_serve, addresses) = home.serve(&["--max-objects=1"]);
    let client = home.connect(&addresses[0]);
    let _first: Dict<u64, u64> = client.new_dict().unwrap();
    let refused = client.new_dict::<u64, u64>().unwrap_err();
    assert_eq!(refused.reason(), Some(holdfast::Reason::Quota));
    assert!(refused.to_string().contains("objects"), "{refused}");
}

#[test]
fn a_configuration_file_is_found_and_what_is_wrong_in_it_is_told() {
    let home = Home::new();
    fs::create_dir_all(home.path("config/holdfast")).unwrap();
    let file = home.path("config/holdfast/manager.toml");
    fs::write(&file, "max_objects = 1\nmax_sessions = 7\n").unwrap();
    let elsewhere = home.path("other.toml");
    fs::write(&elsewhere, "max_objects = 2").unwrap();

    let printed = |command: &mut Command| {
        let finished = Serve::start(command).finish();
        finished.ended(0, &[]);
        finished.output
    };
    let elsewhere = elsewhere.to_str().unwrap();
    let mut by_default = home.holdfast(&["serve", "--print-config", "--max-sessions=8"]);
    let by_default = printed(by_default.env("HOLDFAST_THREADS", "3"));
    for line in [
        &*format!("max_objects = 1 # {}:1", file.display()),
        "max_sessions = 8 # --max-sessions",
        "threads = 3 # environment: HOLDFAST_THREADS",
        "max_tokens = 100000 # default",
    ] {
        assert!(by_default.lines().any(|printed| printed == line), "{line} in {by_default}");
    }
    let named = printed(home.holdfast(&["serve", "--print-config"]).env("HOLDFAST_CONFIG", elsewhere));
    assert!(named.contains("max_objects = 2 # ") && named.contains("max_sessions = 4096 # default"), "{named}");
    let flagged = ["serve", "--print-config", "--config", elsewhere];
    let flagged = printed(home.holdfast(&flagged).env("HOLDFAST_CONFIG", "no such file"));
    assert!(flagged.contains("max_objects = 2 # "), "{flagged}");
    assert!(!home.default_authkey_file().exists(), "nothing was started");
    // What was printed is a configuration: fed back it is the same, but for where it comes from.
    let again = home.path("again.toml");
    fs::write(&again, &by_default).unwrap();
    let again = printed(&mut home.holdfast(&["serve", "--print-config", "--config", again.to_str().unwrap()]));
    let values = |text: &str| text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(&by_default));

    // It holds.
    let (_serve, addresses) = home.serve(&[]);
    let client = home.connect(&addresses[0]);
    let _first: Dict<u64, u64> = client.new_dict().unwrap();
    assert_eq!(client.new_dict::<u64, u64>().unwrap_err().reason(), Some(holdfast::Reason::Quota));

    fs::write(&file, "max_objects = 1\nmax_sesions = 7\n").unwrap();
    home.run(&["serve"]).ended(2, &["manager.toml:2: ", "max_sesions", "is max_sessions meant?"]);
    home.run(&["serve", "--config", "no such file"]).ended(2, &["no such file: there is no such configuration file"]);
    // A manager of one's own is not of this place, and does not read what is here.
    home.run(&["serve", "--private"]).ended(0, &[]);
}

#[test]
fn an_environment_variable_that_is_wrong_is_told_by_its_name() {
    let home = Home::new();
    let finished = Serve::start(home.holdfast(&["serve"]).env("HOLDFAST_DRAIN_TIMEOUT", "5")).finish();
    finished.ended(2, &["HOLDFAST_DRAIN_TIMEOUT", "5s"]);
    home.run(&["serve", "--drain-timeout", "5"]).ended(2, &["--drain-timeout", "200ms"]);
}

#[test]
fn how_to_poll_is_told_to_manager_and_clients_alike() {
    const NAME: &str = "how_to_poll_is_told_to_manager_and_clients_alike";
    if std::env::var_os(INNER).is_some() {
        let connected = Manager::connect_default();
        match std::env::var("HOLDFAST_BUSY_POLL").unwrap().as_str() {
            "sometimes" => {
                let error = connected.unwrap_err().to_string();
                assert!(error.contains("HOLDFAST_BUSY_POLL") && error.contains("auto, off"), "{error}");
                // What the program says goes before it.
                Manager::connect_with(&Options::default().busy_poll(BusyPoll::Auto)).unwrap();
            }
            _ => drop(connected.unwrap()),
        }
        return;
    }
    let home = Home::new();
    home.run(&["serve", "--busy-poll", "sometimes"]).ended(2, &["--busy-poll", "auto, off", "1 to 1000"]);
    home.run(&["serve", "--busy-poll", "1001"]).ended(2, &["--busy-poll", "1 to 1000"]);
    let wrong = Serve::start(home.holdfast(&["serve"]).env("HOLDFAST_BUSY_POLL", "sometimes")).finish();
    wrong.ended(2, &["HOLDFAST_BUSY_POLL", "auto, off"]);
    for (told, is) in [("auto", "auto"), ("off", "off"), ("0", "off"), ("70", "70")] {
        let printed =
            Serve::start(home.holdfast(&["serve", "--print-config"]).env("HOLDFAST_BUSY_POLL", told)).finish();
        printed.ended(0, &[]);
        assert!(printed.output.contains(&format!("busy_poll = \"{is}\"")), "{}", printed.output);
    }
    let (_serve, addresses) = home.serve(&["--busy-poll=70"]);
    let address = addresses[0].to_string();
    for told in ["auto", "off", "70", "", "sometimes"] {
        run_as_client(&home, NAME, &[("HOLDFAST_ADDRESS", &address), ("HOLDFAST_BUSY_POLL", told)]);
    }
}

#[test]
fn objects_are_listed_and_deleted_and_the_manager_tells_its_state() {
    let home = Home::new();
    home.run(&["list"]).ended(6, &["authkey"]);
    let (serve, addresses) = home.serve(&["--max-objects=10"]);
    home.run(&["status", "--address", "http://127.0.0.1:1"]).ended(6, &["is `holdfast serve` running"]);
    let client = home.connect(&addresses[0]);
    let hits: Dict<u64, u64> = client.dict("a/hits").unwrap();
    hits.set(&1, &1).unwrap();
    let odd: Dict<u64, u64> = client.dict("a/t\tb\n").unwrap();
    client.value::<u64>("b", &1).unwrap();

    let output = |arguments: &[&str]| {
        let finished = home.run(arguments);
        finished.ended(0, &[]);
        finished.output
    };
    assert_eq!(output(&["list"]), "a/hits\tdict\t1\t72\na/t\\tb\\n\tdict\t0\t0\nb\tvalue\t-\t24");
    assert_eq!(output(&["list", "a/h"]), "a/hits\tdict\t1\t72");
    assert_eq!(output(&["list", "--kind=value"]), "b\tvalue\t-\t24");
    assert_eq!(output(&["list", "c"]), "");
    let json = output(&["list", "--json", "b"]);
    assert_eq!(json, r#"{"bytes":24,"elements":null,"kind":"value","name":"b"}"#);
    home.run(&["list", "--kind=heap"]).ended(2, &["the kinds are dict"]);

    let status = output(&["status"]);
    let (pid, objects) = (format!("pid\t{}", serve.child.id()), "objects\t3 of 10");
    assert!(status.lines().any(|line| line == pid) && status.lines().any(|line| line == objects), "{status}");
    let status = output(&["status", "--json"]);
    assert!(status.contains(r#""objects":{"used":3,"value":10}"#), "{status}");

    assert_eq!(output(&["delete", "a/hits"]), "");
    home.run(&["delete", "a/hits"]).ended(7, &["there is no object named \"a/hits\""]);
    assert_eq!(hits.get(&1).unwrap_err().reason(), Some(holdfast::Reason::UnknownObject));
    assert_eq!(odd.len().unwrap(), 0);
    home.run(&["list", "--help"]).ended(0, &[]);
}

/// A manager that has no file descriptor left for another connection.
#[test]
fn a_manager_without_file_descriptors_goes_on_and_takes_connections_when_it_has_some_again() {
    let home = Home::new();
    let holdfast = env!("CARGO_BIN_EXE_holdfast");
    let mut command = home.command(Path::new("/bin/sh"));
    let limited = "ulimit -n 24 && exec \"$0\" serve --print-address --threads=1 --accept-pause=10ms";
    let serve = Serve::start(command.args(["-c", limited, holdfast]));
    let address: Address = serve.line().parse().unwrap();
    let Address::Unix(path) = &address else { panic!("{address} is the default address") };
    let client = home.connect(&address);
    // The kernel takes them all, and the manager as many as it can.
    let waiting: Vec<_> = (0..40).map(|_| std::os::unix::net::UnixStream::connect(path).unwrap()).collect();
    client.status().unwrap();
    drop(waiting);
    home.connect(&address).status().unwrap();
    serve.signal(Signal::TERM);
    let finished = serve.finish();
    finished.ended(0, &["could not be accepted"]);
    let lines = finished.errors.matches("could not be accepted").count();
    assert!(lines < 20, "it is logged, but not for every attempt: {lines} times");
}

#[test]
fn help_tells_every_exit_code_and_variable() {
    let home = Home::new();
    let help = home.run(&["serve", "--help"]);
    help.ended(0, &[]);
    let codes = help.output.split("Exit codes:").nth(1).unwrap();
    for code in [0, 1, 2, 3, 4, 5, 8, 9] {
        assert!(codes.contains(&format!("  {code}  ")), "{code} in {codes}");
    }
    let names = [
        "HOLDFAST_ADDRESS",
        "HOLDFAST_AUTHKEY_FILE",
        "HOLDFAST_LOG",
        "HOLDFAST_CERTIFICATE_FILE",
        "HOLDFAST_PRIVATE_KEY_FILE",
        "HOLDFAST_CONFIG",
        "[default: 5s]",
        "SIGTERM",
    ];
    for name in names {
        assert!(help.output.contains(name), "{name}");
    }
    home.run(&["--version"]).ended(0, &[]);
}

#[test]
fn a_private_manager_ends_with_its_owner_and_takes_its_folder_along() {
    // The library starts the command that HOLDFAST_PROGRAM names.
    if std::env::var_os(INNER).is_some() {
        let manager = Manager::start().unwrap();
        let Address::Unix(socket) = manager.address() else { panic!("{:?}", manager.address()) };
        let folder = socket.parent().unwrap().to_owned();
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("authkey")), 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().uid(), rustix::process::geteuid().as_raw());
        manager.status().unwrap();
        manager.close();
        assert!(!folder.exists());
        return;
    }
    let home = Home::new();
    let program = [
        ("HOLDFAST_PROGRAM", env!("CARGO_BIN_EXE_holdfast")),
        // Of managers that listen elsewhere.
        ("HOLDFAST_CERTIFICATE_FILE", "/nowhere"),
        ("HOLDFAST_PRIVATE_KEY_FILE", "/nowhere"),
    ];
    run_as_client(&home, "a_private_manager_ends_with_its_owner_and_takes_its_folder_along", &program);
    assert_eq!(fs::read_dir(home.path("run/holdfast")).unwrap().count(), 0);
    // With nobody at the other end of standard input it ends at once.
    let orphan = home.run(&["serve", "--private"]);
    orphan.ended(0, &[]);
    assert_eq!(fs::read_dir(home.path("run/holdfast")).unwrap().count(), 0);
}

#[test]
fn a_second_signal_stops_it_at_once() {
    let home = Home::new();
    let (serve, addresses) = home.serve(&["--drain-timeout=10min"]);
    // A client that is stopped itself cannot leave: the test's own process would be too much, so a connection is held in
    // the middle of a frame of HTTP/2.
    let Address::Unix(path) = &addresses[0] else { panic!("{addresses:?}") };
    let client = home.connect(&addresses[0]);
    let held = std::os::unix::net::UnixStream::connect(path).unwrap();
    client.status().unwrap();
    serve.signal(Signal::TERM);
    serve.signal(Signal::INT);
    let finished = serve.finish();
    assert!(matches!(finished.status.code(), Some(0 | 5)), "{finished:?}");
    drop(held);
}

/// As when the program that reads a manager's log has ended.
#[test]
fn a_closed_standard_error_does_no_harm() {
    let home = Home::new();
    let mut command = home.holdfast(&["serve", "--print-address", "--max-connections=1"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(process.stderr.take());
    let address: Address = line.trim().parse().unwrap();
    let client = home.connect(&address);
    let Address::Unix(path) = &address else { panic!("{address} is the default address") };
    // Each of these is closed, and warned of to nobody.
    for _ in 0..3 {
        let mut refused = std::os::unix::net::UnixStream::connect(path).unwrap();
        let mut said = Vec::new();
        refused.read_to_end(&mut said).unwrap();
        assert!(String::from_utf8_lossy(&said).contains("the limit named connections"), "{said:?}");
    }
    let dict: Dict<u64, u64> = client.new_dict().unwrap();
    assert_eq!(dict.add(&1, 1).unwrap(), 1);
    drop((dict, client));
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

/// What a manager said of its certificate.
fn fingerprint(finished: &Finished) -> String {
    let line = finished.errors.lines().find(|line| line.contains("fingerprint")).unwrap();
    line.rsplit_once(' ').unwrap().1.to_owned()
}

#[test]
fn a_certificate_is_made_once_and_kept() {
    let home = Home::new();
    let file = home.path("config/holdfast/tls.pem");
    let mut fingerprints = Vec::new();
    // Also where other machines can reach it: with TLS there is nothing to insist on.
    for listen in ["--listen=https://127.0.0.1:0", "--listen=https://0.0.0.0:0"] {
        let (serve, addresses) = home.serve(&[listen]);
        let Address::Https(authority) = &addresses[0] else { panic!("{addresses:?}") };
        let port = authority.rsplit_once(':').unwrap().1;
        home.connect(&format!("https://127.0.0.1:{port}").parse().unwrap()).status().unwrap();
        assert_eq!(mode(&file), 0o600);
        serve.signal(Signal::TERM);
        let finished = serve.finish();
        finished.ended(0, &["serving at https://"]);
        fingerprints.push(fingerprint(&finished));
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0].len(), 32 * 3 - 1, "{fingerprints:?}");
    let folder = fs::read_dir(home.path("config/holdfast")).unwrap();
    assert_eq!(folder.count(), 4, "the authkey, the certificate, the epoch and its lock, and nothing unfinished");
    // Where nothing listens with TLS, no certificate is made.
    let other = Home::new();
    other.serve(&["--listen=http://127.0.0.1:0"]);
    assert!(!other.path("config/holdfast/tls.pem").exists());
}

#[test]
fn a_certificate_of_its_own_that_cannot_be_used_is_refused() {
    let home = Home::new();
    let serve = || home.run(&["serve", "--listen=https://127.0.0.1:0"]);
    drop(home.serve(&["--listen=https://127.0.0.1:0"]));
    let file = home.path("config/holdfast/tls.pem");
    for exposed in [0o644, 0o640, 0o602] {
        fs::set_permissions(&file, fs::Permissions::from_mode(exposed)).unwrap();
        serve().ended(8, &["tls.pem", "accessible to others", "chmod 600"]);
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "nothing").unwrap();
    serve().ended(8, &["tls.pem", "delete the file"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    serve().ended(8, &["tls.pem", "not a regular file"]);
}

/// A certificate that is signed by itself, and its private key, in PEM.
fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, end: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut certificate = rcgen::CertificateParams::new(["holdfast.example".to_owned()]).unwrap();
    certificate.not_after = rcgen::date_time_ymd(end, 1, 2);
    (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_certificate_can_be_brought_along() {
    let home = Home::new();
    let [cert, key] = [home.path("cert.pem"), home.path("key.pem")];
    let flags = [format!("--certificate={}", cert.display()), format!("--private-key={}", key.display())];
    let put = |(certificate, private_key): (String, String)| {
        fs::write(&cert, certificate).unwrap();
        fs::write(&key, private_key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let refused = |says: &[&str]| {
        home.run(&["serve", "--listen=https://127.0.0.1:0", &flags[0], &flags[1]]).ended(8, says);
    };
    refused(&["cert.pem", "No such file"]);
    put(certificate(&rcgen::PKCS_ECDSA_P384_SHA384, 2400));
    {
        let (_serve, addresses) = home.serve(&["--listen=https://127.0.0.1:0", &flags[0], &flags[1]]);
        home.connect(&addresses[0]).status().unwrap();
        assert!(!home.path("config/holdfast/tls.pem").exists(), "none is made");
        let files = [("HOLDFAST_CERTIFICATE_FILE", &cert), ("HOLDFAST_PRIVATE_KEY_FILE", &key)];
        let mut command = home.holdfast(&["serve", "--print-address", "--listen=https://127.0.0.1:0"]);
        let serve = Serve::start(command.envs(files));
        home.connect(&serve.line().parse().unwrap()).status().unwrap();
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&["key.pem", "accessible to others", "chmod 600"]);
    put(certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2020));
    refused(&["cert.pem", "expired at 2020-01-02"]);
    // RFC 5929 leaves open what proofs would be bound to.
    put(certificate(&rcgen::PKCS_ED25519, 2400));
    refused(&["cert.pem", "RFC 5929", "ECDSA"]);
    let (other, _) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2400);
    put((other, certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2400).1));
    refused(&["cert.pem", "key.pem", "do not fit"]);
    put(("no PEM".to_owned(), certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2400).1));
    refused(&["cert.pem", "PEM"]);
    let (good, _) = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, 2400);
    put((good, "no PEM".to_owned()));
    refused(&["key.pem", "PEM"]);
}
