//! `bnfold-gpu --input PATH...`: folds one model, or a zoo of them; a failing one does not stop the rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bnfold_gpu::output::{Replace, clear_left_behind};
use bnfold_gpu::store::Location;
use bnfold_gpu::zoo::{self, Engines, Found, Run, Sidecar, Task};
use bnfold_gpu::{Error, Options};

use super::arguments::FoldArguments;
use super::hints::failed;
use super::progress::Progress;
use super::report::Report;
use super::repositories::Inputs;
use super::settings::Reach;
use super::standard_output::StandardOutput;
use super::values::Format;
use super::{Status, console, destination, hints, interrupt, listed, settings, slips};

/// Models under way at a time: beyond this the disk is what they wait for.
const MOST_JOBS: usize = 8;

pub(crate) fn run(arguments: &FoldArguments) -> anyhow::Result<Status> {
    let cancelled = Arc::new(AtomicBool::new(false));
    interrupt::set(&cancelled);
    slips::check_eps(&arguments.planning, &settings::denied(&arguments.denial))?;
    let (selection, quiet) = (&arguments.zoo.selection, arguments.verbosity.quiet);
    let typed = arguments.inputs.all();
    slips::check_words(&typed)?;
    let fetched = Inputs::fetch(typed, selection, quiet, &cancelled)?;
    let inputs = fetched.all();
    let stdout = StandardOutput::asked_for(inputs, arguments)?;
    let output = match stdout.as_ref().map(StandardOutput::location).or_else(|| arguments.output.clone()) {
        None => fetched.default_output()?,
        output => output,
    };
    let output = output.as_ref();
    destination::check_output(inputs, output)?;
    let only = selection.only.is_some();
    // What is picked out of a zoo is folded as the zoo is.
    let is_zoo = settings::is_zoo(inputs)? || only;
    let options = options(arguments, is_zoo, &cancelled);
    options.check_names()?;
    let Found { sources, sidecars, failures, .. } = find(arguments, &fetched, output)?;
    // One of several machines, or tasks, may have none of the models that a glob is for.
    if arguments.zoo.shard.is_none() && !only {
        options.check(sources.iter())?;
    }
    let tasks = settings::tasks(sources, inputs, output)?;
    let folder = output.map(|output| sidecar_folder(output, is_zoo)).transpose()?;
    let copies = folder.iter().flat_map(|folder| sidecars.iter().map(|sidecar| folder.join(&sidecar.place)));
    let outputs = tasks.iter().flat_map(Task::outputs).chain(copies);
    let report = Report::begin(arguments.report.as_ref(), outputs)?;
    if arguments.dry_run {
        return listed::tell(&tasks, &failures, arguments.format);
    }
    tell_left_behind(&tasks);
    let progress = Progress::new(&tasks, is_zoo, arguments, report);
    failures.iter().for_each(|(path, error)| progress.tell(failed(path, error)));
    let bytes = tasks.iter().map(|task| task.source.bytes).sum();
    let engines = Engines::new(|| settings::engines(&options.device, bytes, &arguments.verbosity));
    let run = Run {
        tasks: &tasks,
        jobs: jobs(arguments),
        resume: is_zoo && !arguments.no_record,
        engines: &engines,
        settings: &|source| options.settings_of(source, output),
        options: options.fold_options(&|_| {}),
        describe: &hints::described,
        observer: &progress,
    };
    let ended = run.go();
    let ended = ended.and_then(|()| match &folder {
        Some(folder) => copy(&sidecars, folder, arguments, &cancelled, &progress),
        None => Ok(()),
    });
    let status = progress.finish(ended)?;
    match (status, stdout) {
        (Status::Done, Some(stdout)) => stdout.print(),
        _ => Ok(()),
    }?;
    Ok(status)
}

