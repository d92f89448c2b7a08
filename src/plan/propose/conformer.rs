//! 2 PLAN, propose: the convolution module of a Conformer.
//!
//! In: scopes of three layers and one norm. Out: claims. A pointwise layer twice as wide as what follows, for the gated linear
//! unit behind it, then a depthwise convolution, the norm, an activation and a pointwise layer back (Gulati et al. 2020,
//! arXiv 2005.08100, figure 2). All of them keep their biases, and the last two put out what the norm takes.

use super::Names;
use super::tree::{Id, sole_weight};
use crate::network::{Weight, WeightId};
use crate::plan::decide::Claim;
use crate::plan::reason::Support;
use crate::plan::rulebook::Rule;

/// The norms of such modules, each with its depthwise layer.
pub(in crate::plan) fn claims(names: &Names<'_>) -> Vec<Claim> {
    if !names.has(Rule::Conformer) {
        return Vec::new();
    }
    let claim = |norm| {
        let site = names.tree.site(norm);
        let weight = depthwise(names, site, names.channels(norm))?;
        Some(Claim { norm, weight, support: Support::Conformer })
    };
    names.board.open().filter_map(claim).collect()
}

/// The depthwise layer of the module around the norm at `site`, if it is such a module.
fn depthwise(names: &Names<'_>, site: Id, channels: u64) -> Option<WeightId> {
    let tree = &names.tree;
    if tree.nodes[tree.nodes[site].parent].norms_below != 1 {
        return None;
    }
    let layers = tree.siblings(site).take(4).map(|id| sole_weight(&tree.nodes, id)).collect::<Option<Vec<_>>>()?;
    let is_depthwise =
        |id: &WeightId| names.weight(*id).is_depthwise() && names.weight(*id).outputs() == Some(channels);
    let depthwise = layers.iter().copied().find(is_depthwise)?;
    let pointwise = layers.iter().map(|&id| names.weight(id)).filter(|weight| weight.is_pointwise());
    let &[a, b] = &pointwise.collect::<Vec<_>>()[..] else { return None };
    let is_module = |first: &Weight, last: &Weight| {
        let is_wide = first.outputs() == channels.checked_mul(2) && last.inputs() == Some(channels);
        is_wide && first.inputs() == last.outputs()
    };
    (layers.len() == 3 && (is_module(a, b) || is_module(b, a))).then_some(depthwise)
}
