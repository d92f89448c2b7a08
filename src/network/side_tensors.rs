//! Tensors beside a weight that make it unclear what the layer computes.
//!
//! In: all tensors that are no norm's. Out: for a weight, the tensor that speaks against folding into it: a mask, an index
//! of channels, the factors of a computed weight, the range of a quantizer, a bias that is added behind the layer.

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::Dialect;
use super::names::{find, plain, rename};
use crate::checkpoint::Tensor;

/// Tensors that may be side tensors of weights, by the plain path they lie in.
pub(super) struct SideTensors<'a> {
    /// Neither a layer's weight nor its bias.
    strangers: BTreeMap<String, &'a str>,
    /// Lists of integers among them.
    indices: BTreeMap<String, &'a str>,
    /// Biases without a weight of their own.
    biases: BTreeMap<String, &'a str>,
}

impl<'a> SideTensors<'a> {
    /// Side tensors among `tensors` without those that are `taken` by norms.
    pub(super) fn of(
        tensors: &'a BTreeMap<String, Tensor>,
        taken: &BTreeSet<&str>,
        dialects: &[&'static Dialect],
    ) -> SideTensors<'a> {
        let mut all = SideTensors { strangers: BTreeMap::new(), indices: BTreeMap::new(), biases: BTreeMap::new() };
        let kinds = || dialects.iter().flat_map(|dialect| dialect.weights);
        for (name, tensor) in tensors.iter().filter(|(name, _)| !taken.contains(name.as_str())) {
            let path = || parent(&plain(name)).to_owned();
            let bias_of = kinds().find(|kind| find(name, kind.bias).is_some());
            if kinds().any(|kind| find(name, kind.name).is_some()) {
                continue;
            }
            if bias_of.is_none() {
                all.strangers.entry(path()).or_insert(name);
                if tensor.dtype.float().is_none() && tensor.elements() > 1 {
                    all.indices.entry(path()).or_insert(name);
                }
            } else if !kinds()
                .filter_map(|kind| rename(name, kind.bias, kind.name))
                .any(|weight| tensors.contains_key(&weight))
            {
                all.biases.entry(path()).or_insert(name);
            }
        }
        all
    }

    /// The side tensor of the weight with this plain name: a stranger in its module or below, a list of integers or a bias in
    /// the scope around it.
    pub(super) fn of_weight(&self, weight: &str) -> Option<String> {
        let module = parent(weight);
        let below = format!("{module}/");
        let inside = self.strangers.get(module).or_else(|| {
            let next = self.strangers.range(below.clone()..).next();
            next.filter(|(path, _)| path.starts_with(&below)).map(|(_, name)| name)
        });
        let scope = parent(module);
        let around = self.indices.get(scope).or_else(|| self.biases.get(scope));
        inside.or(around).map(|name| (*name).to_owned())
    }
}

/// A plain path without its last segment.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
