//! Pairing, stage 4: templates vote.
//!
//! In: candidates. Out: [`Group`]s, the candidates of one relation in one template, with one judgement for all: a single
//! misfit condemns them. Where the misfits are norms that fit their layer's *input*, in all blocks, the norm runs first.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::relations::{Candidate, Relation, candidates};
use super::shape::{COLOURS, Takes, puts_out, takes, transposed_only};
use super::tree::Tree;

/// What a template's candidates have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Every weight puts out what its norm takes; and, at the least, how well it could also stand behind the norm.
    Fits(Takes),
    /// Some do not put it out, but all take it in.
    NormFirst,
    /// Neither.
    Misfit,
}

/// One relation in one template.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) relation: Relation,
    pub(super) members: Vec<Candidate>,
    pub(super) judgement: Judgement,
}

/// Candidates of all undecided norms, by template.
pub(super) fn groups(tree: &Tree<'_>, ledger: &Ledger<'_>, relations: &[Relation]) -> Vec<Group> {
    let mut groups: BTreeMap<(Relation, usize, usize), Vec<Candidate>> = BTreeMap::new();
    for norm in ledger.open() {
        let found = candidates(tree, norm, relations, &|weight| ledger.is_free(weight));
        let Some((relation, found)) = found else { continue };
        for candidate in found {
            let (site, via) = (&tree.nodes[candidate.site], &tree.nodes[candidate.via]);
            // Names that go together keep their numbers together: `conv1`, `conv2`, `conv3` of a unit are one class. For
            // looser relations `conv1` and `conv2` are rivals.
            let key = match relation {
                Relation::Part | Relation::Lone => (relation, site.slot, via.slot),
                _ => (relation, site.template, via.template),
            };
            groups.entry(key).or_default().push(candidate);
        }
    }
    groups
        .into_iter()
        .map(|((relation, ..), members)| {
            let judgement = judge(tree, ledger, relation, &members);
            Group { relation, members, judgement }
        })
        .collect()
}

fn judge(tree: &Tree<'_>, ledger: &Ledger<'_>, relation: Relation, members: &[Candidate]) -> Judgement {
    // What comes right before a norm in a sequence must put out its channels: if only a transposed convolution can, it is
    // one, whatever its name.
    let fits = members.iter().all(|member| {
        let (weight, channels) = (ledger.weight(member.weight), ledger.channels(member.norm));
        puts_out(weight, channels) || relation == Relation::Sequence && transposed_only(weight, channels)
    });
    let mut slots: BTreeMap<usize, Vec<&Candidate>> = BTreeMap::new();
    for member in members {
        let node = &tree.nodes[member.site];
        let slot = if relation == Relation::Only { tree.nodes[node.parent].slot } else { node.slot };
        slots.entry(slot).or_default().push(member);
    }
    // Slots with one member each are judged together: one weight alone says little about groups.
    let (single, several): (Vec<_>, Vec<_>) = slots.into_values().partition(|slot| slot.len() == 1);
    let several = several.iter().map(|slot| least(ledger, slot, false));
    let single = [single.concat()].into_iter().filter(|slot| !slot.is_empty()).map(|slot| least(ledger, &slot, true));
    let least = several.chain(single).min().unwrap_or(Takes::No);
    match (fits, least) {
        (true, least) => Judgement::Fits(least),
        (false, Takes::No) => Judgement::Misfit,
        (false, _) => Judgement::NormFirst,
    }
}

/// The least that weights take in, of their norms' channels. That they are grouped is believed only if they have a number
/// of groups or a width of group in common, and, if they are one layer in several blocks, all of them: 64 channels widened
/// to 128 are not two groups, where elsewhere 64 go to 64.
fn least(ledger: &Ledger<'_>, members: &[&Candidate], mixed: bool) -> Takes {
    let all = members.iter().map(|member| {
        let (channels, weight) = (ledger.channels(member.norm), ledger.weight(member.weight));
        (channels, takes(weight, channels), weight)
    });
    let all = all.collect::<Vec<_>>();
    let grouped = all.iter().filter_map(|&(channels, takes, weight)| match takes {
        Takes::Grouped(groups) => Some((groups, channels / groups, weight.is_pointwise())),
        _ => None,
    });
    let grouped = grouped.collect::<Vec<_>>();
    let common =
        |value: fn(&(u64, u64, bool)) -> u64| grouped.windows(2).all(|pair| value(&pair[0]) == value(&pair[1]));
    // A lone weight that takes colours is a first layer, and a lone one that doubles its input is not two groups.
    let unlikely = |&(groups, width, pointwise): &(u64, u64, bool)| {
        pointwise || grouped.len() == 1 && (width == COLOURS || groups == 2)
    };
    let believable = !grouped.iter().any(unlikely)
        && (mixed || grouped.len() == all.len())
        && (common(|&(groups, ..)| groups) || common(|&(_, width, _)| width));
    let least = all.iter().map(|&(_, takes, _)| takes).min().unwrap_or(Takes::No);
    if grouped.is_empty() || believable { least } else { Takes::No }
}
