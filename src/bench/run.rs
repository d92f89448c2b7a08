//! BENCH: the rounds.
//!
//! In: settings and a device. Out: samples of every step, and the report made of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::report::{BenchAdapter, BenchModel, BenchReport, Shares, Step};
use super::taken::Taken;
use super::{BenchDevice, BenchInput, BenchSettings, check_room, machine, synthetic};
use crate::error::{Error, Result};
use crate::fold::{Engine, FoldOptions};
use crate::model::{Settings, fold_model};
use crate::output::Replace;
use crate::report::ModelReport;

/// Measures.
pub fn run(settings: &BenchSettings<'_>, device: BenchDevice) -> Result<BenchReport> {
    // Removed with all that is in it when this function is left, by an error too.
    let folder = tempfile::Builder::new().prefix(".bnfold-bench-").tempdir_in(settings.folder);
    let folder = folder.map_err(Error::io("create a temporary folder in", settings.folder))?;
    let input = prepare(&settings.model, folder.path())?;
    let size = std::fs::metadata(&input).map_err(Error::io("inspect", &input))?.len();
    check_room(folder.path(), size)?;

    let (engine, skipped) = match device {
        BenchDevice::None(reason) => (None, Some(reason)),
        #[cfg(feature = "gpu")]
        BenchDevice::Adapter(gpu, opening) => (Some((Engine::Gpu(gpu), opening)), None),
    };
    let adapter = engine.as_ref().and_then(|(engine, opening)| adapter(engine, *opening));
    let mut engine = engine.map(|(engine, _): (Engine, Duration)| engine);
    let output = folder.path().join("output");
    let mut bench = Bench { settings, input, output, taken: Taken::default(), size, shares: Vec::new() };
    let (rounds, report) = bench.rounds(&mut engine)?;
    Ok(BenchReport {
        version: 1,
        program: env!("CARGO_PKG_VERSION"),
        machine: machine(settings.threads),
        model: describe(&settings.model, size, &report),
        adapter,
        adapter_skipped: skipped,
        rounds,
        shares: median(bench.shares),
        measurements: bench.taken.measurements(),
    })
}

/// The checkpoint to fold; a synthetic one is written.
fn prepare(model: &BenchInput, folder: &Path) -> Result<PathBuf> {
    match model {
        BenchInput::File(path) => Ok(path.clone()),
        &BenchInput::Synthetic { shape, float, bytes } => {
            check_room(folder, 2 * bytes.unwrap_or(0))?;
            let path = folder.join("synthetic.safetensors");
            synthetic::write(&path, shape, float, bytes)?;
            Ok(path)
        }
    }
}

fn describe(model: &BenchInput, bytes: u64, report: &ModelReport) -> BenchModel {
    let (input, shape, dtype) = match model {
        BenchInput::File(path) => (Some(path.to_string_lossy().into_owned()), None, None),
        &BenchInput::Synthetic { shape, float, .. } => (None, Some(shape), Some(float.name())),
    };
    BenchModel { input, shape, dtype, bytes, elements: report.elements, norms: report.layers.folded }
}

#[cfg(feature = "gpu")]
fn adapter(engine: &Engine, opening: Duration) -> Option<BenchAdapter> {
    let Engine::Gpu(gpu) = engine else { return None };
    let adapter = gpu.adapter();
    Some(BenchAdapter {
        name: adapter.name.clone(),
        kind: adapter.kind,
        backend: adapter.backend.clone(),
        driver: adapter.driver.clone(),
        software: adapter.is_software(),
        opening_seconds: opening.as_secs_f64(),
    })
}

#[cfg(not(feature = "gpu"))]
fn adapter(_: &Engine, _: Duration) -> Option<BenchAdapter> {
    None
}

/// The one in the middle, by overlap.
fn median(mut shares: Vec<Shares>) -> Option<Shares> {
    shares.sort_by(|a, b| a.overlap.total_cmp(&b.overlap));
    shares.get(shares.len() / 2).copied()
}

/// A benchmark under way.
struct Bench<'a> {
    settings: &'a BenchSettings<'a>,
    input: PathBuf,
    output: PathBuf,
    size: u64,
    taken: Taken,
    /// One a round.
    shares: Vec<Shares>,
}

