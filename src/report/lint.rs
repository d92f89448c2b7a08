//! 6 REPORT: what is numerically remarkable about a folded layer. Nothing here is an error: the fold is exact all the
//! same, but a quantizer, a change of type or a wrong eps would suffer first where a remark stands.
//!
//! In: a [`Subject`]: a layer's numbers, one a channel. Out: [`Lint`]s. Pure functions; thresholds are the constants.

use serde::{Deserialize, Serialize};

use super::channels::Channels;
use super::read;
use crate::fold::Range;
use crate::text::counted;

/// A running variance of at most this many eps: from here on eps is ten elevenths of what is under the root or more, and the
/// scale is gamma / sqrt(eps) within 5 %, whatever the data. In trained networks a variance of one eps is nothing rare.
pub const VARIANCE_IN_EPS: f64 = 0.1;

/// A scale above this. 1 / sqrt(eps) for the usual 1e-5 is 316: a trained gamma of about 1 cannot get there, so the
/// variance is nearly nothing, or the eps too small.
pub const LARGE_SCALE: f64 = 1e3;

/// How many times the largest weight may grow. A scale of 1 / sqrt(1e-3), the strongest that a channel of almost no
/// variance gets at the larger one of the common eps, is 32.
pub const RANGE_GROWTH: f64 = 32.0;

/// How many times the largest weight may exceed the largest of a channel. With one int8 step for the whole tensor, a
/// channel at 1/16 has 127 / 16 steps: 8 magnitudes, 4 bits of the 8.
pub const CHANNEL_SPREAD: f64 = 16.0;

/// The share of channels that may lie below that. MobileNetV2's first depthwise layer, the well-known example of one that a
/// single step serves badly (Nagel et al. 2019, arXiv:1906.04721), has 28 %; most layers of it have none.
pub const SPREAD_SHARE: f64 = 0.25;

/// The largest finite f16.
pub const F16_MAX: f64 = 65504.0;

/// How near a folded number may come to [`F16_MAX`]: two bits, which adding up a few products uses up.
pub const F16_HEADROOM: f64 = 4.0;

/// The smallest normal f16, 2^-14: below it digits are lost, down to none at 2^-25.
pub const F16_MIN_NORMAL: f64 = 6.103_515_625e-5;

/// What a remark is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Channels whose scale is 0.
    DeadChannels,
    /// Channels whose running variance is at most [`VARIANCE_IN_EPS`].
    TinyVariance,
    /// Channels whose scale is above [`LARGE_SCALE`].
    LargeScale,
    /// The largest weight grew more than [`RANGE_GROWTH`].
    RangeGrowth,
    /// [`SPREAD_SHARE`] of the channels or more are [`CHANNEL_SPREAD`] below the largest weight.
    ChannelSpread,
    /// A folded weight or bias is within [`F16_HEADROOM`] of [`F16_MAX`], or beyond.
    F16Overflow,
    /// Channels all of whose folded weights are below [`F16_MIN_NORMAL`].
    F16Underflow,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::DeadChannels,
        Kind::TinyVariance,
        Kind::LargeScale,
        Kind::RangeGrowth,
        Kind::ChannelSpread,
        Kind::F16Overflow,
        Kind::F16Underflow,
    ];

    /// A name for it that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Kind::DeadChannels => "dead-channels",
            Kind::TinyVariance => "tiny-variance",
            Kind::LargeScale => "large-scale",
            Kind::RangeGrowth => "range-growth",
            Kind::ChannelSpread => "channel-spread",
            Kind::F16Overflow => "f16-overflow",
            Kind::F16Underflow => "f16-underflow",
        }
    }
}

/// One remark on one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lint {
    /// The norm's module path.
    pub layer: String,
    /// What it is about.
    pub kind: Kind,
    /// The number that passed the threshold: a count or share of channels, a scale, a factor, a magnitude.
    #[serde(deserialize_with = "read::number")]
    pub value: f64,
    /// The channels concerned; none where the whole layer is.
    pub channels: Channels,
    /// A sentence.
    pub message: String,
}

/// What is looked at. Slices have one entry a channel.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The norm's module path.
    pub layer: &'a str,
    /// What channels were multiplied by.
    pub scales: &'a [f64],
    /// Running variances.
    pub variances: &'a [f64],
    /// The norm's eps.
    pub eps: f64,
    /// Folded biases.
    pub shifts: &'a [f64],
    /// Ranges of weights before and after folding, where they were gathered.
    pub weights: Option<(&'a [Range], &'a [Range])>,
}

/// All remarks on a layer.
pub fn remarks(subject: &Subject<'_>) -> Vec<Lint> {
    let all = [dead_channels, tiny_variance, large_scale, range_growth, channel_spread, f16_overflow, f16_underflow];
    all.iter().filter_map(|remark| remark(subject)).collect()
}

