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
mod options;
pub mod oracle;
mod problem;
mod quantized;
mod ranges;
pub mod runtime;
mod shifts;
mod stats;
mod stretches;
pub mod style;
mod wide;
mod work;
mod workers;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
pub use engine::Engine;
pub use layer::{FoldedLayer, LayerSink, Place, fold_layers};
pub use options::FoldOptions;
pub use problem::FoldProblem;
pub use quantized::{Energy, Quantized, Scheme};
pub use ranges::Range;
pub use shifts::{ShiftStats, Shifted, check_shifts, compute_shifts};
pub use stats::FoldStats;
pub use style::{Storage, Style};
pub use work::{Elements, ElementsMut, Piece, Scales, WeightJob};

#[cfg(target_endian = "big")]
compile_error!("element bytes are used in the order of the file, which is little-endian");

/// Bytes of a weight that are worked on at a time: small enough to stay in a core's own cache, large enough to make
/// system calls cheap.
pub const PIECE_BYTES: usize = 256 << 10;

/// Where folded elements go: the job's index, the flat index of the first element, the bytes. Called from several
/// threads, in any order.
pub type Sink<'a> = dyn Fn(usize, u64, &[u8]) -> Result<()> + Sync + 'a;

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
    if options.ranges && options.quantization {
        stats.quantized = quantized::measure(checkpoint, jobs, &stats.ranges, options)?;
    }
    Ok(stats)
}
