//! What computes: the caller's wish, and the devices that are opened for it.
//!
//! In: a [`Device`], and how much there is to fold. Out: engines, none of them for the CPU, and why it is these.

use crate::error::{Error, Result};
use crate::fold::Engine;
use crate::warning::Warning;

/// Which device folds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Device {
    /// The best hardware adapter where a benchmark on this machine found it no slower than the CPU for as many bytes; otherwise
    /// the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The best adapter, a software one if there is no other.
    Gpu,
    /// The adapters of these numbers.
    Numbers(Vec<usize>),
}

/// Devices that were opened.
pub struct Opened {
    /// The engines; empty for the CPU.
    pub engines: Vec<Engine>,
    /// What it is folded on and why, where that was left open.
    pub note: Option<Note>,
    /// Why a device that should have been taken could not be opened.
    pub warning: Option<Warning>,
}

/// What is folded on, where that was left open, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The CPU path, since nobody knows how quick an adapter would be: no benchmark measured one.
    NotMeasured,
    /// The CPU path, for a reason in words.
    Cpu(String),
    /// The GPU path, for a reason in words.
    Gpu(String),
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::NotMeasured => {
                f.write_str("folding on the CPU: no graphics adapter has been measured on this machine")
            }
            Note::Cpu(reason) => write!(f, "folding on the CPU: {reason}"),
            Note::Gpu(reason) => write!(f, "folding on the GPU: {reason}"),
        }
    }
}

impl Opened {
    fn asked_for(engines: Vec<Engine>) -> Opened {
        Opened { engines, note: None, warning: None }
    }
}

impl Device {
    /// Opens what folds `bytes` bytes of checkpoints.
    ///
    /// # Errors
    ///
    /// A GPU is asked for, and there is none, it lacks something, or this is a build without the feature `gpu`.
    #[doc(hidden)]
    pub fn open(&self, bytes: u64) -> Result<Opened> {
        match self {
            Device::Cpu => Ok(Opened::asked_for(Vec::new())),
            Device::Auto => Ok(quicker(bytes)),
            Device::Gpu => Ok(Opened::asked_for(gpus(None)?)),
            Device::Numbers(numbers) => Ok(Opened::asked_for(gpus(Some(numbers))?)),
        }
    }
}

impl std::str::FromStr for Device {
    type Err = String;

    /// `auto`, `cpu`, `gpu`, `gpu:N`, or several as `gpu:0,gpu:1`.
    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            _ => numbers(text).map(Device::Numbers).ok_or_else(|| {
                "expected auto, cpu, gpu or gpu:N with a number from `bnfold-gpu devices`; several as gpu:0,gpu:1"
                    .to_owned()
            }),
        }
    }
}

/// The numbers in `gpu:0,gpu:1`, which have to be distinct.
fn numbers(text: &str) -> Option<Vec<usize>> {
    let number = |name: &str| name.strip_prefix("gpu:").and_then(|number| number.parse().ok());
    let numbers = text.split(',').map(number).collect::<Option<Vec<usize>>>()?;
    (1..numbers.len()).all(|n| !numbers[..n].contains(&numbers[n])).then_some(numbers)
}

/// What is quicker for `bytes` bytes, the best hardware adapter or the CPU.
#[cfg(feature = "gpu")]
fn quicker(bytes: u64) -> Opened {
    use crate::fold::choice::{Choice, WhyCpu, choose};
    use crate::fold::gpu::{Adapters, EngineOptions, Wanted};
    let mut adapters = Adapters::default();
    let best = || {
        adapters = Adapters::find();
        adapters.pick(&Wanted::Hardware).map_err(|error| match error {
            Error::NoAdapter { reason, .. } => reason,
            error => error.to_string(),
        })
    };
    let opened = |engines, note, warning| Opened { engines, note, warning };
    match choose(bytes, &super::rates::known(), best) {
        Choice::Cpu(WhyCpu::NotMeasured) => opened(Vec::new(), Some(Note::NotMeasured), None),
        Choice::Cpu(why) => opened(Vec::new(), Some(Note::Cpu(why.to_string())), None),
        Choice::Gpu(number, reason) => match adapters.open(&Wanted::Number(number), EngineOptions::default()) {
            Ok(gpu) => opened(vec![Engine::Gpu(gpu.into())], Some(Note::Gpu(reason)), None),
            Err(error) => opened(Vec::new(), None, Some(Warning::GpuUnavailable { reason: error.to_string() })),
        },
    }
}

#[cfg(not(feature = "gpu"))]
fn quicker(_: u64) -> Opened {
    let note = Note::Cpu("this program was built without GPU support".to_owned());
    Opened { engines: Vec::new(), note: Some(note), warning: None }
}

/// The adapters of these numbers, or the best one.
#[cfg(feature = "gpu")]
fn gpus(numbers: Option<&[usize]>) -> Result<Vec<Engine>> {
    use crate::fold::gpu::{Adapters, EngineOptions, Wanted};
    let adapters = Adapters::find();
    let open = |wanted| Ok(Engine::Gpu(adapters.open(&wanted, EngineOptions::default())?.into()));
    match numbers {
        None => Ok(vec![open(Wanted::Any)?]),
        Some(numbers) => numbers.iter().map(|&number| open(Wanted::Number(number))).collect(),
    }
}

#[cfg(not(feature = "gpu"))]
fn gpus(numbers: Option<&[usize]>) -> Result<Vec<Engine>> {
    let wanted = numbers.and_then(<[usize]>::first).map_or("gpu".to_owned(), |number| format!("gpu:{number}"));
    Err(Error::NoAdapter { wanted, reason: "this program was built without the feature `gpu`".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_parsed_or_refused() {
        assert_eq!("gpu:3".parse(), Ok(Device::Numbers(vec![3])));
        assert_eq!("gpu:3,gpu:1".parse(), Ok(Device::Numbers(vec![3, 1])));
        for wrong in ["gpu:", "cuda", "gpu:1,gpu:1", "gpu:1,2", "gpu,gpu:1", "gpu:1,"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
