//! 5 VERIFY: how far from exact arithmetic the numbers of a right fold may be.
//!
//! In: the type that a number is stored in, or what the user accepts instead. Out: bounds. A right fold computes in f32, step
//! by step as other tools do, or better, and rounds once to the stored type; of F64, the same in f64. So what is accepted
//! is half a unit of the stored type, and [`STEPS`] units of the type that is computed in: hardly anything of a half type's
//! unit, and no more than roundings make of an F32.

use crate::checkpoint::Float;

/// The steps of a fold before its last rounding, in units of the type that is computed in. Every rounding is off by half a
/// unit, and by up to a whole one of the result's, since a unit is relative to the power of two below.
///
/// A weight's: eps and its sum with the variance 0.5 each (a root halves them), the root and its reciprocal 1 each, or 4 for
/// a graphics card's own reciprocal root, which may be 2 units off; times gamma 1: 4, or 6. A bias's: the difference from the
/// mean 1, its product 1, a mean and a beta that are stored wider 1 and 0.5: up to 6.5 (7.5 without wider ones on such a
/// card). Measured are 3.0 and 3.2 (docs/verification.md).
const STEPS: f64 = 7.5;

/// What is accepted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tolerance {
    /// What a right fold is off by in the types at hand.
    ByType,
    /// So many units of the stored type, whatever the type; of their mean, nothing is asked.
    Ulp(f64),
}

impl Tolerance {
    /// What the user accepts, if that was said.
    pub(super) fn new(max_ulp: Option<f64>) -> Tolerance {
        max_ulp.map_or(Tolerance::ByType, Tolerance::Ulp)
    }

    /// The largest error of a weight, in ulp of its type.
    pub(super) fn weight(self, float: Float) -> f64 {
        match self {
            Tolerance::Ulp(ulp) => ulp,
            Tolerance::ByType => 0.5 + STEPS * computed(float).ulp(1.0) / float.ulp(1.0),
        }
    }

    /// The largest error of a shift, in ulp of `float` at the largest number it is the sum of. `rounding` is what storing it in
    /// a half type may have cost: a sum that cancels is rounded where it is, not where its addends are.
    pub(super) fn shift(self, float: Float, largest: f64, rounding: f64) -> f64 {
        match self {
            Tolerance::Ulp(ulp) => ulp,
            Tolerance::ByType if computed(float) == float => 0.5 + STEPS,
            Tolerance::ByType => (rounding + STEPS * computed(float).ulp(largest)) / float.ulp(largest),
        }
    }

    /// Whether the mean of a layer's errors is looked at too: not in half types, where an element that is accepted is the
    /// right number rounded, or a tie's other side. All roundings of a right layer may happen to lean one way.
    pub(super) fn asks_for_mean(self, float: Float) -> bool {
        matches!(self, Tolerance::ByType) && computed(float) == float
    }
}

/// The type that results of type `float` are computed in.
fn computed(float: Float) -> Float {
    match float {
        Float::F64 => Float::F64,
        Float::F32 | Float::F16 | Float::Bf16 => Float::F32,
    }
}

/// A number of units in words: at most four digits after the point.
pub(super) fn units(ulp: f64) -> String {
    if ulp < 100.0 { format!("{}", (ulp * 1e4).round() / 1e4) } else { format!("{ulp:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_types_leave_room_for_one_rounding_and_no_more() {
        let bounds = [Float::F64, Float::F32, Float::F16, Float::Bf16].map(|float| Tolerance::ByType.weight(float));
        assert_eq!(bounds.map(units), ["8", "8", "0.5009", "0.5001"]);
        assert_eq!(Tolerance::new(Some(3.0)).weight(Float::Bf16), 3.0);
    }

    #[test]
    fn a_shift_that_cancels_is_rounded_where_it_is() {
        let rounding = Float::F16.ulp(1.0) / 2.0;
        assert_eq!(units(Tolerance::ByType.shift(Float::F16, 1.0, rounding)), "0.5009");
        assert!(Tolerance::ByType.shift(Float::F16, 1024.0, rounding) < 0.002);
        assert_eq!(units(Tolerance::ByType.shift(Float::F64, 1024.0, 0.0)), "8");
    }

    #[test]
    fn units_are_short() {
        assert_eq!(
            [8.0, 0.500_91, 31.42, 29_275_781.6, f64::NAN].map(units),
            ["8", "0.5009", "31.42", "29275781.6", "NaN"]
        );
    }
}
