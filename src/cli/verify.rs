//! `bnfold-gpu verify`: a folded file against its original.

use bnfold_gpu::Job;
use bnfold_gpu::checkpoint::Checkpoint;
use bnfold_gpu::text::{counted, shown};
use bnfold_gpu::verify::{VerifyReport, verify};

use super::arguments::VerifyArguments;
use super::grouped::Grouped;
use super::values::Format;
use super::{Status, console, hints, repositories, settings};

pub(crate) fn run(arguments: &VerifyArguments) -> anyhow::Result<Status> {
    let (Some(before), Some(name)) = (arguments.pair.original(), arguments.pair.folded()) else {
        return Err(
            settings::UsageError("two checkpoints are compared: bnfold-gpu verify ORIGINAL FOLDED".to_owned()).into()
        );
    };
    let before = &repositories::checkpoint(before, arguments.quiet)?;
    let name = &repositories::checkpoint(name, arguments.quiet)?;
    let original = Checkpoint::open(before)?;
    let folded = Checkpoint::open(name)?;
    let options = settings::planning(&arguments.planning, arguments.plan.as_deref());
    let planned = Job::with(before, options).planned(Some(name))?;
    let report = verify(&original, &folded, &planned, arguments.max_ulp)?;
    Grouped::new(arguments.quiet, false).tell(&before.to_string(), &planned.warnings);
    let left = format!("{name}: {} could have been folded but stayed as before", counted(report.left, "norm"));
    let is_left = report.left > 0;
    match arguments.strict {
        true if is_left => console::error(&format!("{left}; without --strict that is a warning")),
        false if is_left && !arguments.quiet => console::warning(&left),
        _ => {}
    }
    match arguments.format {
        Format::Json => console::json(&report, false)?,
        Format::Human => console::lines(&format!("{}: {}\n", shown(&name.to_string()), summary(&report)))?,
    }
    for problem in &report.problems {
        console::error(&format!("{name}: {}", hints::found(problem)));
    }
    Ok(if report.ok && !(arguments.strict && is_left) { Status::Done } else { Status::Failed })
}

fn summary(report: &VerifyReport) -> String {
    let VerifyReport { folded, elements, worst_ulp, worst_shift_ulp, same, problems, .. } = report;
    match problems.len() {
        0 => format!(
            "ok, {} folded; {elements} values compared, weights within {worst_ulp:.2} ulp, biases within \
             {worst_shift_ulp:.2} ulp of their largest addend; {} the same",
            counted(*folded, "norm"),
            counted(*same, "other tensor")
        ),
        count => format!("NOT the same network, {}", counted(count, "problem")),
    }
}
