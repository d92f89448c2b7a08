//! 3 FOLD, GPU: how long the steps of a batch take, one at a time, and the adapter's own copy as the roof of its kernels.
//!
//! In: an open engine. Out: seconds a batch, with nothing overlapping: what the benchmark prints beside whole models.

use std::time::{Duration, Instant};

use super::batch::{Batch, Tables};
use super::kernel::Segment;
use super::slot::{Slot, buffer};
use super::trip::{Recorder, Trip};
use super::{GpuEngine, TILE_BYTES};
use crate::checkpoint::Float;
use crate::error::{Error, Result};

/// Repetitions of what is too short to be timed from outside.
const REPEAT: u32 = 8;

/// Seconds that a batch takes, step by step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Bytes of the batch.
    pub bytes: usize,
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
    /// Times one batch of `float` elements in rows of 4,608, those of a ResNet's last stage. No other batch should be under
    /// way.
    pub fn probe(&self, float: Float) -> Result<Probe> {
        let missing = || Error::Gpu { reason: "a probe was asked for while all slots are in use".to_owned() };
        let mut slot = self.free().pop().ok_or_else(missing)?;
        let bytes = slot.capacity();
        let batch = Batch::of_one_piece(float, bytes);
        let tables = tables(float, bytes);
        let stored = float.narrow_all(&vec![0.75; bytes / float.bytes()]);
        self.write(&mut slot, |slot, view| {
            slot.fill(view, (&batch, &tables, 0), |_, piece| {
                piece.copy_from_slice(&stored);
                Ok(())
            })
        })?;
        self.timed(&slot, |recorder| slot.record_upload(&mut recorder.encoder, bytes, tables.scales.len()))?;
        let started = Instant::now();
        self.write(&mut slot, |_, view| {
            view.slice(0..bytes).copy_from_slice(&stored);
            Ok(())
        })?;
        self.timed(&slot, |recorder| slot.record_upload(&mut recorder.encoder, bytes, 0))?;
        let upload = started.elapsed();
        let kernel = self.timed(&slot, |Recorder { encoder, .. }| {
            let tiles = bytes / TILE_BYTES;
            (0..REPEAT).for_each(|_| self.kernels.scale(encoder, float, &slot.bindings, tiles, None));
        })?;
        let [source, target] = self.device.checked("probe", |device, _| {
            let usages = [wgpu::BufferUsages::COPY_SRC, wgpu::BufferUsages::COPY_DST];
            usages.map(|usage| buffer(device, "probe copy", bytes, usage))
        })?;
        let copy = self.timed(&slot, |Recorder { encoder, .. }| {
            (0..REPEAT).for_each(|_| encoder.copy_buffer_to_buffer(&source, 0, &target, 0, bytes as u64));
        })?;
        let readback = self.read_back(&slot, stored)?;
        self.give_back(slot);
        Ok(Probe { bytes, upload, kernel: kernel / REPEAT, readback, copy: copy / REPEAT })
    }

    /// Has `write` write to the upload of a slot at rest.
    fn write(
        &self,
        slot: &mut Slot,
        write: impl FnOnce(&mut Slot, &mut wgpu::BufferViewMut) -> Result<()>,
    ) -> Result<()> {
        let mut view = self.upload_view(slot)?;
        write(slot, &mut view)
    }

    /// The time from the beginning of `record` to the end of what it recorded.
    fn timed(&self, slot: &Slot, record: impl FnOnce(&mut Recorder<'_>)) -> Result<Duration> {
        let started = Instant::now();
        self.trip(slot, record)?.finish(&self.device, |_| ())?;
        Ok(started.elapsed())
    }

    /// The time that it takes to read a result into `target`.
    fn read_back(&self, slot: &Slot, mut target: Vec<u8>) -> Result<Duration> {
        let started = Instant::now();
        let bytes = target.len();
        let trip = self.trip(slot, |recorder| slot.record_readback(&mut recorder.encoder, bytes))?;
        trip.finish(&self.device, |result| target.copy_from_slice(&result[..bytes]))?;
        Ok(started.elapsed())
    }

    /// Submits what `record` records, between what the host writes to a slot and what it reads from it.
    fn trip(&self, slot: &Slot, record: impl FnOnce(&mut Recorder<'_>)) -> Result<Trip> {
        Trip::start_from(&self.device, "probe", Some(slot.upload()), |recorder| {
            record(recorder);
            slot.result().clone()
        })
    }
}

/// A batch that is one piece of one weight.
#[expect(clippy::cast_possible_truncation, reason = "a batch has far fewer elements than 2^32")]
fn tables(float: Float, bytes: usize) -> Tables {
    let segment = Segment {
        first_vector: 0,
        elements: (bytes / float.bytes()) as u32,
        first_element: 0,
        inner: 4608,
        row: 4096,
        repeats: 1,
        first_channel: 0,
        padding: 0,
    };
    Tables { segments: vec![segment], tiles: vec![0; bytes / TILE_BYTES], scales: vec![1.5; 4096] }
}
