//! 3 FOLD, GPU: many pieces of weights that travel together.
//!
//! In: a queue of pieces. Out: those of one upload, every piece on a tile boundary, and the tables that tell the shader
//! what is where.

use std::collections::VecDeque;
use std::ops::Range;

use super::kernel::Segment;
use crate::checkpoint::Float;
use crate::fold::{Piece, WeightJob};
use crate::network::channels::ChannelMap;

/// Every piece begins on a multiple of this: what one workgroup of the shader works on.
pub const TILE_BYTES: usize = 4096;

/// The most scales that a batch may need.
pub(super) const MAX_SCALES: usize = 1 << 18;

/// Pieces of one element type on their way to the GPU and back.
#[derive(Debug)]
pub(super) struct Batch {
    float: Float,
    /// Each with its first byte in the batch.
    pieces: Vec<(Piece, usize)>,
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
    /// Takes pieces off the queue until `most` bytes are reached or a piece of another type comes.
    pub(super) fn take(queue: &mut VecDeque<Piece>, jobs: &[WeightJob<'_>], most: usize) -> Batch {
        let float = queue.front().map_or(Float::F32, |piece| jobs[piece.job].fold.float);
        let mut batch = Batch { float, pieces: Vec::new(), bytes: 0 };
        let (mut scales, mut last) = (0, None);
        while let Some(&piece) = queue.front() {
            let job = &jobs[piece.job];
            if last != Some(piece.job) {
                scales += job.scales.f32.len();
                last = Some(piece.job);
            }
            let end = batch.bytes + piece.elements * float.bytes();
            if job.fold.float != float || scales > MAX_SCALES || end > most {
                break;
            }
            batch.pieces.push((piece, batch.bytes));
            batch.bytes = end.next_multiple_of(TILE_BYTES);
            queue.pop_front();
        }
        batch
    }

    /// One of a single piece of `bytes` bytes.
    pub(super) fn of_one_piece(float: Float, bytes: usize) -> Batch {
        Batch { float, pieces: vec![(Piece { job: 0, first: 0, elements: bytes / float.bytes() }, 0)], bytes }
    }

    /// Element type of all its pieces.
    pub(super) fn float(&self) -> Float {
        self.float
    }

    /// Its length, a multiple of [`TILE_BYTES`].
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every piece, and where its bytes lie.
    pub(super) fn places(&self) -> impl Iterator<Item = (Piece, Range<usize>)> {
        self.pieces.iter().map(|&(piece, begin)| (piece, begin..begin + piece.elements * self.float.bytes()))
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
