//! From what was typed to what is done: devices are opened, outputs are named, the surroundings of a checkpoint are read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use bnfold_gpu::Error;
use bnfold_gpu::checkpoint::{InputFile, is_index};
use bnfold_gpu::fold::Engine;
use bnfold_gpu::output::FOLDED;
use bnfold_gpu::plan::{EpsSettings, PlanSettings};
use bnfold_gpu::store::{Location, index_stem};
use bnfold_gpu::text::shown;
use bnfold_gpu::zoo::{Filter, Found, Sidecar, Source, Task, discover, same_content};
use globset::{Glob, GlobSetBuilder};
use serde_json::Value;

use super::arguments::{PlanningArguments, SelectionArguments};
use super::console;
use super::values::Device;

/// A command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The longest `config.json` that is read; real ones take a few kilobytes.
const CONFIG_LIMIT: u64 = 16 << 20;

/// Opens what `--device` names, to fold `bytes` bytes of checkpoints; nothing stands for the CPU.
pub(crate) fn engines(device: &Device, bytes: u64, quiet: bool) -> Result<Vec<Engine>, Error> {
    match device {
        Device::Cpu => Ok(Vec::new()),
        Device::Auto => Ok(quicker(bytes, quiet).into_iter().collect()),
        Device::Gpu => Ok(vec![asked_for(None)?]),
        Device::Numbers(numbers) => numbers.iter().map(|&number| asked_for(Some(number))).collect(),
    }
}

/// What is quicker for `bytes` bytes, the best hardware adapter or the CPU; which one, and why, is said.
#[cfg(feature = "gpu")]
fn quicker(bytes: u64, quiet: bool) -> Option<Engine> {
    use bnfold_gpu::fold::choice::{Choice, choose};
    use bnfold_gpu::fold::gpu::{GpuEngine, Wanted, adapters, pick};
    let best = || {
        let mut adapters = adapters();
        match pick(&adapters, &Wanted::Hardware) {
            Ok(number) => Ok(adapters.swap_remove(number)),
            Err(Error::NoAdapter { reason, .. }) => Err(reason),
            Err(error) => Err(error.to_string()),
        }
    };
    let say = |text: &str| {
        if !quiet {
            console::note(text)
        }
    };
    match choose(bytes, best) {
        Choice::Cpu { reason } => say(&format!("folding on the CPU: {reason}")),
        Choice::Gpu { number, reason } => match GpuEngine::open(&Wanted::Number(number)) {
            Ok(gpu) => {
                say(&format!("folding on the GPU: {reason}"));
                return Some(Engine::Gpu(Box::new(gpu)));
            }
            Err(error) if !quiet => console::warning(&format!("folding on the CPU: {error}")),
            Err(_) => {}
        },
    }
    None
}

#[cfg(not(feature = "gpu"))]
fn quicker(_: u64, quiet: bool) -> Option<Engine> {
    if !quiet {
        console::note("folding on the CPU: this program was built without GPU support");
    }
    None
}

#[cfg(feature = "gpu")]
fn asked_for(number: Option<usize>) -> Result<Engine, Error> {
    use bnfold_gpu::fold::gpu::{GpuEngine, Wanted};
    let wanted = number.map_or(Wanted::Any, Wanted::Number);
    Ok(Engine::Gpu(Box::new(GpuEngine::open(&wanted)?)))
}

#[cfg(not(feature = "gpu"))]
fn asked_for(number: Option<usize>) -> Result<Engine, Error> {
    let wanted = number.map_or("gpu".to_owned(), |number| format!("gpu:{number}"));
    Err(Error::NoAdapter { wanted, reason: "this program was built without the feature `gpu`".to_owned() })
}

/// A checkpoint, and what its surroundings are judged by.
pub(crate) struct Surroundings<'a> {
    /// Where it is.
    pub(crate) input: &'a Location,
    /// Where its result is or will be.
    pub(crate) result: Option<&'a Location>,
    /// Whether it is one of several models that are folded together.
    pub(crate) is_one_of_several: bool,
}

/// What bears on the plan of a checkpoint.
pub(crate) fn plan_settings(
    planning: &PlanningArguments,
    surroundings: &Surroundings<'_>,
    quiet: bool,
) -> PlanSettings {
    let eps = EpsSettings {
        for_norms: planning.eps_for.clone(),
        all: planning.eps,
        arch: planning.arch.clone(),
        config: config_beside(surroundings, quiet),
    };
    let is_one_of_several = surroundings.is_one_of_several;
    PlanSettings { eps, evidence: planning.evidence.into(), is_one_of_several, ..PlanSettings::default() }
}

/// The `config.json` that describes a checkpoint: one in the same folder, if the checkpoint is what such a folder is about.
fn config_beside(surroundings: &Surroundings<'_>, quiet: bool) -> Option<Value> {
    let input = surroundings.input;
    let name = input.file_name()?.to_string_lossy();
    let config = input.folder().join("config.json");
    let file = match InputFile::open(&config) {
        Ok(file) => file,
        Err(Error::Io { source, .. }) if source.kind() != std::io::ErrorKind::NotFound => {
            return ignored(&config, &format!("cannot be read ({source})"), quiet);
        }
        Err(_) => return None,
    };
    if file.bytes() > CONFIG_LIMIT {
        return None;
    }
    // What transformers and timm call the weights of a repository: `model`, a variant, a shard.
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    let is_of_repository = stem == "model" || stem.starts_with("model.") || stem.starts_with("model-00");
    if !is_of_repository && let Some(other) = another_checkpoint(surroundings) {
        return ignored(&config, &format!("may be that of {other}, which lies beside it too"), quiet);
    }
    let parsed = file
        .read_whole()
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string()));
    match parsed {
        Ok(config) => Some(config),
        Err(error) => ignored(&config, &format!("not read as JSON ({error})"), quiet),
    }
}

