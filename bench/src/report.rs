//! What the run found: one table with ratios and goals, the figures behind it, and the same as JSON.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::reading::median;
use crate::rounds::{Measured, Missing};
use crate::setting::Setting;
use crate::works::{Figure, Goal, Row, placement};

const ABSENT: &str = "-";

/// One line of the table.
pub(crate) struct Line {
    work: String,
    /// Neither, where there is nothing to pin.
    pinned: Option<bool>,
    figure: Figure,
    subject: (String, Side),
    peer: Option<(String, Side)>,
    goal: Option<Goal>,
}

/// What one side of a line came to.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) value: Option<f64>,
    pub(crate) missing: Option<Missing>,
}

impl Side {
    /// Of something that is measured once, as a part of `what`.
    pub(crate) fn of(what: &str, figure: Result<f64>) -> Result<Self> {
        match figure {
            Ok(value) => Ok(Self { value: Some(value), missing: None }),
            Err(error) => {
                let missing = Missing::from_error(error)?;
                eprintln!("{what}: {}", missing.why);
                Ok(Self { value: None, missing: Some(missing) })
            }
        }
    }
}

impl Line {
    /// The line of a timed work.
    pub(crate) fn of(row: &Row, pinned: bool, measured: &[Measured]) -> Self {
        let side = |contender| {
            let found = measured.iter().find(|measured| measured.contender == contender);
            Side {
                value: found.and_then(|measured| row.figure.of(&measured.readings)),
                missing: found.and_then(|measured| measured.missing.clone()),
            }
        };
        Self {
            work: row.work.to_owned(),
            pinned: Some(pinned),
            figure: row.figure,
            subject: (row.subject.to_string(), side(row.subject)),
            peer: row.peer.map(|peer| (peer.to_string(), side(peer))),
            goal: row.goal,
        }
    }

    /// The line of something that is not timed.
    pub(crate) fn plain(
        work: String,
        figure: Figure,
        subject: (String, Side),
        peer: Option<(String, Side)>,
        goal: Goal,
    ) -> Self {
        Self { work, pinned: None, figure, subject, peer, goal: Some(goal) }
    }

    fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        Some(self.subject.1.value? / peer.value.filter(|value| *value != 0.0)?)
    }

    /// The goal is of the ratio, or of the figure where there is no peer.
    fn is_met(&self) -> Option<bool> {
        let value = if self.peer.is_some() { self.ratio() } else { self.subject.1.value };
        Some(self.goal?.is_met(value?))
    }

    fn cells(&self) -> [String; 7] {
        let shown = |side: &Side| side.value.map_or(ABSENT.to_owned(), |value| show(value, self.figure));
        let peer = match &self.peer {
            Some((name, side)) => format!("{name}: {}", shown(side)),
            None => ABSENT.to_owned(),
        };
        let bound = |bound: f64| if self.peer.is_some() { bound.to_string() } else { show(bound, self.figure) };
        let goal = match self.goal {
            Some(Goal::AtMost(value)) => format!("<= {}", bound(value)),
            Some(Goal::AtLeast(value)) => format!(">= {}", bound(value)),
            None => ABSENT.to_owned(),
        };
        let met = self.is_met().map_or(ABSENT, |met| if met { "yes" } else { "NO" });
        [
            self.work.clone(),
            self.pinned.map_or(ABSENT, placement).to_owned(),
            shown(&self.subject.1),
            peer,
            self.ratio().map_or(ABSENT.to_owned(), |ratio| format!("{ratio:.2}")),
            goal,
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let side = |(name, side): &(String, Side)| {
            let missing = side.missing.as_ref().map(|missing| missing.why.as_str());
            json!({ "name": name, "value": side.value, "missing": missing })
        };
        let goal = self.goal.map(|goal| match goal {
            Goal::AtMost(value) => json!({ "at_most": value }),
            Goal::AtLeast(value) => json!({ "at_least": value }),
        });
        json!({
            "work": self.work,
            "pinned": self.pinned,
            "unit": self.figure.unit(),
            "holdfast": side(&self.subject),
            "peer": self.peer.as_ref().map(side),
            "ratio": self.ratio(),
            "goal": goal,
            "goal_is_of": if self.peer.is_some() { "ratio" } else { "figure" },
            "met": self.is_met(),
        })
    }

    fn missing(&self) -> impl Iterator<Item = (&str, &Missing)> {
        let sides = [Some(&self.subject), self.peer.as_ref()].into_iter().flatten();
        sides.filter_map(|(name, side)| Some((name.as_str(), side.missing.as_ref()?)))
    }
}

/// All that is to be told.
pub(crate) struct Report {
    about: Value,
    pub(crate) lines: Vec<Line>,
    pub(crate) measured: Vec<Measured>,
}

