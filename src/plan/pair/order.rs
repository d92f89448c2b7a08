//! Pairing, stage 5: norms numbered in the order of the data flow.
//!
//! In: scopes whose norms are numbered (`bn1`, `bn2`, `bn3`) and whose layers are named after what they do (`conv_pw`,
//! `conv_dw`, `conv_pwl`). Out: claims. The layers are put in an order in which each fits its norm and takes in what the
//! norm before gives, in every scope of the template; if just one order does, it is the block's. That tells an inverted
//! residual from a depthwise separable block with the same names.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use super::shape::{Takes, puts_out, takes};
use super::tree::{Id, ROOT, Tree};

/// Blocks with more numbered norms than this are not searched.
const MAX_NORMS: usize = 6;

/// One scope: its open numbered norms in order, and the layers that may feed them.
#[derive(Debug)]
struct Scope {
    norms: Vec<usize>,
    weights: Vec<usize>,
}

pub(super) fn decide(tree: &Tree<'_>, ledger: &mut Ledger<'_>) {
    let mut claims = Vec::new();
    for scopes in classes(tree, ledger) {
        let Some(first) = scopes.first() else { continue };
        if first.norms.len() != first.weights.len() || first.norms.len() > MAX_NORMS {
            continue;
        }
        match arrangement(ledger, &scopes) {
            Some(order) => claims.extend(scopes.iter().flat_map(|scope| {
                let pairs = scope.norms.iter().zip(&order);
                pairs.map(|(&norm, &slot)| (norm, scope.weights[slot], "order of the data flow".to_owned()))
            })),
            None => {
                for &norm in scopes.iter().flat_map(|scope| &scope.norms) {
                    ledger.explain(
                        norm,
                        "its layers fit its block's numbered norms in no order, or in several".to_owned(),
                    );
                }
            }
        }
    }
    ledger.claim(&claims);
}

/// Scopes of one template with equally named norms and layers.
fn classes(tree: &Tree<'_>, ledger: &Ledger<'_>) -> Vec<Vec<Scope>> {
    let mut open: BTreeMap<Id, Vec<(u64, usize, Id)>> = BTreeMap::new();
    let mut spoilt = Vec::new();
    for norm in ledger.open() {
        let site = tree.site(norm);
        let (scope, words) = (tree.nodes[site].parent, &tree.nodes[site].words);
        match words.key.parse() {
            Ok(number) if words.norm && !words.before && site != ROOT => {
                open.entry(scope).or_default().push((number, norm, site))
            }
            _ => spoilt.push(scope),
        }
    }
    for scope in spoilt {
        open.remove(&scope);
    }
    let mut classes: BTreeMap<(usize, Vec<&str>), Vec<Scope>> = BTreeMap::new();
    for (scope, mut norms) in open {
        norms.sort_unstable();
        let layers = tree.nodes[scope]
            .children
            .values()
            .copied()
            .filter_map(|child| Some((child, free_end(tree, ledger, child)?)));
        let layers = layers.collect::<Vec<_>>();
        let named = norms.iter().map(|&(.., site)| site).chain(layers.iter().map(|&(child, _)| child));
        let signature = named.map(|id| tree.nodes[id].name).collect();
        classes.entry((tree.nodes[scope].template, signature)).or_default().push(Scope {
            norms: norms.iter().map(|&(_, norm, _)| norm).collect(),
            weights: layers.iter().map(|&(_, weight)| weight).collect(),
        });
    }
    classes.into_values().collect()
}

/// The weight of a layer that may feed a norm. One with a bias hardly does: a norm makes the bias useless.
fn free_end(tree: &Tree<'_>, ledger: &Ledger<'_>, module: Id) -> Option<usize> {
    let end = tree.nodes[module].end.filter(|_| tree.nodes[module].norms_below == 0)?;
    (ledger.is_free(end) && !ledger.inventory.weights[end].bias_exists).then_some(end)
}

/// The only order in which the layers feed the norms: by the flow of channels, or else by channels that no two share.
fn arrangement(ledger: &Ledger<'_>, scopes: &[Scope]) -> Option<Vec<usize>> {
    let n = scopes.first()?.norms.len();
    let all = |test: &dyn Fn(&Scope) -> bool| scopes.iter().all(test);
    let weight = |index: usize| &ledger.inventory.weights[index];
    let channels = |index: usize| ledger.inventory.norms[index].channels;
    let table = |test: &dyn Fn(usize, usize) -> bool| {
        (0..n)
            .map(|norm| (0..n).map(|slot| all(&|scope| test(scope.norms[norm], scope.weights[slot]))).collect())
            .collect::<Vec<Vec<bool>>>()
    };
    let fits = table(&|norm, slot| puts_out(weight(slot), channels(norm)).is_some());
    let feeds = table(&|norm, slot| takes(weight(slot), channels(norm)) == Takes::Plain);
    let proven = table(&|norm, slot| takes(weight(slot), channels(norm)) < Takes::Plain);
    let by_flow = orders(n, &|norm, slot, before| fits[norm][slot] && before.is_none_or(|_| feeds[norm - 1][slot]));
    if n > 1 && !by_flow.is_empty() {
        return only(by_flow);
    }
    only(orders(n, &|norm, slot, _| fits[norm][slot])).filter(|order| (0..n).all(|norm| proven[norm][order[norm]]))
}

fn only(mut orders: Vec<Vec<usize>>) -> Option<Vec<usize>> {
    if orders.len() == 1 { orders.pop() } else { None }
}

/// Orders of `n` layers in which `allowed(norm, layer, layer before)` holds throughout; two are enough to know that
/// there is not just one.
fn orders(n: usize, allowed: &dyn Fn(usize, usize, Option<usize>) -> bool) -> Vec<Vec<usize>> {
    fn extend(
        n: usize,
        allowed: &dyn Fn(usize, usize, Option<usize>) -> bool,
        order: &mut Vec<usize>,
        found: &mut Vec<Vec<usize>>,
    ) {
        if order.len() == n {
            found.push(order.clone());
        }
        for slot in 0..n {
            if found.len() < 2
                && order.len() < n
                && !order.contains(&slot)
                && allowed(order.len(), slot, order.last().copied())
            {
                order.push(slot);
                extend(n, allowed, order, found);
                order.pop();
            }
        }
    }
    let mut found = Vec::new();
    extend(n, allowed, &mut Vec::new(), &mut found);
    found
}
