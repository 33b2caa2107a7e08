//! The configuration file.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::settings::declared;

/// What a configuration file says: a TOML document whose keys are settings.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    entries: BTreeMap<String, Entry>,
}

/// One setting of a file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The file and the line.
    pub(crate) place: String,
    /// The value.
    pub(crate) texts: Vec<String>,
}

/// The file that is read if nobody names another, if it exists.
fn default_path() -> Option<PathBuf> {
    let absolute = |variable| env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("holdfast").join("manager.toml"))
}

impl ConfigFile {
    /// The variable that names the file.
    pub(crate) const VARIABLE: &str = "HOLDFAST_CONFIG";

    /// Reads the file that was named with --config, or else by the environment, or else, unless `only_if_named`, the one at
    /// the default place, if there is one.
    pub(crate) fn find(named: Option<PathBuf>, only_if_named: bool) -> Result<Option<Self>, String> {
        let variable = || env::var_os(Self::VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = named.or_else(variable) {
            return Self::read(&path).map(Some);
        }
        match default_path().filter(|_| !only_if_named) {
            Some(path) if path.exists() => Self::read(&path).map(Some),
            _ => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{}: there is no such configuration file", path.display()),
            _ => format!("{}: the configuration file cannot be read: {error}", path.display()),
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the text of a file. Refused: what is no TOML, keys that are no settings, values that are no text, number,
    /// boolean or list of these. Whether a value fits its setting is not looked at.
    pub(crate) fn parse(text: &str, path: &str) -> Result<Self, String> {
        let line = |span: Range<usize>| 1 + text[..span.start.min(text.len())].matches('\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, line);
            format!("{path}:{line}: {}", error.message())
        })?;
        let mut entries = BTreeMap::new();
        for (key, value) in table.get_ref() {
            let place = format!("{path}:{}", line(key.span()));
            let key = key.get_ref();
            if !declared().iter().any(|setting| setting.about.key == *key) {
                return Err(format!("{place}: {}", unknown(key)));
            }
            let texts = texts(value).ok_or_else(|| {
                format!(
                    "{place}: {key} is a {}: write a text, a number, true, false, or a list",
                    value.get_ref().type_str()
                )
            })?;
            entries.insert(key.clone().into_owned(), Entry { place, texts });
        }
        Ok(Self { entries })
    }

    /// What the file says of a setting.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }
}

fn texts(value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
    match value.get_ref() {
        DeValue::Array(values) => values.iter().map(text).collect(),
        _ => Some(vec![text(value)?]),
    }
}

fn text(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.clone().into_owned()),
        // TOML has numbers in four radices.
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}

/// Says that a key is none, and which one may have been meant.
fn unknown(key: &str) -> String {
    let declared = declared();
    let nearest = declared.iter().map(|setting| setting.about.key);
    let nearest = nearest.min_by_key(|known| strsim::damerau_levenshtein(known, &key.replace('-', "_")));
    let nearest = nearest.unwrap_or_default();
    format!("there is no setting {key:?}: is {nearest} meant? `holdfast serve --print-config` shows all")
}
