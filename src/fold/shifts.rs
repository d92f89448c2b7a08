//! 3 FOLD: the shift of every output channel, all layers of a model in one go.
//!
//! In: the norms and how they are stored. Out: [`Shifts`], computed on the engine (f64 ones on the CPU), rounded to the
//! type that holds them, and checked against the oracle.

use super::{Engine, FoldOptions, oracle};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};
use crate::network::Fold;
use crate::output::NormPlan;

/// The shifts of all folds, as they are stored.
#[derive(Debug)]
pub struct Shifts {
    /// One vector a fold, one value a channel, rounded to the type it is stored in.
    pub values: Vec<Vec<f64>>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// How many were compared with the reference.
    pub compared: u64,
    /// The furthest of them from it, in ulp of the largest number it is the sum of.
    pub worst_ulp: f64,
    /// How many are not finite (only where that is allowed).
    pub non_finite: u64,
}

impl Shifts {
    /// One vector a fold: f64 ones on the CPU, all others in one go on the engine.
    pub fn compute(plans: &[NormPlan], engine: &mut Engine) -> Shifts {
        let mut warnings = Vec::new();
        let (mut moved, mut beta) = (Vec::new(), Vec::new());
        for plan in plans.iter().filter(|plan| plan.shift_float != Float::F64) {
            moved.extend(to_f32(&plan.affine.moved(plan.bias.as_deref())));
            beta.extend(to_f32(&plan.affine.beta));
        }
        let mut shifted = engine.shift(&moved, &beta, &mut warnings).into_iter().map(f64::from);
        let values = plans.iter().map(|plan| {
            let shift: Vec<f64> = match plan.shift_float {
                Float::F64 => {
                    let moved = plan.affine.moved(plan.bias.as_deref());
                    moved.iter().zip(&plan.affine.beta).map(|(moved, beta)| moved + beta).collect()
                }
                _ => shifted.by_ref().take(plan.affine.beta.len()).collect(),
            };
            shift.iter().map(|shift| plan.shift_float.round(shift * plan.shift_sign)).collect()
        });
        Shifts { values: values.collect(), warnings, compared: 0, worst_ulp: 0.0, non_finite: 0 }
    }

    /// Every shift must be finite and, with verification, as near to the reference as is promised.
    pub fn check(
        &mut self,
        checkpoint: &Checkpoint,
        folds: &[Fold],
        plans: &[NormPlan],
        options: FoldOptions<'_>,
    ) -> Result<()> {
        for ((fold, plan), values) in folds.iter().zip(plans).zip(&self.values) {
            let scales = plan.affine.gamma.iter().zip(&plan.affine.var);
            let scales = scales.map(|(&gamma, &var)| oracle::scale(gamma, var, plan.affine.eps));
            for (channel, (&got, scale)) in values.iter().zip(scales).enumerate() {
                let bias = plan.bias.as_ref().map_or(0.0, |bias| bias[channel]);
                let (shift, largest) = oracle::shift(bias, plan.affine.mean[channel], scale, plan.affine.beta[channel]);
                let (expected, largest) = (shift * plan.shift_sign, largest * plan.shift_sign.abs());
                if !got.is_finite() && !options.allow_non_finite {
                    return Err(Error::NonFinite {
                        path: checkpoint.path().to_owned(),
                        norm: fold.norm.name.clone(),
                        tensor: plan.shift_into.clone(),
                        channel,
                        element: channel as u64,
                        stored: bias,
                        value: expected,
                        dtype: plan.shift_float.name(),
                    });
                }
                if !got.is_finite() {
                    self.non_finite += 1;
                    continue;
                }
                let ulp = (got - expected).abs() / plan.shift_float.ulp(largest);
                // Written so that a NaN distance fails.
                if options.verify && !(ulp <= oracle::SHIFT_BOUND) {
                    return Err(Error::Verification {
                        path: checkpoint.path().to_owned(),
                        norm: fold.norm.name.clone(),
                        tensor: plan.shift_into.clone(),
                        element: channel as u64,
                        got,
                        expected,
                        ulp,
                        bound: oracle::SHIFT_BOUND,
                    });
                }
                self.worst_ulp = self.worst_ulp.max(ulp);
                self.compared += 1;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the rounding is what is wanted")]
fn to_f32(values: &[f64]) -> impl Iterator<Item = f32> {
    values.iter().map(|&value| value as f32)
}
