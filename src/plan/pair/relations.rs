//! Pairing, stage 3: how a norm may point at its producer.
//!
//! In: the tree. Out: for a norm, the strongest [`Relation`] that finds candidates, and those candidates. Whether they fit
//! is the vote's business: it wants to see the misfits too.

use super::tree::{Id, Tree};

/// A way in which place or name point at a producer, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relation {
    /// `N` follows `N-1` in an `nn.Sequential`.
    Sequence,
    /// The only norm and the only weight of a scope.
    Only,
    /// `bn1` and `conv1`, `expand_bn` and `expand_conv`, `bns.0` and `convs.0`.
    Twin,
    /// `norm2` and `conv2_kxk`: all the norm's key is in the weight's.
    Part,
    /// A norm that says nothing, alone among several weights: shapes must single one out.
    Lone,
}

/// A weight that may feed a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) norm: usize,
    /// The norm's module without its shells.
    pub(super) site: Id,
    /// The module through which the weight was found.
    pub(super) via: Id,
    pub(super) weight: usize,
}

/// The candidates for the norm whose module is `site`, by the strongest of `relations` that finds any.
pub(super) fn candidates(
    tree: &Tree<'_>,
    norm: usize,
    relations: &[Relation],
    free: &dyn Fn(usize) -> bool,
) -> Option<(Relation, Vec<Candidate>)> {
    let site = tree.site(norm);
    let found = |via: &Id| {
        let weight = tree.nodes[*via].end.filter(|&weight| free(weight))?;
        Some(Candidate { norm, site, via: *via, weight })
    };
    relations.iter().find_map(|&relation| {
        let modules = match relation {
            Relation::Sequence => sequence(tree, site),
            Relation::Twin => twins(tree, site),
            Relation::Only => only(tree, site),
            Relation::Part => part(tree, site),
            Relation::Lone => lone(tree, site),
        };
        let candidates = modules.iter().filter_map(found).collect::<Vec<_>>();
        (!candidates.is_empty()).then_some((relation, candidates))
    })
}

fn sequence(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let node = &tree.nodes[site];
    let before = node.words.index.and_then(|index| index.checked_sub(1));
    before.and_then(|index| tree.child(node.parent, &index.to_string())).into_iter().collect()
}

fn twins(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let node = &tree.nodes[site];
    if node.words.index.is_some() || !node.words.norm {
        return twin_lists(tree, site);
    }
    let same = tree
        .siblings(site)
        .filter(|&other| {
            let words = &tree.nodes[other].words;
            words.key == node.words.key && !words.norm && words.index.is_none()
        })
        .collect::<Vec<_>>();
    // `conv1_bn` is `conv1`'s and not `conv_1`'s.
    let spelt = same.iter().copied().find(|&other| {
        let other = tree.nodes[other].name;
        ["_bn", "_BN", "_norm", "-BN", "-bn"].iter().any(|suffix| node.name.strip_suffix(suffix) == Some(other))
            || ["bn_", "norm_"].iter().any(|prefix| node.name.strip_prefix(prefix) == Some(other))
    });
    spelt.map_or(same, |other| vec![other])
}

/// `bns.0` and `convs.0`: the lists are twins, and the places in them equal.
fn twin_lists(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let (node, list) = (&tree.nodes[site], tree.nodes[site].parent);
    if node.words.index.is_none() || !tree.nodes[list].words.norm {
        return Vec::new();
    }
    let key = &tree.nodes[list].words.key;
    tree.siblings(list)
        .filter(|&other| tree.nodes[other].words.key == *key && !tree.nodes[other].words.norm)
        .filter_map(|other| tree.child(other, node.name))
        .collect()
}

fn only(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    if tree.nodes[site].words.index.is_some() {
        return Vec::new();
    }
    let others = tree.siblings(site).collect::<Vec<_>>();
    if others.len() == 1 { others } else { Vec::new() }
}

fn part(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let words = &tree.nodes[site].words;
    let part = |&other: &Id| !tree.nodes[other].words.norm && words.within(&tree.nodes[other].words);
    if words.index.is_some() || !words.norm { Vec::new() } else { tree.siblings(site).filter(part).collect() }
}

fn lone(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let words = &tree.nodes[site].words;
    let speaks = words.index.is_some() || !words.norm || !words.key.is_empty();
    let others = tree.siblings(site).collect::<Vec<_>>();
    let alone = others.iter().all(|&other| tree.nodes[other].norms_below == 0);
    if speaks || !alone { Vec::new() } else { others }
}
