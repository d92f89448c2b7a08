//! 1 READ: the safetensors header, read with distrust.
//!
//! In: an open file. Out: metadata and one entry a tensor, with ranges that tile the data section exactly. The format:
//! eight bytes of little-endian length, that many bytes of JSON, then the data. Rules as the format's README states
//! them, including "duplicate keys are disallowed", which the `safetensors` crate does not enforce.

mod json;
mod limits;
mod problem;

use super::foreign::{BEGINNING, recognise};
use super::{Dtype, Foreign, InputFile, Metadata};
use crate::json::parse as parse_json;
use json::RawHeader;
pub(crate) use limits::{METADATA_LIMIT, TENSOR_LIMIT};
pub use problem::HeaderProblem;

/// The longest header that readers accept (the `safetensors` crate's limit).
pub const HEADER_LIMIT: u64 = 100_000_000;

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

impl ReadError {
    /// As the error of `file`.
    pub(super) fn of(self, file: &InputFile) -> crate::Error {
        match self {
            ReadError::Problem(problem) => crate::Error::Header { path: file.path().to_owned(), problem },
            ReadError::Io(error) => error,
        }
    }
}

impl From<HeaderProblem> for ReadError {
    fn from(problem: HeaderProblem) -> Self {
        ReadError::Problem(problem)
    }
}

/// The length of a header, checked against its file, before anything is allocated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    /// Bytes of JSON.
    pub(super) declared: u64,
    /// Bytes of JSON and data.
    available: u64,
}

/// Reads how long the header of `file` is.
pub(super) fn length(file: &InputFile) -> Result<Length, ReadError> {
    match declared(file) {
        // A length that cannot be is most often the beginning of something else.
        Err(ReadError::Problem(problem)) => Err(foreign(file)?.map_or(problem, HeaderProblem::Foreign).into()),
        other => other,
    }
}

/// Reads and checks the header of `file`.
pub(super) fn read(file: &InputFile, length: Length) -> Result<Header, ReadError> {
    let Length { declared, available } = length;
    let mut json = vec![0; usize::try_from(declared).map_err(|_| HeaderProblem::TooLong { declared })?];
    file.read_at(8, &mut json).map_err(ReadError::Io)?;
    let raw = raw(&json)?;
    // Half of what a header of small tensors takes would lie idle.
    drop(json);
    let (metadata, entries) = check(raw, available - declared)?;
    Ok(Header { metadata, entries, data_start: 8 + declared })
}

/// The length of the JSON, as the file declares it, and how many bytes there are for it and the data.
fn declared(file: &InputFile) -> Result<Length, ReadError> {
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
    Ok(Length { declared, available })
}

/// What the file is instead, if that is known.
fn foreign(file: &InputFile) -> Result<Option<Foreign>, ReadError> {
    let mut beginning = vec![0; usize::try_from(file.bytes()).unwrap_or(BEGINNING).min(BEGINNING)];
    file.read_at(0, &mut beginning).map_err(ReadError::Io)?;
    Ok(recognise(&beginning))
}

/// Parses the JSON.
fn raw(json: &[u8]) -> Result<RawHeader, HeaderProblem> {
    // Checked apart: the parser skips over strings that it need not keep.
    let text = std::str::from_utf8(json).map_err(|error| HeaderProblem::Json { reason: error.to_string() })?;
    parse_json(text.as_bytes()).map_err(|error| HeaderProblem::Json { reason: error.to_string() })
}

/// Checks it against the length of the data section; entries come back in data order.
fn check(raw: RawHeader, data_bytes: u64) -> Result<(Option<Metadata>, Vec<Entry>), HeaderProblem> {
    if let Some(name) = raw.duplicate {
        return Err(HeaderProblem::Duplicate { name });
    }
    let mut entries = raw.entries;
    entries.sort_unstable_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
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

#[cfg(test)]
mod tests;
