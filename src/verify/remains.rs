//! 5 VERIFY: what is left of a norm in the folded file.
//!
//! In: the folded checkpoint and the fold. Out: [`Remains`]: a norm that still computes something, an identity, or nothing
//! at all, in the same terms; or why it is none of these.

use super::Mismatch;
use crate::checkpoint::{Checkpoint, Float};
use crate::error::Result;
use crate::fold::runtime;
use crate::network::{Fold, Norm};

/// What the norm computes after folding, `(x - mean) * factor + beta`: one entry per channel.
pub(super) struct Remains {
    pub(super) factor: Vec<f64>,
    pub(super) mean: Vec<f64>,
    pub(super) beta: Vec<f64>,
    /// The element type that holds the shift.
    pub(super) float: Float,
    /// Those of the running mean and of beta, where they are stored.
    pub(super) mean_float: Option<Float>,
    pub(super) beta_float: Option<Float>,
    /// No tensor of the norm is left.
    pub(super) gone: bool,
}

impl Remains {
    /// Reads what is left of the norm of `fold`.
    pub(super) fn read(folded: &Checkpoint, fold: &Fold) -> Result<Remains, Mismatch> {
        let Norm { gamma, beta, mean, var, .. } = &fold.norm;
        let numbers = [Some(var), Some(mean), gamma.as_ref(), beta.as_ref()].into_iter().flatten();
        let (there, missing): (Vec<_>, Vec<_>) = numbers.partition(|name| folded.tensors().contains_key(*name));
        match (there.first(), missing.first()) {
            (None, _) => Ok(Remains::nothing(folded, fold)),
            (Some(there), Some(missing)) => {
                Err(Mismatch::Structure(format!("its `{missing}` is missing, but its `{there}` is there")))
            }
            (Some(_), None) => Remains::norm(folded, fold),
        }
    }

    /// The norm is gone: what it computes is its input.
    fn nothing(folded: &Checkpoint, fold: &Fold) -> Remains {
        let channels = channels(fold);
        let float = folded.tensors().get(&fold.bias).and_then(|bias| bias.dtype.float());
        Remains {
            factor: vec![1.0; channels],
            mean: vec![0.0; channels],
            beta: vec![0.0; channels],
            float: float.unwrap_or(fold.float),
            mean_float: None,
            beta_float: None,
            gone: true,
        }
    }

    /// All of its tensors are there.
    fn norm(folded: &Checkpoint, fold: &Fold) -> Result<Remains, Mismatch> {
        let Norm { gamma, beta, mean, var, .. } = &fold.norm;
        let read = |name: &String| -> Result<Option<Vec<f64>>> {
            Ok(folded.read_f64(name)?.filter(|values| values.len() == channels(fold)))
        };
        let optional = |name: &Option<String>, absent: f64| match name {
            Some(name) => read(name),
            None => Ok(Some(vec![absent; channels(fold)])),
        };
        let values = (optional(gamma, 1.0)?, optional(beta, 0.0)?, read(mean)?, read(var)?);
        let (Some(gamma_values), Some(beta_values), Some(mean_values), Some(var_values)) = values else {
            let text = "a tensor of it has another length or type than in the original";
            return Err(Mismatch::Structure(text.to_owned()));
        };
        let float = |name: &String| folded.tensors().get(name).and_then(|tensor| tensor.dtype.float());
        let (mean_float, beta_float) = (float(mean), beta.as_ref().and_then(float));
        let var_float = float(var).unwrap_or(Float::F32);
        let scales = gamma_values.iter().zip(&var_values);
        Ok(Remains {
            factor: scales.map(|(&gamma, &var)| runtime::factor(var_float, gamma, var, fold.eps)).collect(),
            mean: mean_values,
            beta: beta_values,
            float: beta_float.or(mean_float).unwrap_or(Float::F32),
            mean_float,
            beta_float,
            gone: false,
        })
    }

    /// The shift of `channel` with a layer's bias of `bias`.
    pub(super) fn shift(&self, channel: usize, bias: f64) -> f64 {
        (bias - self.mean[channel]) * self.factor[channel] + self.beta[channel]
    }

    /// How far the shift of `channel` may be off because bias, mean and beta were each rounded once to be stored.
    pub(super) fn rounding(&self, channel: usize, bias: f64, bias_float: Option<Float>) -> f64 {
        let half = |float: Option<Float>, value: f64| float.map_or(0.0, |float| float.ulp(value) / 2.0);
        let before = half(bias_float, bias) + half(self.mean_float, self.mean[channel]);
        before * self.factor[channel].abs() + half(self.beta_float, self.beta[channel])
    }
}

fn channels(fold: &Fold) -> usize {
    usize::try_from(fold.channels).unwrap_or(usize::MAX)
}
