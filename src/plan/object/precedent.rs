//! 2 PLAN, object: precedents: what pairs of the same names have shown.
//!
//! In: votes. Out: for pairs whose own shapes prove nothing, what pairs of the same names proved nearby. Modules named alike
//! under one roof come from one class, and a class runs its norm either first or last. The nearest roof counts: a network
//! may hold both kinds.

use std::collections::{BTreeSet, HashMap};

use super::template_vote::{Group, Vote};
use crate::plan::propose::produces::Takes;
use crate::plan::propose::relations::{Candidate, Relation};
use crate::plan::propose::tokens::without_counter;
use crate::plan::propose::tree::{Id, ROOT, Tree};

/// What pairs proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::plan) struct Precedent {
    /// Some cannot run their norm first.
    pub(in crate::plan) runs_last: bool,
    /// Some do run it first.
    pub(in crate::plan) runs_first: bool,
}

/// The nearest kin's precedent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) struct Nearest {
    pub(in crate::plan) precedent: Precedent,
    /// The kin lives in the member's own unit or right around it.
    pub(in crate::plan) is_close: bool,
    /// The kin has the member's names.
    pub(in crate::plan) is_namesake: bool,
}

/// A roof (template of a scope) and names of a pair; the empty name stands for all names.
type Key = (usize, String);

/// Precedents by roof and names.
#[derive(Debug, Default)]
pub(in crate::plan) struct Precedents {
    /// By unit: of the pairs right in it.
    units: HashMap<Key, Precedent>,
    /// By roof: of all pairs below it.
    roofs: HashMap<Key, Precedent>,
}

impl Precedents {
    /// Adds what groups proved.
    pub(in crate::plan) fn learn(&mut self, tree: &Tree<'_>, groups: &[Group]) {
        let fitting = groups.iter().filter(|group| matches!(group.vote, Vote::Fits(_)));
        let fed = fitting.flat_map(|group| &group.members).map(|member| member.norm).collect::<BTreeSet<_>>();
        for group in groups.iter().filter(|group| group.relation != Relation::Sequence) {
            // Of several layers that a norm's name is a part of, those that take what it gives come behind it, as one that
            // puts it out comes before: that says nothing about where norms run (`bn` among `dwconv`, `se_reduce`).
            let is_between = || group.relation == Relation::Part && group.members.iter().all(|m| fed.contains(&m.norm));
            let shown = match group.vote {
                Vote::Fits(Takes::No) => Precedent { runs_last: true, runs_first: false },
                Vote::PreActivation if !is_between() => Precedent { runs_last: false, runs_first: true },
                Vote::Fits(_) | Vote::Misfit | Vote::PreActivation => continue,
            };
            for member in &group.members {
                self.add(tree, group.relation, member, shown);
            }
        }
    }

    /// Adds what `member` proved, for its unit and for all roofs above it.
    pub(in crate::plan) fn add(&mut self, tree: &Tree<'_>, relation: Relation, member: &Candidate, shown: Precedent) {
        let add = |precedents: &mut HashMap<Key, Precedent>, roof: Id| {
            for name in [pair_name(tree, member), String::new()] {
                let known = precedents.entry((tree.nodes[roof].template, name)).or_default();
                known.runs_last |= shown.runs_last;
                known.runs_first |= shown.runs_first;
            }
        };
        let mut roof = unit(tree, relation, member);
        add(&mut self.units, roof);
        add(&mut self.roofs, roof);
        while roof != ROOT {
            roof = tree.nodes[roof].parent;
            add(&mut self.roofs, roof);
        }
    }

    /// Whether a group fits by accident: its kin runs norms first, and its own shapes do not prove the contrary.
    pub(in crate::plan) fn condemn(&self, tree: &Tree<'_>, group: &Group) -> bool {
        let is_unproven = matches!(group.vote, Vote::Fits(proof) if proof > Takes::No);
        let is_condemned = |member: &Candidate| {
            let own = (tree.nodes[unit(tree, group.relation, member)].template, pair_name(tree, member));
            let near = self.nearest(tree, group.relation, member).map(|near| near.precedent).unwrap_or_default();
            self.units.get(&own).is_some_and(|precedent| precedent.runs_first) || near.runs_first && !near.runs_last
        };
        is_unproven && group.relation != Relation::Sequence && group.members.iter().any(is_condemned)
    }

    /// What pairs showed under the nearest roof where they showed anything; pairs named like `member`, or else any.
    pub(in crate::plan) fn nearest(&self, tree: &Tree<'_>, relation: Relation, member: &Candidate) -> Option<Nearest> {
        let unit = unit(tree, relation, member);
        let called = |name: &str, is_namesake: bool| {
            let mut roof = unit;
            loop {
                if let Some(&precedent) = self.roofs.get(&(tree.nodes[roof].template, name.to_owned())) {
                    let is_close = roof > tree.top && (roof == unit || roof == tree.nodes[unit].parent);
                    return Some(Nearest { precedent, is_close, is_namesake });
                }
                if roof == ROOT {
                    return None;
                }
                roof = tree.nodes[roof].parent;
            }
        };
        called(&pair_name(tree, member), true).or_else(|| called("", false))
    }

    /// What pairs of any names showed in the member's own unit.
    pub(in crate::plan) fn in_unit(&self, tree: &Tree<'_>, relation: Relation, member: &Candidate) -> Precedent {
        let key = (tree.nodes[unit(tree, relation, member)].template, String::new());
        self.units.get(&key).copied().unwrap_or_default()
    }
}

/// The scope whose modules are kin: around the module that holds just the pair, or the pair's own.
fn unit(tree: &Tree<'_>, relation: Relation, member: &Candidate) -> Id {
    let scope = tree.nodes[member.site].parent;
    if relation == Relation::Only { tree.nodes[scope].parent } else { scope }
}

/// What the pair is called: norm and layer, without counters. A layer that holds its norm may have any name.
fn pair_name(tree: &Tree<'_>, member: &Candidate) -> String {
    let is_inside = tree.nodes[member.site].parent == member.via;
    let layer = if is_inside { String::new() } else { without_counter(tree.nodes[member.via].name) };
    format!("{}<-{layer}", without_counter(tree.nodes[member.site].name))
}
