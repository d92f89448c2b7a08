//! `bnfold-gpu plan`: what would be folded and why.

use bnfold_gpu::Job;
use bnfold_gpu::report::plan_table::PlanTable;
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
    settings::planning(&arguments.planning, None).check(sources.iter())?;
    if let Some(norm) = &arguments.explain {
        return explained(norm, &sources, arguments);
    }
    for source in &sources {
        let input = &source.input;
        match job(source, arguments).planned(None) {
            Ok(planned) => {
                if !quiet {
                    for warning in &planned.warnings {
                        console::warning(&format!("{input}: {}", hints::warned(warning)));
                    }
                }
                plans.push(planned.plan);
            }
            // Of a single model there is nothing else to do.
            Err(error) if is_one => return Err(error.into()),
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

/// How a norm came to be folded or kept, in every checkpoint that has it.
fn explained(norm: &str, sources: &[Source], arguments: &PlanArguments) -> anyhow::Result<Status> {
    let mut found = Vec::new();
    for source in sources {
        let input = &source.input;
        let explanation = job(source, arguments).explain(norm)?;
        found.extend(explanation.map(|explanation| format!("{input}: {explanation}\n")));
    }
    if found.is_empty() {
        let problem =
            format!("--explain {norm}: no checkpoint has a norm of this name; `bnfold-gpu plan -v` lists them");
        return Err(settings::UsageError(problem).into());
    }
    console::data(&found.join("\n"))?;
    Ok(Status::Done)
}

fn job(source: &Source, arguments: &PlanArguments) -> Job<'static> {
    let mut options = settings::planning(&arguments.planning, arguments.plan.as_deref());
    options.one_of_several = settings::is_zoo(&arguments.input);
    options.arch = options.arch_of(&source.input, &source.place).map(str::to_owned);
    options.arch_for.clear();
    Job::with(&source.input, options)
}
