//! Every setting of `holdfast serve`: what it is, and where its value comes from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use holdfast_manager::settings::{About, Addresses, Count, File, Form, Settings, Shape, Span, Switch};
use holdfast_manager::{Limits, Network};
use holdfast_proto::place::{Address, default_address, default_authkey_file};

use crate::config_file::ConfigFile;

holdfast_manager::settings! {
    /// What a manager is told beside its limits and how to treat connections.
    #[derive(Clone, Debug)]
    pub(crate) struct General {
        /// Where to listen: unix:PATH, http://HOST:PORT or https://HOST:PORT. May be given several times.
        ///
        /// Port 0 lets the system choose; --print-address tells.
        "listen" ["HOLDFAST_ADDRESS"] listen: Vec<Address> as Addresses, = vec![default_address()],
            "unix:$XDG_RUNTIME_DIR/holdfast/manager.sock, or unix:/tmp/holdfast-UID/manager.sock";
        /// The file with the authkey. It is made on first start, with a random key, readable by you alone.
        "authkey_file" authkey_file: std::path::PathBuf as File, = default_authkey_file(),
            "$XDG_CONFIG_HOME/holdfast/authkey, or ~/.config/holdfast/authkey";
        /// The file with the number of times that a manager has started here, its epoch: fences rise from one life to the next
        /// by it. It is made on first start. Delete it only when nobody remembers a fence.
        "epoch_file" epoch_file: Option<std::path::PathBuf> as File, = None, "epoch beside the authkey file";
        /// The certificate to show on https:// addresses, in PEM, followed by those that it is signed with, if any.
        ///
        /// Clients of Holdfast need no certificate that others have signed: without this one is made on first start. It is
        /// valid for manager.internal and never expires.
        "certificate" ["HOLDFAST_CERTIFICATE_FILE"] certificate: Option<std::path::PathBuf> as File, = None,
            "none: the manager makes one, kept in tls.pem beside the authkey file";
        /// The private key of the certificate, in PEM without a passphrase; readable by you alone.
        "private_key" ["HOLDFAST_PRIVATE_KEY_FILE"] private_key: Option<std::path::PathBuf> as File, = None,
            "none: the manager makes one, kept in tls.pem beside the authkey file";
        /// Allow http:// addresses that other machines can reach, although whoever sees the traffic can read and change it.
        "insecure_plaintext" insecure_plaintext: bool as Switch, = false;
        /// Threads that serve connections; each connection stays with one.
        "threads" threads: u16 as Count in 1..=256, = default_threads(), "one for every two CPUs, at most eight";
        /// How long clients may take to leave after a signal to stop.
        "drain_timeout" drain_timeout: Duration as Span, = Duration::from_secs(5);
        /// What is logged on standard error: error, warn, info or debug.
        "log" log: String as Directives, = "warn".to_owned();
    }
}

fn default_threads() -> u16 {
    // Measured: on two CPUs one thread serves more than two, since the clients need the other. See ARCHITECTURE.md.
    let threads = thread::available_parallelism().map_or(1, usize::from) / 2;
    u16::try_from(threads.clamp(1, 8)).unwrap_or(1)
}

/// What is logged: `warn`, `holdfast_manager=debug,info`.
struct Directives;

impl Form<String> for Directives {
    const VALUE: &'static str = "LEVEL";

    fn read(texts: &[&str]) -> Result<String, String> {
        let [text] = texts else { return Err("it has one value, not a list".to_owned()) };
        // A word that is no level would be taken for the name of a module of which everything is logged, and nothing else.
        let is_level = |part: &str| tracing_subscriber::filter::LevelFilter::from_str(part.trim()).is_ok();
        let wrong = text.split(',').find(|part| !part.contains('=') && !is_level(part));
        match (wrong, tracing_subscriber::EnvFilter::try_new(text)) {
            (None, Ok(_)) => Ok((*text).to_owned()),
            (Some(word), _) => Err(format!("it is error, warn, info or debug, and {word:?} is none of them")),
            (None, Err(error)) => Err(format!("it is error, warn, info or debug ({error})")),
        }
    }

    fn write(value: &String) -> Vec<String> {
        vec![value.clone()]
    }
}

/// The value of every setting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    pub(crate) general: General,
    pub(crate) limits: Limits,
    pub(crate) network: Network,
}

/// Reads the value of a setting as texts.
type Get = dyn Fn(&Configuration) -> Vec<String>;

/// Sets the value of a setting to what texts stand for, or says what is wrong with them.
type Set = dyn Fn(&mut Configuration, &[&str]) -> Result<(), String>;

/// A setting of the configuration, whichever part of it it is in.
pub(crate) struct Declared {
    /// What the part is called.
    pub(crate) heading: &'static str,
    pub(crate) about: About,
    pub(crate) get: Box<Get>,
    set: Box<Set>,
}

/// Every setting, in the order in which people read of them.
pub(crate) fn declared() -> Vec<Declared> {
    let mut all = Vec::new();
    part(&mut all, "General", |of| &of.general, |of| &mut of.general);
    part(&mut all, "Limits", |of| &of.limits, |of| &mut of.limits);
    part(&mut all, "Network", |of| &of.network, |of| &mut of.network);
    all
}

