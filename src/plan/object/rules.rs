//! 2 PLAN, object: one candidate that fits, held against everything that is known: a table of rules.
//!
//! In: a group that fits, one of its members, precedents and the file's habits. Out: an objection, or nothing. Every rule
//! here stands for a way in which names and shapes fit and the pair is wrong all the same.

use std::collections::{BTreeMap, BTreeSet};

use super::precedent::Nearest;
use super::template_vote::{Group, Vote};
use crate::network::{NormId, WeightId};
use crate::plan::propose::Names;
use crate::plan::propose::produces::Takes;
use crate::plan::propose::relations::{Candidate, Relation};
use crate::plan::propose::tokens::{Segment, without_counter};
use crate::plan::propose::tree::{Id, MAX_FOUND, Tree};
use crate::plan::reason::Objection;
use crate::plan::rulebook::Rule;

/// Scopes with more modules than this say little about which of them belong together.
const FEW: usize = 8;

/// Words of layers whose results are added to those of the layer that is named like them without the word.
const PARALLEL_WORDS: &[&str] = &["skip", "shortcut", "res", "residual", "identity", "side"];

/// Words of the two parts of a layer over complex numbers.
const PARTS: &[(&str, &str)] = &[("re", "im"), ("real", "imag"), ("r", "i")];

/// An objection that a rule may raise.
struct Check {
    rule: Rule,
    /// Whether it is about the side of the layer on which the norm stands: a Sequence tells that by itself.
    is_about_side: bool,
    raise: fn(&Asked<'_, '_>) -> Option<Objection>,
}

/// All objections to a candidate, in the order in which they are raised; the first one counts.
const CHECKS: &[Check] = &[
    Check { rule: Rule::MaybeShared, is_about_side: false, raise: maybe_shared },
    Check { rule: Rule::SaidShared, is_about_side: false, raise: said_shared },
    Check { rule: Rule::NamedBefore, is_about_side: false, raise: named_before },
    Check { rule: Rule::BlockNamedBefore, is_about_side: false, raise: block_named_before },
    Check { rule: Rule::Between, is_about_side: false, raise: between },
    Check { rule: Rule::NormBeside, is_about_side: false, raise: norm_beside },
    Check { rule: Rule::LayerBeside, is_about_side: false, raise: layer_beside },
    Check { rule: Rule::CountedApart, is_about_side: false, raise: counted_apart },
    Check { rule: Rule::PreActivationKin, is_about_side: true, raise: pre_activation_kin },
    Check { rule: Rule::Biased, is_about_side: true, raise: biased },
    Check { rule: Rule::EitherSide, is_about_side: true, raise: either_side },
];

/// What the groups of a round show together.
pub(in crate::plan) struct Objections<'a, 'n> {
    names: &'a Names<'n>,
    /// Norms with candidates.
    found: BTreeSet<NormId>,
    /// Norms without candidates.
    strays: Strays,
    /// Scopes and templates of norms whose numbers say nothing.
    counted_apart: BTreeSet<(Id, usize)>,
    /// How often the rest of a path stands behind a module that says that it is shared.
    shared: BTreeMap<&'n str, usize>,
}

/// What holds for all members of a group that fits.
pub(in crate::plan) struct Case<'g> {
    pub(in crate::plan) group: &'g Group,
    /// How well the weights could also stand behind the norms, at the least.
    proof: Takes,
    /// Kin runs norms first.
    is_condemned: bool,
    /// See [`comes_last`]; asked of lone norms only.
    comes_last: bool,
}

/// One member of a group that fits, and all that rules look at.
struct Asked<'a, 'n> {
    objections: &'a Objections<'a, 'n>,
    names: &'a Names<'n>,
    case: &'a Case<'a>,
    member: &'a Candidate,
}

impl<'a, 'n> Objections<'a, 'n> {
    pub(in crate::plan) fn new(names: &'a Names<'n>, groups: &[Group]) -> Objections<'a, 'n> {
        let found = groups.iter().flat_map(|group| &group.members).map(|member| member.norm).collect();
        let (strays, counted_apart) = (strays(names, &found), scopes_counted_apart(&names.tree, groups));
        let mut shared = BTreeMap::new();
        for rest in names.board.network.weights.iter().filter_map(|weight| behind_shared(&weight.module)) {
            *shared.entry(rest).or_default() += 1;
        }
        Objections { names, found, strays, counted_apart, shared }
    }

