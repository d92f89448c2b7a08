//! 3 FOLD, GPU: the engine that runs `shaders/` through wgpu.
//!
//! In: batches of weights and the scales of their channels. Out: the folded batches, in the order they came. Up to
//! three batches are under way at once, so that reading, the shader and checking overlap. Every failure of the
//! device, also a silent one, is an `Err`; the caller then takes all batches back and finishes on the CPU.

mod batch;
mod device;
mod kernel;
mod probe;
mod slot;
mod timer;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub use batch::{BATCH_BYTES, Batch, TILE_BYTES, can_fold};
pub use device::{AdapterSummary, Wanted, adapters, pick};
use kernel::Kernels;
pub use probe::Probe;
use slot::{Poison, Slot, buffer};

use super::{Job, Piece};
use crate::error::{Error, Result};
use device::Device;

/// Batches under way at once.
const SLOTS: usize = 3;

/// A dispatch of one batch takes milliseconds; a device that needs longer than this is taken for hung.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The GPU engine.
pub struct GpuEngine {
    device: Device,
    kernels: Kernels,
    poison: Poison,
    free: Vec<Slot>,
    under_way: VecDeque<UnderWay>,
    /// Host memory of batches that are done: fresh pages for every batch would cost more than its kernel.
    spare: Vec<Vec<u64>>,
    /// The kernels' time by the adapter's clock; `None` once it failed to tell.
    kernel_time: Option<Duration>,
}

/// A batch's result, aligned for every element type.
pub struct Folded {
    words: Vec<u64>,
    bytes: usize,
}

impl Folded {
    /// A copy of `bytes` in `words`, which have room for a batch.
    fn copy(bytes: &[u8], mut words: Vec<u64>) -> Folded {
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Folded { words, bytes: bytes.len() }
    }
}

impl std::ops::Deref for Folded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}

/// A batch that the device did not take.
pub struct Refused {
    /// The batch, as it was.
    pub batch: Batch,
    /// Why.
    pub error: Error,
}

struct UnderWay {
    batch: Batch,
    slot: Slot,
    submission: wgpu::SubmissionIndex,
    mapped: Receiver<Result<(), wgpu::BufferAsyncError>>,
}

impl GpuEngine {
    /// Opens the wanted adapter and makes the buffers; pipelines are made when they are needed.
    pub fn open(wanted: &Wanted) -> Result<GpuEngine> {
        let device = Device::open(wanted)?;
        let shared = device.summary().shares_memory;
        let (kernels, poison, free) = device.checked("set-up", |device, queue| {
            let kernels = Kernels::new(device);
            let poison = Poison::new((device, queue), shared);
            let free = (0..SLOTS).map(|_| Slot::new((device, queue), &kernels, shared)).collect();
            (kernels, poison, free)
        })?;
        let (under_way, spare) = (VecDeque::new(), Vec::new());
        Ok(GpuEngine { device, kernels, poison, free, under_way, spare, kernel_time: Some(Duration::ZERO) })
    }

    /// Which adapter it runs on.
    pub fn adapter(&self) -> &AdapterSummary {
        self.device.summary()
    }

    /// Whether another batch can be submitted before one is collected.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Host memory for a batch of [`BATCH_BYTES`], used before if there is any.
    pub fn spare(&mut self) -> Vec<u64> {
        self.spare.pop().unwrap_or_else(|| vec![0; BATCH_BYTES / 8])
    }

    /// Takes the memory of a batch and its result back.
    pub fn recycle(&mut self, batch: Batch, folded: Folded) {
        self.spare.extend([batch.into_memory(), folded.words]);
    }

    /// The time that the kernels of all batches took since the last call, by the adapter's clock; `None` if it has none.
    pub fn take_kernel_time(&mut self) -> Option<Duration> {
        self.kernel_time.replace(Duration::ZERO)
    }

