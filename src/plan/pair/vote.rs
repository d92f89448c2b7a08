//! Pairing, stage 4: templates vote.
//!
//! In: candidates. Out: claims, and the scopes whose norms run *before* their layers. A candidate is judged together with
//! all candidates of its template: one misfit condemns them all. Where the misfits show norms that fit their layer's
//! input, the template runs its norms first, and its kin (the other modules of the same unit) does so too unless shapes
//! prove the contrary.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::Ledger;
use super::relations::{Candidate, Relation, candidates};
use super::shape::{Takes, puts_out, takes};
use super::tree::{Id, Tree};
use super::words::template;

/// What a template's candidates have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// Every weight puts out what its norm takes; how well it could also stand behind the norm, at least.
    Fits(Takes),
    /// Some do not put it out, but all take it in.
    NormFirst,
    Misfit,
}

/// One relation in one template.
struct Group {
    relation: Relation,
    members: Vec<Candidate>,
    judgement: Judgement,
}

/// Scopes whose norms run before their layers.
#[derive(Debug, Default)]
pub(super) struct NormFirst {
    /// Templates of units.
    units: BTreeSet<usize>,
    /// Candidates of such templates: a norm and the layer that it runs before.
    pub(super) pairs: Vec<Candidate>,
    /// Local names of such pairs.
    names: BTreeSet<(String, String)>,
}

const NAMED: &[Relation] = &[Relation::Sequence, Relation::Only, Relation::Twin];
const LOOSE: &[Relation] = &[Relation::Part, Relation::Lone];

/// Decides the norms that are placed or named like a weight.
pub(super) fn decide(tree: &Tree<'_>, ledger: &mut Ledger<'_>) -> NormFirst {
    let groups = groups(tree, ledger, NAMED);
    let mut first = NormFirst::default();
    for group in groups.iter().filter(|group| group.judgement == Judgement::NormFirst) {
        first.units.extend(group.members.iter().map(|member| unit(tree, group.relation, member)));
        first.names.extend(group.members.iter().map(|member| names(tree, member)));
        first.pairs.extend(&group.members);
    }
    let mut proven = BTreeSet::new();
    for group in &groups {
        if matches!(group.judgement, Judgement::Fits(takes) if takes < Takes::Plain) {
            proven.extend(group.members.iter().map(|member| unit(tree, group.relation, member)));
        }
    }
    for group in &groups {
        if let Judgement::Fits(proof) = group.judgement {
            let units = group.members.iter().map(|member| unit(tree, group.relation, member)).collect::<BTreeSet<_>>();
            let condemned =
                proof > Takes::No && group.relation != Relation::Sequence && !units.is_disjoint(&first.units);
            if condemned {
                first.pairs.extend(&group.members);
            }
        }
    }
    settle(tree, ledger, &groups, &first, &proven);
    first
}

/// Decides norms that only loosely point at a weight, among the weights that are still free.
pub(super) fn decide_rest(tree: &Tree<'_>, first: &NormFirst, ledger: &mut Ledger<'_>) {
    for relation in LOOSE {
        let groups = groups(tree, ledger, &[*relation]);
        settle(tree, ledger, &groups, first, &BTreeSet::new());
    }
}

fn settle(tree: &Tree<'_>, ledger: &mut Ledger<'_>, groups: &[Group], first: &NormFirst, proven: &BTreeSet<usize>) {
    let lacking = lacking_partners(tree, ledger, groups);
    let mut fitting: BTreeMap<usize, Vec<(&Group, Candidate)>> = BTreeMap::new();
    for group in groups {
        for &member in &group.members {
            match group.judgement {
                Judgement::Fits(_) => fitting.entry(member.norm).or_default().push((group, member)),
                Judgement::NormFirst => ledger.explain(member.norm, reason_norm_first(ledger, member)),
                Judgement::Misfit => ledger.explain(member.norm, reason_misfit(ledger, member)),
            }
        }
    }
    let mut claims = Vec::new();
    for (norm, choices) in fitting {
        let &[(group, member)] = &choices[..] else {
            let list = choices.iter().map(|(_, c)| format!("`{}`", ledger.inventory.weights[c.weight].tensor));
            let list = list.collect::<Vec<_>>().join(" and ");
            ledger.explain(norm, format!("{list} all fit and nothing tells them apart; name the right one in a plan"));
            continue;
        };
        match doubt(tree, ledger, group, &member, first, proven, &lacking) {
            Some(reason) => ledger.explain(norm, reason),
            None => claims.push((norm, member.weight, format!("{:?}", group.relation))),
        }
    }
    ledger.claim(&claims);
}

