//! `bnfold-gpu plan`: what would be folded and why.

use std::sync::atomic::AtomicBool;

use bnfold_gpu::checkpoint::Checkpoint;
use bnfold_gpu::model::Model;
use bnfold_gpu::plan::Planned;
use bnfold_gpu::report::plan_table::PlanTable;
use bnfold_gpu::zoo::{Found, Source};
use bnfold_gpu::{Job, Options};

use super::arguments::PlanArguments;
use super::grouped::Grouped;
use super::repositories::Inputs;
use super::settings::Reach;
use super::values::Format;
use super::{Status, console, hints, settings, slips};

pub(crate) fn run(arguments: &PlanArguments) -> anyhow::Result<Status> {
    let mut plans = Vec::new();
    let mut status = Status::Done;
    let quiet = arguments.verbosity.quiet;
    let denied = settings::denied(&arguments.denial);
    slips::check_eps(&arguments.planning, &denied)?;
    let fetched = Inputs::fetch(arguments.inputs.all(), &arguments.selection, quiet, &AtomicBool::new(false))?;
    let inputs = fetched.all();
    let is_one = !settings::is_zoo(inputs)?;
    let mut found = settings::find(inputs, &arguments.selection, None, quiet, Reach::Model)?;
    fetched.name_places(&mut found);
    let Found { sources, failures, .. } = found;
    for (_, error) in &failures {
        console::error(&hints::described(error));
        status = Status::Failed;
    }
    let options = options(arguments, !is_one);
    options.check(sources.iter())?;
    if let Some(norm) = &arguments.explain {
        return explained(norm, &sources, &options);
    }
    let mut grouped = Grouped::new(quiet, !is_one && !arguments.verbosity.verbose);
    for source in &sources {
        let input = &source.input;
        match one(source, &options) {
            Ok(planned) => {
                grouped.tell(&input.to_string(), &planned.warnings);
                if let Some(denied) = planned.kept().iter().chain(&planned.warnings).find(|warning| denied.has(warning))
                {
                    console::error(&format!("{input}: {}", hints::denied(denied)));
                    status = Status::Failed;
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
    grouped.finish();
    // One object for one checkpoint that was named, an array for everything else.
    match (arguments.format, plans.as_slice()) {
        (Format::Human, plans) => {
            let all = arguments.verbosity.verbose;
            let text = plans.iter().map(|plan| PlanTable { plan, all }.to_string()).collect::<Vec<_>>().join("\n");
            console::lines(&text)?;
        }
        (Format::Json, [plan]) if is_one => console::json(plan, true)?,
        // The only model failed: its error is all there is to say.
        (Format::Json, []) if is_one => {}
        (Format::Json, plans) => console::json(&plans, true)?,
    }
    Ok(status)
}

/// How a norm came to be folded or kept, in every checkpoint that has it.
fn explained(norm: &str, sources: &[Source], options: &Options) -> anyhow::Result<Status> {
    let mut found = Vec::new();
    for source in sources {
        let input = &source.input;
        let mut options = options.clone();
        options.arch = options.arch_of(input, &source.place).map(str::to_owned);
        options.arch_for.clear();
        let explanation = Job::with(input, options).explain(norm)?;
        found.extend(explanation.map(|explanation| format!("{input}: {explanation}\n")));
    }
    if found.is_empty() {
        let problem =
            format!("--explain {norm}: no checkpoint has a norm of this name; `bnfold-gpu plan -v` lists them");
        return Err(settings::UsageError(problem).into());
    }
    console::lines(&found.join("\n"))?;
    Ok(Status::Done)
}

fn one(source: &Source, options: &Options) -> Result<Planned, bnfold_gpu::Error> {
    let checkpoint = Checkpoint::open(&source.input)?;
    Ok(Model::plan(checkpoint, options.settings_of(source, None)?)?.into_planned())
}

fn options(arguments: &PlanArguments, is_one_of_several: bool) -> Options {
    let mut options = settings::planning(&arguments.planning, arguments.plan.as_deref());
    options.one_of_several = is_one_of_several;
    options
}
