//! BENCH: what a benchmark measured, as text.
//!
//! In: a [`BenchReport`]. Out: a table. A software adapter is called one, and no figure of it is given as a GPU's.

use std::fmt::{self, Display};

use super::report::{BenchModel, BenchReport, Machine, Measurement, Shares, Step};
use crate::text::{bytes, shown};

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
        let Some(Shares { host, device, overlap }) = self.shares else { return Ok(()) };
        let [host, device, overlap] = [host, device, overlap].map(|share| 100.0 * share);
        writeln!(f, "\na fold on the adapter: host at work {host:.0} %, kernels {device:.0} %, overlap {overlap:.0} %")
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

impl Step {
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
