//! 3 FOLD: multiplies every weight by its norm's scale, on the GPU or on the CPU, and checks the result.
//!
//! In: a checkpoint and one [`FoldedLayer`] per norm. Out: their shifts, and folded elements, handed to a sink piece by
//! piece as they are done; [`fold`] does the same for bare weights, one [`WeightJob`] each.
//! Memory does not grow with the model: weights travel in pieces of [`PIECE_BYTES`], which stay in a processor's cache
//! from the read to the write, or by the batch to the GPU.
//!
//! ```text
//! pieces ─┬─ GPU: read ─ upload ─ shader ─ readback ─┐
//!         └─ CPU: read ─ scale ──────────────────────┴─ gate: compare, check ─ sink
//! ```

pub mod affine;
mod check;
#[cfg(feature = "gpu")]
pub mod choice;
pub mod cpu;
pub mod engine;
mod finite;
mod gate;
#[cfg(feature = "gpu")]
pub mod gpu;
mod layer;
pub mod oracle;
mod ranges;
mod shifts;
mod stretches;
pub mod style;
mod workers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};
use crate::network::Fold;
use crate::parallel;
use crate::warning::Warning;
pub use engine::Engine;
pub use layer::{FoldedLayer, LayerSink, Place, fold_layers};
pub use ranges::Range;
pub use shifts::{ShiftStats, Shifted, check_shifts, compute_shifts};
pub use style::{Storage, Style};

#[cfg(target_endian = "big")]
compile_error!("element bytes are used in the order of the file, which is little-endian");

/// Bytes of a weight that are worked on at a time: small enough to stay in a core's own cache, large enough to make
/// system calls cheap.
pub const PIECE_BYTES: usize = 256 << 10;

/// Neighbouring elements of a weight: their bytes, and the type they are read as.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a> {
    /// Type of the elements.
    pub float: Float,
    /// Their bytes, little-endian.
    pub bytes: &'a [u8],
}

impl Elements<'_> {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.float.bytes()
    }
}

/// Room for elements that follow each other.
#[derive(Debug)]
pub struct ElementsMut<'a> {
    /// Type that the elements are to have.
    pub float: Float,
    /// As many bytes as they take.
    pub bytes: &'a mut [u8],
}

/// Per-channel scales, as the arithmetic needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales {
    /// For f32 and narrower weights: rounded once.
    pub f32: Vec<f32>,
    /// For f64 weights, and for channels whose scale is subnormal in f32.
    pub f64: Vec<f64>,
    /// Whether any scale is subnormal in f32.
    pub subnormal: bool,
}

impl Scales {
    /// From scales in f64.
    #[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
    pub fn new(f64: Vec<f64>) -> Scales {
        let f32 = f64.iter().map(|&scale| scale as f32).collect::<Vec<_>>();
        Scales { subnormal: f32.iter().any(|scale| scale.is_subnormal()), f32, f64 }
    }
}

/// One weight to fold.
#[derive(Debug)]
pub struct WeightJob<'a> {
    /// The fold it belongs to.
    pub fold: &'a Fold,
    /// What its channels are multiplied by.
    pub scales: Scales,
    /// What they should be multiplied by, computed apart by the oracle's formula.
    pub reference: Vec<f64>,
    /// Element type of the result.
    pub to: Float,
}

/// A stretch of one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Index of the job.
    pub job: usize,
    /// Flat index of its first element in the weight.
    pub first: u64,
    /// Number of elements.
    pub elements: usize,
}

