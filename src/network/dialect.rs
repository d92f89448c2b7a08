//! Dialects: how each framework names and lays out its tensors, as data.
//!
//! In: nothing. Out: the table [`DIALECTS`]. To add a framework, add a row; nothing else knows a framework by name.
//! Patterns are matched against the end of a tensor's name, whole segments at a time, after the decorations in
//! [`SUFFIXES`] and the collections in [`COLLECTIONS`] were taken off; `/` in a pattern matches `/` and `.`.

use super::Axis;

/// One framework's conventions.
#[derive(Debug, PartialEq)]
pub struct Dialect {
    /// What plans call it.
    pub name: &'static str,
    /// The `format` that the header's `__metadata__` must give, where names alone do not tell this dialect from another.
    pub needs_format: Option<&'static str>,
    /// The `format` that the framework's own files give in `__metadata__`: loaders look at it before they look at anything else.
    pub format: &'static str,
    /// Running mean of a norm; with the running variance, what makes a module a batch norm.
    pub mean: &'static [&'static str],
    /// Running variance of a norm, one pattern for each of the mean's.
    pub var: &'static [&'static str],
    /// Scale of a norm.
    pub gamma: &'static [&'static str],
    /// Shift of a norm.
    pub beta: &'static [&'static str],
    /// Other tensors of a norm, of no use once it is folded.
    pub spare: &'static [&'static str],
    /// Whether mean and variance alone make a norm, or gamma or beta must stand beside them (bare `mean` and `var` are
    /// names that other modules use too).
    pub affine_required: bool,
    /// Weights that may feed a norm.
    pub weights: &'static [WeightName],
    /// The eps of a norm that sets none.
    pub eps: f64,
}

/// Where an ordinary layer whose output channels come first has its input channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputAxis {
    /// On the axis beside the outputs: `[O, I, k...]`, `[k..., I, O]`.
    BesideOutputs,
    /// On the last axis: `[O, k..., I]`.
    Last,
}

/// A weight's name and what it can be.
#[derive(Debug, PartialEq)]
pub struct WeightName {
    /// The weight.
    pub name: &'static str,
    /// The bias that stands, or would stand, beside it.
    pub bias: &'static str,
    /// Output channels of a linear (dense) layer's weight; `None` if this name is never a linear's.
    pub linear: Option<Axis>,
    /// Output channels of a convolution's weight.
    pub conv: Option<Axis>,
    /// Output channels of a transposed convolution's weight.
    pub conv_transpose: Option<Axis>,
    /// Output channels of a depthwise convolution's weight, where it is laid out unlike other convolutions'.
    pub depthwise: Option<Axis>,
    /// Where its input channels lie.
    pub inputs: InputAxis,
}

/// What exporters append to a whole name, without meaning for the model.
pub const SUFFIXES: &[&str] = &[":0", "/.ATTRIBUTES/VARIABLE_VALUE"];

/// What Paddle's exporter puts between a parameter's name and a counter when it copies it.
pub const COPIED: &str = "_deepcopy_";

/// Begins patterns that are the end of a segment, and no whole one.
pub const WITHIN: char = '*';

/// Top-level folders of a variable tree (Flax) that split one module's tensors.
pub const COLLECTIONS: &[&str] = &["params", STATISTICS];

/// The collection of running statistics: nothing but norms puts tensors there.
pub const STATISTICS: &str = "batch_stats";

const TORCH_WEIGHT: WeightName = WeightName {
    name: "weight",
    bias: "bias",
    linear: Some(Axis::First),
    conv: Some(Axis::First),
    conv_transpose: Some(Axis::SecondGrouped),
    depthwise: None,
    inputs: InputAxis::BesideOutputs,
};

/// Keras, TF and Flax store the output channel last.
const KERNEL: WeightName = WeightName {
    name: "kernel",
    bias: "bias",
    linear: Some(Axis::Last),
    conv: Some(Axis::Last),
    conv_transpose: Some(Axis::SecondLast),
    depthwise: Some(Axis::LastTwo),
    inputs: InputAxis::BesideOutputs,
};

