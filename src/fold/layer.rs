//! 3 FOLD: one norm and its layer, from the plan to the report.
//!
//! In: a planned fold. Out: a [`FoldedLayer`], which every later stage adds its part to: this one the arithmetic, the
//! shift and the weight's ranges, WRITE the place of the weight. REPORT reads all of it.

use super::style::{Storage, StyledNorm};
use super::{Engine, FoldOptions, FoldStats, Quantized, Range, Scales, WeightJob, fold};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::network::Fold;

/// One norm and the layer that it is folded into. Vectors have one entry per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedLayer<'a> {
    /// What was planned.
    pub fold: &'a Fold,
    /// The norm's arithmetic and how its result is stored.
    pub norm: StyledNorm,
    /// Element type of the folded weight.
    pub float: Float,
    /// The shift, as it is stored; empty until [`compute_shifts`](super::compute_shifts).
    pub shift: Vec<f64>,
    /// Where the folded weight is written; the beginning of the first file until the output is laid out.
    pub place: Place,
    /// The range of the stored weights; empty unless [`FoldOptions::ranges`] asks for it.
    pub ranges: Vec<Range>,
    /// What 8 bits would cost; `None` unless [`FoldOptions::quantization`] asks for it.
    pub quantized: Option<Quantized>,
}

/// Where a folded weight is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the file, as in [`Checkpoint::shards`].
    pub shard: usize,
    /// First byte, relative to the file's data section.
    pub begin: u64,
}

impl<'a> FoldedLayer<'a> {
    /// Reads the norm of `fold` and settles how it is stored. An error names the norm and the channel that cannot be
    /// folded.
    pub fn new(checkpoint: &Checkpoint, fold: &'a Fold, storage: Storage) -> Result<FoldedLayer<'a>> {
        Ok(FoldedLayer {
            fold,
            norm: StyledNorm::read(checkpoint, fold, storage)?,
            float: storage.float(fold.float),
            shift: Vec::new(),
            place: Place::default(),
            ranges: Vec::new(),
            quantized: None,
        })
    }

    /// What is to be done with its weight.
    fn job(&self) -> WeightJob<'_> {
        let scales = Scales::new(self.norm.scales());
        WeightJob { fold: self.fold, scales, reference: self.norm.weight_reference(), to: self.float }
    }
}

/// Where folded weights go: the layer, the first byte within its weight, the bytes. Called from several threads, in any
/// order.
pub type LayerSink<'s> = dyn Fn(&FoldedLayer<'_>, u64, &[u8]) -> Result<()> + Sync + 's;

/// Folds the weights of all `layers` into `sink`, and gathers their ranges.
pub fn fold_layers(
    checkpoint: &Checkpoint,
    layers: &mut [FoldedLayer<'_>],
    engine: &mut Engine,
    options: FoldOptions<'_>,
    sink: &LayerSink<'_>,
) -> Result<FoldStats> {
    let jobs = layers.iter().map(FoldedLayer::job).collect::<Vec<_>>();
    let mut stats = fold(checkpoint, &jobs, engine, options, &|job, first, folded| {
        sink(&layers[job], first * jobs[job].to.bytes() as u64, folded)
    })?;
    layers.iter_mut().zip(stats.ranges.drain(..)).for_each(|(layer, ranges)| layer.ranges = ranges);
    layers.iter_mut().zip(stats.quantized.drain(..)).for_each(|(layer, found)| layer.quantized = Some(found));
    Ok(stats)
}
