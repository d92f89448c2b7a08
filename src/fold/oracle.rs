//! 3 FOLD: the reference in f64, written for clarity; what the CPU path and the GPU path both answer to.
//!
//! In: a stored weight, its layout in words, a norm's parameters. Out: what every folded element should be, and how far
//! a result is from it. It shares no arithmetic and no channel map with the paths it judges: channels come from the
//! element's coordinates.

use super::Elements;
use crate::checkpoint::Float;
use crate::network::channels::{Axis, Run};

/// A weight as the oracle sees it.
#[derive(Debug, Clone, Copy)]
pub struct Geometry<'a> {
    /// Where the output channels lie.
    pub axis: Axis,
    /// Dimensions.
    pub shape: &'a [u64],
    /// Number of output channels.
    pub channels: u64,
}

/// The scales of a norm's channels over `factor`, as near as what is judged by them needs: to the nearest f64 where that is
/// an f64. Of anything narrower an ulp is 2^29 of an f64's or more, and the formula's own roundings, 2 ulp of an f64
/// together, are nothing.
pub fn scales(gamma: &[f64], var: &[f64], eps: f64, factor: f64, judged: Float) -> Vec<f64> {
    let channels = gamma.iter().zip(var);
    match judged {
        Float::F64 => channels.map(|(&gamma, &var)| scale_over(gamma, var, eps, factor)).collect(),
        _ => channels.map(|(&gamma, &var)| gamma / (var + eps).sqrt() / factor).collect(),
    }
}

/// gamma / sqrt(var + eps), to the nearest f64.
pub fn scale(gamma: f64, var: f64, eps: f64) -> f64 {
    scale_over(gamma, var, eps, 1.0)
}

/// gamma / sqrt(var + eps) / factor, to the nearest f64: of the four operations each rounds, together by up to 2 ulp, which
/// is more than an f64 weight may be off. So the residual gamma^2 - (scale * factor)^2 * (var + eps) of what they come to,
/// multiplied out without rounding, says how far that is from the truth.
pub fn scale_over(gamma: f64, var: f64, eps: f64, factor: f64) -> f64 {
    let plain = gamma / (var + eps).sqrt() / factor;
    // Nothing to improve, or nothing that a norm may have.
    if plain == 0.0 || !plain.is_finite() {
        return plain;
    }
    // Powers of two change no digit, and keep squares within what f64 holds.
    let (unit, root) = (power_below(gamma), power_below(var.max(eps).sqrt()));
    let [gamma, var, eps] = [gamma / unit, var / root / root, eps / root / root];
    let near = gamma / (var + eps).sqrt() / factor;
    let (back, low) = product(near, factor);
    let (square, rest) = product(back, back);
    let rest = rest + 2.0 * back * low;
    let (whole, own) = product(gamma, gamma);
    let [(of_var, var_rest), (of_eps, eps_rest)] = [var, eps].map(|part| {
        let (product, lost) = product(square, part);
        (product, lost + rest * part)
    });
    // The large ones cancel but for their last digits, which is exact where the larger one goes first.
    let residual = whole - of_var.max(of_eps) - of_var.min(of_eps) + (own - var_rest - eps_rest);
    (near + near * (residual / (2.0 * whole))) / root * unit
}

/// The power of two at or below a magnitude; for 0 and subnormal numbers the smallest normal one.
fn power_below(value: f64) -> f64 {
    f64::from_bits(value.to_bits() & f64::INFINITY.to_bits()).max(f64::MIN_POSITIVE)
}

/// A product, and what rounding it leaves out.
fn product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    (product, a.mul_add(b, -product))
}

/// A difference, and what rounding it leaves out: the smaller number less what of it has got into the difference.
fn difference(a: f64, b: f64) -> (f64, f64) {
    let difference = a - b;
    let rest = if a.abs() >= b.abs() { (a - difference) - b } else { a - (difference + b) };
    (difference, rest)
}

