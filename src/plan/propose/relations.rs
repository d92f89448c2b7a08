//! 2 PLAN, propose: how a norm may point at its producer.
//!
//! In: the tree. Out: for a norm, the strongest [`Relation`] that finds candidates, and those candidates. Whether they fit
//! is the template vote's business: it wants to see the misfits too.

use std::collections::BTreeSet;

use super::tokens::without_counter;
use super::tree::{Id, Tree};
use crate::network::{NormId, WeightId};
use crate::plan::reason::Support;
use crate::plan::rulebook::{Rule, Rulebook};

/// A way in which place or name point at a producer, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::plan) enum Relation {
    /// `N` follows `N-1` in an `nn.Sequential`. A gap means that something without weights stands between.
    Sequence,
    /// The only norm and the only weight of a scope, or the only norm inside a layer's own scope (TF-slim's
    /// `Conv2d_0/weights` and `Conv2d_0/BatchNorm`).
    Only,
    /// `bn1` and `conv1`, `expand_bn` and `expand_conv`, `bns.0` and `convs.0`.
    Twin,
    /// `bn_sep_1`, `bn_sep_2` and `separable_1`, `separable_2`: one row of norms and one of layers, counted alike.
    Row,
    /// `norm2` and `conv2_kxk`: the weight's key goes on where the norm's ends.
    Part,
    /// A norm that says nothing, alone among several weights: shapes must single one out.
    Lone,
}

/// Scopes with more modules than this are not searched for rows.
const MAX_ROW: usize = 32;

/// A weight that may feed a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) struct Candidate {
    pub(in crate::plan) norm: NormId,
    /// The norm's module without its shells.
    pub(in crate::plan) site: Id,
    /// The module through which the weight was found.
    pub(in crate::plan) via: Id,
    pub(in crate::plan) weight: WeightId,
}

impl Relation {
    /// What speaks for a pair found this way.
    pub(in crate::plan) fn support(self) -> Support {
        match self {
            Relation::Sequence => Support::Sequence,
            Relation::Only => Support::OnlyPair,
            Relation::Twin => Support::Twin,
            Relation::Row => Support::Row,
            Relation::Part => Support::NamePart,
            Relation::Lone => Support::Lone,
        }
    }

    /// The rule that it is.
    fn rule(self) -> Rule {
        match self {
            Relation::Sequence => Rule::Sequence,
            Relation::Only => Rule::OnlyPair,
            Relation::Twin => Rule::Twin,
            Relation::Row => Rule::Row,
            Relation::Part => Rule::NamePart,
            Relation::Lone => Rule::Lone,
        }
    }

