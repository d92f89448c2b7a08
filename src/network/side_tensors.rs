//! Tensors beside a weight that make it unclear what the layer computes.
//!
//! In: all tensors that are no norm's. Out: for a weight, the tensor that speaks against folding into it: a mask, an index
//! of channels, the factors of a computed weight, the range of a quantizer, a bias that is added behind the layer.

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::Dialect;
use super::names::{find, plain, rename};
use crate::checkpoint::Tensor;

/// Scopes around a weight that may be its wrappers, at most.
const WRAPPERS: usize = 2;

/// What the names of adapters begin with.
const ADAPTERS: &[&str] = &["lora_", "loha_", "lokr_", "dora_", "hada_"];

/// Tensors that may be side tensors of weights, by the plain path they lie in.
#[derive(Default)]
pub(super) struct SideTensors<'a> {
    /// Neither a layer's weight nor its bias.
    strangers: BTreeMap<String, &'a str>,
    /// Lists of integers among them.
    indices: BTreeMap<String, &'a str>,
    /// Biases without a weight of their own.
    biases: BTreeMap<String, &'a str>,
    /// Matrices that are added to a weight as it is used (LoRA and its like), by the module that holds them.
    adapters: BTreeMap<String, &'a str>,
    /// How many weights, adapters apart, lie in a scope's modules and below.
    weights: BTreeMap<String, usize>,
}

impl<'a> SideTensors<'a> {
    /// Side tensors among `tensors` without those that are `taken` by norms.
    pub(super) fn of(
        tensors: &'a BTreeMap<String, Tensor>,
        taken: &BTreeSet<&str>,
        dialects: &[&'static Dialect],
    ) -> SideTensors<'a> {
        let mut all = SideTensors::default();
        let kinds = || dialects.iter().flat_map(|dialect| dialect.weights);
        for (name, tensor) in tensors.iter().filter(|(name, _)| !taken.contains(name.as_str())) {
            let path = || parent(&plain(name)).to_owned();
            let bias_of = kinds().find(|kind| find(name, kind.bias).is_some());
            if let Some(holder) = adapted(&plain(name)) {
                all.adapters.entry(holder.to_owned()).or_insert(name);
                continue;
            }
            if kinds().any(|kind| find(name, kind.name).is_some()) {
                if tensor.shape.len() >= 2 {
                    let path = path();
                    let around = std::iter::successors(Some(parent(&path)), |path| Some(parent(path)));
                    for scope in around.take_while(|scope| !scope.is_empty()).take(WRAPPERS) {
                        *all.weights.entry(scope.to_owned()).or_default() += 1;
                    }
                }
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
    /// the scope around it, an adapter.
    pub(super) fn of_weight(&self, weight: &str) -> Option<String> {
        let module = parent(weight);
        let below = format!("{module}/");
        let inside = self.strangers.get(module).or_else(|| {
            let next = self.strangers.range(below.clone()..).next();
            next.filter(|(path, _)| path.starts_with(&below)).map(|(_, name)| name)
        });
        let scope = parent(module);
        let around = self.indices.get(scope).or_else(|| self.biases.get(scope));
        let adapter = || self.adapters.get(module).or_else(|| self.adapters.get(scope));
        inside.or(around).or_else(adapter).map(|name| (*name).to_owned())
    }

    /// A stranger in the scope around the weight with this plain name, if that holds no other weight.
    pub(super) fn companion(&self, weight: &str) -> Option<String> {
        let scope = parent(parent(weight));
        let is_wrapper = self.weights.get(scope) == Some(&1);
        self.strangers.get(scope).filter(|_| is_wrapper).map(|name| (*name).to_owned())
    }
}

/// Whether a plain path is that of an adapter's tensor.
pub(super) fn is_adapter(path: &str) -> bool {
    adapted(path).is_some()
}

/// The module whose weight an adapter's tensor is added to.
fn adapted(path: &str) -> Option<&str> {
    let is_adapter = |segment: &str| {
        let lower = segment.to_ascii_lowercase();
        ADAPTERS.iter().any(|begin| lower.starts_with(begin))
    };
    let mut begin = 0;
    for segment in path.split('/') {
        if is_adapter(segment) {
            return Some(path[..begin].trim_end_matches('/'));
        }
        begin += segment.len() + 1;
    }
    None
}

/// A plain path without its last segment.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
