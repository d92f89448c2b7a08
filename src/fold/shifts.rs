//! 3 FOLD: the shift of every output channel, all layers of a model in one go.
//!
//! In: layers whose norms are read. Out: their shifts, computed on the engine (f64 ones on the CPU) and rounded to the type
//! that holds them; then [`ShiftStats`], if they are as near to the oracle's as is promised.

use super::{Engine, FoldOptions, FoldProblem, FoldedLayer, oracle};
use crate::checkpoint::{Checkpoint, Float};
use crate::error::{Error, Result};
use crate::warning::Warning;

/// Shifts as an engine computed them.
#[derive(Debug, Clone, PartialEq)]
pub struct Shifted {
    /// One per channel.
    pub values: Vec<f32>,
    /// How many of a GPU's had other bits than the CPU's, which were taken.
    pub differ: u64,
}

#[cfg(feature = "gpu")]
impl Shifted {
    /// Holds a GPU's shifts `values` against `twin`, those of the CPU, one by one. A value with the CPU's bits stays; where
    /// the device flushed a subnormal, or a NaN has other bits, the CPU's value takes its place and is counted. An `Err` says
    /// in words what is wrong with any other value: the GPU must not be trusted.
    pub(super) fn checked(
        mut values: Vec<f32>,
        twin: &[f32],
        moved: &[f32],
        beta: &[f32],
    ) -> std::result::Result<Shifted, String> {
        if values.len() != twin.len() {
            return Err(format!("it returned {} shifts of {}", values.len(), twin.len()));
        }
        let mut differ = 0;
        for (channel, (value, &twin)) in values.iter_mut().zip(twin).enumerate() {
            if value.to_bits() == twin.to_bits() {
                continue;
            }
            let is_excused = is_flush(*value, moved[channel], beta[channel]) || value.is_nan() && twin.is_nan();
            if !is_excused {
                return Err("its shifts differ from the CPU's".to_owned());
            }
            (*value, differ) = (twin, differ + 1);
        }
        Ok(Shifted { values, differ })
    }
}

/// Whether a device that flushes subnormals to zero, as operands or as the result, may say that `moved + beta` is `value`.
#[cfg(feature = "gpu")]
fn is_flush(value: f32, moved: f32, beta: f32) -> bool {
    let flushed = |x: f32| if x.is_subnormal() { 0.0 } else { x };
    let sums = [moved + beta, flushed(moved) + beta, moved + flushed(beta), flushed(moved) + flushed(beta)];
    let is_there = [moved, beta].iter().chain(&sums).any(|x| x.is_subnormal());
    is_there && sums.iter().any(|&sum| value == sum || value == flushed(sum))
}

/// What checking the shifts of a model found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ShiftStats {
    /// How many of a GPU's had other bits than the CPU's, which were taken.
    pub differ: u64,
    /// How many were compared with the reference.
    pub compared: u64,
    /// The furthest of them from it, in ulp of the largest number it is the sum of.
    pub worst_ulp: f64,
    /// How many are not finite (only where that is allowed).
    pub non_finite: u64,
}

