//! Pairing, stage 4: what a template's kin has shown.
//!
//! In: judgements. Out: for pairs whose own shapes prove nothing, what pairs of the same names proved nearby. Modules
//! named alike under one roof come from one class, and a class runs its norm either first or last. The nearest roof
//! counts: a network may hold both kinds.

use std::collections::{HashMap, HashSet};

use super::relations::{Candidate, Relation};
use super::shape::Takes;
use super::tree::{Id, ROOT, Tree};
use super::vote::{Group, Judgement};
use super::words::template;

/// What pairs proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Record {
    /// Some cannot run their norm first.
    pub(super) proven: bool,
    /// Some do run it first.
    pub(super) first: bool,
}

/// The nearest kin's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Near {
    pub(super) record: Record,
    /// The kin lives in the member's own unit or right around it.
    pub(super) close: bool,
    /// The kin has the member's names.
    pub(super) named: bool,
}

/// Records by roof (template of a scope) and names; the empty name stands for all names.
#[derive(Debug, Default)]
pub(super) struct Kin {
    /// By unit: of the pairs right in it.
    units: HashMap<(usize, String), Record>,
    /// By roof: of all pairs below it.
    roofs: HashMap<(usize, String), Record>,
    /// Names of pairs that somewhere do not fit.
    refuted: HashSet<String>,
}

impl Kin {
    /// Adds what groups proved.
    pub(super) fn record_all(&mut self, tree: &Tree<'_>, groups: &[Group]) {
        for group in groups.iter().filter(|group| group.relation != Relation::Sequence) {
            if !matches!(group.judgement, Judgement::Fits(_)) {
                self.refuted.extend(group.members.iter().map(|member| names(tree, member)));
            }
            let shown = match group.judgement {
                Judgement::Fits(Takes::No) => Record { proven: true, first: false },
                Judgement::NormFirst => Record { proven: false, first: true },
                _ => continue,
            };
            for member in &group.members {
                self.record(tree, group.relation, member, shown);
            }
        }
    }

    /// Adds what `member` proved, for its unit and for all roofs above it.
    pub(super) fn record(&mut self, tree: &Tree<'_>, relation: Relation, member: &Candidate, shown: Record) {
        let add = |records: &mut HashMap<_, Record>, roof: Id| {
            for name in [names(tree, member), String::new()] {
                let record = records.entry((tree.nodes[roof].template, name)).or_default();
                record.proven |= shown.proven;
                record.first |= shown.first;
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
    pub(super) fn condemns(&self, tree: &Tree<'_>, group: &Group) -> bool {
        let unproven = matches!(group.judgement, Judgement::Fits(proof) if proof > Takes::No);
        let condemned = |member: &Candidate| {
            let own = (tree.nodes[unit(tree, group.relation, member)].template, names(tree, member));
            let near = self.nearest(tree, group.relation, member).map(|near| near.record).unwrap_or_default();
            self.units.get(&own).is_some_and(|record| record.first) || near.first && !near.proven
        };
        unproven && group.relation != Relation::Sequence && group.members.iter().any(condemned)
    }

    /// What pairs showed under the nearest roof where they showed anything; pairs named like `member`, or else any.
    pub(super) fn nearest(&self, tree: &Tree<'_>, relation: Relation, member: &Candidate) -> Option<Near> {
        let unit = unit(tree, relation, member);
        let called = |name: &str, named: bool| {
            let mut roof = unit;
            loop {
                if let Some(&record) = self.roofs.get(&(tree.nodes[roof].template, name.to_owned())) {
                    let close = roof > tree.top && (roof == unit || roof == tree.nodes[unit].parent);
                    return Some(Near { record, close, named });
                }
                if roof == ROOT {
                    return None;
                }
                roof = tree.nodes[roof].parent;
            }
        };
        called(&names(tree, member), true).or_else(|| called("", false))
    }

    /// Whether a pair named like `member` does not fit somewhere in the file.
    pub(super) fn refutes(&self, tree: &Tree<'_>, member: &Candidate) -> bool {
        self.refuted.contains(&names(tree, member))
    }

    /// What pairs of any names showed in the member's own unit.
    pub(super) fn any_in_unit(&self, tree: &Tree<'_>, relation: Relation, member: &Candidate) -> Record {
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
fn names(tree: &Tree<'_>, member: &Candidate) -> String {
    let inside = tree.nodes[member.site].parent == member.via;
    let layer = if inside { String::new() } else { template(tree.nodes[member.via].name) };
    format!("{}<-{layer}", template(tree.nodes[member.site].name))
}
