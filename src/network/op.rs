//! Kinds of layers that can feed a norm.
//!
//! In: nothing. Out: [`Op`], which with the dialect fixes where a weight's output channels lie.

use serde::{Deserialize, Serialize};

/// Kind of a layer that can feed a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A convolution of any rank, grouped ones included.
    Conv,
    /// A transposed convolution.
    ConvTranspose,
    /// A fully connected layer.
    Linear,
    /// A depthwise convolution that is laid out unlike other convolutions (Keras, TF).
    Depthwise,
}

impl Op {
    /// Its name in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Op::Conv => "conv",
            Op::ConvTranspose => "conv_transpose",
            Op::Linear => "linear",
            Op::Depthwise => "depthwise",
        }
    }
}
