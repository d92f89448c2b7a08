//! 2 PLAN, object: habits of the whole file.
//!
//! In: the first round's groups. Out: [`Habits`], weak evidence for pairs whose own shapes and precedents prove nothing: does
//! this file's author keep biases in front of norms, and does the network as a whole look as if it ran its norms first?

use std::collections::{BTreeMap, BTreeSet};

use super::template_vote::{Group, Vote};
use crate::network::NormId;
use crate::plan::propose::Names;
use crate::plan::propose::relations::Relation;
use crate::plan::propose::tokens::Place;
use crate::plan::propose::tree::{Id, Node};
use crate::plan::rulebook::Rule;

/// What the whole file shows.
#[derive(Debug, Clone, Default)]
pub(in crate::plan) struct Habits {
    /// Most weights that fit their norms have a bias, which the norm cancels.
    pub(in crate::plan) keeps_biases: bool,
    /// Templates of units in which a layer with a bias comes right before its norm, as the places of an `nn.Sequential` show.
    pub(in crate::plan) biases_before_norms: BTreeSet<usize>,
    /// Blocks of such a network run their norms first: a norm stands alone behind the last block.
    pub(in crate::plan) runs_norms_first: bool,
}

impl Habits {
    pub(in crate::plan) fn read(names: &Names<'_>, groups: &[Group]) -> Habits {
        Habits {
            keeps_biases: names.has(Rule::FileKeepsBiases) && keeps_biases(names, groups),
            biases_before_norms: biases_before_norms(names, groups),
            runs_norms_first: names.has(Rule::TrailingNorm) && has_trailing_norm(names, groups),
        }
    }
}

fn keeps_biases(names: &Names<'_>, groups: &[Group]) -> bool {
    let fitting = groups.iter().filter(|group| matches!(group.vote, Vote::Fits(_)));
    let weights = fitting.flat_map(|group| &group.members).map(|member| names.weight(member.weight));
    let (all, biased) = weights.fold((0, 0), |(all, some), weight| (all + 1, some + usize::from(weight.bias_exists)));
    2 * biased > all
}

fn biases_before_norms(names: &Names<'_>, groups: &[Group]) -> BTreeSet<usize> {
    let is_fitting = |group: &&Group| {
        names.has(Rule::BiasOfSequences) && group.relation == Relation::Sequence && matches!(group.vote, Vote::Fits(_))
    };
    let biased = groups.iter().filter(is_fitting).flat_map(|group| &group.members);
    let biased = biased.filter(|member| names.weight(member.weight).bias_exists);
    let nodes = &names.tree.nodes;
    biased.map(|member| nodes[nodes[nodes[member.site].parent].parent].template).collect()
}

/// A norm without candidates that is the only one of its template; unless it is numbered and a layer beside it fits that is
/// nobody else's candidate, as behind a stem (`conv_stem`, `bn1`).
fn has_trailing_norm(names: &Names<'_>, groups: &[Group]) -> bool {
    let tree = &names.tree;
    let members = || groups.iter().flat_map(|group| &group.members);
    let found = members().map(|member| member.norm).collect::<BTreeSet<_>>();
    let wanted = members().map(|member| member.weight).collect::<BTreeSet<_>>();
    // What does not call itself a norm is no last norm: an identity branch.
    let is_named = |norm: &NormId| {
        let segment = &tree.nodes[tree.norm_node(*norm)].segment;
        segment.norm || segment.index.is_some()
    };
    let mut alone: BTreeMap<_, Vec<NormId>> = BTreeMap::new();
    for norm in names.board.open().filter(|norm| !found.contains(norm) && is_named(norm)) {
        alone.entry(kind(names, norm)).or_default().push(norm);
    }
    let stands_behind_stem = |norm: NormId| {
        let node = tree.norm_node(norm);
        let fits = |id: Id| tree.nodes[id].end.is_some_and(|end| !wanted.contains(&end) && names.fits(end, norm));
        matches!(tree.nodes[node].segment.place, Some(Place::Number(_))) && tree.siblings(node).any(fits)
    };
    alone.values().any(|norms| matches!(norms[..], [norm] if !stands_behind_stem(norm)))
}

/// What norms of one kind have in common. One with a name of its own is alone if no other has the name, whatever their
/// scopes are called.
fn kind<'t>(names: &Names<'t>, norm: NormId) -> (usize, &'t str) {
    let Node { segment, name, template, .. } = &names.tree.nodes[names.tree.norm_node(norm)];
    match segment.key.contains(|c: char| c.is_ascii_alphabetic()) {
        true => (0, name),
        false => (*template, ""),
    }
}
