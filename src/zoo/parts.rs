//! ZOO: which files are parts of a sharded model.
//!
//! In: the indices of a folder, a file. Out: the index that the file belongs to. An index tells by naming it. A shard that
//! folding left without a tensor (its norms are gone) is named by none; its name and its emptiness tell.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use crate::checkpoint::{Checkpoint, Index, is_index};
use crate::error::Result;
use crate::store::{Location, index_stem};

/// The shards that an index names; `None` if it is none, which shows when it is opened.
///
/// # Errors
///
/// It cannot be read: any file beside it may be its shard.
pub(super) fn index_shards(index: &Location) -> Result<Option<Vec<String>>> {
    match Index::read(index) {
        Ok(index) => Ok(Some(index.shards().to_vec())),
        Err(error) if error.is_io_failure() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Indices and what they say about the files beside them.
#[derive(Debug, Default)]
pub(super) struct Indices {
    /// Every shard's index.
    shards: HashMap<Location, Location>,
    /// The index of a series of shards, by the model that their names say they are parts of.
    series: HashMap<Location, Location>,
    /// The index of a model, of those that cannot be read: only its name tells what its shards are. It fails by itself.
    broken: HashMap<Location, Location>,
}

impl Indices {
    /// Adds an index.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn add(&mut self, index: &Location) -> Result<()> {
        let model = model_of_index(index);
        match index_shards(index)? {
            None => self.broken.extend(model.map(|model| (model, index.clone()))),
            Some(shards) => {
                let shards = shards.iter().map(|shard| index.with_file_name(shard).absolute()).collect::<Vec<_>>();
                let series = shards.iter().filter_map(model_of_shard).chain(model.map(|model| model.absolute()));
                self.series.extend(series.map(|model| (model, index.clone())));
                self.shards.extend(shards.into_iter().map(|shard| (shard, index.clone())));
            }
        }
        Ok(())
    }

    /// The index that names `file` as one of its shards.
    pub(super) fn naming(&self, file: &Location) -> Option<&Location> {
        self.shards.get(&file.absolute())
    }

    /// The index of the series that `file` belongs to by its name, if it holds no tensor that an index could name.
    pub(super) fn left_without_tensors(&self, file: &Location) -> Option<&Location> {
        let index = self.series.get(&model_of_shard(&file.absolute())?)?;
        Checkpoint::open(file).is_ok_and(|shard| shard.tensors().is_empty()).then_some(index)
    }

    /// The index of that model, if it cannot be read.
    pub(super) fn broken(&self, model: &Location) -> Option<&Location> {
        self.broken.get(model)
    }

    /// The index of which `file` is a part, as far as can be told.
    pub(super) fn of(&self, file: &Location) -> Option<&Location> {
        let by_name = || model_of_shard(file).and_then(|model| self.broken(&model));
        self.naming(file).or_else(|| self.left_without_tensors(file)).or_else(by_name)
    }
}

/// Indices that were read, by the folder they are in; in a store, which has none, by the model.
pub(super) type Known = HashMap<Option<Location>, Indices>;

/// The indices in the folder of `file`; `known` are those of folders that were looked at before. A store is not listed for
/// it, since that lists everything below: only the index that a shard of this name usually has is looked for.
///
/// # Errors
///
/// The folder or an index in it cannot be read: `file` may be a part of that model.
pub(super) fn beside<'a>(file: &Location, known: &'a mut Known) -> Result<&'a Indices> {
    let key = match file {
        Location::File(_) => Some(file.folder()),
        Location::Object(_) => model_of_shard(file),
    };
    match known.entry(key) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(free) => {
            let indices = indices_beside(file, free.key().as_ref())?;
            Ok(free.insert(indices))
        }
    }
}

fn indices_beside(file: &Location, key: Option<&Location>) -> Result<Indices> {
    let mut indices = Indices::default();
    match key {
        Some(folder @ Location::File(_)) => {
            // The folder of a file that is named and not there is missed when the file is opened.
            let names = if folder.exists()? { folder.names()? } else { Vec::new() };
            let mut names = names.into_iter().filter(|name| is_index(Path::new(name)));
            names.try_for_each(|name| indices.add(&file.with_file_name(name)))?;
        }
        Some(model) => {
            if let Some(index) = index_of_model(model)
                && index.exists()?
            {
                indices.add(&index)?;
            }
        }
        None => {}
    }
    Ok(indices)
}

/// The model that an index is of, by its name alone.
fn model_of_index(index: &Location) -> Option<Location> {
    Some(index.with_file_name(format!("{}.safetensors", index_stem(index.path())?)))
}

/// The usual index of a model: `m.safetensors.index.json`, for `m.safetensors`.
fn index_of_model(model: &Location) -> Option<Location> {
    Some(model.with_file_name(format!("{}.index.json", model.file_name()?.to_str()?)))
}

/// The model that `stem-00001-of-00003.safetensors` is a part of.
pub(super) fn model_of_shard(shard: &Location) -> Option<Location> {
    let stem = shard.path().file_stem()?.to_str()?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| (text.len() >= 5).then(|| text.parse::<u32>().ok()).flatten();
    let (_, count) = (digits(number)?, digits(count)?);
    (count > 1).then(|| shard.with_file_name(format!("{stem}.safetensors")))
}
