//! 3 FOLD: the check that every folded element passes on its way out, as fast as the multiplication itself.
//!
//! In: stored and folded elements, aligned, and the reference scales. Out: the largest distance from the f64 reference,
//! to the bit what the oracle finds, in one pass that sees infinities and NaNs too; or the word that this pass cannot
//! tell, and the oracle must. Channels are the oracle's: nothing of what is judged here takes part in judging.

use std::ops::Range;

use bytemuck::cast_slice;
use half::{bf16, f16};

use super::Elements;
use super::oracle::Geometry;
use super::stretches::{CHUNK, Factors, Take, walk};
use crate::checkpoint::{Element, Float};

/// Elements side by side in the inner loop: their maxima do not wait for each other.
const LANES: usize = 8;

/// The largest distance, in ulp of their type, of `folded` from `stored` times the reference scale of its channel. Both
/// begin at flat index `first` of the weight. `None` if the oracle has to be asked: an infinity or a NaN is among the
/// elements or comes out, or the types are not two equal ones of at most 32 bits.
pub(super) fn worst_ulp(
    geometry: Geometry<'_>,
    scales: &[f64],
    first: u64,
    stored: Elements<'_>,
    folded: Elements<'_>,
) -> Option<f64> {
    if stored.float != folded.float || folded.float == Float::F64 {
        return None;
    }
    let rows = Rows { geometry, scales, first };
    let unit = Unit::of(folded.float);
    let tally = match folded.float {
        Float::F32 => rows.look::<f32>(stored.bytes, folded.bytes, unit),
        Float::F16 => rows.look::<f16>(stored.bytes, folded.bytes, unit),
        Float::Bf16 | Float::F64 => rows.look::<bf16>(stored.bytes, folded.bytes, unit),
    };
    tally.worst()
}

/// Where elements lie and what their channels are multiplied by.
#[derive(Clone, Copy)]
struct Rows<'a> {
    geometry: Geometry<'a>,
    scales: &'a [f64],
    first: u64,
}

impl Rows<'_> {
    /// Takes all elements into a tally, with the widest vectors that the processor has.
    fn look<T: Element>(&self, stored: &[u8], folded: &[u8], unit: Unit) -> Tally {
        let (stored, folded) = (cast_slice::<u8, T>(stored), cast_slice::<u8, T>(folded));
        let (tally, wide_stored, wide_folded) = (Tally::default(), [0.0; CHUNK], [0.0; CHUNK]);
        pulp::Arch::new().dispatch(Look { rows: *self, stored, folded, unit, tally, wide_stored, wide_folded })
    }
}

/// A look at all elements, to be compiled for several processors: all of it is inlined into the function that is.
struct Look<'a, T> {
    rows: Rows<'a>,
    stored: &'a [T],
    folded: &'a [T],
    unit: Unit,
    tally: Tally,
    wide_stored: [f32; CHUNK],
    wide_folded: [f32; CHUNK],
}

impl<T: Element> pulp::NullaryFnOnce for Look<'_, T> {
    type Output = Tally;

    #[inline(always)]
    fn call(mut self) -> Tally {
        let Rows { geometry, scales, first } = self.rows;
        walk(geometry.rows(first, self.stored.len()), geometry.row_len(), scales, &mut self);
        self.tally
    }
}

impl<T: Element> Take<f64> for Look<'_, T> {
    /// Takes elements into the tally, widened first in loops of their own, which compilers turn into vectors.
    #[inline(always)]
    fn take(&mut self, elements: Range<usize>, factors: Factors<'_, f64>) {
        for begin in elements.clone().step_by(CHUNK) {
            let chunk = begin..elements.end.min(begin + CHUNK);
            let stored = T::widen_all(&self.stored[chunk.clone()], &mut self.wide_stored);
            let folded = T::widen_all(&self.folded[chunk.clone()], &mut self.wide_folded);
            match factors {
                Factors::All(scale) => self.tally.add_all(self.unit, stored, folded, scale),
                Factors::Each(scales) => {
                    let scales = &scales[chunk.start - elements.start..chunk.end - elements.start];
                    self.tally.add_each(self.unit, stored, folded, scales);
                }
            }
        }
    }
}

/// What an ulp is in a type.
#[derive(Clone, Copy)]
struct Unit {
    /// The smallest normal number: the ulp does not shrink below it.
    floor: f64,
    /// What an exponent is taken from, in the bits of an f64, to give that of 1 / ulp.
    inverse: u64,
}

impl Unit {
    /// That of a type of at most 32 bits.
    fn of(float: Float) -> Unit {
        let (exponent, mantissa) = (i64::from(float.min_exponent()), i64::from(float.mantissa_bits()));
        let field = |exponent: i64| exponent.unsigned_abs() << 52;
        Unit { floor: f64::from_bits(field(exponent + 1023)), inverse: field(2046 + mantissa) }
    }

    /// |folded - expected| in ulp at `expected`. Dividing by a power of two is multiplying by one whose exponent is
    /// negated.
    #[inline(always)]
    fn distance(self, expected: f64, folded: f64) -> f64 {
        const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
        // Comparisons such as this one, and not `f64::max`, are a single instruction.
        let size = if expected.abs() > self.floor { expected.abs() } else { self.floor };
        let per_ulp = f64::from_bits(self.inverse.wrapping_sub(size.to_bits() & EXPONENT));
        (folded - expected).abs() * per_ulp
    }
}

