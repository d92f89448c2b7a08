//! 3 FOLD: from a norm's parameters to one scale and one shift a channel.
//!
//! In: a fold and the checkpoint that holds the norm. Out: an [`Affine`], in f64, checked value by value. The formula,
//! with gamma = 1 and beta = 0 where they are absent (Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2; ONNX
//! BatchNormalization-15):
//!
//! ```text
//! y = (x - mean) / sqrt(var + eps) * gamma + beta = scale * x + (beta - mean * scale),  scale = gamma / sqrt(var + eps)
//! ```

use super::FoldProblem;
use super::wide::Wide;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::network::{Fold, Norm};

/// A norm, ready to be folded. All vectors have one entry a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// gamma / sqrt(var + eps), to the nearest f64: so cheap that there is no reason to lose a bit.
    pub scale: Vec<f64>,
    /// Running mean.
    pub mean: Vec<f64>,
    /// Beta, or zeros.
    pub beta: Vec<f64>,
    /// Running variance.
    pub var: Vec<f64>,
    /// Gamma, or ones.
    pub gamma: Vec<f64>,
    /// eps.
    pub eps: f64,
}

impl Affine {
    /// Reads and checks the norm of `fold`.
    pub fn read(checkpoint: &Checkpoint, fold: &Fold) -> Result<Affine> {
        let Norm { name, gamma, beta, mean, var, .. } = &fold.norm;
        let channels = usize::try_from(fold.channels).unwrap_or(usize::MAX);
        let read = |tensor: &String| -> Result<Vec<f64>> {
            Ok(checkpoint.read_f64(tensor)?.filter(|values| values.len() == channels).unwrap_or_default())
        };
        let optional = |tensor: &Option<String>, absent: f64| match tensor {
            Some(tensor) => read(tensor),
            None => Ok(vec![absent; channels]),
        };
        let refuse = |problem| Err(Error::Fold { path: checkpoint.path().to_owned(), norm: name.clone(), problem });
        let bad = |what, channel, value| refuse(FoldProblem::Value { channel, what, value });
        let (gamma, beta, mean, var) = (optional(gamma, 1.0)?, optional(beta, 0.0)?, read(mean)?, read(var)?);
        for (what, values) in [("gamma", &gamma), ("beta", &beta), ("running mean", &mean), ("running variance", &var)]
        {
            if let Some(channel) = values.iter().position(|value| !value.is_finite()) {
                return bad(what, channel, values[channel]);
            }
        }
        if let Some(channel) = var.iter().position(|&value| value < 0.0) {
            return bad("running variance", channel, var[channel]);
        }
        let unfit = |what, channel: usize, value| {
            refuse(FoldProblem::Scale { channel, what, value, var: var[channel], eps: fold.eps })
        };
        if let Some(channel) = var.iter().position(|&value| value + fold.eps <= 0.0) {
            return unfit("running variance + eps", channel, var[channel] + fold.eps);
        }
        let scale = wide_scales(&gamma, &var, fold.eps).map(Wide::rounded).collect::<Vec<_>>();
        // Beyond f32 no weight but an f64 one could be multiplied by it.
        let limit = if fold.float == crate::checkpoint::Float::F64 { f64::MAX } else { f64::from(f32::MAX) };
        if let Some(channel) = scale.iter().position(|value| value.is_nan() || value.abs() > limit) {
            return unfit("the scale gamma / sqrt(variance + eps)", channel, scale[channel]);
        }
        Ok(Affine { scale, mean, beta, var, gamma, eps: fold.eps })
    }

    /// The scales over `factor`, rounded once.
    pub(super) fn scales_over(&self, factor: f64) -> Vec<f64> {
        wide_scales(&self.gamma, &self.var, self.eps).map(|scale| scale.over(factor).rounded()).collect()
    }

    /// The shifts in f64, rounded once.
    pub(super) fn shifts(&self, bias: Option<&[f64]>) -> Vec<f64> {
        let scales = wide_scales(&self.gamma, &self.var, self.eps).enumerate();
        let bias = |channel: usize| bias.map_or(0.0, |bias| bias[channel]);
        scales.map(|(c, scale)| scale.shift(bias(c), self.mean[c], self.beta[c])).collect()
    }

    /// `(bias - mean) * scale`, the part of the shift that is added to beta. Bias minus mean first: multiplied out, the
    /// two products can be large and cancel.
    pub fn moved(&self, bias: Option<&[f64]>) -> Vec<f64> {
        let bias = |channel: usize| bias.map_or(0.0, |bias| bias[channel]);
        self.mean.iter().zip(&self.scale).enumerate().map(|(c, (mean, scale))| (bias(c) - mean) * scale).collect()
    }
}

fn wide_scales(gamma: &[f64], var: &[f64], eps: f64) -> impl Iterator<Item = Wide> {
    gamma.iter().zip(var).map(move |(&gamma, &var)| Wide::scale(gamma, var, eps))
}
