//! ZOO: a walk over one folder, of this machine or of a store.
//!
//! In: a folder, what the user chose, the output's place, which is passed over. Out: what was met, put into
//! [`Found`](super::Found). Symlinks are followed, but never in circles; nothing that is not a regular file is opened. What
//! cannot be looked at is a failure: it may be a model.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::found::{Found, Sidecar, length, source};
use super::home::Home;
use super::kinds::{Kind, is_checkpoint, is_internal, is_weights, kind_of, original_of};
use super::parts::{Indices, model_of_shard};
use crate::checkpoint::is_index;
use crate::error::{Error, Result};
use crate::store::{self, Identity, Listed, Location, Object};

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
    /// The folder of this walk; `None` for a store, which has no links.
    home: Option<Home>,
    /// The folders that the walk is in, from the root down.
    above: Vec<Identity>,
}

impl Walk<'_> {
    /// Goes through a folder of this machine.
    pub(super) fn run(&self, found: &mut Found) {
        let mut met = Met::default();
        match Home::of(self.root) {
            Ok(home) => met.home = Some(home),
            Err(error) => return found.failures.push((self.root.to_owned(), error)),
        }
        self.folder(self.root, &mut met, found);
        self.settle(met, &length, found);
    }

    /// Goes through one folder, in the order of the names.
    fn folder(&self, folder: &Path, met: &mut Met, found: &mut Found) {
        let identity = std::fs::metadata(folder).and_then(|metadata| Identity::of(folder, &metadata));
        let identity = match identity.map_err(Error::io("inspect", folder)) {
            Ok(identity) => identity,
            Err(error) => return self.failed(folder, error, found),
        };
        if met.above.contains(&identity) {
            // Its content is met where the link leads to.
            let note = format!("{}: passed over, the link leads back to a folder above it", folder.display());
            return found.notes.push(note);
        }
        let names = match store::names_in(folder) {
            Ok(names) => names,
            Err(error) => return self.failed(folder, error, found),
        };
        met.above.push(identity);
        names.iter().for_each(|name| self.entry(folder.join(name), met, found));
        met.above.pop();
    }

    /// Looks at what stands at `path`.
    fn entry(&self, path: PathBuf, met: &mut Met, found: &mut Found) {
        let location = Location::File(path);
        match kind_of(&location) {
            Ok(Kind::Folder) => match self.enters(location.path()) {
                Ok(true) => self.folder(location.path(), met, found),
                Ok(false) => {}
                Err(error) => self.failed(location.path(), error, found),
            },
            Ok(Kind::Nothing) => self.nowhere(location.path(), found),
            Ok(kind) => self.file(location, kind, met, found),
            Err(error) => self.failed(location.path(), error, found),
        }
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
                self.file(Location::Object(object.clone()), Kind::File, &mut met, found);
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
        for file in files {
            let (path, place) = (file.path().to_owned(), self.place(file.path()));
            let within = self.within(&path).to_owned();
            found.add(&path, source(file, place, Some(within), length));
        }
        found.sources[before..].sort_by(|a, b| a.place.cmp(&b.place));
    }

    /// Sorts one file of the tree.
    fn file(&self, file: Location, kind: Kind, met: &mut Met, found: &mut Found) {
        let path = file.path();
        if self.is_excluded(path) && !is_index(path) {
            return;
        }
        if kind == Kind::Odd {
            if is_checkpoint(path) {
                found.notes.push(format!("{file}: passed over, it is no regular file"));
            }
        } else if is_index(path) {
            let list = if self.is_wanted(path) { &mut met.indices } else { &mut met.left_out };
            list.push(file);
        } else if is_checkpoint(path) {
            match original_of(&file).map_or(Ok(false), |original| original.exists()) {
                Ok(true) => found.notes.push(format!("{file}: passed over, by its name it is a result")),
                Ok(false) if self.is_wanted(path) => met.checkpoints.push(file),
                Ok(false) => {}
                Err(error) => self.failed(path, error, found),
            }
        } else if is_weights(path) {
            found.other_weights.push(file);
        } else {
            match met.home.as_ref().map_or(Ok(true), |home| home.holds(path)) {
                Ok(true) => found.sidecars.push(Sidecar { place: self.place(path), input: file }),
                Ok(false) => found.strays.push(file),
                Err(error) => self.failed(path, error, found),
            }
        }
    }

    /// Takes out what is a part of a model: shards that an index names, and those that should have one.
    fn claim(&self, met: &mut Met, found: &mut Found) {
        let indices = self.indices(met, found);
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

    /// Reads the indices. Of one that cannot be read nobody knows the shards: any file beside or below it may be one.
    fn indices(&self, met: &mut Met, found: &mut Found) -> Indices {
        let (mut indices, mut unread) = (Indices::default(), Vec::new());
        for index in met.indices.iter().chain(&met.left_out) {
            if let Err(error) = indices.add(index) {
                self.failed(index.path(), error, found);
                unread.push(index.clone());
            }
        }
        met.indices.retain(|index| !unread.contains(index));
        let suspect = |file: &Location| {
            let of = |index: &&Location| file.path().starts_with(index.folder().path());
            unread.iter().find(of).filter(|_| indices.naming(file).is_none())
        };
        met.checkpoints.retain(|file| {
            let Some(index) = suspect(file) else { return true };
            let [path, index] = [file, index].map(|file| file.path().to_owned());
            found.failures.push((path.clone(), Error::PerhapsPart { path, index }));
            false
        });
        indices
    }

    /// Whether the walk enters a folder.
    fn enters(&self, path: &Path) -> Result<bool> {
        if is_internal(path) || self.is_excluded(path) || !self.filter.leads_into(&self.place(path)) {
            return Ok(false);
        }
        let Some(output) = self.output else { return Ok(true) };
        let real = std::fs::canonicalize(path).map_err(Error::io("find", path))?;
        Ok(real != output)
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.filter.excludes(self.within(path))
    }

    /// Whether a checkpoint is one of those that the user chose.
    fn is_wanted(&self, path: &Path) -> bool {
        self.filter.picks(&self.place(path)) && self.filter.includes(self.within(path)) && !self.is_excluded(path)
    }

    fn within<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(self.root).unwrap_or(path)
    }

    /// What cannot be looked at, if it may be a model that the user chose.
    fn failed(&self, path: &Path, error: Error, found: &mut Found) {
        match &error {
            Error::Io { source, .. } if store::is_circle(source) => self.nowhere(path, found),
            _ if self.is_left_out(path) => {}
            _ => found.failures.push((path.to_owned(), error)),
        }
    }

    /// A link that leads nowhere; or a file that went away since its folder was listed.
    fn nowhere(&self, path: &Path, found: &mut Found) {
        if self.is_left_out(path) {
            return;
        }
        let target = std::fs::read_link(path);
        if is_checkpoint(path) || is_index(path) {
            let path = path.to_owned();
            let error = match target {
                Ok(target) => Error::DanglingLink { path: path.clone(), target },
                Err(error) => Error::io("read", &path)(error),
            };
            found.failures.push((path, error));
        } else {
            let why = if target.is_ok() { "the link leads nowhere" } else { "it went away meanwhile" };
            found.notes.push(format!("{}: passed over, {why}", path.display()));
        }
    }

    fn is_left_out(&self, path: &Path) -> bool {
        let names_model = is_checkpoint(path) || is_index(path);
        (names_model && !self.is_wanted(path)) || self.is_excluded(path)
    }
}
