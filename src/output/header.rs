//! 4 WRITE: the header of an output file.
//!
//! In: entries in file order and the metadata. Out: the bytes before the data section, as the safetensors library
//! writes them (compact JSON, padded with spaces to a multiple of eight), with one difference: metadata keys are
//! sorted, where the library's order changes from run to run.

use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Entry, OutputProblem};
use crate::checkpoint::{HEADER_LIMIT, Metadata};
use crate::error::{Error, Result};

/// The length and the JSON, padded.
pub fn header_bytes(path: &Path, metadata: Option<&Metadata>, entries: &[Entry]) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec(&Header { metadata, entries })
        .map_err(|error| Error::io("lay out the header of", path)(error.into()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let length = json.len() as u64;
    if length > HEADER_LIMIT {
        let problem = OutputProblem::TooLong { what: "header", bytes: length, limit: HEADER_LIMIT };
        return Err(Error::Output { path: path.to_owned(), problem });
    }
    Ok([&length.to_le_bytes()[..], &json].concat())
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
