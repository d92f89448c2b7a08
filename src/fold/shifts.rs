//! 3 FOLD: the shift of every output channel, all layers of a model in one go.
//!
//! In: layers whose norms are read. Out: their shifts, computed on the engine (f64 ones on the CPU) and rounded to the type
//! that holds them; then [`ShiftStats`], if they are as near to the oracle's as is promised.

use super::{Engine, FoldOptions, FoldedLayer, oracle};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};

/// What checking the shifts of a model found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShiftStats {
    /// How many were compared with the reference.
    pub compared: u64,
    /// The furthest of them from it, in ulp of the largest number it is the sum of.
    pub worst_ulp: f64,
    /// How many are not finite (only where that is allowed).
    pub non_finite: u64,
}

/// Computes the shifts of all `layers`: f64 ones on the CPU, all others in one go on the engine. Returns what the user
/// should know.
pub fn compute_shifts(layers: &mut [FoldedLayer<'_>], engine: &mut Engine) -> Vec<String> {
    let mut warnings = Vec::new();
    let (mut moved, mut beta) = (Vec::new(), Vec::new());
    for norm in layers.iter().map(|layer| &layer.norm).filter(|norm| norm.shift_float != Float::F64) {
        moved.extend(to_f32(&norm.affine.moved(norm.bias.as_deref())));
        beta.extend(to_f32(&norm.affine.beta));
    }
    let mut shifted = engine.shift(&moved, &beta, &mut warnings).into_iter().map(f64::from);
    for FoldedLayer { norm, shift, .. } in layers {
        let exact: Vec<f64> = match norm.shift_float {
            Float::F64 => {
                let moved = norm.affine.moved(norm.bias.as_deref());
                moved.iter().zip(&norm.affine.beta).map(|(moved, beta)| moved + beta).collect()
            }
            _ => shifted.by_ref().take(norm.affine.beta.len()).collect(),
        };
        *shift = exact.iter().map(|shift| norm.shift_float.round(shift * norm.shift_sign)).collect();
    }
    warnings
}

/// Every shift must be finite and, with verification, as near to the reference as is promised.
pub fn check_shifts(
    checkpoint: &Checkpoint,
    layers: &[FoldedLayer<'_>],
    options: FoldOptions<'_>,
) -> Result<ShiftStats> {
    let mut stats = ShiftStats::default();
    for layer in layers {
        for (channel, &got) in layer.shift.iter().enumerate() {
            let expected = Expected::of(layer, channel);
            if !got.is_finite() {
                if !options.allow_non_finite {
                    return Err(expected.non_finite(checkpoint, layer, channel));
                }
                stats.non_finite += 1;
                continue;
            }
            let ulp = (got - expected.shift).abs() / layer.norm.shift_float.ulp(expected.largest);
            // Written so that a NaN distance fails.
            if options.verify && !(ulp <= oracle::SHIFT_BOUND) {
                return Err(Error::Verification {
                    path: checkpoint.path().to_owned(),
                    norm: layer.fold.norm.name.clone(),
                    tensor: layer.norm.shift_into.clone(),
                    element: channel as u64,
                    got,
                    expected: expected.shift,
                    ulp,
                    bound: oracle::SHIFT_BOUND,
                });
            }
            stats.worst_ulp = stats.worst_ulp.max(ulp);
            stats.compared += 1;
        }
    }
    Ok(stats)
}

/// What the oracle says that a stored shift should be.
struct Expected {
    /// The layer's own bias.
    bias: f64,
    /// The shift, as it is stored.
    shift: f64,
    /// The largest number that it is the sum of.
    largest: f64,
}

impl Expected {
    fn of(layer: &FoldedLayer<'_>, channel: usize) -> Expected {
        let norm = &layer.norm;
        let affine = &norm.affine;
        let bias = norm.bias.as_ref().map_or(0.0, |bias| bias[channel]);
        let scale = oracle::scale(affine.gamma[channel], affine.var[channel], affine.eps);
        let (shift, largest) = oracle::shift(bias, affine.mean[channel], scale, affine.beta[channel]);
        Expected { bias, shift: shift * norm.shift_sign, largest: largest * norm.shift_sign.abs() }
    }

    /// The error for a shift that its type cannot hold.
    fn non_finite(&self, checkpoint: &Checkpoint, layer: &FoldedLayer<'_>, channel: usize) -> Error {
        Error::NonFinite {
            path: checkpoint.path().to_owned(),
            norm: layer.fold.norm.name.clone(),
            tensor: layer.norm.shift_into.clone(),
            channel,
            element: channel as u64,
            stored: self.bias,
            value: self.shift,
            dtype: layer.norm.shift_float.name(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
fn to_f32(values: &[f64]) -> impl Iterator<Item = f32> {
    values.iter().map(|&value| value as f32)
}
