//! 3 FOLD, GPU: the shift of every channel of a model, through `shaders/shift.wgsl`.
//!
//! In: `moved` and `beta`, one value per channel. Out: their sums, as the device computed them; whether they are right is
//! judged by [`crate::fold::Engine::shift`].

use super::kernel::SHIFT_LANES;
use super::slot::buffer;
use super::trip::{Recorder, Trip};
use super::{BATCH_BYTES, GpuEngine};
use crate::error::Result;

impl GpuEngine {
    /// `moved + beta`, one value per channel: twin of [`crate::fold::cpu::shift`]. An `Err` is a failure of the device.
    pub fn shift(&self, moved: &[f32], beta: &[f32]) -> Result<Vec<f32>> {
        let mut shifted = Vec::with_capacity(moved.len());
        for (moved, beta) in moved.chunks(BATCH_BYTES / 4).zip(beta.chunks(BATCH_BYTES / 4)) {
            let trip = Trip::start(&self.device, "shift", |recorder| self.record_shift(recorder, moved, beta))?;
            shifted.extend(trip.finish(&self.device, |bytes| f32s(bytes).collect::<Vec<_>>())?);
        }
        Ok(shifted)
    }

    /// Returns the buffer that the result can be read from.
    fn record_shift(&self, recorder: &mut Recorder<'_>, moved: &[f32], beta: &[f32]) -> wgpu::Buffer {
        use wgpu::BufferUsages as Usage;
        let Recorder { device, queue, encoder } = recorder;
        let bytes = size_of_val(moved);
        let input = |label, values: &[f32]| {
            let buffer = buffer(device, label, bytes, Usage::STORAGE | Usage::COPY_DST);
            queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
            buffer
        };
        let (moved, beta) = (input("moved", moved), input("beta", beta));
        let shifted = buffer(device, "shifted", bytes, Usage::STORAGE | Usage::COPY_SRC);
        let readback = buffer(device, "shift readback", bytes, Usage::MAP_READ | Usage::COPY_DST);
        let bindings = self.kernels.bind_shift(device, [&moved, &beta, &shifted], bytes);
        self.kernels.shift(encoder, &bindings, (bytes / 4).div_ceil(SHIFT_LANES));
        encoder.copy_buffer_to_buffer(&shifted, 0, &readback, 0, bytes as u64);
        readback
    }
}

fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word))
}