    /// A group as a case, if it fits.
    pub(in crate::plan) fn case<'g>(&self, group: &'g Group) -> Option<Case<'g>> {
        let Vote::Fits(proof) = group.vote else { return None };
        let is_condemned = self.names.condemns(group);
        let comes_last =
            group.relation == Relation::Lone && (!self.names.has(Rule::ComesLast) || comes_last(self.names, group));
        Some(Case { group, proof, is_condemned, comes_last })
    }

    /// What speaks against a member of a group.
    pub(in crate::plan) fn to(&self, case: &Case<'_>, member: &Candidate) -> Option<Objection> {
        let is_sequence = case.group.relation == Relation::Sequence;
        let asked = Asked { objections: self, names: self.names, case, member };
        let mut checks = CHECKS.iter().filter(|check| self.names.has(check.rule));
        checks.find_map(|check| if check.is_about_side && is_sequence { None } else { (check.raise)(&asked) })
    }
}

fn maybe_shared(asked: &Asked<'_, '_>) -> Option<Objection> {
    let Candidate { site, via, weight, .. } = *asked.member;
    let mut places = [None, Some(via)].into_iter().map(|beside| stray(&asked.names.tree, site, beside));
    places.any(|place| asked.objections.strays.contains(&place)).then_some(Objection::MaybeShared(weight))
}

/// TabNet stores the layers that its steps share once a step, each with a norm of its own.
fn said_shared(asked: &Asked<'_, '_>) -> Option<Objection> {
    let weight = asked.member.weight;
    let rest = behind_shared(&asked.names.weight(weight).module)?;
    asked.objections.shared.get(rest).is_some_and(|&places| places > 1).then_some(Objection::SaidShared(weight))
}

/// What stands behind the first module of a path that says that it is shared, if it is not the first of all.
fn behind_shared(path: &str) -> Option<&str> {
    let mut rest = path;
    while let Some((module, inner)) = rest.split_once(['.', '/']) {
        if rest.len() < path.len() && module.split(['_', '-']).any(|word| word == "shared") {
            return Some(inner);
        }
        rest = inner;
    }
    None
}

fn named_before(asked: &Asked<'_, '_>) -> Option<Objection> {
    asked.names.tree.nodes[asked.member.site].segment.before.then_some(Objection::NamedBefore)
}

fn block_named_before(asked: &Asked<'_, '_>) -> Option<Objection> {
    let tree = &asked.names.tree;
    tree.nodes[tree.nodes[asked.member.site].parent].segment.pre_activation.then_some(Objection::NamedBefore)
}

fn between(asked: &Asked<'_, '_>) -> Option<Objection> {
    let tree = &asked.names.tree;
    tree.nodes[tree.nodes[asked.member.site].parent].holds_before.then_some(Objection::Between)
}

/// A norm of the scope that is named like this one with a word more (`bn1_aux`), as wide, and without a candidate: norms of
/// several domains or rates behind one layer.
fn norm_beside(asked: &Asked<'_, '_>) -> Option<Objection> {
    let (tree, Candidate { site, weight, norm, .. }) = (&asked.names.tree, *asked.member);
    let own = &tree.nodes[site].segment.key;
    let is_beside = |other: &NormId| {
        let segment = &tree.nodes[tree.norm_node(*other)].segment;
        let more = segment.key.strip_prefix(own.as_str()).map(|more| more.trim_start_matches('.'));
        let has_word = more.is_some_and(|more| more.starts_with(|first: char| first.is_ascii_alphabetic()));
        let is_alone = asked.names.board.is_open(*other) && !asked.objections.found.contains(other);
        segment.norm && has_word && is_alone && asked.names.channels(*other) == asked.names.channels(norm)
    };
    let others = tree.siblings(site).take(MAX_FOUND).filter_map(|id| tree.nodes[id].norm);
    others.into_iter().find(is_beside).map(|other| Objection::NormBeside { weight, other })
}

/// A layer of the same shape that says that it goes around the weight's (`conv` and `conv_skip`), or that both are parts of
/// one over complex numbers, where every norm is fed by both (`conv_re` and `conv_im`).
fn layer_beside(asked: &Asked<'_, '_>) -> Option<Objection> {
    let (tree, Candidate { site, via, weight, .. }) = (&asked.names.tree, *asked.member);
    let shape = &asked.names.weight(weight).shape;
    let own = &tree.nodes[via].segment.key;
    let is_beside = |end: &WeightId| *end != weight && &asked.names.weight(*end).shape == shape;
    let around = PARALLEL_WORDS.iter().filter_map(|word| {
        let key = if own.is_empty() { (*word).to_owned() } else { format!("{own}.{word}") };
        tree.with_key(tree.nodes[site].parent, &key).iter().find_map(|&id| tree.nodes[id].end.filter(is_beside))
    });
    let parts = PARTS.iter().flat_map(|(a, b)| [(a, b), (b, a)]).filter_map(|(this, that)| {
        let stem = own.strip_suffix(this)?;
        let key = format!("{stem}{that}");
        tree.with_key(tree.nodes[site].parent, &key).iter().find_map(|&id| tree.nodes[id].end.filter(is_beside))
    });
    around.chain(parts).next().map(|other| Objection::Beside { weight, other })
}

