//! 4 WRITE: all files of an output: one, or shards and their index; they appear together or not at all.
//!
//! In: where the output goes, the original, the layout. Out: open files to write tensors to, and in the end the files
//! under their names. The shards of a sharded model stand beside its index under their own names.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::claims::Known;
use super::commit::{self, Terms};
use super::destination::Destination;
use super::folders::{NewFolders, make_folder};
use super::free::check_all_free;
use super::header::check_length;
use super::index::index_text;
use super::layout::{Layout, ShardLayout};
use super::places::places;
use super::target::{Replace, Target};
use super::temporary::folder_of;
use super::unfolded::write_unfolded;
use super::{OutputProblem, header_bytes};
use crate::checkpoint::{Checkpoint, INDEX_LIMIT, Index};
use crate::error::{Error, Result};
use crate::fold::{FoldOptions, FoldedLayer, Place};
use crate::store::{Location, Same};

/// The files of an output under way.
#[derive(Debug)]
pub struct Files {
    shards: Vec<Shard>,
    index: Option<Target>,
    folders: NewFolders,
    replace: Replace,
    known: Arc<Known>,
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
        let Destination { at: output, replace, known, .. } = destination;
        let places = places(output, checkpoint)?;
        let index = checkpoint.index();
        check_all_free(destination, &places, &|number| length(&places[number], &layout.shards[number]), checkpoint)?;
        if replace == Replace::Always {
            known.check_claims(output, &places)?;
        }
        let folders = NewFolders::create(&output.folder(), &places, destination.sync)?;
        let shards = places.iter().zip(&layout.shards).map(|(place, layout)| Shard::create(place, layout));
        let shards = shards.collect::<Result<Vec<_>>>().map_err(|error| error.among(places.len()))?;
        let headers = shards.iter().map(|shard| shard.data).sum();
        check_length("headers together", headers)
            .map_err(|problem| Error::Output { path: output.path().to_owned(), problem })?;
        let index = index.map(|index| create_index(output, checkpoint, index, layout, layers)).transpose()?;
        Ok(Files { shards, index, folders, replace, known: Arc::clone(known) })
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
    /// Below `root`, the folder that the user named, no link is followed.
    pub fn commit(self, root: Option<&Path>, same: Same<'_>, sync: bool, cancelled: &AtomicBool) -> Result<()> {
        // Bound first, so dropped last: folders can go only when nothing is in them.
        let mut folders = self.folders;
        let Files { shards, index, replace, known, .. } = self;
        for Shard { target, .. } in &shards {
            target.finish(sync)?;
            target.check_readable()?;
        }
        index.iter().try_for_each(|index| index.finish(sync))?;
        // A model that failed meanwhile may have taken a folder back that both made; or somebody did.
        for path in shards.iter().filter_map(|shard| shard.target.location.as_file()) {
            make_folder(root.unwrap_or(folder_of(path)), folder_of(path), sync)?;
        }
        let (count, places) =
            (shards.len(), shards.iter().map(|shard| shard.target.location.clone()).collect::<Vec<_>>());
        let targets = shards.into_iter().map(|shard| shard.target).chain(index).collect::<Vec<_>>();
        // Another run may have put an index there since it was asked before the work.
        let output = targets.last().map(|last| last.location.clone());
        let check = || match (replace, &output) {
            (Replace::Always, Some(output)) => known.check_claims(output, &places),
            _ => Ok(()),
        };
        let terms = Terms { root, replace, same, sync, cancelled };
        commit::name_all(targets, terms, &check).map_err(|error| error.among(count))?;
        folders.keep();
        Ok(())
    }
}

/// How long a file will be.
fn length(place: &Location, layout: &ShardLayout) -> Result<u64> {
    let header = header_bytes(place.path(), layout.metadata.as_ref(), &layout.entries)?;
    Ok(header.len() as u64 + layout.data_bytes())
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