fn part<T: Settings>(
    all: &mut Vec<Declared>,
    heading: &'static str,
    get: fn(&Configuration) -> &T,
    get_mut: fn(&mut Configuration) -> &mut T,
) {
    all.extend(T::settings().iter().map(|setting| Declared {
        heading,
        about: setting.about,
        get: Box::new(move |of| (setting.get)(get(of))),
        set: Box::new(move |of, texts| (setting.set)(get_mut(of), texts)),
    }));
}

impl Declared {
    /// Its default, for people.
    pub(crate) fn default(&self) -> String {
        self.about.default.map_or_else(|| (self.get)(&Configuration::default()).join(", "), str::to_owned)
    }

    fn check(&self, texts: &[&str]) -> Result<(), String> {
        (self.set)(&mut Configuration::default(), texts)
    }
}

/// Where the value of a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    /// A file and a line.
    File(String),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => f.write_str(place),
            Self::Environment(variable) => write!(f, "environment: {variable}"),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// The configuration, and where each of its values comes from.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) configuration: Configuration,
    /// By key. What is missing is a default.
    origins: BTreeMap<&'static str, Origin>,
}

/// Puts the configuration together: a flag goes before the environment, that before the file, that before the default.
///
/// What is wrong with a value is told also where another one goes before it: it would be wrong the next time.
pub(crate) fn resolve(
    flags: &SettingFlags,
    environment: impl Fn(&str) -> Option<OsString>,
    file: Option<&ConfigFile>,
) -> Result<Resolved, String> {
    let mut resolved = Resolved { configuration: Configuration::default(), origins: BTreeMap::new() };
    for setting in declared() {
        let key = setting.about.key;
        if let Some(entry) = file.and_then(|file| file.entry(key)) {
            resolved.take(&setting, &entry.texts, Origin::File(entry.place.clone()))?;
        }
        let variable = setting.about.variable();
        // A variable that is empty is as good as none.
        if let Some(value) = environment(&variable).filter(|value| !value.is_empty()) {
            let value = value.into_string().map_err(|_| format!("{variable}: it is not valid UTF-8"))?;
            resolved.take(&setting, &[value], Origin::Environment(variable))?;
        }
        if let Some(texts) = flags.given.get(key) {
            resolved.take(&setting, texts, Origin::Flag(setting.about.flag()))?;
        }
    }
    Ok(resolved)
}

impl Resolved {
    fn take(&mut self, setting: &Declared, texts: &[String], origin: Origin) -> Result<(), String> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        (setting.set)(&mut self.configuration, &texts).map_err(|problem| {
            let place = origin.to_string();
            format!("{place}: {:?} is no value of {}: {problem}", texts.join(" "), setting.about.key)
        })?;
        self.origins.insert(setting.about.key, origin);
        Ok(())
    }

    /// The configuration as a file that can be given back, with the origin of each value.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::from("# The configuration of `holdfast serve`, and where each value comes from.\n");
        let mut heading = "";
        for setting in declared() {
            if heading != setting.heading {
                heading = setting.heading;
                text.push_str(&format!("\n# {heading}\n"));
            }
            let value = toml_value(setting.about.shape, &(setting.get)(&self.configuration));
            let origin = self.origins.get(setting.about.key).unwrap_or(&Origin::Default);
            text.push_str(&format!("{} = {value} # {}\n", setting.about.key, origin.to_string().escape_debug()));
        }
        text
    }
}

fn toml_value(shape: Shape, texts: &[String]) -> String {
    let quoted = |text: &String| toml::Value::from(text.as_str()).to_string();
    match shape {
        Shape::Bare | Shape::Switch => texts.concat(),
        Shape::Quoted => quoted(&texts.concat()),
        Shape::List => format!("[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(", ")),
    }
}

/// The settings that are given as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingFlags {
    /// The texts of each, by key.
    pub(crate) given: BTreeMap<&'static str, Vec<String>>,
}

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        declared().iter().enumerate().fold(command, |command, (at, setting)| command.arg(argument(at, setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(at: usize, setting: &Declared) -> Arg {
    let about = &setting.about;
    let mut paragraphs = about.help();
    let first = paragraphs.next().unwrap_or_default();
    let facts = format!("[env: {}] [default: {}]", about.variable(), setting.default());
    let rest: String = paragraphs.map(|paragraph| format!("{paragraph}\n\n")).collect();
    let argument = Arg::new(about.key)
        .long(about.flag())
        .value_name(about.value)
        .help(format!("{} {facts}", first.trim_end_matches('.')))
        .long_help(format!("{first}\n\n{rest}{facts}"))
        .help_heading((setting.heading != "General").then_some(setting.heading))
        .value_parser(move |text: &str| declared()[at].check(&[text]).map(|()| text.to_owned()));
    match about.shape {
        Shape::List => argument.action(ArgAction::Append),
        Shape::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Shape::Bare | Shape::Quoted => argument,
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let keys = declared().into_iter().map(|setting| setting.about.key);
        let given = keys.filter_map(|key| Some((key, matches.get_many::<String>(key)?.cloned().collect())));
        Ok(Self { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
