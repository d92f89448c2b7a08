//! 4 WRITE: what a result says about where it comes from, so that a second run knows what is done.
//!
//! In: hashes of an original and of everything that bears on its result. Out: a [`Record`], stored in the result's
//! `__metadata__` under [`KEY`]. It is part of the file, and a file appears whole or not at all, so a record can neither be
//! missing from a finished result nor stand for an unfinished one.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, Metadata};
use crate::error::Error;
use crate::json::parse;
use crate::network::dialect;
use crate::plan::Planned;
use crate::store::Location;
use crate::text::shown;

/// The metadata key.
pub const KEY: &str = "bnfold-gpu";

/// Before a hash that is of a sample. It tells originals apart, but cannot tell that two are the same.
pub const SAMPLED: &str = "sampled:";

/// Where a result comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this program: another one may plan otherwise.
    pub version: String,
    /// BLAKE3 of the original, all its files; after [`SAMPLED`] only of a sample, where a model was folded by itself.
    pub source: String,
    /// BLAKE3 of everything else that bears on the result: options, plan file, `config.json`.
    pub options: String,
}

impl Record {
    /// As it is stored.
    pub fn to_metadata(&self) -> String {
        // Three strings: there is nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Puts it into the metadata of a file of the result. Loaders of `transformers` want a `format` wherever there are
    /// metadata: it is added where the original had none.
    pub(crate) fn put_into(&self, metadata: &mut Option<Metadata>, planned: &Planned) {
        let metadata = metadata.get_or_insert_default();
        metadata.insert(KEY.to_owned(), self.to_metadata());
        let dialect = planned.plan.dialect.as_deref().and_then(dialect::named);
        let format = dialect.map_or("pt", |dialect| dialect.format);
        metadata.entry("format".to_owned()).or_insert_with(|| format.to_owned());
    }

    /// The one that a result carries.
    pub fn of_result(result: &Checkpoint) -> Option<Record> {
        parse(result.shards().first()?.metadata.as_ref()?.get(KEY)?.as_bytes()).ok()
    }

    /// Whether every file of a result carries this record. `false` too for what is no checkpoint at all.
    pub fn is_carried_by(&self, result: &Location) -> bool {
        self.differs_from(result).is_none()
    }

    /// What `result` is, if any file of it is not of this record.
    pub fn differs_from(&self, result: &Location) -> Option<OtherResult> {
        let checkpoint = match Checkpoint::open(result) {
            Ok(checkpoint) => checkpoint,
            Err(error @ Error::Io { .. }) => return Some(OtherResult::Unreadable(error.to_string())),
            Err(_) => return Some(OtherResult::Unknown),
        };
        let expected = self.to_metadata();
        let mut carried = checkpoint.shards().iter().map(|shard| shard.metadata.as_ref()?.get(KEY));
        let other = carried.find(|carried| *carried != Some(&expected))?;
        Some(other.and_then(|other| parse(other.as_bytes()).ok()).map_or(OtherResult::Unknown, |other: Record| {
            OtherResult::Of {
                by_itself: other.source.starts_with(SAMPLED),
                source: other.source != self.source,
                options: other.options != self.options,
                version: (other.version != self.version).then_some(other.version),
            }
        }))
    }
}

/// What a file is that stands at the place of a result and is not this result: what its record tells of the difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherResult {
    /// It has no record: another program's, folded by itself, or no checkpoint.
    Unknown,
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// A result of this program.
    Of {
        /// Made by a run over this model alone, which does not hash all of its original.
        by_itself: bool,
        /// Of an original of other bytes.
        source: bool,
        /// By other options, another plan file or another `config.json`: the record has one hash of all these.
        options: bool,
        /// By this version, which is another one.
        version: Option<String>,
    },
}

impl std::fmt::Display for OtherResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let OtherResult::Unreadable(error) = self {
            return write!(f, "it cannot be read ({error})");
        }
        let OtherResult::Of { by_itself: false, source, options, version } = self else {
            return f.write_str("it carries no record of a run over several models");
        };
        let version = version.as_ref().map(|version| format!("the version ({})", shown(version)));
        let differing = [
            source.then(|| "the original's bytes".to_owned()),
            options.then(|| "the options, plan or config.json".to_owned()),
            version,
        ];
        match differing.into_iter().flatten().collect::<Vec<_>>().join(" and ") {
            differing if differing.is_empty() => f.write_str("its record is written otherwise"),
            differing => write!(f, "its record differs in {differing}"),
        }
    }
}