    /// The modules that this relation points at from the norm at `site`.
    fn modules(self, book: Rulebook, tree: &Tree<'_>, site: Id) -> Vec<Id> {
        let (node, segment) = (&tree.nodes[site], &tree.nodes[site].segment);
        let scope = &tree.nodes[node.parent];
        match (self, segment.index) {
            (Relation::Sequence, Some(index)) => {
                let before = index.checked_sub(1).and_then(|index| tree.child(node.parent, &index.to_string()));
                before.into_iter().collect()
            }
            (Relation::Sequence, None) if book.has(Rule::FlatSequence) => flat_before(tree, site).into_iter().collect(),
            (Relation::Only, None) if !scope.weights.is_empty() && scope.children.len() == 1 => vec![node.parent],
            (Relation::Only, None) if scope.weights.is_empty() && scope.children.len() == 2 => {
                tree.siblings(site).collect()
            }
            (Relation::Only, None) if scope.norms_below == 1 => scope.last_of_separable.into_iter().collect(),
            (Relation::Twin, Some(_)) if book.has(Rule::TwinLists) => twin_lists(tree, site),
            (Relation::Twin, None) if segment.norm => twins(tree, site),
            (Relation::Row, None) if segment.norm && scope.children.len() <= MAX_ROW => row(tree, site),
            (Relation::Part, None) if segment.norm && !segment.key.is_empty() => {
                let going_on = tree.with_key_beginning(node.parent, &segment.key);
                if going_on.is_empty() && book.has(Rule::CountedFactors) { factors(tree, site) } else { going_on }
            }
            (Relation::Lone, None) if segment.norm && segment.key.is_empty() && scope.norms_below == 1 => {
                tree.siblings(site).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The candidates for a norm by the strongest of `relations` that finds any among the weights that are `free`.
pub(in crate::plan) fn candidates(
    book: Rulebook,
    tree: &Tree<'_>,
    norm: NormId,
    relations: &[Relation],
    free: &dyn Fn(WeightId) -> bool,
) -> Option<(Relation, Vec<Candidate>)> {
    let site = tree.site(norm);
    relations.iter().filter(|relation| book.has(relation.rule())).find_map(|&relation| {
        let found = relation.modules(book, tree, site).into_iter().filter_map(|via| {
            let weight = tree.nodes[via].end.filter(|&weight| free(weight))?;
            Some(Candidate { norm, site, via, weight })
        });
        let candidates = found.collect::<Vec<_>>();
        (!candidates.is_empty()).then_some((relation, candidates))
    })
}

/// `features_3_1` behind `features_3_0`: an `nn.Sequential` whose path is written with underscores.
fn flat_before(tree: &Tree<'_>, site: Id) -> Option<Id> {
    let node = &tree.nodes[site];
    let (list, index) = node.name.rsplit_once('_').filter(|_| !node.segment.norm)?;
    let before = index.parse::<u64>().ok()?.checked_sub(1)?;
    tree.child(node.parent, &format!("{list}_{before}"))
}

/// `conv3x1_1` and `conv1x3_1` in front of `bn1`: the factors of one convolution, whose names say their kernels first, counted
/// like the norm. Which of them comes last names do not tell.
fn factors(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let node = &tree.nodes[site];
    let is_row = tree.nodes[node.parent].children.len() <= MAX_ROW;
    let Some(place) = node.segment.place.filter(|_| is_row) else { return Vec::new() };
    let is_factor = |id: &Id| {
        let other = &tree.nodes[*id];
        let counted = without_counter(other.name) != other.name && other.segment.key.contains(".x.");
        counted && !other.segment.norm && other.segment.place == Some(place) && other.end.is_some()
    };
    let found = tree.siblings(site).filter(is_factor).collect::<Vec<_>>();
    if found.len() == 2 { found } else { Vec::new() }
}

fn twins(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let node = &tree.nodes[site];
    let is_numbered = |id: &Id| tree.nodes[*id].segment.index.is_some();
    tree.with_key(node.parent, &node.segment.key).iter().copied().filter(|id| !is_numbered(id)).collect()
}

/// `bns.0` and `convs.0`: the lists are twins, and the places in them equal.
fn twin_lists(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let (node, list) = (&tree.nodes[site], &tree.nodes[tree.nodes[site].parent]);
    if !list.segment.norm {
        return Vec::new();
    }
    let twins = tree.with_key(list.parent, &list.segment.key);
    twins.iter().filter_map(|&other| tree.child(other, node.name)).collect()
}

fn row(tree: &Tree<'_>, site: Id) -> Vec<Id> {
    let scope = &tree.nodes[tree.nodes[site].parent];
    let (norms, others): (Vec<Id>, Vec<Id>) = scope.children.values().partition(|&&id| tree.nodes[id].segment.norm);
    let layers = others.into_iter().filter(|&id| tree.nodes[id].end.is_some()).collect::<Vec<_>>();
    // A row: names that differ in their last counter only. Its places, in order.
    let places = |row: &[Id]| {
        let places = row.iter().map(|&id| tree.nodes[id].segment.place).collect::<Option<BTreeSet<_>>>();
        let alike = row
            .windows(2)
            .all(|pair| without_counter(tree.nodes[pair[0]].name) == without_counter(tree.nodes[pair[1]].name));
        places.filter(|places| alike && places.len() == row.len())
    };
    let same = places(&norms).is_some_and(|norms| places(&layers) == Some(norms));
    let place = tree.nodes[site].segment.place;
    layers.into_iter().filter(|&id| same && tree.nodes[id].segment.place == place).collect()
}
