//! What the planner sees of a checkpoint: its norms and the weights that could feed them.
//!
//! In: names, dtypes and shapes. Out: an [`Inventory`]. Recognition is by name alone, through the dialect table; whether
//! a weight really feeds a norm is the pairing's business.

use std::collections::{BTreeMap, BTreeSet};

use super::dialect::{DIALECTS, Dialect, WITHIN};
use super::find_norms::Norms;
use super::names::{plain, rename, split};
use super::norm::Norm;
use super::shared_statistics;
use super::side_tensors::{SideTensors, is_adapter};
use super::tied::Tied;
use super::weight::Weight;
use crate::checkpoint::{Checkpoint, Metadata, Tensor};

/// Everything the pairing looks at. Order is by name, so that equal files give equal plans.
#[derive(Debug, Default)]
pub struct Inventory {
    /// All norms.
    pub norms: Vec<Norm>,
    /// All weights that could feed one.
    pub weights: Vec<Weight>,
    /// A top-level module that repeats the norms' scales and has no statistics of its own: averages of the weights.
    pub sharer: Option<String>,
}

impl Inventory {
    /// Lists the norms and weights of a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Inventory {
        let metadata = checkpoint.shards().iter().filter_map(|shard| shard.metadata.as_ref()).collect::<Vec<_>>();
        Inventory::new(checkpoint.tensors(), &metadata)
    }

    /// The dialect most of the norms follow; `None` without norms.
    pub fn dialect(&self) -> Option<&'static str> {
        dialects_of(&self.norms).first().map(|dialect| dialect.name)
    }

    /// Whether most of the norms have neither scale nor shift.
    pub fn is_mostly_bare(&self) -> bool {
        let whole = || self.norms.iter().filter(|norm| norm.missing.is_none());
        2 * whole().filter(|norm| norm.is_bare()).count() > whole().count()
    }

    /// The same from a table of tensors: a pure function of names, dtypes, shapes and metadata.
    pub fn new(tensors: &BTreeMap<String, Tensor>, metadata: &[&Metadata]) -> Inventory {
        let format = metadata.iter().find_map(|m| m.get("format")).map(String::as_str);
        let names = Norms::new(tensors);
        let mut norms = names.find(format);
        let tied = Tied::new(tensors, metadata);
        tied.mark(&mut norms, tensors, format);
        let taken = norms.iter().flat_map(Norm::tensors).collect::<BTreeSet<_>>();
        let dialects = dialects_of(&norms);
        let side_tensors = SideTensors::of(tensors, &taken, &dialects);
        let weights = tensors
            .iter()
            .filter(|(name, tensor)| tensor.shape.len() >= 2 && !taken.contains(name.as_str()))
            .filter(|(name, _)| !is_adapter(&plain(name)))
            .filter_map(|(name, tensor)| {
                let (dialect, kind, module) = dialects.iter().find_map(|dialect| {
                    let (kind, module) =
                        dialect.weights.iter().find_map(|kind| Some((kind, split(name, kind.name)?)))?;
                    Some((*dialect, kind, module))
                })?;
                let bias = rename(name, kind.name, kind.bias)?;
                let aliased = [name, &bias].into_iter().find(|tensor| tied.has(tensor)).cloned();
                // Where names are not paths nothing lies beside a weight.
                let is_path = !kind.name.starts_with(WITHIN);
                Some(Weight {
                    tensor: name.clone(),
                    module,
                    kind,
                    dialect,
                    dtype: tensor.dtype.clone(),
                    shape: tensor.shape.clone(),
                    bias_exists: tensors.contains_key(&bias),
                    bias_channels: tensors
                        .get(&bias)
                        .and_then(|bias| <[u64; 1]>::try_from(&bias.shape[..]).ok())
                        .map(|[n]| n),
                    aliased,
                    bias,
                    side_tensor: side_tensors.of_weight(&plain(name)).filter(|_| is_path),
                    companion: side_tensors.companion(&plain(name)).filter(|_| is_path),
                })
            })
            .collect();
        let sharer = shared_statistics::holder(tensors, &norms);
        Inventory { norms, weights, sharer }
    }
}

/// The dialects that occur, most frequent first. Whole norms tell them; parts of norms only where there is nothing else.
fn dialects_of(norms: &[Norm]) -> Vec<&'static Dialect> {
    let parts_only = norms.iter().all(|norm| norm.missing.is_some());
    let counts = |norm: &&Norm| parts_only || norm.missing.is_none();
    let count =
        |dialect: &Dialect| norms.iter().filter(counts).filter(|norm| norm.dialect.name == dialect.name).count();
    let mut found = DIALECTS.iter().filter(|dialect| count(dialect) > 0).collect::<Vec<_>>();
    found.sort_by_key(|dialect| std::cmp::Reverse(count(dialect)));
    found
}
