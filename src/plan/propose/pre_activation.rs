//! 2 PLAN, propose: blocks that run their norms first.
//!
//! In: pairs of a norm and the layer that it runs *before*. Out: claims. In `norm1 -> conv1 -> norm2 -> conv2` what feeds
//! `norm2` is `conv1`: the layer of the module before. The first norm of a unit is fed from outside, through an addition,
//! a concatenation or a pool, and is kept. A norm beside such a unit (PyramidNet) is fed by the unit's last layer: in front
//! of the unit, which opens with a norm of its own, it would be one norm before another.

use std::collections::BTreeMap;

use super::Names;
use super::relations::Relation;
use super::tokens::{Place, without_counter};
use super::tree::{Id, MAX_FOUND, Tree};
use crate::network::{NormId, WeightId};
use crate::plan::decide::Claim;
use crate::plan::reason::Support;
use crate::plan::rulebook::Rule;

/// Scopes with more links than this are not units.
const MAX_LINKS: usize = 32;

/// A module of a unit: a norm and the layer that it runs before.
#[derive(Clone, Copy)]
struct Link<'a> {
    label: &'a str,
    place: Option<Place>,
    norm: NormId,
    weight: WeightId,
}

/// A unit that runs its norms first.
struct Unit<'a> {
    scope: Id,
    links: Vec<Link<'a>>,
}

/// Norms of such blocks, each with the layer before it.
pub(in crate::plan) fn claims(names: &Names<'_>) -> Vec<Claim> {
    if !names.has(Rule::PreActivationChain) {
        return Vec::new();
    }
    let mut claims = Vec::new();
    for units in classes(names).values() {
        for (norm, weight) in predecessors(names, units) {
            claims.extend(units.iter().map(|unit| Claim {
                norm: unit.links[norm].norm,
                weight: unit.links[weight].weight,
                support: Support::PreActivationChain,
            }));
        }
        if names.has(Rule::BehindChain) {
            claims.extend(behind(names, units));
        }
    }
    claims
}

/// Norms of units that concatenate what their layers put out, each with the layer before it, which the concatenation reads too.
pub(in crate::plan) fn concatenated(names: &Names<'_>) -> Vec<(NormId, WeightId)> {
    if !names.has(Rule::ChainConcatenated) {
        return Vec::new();
    }
    let mut classes = Classes::new();
    for (unit, links) in units(names) {
        let labels = links.iter().map(|link| link.label).collect();
        classes.entry((names.tree.nodes[unit].template, labels)).or_default().push(Unit { scope: unit, links });
    }
    let concatenating = classes.into_values().filter(|units| units.iter().all(|unit| concatenates(names, unit)));
    let chain = |unit: Unit<'_>| {
        let pairs = unit.links.windows(2).map(|pair| (pair[1].norm, pair[0].weight));
        pairs.collect::<Vec<_>>()
    };
    concatenating.flatten().flat_map(chain).collect()
}

/// Whether what follows a unit is as wide as its layers together, and the last of them by itself is not.
///
/// What follows may be the addition to the unit's input, which the first norm sees (the block of face-alignment's FAN: 128,
/// 64 and 64 channels of 256; fewer than three layers would be any block that narrows), or to what a layer on the way around
/// puts out; or, behind a list of equal layers, one norm that is as wide as all of them, perhaps with a branch beside them
/// (DDRNet's pyramid: four times 128 channels and a fifth, 640).
fn concatenates(names: &Names<'_>, Unit { scope, links }: &Unit<'_>) -> bool {
    let outputs = links.iter().map(|link| names.weight(link.weight).outputs()).collect::<Option<Vec<_>>>();
    let is_chain = links.windows(2).all(|pair| names.fits(pair[0].weight, pair[1].norm));
    let (Some(outputs), true) = (outputs, is_chain) else { return false };
    let (&[first, .., last], Some(opening)) = (&outputs[..], links.first()) else { return false };
    let together = outputs.iter().sum::<u64>();
    let nodes = &names.tree.nodes;
    let is_link = |weight: &WeightId| links.iter().any(|link| link.weight == *weight);
    let mut inside = vec![*scope];
    let mut at = 0;
    while let Some(&id) = inside.get(at).filter(|_| at < MAX_LINKS) {
        inside.extend(nodes[id].children.values());
        at += 1;
    }
    let mut around = inside.iter().flat_map(|&id| &nodes[id].weights).filter(|weight| !is_link(weight));
    let is_added = last != together
        && (outputs.len() > 2 && names.channels(opening.norm) == together
            || around.any(|&weight| names.weight(weight).outputs() == Some(together)));
    let is_list = outputs.len() > 2 && outputs.iter().all(|&width| width == first);
    let beside = || {
        let modules = names.tree.siblings(*scope).take(MAX_FOUND);
        modules.flat_map(|id| nodes[id].children.values().copied().chain([id])).filter_map(|id| nodes[id].norm)
    };
    is_added || is_list && beside().any(|norm| [together, together + last].contains(&names.channels(norm)))
}

/// Norms that stand beside such units and nothing else, or that are counted on behind a unit's own (`bn3` where `bn1` runs
/// before `conv1` and `bn2` before `conv2`), if every unit's last layer fits the norm.
fn behind(names: &Names<'_>, units: &[Unit<'_>]) -> Vec<Claim> {
    let tree = &names.tree;
    let claim = |unit: &Unit<'_>| {
        let mut others = tree.siblings(unit.scope);
        let beside = others.next().filter(|_| others.next().is_none());
        let id = trailing(tree, unit.scope, &unit.links).or(beside)?;
        let norm = tree.nodes[id].norm.filter(|&norm| tree.nodes[id].segment.norm && names.board.is_open(norm))?;
        let weight = unit.links.last()?.weight;
        let is_before = tree.nodes[id].segment.before || !names.fits(weight, norm);
        (!is_before).then_some(Claim { norm, weight, support: Support::BehindChain })
    };
    units.iter().map(claim).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// The norm of a unit that is counted on right behind the norm of its last link.
