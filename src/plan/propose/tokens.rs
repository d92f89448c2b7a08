//! 2 PLAN, propose: what a path segment says.
//!
//! In: one segment of a module path. Out: a [`Segment`], its tokens sorted into what it is (a norm, a weight) and which one it
//! is (the key). `bn1`, `conv1` and `conv1_bn` share the key `1`; `block1a_expand_conv` and `block1a_expand_bn` share
//! `block.1.a.expand`. Nothing here knows an architecture: only the words in which people say "batch norm" and "layer
//! with weights".

use crate::network::names;

/// Words for a batch norm. MONAI's `adn` holds an activation, a dropout and a norm.
const NORM_WORDS: &[&str] = &[
    "bn",
    "norm",
    "batchnorm",
    "bnorm",
    "batchnormalization",
    "batchnormalisation",
    "normalization",
    "normalisation",
    "adn",
];

/// Words for a layer with weights.
const WEIGHT_WORDS: &[&str] =
    &["conv", "convolution", "convolutional", "linear", "lin", "fc", "dense", "deconv", "transpose", "transposed"];

/// More words for linear layers.
const LINEAR_WORDS: &[&str] = &[
    "proj",
    "projection",
    "projector",
    "mlp",
    "ff",
    "ffn",
    "head",
    "hidden",
    "layer",
    "layers",
    "classifier",
    "logits",
    "expand",
    "reduce",
    "squeeze",
    "excite",
    "gate",
    "qkv",
    "query",
    "key",
    "value",
    "affine",
    "perceptron",
    "bottleneck",
];

/// Words for matrices that are no layers: their rows are looked up, or compared with.
const TABLE_WORDS: &[&str] = &[
    "embed",
    "embedding",
    "embeddings",
    "emb",
    "wte",
    "wpe",
    "token",
    "tokens",
    "pos",
    "position",
    "positional",
    "cls",
    "prototype",
    "prototypes",
    "codebook",
    "codes",
    "vocab",
    "lookup",
    "table",
    "memory",
    "queries",
    "anchors",
    "centers",
    "centroids",
];

/// Words of a norm that stands before its layer, or of a module that stands between a layer and its norm.
const BEFORE_WORDS: &[&str] = &["pre", "preact", "preactiv", "preactivation", "early"];

/// Names that Keras, Haiku and Flax give to norms, a counter behind them.
const COUNTED: &[&str] = &["batch_normalization", "sync_batch_normalization", "batch_norm", "BatchNorm"];

/// A path segment, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) struct Segment {
    /// Tokens that tell this module from its siblings, joined by dots.
    pub(in crate::plan) key: String,
    /// Whether it says that it is a norm.
    pub(in crate::plan) norm: bool,
    /// Whether it says that it is a layer with weights.
    pub(in crate::plan) layer: bool,
    /// Whether it says that it comes before something.
    pub(in crate::plan) before: bool,
    /// Whether it names a norm, an activation and a layer in this order: a block that runs its norm first.
    pub(in crate::plan) pre_activation: bool,
    /// Which of a row of siblings it is, by its last token.
    pub(in crate::plan) place: Option<Place>,
    /// Whether a framework named it, by its class and a counter.
    pub(in crate::plan) counted: bool,
    /// The whole segment as a number, as in `nn.Sequential`.
    pub(in crate::plan) index: Option<u64>,
}

impl Segment {
    pub(in crate::plan) fn read(segment: &str) -> Segment {
        let tokens = tokens(segment);
        let is = |token: &String, words: &[&str]| words.contains(&token.as_str());
        let norm = tokens.iter().any(|token| is(token, NORM_WORDS));
        let layer = tokens.iter().any(|token| is(token, WEIGHT_WORDS));
        let key = tokens
            .iter()
            .enumerate()
            .filter(|(index, token)| {
                let batch = *token == "batch" && tokens.get(index + 1).is_some_and(|next| is(next, NORM_WORDS));
                !batch && !is(token, NORM_WORDS) && !is(token, WEIGHT_WORDS)
            })
            .map(|(_, token)| token.as_str())
            .collect::<Vec<_>>()
            .join(".");
        let before = tokens.iter().any(|token| is(token, BEFORE_WORDS));
        let place = tokens.last().and_then(|token| match (token.parse(), token.as_bytes()) {
            (Ok(number), _) => Some(Place::Number(number)),
            (_, &[letter]) if letter.is_ascii_lowercase() => Some(Place::Letter(letter)),
            _ => None,
        });
        let class = segment.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        Segment {
            key,
            norm,
            layer,
            before,
            pre_activation: pre_activation(segment),
            place,
            counted: COUNTED.contains(&class),
            index: segment.parse().ok(),
        }
    }
}

/// Whether a module's own name, without the places of lists, says that it is a layer with weights.
pub(in crate::plan) fn says_layer(module: &str) -> bool {
    let words = last_words(module);
    words.iter().any(|word| WEIGHT_WORDS.contains(&word.as_str()) || LINEAR_WORDS.contains(&word.as_str()))
}

/// Whether it says that it is a table.
pub(in crate::plan) fn says_table(module: &str) -> bool {
    last_words(module).iter().any(|word| TABLE_WORDS.contains(&word.as_str()))
}

fn last_words(module: &str) -> Vec<String> {
    let named = |segment: &&str| segment.parse::<u64>().is_err();
    module.rsplit(['/', '.']).find(named).map(tokens).unwrap_or_default()
}

