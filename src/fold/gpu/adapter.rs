//! 3 FOLD, GPU: the adapters that there are, and which one is meant.
//!
//! In: the drivers' answers, and what is wanted. Out: [`Adapters`]: summaries for reports, and the one that is opened. Asking
//! the drivers takes longer than a small model, so it is done once a run.

use std::panic::catch_unwind;

use serde::Serialize;

use super::device::Device;
use super::slot::Regions;
use super::{BUS_BATCH_BYTES, EngineOptions, GpuEngine, TILE_BYTES};
use crate::error::{Error, Result};
use crate::text::counted;

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The best hardware adapter.
    Hardware,
    /// The best adapter, a software one if there is no other.
    Any,
    /// The one of that number in [`Adapters`].
    Number(usize),
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wanted::Hardware => f.write_str("auto"),
            Wanted::Any => f.write_str("gpu"),
            Wanted::Number(number) => write!(f, "gpu:{number}"),
        }
    }
}

/// What there is to know about an adapter, as reports show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterSummary {
    /// Its number for `--device gpu:N`.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The graphics interface it is reached through.
    pub backend: String,
    /// Driver and version.
    pub driver: String,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest storage binding, in bytes.
    pub max_binding_bytes: u64,
    /// Most workgroups per dimension of a dispatch.
    pub max_workgroups: u32,
    /// Whether it offers everything the shaders need.
    pub usable: bool,
    /// Whether its memory is the host's and can be mapped while a shader may use it: no copies to and from it are needed.
    pub shares_memory: bool,
}

impl AdapterSummary {
    fn new(number: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let unified = matches!(info.device_type, wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::Cpu);
        AdapterSummary {
            number,
            name: info.name,
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            },
            backend: info.backend.to_string(),
            driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            usable: suffices(&limits)
                && adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS),
            shares_memory: unified && adapter.features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
        }
    }

    /// Whether it runs on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
    }

    /// How good a choice it is; smaller is better.
    fn rank(&self) -> usize {
        ["discrete", "integrated", "virtual", "other", "software"]
            .iter()
            .position(|&kind| kind == self.kind)
            .unwrap_or(9)
    }
}

/// Whether a device with these limits runs the kernels; all of them are within the limits that WebGPU promises everywhere.
fn suffices(limits: &wgpu::Limits) -> bool {
    let (upload, tiles) = (Regions::new(BUS_BATCH_BYTES).bytes() as u64, BUS_BATCH_BYTES / TILE_BYTES);
    limits.max_buffer_size >= upload
        && limits.max_storage_buffer_binding_size >= BUS_BATCH_BYTES as u64
        && limits.max_storage_buffers_per_shader_stage >= 5
        && limits.min_storage_buffer_offset_alignment <= 256
        && limits.max_compute_workgroups_per_dimension as usize >= tiles
        && limits.max_compute_invocations_per_workgroup >= 256
        && limits.max_compute_workgroup_size_x >= 256
}

/// The adapters of this machine, as its drivers told them.
#[derive(Default)]
pub struct Adapters(Vec<(wgpu::Adapter, AdapterSummary)>);

impl Adapters {
    /// Asks the drivers.
    pub fn find() -> Adapters {
        let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        // A broken driver may panic while it is asked for its adapters; then there is none.
        let found = catch_unwind(|| {
            let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
            descriptor.backends = backends;
            let instance = wgpu::Instance::new(descriptor);
            pollster::block_on(instance.enumerate_adapters(backends))
        });
        let summary = |(number, adapter): (usize, wgpu::Adapter)| {
            let summary = AdapterSummary::new(number, &adapter);
            (adapter, summary)
        };
        Adapters(found.unwrap_or_default().into_iter().enumerate().map(summary).collect())
    }

    /// All of them, in the drivers' order: the numbers of `--device gpu:N`.
    pub fn summaries(&self) -> Vec<AdapterSummary> {
        self.0.iter().map(|(_, summary)| summary.clone()).collect()
    }