/// Says that a configuration is passed over.
fn ignored(config: &Location, why: &str, quiet: bool) -> Option<Value> {
    if !quiet {
        console::warning(&format!("{config}: {why}; its eps, if any, is not used"));
    }
    None
}

/// A checkpoint in the same folder that is neither the input nor its shard if that is an index, and no result of ours.
fn another_checkpoint(Surroundings { input, result, .. }: &Surroundings<'_>) -> Option<String> {
    let stem = index_stem(input.path()).filter(|_| is_index(input.path()));
    // `model-00001-of-00002.safetensors`, or with a variant `model.fp16-00001-of-00002.safetensors`.
    let is_own_shard = |name: &str| {
        let rest = stem.as_ref().and_then(|stem| name.strip_prefix(stem.as_str()));
        rest.is_some_and(|rest| rest.starts_with(['-', '.']))
    };
    let folder = input.folder();
    let is_result = |name: &str| {
        let is_there =
            |result: &Location| folder.join(name).resolved().is_some_and(|file| result.resolved() == Some(file));
        name.ends_with(FOLDED) || result.is_some_and(is_there)
    };
    let is_other = |name: &String| {
        let is_input = Some(OsStr::new(name)) == input.file_name();
        name.ends_with(".safetensors") && !is_input && !is_own_shard(name) && !is_result(name)
    };
    folder.names().ok()?.into_iter().find(is_other)
}

/// The models behind `inputs`; what was passed over is said. That there is none is an error of the command line.
pub(crate) fn find(
    inputs: &[Location],
    selection: &SelectionArguments,
    output: Option<&Location>,
    quiet: bool,
) -> anyhow::Result<Found> {
    let found = discover(inputs, &filter(selection)?, output)?;
    if !quiet {
        found.notes.iter().for_each(|text| console::note(text));
    }
    if found.sources.is_empty() && found.failures.is_empty() {
        let inputs = inputs.iter().map(shown_location).collect::<Vec<_>>().join(", ");
        let which = if selection.include.is_empty() { "" } else { " that --include names" };
        return Err(UsageError(format!("no .safetensors file{which} in {inputs}")).into());
    }
    Ok(found)
}

/// Whether several models are meant, of which some may be done already.
pub(crate) fn is_zoo(inputs: &[Location]) -> bool {
    inputs.len() > 1 || inputs.iter().any(Location::is_folder)
}

/// What `--include` and `--exclude` say.
fn filter(selection: &SelectionArguments) -> Result<Filter, UsageError> {
    let set = |globs: &[Glob]| {
        let mut set = GlobSetBuilder::new();
        globs.iter().for_each(|glob| {
            set.add(glob.clone());
        });
        set.build().map_err(|error| UsageError(error.to_string()))
    };
    Ok(Filter { include: set(&selection.include)?, exclude: set(&selection.exclude)? })
}

/// The models, each with the place of its result.
pub(crate) fn tasks(
    sources: Vec<Source>,
    inputs: &[Location],
    output: Option<&Location>,
) -> Result<Vec<Task>, UsageError> {
    let tasks = match output {
        // A single model has a name of its own for its result, unless it is a folder's; shards keep their names, so that
        // only the name of an index can be given for a sharded one.
        Some(file) if !is_zoo(inputs) && !names_folder(file) && is_name_of_result(file, &inputs[0]) => {
            let sources = sources.into_iter();
            sources.map(|source| Task { source, output: file.clone(), make_folder: false, same_as: None }).collect()
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

pub(crate) fn names_folder(output: &Location) -> bool {
    output.is_folder() || output.path().as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Results beside their originals, under names of their own.
fn beside(sources: Vec<Source>) -> Vec<Task> {
    let task = |source: Source| {
        let whole = source.place.as_os_str();
        let is_checkpoint = source.place.extension().is_some_and(|extension| extension == "safetensors");
        let mut name = source.place.file_stem().filter(|_| is_checkpoint).unwrap_or(whole).to_owned();
        name.push(FOLDED);
        Task { output: source.input.with_file_name(name), source, make_folder: false, same_as: None }
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
fn check_tasks(tasks: &[Task]) -> Result<(), UsageError> {
    let originals = tasks.iter().flat_map(|task| task.source.files.iter().map(move |file| (file, &task.source.input)));
    let originals = originals.collect::<HashMap<_, _>>();
    let mut seen = HashMap::new();
    for task in tasks {
        let input = shown_location(&task.source.input);
        for output in task.outputs() {
            if let Some(other) = seen.insert(output.absolute(), &task.source.input) {
                let (other, output) = (shown_location(other), shown_location(&output));
                return Err(UsageError(format!(
                    "{other} and {input} would both be written to {output}; fold them one by one"
                )));
            }
            let stands = output.resolved();
            if let Some(original) = stands.as_ref().and_then(|stands| originals.get(stands)).filter(|_| tasks.len() > 1)
            {
                let (original, output) = (shown_location(original), shown_location(&output));
                return Err(UsageError(format!(
                    "{output} would be written, but {original} is to be read; pass another --output"
                )));
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
            let found = discover(&inputs, &Filter::default(), None).map_err(|error| UsageError(error.to_string()))?;
            tasks(found.sources, &inputs, output.as_ref())
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
