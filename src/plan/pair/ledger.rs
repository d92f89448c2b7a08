//! Pairing, stage 8: the books. One weight feeds one norm; every norm is folded once or kept with a reason.
//!
//! In: claims of the stages. Out: verdicts. Here are also the refusals that concern a weight as such: aliased, quantized,
//! convolution or transposed convolution.

use std::collections::BTreeSet;

use super::relations::Relation;
use super::shape::transposed_only;
use super::transpose::{on_the_way_up, operation, transposed_by_bias};
use super::vote::Group;
use super::{Verdict, refuse};
use crate::network::channels::ChannelMap;
use crate::network::{Inventory, Norm, Op, Weight};

/// What is known of a norm.
enum Entry {
    /// Undecided; the reason is what it is kept with if nothing better comes.
    Open(String),
    Closed(Verdict),
}

/// What is decided so far.
pub(super) struct Ledger<'a> {
    inventory: &'a Inventory,
    norms: Vec<Entry>,
    /// The norm that a weight feeds.
    owners: Vec<Option<usize>>,
    /// Weights of which values may confirm one, with what points at them.
    likely: Vec<Option<(Vec<usize>, &'static str)>>,
    /// Kernels of weights that are transposed convolutions' for certain.
    transposed_kernels: BTreeSet<&'a [u64]>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(inventory: &'a Inventory) -> Ledger<'a> {
        // Networks whose weights are binarised as they are used (WRN-1bit) leave scale and shift out: the stored weights
        // are not what the norms see.
        let bare = |norm: &&Norm| norm.gamma.is_none() && norm.beta.is_none();
        let whole = || inventory.norms.iter().filter(|norm| norm.missing.is_none());
        let mostly_bare = 2 * whole().filter(bare).count() > whole().count();
        let norms = inventory
            .norms
            .iter()
            .map(|norm| match &norm.defect {
                Some(defect) => Entry::Closed(Verdict::Keep { reason: defect.clone() }),
                None if mostly_bare => Entry::Closed(Verdict::Keep { reason: refuse::bare().to_owned() }),
                None => Entry::Open(refuse::nothing_found(norm.channels)),
            })
            .collect();
        let transposed = inventory.weights.iter().filter(|weight| transposed_by_bias(weight));
        let transposed_kernels = transposed.filter_map(Weight::kernel).collect();
        Ledger {
            inventory,
            norms,
            owners: vec![None; inventory.weights.len()],
            likely: vec![None; inventory.norms.len()],
            transposed_kernels,
        }
    }

    /// Channels of a norm.
    pub(super) fn channels(&self, norm: usize) -> u64 {
        self.inventory.norms[norm].channels
    }

    pub(super) fn weight(&self, weight: usize) -> &'a Weight {
        &self.inventory.weights[weight]
    }

    /// Norms that are still undecided.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.norms.len()).filter(|&norm| self.is_open(norm))
    }

    pub(super) fn is_open(&self, norm: usize) -> bool {
        matches!(self.norms[norm], Entry::Open(_))
    }

    /// Whether no norm owns `weight` yet.
    pub(super) fn is_free(&self, weight: usize) -> bool {
        self.owners[weight].is_none()
    }

    /// Keeps an undecided norm for good.
    pub(super) fn close(&mut self, norm: usize, reason: String) {
        if self.is_open(norm) {
            self.norms[norm] = Entry::Closed(Verdict::Keep { reason });
        }
    }

    /// A better reason for a norm that may still be decided, and not by values.
    pub(super) fn explain(&mut self, norm: usize, reason: String) {
        if self.is_open(norm) {
            self.norms[norm] = Entry::Open(reason);
            self.likely[norm] = None;
        }
    }

    /// Remembers weights that can stand before the norm that follows them in a sequence as transposed convolutions only.
    pub(super) fn note_transposed(&mut self, groups: &[Group]) {
        let sequences = groups.iter().filter(|group| group.relation == Relation::Sequence);
        for member in sequences.flat_map(|group| &group.members) {
            let (weight, channels) = (self.weight(member.weight), self.channels(member.norm));
            if transposed_only(weight, channels) {
                self.transposed_kernels.extend(weight.kernel());
            }
        }
    }

    /// Folds norms into weights. A weight that two of them want feeds neither: it is shared.
    pub(super) fn claim(&mut self, claims: &[(usize, usize, &str)]) {
        let mut wanted = vec![0; self.owners.len()];
        for &(_, weight, _) in claims {
            wanted[weight] += 1;
        }
        for (norm, weight, evidence) in claims {
            if !self.is_open(*norm) {
                continue;
            }
            if wanted[*weight] > 1 || !self.is_free(*weight) {
                self.close(*norm, refuse::several_norms(self, *weight));
                continue;
            }
            self.owners[*weight] = Some(*norm);
            let fold = fold_into(self.weight(*weight), self.channels(*norm), None, &self.transposed_kernels);
            let evidence = vec![(*evidence).to_owned()];
            self.norms[*norm] = Entry::Closed(match fold {
                Ok((op, _)) if op == Op::Conv && on_the_way_up(self.weight(*weight), &self.inventory.weights) => {
                    let producers = self.weight(*weight).producers(self.channels(*norm)).into_iter();
                    let ungrouped = producers.filter(|(_, map)| map.groups == 1);
                    let choices = ungrouped.map(|(op, map)| (*weight, op, map)).collect();
                    let reason = refuse::transposed(self.weight(*weight));
                    Verdict::Likely { choices, is_its_own: true, evidence, reason }
                }
                Ok((op, map)) => Verdict::Fold { weight: *weight, op, map, evidence },
                Err(reason) => Verdict::Keep { reason },
            });
        }
    }

    /// The same for one of whose `weights` values may confirm one.
    pub(super) fn suggest(&mut self, norm: usize, reason: String, weights: Vec<usize>, evidence: &'static str) {
        self.explain(norm, reason);
        self.likely[norm] = Some((weights, evidence));
    }

    /// The verdicts, in the order of the inventory's norms.
    pub(super) fn verdicts(mut self) -> Vec<Verdict> {
        let likely = std::mem::take(&mut self.likely);
        let verdict = |norm: usize| {
            let reason = match &self.norms[norm] {
                Entry::Closed(verdict) => return verdict.clone(),
                Entry::Open(reason) => reason.clone(),
            };
            let Some((weights, evidence)) = &likely[norm] else { return Verdict::Keep { reason } };
            let choice = |weight: usize| {
                let fold = fold_into(self.weight(weight), self.channels(norm), None, &self.transposed_kernels);
                fold.ok().map(|(op, map)| (weight, op, map))
            };
            let free = weights.iter().copied().filter(|&weight| self.is_free(weight));
            match free.filter_map(choice).collect::<Vec<_>>() {
                none if none.is_empty() => Verdict::Keep { reason },
                choices => {
                    Verdict::Likely { choices, is_its_own: false, evidence: vec![(*evidence).to_owned()], reason }
                }
            }
        };
        (0..self.norms.len()).map(verdict).collect()
    }
}

/// What kind of layer a weight is that feeds a norm of `channels`, or why it must not be folded into: `stated`, if it is
/// known; `kernels` are those of transposed convolutions in this file.
pub(super) fn fold_into(
    weight: &Weight,
    channels: u64,
    stated: Option<Op>,
    kernels: &BTreeSet<&[u64]>,
) -> Result<(Op, ChannelMap), String> {
    if weight.dtype.float().is_none() {
        return Err(refuse::quantized(weight));
    }
    if weight.aliased {
        return Err(refuse::aliased(weight));
    }
    if let Some(companion) = &weight.side_tensor {
        return Err(refuse::computed(weight, companion));
    }
    let producers = weight.producers(channels);
    if producers.is_empty() {
        return Err(refuse::other_channels(weight, channels));
    }
    match stated {
        None => operation(weight, channels, kernels).ok_or_else(|| refuse::transposed(weight)),
        Some(op) => {
            producers.into_iter().find(|(can, _)| *can == op).ok_or_else(|| refuse::other_operation(weight, op))
        }
    }
}
