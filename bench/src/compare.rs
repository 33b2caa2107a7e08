//! `compare`: runs all works, then prints.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::CompareArgs;
use crate::report::{Line, Report};
use crate::rounds::{Plan, interleave};
use crate::servers::Servers;
use crate::setting::Setting;
use crate::{interrupt, memory, works};

/// Runs the comparison and prints its report.
pub(crate) fn run(args: &CompareArgs) -> Result<ExitCode> {
    interrupt::watch()?;
    let setting = Setting::new(args)?;
    let wanted = |name: &str| match &args.only {
        Some(part) => name.to_lowercase().contains(&part.to_lowercase()),
        None => true,
    };
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
    report.publish(args.json.as_deref())
}
