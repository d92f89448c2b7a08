//! 2 PLAN, propose: convolution or transposed convolution.
//!
//! In: a weight and the channels that it must put out. Out: what kind of layer it is, or that names and shapes do not tell.
//! A square weight fits as both, and the two keep their output channels on different axes: folding into the wrong one
//! destroys the layer.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::tokens;
use crate::network::channels::ChannelMap;
use crate::network::{Op, Weight};
use crate::plan::rulebook::{Rule, Rulebook};

/// Words for transposed convolutions, whole tokens of a segment.
const SAID: &[&str] = &["deconv", "deconvolution", "transpose", "transposed", "convt", "convtranspose", "tconv"];

/// Words for layers that enlarge their input: by a transposed convolution, or by one behind an interpolation.
const UP: &[&str] = &[
    "up",
    "ups",
    "upsample",
    "upsampler",
    "upsampling",
    "upscale",
    "upscaling",
    "upblock",
    "upblocks",
    "uplayer",
    "uplayers",
    "upstage",
    "dec",
    "decode",
    "decoder",
    "decoders",
    "decoding",
    "deblock",
    "deblocks",
];

/// Words for layers that do not enlarge their input.
const DOWN: &[&str] = &[
    "down",
    "downs",
    "downsample",
    "downsampler",
    "downsampling",
    "downscale",
    "downblock",
    "downblocks",
    "enc",
    "encode",
    "encoder",
    "encoders",
    "encoding",
    "backbone",
    "patch",
    "patches",
    "embed",
    "embedding",
    "embeddings",
    "embedder",
    "stem",
    "merge",
    "merging",
    "reduce",
    "reduction",
    "pool",
    "pooling",
];

/// What is known of the kinds of convolutions in a file.
#[derive(Debug, Default)]
pub(in crate::plan) struct KnownKinds<'n> {
    /// Kernels of weights that are transposed convolutions' for certain.
    pub(in crate::plan) kernels: BTreeSet<&'n [u64]>,
    /// By module without places in lists ([`places`]): whether a weight fits its norm as a transposed convolution only, and the
    /// kernels of those that do as an ordinary one only.
    templates: BTreeMap<String, Kin<'n>>,
}

/// What is known of weights of one name.
#[derive(Debug, Default)]
struct Kin<'n> {
    is_transposed: bool,
    /// A unit's pointwise convolutions, which narrow and widen, say nothing about the layer with a kernel between them.
    ordinary: BTreeSet<Option<&'n [u64]>>,
}