impl Subject<'_> {
    fn lint(&self, kind: Kind, value: f64, channels: Channels, message: String) -> Option<Lint> {
        Some(Lint { layer: self.layer.to_owned(), kind, value, channels, message })
    }

    /// A remark on `channels`, if there are any: their count, then the rest of the sentence.
    fn on(&self, kind: Kind, channels: Channels, rest: &str) -> Option<Lint> {
        let message = format!("{} of {}{rest}", channels.count, counted(self.scales.len(), "channel"));
        let value = channels.count as f64;
        if channels.count == 0 { None } else { self.lint(kind, value, channels, message) }
    }

    /// The largest folded magnitude of every channel that is alive.
    fn living(&self) -> impl Iterator<Item = f64> {
        let after = self.weights.map_or(&[][..], |(_, after)| after);
        after.iter().map(|range| range.largest()).filter(|&largest| largest > 0.0)
    }
}

/// The largest magnitude; 0 of nothing.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn dead_channels(subject: &Subject<'_>) -> Option<Lint> {
    let dead = Channels::that(subject.scales.iter().copied(), |scale| scale == 0.0);
    subject.on(Kind::DeadChannels, dead, " with a scale of 0: constant, whatever comes in; can be pruned")
}

fn tiny_variance(subject: &Subject<'_>) -> Option<Lint> {
    // A dead channel stays dead with any variance.
    let limit = VARIANCE_IN_EPS * subject.eps;
    let each = subject.variances.iter().zip(subject.scales);
    let tiny = Channels::that(each, |(&variance, &scale)| variance <= limit && scale != 0.0);
    let rest =
        format!(" with a running variance of at most {VARIANCE_IN_EPS} eps ({:e}): eps makes their scale", subject.eps);
    subject.on(Kind::TinyVariance, tiny, &rest)
}

fn large_scale(subject: &Subject<'_>) -> Option<Lint> {
    let large = Channels::that(subject.scales.iter().copied(), |scale| scale.abs() > LARGE_SCALE);
    let most = largest(subject.scales);
    let rest = format!(" with a scale above {LARGE_SCALE}; the largest is {most:.3e}");
    let lint = subject.on(Kind::LargeScale, large, &rest)?;
    Some(Lint { value: most, ..lint })
}

fn range_growth(subject: &Subject<'_>) -> Option<Lint> {
    let of_all = |ranges: &[Range]| ranges.iter().copied().fold(Range::EMPTY, Range::merged).largest();
    let (before, after) = subject.weights.map(|(before, after)| (of_all(before), of_all(after)))?;
    let growth = after / before;
    let message = format!("the largest weight grew {growth:.1} times, from {before:.3e} to {after:.3e}");
    let grew = before > 0.0 && growth > RANGE_GROWTH;
    if grew { subject.lint(Kind::RangeGrowth, growth, Channels::default(), message) } else { None }
}

fn channel_spread(subject: &Subject<'_>) -> Option<Lint> {
    let (_, after) = subject.weights?;
    let step = subject.living().fold(0.0, f64::max) / CHANNEL_SPREAD;
    let low = Channels::that(after, |range| range.largest() > 0.0 && range.largest() < step);
    let share = low.count as f64 / subject.living().count() as f64;
    let rest = format!(
        " with no folded weight above 1/{CHANNEL_SPREAD} of the largest: quantized to int8 with one step for the whole tensor, \
         they keep 4 bits at most"
    );
    let lint = subject.on(Kind::ChannelSpread, low, &rest)?;
    (share >= SPREAD_SHARE).then_some(Lint { value: share, ..lint })
}

fn f16_overflow(subject: &Subject<'_>) -> Option<Lint> {
    let (shift, weight) = (largest(subject.shifts), subject.living().fold(0.0, f64::max));
    let (what, most) = if shift > weight { ("bias", shift) } else { ("weight", weight) };
    let verdict = match most > F16_MAX {
        true => "which f16 cannot hold".to_owned(),
        false => format!("{:.1} times below the largest f16, {F16_MAX}", F16_MAX / most),
    };
    let message = format!("the largest folded {what} is {most:.3e}, {verdict}");
    let near = most > F16_MAX / F16_HEADROOM;
    if near { subject.lint(Kind::F16Overflow, most, Channels::default(), message) } else { None }
}

