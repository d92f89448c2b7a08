//! 1 READ, header: the rules of the format, as they can be broken.
//!
//! In: what a check found. Out: a [`HeaderProblem`], whose sentence gives what was expected and what was found.

use super::HEADER_LIMIT;
use crate::checkpoint::Foreign;
use crate::text::shown;

/// The rule that a header breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// Something else altogether.
    #[error("{0}")]
    Foreign(Foreign),
    /// Not even room for the length.
    #[error("it has {found} bytes, and the header's length alone takes 8")]
    TooShort {
        /// Length of the file.
        found: u64,
    },
    /// The declared header is longer than any reader accepts.
    #[error("it declares a header of {declared} bytes, and {HEADER_LIMIT} is the limit (is it really safetensors?)")]
    TooLong {
        /// What it declares.
        declared: u64,
    },
    /// The declared header ends beyond the file.
    #[error("it declares a header of {declared} bytes, but only {available} follow; the file is truncated")]
    BeyondFile {
        /// What it declares.
        declared: u64,
        /// What there is.
        available: u64,
    },
    /// The header is not the JSON it should be.
    #[error("its header is not the expected JSON: {reason}")]
    Json {
        /// The parser's words, with line and column.
        reason: String,
    },
    /// Two entries of one name.
    #[error("its header holds `{}` twice; which one is meant cannot be told", shown(name))]
    Duplicate {
        /// The name, decoded.
        name: String,
    },
    /// Shape times element size cannot be computed.
    #[error("tensor `{}`: shape {shape:?} has more elements than can be counted", shown(tensor))]
    Overflow {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// Shape and dtype ask for another number of bytes than the range holds.
    #[error(
        "tensor `{}`: {dtype} of shape {shape:?} takes {expected} bits, but its range holds {found}",
        shown(tensor)
    )]
    Size {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Bits that dtype and shape ask for.
        expected: u64,
        /// Bits of the range.
        found: u128,
    },
    /// A range whose end lies before its beginning.
    #[error("tensor `{}`: its range ends at {end}, before it begins at {begin}", shown(tensor))]
    Reversed {
        /// The tensor.
        tensor: String,
        /// First byte.
        begin: u64,
        /// One past the last.
        end: u64,
    },
    /// Ranges that overlap or leave a hole.
    #[error("tensor `{}`: its range begins at byte {found}, but the one before it ends at {expected}", shown(tensor))]
    NotContiguous {
        /// The tensor.
        tensor: String,
        /// Where it had to begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// The data section is longer or shorter than the ranges say.
    #[error("its tensors take {expected} bytes, but {found} follow the header; the file is {}", if found < expected { "truncated" } else { "longer than it says" })]
    Length {
        /// What the ranges need.
        expected: u64,
        /// What follows the header.
        found: u64,
    },
}
