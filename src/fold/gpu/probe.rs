//! 3 FOLD, GPU: how long the steps of a batch take, one at a time, and the adapter's own copy as the roof of its kernels.
//!
//! In: an open engine. Out: seconds a batch, with nothing overlapping: what the benchmark prints beside whole models.

use std::time::{Duration, Instant};

use super::batch::Tables;
use super::kernel::Segment;
use super::round_trip::{Recorder, RoundTrip, run};
use super::slot::{Slot, buffer};
use super::{BATCH_BYTES, GpuEngine, TILE_BYTES};
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
        let upload = self.timed(|recorder| slot.upload(recorder.queue, &stored))?;
        run(&self.device, "probe tables", |recorder| {
            slot.write_tables(recorder.queue, &tables(float));
            Ok(())
        })?;
        let kernel = self.timed(|Recorder { encoder, .. }| {
            (0..REPEAT).for_each(|_| self.kernels.scale(encoder, float, &slot.bindings, TILES, None));
            Ok(())
        })?;
        let source = self.device.checked("probe", |device, _| {
            let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            buffer(device, "copy source", BATCH_BYTES, usage)
        })?;
        run(&self.device, "probe source", |recorder| {
            recorder.queue.write_buffer(&source, 0, &stored);
            Ok(())
        })?;
        let copy = self.timed(|Recorder { encoder, .. }| {
            let bytes = BATCH_BYTES as u64;
            (0..REPEAT).for_each(|_| encoder.copy_buffer_to_buffer(&source, 0, &slot.folded, 0, bytes));
            Ok(())
        })?;
        let readback = self.read_back(&slot, stored)?;
        self.free.push(slot);
        Ok(Probe { upload, kernel: kernel / REPEAT, readback, copy: copy / REPEAT })
    }

    /// The time from the beginning of `record` to the end of what it recorded.
    fn timed(&self, record: impl FnOnce(&mut Recorder<'_>) -> Result<()>) -> Result<Duration> {
        let started = Instant::now();
        run(&self.device, "probe", record)?;
        Ok(started.elapsed())
    }

    /// Reads the result into `target`, and maps a shared slot for its next user.
    fn read_back(&self, slot: &Slot, mut target: Vec<u8>) -> Result<Duration> {
        let started = Instant::now();
        let trip = RoundTrip::start(&self.device, "probe", |recorder| {
            slot.record_readback(&mut recorder.encoder, BATCH_BYTES as u64);
            Ok(slot.result().clone())
        })?;
        trip.finish(&self.device, |result| target.copy_from_slice(&result[..BATCH_BYTES]))?;
        let elapsed = started.elapsed();
        self.remap(slot)?;
        Ok(elapsed)
    }
}

/// Tiles of a full batch.
const TILES: usize = BATCH_BYTES / TILE_BYTES;

/// A batch that is one piece of one weight.
#[expect(clippy::cast_possible_truncation, reason = "a batch has far fewer elements than 2^32")]
fn tables(float: Float) -> Tables {
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
    Tables { segments: vec![segment], tiles: vec![0; TILES], scales: vec![1.5; 1024] }
}
