//! Pairing, stage 5: what speaks against a candidate that fits.
//!
//! In: a group that fits, one of its members, its kin and the file's signs. Out: a reason to leave the norm undecided, or
//! nothing. Every rule here stands for a way in which names and shapes fit and the pair is wrong all the same.

use std::collections::BTreeSet;

use super::kin::{Kin, Near};
use super::ledger::Ledger;
use super::refuse;
use super::relations::{Candidate, Relation};
use super::shape::{Takes, takes};
use super::signs::Signs;
use super::tree::{Id, MAX_FOUND, Tree};
use super::vote::{Group, Judgement};
use super::words::{Words, template};

/// A block that comes this often is library code, whose authors leave out a bias that a norm would cancel.
const REPEATED: usize = 3;

/// Scopes with more modules than this say little about which of them belong together.
const FEW: usize = 8;

/// Norms by scope, own name and the name of a module beside them.
type Strays = BTreeSet<(usize, usize, Option<usize>)>;

/// Looks for what speaks against a candidate.
pub(super) struct Doubts<'a, 't> {
    tree: &'a Tree<'t>,
    kin: &'a Kin,
    signs: Signs,
    strays: Strays,
    drifting: BTreeSet<(Id, usize)>,
}

/// What holds for all members of a group that fits.
pub(super) struct Case<'g> {
    pub(super) group: &'g Group,
    /// How well the weights could also stand behind the norms, at the least.
    proof: Takes,
    /// Kin runs norms first.
    condemned: bool,
    /// See [`comes_last`]; asked of lone norms only.
    comes_last: bool,
}

impl<'a, 't> Doubts<'a, 't> {
    pub(super) fn new(
        tree: &'a Tree<'t>,
        kin: &'a Kin,
        signs: Signs,
        ledger: &Ledger<'_>,
        groups: &[Group],
    ) -> Doubts<'a, 't> {
        Doubts { tree, kin, signs, strays: strays(tree, ledger, groups), drifting: drifting(tree, groups) }
    }

    /// A group as a case, if it fits.
    pub(super) fn case<'g>(&self, ledger: &Ledger<'_>, group: &'g Group) -> Option<Case<'g>> {
        let Judgement::Fits(proof) = group.judgement else { return None };
        let condemned = self.kin.condemns(self.tree, group);
        let comes_last = group.relation == Relation::Lone && comes_last(self.tree, ledger, group);
        Some(Case { group, proof, condemned, comes_last })
    }

    /// What speaks against a member of a group.
    pub(super) fn about(&self, ledger: &Ledger<'_>, case: &Case<'_>, member: &Candidate) -> Option<String> {
        let node = &self.tree.nodes[member.site];
        let strays = [None, Some(member.via)].map(|beside| stray(self.tree, member.site, beside));
        if strays.iter().any(|stray| self.strays.contains(stray)) {
            return Some(refuse::shared(ledger, member));
        }
        if node.words.before || self.tree.nodes[node.parent].words.norm_first {
            return Some(refuse::before());
        }
        if self.tree.nodes[node.parent].holds_before {
            return Some(refuse::between());
        }
        if self.drifting.contains(&(node.parent, node.template)) {
            return Some(refuse::drifting(ledger, member));
        }
        if case.group.relation == Relation::Sequence { None } else { self.about_side(ledger, case, member) }
    }

    /// What speaks for the norm standing on the other side of the layer, or away from it.
    fn about_side(&self, ledger: &Ledger<'_>, case: &Case<'_>, member: &Candidate) -> Option<String> {
        let (group, relation, proof) = (case.group, case.group.relation, case.proof);
        if case.condemned {
            return Some(refuse::norm_first(ledger, member));
        }
        let near = self.kin.nearest(self.tree, relation, member);
        let record = near.map(|near| near.record).unwrap_or_default();
        if proof > Takes::No && record.first {
            return Some(refuse::mixed_kin(ledger, member));
        }
        let biased = ledger.weight(member.weight).bias_exists;
        // What far kin proves does not hold against signs of the contrary, nor for a linear layer of which there is one: a
        // classifier has its norm in front.
        let single = group.members.len() == 1;
        let linear = ledger.weight(member.weight).shape.len() == 2;
        let trusted = |near: Near| match self.signs.norms_first {
            true => near.close && near.named,
            false => near.close || !single || !linear,
        };
        let proven = proof == Takes::No || record.proven && near.is_some_and(trusted);
        // Without any evidence the common convention holds: first the layer, then the norm. But not for several pairs of one
        // block, among which, in a network of one width, norms may run first all the same.
        let alone = self.tree.nodes[self.tree.nodes[member.site].parent].norms_below == 1;
        let usual = self.is_usual(ledger, case, member) && alone;
        if biased && !self.bias_is_harmless(ledger, group, member, proven) {
            return Some(refuse::biased(ledger, member));
        }
        let unit = self.kin.any_in_unit(self.tree, relation, member);
        let settled = match relation {
            Relation::Sequence | Relation::Only | Relation::Twin => proven || usual,
            Relation::Row => proven,
            Relation::Part => proven || unit.proven && !unit.first,
            Relation::Lone => proven && case.comes_last,
        };
        (!settled).then(|| refuse::either_side(ledger, member))
    }

    /// Whether the convention speaks for a member, and nothing in the file for or against it.
    pub(super) fn is_usual(&self, ledger: &Ledger<'_>, case: &Case<'_>, member: &Candidate) -> bool {
        let relation = case.group.relation;
        matches!(relation, Relation::Only | Relation::Twin)
            && !case.condemned
            && !self.signs.norms_first
            && !ledger.weight(member.weight).bias_exists
            && self.kin.nearest(self.tree, relation, member).is_none()
    }

