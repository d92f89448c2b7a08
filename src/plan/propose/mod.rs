//! 2 PLAN, propose: names and shapes make hypotheses.
//!
//! In: an [`Inventory`]. Out: [`Names`], all that names and shapes show of it, and candidates for norms:
//!
//! ```text
//! tokens, tree          paths become a tree of modules with templates; every module gets its end, the weight it puts out
//! produces, transposed  what a weight can put out and take in, as which kind of layer, on which axis
//! separable             which of the two layers of a separable convolution comes last
//! relations             how a norm's place or name points at its producer
//! pre_activation        in blocks that run their norms first, a norm belongs to the layer before
//! conformer             the norm of a Conformer's convolution module
//! numbered              numbered norms, in the order in which their block's layers feed each other
//! catalogue             what is known of the architecture
//! ```

pub(super) mod catalogue;
pub(super) mod conformer;
pub(super) mod numbered;
pub(super) mod pre_activation;
pub(super) mod produces;
pub(super) mod relations;
mod separable;
pub(super) mod tokens;
pub(super) mod transposed;
pub(super) mod tree;

use super::board::Board;
use super::object::habits::Habits;
use super::object::precedent::Precedents;
use super::object::template_vote::{Group, Vote};
use super::rulebook::{Rule, Rulebook};
use crate::network::{Inventory, NormId, Weight, WeightId};
use produces::{puts_out, takes, transposed_only};
use relations::{Candidate, Relation};
use transposed::{KnownKinds, transposed_by_bias};
use tree::Tree;

/// What names and shapes show of a checkpoint, and what was made of it so far.
pub(super) struct Names<'n> {
    pub(super) book: Rulebook,
    pub(super) tree: Tree<'n>,
    pub(super) board: Board<'n>,
    /// What pairs proved.
    pub(super) precedents: Precedents,
    pub(super) habits: Habits,
    /// Pairs whose norm runs before the layer.
    pub(super) pre_activation: Vec<(Relation, Candidate)>,
    /// What is known of the kinds of convolutions.
    pub(super) kinds: KnownKinds<'n>,
}

impl<'n> Names<'n> {
    /// Nothing proposed yet; the history of `explained` is kept.
    pub(super) fn new(network: &'n Inventory, book: Rulebook, explained: Option<NormId>) -> Names<'n> {
        let transposed = network.weights.iter().filter(|weight| transposed_by_bias(book, weight));
        Names {
            book,
            tree: Tree::new(network, book),
            board: Board::new(network, book, explained),
            precedents: Precedents::default(),
            habits: Habits::default(),
            pre_activation: Vec::new(),
            kinds: KnownKinds::with_kernels(transposed.filter_map(Weight::kernel).collect()),
        }
    }

    /// The weight of that id.
    pub(super) fn weight(&self, id: WeightId) -> &'n Weight {
        let network: &'n Inventory = self.board.network;
        &network[id]
    }

    /// Channels of a norm.
    pub(super) fn channels(&self, norm: NormId) -> u64 {
        self.board.network[norm].channels
    }

    /// Whether `weight` can put out what `norm` takes.
    pub(super) fn fits(&self, weight: WeightId, norm: NormId) -> bool {
        puts_out(self.book, self.weight(weight), self.channels(norm))
    }

    /// Whether `weight` can take `channels` in.
    pub(super) fn takes(&self, weight: WeightId, channels: u64) -> produces::Takes {
        takes(self.book, self.weight(weight), channels)
    }

    /// Remembers weights that fit their norms as one kind of convolution only.
    pub(super) fn learn_kinds(&mut self, groups: &[Group]) {
        let fitting = groups.iter().filter(|group| matches!(group.vote, Vote::Fits(_)));
        for (group, member) in fitting.flat_map(|group| group.members.iter().map(move |member| (group, member))) {
            let (weight, channels) = (self.weight(member.weight), self.channels(member.norm));
            self.kinds.learn(weight, channels);
            // What comes right before a norm in a sequence is one for certain.
            if group.relation == Relation::Sequence && transposed_only(weight, channels) {
                self.kinds.kernels.extend(weight.kernel());
            }
        }
    }

    /// Remembers the pairs that run their norm first: by their own vote, or by their kin's.
    pub(super) fn learn_pre_activation(&mut self, groups: &[Group]) {
        let runs_first = |group: &&Group| group.vote == Vote::PreActivation || self.condemns(group);
        let pairs =
            groups.iter().filter(runs_first).flat_map(|group| group.members.iter().map(|m| (group.relation, *m)));
        self.pre_activation = pairs.collect();
    }

    /// Whether a group fits by accident: its kin runs norms first.
    pub(super) fn condemns(&self, group: &Group) -> bool {
        self.has(Rule::PreActivationKin) && self.precedents.condemn(&self.tree, group)
    }

    /// Whether a rule is in force.
    pub(super) fn has(&self, rule: Rule) -> bool {
        self.book.has(rule)
    }
}
