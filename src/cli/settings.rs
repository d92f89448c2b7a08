//! From what was typed to what is done: devices are opened, outputs are named, the surroundings of a checkpoint are read.

use std::path::{Path, PathBuf};

use bnfold_gpu::Error;
use bnfold_gpu::error::shown;
use bnfold_gpu::fold::Engine;
use bnfold_gpu::plan::{EpsSettings, PlanSettings};
use serde_json::Value;

use super::arguments::{Device, PlanningArguments};
use super::console;

/// A command line that cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The longest `config.json` that is read; real ones take a few kilobytes.
const CONFIG_LIMIT: u64 = 16 << 20;

/// Opens what `--device` names.
pub(crate) fn engine(device: Device, quiet: bool) -> Result<Engine, Error> {
    match device {
        Device::Cpu => Ok(Engine::Cpu),
        Device::Auto => Ok(hardware(quiet)),
        Device::Gpu => asked_for(None),
        Device::Number(number) => asked_for(Some(number)),
    }
}

/// The best hardware adapter, or the CPU; which one, and why, is said.
#[cfg(feature = "gpu")]
fn hardware(quiet: bool) -> Engine {
    use bnfold_gpu::fold::gpu::{GpuEngine, Wanted};
    match GpuEngine::open(&Wanted::Hardware) {
        Ok(gpu) => Engine::Gpu(Box::new(gpu)),
        Err(error) => {
            if !quiet {
                match error {
                    Error::NoAdapter { reason, .. } => {
                        console::note(&format!("folding on the CPU: no hardware GPU ({reason})"))
                    }
                    error => console::warning(&format!("folding on the CPU: {error}")),
                }
            }
            Engine::Cpu
        }
    }
}

#[cfg(not(feature = "gpu"))]
fn hardware(quiet: bool) -> Engine {
    if !quiet {
        console::note("folding on the CPU: this program was built without GPU support");
    }
    Engine::Cpu
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

/// What bears on the plan of the checkpoint at `input`.
pub(crate) fn plan_settings(planning: &PlanningArguments, input: &Path, quiet: bool) -> PlanSettings {
    let eps = EpsSettings {
        for_norms: planning.eps_for.clone(),
        all: planning.eps,
        arch: planning.arch.clone(),
        config: config_beside(input, quiet),
    };
    PlanSettings { eps, evidence: planning.evidence.into() }
}

/// The `config.json` that describes `input`: one in the same folder, if `input` is what such a folder is about.
fn config_beside(input: &Path, quiet: bool) -> Option<Value> {
    let folder = match input.parent()? {
        // A name alone: the current folder, which has to have a name to be listed.
        folder if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let path = folder.join("config.json");
    let is_small_file = |metadata: &std::fs::Metadata| metadata.is_file() && metadata.len() <= CONFIG_LIMIT;
    if !std::fs::metadata(&path).is_ok_and(|metadata| is_small_file(&metadata)) {
        return None;
    }
    let name = input.file_name()?.to_string_lossy();
    // What transformers and timm call the weights of a repository: `model`, a variant, a shard.
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    let is_of_repository = stem == "model" || stem.starts_with("model.") || stem.starts_with("model-00");
    if !is_of_repository && !is_only_checkpoint(folder, input) {
        return None;
    }
    let parsed = std::fs::read(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string()));
    match parsed {
        Ok(config) => Some(config),
        Err(error) => {
            if !quiet {
                let path = path.display();
                console::warning(&format!("{path}: not read as JSON ({error}); its eps, if any, is not used"));
            }
            None
        }
    }
}

/// Whether `folder` holds no other checkpoint than `input` (and results of ours).
fn is_only_checkpoint(folder: &Path, input: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().all(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        !name.ends_with(".safetensors")
            || name.ends_with(FOLDED)
            || Some(entry.file_name().as_os_str()) == input.file_name()
    })
}

const FOLDED: &str = ".folded.safetensors";

/// Where the result of every input goes.
pub(crate) fn outputs(inputs: &[PathBuf], output: Option<&Path>) -> Result<Vec<PathBuf>, UsageError> {
    let is_folder = |output: &Path| output.is_dir() || output.as_os_str().as_encoded_bytes().ends_with(b"/");
    let into_folder = output.is_some_and(|output| is_folder(output) || inputs.len() > 1);
    let outputs = inputs.iter().map(|input| match output {
        Some(folder) if into_folder => Ok(folder.join(file_name(input)?)),
        Some(file) => Ok(file.to_owned()),
        None => {
            let whole = file_name(input)?;
            let is_checkpoint = input.extension().is_some_and(|extension| extension == "safetensors");
            let mut name = input.file_stem().filter(|_| is_checkpoint).unwrap_or(whole).to_owned();
            name.push(FOLDED);
            Ok(input.with_file_name(name))
        }
    });
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    // Folding one would replace what is still to be folded. Only regular files are opened: a FIFO would wait.
    for output in outputs.iter().filter(|output| inputs.len() > 1 && output.is_file()) {
        let is_output = |input: &&PathBuf| input.is_file() && same_file::is_same_file(input, output).unwrap_or(false);
        if let Some(input) = inputs.iter().find(is_output) {
            let (input, output) = (input.display(), output.display());
            return Err(UsageError(format!(
                "{output} would be written, but {input} is to be read; pass another --output"
            )));
        }
    }
    let mut seen = std::collections::HashMap::new();
    for (input, output) in inputs.iter().zip(&outputs) {
        if let Some(other) = seen.insert(output, input) {
            let (a, b, output) = (other.display(), input.display(), output.display());
            return Err(UsageError(format!("{a} and {b} would both be written to {output}; fold them one by one")));
        }
    }
    Ok(outputs)
}

fn file_name(input: &Path) -> Result<&std::ffi::OsStr, UsageError> {
    input.file_name().ok_or_else(|| {
        let input = input.display().to_string();
        UsageError(format!("{}: names no file", shown(&input)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_stand_beside_their_inputs_unless_told_otherwise() {
        let name = |inputs: &[&str], output: Option<&str>| {
            let inputs = inputs.iter().map(PathBuf::from).collect::<Vec<_>>();
            outputs(&inputs, output.map(Path::new))
                .map(|paths| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(name(&["a/m.safetensors"], None).unwrap(), ["a/m.folded.safetensors"]);
        assert_eq!(name(&["m.st"], None).unwrap(), ["m.st.folded.safetensors"]);
        assert_eq!(name(&["m.safetensors"], Some("x.safetensors")).unwrap(), ["x.safetensors"]);
        assert_eq!(name(&["a/m", "a/n"], Some("out")).unwrap(), ["out/m", "out/n"]);
        assert!(name(&["a/m", "b/m"], Some("out")).unwrap_err().to_string().contains("would both be written"));
        assert!(name(&["a/m", "a/m"], None).is_err(), "the same input twice");
        assert!(name(&[".."], None).is_err());
    }
}
