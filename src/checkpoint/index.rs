//! 1 READ: the index of a sharded checkpoint, read with distrust.
//!
//! In: the text of a `*.safetensors.index.json`: `{"metadata": {...}, "weight_map": {tensor: shard}}`. Out: an [`Index`]:
//! which shard holds which tensor, and everything else as it was written, so that a folded model's index can say the
//! same. Shard names are judged by their letters alone: in a Hugging Face cache the files are links out of the folder.

mod object;
mod problem;

use std::collections::{BTreeSet, HashMap};

use serde_json::value::RawValue;

use super::foreign::{BEGINNING, recognise};
use super::{Foreign, HEADER_LIMIT, InputFile};
use crate::error::Error;
use crate::store::Location;
use object::object;
pub use problem::IndexProblem;

/// The longest index that is read: as long as a header, since both name every tensor once.
pub const INDEX_LIMIT: u64 = HEADER_LIMIT;

/// An index as it was written.
#[derive(Debug)]
pub struct Index {
    /// Top-level entries, in order.
    pub(crate) parts: Vec<(String, Part)>,
    shards: Vec<String>,
    weights: Vec<(String, usize)>,
}

/// A top-level entry of an index.
#[derive(Debug)]
pub(crate) enum Part {
    /// `weight_map`; its content is [`Index::weights`].
    WeightMap,
    /// `metadata`: its entries in order, as they were written.
    Metadata(Vec<(String, Box<RawValue>)>),
    /// Anything else, as it was written.
    Other(Box<RawValue>),
}

impl Index {
    /// Reads and parses the index at `location`, if it is no longer than one may be.
    pub fn read(location: impl Into<Location>) -> Result<Index, Error> {
        Index::of(&InputFile::open(location)?)
    }

    /// The same of an open file.
    pub(super) fn of(file: &InputFile) -> Result<Index, Error> {
        let wrong = |problem| Error::Index { path: file.path().to_owned(), problem };
        if file.bytes() > INDEX_LIMIT {
            return Err(wrong(IndexProblem::TooLong { found: file.bytes() }));
        }
        let text = file.read_whole()?;
        Index::parse(&text).map_err(|problem| match (problem, recognise(&text[..text.len().min(BEGINNING)])) {
            // That it is some text says no more than the parser does.
            (IndexProblem::Json { .. }, Some(foreign)) if !matches!(foreign, Foreign::Text { .. }) => {
                wrong(IndexProblem::Foreign(foreign))
            }
            (problem, _) => wrong(problem),
        })
    }

    /// Parses the text of an index and checks the names of its shards.
    pub fn parse(text: &[u8]) -> Result<Index, IndexProblem> {
        let mut map = None;
        let parts = object::<Box<RawValue>>(text, "")?
            .into_iter()
            .map(|(key, value)| {
                let part = match key.as_str() {
                    "weight_map" => {
                        map = Some(object::<String>(value.get().as_bytes(), "weight_map")?);
                        Part::WeightMap
                    }
                    "metadata" if value.get().starts_with('{') => {
                        Part::Metadata(object(value.get().as_bytes(), "metadata")?)
                    }
                    _ => Part::Other(value),
                };
                Ok((key, part))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let map = map.filter(|map| !map.is_empty()).ok_or(IndexProblem::NoWeightMap)?;
        for (tensor, shard) in &map {
            if let Some(rule) = broken_rule(shard) {
                return Err(IndexProblem::ShardName { tensor: tensor.clone(), shard: shard.clone(), rule });
            }
        }
        let names = map.iter().map(|(_, shard)| shard.clone()).collect::<BTreeSet<_>>();
        let numbers = names.iter().cloned().zip(0..).collect::<HashMap<String, usize>>();
        let weights = map.into_iter().map(|(tensor, shard)| (tensor, numbers[&shard])).collect();
        Ok(Index { parts, shards: names.into_iter().collect(), weights })
    }

    /// The shards' names relative to the index's folder, with `/` between folders; sorted.
    pub fn shards(&self) -> &[String] {
        &self.shards
    }

    /// Every tensor and the number of its shard, in the order of the file.
    pub fn weights(&self) -> &[(String, usize)] {
        &self.weights
    }
}

/// What is wrong with a shard's name, if anything. The rules are those of Windows and of Unix together, on every system:
/// an index is made on one and read on another.
fn broken_rule(shard: &str) -> Option<&'static str> {
    if !shard.ends_with(".safetensors") {
        return Some("must end in .safetensors (other formats have to be converted first)");
    }
    if shard.contains(['\\', ':', '\0']) {
        return Some("must not hold a backslash, a colon or a NUL");
    }
    if shard.starts_with('/') {
        return Some("must be relative to the index's folder");
    }
    let odd = shard.split('/').any(|component| matches!(component, "" | "." | ".."));
    odd.then_some("must not hold `..`, `.` or an empty folder name")
}

#[cfg(test)]
mod tests;
