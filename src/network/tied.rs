//! Tensors under several names.
//!
//! In: a checkpoint's tensors and its `__metadata__`. safetensors' `save_model` stores one of the tensors that share memory,
//! and records the others as `dropped = kept`. Out: both kinds. A tensor that was dropped is not absent: a norm whose scale is
//! stored elsewhere has one.

use std::collections::{BTreeMap, BTreeSet};

use super::find_norms::Norms;
use super::norm::{Defect, Norm};
use crate::checkpoint::{Metadata, Tensor};

/// Tensors that the model has under several names.
pub(super) struct Tied<'a> {
    /// A name that was dropped, and the one that is stored instead.
    dropped: Vec<(&'a str, &'a str)>,
    /// All of these names.
    names: BTreeSet<&'a str>,
}

impl<'a> Tied<'a> {
    pub(super) fn new(tensors: &BTreeMap<String, Tensor>, metadata: &[&'a Metadata]) -> Tied<'a> {
        let entries = metadata.iter().flat_map(|metadata| metadata.iter());
        let entries = entries.filter(|(dropped, kept)| !tensors.contains_key(*dropped) && tensors.contains_key(*kept));
        let dropped = entries.map(|(dropped, kept)| (dropped.as_str(), kept.as_str())).collect::<Vec<_>>();
        let names = dropped.iter().flat_map(|&(dropped, kept)| [dropped, kept]).collect();
        Tied { dropped, names }
    }

    /// Whether the tensor of that name has others, or is stored under another.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Marks the norms of which a tensor has other names, or was dropped. Which these are is seen by looking for norms among
    /// all tensors that the model had, whatever they are called.
    pub(super) fn mark(&self, norms: &mut [Norm], tensors: &BTreeMap<String, Tensor>, format: Option<&str>) {
        if self.dropped.is_empty() {
            return;
        }
        let mut all = tensors.clone();
        for &(dropped, kept) in &self.dropped {
            all.extend(tensors.get(kept).map(|kept| (dropped.to_owned(), kept.clone())));
        }
        let whole = Norms::new(&all).find(format);
        let whole = whole.iter().map(|norm| (norm.var.as_str(), norm)).collect::<BTreeMap<_, _>>();
        for norm in norms {
            let had = whole.get(norm.var.as_str()).into_iter().flat_map(|norm| norm.tensors());
            let shared = had.chain(norm.tensors()).find(|tensor| self.has(tensor)).map(str::to_owned);
            norm.defect = norm.defect.take().or(shared.map(|tensor| Defect::Aliased { tensor }));
        }
    }
}
