//! 2 PLAN, propose: separable convolutions.
//!
//! In: the module tree. Out: for every scope of a depthwise layer and one other layer, the one that comes last. A depthwise
//! separable convolution runs the depthwise layer first, a blueprint separable one (arXiv 2003.13549) the other: names do not
//! tell, so shapes must. In a square block both orders fit; then modules of the same two names tell that stand elsewhere in
//! the file, if all of them that tell agree.

use std::collections::HashMap;

use super::produces::{Takes, takes};
use super::tree::{Id, Node, sole_weight};
use crate::network::{Inventory, WeightId};
use crate::plan::rulebook::Rulebook;

/// The layers of a scope.
struct Pair<'a> {
    scope: Id,
    /// Names of both.
    names: (&'a str, &'a str),
    depthwise: Id,
    other: Id,
    /// Whether the depthwise layer can run first.
    may_come_first: bool,
    /// Whether it can run last.
    may_come_last: bool,
}

/// Notes the last layer of every such scope.
pub(super) fn find(nodes: &mut [Node<'_>], inventory: &Inventory, book: Rulebook) {
    let pairs = (0..nodes.len()).filter_map(|scope| pair(nodes, inventory, book, scope)).collect::<Vec<_>>();
    // Whether some scope proves that the depthwise layer runs first, and last.
    let mut proven: HashMap<(&str, &str), (bool, bool)> = HashMap::new();
    for pair in &pairs {
        let known = proven.entry(pair.names).or_default();
        known.0 |= pair.may_come_first && !pair.may_come_last;
        known.1 |= pair.may_come_last && !pair.may_come_first;
    }
    let last = |pair: &Pair<'_>| match (pair.may_come_first, pair.may_come_last, proven[&pair.names]) {
        (true, false, _) | (true, true, (true, false)) => Some(pair.other),
        (false, true, _) | (true, true, (false, true)) => Some(pair.depthwise),
        _ => None,
    };
    let found = pairs.iter().map(|pair| (pair.scope, last(pair))).collect::<Vec<_>>();
    for (scope, last) in found {
        nodes[scope].last_of_separable = last;
    }
}

/// The two layers of a scope, if one of them is depthwise and nothing else is in it but for a norm.
fn pair<'a>(nodes: &[Node<'a>], inventory: &Inventory, book: Rulebook, scope: Id) -> Option<Pair<'a>> {
    let Node { children, weights, norms_below, .. } = &nodes[scope];
    if !weights.is_empty() || *norms_below > 1 || children.len() != 2 + norms_below {
        return None;
    }
    let layers = children.values().filter(|&&child| nodes[child].norms_below == 0);
    let layer = |&child: &Id| Some((child, sole_weight(nodes, child)?));
    let &[a, b] = &layers.map(layer).collect::<Option<Vec<_>>>()?[..] else { return None };
    let is_depthwise = |(_, weight): (Id, WeightId)| inventory[weight].is_depthwise();
    let (depthwise, other) = match (is_depthwise(a), is_depthwise(b)) {
        (true, false) => (a, b),
        (false, true) => (b, a),
        _ => return None,
    };
    let feeds = |from: WeightId, to: WeightId| {
        let channels = inventory[from].outputs();
        channels.is_some_and(|channels| takes(book, &inventory[to], channels) == Takes::Plain)
    };
    Some(Pair {
        scope,
        names: (nodes[depthwise.0].name, nodes[other.0].name),
        depthwise: depthwise.0,
        other: other.0,
        may_come_first: feeds(depthwise.1, other.1),
        may_come_last: feeds(other.1, depthwise.1),
    })
}