impl<'n> KnownKinds<'n> {
    /// Nothing but kernels of transposed convolutions.
    pub(in crate::plan) fn with_kernels(kernels: BTreeSet<&'n [u64]>) -> KnownKinds<'n> {
        KnownKinds { kernels, templates: BTreeMap::new() }
    }

    /// Takes note of a weight that puts out `channels`.
    pub(in crate::plan) fn learn(&mut self, weight: &'n Weight, channels: u64) {
        let producers = weight.producers(channels);
        let can = |wanted: Op| producers.iter().any(|(op, map)| *op == wanted && map.groups == 1);
        let is_transposed = can(Op::ConvTranspose);
        if is_transposed == can(Op::Conv) || !is_transposed && weight.shape.len() <= 2 {
            return;
        }
        let kin = self.templates.entry(places(&weight.module)).or_default();
        if is_transposed {
            kin.is_transposed = true;
        } else {
            kin.ordinary.insert(weight.kernel());
        }
    }

    /// What weights of the same names are, where they all are the same: `Some(true)` if transposed, `Some(false)` if ordinary
    /// with the same kernel.
    fn by_kin(&self, weight: &Weight) -> Option<bool> {
        let Kin { is_transposed, ordinary } = self.templates.get(&places(&weight.module))?;
        match (is_transposed, ordinary.is_empty()) {
            (true, true) => Some(true),
            (false, false) => ordinary.contains(&weight.kernel()).then_some(false),
            _ => None,
        }
    }
}

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
    let mut named = weight.module.rsplit(['/', '.']).filter(|segment| segment.parse::<u64>().is_err());
    let last = named.next().unwrap_or("");
    let said = |segment: &str| book.has(Rule::SaidTransposed) && says(segment, SAID);
    let (said_last, said_above) = (said(last), named.any(said));
    let even = book.has(Rule::EvenKernel) && even(weight);
    if weight.shape.len() < 3 || weight.kind.conv_transpose.is_none() {
        Transposition::Unsaid
    } else if transposed_by_bias(book, weight) || said_last || said_above && even {
        Transposition::Said
    } else if said_above || even || last.to_lowercase().ends_with("conv_t") {
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

/// What kind of layer `weight` is if it puts out `channels`; `None` if it cannot, or may be either.
pub(in crate::plan) fn operation(
    book: Rulebook,
    weight: &Weight,
    channels: u64,
    kinds: &KnownKinds<'_>,
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
    let is_seen = |kernel: &[u64]| kinds.kernels.contains(kernel);
    let way = || way(&weight.module);
    let by_kin = kinds.by_kin(weight).filter(|_| square && book.has(Rule::KinTransposed));
    let suspect = book.has(Rule::TransposedKernels) && weight.kernel().is_some_and(is_seen);
    match transposition(book, weight) {
        _ if same => Some(ordinary),
        _ if by_kin == Some(true) => Some(transposed),
        Transposition::Said => Some(transposed).filter(|_| square),
        // A grouped one: twice hinted at, it is not taken for an ordinary one.
        Transposition::Hinted if !square => Some(ordinary).filter(|_| !(even(weight) && way() == Some(Way::Up))),
        Transposition::Unsaid if !square => Some(ordinary),
        _ if by_kin == Some(false) => Some(ordinary),
        Transposition::Hinted => Some(ordinary).filter(|_| way() == Some(Way::Down)),
        Transposition::Unsaid => Some(ordinary).filter(|_| !suspect || way() == Some(Way::Down)),
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

/// A path with `#` for every place in a list but for the last. `conv1` and `conv2` of a unit, or what stands in one
/// `nn.Sequential`, are different layers; the members of a list are made by one piece of code.
fn places(module: &str) -> String {
    let (scope, last) = module.rsplit_once(['/', '.']).unwrap_or(("", module));
    let place = |segment| if str::parse::<u64>(segment).is_ok() { "#" } else { segment };
    scope.split(['/', '.']).map(place).chain([last]).collect::<Vec<_>>().join(".")
}

/// Whether a layer is said to enlarge its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// What the nearest module around a layer that says anything says about its way, the layer included.
fn way(module: &str) -> Option<Way> {
    let of = |segment: &str| match (says(segment, UP), says(segment, DOWN)) {
        (true, _) => Some(Way::Up),
        (false, true) => Some(Way::Down),
        (false, false) => None,
    };
    module.rsplit(['/', '.']).find_map(of)
}

/// Whether one of the words is a token of a segment.
fn says(segment: &str, words: &[&str]) -> bool {
    // A token is a part of its segment, and few segments hold any of these words.
    let lower = segment.to_lowercase();
    words.iter().any(|word| lower.contains(word)) && tokens(segment).iter().any(|token| words.contains(&token.as_str()))
}

/// Whether the kernel is even in all directions, as in most transposed convolutions and few others.
fn even(weight: &Weight) -> bool {
    weight.kernel().is_some_and(|kernel| kernel.iter().all(|k| k % 2 == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_module_tells_the_way_by_whole_words() {
        for (module, expected) in [
            ("backbone_2d.deblocks.1.0", Some(Way::Up)),
            ("sequence.3", None),
            ("system.conv", None),
            ("backbone.fpn1.0", Some(Way::Down)),
            ("decoder.stages.0.downsample.conv", Some(Way::Down)),
            ("encoder.up1.conv", Some(Way::Up)),
            ("patch_embed.proj", Some(Way::Down)),
        ] {
            assert_eq!(way(module), expected, "{module}");
        }
    }
}