/// Distances of the elements seen so far.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// The largest ones; a NaN may be missing here.
    worst: [f64; LANES],
    /// Their sums, which no NaN and no infinity leaves finite: no distance is negative, so that nothing cancels.
    sum: [f64; LANES],
}

impl Tally {
    /// Takes elements in that share a scale.
    #[inline(always)]
    fn add_all(&mut self, unit: Unit, stored: &[f32], folded: &[f32], scale: f64) {
        let (stored, stored_rest) = stored.as_chunks();
        let (folded, folded_rest) = folded.as_chunks();
        // In registers for the time.
        let mut tally = *self;
        for (stored, folded) in stored.iter().zip(folded) {
            tally.add(unit, stored, folded, &[scale; LANES]);
        }
        tally.add(unit, &padded(stored_rest), &padded(folded_rest), &[scale; LANES]);
        *self = tally;
    }

    /// Takes elements in that have a scale each.
    #[inline(always)]
    fn add_each(&mut self, unit: Unit, stored: &[f32], folded: &[f32], scales: &[f64]) {
        let (stored, stored_rest) = stored.as_chunks();
        let (folded, folded_rest) = folded.as_chunks();
        let (scales, scales_rest) = scales.as_chunks();
        let mut tally = *self;
        for ((stored, folded), scales) in stored.iter().zip(folded).zip(scales) {
            tally.add(unit, stored, folded, scales);
        }
        tally.add(unit, &padded(stored_rest), &padded(folded_rest), &padded(scales_rest));
        *self = tally;
    }

    /// Takes one element a lane in.
    #[inline(always)]
    fn add(&mut self, unit: Unit, stored: &[f32; LANES], folded: &[f32; LANES], scales: &[f64; LANES]) {
        for lane in 0..LANES {
            let ulp = unit.distance(f64::from(stored[lane]) * scales[lane], f64::from(folded[lane]));
            self.worst[lane] = if ulp > self.worst[lane] { ulp } else { self.worst[lane] };
            self.sum[lane] += ulp;
        }
    }

    /// The largest distance, if every one of them is a number.
    fn worst(&self) -> Option<f64> {
        let finite = self.sum.iter().sum::<f64>().is_finite();
        finite.then(|| self.worst.into_iter().fold(0.0, f64::max))
    }
}

/// The few elements that fill no vector, and zeros, whose distance is zero.
#[inline(always)]
fn padded<T: Copy + Default>(rest: &[T]) -> [T; LANES] {
    let mut padded = [T::default(); LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::oracle;
    use crate::network::channels::Axis;

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

    fn of(float: Float, bytes: &[u8]) -> Elements<'_> {
        Elements { float, bytes }
    }

    /// Compares the two on `stored`, and on each of its elements alone (so that a large distance hides no small one).
    fn assert_equal(geometry: Geometry<'_>, scales: &[f64], float: Float, stored: &[f64], folded: &[f64]) {
        let (stored, folded) = (float.narrow_all(stored), float.narrow_all(folded));
        let size = float.bytes();
        let whole = std::iter::once((0, &stored[..], &folded[..]));
        let single = (0..).zip(stored.chunks(size).zip(folded.chunks(size))).map(|(i, (a, b))| (i, a, b));
        for (first, stored, folded) in whole.chain(single) {
            let (a, b) = (Aligned::new(stored), Aligned::new(folded));
            let quick = worst_ulp(geometry, scales, first, of(float, a.bytes()), of(float, b.bytes()));
            let clear = oracle::compare(geometry, scales, first, of(float, stored), of(float, folded)).ulp;
            let finite = [stored, folded].iter().all(|bytes| float.widen_all(bytes).iter().all(|v| v.is_finite()));
            assert_eq!(quick, finite.then_some(clear), "{float:?} at {first}");
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
    fn short_rows_are_held_against_their_own_scales() {
        let cases: [(Axis, &[u64], u64); 4] = [
            (Axis::First, &[700, 1, 3, 3], 700),
            (Axis::SecondGrouped, &[30, 7, 5, 5], 7),
            (Axis::Last, &[40, 50, 3], 3),
            (Axis::SecondLast, &[30, 31, 5], 31),
        ];
        for (axis, shape, channels) in cases {
            let scales = (0..channels).map(|channel| 0.5 + channel as f64).collect::<Vec<_>>();
            let map = crate::network::channels::ChannelMap::new(axis, shape, channels).unwrap();
            let elements = shape.iter().product::<u64>();
            let stored = vec![1.0; elements as usize];
            let mut folded = (0..elements).map(|i| scales[map.channel(i) as usize]).collect::<Vec<_>>();
            let geometry = Geometry { axis, shape, channels };
            for first in [0, 1, 8, 31] {
                let aligned = |values: &[f64]| Aligned::new(&Float::F32.narrow_all(&values[first as usize..]));
                let look = |folded: &[f64]| {
                    let (a, b) = (aligned(&stored), aligned(folded));
                    worst_ulp(geometry, &scales, first, of(Float::F32, a.bytes()), of(Float::F32, b.bytes()))
                };
                assert_eq!(look(&folded), Some(0.0), "{axis:?} from {first}");
                // The last element with its neighbour's scale.
                let last = folded.len() - 1;
                let right = std::mem::replace(&mut folded[last], scales[0] + 0.25);
                assert!(look(&folded).is_some_and(|ulp| ulp > 1.5), "{axis:?} from {first}");
                folded[last] = right;
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
            let worst = worst_ulp(geometry, &[1.0], 0, of(Float::F32, a.bytes()), of(Float::F32, b.bytes()));
            assert_eq!(worst, None, "a NaN at {at}");
        }
    }
}