/// Computes the shifts of all `layers`: f64 ones on the CPU, all others in one go on the engine. Returns how many of a GPU's
/// had other bits than the CPU's, which were taken, and adds to `warnings` what the user should know.
pub fn compute_shifts(layers: &mut [FoldedLayer<'_>], engine: &mut Engine, warnings: &mut Vec<Warning>) -> u64 {
    let narrow = || layers.iter().map(|layer| &layer.norm).filter(|norm| norm.shift_float != Float::F64);
    let channels = narrow().map(|norm| norm.affine.beta.len()).sum();
    let (mut moved, mut beta) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    for norm in narrow() {
        moved.extend(to_f32(&norm.affine.moved(norm.bias.as_deref())));
        beta.extend(to_f32(&norm.affine.beta));
    }
    let Shifted { values, differ } = engine.shift(&moved, &beta, warnings);
    let mut shifted = values.into_iter().map(f64::from);
    for FoldedLayer { norm, shift, .. } in layers {
        let exact: Vec<f64> = match norm.shift_float {
            Float::F64 => norm.affine.shifts(norm.bias.as_deref()),
            _ => shifted.by_ref().take(norm.affine.beta.len()).collect(),
        };
        *shift = exact.iter().map(|shift| norm.shift_float.round(shift * norm.shift_sign)).collect();
    }
    differ
}

/// Every shift must be finite and, with verification, as near to the reference as is promised.
pub fn check_shifts(
    checkpoint: &Checkpoint,
    layers: &[FoldedLayer<'_>],
    options: FoldOptions<'_>,
) -> Result<ShiftStats> {
    let mut stats = ShiftStats::default();
    for layer in layers {
        let refuse = |problem| {
            let (path, norm) = (checkpoint.path().to_owned(), layer.fold.norm.name.clone());
            Err(Error::Fold { path, norm, problem })
        };
        for (channel, &got) in layer.shift.iter().enumerate() {
            let expected = Expected::of(layer, channel);
            if !got.is_finite() {
                if !options.allow_non_finite {
                    return refuse(expected.non_finite(layer, channel));
                }
                stats.non_finite += 1;
                continue;
            }
            let ulp = (got - expected.shift).abs() / layer.norm.shift_float.ulp(expected.largest);
            // Written so that a NaN distance fails.
            if options.verify && !(ulp <= oracle::SHIFT_BOUND) {
                return refuse(FoldProblem::Verification {
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
        let (mean, scale, beta) = (affine.mean[channel], norm.reference[channel], affine.beta[channel]);
        let (shift, largest) = oracle::shift(bias, mean, scale, beta);
        Expected { bias, shift: shift * norm.shift_sign, largest: largest * norm.shift_sign.abs() }
    }

    /// What is wrong with a shift that its type cannot hold.
    fn non_finite(&self, layer: &FoldedLayer<'_>, channel: usize) -> FoldProblem {
        FoldProblem::NonFinite {
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

#[cfg(test)]
#[cfg(feature = "gpu")]
mod tests {
    use super::*;
    use crate::fold::cpu;

    /// Half of the smallest normal number.
    const TINY: f32 = f32::MIN_POSITIVE / 2.0;
    const MOVED: [f32; 7] = [1.5, TINY, TINY, f32::MIN_POSITIVE * 1.5, 0.0, f32::INFINITY, -2.0];
    const BETA: [f32; 7] = [2.0, 0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 0.0, f32::NEG_INFINITY, 2.0];

    fn claim(at: usize, value: f32) -> std::result::Result<Shifted, String> {
        let mut values = cpu::shift(&MOVED, &BETA);
        values[at] = value;
        Shifted::checked(values, &cpu::shift(&MOVED, &BETA), &MOVED, &BETA)
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn shifts_with_the_twins_bits_are_the_gpus_own() {
        let values = cpu::shift(&MOVED, &BETA);
        let (gpu, twin) = (values.clone(), values);
        let memory = gpu.as_ptr();
        let shifted = Shifted::checked(gpu, &twin, &MOVED, &BETA).unwrap();
        assert_eq!((bits(&shifted.values), shifted.differ), (bits(&twin), 0));
        assert_eq!(shifted.values.as_ptr(), memory, "what the GPU gave is what goes on");
    }

    #[test]
    fn flushed_shifts_are_replaced_and_counted() {
        // The sum itself; one operand of a sum that stays normal; a sum of normal numbers; a NaN, which has no fixed bits.
        for (at, value) in [(1, 0.0), (1, -0.0), (2, f32::MIN_POSITIVE), (3, 0.0), (5, f32::from_bits(0x7fba_7fba))] {
            let shifted = claim(at, value).unwrap();
            assert_eq!(shifted.differ, 1, "channel {at} as {value:e}");
            assert_eq!(bits(&shifted.values), bits(&cpu::shift(&MOVED, &BETA)), "channel {at} as {value:e}");
        }
    }

    #[test]
    fn any_other_shift_is_not_believed() {
        let poison = f32::from_bits(0x7fba_7fba);
        let wrong = [
            (0, 3.5 + f32::EPSILON * 2.0),
            (0, 0.0),
            (0, poison),
            (1, 1.0),
            (1, poison),
            (2, 0.0),
            (2, f32::MIN_POSITIVE * 2.0),
            (3, f32::MIN_POSITIVE),
            (4, -0.0),
            (4, TINY),
            (5, 0.0),
            (6, -0.0),
        ];
        for (at, value) in wrong {
            assert!(claim(at, value).is_err(), "channel {at} as {value:e}");
        }
        let twin = cpu::shift(&MOVED, &BETA);
        assert!(Shifted::checked(twin[1..].to_vec(), &twin, &MOVED, &BETA).is_err(), "one is missing");
    }
}