    /// A norm right behind a layer makes its bias useless: a bias speaks for something between the two (CREPE: conv,
    /// ReLU, norm), unless a module of their own, a file that drops biases elsewhere, or a squeeze explains it.
    fn bias_is_harmless(&self, ledger: &Ledger<'_>, group: &Group, member: &Candidate, proven: bool) -> bool {
        match group.relation {
            Relation::Sequence => true,
            // In networks for speech, a layer over time has its ReLU before its norm, be it written as a convolution (ECAPA) or
            // as a linear layer (TDNN).
            Relation::Only => proven && ledger.weight(member.weight).shape.len() > 3,
            Relation::Twin => proven && !self.signs.biased && group.members.len() >= REPEATED,
            Relation::Row | Relation::Part => false,
            Relation::Lone => squeezes(self.tree, ledger, member),
        }
    }
}

/// Squeeze, norm, excite: the weight narrows what the scope's only other weight widens again.
fn squeezes(tree: &Tree<'_>, ledger: &Ledger<'_>, member: &Candidate) -> bool {
    let channels = ledger.channels(member.norm);
    let others = tree.siblings(member.site).filter(|&id| id != member.via).map(|id| tree.nodes[id].end);
    let others = others.collect::<Vec<_>>();
    let &[Some(other)] = &others[..] else { return false };
    let (weight, other) = (ledger.weight(member.weight), ledger.weight(other));
    let wide = other.outputs().unwrap_or(0);
    wide > channels && takes(other, channels) == Takes::Plain && takes(weight, wide) > Takes::No
}

/// Whether no other layer of the scope can stand behind the norm in all blocks: else the norm opens the block as likely as
/// it follows the weight (`norm, qkv, proj`; `norm, fc1, fc2`). Unless numbers tell that the other layer comes later, or it
/// gives more channels than the weight takes, so that the two cannot be turned round.
fn comes_last(tree: &Tree<'_>, ledger: &Ledger<'_>, group: &Group) -> bool {
    // Each of as many layers would be held against all the others.
    if group.members.iter().any(|member| tree.siblings(member.site).nth(MAX_FOUND).is_some()) {
        return false;
    }
    let end = |member: &Candidate, name: &str| {
        let end = tree.child(tree.nodes[member.site].parent, name).and_then(|id| tree.nodes[id].end)?;
        Some(ledger.weight(end))
    };
    let follows = |member: &Candidate, name: &str| {
        end(member, name).is_some_and(|other| takes(other, ledger.channels(member.norm)) > Takes::No)
    };
    let one_way = |member: &Candidate, name: &str| {
        let wide = end(member, name).and_then(crate::network::Weight::outputs).unwrap_or(0);
        squeezes(tree, ledger, member) && takes(ledger.weight(member.weight), wide) != Takes::Plain
    };
    let later = |member: &Candidate, name: &str| {
        let own = &tree.nodes[member.via];
        template(own.name) == template(name) && own.words.place < Words::read(name).place
    };
    let siblings = group.members.iter().flat_map(|member| tree.siblings(member.site).map(|id| (id, member.via)));
    let others = siblings.filter(|(id, via)| id != via).map(|(id, _)| tree.nodes[id].name);
    others.collect::<BTreeSet<_>>().into_iter().all(|name| {
        let mut members = group.members.iter();
        !group.members.iter().all(|member| follows(member, name))
            || members.all(|member| later(member, name) || one_way(member, name))
    })
}

/// Norms without candidates, in scopes of their own or beside weights that are others' candidates elsewhere: there the
/// weight may be shared, between blocks or between norms.
fn strays(tree: &Tree<'_>, ledger: &Ledger<'_>, groups: &[Group]) -> Strays {
    let found = groups.iter().flat_map(|group| &group.members).map(|member| member.norm).collect::<BTreeSet<_>>();
    let mut strays = Strays::new();
    for norm in ledger.open().filter(|norm| !found.contains(norm)) {
        let node = tree.norm_node(norm);
        match tree.nodes[tree.nodes[node].parent].children.len() {
            1 => drop(strays.insert(stray(tree, node, None))),
            2..=FEW => strays.extend(tree.siblings(node).map(|other| stray(tree, node, Some(other)))),
            _ => {}
        }
    }
    strays
}

fn stray(tree: &Tree<'_>, norm: Id, beside: Option<Id>) -> (usize, usize, Option<usize>) {
    let node = &tree.nodes[norm];
    let scope = &tree.nodes[node.parent];
    // Beside a weight the pair counts in all scopes of the template; alone, in those of the same name.
    let place = if beside.is_some() { scope.template } else { scope.slot };
    (place, node.slot, beside.map(|id| tree.nodes[id].slot))
}

/// Scopes and templates of norms that a framework named by counting (`batch_normalization_12`, `BatchNorm_3`), where it
/// counted other layers than norms: the counters drift apart as soon as a layer has no norm or a norm no layer.
fn drifting(tree: &Tree<'_>, groups: &[Group]) -> BTreeSet<(Id, usize)> {
    let twins = groups.iter().filter(|group| group.relation == Relation::Twin);
    let counted = twins.flat_map(|group| group.members.first().map(|first| (group, first)));
    let counted = counted.filter(|(_, first)| tree.nodes[first.site].words.counted);
    let mut drifting = BTreeSet::new();
    for (group, first) in counted {
        let scopes = group.members.iter().map(|member| tree.nodes[member.site].parent).collect::<BTreeSet<_>>();
        let (norm, via) = (template(tree.nodes[first.site].name), template(tree.nodes[first.via].name));
        let differ = |scope: &Id| tree.counters(*scope, &norm) != tree.counters(*scope, &via);
        drifting.extend(scopes.into_iter().filter(differ).map(|scope| (scope, tree.nodes[first.site].template)));
    }
    drifting
}
