//! 3 FOLD, GPU: how long the steps of a batch take, one at a time, and the adapter's own copy as the roof of its kernels.
//!
//! In: an open engine. Out: seconds a batch, with nothing overlapping: what the benchmark prints beside whole models.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::kernel::Segment;
use super::slot::{Slot, buffer};
use super::{BATCH_BYTES, GpuEngine, TILE_BYTES, TIMEOUT, received};
use crate::checkpoint::Float;
use crate::error::{Error, Result};

/// Repetitions of what is too short to be timed from outside.
const REPEAT: u32 = 8;

/// Seconds that a batch of [`BATCH_BYTES`] takes, step by step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// From host memory to where a kernel reads it.
    pub upload: Duration,
    /// The kernel alone.
    pub kernel: Duration,
    /// From where a kernel left it to host memory.
    pub readback: Duration,
    /// A copy between two buffers of the adapter.
    pub copy: Duration,
}

impl GpuEngine {
    /// Times one batch of `float` elements in rows of 4,608, those of a ResNet's last stage. No batch may be under way.
    pub fn probe(&mut self, float: Float) -> Result<Probe> {
        let missing = || Error::Gpu { reason: "a probe was asked for while batches were under way".to_owned() };
        let slot = self.free.pop().ok_or_else(missing)?;
        let stored = float.narrow_all(&vec![0.75; BATCH_BYTES / float.bytes()]);
        let upload = self.timed(|_, queue| {
            slot.upload(queue, &stored)?;
            // An empty submission takes pending writes along.
            Ok(queue.submit([]))
        })?;
        self.device.checked("probe", |_, queue| write_tables(queue, &slot, float))?;
        let tiles = BATCH_BYTES / TILE_BYTES;
        let kernel = self.timed(|device, queue| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("kernels") });
            (0..REPEAT).for_each(|_| self.kernels.scale(&mut encoder, float, &slot.bindings, tiles, None));
            Ok(queue.submit([encoder.finish()]))
        })?;
        let source = self.device.checked("probe", |device, queue| {
            let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let source = buffer(device, "copy source", BATCH_BYTES, usage);
            queue.write_buffer(&source, 0, &stored);
            (source, queue.submit([]))
        })?;
        let (source, written) = source;
        self.device.wait(&written, TIMEOUT)?;
        let copy = self.timed(|device, queue| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("copies") });
            let bytes = BATCH_BYTES as u64;
            (0..REPEAT).for_each(|_| encoder.copy_buffer_to_buffer(&source, 0, &slot.folded, 0, bytes));
            Ok(queue.submit([encoder.finish()]))
        })?;
        let readback = self.read_back(&slot, stored)?;
        self.free.push(slot);
        Ok(Probe { upload, kernel: kernel / REPEAT, readback, copy: copy / REPEAT })
    }

    /// The time from the begin of `work` to the end of what it submitted.
    fn timed(
        &self,
        work: impl FnOnce(&wgpu::Device, &wgpu::Queue) -> Result<wgpu::SubmissionIndex>,
    ) -> Result<Duration> {
        let started = Instant::now();
        let submission = self.device.checked("probe", work)??;
        self.device.wait(&submission, TIMEOUT)?;
        Ok(started.elapsed())
    }

    /// Reads the result into `target`, and maps a shared slot for its next user.
    fn read_back(&self, slot: &Slot, mut target: Vec<u8>) -> Result<Duration> {
        let started = Instant::now();
        let bytes = BATCH_BYTES as u64;
        let (sender, mapped) = channel();
        let submission = self.device.checked("probe", |device, queue| {
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
            if let Some(readback) = &slot.readback {
                encoder.copy_buffer_to_buffer(&slot.folded, 0, readback, 0, bytes);
            }
            let submission = queue.submit([encoder.finish()]);
            slot.result().map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                let _ = sender.send(result);
            });
            submission
        })?;
        self.device.wait(&submission, TIMEOUT)?;
        received(&mapped)?;
        let read = self.device.checked("probe", |_, _| {
            let copied = slot.result().get_mapped_range(0..bytes).map(|view| target.copy_from_slice(&view));
            slot.result().unmap();
            copied
        })?;
        read.map_err(|error| Error::Gpu { reason: format!("the result cannot be read: {error}") })?;
        let elapsed = started.elapsed();
        self.remap(slot)?;
        Ok(elapsed)
    }
}

/// A batch that is one piece of one weight.
#[expect(clippy::cast_possible_truncation, reason = "a batch has far fewer elements than 2^32")]
fn write_tables(queue: &wgpu::Queue, slot: &Slot, float: Float) {
    let segment = Segment {
        first_vector: 0,
        elements: (BATCH_BYTES / float.bytes()) as u32,
        first_element: 0,
        inner: 4608,
        row: 1024,
        repeats: 1,
        first_channel: 0,
        padding: 0,
    };
    queue.write_buffer(&slot.scales, 0, bytemuck::cast_slice(&[1.5f32; 1024]));
    queue.write_buffer(&slot.segments, 0, bytemuck::bytes_of(&segment));
    queue.write_buffer(&slot.tiles, 0, bytemuck::cast_slice(&[0u32; BATCH_BYTES / TILE_BYTES]));
}
