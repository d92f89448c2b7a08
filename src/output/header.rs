//! 4 WRITE: the header of an output file.
//!
//! In: entries in file order and the metadata. Out: the bytes before the data section, as the safetensors library
//! writes them (compact JSON, padded with spaces to a multiple of eight), with one difference: metadata keys are
//! sorted, where the library's order changes from run to run.

use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Entry, OutputProblem};
use crate::checkpoint::{HEADER_LIMIT, METADATA_LIMIT, Metadata, TENSOR_LIMIT};
use crate::error::{Error, Result};

/// The length and the JSON, padded.
pub fn header_bytes(path: &Path, metadata: Option<&Metadata>, entries: &[Entry]) -> Result<Vec<u8>> {
    let refuse = |problem| Error::Output { path: path.to_owned(), problem };
    check_count("tensors", entries.len(), TENSOR_LIMIT).map_err(refuse)?;
    check_count("keys of __metadata__", metadata.map_or(0, Metadata::len), METADATA_LIMIT).map_err(refuse)?;
    let mut json = serde_json::to_vec(&Header { metadata, entries })
        .map_err(|error| Error::io("lay out the header of", path)(error.into()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let length = json.len() as u64;
    check_length("header", length).map_err(refuse)?;
    Ok([&length.to_le_bytes()[..], &json].concat())
}

/// A result that cannot be read back is of no use; better to know before the work.
fn check_count(what: &'static str, count: usize, limit: usize) -> std::result::Result<(), OutputProblem> {
    if count > limit { Err(OutputProblem::TooMany { what, count, limit }) } else { Ok(()) }
}

/// The same of a header's length, or of all headers' together.
pub(super) fn check_length(what: &'static str, bytes: u64) -> std::result::Result<(), OutputProblem> {
    if bytes > HEADER_LIMIT { Err(OutputProblem::TooLong { what, bytes, limit: HEADER_LIMIT }) } else { Ok(()) }
}

struct Header<'a> {
    metadata: Option<&'a Metadata>,
    entries: &'a [Entry],
}

#[derive(serde::Serialize)]
struct RawEntry<'a> {
    dtype: String,
    shape: &'a [u64],
    data_offsets: (u64, u64),
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(metadata) = self.metadata {
            map.serialize_entry("__metadata__", metadata)?;
        }
        for entry in self.entries {
            let data_offsets = (entry.begin, entry.begin + entry.bytes);
            map.serialize_entry(
                &entry.name,
                &RawEntry { dtype: entry.dtype.to_string(), shape: &entry.shape, data_offsets },
            )?;
        }
        map.end()
    }
}
