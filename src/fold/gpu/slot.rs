//! 3 FOLD, GPU: the buffers that one batch travels through.
//!
//! In: a batch's elements, as they are read, and its tables. Out: the folded bytes, mapped, with the batch's number behind
//! them. Buffers and bind group are made once and used again and again; a slot at rest is mapped for the host to write.
//!
//! ```text
//! memory of its own   upload (mapped) ─copy─ input ─kernel─ folded ─copy─ readback (mapped)
//! shared memory       input (mapped) ─kernel─ folded (mapped)
//! ```

use std::time::Duration;

use super::batch::{Batch, MAX_SCALES, TILE_BYTES, Tables};
use super::kernel::{Kernels, Segment};
use super::timer::{TIMES_BYTES, Timer};
use crate::error::{Error, Result};

/// Bytes of a batch's number, and what a region within a buffer begins on a multiple of: no device asks for more.
const NUMBER_BYTES: usize = 8;
const ALIGNMENT: usize = 256;

/// Where the parts of an upload begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regions {
    /// The batch's number, behind the most elements that there is room for.
    number: usize,
    tiles: usize,
    segments: usize,
    /// The last, so that no more is copied than there are.
    scales: usize,
    end: usize,
}

impl Regions {
    /// For batches of at most `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Regions {
        let (number, most_tiles) = (capacity, capacity / TILE_BYTES);
        let tiles = number + ALIGNMENT;
        let segments = (tiles + most_tiles * size_of::<u32>()).next_multiple_of(ALIGNMENT);
        let scales = (segments + most_tiles * size_of::<Segment>()).next_multiple_of(ALIGNMENT);
        Regions { number, tiles, segments, scales, end: scales + MAX_SCALES * size_of::<f32>() }
    }

    /// Bytes of a whole upload.
    pub(super) fn bytes(self) -> usize {
        self.end
    }
}

/// The buffers of one batch.
pub(super) struct Slot {
    regions: Regions,
    /// What the shader reads.
    input: wgpu::Buffer,
    /// What it writes.
    pub(super) folded: wgpu::Buffer,
    /// Where the host writes and reads; `None` where memory is shared, and these are the two above.
    staging: Option<Staging>,
    pub(super) bindings: wgpu::BindGroup,
    timer: Option<Timer>,
    /// The batch's stored elements on the host, for the check of what comes back. Made of `u64`, so that elements of every
    /// type are aligned.
    stored: Vec<u64>,
}

