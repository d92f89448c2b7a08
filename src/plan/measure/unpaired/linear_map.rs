//! 2 PLAN, measure: a layer as a linear map from the means of its inputs to those of its outputs.
//!
//! In: a weight. Out: the means that it puts out for means that it takes in, `sum_i (sum_k W[o,i,k]) m_i`.
//!
//! At the borders zeros stand in for inputs. Over `n` positions in a row a tap `d` away from the kernel's middle meets them
//! at `d`, so that on average it counts for `1 - d / n`. No file says how many positions there are: several numbers
//! are tried, [`PADDINGS`]. In networks that narrow their maps to a few positions this moves the means by a third.

use crate::checkpoint::{Checkpoint, Float, Tensor};
use crate::error::Result;
use crate::network::dialect::InputAxis;
use crate::network::{Axis, ChannelMap, Op, Weight};
use crate::plan::measure::row_sums::pieces;

/// Numbers that the sums of a layer may take: 128 MB. Larger layers are left to the other tests.
const LARGEST: u64 = 1 << 24;

/// What a kernel's tap loses to padding for each step that it is away from the middle: nothing, and one part in as many as
/// the maps of a network for images of 224 have positions in a row, the last ones, and half of these.
const PADDINGS: [f64; 5] = [0.0, 1.0 / 28.0, 1.0 / 14.0, 1.0 / 7.0, 1.0 / 4.0];

/// A weight with its kernel summed away, once for each of [`PADDINGS`] that changes anything: `[inputs of a group][outputs]`,
/// outputs next to each other.
pub(super) struct LinearMap {
    sums: Vec<Vec<f64>>,
    inputs: usize,
    outputs: usize,
}

/// Where a weight's elements lie.
struct Layout<'w> {
    /// Distance of neighbouring inputs.
    step: u64,
    /// Inputs of a group.
    inputs: u64,
    /// Distance of neighbouring taps of the kernel.
    tap_step: u64,
    /// The kernel's extents.
    kernel: &'w [u64],
}

impl Layout<'_> {
    /// That of a weight used as `op`; `None` where it is not known.
    fn of(weight: &Weight, op: Op) -> Option<Layout<'_>> {
        let shape = &weight.shape[..];
        let inputs_last = weight.kind.inputs == InputAxis::Last;
        let layout = |step, inputs, tap_step, kernel| Some(Layout { step, inputs, tap_step, kernel });
        match (op, weight.axis(op)?, shape) {
            (Op::Linear, Axis::First, &[_, inputs]) => layout(1, inputs, 1, &[]),
            (Op::Conv, Axis::First, &[_, ref kernel @ .., inputs]) if inputs_last => layout(1, inputs, inputs, kernel),
            (Op::Conv, Axis::First, &[_, inputs, ref kernel @ ..]) => {
                layout(kernel.iter().product(), inputs, 1, kernel)
            }
            (Op::Conv | Op::Linear, Axis::Last, &[ref kernel @ .., inputs, outputs]) => {
                layout(outputs, inputs, inputs.saturating_mul(outputs), kernel)
            }
            (Op::Depthwise, Axis::LastTwo, &[ref kernel @ .., channels, multiplier]) => {
                layout(1, 1, channels.saturating_mul(multiplier), kernel)
            }
            _ => None,
        }
    }

    /// What each tap of the kernel counts for with a padding.
    fn shares(&self, padding: f64) -> Vec<f64> {
        let taps = self.kernel.iter().product::<u64>();
        let share = |tap: u64| {
            let mut rest = tap;
            let shares = self.kernel.iter().rev().map(|&extent| {
                let place = rest % extent;
                rest /= extent;
                let away = (place as f64 - (extent as f64 - 1.0) / 2.0).abs();
                (1.0 - away * padding).max(0.0)
            });
            shares.product()
        };
        (0..taps).map(share).collect()
    }
}

impl LinearMap {
    /// Reads a weight, piece by piece.
    pub(super) fn read(
        checkpoint: &Checkpoint,
        weight: &Weight,
        op: Op,
        map: ChannelMap,
        outputs: u64,
    ) -> Result<Option<LinearMap>> {
        let (Some(float), Some(layout)) = (weight.dtype.float(), Layout::of(weight, op)) else { return Ok(None) };
        let numbers = layout.inputs.saturating_mul(outputs);
        let taps = layout.kernel.iter().product::<u64>();
        if layout.step == 0 || layout.tap_step == 0 || numbers == 0 || taps == 0 || numbers > LARGEST {
            return Ok(None);
        }
        let is_padded = taps > 1 && numbers.saturating_mul(PADDINGS.len() as u64) <= LARGEST;
        let paddings = if is_padded { &PADDINGS[..] } else { &PADDINGS[..1] };
        let (Ok(inputs), Ok(outputs)) = (usize::try_from(layout.inputs), usize::try_from(outputs)) else {
            return Ok(None);
        };
        let mut found = LinearMap { sums: vec![vec![0.0; inputs * outputs]; paddings.len()], inputs, outputs };
        let shares = paddings.iter().map(|&padding| layout.shares(padding)).collect::<Vec<_>>();
        found.fill(checkpoint, checkpoint.tensor(&weight.tensor)?, float, &layout, &shares, map)?;
        Ok(Some(found))
    }

