//! 2 PLAN, propose: convolution or transposed convolution.
//!
//! In: a weight and the channels that it must put out. Out: what kind of layer it is, or that names and shapes do not tell.
//! A square weight fits as both, and the two keep their output channels on different axes: folding into the wrong one
//! destroys the layer.

use std::collections::BTreeSet;

use crate::network::channels::ChannelMap;
use crate::network::{Op, Weight};
use crate::plan::rulebook::{Rule, Rulebook};

/// Words for transposed convolutions.
const SAID: &[&str] = &["deconv", "transpose", "convt"];

/// Words for layers that enlarge their input: by a transposed convolution, or by one behind an interpolation.
const UP: &[&str] = &["up", "dec"];

/// Words for layers that do not enlarge their input.
const DOWN: &[&str] = &["down", "enc", "backbone", "patch", "embed", "stem", "merg", "reduc", "pool"];

/// What speaks for a weight being a transposed convolution's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Transposition {
    /// Its name or its bias says so.
    Said,
    /// It may well be: an even kernel, or a name that hints at it.
    Hinted,
    /// Nothing.
    Unsaid,
}

pub(in crate::plan) fn transposition(book: Rulebook, weight: &Weight) -> Transposition {
    let module = weight.module.to_lowercase();
    let last = module.rsplit(['/', '.']).find(|segment| segment.parse::<u64>().is_err()).unwrap_or("");
    let said = |text: &str| book.has(Rule::SaidTransposed) && says(text, SAID);
    let even = book.has(Rule::EvenKernel) && even(weight);
    if weight.shape.len() < 3 || weight.kind.conv_transpose.is_none() {
        Transposition::Unsaid
    } else if transposed_by_bias(book, weight) || said(last) || said(&module) && even {
        Transposition::Said
    } else if said(&module) || even || last.ends_with("conv_t") {
        // `conv_t` is a transposed convolution to some and one over time to others.
        Transposition::Hinted
    } else {
        Transposition::Unsaid
    }
}

/// Whether the bias has as many elements as a transposed convolution would put out, and an ordinary one would not.
pub(in crate::plan) fn transposed_by_bias(book: Rulebook, weight: &Weight) -> bool {
    let plain = weight.outputs();
    let transposed = weight.bias_channels.is_some_and(|bias| match weight.kind.conv_transpose {
        Some(axis) => ChannelMap::new(axis, &weight.shape, bias).is_some_and(|map| map.groups == 1),
        None => false,
    });
    book.has(Rule::BiasTransposed) && weight.shape.len() > 2 && transposed && weight.bias_channels != plain
}

/// What kind of layer `weight` is if it puts out `channels`; `None` if it cannot, or may be either. `kernels` are those of
/// weights in this file that are transposed convolutions' for certain.
pub(in crate::plan) fn operation(
    book: Rulebook,
    weight: &Weight,
    channels: u64,
    kernels: &BTreeSet<&[u64]>,
) -> Option<(Op, ChannelMap)> {
    let producers = weight.producers(channels);
    let find = |wanted: Op| producers.iter().copied().find(|(op, _)| *op == wanted);
    let ordinary = find(Op::Linear).or(find(Op::Depthwise).filter(|_| find(Op::Conv).is_none())).or(find(Op::Conv));
    let (Some(ordinary), Some(transposed)) = (ordinary, find(Op::ConvTranspose)) else {
        return ordinary.or(find(Op::ConvTranspose));
    };
    // Depthwise both ways, and MLX, where both begin with the output channels.
    let same = ordinary.1 == transposed.1 || transposed.1.groups == channels;
    let square = transposed.1.groups == 1;
    let module = weight.module.to_lowercase();
    let is_seen = |kernel: &[u64]| kernels.contains(kernel);
    let suspect = book.has(Rule::TransposedKernels) && weight.kernel().is_some_and(is_seen);
    match transposition(book, weight) {
        _ if same => Some(ordinary),
        Transposition::Said => Some(transposed).filter(|_| square),
        // A grouped one: twice hinted at, it is not taken for an ordinary one.
        Transposition::Hinted if !square => Some(ordinary).filter(|_| !(even(weight) && says(&module, UP))),
        Transposition::Unsaid if !square => Some(ordinary),
        Transposition::Hinted => Some(ordinary).filter(|_| says(&module, DOWN) && !says(&module, UP)),
        Transposition::Unsaid => Some(ordinary).filter(|_| !suspect || says(&module, DOWN) && !says(&module, UP)),
    }
}

/// Whether a square weight stands where networks that enlarge their input by transposed convolutions have one: in a unit
/// that first narrows its channels, then has this weight, and puts out fewer channels than it took in (the decoders of
/// LinkNet, arXiv 1707.03718, figure 2, and ENet, arXiv 1606.02147, table 1). Units on the way down look alike but put out
/// more. `weights` are sorted by tensor.
pub(in crate::plan) fn on_the_way_up(weight: &Weight, weights: &[Weight]) -> bool {
    let (Some(width), false) = (weight.outputs(), weight.is_pointwise()) else { return false };
    let square = weight.inputs() == Some(width) && weight.kernel().is_some() && weight.kind.conv_transpose.is_some();
    let find = |tensor: &str| {
        let found = weights.binary_search_by(|weight| weight.tensor.as_str().cmp(tensor)).ok()?;
        Some(&weights[found]).filter(|weight| weight.is_pointwise())
    };
    let narrows = |(before, after): (String, String)| {
        let (Some(before), Some(after)) = (find(&before), find(&after)) else { return false };
        let fits = before.outputs() == Some(width) && after.inputs() == Some(width);
        fits && after.outputs() < before.inputs()
    };
    square && neighbours(&weight.tensor).any(narrows)
}

/// The names that differ from `name` by one in one of its last numbers: the one before and the one after.
fn neighbours(name: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let bytes = name.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let ends = (1..=bytes.len()).rev().filter(move |&end| digit(end - 1) && !digit(end)).take(3);
    ends.filter_map(move |end| {
        let begin = (0..end).rev().take_while(|&at| digit(at)).last()?;
        let number = name[begin..end].parse::<u64>().ok()?;
        let with = |number: u64| format!("{}{number}{}", &name[..begin], &name[end..]);
        Some((with(number.checked_sub(1)?), with(number.checked_add(1)?)))
    })
}

fn says(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// Whether the kernel is even in all directions, as in most transposed convolutions and few others.
fn even(weight: &Weight) -> bool {
    weight.kernel().is_some_and(|kernel| kernel.iter().all(|k| k % 2 == 0))
}
