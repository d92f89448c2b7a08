//! `bnfold-gpu bench`: how fast this machine folds, beside how fast it copies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bnfold_gpu::bench::{BenchDevice, BenchInput, BenchSettings, run as measure};
use bnfold_gpu::checkpoint::is_index;
use bnfold_gpu::store::Location;
use bnfold_gpu::text::shown;
use bnfold_gpu::{Device, Error};

use super::arguments::BenchArguments;
use super::settings::UsageError;
use super::values::Format;
use super::{Status, console, interrupt};

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
    match arguments.format {
        Format::Json => console::json(&report, true)?,
        Format::Human => console::data(&report.to_string())?,
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
    match Adapters::find().open(&wanted, EngineOptions { timed: true }) {
        Ok(gpu) => Ok(BenchDevice::Adapter(gpu.into())),
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
