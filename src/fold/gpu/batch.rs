//! 3 FOLD, GPU: many pieces of weights that travel together.
//!
//! In: pieces, and the file they are read from. Out: one upload's bytes, every piece on a tile boundary, and the tables
//! that tell the shader what is where.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::kernel::Segment;
use crate::checkpoint::Float;
use crate::error::Result;
use crate::fold::gate::Gate;
use crate::fold::{FoldStats, Piece, WeightJob};
use crate::network::channels::ChannelMap;

/// Bytes of a batch: enough to hide the cost of a submission on llvmpipe, few enough that host and adapter find them in a cache where
/// they share one (on llvmpipe batches of 8 MiB take a tenth longer); far below the default limit of 128 MiB a binding.
pub const BATCH_BYTES: usize = 2 << 20;

/// Every piece begins on a multiple of this: what one workgroup of the shader works on.
pub const TILE_BYTES: usize = 4096;

/// The most scales that a batch may need.
pub(super) const MAX_SCALES: usize = 1 << 20;

/// Weights of one element type on their way to the GPU and back.
#[derive(Debug)]
pub struct Batch {
    float: Float,
    pieces: Vec<(Piece, usize)>,
    /// Made of `u64`, so that elements of every type are aligned.
    stored: Vec<u64>,
    bytes: usize,
}

impl Segment {
    /// A piece of a weight that begins at byte `begin` of a batch.
    #[expect(clippy::cast_possible_truncation, reason = "only weights whose numbers fit into 32 bits come here")]
    fn new(begin: usize, piece: Piece, map: ChannelMap, first_channel: u32) -> Segment {
        Segment {
            first_vector: (begin / 16) as u32,
            elements: piece.elements as u32,
            first_element: piece.first as u32,
            inner: map.inner as u32,
            row: map.row as u32,
            repeats: map.repeats as u32,
            first_channel,
            padding: 0,
        }
    }
}

/// What the shader needs beside a batch's elements.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// The pieces in the shader's terms.
    pub(super) segments: Vec<Segment>,
    /// For each tile the index of its segment.
    pub(super) tiles: Vec<u32>,
    /// Scales of all layers in the batch, one layer after the other.
    pub(super) scales: Vec<f32>,
}

/// Whether the GPU can fold a weight: no f64 and no change of type, since there is no kernel for them; indices within the
/// shader's 32 bits; scales within a batch; no scale that the GPU might flush.
pub fn can_fold(job: &WeightJob<'_>) -> bool {
    job.to == job.fold.float
        && job.to != Float::F64
        && u32::try_from(job.fold.elements).is_ok()
        && job.scales.f32.len() <= MAX_SCALES
        && !job.scales.subnormal
}

impl Batch {
    /// An empty batch in `memory` of [`BATCH_BYTES`].
    pub fn new(float: Float, memory: Vec<u64>) -> Batch {
        Batch { float, pieces: Vec::new(), stored: memory, bytes: 0 }
    }

    /// The memory it lies in.
    pub(super) fn into_memory(self) -> Vec<u64> {
        self.stored
    }

    /// Adds a piece; returns where its stored elements go, or `None` if it does not fit any more.
    pub fn add(&mut self, piece: Piece) -> Option<&mut [u8]> {
        let (begin, bytes) = (self.bytes, piece.elements * self.float.bytes());
        let place = bytemuck::cast_slice_mut(&mut self.stored).get_mut(begin..begin + bytes)?;
        self.bytes = (begin + bytes).next_multiple_of(TILE_BYTES);
        self.pieces.push((piece, begin));
        Some(place)
    }

    /// Takes pieces off the queue and reads them into `memory`, until the batch is full or a piece of another type comes.
    pub(in crate::fold) fn fill(
        memory: Vec<u64>,
        queue: &mut VecDeque<Piece>,
        gate: &Gate<'_>,
        stats: &mut FoldStats,
    ) -> Result<Batch> {
        let jobs = gate.jobs;
        let float = queue.front().map_or(Float::F32, |piece| jobs[piece.job].fold.float);
        let mut batch = Batch::new(float, memory);
        let (mut scales, mut last) = (0, None);
        let started = Instant::now();
        while let Some(piece) = queue.front() {
            let job = &jobs[piece.job];
            if last != Some(piece.job) {
                scales += job.scales.f32.len();
                last = Some(piece.job);
            }
            if job.fold.float != float || scales > MAX_SCALES {
                break;
            }
            let Some(stored) = batch.add(*piece) else { break };
            piece.read(gate.checkpoint, jobs, stored)?;
            queue.pop_front();
        }
        stats.read += started.elapsed();
        Ok(batch)
    }

    /// Element type of all its pieces.
    pub fn float(&self) -> Float {
        self.float
    }

    /// The stored elements; a multiple of [`TILE_BYTES`].
    pub fn stored(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.stored)[..self.bytes]
    }

    /// Every piece, and where its bytes lie.
    pub fn places(&self) -> impl Iterator<Item = (Piece, Range<usize>)> {
        self.pieces.iter().map(|&(piece, begin)| (piece, begin..begin + piece.elements * self.float.bytes()))
    }

    /// The pieces alone.
    pub fn into_pieces(self) -> impl Iterator<Item = Piece> {
        self.pieces.into_iter().map(|(piece, _)| piece)
    }

    /// What the shader needs beside the elements.
    #[expect(clippy::cast_possible_truncation, reason = "can_fold admitted only layers whose numbers fit into 32 bits")]
    pub(super) fn tables(&self, jobs: &[WeightJob<'_>]) -> Tables {
        let Tables { mut segments, mut tiles, mut scales } = Tables::default();
        let mut last = None;
        for (piece, range) in self.places() {
            let job = &jobs[piece.job];
            if last != Some(piece.job) {
                scales.extend_from_slice(&job.scales.f32);
                last = Some(piece.job);
            }
            tiles.extend(std::iter::repeat_n(segments.len() as u32, range.len().div_ceil(TILE_BYTES)));
            let first_channel = (scales.len() - job.scales.f32.len()) as u32;
            segments.push(Segment::new(range.start, piece, job.fold.map, first_channel));
        }
        Tables { segments, tiles, scales }
    }
}
