//! 1 READ: the index of a sharded checkpoint, read with distrust.
//!
//! In: the text of a `*.safetensors.index.json`: `{"metadata": {...}, "weight_map": {tensor: shard}}`. Out: an [`Index`]:
//! which shard holds which tensor, and everything else as it was written, so that a folded model's index can say the
//! same. Shard names are judged by their letters alone: in a Hugging Face cache the files are links out of the folder.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::foreign::{BEGINNING, recognise};
use super::{Foreign, HEADER_LIMIT, InputFile};
use crate::error::Error;
use crate::store::Location;
use crate::text::{counted, shown};

/// The longest index that is read: as long as a header, since both name every tensor once.
pub const INDEX_LIMIT: u64 = HEADER_LIMIT;

/// The rule that an index, or a shard held against it, breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexProblem {
    /// Something else altogether.
    #[error("{0}")]
    Foreign(Foreign),
    /// Longer than any index.
    #[error("it has {found} bytes, and {INDEX_LIMIT} is the limit")]
    TooLong {
        /// Length of the file.
        found: u64,
    },
    /// Not the JSON it should be.
    #[error("it is not the expected JSON: {reason}")]
    Json {
        /// The parser's words, with line and column.
        reason: String,
    },
    /// No `weight_map`, or an empty one.
    #[error("it has no weight_map that names a tensor")]
    NoWeightMap,
    /// Two entries of one name.
    #[error("it holds `{}` twice; which one is meant cannot be told", shown(name))]
    Duplicate {
        /// The name, decoded.
        name: String,
    },
    /// A shard's name that leads elsewhere, or that some system reads as leading elsewhere.
    #[error("tensor `{}` is said to be in `{}`, but a shard's name {rule}", shown(tensor), shown(shard))]
    ShardName {
        /// The first tensor that is said to be in it.
        tensor: String,
        /// The name.
        shard: String,
        /// What a name must be or must not hold.
        rule: &'static str,
    },
    /// A shard that is not there.
    #[error(
        "its shard `{}` ({}) is not there, or is a link to nothing; fetch the missing file, shards belong beside the index",
        shown(shard), counted(*tensors, "tensor")
    )]
    MissingShard {
        /// The shard.
        shard: String,
        /// How many tensors should be in it.
        tensors: usize,
    },
    /// A tensor that is not in the shard that the index names.
    #[error(
        "tensor `{}` should be in shard `{}`, which does not hold it; index and shards are not of one model",
        shown(tensor),
        shown(shard)
    )]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// Where it should be.
        shard: String,
    },
    /// A shard holds a tensor that the index does not know.
    #[error(
        "shard `{}` holds tensor `{}`, which the weight_map does not name; index and shards are not of one model",
        shown(shard),
        shown(tensor)
    )]
    NotInMap {
        /// The tensor.
        tensor: String,
        /// Where it is.
        shard: String,
    },
    /// A shard holds a tensor that the index looks for in another.
    #[error(
        "shard `{}` holds tensor `{}`, which the weight_map looks for in `{}`; index and shards are not of one model",
        shown(shard),
        shown(tensor),
        shown(mapped)
    )]
    Misplaced {
        /// The tensor.
        tensor: String,
        /// Where it is.
        shard: String,
        /// Where it should be.
        mapped: String,
    },
}

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
        let file = InputFile::open(location)?;
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

/// The entries of a JSON object in order, or what is wrong with it; no key may come twice. `part` is what the object is
/// within the index, empty for all of it.
fn object<T: DeserializeOwned>(text: &[u8], part: &str) -> Result<Vec<(String, T)>, IndexProblem> {
    let Entries(entries) = serde_json::from_slice(text).map_err(|error| IndexProblem::Json {
        reason: match part {
            "" => error.to_string(),
            // It was parsed apart.
            part => format!("in its {part}, lines counted from there: {error}"),
        },
    })?;
    let mut keys = HashSet::with_capacity(entries.len());
    match entries.iter().find(|(key, _)| !keys.insert(key.as_str())) {
        Some((twin, _)) => Err(IndexProblem::Duplicate { name: twin.clone() }),
        None => Ok(entries),
    }
}

/// The entries of an object, twins included: serde's own maps keep the last one without a word.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object, in `weight_map` one of tensor names and shard names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests;
