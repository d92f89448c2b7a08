//! Evidence: row sums and row norms of a weight.
//!
//! In: a weight in a checkpoint and its channel map. Out: per output channel the sum of its elements and the sum of
//! their squares, in f64. The weight is read in pieces, so that memory does not grow with it.

use crate::checkpoint::{Checkpoint, Float, Tensor};
use crate::error::Result;
use crate::fold::layout::ChannelMap;

/// Bytes read at a time: few enough that they stay in a core's cache when they are widened to f64.
const PIECE_BYTES: u64 = 128 << 10;

/// Per output channel of a weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    /// Sum of the elements.
    pub(super) sums: Vec<f64>,
    /// Sum of their squares.
    pub(super) squares: Vec<f64>,
}

/// The rows of `tensor`, whose elements are of type `float` and lie as `map` says.
pub(super) fn rows(
    checkpoint: &Checkpoint,
    tensor: &Tensor,
    float: Float,
    map: ChannelMap,
    channels: usize,
) -> Result<Rows> {
    let mut rows = Rows { sums: vec![0.0; channels], squares: vec![0.0; channels] };
    pieces(checkpoint, tensor, float, |first, elements| rows.add(first, elements, map))?;
    Ok(rows)
}

/// Hands the elements of `tensor` to `take`, widened, a piece at a time with the flat index of its first element.
pub(super) fn pieces(
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
    /// Adds elements that begin at flat index `first`.
    fn add(&mut self, first: u64, elements: &[f64], map: ChannelMap) {
        let mut rest = elements;
        for run in map.runs(first, elements.len()) {
            let (now, later) = rest.split_at(run.len.min(rest.len()));
            rest = later;
            if run.moving {
                let channels = self.sums.iter_mut().zip(&mut self.squares).skip(run.channel);
                for ((sum, square), &x) in channels.zip(now) {
                    *sum += x;
                    *square += x * x;
                }
            } else if let (Some(sum), Some(square)) =
                (self.sums.get_mut(run.channel), self.squares.get_mut(run.channel))
            {
                let (sums, squares) = moments(now);
                *sum += sums;
                *square += squares;
            }
        }
    }
}

/// The sum of `elements` and that of their squares, in eight partial sums: a single one would wait for every addition.
fn moments(elements: &[f64]) -> (f64, f64) {
    let (mut sums, mut squares) = ([0.0; 8], [0.0; 8]);
    let (eights, rest) = elements.as_chunks::<8>();
    for eight in eights {
        for lane in 0..8 {
            sums[lane] += eight[lane];
            squares[lane] += eight[lane] * eight[lane];
        }
    }
    let rest = rest.iter().fold((0.0, 0.0), |(sum, square), x| (sum + x, square + x * x));
    (sums.iter().sum::<f64>() + rest.0, squares.iter().sum::<f64>() + rest.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::layout::Axis;

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
            for piece in [1, 2, 7, elements.len()] {
                let mut rows = empty();
                for (index, part) in elements.chunks(piece).enumerate() {
                    rows.add((index * piece) as u64, part, map);
                }
                assert_eq!(rows, expected, "{axis:?} {shape:?} in pieces of {piece}");
            }
        }
    }
}
