//! 2 PLAN: what can be wrong with a plan's line.
//!
//! In: what was planned and what the checkpoint holds. Out: [`LineProblem`], with a sentence that gives both.

use std::fmt;

use crate::checkpoint::Dtype;
use crate::network::{Defect, Op};

/// Why a line of a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names of the fields say what they hold")]
pub enum LineProblem {
    /// The checkpoint has no such norm.
    NoNorm(String),
    /// A norm is planned twice.
    TwoLines(String),
    /// The norm cannot be folded.
    Defect(Defect),
    /// A fold names no weight.
    WeightMissing,
    /// A key that can be left out only where the checkpoint is at hand.
    Incomplete { key: &'static str },
    /// There is no such weight; what is there under its name.
    NoWeight { weight: String, found: Option<(Dtype, Vec<u64>)> },
    /// Another line folds into the weight.
    WeightTaken { weight: String, by: String },
    /// The weight, or its bias, is used under other names too.
    Shared { what: &'static str, tensor: String },
    /// The weight cannot be scaled.
    Quantized { weight: String, dtype: Dtype },
    /// The norm has another width.
    Channels { planned: u64, found: u64 },
    /// The weight is stored as another type.
    Dtype { planned: String, found: Dtype },
    /// The weight cannot be this kind of layer.
    Operation { shape: Vec<u64>, channels: u64, can: Vec<Op>, planned: Op },
    /// The line does not say which of several kinds of layers the weight is.
    OperationMissing { weight: String, shape: Vec<u64>, can: Vec<Op> },
    /// The weight has other outputs than the norm has channels.
    OtherOutputs { weight: String, shape: Vec<u64>, channels: u64 },
    /// The shapes give another number of groups.
    Groups { planned: u64, found: u64 },
    /// No eps.
    Eps(f64),
    /// The bias is there and should not be, or the other way round.
    BiasExists { bias: String, exists: bool },
    /// It is not the bias of the weight.
    OtherBias { bias: String, weight: String, own: String },
    /// The bias cannot take the shift.
    BiasShape { bias: String, dtype: Dtype, shape: Vec<u64>, channels: u64 },
    /// Another line puts its shift into the bias.
    BiasTaken { bias: String, by: String },
    /// The bias is a norm's tensor.
    BiasOfNorm { bias: String, norm: String },
    /// Forward folds and folds into several weights are not supported.
    Unsupported,
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineProblem::NoNorm(norm) => write!(f, "the checkpoint has no norm `{norm}`"),
            LineProblem::TwoLines(norm) => write!(f, "norm `{norm}` has two lines"),
            LineProblem::Defect(defect) => write!(f, "{defect}"),
            LineProblem::WeightMissing => write!(f, "a fold needs a \"weight\""),
            LineProblem::Incomplete { key } => {
                write!(f, "\"{key}\" is missing, and only the checkpoint tells it: follow the file instead of its plan")
            }
            LineProblem::NoWeight { weight, found: None } => {
                write!(f, "the checkpoint has no weight `{weight}` that feeds a norm")
            }
            LineProblem::NoWeight { weight, found: Some((dtype, shape)) } => {
                write!(f, "weight `{weight}`: a {dtype} of shape {shape:?} is no weight that feeds a norm")
            }
            LineProblem::WeightTaken { weight, by } => write!(f, "weight `{weight}` feeds norm `{by}` already"),
            LineProblem::Shared { what, tensor } => {
                write!(f, "{what} `{tensor}` is shared: `__metadata__` lists other names for it")
            }
            LineProblem::Quantized { weight, dtype } => {
                write!(f, "weight `{weight}` is stored as {dtype}, which cannot be scaled")
            }
            LineProblem::Channels { planned, found } => {
                write!(f, "{planned} channels are planned, but the norm has {found}")
            }
            LineProblem::Dtype { planned, found } => write!(f, "dtype {planned} is planned, but the weight is {found}"),
            LineProblem::Groups { planned, found } => {
                write!(f, "{planned} groups are planned, but the shapes give {found}")
            }
            LineProblem::Eps(eps) => write!(f, "eps {eps} is not a finite number of at least 0"),
            LineProblem::Unsupported => {
                write!(f, "folding forward or into several sources is not supported; set its action to \"keep\"")
            }
            LineProblem::Operation { .. } | LineProblem::OperationMissing { .. } | LineProblem::OtherOutputs { .. } => {
                self.about_operation(f)
            }
            _ => self.about_bias(f),
        }
    }
}

impl LineProblem {
    fn about_operation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineProblem::Operation { shape, channels, can, planned } => write!(
                f,
                "a weight of shape {shape:?} with {channels} output channels can be {}, not {}",
                any_of(can),
                planned.name()
            ),
            LineProblem::OperationMissing { weight, shape, can } => {
                write!(f, "weight `{weight}` of shape {shape:?} can be {}: add an \"op\"", any_of(can))
            }
            LineProblem::OtherOutputs { weight, shape, channels } => {
                write!(f, "weight `{weight}` of shape {shape:?} has no {channels} output channels")
            }
            _ => Ok(()),
        }
    }

    fn about_bias(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineProblem::BiasExists { bias, exists: true } => {
                write!(f, "bias `{bias}` exists, but the plan says it does not")
            }
            LineProblem::BiasExists { bias, exists: false } => {
                write!(f, "bias `{bias}` does not exist, but the plan says it does")
            }
            LineProblem::OtherBias { bias, weight, own } => {
                write!(f, "`{bias}` is not the bias of weight `{weight}`, which is `{own}`")
            }
            LineProblem::BiasShape { bias, dtype, shape, channels } => {
                write!(f, "bias `{bias}` is {dtype} of shape {shape:?}, not floats of shape [{channels}]")
            }
            LineProblem::BiasTaken { bias, by } => write!(f, "bias `{bias}` takes the shift of norm `{by}` already"),
            LineProblem::BiasOfNorm { bias, norm } => {
                write!(f, "`{bias}` belongs to norm `{norm}` and cannot be the layer's bias")
            }
            _ => Ok(()),
        }
    }
}

/// Kinds of layers, as a choice.
fn any_of(ops: &[Op]) -> String {
    match ops {
        [] => "nothing".to_owned(),
        ops => ops.iter().map(|op| op.name()).collect::<Vec<_>>().join(" or "),
    }
}
