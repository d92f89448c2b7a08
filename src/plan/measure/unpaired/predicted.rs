//! 2 PLAN, measure: running means predicted from the norm before the layer.
//!
//! In: open norms, free weights, and every norm as the one before. Out: how much of a norm's running means each weight
//! explains, given the best norm and activation before it.
//!
//! The mean of a layer's output is a linear map of its inputs' means ([`LinearMap`]) plus its bias, and those are known where
//! a norm and an activation stand before the layer (see [`activation_means`](crate::plan::measure::activation_means)). Two
//! numbers are fitted, the padding, out of a few, and a slope near 1 for what the normal approximation takes away. Sums,
//! products and pools of outputs do not follow: of 4,199 predictions of 0.85 and more, in 133 networks with renamed modules,
//! 12 are of wrong pairs, the largest 0.94, but for a sum of 0.98 that [`addend`] gives away. Norms behind concatenations have
//! the statistics of other norms and are left out. A slope far below 1 shows a gate (squeeze and excitation) before or
//! behind the layer.

use std::collections::BTreeSet;

use super::super::activation_means::{ACTIVATIONS, means};
use super::super::correlation::dot;
use super::super::values::Values;
use super::image;
use super::linear_map::LinearMap;
use crate::error::Result;
use crate::network::NormId;
use crate::plan::reason::Input;

/// What stands before layers.
pub(super) struct Before {
    pub(super) norm: NormId,
    /// One for each of [`ACTIVATIONS`].
    means: Vec<Vec<f64>>,
}

/// The best that a weight does for a norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prediction {
    /// Share of the running means' variance that is explained.
    pub(super) explained: f64,
    /// What the layer takes in.
    pub(super) input: Input,
    /// The largest share that any norm and activation explain with a slope of [`SCALED`], where every channel may have a
    /// factor of its own.
    pub(super) scaled: f64,
    /// A norm whose running means, added to what the weight puts out, explain what it leaves: the norm sees a sum, and
    /// what that norm is fed with is a part of it.
    pub(super) addend: Option<NormId>,
}

impl Prediction {
    /// One that explains nothing yet.
    fn by(input: Input) -> Prediction {
        Prediction { explained: 0.0, input, scaled: 0.0, addend: None }
    }
}

/// What the means of another norm must leave, with a factor near 1, of what a prediction leaves, to be a part of a sum. In
/// sums the rest falls to less than a tenth (SpliceAI: from 3 % to less than 0.2 % of the variance), beside true pairs
/// hardly at all.
const ADDED: f64 = 0.25;

/// The factor near 1.
const WHOLE: std::ops::RangeInclusive<f64> = 0.6..=1.4;

/// Share from which on a prediction is asked for what it leaves.
const HALF: f64 = 0.5;

/// Slopes near 1: what padding and the normal approximation leave of it.
pub(super) const UNSCALED: Slopes = 0.5..=1.5;

/// The same where a gate multiplies the layer's input.
pub(super) const GATED_INPUT: Slopes = *SCALED.start()..=*UNSCALED.end();

/// Slopes of a gate between 0 and 1.
const SCALED: Slopes = 0.1..=0.75;

/// Factors between what is predicted and what is found.
pub(super) type Slopes = std::ops::RangeInclusive<f64>;

/// The outputs of all norms that have a scale and a shift, saw data and may feed a weight of one of these `shapes`: channels
/// in, of a group, and out.
pub(super) fn befores(values: &mut Values<'_>, shapes: &BTreeSet<(u64, u64)>) -> Result<Vec<Before>> {
    let may_feed = |channels: u64| {
        shapes.iter().any(|&(inputs, outputs)| {
            let groups = channels.checked_div(inputs).filter(|groups| groups * inputs == channels);
            groups.is_some_and(|groups| groups > 0 && outputs % groups == 0)
        })
    };
    let mut found = Vec::new();
    for norm in (0..values.inventory.norms.len()).map(NormId::new) {
        if !may_feed(values.inventory[norm].channels) || values.statistics(norm)?.is_none() {
            continue;
        }
        if let Some((gamma, beta)) = values.affine(norm)? {
            let means = ACTIVATIONS.iter().map(|&activation| means(activation, &gamma, &beta)).collect();
            found.push(Before { norm, means });
        }
    }
    Ok(found)
}

