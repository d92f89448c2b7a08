//! 2 PLAN: which weight feeds which norm.
//!
//! In: an [`Inventory`]: names and shapes. Out: a [`Verdict`] for every norm. A wrong pair silently destroys a model and a
//! missed one only costs speed, so every stage may refuse, and what no stage can settle is kept, with a reason.
//!
//! ```text
//! tree       paths become a tree of modules with templates; every module gets its end, the weight it puts out
//! relations  how a norm's place or name may point at its producer: candidates, nothing decided
//! vote       candidates of one template stand and fall together, and with their kin; tells norms that run first
//! order      norms numbered in the order in which their block's layers feed each other
//! chain      in blocks that run their norms first, a norm belongs to the layer before
//! ledger     one weight, one norm; operations and reasons
//! ```

mod chain;
mod ledger;
mod order;
mod relations;
mod shape;
mod tree;
mod vote;
mod words;

use super::{Evidence, Inventory, Op};
use crate::fold::layout::ChannelMap;

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
    /// It stays.
    Keep {
        /// Why, and what would settle it.
        reason: String,
    },
}

/// Decides every norm of `inventory`, in its order.
pub fn pair(inventory: &Inventory) -> Vec<Verdict> {
    let tree = tree::Tree::new(inventory);
    let mut ledger = ledger::Ledger::new(inventory);
    let first = vote::decide(&tree, &mut ledger);
    chain::decide(&tree, &first, &mut ledger);
    order::decide(&tree, &mut ledger);
    vote::decide_rest(&tree, &first, &mut ledger);
    ledger.verdicts()
}
