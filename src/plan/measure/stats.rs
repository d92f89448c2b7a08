//! 2 PLAN, measure: row sums and row norms of a weight.
//!
//! In: a weight in a checkpoint and its channel map. Out: per output channel the sum of its elements and the sum of
//! their squares, to some four digits of the largest element ([`fold::reduce`](crate::fold::reduce)): the same numbers on
//! every device. The weight is read in pieces, so that memory does not grow with it.

use crate::checkpoint::{Checkpoint, Float, Tensor};
use crate::error::Result;
use crate::fold::reduce::{Measured, Reducer, Stretch, Sums};
use crate::network::channels::ChannelMap;

/// Bytes read at a time: few enough that they stay in a core's cache when they are widened to f64.
const PIECE_BYTES: u64 = 128 << 10;

/// Per output channel of a weight.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct Rows {
    /// Sum of the elements.
    pub(in crate::plan) sums: Vec<f64>,
    /// Sum of their squares.
    pub(in crate::plan) squares: Vec<f64>,
}

/// The rows of `tensor`, whose elements are of type `float` and lie as `map` says; `None` if one of them is infinite or
/// not a number.
pub(in crate::plan) fn rows(
    checkpoint: &Checkpoint,
    tensor: &Tensor,
    (float, map): (Float, ChannelMap),
    channels: usize,
    reducer: &mut Reducer<'_>,
) -> Result<Option<Rows>> {
    first_rows(checkpoint, tensor, (float, map), (u64::MAX, channels), reducer)
}

/// The same of the first `elements` of the weight alone.
pub(in crate::plan) fn first_rows(
    checkpoint: &Checkpoint,
    tensor: &Tensor,
    (float, map): (Float, ChannelMap),
    (elements, channels): (u64, usize),
    reducer: &mut Reducer<'_>,
) -> Result<Option<Rows>> {
    let mut rows = Rows { sums: vec![0.0; channels], squares: vec![0.0; channels] };
    let mut words = Vec::new();
    let size = float.bytes();
    let all = (tensor.bytes / size as u64).min(elements);
    let mut first = 0;
    while first < all {
        let elements = usize::try_from(all - first).unwrap_or(usize::MAX).min(reducer.stretch(float));
        words.resize((elements * size).div_ceil(8), 0u64);
        let stored = &mut bytemuck::cast_slice_mut(&mut words)[..elements * size];
        checkpoint.read(tensor, first * size as u64, stored)?;
        let Some(parts) = reducer.reduce(Stretch { float, map, first, elements, words: &words }) else {
            return Ok(None);
        };
        parts.iter().for_each(|(part, sums)| rows.add(part, sums));
        first += elements as u64;
    }
    Ok(Some(rows))
}

/// Hands the elements of `tensor` to `take`, widened, a piece at a time with the flat index of its first element.
pub(in crate::plan) fn pieces(
    checkpoint: &Checkpoint,
    tensor: &Tensor,
    float: Float,
    mut take: impl FnMut(u64, &[f64]),
) -> Result<()> {
    let size = float.bytes() as u64;
    let mut begin = 0;
    while begin < tensor.bytes {
        let bytes = PIECE_BYTES.min(tensor.bytes - begin);
        let mut piece = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        checkpoint.read(tensor, begin, &mut piece)?;
        take(begin / size, &float.widen_all(&piece));
        begin += bytes;
    }
    Ok(())
}

impl Rows {
    /// Adds the sums of a part.
    fn add(&mut self, part: &Measured<'_>, sums: &Sums) {
        for (channel, sum, square) in part.rows(sums) {
            self.sums[channel] += sum;
            self.squares[channel] += square;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Engine;
    use crate::network::channels::Axis;

    /// Every layout, in pieces of every size, against a look-up of each element's channel.
    #[test]
    fn rows_agree_with_a_look_up_of_every_element() {
        let cases: &[(Axis, &[u64], u64)] = &[
            (Axis::First, &[6, 3, 3, 2], 6),
            (Axis::SecondGrouped, &[6, 2, 3], 6),
            (Axis::Last, &[3, 3, 2, 5], 5),
            (Axis::LastTwo, &[3, 2, 4, 3], 12),
            (Axis::SecondLast, &[2, 3, 5, 4], 5),
        ];
        for &(axis, shape, channels) in cases {
            let map = ChannelMap::new(axis, shape, channels).unwrap();
            let elements = (0..shape.iter().product::<u64>()).map(|i| (i * i % 17) as f64 - 5.0).collect::<Vec<_>>();
            let empty = || Rows { sums: vec![0.0; channels as usize], squares: vec![0.0; channels as usize] };
            let mut expected = empty();
            for (index, x) in elements.iter().enumerate() {
                let channel = map.channel(index as u64) as usize;
                expected.sums[channel] += x;
                expected.squares[channel] += x * x;
            }
            // Small integers, which rounding leaves as they are.
            for piece in [1, 2, 7, elements.len()] {
                let mut rows = empty();
                for (index, elements) in elements.chunks(piece).enumerate() {
                    let (first, stored) = ((index * piece) as u64, Float::F64.narrow_all(elements));
                    let words = bytemuck::cast_slice(&stored).iter().copied().map(u64::from_le_bytes);
                    let words = words.collect::<Vec<_>>();
                    let stretch = Stretch { float: Float::F64, map, first, elements: elements.len(), words: &words };
                    let parts = Reducer::new(&mut Engine::Cpu).reduce(stretch).expect("they are finite");
                    parts.iter().for_each(|(part, sums)| rows.add(part, sums));
                }
                assert_eq!(rows, expected, "{axis:?} {shape:?} in pieces of {piece}");
            }
        }
    }
}
