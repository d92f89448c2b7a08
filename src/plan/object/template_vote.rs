//! 2 PLAN, object: templates vote.
//!
//! In: candidates. Out: [`Group`]s, the candidates of one relation in one template, with one vote for all: a single misfit
//! condemns them. Where the misfits are norms that fit their layer's *input*, in all blocks, the norm runs first.

use std::collections::BTreeMap;

use crate::network::Weight;
use crate::plan::propose::Names;
use crate::plan::propose::produces::{COLOURS, Takes, transposed_only};
use crate::plan::propose::relations::{Candidate, Relation, candidates};
use crate::plan::rulebook::Rule;

/// What a template's candidates have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Vote {
    /// Every weight puts out what its norm takes; and, at the least, how well it could also stand behind the norm.
    Fits(Takes),
    /// Some do not put it out, but all take it in: the norm runs before its layer.
    PreActivation,
    /// Neither.
    Misfit,
}

/// One relation in one template.
#[derive(Debug)]
pub(in crate::plan) struct Group {
    pub(in crate::plan) relation: Relation,
    pub(in crate::plan) members: Vec<Candidate>,
    pub(in crate::plan) vote: Vote,
}

/// What a candidate votes with: its relation, the names of norm and layer, and itself, should templates not vote together.
type Key = (Relation, usize, usize, Option<usize>);

/// Candidates of all undecided norms, by template.
pub(in crate::plan) fn groups(names: &Names<'_>, relations: &[Relation]) -> Vec<Group> {
    let mut groups: BTreeMap<Key, Vec<Candidate>> = BTreeMap::new();
    for norm in names.board.open() {
        let is_free = |weight| names.board.is_free(weight);
        let found = candidates(names.book, &names.tree, norm, relations, &is_free);
        let Some((relation, found)) = found else { continue };
        for candidate in found {
            groups.entry(key(names, relation, &candidate)).or_default().push(candidate);
        }
    }
    let group = |((relation, ..), members): (Key, Vec<Candidate>)| {
        let vote = vote(names, relation, &members);
        Group { relation, members, vote }
    };
    groups.into_iter().map(group).collect()
}

fn key(names: &Names<'_>, relation: Relation, candidate: &Candidate) -> Key {
    let (site, via) = (&names.tree.nodes[candidate.site], &names.tree.nodes[candidate.via]);
    let own = (!names.has(Rule::TemplateVote)).then_some(candidate.norm.index());
    // Names that go together keep their numbers together: `conv1`, `conv2`, `conv3` of a unit are one class. For looser
    // relations `conv1` and `conv2` are rivals.
    match relation {
        Relation::Part | Relation::Lone => (relation, site.slot, via.slot, own),
        _ => (relation, site.template, via.template, own),
    }
}

fn vote(names: &Names<'_>, relation: Relation, members: &[Candidate]) -> Vote {
    let follows = relation == Relation::Sequence && names.has(Rule::SequenceTransposed);
    // What comes right before a norm in a sequence must put out its channels: if only a transposed convolution can, it is
    // one, whatever its name.
    let fits = members.iter().all(|member| {
        let channels = names.channels(member.norm);
        names.fits(member.weight, member.norm) || follows && transposed_only(names.weight(member.weight), channels)
    });
    match (fits, least_of_slots(names, relation, members)) {
        (true, least) => Vote::Fits(least),
        (false, Takes::No) => Vote::Misfit,
        (false, _) => Vote::PreActivation,
    }
}

/// The least that weights take in, of their norms' channels. Members are judged together that are one layer in several
/// blocks; those that are a layer of one block only are judged together too, since one weight alone says little about groups.
fn least_of_slots(names: &Names<'_>, relation: Relation, members: &[Candidate]) -> Takes {
    let mut slots: BTreeMap<usize, Vec<&Candidate>> = BTreeMap::new();
    for member in members {
        let node = &names.tree.nodes[member.site];
        let slot = if relation == Relation::Only { names.tree.nodes[node.parent].slot } else { node.slot };
        slots.entry(slot).or_default().push(member);
    }
    let (single, several): (Vec<_>, Vec<_>) = slots.into_values().partition(|slot| slot.len() == 1);
    let several = several.iter().map(|slot| least(names, slot, Slot::One));
    let single = [single.concat()].into_iter().filter(|slot| !slot.is_empty());
    let single = single.map(|slot| least(names, &slot, Slot::Several));
    several.chain(single).min().unwrap_or(Takes::No)
}

/// Whether candidates are one layer in several blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    One,
    Several,
}

/// Groups in which a weight would take its norm's channels.
struct Grouped {
    groups: u64,
    width: u64,
    is_pointwise: bool,
}

/// The least that these weights take in. That they are grouped is believed only if they have a number of groups or a width
/// of group in common, and, if they are one layer in several blocks, all of them: 64 channels widened to 128 are not two
/// groups, where elsewhere 64 go to 64.
fn least(names: &Names<'_>, members: &[&Candidate], slot: Slot) -> Takes {
    let taken = |member: &&Candidate| {
        let channels = names.channels(member.norm);
        (channels, names.takes(member.weight, channels), names.weight(member.weight))
    };
    let all = members.iter().map(taken).collect::<Vec<_>>();
    let least = all.iter().map(|&(_, takes, _)| takes).min().unwrap_or(Takes::No);
    let grouped = all.iter().filter_map(|&(channels, takes, weight): &(u64, Takes, &Weight)| match takes {
        Takes::Grouped(groups) => {
            Some(Grouped { groups, width: channels / groups, is_pointwise: weight.is_pointwise() })
        }
        _ => None,
    });
    let grouped = grouped.collect::<Vec<_>>();
    let is_whole = slot == Slot::Several || grouped.len() == all.len();
    let believed = !names.has(Rule::GroupedInputs) || is_whole && is_believable(&grouped);
    if grouped.is_empty() || believed { least } else { Takes::No }
}

/// Whether these may all be grouped convolutions.
fn is_believable(grouped: &[Grouped]) -> bool {
    // A lone weight that takes colours is a first layer, and a lone one that doubles its input is not two groups.
    let is_unlikely =
        |layer: &Grouped| layer.is_pointwise || grouped.len() == 1 && (layer.width == COLOURS || layer.groups == 2);
    let common = |value: fn(&Grouped) -> u64| grouped.windows(2).all(|pair| value(&pair[0]) == value(&pair[1]));
    !grouped.iter().any(is_unlikely) && (common(|layer| layer.groups) || common(|layer| layer.width))
}
