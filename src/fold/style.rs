//! 3 FOLD: the two ways of storing a folded norm, as far as they bear on the arithmetic.
//!
//! In: a fold, its checkpoint and how the result is stored. Out: a [`StyledNorm`]: what the weight is multiplied by, and
//! where the shift goes, in which type and with which sign. Which tensors go and which become constants follows from it,
//! and is the business of WRITE.
//!
//! ```text
//! strip     y = scale * W x + shift                          the norm's tensors go, the bias holds the shift
//! drop-in   y = (scale * W x - mean') * k + beta'            every tensor stays; k = gamma' / sqrt(var' + eps) = 1
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::affine::Affine;
use super::{oracle, runtime};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::network::Fold;

/// How a folded norm is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// Norm tensors removed, a bias beside the weight: what a norm-free network loads.
    #[default]
    Strip,
    /// Every key, shape and dtype as before; the norm becomes the identity plus the shift: what unmodified model code
    /// loads.
    DropIn,
}

/// How a folded model is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Storage {
    /// What becomes of folded norms.
    pub style: Style,
    /// The float type of every float tensor; `None` keeps each one's own.
    pub dtype: Option<Float>,
}

impl Storage {
    /// The type that floats of type `stored` have in the result.
    pub fn float(self, stored: Float) -> Float {
        self.dtype.unwrap_or(stored)
    }
}

/// A norm's arithmetic, and how its result is stored. Vectors have one entry per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct StyledNorm {
    /// The norm's parameters.
    pub affine: Affine,
    /// Its scales by the oracle's formula, which everything that is computed from them is held against.
    pub reference: Vec<f64>,
    /// The layer's own bias.
    pub bias: Option<Vec<f64>>,
    /// The norm that stays in place; `None` if it goes.
    pub identity: Option<Identity>,
    /// The tensor that takes the shift.
    pub shift_into: String,
    /// Its element type.
    pub shift_float: Float,
    /// What the shift is multiplied by before it is stored: 1, or -1 where it is stored as a running mean.
    pub shift_sign: f64,
}

/// What a norm becomes that stays in place: the identity, as near as its element types allow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Identity {
    /// The stored running variance of every channel.
    pub var: f64,
    /// The stored gamma of every channel; 1 for a norm without one.
    pub gamma: f64,
    /// What a runtime multiplies by: 1, unless the types are too coarse to say so; then the weight makes up for it.
    pub factor: f64,
}

impl StyledNorm {
    /// Reads the norm of `fold`, and the layer's bias, and settles how both are stored.
    pub fn read(checkpoint: &Checkpoint, fold: &Fold, storage: Storage) -> Result<StyledNorm> {
        let affine = Affine::read(checkpoint, fold)?;
        let bias = fold.bias_float.map(|_| checkpoint.read_f64(&fold.bias)).transpose()?.flatten();
        let (identity, shift_into, shift_float, shift_sign) = match storage.style {
            // A bias that existed keeps its type; a new one takes the weight's.
            Style::Strip => (None, &fold.bias, storage.float(fold.bias_float.unwrap_or(fold.float)), 1.0),
            Style::DropIn => {
                let identity = Identity::of(checkpoint, fold, storage)?;
                let (shift_into, shift_sign) = match &fold.norm.beta {
                    Some(beta) => (beta, 1.0),
                    // Without a beta the running mean takes the shift, negated and undone by the remaining factor.
                    None => (&fold.norm.mean, -1.0 / identity.factor),
                };
                (Some(identity), shift_into, float_of(checkpoint, shift_into, storage)?, shift_sign)
            }
        };
        let has_f64 = [fold.float, storage.float(fold.float), shift_float].contains(&Float::F64);
        let judged = if has_f64 { Float::F64 } else { Float::F32 };
        let reference = oracle::scales(&affine.gamma, &affine.var, affine.eps, 1.0, judged);
        let shift_into = shift_into.clone();
        Ok(StyledNorm { affine, reference, bias, identity, shift_into, shift_float, shift_sign })
    }

    /// What the stored norm still multiplies by.
    fn factor(&self) -> f64 {
        self.identity.map_or(1.0, |identity| identity.factor)
    }

    /// What the weight's channels are multiplied by.
    pub fn scales(&self) -> Cow<'_, [f64]> {
        match self.factor() {
            // A small model's time is that of its channels.
            1.0 => Cow::Borrowed(&self.affine.scale),
            factor => Cow::Owned(self.affine.scales_over(factor)),
        }
    }

    /// The same by the oracle's formula.
    pub fn weight_reference(&self) -> Cow<'_, [f64]> {
        let (Affine { gamma, var, eps, .. }, factor) = (&self.affine, self.factor());
        match factor == 1.0 {
            true => Cow::Borrowed(&self.reference),
            false => Cow::Owned(oracle::scales(gamma, var, *eps, factor, Float::F64)),
        }
    }
}

impl Identity {
    /// What the norm of `fold` becomes in the types it is stored in.
    fn of(checkpoint: &Checkpoint, fold: &Fold, storage: Storage) -> Result<Identity> {
        let (norm, eps) = (&fold.norm, fold.eps);
        let var_float = float_of(checkpoint, &norm.var, storage)?;
        let var = identity_variance(var_float, eps);
        // In f32 the runtime's var + eps is 1 and so is its root: gamma 1 is exact there.
        let gamma = match &norm.gamma {
            Some(tensor) if !runtime::is_one(var_float, var, eps) => {
                // Where the root does not fit into the type, the weight makes up for it.
                let root = float_of(checkpoint, tensor, storage)?.round((var + eps).sqrt());
                if root.is_finite() { root } else { 1.0 }
            }
            _ => 1.0,
        };
        Ok(Identity { var, gamma, factor: runtime::factor(var_float, gamma, var, eps) })
    }
}

/// The element type that `tensor`, a float tensor as the inventory has established, has in the result.
fn float_of(checkpoint: &Checkpoint, tensor: &str, storage: Storage) -> Result<Float> {
    Ok(storage.float(checkpoint.tensor(tensor)?.dtype.float().unwrap_or(Float::F32)))
}

/// The stored variance that makes `1 / sqrt(var + eps)` as near to 1 as the type allows.
fn identity_variance(float: Float, eps: f64) -> f64 {
    let var = float.round(1.0 - eps);
    // Rounding may have moved var + eps away from 1 by half a unit; the neighbours are tried in the runtime's f32.
    let steps = [0.0, 1.0, -1.0].map(|step| float.round(var + step * float.ulp(var)));
    let found = steps.into_iter().find(|&var| var >= 0.0 && runtime::is_one(float, var, eps));
    // An eps of 1 or more leaves no variance that could: 0, and the weight makes up for it.
    found.unwrap_or_else(|| var.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_eps_give_an_exact_identity_in_f32() {
        for eps in [0.0, 1e-3, 1.001e-5, 1e-5, 1e-6, 1e-7, 0.001_000_000_047_497_451_3, 0.1] {
            for float in [Float::F32, Float::F64] {
                let var = identity_variance(float, eps);
                assert!(runtime::is_one(float, var, eps), "{float:?} eps {eps}: var {var}");
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
