//! 2 PLAN, measure: row sums and row norms of a weight.
//!
//! In: a weight in a checkpoint and its channel map. Out: per output channel the sum of its elements and the sum of their
//! squares, in f64. The weight is read in pieces, so that memory does not grow with it.
//!
//! A sum of floats depends on its order, and a plan must depend on nothing but the checkpoint. So the order is fixed:
//! pieces of [`PIECE_BYTES`] (of half types, of [`CHUNK`] elements) one after the other, and [`LANES`] sums side by side within
//! a run of one channel, whatever the number of threads and the width of the processor's vectors.

use bytemuck::cast_slice;
use half::{bf16, f16};

use crate::checkpoint::{Checkpoint, Element, Float, Tensor};
use crate::error::Result;
use crate::network::channels::{ChannelMap, Run};

/// Bytes read at a time: few enough that they stay in a core's cache when they are widened.
const PIECE_BYTES: usize = 128 << 10;

/// Elements of half types that are widened at a time: so few that they stay in the innermost cache.
const CHUNK: usize = 4096;

/// Sums side by side: a whole number of vectors on every processor.
const LANES: usize = 8;

/// Runs shorter than this (those of depthwise and transposed convolutions) are added up one element after the other:
/// filling lanes would take longer.
const SHORT: usize = 32;

/// A weight in a checkpoint.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Stored<'a> {
    pub(in crate::plan) checkpoint: &'a Checkpoint,
    pub(in crate::plan) tensor: &'a Tensor,
    pub(in crate::plan) float: Float,
}

/// Per output channel of a weight.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct Rows {
    /// Sum of the elements.
    pub(in crate::plan) sums: Vec<f64>,
    /// Sum of their squares.
    pub(in crate::plan) squares: Vec<f64>,
}

impl Stored<'_> {
    /// Number of elements.
    pub(in crate::plan) fn elements(self) -> u64 {
        self.tensor.bytes / self.float.bytes() as u64
    }

    /// The rows of its first `elements` elements, which belong to `channels` channels as `map` says; `None` if one of
    /// these elements is infinite or not a number, or a sum of squares exceeds f64.
    pub(in crate::plan) fn rows(self, map: ChannelMap, channels: usize, elements: u64) -> Result<Option<Rows>> {
        let mut sum = Sum::new(map, channels);
        self.pieces(elements, |first, stored| sum.add(self.float, first, stored))?;
        Ok(sum.finish())
    }

    /// Hands its first `elements` elements to `take`, a piece at a time with the flat index of its first element; bytes
    /// are aligned for their type.
    fn pieces(self, elements: u64, mut take: impl FnMut(u64, &[u8])) -> Result<()> {
        let size = self.float.bytes() as u64;
        let end = self.tensor.bytes.min(elements.saturating_mul(size));
        let piece_bytes = |begin| usize::try_from(end - begin).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        // Words, so that elements of every type are aligned.
        let mut words = vec![0u64; piece_bytes(0).div_ceil(8)];
        let mut begin = 0;
        while begin < end {
            let stored = &mut bytemuck::cast_slice_mut(&mut words)[..piece_bytes(begin)];
            self.checkpoint.read(self.tensor, begin, stored)?;
            take(begin / size, stored);
            begin += stored.len() as u64;
        }
        Ok(())
    }
}

/// Hands the elements of `tensor` to `take`, widened, a piece at a time with the flat index of its first element.
pub(in crate::plan) fn pieces(
    checkpoint: &Checkpoint,
    tensor: &Tensor,
    float: Float,
    mut take: impl FnMut(u64, &[f64]),
) -> Result<()> {
    let stored = Stored { checkpoint, tensor, float };
    stored.pieces(stored.elements(), |first, piece| take(first, &float.widen_all(piece)))
}

/// A weight's rows while they are added up.
struct Sum {
    map: ChannelMap,
    rows: Rows,
    lanes: Lanes,
}

impl Sum {
    fn new(map: ChannelMap, channels: usize) -> Sum {
        let rows = Rows { sums: vec![0.0; channels], squares: vec![0.0; channels] };
        Sum { map, rows, lanes: Lanes::default() }
    }

    /// Adds neighbouring elements, aligned for their type, of which the first has the flat index `first`.
    fn add(&mut self, float: Float, first: u64, stored: &[u8]) {
        match float {
            Float::F16 => self.add_halves::<f16>(first, cast_slice(stored)),
            Float::Bf16 => self.add_halves::<bf16>(first, cast_slice(stored)),
            Float::F32 => self.add_wide::<f32>(first, cast_slice(stored)),
            Float::F64 => self.add_wide::<f64>(first, cast_slice(stored)),
        }
    }

