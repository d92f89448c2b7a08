//! 4 WRITE: all files of an output: one, or shards and their index; they appear together or not at all.
//!
//! In: where the output goes, the original, the layout. Out: open files to write tensors to, and in the end the files
//! under their names. The shards of a sharded model stand beside its index under their own names.

use std::sync::atomic::AtomicBool;

use super::commit::{self, Terms};
use super::folders::NewFolders;
use super::free::check_free;
use super::index::index_text;
use super::layout::{Layout, ShardLayout};
use super::places::{check_other_indexes, places};
use super::target::{Replace, Target};
use super::temporary::folder_of;
use super::unfolded::write_unfolded;
use super::{OutputProblem, header_bytes};
use crate::checkpoint::{Checkpoint, INDEX_LIMIT, Index};
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

    /// Writes the headers once more, now that the metadata of `layout` are complete. They are of the length that they had
    /// when the files were laid out, or stay as they are.
    pub fn complete_headers(&self, layout: &Layout) -> Result<()> {
        for (Shard { target, data, .. }, layout) in self.shards.iter().zip(&layout.shards) {
            let header = header_bytes(target.location.path(), layout.metadata.as_ref(), &layout.entries)?;
            if header.len() as u64 == *data {
                target.write_at(0, &header)?;
            }
        }
        Ok(())
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
        let (count, places) =
            (shards.len(), shards.iter().map(|shard| shard.target.location.clone()).collect::<Vec<_>>());
        let targets = shards.into_iter().map(|shard| shard.target).chain(index).collect::<Vec<_>>();
        // Another run may have put an index there since it was asked before the work.
        let output = targets.last().map(|last| last.location.clone());
        let check = || match (replace, &output) {
            (Replace::Always, Some(output)) => check_other_indexes(output, &places),
            _ => Ok(()),
        };
        let terms = Terms { replace, same, sync, cancelled };
        commit::name_all(targets, terms, &check).map_err(|error| error.among(count))?;
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
