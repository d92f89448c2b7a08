//! 2 PLAN, propose: norms numbered in the order of the data flow.
//!
//! In: scopes whose norms are numbered (`bn1`, `bn2`, `bn3`) and whose layers are named after what they do (`conv_pw`,
//! `conv_dw`, `conv_pwl`). Out: claims. The layers are put in an order in which each fits its norm and takes in what the
//! norm before gives, in every scope of the template; if just one order does, it is the block's. That tells an inverted
//! residual from a depthwise separable block with the same names.

use std::collections::{BTreeMap, BTreeSet};

use super::Names;
use super::produces::Takes;
use super::relations::Candidate;
use super::tree::Id;
use crate::network::{NormId, Weight, WeightId};
use crate::plan::decide::Claim;
use crate::plan::object::precedent::Precedent;
use crate::plan::reason::Support;
use crate::plan::rulebook::Rule;

/// Blocks with more layers than this are not searched.
const MAX_LAYERS: usize = 6;

/// One scope: its open numbered norms in order, and the layers that may feed them. Both with their modules.
#[derive(Debug)]
struct Scope {
    norms: Vec<(NormId, Id)>,
    layers: Vec<(WeightId, Id)>,
}

/// What scopes of one class share: template, names, and ranks of the layers' weights.
type Signature<'a> = (usize, Vec<&'a str>, Vec<usize>);

/// What the blocks of a checkpoint give.
#[derive(Default)]
pub(in crate::plan) struct Arranged {
    pub(in crate::plan) claims: Vec<Claim>,
    /// The pairs that these are, as precedents.
    pub(in crate::plan) proven: Vec<Candidate>,
    /// Norms of blocks that have no order, or several.
    pub(in crate::plan) unordered: Vec<NormId>,
}

/// What an order shows: the norm stands behind its layer.
pub(in crate::plan) const RUNS_LAST: Precedent = Precedent { runs_last: true, runs_first: false };

/// Arranges the layers of all blocks whose norms are numbered.
pub(in crate::plan) fn arrange(names: &Names<'_>) -> Arranged {
    let tree = &names.tree;
    // A block that runs one of its norms first runs all of them so: what is left over there opens the block.
    let turned = names.pre_activation.iter().map(|(_, pair)| tree.nodes[tree.nodes[pair.site].parent].template);
    let turned = turned.collect::<BTreeSet<_>>();
    let mut arranged = Arranged::default();
    for scopes in classes(names, &turned) {
        let searched = |scope: &Scope| scope.norms.len() <= scope.layers.len() && scope.layers.len() <= MAX_LAYERS;
        if scopes.first().is_some_and(searched) {
            arranged.add(names, &scopes);
        }
    }
    arranged
}

impl Arranged {
    /// Adds the scopes of one class.
    fn add(&mut self, names: &Names<'_>, scopes: &[Scope]) {
        let Some((order, support)) = arrangement(names, scopes) else {
            self.unordered.extend(scopes.iter().flat_map(|scope| &scope.norms).map(|&(norm, _)| norm));
            return;
        };
        for scope in scopes {
            for (&(norm, site), &slot) in scope.norms.iter().zip(&order) {
                let (weight, via) = scope.layers[slot];
                self.claims.push(Claim { norm, weight, support: support.clone() });
                self.proven.push(Candidate { norm, site, via, weight });
            }
        }
    }
}

/// Scopes of one template with equally named norms and layers.
fn classes(names: &Names<'_>, turned: &BTreeSet<usize>) -> Vec<Vec<Scope>> {
    let tree = &names.tree;
    let mut open: BTreeMap<Id, Vec<(u64, NormId, Id)>> = BTreeMap::new();
    let mut spoilt = Vec::new();
    for norm in names.board.open() {
        let site = tree.site(norm);
        let (scope, segment) = (tree.nodes[site].parent, &tree.nodes[site].segment);
        match segment.key.parse() {
            Ok(number)
                if segment.norm
                    && !segment.before
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
            layers: children.filter_map(|&child| Some((free_end(names, child)?, child))).collect(),
        };
        let modules =
            scope.norms.iter().map(|&(_, module)| module).chain(scope.layers.iter().map(|&(_, module)| module));
        let called = modules.map(|module| tree.nodes[module].name).collect();
        // A layer whose weight has another rank elsewhere is another kind of layer (convolutions mixed from experts).
        let ranks = scope.layers.iter().map(|&(weight, _)| names.weight(weight).shape.len()).collect();
        classes.entry((tree.nodes[id].template, called, ranks)).or_default().push(scope);
    }
    classes.into_values().collect()
}

