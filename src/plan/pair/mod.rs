//! 2 PLAN: which weight feeds which norm.
//!
//! In: an [`Inventory`]: names and shapes. Out: a [`Verdict`] for every norm. A wrong pair silently destroys a model and a
//! missed one only costs speed, so every stage may refuse, and what no stage can settle is kept, with a reason.
//!
//! ```text
//! 1 words, tree       paths become a tree of modules with templates; every module gets its end, the weight it puts out
//! 2 shape, transpose  what a weight can put out and take in, and on which axis
//! 3 relations         how a norm's place or name may point at its producer: candidates, nothing decided
//! 4 vote, kin, signs  candidates of one template stand and fall together, with their kin, and with the file as a whole
//! 5 settle, doubt     one candidate fits and nothing speaks against it: a claim
//! 6 chain             in blocks that run their norms first, a norm belongs to the layer before
//! 7 order             numbered norms, in the order in which their block's layers feed each other
//! 8 ledger, refuse    one weight, one norm; operations and reasons
//! 9 known             what the catalogue knows about the architecture, where it is known
//! ```

mod chain;
mod doubt;
mod kin;
mod known;
mod ledger;
mod order;
mod refuse;
mod relations;
mod settle;
mod shape;
mod signs;
mod transpose;
mod tree;
mod vote;
mod words;

#[cfg(test)]
mod tests;

pub(super) use known::apply;

use kin::Kin;
use ledger::Ledger;
use relations::Relation;
use tree::Tree;

use super::{Evidence, Inventory, Op};
use crate::network::channels::ChannelMap;

/// What the pairing decided about one norm.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// A weight feeds it.
    Fold {
        /// Index into [`Inventory::weights`].
        weight: usize,
        /// What kind of layer the weight is.
        op: Op,
        /// Its channel map.
        map: ChannelMap,
        /// What speaks for it.
        evidence: Vec<Evidence>,
    },
    /// Names point at several weights; or at one of which only the convention says that it comes before its norm, or that
    /// has a bias, or that may be a transposed convolution. A fold if values single out one and confirm it.
    Likely {
        /// The weights, as indices into [`Inventory::weights`], with the kind of layer and the channel map of each; one
        /// weight may stand here as several kinds.
        choices: Vec<(usize, Op, ChannelMap)>,
        /// Whether the answer for one norm says nothing about others of the same names.
        is_its_own: bool,
        /// What speaks for them.
        evidence: Vec<Evidence>,
        /// Why it is not enough.
        reason: String,
    },
    /// It stays.
    Keep {
        /// Why, and what would settle it.
        reason: String,
    },
}

/// Decides every norm of `inventory`, in its order.
pub fn pair(inventory: &Inventory) -> Vec<Verdict> {
    let tree = Tree::new(inventory);
    let mut ledger = Ledger::new(inventory);
    let mut kin = Kin::default();
    let first = settle::named(&tree, &mut ledger, &mut kin);
    chain::decide(&tree, &first, &mut ledger);
    settle::loose(&tree, &mut ledger, &mut kin, &first, Relation::Part);
    order::decide(&tree, &mut ledger, &mut kin, &first);
    settle::again(&tree, &mut ledger, &kin, &first);
    settle::loose(&tree, &mut ledger, &mut kin, &first, Relation::Lone);
    ledger.verdicts()
}