impl Bench<'_> {
    /// Runs the rounds that the budget leaves room for. Returns how many were counted, and what the CPU path reported.
    fn rounds(&mut self, engine: &mut Option<Engine>) -> Result<(usize, ModelReport)> {
        let begun = Instant::now();
        let mut report = self.round(engine)?;
        // The first one also pays for pages and pipelines.
        (self.taken, self.shares) = (Taken::default(), Vec::new());
        let mut counted = 0;
        let mut longest = Duration::ZERO;
        while counted < self.settings.rounds.max(1)
            && (counted == 0 || begun.elapsed() + longest < self.settings.budget)
        {
            let started = Instant::now();
            report = self.round(engine)?;
            longest = longest.max(started.elapsed());
            counted += 1;
        }
        Ok((counted, report))
    }

    /// Every step once.
    fn round(&mut self, engine: &mut Option<Engine>) -> Result<ModelReport> {
        for (step, sync) in [(Step::Copy, false), (Step::CopySynced, true)] {
            let seconds = self.copy(sync)?;
            self.taken.add(step, self.size, seconds);
        }
        let cpu = &mut Engine::Cpu;
        let report = self.fold(Step::Cpu, cpu, true, false)?;
        self.fold(Step::CpuUnverified, cpu, false, false)?;
        self.fold(Step::CpuSynced, cpu, true, true)?;
        #[cfg(feature = "gpu")]
        if let Some(engine) = engine {
            self.gpu(engine)?;
        }
        #[cfg(not(feature = "gpu"))]
        let _ = engine;
        Ok(report)
    }

    /// The steps of the GPU path.
    #[cfg(feature = "gpu")]
    fn gpu(&mut self, engine: &mut Engine) -> Result<()> {
        let report = self.fold(Step::Gpu, engine, true, false)?;
        self.fold(Step::GpuUnverified, engine, false, false)?;
        let seconds = report.seconds;
        if let Some(kernel) = seconds.kernel {
            self.taken.add(Step::GpuKernels, self.size, kernel);
            let host = seconds.plan + seconds.copy + seconds.read + seconds.verify + seconds.write + seconds.commit;
            self.shares.extend(Shares::of(seconds.total, host, kernel));
        }
        // A GPU that fails is left for the CPU, with a warning; a benchmark has nothing to fall back to.
        let Engine::Gpu(gpu) = engine else {
            let reason = report.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(Error::Gpu { reason: format!("the adapter failed during the benchmark: {reason}") });
        };
        let float = match &self.settings.model {
            BenchInput::Synthetic { float, .. } if *float != crate::checkpoint::Float::F64 => *float,
            _ => crate::checkpoint::Float::F32,
        };
        let probe = gpu.probe(float)?;
        let steps = [
            (Step::AdapterCopy, probe.copy),
            (Step::Upload, probe.upload),
            (Step::Kernel, probe.kernel),
            (Step::Readback, probe.readback),
        ];
        for (step, time) in steps {
            self.taken.add(step, probe.bytes as u64, time.as_secs_f64());
        }
        Ok(())
    }

    /// The system's copy. The file it replaces is removed first, and that is not counted.
    fn copy(&self, sync: bool) -> Result<f64> {
        self.settings_check()?;
        self.remove_output()?;
        let started = Instant::now();
        let copied = std::fs::copy(&self.input, &self.output).and_then(|_| match sync {
            true => File::open(&self.output)?.sync_all(),
            false => Ok(()),
        });
        copied.map_err(Error::io("copy to", &self.output))?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn fold(&mut self, step: Step, engine: &mut Engine, verify: bool, sync: bool) -> Result<ModelReport> {
        self.remove_output()?;
        let options = FoldOptions {
            verify,
            threads: self.settings.threads,
            cancelled: self.settings.cancelled,
            ..FoldOptions::default()
        };
        let settings = Settings { sync, replace: Replace::Never, ..Settings::default() };
        let started = Instant::now();
        let report = fold_model(&self.input, &self.output, settings, engine, options)?;
        self.taken.add(step, self.size, started.elapsed().as_secs_f64());
        Ok(report)
    }

    fn settings_check(&self) -> Result<()> {
        FoldOptions { cancelled: self.settings.cancelled, ..FoldOptions::default() }.check_cancelled()
    }

    fn remove_output(&self) -> Result<()> {
        match std::fs::remove_file(&self.output) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &self.output)(error)),
            _ => Ok(()),
        }
    }
}