impl LinearMap {
    /// For each norm the best prediction of its `running` means (less the layer's bias); a norm is never its own input.
    /// `others` are the running means of all norms of the width; `slopes` are those that a prediction may have.
    pub(super) fn predict(
        &self,
        befores: &[Before],
        running: &[(NormId, Vec<f64>)],
        others: &[(NormId, &[f64])],
        slopes: Slopes,
    ) -> Vec<Option<Prediction>> {
        let mut best: Vec<Option<Prediction>> = vec![None; running.len()];
        let mut means_of_best = vec![(&[][..], 0); running.len()];
        for before in befores {
            for (activation, means) in ACTIVATIONS.iter().zip(&before.means) {
                let Some(predicted) = self.predicted(means, running) else { continue };
                let each = running.iter().zip(best.iter_mut().zip(&mut means_of_best));
                for ((_, running), (best, means_of_best)) in each.filter(|((norm, _), _)| *norm != before.norm) {
                    let (padding, share, slope) = best_of(running, &predicted);
                    let input = Input::Norm { norm: before.norm, activation: activation.0 };
                    let known = best.get_or_insert(Prediction::by(input));
                    let is_scaled = !slopes.contains(SCALED.start()) && SCALED.contains(&slope);
                    if is_scaled && share > known.scaled && scales_outputs(running, &predicted[padding]) {
                        known.scaled = share;
                    }
                    if slopes.contains(&slope) && share > known.explained {
                        *known = Prediction { explained: share, input, ..*known };
                        *means_of_best = (means, padding);
                    }
                }
            }
        }
        for (((norm, running), best), (means, padding)) in running.iter().zip(&mut best).zip(means_of_best) {
            if let Some(best) = best.as_mut().filter(|best| best.explained >= HALF)
                && let Some(predicted) = self.outputs(means, padding)
            {
                best.addend = addend(*norm, running, &predicted, others);
            }
        }
        best
    }

    /// For each norm the best prediction of its `running` means from an image ([`image`]).
    pub(super) fn predict_of_image(
        &self,
        running: &[(NormId, Vec<f64>)],
        others: &[(NormId, &[f64])],
    ) -> Vec<Option<Prediction>> {
        let predict = |(norm, running): &(NormId, Vec<f64>)| {
            let (means, padding) = image::means(self, running)?;
            let predicted = self.outputs(&means, padding)?;
            let addend = addend(*norm, running, &predicted, others);
            let (explained, _) = explained(running, &predicted);
            Some(Prediction { explained, addend, ..Prediction::by(Input::Image) })
        };
        running.iter().map(predict).collect()
    }

    /// The means of the outputs: without padding and, if those explain half of some norm's `running` means, with every other
    /// padding. `None` if the layer cannot take so many inputs.
    fn predicted(&self, means: &[f64], running: &[(NormId, Vec<f64>)]) -> Option<Vec<Vec<f64>>> {
        let unpadded = self.outputs(means, 0)?;
        let is_near = running.iter().any(|(_, running)| explained(running, &unpadded).0 >= HALF);
        let padded = if is_near { 1..self.paddings() } else { 0..0 };
        let padded = padded.filter_map(|padding| self.outputs(means, padding));
        Some(std::iter::once(unpadded).chain(padded).collect())
    }
}

/// Which of several predictions explains most of `found`, with its share and slope.
fn best_of(found: &[f64], predicted: &[Vec<f64>]) -> (usize, f64, f64) {
    let shares = predicted.iter().enumerate().map(|(padding, predicted)| {
        debug_assert_eq!(found.len(), predicted.len(), "the norm has the layer's width");
        let (share, slope) = explained(found, predicted);
        (padding, share, slope)
    });
    shares.fold((0, 0.0, 0.0), |best, next| if next.1 > best.1 { next } else { best })
}

/// Whether each of the `found` means may be a `predicted` one times a factor between 0 and 1, as where a gate multiplies what
/// the layer puts out: then all but a few have its sign, and none is larger. A gate that multiplies what the layer takes in
/// mixes its factors, and most layers show it by the signs of small means.
fn scales_outputs(found: &[f64], predicted: &[f64]) -> bool {
    let size = (dot(predicted, predicted) / predicted.len().max(1) as f64).sqrt();
    let telling = found.iter().zip(predicted).filter(|(_, predicted)| predicted.abs() > TELLING * size);
    let ratios = telling.map(|(found, predicted)| found / predicted).collect::<Vec<_>>();
    let within = ratios.iter().filter(|ratio| (0.0..=1.0 + ROUNDING).contains(*ratio)).count();
    within as f64 >= ALL_BUT_A_FEW * ratios.len() as f64
}