/// What speaks against a candidate that fits.
fn doubt(
    tree: &Tree<'_>,
    ledger: &Ledger<'_>,
    group: &Group,
    member: &Candidate,
    first: &NormFirst,
    proven: &BTreeSet<usize>,
    lacking: &BTreeSet<usize>,
) -> Option<String> {
    let weight = &ledger.inventory.weights[member.weight];
    let Judgement::Fits(proof) = group.judgement else { return None };
    if lacking.contains(&tree.nodes[member.site].slot) {
        return Some("the same norm elsewhere in the network has no such weight, which may be shared".to_owned());
    }
    if tree.nodes[member.site].words.before {
        return Some("its name says that it runs before its layer".to_owned());
    }
    if tree.siblings(member.site).any(|other| tree.nodes[other].words.before) {
        return Some("another module may stand between".to_owned());
    }
    if group.relation == Relation::Sequence {
        return None;
    }
    let unit = unit(tree, group.relation, member);
    if proof > Takes::No && first.units.contains(&unit) {
        return Some(reason_norm_first(ledger, *member));
    }
    if proof == Takes::Plain && !proven.contains(&unit) && first.names.contains(&names(tree, member)) {
        return Some(format!(
            "`{}` fits, but norms of this kind run before their layers elsewhere in the file",
            weight.tensor
        ));
    }
    if weight.bias_exists && group.relation != Relation::Only {
        return Some(format!("`{}` has a bias, which a norm directly behind it would make useless", weight.tensor));
    }
    if group.relation > Relation::Twin && proof == Takes::Plain {
        return Some(format!("`{}` fits, but it could as well stand behind the norm", weight.tensor));
    }
    None
}

/// Slots (norms of one name in one template) some of which have a candidate while others have none.
fn lacking_partners(tree: &Tree<'_>, ledger: &Ledger<'_>, groups: &[Group]) -> BTreeSet<usize> {
    let found = groups
        .iter()
        .filter(|group| group.relation != Relation::Sequence)
        .flat_map(|group| group.members.iter().map(|member| member.norm))
        .collect::<BTreeSet<_>>();
    let slots = |norms: &mut dyn Iterator<Item = usize>| {
        norms.map(|norm| tree.nodes[tree.site(norm)].slot).collect::<BTreeSet<_>>()
    };
    let with = slots(&mut found.iter().copied());
    let without = slots(&mut ledger.open().filter(|norm| !found.contains(norm)));
    with.intersection(&without).copied().collect()
}

fn groups(tree: &Tree<'_>, ledger: &Ledger<'_>, relations: &[Relation]) -> Vec<Group> {
    let mut groups: BTreeMap<(Relation, usize, usize), Vec<Candidate>> = BTreeMap::new();
    for norm in ledger.open() {
        if let Some((relation, found)) = candidates(tree, norm, relations, &|weight| ledger.is_free(weight)) {
            for candidate in found {
                let templates = (tree.nodes[candidate.site].template, tree.nodes[candidate.via].template);
                groups.entry((relation, templates.0, templates.1)).or_default().push(candidate);
            }
        }
    }
    groups
        .into_iter()
        .map(|((relation, ..), members)| {
            let judgement = judge(ledger, &members);
            Group { relation, members, judgement }
        })
        .collect()
}

fn judge(ledger: &Ledger<'_>, members: &[Candidate]) -> Judgement {
    let shapes = members.iter().map(|member| {
        let (channels, weight) =
            (ledger.inventory.norms[member.norm].channels, &ledger.inventory.weights[member.weight]);
        (puts_out(weight, channels).is_some(), takes(weight, channels))
    });
    let (mut fits, mut least) = (true, Takes::Plain);
    for (out, takes) in shapes {
        fits &= out;
        least = least.min(takes);
    }
    match (fits, least) {
        (true, least) => Judgement::Fits(least),
        (false, Takes::No) => Judgement::Misfit,
        (false, _) => Judgement::NormFirst,
    }
}

/// Template of the unit whose modules are kin.
fn unit(tree: &Tree<'_>, relation: Relation, member: &Candidate) -> usize {
    let scope = tree.nodes[member.site].parent;
    let unit: Id = if relation == Relation::Only { tree.nodes[scope].parent } else { scope };
    tree.nodes[unit].template
}

fn names(tree: &Tree<'_>, member: &Candidate) -> (String, String) {
    (template(tree.nodes[member.site].name), template(tree.nodes[member.via].name))
}

fn reason_norm_first(ledger: &Ledger<'_>, member: Candidate) -> String {
    let name = &ledger.inventory.weights[member.weight].tensor;
    format!("norms of this kind run before their layers: it feeds `{name}`, and what feeds it is not in its scope")
}

fn reason_misfit(ledger: &Ledger<'_>, member: Candidate) -> String {
    let weight = &ledger.inventory.weights[member.weight];
    let channels = ledger.inventory.norms[member.norm].channels;
    match puts_out(weight, channels) {
        None => format!("`{}` has shape {:?} and cannot put out its {channels} channels", weight.tensor, weight.shape),
        Some(_) => format!("`{}` fits, but in other blocks of this kind it does not", weight.tensor),
    }
}
