//! 6 REPORT: one folded layer in figures: its scales, its weights before and after, its channels that die or blow up.
//!
//! In: folded layers, with the ranges that the folding pass gathered. Out: a [`LayerReport`] of a few hundred bytes each,
//! however many channels there are.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::channels::{Channels, Spread};
use super::lint::{self, LARGE_SCALE, Lint};
use super::read;
use super::sqnr::Sqnr;
use crate::fold::{FoldedLayer, Range};
use crate::network::Op;

/// Bins of [`ScaleReport::histogram`] a decade.
pub const BINS_A_DECADE: i32 = 10;

/// Scales beyond 10^12 or below 10^-12 are counted at the ends of the histogram.
const OUTERMOST_BIN: i32 = 12 * BINS_A_DECADE;

/// One norm and the layer it was folded into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// The norm's module path.
    pub norm: String,
    /// The weight that took its scale.
    pub weight: String,
    /// Kind of the layer.
    pub op: Op,
    /// Element type of the folded weight.
    pub dtype: Cow<'static, str>,
    /// Output channels.
    pub channels: u64,
    /// The norm's eps.
    pub eps: f64,
    /// Who says so.
    pub eps_source: String,
    /// The same as a code: see [`EpsSource::code`](crate::network::EpsSource::code).
    pub eps_code: Cow<'static, str>,
    /// What the channels were multiplied by.
    pub scales: ScaleReport,
    /// Channels whose scale is 0.
    pub dead: Channels,
    /// Channels whose scale is above [`LARGE_SCALE`].
    pub large: Channels,
    /// The largest magnitude of the stored shift.
    #[serde(deserialize_with = "read::number")]
    pub largest_shift: f64,
    /// The weight's values; `null` unless they were asked for.
    pub weights: Option<Weights>,
    /// What rounding the weight to 8 bits would leave of it; `null` unless it was asked for.
    pub sqnr_db: Option<Sqnr>,
}

/// The scales of a layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScaleReport {
    /// Magnitudes.
    #[serde(flatten)]
    pub spread: Spread,
    /// How they are distributed.
    pub histogram: Histogram,
}

/// Counts of channels by log10 of the scale's magnitude; channels of scale 0 are in none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// The first bin: bin `b` holds magnitudes from `10^(b/10)` up to `10^((b+1)/10)`.
    pub first: i32,
    /// Channels in that bin and in those after it.
    pub counts: Vec<u64>,
}

/// The values of a weight before and after folding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// As stored in the original.
    pub before: WeightRange,
    /// As folded.
    pub after: WeightRange,
}

/// The range of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightRange {
    /// Smallest value.
    #[serde(deserialize_with = "read::number")]
    pub min: f64,
    /// Largest value.
    #[serde(deserialize_with = "read::number")]
    pub max: f64,
    /// The largest magnitude of each channel that is not all zeros: how they differ is what one quantization step for the
    /// whole tensor must cover.
    pub channels: Spread,
}

impl Histogram {
    /// Of the magnitudes of `scales`.
    pub fn of(scales: &[f64]) -> Histogram {
        let bins = scales.iter().filter(|&&scale| scale != 0.0).map(|scale| bin(scale.abs())).collect::<Vec<_>>();
        let (Some(&first), Some(&last)) = (bins.iter().min(), bins.iter().max()) else { return Histogram::default() };
        let mut counts = vec![0; usize::try_from(last - first).unwrap_or(0) + 1];
        for bin in bins {
            counts[usize::try_from(bin - first).unwrap_or(0)] += 1;
        }
        Histogram { first, counts }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a conversion that saturates, clamped right after")]
fn bin(magnitude: f64) -> i32 {
    let bin = (magnitude.log10() * f64::from(BINS_A_DECADE)).floor() as i32;
    bin.clamp(-OUTERMOST_BIN, OUTERMOST_BIN - 1)
}

impl WeightRange {
    fn of(channels: &[Range]) -> WeightRange {
        let Range { min, max } = channels.iter().copied().fold(Range::EMPTY, Range::merged);
        let largest = channels.iter().map(|range| range.largest()).filter(|&largest| largest > 0.0);
        WeightRange { min, max, channels: Spread::of(largest) }
    }
}

/// Every layer in figures, and what is remarkable about it.
pub(crate) fn layer_reports(layers: &[FoldedLayer<'_>]) -> (Vec<LayerReport>, Vec<Lint>) {
    let (mut reports, mut lints) = (Vec::new(), Vec::new());
    for layer in layers {
        let scales = layer.norm.scales();
        let before = (!layer.ranges.is_empty()).then_some(layer.ranges.as_slice());
        let after = before.map(|ranges| {
            let folded = ranges.iter().zip(scales.iter()).map(|(range, &scale)| range.scaled(scale, layer.float));
            folded.collect::<Vec<_>>()
        });
        let weights = before.zip(after.as_deref());
        lints.extend(lint::remarks(&lint::Subject {
            layer: &layer.fold.norm.name,
            scales: &scales,
            variances: &layer.norm.affine.var,
            eps: layer.norm.affine.eps,
            shifts: &layer.shift,
            weights,
        }));
        let weights =
            weights.map(|(before, after)| Weights { before: WeightRange::of(before), after: WeightRange::of(after) });
        reports.push(report(layer, &scales, weights));
    }
    (reports, lints)
}

fn report(layer: &FoldedLayer<'_>, scales: &[f64], weights: Option<Weights>) -> LayerReport {
    let fold = layer.fold;
    LayerReport {
        norm: fold.norm.name.clone(),
        weight: fold.weight.clone(),
        op: fold.op,
        dtype: layer.float.name().into(),
        channels: fold.channels,
        eps: fold.eps,
        eps_source: fold.eps_source.written(),
        eps_code: fold.eps_source.code().into(),
        scales: ScaleReport { spread: Spread::of(scales.iter().copied()), histogram: Histogram::of(scales) },
        dead: Channels::that(scales.iter().copied(), |scale| scale == 0.0),
        large: Channels::that(scales.iter().copied(), |scale| scale.abs() > LARGE_SCALE),
        largest_shift: layer.shift.iter().fold(0.0, |largest, shift| largest.max(shift.abs())),
        weights,
        sqnr_db: layer.quantized.map(Sqnr::of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_scale_but_zeros() {
        let histogram = Histogram::of(&[1.0, -1.1, 1.3, 0.0, 10.0, 9.99]);
        assert_eq!((histogram.first, histogram.counts), (0, vec![2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]));
        assert_eq!(Histogram::of(&[0.0, 0.0]), Histogram::default());
        let ends = Histogram::of(&[1e-300, 1e300]);
        assert_eq!((ends.first, ends.counts.len()), (-OUTERMOST_BIN, 2 * OUTERMOST_BIN as usize));
    }
}
