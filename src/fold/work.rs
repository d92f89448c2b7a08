//! 3 FOLD: what is worked on: weights, their scales, and the pieces that they are cut into.
//!
//! In: folds and their scales. Out: one [`WeightJob`] a weight, and [`Piece`]s small enough to stay in a core's own cache.

use std::borrow::Cow;

use super::PIECE_BYTES;
use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::network::Fold;

/// Neighbouring elements of a weight: their bytes, and the type they are read as.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a> {
    /// Type of the elements.
    pub float: Float,
    /// Their bytes, little-endian.
    pub bytes: &'a [u8],
}

impl Elements<'_> {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.float.bytes()
    }
}

/// Room for elements that follow each other.
#[derive(Debug)]
pub struct ElementsMut<'a> {
    /// Type that the elements are to have.
    pub float: Float,
    /// As many bytes as they take.
    pub bytes: &'a mut [u8],
}

/// Per-channel scales, as the arithmetic needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scales<'a> {
    /// For f32 and narrower weights: rounded once.
    pub f32: Vec<f32>,
    /// For f64 weights, and for channels whose scale is below f32's normal numbers.
    pub f64: Cow<'a, [f64]>,
    /// Whether any scale is below f32's normal numbers, where it has few digits or none.
    pub subnormal: bool,
}

impl<'a> Scales<'a> {
    /// From scales in f64.
    #[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
    pub fn new(f64: impl Into<Cow<'a, [f64]>>) -> Scales<'a> {
        let f64 = f64.into();
        let f32 = f64.iter().map(|&scale| scale as f32).collect::<Vec<_>>();
        let subnormal = (0..f64.len()).any(|channel| is_below_normal(f32[channel], f64[channel]));
        Scales { subnormal, f32, f64 }
    }

    /// Whether the scale of `channel` is too small for f32 to hold all its digits.
    pub(super) fn is_subnormal(&self, channel: usize) -> bool {
        is_below_normal(self.f32[channel], self.f64[channel])
    }
}

fn is_below_normal(narrow: f32, exact: f64) -> bool {
    narrow.is_subnormal() || (narrow == 0.0 && exact != 0.0)
}

/// One weight to fold.
#[derive(Debug)]
pub struct WeightJob<'a> {
    /// The fold it belongs to.
    pub fold: &'a Fold,
    /// What its channels are multiplied by.
    pub scales: Scales<'a>,
    /// What they should be multiplied by, computed apart by the oracle's formula.
    pub reference: Cow<'a, [f64]>,
    /// Element type of the result.
    pub to: Float,
}

/// A stretch of one weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Index of the job.
    pub job: usize,
    /// Flat index of its first element in the weight.
    pub first: u64,
    /// Number of elements.
    pub elements: usize,
}

impl Piece {
    /// All weights, piece by piece, in order. Pieces have an even number of elements, but for a weight's last.
    pub(super) fn all(jobs: &[WeightJob<'_>]) -> Vec<Piece> {
        let pieces = |(index, job): (usize, &WeightJob<'_>)| {
            let most = PIECE_BYTES / job.fold.float.bytes();
            let (elements, whole) = (job.fold.elements, most as u64);
            (0..elements.div_ceil(whole)).map(move |n| {
                let first = n * whole;
                let elements = usize::try_from(elements - first).unwrap_or(most).min(most);
                Piece { job: index, first, elements }
            })
        };
        jobs.iter().enumerate().flat_map(pieces).collect()
    }

    /// Reads its stored elements into `buffer`, which has their size.
    pub(super) fn read(&self, checkpoint: &Checkpoint, jobs: &[WeightJob<'_>], buffer: &mut [u8]) -> Result<()> {
        let fold = jobs[self.job].fold;
        checkpoint.read(checkpoint.tensor(&fold.weight)?, self.first * fold.float.bytes() as u64, buffer)
    }
}