    fn add_halves<T: Element>(&mut self, first: u64, stored: &[T]) {
        let mut wide = [0.0; CHUNK];
        for (first, stored) in (first..).step_by(CHUNK).zip(stored.chunks(CHUNK)) {
            pulp::Arch::new().dispatch(Widen { stored, wide: &mut wide });
            self.add_wide(first, &wide[..stored.len()]);
        }
    }

    fn add_wide<T: Wide>(&mut self, first: u64, elements: &[T]) {
        let Sum { map, rows, lanes, .. } = self;
        pulp::Arch::new().dispatch(Add { map: *map, first, elements, rows, lanes });
    }

    /// The rows, if every element was a finite number: its square hides none that was not.
    fn finish(self) -> Option<Rows> {
        self.rows.squares.iter().all(|square| square.is_finite()).then_some(self.rows)
    }
}

/// A type that is added up as it is.
trait Wide: Copy + Default + Into<f64> {}

impl Wide for f32 {}
impl Wide for f64 {}

/// A conversion to f32, to be compiled for several processors: all of it is inlined into the function that is.
struct Widen<'a, T> {
    stored: &'a [T],
    wide: &'a mut [f32],
}

impl<T: Element> pulp::NullaryFnOnce for Widen<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        T::widen_all(self.stored, self.wide);
    }
}

/// The addition of neighbouring elements to their rows, compiled in the same way.
struct Add<'a, T> {
    map: ChannelMap,
    first: u64,
    elements: &'a [T],
    rows: &'a mut Rows,
    lanes: &'a mut Lanes,
}

impl<T: Wide> pulp::NullaryFnOnce for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Add { map, first, elements, rows: Rows { sums, squares }, lanes } = self;
        let mut rest = elements;
        for Run { channel, len, moving } in map.runs(first, elements.len()) {
            let run;
            (run, rest) = rest.split_at(len);
            if moving {
                for ((sum, square), &x) in sums[channel..].iter_mut().zip(&mut squares[channel..]).zip(run) {
                    let x = x.into();
                    *sum += x;
                    *square += x * x;
                }
            } else {
                let (sum, square) = if len < SHORT { one_by_one(run) } else { lanes.side_by_side(run) };
                sums[channel] += sum;
                squares[channel] += square;
            }
        }
    }
}

/// The sum of some elements, and that of their squares.
#[inline(always)]
fn one_by_one<T: Wide>(run: &[T]) -> (f64, f64) {
    run.iter().fold((0.0, 0.0), |(sum, square), &x| {
        let x = x.into();
        (sum + x, square + x * x)
    })
}

/// Sums side by side, and those of squares.
#[derive(Debug, Clone, Copy, Default)]
struct Lanes {
    sums: [f64; LANES],
    squares: [f64; LANES],
}

impl Lanes {
    /// The sum of some elements, and that of their squares. The lanes end in memory, which is where compilers begin when
    /// they look for vectors: kept in registers alone they stay single numbers.
    #[inline(always)]
    fn side_by_side<T: Wide>(&mut self, run: &[T]) -> (f64, f64) {
        let (vectors, rest) = run.as_chunks();
        let mut lanes = Lanes::default();
        vectors.iter().for_each(|vector| lanes.add(vector));
        // Zeros change no sum.
        let mut padded = [T::default(); LANES];
        padded[..rest.len()].copy_from_slice(rest);
        lanes.add(&padded);
        *self = lanes;
        (self.sums.iter().sum(), self.squares.iter().sum())
    }

