//! 3 FOLD, GPU: what wgpu wants to know before a shader runs: bindings, pipelines, passes.
//!
//! In: a shader's source and its entry points, buffers. Out: a dispatch, recorded. A pipeline is made when it is first
//! needed: drivers take tens of milliseconds for one, and a model needs two of them.

use std::ops::Range;
use std::sync::OnceLock;

use super::timer::Timer;

/// A shader file and its pipelines, each made when it is first needed.
pub(super) struct Shader {
    name: &'static str,
    source: &'static str,
    /// Its entry points.
    pipelines: Vec<(&'static str, OnceLock<wgpu::ComputePipeline>)>,
    pub(super) bindings: wgpu::BindGroupLayout,
}

impl Shader {
    pub(super) fn new(
        name: &'static str,
        source: &'static str,
        entries: &[&'static str],
        bindings: &wgpu::BindGroupLayout,
    ) -> Shader {
        let pipelines = entries.iter().map(|&entry| (entry, OnceLock::new())).collect();
        Shader { name, source, pipelines, bindings: bindings.clone() }
    }

    /// The pipeline of its entry point of that number.
    pub(super) fn pipeline(&self, device: &wgpu::Device, number: usize) -> &wgpu::ComputePipeline {
        let (entry, pipeline) = &self.pipelines[number];
        pipeline.get_or_init(|| {
            let module = module(device, self.name, self.source);
            self::pipeline(device, &self.bindings, &module, entry)
        })
    }
}

/// A compute pass of one dispatch.
pub(super) struct Pass<'a> {
    pub(super) label: &'static str,
    pub(super) timer: Option<&'a Timer>,
    pub(super) pipeline: &'a wgpu::ComputePipeline,
    pub(super) bindings: &'a wgpu::BindGroup,
    pub(super) workgroups: usize,
}

impl Pass<'_> {
    pub(super) fn record(self, encoder: &mut wgpu::CommandEncoder) {
        let timestamp_writes = self.timer.map(Timer::writes);
        let descriptor = wgpu::ComputePassDescriptor { label: Some(self.label), timestamp_writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        pass.set_pipeline(self.pipeline);
        pass.set_bind_group(0, self.bindings, &[]);
        // A batch has far fewer tiles than the default limit of 65,535; beyond it wgpu reports an error.
        pass.dispatch_workgroups(u32::try_from(self.workgroups).unwrap_or(u32::MAX), 1, 1);
    }
}

/// Storage bindings 0, 1, ...; each read-only or not.
pub(super) fn layout(device: &wgpu::Device, label: &str, read_only: &[bool]) -> wgpu::BindGroupLayout {
    let entries = (0..)
        .zip(read_only)
        .map(|(binding, &read_only)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect::<Vec<_>>();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries })
}

/// A buffer, and the bytes of it that are bound.
pub(super) type Part<'a> = (&'a wgpu::Buffer, Range<usize>);

pub(super) fn bind<'a>(
    device: &wgpu::Device,
    label: &str,
    layout: &wgpu::BindGroupLayout,
    parts: &[Part<'a>],
) -> wgpu::BindGroup {
    let entry = |(binding, (buffer, range)): (u32, &Part<'a>)| {
        let size = std::num::NonZero::new(range.len() as u64);
        let part = wgpu::BufferBinding { buffer, offset: range.start as u64, size };
        wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(part) }
    };
    let entries = (0..).zip(parts).map(entry).collect::<Vec<_>>();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries })
}

fn module(device: &wgpu::Device, label: &str, source: &str) -> wgpu::ShaderModule {
    device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    })
}

fn pipeline(
    device: &wgpu::Device,
    bindings: &wgpu::BindGroupLayout,
    module: &wgpu::ShaderModule,
    entry_point: &str,
) -> wgpu::ComputePipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(entry_point),
        bind_group_layouts: &[Some(bindings)],
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry_point),
        layout: Some(&layout),
        module,
        entry_point: Some(entry_point),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    })
}
