//! 3 FOLD: what the stage found out about itself.
//!
//! In: what every thread counted and timed. Out: [`FoldStats`], added up.

use std::time::Duration;

use super::{Quantized, Range};
use crate::warning::Warning;

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
    /// What 8 bits would cost, one a job; empty unless asked for.
    pub quantized: Vec<Quantized>,
    /// Time spent reading.
    pub read: Duration,
    /// Time spent multiplying, on either device, transfers included.
    pub compute: Duration,
    /// Time that the GPU's kernels took by its own clock; `None` on the CPU, where an adapter has no clock, and where nobody
    /// looks at it (only benchmarks do).
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
    pub(super) fn merge(&mut self, other: FoldStats) {
        self.elements += other.elements;
        self.elements_on_gpu += other.elements_on_gpu;
        self.compared += other.compared;
        self.differ += other.differ;
        self.worst_ulp = self.worst_ulp.max(other.worst_ulp);
        self.non_finite += other.non_finite;
        self.read += other.read;
        self.compute += other.compute;
        self.add_kernel(other.kernel);
        self.verify += other.verify;
        self.write += other.write;
        self.warnings.extend(other.warnings);
    }

    /// Adds what the adapter's clock told, if it told anything.
    pub(super) fn add_kernel(&mut self, time: Option<Duration>) {
        self.kernel = match (self.kernel, time) {
            (Some(sum), Some(time)) => Some(sum + time),
            (sum, time) => sum.or(time),
        };
    }

    /// Turns the sum of the threads' times into a time on the clock.
    pub(super) fn per_thread(mut self, threads: usize) -> FoldStats {
        let threads = u32::try_from(threads.max(1)).unwrap_or(1);
        for time in [&mut self.read, &mut self.compute, &mut self.verify, &mut self.write] {
            *time /= threads;
        }
        self
    }
}
