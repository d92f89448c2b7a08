//! `bnfold-gpu plan`: what would be folded and why.

use bnfold_gpu::checkpoint::Checkpoint;
use bnfold_gpu::plan::{Planned, plan};
use bnfold_gpu::report::human::PlanTable;
use bnfold_gpu::store::Location;
use bnfold_gpu::zoo::{Found, Source};

use super::arguments::PlanArguments;
use super::values::Format;
use super::{Status, console, hints, settings};

pub(crate) fn run(arguments: &PlanArguments) -> anyhow::Result<Status> {
    let mut plans = Vec::new();
    let mut status = Status::Done;
    let quiet = arguments.verbosity.quiet;
    let Found { sources, failures, .. } = settings::find(&arguments.input, &arguments.selection, None, quiet)?;
    for (_, error) in &failures {
        console::error(&hints::described(error));
        status = Status::Failed;
    }
    // One object for one checkpoint that was named, an array for everything else.
    let is_one = !settings::is_zoo(&arguments.input);
    for Source { input, .. } in &sources {
        match one(input, arguments) {
            Ok(planned) => {
                if !quiet {
                    for warning in planned.warnings() {
                        console::warning(&format!("{input}: {warning}"));
                    }
                }
                plans.push(planned.plan);
            }
            Err(error) => {
                console::error(&hints::described(&error));
                status = Status::Failed;
            }
        }
    }
    match (arguments.format, plans.as_slice()) {
        (Format::Human, plans) => {
            let all = arguments.verbosity.verbose;
            let text = plans.iter().map(|plan| PlanTable { plan, all }.to_string()).collect::<Vec<_>>().join("\n");
            console::data(&text)?;
        }
        (Format::Json, [plan]) if is_one => console::json(plan, true)?,
        // The only model failed: its error is all there is to say.
        (Format::Json, []) if is_one => {}
        (Format::Json, plans) => console::json(&plans, true)?,
    }
    Ok(status)
}

fn one(input: &Location, arguments: &PlanArguments) -> Result<Planned, bnfold_gpu::Error> {
    let is_one_of_several = settings::is_zoo(&arguments.input);
    let surroundings = settings::Surroundings { input, result: None, is_one_of_several };
    let settings = settings::plan_settings(&arguments.planning, &surroundings, arguments.verbosity.quiet);
    plan(&Checkpoint::open(input)?, &settings, arguments.plan.as_deref())
}