/// (bias - mean) * scale + beta, and the largest of the numbers that it adds up: what its error is measured by, since
/// the sum itself may cancel to nothing.
pub fn shift(bias: f64, mean: f64, scale: f64, beta: f64) -> (f64, f64) {
    let moved = (bias - mean) * scale;
    let largest =
        [bias * scale, mean * scale, moved, beta].into_iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    // What the difference and the product leave out, a whole ulp together, is no less than what may be wrong.
    let (distance, rest) = difference(bias, mean);
    let (moved, lost) = product(distance, scale);
    let (sum, left) = difference(moved, -beta);
    let rest = lost + rest * scale + left;
    (if rest.is_finite() { sum + rest } else { sum }, largest)
}

/// The largest error that a shift may have, in ulp of the largest number it adds up: (bias - mean) * scale is rounded
/// once, 0.5; beta too where it is wider than f32, 0.5; their sum is up to twice the larger one, and so is its ulp: 1. In
/// f64 only the sum is rounded, 1, and the scale that the reference multiplies by, 1.
pub const SHIFT_BOUND: f64 = 2.0;

/// The furthest that folded elements were from the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Worst {
    /// Distance in units in the last place of the stored type, at the reference.
    pub ulp: f64,
    /// Flat index in the weight.
    pub element: u64,
    /// What was found.
    pub got: f64,
    /// What it should be.
    pub expected: f64,
}

impl Worst {
    /// Takes `other` if it is worse; nothing is worse than a NaN.
    pub fn merge(&mut self, other: Worst) {
        if !self.ulp.is_nan() && (other.ulp.is_nan() || other.ulp > self.ulp) {
            *self = other;
        }
    }
}

/// The largest error that `float` results of the paths may have, in ulp at the reference.
///
/// Two roundings: that of the scale moves the product by one ulp at most, that of the product by half of one. Half types
/// go through an f32 product, whose 1.5 ulp are 2^-13 (f16) or 2^-16 (bf16) of theirs, and are then rounded once. A scale
/// that is subnormal in f64 counts as the subnormal number that is nearest to it.
pub const fn bound(float: Float) -> f64 {
    match float {
        Float::F32 | Float::F64 => 1.5,
        Float::F16 | Float::Bf16 => 0.501,
    }
}

/// Compares `folded` with `stored` times the reference scale of their channel; both begin at flat index `first`.
pub fn compare(
    geometry: Geometry<'_>,
    scales: &[f64],
    first: u64,
    stored: Elements<'_>,
    folded: Elements<'_>,
) -> Worst {
    let mut worst = Worst::default();
    each(geometry, scales, first, stored, folded, |_, found| worst.merge(found));
    worst
}

/// The same, every element with its channel handed to `take`.
pub fn each(
    geometry: Geometry<'_>,
    scales: &[f64],
    first: u64,
    stored: Elements<'_>,
    folded: Elements<'_>,
    mut take: impl FnMut(usize, Worst),
) {
    let (from, to) = (stored.float, folded.float);
    let pairs = stored.bytes.chunks_exact(from.bytes()).zip(folded.bytes.chunks_exact(to.bytes()));
    let mut elements = pairs.zip(first..);
    for Run { channel, len, moving } in geometry.rows(first, stored.count()) {
        for (step, ((stored, folded), element)) in elements.by_ref().take(len).enumerate() {
            let channel = channel + if moving { step } else { 0 };
            let expected = from.widen(stored) * scales[channel];
            let got = to.widen(folded);
            take(channel, Worst { ulp: distance(to, got, expected), element, got, expected });
        }
    }
}

/// How far `got` is from `expected`, in ulp of `float`; equal infinities and two NaNs are no distance apart.
pub fn distance(float: Float, got: f64, expected: f64) -> f64 {
    if got == expected || (got.is_nan() && expected.is_nan()) || (got.is_infinite() && float.round(expected) == got) {
        0.0
    } else {
        (got - expected).abs() / float.ulp(expected)
    }
}

