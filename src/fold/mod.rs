//! 3 FOLD: multiplies every weight by its norm's scale, on the GPU or on the CPU, and checks the result.
//!
//! In: a checkpoint and one [`Job`] a weight. Out: folded elements, handed to a sink piece by piece as they are done.
//! Memory does not grow with the model: weights travel in batches of [`BATCH_BYTES`], small ones together, large ones in
//! pieces.
//!
//! ```text
//! pread ─ Batch ─▶ engine (GPU: upload, shader, readback │ CPU: scale) ─▶ settle (compare, check) ─▶ sink
//! ```

pub mod affine;
pub mod cpu;
pub mod engine;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod layout;
pub mod oracle;
mod settle;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};
use crate::plan::Fold;
pub use engine::Engine;
use layout::ChannelMap;
use oracle::Worst;

/// Bytes of weights in a batch.
pub const BATCH_BYTES: usize = 8 << 20;

/// Every piece of a batch begins on a multiple of this: what one workgroup of the shader works on.
pub const TILE_BYTES: usize = 4096;

/// Per-channel scales, as the arithmetic needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// For f32 and narrower weights: rounded once.
    pub f32: Vec<f32>,
    /// For f64 weights, and for channels whose scale is subnormal in f32.
    pub f64: Vec<f64>,
}

impl Scales {
    /// From scales in f64.
    #[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
    pub fn new(f64: Vec<f64>) -> Scales {
        Scales { f32: f64.iter().map(|&scale| scale as f32).collect(), f64 }
    }
}

/// One weight to fold.
#[derive(Debug)]
pub struct Job<'a> {
    /// The fold it belongs to.
    pub fold: &'a Fold,
    /// What its channels are multiplied by.
    pub scales: Scales,
    /// What they should be multiplied by, computed apart by the oracle's formula.
    pub reference: Vec<f64>,
    /// Element type of the result.
    pub to: Float,
}

/// A stretch of one weight within a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Index of the job.
    pub job: usize,
    /// Flat index of its first element in the weight.
    pub first: u64,
    /// Number of elements.
    pub elements: usize,
    /// Where it begins in the batch, in bytes.
    pub at: usize,
    /// The weight's channel map.
    pub map: ChannelMap,
}

/// Weights of one element type on their way through an engine.
#[derive(Debug)]
pub struct Batch {
    /// Their element type.
    pub float: Float,
    /// What it holds, in order.
    pub pieces: Vec<Piece>,
    /// The stored elements; a multiple of [`TILE_BYTES`].
    pub stored: Vec<u8>,
}

/// The scales of a batch's pieces, one layer after the other.
#[derive(Debug, Default)]
pub struct BatchScales {
    values: Vec<f32>,
    offsets: Vec<usize>,
}

impl BatchScales {
    /// The most scales that a batch may need.
    pub const CAPACITY: usize = 1 << 20;

    /// Collects the scales that `batch` needs.
    pub fn of(batch: &Batch, jobs: &[Job<'_>]) -> BatchScales {
        let mut scales = BatchScales::default();
        let mut last = None;
        for piece in &batch.pieces {
            if last != Some(piece.job) {
                scales.values.extend_from_slice(&jobs[piece.job].scales.f32);
                last = Some(piece.job);
            }
            scales.offsets.push(scales.values.len() - jobs[piece.job].scales.f32.len());
        }
        scales
    }

    /// All scales.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Where each piece's layer begins.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }
}

/// How to fold.
#[derive(Clone, Copy)]
pub struct FoldOptions<'a> {
    /// Compare every result with the reference.
    pub verify: bool,
    /// Write results that are not finite.
    pub allow_non_finite: bool,
    /// Set from outside to stop.
    pub cancelled: &'a AtomicBool,
    /// Told how many bytes were done.
    pub progress: &'a dyn Fn(u64),
}

