//! Dialects that name norms alike and store weights differently.
//!
//! In: all tensors. Out: the dialects of such a set that this file is not in. Names of norms alone do not tell them apart; the
//! names and shapes of all weights together do, and where they do not, the dialect that leaves alone what differs is left.

use std::collections::BTreeMap;

use super::dialect::{DIALECTS, Dialect};
use super::names::{find, rename};
use crate::checkpoint::Tensor;

/// The dialects that the file is not in, by name.
pub(super) fn excluded(tensors: &BTreeMap<String, Tensor>, format: Option<&str>) -> Vec<&'static str> {
    let mut excluded = Vec::new();
    // Keras calls its weights kernels, MindSpore weights.
    let keras = count(tensors, "keras");
    excluded.push(if keras == 0 && count(tensors, "mindspore") > 0 { "keras" } else { "mindspore" });
    // Where there are no dense weights nothing differs; burn's own files say that they are such.
    let is_dense = |(name, tensor): (&String, &Tensor)| tensor.shape.len() == 2 && find(name, "weight").is_some();
    let is_burn = !tensors.iter().any(is_dense) || format == Some("safetensors");
    match dense_layout(tensors).or(is_burn.then_some(Layout::InOut)) {
        Some(Layout::InOut) => excluded.extend(["gluon", "burn-or-gluon"]),
        Some(Layout::OutIn) => excluded.extend(["burn", "burn-or-gluon"]),
        None => excluded.extend(["burn", "gluon"]),
    }
    excluded
}

/// Weights that are named as in a dialect.
fn count(tensors: &BTreeMap<String, Tensor>, dialect: &str) -> usize {
    let dialect = DIALECTS.iter().find(|known| known.name == dialect);
    let is_weight = |dialect: &Dialect, name: &str| dialect.weights.iter().any(|kind| find(name, kind.name).is_some());
    let matrices = tensors.iter().filter(|(_, tensor)| tensor.shape.len() >= 2);
    dialect.map_or(0, |dialect| matrices.filter(|(name, _)| is_weight(dialect, name)).count())
}

/// How dense weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    InOut,
    OutIn,
}

/// The layout that every dense layer with a bias has, which is as long as there are outputs; `None` if none tells, or they
/// tell different things.
fn dense_layout(tensors: &BTreeMap<String, Tensor>) -> Option<Layout> {
    let layout = |(name, tensor): (&String, &Tensor)| {
        let (&[first, last], true) = (&tensor.shape[..], find(name, "weight").is_some()) else { return None };
        let &[bias] = &tensors.get(&rename(name, "weight", "bias")?)?.shape[..] else { return None };
        match (bias == first, bias == last) {
            (true, false) => Some(Layout::OutIn),
            (false, true) => Some(Layout::InOut),
            _ => None,
        }
    };
    let mut layouts = tensors.iter().filter_map(layout);
    let first = layouts.next()?;
    layouts.all(|layout| layout == first).then_some(first)
}
