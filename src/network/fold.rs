//! A norm and the layer that it goes into.
//!
//! In: a plan's line that was held against its checkpoint. Out: [`Fold`], all that folding it takes.

use super::{Axis, ChannelMap, EpsSource, Norm, Op};
use crate::checkpoint::Float;

/// One norm and the layer it goes into, checked against the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// The norm.
    pub norm: Norm,
    /// The weight's tensor.
    pub weight: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Its number of elements.
    pub elements: u64,
    /// Its element type.
    pub float: Float,
    /// Kind of the layer.
    pub op: Op,
    /// Where its output channels lie.
    pub axis: Axis,
    /// The same for the arithmetic.
    pub map: ChannelMap,
    /// Output channels.
    pub channels: u64,
    /// The bias's tensor, existing or to be created.
    pub bias: String,
    /// Element type of the existing bias.
    pub bias_float: Option<Float>,
    /// The norm's eps.
    pub eps: f64,
    /// Who says so.
    pub eps_source: EpsSource,
}
