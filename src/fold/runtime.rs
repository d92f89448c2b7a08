//! 3 FOLD: what a run time makes of a norm that stays in place; the one place that says so.
//!
//! In: gamma, variance and the variance's type as a file has them, eps. Out: what the channel is multiplied by. A fold makes
//! up for it in the weight, and `verify` reads a file by it: two opinions would differ by 2^-25, which is millions of units
//! of an F64 weight.

use super::oracle;
use crate::checkpoint::Float;

/// Whether variance and eps add up to exactly 1. Statistics narrower than F64 are computed with in f32.
#[expect(clippy::cast_possible_truncation, reason = "it is the run time's rounding that is asked about")]
pub fn is_one(float: Float, var: f64, eps: f64) -> bool {
    match float {
        Float::F64 => var + eps == 1.0,
        _ => var as f32 + eps as f32 == 1.0,
    }
}

/// What a channel is multiplied by: gamma where variance and eps add up to 1, so that no root changes it. Any other sum is
/// taken exactly: that is in the middle of what run times make of it.
pub fn factor(float: Float, gamma: f64, var: f64, eps: f64) -> f64 {
    if is_one(float, var, eps) { gamma } else { oracle::scale(gamma, var, eps) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_is_one_in_f32_is_none_in_f64() {
        let var = f64::from(1.0f32 - 1e-5f32);
        assert_ne!(var + 1e-5, 1.0, "test is broken");
        for float in [Float::F32, Float::F16, Float::Bf16] {
            assert_eq!(factor(float, 0.75, var, 1e-5), 0.75, "{float:?}");
        }
        let exact = factor(Float::F64, 0.75, var, 1e-5);
        assert!(exact != 0.75 && (exact - 0.75 / (var + 1e-5).sqrt()).abs() < 1e-15, "{exact}");
        assert_eq!(factor(Float::F32, 3.0, 3.75, 0.25), 1.5);
    }
}