/// The weight of a layer that may feed a norm. One with a bias hardly does: a norm makes the bias useless.
fn free_end(names: &Names<'_>, module: Id) -> Option<WeightId> {
    let node = &names.tree.nodes[module];
    let end = node.end.filter(|_| node.norms_below == 0)?;
    (names.board.is_free(end) && !names.weight(end).bias_exists).then_some(end)
}

/// The only order in which the layers feed the norms, and what speaks for it: the flow of channels, or else channels
/// that no two norms share.
fn arrangement(names: &Names<'_>, scopes: &[Scope]) -> Option<(Vec<usize>, Support)> {
    let (n, slots) = scopes.first().map(|scope| (scope.norms.len(), scope.layers.len()))?;
    let tables = Tables::of(names, scopes);
    let Tables { fits, feeds, proven } = &tables;
    let by_flow = orders(n, slots, &|norm, slot| fits[norm][slot] && (norm == 0 || feeds[norm - 1][slot]));
    if n > 1 && n == slots && !by_flow.is_empty() && names.has(Rule::Flow) {
        return match &by_flow[..] {
            [order] => Some((order.clone(), Support::Flow)),
            _ => separable(names, scopes).map(|order| (order, Support::Separable)),
        };
    }
    let [order] = &orders(n, slots, &|norm, slot| fits[norm][slot])[..] else { return None };
    let is_proven = (0..n).all(|norm| proven[norm][order[norm]]);
    // A layer that is left over and could stand behind a norm makes it as likely that the norm opens a block.
    let is_left_over = (0..slots).any(|slot| !order.contains(&slot) && (0..n).any(|norm| feeds[norm][slot]));
    let is_believed = is_proven && (!is_left_over || !names.has(Rule::LeftOver)) && names.has(Rule::OnlyAssignment);
    is_believed.then(|| (order.clone(), Support::OnlyAssignment))
}

/// What each layer of a class can be to each of its norms, in every scope: `[norm][layer]`.
struct Tables {
    /// The layer puts out what the norm takes.
    fits: Vec<Vec<bool>>,
    /// The layer takes in what the norm gives.
    feeds: Vec<Vec<bool>>,
    /// It cannot, but in groups.
    proven: Vec<Vec<bool>>,
}

impl Tables {
    fn of(names: &Names<'_>, scopes: &[Scope]) -> Tables {
        let (norms, layers) = scopes.first().map_or((0, 0), |scope| (scope.norms.len(), scope.layers.len()));
        let table = |test: &dyn Fn(NormId, WeightId) -> bool| {
            let all =
                |norm: usize, slot: usize| scopes.iter().all(|scope| test(scope.norms[norm].0, scope.layers[slot].0));
            (0..norms).map(|norm| (0..layers).map(|slot| all(norm, slot)).collect()).collect()
        };
        Tables {
            fits: table(&|norm, weight| names.fits(weight, norm)),
            feeds: table(&|norm, weight| names.takes(weight, names.channels(norm)) == Takes::Plain),
            proven: table(&|norm, weight| names.takes(weight, names.channels(norm)) < Takes::Plain),
        }
    }
}

/// The order of a depthwise separable convolution, whose definition it is that the depthwise layer comes first, where
/// both layers keep the number of channels and any order would fit.
fn separable(names: &Names<'_>, scopes: &[Scope]) -> Option<Vec<usize>> {
    if !names.has(Rule::NumberedSeparable) {
        return None;
    }
    let all = |slot: usize, test: &dyn Fn(&Weight) -> bool| {
        scopes.iter().all(|scope| scope.layers.len() == 2 && test(names.weight(scope.layers[slot].0)))
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
