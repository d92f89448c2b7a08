//! 4 WRITE: all files of an output: one, or shards and their index; they appear together or not at all.
//!
//! In: where the output goes, the original, the layout. Out: open files to write tensors to, and in the end the files
//! under their names. The shards of a sharded model stand beside its index under their own names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::index::index_text;
use super::layout::{Layout, ShardLayout};
use super::target::{Replace, Target, check_free};
use super::temporary::folder_of;
use super::unfolded::write_unfolded;
use super::{OutputProblem, commit, header_bytes};
use crate::checkpoint::{Checkpoint, INDEX_LIMIT, Index, is_index};
use crate::error::{Error, Result};
use crate::fold::{FoldOptions, FoldedLayer, Place};
use crate::store::{Location, Same};

/// Where an output goes, and what may stand there already.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The file, or the index if the original is sharded.
    pub at: &'a Location,
    /// What becomes of files that exist.
    pub replace: Replace,
    /// Which of these stay, whatever `replace` says.
    pub same: Same<'a>,
}

/// The files of an output under way.
#[derive(Debug)]
pub struct Files {
    shards: Vec<Shard>,
    index: Option<Target>,
    folders: NewFolders,
    replace: Replace,
}

/// A `.safetensors` file under way.
#[derive(Debug)]
struct Shard {
    target: Target,
    /// Where its data section begins.
    data: u64,
    bytes: u64,
}

