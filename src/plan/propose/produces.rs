//! 2 PLAN, propose: what a weight can produce, by its shape.
//!
//! In: a weight and a number of channels. Out: whether it can put that many out ([`puts_out`]) or take that many in
//! ([`takes`]). A norm's producer must put the norm's channels out; a layer that also takes as many in could as well stand
//! *behind* the norm, and only the others prove that the norm comes after the layer.

use super::transposed::{Transposition, transposition};
use crate::network::{Axis, Op, Weight};
use crate::plan::rulebook::Rulebook;

/// What a first layer takes in: the colours of an image.
pub(in crate::plan) const COLOURS: u64 = 3;

/// Whether a weight can take a number of channels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plan) enum Takes {
    /// It cannot.
    No,
    /// Only as a convolution in so many groups, which the file does not tell.
    Grouped(u64),
    /// As an ordinary or a depthwise one.
    Plain,
}

/// Whether `weight` can take `channels` in.
pub(in crate::plan) fn takes(book: Rulebook, weight: &Weight, channels: u64) -> Takes {
    let shape = &weight.shape[..];
    let kind = weight.kind;
    if kind.conv_transpose == Some(Axis::SecondGrouped) && transposition(book, weight) == Transposition::Said {
        // It is no ordinary layer, whose inputs would be where a transposed one's outputs are.
        return if shape.first() == Some(&channels) { Takes::Plain } else { Takes::No };
    }
    let depthwise = kind.depthwise.is_some() && shape.len() > 2 && shape.iter().rev().nth(1) == Some(&channels);
    if depthwise { Takes::Plain } else { per_group(weight.outputs(), weight.inputs(), channels) }
}

/// A convolution with `outputs` in all and `inputs` a group.
fn per_group(outputs: Option<u64>, inputs: Option<u64>, channels: u64) -> Takes {
    let (Some(outputs), Some(inputs)) = (outputs, inputs) else { return Takes::No };
    let groups = channels.checked_div(inputs).unwrap_or(0);
    if inputs == channels {
        Takes::Plain
    } else if groups == 0 || groups * inputs != channels || outputs % groups != 0 {
        Takes::No
    } else if inputs == 1 {
        Takes::Plain
    } else {
        Takes::Grouped(groups)
    }
}

/// Whether `weight` can put `channels` out: as an ordinary layer, or as a transposed convolution if names, kernel or bias
/// speak for one. Grouped transposed convolutions must be named so: almost any shape could be one.
pub(in crate::plan) fn puts_out(book: Rulebook, weight: &Weight, channels: u64) -> bool {
    let likely = |(op, groups): (Op, u64)| match (op, transposition(book, weight)) {
        (Op::ConvTranspose, Transposition::Said) => true,
        (Op::ConvTranspose, Transposition::Hinted) => groups == 1,
        (Op::ConvTranspose, Transposition::Unsaid) => false,
        (Op::Conv | Op::Linear | Op::Depthwise, _) => true,
    };
    let bias_fits = weight.bias_channels.is_none_or(|bias| bias == channels);
    bias_fits && weight.producers(channels).into_iter().any(|(op, map)| likely((op, map.groups)))
}

/// Whether `weight` can put `channels` out as an (ungrouped) transposed convolution and in no other way.
pub(in crate::plan) fn transposed_only(weight: &Weight, channels: u64) -> bool {
    let bias_fits = weight.bias_channels.is_none_or(|bias| bias == channels);
    bias_fits && matches!(&weight.producers(channels)[..], [(Op::ConvTranspose, map)] if map.groups == 1)
}
