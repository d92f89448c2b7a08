//! Pairing, stage 7: norms numbered in the order of the data flow.
//!
//! In: scopes whose norms are numbered (`bn1`, `bn2`, `bn3`) and whose layers are named after what they do (`conv_pw`,
//! `conv_dw`, `conv_pwl`). Out: claims. The layers are put in an order in which each fits its norm and takes in what the
//! norm before gives, in every scope of the template; if just one order does, it is the block's. That tells an inverted
//! residual from a depthwise separable block with the same names.

use std::collections::{BTreeMap, BTreeSet};

use super::kin::{Kin, Record};
use super::ledger::Ledger;
use super::refuse;
use super::relations::{Candidate, Relation};
use super::settle::First;
use super::shape::{Takes, puts_out, takes};
use super::tree::{Id, Tree};
use crate::network::Weight;

/// Blocks with more layers than this are not searched.
const MAX_LAYERS: usize = 6;

/// One scope: its open numbered norms in order, and the layers that may feed them. Both with their modules.
#[derive(Debug)]
struct Scope {
    norms: Vec<(usize, Id)>,
    layers: Vec<(usize, Id)>,
}

/// What scopes of one class share: template, names, and ranks of the layers' weights.
type Signature<'a> = (usize, Vec<&'a str>, Vec<usize>);

pub(super) fn decide(tree: &Tree<'_>, ledger: &mut Ledger<'_>, kin: &mut Kin, first: &First) {
    let norms_first = first.signs.norms_first;
    // A block that runs one of its norms first runs all of them so: what is left over there opens the block.
    let turned = first.norm_first.iter().map(|(_, pair)| tree.nodes[tree.nodes[pair.site].parent].template);
    let turned = turned.collect::<BTreeSet<_>>();
    let mut claims = Vec::new();
    for scopes in classes(tree, ledger, &turned) {
        let searched = |scope: &Scope| scope.norms.len() <= scope.layers.len() && scope.layers.len() <= MAX_LAYERS;
        if !scopes.first().is_some_and(searched) {
            continue;
        }
        let Some((order, evidence)) = arrangement(ledger, &scopes, norms_first) else {
            for &(norm, _) in scopes.iter().flat_map(|scope| &scope.norms) {
                ledger.explain(norm, refuse::no_order());
            }
            continue;
        };
        for scope in &scopes {
            for (&(norm, site), &slot) in scope.norms.iter().zip(&order) {
                let (weight, via) = scope.layers[slot];
                claims.push((norm, weight, evidence));
                let proven = Record { proven: true, first: false };
                kin.record(tree, Relation::Twin, &Candidate { norm, site, via, weight }, proven);
            }
        }
    }
    ledger.claim(&claims);
}

/// Scopes of one template with equally named norms and layers.
fn classes(tree: &Tree<'_>, ledger: &Ledger<'_>, turned: &BTreeSet<usize>) -> Vec<Vec<Scope>> {
    let mut open: BTreeMap<Id, Vec<(u64, usize, Id)>> = BTreeMap::new();
    let mut spoilt = Vec::new();
    for norm in ledger.open() {
        let site = tree.site(norm);
        let (scope, words) = (tree.nodes[site].parent, &tree.nodes[site].words);
        match words.key.parse() {
            Ok(number)
                if words.norm
                    && !words.before
                    && !tree.nodes[scope].holds_before
                    && !turned.contains(&tree.nodes[scope].template) =>
            {
                open.entry(scope).or_default().push((number, norm, site))
            }
            _ => spoilt.push(scope),
        }
    }
    for scope in spoilt {
        open.remove(&scope);
    }
    let mut classes: BTreeMap<Signature<'_>, Vec<Scope>> = BTreeMap::new();
    for (id, mut norms) in open {
        norms.sort_unstable();
        let children = tree.nodes[id].children.values();
        let scope = Scope {
            norms: norms.iter().map(|&(_, norm, site)| (norm, site)).collect(),
            layers: children.filter_map(|&child| Some((free_end(tree, ledger, child)?, child))).collect(),
        };
        let names = scope.norms.iter().chain(&scope.layers).map(|&(_, module)| tree.nodes[module].name).collect();
        // A layer whose weight has another rank elsewhere is another kind of layer (convolutions mixed from experts).
        let ranks = scope.layers.iter().map(|&(weight, _)| ledger.weight(weight).shape.len()).collect();
        classes.entry((tree.nodes[id].template, names, ranks)).or_default().push(scope);
    }
    classes.into_values().collect()
}

