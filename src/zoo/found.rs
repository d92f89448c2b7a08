//! ZOO: what lies behind the paths that the user named, as data.
//!
//! In: checkpoints and indices that were met. Out: [`Found`]: [`Source`]s and [`Sidecar`]s, of which every shard belongs to
//! one model.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::parts::{beside, index_shards};
use crate::checkpoint::is_index;
use crate::error::{Error, Result};
use crate::store::{self, Location};

/// One model of a zoo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file, or the index of a sharded checkpoint.
    pub input: Location,
    /// Where its result goes, relative to the output folder.
    pub place: PathBuf,
    /// Where it lies below the folder that the user named; `None` if it was named itself.
    pub below: Option<PathBuf>,
    /// The shards that the index names, relative to it.
    pub shards: Vec<String>,
    /// All its files, with symlinks resolved: two sources of the same files hold the same bytes.
    pub files: Vec<Location>,
    /// Their length together.
    pub bytes: u64,
}

/// A file of a repository that is no checkpoint: a configuration, a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// The file.
    pub input: Location,
    /// Where its copy goes, relative to the output folder.
    pub place: PathBuf,
}

/// What lies behind the paths that were named.
#[derive(Debug, Default)]
pub struct Found {
    /// The models, by name.
    pub sources: Vec<Source>,
    /// Everything else that makes a repository loadable.
    pub sidecars: Vec<Sidecar>,
    /// What would be one of these, but for a link that leads out of the folder that the user named.
    pub strays: Vec<Location>,
    /// Weights in formats that are not folded.
    pub other_weights: Vec<Location>,
    /// What should have been a model, or may hide one.
    pub failures: Vec<(PathBuf, Error)>,
    /// What was passed over, in words.
    pub notes: Vec<String>,
}

impl Found {
    /// Adds a model, or that it cannot be one.
    pub(super) fn add(&mut self, path: &Path, source: Result<Source>) {
        match source {
            Ok(source) => self.sources.push(source),
            Err(error) => self.failures.push((path.to_owned(), error)),
        }
    }

    /// Leaves the model whose result goes to `place`, with the sidecars that go with it. If there is none, what is no model
    /// stays: it may be why.
    pub fn keep_only(&mut self, place: &Path) {
        self.sidecars = super::sidecars::going_with(place, &self.sources, std::mem::take(&mut self.sidecars));
        self.sources.retain(|source| source.place == place);
        if !self.sources.is_empty() {
            self.failures.clear();
        }
    }

    /// A shard belongs to one model: files that an index names are none by themselves, however they were named, and of
    /// two indices that share a shard only the first is folded.
    pub(super) fn settle_shards(&mut self) {
        let mut owners: HashMap<Location, Location> = HashMap::new();
        let mut kept = Vec::with_capacity(self.sources.len());
        for source in std::mem::take(&mut self.sources) {
            let shards = source.shards.iter().map(|shard| source.input.with_file_name(shard).absolute());
            let shards = shards.collect::<Vec<_>>();
            if let Some(other) = shards.iter().find_map(|shard| owners.get(shard)) {
                let [path, other] = [&source.input, other].map(|index| index.path().to_owned());
                self.failures.push((path.clone(), Error::SharedShard { path, other }));
                continue;
            }
            owners.extend(shards.into_iter().map(|shard| (shard, source.input.clone())));
            kept.push(source);
        }
        kept.retain(|source| match owners.get(&source.input.absolute()) {
            Some(index) => {
                let part = &source.input;
                self.notes.push(format!("{part}: passed over, it is a part of the model of {index}"));
                false
            }
            None => true,
        });
        self.sources = kept;
    }

    /// A part that was named without its index, which lies beside it, is no model; by itself it would be folded silently,
    /// without the norms that stand in other parts.
    pub(super) fn refuse_parts(&mut self, named: &[Location]) {
        let named = named.iter().collect::<HashSet<_>>();
        let mut known = HashMap::new();
        let failures = &mut self.failures;
        self.sources.retain(|Source { input, .. }| {
            if !named.contains(input) || is_index(input.path()) {
                return true;
            }
            let index = match beside(input, &mut known) {
                Ok(indices) => indices.of(input),
                Err(error) => {
                    failures.push((input.path().to_owned(), error));
                    return false;
                }
            };
            let Some(index) = index else { return true };
            let [path, index] = [input, index].map(|file| file.path().to_owned());
            failures.push((path.clone(), Error::Part { path, index }));
            false
        });
    }
}

/// What is known about a model without opening its checkpoint. Whatever is missing shows when it is opened.
///
/// # Errors
///
/// What is there cannot be looked at: which files it is made of is not known.
pub(super) fn source(
    input: Location,
    place: PathBuf,
    below: Option<PathBuf>,
    length: &dyn Fn(&Location) -> u64,
) -> Result<Source> {
    let shards = if is_index(input.path()) { index_shards(&input)?.unwrap_or_default() } else { Vec::new() };
    let mut files = vec![input.clone()];
    files.extend(shards.iter().map(|shard| input.with_file_name(shard)));
    let bytes = files.iter().map(length).sum();
    let files = files.into_iter().map(|file| Ok(file.resolved()?.unwrap_or(file))).collect::<Result<_>>()?;
    Ok(Source { input, place, below, shards, files, bytes })
}

pub(super) fn length(file: &Location) -> u64 {
    match file {
        Location::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Location::Object(object) => store::length(object).ok().flatten().unwrap_or(0),
    }
}