    fn fill(
        &mut self,
        checkpoint: &Checkpoint,
        tensor: &Tensor,
        float: Float,
        layout: &Layout<'_>,
        shares: &[Vec<f64>],
        map: ChannelMap,
    ) -> Result<()> {
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let taps = layout.kernel.iter().product::<u64>();
        pieces(checkpoint, tensor, float, |first, elements| {
            for (index, &x) in (first..).zip(elements) {
                let (input, tap) = (place(index / layout.step % layout.inputs), place(index / layout.tap_step % taps));
                let at = input * self.outputs + place(map.channel(index));
                for (sums, shares) in self.sums.iter_mut().zip(shares) {
                    if let (Some(sum), Some(share)) = (sums.get_mut(at), shares.get(tap)) {
                        *sum += x * share;
                    }
                }
            }
        })
    }

    /// Inputs of a group.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// What each input of a group does to the means of the outputs, with a padding.
    pub(super) fn rows(&self, padding: usize) -> Vec<&[f64]> {
        self.sums.get(padding).map_or_else(Vec::new, |sums| sums.chunks_exact(self.outputs).collect())
    }

    /// How many paddings there are to try; the first one is none.
    pub(super) fn paddings(&self) -> usize {
        self.sums.len()
    }

    /// Means of the outputs for inputs of these means, with a padding; `None` if the layer cannot take so many.
    pub(super) fn outputs(&self, means: &[f64], padding: usize) -> Option<Vec<f64>> {
        let groups = means.len().checked_div(self.inputs).filter(|groups| groups * self.inputs == means.len())?;
        let per_group = self.outputs.checked_div(groups).filter(|&per_group| per_group * groups == self.outputs)?;
        let mut outputs = vec![0.0; self.outputs];
        for (input, row) in self.rows(padding).into_iter().enumerate() {
            let groups = outputs.chunks_mut(per_group).zip(row.chunks(per_group)).enumerate();
            for (group, (outputs, row)) in groups {
                let mean = means[group * self.inputs + input];
                outputs.iter_mut().zip(row).for_each(|(output, weight)| *output += weight * mean);
            }
        }
        Some(outputs)
    }

    /// A map whose sums are these, padding by padding.
    #[cfg(test)]
    pub(super) fn of(sums: Vec<Vec<f64>>, inputs: usize, outputs: usize) -> LinearMap {
        LinearMap { sums, inputs, outputs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_the_matrix_product_group_by_group() {
        // Two inputs a group, four outputs; sums[input][output].
        let layer = LinearMap::of(vec![vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]], 2, 4);
        assert_eq!(layer.outputs(&[1.0, 0.1], 0).unwrap(), [2.0, 4.0, 6.0, 8.0]);
        // Two groups: the first two outputs see means 0 and 1, the others means 2 and 3.
        assert_eq!(layer.outputs(&[1.0, 0.1, 0.0, 1.0], 0).unwrap(), [2.0, 4.0, 30.0, 40.0]);
        assert_eq!(layer.outputs(&[1.0, 0.1, 0.0], 0), None);
    }

    #[test]
    fn taps_lose_to_padding_what_lies_beyond_the_border() {
        // Over 4 positions the outer taps of a kernel of 3 meet one zero each, those of a kernel of 5 two.
        let layout = |kernel| Layout { step: 1, inputs: 1, tap_step: 1, kernel };
        assert_eq!(layout(&[3]).shares(0.25), [0.75, 1.0, 0.75]);
        assert_eq!(layout(&[5]).shares(0.25), [0.5, 0.75, 1.0, 0.75, 0.5]);
        assert_eq!(layout(&[1, 3]).shares(0.25), [0.75, 1.0, 0.75]);
        assert_eq!(layout(&[3, 3]).shares(0.25)[..4], [0.5625, 0.75, 0.5625, 0.75]);
        assert_eq!(layout(&[2]).shares(0.25), [0.875, 0.875], "an even kernel has no middle");
        assert_eq!(layout(&[]).shares(0.25), [1.0]);
    }
}
