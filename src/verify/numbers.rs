//! 5 VERIFY: the numbers of one layer, before and after.
//!
//! In: the original's norm, what is left of it, both biases and both weights. Out: the largest errors, and in words what is
//! not accepted: the first such shift, the worst weight, or the mean of all weights.

use super::lean::{Errors, Lean};
use super::pair::Pair;
use super::remains::Remains;
use super::tensor::{CHUNK, Elements, Side};
use super::tolerance::units;
use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::fold::affine::Affine;
use crate::fold::oracle::{self, Geometry, Worst};
use crate::network::Fold;

/// What the comparison of a layer counts and measures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    /// Weights and biases compared.
    pub(super) elements: u64,
    /// Largest error of a weight, in ulp of its type.
    pub(super) worst_ulp: f64,
    /// Largest error of a bias, in ulp of the largest number it is the sum of.
    pub(super) worst_shift_ulp: f64,
}

/// What layer and norm compute in the original: one entry per channel.
pub(super) struct Before {
    affine: Affine,
    /// By the oracle's formula.
    scale: Vec<f64>,
}

/// The weight in the folded file.
pub(super) struct Weight<'a> {
    pub(super) side: Side<'a>,
    pub(super) float: Float,
}

impl Before {
    pub(super) fn read(original: &Checkpoint, fold: &Fold) -> Result<Before> {
        let affine = Affine::read(original, fold)?;
        let channels = affine.gamma.iter().zip(&affine.var);
        let scale = channels.map(|(&gamma, &var)| oracle::scale(gamma, var, fold.eps)).collect();
        Ok(Before { affine, scale })
    }
}

