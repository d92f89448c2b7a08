//! ZOO: what there is to do: one task a model.
//!
//! In: sources, and where results go. Out: [`Task`]s, in the order of the work.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Source;
use crate::store::Location;

/// One model and where its result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The model.
    pub source: Source,
    /// The file, or the index of a sharded result.
    pub output: Location,
    /// The folder that the user named, in which its own is made if it is missing; `None` if that must be there.
    pub root: Option<Location>,
    /// An earlier task of the very same files, as snapshots of a cache share them: its result is copied.
    pub same_as: Option<usize>,
}

impl Task {
    /// Tasks for `sources`, each to its place below `output`. Sources of the same files are recognised; of those all but
    /// the first come last, since they wait for its result.
    pub fn all(sources: Vec<Source>, output: &Location) -> Vec<Task> {
        let (mut originals, mut copies): (Vec<Source>, Vec<Source>) = Default::default();
        let mut first = HashMap::new();
        for source in sources {
            match first.entry(source.files.clone()) {
                Entry::Occupied(_) => copies.push(source),
                Entry::Vacant(free) => {
                    free.insert(originals.len());
                    originals.push(source);
                }
            }
        }
        let root = || Some(output.clone());
        let task = |source: Source, same_as| Task { output: output.join(&source.place), source, root: root(), same_as };
        let copies = copies.into_iter().map(|copy| {
            let original = first.get(&copy.files).copied();
            task(copy, original)
        });
        let copies = copies.collect::<Vec<_>>();
        originals.into_iter().map(|source| task(source, None)).chain(copies).collect()
    }

    /// How many files are open at once while it is under way: those of the original, of the result, and of one that is there
    /// already; and a few for folders, and what lies beside.
    pub(super) fn open_files(&self) -> u64 {
        const FEW: u64 = 5;
        match self.source.shards.len() as u64 {
            0 => 2 + FEW,
            shards => 3 * shards + 1 + FEW,
        }
    }

    /// All files of its result.
    pub fn outputs(&self) -> impl Iterator<Item = Location> {
        let shards = self.source.shards.iter().map(|shard| self.output.with_file_name(shard));
        shards.chain([self.output.clone()])
    }
}
