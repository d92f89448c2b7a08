//! 2 PLAN, measure: one weight that is stored under several names.
//!
//! In: pairs. Out: objections. A layer that a network uses in several places, each with a norm of its own (heads over
//! the levels of a pyramid, units that share a convolution), has one weight; a writer that did not record it stored it once
//! a place. Folded, each copy would be another weight, and the network could not be built again. Weights of the same type
//! and shape are compared by [`ELEMENTS`] elements at each end, of which enough differ from each other. Copies whose norms
//! are equal too, as in a file that holds a network twice, stay one network twice.

use std::collections::{BTreeMap, HashSet};

use super::values::Values;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::network::{NormId, Weight, WeightId};
use crate::plan::board::{Board, Finding};
use crate::plan::reason::Objection;

/// How `--explain` calls this test.
const STAGE: &str = "tied weights";

/// Elements that are compared at each end of a weight.
const ELEMENTS: u64 = 64;

/// Fewer different elements than these say nothing: a weight that was never trained may be constant.
const DIFFERENT: usize = 8;

/// Refuses folds into weights that hold the values of another weight with another norm; returns all such weights, which
/// no norm may be folded into.
pub(super) fn refuse(values: &mut Values<'_>, board: &mut Board<'_>) -> Result<HashSet<WeightId>> {
    let (checkpoint, inventory) = (values.checkpoint, values.inventory);
    let mut owners = vec![None; inventory.weights.len()];
    let mut wanted = BTreeMap::<_, Vec<WeightId>>::new();
    for (norm, pair) in board.pairs() {
        if values.statistics(norm)?.is_some() {
            owners[pair.weight.index()] = Some(norm);
            wanted.entry(key(values, pair.weight)).or_default();
        }
    }
    for weight in (0..inventory.weights.len()).map(WeightId::new) {
        if let Some(alike) = wanted.get_mut(&key(values, weight)) {
            alike.push(weight);
        }
    }
    let groups = wanted.into_values().filter(|group| group.len() > 1).enumerate();
    let members = groups.flat_map(|(number, group)| group.into_iter().map(move |weight| (number, weight)));
    let members = members.collect::<Vec<_>>();
    let samples = values.in_parallel(&members, |&(_, weight)| sample(checkpoint, &inventory[weight]))?;
    let mut same = BTreeMap::<_, Vec<WeightId>>::new();
    for ((group, weight), sample) in members.into_iter().zip(samples) {
        if let Some(sample) = sample {
            same.entry((group, sample)).or_default().push(weight);
        }
    }
    let mut refused = HashSet::new();
    for tied in same.into_values().filter(|tied| tied.len() > 1) {
        let norms = tied.iter().map(|&weight| owners[weight.index()]).collect::<Vec<_>>();
        if !one_norm(values, &norms)? {
            let objection = Objection::Tied(tied.as_slice().into());
            board.apply_all(STAGE, norms.into_iter().flatten().map(|norm| (norm, Finding::kept(objection.clone()))));
            refused.extend(tied);
        }
    }
    Ok(refused)
}

/// Whether all these weights seem to hold the same values.
pub(super) fn are_equal(values: &Values<'_>, weights: &[WeightId]) -> Result<bool> {
    let mut first = None;
    for &weight in weights {
        let this = (key(values, weight), sample(values.checkpoint, &values.inventory[weight])?);
        if first.get_or_insert_with(|| this.clone()) != &this {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What weights must have in common to be one.
fn key(values: &Values<'_>, weight: WeightId) -> (String, Vec<u64>) {
    let weight = &values.inventory[weight];
    (weight.dtype.to_string(), weight.shape.clone())
}

/// Elements at both ends of a weight; `None` if they say nothing.
fn sample(checkpoint: &Checkpoint, weight: &Weight) -> Result<Option<Vec<u8>>> {
    let Some(float) = weight.dtype.float() else { return Ok(None) };
    let tensor = checkpoint.tensor(&weight.tensor)?;
    let bytes = tensor.bytes.min(ELEMENTS * float.bytes() as u64);
    let mut sample = vec![0; usize::try_from(2 * bytes).unwrap_or_default()];
    let (begin, end) = sample.split_at_mut(usize::try_from(bytes).unwrap_or_default());
    checkpoint.read(tensor, 0, begin)?;
    checkpoint.read(tensor, tensor.bytes - bytes, end)?;
    let mut different = Vec::with_capacity(DIFFERENT);
    for element in sample.chunks(float.bytes()) {
        if different.len() < DIFFERENT && !different.contains(&element) {
            different.push(element);
        }
    }
    let is_telling = different.len() == DIFFERENT;
    Ok(is_telling.then_some(sample))
}

/// Whether all these weights feed norms, and those are equal.
fn one_norm(values: &mut Values<'_>, norms: &[Option<NormId>]) -> Result<bool> {
    let mut first = None;
    for norm in norms {
        let Some(norm) = *norm else { return Ok(false) };
        let Some(statistics) = values.statistics(norm)? else { return Ok(false) };
        let this = (statistics.mean.clone(), statistics.var.clone(), values.affine(norm)?);
        if first.get_or_insert_with(|| this.clone()) != &this {
            return Ok(false);
        }
    }
    Ok(true)
}
