//! Pairing, stage 2: what shapes allow.
//!
//! In: a weight and a number of channels. Out: whether it can put that many out ([`puts_out`]) or take that many in
//! ([`takes`]). A norm's producer must put the norm's channels out; a layer that also takes as many in could as well stand
//! *behind* the norm, and only the others prove that the norm comes after the layer.

use crate::fold::layout::{Axis, ChannelMap};
use crate::plan::{Op, Weight};

/// Whether a weight can take a number of channels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Takes {
    /// It cannot.
    No,
    /// Only as a grouped convolution, whose groups the file does not tell.
    Grouped,
    /// As an ordinary or a depthwise one.
    Plain,
}

/// Whether `weight` can take `channels` in.
pub(super) fn takes(weight: &Weight, channels: u64) -> Takes {
    let shape = &weight.shape[..];
    let kind = weight.kind;
    let transposed = match kind.conv_transpose {
        Some(Axis::SecondGrouped) if maybe_transposed(weight) => shape.first() == Some(&channels),
        _ => false,
    };
    let depthwise = kind.depthwise.is_some() && shape.len() > 2 && shape.iter().rev().nth(1) == Some(&channels);
    let ordinary = match (kind.conv.or(kind.linear), kind.conv_transpose) {
        // Only where transposed kernels too begin with the output channels (MLX) are inputs last.
        (Some(Axis::First), Some(Axis::First)) => per_group(shape.first(), shape.last(), channels),
        (Some(Axis::First), _) => per_group(shape.first(), shape.get(1), channels),
        (Some(_), _) => per_group(shape.last(), shape.iter().rev().nth(1), channels),
        (None, _) => Takes::No,
    };
    if transposed || depthwise { Takes::Plain } else { ordinary }
}

/// A convolution with `outputs` in all and `inputs` a group.
fn per_group(outputs: Option<&u64>, inputs: Option<&u64>, channels: u64) -> Takes {
    let (Some(&outputs), Some(&inputs)) = (outputs, inputs) else { return Takes::No };
    let groups = channels.checked_div(inputs).unwrap_or(0);
    if inputs == channels {
        Takes::Plain
    } else if groups == 0 || groups * inputs != channels || outputs % groups != 0 {
        Takes::No
    } else if inputs == 1 {
        Takes::Plain
    } else {
        Takes::Grouped
    }
}

/// What `weight` would be if it put `channels` out: an ordinary layer before a transposed convolution, and that only
/// where names or an even kernel speak for it. Grouped transposed convolutions are left out: almost any shape could be one.
pub(super) fn puts_out(weight: &Weight, channels: u64) -> Option<(Op, ChannelMap)> {
    let producers = weight.producers(channels);
    let likely = |(op, map): &(Op, ChannelMap)| *op != Op::ConvTranspose || map.groups == 1 && maybe_transposed(weight);
    producers.into_iter().find(likely)
}

/// Whether names or an even kernel speak for a transposed convolution.
fn maybe_transposed(weight: &Weight) -> bool {
    weight.shape.len() > 2 && (transposition(weight) != Transposition::Unsaid || even(weight))
}

/// What names say about a convolution being transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transposition {
    /// They say it.
    Said,
    /// They hint at it: a layer that enlarges its input may be a convolution behind an interpolation too.
    Hinted,
    /// Nothing.
    Unsaid,
}

pub(super) fn transposition(weight: &Weight) -> Transposition {
    let lower = weight.module.to_lowercase();
    let says = |text: &str| ["deconv", "transpose", "convt", "conv_t"].iter().any(|word| text.contains(word));
    let hints = |text: &str| ["up", "decod", "dec"].iter().any(|word| text.contains(word));
    let last = lower.rsplit(['/', '.']).find(|segment| segment.parse::<u64>().is_err()).unwrap_or("");
    match (says(last), says(&lower), even(weight)) {
        (true, _, _) | (_, true, true) => Transposition::Said,
        (_, true, false) => Transposition::Hinted,
        _ if even(weight) && hints(&lower) => Transposition::Hinted,
        _ => Transposition::Unsaid,
    }
}

/// Whether the kernel is even in all directions, as in most transposed convolutions and few others.
fn even(weight: &Weight) -> bool {
    let shape = &weight.shape[..];
    let kernel = match (weight.kind.conv, weight.kind.conv_transpose) {
        (Some(Axis::First), Some(Axis::First)) => shape.get(1..shape.len().saturating_sub(1)),
        (Some(Axis::First), _) => shape.get(2..),
        _ => shape.get(..shape.len().saturating_sub(2)),
    };
    kernel.is_some_and(|kernel| !kernel.is_empty() && kernel.iter().all(|k| k % 2 == 0))
}
