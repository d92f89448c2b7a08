//! 5 VERIFY: one layer with its norm, before and after.
//!
//! In: both checkpoints and what was planned for the norm. Out: whether it is folded or left as it was, or a [`Mismatch`];
//! the figures of the comparison either way.

use super::Mismatch;
use super::numbers::{Before, Figures, Weight};
use super::remains::Remains;
use super::tensor::Side;
use super::tolerance::Tolerance;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::Fold;

/// eps that networks are trained with.
const COMMON_EPS: [f64; 6] = [1e-3, 1e-5, 1e-4, 1e-2, 1e-6, 0.0];

/// A layer in the original and in the folded file.
pub(super) struct Pair<'a> {
    pub(super) original: &'a Checkpoint,
    pub(super) folded: &'a Checkpoint,
    pub(super) fold: &'a Fold,
    pub(super) tolerance: Tolerance,
    pub(super) figures: Figures,
}

/// What a layer that computes the same is.
pub(super) enum State {
    /// Folded into its weight.
    Folded,
    /// Byte for byte what it was.
    Left,
}

impl<'a> Pair<'a> {
    pub(super) fn new(
        original: &'a Checkpoint,
        folded: &'a Checkpoint,
        fold: &'a Fold,
        tolerance: Tolerance,
    ) -> Pair<'a> {
        Pair { original, folded, fold, tolerance, figures: Figures::default() }
    }

    /// Compares the layer.
    pub(super) fn judge(&mut self) -> Result<State, Mismatch> {
        let before = Before::read(self.original, self.fold)?;
        let remains = Remains::read(self.folded, self.fold)?;
        self.check_bias()?;
        if !remains.gone {
            self.check_side_tensors()?;
        }
        // Before any number is looked at: to be left as it was needs no arithmetic.
        if !remains.gone && self.is_unchanged()? {
            self.figures.elements += self.fold.elements + self.fold.channels;
            return Ok(State::Left);
        }
        let weight = self.weight()?;
        // All is compared, so that the figures are those of the whole layer.
        let wrong_shift = self.compare_shifts(&before, &remains)?;
        let wrong_weight = self.compare_weights(&weight, &before, &remains)?;
        match wrong_shift.or(wrong_weight) {
            Some(text) => Err(Mismatch::Numbers(text)),
            None => Ok(State::Folded),
        }
    }

    /// The common eps with which a layer whose numbers differ would be right, if one is. Of several, as a large
    /// variance leaves them, the one that comes nearest.
    pub(super) fn better_eps(&self) -> Option<f64> {
        let mut best: Option<(f64, f64)> = None;
        for eps in COMMON_EPS.into_iter().filter(|&eps| eps != self.fold.eps) {
            let fold = Fold { eps, ..self.fold.clone() };
            let mut other = Pair::new(self.original, self.folded, &fold, self.tolerance);
            // An error is no news of the files, which were read before: a variance of 0 does not go with an eps of 0.
            let fits = other.judge().is_ok();
            let ulp = other.figures.worst_ulp.max(other.figures.worst_shift_ulp);
            if fits && best.is_none_or(|(least, _)| ulp < least) {
                best = Some((ulp, eps));
            }
        }
        best.map(|(_, eps)| eps)
    }

    /// A bias whose absence means zeros: no comparison of numbers would miss it, but code that loads the file does.
    fn check_bias(&self) -> Result<(), Mismatch> {
        let (name, channels) = (&self.fold.bias, self.fold.channels);
        let text = match self.folded.tensors().get(name) {
            None if self.fold.bias_float.is_some() => format!("bias `{name}` is missing"),
            Some(bias) if bias.dtype.float().is_none() || bias.shape != [channels] => {
                let (dtype, shape) = (&bias.dtype, &bias.shape);
                format!("bias `{name}` is {dtype} of shape {shape:?}, expected floats of shape [{channels}]")
            }
            _ => return Ok(()),
        };
        Err(Mismatch::Structure(text))
    }

    /// Tensors of the norm that have no part in the arithmetic, but that code asks for.
    fn check_side_tensors(&self) -> Result<(), Mismatch> {
        for name in &self.fold.norm.spare {
            let text = match Side::find(self.folded, name) {
                None => format!("its `{name}` is missing, but the rest of it is there"),
                Some(after) if Side::of(self.original, name)?.is_same(after)? => continue,
                Some(_) => format!("its `{name}` differs, and no fold explains it"),
            };
            return Err(Mismatch::Structure(text));
        }
        Ok(())
    }

    /// The folded weight, if it is floats of the shape that it had.
    fn weight(&self) -> Result<Weight<'a>, Mismatch> {
        let (name, expected) = (&self.fold.weight, &self.fold.shape);
        let side =
            Side::find(self.folded, name).ok_or_else(|| Mismatch::Structure(format!("weight `{name}` is missing")))?;
        let (dtype, shape) = (&side.tensor.dtype, &side.tensor.shape);
        match dtype.float().filter(|_| shape == expected) {
            Some(float) => Ok(Weight { side, float }),
            None => {
                let text = format!("weight `{name}` is {dtype} of shape {shape:?}, expected {expected:?}");
                Err(Mismatch::Structure(text))
            }
        }
    }

    /// Whether the layer and its norm are byte for byte what they were.
    fn is_unchanged(&self) -> Result<bool> {
        let fold = self.fold;
        for name in fold.norm.tensors().chain([fold.weight.as_str(), fold.bias.as_str()]) {
            let equal = match (Side::find(self.original, name), Side::find(self.folded, name)) {
                (None, None) => true,
                (Some(a), Some(b)) => a.tensor.dtype == b.tensor.dtype && a.is_same(b)?,
                _ => false,
            };
            if !equal {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
