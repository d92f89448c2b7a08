//! Pairing, stage 6: blocks that run their norms first.
//!
//! In: pairs of a norm and the layer that it runs *before*. Out: claims. In `norm1 -> conv1 -> norm2 -> conv2` what feeds
//! `norm2` is `conv1`: the layer of the module before. The first norm of a unit is fed from outside, through an addition,
//! a concatenation or a pool, and is kept.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::shape::puts_out;
use super::tree::{Id, Tree};
use super::vote::NormFirst;
use super::words::{natural, template};

/// A module of a unit: a norm and the layer that it runs before.
#[derive(Clone, Copy)]
struct Link<'a> {
    label: &'a str,
    norm: usize,
    weight: usize,
}

pub(super) fn decide(tree: &Tree<'_>, first: &NormFirst, ledger: &mut Ledger<'_>) {
    let mut units: BTreeMap<Id, Vec<Link<'_>>> = BTreeMap::new();
    for pair in first.pairs.iter().filter(|pair| ledger.is_open(pair.norm)) {
        let scope = tree.nodes[pair.site].parent;
        // Modules that hold just a norm and a layer are the unit's links; else the layers themselves are.
        let (unit, label) = match tree.nodes[scope].children.len() {
            2 => (tree.nodes[scope].parent, tree.nodes[scope].name),
            _ => (scope, tree.nodes[pair.via].name),
        };
        units.entry(unit).or_default().push(Link { label, norm: pair.norm, weight: pair.weight });
    }
    let mut classes: BTreeMap<(usize, Vec<&str>), Vec<Vec<Link<'_>>>> = BTreeMap::new();
    for (unit, mut links) in units {
        links.sort_by(|a, b| natural(a.label, b.label));
        if !stranger(tree, ledger, unit, &links) {
            let labels = links.iter().map(|link| link.label).collect();
            classes.entry((tree.nodes[unit].template, labels)).or_default().push(links);
        }
    }
    let mut claims = Vec::new();
    for units in classes.values() {
        for (norm, weight) in predecessors(ledger, units) {
            claims.extend(units.iter().map(|unit| {
                (
                    unit[norm].norm,
                    unit[weight].weight,
                    "the layer before, in a block that runs its norms first".to_owned(),
                )
            }));
        }
    }
    ledger.claim(&claims);
}

/// Whether the unit holds another module that may stand between two of its links: a block with norms of its own, or one
/// that puts out what a link takes (squeeze and excitation).
fn stranger(tree: &Tree<'_>, ledger: &Ledger<'_>, unit: Id, links: &[Link<'_>]) -> bool {
    let mut stack = tree.nodes[unit].children.values().copied().collect::<Vec<_>>();
    while let Some(id) = stack.pop() {
        let node = &tree.nodes[id];
        let link = links.iter().any(|link| node.norm == Some(link.norm) || node.weights.contains(&link.weight));
        let between = node.weights.iter().any(|&weight| {
            let weight = &ledger.inventory.weights[weight];
            links.iter().skip(1).any(|link| puts_out(weight, ledger.inventory.norms[link.norm].channels).is_some())
        });
        if !link && (node.norm.is_some() || between) {
            return true;
        }
        stack.extend(node.children.values().copied());
    }
    false
}

/// Which link's layer feeds which link's norm, in all units of a class.
fn predecessors(ledger: &Ledger<'_>, units: &[Vec<Link<'_>>]) -> Vec<(usize, usize)> {
    let Some(links) = units.first() else { return Vec::new() };
    let n = links.len();
    let feeds = |weight: usize, norm: usize| {
        units.iter().all(|unit| {
            let (norm, weight) =
                (&ledger.inventory.norms[unit[norm].norm], &ledger.inventory.weights[unit[weight].weight]);
            puts_out(weight, norm.channels).is_some()
        })
    };
    let kind = links.first().map(|link| template(link.label));
    if links.iter().all(|link| Some(template(link.label)) == kind) {
        return (1..n).filter(|&norm| feeds(norm - 1, norm)).map(|norm| (norm, norm - 1)).collect();
    }
    // Names give no order: who can be fed by one link only, is.
    let mut found: Vec<(usize, usize)> = Vec::new();
    loop {
        let open = (0..n).filter(|norm| found.iter().all(|(done, _)| done != norm));
        let next = open.into_iter().find_map(|norm| {
            let mut free = (0..n).filter(|&w| w != norm && found.iter().all(|&(_, used)| used != w) && feeds(w, norm));
            let weight = free.next()?;
            free.next().is_none().then_some((norm, weight))
        });
        match next {
            Some(pair) => found.push(pair),
            None => return found,
        }
    }
}
