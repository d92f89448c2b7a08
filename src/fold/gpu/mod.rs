//! 3 FOLD, GPU: the engine that runs `shaders/` through wgpu.
//!
//! In: pieces of weights and the scales of their channels. Out: the folded pieces, through the gate. Several batches are
//! under way at once, of several models if there are, so that reading, the bus, the shader and checking overlap. Every failure
//! of the device, also a silent one, is remembered and told; the pieces it concerns come back, and the CPU folds them.

mod adapter;
mod batch;
mod device;
mod flow;
mod kernel;
mod pipeline;
mod probe;
mod shift;
mod slot;
mod timer;
mod trip;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

pub use adapter::{AdapterSummary, Adapters, Wanted};
pub use batch::{TILE_BYTES, can_fold};
use kernel::Kernels;
pub use probe::Probe;
use slot::Slot;
use trip::Trip;

use self::batch::Batch;
use super::{Piece, WeightJob};
use crate::error::{Error, Result};
use device::Device;

/// Batches under way at once.
const SLOTS: usize = 4;

/// Bytes of a batch where host and adapter share memory, and the least elsewhere: enough to hide the cost of a submission on
/// llvmpipe, few enough that both find them in a cache (there batches of 8 MiB take a tenth longer).
pub const BATCH_BYTES: usize = 2 << 20;

/// Bytes of a batch that goes over a bus, which it takes a multiple of what a submission costs; far below the default limit
/// of 128 MiB a binding.
const BUS_BATCH_BYTES: usize = 16 << 20;

/// How to use an adapter.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineOptions {
    /// Have the adapter's own clock tell how long kernels take, if it has one.
    pub timed: bool,
}

/// The GPU engine; shared by the models that are folded on it at the same time.
pub struct GpuEngine {
    device: Device,
    kernels: Kernels,
    /// Slots at rest; locked before a flow's state where both are.
    free: Mutex<Vec<Slot>>,
    /// Told whenever a slot comes back, and when the state of a flow changes.
    changed: Condvar,
    /// How many batches were submitted.
    batches: AtomicU64,
    /// Why the device is not to be used any more.
    failure: OnceLock<String>,
}

/// A batch on the device.
struct UnderWay {
    batch: Batch,
    slot: Slot,
    trip: Trip,
    number: u64,
}

impl GpuEngine {
    /// Opens the wanted adapter and makes the buffers; pipelines are made when they are needed.
    pub fn open(wanted: &Wanted) -> Result<GpuEngine> {
        Adapters::find().open(wanted, EngineOptions::default())
    }

    fn new(device: Device, options: EngineOptions) -> Result<GpuEngine> {
        let shared = device.summary().shares_memory;
        let capacity = if shared { BATCH_BYTES } else { BUS_BATCH_BYTES };
        let (kernels, free) = device.checked("set-up", |device, queue| {
            let kernels = Kernels::new(device);
            let slot = |_| Slot::new(device, queue, &kernels, capacity, shared, options.timed);
            let free = (0..SLOTS).map(slot).collect();
            (kernels, free)
        })?;
        let (free, changed, failure) = (Mutex::new(free), Condvar::new(), OnceLock::new());
        Ok(GpuEngine { device, kernels, free, changed, batches: AtomicU64::new(0), failure })
    }

    /// Which adapter it runs on.
    pub fn adapter(&self) -> &AdapterSummary {
        self.device.summary()
    }

    /// Why the device is not to be used any more, if it failed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// The device is not to be used any more.
    pub(super) fn fail(&self, reason: &str) {
        // The first failure is the cause.
        let _ = self.failure.set(reason.to_owned());
        self.wake();
    }

    /// The most bytes of a batch where there are so many in all: small models are cut smaller, so that there is something to
    /// overlap.
    fn batch_bytes(&self, all: usize) -> usize {
        let capacity = if self.adapter().shares_memory { BATCH_BYTES } else { BUS_BATCH_BYTES };
        (all / (2 * SLOTS)).next_multiple_of(TILE_BYTES).clamp(BATCH_BYTES, capacity)
    }