fn f16_underflow(subject: &Subject<'_>) -> Option<Lint> {
    let (before, after) = subject.weights?;
    // What f16 could not hold before folding either is not folding's doing.
    let sinks = |(before, after): (&Range, &Range)| {
        let (before, after) = (before.largest(), after.largest());
        before >= F16_MIN_NORMAL && after < F16_MIN_NORMAL
    };
    let alive = subject.scales.iter().zip(before.iter().zip(after));
    let sunk = Channels::that(alive, |(&scale, pair)| scale != 0.0 && sinks(pair));
    let rest = format!(" with all folded weights below the smallest normal f16, {F16_MIN_NORMAL:.2e}");
    subject.on(Kind::F16Underflow, sunk, &rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Subject<'_> = Subject {
        layer: "bn",
        scales: &[1.0, -2.0, 0.5],
        variances: &[1.0, 0.5, 2.0],
        eps: 1e-5,
        shifts: &[0.0, -1.0, 1.0],
        weights: None,
    };

    fn ranges<const N: usize>(largest: [f64; N]) -> [Range; N] {
        largest.map(|largest| Range { min: -largest, max: largest / 2.0 })
    }

    /// The kinds, values and channels of the remarks on `subject`.
    fn found(subject: Subject<'_>) -> Vec<(Kind, f64, Vec<u64>)> {
        remarks(&subject).into_iter().map(|lint| (lint.kind, lint.value, lint.channels.first)).collect()
    }

    /// The same of weights whose channels reach from `before` to `after`.
    fn of_weights<const N: usize>(before: [f64; N], after: [f64; N]) -> Vec<(Kind, f64, Vec<u64>)> {
        let (before, after, ones) = (ranges(before), ranges(after), [1.0; N]);
        found(Subject { scales: &ones, variances: &ones, weights: Some((&before, &after)), ..USUAL })
    }

    #[test]
    fn an_ordinary_layer_is_not_remarked_upon() {
        assert_eq!(found(USUAL), []);
        assert_eq!(of_weights([0.1, 0.2, 0.3], [0.2, 0.1, 0.4]), []);
    }

    #[test]
    fn dead_channels_are_those_of_scale_zero() {
        assert_eq!(found(Subject { scales: &[1e-300, 0.0, -0.0], ..USUAL }), [(Kind::DeadChannels, 2.0, vec![1, 2])]);
    }

    #[test]
    fn a_variance_is_tiny_up_to_a_tenth_of_eps() {
        let variances = [1.000_001e-6, 1e-6, 0.0];
        assert_eq!(found(Subject { variances: &variances, ..USUAL }), [(Kind::TinyVariance, 2.0, vec![1, 2])]);
        let dead = Subject { variances: &[1.0, 1.0, 0.0], scales: &[1.0, 1.0, 0.0], ..USUAL };
        assert_eq!(found(dead), [(Kind::DeadChannels, 1.0, vec![2])], "a dead channel's variance does not matter");
    }

    #[test]
    fn a_scale_is_large_above_a_thousand() {
        assert_eq!(found(Subject { scales: &[1000.0, -1000.0, 1.0], ..USUAL }), []);
        let large = Subject { scales: &[1000.0, -1000.1, 1.0], ..USUAL };
        assert_eq!(found(large), [(Kind::LargeScale, 1000.1, vec![1])]);
    }

    #[test]
    fn growth_is_of_the_largest_weight() {
        assert_eq!(of_weights([0.5, 1.0], [32.0, 32.0]), []);
        assert_eq!(of_weights([0.5, 1.0], [32.5, 32.0]), [(Kind::RangeGrowth, 32.5, vec![])]);
        assert_eq!(of_weights([0.0, 0.0], [0.0, 0.0]), [], "a weight of zeros");
    }

    #[test]
    fn a_spread_is_wide_if_a_quarter_of_the_living_channels_lies_below_a_sixteenth() {
        let ones = [1.0; 5];
        assert_eq!(of_weights(ones, [1.0, 1.0, 16.0, 16.0, 16.0]), []);
        assert_eq!(of_weights(ones, [0.99, 16.0, 16.0, 16.0, 16.0]), [], "one in five");
        let one_dead = [1.0, 1.0, 1.0, 1.0, 0.0];
        assert_eq!(of_weights(one_dead, [0.99, 16.0, 16.0, 16.0, 0.0]), [(Kind::ChannelSpread, 0.25, vec![0])]);
        assert_eq!(of_weights([1.0, 0.0], [1.0, 0.0]), [], "channels of zeros have no range to lose");
    }

    #[test]
    fn f16_is_near_its_end_at_a_quarter() {
        let quarter = F16_MAX / F16_HEADROOM;
        assert_eq!(found(Subject { shifts: &[-quarter], ..USUAL }), []);
        assert_eq!(found(Subject { shifts: &[-quarter - 1.0], ..USUAL }), [(Kind::F16Overflow, quarter + 1.0, vec![])]);
        let (before, after) = (ranges([9e4; 2]), ranges([9e4; 2]));
        let beyond = Subject { shifts: &[quarter + 1.0], weights: Some((&before, &after)), ..USUAL };
        let lint = &remarks(&beyond)[0];
        assert_eq!((lint.kind, lint.value), (Kind::F16Overflow, 9e4));
        assert!(lint.message.contains("folded weight") && lint.message.contains("cannot hold"), "{}", lint.message);
    }

    #[test]
    fn a_channel_sinks_below_f16_if_folding_did_it() {
        let below = F16_MIN_NORMAL * 0.99;
        assert_eq!(of_weights([1.0, 1.0], [F16_MIN_NORMAL, F16_MIN_NORMAL]), []);
        assert_eq!(of_weights([1.0, 1.0], [F16_MIN_NORMAL, below]), [(Kind::F16Underflow, 1.0, vec![1])]);
        assert_eq!(of_weights([below, below], [below, below]), [], "it was there before");
    }
}
