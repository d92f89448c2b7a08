//! 3 FOLD, GPU: the adapter's own clock around a kernel.
//!
//! In: a device with [`wgpu::Features::TIMESTAMP_QUERY`]; no device is refused for want of it. Out: the time between the
//! begin and the end of a compute pass, as the device measured it.

use std::time::Duration;

/// Bytes of a begin and an end.
pub(super) const TIMES_BYTES: usize = 16;

/// Two timestamps and where the device puts them.
pub(super) struct Timer {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Nanoseconds a tick.
    period: f32,
}

impl Timer {
    /// `None` on a device without timestamps.
    pub(super) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Option<Timer> {
        device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| Timer {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("kernel times"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("kernel times"),
                size: TIMES_BYTES as u64,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            period: queue.get_timestamp_period(),
        })
    }

    /// What a compute pass is to note.
    pub(super) fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Puts both times into `target` at `offset`.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, offset: u64) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, target, offset, TIMES_BYTES as u64);
    }

    /// The time between the two; `None` if the clock ran backwards, as some do when a device sleeps.
    pub(super) fn elapsed(&self, times: &[u8]) -> Option<Duration> {
        let (times, _) = times.as_chunks::<8>();
        let &[begin, end] = times else { return None };
        let ticks = u64::from_le_bytes(end).checked_sub(u64::from_le_bytes(begin))?;
        // As f64, whose 53 bits hold a hundred days of nanoseconds.
        Some(Duration::from_secs_f64(ticks as f64 * f64::from(self.period) * 1e-9))
    }
}
