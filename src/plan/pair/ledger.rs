//! Pairing, last stage: the books. One weight feeds one norm; every norm is folded once or kept with a reason.
//!
//! In: claims of the stages. Out: verdicts. Here are also the refusals that concern a weight as such: aliased, quantized,
//! convolution or transposed convolution.

use super::Verdict;
use super::shape::{Transposition, puts_out, transposition};
use crate::fold::layout::ChannelMap;
use crate::plan::{Inventory, Norm, Op};

/// What is known of a norm.
enum Entry {
    /// Undecided; the reason is what it is kept with if nothing better comes.
    Open(String),
    Closed(Verdict),
}

/// What is decided so far.
pub(super) struct Ledger<'a> {
    pub(super) inventory: &'a Inventory,
    norms: Vec<Entry>,
    /// The norm that a weight feeds.
    owners: Vec<Option<usize>>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(inventory: &'a Inventory) -> Ledger<'a> {
        // Networks whose weights are binarised as they are used (WRN-1bit) leave scale and shift out: the stored weights
        // are not what the norms see.
        let bare = |norm: &&Norm| norm.gamma.is_none() && norm.beta.is_none();
        let mostly_bare = 2 * inventory.norms.iter().filter(bare).count() > inventory.norms.len();
        let norms = inventory
            .norms
            .iter()
            .map(|norm| match &norm.defect {
                Some(defect) => Entry::Closed(Verdict::Keep { reason: defect.clone() }),
                None if mostly_bare => Entry::Closed(Verdict::Keep {
                    reason: "most norms of this file have neither scale nor shift, as where weights are binarised when \
                             they are used"
                        .to_owned(),
                }),
                None => Entry::Open(format!(
                    "no weight in its scope is named or placed like its producer with {} output channels; name it in a plan",
                    norm.channels
                )),
            })
            .collect();
        Ledger { inventory, norms, owners: vec![None; inventory.weights.len()] }
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

    /// A better reason for a norm that may still be decided.
    pub(super) fn explain(&mut self, norm: usize, reason: String) {
        if self.is_open(norm) {
            self.norms[norm] = Entry::Open(reason);
        }
    }

    /// Folds norms into weights. A weight that two of them want feeds neither: it is shared.
    pub(super) fn claim(&mut self, claims: &[(usize, usize, String)]) {
        let mut wanted = vec![0; self.owners.len()];
        for &(_, weight, _) in claims {
            wanted[weight] += 1;
        }
        for (norm, weight, evidence) in claims {
            if !self.is_open(*norm) {
                continue;
            }
            let name = &self.inventory.weights[*weight].tensor;
            if wanted[*weight] > 1 || !self.is_free(*weight) {
                self.close(*norm, format!("`{name}` seems to feed several norms"));
                continue;
            }
            self.owners[*weight] = Some(*norm);
            self.norms[*norm] = Entry::Closed(match self.operation(*norm, *weight) {
                Ok((op, map)) => Verdict::Fold { weight: *weight, op, map, evidence: vec![evidence.clone()] },
                Err(reason) => Verdict::Keep { reason },
            });
        }
    }

    /// The verdicts, in the order of the inventory's norms.
    pub(super) fn verdicts(self) -> Vec<Verdict> {
        let verdict = |entry| match entry {
            Entry::Open(reason) => Verdict::Keep { reason },
            Entry::Closed(verdict) => verdict,
        };
        self.norms.into_iter().map(verdict).collect()
    }

    /// What kind of layer the weight is, or why it must not be folded into.
    fn operation(&self, norm: usize, weight: usize) -> Result<(Op, ChannelMap), String> {
        let (norm, weight) = (&self.inventory.norms[norm], &self.inventory.weights[weight]);
        let name = &weight.tensor;
        if weight.dtype.float().is_none() {
            return Err(format!("its weight `{name}` is stored as {}: quantized weights are not folded", weight.dtype));
        }
        if weight.aliased {
            return Err(format!(
                "its weight `{name}` is used under other names too, so that it feeds more than this norm"
            ));
        }
        let producers = weight.producers(norm.channels);
        let find = |wanted: Op| producers.iter().copied().find(|(op, _)| *op == wanted);
        let same_map = |a: Option<(Op, ChannelMap)>, b: Option<(Op, ChannelMap)>| a.map(|a| a.1) == b.map(|b| b.1);
        let plain = puts_out(weight, norm.channels);
        let transposed = find(Op::ConvTranspose);
        if find(Op::Conv).is_none() || transposed.is_none() || same_map(find(Op::Conv), transposed) {
            return plain.ok_or_else(|| format!("`{name}` does not have {} output channels", norm.channels));
        }
        match transposition(weight) {
            Transposition::Said => transposed,
            Transposition::Unsaid => plain,
            Transposition::Hinted => None,
        }
        .ok_or_else(|| format!("`{name}` may be a convolution or a transposed one; say which in a plan"))
    }
}