/// Host memory on the way to an adapter with memory of its own, and back.
struct Staging {
    upload: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl Slot {
    /// For batches of at most `capacity` bytes; with a clock if `timed`.
    pub(super) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        kernels: &Kernels,
        capacity: usize,
        shared: bool,
        timed: bool,
    ) -> Slot {
        use wgpu::BufferUsages as Usage;
        let regions = Regions::new(capacity);
        let (input, result) = match shared {
            true => (Usage::MAP_WRITE | Usage::COPY_SRC, Usage::MAP_READ | Usage::COPY_DST),
            false => (Usage::COPY_DST, Usage::COPY_SRC),
        };
        let host = |label, size, usage, mapped| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: size as u64,
                usage,
                mapped_at_creation: mapped,
            })
        };
        // Times and number travel at the end of the result: one mapping brings all of it.
        let result_bytes = capacity + TIMES_BYTES + NUMBER_BYTES;
        let input = host("input", regions.end, Usage::STORAGE | input, shared);
        let folded = host("folded", result_bytes, Usage::STORAGE | result, false);
        let staging = (!shared).then(|| Staging {
            upload: host("upload", regions.end, Usage::MAP_WRITE | Usage::COPY_SRC, true),
            readback: host("readback", result_bytes, Usage::MAP_READ | Usage::COPY_DST, false),
        });
        let part = |begin: usize, end: usize| (&input, begin..end);
        let Regions { number, tiles, segments, scales, end } = regions;
        let bindings = kernels.bind_batch(
            device,
            [part(0, number), (&folded, 0..capacity), part(scales, end), part(segments, scales), part(tiles, segments)],
        );
        let timer = if timed { Timer::new(device, queue) } else { None };
        Slot { regions, input, folded, staging, bindings, timer, stored: vec![0; capacity / 8] }
    }

    /// The most bytes of a batch.
    pub(super) fn capacity(&self) -> usize {
        self.regions.number
    }

    /// The batch's stored elements.
    pub(super) fn stored(&self) -> &[u8] {
        bytemuck::cast_slice(&self.stored)
    }

    /// What the host writes to.
    pub(super) fn upload(&self) -> &wgpu::Buffer {
        self.staging.as_ref().map_or(&self.input, |staging| &staging.upload)
    }

    /// What the host reads the result from.
    pub(super) fn result(&self) -> &wgpu::Buffer {
        self.staging.as_ref().map_or(&self.folded, |staging| &staging.readback)
    }

    /// Writes a batch into the upload, which is mapped: the pieces, as `read` fills their bytes, the tables and the number.
    /// Each piece is copied while it is in a cache.
    pub(super) fn fill(
        &mut self,
        view: &mut wgpu::BufferViewMut,
        (batch, tables, number): (&Batch, &Tables, u64),
        mut read: impl FnMut(crate::fold::Piece, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        for (piece, range) in batch.places() {
            let stored = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut self.stored)[range.clone()];
            read(piece, stored)?;
            view.slice(range).copy_from_slice(stored);
        }
        let mut write = |begin: usize, bytes: &[u8]| view.slice(begin..begin + bytes.len()).copy_from_slice(bytes);
        write(self.regions.number, &number.to_le_bytes());
        write(self.regions.tiles, bytemuck::cast_slice(&tables.tiles));
        write(self.regions.segments, bytemuck::cast_slice(&tables.segments));
        write(self.regions.scales, bytemuck::cast_slice(&tables.scales));
        Ok(())
    }

    /// Records a batch: the way in, the kernel, the way back, and last its number, so that a result that carries it is that
    /// of these commands.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder, kernels: &Kernels, batch: &Batch, scales: usize) {
        self.record_upload(encoder, batch.bytes(), scales);
        kernels.scale(encoder, batch.float(), &self.bindings, batch.bytes() / TILE_BYTES, self.timer.as_ref());
        self.record_readback(encoder, batch.bytes());
        if let Some(timer) = &self.timer {
            timer.resolve(encoder, self.result(), self.capacity() as u64);
        }
        let (number, behind) = (self.regions.number as u64, (self.capacity() + TIMES_BYTES) as u64);
        encoder.copy_buffer_to_buffer(self.upload(), number, self.result(), behind, NUMBER_BYTES as u64);
    }

    /// Records the way of `bytes` bytes of elements, the tables and `scales` scales to where the shader reads them; where
    /// memory is shared they are there.
    pub(super) fn record_upload(&self, encoder: &mut wgpu::CommandEncoder, bytes: usize, scales: usize) {
        if let Some(Staging { upload, .. }) = &self.staging {
            let Regions { tiles, scales: first_scale, .. } = self.regions;
            let tables = first_scale + scales * size_of::<f32>() - tiles;
            encoder.copy_buffer_to_buffer(upload, 0, &self.input, 0, bytes as u64);
            encoder.copy_buffer_to_buffer(upload, tiles as u64, &self.input, tiles as u64, tables as u64);
        }
    }

    /// Records the way of `bytes` bytes of results to where the host reads them; where memory is shared they are there.
    pub(super) fn record_readback(&self, encoder: &mut wgpu::CommandEncoder, bytes: usize) {
        if let Some(Staging { readback, .. }) = &self.staging {
            encoder.copy_buffer_to_buffer(&self.folded, 0, readback, 0, bytes as u64);
        }
    }

    /// An `Err` if `result`, all of it, is not that of the batch of this number.
    pub(super) fn check_number(&self, result: &[u8], number: u64) -> Result<()> {
        let found = result.get(self.capacity() + TIMES_BYTES..).unwrap_or_default();
        if found == number.to_le_bytes() {
            return Ok(());
        }
        Err(Error::Gpu { reason: "a batch was said to be done, and its commands never ran".to_owned() })
    }

    /// How long the kernel took, of a whole `result`; `None` if nobody looked at the clock, or there is none.
    pub(super) fn kernel_time(&self, result: &[u8]) -> Option<Duration> {
        let times = result.get(self.capacity()..self.capacity() + TIMES_BYTES)?;
        self.timer.as_ref()?.elapsed(times)
    }
}

pub(super) fn buffer(device: &wgpu::Device, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes as u64,
        usage,
        mapped_at_creation: false,
    })
}
