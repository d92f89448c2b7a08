//! Weights that may feed a norm, and what their shapes say.
//!
//! In: a tensor of two or more dimensions, read by its dialect. Out: a [`Weight`]: which kinds of layers it can be, its
//! channels in and out, its kernel.

use super::dialect::{Dialect, InputAxis, WeightName};
use super::{Axis, ChannelMap, Op};
use crate::checkpoint::Dtype;

/// A weight of two or more dimensions that could feed a norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// The tensor.
    pub tensor: String,
    /// The module's path, as the file spells it.
    pub module: String,
    /// Which row of the dialect table it matched.
    pub kind: &'static WeightName,
    /// Whose conventions it follows.
    pub dialect: &'static Dialect,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// The bias tensor beside it, existing or to be created.
    pub bias: String,
    /// Whether that tensor exists.
    pub bias_exists: bool,
    /// Its length, if it exists and has one axis: as many as the layer has output channels.
    pub bias_channels: Option<u64>,
    /// The weight or the bias, if `__metadata__` says that it has other names.
    pub aliased: Option<String>,
    /// Another tensor that takes part in the layer's computation in a way that is not known: a mask, the factors of a
    /// computed weight, the range of a quantizer.
    pub side_tensor: Option<String>,
    /// A tensor in the module around, if this is the only weight in there and nothing is known of what the tensor is for.
    pub companion: Option<String>,
}

impl Weight {
    /// Where the output channels lie if the weight is an `op`.
    pub fn axis(&self, op: Op) -> Option<Axis> {
        match op {
            Op::Linear => self.kind.linear,
            Op::Conv => self.kind.conv,
            Op::ConvTranspose => self.kind.conv_transpose,
            Op::Depthwise => self.kind.depthwise,
        }
    }

    /// Every kind of layer that this weight can be if it puts out `channels` channels, with its channel map.
    pub fn producers(&self, channels: u64) -> Vec<(Op, ChannelMap)> {
        let ops: &[Op] = match self.shape.len() {
            2 => &[Op::Linear],
            // Where two have the same channel map, the plainer one comes first.
            3..=5 => &[Op::Conv, Op::Depthwise, Op::ConvTranspose],
            // Of more dimensions no library has a layer: several weights in one, or something else.
            _ => &[],
        };
        ops.iter().filter_map(|&op| Some((op, ChannelMap::new(self.axis(op)?, &self.shape, channels)?))).collect()
    }

    /// Output channels as an ordinary (not transposed) layer.
    pub fn outputs(&self) -> Option<u64> {
        match self.ordinary_axis()? {
            Axis::First => self.shape.first().copied(),
            Axis::Last => self.shape.last().copied(),
            Axis::SecondGrouped | Axis::LastTwo | Axis::SecondLast => None,
        }
    }

    /// Input channels of a group, as an ordinary layer.
    pub fn inputs(&self) -> Option<u64> {
        let shape = &self.shape[..];
        match (self.ordinary_axis()?, self.kind.inputs) {
            (Axis::Last, _) => shape.iter().rev().nth(1).copied(),
            (_, InputAxis::Last) => shape.last().copied(),
            (_, InputAxis::BesideOutputs) => shape.get(1).copied(),
        }
    }

    /// Where an ordinary layer of this rank has its output channels.
    fn ordinary_axis(&self) -> Option<Axis> {
        match self.shape.len() {
            2 => self.kind.linear.or(self.kind.conv),
            _ => self.kind.conv.or(self.kind.linear),
        }
    }

    /// The kernel's extents; `None` for linear layers.
    pub fn kernel(&self) -> Option<&[u64]> {
        let shape = &self.shape[..];
        let inner = match (self.kind.conv, self.kind.inputs) {
            (Some(Axis::First), InputAxis::Last) => shape.get(1..shape.len().saturating_sub(1)),
            (Some(Axis::First), InputAxis::BesideOutputs) => shape.get(2..),
            _ => shape.get(..shape.len().saturating_sub(2)),
        };
        inner.filter(|kernel| !kernel.is_empty())
    }

    /// Whether the kernel has just one element. Such convolutions are hardly ever grouped.
    pub fn is_pointwise(&self) -> bool {
        self.kernel().is_some_and(|kernel| kernel.iter().all(|&k| k == 1))
    }

    /// Whether each channel out has one channel in, with a kernel or without.
    pub fn is_channelwise(&self) -> bool {
        self.has_depthwise_layout() || self.shape.len() > 2 && self.inputs() == Some(1) && self.outputs() > Some(1)
    }

    /// Whether it is a depthwise convolution: one channel in for each group, and a kernel.
    pub fn is_depthwise(&self) -> bool {
        self.has_depthwise_layout() || self.is_channelwise() && !self.is_pointwise()
    }

    /// Whether its name says that it is laid out as Keras lays out depthwise kernels.
    fn has_depthwise_layout(&self) -> bool {
        self.kind.depthwise.is_some() && self.kind.conv.is_none()
    }
}
