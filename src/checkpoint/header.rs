//! 1 READ: the safetensors header, read with distrust.
//!
//! In: an open file. Out: metadata and one entry a tensor, with ranges that tile the data section exactly. The format:
//! eight bytes of little-endian length, that many bytes of JSON, then the data. Rules as the format's README states
//! them, including "duplicate keys are disallowed", which the `safetensors` crate does not enforce.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::foreign::{BEGINNING, recognise};
use super::{Dtype, Foreign, InputFile, Metadata};
use crate::text::shown;

/// The longest header that readers accept (the `safetensors` crate's limit).
pub const HEADER_LIMIT: u64 = 100_000_000;

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

/// One tensor's line of the header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    /// Relative to the data section.
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// A header that was checked against its file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: Option<Metadata>,
    pub(super) entries: Vec<Entry>,
    pub(super) data_start: u64,
}

/// A broken rule, or an input/output error on the way.
#[derive(Debug)]
pub(super) enum ReadError {
    Problem(HeaderProblem),
    Io(crate::Error),
}

impl From<HeaderProblem> for ReadError {
    fn from(problem: HeaderProblem) -> Self {
        ReadError::Problem(problem)
    }
}

/// Reads and checks the header of `file`; nothing is allocated before the length was checked against the file.
pub(super) fn read(file: &InputFile) -> Result<Header, ReadError> {
    let (declared, available) = match declared(file) {
        // A length that cannot be is most often the beginning of something else.
        Err(ReadError::Problem(problem)) => return Err(foreign(file)?.map_or(problem, HeaderProblem::Foreign).into()),
        other => other?,
    };
    let mut json = vec![0; usize::try_from(declared).map_err(|_| HeaderProblem::TooLong { declared })?];
    file.read_at(8, &mut json).map_err(ReadError::Io)?;
    let (metadata, entries) = parse(&json, available - declared)?;
    Ok(Header { metadata, entries, data_start: 8 + declared })
}

/// The length of the JSON, as the file declares it, and how many bytes there are for it and the data.
fn declared(file: &InputFile) -> Result<(u64, u64), ReadError> {
    let Some(available) = file.bytes().checked_sub(8) else {
        return Err(HeaderProblem::TooShort { found: file.bytes() }.into());
    };
    let mut length = [0; 8];
    file.read_at(0, &mut length).map_err(ReadError::Io)?;
    let declared = u64::from_le_bytes(length);
    if declared > HEADER_LIMIT {
        return Err(HeaderProblem::TooLong { declared }.into());
    }
    if declared > available {
        return Err(HeaderProblem::BeyondFile { declared, available }.into());
    }
    Ok((declared, available))
}

/// What the file is instead, if that is known.
fn foreign(file: &InputFile) -> Result<Option<Foreign>, ReadError> {
    let mut beginning = vec![0; usize::try_from(file.bytes()).unwrap_or(BEGINNING).min(BEGINNING)];
    file.read_at(0, &mut beginning).map_err(ReadError::Io)?;
    Ok(recognise(&beginning))
}

/// Parses the JSON and checks it against the length of the data section; entries come back in data order.
pub(super) fn parse(json: &[u8], data_bytes: u64) -> Result<(Option<Metadata>, Vec<Entry>), HeaderProblem> {
    // Checked apart: the parser skips over strings that it need not keep.
    let text = std::str::from_utf8(json).map_err(|error| HeaderProblem::Json { reason: error.to_string() })?;
    let raw: RawHeader =
        serde_json::from_str(text).map_err(|error| HeaderProblem::Json { reason: error.to_string() })?;
    if let Some(name) = raw.duplicate {
        return Err(HeaderProblem::Duplicate { name });
    }
    let mut entries = raw
        .tensors
        .into_iter()
        .map(|(name, raw)| Entry {
            name,
            dtype: Dtype::parse(&raw.dtype),
            shape: raw.shape,
            begin: raw.data_offsets.0,
            end: raw.data_offsets.1,
        })
        .collect::<Vec<_>>();
    entries.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    if let Some(twins) = by_name(&entries).windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(HeaderProblem::Duplicate { name: twins[0].to_owned() });
    }
    let mut expected = 0;
    for entry in &entries {
        check_range(entry, expected)?;
        check_size(entry)?;
        expected = entry.end;
    }
    match expected == data_bytes {
        true => Ok((raw.metadata, entries)),
        false => Err(HeaderProblem::Length { expected, found: data_bytes }),
    }
}

