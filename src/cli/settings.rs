//! From what was typed to what is done: devices are opened, models found, outputs named.

use std::collections::HashMap;
use std::path::Path;

use bnfold_gpu::checkpoint::is_index;
use bnfold_gpu::fold::Engine;
use bnfold_gpu::job::Opened;
use bnfold_gpu::model::Denied;
use bnfold_gpu::output::FOLDED;
use bnfold_gpu::store::Location;
use bnfold_gpu::text::shown;
use bnfold_gpu::zoo::{Filter, Found, Sidecar, Source, Task, discover, how_to_convert, same_content};
use bnfold_gpu::{Device, Error, Options, PlanSource};
use globset::{Glob, GlobSetBuilder};

use super::arguments::{DenialArguments, PlanningArguments, SelectionArguments, Verbosity};
use super::{console, hints};

/// A command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// What `--device` names, opened to fold `bytes` bytes of checkpoints; why it is this one is said with `-v`.
pub(crate) fn engines(device: &Device, bytes: u64, verbosity: &Verbosity) -> Result<Vec<Engine>, Error> {
    let Opened { engines, note, warning } = device.open(bytes)?;
    // Which it is stands in the report; why is for those who wonder.
    if verbosity.verbose {
        note.iter().for_each(|note| console::note(&hints::noted(note)));
    }
    if !verbosity.quiet {
        warning.iter().for_each(|warning| console::warning(&hints::warned(warning)));
    }
    Ok(engines)
}

/// What bears on the plan of a checkpoint.
pub(crate) fn planning(planning: &PlanningArguments, plan: Option<&Path>) -> Options {
    let mut options = Options::default().evidence(planning.evidence.into());
    options.eps = planning.eps;
    options.eps_for.clone_from(&planning.eps_for);
    options.arch.clone_from(&planning.arch);
    options.arch_for.clone_from(&planning.arch_for);
    options.plan = plan.map(PlanSource::from);
    options
}

/// Which warnings and remarks are failures. What is allowed is so, however it was denied.
pub(crate) fn denied(arguments: &DenialArguments) -> Denied {
    let mut denied = Denied::default();
    denied.strict(arguments.strict);
    arguments.deny.iter().for_each(|kind| denied.deny(*kind));
    arguments.allow.iter().for_each(|kind| denied.allow(*kind));
    denied
}

/// What `--only` needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The one model.
    Model,
    /// The whole zoo: which of its models a sidecar goes with.
    Zoo,
}

/// The models behind `inputs`; what was passed over is said. That there is none is an error of the command line.
pub(crate) fn find(
    inputs: &[Location],
    selection: &SelectionArguments,
    output: Option<&Location>,
    quiet: bool,
    reach: Reach,
) -> anyhow::Result<Found> {
    let mut found = discover(inputs, &filter(selection, reach)?, output)?;
    if let Some(place) = &selection.only {
        found.keep_only(place);
    }
    if !quiet {
        found.notes.iter().for_each(|text| console::note(text));
    }
    if found.sources.is_empty() && found.failures.is_empty() {
        let inputs = inputs.iter().map(shown_location).collect::<Vec<_>>().join(", ");
        if let Some(place) = &selection.only {
            let place = shown_path(place);
            let problem =
                format!("no model at {place} (--only) in {inputs}; --dry-run --format json prints the places");
            return Err(UsageError(problem).into());
        }
        let which = if selection.include.is_empty() { "" } else { " that --include names" };
        let weights = if which.is_empty() { other_weights(&found) } else { String::new() };
        return Err(UsageError(format!("no .safetensors file{which} in {inputs}{weights}")).into());
    }
    Ok(found)
}

/// What there is instead of a checkpoint, and how it becomes one.
fn other_weights(found: &Found) -> String {
    let instead = found.other_weights.first().map(|weights| how_to_convert(weights.path()));
    instead.map(|instead| format!("; there is {instead}")).unwrap_or_default()
}

/// Whether several models are meant, of which some may be done already.
pub(crate) fn is_zoo(inputs: &[Location]) -> Result<bool, Error> {
    match inputs {
        [input] => input.is_folder(),
        inputs => Ok(!inputs.is_empty()),
    }
}

/// What `--include`, `--exclude` and `--only` say.
fn filter(selection: &SelectionArguments, reach: Reach) -> Result<Filter, UsageError> {
    let set = |globs: &[Glob]| {
        let mut set = GlobSetBuilder::new();
        globs.iter().for_each(|glob| {
            set.add(glob.clone());
        });
        set.build().map_err(|error| UsageError(error.to_string()))
    };
    let only = selection.only.clone().filter(|_| reach == Reach::Model);
    Ok(Filter { include: set(&selection.include)?, exclude: set(&selection.exclude)?, only })
}

