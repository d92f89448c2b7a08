//! 3 FOLD: the checks that every folded element passes on its way out, as fast as the multiplication itself.
//!
//! In: stored and folded elements, aligned. Out: the largest distance from the f64 reference, non-finite results. The
//! distance is the oracle's, written so that the compiler vectorises it; a test holds the two against each other.

use bytemuck::cast_slice;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::oracle::{Geometry, Row};
use crate::checkpoint::Float;

/// Elements of half types that are widened at a time.
const CHUNK: usize = 1024;

/// The largest distance, in ulp of `to`, of `folded` from `stored` times the reference scale of its channel; NaN if any
/// distance is. Both begin at flat index `first` of the weight.
pub(super) fn worst_ulp(
    geometry: Geometry<'_>,
    scales: &[f64],
    first: u64,
    (from, stored): (Float, &[u8]),
    (to, folded): (Float, &[u8]),
) -> f64 {
    // f64, and conversions between types, are rare: the oracle itself serves.
    if from != to || to == Float::F64 {
        return super::oracle::compare(geometry, scales, first, (from, stored), (to, folded)).ulp;
    }
    let rows = Rows { geometry, scales, first };
    let unit = Unit { mantissa_bits: to.mantissa_bits(), min_exponent: to.min_exponent() };
    match to {
        Float::F32 => rows.fold(cast_slice::<u8, f32>(stored), cast_slice::<u8, f32>(folded), unit, f32_row),
        Float::F16 => rows.fold(cast_slice::<u8, f16>(stored), cast_slice::<u8, f16>(folded), unit, half_row),
        Float::Bf16 | Float::F64 => {
            rows.fold(cast_slice::<u8, bf16>(stored), cast_slice::<u8, bf16>(folded), unit, half_row)
        }
    }
}

/// Where elements lie and what their channels are multiplied by.
struct Rows<'a> {
    geometry: Geometry<'a>,
    scales: &'a [f64],
    first: u64,
}

/// What an ulp is in a type.
#[derive(Clone, Copy)]
struct Unit {
    mantissa_bits: i32,
    min_exponent: i32,
}

impl Rows<'_> {
    /// The worst over all rows.
    fn fold<T>(&self, stored: &[T], folded: &[T], unit: Unit, row: impl Fn(&[T], &[T], &[f64], Unit) -> f64) -> f64 {
        pulp::Arch::new().dispatch(|| {
            let (mut at, mut worst) = (0, 0.0);
            for Row { channel, len, moving } in self.geometry.rows(self.first, stored.len()) {
                let scales =
                    if moving { &self.scales[channel..channel + len] } else { &self.scales[channel..=channel] };
                worst = worse(worst, row(&stored[at..at + len], &folded[at..at + len], scales, unit));
                at += len;
            }
            worst
        })
    }
}

/// The larger one; NaN if either is.
#[inline(always)]
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

#[inline(always)]
fn f32_row(stored: &[f32], folded: &[f32], scales: &[f64], unit: Unit) -> f64 {
    let distance = |stored: f32, folded: f32, scale: f64| distance(f64::from(stored) * scale, f64::from(folded), unit);
    match scales {
        // Several partial maxima, so that the comparisons of neighbours do not wait for each other.
        &[scale] => {
            let mut worst = [0.0; 8];
            let (stored, stored_rest) = stored.as_chunks::<8>();
            let (folded, folded_rest) = folded.as_chunks::<8>();
            for (stored, folded) in stored.iter().zip(folded) {
                for lane in 0..8 {
                    worst[lane] = worse(worst[lane], distance(stored[lane], folded[lane], scale));
                }
            }
            let rest = stored_rest.iter().zip(folded_rest).map(|(&stored, &folded)| distance(stored, folded, scale));
            worst.into_iter().chain(rest).fold(0.0, worse)
        }
        scales => {
            let mut worst = [0.0; 8];
            let (stored, stored_rest) = stored.as_chunks::<8>();
            let (folded, folded_rest) = folded.as_chunks::<8>();
            let (scales, scales_rest) = scales.as_chunks::<8>();
            for ((stored, folded), scales) in stored.iter().zip(folded).zip(scales) {
                for lane in 0..8 {
                    worst[lane] = worse(worst[lane], distance(stored[lane], folded[lane], scales[lane]));
                }
            }
            let rest = stored_rest.iter().zip(folded_rest).zip(scales_rest);
            let rest = rest.map(|((&stored, &folded), &scale)| distance(stored, folded, scale));
            worst.into_iter().chain(rest).fold(0.0, worse)
        }
    }
}

