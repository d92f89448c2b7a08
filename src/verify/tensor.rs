//! 5 VERIFY: one tensor in one of the two files.
//!
//! In: a checkpoint and a name. Out: its bytes, element range by element range, and whether it is the same as another.

use crate::checkpoint::{Checkpoint, Float, Tensor};
use crate::error::Result;
use crate::fold;

/// Elements compared at a time.
pub(super) const CHUNK: usize = 1 << 18;

/// A tensor and the checkpoint that holds it.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    checkpoint: &'a Checkpoint,
    pub(super) tensor: &'a Tensor,
}

/// Some elements of a float tensor.
pub(super) struct Elements {
    pub(super) float: Float,
    pub(super) bytes: Vec<u8>,
}

impl Elements {
    /// Type and bytes, as the oracle takes them.
    pub(super) fn typed(&self) -> fold::Elements<'_> {
        fold::Elements { float: self.float, bytes: &self.bytes }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        self.bytes.chunks_exact(self.float.bytes()).map(|element| self.float.widen(element))
    }

    pub(super) fn value(&self, index: usize) -> f64 {
        self.float.widen(&self.bytes[index * self.float.bytes()..])
    }
}

impl<'a> Side<'a> {
    /// The tensor `name` of `checkpoint`, if it is there.
    pub(super) fn find(checkpoint: &'a Checkpoint, name: &str) -> Option<Side<'a>> {
        checkpoint.tensors().get(name).map(|tensor| Side { checkpoint, tensor })
    }

    /// The tensor `name` of `checkpoint`, or an error that names the file.
    pub(super) fn of(checkpoint: &'a Checkpoint, name: &str) -> Result<Side<'a>> {
        Ok(Side { checkpoint, tensor: checkpoint.tensor(name)? })
    }

    /// Reads `count` elements of type `float`, from element `first` on.
    pub(super) fn elements(self, float: Float, first: u64, count: u64) -> Result<Elements> {
        Ok(Elements { float, bytes: self.read(first, count, float.bytes())? })
    }

    /// Reads `count` units of `size` bytes, from unit `first` on.
    fn read(self, first: u64, count: u64, size: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size)];
        self.checkpoint.read(self.tensor, first * size as u64, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether two tensors are the same: bytes where the types agree, values rounded once where floats were converted.
    pub(super) fn is_same(self, other: Side<'_>) -> Result<bool> {
        if self.tensor.shape != other.tensor.shape {
            return Ok(false);
        }
        let (dtype, other_dtype) = (&self.tensor.dtype, &other.tensor.dtype);
        let floats = match (dtype == other_dtype, dtype.float(), other_dtype.float()) {
            (true, ..) => None,
            (false, Some(from), Some(to)) => Some((from, to)),
            _ => return Ok(false),
        };
        let (size, other_size) = floats.map_or((1, 1), |(from, to)| (from.bytes(), to.bytes()));
        let units = self.tensor.bytes / size as u64;
        if units * other_size as u64 != other.tensor.bytes {
            return Ok(false);
        }
        for first in (0..units).step_by(CHUNK) {
            let count = (units - first).min(CHUNK as u64);
            let (before, after) = (self.read(first, count, size)?, other.read(first, count, other_size)?);
            let equal = match floats {
                None => before == after,
                Some((from, to)) => to.narrow_all(&from.widen_all(&before)) == after,
            };
            if !equal {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
