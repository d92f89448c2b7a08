//! 3 FOLD, GPU: the buffers that one batch travels through.
//!
//! In: a batch's bytes and tables. Out: the folded bytes, mapped, and how long the kernel took where the adapter has
//! clocks. Buffers and bind group are made once and used again and again.

use std::time::Duration;

use super::batch::{BATCH_BYTES, MAX_SCALES, TILE_BYTES};
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
    /// `None` where the adapter has no clocks.
    pub(super) timer: Option<Timer>,
}

impl Slot {
    pub(super) fn new((device, queue): (&wgpu::Device, &wgpu::Queue), kernels: &Kernels, shared: bool) -> Slot {
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
        Slot { stored, folded, scales, segments, tiles, readback, bindings, timer: Timer::new(device, queue) }
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

    /// Records a batch of `tiles` tiles and `bytes` bytes: poison, kernel, and where memory is not shared the way back.
    pub(super) fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        (kernels, poison): (&Kernels, &Poison),
        float: Float,
        (tiles, bytes): (usize, u64),
    ) {
        poison.fill(encoder, &self.folded, bytes);
        kernels.scale(encoder, float, &self.bindings, tiles, self.timer.as_ref());
        if let Some(readback) = &self.readback {
            encoder.copy_buffer_to_buffer(&self.folded, 0, readback, 0, bytes);
        }
        if let Some(timer) = &self.timer {
            timer.resolve(encoder, self.result(), BATCH_BYTES as u64);
        }
    }

    /// How long the kernel took; the result is mapped.
    pub(super) fn kernel_time(&self) -> Option<Duration> {
        let timer = self.timer.as_ref()?;
        let begin = BATCH_BYTES as u64;
        let times = self.result().get_mapped_range(begin..begin + TIMES_BYTES as u64).ok()?;
        timer.elapsed(&times)
    }

    /// Where the host reads the result.
    pub(super) fn result(&self) -> &wgpu::Buffer {
        self.readback.as_ref().unwrap_or(&self.folded)
    }
}

/// What result buffers are filled with before a dispatch: a NaN that no arithmetic gives, so that a dispatch that never ran
/// cannot pass for a result.
pub(super) struct Poison(wgpu::Buffer);

/// Bytes of poison where memory is shared: few enough that they stay in a cache while they are copied again and again. A
/// card of its own takes a batch in one copy.
const POISON_BYTES: usize = 128 << 10;

impl Poison {
    pub(super) fn new((device, queue): (&wgpu::Device, &wgpu::Queue), shared: bool) -> Poison {
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
    use std::sync::mpsc::channel;

    use super::*;
    use crate::fold::gpu::{GpuEngine, TIMEOUT, Wanted, received};

    #[test]
    fn poison_fills_what_is_asked_for_and_no_more() {
        let engine = GpuEngine::open(&Wanted::Any).expect("a graphics adapter, if only a software one");
        let (filled, all) = (2 * POISON_BYTES + 52, 3 * POISON_BYTES);
        for shared in [true, false] {
            let (sender, mapped) = channel();
            let copied = engine.device.checked("test", |device, queue| {
                use wgpu::BufferUsages as Usage;
                let poison = Poison::new((device, queue), shared);
                let target = buffer(device, "target", all, Usage::MAP_READ | Usage::COPY_DST);
                let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                poison.fill(&mut encoder, &target, filled as u64);
                let submission = queue.submit([encoder.finish()]);
                target.map_async(wgpu::MapMode::Read, .., move |result| sender.send(result).expect("it is awaited"));
                (target, submission)
            });
            let (target, submission) = copied.unwrap();
            engine.device.wait(&submission, TIMEOUT).unwrap();
            received(&mapped).unwrap();
            let view = target.get_mapped_range(..).unwrap();
            let (front, rest) = view.split_at(filled);
            assert!(front.chunks_exact(4).all(|word| word == POISON.to_le_bytes()), "shared: {shared}");
            assert!(rest.iter().all(|&byte| byte == 0), "shared: {shared}");
        }
    }
}