fn counted_apart(asked: &Asked<'_, '_>) -> Option<Objection> {
    let node = &asked.names.tree.nodes[asked.member.site];
    let is_apart = asked.objections.counted_apart.contains(&(node.parent, node.template));
    is_apart.then_some(Objection::CountedApart(asked.member.weight))
}

/// Kin that runs its norm first: always, or beside kin that runs it last.
fn pre_activation_kin(asked: &Asked<'_, '_>) -> Option<Objection> {
    let weight = asked.member.weight;
    let runs_first = || asked.nearest().is_some_and(|near| near.precedent.runs_first);
    match asked.case.is_condemned {
        true => Some(Objection::PreActivation(weight)),
        false => (asked.case.proof > Takes::No && runs_first()).then_some(Objection::MixedPrecedent(weight)),
    }
}

fn biased(asked: &Asked<'_, '_>) -> Option<Objection> {
    let is_biased = asked.names.weight(asked.member.weight).bias_exists;
    (is_biased && !asked.bias_is_harmless()).then_some(Objection::Biased(asked.member.weight))
}

/// What speaks for the norm standing on the other side of the layer, or away from it.
fn either_side(asked: &Asked<'_, '_>) -> Option<Objection> {
    let is_proven = asked.is_proven();
    let is_settled = match asked.case.group.relation {
        Relation::Sequence | Relation::Only | Relation::Twin => is_proven || asked.is_conventional_alone(),
        Relation::Row => is_proven,
        Relation::Part => is_proven || asked.unit_runs_last(),
        Relation::Lone => is_proven && asked.case.comes_last,
    };
    let usual = asked.is_conventional();
    (!is_settled).then_some(Objection::EitherSide { weight: asked.member.weight, usual })
}

impl Asked<'_, '_> {
    fn nearest(&self) -> Option<Nearest> {
        self.names.precedents.nearest(&self.names.tree, self.case.group.relation, self.member)
    }

    /// Whether the norm must stand behind the layer: by the group's shapes, or by its kin's. What far kin proves does not
    /// hold against the habits of the file.
    fn is_proven(&self) -> bool {
        let is_trusted = |near: &Nearest| !self.names.habits.runs_norms_first || near.is_close && near.is_namesake;
        let by_kin = self.nearest().is_some_and(|near| near.precedent.runs_last && is_trusted(&near));
        self.case.proof == Takes::No || by_kin && self.names.has(Rule::Precedent)
    }

    /// Whether pairs of any names in the member's own unit run their norm last.
    fn unit_runs_last(&self) -> bool {
        let unit = self.names.precedents.in_unit(&self.names.tree, self.case.group.relation, self.member);
        unit.runs_last && !unit.runs_first
    }

    /// Whether the convention speaks for the member, first the layer and then the norm, and nothing in the file for or
    /// against it.
    fn is_conventional(&self) -> bool {
        self.names.has(Rule::Convention)
            && matches!(self.case.group.relation, Relation::Only | Relation::Twin)
            && !self.case.is_condemned
            && !self.names.habits.runs_norms_first
            && !self.names.weight(self.member.weight).bias_exists
            && self.nearest().is_none()
    }

    /// The same, but not for several pairs of one block, among which, in a network of one width, norms may run first all
    /// the same.
    fn is_conventional_alone(&self) -> bool {
        let tree = &self.names.tree;
        let is_alone = tree.nodes[tree.nodes[self.member.site].parent].norms_below == 1;
        self.is_conventional() && (is_alone || !self.names.has(Rule::ConventionAlone))
    }

