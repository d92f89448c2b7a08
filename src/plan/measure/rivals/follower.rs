//! 2 PLAN, measure, rivals: what follows the values of a pair better than the pair's own other half, in words.
//!
//! In: ids. Out: parts of sentences.

use crate::network::{Inventory, NormId, Op, WeightId};

/// What follows the values of a pair better than the pair's own other half does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Follower {
    /// The norm's statistics follow another weight.
    Weight(WeightId),
    /// Another norm's statistics follow the weight.
    Norm(NormId),
    /// The norm's statistics follow the weight as another kind of layer.
    Operation(Op),
}

impl Follower {
    /// What is held against what instead of the pair of `norm`.
    pub(in crate::plan) fn brief(self, network: &Inventory, norm: NormId) -> String {
        match self {
            Follower::Weight(other) => format!("with `{}` instead", network[other].tensor),
            Follower::Norm(other) => format!("`{}` instead of `{}`", network[other].name, network[norm].name),
            Follower::Operation(op) => format!("as a {} instead", op.name()),
        }
    }

    /// Whose running statistics follow what, as the end of a sentence about the pair of `norm` and `weight`.
    pub(in crate::plan) fn clause(self, network: &Inventory, norm: NormId, weight: WeightId) -> String {
        let (norm, weight) = (&network[norm].name, &network[weight].tensor);
        match self {
            Follower::Weight(other) => format!("`{norm}` follow `{}`", network[other].tensor),
            Follower::Norm(other) => format!("`{}`, not `{norm}`, follow `{weight}`", network[other].name),
            Follower::Operation(op) => format!("`{norm}` follow `{weight}` as a {}", op.name()),
        }
    }
}