/// The weight of a layer that may feed a norm. One with a bias hardly does: a norm makes the bias useless.
fn free_end(tree: &Tree<'_>, ledger: &Ledger<'_>, module: Id) -> Option<usize> {
    let end = tree.nodes[module].end.filter(|_| tree.nodes[module].norms_below == 0)?;
    (ledger.is_free(end) && !ledger.weight(end).bias_exists).then_some(end)
}

/// The only order in which the layers feed the norms, and what speaks for it: the flow of channels, or else channels
/// that no two norms share.
fn arrangement(ledger: &Ledger<'_>, scopes: &[Scope], norms_first: bool) -> Option<(Vec<usize>, &'static str)> {
    let (n, slots) = scopes.first().map(|scope| (scope.norms.len(), scope.layers.len()))?;
    let table = |test: &dyn Fn(u64, &Weight) -> bool| {
        let all = |norm: usize, slot: usize| {
            let mut pairs = scopes.iter().map(|scope| (scope.norms[norm].0, scope.layers[slot].0));
            pairs.all(|(norm, weight)| test(ledger.channels(norm), ledger.weight(weight)))
        };
        (0..n).map(|norm| (0..slots).map(|slot| all(norm, slot)).collect()).collect::<Vec<Vec<bool>>>()
    };
    let fits = table(&|channels, weight| puts_out(weight, channels));
    let feeds = table(&|channels, weight| takes(weight, channels) == Takes::Plain);
    let proven = table(&|channels, weight| takes(weight, channels) < Takes::Plain);
    let by_flow = orders(n, slots, &|norm, slot| fits[norm][slot] && (norm == 0 || feeds[norm - 1][slot]));
    if n > 1 && n == slots && !by_flow.is_empty() {
        return match &by_flow[..] {
            // A block that ends with the channels that it takes in could be cut open elsewhere: with norms that run first,
            // the same layers fit in a rotated order.
            [order] if norms_first && feeds[n - 1][order[0]] => None,
            [order] => Some((order.clone(), "the only order in which the block's layers feed its numbered norms")),
            _ => separable(ledger, scopes).map(|order| (order, "depthwise before pointwise, as their numbered norms")),
        };
    }
    let [order] = &orders(n, slots, &|norm, slot| fits[norm][slot])[..] else { return None };
    let proven = (0..n).all(|norm| proven[norm][order[norm]]);
    // A layer that is left over and could stand behind a norm makes it as likely that the norm opens a block.
    let left_over = (0..slots).any(|slot| !order.contains(&slot) && (0..n).any(|norm| feeds[norm][slot]));
    (proven && !left_over)
        .then(|| (order.clone(), "the only assignment of the scope's layers to its numbered norms that fits"))
}

/// The order of a depthwise separable convolution, whose definition it is that the depthwise layer comes first, where
/// both layers keep the number of channels and any order would fit.
fn separable(ledger: &Ledger<'_>, scopes: &[Scope]) -> Option<Vec<usize>> {
    let all = |slot: usize, test: &dyn Fn(&Weight) -> bool| {
        scopes.iter().all(|scope| scope.layers.len() == 2 && test(ledger.weight(scope.layers[slot].0)))
    };
    let first = (0..2).find(|&slot| all(slot, &Weight::is_depthwise))?;
    all(1 - first, &Weight::is_pointwise).then(|| vec![first, 1 - first])
}

/// Orders of `n` out of `slots` layers in which `allowed(norm, layer)` holds throughout; two are enough to know that there
/// is not just one.
fn orders(n: usize, slots: usize, allowed: &dyn Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    let mut partial = vec![Vec::new()];
    while let Some(order) = partial.pop().filter(|_| found.len() < 2) {
        if order.len() == n {
            found.push(order);
            continue;
        }
        let next = (0..slots).filter(|slot| !order.contains(slot) && allowed(order.len(), *slot));
        partial.extend(next.map(|slot| [&order[..], &[slot]].concat()));
    }
    found
}
