//! What people and scripts ask a manager: `holdfast list`, `holdfast status`, `holdfast delete`.

use std::time::Duration;

use holdfast::blocking::Manager;
use holdfast::{Error, Kind, Limit, Listed, Options, Status};
use serde_json::{Map, Value, json};

use crate::args::ManagerArgs;
use crate::exit::Exit;
use crate::serve::{print, say};

/// Prints the objects whose names begin with `prefix`.
pub(crate) fn list(prefix: &str, kind: Option<Kind>, manager: ManagerArgs, json: bool) -> Exit {
    ask(manager, |manager| {
        let listed = match kind {
            Some(kind) => manager.names_of(prefix, kind)?,
            None => manager.names(prefix)?,
        };
        Ok(listed.iter().map(if json { json_of } else { line_of }).collect())
    })
}

fn line_of(object: &Listed) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (elements, bytes) = (number(object.elements), number(object.bytes));
    format!("{}\t{}\t{elements}\t{bytes}", escaped(&object.name), object.kind)
}

/// A name on one line and between tabs, whatever is in it.
fn escaped(name: &str) -> String {
    let escape = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        '\t' => "\\t".to_owned(),
        '\n' => "\\n".to_owned(),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    name.chars().map(escape).collect()
}

fn json_of(object: &Listed) -> String {
    let Listed { name, kind, elements, bytes, .. } = object;
    json!({ "name": name, "kind": kind.to_string(), "elements": elements, "bytes": bytes }).to_string()
}

/// Prints what the manager holds, and how much of each limit is used.
pub(crate) fn status(manager: ManagerArgs, json: bool) -> Exit {
    ask(manager, |manager| {
        let (status, limits) = (manager.status()?, manager.limits()?);
        Ok(if json { vec![json_status(&status, &limits)] } else { lines_of_status(&status, &limits) })
    })
}

fn json_status(status: &Status, limits: &[Limit]) -> String {
    let limits = limits.iter().map(|limit| (limit.name.clone(), json!({ "value": limit.value, "used": limit.used })));
    let limits: Map<String, Value> = limits.collect();
    let Status { objects, sessions, bytes, pid, version, .. } = status;
    json!({
        "version": version, "pid": pid, "objects": objects, "sessions": sessions, "bytes": bytes, "limits": limits,
    })
    .to_string()
}

fn lines_of_status(status: &Status, limits: &[Limit]) -> Vec<String> {
    let mut lines = vec![format!("version\t{}", status.version), format!("pid\t{}", status.pid)];
    lines.extend(limits.iter().map(|Limit { name, value, used, .. }| match used {
        Some(used) => format!("{name}\t{used} of {value}"),
        None => format!("{name}\tat most {value}"),
    }));
    lines
}

/// Deletes an object.
pub(crate) fn delete(name: &str, manager: ManagerArgs) -> Exit {
    ask(manager, |manager| manager.delete(name).map(|()| Vec::new()))
}

/// Asks a manager and prints the lines of the answer.
fn ask(of: ManagerArgs, ask: impl FnOnce(&Manager) -> Result<Vec<String>, Error>) -> Exit {
    // A command asks once: whoever runs it decides whether to ask again.
    let mut options = Options::default().reconnect_timeout(Duration::ZERO);
    if let Some(address) = of.address {
        options = options.address(address);
    }
    if let Some(file) = of.authkey_file {
        options = options.authkey_file(file);
    }
    let answer = Manager::connect_with(&options).and_then(|manager| {
        let answer = ask(&manager);
        manager.close();
        answer
    });
    match answer {
        Ok(lines) if lines.is_empty() => Exit::Done,
        Ok(lines) => {
            print(&lines);
            Exit::Done
        }
        Err(error) => {
            say(&error.to_string());
            match error {
                Error::Refused(_) => Exit::Refused,
                Error::Connect(_) => Exit::Unreachable,
                _ => Exit::Failed,
            }
        }
    }
}