/// `bn_relu_conv`, `NormActConv`; but not `bn_conv`, a convolution with its norm.
fn pre_activation(segment: &str) -> bool {
    let lower = segment.to_lowercase();
    let behind = |words: &[&str], from: usize| {
        let rest = lower.get(from..)?;
        words.iter().filter_map(|word| Some(from + rest.find(word)? + word.len())).min()
    };
    let layer = behind(&["norm", "bn"], 0).and_then(|norm| behind(&["elu", "act"], norm));
    layer.and_then(|activation| behind(&["conv", "linear"], activation)).is_some()
}

/// A segment without its counters, equal for all instances of a template: every run of digits becomes `#`, and so does a
/// single letter at the end (`conv_a`, `block1b`).
pub(in crate::plan) fn without_counter(segment: &str) -> String {
    let mut out = names::template(segment);
    let letter = out.chars().next_back().is_some_and(|last| last.is_ascii_alphabetic());
    if letter && out.len() > 1 && out[..out.len() - 1].ends_with(['_', '-', '#']) {
        out.pop();
        out.push('#');
    }
    out
}

/// Which of a row of siblings a module is: `conv2` the second, `c3x3_b` too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plan) enum Place {
    Number(u64),
    Letter(u8),
}

impl Place {
    /// Whether this is the place right behind `before`.
    pub(in crate::plan) fn follows(self, before: Place) -> bool {
        match (before, self) {
            (Place::Number(a), Place::Number(b)) => a.checked_add(1) == Some(b),
            (Place::Letter(a), Place::Letter(b)) => a + 1 == b,
            _ => false,
        }
    }
}

/// Lower-case tokens: split at punctuation, at `aB`, between letters and digits; `convs` singular, `dwconv` and `skipbn`
/// taken apart, `conv2d` without its rank.
pub(super) fn tokens(segment: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut last = None::<char>;
    for c in segment.chars() {
        let joins = last.is_some_and(|last| {
            last.is_alphanumeric()
                && last.is_ascii_digit() == c.is_ascii_digit()
                && !(last.is_lowercase() && c.is_uppercase())
        });
        if c.is_alphanumeric() {
            match tokens.last_mut() {
                Some(token) if joins => token.extend(c.to_lowercase()),
                _ => tokens.push(c.to_lowercase().collect()),
            }
        }
        last = Some(c);
    }
    without_rank(tokens.into_iter().flat_map(|token| take_apart(&token)).collect())
}

/// `dwconv` is `dw` and `conv`, `skipbn` is `skip` and `bn`.
fn take_apart(token: &str) -> Vec<String> {
    let is_word = |token: &str| NORM_WORDS.contains(&token) || WEIGHT_WORDS.contains(&token);
    let token = token.strip_suffix('s').filter(|singular| is_word(singular)).unwrap_or(token);
    if is_word(token) {
        return vec![token.to_owned()];
    }
    ["batchnorm", "norm", "bn", "conv"]
        .iter()
        .find_map(|word| Some(vec![token.strip_suffix(word)?.to_owned(), (*word).to_owned()]))
        .unwrap_or_else(|| vec![token.to_owned()])
}

/// Drops the `2` and `d` of `conv2d`, `batchnorm1d`: they say a rank, not which one.
fn without_rank(tokens: Vec<String>) -> Vec<String> {
    let ranked = |at: usize| {
        let word = |i: usize| tokens.get(i).map_or("", String::as_str);
        (NORM_WORDS.contains(&word(at)) || WEIGHT_WORDS.contains(&word(at)))
            && matches!(word(at + 1), "1" | "2" | "3")
            && word(at + 2) == "d"
    };
    let keep = |i: usize| !(i >= 1 && ranked(i - 1) || i >= 2 && ranked(i - 2));
    (0..tokens.len()).filter(|&i| keep(i)).map(|i| tokens[i].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_share_a_key() {
        for (weight, norm) in [
            ("conv1", "bn1"),
            ("conv1", "conv1_bn"),
            ("conv1_conv", "conv1_bn"),
            ("_depthwise_conv", "_depthwise_bn"),
            ("block1a_expand_conv", "block1a_expand_bn"),
            ("Conv_0", "BatchNorm_0"),
            ("conv2d_12", "batch_normalization_12"),
            ("convolution", "normalization"),
            ("skip", "skipbn"),
            ("deconv1", "batchnorm1"),
            ("conv_transpose1", "norm1"),
            ("convs", "bns"),
            ("compress_conv1", "compress_bn1"),
            ("linear", "batch_norm"),
        ] {
            assert_eq!(Segment::read(weight).key, Segment::read(norm).key, "{weight} {norm}");
            assert!(Segment::read(norm).norm && !Segment::read(weight).norm, "{weight} {norm}");
        }
    }

    #[test]
    fn blocks_may_say_that_they_run_their_pre_activation() {
        for (name, expected) in
            [("bn_relu_conv", true), ("NormActConv", true), ("bn_conv", false), ("conv_bn_relu", false)]
        {
            assert_eq!(Segment::read(name).pre_activation, expected, "{name}");
        }
    }

    #[test]
    fn others_do_not() {
        for (weight, norm) in [("conv1", "bn2"), ("conv_pw", "bn1"), ("conv2_kxk", "norm2"), ("dwconv", "bn")] {
            assert_ne!(Segment::read(weight).key, Segment::read(norm).key, "{weight} {norm}");
        }
    }
}