/// burn: PyTorch's convolutions, but linear weights are [in, out] (burn::nn::Linear); burn-store's
/// SafetensorsStore::default_metadata.
const BURN: Dialect = Dialect {
    name: "burn",
    needs_format: None,
    format: "safetensors",
    mean: &["running_mean"],
    var: &["running_var"],
    gamma: &["gamma"],
    beta: &["beta"],
    spare: &[],
    affine_required: true,
    weights: &[WeightName { linear: Some(Axis::Last), ..TORCH_WEIGHT }],
    eps: 1e-5,
};

/// The dialect of that name.
pub fn named(name: &str) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|dialect| dialect.name == name)
}

/// All dialects, more particular ones first.
pub const DIALECTS: &[Dialect] = &[
    // MLX takes PyTorch's names but stores every convolution's output channel first, transposed ones too
    // (mlx.nn.ConvTranspose2d: weight [O, kH, kW, I]).
    Dialect {
        name: "mlx",
        needs_format: Some("mlx"),
        format: "mlx",
        mean: &["running_mean"],
        var: &["running_var"],
        gamma: &["weight"],
        beta: &["bias"],
        spare: &[],
        affine_required: false,
        weights: &[WeightName { conv_transpose: Some(Axis::First), inputs: InputAxis::Last, ..TORCH_WEIGHT }],
        eps: 1e-5,
    },
    // It stands before PyTorch, for which a norm with burn's names would be one without scale and shift.
    BURN,
    // MXNet Gluon (save_parameters): burn's names, but dense weights are [out, in] (mxnet.gluon.nn.Dense: weight (units,
    // in_units)). BatchNorm: epsilon=1e-5. `rival_dialects` tells the two apart.
    Dialect { name: "gluon", format: "mxnet", weights: &[TORCH_WEIGHT], ..BURN },
    // The same names where nothing tells burn from Gluon: convolutions are alike, and dense weights are left alone.
    Dialect { name: "burn-or-gluon", weights: &[WeightName { linear: None, ..TORCH_WEIGHT }], ..BURN },
    // MindSpore: Keras' names for norms, PyTorch's for weights and their layouts (mindspore.nn.Conv2d: weight (C_out, C_in,
    // kH, kW); Dense: (out_channels, in_channels)). BatchNorm2d: eps=1e-5.
    Dialect {
        name: "mindspore",
        needs_format: None,
        format: "mindspore",
        mean: &["moving_mean"],
        var: &["moving_variance"],
        gamma: &["gamma"],
        beta: &["beta"],
        spare: &[],
        affine_required: false,
        weights: &[TORCH_WEIGHT],
        eps: 1e-5,
    },
    // Paddle's names for parameters that were given none (`conv2d_0.w_0`, `batch_norm2d_0.w_1`): a norm's scale, mean and
    // variance are counted with its weights (paddle.nn.BatchNorm2D: epsilon=1e-05).
    Dialect {
        name: "paddle-static",
        needs_format: None,
        format: "np",
        mean: &["w_1"],
        var: &["w_2"],
        gamma: &["w_0"],
        beta: &["b_0"],
        spare: &[],
        affine_required: true,
        weights: &[WeightName { name: "w_0", bias: "b_0", linear: Some(Axis::Last), ..TORCH_WEIGHT }],
        eps: 1e-5,
    },
    // Paddle's older model zoo, which names every parameter after its layer (`conv1_weights`, `conv1_bn_scale`).
    Dialect {
        name: "paddle-named",
        needs_format: None,
        format: "np",
        mean: &["*_mean"],
        var: &["*_variance"],
        gamma: &["*_scale"],
        beta: &["*_offset"],
        spare: &[],
        affine_required: true,
        weights: &[WeightName { name: "*_weights", bias: "*_offset", linear: Some(Axis::Last), ..TORCH_WEIGHT }],
        eps: 1e-5,
    },
    // PyTorch and candle. torch.nn.BatchNorm2d: eps=1e-5.
    Dialect {
        name: "pytorch",
        needs_format: None,
        format: "pt",
        mean: &["running_mean"],
        var: &["running_var"],
        gamma: &["weight"],
        beta: &["bias"],
        spare: &["num_batches_tracked"],
        affine_required: false,
        weights: &[TORCH_WEIGHT],
        eps: 1e-5,
    },
    // Paddle: PyTorch's convolutions, but linear weights are [in, out] (paddle.nn.Linear). paddle.nn.BatchNorm2D:
    // epsilon=1e-05. PaddleNLP takes "np" for arrays without a framework (transformers/model_utils.py).
    Dialect {
        name: "paddle",
        needs_format: None,
        format: "np",
        mean: &["_mean"],
        var: &["_variance"],
        gamma: &["weight"],
        beta: &["bias"],
        spare: &[],
        affine_required: true,
        weights: &[WeightName { linear: Some(Axis::Last), ..TORCH_WEIGHT }],
        eps: 1e-5,
    },
    // Keras and TF-slim. keras.layers.BatchNormalization: epsilon=1e-3; slim.batch_norm: epsilon=0.001.
    Dialect {
        name: "keras",
        needs_format: None,
        format: "tf",
        mean: &["moving_mean"],
        var: &["moving_variance"],
        gamma: &["gamma"],
        beta: &["beta"],
        spare: &[],
        affine_required: false,
        weights: &[
            KERNEL,
            WeightName { name: "depthwise_kernel", linear: None, conv: None, conv_transpose: None, ..KERNEL },
            WeightName { name: "pointwise_kernel", linear: None, conv_transpose: None, depthwise: None, ..KERNEL },
            WeightName { name: "weights", bias: "biases", ..KERNEL },
            WeightName {
                name: "depthwise_weights",
                bias: "biases",
                linear: None,
                conv: None,
                conv_transpose: None,
                ..KERNEL
            },
            WeightName {
                name: "pointwise_weights",
                bias: "biases",
                linear: None,
                conv_transpose: None,
                depthwise: None,
                ..KERNEL
            },
        ],
        eps: 1e-3,
    },
    // Haiku. hk.BatchNorm: eps=1e-5; moving averages live in hk.ExponentialMovingAverage submodules.
    Dialect {
        name: "haiku",
        needs_format: None,
        format: "flax",
        mean: &["~/mean_ema/average", "mean_ema/average"],
        var: &["~/var_ema/average", "var_ema/average"],
        gamma: &["scale"],
        beta: &["offset"],
        spare: &[
            "~/mean_ema/hidden",
            "~/mean_ema/counter",
            "~/var_ema/hidden",
            "~/var_ema/counter",
            "mean_ema/hidden",
            "mean_ema/counter",
            "var_ema/hidden",
            "var_ema/counter",
        ],
        affine_required: false,
        weights: &[WeightName { name: "w", bias: "b", depthwise: None, ..KERNEL }],
        eps: 1e-5,
    },
    // Flax. flax.linen.BatchNorm: epsilon=1e-5. Its transposed kernels are [k.., I, O] by default and [k.., O, I] with
    // transpose_kernel=True: two layouts under one name, so a transposed one is taken only where its shape tells.
    Dialect {
        name: "flax",
        needs_format: None,
        format: "flax",
        mean: &["mean"],
        var: &["var"],
        gamma: &["scale"],
        beta: &["bias"],
        spare: &[],
        affine_required: true,
        weights: &[WeightName { depthwise: None, ..KERNEL }],
        eps: 1e-5,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_complete_and_named_once() {
        for (index, dialect) in DIALECTS.iter().enumerate() {
            assert!(!dialect.mean.is_empty() && !dialect.var.is_empty() && !dialect.weights.is_empty(), "{dialect:?}");
            assert!(dialect.eps > 0.0, "{dialect:?}");
            assert_eq!(dialect.mean.len(), dialect.var.len(), "the two go together: {dialect:?}");
            assert!(dialect.needs_format.is_none_or(|needed| needed == dialect.format), "its own files: {dialect:?}");
            assert!(DIALECTS[..index].iter().all(|other| other.name != dialect.name), "{dialect:?}");
        }
    }
}
