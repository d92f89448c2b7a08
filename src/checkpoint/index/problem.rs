//! 1 READ, index: the rules for an index and its shards, as they can be broken.
//!
//! In: what a check found. Out: an [`IndexProblem`], whose sentence names the tensor or the shard.

use super::INDEX_LIMIT;
use crate::checkpoint::{Foreign, HEADER_LIMIT};
use crate::text::{counted, shown};

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
    /// Shards whose headers together are longer than one may be.
    #[error("the headers of its shards have {found} bytes, and {HEADER_LIMIT} is the limit for all of a model")]
    Headers {
        /// Their length.
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
