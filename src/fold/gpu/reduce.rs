//! 3 FOLD, GPU: sums of a weight's elements and of their squares. Twin of [`crate::fold::reduce`].
//!
//! In: parts of one weight that follow each other, with the units of their channels. Out: their sums, in integers. A
//! dispatch travels through the buffers of a batch: the elements as ever, tops where scales lie, sums where folded
//! elements come out.

use std::sync::mpsc::channel;

use super::kernel::{Segment, SplitSums};
use super::slot::Slot;
use super::{BATCH_BYTES, GpuEngine, TILE_BYTES, TIMEOUT, received};
use crate::checkpoint::Float;
use crate::error::{Error, Result};
use crate::fold::reduce::{Measured, PART_ELEMENTS, Sums, joined};

/// The most sums, those of all parts together, that a dispatch can hold.
const MAX_SUMS: usize = BATCH_BYTES / size_of::<SplitSums>();

/// Whether the GPU can reduce parts of a weight: no f64, for which there is no kernel; indices within the shader's 32
/// bits; the sums of each part within a dispatch.
pub fn can_reduce(parts: &[Measured<'_>]) -> bool {
    let fits = |number: u64| u32::try_from(number).is_ok();
    parts.iter().all(|Measured { part, channels, .. }| {
        let map = part.map;
        part.float != Float::F64
            && fits(part.first + part.elements() as u64)
            && [map.inner, map.row, map.repeats].into_iter().all(fits)
            && channels.len() <= MAX_SUMS
    })
}

impl GpuEngine {
    /// The sums of every part: twin of [`Measured::sums`]. The parts' elements lie in `words`, one part after the other,
    /// every part but the last of [`PART_ELEMENTS`]. [`can_reduce`] them, or this is an error.
    pub fn reduce(&self, words: &[u64], parts: &[Measured<'_>]) -> Result<Vec<Sums>> {
        if !can_reduce(parts) {
            return Err(Error::Gpu { reason: "a weight was to be reduced for which there is no kernel".to_owned() });
        }
        let mut sums = Vec::with_capacity(parts.len());
        let mut words = words;
        while let rest @ [_, ..] = &parts[sums.len()..] {
            let now = &rest[..fitting(rest)];
            let (front, back) = words.split_at(words.len().min(now.len() * part_bytes(rest) / 8));
            sums.extend(self.reduce_some(front, now)?);
            words = back;
        }
        Ok(sums)
    }

    /// The same for parts that fit into one dispatch.
    fn reduce_some(&self, words: &[u64], parts: &[Measured<'_>]) -> Result<Vec<Sums>> {
        let missing = || Error::Gpu { reason: "a reduction was asked for while batches were under way".to_owned() };
        let slot = self.free.last().ok_or_else(missing)?;
        let (segments, tiles) = tables(parts);
        let tops = parts.iter().flat_map(|part| &part.tops).copied().collect::<Vec<_>>();
        let float = parts.first().map_or(Float::F32, |part| part.part.float);
        let bytes = (tops.len() * size_of::<SplitSums>()) as u64;
        let (sender, mapped) = channel();
        let submission = self.device.checked("reduction", |device, queue| {
            slot.upload(queue, bytemuck::cast_slice(words))?;
            queue.write_buffer(&slot.scales, 0, bytemuck::cast_slice(&tops));
            queue.write_buffer(&slot.segments, 0, bytemuck::cast_slice(&segments));
            queue.write_buffer(&slot.tiles, 0, bytemuck::cast_slice(&tiles));
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("reduction") });
            encoder.clear_buffer(&slot.folded, 0, Some(bytes));
            self.kernels.reduce(&mut encoder, float, &slot.bindings, tiles.len());
            if let Some(readback) = &slot.readback {
                encoder.copy_buffer_to_buffer(&slot.folded, 0, readback, 0, bytes);
            }
            let submission = queue.submit([encoder.finish()]);
            slot.result().map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                let _ = sender.send(result);
            });
            Ok(submission)
        })??;
        self.device.wait(&submission, TIMEOUT)?;
        received(&mapped)?;
        self.read_sums(slot, parts, bytes)
    }

    /// Reads the result of a dispatch, which is mapped, and makes the slot ready for the next one.
    fn read_sums(&self, slot: &Slot, parts: &[Measured<'_>], bytes: u64) -> Result<Vec<Sums>> {
        let sums = self.device.checked("reduction", |_, _| {
            let sums = slot.result().get_mapped_range(0..bytes).map(|view| by_part(&view, parts));
            slot.result().unmap();
            sums
        })?;
        self.remap(slot)?;
        sums.map_err(|error| Error::Gpu { reason: format!("the sums cannot be read: {error}") })
    }
}

/// Bytes of every part but the last.
fn part_bytes(parts: &[Measured<'_>]) -> usize {
    PART_ELEMENTS * parts.first().map_or(0, |part| part.part.float.bytes())
}

/// How many of the parts fit into one dispatch; at least the first one.
fn fitting(parts: &[Measured<'_>]) -> usize {
    let most = BATCH_BYTES / part_bytes(parts).max(1);
    let sums = parts.iter().scan(0, |sums, part| {
        *sums += part.channels.len();
        Some(*sums)
    });
    sums.take(most).take_while(|&sums| sums <= MAX_SUMS).count().max(1)
}

/// The parts in the shader's terms, and which of them every tile belongs to.
#[expect(clippy::cast_possible_truncation, reason = "can_reduce admitted only what fits into 32 bits")]
fn tables(parts: &[Measured<'_>]) -> (Vec<Segment>, Vec<u32>) {
    let (mut segments, mut tiles, mut first_sum) = (Vec::new(), Vec::new(), 0);
    for (index, Measured { part, channels, .. }) in parts.iter().enumerate() {
        // Channel 0 of a part that begins later in the weight lies before the part's sums.
        let first_channel = (first_sum as u32).wrapping_sub(channels.start as u32);
        tiles.extend(std::iter::repeat_n(index as u32, part.stored.len().div_ceil(TILE_BYTES)));
        segments.push(Segment::new(index * part_bytes(parts), (part.first, part.elements()), part.map, first_channel));
        first_sum += channels.len();
    }
    (segments, tiles)
}

/// Sums from the shader's words, part by part.
fn by_part(bytes: &[u8], parts: &[Measured<'_>]) -> Vec<Sums> {
    let mut all = bytes.chunks_exact(size_of::<SplitSums>()).map(bytemuck::pod_read_unaligned::<SplitSums>);
    let part = |part: &Measured<'_>| {
        let join = |sums: SplitSums| (sums.values, joined(sums.low, sums.high));
        let (values, squares) = all.by_ref().take(part.channels.len()).map(join).unzip();
        Sums { values, squares }
    };
    parts.iter().map(part).collect()
}
