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
    #[error(
        "exists already, and is not the result of the same bytes, options, config.json and version: {found}; pass --force \
         to replace it, or another --output"
    )]
    OtherResult {
        /// What it is instead, as far as it says.
        found: OtherResult,
    },
    /// It is the input.
    #[error("the output is the input itself; pass another --output (the original is never replaced)")]
    IsInput,
    /// It is a file of a sharded output, and would be a file of the input.
    #[error(
        "the output is a file of the input itself; shards keep their names, so a sharded model needs a folder of its own: \
         pass --output DIR (the original is never replaced)"
    )]
    IsInputShard,
    /// Another model's index names it, a shard that would be replaced.
    #[error(
        "belongs to the sharded model of `{}`, which would be broken by replacing it; pass another --output",
        shown(index)
    )]
    InUse {
        /// File name of that index.
        index: String,
    },
    /// A sharded model is written under the name of an index, a single file under any other.
    #[error("this name cannot hold {what}; expected {expected}")]
    Name {
        /// What was to be written.
        what: &'static str,
        /// What the name has to look like.
        expected: &'static str,
    },
    /// Its header, or it as an index, would be longer than readers accept.
    #[error("the output's {what} would take {bytes} bytes, and readers accept {limit} at most")]
    TooLong {
        /// `header` or `index`.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// What readers accept.
        limit: u64,
    },
}
