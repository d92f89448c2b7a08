//! 1 READ: a checkpoint on disk becomes a table of tensors whose bytes can be fetched range by range.
//!
//! In: the path of a `.safetensors` file. Out: a [`Checkpoint`]: names, dtypes, shapes and byte ranges that were
//! checked against the file, and the open file to read from. No tensor is loaded here, nothing is mapped into memory
//! (a file that is truncated under a mapping kills the process), and no alignment is assumed.

mod dtype;
mod file;
mod header;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use dtype::{Dtype, Float};
pub use file::InputFile;
pub use header::{HEADER_LIMIT, HeaderProblem};

use crate::error::{Error, Result};

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
    path: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Opens a single `.safetensors` file and checks its header.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let file = InputFile::open(path)?;
        let header = header::read(&file).map_err(|error| match error {
            header::ReadError::Problem(problem) => Error::Header { path: path.to_owned(), problem },
            header::ReadError::Io(error) => error,
        })?;
        let tensors = header
            .entries
            .into_iter()
            .map(|entry| {
                let tensor = Tensor {
                    dtype: entry.dtype,
                    shape: entry.shape,
                    shard: 0,
                    offset: header.data_start + entry.begin,
                    bytes: entry.end - entry.begin,
                };
                (entry.name, tensor)
            })
            .collect();
        Ok(Checkpoint { path: path.to_owned(), shards: vec![Shard { file, metadata: header.metadata }], tensors })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
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
            path: self.path.clone(),
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
        let mut bytes = vec![0; usize::try_from(tensor.bytes).map_err(|_| too_large(&self.path))?];
        self.read(tensor, 0, &mut bytes)?;
        Ok(Some(float.widen_all(&bytes)))
    }
}

/// A tensor larger than this machine's address space; only a 32-bit build can meet it.
fn too_large(path: &Path) -> Error {
    Error::io("read a tensor larger than the address space from", path)(std::io::ErrorKind::OutOfMemory.into())
}
