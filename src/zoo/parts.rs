//! ZOO: which files are parts of a sharded model.
//!
//! In: the indices of a folder, a path. Out: the index that the file belongs to. An index tells by naming it. A shard that
//! folding left without a tensor (its norms are gone) is named by none; its name and its emptiness tell.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, Index, is_index};
use crate::store::{self, absolute, index_stem};

/// The shards that an index names; `None` if it cannot be read, which shows when it is opened.
pub(super) fn index_shards(index: &Path) -> Option<Vec<String>> {
    Index::read(index).ok().map(|index| index.shards().to_vec())
}

/// Indices and what they say about the files beside them.
#[derive(Debug, Default)]
pub(super) struct Indices {
    /// Every shard's index.
    shards: HashMap<PathBuf, PathBuf>,
    /// The index of a series of shards, by the path of the model that their names say they are parts of.
    series: HashMap<PathBuf, PathBuf>,
    /// The index of a model, of those that cannot be read: only its name tells what its shards are. It fails by itself.
    broken: HashMap<PathBuf, PathBuf>,
}

impl Indices {
    /// Adds the index at that path.
    pub(super) fn add(&mut self, index: &Path) {
        let model = model_of_index(index);
        match index_shards(index) {
            None => self.broken.extend(model.map(|model| (model, index.to_owned()))),
            Some(shards) => {
                let shards = shards.iter().map(|shard| absolute(&index.with_file_name(shard))).collect::<Vec<_>>();
                let series = shards.iter().filter_map(|shard| model_of_shard(shard)).chain(model.map(|m| absolute(&m)));
                self.series.extend(series.map(|model| (model, index.to_owned())));
                self.shards.extend(shards.into_iter().map(|shard| (shard, index.to_owned())));
            }
        }
    }

    /// The index that names `path` as one of its shards.
    pub(super) fn naming(&self, path: &Path) -> Option<&Path> {
        self.shards.get(&absolute(path)).map(PathBuf::as_path)
    }

    /// The index of the series that `path` belongs to by its name, if it holds no tensor that an index could name.
    pub(super) fn left_without_tensors(&self, path: &Path) -> Option<&Path> {
        let index = self.series.get(&model_of_shard(&absolute(path))?)?;
        Checkpoint::open(path).is_ok_and(|shard| shard.tensors().is_empty()).then_some(index)
    }

    /// The index of the model at `model`, if it cannot be read.
    pub(super) fn broken(&self, model: &Path) -> Option<&Path> {
        self.broken.get(model).map(PathBuf::as_path)
    }

    /// The index of which `path` is a part, as far as can be told.
    pub(super) fn of(&self, path: &Path) -> Option<&Path> {
        let by_name = || model_of_shard(path).and_then(|model| self.broken(&model));
        self.naming(path).or_else(|| self.left_without_tensors(path)).or_else(by_name)
    }
}

/// The indices in the folder of `path`; `known` are those of folders that were looked at before. A store is not listed for
/// it, since that lists everything below: only the index that a shard of this name usually has is looked for.
pub(super) fn beside<'a>(path: &Path, known: &'a mut HashMap<PathBuf, Indices>) -> &'a Indices {
    let is_url = store::is_url(path);
    let key = match is_url {
        true => model_of_shard(path).unwrap_or_default(),
        false => path.parent().unwrap_or(Path::new("")).to_owned(),
    };
    known.entry(key).or_insert_with_key(|key| {
        let mut indices = Indices::default();
        let folder = if key.as_os_str().is_empty() { Path::new(".") } else { key };
        match is_url {
            true => {
                let index = PathBuf::from(format!("{}.index.json", key.display()));
                if !key.as_os_str().is_empty() && store::exists(&index).unwrap_or(false) {
                    indices.add(&index);
                }
            }
            false => {
                let names = store::names_in(folder).unwrap_or_default().into_iter().map(PathBuf::from);
                names.filter(|name| is_index(name)).for_each(|name| indices.add(&path.with_file_name(name)));
            }
        }
        indices
    })
}

/// The path of the model that an index is of, by its name alone.
fn model_of_index(path: &Path) -> Option<PathBuf> {
    let stem = index_stem(path)?;
    Some(path.with_file_name(format!("{stem}.safetensors")))
}

/// The path of the model that `stem-00001-of-00003.safetensors` is a part of.
pub(super) fn model_of_shard(path: &Path) -> Option<PathBuf> {
    let stem = path.file_stem()?.to_str()?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let digits = |text: &str| (text.len() >= 5).then(|| text.parse::<u32>().ok()).flatten();
    let (_, count) = (digits(number)?, digits(count)?);
    (count > 1).then(|| path.with_file_name(format!("{stem}.safetensors")))
}
