//! 4 WRITE: the two ways of storing a folded norm.
//!
//! In: a norm's [`Affine`] and the style. Out: a [`NormPlan`]: what the weight is multiplied by and what becomes of the
//! bias and of every tensor of the norm.
//!
//! ```text
//! strip     y = scale * W x + shift                          the norm's tensors go, the bias holds the shift
//! drop-in   y = (scale * W x - mean') * k + beta'            every tensor stays; k = gamma' / sqrt(var' + eps) = 1
//! ```

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::fold::affine::Affine;
use crate::fold::oracle;
use crate::network::Fold;

/// How a folded norm is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// Norm tensors removed, a bias beside the weight: what a norm-free network loads.
    #[default]
    Strip,
    /// Every key, shape and dtype as before; the norm becomes the identity plus the shift: what unmodified model code
    /// loads.
    DropIn,
}

/// What becomes of one folded layer's tensors. Vectors have one entry a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct NormPlan {
    /// The norm's arithmetic.
    pub affine: Affine,
    /// The layer's own bias.
    pub bias: Option<Vec<f64>>,
    /// The tensor that takes the shift.
    pub shift_into: String,
    /// Its element type.
    pub shift_float: Float,
    /// What the shift is multiplied by before it is stored: 1, or -1 where it is stored as a running mean.
    pub shift_sign: f64,
    /// Tensors that get constant values.
    pub constants: Vec<(String, Float, f64)>,
    /// Tensors that go.
    pub removed: Vec<String>,
    /// The stored norm's remaining factor `k`.
    pub remaining: f64,
}

impl NormPlan {
    /// What the weight's channels are multiplied by.
    pub fn scales(&self) -> Vec<f64> {
        self.affine.scale.iter().map(|scale| scale / self.remaining).collect()
    }

    /// The same by the oracle's formula.
    pub fn reference(&self) -> Vec<f64> {
        let Affine { gamma, var, eps, .. } = &self.affine;
        gamma.iter().zip(var).map(|(&gamma, &var)| oracle::scale(gamma, var, *eps) / self.remaining).collect()
    }
}

/// Plans the tensors of every fold; `stored_as` gives the element type that a float tensor takes in the output.
pub fn style_norms(
    checkpoint: &Checkpoint,
    folds: &[Fold],
    style: Style,
    stored_as: impl Fn(Float) -> Float,
) -> Result<Vec<NormPlan>> {
    folds
        .iter()
        .map(|fold| {
            let affine = Affine::read(checkpoint, fold)?;
            let bias = match fold.bias_float {
                Some(_) => checkpoint.read_f64(&fold.bias)?,
                None => None,
            };
            match style {
                Style::Strip => Ok(strip(fold, affine, bias, &stored_as)),
                Style::DropIn => drop_in(checkpoint, fold, affine, bias, &stored_as),
            }
        })
        .collect()
}

fn strip(fold: &Fold, affine: Affine, bias: Option<Vec<f64>>, stored_as: &impl Fn(Float) -> Float) -> NormPlan {
    NormPlan {
        affine,
        bias,
        shift_into: fold.bias.clone(),
        // A bias that existed keeps its type; a new one takes the weight's.
        shift_float: stored_as(fold.bias_float.unwrap_or(fold.float)),
        shift_sign: 1.0,
        constants: Vec::new(),
        removed: fold.norm.tensors().map(str::to_owned).collect(),
        remaining: 1.0,
    }
}

fn drop_in(
    checkpoint: &Checkpoint,
    fold: &Fold,
    affine: Affine,
    bias: Option<Vec<f64>>,
    stored_as: &impl Fn(Float) -> Float,
) -> Result<NormPlan> {
    let norm = &fold.norm;
    // The inventory has established that these are float tensors.
    let float = |tensor: &str| -> Result<Float> {
        Ok(stored_as(checkpoint.tensor(tensor)?.dtype.float().unwrap_or(Float::F32)))
    };
    let var_float = float(&norm.var)?;
    let var = identity_variance(var_float, fold.eps);
    let mut constants = vec![(norm.var.clone(), var_float, var)];
    let mut gamma = 1.0;
    if let Some(tensor) = &norm.gamma {
        let gamma_float = float(tensor)?;
        gamma = gamma_float.round((var + fold.eps).sqrt());
        // In f32 the runtime's var + eps is 1 and so is its root: gamma 1 is exact there. Where the root does not fit
        // into the type, the weight makes up for it.
        if runtime_is_one(var_float, var, fold.eps) || !gamma.is_finite() {
            gamma = 1.0;
        }
        constants.push((tensor.clone(), gamma_float, gamma));
    }
    // What the stored norm still multiplies by: 1, unless its types are too coarse to say so; then the weight makes up.
    let remaining = match runtime_is_one(var_float, var, fold.eps) {
        true => gamma,
        false => oracle::scale(gamma, var, fold.eps),
    };
    if let Some(bias_float) = fold.bias_float {
        constants.push((fold.bias.clone(), stored_as(bias_float), 0.0));
    }
    let (shift_into, shift_sign) = match &norm.beta {
        Some(beta) => {
            constants.push((norm.mean.clone(), float(&norm.mean)?, 0.0));
            (beta.clone(), 1.0)
        }
        // Without a beta the running mean takes the shift, negated and undone by the remaining factor.
        None => (norm.mean.clone(), -1.0 / remaining),
    };
    let shift_float = float(&shift_into)?;
    Ok(NormPlan { affine, bias, shift_into, shift_float, shift_sign, constants, removed: Vec::new(), remaining })
}

/// The stored variance that makes `1 / sqrt(var + eps)` as near to 1 as the type allows.
fn identity_variance(float: Float, eps: f64) -> f64 {
    let var = float.round(1.0 - eps);
    // Rounding may have moved var + eps away from 1 by half a unit; the neighbours are tried in the runtime's f32.
    let steps = [0.0, 1.0, -1.0].map(|step| float.round(var + step * float.ulp(var)));
    let found = steps.into_iter().find(|&var| var >= 0.0 && runtime_is_one(float, var, eps));
    // An eps of 1 or more leaves no variance that could: 0, and the weight makes up for it.
    found.unwrap_or_else(|| var.max(0.0))
}

/// Whether a runtime that adds eps in f32 (or in f64, for an f64 norm) gets exactly 1.
#[expect(clippy::cast_possible_truncation, reason = "it is the runtime's rounding that is asked about")]
fn runtime_is_one(float: Float, var: f64, eps: f64) -> bool {
    match float {
        Float::F64 => var + eps == 1.0,
        _ => var as f32 + eps as f32 == 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_eps_give_an_exact_identity_in_f32() {
        for eps in [0.0, 1e-3, 1.001e-5, 1e-5, 1e-6, 1e-7, 0.001_000_000_047_497_451_3, 0.1] {
            for float in [Float::F32, Float::F64] {
                let var = identity_variance(float, eps);
                assert!(runtime_is_one(float, var, eps), "{float:?} eps {eps}: var {var}");
                assert!((var + eps - 1.0).abs() < 1e-7, "{float:?} eps {eps}: var {var}");
            }
        }
    }

    #[test]
    fn types_too_coarse_for_one_minus_eps_stay_near_one() {
        assert_eq!(identity_variance(Float::F16, 1e-5), 1.0);
        assert_eq!(identity_variance(Float::Bf16, 1e-3), 1.0);
        assert_eq!(identity_variance(Float::F32, 2.0), 0.0);
    }
}
