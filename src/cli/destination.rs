//! `--output`, before any work: whether results can go where they are to go.
//!
//! In: what was typed. Out: an error of the command line, once, where otherwise every model would fail by itself.

use std::path::PathBuf;

use bnfold_gpu::checkpoint::is_index;
use bnfold_gpu::store::Location;

use super::settings::{UsageError, is_zoo, names_folder, shown_location, shown_path};

/// Whether results can go where they are to go: known before anything is looked for, as in a folder of many files.
pub(crate) fn check_output(inputs: &[Location], output: Option<&Location>) -> anyhow::Result<()> {
    if let Some(output) = output {
        check_name(inputs, output)?;
        return check_folder(inputs, output);
    }
    for input in inputs {
        if input.is_folder()? {
            let folder = shown_location(input);
            let problem = format!("{folder}: a folder, whose results need a folder of their own; pass --output DIR");
            return Err(UsageError(problem).into());
        }
    }
    if let Some(index) = inputs.iter().find(|input| is_index(input.path())) {
        let index = shown_location(index);
        let problem = format!(
            "{index}: a sharded model is written to a folder of its own, since its shards keep their names; pass --output DIR"
        );
        return Err(UsageError(problem).into());
    }
    Ok(())
}

/// Whether the name says what will stand there: a `.safetensors` file, an index, or a folder.
fn check_name(inputs: &[Location], output: &Location) -> anyhow::Result<()> {
    let shown = shown_location(output);
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (is_file, is_index) = (name.ends_with(".safetensors"), is_index(output.path()));
    if names_folder(output)? {
        return Ok(());
    }
    let problem = match (is_zoo(inputs)?, inputs) {
        (true, _) if is_file || is_index => "names one file, and there are several models; name a folder".to_owned(),
        (true, _) => return Ok(()),
        (false, [input]) if self::is_index(input.path()) => match is_file {
            true => "names one file, and a sharded model has several; name a folder, or an index".to_owned(),
            false => return Ok(()),
        },
        _ if is_file => return Ok(()),
        _ if is_other_format(&name) => format!(
            "the result is a .safetensors file, and its name would say otherwise; pass {}.safetensors, or {shown}/ for a folder",
            output.path().with_extension("").display()
        ),
        _ if name.contains('.') || output.exists()? => return Ok(()),
        _ => format!("a file or a folder? pass {shown}.safetensors, or {shown}/ for a folder"),
    };
    Err(UsageError(format!("{shown}: {problem}")).into())
}

/// Endings of names that say that something else is in the file; others (`model.st`, `model.tmp`) say nothing.
const OTHER_FORMATS: &[&str] = &[
    "bin", "ckpt", "gguf", "gz", "h5", "hdf5", "html", "json", "keras", "mlmodel", "msgpack", "npy", "npz", "onnx",
    "pb", "pickle", "pkl", "pt", "pth", "tar", "tflite", "toml", "txt", "zip",
];

fn is_other_format(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    ending.is_some_and(|ending| OTHER_FORMATS.contains(&ending.as_str()))
}

/// Whether `output` is, or can become, a folder, if one is needed.
fn check_folder(inputs: &[Location], output: &Location) -> anyhow::Result<()> {
    let needs_one = match (is_zoo(inputs)?, inputs) {
        (true, _) => Some("several models need a folder"),
        (false, [index]) if is_index(index.path()) && !is_index(output.path()) => {
            Some("a sharded model needs a folder")
        }
        _ if names_folder(output)? => Some("the / at its end stands for a folder"),
        _ => None,
    };
    let (Some(needs_one), Some(output)) = (needs_one, output.as_file()) else { return Ok(()) };
    // The nearest place above it where there is something.
    let output = output.components().collect::<PathBuf>();
    let mut places = output.ancestors().filter(|place| !place.as_os_str().is_empty());
    let there = places.find_map(|place| Some((place, std::fs::symlink_metadata(place).ok()?)));
    let Some((place, metadata)) = there.filter(|(place, _)| !place.is_dir()) else { return Ok(()) };
    let found = match metadata.file_type() {
        kind if kind.is_file() => "a regular file",
        kind if kind.is_symlink() && !place.exists() => "a link to nowhere",
        _ => "no folder",
    };
    Err(UsageError(format!("{}: {found}; {needs_one}; pass another --output", shown_path(place))).into())
}
