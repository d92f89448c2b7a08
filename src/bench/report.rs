//! BENCH: what a benchmark measured, as data.
//!
//! In: samples and the machine they were taken on. Out: JSON whose keys are stable.

use serde::Serialize;

use super::{Samples, Shape};

/// One benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// Of this layout; it grows with incompatible changes.
    pub version: u32,
    /// The program's version.
    pub program: &'static str,
    /// What it ran on.
    pub machine: Machine,
    /// What was folded.
    pub model: BenchModel,
    /// The adapter, if one was measured.
    pub adapter: Option<BenchAdapter>,
    /// Why none was measured.
    pub adapter_skipped: Option<String>,
    /// Rounds that were counted; one more came before, to warm caches.
    pub rounds: usize,
    /// What was measured.
    pub measurements: Vec<Measurement>,
    /// Who is at work during a fold on the adapter; `null` without one, or if it has no clock.
    pub shares: Option<Shares>,
}

/// Who is at work during a fold on the adapter, each as a share of its time, and how much of that is at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// The host: planning, reading, comparing, writing; the mean of its threads.
    pub host: f64,
    /// The kernels, by the adapter's own clock.
    pub device: f64,
    /// How much of the shorter of both is hidden behind the longer one: 0 if they take turns, 1 if it costs nothing.
    pub overlap: f64,
}

#[cfg(feature = "gpu")]
impl Shares {
    /// Of a fold that took `total` seconds, of them `host` and `device` ones, which may overlap.
    pub(super) fn of(total: f64, host: f64, device: f64) -> Option<Shares> {
        let shorter = host.min(device);
        let shares = Shares {
            host: host / total,
            device: device / total,
            overlap: ((host + device - total) / shorter).clamp(0.0, 1.0),
        };
        (total > 0.0 && shorter > 0.0).then_some(shares)
    }
}

/// The host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Its processor's name, where the system tells.
    pub cpu: Option<String>,
    /// Threads that were used.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
}

/// What was folded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BenchModel {
    /// The user's checkpoint; `null` for a synthetic one.
    pub input: Option<String>,
    /// The network a synthetic one takes its shapes from.
    pub shape: Option<Shape>,
    /// The element type of a synthetic one.
    pub dtype: Option<&'static str>,
    /// Size of the file.
    pub bytes: u64,
    /// Weights, element by element, that are folded.
    pub elements: u64,
    /// Norms that are folded.
    pub norms: usize,
}

/// An adapter that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchAdapter {
    /// Its name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The graphics interface.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Whether it is the CPU under another name.
    pub software: bool,
    /// From asking the system for adapters to an engine.
    pub opening_seconds: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The system's copy of the file.
    Copy,
    /// The same, flushed to disk.
    CopySynced,
    /// The CPU path.
    Cpu,
    /// The CPU path without verification.
    CpuUnverified,
    /// The CPU path, flushed to disk.
    CpuSynced,
    /// The GPU path, the device being open.
    Gpu,
    /// The GPU path without verification.
    GpuUnverified,
    /// What the kernels of [`Step::Gpu`] took by the adapter's own clock.
    GpuKernels,
    /// A copy between two buffers of the adapter.
    AdapterCopy,
    /// From host memory to the adapter's, nothing else going on.
    Upload,
    /// The kernel alone, over what was uploaded.
    Kernel,
    /// From the adapter's memory to the host's.
    Readback,
}

impl Step {
    /// What it is held against: the fastest that anything could be that moves these bytes.
    pub fn roof(self) -> Option<Step> {
        match self {
            Step::Copy | Step::AdapterCopy => None,
            Step::CopySynced | Step::Cpu | Step::CpuUnverified | Step::Gpu | Step::GpuUnverified => Some(Step::Copy),
            Step::CpuSynced => Some(Step::CopySynced),
            Step::GpuKernels => Some(Step::Gpu),
            Step::Upload | Step::Kernel | Step::Readback => Some(Step::AdapterCopy),
        }
    }
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// What.
    pub step: Step,
    /// Bytes that went through.
    pub bytes: u64,
    /// How long they took.
    pub seconds: Samples,
    /// Bytes divided by the median.
    pub bytes_per_second: f64,
    /// What it is held against.
    pub roof: Option<Step>,
    /// Its time divided by the roof's, the median over rounds.
    pub ratio: Option<f64>,
}

#[cfg(test)]
#[cfg(feature = "gpu")]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_what_of_the_shorter_part_costs_nothing() {
        let overlap = |total, host, device| Shares::of(total, host, device).map(|shares| shares.overlap);
        assert_eq!(overlap(5.0, 3.0, 2.0), Some(0.0), "in turn");
        assert_eq!(overlap(3.0, 3.0, 2.0), Some(1.0), "at the same time");
        assert_eq!(overlap(4.0, 3.0, 2.0), Some(0.5));
        assert_eq!(overlap(9.0, 3.0, 2.0), Some(0.0), "and waiting besides");
        assert_eq!(Shares::of(4.0, 3.0, 2.0).map(|shares| (shares.host, shares.device)), Some((0.75, 0.5)));
        assert_eq!((overlap(0.0, 0.0, 0.0), overlap(1.0, 1.0, 0.0)), (None, None));
    }
}