    #[inline(always)]
    fn add<T: Wide>(&mut self, vector: &[T; LANES]) {
        for (lane, &x) in vector.iter().enumerate() {
            let x = x.into();
            self.sums[lane] += x;
            self.squares[lane] += x * x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::channels::Axis;

    const LAYOUTS: [(Axis, &[u64], u64); 8] = [
        (Axis::First, &[6, 3, 3, 2], 6),
        (Axis::First, &[3, 5 * LANES as u64 + 7], 3),
        (Axis::First, &[2, SHORT as u64], 2),
        (Axis::SecondGrouped, &[6, 2, 3], 6),
        (Axis::SecondGrouped, &[9, 3, SHORT as u64 + 1], 3),
        (Axis::Last, &[3, 3, 2, 5], 5),
        (Axis::LastTwo, &[3, 2, 4, 3], 12),
        (Axis::SecondLast, &[2, 3, 5, 4], 5),
    ];

    /// Bytes at an address that suits every type.
    fn with_aligned<R>(float: Float, values: &[f64], look: impl FnOnce(&[u8]) -> R) -> R {
        let stored = float.narrow_all(values);
        let mut words = vec![0u64; stored.len().div_ceil(8)];
        let aligned = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..stored.len()];
        aligned.copy_from_slice(&stored);
        look(aligned)
    }

    /// The rows of `values`, added `piece` elements at a time.
    fn in_pieces(float: Float, map: ChannelMap, channels: u64, values: &[f64], piece: usize) -> Option<Rows> {
        let mut sum = Sum::new(map, channels as usize);
        for (index, values) in values.chunks(piece).enumerate() {
            with_aligned(float, values, |stored| sum.add(float, (index * piece) as u64, stored));
        }
        sum.finish()
    }

    fn waves(shape: &[u64]) -> Vec<f64> {
        (1..=shape.iter().product::<u64>()).map(|i| (i as f64 * 0.7).sin()).collect()
    }

    /// Small integers, whose sums are exact in any order.
    #[test]
    fn rows_agree_with_a_look_up_of_every_element() {
        for (axis, shape, channels) in LAYOUTS {
            let map = ChannelMap::new(axis, shape, channels).unwrap();
            let values = (0..shape.iter().product::<u64>()).map(|i| (i * i % 17) as f64 - 5.0).collect::<Vec<_>>();
            let mut expected = Sum::new(map, channels as usize).rows;
            for (index, x) in values.iter().enumerate() {
                let channel = map.channel(index as u64) as usize;
                expected.sums[channel] += x;
                expected.squares[channel] += x * x;
            }
            for float in Float::ALL {
                for piece in [1, 2, 7, 40, values.len()] {
                    let rows = in_pieces(float, map, channels, &values, piece);
                    assert_eq!(rows.as_ref(), Some(&expected), "{float:?}, {axis:?} {shape:?} in pieces of {piece}");
                }
            }
        }
    }

    /// The same bits from the widest vectors of this processor and from code for the oldest one.
    #[test]
    fn rows_do_not_depend_on_the_width_of_vectors() {
        for (axis, shape, channels) in LAYOUTS {
            let (map, values) = (ChannelMap::new(axis, shape, channels).unwrap(), waves(shape));
            let Sum { mut rows, mut lanes, .. } = Sum::new(map, channels as usize);
            let plain = Add { map, first: 0, elements: &values, rows: &mut rows, lanes: &mut lanes };
            pulp::NullaryFnOnce::call(plain);
            let wide = in_pieces(Float::F64, map, channels, &values, values.len());
            assert_eq!(wide, Some(rows), "{axis:?} {shape:?}");
        }
    }

    /// Written out once more: eight sums side by side, added from the first to the last.
    #[test]
    fn a_run_is_added_up_in_the_order_that_is_promised() {
        let run = waves(&[SHORT as u64 + 5]);
        let lane = |lane: usize| run.iter().skip(lane).step_by(8).fold(0.0, |sum, x| sum + x);
        let expected = (0..8).map(lane).fold(0.0, |sum, lane| sum + lane);
        assert_eq!(Lanes::default().side_by_side(&run).0, expected);
        assert_ne!(one_by_one(&run).0, expected, "test is broken: both orders give this sum");
    }

    #[test]
    fn what_is_not_finite_has_no_rows() {
        for float in Float::ALL {
            for bad in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
                for (axis, shape, channels) in LAYOUTS {
                    let map = ChannelMap::new(axis, shape, channels).unwrap();
                    let mut values = vec![0.5; shape.iter().product::<u64>() as usize];
                    let all = values.len();
                    assert!(in_pieces(float, map, channels, &values, all).is_some());
                    for at in [0, 1, LANES, SHORT, all - 1].into_iter().filter(|&at| at < all) {
                        let right = std::mem::replace(&mut values[at], bad);
                        let rows = in_pieces(float, map, channels, &values, all);
                        assert_eq!(rows, None, "{float:?}, {bad} at {at} of {axis:?} {shape:?}");
                        values[at] = right;
                    }
                }
            }
        }
    }
}
