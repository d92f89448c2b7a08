//! BENCH: what a benchmark measured, as data and as text.
//!
//! In: samples and the machine they were taken on. Out: JSON whose keys are stable, or a table. A software adapter is
//! called one, and no figure of it is given as a GPU's.

use std::fmt::{self, Display};

use serde::Serialize;

use super::{Samples, Shape};
use crate::text::{bytes, shown};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

    fn words(self) -> &'static str {
        match self {
            Step::Copy => "copy the file",
            Step::CopySynced => "copy, to disk",
            Step::Cpu => "fold on the CPU",
            Step::CpuUnverified => "fold on the CPU, not verified",
            Step::CpuSynced => "fold on the CPU, to disk",
            Step::Gpu => "fold on the adapter",
            Step::GpuUnverified => "fold on the adapter, not verified",
            Step::GpuKernels => "kernels of these folds",
            Step::AdapterCopy => "copy on the adapter",
            Step::Upload => "upload",
            Step::Kernel => "kernel",
            Step::Readback => "readback",
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

impl Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, threads, system } = &self.machine;
        let cpu = cpu.as_deref().unwrap_or("unknown processor");
        writeln!(f, "bnfold-gpu {} on {}, {threads} threads, {system}", self.program, shown(cpu))?;
        let BenchModel { input, shape, dtype, bytes: size, elements, norms } = &self.model;
        let what = match (input, shape, dtype) {
            (Some(input), ..) => shown(input).into_owned(),
            (None, Some(shape), Some(dtype)) => format!("synthetic {shape:?}, {dtype}"),
            _ => String::new(),
        };
        writeln!(f, "{what}: {}, {norms} norms, {elements} weights to fold", bytes(*size))?;
        match (&self.adapter, &self.adapter_skipped) {
            (Some(adapter), _) if adapter.software => writeln!(
                f,
                "adapter: {} ({}, driver {}): SOFTWARE. Its figures are this CPU's and say nothing about a GPU.",
                shown(&adapter.name),
                shown(&adapter.backend),
                shown(&adapter.driver)
            )?,
            (Some(adapter), _) => writeln!(
                f,
                "adapter: {} ({}, {}, driver {})",
                shown(&adapter.name),
                adapter.kind,
                shown(&adapter.backend),
                shown(&adapter.driver)
            )?,
            (None, reason) => {
                writeln!(f, "no GPU measured: {}", shown(reason.as_deref().unwrap_or("none was asked for")))?;
            }
        }
        writeln!(f, "\nmedian of {} rounds, in turn, after one to warm up", self.rounds)?;
        writeln!(f, "{:<36}{:>10}{:>10}{:>10}{:>12}  of", "", "median ms", "min", "max", "a second")?;
        for measurement in &self.measurements {
            writeln!(f, "{measurement}")?;
        }
        Ok(())
    }
}

impl Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, min, max] = [self.seconds.median, self.seconds.min, self.seconds.max].map(|time| 1e3 * time);
        #[expect(clippy::cast_possible_truncation, reason = "a rate is positive and shown rounded")]
        let rate = bytes(self.bytes_per_second as u64);
        write!(f, "{:<36}{median:>10.3}{min:>10.3}{max:>10.3}{rate:>12}", self.step.words())?;
        match self.roof.zip(self.ratio) {
            Some((roof, ratio)) => write!(f, "  {ratio:.2} x {}", roof.words()),
            None => Ok(()),
        }
    }
}
