//! `bnfold-gpu --input PATH...`: folds one model, or a zoo of them; a failing one does not stop the rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bnfold_gpu::output::Replace;
use bnfold_gpu::report::{FailureReport, Outcome};
use bnfold_gpu::store::Location;
use bnfold_gpu::zoo::{self, Engines, Found, Run, Sidecar, Task};
use bnfold_gpu::{Error, Options};

use super::arguments::FoldArguments;
use super::progress::Progress;
use super::report::Report;
use super::values::Format;
use super::{Status, destination, hints, interrupt, settings};

/// Models under way at a time: beyond this the disk is what they wait for.
const MOST_JOBS: usize = 8;

pub(crate) fn run(arguments: &FoldArguments) -> anyhow::Result<Status> {
    let cancelled = Arc::new(AtomicBool::new(false));
    interrupt::set(&cancelled);
    destination::check_output(&arguments.input, arguments.output.as_ref())?;
    let options = options(arguments, &cancelled);
    options.check_names()?;
    let Found { sources, sidecars, failures, .. } = find(arguments)?;
    // One of several machines may have none of the models that a glob is for.
    if arguments.zoo.shard.is_none() {
        options.check(sources.iter())?;
    }
    let tasks = settings::tasks(sources, &arguments.input, arguments.output.as_ref())?;
    let copies =
        sidecar_folder(arguments).map(|folder| sidecars.iter().map(move |sidecar| folder.join(&sidecar.place)));
    let outputs = tasks.iter().flat_map(Task::outputs).chain(copies.into_iter().flatten());
    let report = Report::begin(arguments.report.as_ref(), outputs)?;
    let progress = Progress::new(&tasks, settings::is_zoo(&arguments.input), arguments, report);
    failures.iter().for_each(|(path, error)| progress.tell(failed(path, error)));
    let bytes = tasks.iter().map(|task| task.source.bytes).sum();
    let engines = Engines::new(|| settings::engines(&options.device, bytes, arguments.verbosity.quiet));
    let run = Run {
        tasks: &tasks,
        jobs: jobs(arguments),
        resume: settings::is_zoo(&arguments.input),
        engines: &engines,
        settings: &|source| options.settings_of(source, arguments.output.as_ref()),
        options: options.fold_options(&|_| {}),
        describe: &hints::described,
        observer: &progress,
    };
    let ended = run.go();
    let ended = ended.and_then(|()| copy(&sidecars, arguments, &cancelled, &progress));
    progress.finish(ended)
}

fn failed(input: &Path, error: &Error) -> Outcome {
    Outcome::Failed(FailureReport { input: input.to_owned(), error: hints::described(error) })
}

/// The models behind `--input`, as far as they are this run's.
fn find(arguments: &FoldArguments) -> anyhow::Result<Found> {
    let mut found = settings::find(
        &arguments.input,
        &arguments.zoo.selection,
        arguments.output.as_ref(),
        arguments.verbosity.quiet,
    )?;
    if let ([input], true) = (arguments.input.as_slice(), arguments.zoo.copy_sidecars)
        && !input.is_folder()
    {
        found.sidecars = zoo::beside(input);
    }
    match arguments.zoo.copy_sidecars {
        true => settings::check_sidecars(&found.sidecars)?,
        false => found.sidecars.clear(),
    }
    if let Some(share) = arguments.zoo.shard {
        found.sources.retain(|source| share.holds(&source.place));
        found.sidecars.retain(|sidecar| share.holds(&sidecar.place));
        found.failures.retain(|(path, _)| share.holds(path));
    }
    Ok(found)
}

fn jobs(arguments: &FoldArguments) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.zoo.jobs.map_or(cores.min(MOST_JOBS), usize::from)
}

/// How the models are folded, all in the same way.
fn options(arguments: &FoldArguments, cancelled: &Arc<AtomicBool>) -> Options {
    let mut options = settings::planning(&arguments.planning, arguments.plan.as_deref())
        .device(arguments.device.clone())
        .style(arguments.style.into())
        .strict(arguments.strict)
        .verify_results(!arguments.no_verify)
        .allow_non_finite(arguments.allow_non_finite)
        // They cost time (most for many small channels), and only these three show them.
        .ranges(arguments.report.is_some() || arguments.format == Format::Json || arguments.verbosity.verbose)
        .replace(replace(arguments))
        .sync(!arguments.no_sync)
        .cancelled(Arc::clone(cancelled));
    options.dtype = arguments.dtype.float();
    options.one_of_several = settings::is_zoo(&arguments.input);
    options
}

fn replace(arguments: &FoldArguments) -> Replace {
    if arguments.force { Replace::Always } else { Replace::Never }
}

/// Where files beside models are copied to; nowhere if results stand beside their originals.
fn sidecar_folder(arguments: &FoldArguments) -> Option<Location> {
    let output = arguments.output.as_ref()?;
    let is_folder = settings::is_zoo(&arguments.input) || settings::names_folder(output);
    Some(if is_folder { output.clone() } else { output.folder() })
}

/// `--copy-sidecars`; what fails is told as a model's failure is.
fn copy(
    sidecars: &[Sidecar],
    arguments: &FoldArguments,
    cancelled: &AtomicBool,
    progress: &Progress<'_>,
) -> Result<(), Error> {
    let Some(folder) = sidecar_folder(arguments) else { return Ok(()) };
    for sidecar in sidecars {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if let Err(error) = zoo::copy(sidecar, &folder, replace(arguments), !arguments.no_sync) {
            progress.tell(failed(sidecar.input.path(), &error));
        }
    }
    Ok(())
}
