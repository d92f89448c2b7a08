//! A second set of weights that shares the norms' running statistics with the first.
//!
//! In: the norms, and all tensors. Out: where the other set lies. Averages of a model's weights (`model_ema.`) are often kept
//! for parameters alone: what loads them takes the running statistics from the model beside them, which folding changes.

use std::collections::{BTreeMap, BTreeSet};

use super::Norm;
use super::names::plain;
use crate::checkpoint::Tensor;

/// The top-level module whose tensors repeat the scales of most norms, without running statistics of their own.
pub(super) fn holder(tensors: &BTreeMap<String, Tensor>, norms: &[Norm]) -> Option<String> {
    let own = norms.iter().flat_map(Norm::tensors).collect::<BTreeSet<_>>();
    // Scales by their path, with and without the model's own top-level module.
    let scales = norms.iter().filter_map(|norm| norm.gamma.as_deref()).map(plain).collect::<Vec<_>>();
    let below = |path: &str| path.split_once('/').map(|(_, rest)| rest.to_owned());
    let known = scales.iter().cloned().chain(scales.iter().filter_map(|scale| below(scale))).collect::<BTreeSet<_>>();
    let mut repeated: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in tensors.iter().filter(|(name, tensor)| tensor.shape.len() == 1 && !own.contains(name.as_str())) {
        let path = plain(name);
        if let Some((top, _)) = path.split_once('/').filter(|(_, rest)| known.contains(*rest)) {
            *repeated.entry(top.to_owned()).or_default() += 1;
        }
    }
    let most = |&(_, count): &(&String, &usize)| 2 * *count > scales.len();
    repeated.iter().find(most).map(|(top, _)| top.clone())
}
