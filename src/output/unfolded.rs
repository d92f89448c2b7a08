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
                convert(checkpoint, &entry.name, (from, float), to, target, options)?;
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

/// Converts a tensor that is not folded between float types, rounding once.
fn convert(
    checkpoint: &Checkpoint,
    name: &str,
    (from, float): (Float, Float),
    to: u64,
    target: &Target,
    options: FoldOptions<'_>,
) -> Result<()> {
    let tensor = checkpoint.tensor(name)?;
    let mut done = 0;
    while done < tensor.bytes {
        options.check_cancelled()?;
        let bytes = usize::try_from(tensor.bytes - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let mut stored = vec![0; bytes];
        checkpoint.read(tensor, done, &mut stored)?;
        let values = from.widen_all(&stored);
        let first = done / from.bytes() as u64;
        let overflows = |value: &f64| value.is_finite() && !float.round(*value).is_finite();
        if let Some(index) = values.iter().position(overflows).filter(|_| !options.allow_non_finite) {
            return Err(Error::Overflow {
                path: checkpoint.path().to_owned(),
                tensor: name.to_owned(),
                element: first + index as u64,
                value: values[index],
                dtype: float.name(),
            });
        }
        target.write_at(to + first * float.bytes() as u64, &float.narrow_all(&values))?;
        (options.progress)(bytes as u64);
        done += bytes as u64;
    }
    Ok(())
}