/// Means smaller than this, in units of all, say nothing about their factor.
const TELLING: f64 = 0.3;

/// What padding may add to a factor of 1.
const ROUNDING: f64 = 0.1;

/// The part of the channels that must have such a factor.
const ALL_BUT_A_FEW: f64 = 0.9;

/// The norm of `others` whose means explain, with a factor near 1, most of what `slope * predicted` leaves of `found`.
fn addend(norm: NormId, found: &[f64], predicted: &[f64], others: &[(NormId, &[f64])]) -> Option<NormId> {
    let (pp, pf, ff) = (dot(predicted, predicted), dot(predicted, found), dot(found, found));
    let left = ff - pf * pf / pp;
    let is_part = |means: &[f64]| {
        // Least squares of two unknowns.
        let (mm, pm, mf) = (dot(means, means), dot(predicted, means), dot(means, found));
        let determinant = pp * mm - pm * pm;
        let (slope, factor) = ((mm * pf - pm * mf) / determinant, (pp * mf - pm * pf) / determinant);
        let rest = ff - slope * pf - factor * mf;
        determinant > 1e-9 * pp * mm && WHOLE.contains(&factor) && rest <= ADDED * left
    };
    others.iter().find(|(other, means)| *other != norm && is_part(means)).map(|(other, _)| *other)
}

/// Share of the variance of `found` that `slope * predicted` explains, and the best slope.
fn explained(found: &[f64], predicted: &[f64]) -> (f64, f64) {
    let mean = found.iter().sum::<f64>() / found.len().max(1) as f64;
    let total = found.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let (cross, square) = (dot(found, predicted), dot(predicted, predicted));
    let slope = cross / square;
    if !slope.is_finite() || total == 0.0 {
        return (0.0, 0.0);
    }
    ((1.0 - (dot(found, found) - slope * cross) / total).max(0.0), slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_padding_takes_away_is_a_part_of_the_prediction() {
        let (middle, around) = ([1.0, -2.0, 0.5, 3.0], [2.0, 1.5, -3.0, -1.0]);
        let sums = |share: f64| middle.iter().zip(around).map(|(middle, around)| middle + share * around).collect();
        let before = [Before { norm: NormId::new(7), means: vec![vec![1.0]; ACTIVATIONS.len()] }];
        let running: Vec<f64> = sums(0.5);
        let explained = |sums: Vec<Vec<f64>>| {
            let layer = LinearMap::of(sums, 1, 4);
            layer.predict(&before, &[(NormId::new(1), running.clone())], &[], UNSCALED)[0].unwrap().explained
        };
        assert!(explained(vec![sums(1.0)]) < 0.9);
        assert!((explained(vec![sums(1.0), sums(0.75), sums(0.5)]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn only_a_slope_near_1_predicts() {
        let layer = LinearMap::of(vec![vec![1.0, -2.0, 0.5, 3.0]], 1, 4);
        let before = Before { norm: NormId::new(7), means: vec![vec![1.0]; ACTIVATIONS.len()] };
        let befores = [before];
        let best = |running: [f64; 4]| {
            layer.predict(&befores, &[(NormId::new(1), running.to_vec())], &[], UNSCALED)[0].unwrap()
        };
        let times = |slope: f64| [1.0, -2.0, 0.5, 3.0].map(|x| x * slope);
        assert!((best(times(0.9)).explained - 1.0).abs() < 1e-12);
        assert_eq!((best(times(3.0)).explained, best(times(-1.0)).explained), (0.0, 0.0));
        let gated = best(times(0.4));
        assert!(gated.explained == 0.0 && gated.scaled > 0.999, "{gated:?}");
        // The same slope, but the factors are mixed: two means have another sign.
        let mixed = best([0.9, 0.3, -0.1, 1.1]);
        assert_eq!(mixed.scaled, 0.0, "{mixed:?}");
        assert!(best([2.5, -0.5, -1.0, 1.8]).explained < 0.5);
        assert_eq!(best([2.0; 4]).explained, 0.0, "equal means hold nothing to explain");
        assert_eq!(
            layer.predict(&befores, &[(NormId::new(7), times(1.0).to_vec())], &[], UNSCALED),
            [None],
            "a norm is not its own input"
        );
    }
}