/// The models behind `inputs`, as far as they are this run's.
fn find(arguments: &FoldArguments, fetched: &Inputs, output: Option<&Location>) -> anyhow::Result<Found> {
    let inputs = fetched.all();
    let reach = if arguments.zoo.copy_sidecars { Reach::Zoo } else { Reach::Model };
    let mut found = settings::find(inputs, &arguments.zoo.selection, output, arguments.verbosity.quiet, reach)?;
    fetched.name_places(&mut found);
    if let ([input], true) = (inputs, arguments.zoo.copy_sidecars)
        && !input.is_folder()?
    {
        zoo::add_beside(input, &mut found)?;
    }
    match arguments.zoo.copy_sidecars {
        true => {
            tell_strays(&found.strays);
            settings::check_sidecars(&found.sidecars)?;
        }
        false => found.sidecars.clear(),
    }
    if let Some(share) = arguments.zoo.shard {
        found.sources.retain(|source| share.holds(&source.place));
        found.sidecars.retain(|sidecar| share.holds(&sidecar.place));
        found.failures.retain(|(path, _)| share.holds(path));
    }
    Ok(found)
}

/// Says what is not copied, although it was asked for.
fn tell_strays(strays: &[Location]) {
    let Some(first) = strays.first() else { return };
    let more = if strays.len() > 1 { format!(" (and {} more)", strays.len() - 1) } else { String::new() };
    let first = settings::shown_location(first);
    console::warning(&format!("{first}{more}: not copied, a link leads out of the folder that was named"));
}

/// Clears away what killed runs have left where results go, and says what is left.
fn tell_left_behind(tasks: &[Task]) {
    let folders =
        tasks.iter().flat_map(Task::outputs).filter_map(|output| output.folder().as_file().map(Path::to_owned));
    for left in clear_left_behind(folders) {
        console::warning(&left.to_string());
    }
}

fn jobs(arguments: &FoldArguments) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.zoo.jobs.map_or(cores.min(MOST_JOBS), usize::from)
}

/// How the models are folded, all in the same way.
fn options(arguments: &FoldArguments, is_zoo: bool, cancelled: &Arc<AtomicBool>) -> Options {
    let mut options = settings::planning(&arguments.planning, arguments.plan.as_deref())
        .device(arguments.device.clone())
        .verify_results(!arguments.no_verify)
        .allow_non_finite(arguments.allow_non_finite)
        // They cost time (most for many small channels), and only these three show them.
        .ranges(arguments.report.is_some() || arguments.format == Format::Json || arguments.verbosity.verbose)
        // A second look at the weights, which these two show.
        .quantization(arguments.report.is_some() || arguments.format == Format::Json)
        .replace(replace(arguments))
        .record(!arguments.no_record)
        .sync(!arguments.no_sync)
        .cancelled(Arc::clone(cancelled));
    options.style = arguments.style.map(Into::into);
    options.denied = settings::denied(&arguments.denial);
    options.copies_sidecars = arguments.zoo.copy_sidecars;
    options.ranges |= options.denied.has_lint();
    options.dtype = arguments.dtype.float();
    options.one_of_several = is_zoo;
    options
}

fn replace(arguments: &FoldArguments) -> Replace {
    if arguments.force { Replace::Always } else { Replace::Never }
}

/// Where files beside models are copied to.
fn sidecar_folder(output: &Location, is_zoo: bool) -> Result<Location, Error> {
    Ok(if is_zoo || settings::names_folder(output)? { output.clone() } else { output.folder() })
}

/// `--copy-sidecars`; what fails is told as a model's failure is.
fn copy(
    sidecars: &[Sidecar],
    folder: &Location,
    arguments: &FoldArguments,
    cancelled: &AtomicBool,
    progress: &Progress<'_>,
) -> Result<(), Error> {
    for sidecar in sidecars {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if let Err(error) = zoo::copy(sidecar, folder, replace(arguments), !arguments.no_sync) {
            progress.tell(failed(sidecar.input.path(), &error));
        }
    }
    Ok(())
}