impl Files {
    /// Checks that the output may be written and opens its files.
    pub fn create(
        destination: Destination<'_>,
        checkpoint: &Checkpoint,
        layout: &Layout,
        layers: &[FoldedLayer<'_>],
    ) -> Result<Files> {
        let Destination { at: output, replace, same } = destination;
        let places = places(output, checkpoint)?;
        let index = checkpoint.index();
        for place in index.map(|_| output).into_iter().chain(&places) {
            // Asked in this order: a file that another run puts there between two questions must be seen by the second.
            match check_free(place, replace, checkpoint) {
                Err(Error::OutputExists { .. }) if same.is_some_and(|same| same(place)) => {}
                free => free?,
            }
        }
        if replace == Replace::Always {
            check_other_indexes(output, &places)?;
        }
        let folders = NewFolders::create(&output.folder(), &places)?;
        let shards = places.iter().zip(&layout.shards).map(|(place, layout)| Shard::create(place, layout));
        let shards = shards.collect::<Result<Vec<_>>>().map_err(|error| error.among(places.len()))?;
        let index = index.map(|index| create_index(output, checkpoint, index, layout, layers)).transpose()?;
        Ok(Files { shards, index, folders, replace })
    }

    /// Size of the `.safetensors` files together.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// Writes everything that needs no folding.
    pub fn write_unfolded(&self, checkpoint: &Checkpoint, layout: &Layout, options: FoldOptions<'_>) -> Result<()> {
        let mut shards = self.shards.iter().zip(&layout.shards);
        shards.try_for_each(|(Shard { target, data, .. }, layout)| {
            write_unfolded(checkpoint, layout, *data, target, options)
        })
    }

    /// Writes bytes of a tensor, from byte `offset` of it on.
    pub fn write_at(&self, place: Place, offset: u64, bytes: &[u8]) -> Result<()> {
        let Shard { target, data, .. } = &self.shards[place.shard];
        target.write_at(data + place.begin + offset, bytes)
    }

    /// Gives the finished files their names, the index last. They are read back and checked, and flushed to disk if `sync`.
    /// An upload stops when it is `cancelled`.
    pub fn commit(self, same: Same<'_>, sync: bool, cancelled: &AtomicBool) -> Result<()> {
        // Bound first, so dropped last: folders can go only when nothing is in them.
        let mut folders = self.folders;
        let Files { shards, index, replace, .. } = self;
        for Shard { target, .. } in &shards {
            target.finish(sync)?;
            target.check_readable()?;
        }
        index.iter().try_for_each(|index| index.finish(sync))?;
        // A model that failed meanwhile may have taken a folder back that both made.
        for path in shards.iter().filter_map(|shard| shard.target.location.as_file()) {
            std::fs::create_dir_all(folder_of(path)).map_err(Error::io("create the folder of", path))?;
        }
        commit::sync_folders(&folders.0, sync)?;
        let count = shards.len();
        let targets = shards.into_iter().map(|shard| shard.target).chain(index).collect();
        commit::name_all(targets, replace, same, sync, cancelled).map_err(|error| error.among(count))?;
        folders.keep();
        Ok(())
    }
}

impl Shard {
    /// Opens the file for `location` and writes its header.
    fn create(location: &Location, layout: &ShardLayout) -> Result<Shard> {
        let header = header_bytes(location.path(), layout.metadata.as_ref(), &layout.entries)?;
        let data = header.len() as u64;
        let bytes = data + layout.data_bytes();
        let target = Target::create(location, bytes)?;
        target.write_at(0, &header)?;
        Ok(Shard { target, data, bytes })
    }
}

/// Writes the index, which is small, at once.
fn create_index(
    output: &Location,
    checkpoint: &Checkpoint,
    index: &Index,
    layout: &Layout,
    layers: &[FoldedLayer<'_>],
) -> Result<Target> {
    let text = index_text(checkpoint, index, layout, layers)
        .map_err(|error| Error::io("lay out the index", output.path())(error.into()))?;
    let bytes = text.len() as u64;
    if bytes > INDEX_LIMIT {
        let problem = OutputProblem::TooLong { what: "index", bytes, limit: INDEX_LIMIT };
        return Err(Error::Output { path: output.path().to_owned(), problem });
    }
    let target = Target::create(output, bytes).map_err(|error| error.among(layout.shards.len()))?;
    target.write_at(0, &text)?;
    Ok(target)
}

/// All files of the result at `output`, the index last.
pub fn result_files(checkpoint: &Checkpoint, output: &Location) -> Result<Vec<Location>> {
    let mut files = places(output, checkpoint)?;
    files.extend(checkpoint.index().map(|_| output.clone()));
    Ok(files)
}

/// Where the `.safetensors` files go. A reader tells an index by its name, so the output must be named for what it is.
fn places(output: &Location, checkpoint: &Checkpoint) -> Result<Vec<Location>> {
    let refuse = |problem| Err(Error::Output { path: output.path().to_owned(), problem });
    match checkpoint.index() {
        None if is_index(output.path()) => refuse(OutputProblem::IndexName),
        None => Ok(vec![output.clone()]),
        Some(_) if !is_index(output.path()) => refuse(OutputProblem::NoIndexName),
        Some(index) => Ok(index.shards().iter().map(|shard| output.with_file_name(shard)).collect()),
    }
}

/// A file that would be replaced must not be a shard that another index in the folder names: that model would be broken.
fn check_other_indexes(output: &Location, places: &[Location]) -> Result<()> {
    for name in output.folder().names().unwrap_or_default() {
        if Some(name.as_ref()) == output.file_name() || !is_index(Path::new(&name)) {
            continue;
        }
        // What cannot be read as an index describes nothing.
        let Ok(other) = Index::read(output.with_file_name(&name)) else { continue };
        let theirs = other.shards().iter().map(|shard| output.with_file_name(shard)).collect::<HashSet<_>>();
        let in_use = |place: &&Location| theirs.contains(*place) && place.exists().unwrap_or(true);
        if let Some(place) = places.iter().find(in_use) {
            let problem = OutputProblem::InUse { index: name };
            return Err(Error::Output { path: place.path().to_owned(), problem });
        }
    }
    Ok(())
}

/// Folders made for shards whose names have them; those that are empty go again, unless they are kept.
#[derive(Debug, Default)]
struct NewFolders(Vec<PathBuf>);

impl NewFolders {
    /// Makes the folders below `root` that `places` stand in. The root itself has to be there. Stores have no folders.
    fn create(root: &Location, places: &[Location]) -> Result<NewFolders> {
        let mut made = NewFolders::default();
        let root = root.path();
        for path in places.iter().filter_map(Location::as_file) {
            let below_root = |folder: &&Path| *folder != root && !folder.as_os_str().is_empty();
            let missing = folder_of(path).ancestors().take_while(|folder| below_root(folder) && !folder.exists());
            for folder in missing.collect::<Vec<_>>().into_iter().rev() {
                match std::fs::create_dir(folder) {
                    Ok(()) => made.0.push(folder.to_owned()),
                    // Another model was quicker.
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(Error::io("create the folder", folder)(error)),
                }
            }
        }
        Ok(made)
    }

    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        // Fails, as it should, where something is in it.
        self.0.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}
