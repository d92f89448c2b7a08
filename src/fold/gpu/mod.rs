//! 3 FOLD, GPU: the engine that runs `shaders/` through wgpu.
//!
//! In: batches of weights and the scales of their channels. Out: the folded batches, in the order they came. Up to
//! three batches are under way at once, so that reading, the shader and checking overlap. Every failure of the
//! device, also a silent one, is an `Err`; the caller then takes all batches back and finishes on the CPU.

mod adapter;
mod batch;
mod device;
mod kernel;
mod pipeline;
mod probe;
mod round_trip;
mod shift;
mod slot;
mod timer;

use std::collections::VecDeque;
use std::time::Duration;

pub use adapter::{AdapterSummary, Wanted, adapters, pick};
pub use batch::{BATCH_BYTES, Batch, TILE_BYTES, can_fold};
use kernel::Kernels;
pub use probe::Probe;
use round_trip::{RoundTrip, map_for_writing};
use slot::{Poison, Slot};

use super::{Piece, WeightJob};
use crate::error::{Error, Result};
use device::Device;

/// Batches under way at once.
const SLOTS: usize = 3;

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
    trip: RoundTrip,
}

impl GpuEngine {
    /// Opens the wanted adapter and makes the buffers; pipelines are made when they are needed.
    pub fn open(wanted: &Wanted) -> Result<GpuEngine> {
        let device = Device::open(wanted)?;
        let shared = device.summary().shares_memory;
        let (kernels, poison, free) = device.checked("set-up", |device, queue| {
            let kernels = Kernels::new(device);
            let poison = Poison::new(device, queue, shared);
            let free = (0..SLOTS).map(|_| Slot::new(device, queue, &kernels, &poison, shared)).collect();
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
    pub fn submit(&mut self, batch: Batch, jobs: &[WeightJob<'_>]) -> Result<(), Refused> {
        let Some(slot) = self.free.pop() else {
            let reason = "more batches were submitted than there are slots".to_owned();
            return Err(Refused { batch, error: Error::Gpu { reason } });
        };
        let tables = batch.tables(jobs);
        let started = RoundTrip::start(&self.device, "batch", |recorder| {
            slot.upload(recorder.queue, batch.stored())?;
            slot.write_tables(recorder.queue, &tables);
            slot.record(&mut recorder.encoder, &self.kernels, batch.float(), batch.stored().len());
            Ok(slot.result().clone())
        });
        match started {
            Ok(trip) => {
                self.under_way.push_back(UnderWay { batch, slot, trip });
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
        let Some(UnderWay { batch, slot, trip }) = self.under_way.front() else { return Ok(None) };
        let (folded, kernel_time) = trip.finish(&self.device, |result| {
            (Folded::copy(&result[..batch.stored().len()], words), slot.kernel_time(result))
        })?;
        self.remap(slot)?;
        self.kernel_time = self.kernel_time.zip(kernel_time).map(|(sum, time)| sum + time);
        Ok(self.under_way.pop_front().map(|UnderWay { batch, slot, .. }| {
            self.free.push(slot);
            (batch, folded)
        }))
    }

    /// Where memory is shared: maps the input of a slot that is done, for its next batch.
    fn remap(&self, slot: &Slot) -> Result<()> {
        if slot.readback.is_some() { Ok(()) } else { map_for_writing(&self.device, &slot.stored) }
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

    /// What destroys the device, as a driver reset would, even while the engine is at work: the test of what happens
    /// then.
    #[doc(hidden)]
    pub fn loser(&self) -> impl Fn() + use<> {
        self.device.destroyer()
    }
}
