//! 4 WRITE: why a result cannot stand where it should.
//!
//! In: what is at the output's place, or what its name and header would be. Out: a reason, to which
//! [`Error::Output`](crate::Error::Output) adds the path.

use super::OtherResult;
use crate::text::shown;

/// What is wrong with an output, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputProblem {
    /// It exists and is not what this run would make.
    #[error("exists already, and is not the result of the same bytes, options, config.json and version: {found}")]
    OtherResult {
        /// What it is instead, as far as it says.
        found: OtherResult,
    },
    /// It is the input.
    #[error("the output is the input itself (the original is never replaced)")]
    IsInput,
    /// It is a file of a sharded output, and would be a file of the input.
    #[error(
        "the output is a file of the input itself; shards keep their names, so a sharded model needs a folder of its own (the \
         original is never replaced)"
    )]
    IsInputShard,
    /// Another model's index names it, a shard that would be replaced.
    #[error("belongs to the sharded model of `{}`, which would be broken by replacing it", shown(index))]
    InUse {
        /// File name of that index.
        index: String,
    },
    /// A link stands in the way below the folder that the user named.
    #[error(
        "a link, and results are not written through links, which may lead anywhere; remove it, or name the folder that it \
         leads to"
    )]
    LinkedFolder,
    /// Files of a sharded output without its index, and not those that would be made.
    #[error(
        "exists already, as {there} of {all} shards do; their index does not, so a run that was stopped may have left them, but \
         not one over the same bytes with the same options"
    )]
    Unfinished {
        /// Shards that are there.
        there: usize,
        /// All of them.
        all: usize,
    },
    /// An empty file.
    #[error("exists already, and is empty: a run that was killed may have left it, or somebody keeps the name")]
    Empty,
    /// Something else than a regular file stands there.
    #[error("{found}, expected a regular file")]
    NotAFile {
        /// What is there.
        found: &'static str,
    },
    /// A single file, under the name of an index.
    #[error("this name cannot hold a single file; expected a name that is not that of an index")]
    IndexName,
    /// The index of a sharded model, under any other name.
    #[error("this name cannot hold the index of a sharded model; expected one like model.safetensors.index.json")]
    NoIndexName,
    /// Its header, the headers of its shards together, or it as an index, would be longer than readers accept.
    #[error("the output's {what} would take {bytes} bytes, and readers accept {limit} at most")]
    TooLong {
        /// `header`, `headers together` or `index`.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// What readers accept.
        limit: u64,
    },
    /// What folding adds would make it hold more than this program reads.
    #[error(
        "the output would hold {count} {what}, and {limit} are read at most; folding adds biases and a record of itself"
    )]
    TooMany {
        /// `tensors` or `keys of __metadata__`.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are read.
        limit: usize,
    },
}