fn by_name(entries: &[Entry]) -> Vec<&str> {
    let mut names = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>();
    names.sort_unstable();
    names
}

fn check_range(entry: &Entry, expected: u64) -> Result<(), HeaderProblem> {
    let &Entry { begin, end, .. } = entry;
    let tensor = || entry.name.clone();
    if end < begin {
        return Err(HeaderProblem::Reversed { tensor: tensor(), begin, end });
    }
    match begin == expected {
        true => Ok(()),
        false => Err(HeaderProblem::NotContiguous { tensor: tensor(), expected, found: begin }),
    }
}

/// Bits wanted by shape and dtype against bits in the range; an unknown dtype has no size to hold against it.
fn check_size(entry: &Entry) -> Result<(), HeaderProblem> {
    let Some(bits) = entry.dtype.bits() else { return Ok(()) };
    let Some(expected) = entry.shape.iter().try_fold(bits, |product, &dim| product.checked_mul(dim)) else {
        return Err(HeaderProblem::Overflow { tensor: entry.name.clone(), shape: entry.shape.clone() });
    };
    let found = u128::from(entry.end - entry.begin) * 8;
    match u128::from(expected) == found {
        true => Ok(()),
        false => Err(HeaderProblem::Size {
            tensor: entry.name.clone(),
            dtype: entry.dtype.to_string(),
            shape: entry.shape.clone(),
            expected,
            found,
        }),
    }
}

/// The header as JSON, before any check but that for duplicate keys, which only a streaming visitor can see.
struct RawHeader {
    metadata: Option<Metadata>,
    tensors: Vec<(String, RawEntry)>,
    duplicate: Option<String>,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

const METADATA_KEY: &str = "__metadata__";

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with one entry a tensor")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { metadata: None, tensors: Vec::new(), duplicate: None };
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name != METADATA_KEY {
                        let entry = map
                            .next_value::<RawEntry>()
                            .map_err(|error| A::Error::custom(format_args!("tensor `{}`: {error}", shown(&name))))?;
                        header.tensors.push((name, entry));
                    } else if has_metadata {
                        map.next_value::<IgnoredAny>()?;
                        header.duplicate = Some(name);
                    } else {
                        has_metadata = true;
                        let UniqueStrings(metadata, twin) = map
                            .next_value::<Option<UniqueStrings>>()
                            .map_err(|error| A::Error::custom(format_args!("{METADATA_KEY}: {error}")))?
                            .unwrap_or_default();
                        header.metadata = metadata;
                        header.duplicate = header.duplicate.or(twin.map(|key| format!("{METADATA_KEY}.{key}")));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A map of strings to strings, and the first key that came twice.
#[derive(Default)]
struct UniqueStrings(Option<Metadata>, Option<String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringsVisitor;
        impl<'de> Visitor<'de> for StringsVisitor {
            type Value = UniqueStrings;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueStrings, A::Error> {
                let (mut strings, mut twin) = (Metadata::new(), None);
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if let std::collections::btree_map::Entry::Vacant(free) = strings.entry(key.clone()) {
                        free.insert(value);
                    } else {
                        twin.get_or_insert(key);
                    }
                }
                Ok(UniqueStrings(Some(strings), twin))
            }
        }
        deserializer.deserialize_map(StringsVisitor)
    }
}

#[cfg(test)]
mod tests;
