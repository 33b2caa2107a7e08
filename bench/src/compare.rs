//! `compare`: runs all works, then prints.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::CompareArgs;
use crate::report::{Line, Report};
use crate::rounds::{Plan, interleave};
use crate::servers::Servers;
use crate::setting::Setting;
use crate::{idle, interrupt, memory, works};

/// Runs the comparison and prints its report.
pub(crate) fn run(args: &CompareArgs) -> Result<ExitCode> {
    interrupt::watch()?;
    let setting = Setting::new(args)?;
    let wanted = |name: &str| is_wanted(name, &args.only);
    let mut report = Report::new(&setting);
    for pinned in [true, false] {
        // Servers of one placement live for all its stages; an idle one costs nothing.
        let mut servers = Servers::new(&setting, pinned);
        for mut stage in works::stages(pinned) {
            stage.rows.retain(|row| wanted(&row.name(pinned)));
            let plan = Plan { rounds: setting.rounds, measurement: setting.measurement, pinned: stage.pinned };
            let measured = interleave(&mut servers, &stage.contenders(), plan)?;
            report.lines.extend(stage.rows.iter().map(|row| Line::of(row, pinned, &measured)));
            report.measured.extend(measured);
        }
    }
    report.lines.extend(memory::lines(&setting, wanted)?);
    report.lines.extend(idle::lines(&setting, wanted)?);
    report.publish(args.json.as_deref())
}

/// Whether all words of one of the selections, if there are any, are in the name.
pub(crate) fn is_wanted(name: &str, only: &[String]) -> bool {
    let name = name.to_lowercase();
    let has_all = |words: &String| words.to_lowercase().split_whitespace().all(|word| name.contains(word));
    only.is_empty() || only.iter().any(has_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_are_selected_by_all_words_of_any_selection() {
        let name = "one at a time, blocking, get, unpinned";
        let wanted = |only: &[&str]| is_wanted(name, &only.iter().map(|&words| words.to_owned()).collect::<Vec<_>>());
        assert!(
            wanted(&[]) && wanted(&["Blocking, get"]) && wanted(&["unpinned blocking"]) && wanted(&["list", "get"])
        );
        assert!(!wanted(&["list"]) && !wanted(&["blocking add"]));
    }
}