    /// Uploads a batch and starts its dispatch. A batch that could not be started comes back with the error.
    pub fn submit(&mut self, batch: Batch, jobs: &[Job<'_>]) -> Result<(), Refused> {
        let Some(slot) = self.free.pop() else {
            let reason = "more batches were submitted than there are slots".to_owned();
            return Err(Refused { batch, error: Error::Gpu { reason } });
        };
        let (segments, tiles, scales) = batch.tables(jobs);
        let bytes = batch.stored().len() as u64;
        let (sender, mapped) = channel();
        let started = self.device.checked("dispatch", |device, queue| {
            slot.upload(queue, batch.stored())?;
            queue.write_buffer(&slot.scales, 0, bytemuck::cast_slice(&scales));
            queue.write_buffer(&slot.segments, 0, bytemuck::cast_slice(&segments));
            queue.write_buffer(&slot.tiles, 0, bytemuck::cast_slice(&tiles));
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("batch") });
            slot.record(&mut encoder, (&self.kernels, &self.poison), batch.float(), (tiles.len(), bytes));
            let submission = queue.submit([encoder.finish()]);
            slot.result().map_async(wgpu::MapMode::Read, .., move |result| {
                // The receiver is gone only if the engine was given up.
                let _ = sender.send(result);
            });
            Ok(submission)
        });
        match started.and_then(|submission| submission) {
            Ok(submission) => {
                self.under_way.push_back(UnderWay { batch, slot, submission, mapped });
                Ok(())
            }
            Err(error) => Err(Refused { batch, error }),
        }
    }

    /// Waits for the oldest batch; `None` if there is none. Returns it with the folded bytes.
    pub fn collect(&mut self) -> Result<Option<(Batch, Folded)>> {
        if self.under_way.is_empty() {
            return Ok(None);
        }
        let words = self.spare();
        let Some(oldest) = self.under_way.front() else { return Ok(None) };
        self.device.wait(&oldest.submission, TIMEOUT)?;
        received(&oldest.mapped)?;
        let bytes = oldest.batch.stored().len() as u64;
        let mut kernel_time = None;
        let folded = self.device.checked("readback", |_, _| {
            let result = oldest.slot.result();
            let folded = result.get_mapped_range(0..bytes).map(|view| Folded::copy(&view, words));
            kernel_time = oldest.slot.kernel_time();
            result.unmap();
            folded
        })?;
        self.remap(&oldest.slot)?;
        let folded = folded.map_err(|error| Error::Gpu { reason: format!("the result cannot be read: {error}") })?;
        self.kernel_time = self.kernel_time.zip(kernel_time).map(|(sum, time)| sum + time);
        Ok(self.under_way.pop_front().map(|UnderWay { batch, slot, .. }| {
            self.free.push(slot);
            (batch, folded)
        }))
    }

    /// Where memory is shared: maps the input of a slot that is done, for its next batch.
    fn remap(&self, slot: &Slot) -> Result<()> {
        if slot.readback.is_some() {
            return Ok(());
        }
        let (sender, mapped) = channel();
        self.device.checked("mapping", |device, _| {
            slot.stored.map_async(wgpu::MapMode::Write, .., move |result| {
                let _ = sender.send(result);
            });
            // Nothing uses it any more, so a single poll maps it.
            let _ = device.poll(wgpu::PollType::Poll);
        })?;
        received(&mapped)
    }

    /// Waits for all batches under way and throws their results away; `false` if the device failed meanwhile.
    pub fn drain(&mut self) -> bool {
        loop {
            match self.collect() {
                Ok(None) => return true,
                Ok(Some(_)) => {}
                Err(_) => return false,
            }
        }
    }

    /// Gives the device up; returns the pieces that were under way.
    pub fn abandon(self) -> Vec<Piece> {
        let GpuEngine { device, kernels, poison, free, under_way, .. } = self;
        let mut pieces = Vec::new();
        let mut slots = free;
        for UnderWay { batch, slot, .. } in under_way {
            pieces.extend(batch.into_pieces());
            slots.push(slot);
        }
        // Dropping what belongs to a broken device may panic in its driver.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop((slots, poison, kernels, device))));
        pieces
    }

    /// The shift of all channels: twin of [`super::cpu::shift`].
    pub fn shift(&mut self, moved: &[f32], beta: &[f32]) -> Result<Vec<f32>> {
        let mut shifted = Vec::with_capacity(moved.len());
        for (moved, beta) in moved.chunks(BATCH_BYTES / 4).zip(beta.chunks(BATCH_BYTES / 4)) {
            shifted.extend(self.shift_chunk(moved, beta)?);
        }
        Ok(shifted)
    }

    fn shift_chunk(&mut self, moved: &[f32], beta: &[f32]) -> Result<Vec<f32>> {
        let bytes = moved.len() * 4;
        let (sender, mapped) = channel();
        let (readback, submission) = self.device.checked("shift", |device, queue| {
            use wgpu::BufferUsages as Usage;
            let input = |label, values: &[f32]| {
                let buffer = buffer(device, label, bytes, Usage::STORAGE | Usage::COPY_DST);
                queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
                buffer
            };
            let (moved, beta) = (input("moved", moved), input("beta", beta));
            let shifted = buffer(device, "shifted", bytes, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST);
            let readback = buffer(device, "shift readback", bytes, Usage::MAP_READ | Usage::COPY_DST);
            let bindings = self.kernels.bind_shift(device, [&moved, &beta, &shifted]);
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("shift") });
            self.poison.fill(&mut encoder, &shifted, bytes as u64);
            self.kernels.shift(&mut encoder, &bindings, bytes / 4);
            encoder.copy_buffer_to_buffer(&shifted, 0, &readback, 0, bytes as u64);
            let submission = queue.submit([encoder.finish()]);
            readback.map_async(wgpu::MapMode::Read, .., move |result| {
                let _ = sender.send(result);
            });
            (readback, submission)
        })?;
        self.device.wait(&submission, TIMEOUT)?;
        received(&mapped)?;
        let view = readback.get_mapped_range(..);
        let view = view.map_err(|error| Error::Gpu { reason: format!("the shifts cannot be read: {error}") })?;
        Ok(view.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    }

    /// What destroys the device, as a driver reset would, even while the engine is at work: the test of what happens
    /// then.
    #[doc(hidden)]
    pub fn loser(&self) -> impl Fn() + use<> {
        self.device.destroyer()
    }
}

/// Waits for the callback of a mapping.
fn received(mapped: &Receiver<Result<(), wgpu::BufferAsyncError>>) -> Result<()> {
    match mapped.recv_timeout(TIMEOUT) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::Gpu { reason: format!("a buffer cannot be mapped: {error}") }),
        Err(error) => Err(Error::Gpu { reason: format!("a mapping never came: {error}") }),
    }
}
