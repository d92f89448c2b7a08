//! 4 WRITE: whether an output may stand where it is to go.
//!
//! In: a location, and the original. Out: an error if it is the original itself, or something that is not replaced. Shards
//! without their index may be what a killed run has left of this very result: that is found out when they are compared.

use std::path::Path;

use super::destination::Destination;
use super::{OutputProblem, Replace};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::store::{self, Location, Object};

/// Whether all files of the output for `input` may stand at their places. `length` says how long each of the `shards` will
/// be.
pub(super) fn check_all_free(
    destination: Destination<'_>,
    shards: &[Location],
    length: &dyn Fn(usize) -> Result<u64>,
    input: &Checkpoint,
) -> Result<()> {
    let Destination { at, replace, same, .. } = destination;
    let is_settled = |place: &Location| match check_free(place, replace, input) {
        // Asked in this order: a file that another run puts there between two questions must be seen by the second.
        Err(Error::OutputExists { .. }) => Ok(same.is_some_and(|same| same(place))),
        free => free.map(|()| true),
    };
    let exists = |place: &Location| Error::OutputExists { path: place.path().to_owned() };
    let is_sharded = input.index().is_some();
    if is_sharded && !is_settled(at)? {
        return Err(exists(at));
    }
    for (number, place) in shards.iter().enumerate() {
        if is_settled(place)? || (is_sharded && has_length(place, length(number)?)?) {
            continue;
        }
        return Err(if is_sharded { unfinished(place, shards)? } else { exists(place) });
    }
    Ok(())
}

/// Whether a file of this length stands there.
fn has_length(place: &Location, bytes: u64) -> Result<bool> {
    let Location::File(path) = place else { return Ok(false) };
    Ok(store::standing(path)?.is_some_and(|metadata| metadata.is_file() && metadata.len() == bytes))
}

/// Why a shard that is there is not replaced, and not counted on either.
fn unfinished(place: &Location, shards: &[Location]) -> Result<Error> {
    let mut there = 0;
    for shard in shards {
        there += usize::from(shard.exists()?);
    }
    let problem = OutputProblem::Unfinished { there, all: shards.len() };
    Ok(Error::Output { path: place.path().to_owned(), problem })
}

/// Whether a file of the output for `input` may stand at `location`.
fn check_free(location: &Location, replace: Replace, input: &Checkpoint) -> Result<()> {
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
        return Err(match metadata.is_file() && metadata.len() == 0 {
            true => Error::Output { path: path.to_owned(), problem: OutputProblem::Empty },
            false => Error::OutputExists { path: path.to_owned() },
        });
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
