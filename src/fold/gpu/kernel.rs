//! 3 FOLD, GPU: the kernels and the structs they share with `shaders/`.
//!
//! In: a device. Out: the calls that record their dispatches. The Rust side of every binding is held against the WGSL by a
//! test that parses the shaders.

use super::pipeline::{Part, Pass, Shader, bind, layout};
use super::timer::Timer;
use crate::checkpoint::Float;

/// Sources that stand behind `place.wgsl`: WGSL has no include.
macro_rules! placed {
    ($file:literal) => {
        concat!(include_str!("../../../shaders/place.wgsl"), "\n", include_str!(concat!("../../../shaders/", $file)))
    };
}

const SCALE: &str = placed!("scale.wgsl");
const SHIFT: &str = include_str!("../../../shaders/shift.wgsl");

/// Lanes of a workgroup of the shift kernel.
pub(super) const SHIFT_LANES: usize = 256;

/// `Segment` of `shaders/place.wgsl`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Segment {
    pub(super) first_vector: u32,
    pub(super) elements: u32,
    pub(super) first_element: u32,
    pub(super) inner: u32,
    pub(super) row: u32,
    pub(super) repeats: u32,
    pub(super) first_channel: u32,
    pub(super) padding: u32,
}

/// All shaders.
pub(super) struct Kernels {
    device: wgpu::Device,
    scale: Shader,
    shift: Shader,
}

impl Kernels {
    pub(super) fn new(device: &wgpu::Device) -> Kernels {
        // Elements, results, scales, segments, tiles.
        let batch = layout(device, "batch", &[true, false, true, true, true]);
        let shift = layout(device, "shift", &[true, true, false]);
        Kernels {
            device: device.clone(),
            scale: Shader::new("scale.wgsl", SCALE, &["scale_f32", "scale_f16", "scale_bf16"], &batch),
            shift: Shader::new("shift.wgsl", SHIFT, &["shift"], &shift),
        }
    }

    /// Binds what the scaling of a batch uses: elements, results, scales, segments, tiles.
    pub(super) fn bind_batch(&self, device: &wgpu::Device, parts: [Part<'_>; 5]) -> wgpu::BindGroup {
        bind(device, "batch", &self.scale.bindings, &parts)
    }

    pub(super) fn bind_shift(
        &self,
        device: &wgpu::Device,
        buffers: [&wgpu::Buffer; 3],
        bytes: usize,
    ) -> wgpu::BindGroup {
        bind(device, "shift", &self.shift.bindings, &buffers.map(|buffer| (buffer, 0..bytes)))
    }

    /// Records the scaling of `tiles` tiles, timed where there is a `timer`.
    ///
    /// # Panics
    ///
    /// For f64, which has no kernel: WGSL has no such type.
    pub(super) fn scale(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        float: Float,
        bindings: &wgpu::BindGroup,
        tiles: usize,
        timer: Option<&Timer>,
    ) {
        let pipeline = self.scale.pipeline(&self.device, entry(float));
        Pass { label: "scale", timer, pipeline, bindings, workgroups: tiles }.record(encoder);
    }

    /// Records the shift of as many channels as `workgroups` times [`SHIFT_LANES`], or fewer.
    pub(super) fn shift(&self, encoder: &mut wgpu::CommandEncoder, bindings: &wgpu::BindGroup, workgroups: usize) {
        let pipeline = self.shift.pipeline(&self.device, 0);
        Pass { label: "shift", timer: None, pipeline, bindings, workgroups }.record(encoder);
    }
}

/// The number of the entry point for an element type, of those that WGSL can hold, as [`Kernels::new`] lists them.
fn entry(float: Float) -> usize {
    match float {
        Float::F32 => 0,
        Float::F16 => 1,
        Float::Bf16 => 2,
        Float::F64 => unreachable!("f64 stays on the CPU"),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use crate::fold::gpu::TILE_BYTES;

    use super::*;

    fn parse(source: &str) -> naga::Module {
        let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
        let mut validator =
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
        validator.validate(&module).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
        module
    }

    #[test]
    fn every_shader_file_is_known_here_and_valid() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        assert_eq!(files.len(), 3, "a new shader file needs a pipeline and a twin: {files:?}");
        let built_in = [SCALE, SHIFT];
        for file in &files {
            let source = std::fs::read_to_string(file).unwrap();
            let users = built_in.iter().filter(|built_in| built_in.contains(&source)).count();
            assert_eq!(users, 1, "{} is not the one built in", file.display());
        }
        let read = |file| std::fs::read_to_string(file).unwrap().len();
        let (all, sources) = (built_in.map(str::len), files.iter().map(read).sum::<usize>());
        assert_eq!(all.iter().sum::<usize>(), sources + 1, "nothing else is built in but one line end");
        for source in built_in {
            assert!(!parse(source).entry_points.is_empty(), "no entry point");
        }
    }

    /// Size, and name and offset of every member, of a struct in WGSL.
    fn layout_of(source: &str, name: &str) -> (usize, Vec<(String, usize)>) {
        let module = parse(source);
        let (_, found) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name)).unwrap();
        let naga::TypeInner::Struct { members, span } = &found.inner else { panic!("{name} is a struct") };
        let member = |m: &naga::StructMember| (m.name.clone().unwrap(), m.offset as usize);
        (*span as usize, members.iter().map(member).collect())
    }

    #[test]
    fn structs_have_the_layout_that_wgsl_gives_them() {
        let segment = [
            ("first_vector", offset_of!(Segment, first_vector)),
            ("elements", offset_of!(Segment, elements)),
            ("first_element", offset_of!(Segment, first_element)),
            ("inner", offset_of!(Segment, inner)),
            ("row", offset_of!(Segment, row)),
            ("repeats", offset_of!(Segment, repeats)),
            ("first_channel", offset_of!(Segment, first_channel)),
            ("padding", offset_of!(Segment, padding)),
        ];
        let owned = |members: &[(&str, usize)]| members.iter().map(|&(n, offset)| (n.to_owned(), offset)).collect();
        assert_eq!(layout_of(SCALE, "Segment"), (size_of::<Segment>(), owned(&segment)));
    }

    #[test]
    fn workgroups_are_as_large_as_the_host_counts_on() {
        for entry in parse(SCALE).entry_points {
            // Four words a lane, four bytes a word.
            assert_eq!(entry.workgroup_size.map(|n| n as usize), [TILE_BYTES / 16, 1, 1], "{}", entry.name);
        }
        assert_eq!(parse(SHIFT).entry_points[0].workgroup_size, [256, 1, 1]);
        assert_eq!(SHIFT_LANES, 256);
    }

    /// What Metal's and Direct3D's compilers get to see: a change of a shader, or of the translator, is a diff to be read.
    #[test]
    fn translations_are_as_reviewed() {
        for (name, source) in [("scale", SCALE), ("shift", SHIFT)] {
            let module = parse(source);
            let (flags, capabilities) = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty());
            let info = naga::valid::Validator::new(flags, capabilities).validate(&module).unwrap();
            let options = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
            let (metal, _) = naga::back::msl::write_string(&module, &info, &options, &Default::default()).unwrap();
            insta::assert_snapshot!(format!("{name}.metal"), metal);
            let (mut direct3d, options) = (String::new(), naga::back::hlsl::Options::default());
            let pipeline = naga::back::hlsl::PipelineOptions::default();
            naga::back::hlsl::Writer::new(&mut direct3d, &options, &pipeline).write(&module, &info, None).unwrap();
            insta::assert_snapshot!(format!("{name}.hlsl"), direct3d);
        }
    }
}