impl FoldOptions<'_> {
    /// An error if the user wants to stop.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// What folding found out about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoldStats {
    /// Elements folded.
    pub elements: u64,
    /// Elements compared with the reference.
    pub compared: u64,
    /// GPU results whose bits were not the CPU's; the CPU's were taken.
    pub differ: u64,
    /// The furthest from the f64 reference, among compared elements.
    pub worst: Worst,
    /// Results that are not finite (only with `allow_non_finite`).
    pub non_finite: u64,
    /// Time spent reading.
    pub read: Duration,
    /// Time spent multiplying, on either device, transfers included.
    pub compute: Duration,
    /// Time spent comparing.
    pub verify: Duration,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Folds all `jobs`; `sink` gets the job's index, the flat index of the first element, and the folded bytes.
pub fn fold(
    checkpoint: &Checkpoint,
    jobs: &[Job<'_>],
    engine: &mut Engine,
    options: FoldOptions<'_>,
    sink: &mut dyn FnMut(usize, u64, &[u8]) -> Result<()>,
) -> Result<FoldStats> {
    let mut settle = settle::Settle::new(checkpoint, jobs, options, sink);
    let mut batch = Batch::empty(Float::F32);
    for (index, job) in jobs.iter().enumerate() {
        let tensor = checkpoint.tensor(&job.fold.weight)?;
        let size = job.fold.float.bytes();
        let mut first = 0;
        while first < tensor.elements() {
            options.check_cancelled()?;
            let elements = batch.room_for(job, jobs, tensor.elements() - first);
            if elements == 0 {
                let full = std::mem::replace(&mut batch, Batch::empty(job.fold.float));
                engine.run(full, jobs, &mut settle)?;
                continue;
            }
            let started = Instant::now();
            let into = batch.add(Piece { job: index, first, elements, at: 0, map: job.fold.map });
            checkpoint.read(tensor, first * size as u64, into)?;
            settle.stats.read += started.elapsed();
            first += elements as u64;
        }
    }
    engine.run(batch, jobs, &mut settle)?;
    engine.finish(jobs, &mut settle)?;
    Ok(settle.stats)
}

impl Batch {
    fn empty(float: Float) -> Batch {
        Batch { float, pieces: Vec::new(), stored: Vec::new() }
    }

    /// How many of the `left` elements of `job` can be added; 0 if the batch must go first.
    fn room_for(&mut self, job: &Job<'_>, jobs: &[Job<'_>], left: u64) -> usize {
        if self.pieces.is_empty() {
            self.float = job.fold.float;
        }
        // All of a batch goes to one engine, and one kernel.
        let kin = self.float == job.fold.float
            && self.pieces.first().is_none_or(|piece| jobs[piece.job].on_gpu() == job.on_gpu());
        let channels = |job: &Job<'_>| job.scales.f32.len();
        let scales = self.pieces.iter().map(|piece| channels(&jobs[piece.job])).sum::<usize>() + channels(job);
        let crowded = !self.pieces.is_empty() && scales > BatchScales::CAPACITY;
        let room = BATCH_BYTES.saturating_sub(self.stored.len()) / self.float.bytes();
        if kin && !crowded { room.min(usize::try_from(left).unwrap_or(usize::MAX)) } else { 0 }
    }

    /// Adds a piece; returns where its stored elements go.
    fn add(&mut self, mut piece: Piece) -> &mut [u8] {
        let bytes = piece.elements * self.float.bytes();
        piece.at = self.stored.len();
        let at = piece.at;
        self.pieces.push(piece);
        self.stored.resize((at + bytes).next_multiple_of(TILE_BYTES), 0);
        &mut self.stored[at..at + bytes]
    }

    /// Whether the GPU may take it.
    fn on_gpu(&self, jobs: &[Job<'_>]) -> bool {
        self.pieces.first().is_some_and(|piece| jobs[piece.job].on_gpu())
    }
}

impl Job<'_> {
    /// Whether a kernel exists for it: no f64, no change of type, indices within 32 bits.
    fn on_gpu(&self) -> bool {
        #[cfg(feature = "gpu")]
        let fits = gpu::can_fold(self.fold.elements, self.fold.channels);
        #[cfg(not(feature = "gpu"))]
        let fits = false;
        fits && self.to == self.fold.float && self.to != Float::F64
    }
}