    /// A norm right behind a layer makes its bias useless: a bias speaks for something between the two (CREPE: conv,
    /// ReLU, norm), unless a module of their own, a file that drops biases elsewhere, or a squeeze explains it.
    fn bias_is_harmless(&self) -> bool {
        let is_image = self.names.weight(self.member.weight).shape.len() > 3;
        match self.case.group.relation {
            Relation::Sequence => true,
            // In networks for speech, a layer over time has its ReLU before its norm, be it written as a convolution
            // (ECAPA) or as a linear layer (TDNN).
            Relation::Only => self.is_proven() && (is_image || !self.names.has(Rule::BiasOfImage)),
            Relation::Twin => {
                let habits = &self.names.habits;
                let unit = &self.names.tree.nodes[self.names.tree.nodes[self.member.site].parent];
                let is_dropped = self.names.has(Rule::BiasOfTwins) && !habits.keeps_biases;
                self.is_proven() && (is_dropped || is_image && habits.biases_before_norms.contains(&unit.template))
            }
            Relation::Row | Relation::Part => false,
            Relation::Lone => self.names.has(Rule::BiasOfSqueeze) && squeezes(self.names, self.member),
        }
    }
}

/// Squeeze, norm, excite: the weight narrows what the scope's only other weight widens again.
fn squeezes(names: &Names<'_>, member: &Candidate) -> bool {
    let channels = names.channels(member.norm);
    let others = names.tree.siblings(member.site).filter(|&id| id != member.via).map(|id| names.tree.nodes[id].end);
    let others = others.collect::<Vec<_>>();
    let &[Some(other)] = &others[..] else { return false };
    let wide = names.weight(other).outputs().unwrap_or(0);
    wide > channels && names.takes(other, channels) == Takes::Plain && names.takes(member.weight, wide) > Takes::No
}

/// Whether no other layer of the scope can stand behind the norm in all blocks: else the norm opens the block as likely as
/// it follows the weight (`norm, qkv, proj`; `norm, fc1, fc2`). Unless numbers tell that the other layer comes later, or it
/// gives more channels than the weight takes, so that the two cannot be turned round.
fn comes_last(names: &Names<'_>, group: &Group) -> bool {
    let tree = &names.tree;
    // Each of as many layers would be held against all the others.
    if group.members.iter().any(|member| tree.siblings(member.site).nth(MAX_FOUND).is_some()) {
        return false;
    }
    let end = |member: &Candidate, name: &str| {
        tree.child(tree.nodes[member.site].parent, name).and_then(|id| tree.nodes[id].end)
    };
    let follows = |member: &Candidate, name: &str| {
        end(member, name).is_some_and(|other| names.takes(other, names.channels(member.norm)) > Takes::No)
    };
    let runs_one_way = |member: &Candidate, name: &str| {
        let wide = end(member, name).and_then(|other| names.weight(other).outputs()).unwrap_or(0);
        squeezes(names, member) && names.takes(member.weight, wide) != Takes::Plain
    };
    let comes_later = |member: &Candidate, name: &str| {
        let own = &tree.nodes[member.via];
        without_counter(own.name) == without_counter(name) && own.segment.place < Segment::read(name).place
    };
    let siblings = group.members.iter().flat_map(|member| tree.siblings(member.site).map(|id| (id, member.via)));
    let others = siblings.filter(|(id, via)| id != via).map(|(id, _)| tree.nodes[id].name);
    others.collect::<BTreeSet<_>>().into_iter().all(|name| {
        let mut members = group.members.iter();
        !group.members.iter().all(|member| follows(member, name))
            || members.all(|member| comes_later(member, name) || runs_one_way(member, name))
    })
}

/// Norms by scope, own name and the name of a module beside them.
type Strays = BTreeSet<(usize, usize, Option<usize>)>;

/// Norms without candidates, in scopes of their own or beside weights that are others' candidates elsewhere: there the
/// weight may be shared, between blocks or between norms.
fn strays(names: &Names<'_>, found: &BTreeSet<NormId>) -> Strays {
    let tree = &names.tree;
    let mut strays = Strays::new();
    for norm in names.board.open().filter(|norm| !found.contains(norm)) {
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
fn scopes_counted_apart(tree: &Tree<'_>, groups: &[Group]) -> BTreeSet<(Id, usize)> {
    let twins = groups.iter().filter(|group| group.relation == Relation::Twin);
    let counted = twins.flat_map(|group| group.members.first().map(|first| (group, first)));
    let counted = counted.filter(|(_, first)| tree.nodes[first.site].segment.counted);
    let mut apart = BTreeSet::new();
    for (group, first) in counted {
        let scopes = group.members.iter().map(|member| tree.nodes[member.site].parent).collect::<BTreeSet<_>>();
        let [norm, layer] = [first.site, first.via].map(|id| without_counter(tree.nodes[id].name));
        let differ = |scope: &Id| tree.counters(*scope, &norm) != tree.counters(*scope, &layer);
        apart.extend(scopes.into_iter().filter(differ).map(|scope| (scope, tree.nodes[first.site].template)));
    }
    apart
}