#[inline(always)]
fn half_row<T>(stored: &[T], folded: &[T], scales: &[f64], unit: Unit) -> f64
where
    [T]: HalfFloatSliceExt,
{
    let (mut wide_stored, mut wide_folded) = ([0.0f32; CHUNK], [0.0f32; CHUNK]);
    let mut worst = 0.0;
    for (index, (stored, folded)) in stored.chunks(CHUNK).zip(folded.chunks(CHUNK)).enumerate() {
        let (wide_stored, wide_folded) = (&mut wide_stored[..stored.len()], &mut wide_folded[..folded.len()]);
        stored.convert_to_f32_slice(wide_stored);
        folded.convert_to_f32_slice(wide_folded);
        let scales = if scales.len() == 1 { scales } else { &scales[index * CHUNK..index * CHUNK + stored.len()] };
        worst = worse(worst, f32_row(wide_stored, wide_folded, scales, unit));
    }
    worst
}

/// |folded - expected| in ulp at `expected`; 0 for equal infinities and for two NaNs.
///
/// The unit is the power of two of `expected`, not below that of the smallest normal number, times 2^-mantissa: dividing
/// by it is a multiplication by a number whose exponent is negated in its bits.
#[inline(always)]
fn distance(expected: f64, folded: f64, unit: Unit) -> f64 {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    let floor = ((unit.min_exponent + 1023) as u64) << 52;
    let exponent = (expected.to_bits() & EXPONENT).max(floor);
    let per_unit = f64::from_bits((((2046 + unit.mantissa_bits) as u64) << 52) - exponent);
    let ulp = (folded - expected).abs() * per_unit;
    let equal = folded == expected || (folded.is_nan() && expected.is_nan());
    // A finite product beyond the type's range is stored as infinity, and accepted by whoever allowed that.
    let overflowed = folded.is_infinite() && expected.abs() >= largest(unit) && folded.signum() == expected.signum();
    if equal || overflowed { 0.0 } else { ulp }
}

/// From here on numbers round to infinity: half a unit above the largest finite number, which is
/// (2 - 2^-mantissa) * 2^max_exponent, where the largest exponent is 1 - the smallest.
#[inline(always)]
fn largest(unit: Unit) -> f64 {
    let power = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    (2.0 - power(-unit.mantissa_bits - 1)) * power(1 - unit.min_exponent)
}

/// Index of the first infinity or NaN.
pub(super) fn first_non_finite(float: Float, bytes: &[u8]) -> Option<usize> {
    // An or over all magnitudes would miss nothing and cost less than a search; most pieces end here.
    let clean = match float {
        Float::F32 => none_reaches(cast_slice::<u8, u32>(bytes), |bits| bits & 0x7fff_ffff, 0x7f80_0000),
        Float::F16 => none_reaches(cast_slice::<u8, u16>(bytes), |bits| u32::from(bits & 0x7fff), 0x7c00),
        Float::Bf16 => none_reaches(cast_slice::<u8, u16>(bytes), |bits| u32::from(bits & 0x7fff), 0x7f80),
        Float::F64 => false,
    };
    let finite = |element: &[u8]| float.widen(element).is_finite();
    if clean { None } else { bytes.chunks_exact(float.bytes()).position(|element| !finite(element)) }
}

fn none_reaches<T: Copy>(elements: &[T], magnitude: impl Fn(T) -> u32, limit: u32) -> bool {
    pulp::Arch::new().dispatch(|| elements.iter().fold(0, |most, &element| magnitude(element).max(most))) < limit
}

/// Number of infinities and NaNs.
pub(super) fn count_non_finite(float: Float, bytes: &[u8]) -> u64 {
    bytes.chunks_exact(float.bytes()).filter(|element| !float.widen(element).is_finite()).count() as u64
}

