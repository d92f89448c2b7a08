//! ZOO: from the paths that the user names to the models behind them.
//!
//! In: files, indices of sharded checkpoints, folders, and URLs of all of these. Out: [`Found`]: one [`Source`] a model
//! with its place under the output folder, the other files of its repository, and what was found but cannot be a model.
//! Symlinks are followed (a Hugging Face cache is made of them), also to folders, but never in circles; nothing that is
//! not a regular file is opened. The order is that of the names, so that a run over the same tree is the same run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::filter::Filter;
use super::parts::{Indices, beside, index_shards, model_of_shard};
use crate::checkpoint::is_index;
use crate::error::{Error, Result};
use crate::output::FOLDED;
use crate::store::{self, Listed, Location, Object};

/// One model of a zoo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file, or the index of a sharded checkpoint.
    pub input: Location,
    /// Where its result goes, relative to the output folder.
    pub place: PathBuf,
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
    /// What should have been a model, or may hide one.
    pub failures: Vec<(PathBuf, Error)>,
    /// What was passed over, in words.
    pub notes: Vec<String>,
}

/// Finds the models behind `inputs`. `output` is passed over where it lies in one of the folders: results are no models
/// of the zoo.
pub fn discover(inputs: &[Location], filter: &Filter, output: Option<&Location>) -> Result<Found> {
    let mut found = Found::default();
    let output = output.map(Location::absolute);
    for input in inputs {
        if input.is_folder() {
            // One folder: its content. One of several: under its own name, as `cp -r A B OUT` does.
            let below = if inputs.len() > 1 { PathBuf::from(name_of(input)?) } else { PathBuf::new() };
            let walk = Walk { root: input.path(), below, filter, output: output.as_ref().map(Location::path) };
            match input {
                Location::File(_) => walk.run(&mut found),
                Location::Object(folder) => walk.list(folder, &mut found),
            }
        } else {
            found.sources.push(source(input.clone(), PathBuf::from(name_of(input)?), &length));
        }
    }
    found.settle_shards();
    found.refuse_parts(inputs);
    Ok(found)
}

impl Found {
    /// A shard belongs to one model: files that an index names are none by themselves, however they were named, and of
    /// two indices that share a shard only the first is folded.
    fn settle_shards(&mut self) {
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
    fn refuse_parts(&mut self, named: &[Location]) {
        let named = named.iter().collect::<HashSet<_>>();
        let mut known = HashMap::new();
        let failures = &mut self.failures;
        self.sources.retain(|Source { input, .. }| {
            if !named.contains(input) || is_index(input.path()) {
                return true;
            }
            let Some(index) = beside(input, &mut known).of(input) else { return true };
            let [path, index] = [input, index].map(|file| file.path().to_owned());
            failures.push((path.clone(), Error::Part { path, index }));
            false
        });
    }
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

/// What is known about a model without opening its checkpoint. Whatever is missing shows when it is opened.
fn source(input: Location, place: PathBuf, length: &dyn Fn(&Location) -> u64) -> Source {
    let shards = if is_index(input.path()) { index_shards(&input).unwrap_or_default() } else { Vec::new() };
    let mut files = vec![input.clone()];
    files.extend(shards.iter().map(|shard| input.with_file_name(shard)));
    let bytes = files.iter().map(length).sum();
    let files = files.into_iter().map(|file| file.resolved().unwrap_or(file)).collect();
    Source { input, place, shards, files, bytes }
}

fn length(file: &Location) -> u64 {
    match file {
        Location::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Location::Object(object) => store::length(object).ok().flatten().unwrap_or(0),
    }
}

/// A walk over one folder.
struct Walk<'a> {
    root: &'a Path,
    below: PathBuf,
    filter: &'a Filter,
    output: Option<&'a Path>,
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
    fn run(&self, found: &mut Found) {
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
    fn list(&self, folder: &Object, found: &mut Found) {
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
            let place = self.place(file.path());
            source(file, place, length)
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
        } else if !is_weights(path) {
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

fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"))
}

/// Whether it cannot be read like a file: a pipe, a socket, a device.
fn is_odd(file: &Location) -> bool {
    file.as_file().is_some_and(|path| !std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()))
}

/// `m.safetensors`, for `m.folded.safetensors`.
fn original_of(file: &Location) -> Option<Location> {
    let stem = file.file_name()?.to_str()?.strip_suffix(FOLDED)?;
    Some(file.with_file_name(format!("{stem}.safetensors")))
}

/// Folders in which programs keep their own: git, and Hugging Face caches, which hold contents under their hashes beside
/// the snapshots that link to them, and unfinished downloads.
fn is_internal(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match &*name {
        ".git" | ".locks" => true,
        "blobs" | ".no_exist" => path.with_file_name("snapshots").is_dir() || is_cache(path.parent()),
        "download" => path.ends_with(".cache/huggingface/download"),
        _ => false,
    }
}

/// Whether a folder is named as those of a Hugging Face cache are.
fn is_cache(folder: Option<&Path>) -> bool {
    let name = folder.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    ["models--", "datasets--", "spaces--"].iter().any(|kind| name.starts_with(kind))
}

/// Weights in formats that are not folded: a repository of folded weights must not carry them unfolded beside.
pub(super) fn is_weights(path: &Path) -> bool {
    const FORMATS: [&str; 17] = [
        "safetensors",
        "bin",
        "pt",
        "pth",
        "ckpt",
        "h5",
        "keras",
        "hdf5",
        "msgpack",
        "onnx",
        "onnx_data",
        "gguf",
        "npz",
        "tflite",
        "pb",
        "ot",
        "incomplete",
    ];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    FORMATS.contains(&&*extension) || name.starts_with("pytorch_model.bin.index") || name.starts_with(".bnfold-")
}