impl Pair<'_> {
    /// Compares the effective shifts; says which channel is the first that is wrong.
    pub(super) fn compare_shifts(&mut self, before: &Before, remains: &Remains) -> Result<Option<String>> {
        let (bias, folded_bias) = (self.bias_of(self.original)?, self.bias_of(self.folded)?);
        let bias_float = self.folded.tensors().get(&self.fold.bias).and_then(|bias| bias.dtype.float());
        let mut wrong = None;
        for (channel, &scale) in before.scale.iter().enumerate() {
            let (mean, beta) = (before.affine.mean[channel], before.affine.beta[channel]);
            let (expected, largest) = oracle::shift(bias[channel], mean, scale, beta);
            let got = remains.shift(channel, folded_bias[channel]);
            let ulp = if got == expected { 0.0 } else { (got - expected).abs() / remains.float.ulp(largest) };
            self.figures.elements += 1;
            self.figures.worst_shift_ulp = worse(self.figures.worst_shift_ulp, ulp);
            let rounding = remains.rounding(channel, folded_bias[channel], bias_float);
            let accepted = self.tolerance.shift(remains.float, largest, rounding);
            // Written so that a NaN distance fails.
            if wrong.is_none() && !(ulp <= accepted) {
                wrong = Some(format!(
                    "shift in {}, channel {channel}: {got} instead of {expected} ({} ulp of the largest addend, {} accepted)",
                    self.shift_holder(remains),
                    units(ulp),
                    units(accepted)
                ));
            }
        }
        Ok(wrong)
    }

    /// The layer's bias in one of the files; zeros where there is none.
    fn bias_of(&self, checkpoint: &Checkpoint) -> Result<Vec<f64>> {
        let channels = usize::try_from(self.fold.channels).unwrap_or(usize::MAX);
        let stored = match checkpoint.tensors().contains_key(&self.fold.bias) {
            true => checkpoint.read_f64(&self.fold.bias)?,
            false => None,
        };
        Ok(stored.filter(|bias| bias.len() == channels).unwrap_or_else(|| vec![0.0; channels]))
    }

    /// The tensor that holds the shift in the folded file, or should.
    fn shift_holder(&self, remains: &Remains) -> String {
        let norm = &self.fold.norm;
        let holder = if remains.gone { &self.fold.bias } else { norm.beta.as_ref().unwrap_or(&norm.mean) };
        let missing = if self.folded.tensors().contains_key(holder) { "" } else { " (the tensor is missing)" };
        format!("`{holder}`{missing}")
    }

    /// Compares the effective weights: those of the folded file times what is left of the norm. Says which weight is the
    /// worst if one is wrong, or how far all of them lean one way.
    pub(super) fn compare_weights(
        &mut self,
        weight: &Weight<'_>,
        before: &Before,
        remains: &Remains,
    ) -> Result<Option<String>> {
        let fold = self.fold;
        let geometry = Geometry { axis: fold.axis, shape: &fold.shape, channels: fold.channels };
        // What is left of the norm is moved to the other side, so that one comparison serves all styles.
        // An equal factor was left alone, and may be 0.
        let reference = |(scale, factor): (&f64, &f64)| if scale == factor { 1.0 } else { scale / factor };
        let reference = before.scale.iter().zip(&remains.factor).map(reference).collect::<Vec<_>>();
        let stored = Side::of(self.original, &fold.weight)?;
        let (mut worst, mut errors) = (Worst::default(), Errors::new(reference.len()));
        for first in (0..fold.elements).step_by(CHUNK) {
            let elements = (fold.elements - first).min(CHUNK as u64);
            let before = stored.elements(fold.float, first, elements)?;
            let after = weight.side.elements(weight.float, first, elements)?;
            worst.merge(blown_up(&before, &after, first));
            oracle::each(geometry, &reference, first, before.typed(), after.typed(), |channel, found| {
                worst.merge(found);
                errors.add(channel, found);
            });
            self.figures.elements += elements;
        }
        self.figures.worst_ulp = worse(self.figures.worst_ulp, worst.ulp);
        Ok(self.wrong_weight(weight.float, worst).or_else(|| self.leaning(weight.float, before, &errors)))
    }

    /// What is to be said of the worst weight, if it is not accepted.
    fn wrong_weight(&self, float: Float, worst: Worst) -> Option<String> {
        let Worst { ulp, element, got, expected } = worst;
        let accepted = self.tolerance.weight(float);
        // Written so that a NaN distance fails.
        if ulp <= accepted {
            return None;
        }
        let (weight, channel) = (&self.fold.weight, self.fold.map.channel(element));
        Some(format!(
            "weight `{weight}`, element {element}, channel {channel}: {got} instead of {expected} ({} ulp, {} accepted)",
            units(ulp),
            units(accepted)
        ))
    }

    /// What is to be said of weights each of which is accepted, if all of them lean one way.
    fn leaning(&self, float: Float, before: &Before, errors: &Errors) -> Option<String> {
        if !self.tolerance.asks_for_mean(float) {
            return None;
        }
        let Lean { mean, variances, accepted } = errors.lean(&before.affine.var, self.tolerance.weight(float))?;
        let (weight, side) = (&self.fold.weight, if mean > 0.0 { "large" } else { "small" });
        Some(format!(
            "weight `{weight}`: by {} ulp too {side} on average over {variances} channels, {} accepted: roundings would \
             cancel, so its scales are wrong",
            units(mean.abs()),
            units(accepted)
        ))
    }
}

/// The first element that was finite before and is not any more. The oracle takes an infinity for a right result where
/// the type ends; a network is not the same with it.
fn blown_up(before: &Elements, after: &Elements, first: u64) -> Worst {
    let is_blown_up = |(before, after): (f64, f64)| before.is_finite() && !after.is_finite();
    match before.values().zip(after.values()).position(is_blown_up) {
        None => Worst::default(),
        Some(index) => Worst {
            ulp: f64::INFINITY,
            element: first + index as u64,
            got: after.value(index),
            expected: before.value(index),
        },
    }
}

/// The larger of two errors; nothing is worse than a NaN.
pub(super) fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}