impl<'a> Geometry<'a> {
    /// The elements `first .. first + elements` as rows. A row runs along the axes behind those that tell the channel, or
    /// along those that are the channel themselves.
    pub fn rows(self, first: u64, elements: usize) -> impl Iterator<Item = Run> + use<'a> {
        let moving = matches!(self.axis, Axis::Last | Axis::LastTwo);
        let (outer, row) = (&self.shape[..self.leading()], self.row_len());
        let mut at = coordinates(outer, first / row);
        let (mut begin, mut left) = (first % row, elements);
        std::iter::from_fn(move || {
            let len = left.min(usize::try_from(row - begin).unwrap_or(usize::MAX));
            let channel = self.channel(&at) + if moving { begin } else { 0 };
            advance(outer, &mut at);
            (begin, left) = (0, left - len);
            (len > 0).then_some(Run { channel: usize::try_from(channel).unwrap_or(usize::MAX), len, moving })
        })
    }

    /// Elements of a whole row.
    pub fn row_len(&self) -> u64 {
        self.shape[self.leading()..].iter().product::<u64>().max(1)
    }

    /// How many axes stand before those of a row.
    fn leading(&self) -> usize {
        let axes = self.shape.len();
        let leading = match self.axis {
            Axis::First => 1,
            Axis::SecondGrouped => 2,
            Axis::SecondLast | Axis::Last => axes.saturating_sub(1),
            Axis::LastTwo => axes.saturating_sub(2),
        };
        leading.min(axes)
    }

    /// The channel that the leading coordinates tell: the table of layouts, word for word.
    fn channel(&self, at: &[u64]) -> u64 {
        let (shape, last) = (self.shape, at.last().copied().unwrap_or(0));
        match self.axis {
            Axis::First => at[0],
            Axis::SecondGrouped => {
                let per_group = shape[1];
                let groups = self.channels / per_group;
                let group = at[0] / (shape[0] / groups);
                group * per_group + at[1]
            }
            Axis::SecondLast => last,
            Axis::Last | Axis::LastTwo => 0,
        }
    }
}

/// Coordinates of the element at flat index `index`.
fn coordinates(shape: &[u64], index: u64) -> Vec<u64> {
    let mut rest = index;
    let mut at = vec![0; shape.len()];
    for (coordinate, &dim) in at.iter_mut().zip(shape).rev() {
        (*coordinate, rest) = (rest % dim.max(1), rest / dim.max(1));
    }
    at
}

/// The next element's coordinates.
fn advance(shape: &[u64], at: &mut [u64]) {
    for (coordinate, &dim) in at.iter_mut().zip(shape).rev() {
        *coordinate += 1;
        if *coordinate < dim {
            return;
        }
        *coordinate = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_divides_by_the_square_root_and_not_by_the_variance() {
        assert_eq!(scale(3.0, 3.75, 0.25), 1.5);
        assert_eq!(scale(-1.0, 0.0, 0.01), -10.0);
        assert_eq!(scale(0.0, 4.0, 0.0), 0.0);
    }

    #[test]
    fn distances_are_in_ulp_of_the_stored_type() {
        let next = f64::from(f32::from_bits(1.0f32.to_bits() + 3));
        assert_eq!(distance(Float::F32, next, 1.0), 3.0);
        assert_eq!(distance(Float::F16, f64::NAN, f64::NAN), 0.0);
        assert_eq!(distance(Float::F16, f64::INFINITY, 70000.0), 0.0, "70000 rounds to infinity in f16");
        assert!(distance(Float::F32, f64::NAN, 1.0).is_nan());
        let mut worst = Worst { ulp: 5.0, ..Worst::default() };
        worst.merge(Worst { ulp: f64::NAN, ..Worst::default() });
        worst.merge(Worst { ulp: 7.0, ..Worst::default() });
        assert!(worst.ulp.is_nan(), "a NaN is the worst of all, and stays");
    }
}
