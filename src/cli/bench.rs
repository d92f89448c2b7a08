//! `bnfold-gpu bench`: how fast this machine folds, beside how fast it copies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

#[cfg(feature = "gpu")]
use bnfold_gpu::bench::Step;
use bnfold_gpu::bench::{BenchDevice, BenchInput, BenchReport, BenchSettings, run as measure};
use bnfold_gpu::checkpoint::is_index;
#[cfg(feature = "gpu")]
use bnfold_gpu::job::rates;
use bnfold_gpu::store::Location;
use bnfold_gpu::text::shown;
use bnfold_gpu::{Device, Error};

use super::arguments::BenchArguments;
use super::settings::UsageError;
use super::values::Format;
use super::{Status, console, interrupt};

/// Bytes of a model whose rates say something about others: in smaller ones what does not grow with them is a large part.
#[cfg(feature = "gpu")]
const TELLING_BYTES: u64 = 100_000_000;

pub(crate) fn run(arguments: &BenchArguments) -> anyhow::Result<Status> {
    let cancelled = Arc::new(AtomicBool::new(false));
    interrupt::set(&cancelled);
    let model = match &arguments.input {
        Some(input) => BenchInput::File(one_file(input)?.to_owned()),
        None => BenchInput::Synthetic {
            shape: arguments.shape.into(),
            float: arguments.dtype.into(),
            bytes: arguments.size_mb.map(|megabytes| megabytes * 1_000_000),
        },
    };
    let temporary = std::env::temp_dir();
    let settings = BenchSettings {
        model,
        rounds: arguments.runs.get(),
        budget: Duration::from_secs(arguments.seconds),
        folder: arguments.output.as_deref().unwrap_or(&temporary),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        cancelled: &cancelled,
    };
    let report = measure(&settings, device(&arguments.device)?)?;
    remember(&report)?;
    match arguments.format {
        Format::Json => console::json(&report, true)?,
        Format::Human => console::lines(&report.to_string())?,
    }
    Ok(Status::Done)
}

/// The checkpoint to measure, which has to be a single file of this machine.
fn one_file(input: &Location) -> Result<&Path, UsageError> {
    let found = match input {
        Location::Object(_) => "a URL",
        Location::File(folder) if folder.is_dir() => "a folder",
        Location::File(index) if is_index(index) => "the index of a sharded model",
        Location::File(path) => return Ok(path),
    };
    let input = input.to_string();
    Err(UsageError(format!(
        "{}: {found}; bench measures one .safetensors file of this machine: name that",
        shown(&input)
    )))
}

/// Keeps what was measured of a card, for `--device auto` to go by; of a model that is large enough to tell.
#[cfg(feature = "gpu")]
fn remember(report: &BenchReport) -> Result<(), Error> {
    use bnfold_gpu::fold::choice::Rates;
    let rate = |step| report.measurements.iter().find(|taken| taken.step == step).map(|taken| taken.bytes_per_second);
    let hardware = report.adapter.as_ref().filter(|adapter| !adapter.software && report.model.bytes >= TELLING_BYTES);
    let (Some(adapter), Some((cpu, gpu))) = (hardware, rate(Step::Cpu).zip(rate(Step::Gpu))) else { return Ok(()) };
    let (adapter, driver, opening) = (adapter.name.clone(), adapter.driver.clone(), adapter.opening_seconds);
    if let Some(file) = rates::remember(Rates { adapter, driver, opening, cpu, gpu })? {
        console::note(&format!("--device auto goes by this from now on ({})", file.display()));
    }
    Ok(())
}

#[cfg(not(feature = "gpu"))]
fn remember(_: &BenchReport) -> Result<(), Error> {
    Ok(())
}

/// What to measure beside the CPU: hardware where there is some, software only if it is asked for.
#[cfg(feature = "gpu")]
fn device(device: &Device) -> anyhow::Result<BenchDevice> {
    use bnfold_gpu::fold::gpu::{Adapters, EngineOptions, Wanted};
    let (wanted, asked_for) = match device {
        Device::Cpu => return Ok(BenchDevice::None("--device cpu".to_owned())),
        Device::Auto => (Wanted::Hardware, false),
        Device::Gpu => (Wanted::Any, true),
        Device::Numbers(numbers) => (Wanted::Number(one(numbers)?), true),
    };
    let started = std::time::Instant::now();
    match Adapters::find().open(&wanted, EngineOptions { timed: true }) {
        Ok(gpu) => Ok(BenchDevice::Adapter(gpu.into(), started.elapsed())),
        Err(error) if asked_for => Err(error.into()),
        Err(Error::NoAdapter { reason, .. }) => Ok(BenchDevice::None(format!("no hardware GPU ({reason})"))),
        Err(error) => Ok(BenchDevice::None(error.to_string())),
    }
}

#[cfg(not(feature = "gpu"))]
fn device(device: &Device) -> anyhow::Result<BenchDevice> {
    let reason = "this program was built without the feature `gpu`".to_owned();
    match device {
        Device::Cpu | Device::Auto => Ok(BenchDevice::None(reason)),
        Device::Gpu => Err(Error::NoAdapter { wanted: "gpu".to_owned(), reason }.into()),
        Device::Numbers(numbers) => Err(Error::NoAdapter { wanted: format!("gpu:{}", one(numbers)?), reason }.into()),
    }
}

fn one(numbers: &[usize]) -> Result<usize, UsageError> {
    match numbers {
        [number] => Ok(*number),
        _ => Err(UsageError("one device is measured at a time: pass --device gpu:N".to_owned())),
    }
}