impl Report {
    pub(crate) fn new(setting: &Setting) -> Self {
        let first = |path: &str, key: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.rsplit(':').next().unwrap_or_default().trim().to_owned()
        };
        let about = json!({
            "cpu": first("/proc/cpuinfo", "model name"),
            "cpus": setting.cpus,
            "pinned_to_cpu": setting.cpu,
            "load_before": setting.load,
            "kernel": first("/proc/sys/kernel/osrelease", ""),
            "redis": setting.redis.as_ref().ok().map(|redis| &redis.version),
            "cpython": setting.python.as_ref().ok().map(|python| &python.version),
            "etcd": setting.etcd.as_ref().ok().map(|etcd| &etcd.version),
            "rounds": setting.rounds,
            "measurement_ms": setting.measurement.as_millis() as u64,
            "objects": setting.objects,
            "entries": setting.entries,
            "sessions": setting.sessions,
            "waiters": setting.waiters,
        });
        Self { about, lines: Vec::new(), measured: Vec::new() }
    }

    /// Prints the table and writes the JSON. Says by its exit code whether something failed; goals are not asked for.
    pub(crate) fn publish(&self, json: Option<&Path>) -> Result<ExitCode> {
        let mut text = self.text();
        let missing = self.missing();
        for (missing, who) in &missing {
            text.push_str(&format!("Without figures: {}: {}\n", who.join(", "), missing.why));
        }
        let to_stdout = |text: &str| std::io::stdout().lock().write_all(text.as_bytes()).context("printing");
        match json {
            Some(path) if path == Path::new("-") => {
                eprint!("{text}");
                to_stdout(&format!("{:#}\n", self.json()))?;
            }
            Some(path) => {
                to_stdout(&text)?;
                fs::write(path, format!("{:#}\n", self.json()))
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            None => to_stdout(&text)?,
        }
        let failed = missing.iter().any(|(missing, _)| !missing.unavailable);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn text(&self) -> String {
        let names = ["work", "CPU", "Holdfast", "peer", "ratio", "goal", "met?"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(names).chain(self.lines.iter().map(Line::cells)).collect();
        let mut text = table(&rows);
        let names = ["figures behind it", "CPU", "us/call", "calls/s", "min..max us", "p50 us", "p99 us"];
        let rows: Vec<_> =
            std::iter::once(names.map(str::to_owned)).chain(self.measured.iter().filter_map(figures)).collect();
        if rows.len() > 1 {
            text.push('\n');
            text.push_str(&table(&rows));
        }
        let about = |key: &str| match &self.about[key] {
            Value::String(text) => text.clone(),
            Value::Null => ABSENT.to_owned(),
            other => other.to_string(),
        };
        text.push_str(&format!(
            "\n{}, {} CPUs, Linux {}; Redis {}, CPython {}, etcd {}; medians of {} rounds of {} ms. Time per call is elapsed over \
             calls. Load average before the run: {}.\n",
            about("cpu"),
            about("cpus"),
            about("kernel"),
            about("redis"),
            about("cpython"),
            about("etcd"),
            about("rounds"),
            about("measurement_ms"),
            about("load_before"),
        ));
        text
    }

    /// Why figures are missing, and whose.
    fn missing(&self) -> Vec<(&Missing, Vec<&str>)> {
        let mut all: Vec<(&Missing, Vec<&str>)> = Vec::new();
        for (name, missing) in self.lines.iter().flat_map(Line::missing) {
            match all.iter_mut().find(|(other, _)| other.why == missing.why) {
                Some((_, names)) if names.contains(&name) => {}
                Some((_, names)) => names.push(name),
                None => all.push((missing, vec![name])),
            }
        }
        all
    }

    fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .measured
            .iter()
            .map(|measured| {
                json!({
                    "contender": measured.contender.to_string(),
                    "pinned": measured.pinned,
                    "us_per_call": Figure::TimePerCall.of(&measured.readings),
                    "calls_per_second": Figure::Rate.of(&measured.readings),
                    "p50_us": Figure::P50.of(&measured.readings),
                    "p99_us": p99(measured),
                    "rounds": measured.readings,
                    "missing": measured.missing.as_ref().map(|missing| &missing.why),
                })
            })
            .collect();
        let lines: Vec<Value> = self.lines.iter().map(Line::json).collect();
        json!({ "about": self.about, "works": lines, "figures": figures })
    }
}

fn p99(measured: &Measured) -> Option<f64> {
    median(measured.readings.iter().filter_map(|reading| reading.p99_us))
}

fn figures(measured: &Measured) -> Option<[String; 7]> {
    let us = Figure::TimePerCall.of(&measured.readings)?;
    let of = |figure: Figure| figure.of(&measured.readings);
    let number = |value: Option<f64>| value.map_or(ABSENT.to_owned(), digits);
    let times = || measured.readings.iter().map(crate::reading::Reading::us_per_call);
    let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    Some([
        measured.contender.to_string(),
        placement(measured.pinned).to_owned(),
        digits(us),
        of(Figure::Rate).map_or(ABSENT.to_owned(), |rate| show(rate, Figure::Rate)),
        format!("{}..{}", digits(least), digits(most)),
        number(of(Figure::P50)),
        number(p99(measured)),
    ])
}

fn show(value: f64, figure: Figure) -> String {
    match figure {
        Figure::Rate if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        Figure::Rate if value >= 1e3 => format!("{:.1} k/s", value / 1e3),
        Figure::Rate => format!("{} /s", digits(value)),
        _ => format!("{} {}", digits(value), figure.unit()),
    }
}

/// Three digits that matter.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Columns as wide as their widest cell, a rule under the first row.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join(" | ").trim_end());
        text.push('\n');
        if index == 0 {
            text.push_str(&widths.map(|width| "-".repeat(width)).join("-|-"));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(subject: Option<f64>, peer: Option<f64>) -> Line {
        let side = |value| Side { value, missing: None };
        let peer = Some(("Redis hash".to_owned(), side(peer)));
        Line::plain("memory".to_owned(), Figure::Bytes, ("ours".to_owned(), side(subject)), peer, Goal::AtMost(1.2))
    }

    #[test]
    fn a_goal_is_of_the_ratio_and_open_while_a_side_is_missing() {
        assert_eq!(line(Some(60.0), Some(50.0)).is_met(), Some(true));
        assert_eq!(line(Some(70.0), Some(50.0)).is_met(), Some(false));
        assert_eq!(line(None, Some(50.0)).is_met(), None);
        assert_eq!(line(Some(70.0), None).cells()[4], ABSENT);
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "bb".to_owned()], ["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a   | bb\n----|---\nccc | d\n");
    }
}