impl Piece {
    /// All weights, piece by piece, in order. Pieces have an even number of elements, but for a weight's last.
    fn all(jobs: &[WeightJob<'_>]) -> Vec<Piece> {
        let pieces = |(index, job): (usize, &WeightJob<'_>)| {
            let most = PIECE_BYTES / job.fold.float.bytes();
            let (elements, whole) = (job.fold.elements, most as u64);
            (0..elements.div_ceil(whole)).map(move |n| {
                let first = n * whole;
                let elements = usize::try_from(elements - first).unwrap_or(most).min(most);
                Piece { job: index, first, elements }
            })
        };
        jobs.iter().enumerate().flat_map(pieces).collect()
    }

    /// Reads its stored elements into `buffer`, which has their size.
    fn read(&self, checkpoint: &Checkpoint, jobs: &[WeightJob<'_>], buffer: &mut [u8]) -> Result<()> {
        let fold = jobs[self.job].fold;
        checkpoint.read(checkpoint.tensor(&fold.weight)?, self.first * fold.float.bytes() as u64, buffer)
    }
}

/// Where folded elements go: the job's index, the flat index of the first element, the bytes. Called from several
/// threads, in any order.
pub type Sink<'a> = dyn Fn(usize, u64, &[u8]) -> Result<()> + Sync + 'a;

/// How to fold.
#[derive(Clone, Copy)]
pub struct FoldOptions<'a> {
    /// Compare every result with the reference.
    pub verify: bool,
    /// Write results that are not finite.
    pub allow_non_finite: bool,
    /// Gather the range of every channel's weights, for the report.
    pub ranges: bool,
    /// Threads to use.
    pub threads: usize,
    /// Set from outside to stop.
    pub cancelled: &'a AtomicBool,
    /// Told how many bytes were done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Default for FoldOptions<'static> {
    /// Verified, on all cores, without progress and never cancelled.
    fn default() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        FoldOptions {
            verify: true,
            allow_non_finite: false,
            ranges: false,
            threads: parallel::all_cores(),
            cancelled: &NEVER,
            progress: &|_| {},
        }
    }
}

impl FoldOptions<'_> {
    /// An error if the user wants to stop.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// What folding found out about itself. Times are those of all threads, added up and divided by their number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoldStats {
    /// Elements folded.
    pub elements: u64,
    /// Those of them that the GPU folded.
    pub elements_on_gpu: u64,
    /// Elements compared with the reference.
    pub compared: u64,
    /// GPU results whose bits were not the CPU's; the CPU's were taken.
    pub differ: u64,
    /// The furthest from the f64 reference, in ulp, among compared elements.
    pub worst_ulp: f64,
    /// Results that are not finite (only with `allow_non_finite`).
    pub non_finite: u64,
    /// The range of every channel's stored weights, one vector a job; empty unless asked for.
    pub ranges: Vec<Vec<Range>>,
    /// Time spent reading.
    pub read: Duration,
    /// Time spent multiplying, on either device, transfers included.
    pub compute: Duration,
    /// Time that the GPU's kernels took by its own clock; `None` on the CPU, and where an adapter has no clock.
    pub kernel: Option<Duration>,
    /// Time spent comparing.
    pub verify: Duration,
    /// Time spent in the sink.
    pub write: Duration,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

impl FoldStats {
    /// Adds what another thread found.
    fn merge(&mut self, other: FoldStats) {
        self.elements += other.elements;
        self.elements_on_gpu += other.elements_on_gpu;
        self.compared += other.compared;
        self.differ += other.differ;
        self.worst_ulp = self.worst_ulp.max(other.worst_ulp);
        self.non_finite += other.non_finite;
        self.read += other.read;
        self.compute += other.compute;
        self.kernel = self.kernel.or(other.kernel);
        self.verify += other.verify;
        self.write += other.write;
        self.warnings.extend(other.warnings);
    }

    /// Turns the sum of the threads' times into a time on the clock.
    fn per_thread(mut self, threads: usize) -> FoldStats {
        let threads = u32::try_from(threads.max(1)).unwrap_or(1);
        for time in [&mut self.read, &mut self.compute, &mut self.verify, &mut self.write] {
            *time /= threads;
        }
        self
    }
}

/// Folds all `jobs` into `sink`.
pub fn fold(
    checkpoint: &Checkpoint,
    jobs: &[WeightJob<'_>],
    engine: &mut Engine,
    options: FoldOptions<'_>,
    sink: &Sink<'_>,
) -> Result<FoldStats> {
    let gate = gate::Gate::new(checkpoint, jobs, options, sink);
    let mut stats = FoldStats::default();
    let pieces = engine.fold_on_gpu(Piece::all(jobs), &gate, &mut stats)?;
    let on_cpu = workers::run(&pieces, options.threads, |worker, piece| gate.fold_on_cpu(worker, piece))?;
    stats.merge(on_cpu.per_thread(options.threads));
    stats.ranges = gate.into_ranges();
    Ok(stats)
}