    /// Reads a batch into `slot`, a piece a call of `read`, and starts it. The outer `Err` is a piece's that cannot be read;
    /// the batch comes back if the device failed.
    fn submit(
        &self,
        mut slot: Slot,
        batch: Batch,
        jobs: &[WeightJob<'_>],
        read: impl FnMut(Piece, &mut [u8]) -> Result<()>,
    ) -> Result<Result<UnderWay, Batch>> {
        let number = self.batches.fetch_add(1, Ordering::Relaxed) + 1;
        let tables = batch.tables(jobs);
        let mut view = match self.upload_view(&slot) {
            Ok(view) => view,
            Err(error) => return Ok(Err(self.failed(&error, batch))),
        };
        let filled = slot.fill(&mut view, (&batch, &tables, number), read);
        drop(view);
        if let Err(error) = filled {
            self.give_back(slot);
            return Err(error);
        }
        let started = Trip::start_from(&self.device, "batch", Some(slot.upload()), |recorder| {
            slot.record(&mut recorder.encoder, &self.kernels, &batch, tables.scales.len());
            slot.result().clone()
        });
        Ok(match started {
            Ok(trip) => Ok(UnderWay { batch, slot, trip, number }),
            Err(error) => Err(self.failed(&error, batch)),
        })
    }

    /// What the host writes to a slot at rest.
    fn upload_view(&self, slot: &Slot) -> Result<wgpu::BufferViewMut> {
        let view = self.device.checked("upload", |_, _| slot.upload().get_mapped_range_mut(..))?;
        view.map_err(|error| Error::Gpu { reason: format!("a buffer cannot be written: {error}") })
    }

    /// Remembers that the device failed with a batch, which comes back.
    fn failed(&self, error: &Error, batch: Batch) -> Batch {
        self.fail(&error.to_string());
        batch
    }

    /// Waits for a batch and returns its result, the elements first; `None` if the device failed.
    fn collect(&self, UnderWay { slot, trip, number, .. }: &UnderWay) -> Option<wgpu::BufferView> {
        let result = trip.wait(&self.device).and_then(|result| {
            slot.check_number(&result, *number)?;
            Ok(result)
        });
        result.map_err(|error| self.fail(&error.to_string())).ok()
    }

    /// Takes a slot back whose result nobody looks at any more.
    fn release(&self, slot: Slot) {
        match self.device.checked("readback", |_, _| slot.result().unmap()) {
            Ok(()) => self.give_back(slot),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Takes a slot back that is at rest.
    fn give_back(&self, slot: Slot) {
        self.free().push(slot);
        self.wake();
    }

    /// The slots at rest.
    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something changes.
    fn wait<'a>(&self, free: MutexGuard<'a, Vec<Slot>>) -> MutexGuard<'a, Vec<Slot>> {
        self.changed.wait(free).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait that something changed. The lock keeps anyone from missing it between a look and the waiting.
    fn wake(&self) {
        drop(self.free());
        self.changed.notify_all();
    }

    /// Folds one batch by itself, of `stored` pieces, and returns the device's bytes as they are: for tests of the shaders.
    #[doc(hidden)]
    pub fn fold_batch(&self, pieces: &[(Piece, &[u8])], jobs: &[WeightJob<'_>]) -> Result<Vec<Vec<u8>>> {
        let busy = || Error::Gpu { reason: "all slots are in use, or the batch is too long".to_owned() };
        let slot = self.free().pop().ok_or_else(busy)?;
        let batch = Batch::take(&mut pieces.iter().map(|&(piece, _)| piece).collect(), jobs, slot.capacity());
        let mut stored = pieces.iter();
        let submitted = self.submit(slot, batch, jobs, |_, bytes| {
            bytes.copy_from_slice(stored.next().ok_or_else(busy)?.1);
            Ok(())
        });
        let failed = || Error::Gpu { reason: self.failure().unwrap_or_default().to_owned() };
        let under_way = submitted?.map_err(|_| failed())?;
        let result = self.collect(&under_way).ok_or_else(failed)?;
        let folded = under_way.batch.places().map(|(_, range)| result[range].to_vec()).collect::<Vec<_>>();
        drop(result);
        self.release(under_way.slot);
        if folded.len() == pieces.len() { Ok(folded) } else { Err(busy()) }
    }

    /// What destroys the device, as a driver reset would, even while the engine is at work: the test of what happens
    /// then.
    #[doc(hidden)]
    pub fn loser(&self) -> impl Fn() + use<> {
        self.device.destroyer()
    }
}
