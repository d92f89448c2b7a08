//! ZOO: a walk over one folder, of this machine or of a store.
//!
//! In: a folder, what the user chose, the output's place, which is passed over. Out: what was met, put into
//! [`Found`](super::Found). Symlinks are followed, but never in circles; nothing that is not a regular file is opened.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::filter::Filter;
use super::found::{Found, Sidecar, length, source};
use super::kinds::{is_checkpoint, is_internal, is_odd, is_weights, original_of};
use super::parts::{Indices, model_of_shard};
use crate::checkpoint::is_index;
use crate::error::Error;
use crate::store::{self, Listed, Location, Object};

/// A walk over one folder.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) below: PathBuf,
    pub(super) filter: &'a Filter,
    pub(super) output: Option<&'a Path>,
}

/// What a walk has met, before it is known what belongs together.
#[derive(Default)]
struct Met {
    checkpoints: Vec<Location>,
    indices: Vec<Location>,
    /// Indices that the user left out; their shards are no models all the same.
    left_out: Vec<Location>,
}

impl Walk<'_> {
    /// Goes through a folder of this machine.
    pub(super) fn run(&self, found: &mut Found) {
        let mut met = Met::default();
        let walk = WalkDir::new(self.root).follow_links(true).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|entry| self.enters(entry)) {
            match entry {
                Err(error) => self.odd(&error, found),
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => self.file(Location::File(entry.into_path()), &mut met, found),
            }
        }
        self.settle(met, &length, found);
    }

    /// Goes through everything below a URL.
    pub(super) fn list(&self, folder: &Object, found: &mut Found) {
        let listed = match store::list(folder) {
            Ok(listed) => listed,
            Err(error) => return found.failures.push((self.root.to_owned(), error)),
        };
        let is_entered = |path: &Path| {
            let mut folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
            folders.all(|folder| Some(folder) != self.output && !is_internal(folder) && !self.is_excluded(folder))
        };
        let (mut met, mut lengths) = (Met::default(), HashMap::new());
        for Listed { object, bytes } in listed {
            if is_entered(object.path()) {
                self.file(Location::Object(object.clone()), &mut met, found);
            }
            lengths.insert(Location::Object(object), bytes);
        }
        self.settle(met, &|file| lengths.get(file).copied().unwrap_or(0), found);
    }

    /// Makes sources of what was met.
    fn settle(&self, mut met: Met, length: &dyn Fn(&Location) -> u64, found: &mut Found) {
        let before = found.sources.len();
        self.claim(&mut met, found);
        let files = met.checkpoints.into_iter().chain(met.indices);
        found.sources.extend(files.map(|file| {
            let (place, within) = (self.place(file.path()), self.within(file.path()).to_owned());
            source(file, place, Some(within), length)
        }));
        found.sources[before..].sort_by(|a, b| a.place.cmp(&b.place));
    }

    /// Sorts one file of the tree.
    fn file(&self, file: Location, met: &mut Met, found: &mut Found) {
        let path = file.path();
        if self.is_excluded(path) && !is_index(path) {
            return;
        }
        if is_odd(&file) {
            if is_checkpoint(path) {
                found.notes.push(format!("{file}: passed over, it is no regular file"));
            }
        } else if is_index(path) {
            let list = if self.is_wanted(path) { &mut met.indices } else { &mut met.left_out };
            list.push(file);
        } else if is_checkpoint(path) {
            match original_of(&file).filter(|original| original.exists().unwrap_or(false)) {
                Some(_) => found.notes.push(format!("{file}: passed over, by its name it is a result")),
                None if self.is_wanted(path) => met.checkpoints.push(file),
                None => {}
            }
        } else if is_weights(path) {
            found.other_weights.push(file);
        } else {
            found.sidecars.push(Sidecar { place: self.place(path), input: file });
        }
    }

    /// Takes out what is a part of a model: shards that an index names, and those that should have one.
    fn claim(&self, met: &mut Met, found: &mut Found) {
        let mut indices = Indices::default();
        met.indices.iter().chain(&met.left_out).for_each(|index| indices.add(index));
        let (mut orphans, mut empty): (BTreeMap<Location, Vec<Location>>, Vec<Location>) = Default::default();
        met.checkpoints.retain(|file| match (indices.naming(file), model_of_shard(file)) {
            (Some(_), _) => false,
            (None, Some(model)) => {
                match indices.left_without_tensors(file) {
                    Some(_) => empty.push(file.clone()),
                    None => orphans.entry(model).or_default().push(file.clone()),
                }
                false
            }
            (None, None) => true,
        });
        let passed = |file: Location| format!("{file}: passed over, a shard without tensors");
        found.notes.extend(empty.into_iter().map(passed));
        for (model, shards) in orphans.into_iter().filter(|(model, _)| indices.broken(model).is_none()) {
            let error = Error::Orphans { path: shards[0].path().to_owned(), shards: shards.len() };
            found.failures.push((model.path().to_owned(), error));
        }
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.below.join(self.within(path))
    }

    /// Whether the walk enters a folder or looks at a file.
    fn enters(&self, entry: &DirEntry) -> bool {
        if !entry.file_type().is_dir() || entry.depth() == 0 {
            return true;
        }
        let path = entry.path();
        let is_output = self.output.is_some_and(|output| std::fs::canonicalize(path).is_ok_and(|path| path == output));
        !is_output && !is_internal(path) && !self.is_excluded(path)
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.filter.excludes(self.within(path))
    }

    /// Whether a checkpoint is one of those that the user chose.
    fn is_wanted(&self, path: &Path) -> bool {
        self.filter.includes(self.within(path)) && !self.is_excluded(path)
    }

    fn within<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.root).unwrap_or(path)
    }

    /// What the walk cannot enter or follow.
    fn odd(&self, error: &walkdir::Error, found: &mut Found) {
        let path = error.path().unwrap_or(self.root).to_owned();
        let names_model = is_checkpoint(&path) || is_index(&path);
        if (names_model && !self.is_wanted(&path)) || self.is_excluded(&path) {
            return;
        }
        if error.loop_ancestor().is_some() {
            // Its content is met where the link leads to.
            found.notes.push(format!("{}: passed over, the link leads back to a folder above it", path.display()));
            return;
        }
        let target = std::fs::read_link(&path).ok().filter(|_| !path.exists());
        let failure = match target {
            Some(_) if !names_model => {
                return found.notes.push(format!("{}: passed over, the link leads nowhere", path.display()));
            }
            Some(target) => Error::DanglingLink { path: path.clone(), target },
            None => {
                let code = error.io_error().and_then(std::io::Error::raw_os_error);
                let source = code.map_or_else(|| ErrorKind::Other.into(), std::io::Error::from_raw_os_error);
                Error::Io { action: "read", path: path.clone(), source }
            }
        };
        found.failures.push((path, failure));
    }
}
