//! 4 WRITE: where the files of a result go.
//!
//! In: the place of an output, and the original. Out: the place of each of its files; an error if it is named for what it is
//! not, or if another model needs one of them.

use std::collections::HashSet;
use std::path::Path;

use super::OutputProblem;
use crate::checkpoint::{Checkpoint, Index, is_index};
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

/// A file that would be replaced must not be a shard that another index in the folder names: that model would be broken.
pub(super) fn check_other_indexes(output: &Location, places: &[Location]) -> Result<()> {
    for name in output.folder().names()? {
        if Some(name.as_ref()) == output.file_name() || !is_index(Path::new(&name)) {
            continue;
        }
        let other = match Index::read(output.with_file_name(&name)) {
            Ok(other) => other,
            // What is no index describes nothing; what cannot be read may describe anything.
            Err(error) if error.is_io_failure() => return Err(error),
            Err(_) => continue,
        };
        let theirs = other.shards().iter().map(|shard| output.with_file_name(shard)).collect::<HashSet<_>>();
        for place in places.iter().filter(|place| theirs.contains(*place)) {
            if place.exists()? {
                let problem = OutputProblem::InUse { index: name };
                return Err(Error::Output { path: place.path().to_owned(), problem });
            }
        }
    }
    Ok(())
}
