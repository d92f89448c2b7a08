//! 4 WRITE: whether an output may stand where it is to go.
//!
//! In: a location, and the original. Out: an error if it is the original itself, or something that is not replaced.

use std::path::Path;

use super::{OutputProblem, Replace};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::store::{self, Location, Object};

/// Whether a file of the output for `input` may stand at `location`.
pub(super) fn check_free(location: &Location, replace: Replace, input: &Checkpoint) -> Result<()> {
    match location {
        Location::File(path) => check_free_file(path, replace, input),
        Location::Object(object) => check_free_object(object, replace, input),
    }
}

fn check_free_file(path: &Path, replace: Replace, input: &Checkpoint) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // A name that is too long, a parent that is no folder: better said now than after the work.
        Err(error) => return Err(Error::io("write", path)(error)),
    };
    // The comparison may open the file, and opening a FIFO would wait for its other end.
    if store::target(path)?.is_some_and(|metadata| metadata.is_file()) {
        for file in inputs(input).filter_map(Location::as_file) {
            if store::is_same_file(path, file)? {
                return Err(is_input(path, input));
            }
        }
    }
    if replace == Replace::Never {
        return Err(Error::OutputExists { path: path.to_owned() });
    }
    if metadata.is_file() || metadata.is_symlink() {
        return Ok(());
    }
    let found = if metadata.is_dir() { "a folder" } else { "a FIFO, socket or device" };
    Err(Error::Output { path: path.to_owned(), problem: OutputProblem::NotAFile { found } })
}

fn check_free_object(object: &Object, replace: Replace, input: &Checkpoint) -> Result<()> {
    store::check_writable(object)?;
    let exists = store::length(object)?.is_some();
    if inputs(input).filter_map(Location::as_object).any(|input| store::is_same(object, input)) {
        return Err(is_input(object.path(), input));
    }
    match exists && replace == Replace::Never {
        true => Err(Error::OutputExists { path: object.path().to_owned() }),
        false => Ok(()),
    }
}

/// All files of the original.
fn inputs(input: &Checkpoint) -> impl Iterator<Item = &Location> {
    input.shards().iter().map(|shard| shard.file.location()).chain([input.location()])
}

fn is_input(path: &Path, input: &Checkpoint) -> Error {
    let problem = match input.index() {
        Some(_) => OutputProblem::IsInputShard,
        None => OutputProblem::IsInput,
    };
    Error::Output { path: path.to_owned(), problem }
}