fn trailing(tree: &Tree<'_>, unit: Id, links: &[Link<'_>]) -> Option<Id> {
    let last = tree.norm_node(links.last()?.norm);
    if tree.nodes[last].parent != unit {
        return None;
    }
    let (name, place) = (without_counter(tree.nodes[last].name), tree.nodes[last].segment.place?);
    let follows = |id: &Id| {
        let node = &tree.nodes[*id];
        let is_next = node.segment.place.is_some_and(|next| next.follows(place));
        node.norm.is_some() && is_next && without_counter(node.name) == name
    };
    tree.nodes[unit].children.values().copied().find(follows)
}

/// Units by template and the names of their links.
type Classes<'a> = BTreeMap<(usize, Vec<&'a str>), Vec<Unit<'a>>>;

/// The links of all units, in the order in which they run.
fn units<'n>(names: &Names<'n>) -> BTreeMap<Id, Vec<Link<'n>>> {
    let tree = &names.tree;
    let mut units: BTreeMap<Id, Vec<Link<'n>>> = BTreeMap::new();
    for (relation, pair) in names.pre_activation.iter().filter(|(_, pair)| names.board.is_open(pair.norm)) {
        let scope = tree.nodes[pair.site].parent;
        // A module that holds just a norm and a layer is a link; else the layer itself is.
        let link = if *relation == Relation::Only { scope } else { pair.via };
        let (unit, label, place) = (tree.nodes[link].parent, tree.nodes[link].name, tree.nodes[link].segment.place);
        units.entry(unit).or_default().push(Link { label, place, norm: pair.norm, weight: pair.weight });
    }
    units.values_mut().for_each(|links| links.sort_by_key(|link| (link.place, link.label)));
    units
}

/// All units that are nothing but links.
fn classes<'n>(names: &Names<'n>) -> Classes<'n> {
    let tree = &names.tree;
    let mut classes = Classes::new();
    for (unit, links) in units(names) {
        let is_alone = !names.has(Rule::ChainStranger) || !holds_stranger(names, unit, &links);
        if (2..=MAX_LINKS).contains(&links.len()) && is_alone {
            let labels = links.iter().map(|link| link.label).collect();
            classes.entry((tree.nodes[unit].template, labels)).or_default().push(Unit { scope: unit, links });
        }
    }
    classes
}

/// Whether the unit holds another module that may stand between two of its links: a block with norms of its own, or one
/// that puts out what a link takes (squeeze and excitation).
fn holds_stranger(names: &Names<'_>, unit: Id, links: &[Link<'_>]) -> bool {
    let tree = &names.tree;
    let trailing = trailing(tree, unit, links).filter(|_| names.has(Rule::BehindChain));
    let mut stack = tree.nodes[unit].children.values().copied().filter(|&id| Some(id) != trailing).collect::<Vec<_>>();
    while let Some(id) = stack.pop() {
        let node = &tree.nodes[id];
        let link = links.iter().any(|link| node.norm == Some(link.norm) || node.weights.contains(&link.weight));
        let between = node.weights.iter().any(|&weight| {
            let mut later = links.iter().skip(1);
            later.any(|link| names.fits(weight, link.norm))
        });
        if !link && (node.norm.is_some() || between) {
            return true;
        }
        stack.extend(node.children.values().copied());
    }
    false
}

/// Which link's layer feeds which link's norm, in all units of a class: that of the link before, where names count them.
fn predecessors(names: &Names<'_>, units: &[Unit<'_>]) -> Vec<(usize, usize)> {
    let Some(Unit { links, .. }) = units.first() else { return Vec::new() };
    let fits = |weight: usize, norm: usize| {
        let mut pairs = units.iter().map(|unit| (unit.links[norm].norm, unit.links[weight].weight));
        pairs.all(|(norm, weight)| names.fits(weight, norm))
    };
    let unique = |place: Place| links.iter().filter(|link| link.place == Some(place)).count() == 1;
    // The factors of one convolution (`k x 1`, `1 x k`) may be summed as well as follow each other (P3D, AHNet).
    let summed = |link: usize| {
        let factor = |other: usize| links.get(other).is_some_and(|other| factors(names, &links[link], other));
        names.has(Rule::ChainSummed) && (factor(link + 1) || link > 0 && factor(link - 1))
    };
    let follows = |norm: usize| match (links[norm - 1].place, links[norm].place) {
        (Some(before), Some(place)) => place.follows(before) && unique(before) && unique(place),
        _ => false,
    };
    (1..links.len())
        .filter(|&norm| follows(norm) && fits(norm - 1, norm) && !summed(norm - 1))
        .map(|norm| (norm, norm - 1))
        .collect()
}

/// Whether the layers of two links are wide in different directions.
fn factors(names: &Names<'_>, a: &Link<'_>, b: &Link<'_>) -> bool {
    let wide = |kernel: &[u64]| kernel.iter().any(|&k| k > 1);
    names
        .weight(a.weight)
        .kernel()
        .zip(names.weight(b.weight).kernel())
        .is_some_and(|(a, b)| wide(a) && wide(b) && a.iter().zip(b).all(|(&a, &b)| a == 1 || b == 1))
}
