//! 3 FOLD, GPU: the buffers that one batch travels through.
//!
//! In: a batch's bytes and tables. Out: the folded bytes, mapped, and how long the kernel took where the adapter has
//! clocks. Buffers and bind group are made once and used again and again.

use std::time::Duration;

use super::batch::{BATCH_BYTES, MAX_SCALES, TILE_BYTES, Tables};
use super::kernel::{Kernels, POISON, Segment};
use super::timer::{TIMES_BYTES, Timer};
use crate::checkpoint::Float;
use crate::error::{Error, Result};

/// The buffers of one batch, used again and again.
pub(super) struct Slot {
    /// Where memory is shared it is mapped whenever the slot is free.
    pub(super) stored: wgpu::Buffer,
    pub(super) folded: wgpu::Buffer,
    pub(super) scales: wgpu::Buffer,
    pub(super) segments: wgpu::Buffer,
    pub(super) tiles: wgpu::Buffer,
    /// Where the host reads the result; `None` where memory is shared and it reads `folded` itself.
    pub(super) readback: Option<wgpu::Buffer>,
    pub(super) bindings: wgpu::BindGroup,
    poison: Poison,
    /// `None` where the adapter has no clocks.
    pub(super) timer: Option<Timer>,
}

impl Slot {
    pub(super) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        kernels: &Kernels,
        poison: &Poison,
        shared: bool,
    ) -> Slot {
        use wgpu::BufferUsages as Usage;
        let input = Usage::STORAGE | Usage::COPY_DST;
        let tiles = BATCH_BYTES / TILE_BYTES;
        let stored = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stored"),
            size: BATCH_BYTES as u64,
            usage: if shared { Usage::STORAGE | Usage::MAP_WRITE } else { input },
            mapped_at_creation: shared,
        });
        let result = if shared { Usage::MAP_READ } else { Usage::COPY_SRC };
        // The kernel's times travel at the end of the result: one mapping brings both.
        let result_bytes = BATCH_BYTES + TIMES_BYTES;
        let folded = buffer(device, "folded", result_bytes, input | result);
        let scales = buffer(device, "scales", MAX_SCALES * 4, input);
        let segments = buffer(device, "segments", tiles * size_of::<Segment>(), input);
        let tiles = buffer(device, "tiles", tiles * 4, input);
        let readback = (!shared).then(|| buffer(device, "readback", result_bytes, Usage::MAP_READ | Usage::COPY_DST));
        let bindings = kernels.bind_batch(device, [&stored, &folded, &scales, &segments, &tiles]);
        let (poison, timer) = (poison.clone(), Timer::new(device, queue));
        Slot { stored, folded, scales, segments, tiles, readback, bindings, poison, timer }
    }

    /// Brings a batch's elements to where the shader reads them.
    pub(super) fn upload(&self, queue: &wgpu::Queue, stored: &[u8]) -> Result<()> {
        if self.readback.is_some() {
            queue.write_buffer(&self.stored, 0, stored);
            return Ok(());
        }
        let view = self.stored.get_mapped_range_mut(0..stored.len() as u64);
        let mut view = view.map_err(|error| Error::Gpu { reason: format!("a buffer cannot be written: {error}") })?;
        view.copy_from_slice(stored);
        drop(view);
        self.stored.unmap();
        Ok(())
    }

    /// Brings a batch's tables to where the shader reads them.
    pub(super) fn write_tables(&self, queue: &wgpu::Queue, tables: &Tables) {
        queue.write_buffer(&self.scales, 0, bytemuck::cast_slice(&tables.scales));
        queue.write_buffer(&self.segments, 0, bytemuck::cast_slice(&tables.segments));
        queue.write_buffer(&self.tiles, 0, bytemuck::cast_slice(&tables.tiles));
    }

    /// Records a batch of `bytes` bytes, whole tiles: poison, kernel, and where memory is not shared the way back.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder, kernels: &Kernels, float: Float, bytes: usize) {
        self.poison.fill(encoder, &self.folded, bytes as u64);
        kernels.scale(encoder, float, &self.bindings, bytes / TILE_BYTES, self.timer.as_ref());
        self.record_readback(encoder, bytes as u64);
        if let Some(timer) = &self.timer {
            timer.resolve(encoder, self.result(), BATCH_BYTES as u64);
        }
    }

    /// Records the way back of `bytes` bytes; where memory is shared there is none.
    pub(super) fn record_readback(&self, encoder: &mut wgpu::CommandEncoder, bytes: u64) {
        if let Some(readback) = &self.readback {
            encoder.copy_buffer_to_buffer(&self.folded, 0, readback, 0, bytes);
        }
    }

    /// How long the kernel took, of a whole `result`.
    pub(super) fn kernel_time(&self, result: &[u8]) -> Option<Duration> {
        self.timer.as_ref()?.elapsed(result.get(BATCH_BYTES..)?)
    }

    /// Where the host reads the result.
    pub(super) fn result(&self) -> &wgpu::Buffer {
        self.readback.as_ref().unwrap_or(&self.folded)
    }
}

/// What result buffers are filled with before a dispatch: a NaN that no arithmetic gives, so that a dispatch that never ran
/// cannot pass for a result.
#[derive(Clone)]
pub(super) struct Poison(wgpu::Buffer);

/// Bytes of poison where memory is shared: few enough that they stay in a cache while they are copied again and again. A
/// card of its own takes a batch in one copy.
const POISON_BYTES: usize = 128 << 10;

impl Poison {
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue, shared: bool) -> Poison {
        let bytes = if shared { POISON_BYTES } else { BATCH_BYTES };
        let poison = buffer(device, "poison", bytes, wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST);
        queue.write_buffer(&poison, 0, &POISON.to_le_bytes().repeat(bytes / 4));
        Poison(poison)
    }

    /// Records the filling of the first `bytes` bytes of `target`.
    pub(super) fn fill(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, bytes: u64) {
        let mut begin = 0;
        while begin < bytes {
            let some = self.0.size().min(bytes - begin);
            encoder.copy_buffer_to_buffer(&self.0, 0, target, begin, some);
            begin += some;
        }
    }
}

pub(super) fn buffer(device: &wgpu::Device, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes as u64,
        usage,
        mapped_at_creation: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::gpu::round_trip::RoundTrip;
    use crate::fold::gpu::{GpuEngine, Wanted};

    #[test]
    fn poison_fills_what_is_asked_for_and_no_more() {
        let engine = GpuEngine::open(&Wanted::Any).expect("a graphics adapter, if only a software one");
        let (filled, all) = (2 * POISON_BYTES + 52, 3 * POISON_BYTES);
        for shared in [true, false] {
            let trip = RoundTrip::start(&engine.device, "test", |recorder| {
                use wgpu::BufferUsages as Usage;
                let poison = Poison::new(recorder.device, recorder.queue, shared);
                let target = buffer(recorder.device, "target", all, Usage::MAP_READ | Usage::COPY_DST);
                poison.fill(&mut recorder.encoder, &target, filled as u64);
                Ok(target)
            });
            let found = trip.unwrap().finish(&engine.device, <[u8]>::to_vec).unwrap();
            let (front, rest) = found.split_at(filled);
            assert!(front.chunks_exact(4).all(|word| word == POISON.to_le_bytes()), "shared: {shared}");
            assert!(rest.len() == all - filled && rest.iter().all(|&byte| byte == 0), "shared: {shared}");
        }
    }
}