    /// The one that is wanted.
    ///
    /// # Errors
    ///
    /// There is none, or it lacks something.
    pub fn pick(&self, wanted: &Wanted) -> Result<AdapterSummary> {
        let summaries = self.summaries();
        pick(&summaries, wanted).map(|number| summaries[number].clone())
    }

    /// Opens the one that is wanted, with all that an engine needs.
    ///
    /// # Errors
    ///
    /// As [`Adapters::pick`]; or the device cannot be opened.
    pub fn open(&self, wanted: &Wanted, options: EngineOptions) -> Result<GpuEngine> {
        let (adapter, summary) = &self.0[pick(&self.summaries(), wanted)?];
        GpuEngine::new(Device::open(adapter, summary, options)?, options)
    }
}

/// The number of the adapter that `wanted` means, among `adapters`.
fn pick(adapters: &[AdapterSummary], wanted: &Wanted) -> Result<usize> {
    let refuse = |reason: String| Err(Error::NoAdapter { wanted: wanted.to_string(), reason });
    let candidates = adapters.iter().filter(|adapter| adapter.usable);
    let best = match wanted {
        Wanted::Number(number) => {
            let Some(adapter) = adapters.get(*number) else {
                return refuse(format!("{} found, numbered from 0", counted(adapters.len(), "adapter")));
            };
            if !adapter.usable {
                return refuse(format!("`{}` lacks compute shaders or what they need", adapter.name));
            }
            Some(adapter)
        }
        Wanted::Any => candidates.min_by_key(|adapter| adapter.rank()),
        Wanted::Hardware => candidates.filter(|adapter| !adapter.is_software()).min_by_key(|adapter| adapter.rank()),
    };
    match best {
        Some(adapter) => Ok(adapter.number),
        None if adapters.is_empty() => refuse("no Vulkan, Metal or Direct3D 12 driver is installed".to_owned()),
        None => {
            let names =
                adapters.iter().map(|adapter| format!("{} ({})", adapter.name, adapter.kind)).collect::<Vec<_>>();
            refuse(format!("the only adapters are {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
impl AdapterSummary {
    /// One of that number and kind, for tests.
    pub(crate) fn sample(number: usize, kind: &'static str) -> AdapterSummary {
        AdapterSummary {
            number,
            name: format!("adapter {number}"),
            kind,
            backend: "vulkan".to_owned(),
            driver: String::new(),
            max_buffer_bytes: 1 << 28,
            max_binding_bytes: 1 << 27,
            max_workgroups: 65_535,
            usable: true,
            shares_memory: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_taken_only_when_asked_for() {
        let all = [
            AdapterSummary::sample(0, "software"),
            AdapterSummary::sample(1, "integrated"),
            AdapterSummary::sample(2, "discrete"),
        ];
        assert_eq!(pick(&all, &Wanted::Hardware).unwrap(), 2);
        assert_eq!(pick(&all, &Wanted::Any).unwrap(), 2);
        assert_eq!(pick(&all, &Wanted::Number(0)).unwrap(), 0);
        assert_eq!(pick(&all[..1], &Wanted::Any).unwrap(), 0);
        assert!(pick(&all[..1], &Wanted::Hardware).is_err());
        assert!(pick(&all, &Wanted::Number(3)).unwrap_err().to_string().contains("3 adapters found"));
        assert!(pick(&[], &Wanted::Any).unwrap_err().to_string().contains("no Vulkan"));
    }

    #[test]
    fn what_webgpu_promises_everywhere_is_enough() {
        assert!(suffices(&wgpu::Limits::default()));
        // A Raspberry Pi has small textures, which nothing here needs; half of the storage buffers would be too few.
        assert!(suffices(&wgpu::Limits { max_texture_dimension_2d: 4096, ..wgpu::Limits::default() }));
        assert!(!suffices(&wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() }));
    }

    #[test]
    fn an_adapter_that_lacks_something_is_never_picked() {
        let mut all = [AdapterSummary::sample(0, "discrete"), AdapterSummary::sample(1, "software")];
        all[0].usable = false;
        assert_eq!(pick(&all, &Wanted::Any).unwrap(), 1);
        assert!(pick(&all, &Wanted::Number(0)).is_err());
    }
}