/// The models, each with the place of its result.
pub(crate) fn tasks(sources: Vec<Source>, inputs: &[Location], output: Option<&Location>) -> anyhow::Result<Vec<Task>> {
    let tasks = match output {
        // A single model has a name of its own for its result, unless it is a folder's; shards keep their names, so that
        // only the name of an index can be given for a sharded one.
        Some(file) if !is_zoo(inputs)? && !names_folder(file)? && is_name_of_result(file, &inputs[0]) => {
            let sources = sources.into_iter();
            sources.map(|source| Task { source, output: file.clone(), root: None, same_as: None }).collect()
        }
        Some(folder) => Task::all(sources, folder),
        None => beside(sources),
    };
    check_tasks(&tasks)?;
    Ok(tasks)
}

fn is_name_of_result(output: &Location, input: &Location) -> bool {
    !is_index(input.path()) || is_index(output.path())
}

pub(crate) fn names_folder(output: &Location) -> Result<bool, Error> {
    Ok(output.path().as_os_str().as_encoded_bytes().ends_with(b"/") || output.is_folder()?)
}

/// Results beside their originals, under names of their own.
fn beside(sources: Vec<Source>) -> Vec<Task> {
    let task = |source: Source| {
        let whole = source.place.as_os_str();
        let is_checkpoint = source.place.extension().is_some_and(|extension| extension == "safetensors");
        let mut name = source.place.file_stem().filter(|_| is_checkpoint).unwrap_or(whole).to_owned();
        name.push(FOLDED);
        Task { output: source.input.with_file_name(name), source, root: None, same_as: None }
    };
    sources.into_iter().map(task).collect()
}

pub(super) fn shown_location(location: &Location) -> String {
    shown_path(location.path())
}

pub(super) fn shown_path(path: &Path) -> String {
    shown(&path.display().to_string()).into_owned()
}

/// No result may take the place of another one, or of what is still to be read.
fn check_tasks(tasks: &[Task]) -> anyhow::Result<()> {
    let originals = tasks.iter().flat_map(|task| task.source.files.iter().map(move |file| (file, &task.source.input)));
    let originals = originals.collect::<HashMap<_, _>>();
    let mut seen = HashMap::new();
    for task in tasks {
        let input = shown_location(&task.source.input);
        for output in task.outputs() {
            if let Some(other) = seen.insert(output.absolute(), &task.source.input) {
                let (other, output) = (shown_location(other), shown_location(&output));
                let problem = format!("{other} and {input} would both be written to {output}; fold them one by one");
                return Err(UsageError(problem).into());
            }
            let stands = output.resolved()?;
            if let Some(original) = stands.as_ref().and_then(|stands| originals.get(stands)).filter(|_| tasks.len() > 1)
            {
                let (original, output) = (shown_location(original), shown_location(&output));
                let problem = format!("{output} would be written, but {original} is to be read; pass another --output");
                return Err(UsageError(problem).into());
            }
        }
    }
    Ok(())
}

/// No two files may be copied to one place, unless they are of the same bytes.
pub(crate) fn check_sidecars(sidecars: &[Sidecar]) -> Result<(), UsageError> {
    let mut seen: HashMap<&Path, &Location> = HashMap::new();
    for Sidecar { input, place } in sidecars {
        if let Some(other) = seen.insert(place, input).filter(|other| !same_content(other, input)) {
            let [a, b, place] = [other.path(), input.path(), place].map(shown_path);
            return Err(UsageError(format!(
                "{a} and {b} would both be copied to {place}; fold their folders one by one"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::destination::check_output;
    use super::*;

    #[test]
    fn outputs_stand_beside_their_inputs_unless_told_otherwise() {
        let name = |inputs: &[&str], output: Option<&str>| {
            let inputs = inputs.iter().copied().map(Location::from).collect::<Vec<_>>();
            let output = output.map(Location::from);
            check_output(&inputs, output.as_ref())?;
            let found = discover(&inputs, &Filter::default(), None)?;
            anyhow::Ok(tasks(found.sources, &inputs, output.as_ref())?)
                .map(|tasks| tasks.iter().map(|task| task.output.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(name(&["a/m.safetensors"], None).unwrap(), ["a/m.folded.safetensors"]);
        assert_eq!(name(&["m.st"], None).unwrap(), ["m.st.folded.safetensors"]);
        assert_eq!(name(&["m.safetensors"], Some("x.safetensors")).unwrap(), ["x.safetensors"]);
        assert_eq!(name(&["a/m", "a/n"], Some("out")).unwrap(), ["out/m", "out/n"]);
        assert!(name(&["a/m", "b/m"], Some("out")).unwrap_err().to_string().contains("would both be written"));
        assert!(name(&["a/m", "a/m"], None).is_err(), "the same input twice");
        assert!(name(&[".."], None).unwrap_err().to_string().contains("pass --output DIR"));
        let index = "a/m.safetensors.index.json";
        assert_eq!(name(&[index], Some("out")).unwrap(), ["out/m.safetensors.index.json"]);
        assert_eq!(name(&[index], Some("b/n.safetensors.index.json")).unwrap(), ["b/n.safetensors.index.json"]);
        assert!(name(&[index], None).unwrap_err().to_string().contains("pass --output DIR"));
    }
}