/// Whether any element has an exponent of all zeros or all ones.
#[cfg(feature = "gpu")]
pub(super) fn has_extreme(float: Float, bytes: &[u8]) -> bool {
    let extreme = |bits: u32, mask: u32| bits & mask == 0 || bits & mask == mask;
    let half = |mask: u16| cast_slice::<u8, u16>(bytes).iter().any(|&bits| extreme(bits.into(), mask.into()));
    match float {
        Float::F32 => cast_slice::<u8, u32>(bytes).iter().any(|&bits| extreme(bits, 0x7f80_0000)),
        Float::F16 => half(0x7c00),
        Float::Bf16 => half(0x7f80),
        Float::F64 => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::layout::Axis;
    use crate::fold::oracle;

    /// Values of every size, exact halves of units, subnormals, zeros and infinities.
    fn values(float: Float, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        let mut values = (0..2000).map(|_| float.round(next() * 2f64.powi((next() * 60.0) as i32))).collect::<Vec<_>>();
        values.extend([0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.0, float.ulp(0.0)]);
        values
    }

    /// Bytes at an address that suits every type.
    struct Aligned(Vec<u64>, usize);

    impl Aligned {
        fn new(bytes: &[u8]) -> Aligned {
            let mut words = vec![0u64; bytes.len().div_ceil(8)];
            bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
            Aligned(words, bytes.len())
        }

        fn bytes(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }

    /// Compares the two on `stored`, and on each of its elements alone (so that a large distance hides no small one).
    fn assert_equal(geometry: Geometry<'_>, scales: &[f64], float: Float, stored: &[f64], folded: &[f64]) {
        let (stored, folded) = (float.narrow_all(stored), float.narrow_all(folded));
        let size = float.bytes();
        let whole = std::iter::once((0, &stored[..], &folded[..]));
        let single = (0..).zip(stored.chunks(size).zip(folded.chunks(size))).map(|(i, (a, b))| (i, a, b));
        for (first, stored, folded) in whole.chain(single) {
            let (a, b) = (Aligned::new(stored), Aligned::new(folded));
            let quick = worst_ulp(geometry, scales, first, (float, a.bytes()), (float, b.bytes()));
            let clear = oracle::compare(geometry, scales, first, (float, stored), (float, folded)).ulp;
            assert!(quick == clear || (quick.is_nan() && clear.is_nan()), "{float:?} at {first}: {quick}, not {clear}");
        }
    }

    #[test]
    fn the_quick_distance_is_the_oracles() {
        for float in [Float::F16, Float::Bf16, Float::F32] {
            let stored = values(float, 1);
            let each = values(float, 2);
            let shape = [1, stored.len() as u64];
            for (axis, scales) in [(Axis::First, &[1.7][..]), (Axis::Last, &each[..])] {
                let scale = |index: usize| scales[index % scales.len()];
                // Off by up to six units, here and there.
                let off = |index: usize, exact: f64| float.round(exact + float.ulp(exact) * (index % 7) as f64);
                let folded = stored.iter().enumerate().map(|(index, value)| off(index, value * scale(index)));
                let geometry = Geometry { axis, shape: &shape, channels: scales.len() as u64 };
                assert_equal(geometry, scales, float, &stored, &folded.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_wrong_nan_is_never_hidden() {
        let shape = [1, 40];
        let geometry = Geometry { axis: Axis::First, shape: &shape, channels: 1 };
        for at in [0, 7, 8, 33, 39] {
            let mut folded = vec![1.0; 40];
            folded[at] = f64::NAN;
            assert_equal(geometry, &[1.0], Float::F32, &[1.0; 40], &folded);
            let (a, b) = (Float::F32.narrow_all(&[1.0; 40]), Float::F32.narrow_all(&folded));
            let (a, b) = (Aligned::new(&a), Aligned::new(&b));
            let worst = worst_ulp(geometry, &[1.0], 0, (Float::F32, a.bytes()), (Float::F32, b.bytes()));
            assert!(worst.is_nan(), "a NaN at {at} counted as {worst} ulp");
        }
    }

    #[test]
    fn a_single_infinity_is_found() {
        for float in Float::ALL {
            let mut values = vec![1.0; 999];
            let find = |values: &[f64]| first_non_finite(float, Aligned::new(&float.narrow_all(values)).bytes());
            assert_eq!(find(&values), None);
            values[998] = f64::NEG_INFINITY;
            assert_eq!(find(&values), Some(998));
            values[3] = f64::NAN;
            assert_eq!(find(&values), Some(3));
        }
    }
}
