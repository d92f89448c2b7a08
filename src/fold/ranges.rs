//! 3 FOLD: the range of every channel's stored weights, gathered in the pass that folds them.
//!
//! In: pieces of stored elements, from several threads, in any order. Out: one [`Range`] a channel. What folding makes of
//! a range needs no second look: rounding is monotone, so the extremes of a channel times its scale are the extremes of
//! the folded channel.
//!
//! Elements are compared as integers, whatever their type: the bits of a float, with all but the sign flipped where it is
//! negative, are in the order of the numbers, and compilers vectorise extremes of integers but not those of floats.

use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, cast_slice};

use super::{Piece, WeightJob};
use crate::checkpoint::Float;
use crate::network::channels::{ChannelMap, Run};

/// Smallest and largest of some numbers; a NaN counts as infinite, on the side of its sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Smallest; infinite if there was no number.
    pub min: f64,
    /// Largest; negatively infinite if there was no number.
    pub max: f64,
}

impl Range {
    /// Of no numbers.
    pub const EMPTY: Range = Range { min: f64::INFINITY, max: f64::NEG_INFINITY };

    /// Of the numbers of both.
    #[must_use]
    pub fn merged(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The largest magnitude; 0 if there was no number.
    pub fn largest(self) -> f64 {
        if self.min > self.max { 0.0 } else { self.min.abs().max(self.max.abs()) }
    }

    /// Of the numbers times `scale`, stored as `to`.
    #[must_use]
    pub fn scaled(self, scale: f64, to: Float) -> Range {
        if self.min > self.max {
            return self;
        }
        let (a, b) = (to.round(self.min * scale), to.round(self.max * scale));
        Range { min: a.min(b), max: a.max(b) }
    }
}

/// The ranges of all weights of a model, under way; shared by all threads.
#[derive(Debug)]
pub(super) struct Ranges(Vec<Mutex<Vec<Range>>>);

impl Ranges {
    pub(super) fn new(jobs: &[WeightJob<'_>]) -> Ranges {
        let channels = |job: &WeightJob<'_>| vec![Range::EMPTY; job.scales.f64.len()];
        Ranges(jobs.iter().map(|job| Mutex::new(channels(job))).collect())
    }

    /// Takes the stored elements of a piece in, aligned for their type. A piece that comes twice does no harm.
    pub(super) fn add(&self, job: &WeightJob<'_>, piece: &Piece, stored: &[u8]) {
        let (map, first, float) = (job.fold.map, piece.first, job.fold.float);
        // A thread that panicked left whole ranges behind.
        let lock = || self.0[piece.job].lock().unwrap_or_else(PoisonError::into_inner);
        match float {
            Float::F16 | Float::Bf16 => {
                Window::<i16>::of(map, first, cast_slice(stored)).merge_into(&mut lock(), float)
            }
            Float::F32 => Window::<i32>::of(map, first, cast_slice(stored)).merge_into(&mut lock(), float),
            Float::F64 => Window::<i64>::of(map, first, cast_slice(stored)).merge_into(&mut lock(), float),
        }
    }

    /// One vector a job, one range a channel.
    pub(super) fn finish(self) -> Vec<Vec<Range>> {
        self.0.into_iter().map(|job| job.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

/// The bits of a float as an integer.
trait Bits: Pod + Ord {
    const LEAST: Self;
    const MOST: Self;

    /// From a float's bits to an integer in the order of the numbers, and back.
    fn flipped(self) -> Self;

    /// The number whose bits they are.
    fn value(self, float: Float) -> f64;
}

macro_rules! bits {
    ($($int:ty)*) => {$(
        impl Bits for $int {
            const LEAST: $int = <$int>::MIN;
            const MOST: $int = <$int>::MAX;

            #[inline(always)]
            fn flipped(self) -> $int {
                self ^ ((self >> (<$int>::BITS - 1)) & <$int>::MAX)
            }

            fn value(self, float: Float) -> f64 {
                float.widen(&self.to_le_bytes())
            }
        }
    )*};
}

bits!(i16 i32 i64);

/// Extremes of the channels that a piece touches, as integers in order.
struct Window<B> {
    /// The first of these channels.
    channel: usize,
    min: Vec<B>,
    max: Vec<B>,
}

impl<B: Bits> Window<B> {
    /// Of `elements`, which begin at flat index `first`.
    fn of(map: ChannelMap, first: u64, elements: &[B]) -> Window<B> {
        let (mut begin, mut end) = (usize::MAX, 0);
        for Run { channel, len, moving } in map.runs(first, elements.len()) {
            begin = begin.min(channel);
            end = end.max(channel + if moving { len } else { 1 });
        }
        let channels = end.saturating_sub(begin);
        let mut window = Window { channel: begin, min: vec![B::MOST; channels], max: vec![B::LEAST; channels] };
        pulp::Arch::new().dispatch(|| window.add(map, first, elements));
        window
    }

    #[inline(always)]
    fn add(&mut self, map: ChannelMap, first: u64, elements: &[B]) {
        let mut at = 0;
        for Run { channel, len, moving } in map.runs(first, elements.len()) {
            let (elements, channel) = (&elements[at..at + len], channel - self.channel);
            at += len;
            if moving {
                let each = self.min[channel..].iter_mut().zip(&mut self.max[channel..]).zip(elements);
                each.for_each(|((min, max), bits)| {
                    (*min, *max) = ((*min).min(bits.flipped()), (*max).max(bits.flipped()));
                });
            } else {
                let (min, max) = (&mut self.min[channel], &mut self.max[channel]);
                *min = elements.iter().fold(*min, |least, bits| least.min(bits.flipped()));
                *max = elements.iter().fold(*max, |most, bits| most.max(bits.flipped()));
            }
        }
    }

    fn merge_into(self, ranges: &mut [Range], float: Float) {
        let value = |bits: B, infinite: f64| {
            let value = bits.flipped().value(float);
            if value.is_nan() { infinite } else { value }
        };
        let found = self.min.into_iter().zip(self.max);
        for (range, (min, max)) in ranges.iter_mut().skip(self.channel).zip(found) {
            // Channels between two that the piece touches may have no element in it.
            if min <= max {
                let (min, max) = (value(min, f64::NEG_INFINITY), value(max, f64::INFINITY));
                *range = range.merged(Range { min, max });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::channels::Axis;

    /// Channel by channel, by the map's own definition.
    fn expected(map: ChannelMap, channels: usize, values: &[f64]) -> Vec<Range> {
        let mut ranges = vec![Range::EMPTY; channels];
        for (index, &value) in (0..).zip(values) {
            let range = &mut ranges[map.channel(index) as usize];
            // The NaN among them is positive.
            let max = if value.is_nan() { f64::INFINITY } else { value };
            *range = range.merged(Range { min: value, max });
        }
        ranges
    }

    #[test]
    fn ranges_are_those_of_single_look_ups_in_every_layout_and_type() {
        let shapes: [(Axis, &[u64], u64); 5] = [
            (Axis::First, &[6, 5, 7], 6),
            (Axis::SecondGrouped, &[4, 3, 11], 6),
            (Axis::Last, &[7, 5, 6], 6),
            (Axis::LastTwo, &[35, 3, 2], 6),
            (Axis::SecondLast, &[5, 6, 7], 6),
        ];
        for (axis, shape, channels) in shapes {
            let map = ChannelMap::new(axis, shape, channels).unwrap();
            let elements = shape.iter().product::<u64>() as usize;
            for float in Float::ALL {
                let value = |i: usize| ((i * 2_654_435_761) % 1009) as f64 / 100.0 - 5.0;
                let mut values = (0..elements).map(|i| float.round(value(i))).collect::<Vec<_>>();
                (values[3], values[40]) = (f64::NAN, f64::NEG_INFINITY);
                let mut ranges = vec![Range::EMPTY; channels as usize];
                // Pieces that begin anywhere.
                for (first, len) in [(0, 50), (50, elements - 50), (50, 20)] {
                    let piece = float.narrow_all(&values[first..first + len]);
                    let mut aligned = vec![0u64; piece.len().div_ceil(8)];
                    bytemuck::cast_slice_mut::<u64, u8>(&mut aligned)[..piece.len()].copy_from_slice(&piece);
                    let (stored, first) = (&cast_slice::<u64, u8>(&aligned)[..piece.len()], first as u64);
                    match float {
                        Float::F16 | Float::Bf16 => {
                            Window::<i16>::of(map, first, cast_slice(stored)).merge_into(&mut ranges, float);
                        }
                        Float::F32 => Window::<i32>::of(map, first, cast_slice(stored)).merge_into(&mut ranges, float),
                        Float::F64 => Window::<i64>::of(map, first, cast_slice(stored)).merge_into(&mut ranges, float),
                    }
                }
                assert_eq!(ranges, expected(map, 6, &values), "{axis:?} {float:?}");
            }
        }
    }

    #[test]
    fn a_negative_scale_turns_a_range_around() {
        let range = Range { min: -1.0, max: 3.0 };
        assert_eq!(range.scaled(-2.0, Float::F32), Range { min: -6.0, max: 2.0 });
        assert_eq!(range.scaled(0.1, Float::F16).max, Float::F16.round(0.3));
        assert_eq!((range.largest(), Range::EMPTY.largest()), (3.0, 0.0));
        assert_eq!(Range::EMPTY.scaled(0.0, Float::F32), Range::EMPTY);
    }
}
