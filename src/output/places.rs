//! 4 WRITE: where the files of a result go.
//!
//! In: the place of an output, and the original. Out: the place of each of its files; an error if it is named for what it is
//! not.

use super::OutputProblem;
use crate::checkpoint::{Checkpoint, is_index};
use crate::error::{Error, Result};
use crate::store::Location;

/// All files of the result at `output`, the index last.
pub fn result_files(checkpoint: &Checkpoint, output: &Location) -> Result<Vec<Location>> {
    let mut files = places(output, checkpoint)?;
    files.extend(checkpoint.index().map(|_| output.clone()));
    Ok(files)
}

/// Where the `.safetensors` files go. A reader tells an index by its name, so the output must be named for what it is.
pub(super) fn places(output: &Location, checkpoint: &Checkpoint) -> Result<Vec<Location>> {
    let refuse = |problem| Err(Error::Output { path: output.path().to_owned(), problem });
    match checkpoint.index() {
        None if is_index(output.path()) => refuse(OutputProblem::IndexName),
        None => Ok(vec![output.clone()]),
        Some(_) if !is_index(output.path()) => refuse(OutputProblem::NoIndexName),
        Some(index) => Ok(index.shards().iter().map(|shard| output.with_file_name(shard)).collect()),
    }
}
