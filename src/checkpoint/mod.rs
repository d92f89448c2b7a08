//! 1 READ: a checkpoint on disk becomes a table of tensors whose bytes can be fetched range by range.
//!
//! In: the location of a `.safetensors` file, or of the index of a sharded one. Out: a [`Checkpoint`]: names, dtypes, shapes
//! and byte ranges that were checked against the files, and the open files to read from. No tensor is loaded here,
//! nothing is mapped into memory (a file that is truncated under a mapping kills the process), and no alignment is
//! assumed.

mod budget;
mod dtype;
mod element;
mod file;
mod foreign;
mod header;
mod index;
mod sharded;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

pub use budget::HeaderBudget;
use budget::Share;
pub use dtype::{Dtype, Float};
pub(crate) use element::Element;
pub use file::InputFile;
pub use foreign::Foreign;
pub(crate) use foreign::{CONVERT_LINE, TORCH_LINE};
pub use header::{HEADER_LIMIT, HeaderProblem};
pub(crate) use header::{METADATA_LIMIT, TENSOR_LIMIT};
pub(crate) use index::Part;
pub use index::{INDEX_LIMIT, Index, IndexProblem};

use crate::error::{Error, Result};
pub use crate::store::is_index;
use crate::store::{self, Location};

/// The free-text map that a safetensors header may carry under `__metadata__`.
pub type Metadata = BTreeMap<String, String>;

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// Which file of the checkpoint holds it: an index into [`Checkpoint::shards`].
    pub shard: usize,
    /// Where its bytes begin in that file.
    pub offset: u64,
    /// How many bytes it takes.
    pub bytes: u64,
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        // The header check multiplied these with an overflow check; an unknown dtype's shape alone was not checked.
        self.shape.iter().fold(1, |product, &dim| product.saturating_mul(dim))
    }
}

/// One file of a checkpoint.
#[derive(Debug)]
pub struct Shard {
    /// The open file.
    pub file: InputFile,
    /// Its `__metadata__`, if any.
    pub metadata: Option<Metadata>,
}

/// A checkpoint: one key space over one or more files.
#[derive(Debug)]
pub struct Checkpoint {
    location: Location,
    index: Option<Index>,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Tensor>,
    opening: Duration,
    /// What it has of a run's budget of headers.
    #[expect(dead_code, reason = "they are given back when it is dropped")]
    shares: Vec<Share>,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, or the index of a sharded checkpoint (see [`is_index`]) with all its shards, and
    /// checks headers and index.
    pub fn open(location: impl Into<Location>) -> Result<Checkpoint> {
        // Alone it has what it needs.
        Checkpoint::open_within(location, &HeaderBudget::default())
    }

    /// The same as one of several models of a run: waits until its headers fit into the run's `budget`, of which it has its
    /// share for as long as it lives.
    pub fn open_within(location: impl Into<Location>, budget: &HeaderBudget) -> Result<Checkpoint> {
        let (location, began) = (location.into(), Instant::now());
        let mut checkpoint = match is_index(location.path()) {
            true => sharded::open(location, budget)?,
            false => open_single(location, budget)?,
        };
        checkpoint.opening = began.elapsed();
        Ok(checkpoint)
    }

    /// Where it was opened.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What messages call it: the path it was opened by, or its URL without secrets.
    pub fn path(&self) -> &Path {
        self.location.path()
    }

    /// How long it took to open: the headers were read and checked.
    pub fn opening(&self) -> Duration {
        self.opening
    }

