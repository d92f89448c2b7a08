//! 4 WRITE: every tensor that needs no folding, copied or converted.
//!
//! In: the layout of one file, the original, the output file. Out: copied ranges, converted floats, and the small tensors
//! whose bytes are known already; only the folded weights are left to be written.

use super::target::Target;
use super::{Content, ShardLayout};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};
use crate::fold::FoldOptions;

/// Bytes converted at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes copied between two looks at whether to go on.
const STEP_BYTES: usize = 64 << 20;

/// Writes everything that needs no folding; `data` is where the file's data section begins.
pub(super) fn write_unfolded(
    checkpoint: &Checkpoint,
    layout: &ShardLayout,
    data: u64,
    target: &Target,
    options: FoldOptions<'_>,
) -> Result<()> {
    let mut copies: Vec<Range> = Vec::new();
    for entry in &layout.entries {
        let to = data + entry.begin;
        match &entry.content {
            Content::Folded { .. } => {}
            Content::Bytes(bytes) => target.write_at(to, bytes)?,
            Content::Copy => {
                let tensor = checkpoint.tensor(&entry.name)?;
                let range = Range { shard: tensor.shard, from: tensor.offset, to, bytes: tensor.bytes };
                match copies.last_mut() {
                    Some(last) if last.is_followed_by(&range) => last.bytes += range.bytes,
                    _ => copies.push(range),
                }
            }
            &Content::Convert { from, to: float } => {
                let conversion = Conversion { tensor: &entry.name, from, to: float, at: to };
                conversion.write(checkpoint, target, options)?;
            }
        }
    }
    for Range { shard, from, to, bytes } in copies {
        for done in (0..bytes).step_by(STEP_BYTES) {
            options.check_cancelled()?;
            let step = (bytes - done).min(STEP_BYTES as u64);
            target.copy_from(&checkpoint.shards()[shard].file, from + done, step, to + done)?;
            (options.progress)(step);
        }
    }
    Ok(())
}

/// Bytes that are copied as they are. Neighbours in both files travel together: a system call for each of a hundred
/// thousand tensors would take longer than their bytes.
struct Range {
    shard: usize,
    from: u64,
    to: u64,
    bytes: u64,
}

impl Range {
    fn is_followed_by(&self, next: &Range) -> bool {
        self.shard == next.shard && self.from + self.bytes == next.from && self.to + self.bytes == next.to
    }
}

/// A tensor that is not folded and changes its float type.
struct Conversion<'a> {
    tensor: &'a str,
    from: Float,
    to: Float,
    /// Where it goes in the output file.
    at: u64,
}

impl Conversion<'_> {
    /// Converts it chunk by chunk, rounding every element once.
    fn write(&self, checkpoint: &Checkpoint, target: &Target, options: FoldOptions<'_>) -> Result<()> {
        let tensor = checkpoint.tensor(self.tensor)?;
        let mut done = 0;
        while done < tensor.bytes {
            options.check_cancelled()?;
            let bytes = usize::try_from(tensor.bytes - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let mut stored = vec![0; bytes];
            checkpoint.read(tensor, done, &mut stored)?;
            let values = self.from.widen_all(&stored);
            let first = done / self.from.bytes() as u64;
            match self.overflow(&values) {
                Some(index) if !options.allow_non_finite => {
                    return Err(Error::Overflow {
                        path: checkpoint.path().to_owned(),
                        tensor: self.tensor.to_owned(),
                        element: first + index as u64,
                        value: values[index],
                        dtype: self.to.name(),
                    });
                }
                _ => target.write_at(self.at + first * self.to.bytes() as u64, &self.to.narrow_all(&values))?,
            }
            (options.progress)(bytes as u64);
            done += bytes as u64;
        }
        Ok(())
    }

    /// Index of the first value that is finite and would not be any more.
    fn overflow(&self, values: &[f64]) -> Option<usize> {
        values.iter().position(|value| value.is_finite() && !self.to.round(*value).is_finite())
    }
}
