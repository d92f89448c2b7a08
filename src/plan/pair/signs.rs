//! Pairing, stage 4: habits of the whole file.
//!
//! In: the first round's groups. Out: [`Signs`], weak evidence for pairs whose own shapes and kin prove nothing: does this
//! file's author keep biases in front of norms, and does the network as a whole look as if it ran its norms first?

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::Ledger;
use super::shape::{COLOURS, puts_out};
use super::tree::{Id, Node, ROOT, Tree};
use super::vote::{Group, Judgement};
use super::words::Place;

/// What the whole file shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// Most weights that fit their norms have a bias, which the norm cancels.
    pub(super) biased: bool,
    /// Blocks of such a network run their norms first: its first layer has no norm of its own, or a norm stands alone
    /// behind the last block.
    pub(super) norms_first: bool,
}

impl Signs {
    pub(super) fn read(tree: &Tree<'_>, ledger: &Ledger<'_>, groups: &[Group]) -> Signs {
        let norms_first = trailing_norm(tree, ledger, groups) || bare_stem(tree, ledger, groups);
        Signs { biased: mostly_biased(ledger, groups), norms_first }
    }
}

fn mostly_biased(ledger: &Ledger<'_>, groups: &[Group]) -> bool {
    let fitting = groups.iter().filter(|group| matches!(group.judgement, Judgement::Fits(_)));
    let weights = fitting.flat_map(|group| &group.members).map(|member| ledger.weight(member.weight));
    let (all, biased) = weights.fold((0, 0), |(all, some), weight| (all + 1, some + usize::from(weight.bias_exists)));
    2 * biased > all
}

/// A norm without candidates that is the only one of its template; unless it is numbered and a layer beside it fits that is
/// nobody else's candidate, as behind a stem (`conv_stem`, `bn1`).
fn trailing_norm(tree: &Tree<'_>, ledger: &Ledger<'_>, groups: &[Group]) -> bool {
    let members = || groups.iter().flat_map(|group| &group.members);
    let found = members().map(|member| member.norm).collect::<BTreeSet<_>>();
    let wanted = members().map(|member| member.weight).collect::<BTreeSet<_>>();
    // One with a name of its own is alone if no other has the name, whatever their scopes are called.
    let kind = |norm: usize| {
        let node = tree.norm_node(norm);
        let Node { words, name, template, .. } = &tree.nodes[node];
        if words.key.contains(|c: char| c.is_ascii_alphabetic()) { (0, *name) } else { (*template, "") }
    };
    let mut alone: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    // What does not call itself a norm is no last norm: an identity branch.
    let named = |norm: usize| {
        let words = &tree.nodes[tree.norm_node(norm)].words;
        words.norm || words.index.is_some()
    };
    for norm in ledger.open().filter(|norm| !found.contains(norm) && named(*norm)) {
        alone.entry(kind(norm)).or_default().push(norm);
    }
    let stem = |norm: usize| {
        let node = tree.norm_node(norm);
        let fits = |id: Id| {
            tree.nodes[id]
                .end
                .is_some_and(|end| !wanted.contains(&end) && puts_out(ledger.weight(end), ledger.channels(norm)))
        };
        matches!(tree.nodes[node].words.place, Some(Place::Number(_))) && tree.siblings(node).any(fits)
    };
    alone.values().any(|norms| matches!(norms[..], [norm] if !stem(norm)))
}

/// A convolution of colours without a bias, hence with a norm somewhere behind it, but with none in its scope.
fn bare_stem(tree: &Tree<'_>, ledger: &Ledger<'_>, groups: &[Group]) -> bool {
    let found = groups.iter().flat_map(|group| &group.members).map(|member| member.weight).collect::<BTreeSet<_>>();
    tree.nodes.iter().skip(ROOT + 1).any(|node| {
        let mut siblings = tree.nodes[node.parent].children.values();
        let bare = |weight: &usize| {
            let kind = ledger.weight(*weight);
            kind.shape.len() > 2
                && !kind.bias_exists
                && kind.inputs() == Some(COLOURS)
                && kind.outputs() > Some(COLOURS)
        };
        node.weights.iter().any(|weight| bare(weight) && !found.contains(weight))
            && !siblings.any(|&sibling| tree.nodes[sibling].norm.is_some())
    })
}
