//! 2 PLAN: what speaks for a pair, as data.
//!
//! In: numbers. Out: a [`Support`] with a stable code, and its sentence.

use std::sync::Arc;

use super::Sampled;
use crate::network::{Inventory, NormId};
use crate::plan::measure::Agreement;

/// What speaks for a pair.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) enum Support {
    /// The norm follows the weight in an `nn.Sequential`.
    Sequence,
    /// Nothing else is in the scope.
    OnlyPair,
    /// Names are alike.
    Twin,
    /// Two rows of the scope are counted alike.
    Row,
    /// The weight's name begins like the norm's.
    NamePart,
    /// No other weight of the scope fits.
    Lone,
    /// The layer before, in a pre-activation block.
    PreActivationChain,
    /// The last layer of the block beside the norm, which runs its own norms first.
    BehindChain,
    /// The depthwise layer of a Conformer's convolution module.
    Conformer,
    /// The only order in which layers feed numbered norms.
    Flow,
    /// Depthwise before pointwise.
    Separable,
    /// The only assignment of layers to numbered norms.
    OnlyAssignment,
    /// One of several weights of its scope.
    OneOfSeveral,
    /// The catalogue knows.
    Catalogue(Arc<str>),
    /// Row sums and norms follow the running statistics.
    Confirmed { sums: f64, norms: f64, looked_at: Sampled },
    /// What the layer takes in predicts the running means.
    Predicted { input: Input, explained: f64 },
    /// Found by values alone, by ranks.
    Agreed(Agreement),
    /// Values found as much for norms of the same names in other blocks.
    Kin { like: NormId, shown: usize },
}

impl Support {
    /// A name for it that stays the same from version to version.
    pub(in crate::plan) fn code(&self) -> &'static str {
        match self {
            Support::Sequence => "sequence",
            Support::OnlyPair => "only-pair",
            Support::Twin => "twin-names",
            Support::Row => "row",
            Support::NamePart => "name-part",
            Support::Lone => "lone",
            Support::PreActivationChain => "pre-activation-chain",
            Support::BehindChain => "behind-chain",
            Support::Conformer => "conformer",
            Support::Flow => "channel-flow",
            Support::Separable => "separable",
            Support::OnlyAssignment => "only-assignment",
            Support::OneOfSeveral => "one-of-several",
            Support::Catalogue(_) => "catalogue",
            Support::Confirmed { .. } => "values-confirm",
            Support::Predicted { .. } => "values-predict",
            Support::Agreed(_) => "values-agree",
            Support::Kin { .. } => "values-of-kin",
        }
    }

    /// A sentence fragment.
    pub(in crate::plan) fn sentence(&self, network: &Inventory) -> String {
        match self {
            Support::Sequence => "the norm follows the weight in a sequence".to_owned(),
            Support::OnlyPair => "the only norm and the only weight of their scope".to_owned(),
            Support::Twin => "norm and weight are named alike".to_owned(),
            Support::Row => "norms and weights of the scope are counted alike".to_owned(),
            Support::NamePart => "the weight's name begins like the norm's".to_owned(),
            Support::Lone => "the only weight of the scope that fits the norm in all blocks of this kind".to_owned(),
            Support::PreActivationChain => "the layer before, in a block that runs its norms first".to_owned(),
            Support::BehindChain => {
                "the last layer of the block beside the norm, which opens with a norm of its own".to_owned()
            }
            Support::Conformer => "the depthwise layer of a Conformer's convolution module".to_owned(),
            Support::Flow => "the only order in which the block's layers feed its numbered norms".to_owned(),
            Support::Separable => "depthwise before pointwise, as their numbered norms".to_owned(),
            Support::OnlyAssignment => {
                "the only assignment of the scope's layers to its numbered norms that fits".to_owned()
            }
            Support::OneOfSeveral => "one of several weights of its scope".to_owned(),
            Support::Catalogue(known) => known.to_string(),
            Support::Confirmed { sums, norms, looked_at } => format!(
                "values: row sums follow running means ({sums:.2}), row norms follow running variances ({norms:.2}){}",
                looked_at.clause()
            ),
            Support::Predicted { input, explained } => format!(
                "from values alone: {} the running means ({:.0} % of their variance)",
                input.predicts(network),
                100.0 * explained
            ),
            Support::Kin { like, shown } => format!(
                "as values showed for {shown} norms of these names in other blocks, such as `{}`",
                network[*like].name
            ),
            Support::Agreed(found) => format!(
                "from values alone: row sums follow running means ({:.2}), row norms follow running variances ({:.2}), \
                 and nothing else of this width explains the rest",
                found.sums, found.norms
            ),
        }
    }
}

/// What a layer takes in, as far as it predicts what the layer puts out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::plan) enum Input {
    /// What a norm puts out, behind an activation.
    Norm { norm: NormId, activation: &'static str },
    /// The few channels of an image, each with a mean.
    Image,
}

impl Input {
    /// Subject and verb of a sentence.
    fn predicts(self, network: &Inventory) -> String {
        match self {
            Input::Norm { norm, activation } => {
                format!("`{}` and {activation} before the weight predict", network[norm].name)
            }
            Input::Image => "a mean for each of the input's few channels predicts".to_owned(),
        }
    }
}