    /// The index, if it is sharded; its shards are numbered as [`Checkpoint::shards`].
    pub fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Size of its `.safetensors` files together.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.file.bytes()).sum()
    }

    /// How many may read at once, each in another place, without one losing what another has just fetched.
    pub fn readers(&self) -> usize {
        let is_local = self.shards.iter().all(|shard| shard.file.handle().is_some());
        if is_local { usize::MAX } else { store::READERS }
    }

    /// The files it is made of.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The tensor of that name, or an error that names the file.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.path().to_owned(),
            tensor: name.to_owned(),
            context: String::new(),
        })
    }

    /// Whether any file's `__metadata__` holds `key` with `value`.
    pub fn has_metadata(&self, key: &str, value: &str) -> bool {
        self.shards.iter().any(|shard| shard.metadata.as_ref().and_then(|m| m.get(key)).is_some_and(|v| v == value))
    }

    /// Reads part of a tensor: `buffer.len()` bytes from byte `from` of the tensor on.
    pub fn read(&self, tensor: &Tensor, from: u64, buffer: &mut [u8]) -> Result<()> {
        debug_assert!(from + buffer.len() as u64 <= tensor.bytes, "range lies within the tensor");
        self.shards[tensor.shard].file.read_at(tensor.offset + from, buffer)
    }

    /// Reads a small float tensor (a norm's parameters, a bias) whole, widened to f64 without loss.
    ///
    /// `None` if its dtype is not one that can be folded.
    pub fn read_f64(&self, name: &str) -> Result<Option<Vec<f64>>> {
        let tensor = self.tensor(name)?;
        let Some(float) = tensor.dtype.float() else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(tensor.bytes).map_err(|_| too_large(self.path()))?];
        self.read(tensor, 0, &mut bytes)?;
        Ok(Some(float.widen_all(&bytes)))
    }
}

fn open_single(location: Location, budget: &HeaderBudget) -> Result<Checkpoint> {
    let unread = Unread::open(&location)?;
    let shares = vec![budget.headers.take(unread.header_bytes())];
    let (shard, tensors) = unread.read(0)?;
    let (shards, tensors) = (vec![shard], tensors.collect());
    Ok(Checkpoint { location, index: None, shards, tensors, opening: Duration::ZERO, shares })
}

/// An open file of which no more is known than how long its header is.
struct Unread {
    file: InputFile,
    length: header::Length,
}

impl Unread {
    fn open(location: &Location) -> Result<Unread> {
        let file = InputFile::open(location)?;
        let length = header::length(&file).map_err(|error| error.of(&file))?;
        Ok(Unread { file, length })
    }

    fn header_bytes(&self) -> u64 {
        self.length.declared
    }

    /// Reads and checks its header; its tensors get the shard's `number`.
    fn read(self, number: usize) -> Result<(Shard, impl Iterator<Item = (String, Tensor)> + use<>)> {
        let Unread { file, length } = self;
        let header = header::read(&file, length).map_err(|error| error.of(&file))?;
        let (metadata, tensors) = (header.metadata, numbered(header.entries, header.data_start, number));
        Ok((Shard { file, metadata }, tensors))
    }
}

/// Entries as tensors of the file of that number, whose data begin at `start`.
fn numbered(entries: Vec<header::Entry>, start: u64, shard: usize) -> impl Iterator<Item = (String, Tensor)> {
    entries.into_iter().map(move |entry| {
        let (offset, bytes) = (start + entry.begin, entry.end - entry.begin);
        (entry.name, Tensor { dtype: entry.dtype, shape: entry.shape, shard, offset, bytes })
    })
}

/// Checks that `file`, which is to stand at `location`, is what readers accept.
pub(crate) fn check_readable(location: &Location, file: &std::fs::File) -> Result<()> {
    let handle = file.try_clone().map_err(Error::io("read back", location.path()))?;
    let file = InputFile::from_handle(location, handle)?;
    let header = header::length(&file).and_then(|length| header::read(&file, length));
    header.map(drop).map_err(|error| error.of(&file))
}

/// A tensor larger than this machine's address space; only a 32-bit build can meet it.
fn too_large(path: &Path) -> Error {
    Error::io("read a tensor larger than the address space from", path)(std::io::ErrorKind::OutOfMemory.into())
}
