//! `bnfold-gpu verify`: a folded file against its original.

use bnfold_gpu::Job;
use bnfold_gpu::checkpoint::Checkpoint;
use bnfold_gpu::text::{counted, shown};
use bnfold_gpu::verify::{VerifyReport, verify};

use super::arguments::VerifyArguments;
use super::values::Format;
use super::{Status, console, hints, settings};

pub(crate) fn run(arguments: &VerifyArguments) -> anyhow::Result<Status> {
    let original = Checkpoint::open(&arguments.original)?;
    let folded = Checkpoint::open(&arguments.folded)?;
    let options = settings::planning(&arguments.planning, arguments.plan.as_deref());
    let planned = Job::with(&arguments.original, options).planned(Some(&arguments.folded))?;
    let report = verify(&original, &folded, &planned, arguments.max_ulp)?;
    let name = &arguments.folded;
    if !arguments.quiet {
        for warning in &planned.warnings {
            console::warning(&format!("{}: {}", arguments.original, hints::warned(warning)));
        }
        if report.left > 0 {
            console::warning(&format!(
                "{name}: {} could have been folded but stayed as before",
                counted(report.left, "norm")
            ));
        }
    }
    match arguments.format {
        Format::Json => console::json(&report, false)?,
        Format::Human => console::data(&format!("{}: {}\n", shown(&name.to_string()), summary(&report)))?,
    }
    for problem in &report.problems {
        console::error(&format!("{name}: {}", hints::found(problem)));
    }
    Ok(if report.ok { Status::Done } else { Status::Failed })
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
