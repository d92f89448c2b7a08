//! ZOO: from the paths that the user names to the models behind them.
//!
//! In: files, indices of sharded checkpoints, folders, and URLs of all of these. Out: [`Found`]: one source per model with its
//! place under the output folder, the other files of its repository, and what was found but cannot be a model.
//! Symlinks are followed (a Hugging Face cache is made of them), also to folders, but never in circles; nothing that is
//! not a regular file is opened. The order is that of the names, so that a run over the same tree is the same run.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::filter::Filter;
use super::found::{Found, length, source};
use super::kinds::original_of;
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::store::Location;

/// Finds the models behind `inputs`. `output` is passed over where it lies in one of the folders: results are no models
/// of the zoo.
pub fn discover(inputs: &[Location], filter: &Filter, output: Option<&Location>) -> Result<Found> {
    let mut found = Found::default();
    let output = output.map(Location::absolute);
    for input in inputs {
        if input.is_folder()? {
            // One folder: its content. One of several: under its own name, as `cp -r A B OUT` does.
            let below = if inputs.len() > 1 { PathBuf::from(name_of(input)?) } else { PathBuf::new() };
            let walk = Walk { root: input.path(), below, filter, output: output.as_ref().map(Location::path) };
            match input {
                Location::File(_) => walk.run(&mut found),
                Location::Object(folder) => walk.list(folder, &mut found),
            }
        } else if let Some(original) = original_of(input).filter(|original| inputs.contains(original)) {
            // As `*.safetensors` gives them in a folder that was folded before.
            found.notes.push(format!("{input}: passed over, by its name it is the result of {original}"));
        } else {
            found.add(input.path(), source(input.clone(), PathBuf::from(name_of(input)?), None, &length));
        }
    }
    found.settle_shards();
    found.refuse_parts(inputs);
    Ok(found)
}

/// The last component of a path; that of the real folder for `.` and `..`.
fn name_of(location: &Location) -> Result<std::ffi::OsString> {
    if let Some(name) = location.file_name() {
        return Ok(name.to_owned());
    }
    let path = location.path();
    let real = std::fs::canonicalize(path).map_err(Error::io("find", path))?;
    Ok(real.file_name().unwrap_or_else(|| OsStr::new("root")).to_owned())
}
